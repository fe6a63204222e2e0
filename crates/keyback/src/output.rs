//! What the terminal gets: results on stdout, everything else on stderr.

pub mod page;

use keyback_codes::{Cause, Explain};
use serde::Serialize;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// Looked, and found something.
pub const FOUND: u8 = 1;
/// Wrong usage or configuration.
pub const USAGE: u8 = 2;
/// Could not look.
pub const BLIND: u8 = 3;

/// Why a command ended without doing what it was asked: what, why, and what to do.
#[derive(Debug)]
pub struct Trouble {
    /// The exit code.
    pub exit: u8,
    /// What went wrong, with its sources, in one line.
    pub text: String,
    /// The cause.
    pub cause: Cause,
    /// What to do about it.
    pub fix: String,
}

impl Trouble {
    /// Something that has a code, a cause and a fix of its own.
    pub fn of(exit: u8, error: &(impl Explain + Error)) -> Self {
        let fix = error.fix();
        let fix =
            fix.command.map_or_else(|| fix.text.to_owned(), |command| format!("{} Try: {command}", fix.text));
        Self { exit, text: chain(error), cause: Explain::cause(error), fix }
    }

    /// Wrong usage or configuration.
    pub fn usage(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { exit: USAGE, text: text.into(), cause: Cause::ConfigInvalid, fix: fix.into() }
    }

    /// Nothing that anybody configured.
    pub fn internal(text: impl Into<String>) -> Self {
        let fix = "Try again; if it stays, report it with this line.".to_owned();
        Self { exit: BLIND, text: text.into(), cause: Cause::StoreUnavailable, fix }
    }
}

impl From<keyback_store::StoreError> for Trouble {
    fn from(error: keyback_store::StoreError) -> Self {
        Self::of(BLIND, &error)
    }
}

impl From<crate::config::ConfigError> for Trouble {
    fn from(error: crate::config::ConfigError) -> Self {
        let fix = error.remedy();
        Self { exit: USAGE, text: chain(&error), cause: Explain::cause(&error), fix }
    }
}

/// An error and its sources, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// Text on stdout. A reader that has gone away is no error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Text with styles on stdout; they are left out unless it is a terminal, and where `NO_COLOR` is set.
pub fn say_styled(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// A line longer than this is hard to read.
const WIDEST: usize = 100;

/// How wide the terminal is, within reason.
pub fn width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)).clamp(40, WIDEST)
}

/// Text on stderr.
pub fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

/// One JSON document on stdout.
pub fn say_json(value: &impl Serialize) -> Result<(), Trouble> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Trouble::internal(error.to_string()))?;
    say(&text);
    Ok(())
}

/// The trouble on stderr, and its exit code.
pub fn report(trouble: &Trouble) -> ExitCode {
    note(&format!(
        "keyback: {}\n  cause: {} ({})\n  fix:   {}",
        trouble.text,
        trouble.cause,
        trouble.cause.code(),
        trouble.fix
    ));
    ExitCode::from(trouble.exit)
}

/// What a directory or a person wrote, safe for a terminal: no control or bidirectional characters.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
