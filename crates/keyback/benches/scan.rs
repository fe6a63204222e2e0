//! `./bench scan`: `keyback scan --events` beside ripgrep and jq, on files that are warm in the page cache.
//!
//! The inputs are made from a seed (KEYBACK_BENCH_SEED, printed) and kept in target/bench-scan; KEYBACK_BENCH_MB sets their
//! size. Each round runs every command once, in turns; the figures are medians over the rounds.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result, ensure};
use keyback_testkit::random::Random;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What somebody would give ripgrep to find the same families.
const FIFTEEN: &str = r#"AADSTS[0-9]{5,8}
SSPR_[0-9]{4}
DM_GWPipeline_\w+
DMTS_\w+
ModelRefreshFailed_\w+
UserError\w+
hr=[0-9A-Fa-f]{8}
0x[0-9A-Fa-f]{8}
\b0000[0-9A-F]{4}: 
\bdata [0-9a-f]{3},
[Ee]rror[Cc]ode"?[:=] ?"?[1-9][0-9]*
LDAP[^\n]{0,20}\b[0-9]{1,2}\b
\b(NT_)?STATUS_[A-Z_]+
\bERROR_[A-Z_]+
(KDC|KRB_AP)_ERR_[A-Z_]+
"#;
/// Of a hundred thousand records, how many are failures.
const FAILURES: usize = 200;

fn guid(random: &mut Random) -> String {
    let mut hex = String::new();
    for _ in 0..16 {
        let _ = write!(hex, "{:02x}", random.below(256)); // a String takes everything
    }
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn gateway(random: &mut Random) -> String {
    let head = |random: &mut Random, level: &str, kind: &str| {
        let (a, b, c) = (guid(random), guid(random), guid(random));
        format!(
            "DM.EnterpriseGateway {level}: 0 : 2026-03-02T04:05:06.1234567Z DM.EnterpriseGateway\t{a}\t{b}\t{kind}\t{c}\t{:08X} [DM.GatewayCore] ",
            random.below(1 << 31)
        )
    };
    if random.below(100_000) < FAILURES {
        let (app, trace, correlation) = (guid(random), guid(random), guid(random));
        return format!(
            "{}GatewayPipelineErrorCode=DM_GWPipeline_Gateway_MashupDataAccessError\r\nInnerMessage=<pi>AADSTS700016: Application with identifier '{app}' was not found.\r\n\
             Trace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: 2026-03-02 04:05:06Z</pi>\r\n",
            head(random, "Error", "MGPP")
        );
    }
    let (top, took) = (random.below(100_000), random.below(100_000));
    format!(
        "{}Executing query (timeout={took}) \"<pi>SELECT TOP ({top}) [t0].[FiscalYear] FROM [dbo].[Sales] AS [t0]</pi>\"\r\n",
        head(random, "Information", "MGEQ")
    )
}

fn sign_in(random: &mut Random) -> String {
    let code = if random.below(100_000) < FAILURES { [50_126, 50_053, 53_003][random.below(3)] } else { 0 };
    let (id, user, app, correlation) = (guid(random), guid(random), guid(random), guid(random));
    format!(
        "{{\"id\":\"{id}\",\"createdDateTime\":\"2026-03-02T04:05:06.1234567Z\",\"userDisplayName\":\"Ada Devries\",\"userPrincipalName\":\"ada{}@example.org\",\"userId\":\"{user}\",\"appId\":\"{app}\",\
         \"appDisplayName\":\"Power BI Service\",\"ipAddress\":\"203.0.113.191\",\"clientAppUsed\":\"Browser\",\"correlationId\":\"{correlation}\",\"conditionalAccessStatus\":\"notApplied\",\"isInteractive\":true,\
         \"riskDetail\":\"none\",\"riskState\":\"none\",\"resourceDisplayName\":\"Power BI Service\",\"status\":{{\"errorCode\":{code},\"failureReason\":\"Other.\",\"additionalDetails\":null}},\
         \"deviceDetail\":{{\"deviceId\":\"\",\"operatingSystem\":\"Windows 11\",\"browser\":\"Edge 130.0.0\"}},\"location\":{{\"city\":\"Utrecht\",\"countryOrRegion\":\"NL\"}}}}\n",
        random.below(100_000)
    )
}

/// A file of this size, made once: a part of 32 MiB, over and over.
fn input(
    folder: &Path,
    name: &str,
    megabytes: u64,
    seed: u64,
    wide: bool,
    record: fn(&mut Random) -> String,
) -> Result<PathBuf> {
    let path = folder.join(format!("{name}-{megabytes}-{seed}"));
    if fs::metadata(&path).is_ok_and(|found| found.len() >= megabytes << 20) {
        return Ok(path);
    }
    println!("making {}", path.display());
    let mut random = Random::seeded(seed);
    let mut part = Vec::new();
    while part.len() < 32 << 20 {
        let text = record(&mut random);
        if wide {
            part.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        } else {
            part.extend(text.bytes());
        }
    }
    let mut file = BufWriter::new(File::create(&path)?);
    let mut written = 0;
    if wide {
        file.write_all(&[0xff, 0xfe])?;
    }
    while written < megabytes << 20 {
        file.write_all(&part)?;
        written += part.len() as u64;
    }
    file.flush()?;
    Ok(path)
}

/// One command, and how long each of its runs took.
struct Contender {
    name: String,
    command: Vec<String>,
    bytes: u64,
    seconds: Vec<f64>,
    peak_kib: u64,
}

impl Contender {
    fn new(name: &str, command: &[&str], input: &Path) -> Result<Self> {
        let mut command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        command.push(input.to_string_lossy().into_owned());
        Ok(Self {
            name: name.to_owned(),
            command,
            bytes: fs::metadata(input)?.len(),
            seconds: Vec::new(),
            peak_kib: 0,
        })
    }

    /// The output goes down a pipe and is thrown away: told that nobody looks, ripgrep would stop at its first match.
    fn run(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut child = Command::new("/usr/bin/time")
            .args(["-f", "%M", "--"])
            .args(&self.command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("GNU time is missing")?;
        let mut out = child.stdout.take().context("stdout")?;
        let drained = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let output = child.wait_with_output()?;
        self.seconds.push(began.elapsed().as_secs_f64());
        drained.join().map_err(|_| anyhow::anyhow!("the pipe broke"))??;
        let said = String::from_utf8_lossy(&output.stderr);
        let peak = said.lines().rev().find_map(|line| line.trim().parse().ok());
        self.peak_kib = self.peak_kib.max(peak.with_context(|| format!("{}: {said}", self.name))?);
        ensure!(
            output.status.code().is_some_and(|code| code < 2),
            "{} ended with {}: {said}",
            self.name,
            output.status
        );
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    #[expect(clippy::cast_precision_loss, reason = "gigabytes")]
    fn gigabytes_a_second(&self) -> f64 {
        self.bytes as f64 / self.median() / 1e9
    }
}

fn race(contenders: &mut [Contender], rounds: usize) -> Result<()> {
    for contender in &mut *contenders {
        contender.run()?; // warm
        contender.seconds.clear();
    }
    for _ in 0..rounds {
        for contender in &mut *contenders {
            contender.run()?;
        }
    }
    for contender in contenders {
        let raw: Vec<String> = contender.seconds.iter().map(|seconds| format!("{seconds:.3}")).collect();
        println!(
            "  {:<34} {:6.2} GB/s  median {:.3} s  peak {} MiB   {}",
            contender.name,
            contender.gigabytes_a_second(),
            contender.median(),
            contender.peak_kib / 1024,
            raw.join(" ")
        );
    }
    Ok(())
}

fn bar(name: &str, value: f64, least: f64, unit: &str) -> bool {
    let holds = value >= least;
    println!("  {} {name}: {value:.2} {unit} (bar {least:.2})", if holds { "holds " } else { "BROKEN" });
    holds
}

#[expect(clippy::too_many_lines, reason = "one run, top to bottom")]
fn main() -> Result<()> {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let (megabytes, seed, rounds) =
        (number("KEYBACK_BENCH_MB", 1024), number("KEYBACK_BENCH_SEED", 20_261_124), 5);
    let binary = std::env::var("KEYBACK_BENCH_BINARY").context("run it by ./bench scan")?;
    let folder =
        Path::new(&binary).parent().and_then(Path::parent).context("the target folder")?.join("bench-scan");
    fs::create_dir_all(&folder)?;
    println!(
        "scan: {megabytes} MiB each, seed {seed}, {rounds} rounds after one that warms; {FAILURES} failures in 100,000 records"
    );
    let patterns = folder.join("fifteen-patterns");
    fs::write(&patterns, FIFTEEN)?;
    let patterns = patterns.to_string_lossy().into_owned();
    let ours = [binary.as_str(), "scan", "--events"];

    let log = input(&folder, "gateway.log", megabytes, seed, false, gateway)?;
    let mut gateway_race = [
        Contender::new("keyback, gateway log", &ours, &log)?,
        Contender::new("rg -o 'AADSTS[0-9]+'", &["rg", "-j1", "-o", "AADSTS[0-9]+"], &log)?,
        Contender::new(
            "the same without mapping the file",
            &["rg", "-j1", "--no-mmap", "-o", "AADSTS[0-9]+"],
            &log,
        )?,
        Contender::new("rg -o -f, fifteen patterns", &["rg", "-j1", "-o", "-f", &patterns], &log)?,
    ];
    race(&mut gateway_race, rounds)?;

    let json = input(&folder, "sign-ins.ndjson", megabytes, seed, false, sign_in)?;
    let cut = input(&folder, "sign-ins-cut.ndjson", megabytes.min(64), seed, false, sign_in)?;
    let mut sign_in_race = [
        Contender::new("keyback, sign-in NDJSON", &ours, &json)?,
        Contender::new(
            "rg -o '\"errorCode\": ?[1-9][0-9]*'",
            &["rg", "-j1", "-o", "\"errorCode\": ?[1-9][0-9]*"],
            &json,
        )?,
        Contender::new("rg, a plain literal", &["rg", "-j1", "-o", "AADSTS"], &json)?,
        Contender::new(
            "jq, 64 MiB of it",
            &["jq", "-c", "select(.status.errorCode != 0) | .status.errorCode"],
            &cut,
        )?,
    ];
    race(&mut sign_in_race, rounds)?;

    let wide = input(&folder, "gateway-utf16.log", megabytes / 2, seed, true, gateway)?;
    let mut wide_race = [
        Contender::new("keyback, UTF-16", &ours, &wide)?,
        Contender::new("rg, UTF-16", &["rg", "-j1", "-o", "AADSTS[0-9]+"], &wide)?,
    ];
    race(&mut wide_race, rounds)?;
    let small = folder.join("small.log");
    fs::write(&small, "AADSTS50126: wrong\n")?;
    let mut explain = Contender {
        command: vec![binary.clone(), "explain".to_owned(), "AADSTS120008".to_owned()],
        ..Contender::new("keyback explain", &[], &small)?
    };
    let mut nothing = Contender {
        command: vec!["true".to_owned()],
        ..Contender::new("starting a process (true)", &[], &small)?
    };
    for _ in 0..21 {
        nothing.run()?;
        explain.run()?;
    }

    println!("\nfigures");
    let rate = Contender::gigabytes_a_second;
    let mut good = true;
    let [keyback, literal, read, fifteen] = &gateway_race;
    good &= bar("gateway log over rg's literal", rate(keyback) / rate(literal), 0.8, "times");
    println!("         (over the same without mapping the file: {:.2} times)", rate(keyback) / rate(read));
    good &= bar("gateway log over rg's fifteen patterns", rate(keyback) / rate(fifteen), 5.0, "times");
    let [keyback, bare, plain, jq] = &sign_in_race;
    good &= bar("sign-ins over rg's bare numbers", rate(keyback) / rate(bare), 2.0, "times");
    good &= bar("sign-ins over jq", rate(keyback) / rate(jq), 30.0, "times");
    // The bar of 2 GB/s was set where rg's plain literal search reaches 10.
    good &= bar(
        "sign-ins, at a machine of this speed",
        rate(keyback),
        2.0 * (rate(plain) / 10.0).min(1.0),
        "GB/s",
    );
    let [keyback, rg] = &wide_race;
    good &= bar("UTF-16 over rg", rate(keyback) / rate(rg), 1.5, "times");
    let peak = [&gateway_race[0], &sign_in_race[0], &wide_race[0]]
        .map(|it| it.peak_kib)
        .into_iter()
        .max()
        .unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let peak = peak as f64 / 1024.0;
    good &= bar("64 MiB over peak memory", 64.0 / peak, 1.0, &format!("times ({peak:.1} MiB)"));
    let (whole, start) = (explain.median() * 1000.0, nothing.median() * 1000.0);
    println!(
        "         (explain took {whole:.1} ms with GNU time and a pipe around it, of which {start:.1} ms for a process that does nothing)"
    );
    good &= bar(
        "10 ms over explain, process start included",
        10.0 / (whole - start).max(0.1),
        1.0,
        &format!("times ({:.1} ms)", whole - start),
    );
    ensure!(good, "a bar is broken");
    Ok(())
}
