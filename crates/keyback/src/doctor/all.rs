//! `keyback doctor --all`: who in scope could not reset a password today, grouped by cause.

use super::html;
use super::roll::{Group, Line, Roll, Tally};
use crate::output::{self, BLIND, FOUND, Trouble};
use crate::page::{HEAD, Page, QUIET};
use anstyle::{AnsiColor, Style};
use clap::Args;
use keyback_ad::Directory;
use keyback_agent::doctor::{Census, Setting, diagnose_everyone};
use keyback_codes::catalogue;
use keyback_core::diagnosis::{Shell, State};
use keyback_core::{SystemClock, UserName};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What `--all` takes beside what doctor takes.
#[derive(Args)]
pub struct AllOptions {
    /// Instead of USER: everybody in scope
    #[arg(long, conflicts_with_all = ["user", "candidate_file", "reply", "fix", "undo"])]
    pub all: bool,
    /// With --all: one row for each fault of each user
    #[arg(long, value_name = "FILE", requires = "all", conflicts_with_all = ["user", "job"])]
    csv: Option<PathBuf>,
    /// With --all: one JSON line for each user who is not ready, then one with the sums, on standard output
    #[arg(long, requires = "all", conflicts_with_all = ["json", "user", "job"])]
    json_lines: bool,
}

/// Where results go.
pub struct Outputs<'a> {
    pub json: bool,
    pub html: Option<&'a Path>,
}

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const DOUBT: Style = AnsiColor::Yellow.on_default();
/// Fixes of one cause that a terminal shows.
const FIXES: usize = 3;

/// `keyback doctor --all`.
pub async fn run(
    options: &AllOptions,
    outputs: &Outputs<'_>,
    directory: &Directory,
    setting: &Setting,
) -> Result<ExitCode, Trouble> {
    // Before the long part: a file that cannot be written is known at once.
    let csv = options.csv.as_deref().map(|file| html::create(file, "--csv")).transpose()?;
    let page = outputs.html.map(|file| html::create(file, "--html")).transpose()?;
    let bar = io::stderr().is_terminal().then(spinner);
    let mut roll = Roll::new(bar.clone());
    let all = UserName::parse("everybody").map_err(|error| Trouble::of(output::USAGE, &error))?;
    let census = diagnose_everyone(directory, setting, &all, &SystemClock, &mut roll).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let broken = |error: io::Error| Trouble::internal(format!("the result cannot be written: {error}"));
    let tally = roll.tally().map_err(broken)?;
    let result = Outcome { tally, census };
    if let Some(csv) = csv {
        write_csv(&mut roll, csv).map_err(broken)?;
    }
    if let Some(page) = page {
        html::write_all(page, &result).map_err(broken)?;
    }
    if outputs.json {
        write_json(&mut roll, &result, io::stdout().lock()).map_err(broken)?;
    } else if options.json_lines {
        write_json_lines(&mut roll, &result, io::stdout().lock()).map_err(broken)?;
    } else {
        output::say_styled(&describe(&result));
    }
    Ok(ExitCode::from(result.exit()))
}

fn spinner() -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner();
    if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {pos} {msg}, {per_sec}, {elapsed}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The sum, and how it was read.
pub struct Outcome {
    pub tally: Tally,
    pub census: Census,
}

impl Outcome {
    /// Why not everybody was looked at.
    pub fn incomplete(&self) -> Option<String> {
        let passed = &self.census.passed;
        let checked = self.tally.checked;
        match (&passed.error, &passed.examination.ground) {
            (Some(error), _) => {
                Some(format!("It was cut off after {checked} users: {}.", output::chain(error)))
            }
            (None, None) => Some("No domain controller could be asked.".to_owned()),
            (None, Some(ground)) if checked == 0 => {
                Some(format!("{} shows the connector account no user in scope.", ground.dc))
            }
            (None, Some(_)) if passed.too_many_shared => Some(
                "More names are shared than are looked into: not everybody who shares one is listed."
                    .to_owned(),
            ),
            (None, Some(_)) => None,
        }
    }

    /// The one that was asked.
    pub fn dc(&self) -> Option<&str> {
        self.census.passed.examination.ground.as_ref().map(|ground| ground.dc.as_str())
    }

    pub fn seconds(&self) -> f64 {
        self.census.passed.examination.took.as_secs_f64()
    }

    fn exit(&self) -> u8 {
        match &self.tally {
            tally if tally.not_ready > 0 => FOUND,
            tally if tally.unknown > 0 || self.incomplete().is_some() => BLIND,
            _ => 0,
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let tally = &self.tally;
        json!({
            "checked": tally.checked,
            "ready": tally.ready,
            "not_ready": tally.not_ready,
            "unknown": tally.unknown,
            "seconds": self.seconds(),
            "dc": self.dc(),
            "round_trips": self.census.passed.examination.questions,
            "incomplete": self.incomplete(),
            "way": if self.dc().is_none() { &self.census.way.verdicts[..] } else { &[] },
            "causes": tally.groups,
        })
    }
}

fn user_json(line: &Line) -> serde_json::Value {
    let verdicts = line.verdicts.iter().map(|verdict| {
        json!({ "cause": verdict.cause, "state": verdict.state, "code": verdict.code, "summary": verdict.summary })
    });
    json!({
        "dn": line.dn,
        "objectGUID": line.object_guid,
        "userPrincipalName": line.user_principal_name,
        "verdicts": verdicts.collect::<Vec<_>>(),
    })
}

/// The sums first, then the users one by one: never all of them in memory.
fn write_json(roll: &mut Roll, result: &Outcome, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    let head = result.as_json().to_string();
    let open = head.strip_suffix('}').unwrap_or(&head);
    write!(out, "{open},\"users\":[")?;
    let mut before = "\n";
    roll.each(|line| {
        write!(out, "{before}{}", user_json(&line))?;
        before = ",\n";
        Ok(())
    })?;
    writeln!(out, "\n]}}")?;
    out.flush()
}

fn write_json_lines(roll: &mut Roll, result: &Outcome, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    roll.each(|line| writeln!(out, "{}", user_json(&line)))?;
    writeln!(out, "{}", result.as_json())?;
    out.flush()
}

fn write_csv(roll: &mut Roll, file: File) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    out.write_all(b"dn,objectGUID,userPrincipalName,cause,state,code,summary\r\n")?;
    roll.each(|line| {
        for verdict in &line.verdicts {
            let guid = line.object_guid.map(|guid| guid.to_string());
            let cells = [
                line.dn.as_deref().unwrap_or_default(),
                guid.as_deref().unwrap_or_default(),
                line.user_principal_name.as_deref().unwrap_or_default(),
                verdict.cause.id(),
                word(verdict.state),
                &verdict.code.to_string(),
                &verdict.summary,
            ];
            let row: Vec<String> = cells.into_iter().map(cell).collect();
            write!(out, "{}\r\n", row.join(","))?;
        }
        Ok(())
    })?;
    out.flush()
}

/// In quotes (RFC 4180), and nothing that a spreadsheet would calculate.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// A state in a word.
pub const fn word(state: State) -> &'static str {
    match state {
        State::Confirmed => "confirmed",
        State::Unknown => "unknown",
        State::Possible => "possible",
    }
}

fn describe(result: &Outcome) -> String {
    let mut page = Page::new();
    let Tally { checked, ready, not_ready, unknown, groups } = &result.tally;
    page.title(&format!("{ready} of {checked} users are ready"));
    page.line("");
    page.line(&format!("  {GOOD}{ready:>8}{GOOD:#}  could reset their password today"));
    page.line(&format!("  {BAD}{not_ready:>8}{BAD:#}  could not, or signing in would still fail"));
    if *unknown > 0 {
        page.line(&format!("  {DOUBT}{unknown:>8}{DOUBT:#}  not known: something could not be read"));
    }
    if let Some(why) = result.incomplete() {
        page.line("");
        page.marked("", "Not everybody.", DOUBT, &format!("Not everybody. {}", output::plain(&why)));
    }
    if result.dc().is_none() {
        for verdict in &result.census.way.verdicts {
            page.line(&format!("\n{HEAD}{}{HEAD:#}  {QUIET}{}{QUIET:#}", verdict.cause, verdict.code));
            page.paragraph("   ", &output::plain(&verdict.summary));
            page.paragraph("   to mend  ", &output::plain(&verdict.fix.text));
        }
    }
    for group in groups {
        describe_group(&mut page, group);
    }
    page.line("");
    let rate = f64::from(u32::try_from(*checked).unwrap_or(u32::MAX)) / result.seconds().max(0.001);
    let dc = result.dc().map_or_else(String::new, |dc| format!(" of {dc}"));
    let questions = result.census.passed.examination.questions;
    let end = format!("{questions} questions{dc} in {:.1} s, {rate:.0} users a second.", result.seconds());
    page.quiet("", &output::plain(&end));
    page.finish()
}

fn describe_group(page: &mut Page, group: &Group) {
    let style = if group.state == State::Confirmed { BAD } else { DOUBT };
    let people = if group.count == 1 { "user" } else { "users" };
    page.line(&format!(
        "\n{HEAD}{} {people}: {}{HEAD:#}  {style}{}{style:#}  {QUIET}{}{QUIET:#}",
        group.count,
        group.cause,
        word(group.state),
        group.code
    ));
    page.paragraph("   ", group.summary);
    for dn in &group.examples {
        page.paragraph("   - ", &output::plain(dn));
    }
    let more = group.count.saturating_sub(group.examples.len() as u64);
    if more > 0 {
        page.line(&format!("   - and {more} more"));
    }
    for fix in group.fixes.iter().take(FIXES) {
        let whom = if group.fixes.len() > 1 {
            format!("   to mend {}  ", fix.count)
        } else {
            "   to mend  ".to_owned()
        };
        page.paragraph(&whom, &output::plain(&fix.text));
        if let Some(command) = fix.commands.first() {
            page.command(shell(command.shell), &output::plain(&command.line));
        }
    }
    if group.fixes.len() > FIXES {
        page.line(&format!("   and {} other places; --html and --json name them", group.fixes.len() - FIXES));
    }
}

const fn shell(shell: Shell) -> catalogue::Shell {
    match shell {
        Shell::Sh => catalogue::Shell::Sh,
        Shell::Powershell => catalogue::Shell::Powershell,
        Shell::Cmd => catalogue::Shell::Cmd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_calculated_or_ends_early() {
        for (text, expected) in [
            ("CN=a,DC=b", "\"CN=a,DC=b\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@a", "\"'@a\""),
            ("\t=1", "\"'\t=1\""),
            ("a\r\nb", "\"a\r\nb\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
