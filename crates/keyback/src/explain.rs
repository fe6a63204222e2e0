//! `keyback explain`: what a code means, for a reader at a terminal of any width.

mod site;

pub use site::write as write_site;

use crate::output::{self, FOUND, Trouble};
use crate::page::Page;
use keyback_codes::catalogue::{Basis, Entry, Kind};
use keyback_codes::explain::{Found, explain_code, explain_text};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// A pasted text longer than this is for `scan`.
const LONGEST_TEXT: u64 = 1 << 20;

/// `explain CODE...`: exit code 1 where one of them is not known.
pub fn run(codes: &[String], as_document: bool) -> Result<ExitCode, Trouble> {
    let found = look_up(&ask(codes)?);
    let unknown = found.is_empty() || found.iter().any(Found::is_unknown);
    if as_document {
        output::say_json(&found.iter().flat_map(Found::answers).collect::<Vec<_>>())?;
    } else if found.is_empty() {
        output::note(
            "No code was found in that text. `keyback explain --help` shows which spellings are read.",
        );
    } else {
        output::say_styled(&render(&found));
    }
    Ok(if unknown { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// The words on the command line; `-` or nothing reads standard input.
fn ask(codes: &[String]) -> Result<Vec<String>, Trouble> {
    if codes != ["-"] && !codes.is_empty() {
        return Ok(codes.to_vec());
    }
    if codes.is_empty() && std::io::stdin().is_terminal() {
        return Err(Trouble::usage(
            "no code was given",
            "Write one or more codes, or paste a whole error in quotes: keyback explain AADSTS120008",
        ));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(LONGEST_TEXT + 1).read_to_end(&mut bytes);
    read.map_err(|error| {
        Trouble::usage(format!("standard input cannot be read: {error}"), "Give the text as an argument.")
    })?;
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(Trouble::usage("the text is longer than 1 MiB", "Use `keyback scan -` for logs."));
    }
    Ok(vec![String::from_utf8_lossy(&bytes).into_owned()])
}

/// One word is a code; anything with blanks in it is a text that may hold several.
fn look_up(words: &[String]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut seen = BTreeSet::new();
    let one_text = words.len() > 1 && words.iter().any(|word| word.contains(char::is_whitespace));
    let words = if one_text { vec![words.join(" ")] } else { words.to_vec() };
    for word in &words {
        let answers = if word.trim().contains(char::is_whitespace) {
            explain_text(word)
        } else {
            vec![explain_code(word)]
        };
        for answer in answers {
            let key = answer
                .entries
                .first()
                .map_or_else(|| answer.query.clone(), |entry| format!("{}:{}", entry.family, entry.code));
            if seen.insert(key) {
                found.push(answer);
            }
        }
    }
    found
}

fn render(found: &[Found]) -> String {
    let mut page = Page::new();
    for (index, answer) in found.iter().enumerate() {
        if index > 0 {
            page.rule();
        }
        match answer.entries.split_first() {
            Some((entry, others)) => {
                write_entry(&mut page, entry);
                write_others(&mut page, others);
            }
            None => write_unknown(&mut page, answer),
        }
    }
    page.finish()
}

fn write_entry(page: &mut Page, entry: &Entry) {
    let name = entry.name.map(|name| format!("  {name}")).unwrap_or_default();
    let quoted = entry.quoted();
    if quoted.chars().count() + name.chars().count() <= page.width() {
        page.strong("", &quoted, &name);
    } else {
        page.strong("", &quoted, "");
        page.line(name.trim_start());
    }
    page.paragraph("", entry.title);
    page.line("");
    let (severity, reason) = entry.severity();
    page.severity("  Severity   ", severity, &reason);
    let shown = |page: &mut Page, label: &str, text: &str| page.paragraph(&format!("  {label:<10} "), text);
    if entry.kind == Kind::Failure {
        shown(page, "Retry", &sentence(entry.retry.said()));
    }
    shown(page, "Area", &sentence(entry.category.said()));
    if !entry.surfaces.is_empty() {
        shown(page, "Seen in", &sentence(&entry.surfaces.join(", ")));
    }
    if let Some(line) = entry.log_line {
        shown(page, "Look for", line);
    }
    if !entry.aliases.is_empty() {
        shown(page, "Also", &entry.aliases.join(", "));
    }

    page.heading("WHAT IT MEANS");
    page.paragraph("  ", entry.meaning);
    for note in entry.notes {
        page.line("");
        page.paragraph("  ", note.text);
    }

    page.heading("WHAT CAN BE BEHIND IT");
    for (number, cause) in entry.causes.iter().enumerate() {
        let id = cause.id.map(|id| format!("  [{id}]")).unwrap_or_default();
        page.paragraph(&format!("  {}. ", number + 1), &format!("{}{id}", cause.text));
        page.paragraph("     confirmed by  ", cause.confirm);
        page.paragraph("     ruled out by  ", cause.exclude);
    }

    page.heading("WHAT TO DO");
    for (number, fix) in entry.fixes.iter().enumerate() {
        page.paragraph(&format!("  {}. ", number + 1), fix.text);
        for command in fix.commands {
            page.command(command.shell, command.line);
        }
    }

    page.heading("RELATED");
    for related in entry.related {
        let other = related.code.split_once(':').and_then(|(family, code)| Entry::find(family, code));
        let (quoted, title) =
            other.map_or((related.code.to_owned(), ""), |other| (other.quoted(), other.title));
        page.labelled(&quoted, &format!("{}: {title}.", related.relation.said()));
    }

    page.heading("WHAT THIS RESTS ON");
    for (basis, source) in sources(entry) {
        page.paragraph("  ", &format!("{}: {source}", sentence_start(basis.said())));
    }
    if entry.name_only {
        page.paragraph("  ", "Its maker documents the name only; the rest is read from the name.");
    }
    if entry.statements().iter().any(|statement| statement.basis == Basis::Ours) {
        page.paragraph("  ", "What names no source is our own reasoning.");
    }
}

/// The same spelling in other families.
fn write_others(page: &mut Page, others: &[&Entry]) {
    if others.is_empty() {
        return;
    }
    page.heading("THE SAME SPELLING ELSEWHERE");
    for other in others {
        page.labelled(&other.quoted(), &format!("{}. keyback explain {}", other.title, other.address()));
    }
}

fn write_unknown(page: &mut Page, found: &Found) {
    let Some(guess) = &found.guess else { return };
    let query: String = output::plain(&found.query).chars().take(200).collect();
    page.title(&query);
    page.paragraph("", "Not in the catalogue.");
    let family = guess.family.map(|family| format!(" A guess: family {family}.")).unwrap_or_default();
    page.paragraph("", &format!("{}{family}", guess.why));
    if !guess.near.is_empty() {
        page.heading("NEAREST");
        for near in &guess.near {
            let name = near.name.map(|name| format!(" ({name})")).unwrap_or_default();
            page.labelled(&near.quoted(), &format!("{}{name}", near.title));
        }
    }
}

/// Each basis and source once, what is documented first.
fn sources(entry: &Entry) -> BTreeSet<(Basis, &'static str)> {
    entry.statements().iter().filter_map(|statement| Some((statement.basis, statement.source?))).collect()
}

fn sentence_start(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    format!("{}.", sentence_start(text))
}
