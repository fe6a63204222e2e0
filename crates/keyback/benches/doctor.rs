//! `./bench doctor`: what one look costs, what a dead domain controller costs, and what `--all` costs over a raw paged read.
//!
//! The raw read and the pass run in this process, in turns, on connections of the same settings, with the same attributes
//! in pages of the same size; their rates are compared by their medians. Memory is that of the release binary.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result, ensure};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, EVERYONE, Limits, PAGES};
use keyback_agent::doctor::{Audience, Case, Setting, diagnose, diagnose_everyone};
use keyback_core::diagnosis::{Patient, Verdict};
use keyback_core::{SystemClock, UserName};
use keyback_testkit::lab::{Lab, Samba};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapDerefAliases, LdapFilter, LdapMsg, LdapOp, LdapSearchRequest,
    LdapSearchScope,
};
use ldap3_proto::{LdapCodec, LdapResultCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use zeroize::Zeroizing;

/// The comparison: nothing between the caller and the connection.
struct RawClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    codec: LdapCodec,
    buffer: BytesMut,
    number: i32,
}

impl RawClient {
    fn connect(lab: &Lab) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(lab.ca_file())? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(lab.fqdn().to_owned())?;
        let socket = TcpStream::connect(lab.ldaps())?;
        socket.set_nodelay(true)?;
        let stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, socket);
        let codec = LdapCodec::new(Some(64 << 20), None);
        let mut client = Self { stream, codec, buffer: BytesMut::new(), number: 0 };
        let (name, password) = lab.connector();
        let cred = LdapBindCred::Simple(password.to_owned());
        client
            .call(LdapOp::BindRequest(LdapBindRequest { version: 3, dn: name.to_owned(), cred }), vec![])?;
        Ok(client)
    }

    /// How many objects came, and where the page ends.
    fn call(&mut self, op: LdapOp, ctrl: Vec<LdapControl>) -> Result<(u64, Vec<u8>)> {
        self.number += 1;
        let mut bytes = BytesMut::new();
        self.codec.encode(LdapMsg { msgid: self.number, op, ctrl }, &mut bytes)?;
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        let mut objects = 0;
        let mut chunk = [0; 16 * 1024];
        loop {
            while let Some(message) = self.codec.decode(&mut self.buffer)? {
                if let LdapOp::SearchResultEntry(_) = message.op {
                    objects += 1;
                } else if let LdapOp::SearchResultDone(done) = message.op {
                    ensure!(done.code == LdapResultCode::Success, "{done:?}");
                    let cookie = message.ctrl.into_iter().find_map(|control| {
                        if let LdapControl::SimplePagedResults { cookie, .. } = control {
                            Some(cookie)
                        } else {
                            None
                        }
                    });
                    return Ok((objects, cookie.unwrap_or_default()));
                } else if let LdapOp::BindResponse(done) = message.op {
                    ensure!(done.res.code == LdapResultCode::Success, "{done:?}");
                    return Ok((0, Vec::new()));
                }
            }
            let length = self.stream.read(&mut chunk)?;
            ensure!(length > 0, "the domain controller closed the connection");
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }

    fn read_everyone(&mut self, base: &str) -> Result<u64> {
        let equals =
            |attribute: &str, value: &str| LdapFilter::Equality(attribute.to_owned(), value.to_owned());
        let filter = LdapFilter::And(vec![equals("objectCategory", "person"), equals("objectClass", "user")]);
        let (mut objects, mut cookie) = (0, Vec::new());
        loop {
            let search = LdapSearchRequest {
                base: base.to_owned(),
                scope: LdapSearchScope::Subtree,
                aliases: LdapDerefAliases::Never,
                sizelimit: 0,
                timelimit: 0,
                typesonly: false,
                filter: filter.clone(),
                attrs: EVERYONE.iter().map(|name| (*name).to_owned()).collect(),
            };
            let flags = LdapControl::Unknown {
                oid: "1.2.840.113556.1.4.801".to_owned(),
                criticality: true,
                value: Some(vec![0x30, 3, 2, 1, 7]),
            };
            let page = LdapControl::SimplePagedResults { size: PAGES[0], cookie };
            let (count, next) = self.call(LdapOp::SearchRequest(search), vec![page, flags])?;
            objects += count;
            cookie = next;
            if cookie.is_empty() {
                return Ok(objects);
            }
        }
    }
}

#[derive(Default)]
struct Counter {
    users: u64,
    faults: u64,
}

impl Audience for Counter {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn names(&mut self, _: u64) {}

    fn user(&mut self, _: Patient, verdicts: Vec<Verdict>, again: bool) {
        self.users += u64::from(!again);
        self.faults += verdicts.len() as u64;
    }
}

fn directory(lab: &Lab, dcs: Vec<DcAddress>) -> Result<Directory> {
    let (name, password) = lab.connector();
    Ok(Directory::new(DirectoryConfig {
        dcs,
        ca_pem: std::fs::read(lab.ca_file())?,
        connector: Connector::new(name.to_owned(), Zeroizing::new(password.to_owned()))?,
        base: None,
        limits: Limits::default(),
    })?)
}

fn address(lab: &Lab) -> Result<DcAddress> {
    Ok(format!("ldaps://{}", lab.fqdn()).parse::<DcAddress>()?.at(lab.ip()))
}

/// Accepts connections and says nothing.
async fn dead() -> Result<DcAddress> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(client) = listener.accept().await {
            held.push(client);
        }
    });
    Ok(format!("ldaps://dead.example:{}", address.port()).parse::<DcAddress>()?.at(address.ip()))
}

fn quantile(times: &mut [Duration], share: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * share).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, Duration::as_secs_f64)
}

async fn looks(directory: &Directory, users: u32, most: u32) -> Result<(Vec<Duration>, u32)> {
    let (mut times, mut questions) = (Vec::new(), 0);
    for number in 0..users {
        let name = UserName::parse(&format!("bench{:06}", number * 37 % most))?;
        let case = Case { name: &name, candidate: None, observed: None };
        let began = Instant::now();
        let diagnosis = diagnose(directory, &Setting::default(), &case, &SystemClock).await;
        times.push(began.elapsed());
        ensure!(diagnosis.user.dn.is_some(), "{name} was not found: {:?}", diagnosis.verdicts);
        questions = questions.max(diagnosis.round_trips);
    }
    Ok((times, questions))
}

/// Most memory that the command had, in MiB.
fn memory(lab: &Lab, binary: &str) -> Result<f64> {
    let password = tempfile::NamedTempFile::new()?;
    std::fs::write(password.path(), lab.connector().1)?; // 0600 by itself
    let mut command = Command::new(binary);
    command.args(["doctor", "--all", "--json", "--connector", lab.connector().0]);
    command.args(["--dc", &format!("ldaps://{}", lab.fqdn()), "--dc-address", &lab.ip().to_string()]);
    command.arg("--ca").arg(lab.ca_file()).arg("--password-file").arg(password.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut highest = 0_u64;
    while child.try_wait()?.is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        highest = highest.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(highest > 0, "its memory was never seen");
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(highest as f64 / 1024.0)
}

fn number(flag: &str, default: u32) -> u32 {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (users, pairs, rounds) = (number("--users", 20_000), number("--pairs", 3), number("--rounds", 100));
    let binary = std::env::var("KEYBACK_BENCH_BINARY").context("KEYBACK_BENCH_BINARY: the release binary")?;
    let lab = Lab::shared(Samba::V4_24)?;
    let one = directory(&lab, vec![address(&lab)?])?;

    let (mut times, questions) = looks(&one, rounds, users).await?;
    let (p50, p95) = (quantile(&mut times, 50), quantile(&mut times, 95));
    println!(
        "one user: {rounds} looks, p50 {:.1} ms, p95 {:.1} ms, {questions} questions at most",
        p50 * 1e3,
        p95 * 1e3
    );

    let second = DcAddress { host: "localhost".to_owned(), ..address(&lab)? };
    let three = directory(&lab, vec![dead().await?, address(&lab)?, second])?;
    let (mut times, _) = looks(&three, 10, users).await?;
    let with_dead = quantile(&mut times, 100);
    println!("three domain controllers, the first dead: 10 looks, slowest {with_dead:.2} s");

    let (mut raw, mut all) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        let began = Instant::now();
        let objects = RawClient::connect(&lab)?.read_everyone(lab.base_dn())?;
        raw.push(f64::from(u32::try_from(objects)?) / began.elapsed().as_secs_f64());
        let mut counter = Counter::default();
        let name = UserName::parse("everybody")?;
        let began = Instant::now();
        let census = diagnose_everyone(&one, &Setting::default(), &name, &SystemClock, &mut counter).await;
        all.push(f64::from(u32::try_from(counter.users)?) / began.elapsed().as_secs_f64());
        ensure!(census.passed.error.is_none(), "{:?}", census.passed.error);
        ensure!(counter.users == objects, "{} and {objects} objects", counter.users);
        let last = |rates: &[f64]| rates.last().copied().unwrap_or(0.0);
        println!(
            "pair {pair}: raw {:.0} objects/s, all {:.0} objects/s ({objects} objects, {} faults, {} questions)",
            last(&raw),
            last(&all),
            counter.faults,
            census.passed.examination.questions
        );
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(0.0)
    };
    let ratio = median(&mut all) / median(&mut raw);
    let memory = memory(&lab, &binary)?;

    let mut broken = false;
    println!("\n{:<52} {:>9}  bar", "figure", "seen");
    for (what, seen, bar, least) in [
        ("one user, all probes, p95, s", p95, 1.0, false),
        ("one user, questions", f64::from(questions), 12.0, false),
        ("three domain controllers, one dead, slowest, s", with_dead, 2.0, false),
        ("--all over a raw paged read, objects/s", ratio, 0.8, true),
        ("--all, most resident memory, MiB", memory, 128.0, false),
    ] {
        let good = if least { seen >= bar } else { seen <= bar };
        broken |= !good;
        let sign = if least { ">=" } else { "<=" };
        println!("{what:<52} {seen:>9.2}  {sign} {bar}{}", if good { "" } else { "  BROKEN" });
    }
    ensure!(!broken, "a bar is broken");
    Ok(())
}
