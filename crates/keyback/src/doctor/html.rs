//! `--html FILE`: what doctor found as one page that needs nothing else, of one user or of everybody.

use super::all::{Outcome, word};
use super::roll::Group;
use crate::output::Trouble;
use askama::Template;
use keyback_core::diagnosis::{Diagnosis, Observation, ProbeOutcome, State, Verdict};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

#[derive(Template)]
#[template(path = "doctor.html")]
struct OnePage<'a> {
    diagnosis: &'a Diagnosis,
    name: &'a str,
}

impl OnePage<'_> {
    fn because(&self, id: &str) -> Option<&Observation> {
        self.diagnosis.observation(id)
    }

    const fn state(verdict: &Verdict) -> (&'static str, &'static str) {
        (colour(verdict.state), word(verdict.state))
    }

    const fn outcome(seen: &Observation) -> (&'static str, &'static str) {
        match seen.outcome {
            ProbeOutcome::Ok => ("good", "ok"),
            ProbeOutcome::Found => ("high", "found"),
            ProbeOutcome::Unknown => ("medium", "unknown"),
            ProbeOutcome::NotApplicable => ("soft", "n/a"),
        }
    }
}

#[derive(Template)]
#[template(path = "doctor-all.html")]
struct AllPage<'a> {
    result: &'a Outcome,
    incomplete: Option<String>,
}

/// A bar in the drawing's units.
struct Bar<'a> {
    group: &'a Group,
    y: usize,
    width: u64,
}

/// Units from the left to the bars, their greatest width, and from one to the next.
const LEFT: u64 = 300;
const WIDTH: u64 = 520;
const STEP: usize = 26;
/// Fixes of one cause that the page shows.
const FIXES: usize = 20;

impl AllPage<'_> {
    const fn state(group: &Group) -> (&'static str, &'static str) {
        (colour(group.state), word(group.state))
    }

    fn bars(&self) -> Vec<Bar<'_>> {
        let groups = &self.result.tally.groups;
        let highest = groups.iter().map(|group| group.count).max().unwrap_or(1).max(1);
        let mut bars = Vec::with_capacity(groups.len());
        for (at, group) in groups.iter().enumerate() {
            let width = u128::from(WIDTH) * u128::from(group.count) / u128::from(highest);
            bars.push(Bar { group, y: at * STEP, width: u64::try_from(width).unwrap_or(WIDTH).max(2) });
        }
        bars
    }

    fn height(&self) -> usize {
        self.result.tally.groups.len() * STEP + 4
    }

    /// Parts of the strip: from, width, name of the colour, and how many of what.
    fn strip(&self) -> Vec<(u64, u64, &'static str, String)> {
        let tally = &self.result.tally;
        let parts = [
            (tally.ready, "good", "ready"),
            (tally.not_ready, "high", "not ready"),
            (tally.unknown, "medium", "unknown"),
        ];
        let mut from = 0;
        let mut strip = Vec::new();
        for (count, colour, what) in parts.into_iter().filter(|(count, _, _)| *count > 0) {
            let width = u128::from(count) * 920 / u128::from(tally.checked.max(1));
            let width = u64::try_from(width).unwrap_or(0).max(3);
            strip.push((from, width, colour, format!("{count} {what}")));
            from += width;
        }
        strip
    }

    /// How many users stand only in the other outputs.
    const fn more(group: &Group) -> u64 {
        group.count.saturating_sub(group.examples.len() as u64)
    }

    fn fixes(group: &Group) -> &[super::roll::Fix] {
        group.fixes.get(..FIXES).unwrap_or(&group.fixes)
    }
}

const fn colour(state: State) -> &'static str {
    match state {
        State::Confirmed => "high",
        State::Unknown | State::Possible => "medium",
    }
}

/// Opens a file to write to.
pub fn create(file: &Path, flag: &str) -> Result<File, Trouble> {
    File::create(file).map_err(|error| {
        Trouble::usage(
            format!("{} cannot be written: {error}", file.display()),
            format!("Give another file to {flag}."),
        )
    })
}

/// The page of one user.
pub fn write_one(file: &Path, diagnosis: &Diagnosis) -> Result<(), Trouble> {
    let name = diagnosis.user.user_principal_name.as_deref().unwrap_or(&diagnosis.user.asked);
    let page = OnePage { diagnosis, name }.render().map_err(|error| Trouble::internal(error.to_string()))?;
    let written = create(file, "--html")?.write_all(page.as_bytes());
    written.map_err(|error| Trouble::internal(format!("{} cannot be written: {error}", file.display())))
}

/// The page of everybody.
pub fn write_all(mut file: File, result: &Outcome) -> io::Result<()> {
    let page = AllPage { result, incomplete: result.incomplete() }.render().map_err(io::Error::other)?;
    file.write_all(page.as_bytes())
}
