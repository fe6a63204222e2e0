//! A diagnosis for a terminal: the verdict first, then what was read, as a tree.

use crate::output;
use crate::page::{HEAD, Page, QUIET};
use anstyle::{AnsiColor, Style};
use keyback_codes::catalogue;
use keyback_core::diagnosis::{Command, Diagnosis, Observation, ProbeOutcome, Shell, State, Verdict};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default();

/// Who it is and what is wrong, without what was read.
pub fn verdicts(page: &mut Page, diagnosis: &Diagnosis) {
    heading(page, diagnosis);
    let several = diagnosis.verdicts.len() > 1;
    for (number, verdict) in (1..).zip(&diagnosis.verdicts) {
        fault(page, diagnosis, verdict, several.then_some(number));
    }
}

/// The whole page.
pub fn render(diagnosis: &Diagnosis) -> String {
    let mut page = Page::new();
    verdicts(&mut page, diagnosis);
    if diagnosis.verdicts.iter().any(|verdict| verdict.fix.automatic) {
        page.line("");
        let text =
            format!("keyback doctor {} --fix shows the least change that mends it.", diagnosis.user.asked);
        page.paragraph("", &output::plain(&text));
    }
    observations(&mut page, diagnosis);
    if !diagnosis.ruled_out.is_empty() {
        let ids: Vec<&str> = diagnosis.ruled_out.iter().map(|cause| cause.id()).collect();
        page.heading("RULED OUT");
        page.paragraph("  ", &ids.join(", "));
    }
    page.line("");
    let dc = diagnosis.dc.as_deref().map_or_else(String::new, |dc| format!(" of {dc}"));
    let end = format!("{} questions{dc} in {:.2} s.", diagnosis.round_trips, diagnosis.seconds);
    page.line(&format!("{QUIET}{}{QUIET:#}", output::plain(&end)));
    page.finish()
}

fn heading(page: &mut Page, diagnosis: &Diagnosis) {
    let user = &diagnosis.user;
    let name = user.user_principal_name.as_ref().unwrap_or(&user.asked);
    page.line(&format!("{HEAD}{}{HEAD:#}", output::plain(name)));
    if let Some(dn) = &user.dn {
        page.paragraph("", &output::plain(dn));
    }
    page.line("");
    let confirmed = diagnosis.verdicts.iter().filter(|verdict| verdict.state == State::Confirmed).count();
    let others = diagnosis.verdicts.len() - confirmed;
    match (confirmed, others, &diagnosis.dc) {
        (0, 0, _) => {
            let text = format!("{GOOD}Nothing is wrong:{GOOD:#} a reset of this password should succeed.");
            page.line(&text);
        }
        (_, _, None) => page.line(&format!("{BAD}No domain controller could be asked.{BAD:#}")),
        (0, _, _) => {
            page.line(&format!("{DOUBT}Nothing is proven, and not everything could be read.{DOUBT:#}"));
        }
        (1, 0, _) => page.line(&format!("{BAD}One fault was found.{BAD:#}")),
        (confirmed, 0, _) => {
            page.line(&format!("{BAD}{confirmed} faults were found,{BAD:#} the first to mend first."));
        }
        (confirmed, others, _) => {
            page.line(&format!("{BAD}{confirmed} proven,{BAD:#} and {others} that could not be settled."));
        }
    }
}

fn fault(page: &mut Page, diagnosis: &Diagnosis, verdict: &Verdict, number: Option<usize>) {
    let (style, word) = match verdict.state {
        State::Confirmed => (BAD, "confirmed"),
        State::Unknown => (DOUBT, "unknown"),
        State::Possible => (DOUBT, "possible"),
    };
    let number = number.map(|number| format!("{number}. ")).unwrap_or_default();
    page.line(&format!(
        "\n{HEAD}{number}{}{HEAD:#}  {style}{word}{style:#}  {QUIET}{}{QUIET:#}",
        verdict.cause, verdict.code
    ));
    page.paragraph("   ", &output::plain(&verdict.summary));
    for id in &verdict.because {
        let Some(seen) = diagnosis.observation(id) else { continue };
        page.paragraph("   because  ", &output::plain(&seen.summary));
        for fact in seen.facts.iter().filter(|fact| fact.attribute == "nTSecurityDescriptor") {
            page.paragraph("            ", &output::plain(&fact.value));
        }
    }
    page.paragraph("   to mend  ", &output::plain(&verdict.fix.text));
    verdict.fix.commands.iter().for_each(|line| command(page, line));
    page.paragraph("   more     ", &format!("keyback explain {}", verdict.code));
}

/// A command line, as it is typed.
pub fn command(page: &mut Page, command: &Command) {
    let shell = match command.shell {
        Shell::Sh => catalogue::Shell::Sh,
        Shell::Powershell => catalogue::Shell::Powershell,
        Shell::Cmd => catalogue::Shell::Cmd,
    };
    page.command(shell, &output::plain(&command.line));
}

fn observations(page: &mut Page, diagnosis: &Diagnosis) {
    page.heading("WHAT WAS READ");
    let mut family = "";
    for seen in &diagnosis.observations {
        let own = seen.probe.split('.').next().unwrap_or_default();
        if own != family {
            family = own;
            page.line(&format!("  {HEAD}{family}{HEAD:#}"));
        }
        observation(page, seen);
    }
}

fn observation(page: &mut Page, seen: &Observation) {
    let (style, mark) = match seen.outcome {
        ProbeOutcome::Ok => (GOOD, "ok     "),
        ProbeOutcome::Found => (BAD, "found  "),
        ProbeOutcome::Unknown => (DOUBT, "unknown"),
        ProbeOutcome::NotApplicable => (QUIET, "-      "),
    };
    page.marked(&format!("    {mark}  "), mark.trim_end(), style, &output::plain(&seen.summary));
    if matches!(seen.outcome, ProbeOutcome::Ok | ProbeOutcome::NotApplicable) {
        return;
    }
    for fact in &seen.facts {
        let from = if seen.dn.as_deref() == Some(&*fact.from) {
            String::new()
        } else {
            format!("  ({})", fact.from)
        };
        page.paragraph("             ", &output::plain(&format!("{}: {}{from}", fact.attribute, fact.value)));
    }
    if let Some(needs) = &seen.needs {
        page.paragraph("             needs: ", &output::plain(needs));
    }
    if !seen.reproduce.is_empty() {
        page.command(catalogue::Shell::Sh, &output::plain(&seen.reproduce));
    }
}
