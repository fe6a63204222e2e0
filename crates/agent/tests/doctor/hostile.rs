//! Domain controllers that are none: whatever they send at whatever point, doctor ends in time with a clear answer.

use crate::support::*;
use anyhow::{Context, Result, ensure};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::doctor::Setting;
use keyback_core::diagnosis::{Diagnosis, State};
use keyback_testkit::hostile::{Evil, HOST, Hostile};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// A single question may take 4 s; the rest is what a busy machine adds.
const LONGEST: Duration = Duration::from_secs(8);
/// One answer may be 16 MiB, and five may be under way; decoded, they are larger.
const MOST_MEMORY: u64 = 200_000;

async fn directory_of(honest: usize, evil: Evil) -> Result<Directory> {
    let hostile = Hostile::start(honest, evil).await?;
    let dc = format!("ldaps://{HOST}:{}", hostile.address.port()).parse::<DcAddress>()?;
    Ok(Directory::new(DirectoryConfig {
        dcs: vec![dc.at(hostile.address.ip())],
        ca_pem: hostile.ca_pem.into_bytes(),
        connector: Connector::new("svc".to_owned(), Zeroizing::new("Conn-Pass1!".to_owned()))?,
        base: None,
        limits: Limits::default(),
    })?)
}

async fn examined(honest: usize, evil: Evil) -> Result<(Diagnosis, Duration)> {
    let directory = directory_of(honest, evil).await?;
    let (started, setting) = (Instant::now(), Setting::default());
    let diagnosis = doctor(&directory, &setting, "anybody", Some(&password("Some-Pass-1!")?), None).await?;
    Ok((diagnosis, started.elapsed()))
}

/// What this process needed at most, in KiB.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The causes that fit.
fn fits(evil: Evil, cause: &str) -> bool {
    match evil {
        Evil::Garbage | Evil::Nested | Evil::Huge | Evil::Endless | Evil::References | Evil::WrongId => {
            cause == "dc.protocol"
        }
        Evil::Drip | Evil::Notice | Evil::CutOff | Evil::Silent => cause == "dc.unreachable",
        Evil::Busy => cause == "dc.busy",
        Evil::Senseless => true,
    }
}

#[tokio::test]
async fn whatever_is_sent_at_whatever_point_doctor_ends_in_time_with_a_clear_answer() -> Result<()> {
    let before = peak_memory()?;
    let mut wrong = Vec::new();
    for evil in Evil::ALL {
        // At the sign-in, the rootDSE, the search for the user, and everything after it.
        let mut running = JoinSet::new();
        for honest in 0..=5 {
            running.spawn(async move { (honest, examined(honest, evil).await) });
        }
        while let Some(ended) = running.join_next().await {
            let (honest, examined) = ended?;
            let (diagnosis, took) = examined.with_context(|| format!("{evil:?} after {honest}"))?;
            check_form(&diagnosis)?;
            let said = verdicts(&diagnosis);
            let sure = |state| state == State::Confirmed || evil == Evil::Senseless;
            let clear = said.first().is_some_and(|(cause, state)| sure(*state) && fits(evil, cause));
            if !clear || took > LONGEST {
                wrong.push(format!("{evil:?} after {honest}: {took:?}, {said:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let grown = peak_memory()? - before;
    ensure!(grown < MOST_MEMORY, "{grown} KiB more at the peak");
    Ok(())
}
