//! `keyback scan`: logs of any size, and what the codes in them mean.

mod chart;
mod html;
mod inputs;
mod redact;
mod report;
mod unpack;

use crate::output::{self, BLIND, FOUND, Trouble};
use crate::page::Page;
use chart::Chart;
use inputs::Watcher;
use jiff::{SignedDuration, Timestamp};
use keyback_codes::scan::{Confidence, Event};
use redact::Redactor;
use report::{Collector, Finding, Report};
use serde::Serialize;
use serde_json::json;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What was asked for on the command line.
#[derive(clap::Args)]
pub struct ScanOptions {
    /// Files, folders and archives; `-` is standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// One JSON document on standard output
    #[arg(long, conflicts_with = "events")]
    json: bool,
    /// One JSON line for each event, as it is found
    #[arg(long, conflicts_with = "html")]
    events: bool,
    /// Show names, addresses and tenants as they stand; secrets are never shown
    #[arg(long)]
    show: bool,
    /// Only what happened since then: a date, a time, or a span such as 7d, 24h, 30m
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// At most this many codes in the terminal's report; a page and a document hold all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Write the report as a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A date, which begins at midnight UTC, a time, or how long ago.
pub fn since(text: &str) -> Result<Timestamp, String> {
    let unreadable =
        || "write a date (2026-03-01), a time (2026-03-01T06:00:00Z) or a span (7d, 24h, 30m)".to_owned();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_err(|_| unreadable());
    }
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let count: i64 = digits.parse().map_err(|_| unreadable())?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(unreadable()),
    };
    let now = keyback_core::Clock::now(&keyback_core::SystemClock).as_micros();
    let now = Timestamp::from_microsecond(now).map_err(|_| unreadable())?;
    now.checked_sub(SignedDuration::from_secs(count.saturating_mul(seconds))).map_err(|_| unreadable())
}

/// `scan PATH...`.
pub fn run(options: &ScanOptions) -> Result<ExitCode, Trouble> {
    let began = Instant::now();
    let redactor = Redactor::new(options.show);
    if options.events {
        let mut printer =
            Printer { out: BufWriter::new(io::stdout().lock()), since: options.since, any: false, looked: 0 };
        read_all(&options.paths, &mut printer);
        let _ = printer.out.flush();
        return Ok(exit(printer.any, printer.looked));
    }
    let bar = io::stderr().is_terminal().then(|| {
        let style =
            indicatif::ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = indicatif::ProgressBar::new(inputs::length_of(&options.paths));
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar
    });
    let mut collector = Collector::new(&redactor, options.since, bar.clone());
    read_all(&options.paths, &mut collector);
    let report = collector.finish();
    let took = began.elapsed();
    if let Some(file) = &options.html {
        write_html(file, &report, took)?;
    }
    if options.json {
        output::say_json(&as_json(&report, took))?;
    } else {
        output::say_styled(&describe(&report, options.top, took));
    }
    Ok(exit(report.findings.iter().any(Finding::is_failure), report.files))
}

fn exit(any: bool, looked: u64) -> ExitCode {
    match (any, looked) {
        (true, _) => ExitCode::from(FOUND),
        (false, 0) => ExitCode::from(BLIND),
        (false, _) => ExitCode::SUCCESS,
    }
}

fn read_all(paths: &[PathBuf], watcher: &mut dyn Watcher) {
    let (streams, paths): (Vec<_>, Vec<_>) = paths.iter().cloned().partition(|path| path == Path::new("-"));
    inputs::scan_paths(&paths, watcher);
    if !streams.is_empty() {
        inputs::scan_standard_input(watcher);
    }
}

/// `--events`: each event as it is found, on one line.
struct Printer<'a> {
    out: BufWriter<io::StdoutLock<'a>>,
    since: Option<Timestamp>,
    any: bool,
    looked: u64,
}

#[derive(Serialize)]
struct Found<'a> {
    file: &'a str,
    record: u64,
    line: u64,
    family: &'a str,
    code: &'a str,
    confidence: Confidence,
    time: Option<&'a str>,
    correlation_id: Option<&'a str>,
}

impl Watcher for Printer<'_> {
    fn event(&mut self, input: &str, event: Event) {
        if report::instant(&event).zip(self.since).is_some_and(|(time, since)| time < since) {
            return;
        }
        let entry = keyback_codes::catalogue::Entry::find(event.family, &event.code);
        self.any |= entry.is_none_or(|entry| entry.kind == keyback_codes::catalogue::Kind::Failure);
        let found = Found {
            file: input,
            record: event.record,
            line: event.line,
            family: event.family,
            code: &event.code,
            confidence: event.confidence,
            time: event.time.as_deref(),
            correlation_id: event.correlation_id.as_deref(),
        };
        // A reader that has gone away is no error.
        let _ = serde_json::to_writer(&mut self.out, &found)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
    }

    fn note(&mut self, input: &str, note: &str) {
        output::note(&format!("keyback: {}: {}", output::plain(input), output::plain(note)));
    }

    fn progress(&mut self, _: u64) {}

    fn looked(&mut self) {
        self.looked += 1;
    }
}

fn write_html(file: &Path, report: &Report, took: Duration) -> Result<(), Trouble> {
    let page = html::render(report, took).map_err(|error| Trouble::internal(error.to_string()))?;
    std::fs::write(file, page).map_err(|error| {
        Trouble::usage(
            format!("{} cannot be written: {error}", file.display()),
            "Give another file to --html.",
        )
    })
}

fn as_json(report: &Report, took: Duration) -> serde_json::Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let findings = report.findings.iter().map(|finding| {
        let (severity, severity_reason) = finding.severity();
        json!({
            "family": finding.family,
            "code": finding.code,
            "name": finding.entry.and_then(|entry| entry.name),
            "count": finding.count,
            "first_seen": time(finding.first_seen),
            "last_seen": time(finding.last_seen),
            "users": finding.users(),
            "more_users": finding.more_users(),
            "title": finding.entry.map(|entry| entry.title),
            "severity": severity,
            "severity_reason": severity_reason,
            "kind": finding.entry.map(|entry| entry.kind),
            "examples": finding.examples.iter().map(|example| json!({
                "file": example.file, "line": example.line, "record": example.record, "time": example.time,
                "correlation_id": example.correlation_id, "text": example.text,
            })).collect::<Vec<_>>(),
        })
    });
    let journeys = report.journeys.iter().map(|journey| {
        let steps = journey.steps.iter().map(|step| json!({ "time": time(step.time), "file": step.file, "family": step.family, "code": step.code, "title": step.title }));
        json!({ "correlation_id": journey.correlation_id, "user": journey.user, "files": journey.files(), "steps": steps.collect::<Vec<_>>() })
    });
    json!({
        "files": report.files,
        "bytes": report.bytes,
        "seconds": took.as_secs_f64(),
        "findings": findings.collect::<Vec<_>>(),
        "journeys": journeys.collect::<Vec<_>>(),
        "more_journeys": report.more_journeys.is_some(),
        "notes": report.notes.iter().map(|(file, note)| json!({ "file": file, "note": note })).collect::<Vec<_>>(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn describe(report: &Report, top: usize, took: Duration) -> String {
    let mut page = Page::new();
    let (failures, others): (Vec<&Finding>, Vec<&Finding>) =
        report.findings.iter().partition(|finding| finding.is_failure());
    let files = if report.files == 1 { "file" } else { "files" };
    let speed = report.bytes as f64 / took.as_secs_f64().max(0.001) / 1e6;
    page.title(&match failures.len() {
        0 => "No failures found".to_owned(),
        1 => "One code found".to_owned(),
        many => format!("{many} codes found"),
    });
    page.paragraph(
        "",
        &format!(
            "{} {files}, {:.1} MB in {:.2} s ({speed:.0} MB/s).",
            report.files,
            report.bytes as f64 / 1e6,
            took.as_secs_f64()
        ),
    );
    describe_chart(&mut page, report);
    if !failures.is_empty() {
        page.heading("WHAT WAS FOUND");
    }
    for finding in failures.iter().take(top) {
        describe_finding(&mut page, finding);
    }
    if failures.len() > top {
        page.paragraph(
            "  ",
            &format!("… and {} more codes; --top {} shows all.", failures.len() - top, failures.len()),
        );
    }
    describe_journeys(&mut page, report);
    if !others.is_empty() {
        page.heading("NOT FAILURES");
        for finding in others {
            let title = finding.entry.map_or("", |entry| entry.title);
            page.labelled(&finding.quoted(), &format!("{} × {title}", finding.count));
        }
    }
    if !report.notes.is_empty() {
        page.heading("NOTES");
        for (file, note) in &report.notes {
            page.paragraph("  ", &output::plain(&format!("{file}: {note}")));
        }
    }
    page.finish()
}

fn describe_chart(page: &mut Page, report: &Report) {
    let width = page.width().saturating_sub(10);
    let Some(chart) = Chart::of(&report.hours, width) else { return };
    page.heading("FAILURES OVER TIME");
    for row in chart.rows(5, width).iter().chain(&chart.axis(width)) {
        page.line(format!("  {row}").trim_end());
    }
    page.paragraph("  ", &format!("A bar is {}; times are UTC.", chart.unit()));
}

fn describe_finding(page: &mut Page, finding: &Finding) {
    let (severity, reason) = finding.severity();
    let name = finding.entry.and_then(|entry| entry.name).map(|name| format!("  {name}")).unwrap_or_default();
    page.line("");
    page.strong("  ", &finding.quoted(), &format!("{name}  {} ×", finding.count));
    page.paragraph("  ", finding.entry.map_or("Not in the catalogue.", |entry| entry.title));
    page.severity("  ", severity, &reason);
    let mut seen = Vec::new();
    if finding.users() > 0 {
        seen.push(finding.accounts());
    }
    if let (Some(first), Some(last)) = (finding.first_seen, finding.last_seen) {
        seen.push(if first == last {
            format!("at {first:.0}")
        } else {
            format!("first {first:.0}, last {last:.0}")
        });
    }
    if !seen.is_empty() {
        page.paragraph("  ", &format!("{}.", seen.join(", ")));
    }
    if let Some(example) = finding.examples.first() {
        page.quiet("  ", &output::plain(&format!("{} line {}", example.file, example.line)));
        page.quiet("    ", &example.text.chars().take(240).collect::<String>());
    }
    page.command(
        keyback_codes::catalogue::Shell::Sh,
        &format!("keyback explain {}:{}", finding.family, finding.code),
    );
}

fn describe_journeys(page: &mut Page, report: &Report) {
    let across = &report.journeys;
    if across.is_empty() {
        return;
    }
    page.heading("JOURNEYS");
    for journey in across.iter().take(10) {
        let user = journey.user.as_ref().map(|user| format!("  {user}")).unwrap_or_default();
        page.strong("  ", &journey.correlation_id, &user);
        for step in &journey.steps {
            let time = step.time.map(|time| format!("{time:.0}  ")).unwrap_or_default();
            let title = step.title.map(|title| format!(": {title}")).unwrap_or_default();
            page.paragraph("    ", &output::plain(&format!("{time}{}{title} ({})", step.quoted, step.file)));
        }
    }
    if across.len() > 10 {
        page.paragraph("  ", &format!("… and {} more; --json shows all.", across.len() - 10));
    }
    if let Some(more) = report.more_journeys {
        page.paragraph("  ", more);
    }
}
