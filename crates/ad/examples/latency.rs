//! Measures what keyback adds to a raw modify: `latency HOST ADDRESS CA_FILE CONNECTOR PASSWORD USER [COUNT]`.
//! The user's password is set again and again: for a lab only.

use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_core::{NewPassword, UserName};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the result is what it is for")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, address, ca, connector, password, user, rest @ ..] = arguments.as_slice() else {
        return Err("latency HOST ADDRESS CA_FILE CONNECTOR PASSWORD USER [COUNT]".into());
    };
    let count = rest.first().map_or(Ok(100), |count| count.parse())?;
    let directory = Directory::new(DirectoryConfig {
        dcs: vec![format!("ldaps://{host}").parse::<DcAddress>()?.at(address.parse()?)],
        ca_pem: std::fs::read(ca)?,
        connector: Connector::new(connector.clone(), Zeroizing::new(password.clone()))?,
        base: None,
        limits: Limits::default(),
    })?;
    let (mut finds, mut begins, mut resets) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let at = Instant::now();
        let guid = directory.find_user(&UserName::parse(user)?).await?.guid;
        finds.push(at.elapsed());
        let at = Instant::now();
        let write = directory.begin_write(guid).await?;
        begins.push(at.elapsed());
        let new = NewPassword::parse(Zeroizing::new(
            format!("Latency-{number}-{:?}", Instant::now()).into_bytes(),
        ))?;
        let at = Instant::now();
        let done = write.reset(&new, false).await?;
        resets.push(at.elapsed());
        if number == 0 {
            println!("{:?}\n{done:?}", write.user());
        }
    }
    for (name, mut times) in [("find_user", finds), ("begin_write", begins), ("reset with read-back", resets)]
    {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(Duration::ZERO);
        println!("{name:24} p50 {:?} p95 {:?} max {:?}", at(50), at(95), at(99));
    }
    Ok(())
}
