//! `./bench scan`: `keyback scan --events` beside ripgrep and jq, on files that are warm in the page cache.
//!
//! The inputs are made from a seed (KEYBACK_BENCH_SEED, printed) and kept in target/bench-scan; KEYBACK_BENCH_MB sets their
//! size, and KEYBACK_BENCH_FAILURES how many of a hundred thousand records are failures (200 and 5000 where it is not set: the
//! bars are held against the first, the figures of the second are printed). "Reading" is what remains where nothing is
//! looked at: no scanner that reads a file can be faster. Each round runs every command once, in turns; the figures are medians over the rounds.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result, ensure};
use keyback_testkit::random::Random;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What somebody would give ripgrep to find the same families, where each pattern begins with a literal.
const FIFTEEN_LITERAL: &str = r#"AADSTS[0-9]{5,8}
SSPR_[0-9]{4}
DM_GWPipeline_\w+
DMTS_\w+
ModelRefreshFailed_\w+
UserError\w+
hr=[0-9A-Fa-f]{8}
0x[0-9A-Fa-f]{8}
LdapErr: DSID-[0-9A-F]{8}
SvcErr: DSID-[0-9A-F]{8}
errorCode"?[:=] ?"?[1-9][0-9]*
NT_STATUS_[A-Z_]+
ERROR_[A-Z_]+
KDC_ERR_[A-Z_]+
KRB_AP_ERR_[A-Z_]+
"#;
/// The same, as somebody would write it who wants every spelling: some begin with no literal.
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
/// Of a hundred thousand records, how many are failures: where nothing breaks, and where something does.
const FAILURES: [usize; 2] = [200, 5000];

fn guid(random: &mut Random) -> String {
    let mut hex = String::new();
    for _ in 0..16 {
        let _ = write!(hex, "{:02x}", random.below(256)); // a String takes everything
    }
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn gateway(random: &mut Random, failures: usize) -> String {
    let head = |random: &mut Random, level: &str, kind: &str| {
        let (a, b, c) = (guid(random), guid(random), guid(random));
        format!(
            "DM.EnterpriseGateway {level}: 0 : 2026-03-02T04:05:06.1234567Z DM.EnterpriseGateway\t{a}\t{b}\t{kind}\t{c}\t{:08X} [DM.GatewayCore] ",
            random.below(1 << 31)
        )
    };
    if random.below(100_000) < failures {
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

fn sign_in(random: &mut Random, failures: usize) -> String {
    let code = if random.below(100_000) < failures { [50_126, 50_053, 53_003][random.below(3)] } else { 0 };
    let (id, user, app, correlation) = (guid(random), guid(random), guid(random), guid(random));
    format!(
        "{{\"id\":\"{id}\",\"createdDateTime\":\"2026-03-02T04:05:06.1234567Z\",\"userDisplayName\":\"Ada Devries\",\"userPrincipalName\":\"ada{}@example.org\",\"userId\":\"{user}\",\"appId\":\"{app}\",\
         \"appDisplayName\":\"Power BI Service\",\"ipAddress\":\"203.0.113.191\",\"clientAppUsed\":\"Browser\",\"correlationId\":\"{correlation}\",\"conditionalAccessStatus\":\"notApplied\",\"isInteractive\":true,\
         \"riskDetail\":\"none\",\"riskState\":\"none\",\"resourceDisplayName\":\"Power BI Service\",\"status\":{{\"errorCode\":{code},\"failureReason\":\"Other.\",\"additionalDetails\":null}},\
         \"deviceDetail\":{{\"deviceId\":\"\",\"operatingSystem\":\"Windows 11\",\"browser\":\"Edge 130.0.0\"}},\"location\":{{\"city\":\"Utrecht\",\"countryOrRegion\":\"NL\"}}}}\n",
        random.below(100_000)
    )
}

/// The files that are scanned: where they lie, how long they are, and from what they are made.
struct Inputs {
    folder: PathBuf,
    seed: u64,
    failures: usize,
}

impl Inputs {
    /// A file of this size, made once: a part of 32 MiB, over and over.
    fn make(
        &self,
        name: &str,
        megabytes: u64,
        wide: bool,
        record: fn(&mut Random, usize) -> String,
    ) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}-{megabytes}-{}-{}", self.seed, self.failures));
        if fs::metadata(&path).is_ok_and(|found| found.len() >= megabytes << 20) {
            return Ok(path);
        }
        println!("making {}", path.display());
        let mut random = Random::seeded(self.seed);
        let mut part = Vec::new();
        while part.len() < 32 << 20 {
            let text = record(&mut random, self.failures);
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
}

/// Gigabytes a second of `read` into a block like the scanner's, the best of five.
#[expect(clippy::cast_precision_loss, reason = "gigabytes")]
fn reading(path: &Path) -> Result<f64> {
    let mut block = vec![0; 256 * 1024 + 4096];
    let begin = block.as_ptr().align_offset(4096).min(4096);
    let block = &mut block[begin..begin + 256 * 1024];
    let mut best: f64 = 0.0;
    for _ in 0..5 {
        let (mut file, start, mut total) = (File::open(path)?, Instant::now(), 0_u64);
        loop {
            match file.read(block)? {
                0 => break,
                read => total += read as u64,
            }
        }
        best = best.max(total as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    println!("  {:<34} {best:6.2} GB/s", "reading, and nothing else");
    Ok(best)
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

fn main() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let megabytes = number("KEYBACK_BENCH_MB").unwrap_or(1024);
    let seed = number("KEYBACK_BENCH_SEED").unwrap_or(20_261_124);
    let failures = match number("KEYBACK_BENCH_FAILURES") {
        Some(failures) => vec![usize::try_from(failures)?],
        None => FAILURES.to_vec(),
    };
    let binary = std::env::var("KEYBACK_BENCH_BINARY").context("run it by ./bench scan")?;
    let folder =
        Path::new(&binary).parent().and_then(Path::parent).context("the target folder")?.join("bench-scan");
    fs::create_dir_all(&folder)?;
    println!("scan: {megabytes} MiB each, seed {seed}, {ROUNDS} rounds after one that warms");
    let mut good = explain(&binary, &folder)?;
    for (index, failures) in failures.into_iter().enumerate() {
        let inputs = Inputs { folder: folder.clone(), seed, failures };
        let holds = measure(&binary, &inputs, megabytes)?;
        if index == 0 {
            good &= holds;
        } else {
            println!("  (no bar was set for this share of failures)");
        }
    }
    ensure!(good, "a bar is broken");
    Ok(())
}

/// Runs of each command whose median counts.
const ROUNDS: usize = 5;

/// Every race at one share of failures; whether all bars hold.
fn measure(binary: &str, inputs: &Inputs, megabytes: u64) -> Result<bool> {
    println!("\n{} failures in 100,000 records", inputs.failures);
    let patterns = |name: &str, patterns: &str| -> Result<String> {
        let path = inputs.folder.join(name);
        fs::write(&path, patterns)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let (any, literal) = (patterns("fifteen", FIFTEEN)?, patterns("fifteen-literal", FIFTEEN_LITERAL)?);
    let ours = [binary, "scan", "--events"];

    let log = inputs.make("gateway.log", megabytes, false, gateway)?;
    let mut gateways = [
        Contender::new("keyback, gateway log", &ours, &log)?,
        Contender::new("rg -o 'AADSTS[0-9]+'", &["rg", "-j1", "-o", "AADSTS[0-9]+"], &log)?,
        Contender::new(
            "the same without mapping the file",
            &["rg", "-j1", "--no-mmap", "-o", "AADSTS[0-9]+"],
            &log,
        )?,
        Contender::new("rg -o -f, fifteen patterns", &["rg", "-j1", "-o", "-f", &any], &log)?,
        Contender::new("rg -o -f, each with a literal", &["rg", "-j1", "-o", "-f", &literal], &log)?,
    ];
    race(&mut gateways, ROUNDS)?;
    let read = reading(&log)?;

    let json = inputs.make("sign-ins.ndjson", megabytes, false, sign_in)?;
    let cut = inputs.make("sign-ins-cut.ndjson", megabytes.min(64), false, sign_in)?;
    let mut sign_ins = [
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
    race(&mut sign_ins, ROUNDS)?;

    let wide = inputs.make("gateway-utf16.log", megabytes / 2, true, gateway)?;
    let mut wides = [
        Contender::new("keyback, UTF-16", &ours, &wide)?,
        Contender::new("rg, UTF-16", &["rg", "-j1", "-o", "AADSTS[0-9]+"], &wide)?,
    ];
    race(&mut wides, ROUNDS)?;

    println!("figures at {} failures in 100,000 records", inputs.failures);
    let rate = Contender::gigabytes_a_second;
    let mut good = true;
    let [keyback, mapped, unmapped, any, literal] = &gateways;
    good &= bar("gateway log over rg's literal", rate(keyback) / rate(mapped), 0.8, "times");
    println!(
        "         (over the same without mapping the file: {:.2} times)",
        rate(keyback) / rate(unmapped)
    );
    println!("         (reading alone over rg's literal: {:.2} times)", read / rate(mapped));
    good &= bar("gateway log over rg's fifteen patterns", rate(keyback) / rate(any), 5.0, "times");
    good &= bar("the same, each with a literal", rate(keyback) / rate(literal), 5.0, "times");
    let [keyback, bare, plain, jq] = &sign_ins;
    good &= bar("sign-ins over rg's bare numbers", rate(keyback) / rate(bare), 2.0, "times");
    good &= bar("sign-ins over jq", rate(keyback) / rate(jq), 30.0, "times");
    // The bar of 2 GB/s was set where rg's plain literal search reaches 10.
    good &= bar(
        "sign-ins, at a machine of this speed",
        rate(keyback),
        2.0 * (rate(plain) / 10.0).min(1.0),
        "GB/s",
    );
    let [keyback, rg] = &wides;
    good &= bar("UTF-16 over rg", rate(keyback) / rate(rg), 1.5, "times");
    let peak = [&gateways[0], &sign_ins[0], &wides[0]].map(|it| it.peak_kib).into_iter().max();
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let peak = peak.unwrap_or(0) as f64 / 1024.0;
    good &= bar("64 MiB over peak memory", 64.0 / peak, 1.0, &format!("times ({peak:.1} MiB)"));
    Ok(good)
}

/// How long `keyback explain` takes, beside a process that does nothing.
fn explain(binary: &str, folder: &Path) -> Result<bool> {
    let small = folder.join("small.log");
    fs::write(&small, "AADSTS50126: wrong\n")?;
    let mut explain = Contender {
        command: vec![binary.to_owned(), "explain".to_owned(), "AADSTS120008".to_owned()],
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
    let (whole, start) = (explain.median() * 1000.0, nothing.median() * 1000.0);
    println!(
        "  explain took {whole:.1} ms with GNU time and a pipe around it, of which {start:.1} ms for a process that does nothing"
    );
    Ok(bar(
        "10 ms over explain, process start included",
        10.0 / (whole - start).max(0.1),
        1.0,
        &format!("times ({:.1} ms)", whole - start),
    ))
}
