//! `./bench writeback`: what keyback adds to the modify that sets a password.
//!
//! In one process, in turns: a raw LDAP client that sends the very same modify on a kept connection, and a browser that
//! submits the same through the portal and waits for the terminal state by server-sent events. Then eight browsers at
//! once. Everything is prepared before it is timed: users, proofs, pages. Prints raw numbers and the figures of the bars.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result, ensure};
use keyback_testkit::browser::{Browser, Form};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::walk::{SinkPage, job_of, prove};
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapDerefAliases, LdapFilter, LdapModify, LdapModifyRequest,
    LdapModifyType, LdapMsg, LdapOp, LdapPartialAttribute, LdapSearchRequest, LdapSearchScope,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

/// So many browsers stand before the last button at once: each keeps its connection meanwhile, as browsers do.
const WAITING: usize = 48;
const HINTS: &str = "1.2.840.113556.1.4.2239";

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
        let mut client = Self { stream, codec: LdapCodec::default(), buffer: BytesMut::new(), number: 0 };
        let (name, password) = lab.connector();
        let bind = LdapBindRequest {
            version: 3,
            dn: name.to_owned(),
            cred: LdapBindCred::Simple(password.to_owned()),
        };
        client.call(LdapOp::BindRequest(bind), vec![])?;
        Ok(client)
    }

    fn call(&mut self, op: LdapOp, ctrl: Vec<LdapControl>) -> Result<Vec<LdapOp>> {
        self.number += 1;
        let mut bytes = BytesMut::new();
        self.codec.encode(LdapMsg { msgid: self.number, op, ctrl }, &mut bytes)?;
        self.stream.write_all(&bytes)?;
        self.stream.flush()?;
        let mut answers = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            while let Some(message) = self.codec.decode(&mut self.buffer)? {
                if message.msgid != self.number {
                    continue;
                }
                let last =
                    !matches!(message.op, LdapOp::SearchResultEntry(_) | LdapOp::SearchResultReference(_));
                answers.push(message.op);
                if last {
                    return Ok(answers);
                }
            }
            let length = self.stream.read(&mut chunk)?;
            ensure!(length > 0, "the domain controller closed the connection");
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }

    fn pwd_last_set(&mut self, dn: &str) -> Result<Vec<u8>> {
        let request = LdapSearchRequest {
            base: dn.to_owned(),
            scope: LdapSearchScope::Base,
            aliases: LdapDerefAliases::Never,
            sizelimit: 1,
            timelimit: 0,
            typesonly: false,
            filter: LdapFilter::Present("objectClass".to_owned()),
            attrs: vec!["pwdLastSet".to_owned()],
        };
        for answer in self.call(LdapOp::SearchRequest(request), vec![])? {
            if let LdapOp::SearchResultEntry(entry) = answer {
                let value = entry.attributes.first().and_then(|attribute| attribute.vals.first().cloned());
                return value.context("no pwdLastSet");
            }
        }
        anyhow::bail!("{dn} is not there")
    }

    /// The modify that keyback sends, timed alone.
    fn set_password(&mut self, dn: &str, old: Option<&str>, new: &str) -> Result<Duration> {
        let quoted =
            |text: &str| format!("\"{text}\"").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let change = |operation, name: &str, value: Vec<u8>| LdapModify {
            operation,
            modification: LdapPartialAttribute { atype: name.to_owned(), vals: vec![value] },
        };
        let mut changes = vec![
            change(LdapModifyType::Delete, "pwdLastSet", self.pwd_last_set(dn)?),
            change(LdapModifyType::Add, "pwdLastSet", b"-1".to_vec()),
        ];
        let mut controls = Vec::new();
        if let Some(old) = old {
            changes.push(change(LdapModifyType::Delete, "unicodePwd", quoted(old)));
            changes.push(change(LdapModifyType::Add, "unicodePwd", quoted(new)));
        } else {
            changes.push(change(LdapModifyType::Replace, "unicodePwd", quoted(new)));
            controls.push(LdapControl::Unknown {
                oid: HINTS.to_owned(),
                criticality: true,
                value: Some(vec![0x30, 3, 2, 1, 1]),
            });
        }
        let started = Instant::now();
        let answer =
            self.call(LdapOp::ModifyRequest(LdapModifyRequest { dn: dn.to_owned(), changes }), controls)?;
        let took = started.elapsed();
        let done = matches!(answer.first(), Some(LdapOp::ModifyResponse(result)) if result.code == ldap3_proto::LdapResultCode::Success);
        ensure!(done, "the raw modify failed: {answer:?}");
        Ok(took)
    }
}

/// A browser that stands before the last button.
struct Ready {
    browser: Browser,
    form: Form,
}

fn prepare(
    url: &str,
    mailbox: &mut SinkPage,
    operation: &str,
    sam: &str,
    old: Option<&str>,
    new: &str,
) -> Result<Ready> {
    let mut browser = Browser::new(url)?;
    let page = prove(&mut browser, operation, sam, &format!("{sam}@ad.example"), mailbox)?;
    let mut form = page.form()?.fill("new", new)?.fill("repeat", new)?;
    if let Some(old) = old {
        form = form.fill("current", old)?;
    }
    Ok(Ready { browser, form })
}

/// From the click to the event that says it is over.
fn press(mut ready: Ready) -> Result<Duration> {
    let started = Instant::now();
    let answer = ready.browser.submit_only(&ready.form)?;
    ensure!(answer.status == 202, "{} {}", answer.status, answer.words());
    let job = job_of(&answer)?;
    let mut last = String::new();
    ready.browser.events(&format!("/jobs/{job}/events"), |data| {
        data.clone_into(&mut last);
        ["succeeded", "refused", "exhausted"].iter().any(|end| data.contains(&format!("\"{end}\"")))
    })?;
    let took = started.elapsed();
    ensure!(last.contains("\"succeeded\""), "the job did not succeed: {last}");
    Ok(took)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn percentile(times: &[Duration], p: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * p / 100).min(sorted.len() - 1)).map_or(f64::NAN, |time| ms(*time))
}

fn cpu_ms(pid: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?; // utime and stime, 100 a second on Linux
    Ok(ticks * 10.0)
}

fn resident_mib(pid: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("VmRSS")?.parse::<f64>()? / 1024.0)
}

fn show(name: &str, times: &[Duration]) {
    let (p50, p95, p99) = (percentile(times, 50), percentile(times, 95), percentile(times, 99));
    println!("  {name:<34} n={:<4} p50 {p50:7.2}  p95 {p95:7.2}  p99 {p99:7.2} ms", times.len());
    let raw: Vec<String> = times.iter().map(|time| format!("{:.1}", ms(*time))).collect();
    println!("    {}", raw.join(" "));
}

fn bar(name: &str, value: f64, limit: f64, unit: &str) -> bool {
    let holds = value <= limit;
    println!("  {} {name}: {value:.2} {unit} (bar {limit:.2})", if holds { "holds " } else { "BROKEN" });
    holds
}

fn argument(name: &str) -> Result<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().with_context(|| format!("usage: ./bench writeback ({name} is missing)"))
}

fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, mail_url, pid) = (argument("--url")?, argument("--mail-url")?, argument("--pid")?);
    let pairs: usize = argument("--pairs")?.parse()?;
    let crowd: usize = argument("--crowd")?.parse()?;
    let lab = Lab::shared(Samba::V4_24)?;
    let mut mailbox = SinkPage::new(&mail_url)?;
    let mut raw = RawClient::connect(&lab)?;
    let sam = |number: usize| format!("bench{number:06}");
    let dn = |number: usize| format!("CN={},OU=Bench,OU=Staff,{}", sam(number), lab.base_dn());
    let (old, mut next) = ("Bulk-Pass1!", 0);
    println!(
        "writeback: portal beside a raw client, {pairs} pairs each, then {crowd} resets by eight browsers"
    );

    let mut figures = Vec::new();
    for (operation, old) in [("reset", None), ("change", Some(old))] {
        let (mut raws, mut portals, mut spent) = (Vec::new(), Vec::new(), 0.0);
        for from in (next..next + pairs).step_by(WAITING) {
            let mut ready = Vec::new();
            for number in from..(from + WAITING).min(next + pairs) {
                let new = format!("Portal-{operation}-{number}!");
                ready.push((number, prepare(&url, &mut mailbox, operation, &sam(number), old, &new)?));
            }
            let before = cpu_ms(&pid)?;
            for (number, ready) in ready {
                let raw_user = number + pairs;
                raws.push(raw.set_password(&dn(raw_user), old, &format!("Raw-{operation}-{raw_user}!"))?);
                portals.push(press(ready)?);
            }
            spent += cpu_ms(&pid)? - before;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let cpu = spent / pairs as f64;
        show(&format!("raw {operation}"), &raws);
        show(&format!("portal {operation}"), &portals);
        figures.push((
            operation,
            percentile(&portals, 50),
            percentile(&portals, 50) - percentile(&raws, 50),
            cpu,
        ));
        next += 2 * pairs;
    }

    let mut crowded = Vec::new();
    for from in (next..next + crowd).step_by(WAITING) {
        let mut lines: Vec<Vec<Ready>> = (0..8).map(|_| Vec::new()).collect();
        for number in from..(from + WAITING).min(next + crowd) {
            let new = format!("Crowd-{number}!");
            lines[number % 8].push(prepare(&url, &mut mailbox, "reset", &sam(number), None, &new)?);
        }
        let start = Arc::new(Barrier::new(8));
        let threads: Vec<_> = lines
            .into_iter()
            .map(|line| {
                let start = Arc::clone(&start);
                std::thread::spawn(move || {
                    start.wait();
                    line.into_iter().map(press).collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        for thread in threads {
            crowded.extend(thread.join().map_err(|_| anyhow::anyhow!("a browser panicked"))??);
        }
    }
    show("portal reset, eight at once", &crowded);

    println!("\nfigures");
    let mut good = true;
    for (operation, _, added, cpu) in &figures {
        good &= bar(&format!("{operation}: p50 over raw, one client"), *added, 5.0, "ms");
        good &= bar(&format!("{operation}: own CPU an operation"), *cpu, 3.0, "ms");
    }
    let single = figures[0].1;
    good &= bar("eight clients: p99 over the single p50", percentile(&crowded, 99) / single, 10.0, "times");
    let operations = 2 * pairs + crowd;
    good &= bar(&format!("resident memory after {operations} operations"), resident_mib(&pid)?, 30.0, "MiB");
    let size = std::fs::metadata(argument("--binary")?)?.len();
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let size = size as f64 / 1_048_576.0;
    good &= bar("release binary", size, 30.0, "MiB");
    let version = Command::new("uname")
        .arg("-r")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("  {} on Linux {}", lab.env("AD_SAMBA"), version.unwrap_or_default());
    ensure!(good, "a bar is broken");
    Ok(())
}
