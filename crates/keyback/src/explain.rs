//! `keyback explain`: what a code means, for a reader at a terminal of any width.

use crate::output::page::{HEAD, Page, QUIET};
use crate::output::{self, FOUND, Trouble};
use anstyle::{AnsiColor, Style};
use keyback_codes::catalogue::{Basis, Entry, Kind, Relation, Severity, Shell};
use keyback_codes::explain::{Found, explain_code, explain_text};
use serde_json::{Value, json};
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
        output::say_json(&found.iter().flat_map(as_json).collect::<Vec<_>>())?;
    } else if found.is_empty() {
        output::note(
            "No code was found in that text. `keyback explain --help` shows which spellings are read.",
        );
    } else {
        output::say_styled(&render(&found, output::width()));
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

/// The design's shape, and how each answer was found: `query`, and `guess` where the catalogue does not know it.
fn as_json(found: &Found) -> Vec<Value> {
    let answer = |entry: &&Entry| {
        let mut value = json!(entry);
        value["query"] = json!(found.query);
        value["guess"] = json!(false);
        value
    };
    let Some(guess) = &found.guess else { return found.entries.iter().map(answer).collect() };
    let near =
        guess.near.iter().map(|near| json!({ "code": near.address(), "relation": Relation::ConfusedWith }));
    vec![json!({
        "query": found.query,
        "guess": true,
        "family": guess.family,
        "code": found.query,
        "name": null,
        "title": "Not in the catalogue",
        "meaning": guess.why,
        "severity": null,
        "severity_reason": "Nothing is known about it.",
        "category": null,
        "retry": null,
        "actor": null,
        "causes": [],
        "fixes": [],
        "related": near.collect::<Vec<_>>(),
        "statements": [],
        "name_only": false,
        "documented": false,
    })]
}

const fn colour(severity: Severity) -> Style {
    match severity {
        Severity::None | Severity::Info => AnsiColor::Green.on_default(),
        Severity::Low => AnsiColor::Blue.on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::High | Severity::Critical => AnsiColor::Red.on_default().bold(),
    }
}

const fn prompt(shell: Shell) -> &'static str {
    match shell {
        Shell::Sh => "$",
        Shell::Powershell => "PS>",
        Shell::Cmd => "C:\\>",
    }
}

fn render(found: &[Found], width: usize) -> String {
    let mut page = Page::new(width);
    for (index, answer) in found.iter().enumerate() {
        if index > 0 {
            page.line(&format!("\n{QUIET}{}{QUIET:#}\n", "─".repeat(width)));
        }
        match answer.entries.split_first() {
            Some((entry, others)) => {
                page.entry(entry);
                page.others(others);
            }
            None => page.unknown(answer),
        }
    }
    page.finish()
}

impl Page {
    fn entry(&mut self, entry: &Entry) {
        let name = entry.name.map(|name| format!("  {name}")).unwrap_or_default();
        self.line(&format!("{HEAD}{}{HEAD:#}{name}", entry.quoted()));
        self.paragraph("", entry.title);
        self.line("");
        let (severity, reason) = entry.severity();
        let style = colour(severity);
        let shown =
            |this: &mut Self, label: &str, text: &str| this.paragraph(&format!("  {label:<10} "), text);
        let before = self.text.len();
        shown(self, "Severity", &format!("{severity}. {reason}"));
        let plain = format!("Severity   {severity}");
        let painted = format!("Severity   {style}{severity}{style:#}");
        let severity_line = self.text.split_off(before).replacen(&plain, &painted, 1);
        self.text.push_str(&severity_line);
        if entry.kind == Kind::Failure {
            shown(self, "Retry", &sentence(entry.retry.said()));
        }
        shown(self, "Area", &sentence(entry.category.said()));
        if !entry.surfaces.is_empty() {
            shown(self, "Seen in", &sentence(&entry.surfaces.join(", ")));
        }
        if let Some(line) = entry.log_line {
            shown(self, "Look for", line);
        }
        if !entry.aliases.is_empty() {
            shown(self, "Also", &entry.aliases.join(", "));
        }

        self.heading("WHAT IT MEANS");
        self.paragraph("  ", entry.meaning);
        for note in entry.notes {
            self.line("");
            self.paragraph("  ", note.text);
        }

        self.heading("WHAT CAN BE BEHIND IT");
        for (number, cause) in entry.causes.iter().enumerate() {
            let id = cause.id.map(|id| format!("  [{id}]")).unwrap_or_default();
            self.paragraph(&format!("  {}. ", number + 1), &format!("{}{id}", cause.text));
            self.paragraph("     confirmed by  ", cause.confirm);
            self.paragraph("     ruled out by  ", cause.exclude);
        }

        self.heading("WHAT TO DO");
        for (number, fix) in entry.fixes.iter().enumerate() {
            self.paragraph(&format!("  {}. ", number + 1), fix.text);
            for command in fix.commands {
                self.command(prompt(command.shell), command.line);
            }
        }

        self.heading("RELATED");
        for related in entry.related {
            let other = related.code.split_once(':').and_then(|(family, code)| Entry::find(family, code));
            let (quoted, title) =
                other.map_or((related.code.to_owned(), ""), |other| (other.quoted(), other.title));
            self.paragraph(&format!("  {quoted:<16} "), &format!("{}: {title}.", related.relation.said()));
        }

        self.heading("WHAT THIS RESTS ON");
        for (basis, source) in sources(entry) {
            self.paragraph("  ", &format!("{}: {source}", sentence_start(basis.said())));
        }
        if entry.name_only {
            self.paragraph("  ", "Its maker documents the name only; the rest is read from the name.");
        }
        if entry.statements().iter().any(|statement| statement.basis == Basis::Ours) {
            self.paragraph("  ", "What names no source is our own reasoning.");
        }
    }

    /// The same spelling in other families.
    fn others(&mut self, others: &[&Entry]) {
        if others.is_empty() {
            return;
        }
        self.heading("THE SAME SPELLING ELSEWHERE");
        for other in others {
            self.paragraph(
                &format!("  {:<16} ", other.quoted()),
                &format!("{}. keyback explain {}", other.title, other.address()),
            );
        }
    }

    fn unknown(&mut self, found: &Found) {
        let Some(guess) = &found.guess else { return };
        let query: String = output::plain(&found.query).chars().take(200).collect();
        self.line(&format!("{HEAD}{query}{HEAD:#}"));
        self.paragraph("", "Not in the catalogue.");
        let family = guess.family.map(|family| format!(" A guess: family {family}.")).unwrap_or_default();
        self.paragraph("", &format!("{}{family}", guess.why));
        if !guess.near.is_empty() {
            self.heading("NEAREST");
            for near in &guess.near {
                let name = near.name.map(|name| format!(" ({name})")).unwrap_or_default();
                self.paragraph(&format!("  {:<16} ", near.quoted()), &format!("{}{name}", near.title));
            }
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
