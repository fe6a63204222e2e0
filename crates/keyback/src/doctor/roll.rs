//! Everybody who is not ready, kept until the pass is over, and added up.
//!
//! Who shares a name with somebody is known only at the end, and a pass may begin anew: so nothing is printed before. What
//! is kept goes to an unnamed temporary file once it is more than a few megabytes, so that memory stays the same however
//! many there are.

use indicatif::ProgressBar;
use keyback_agent::doctor::Audience;
use keyback_codes::{Cause, PublicCode};
use keyback_core::ObjectGuid;
use keyback_core::diagnosis::{Command, Patient, State, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::time::{Duration, Instant};
use tempfile::SpooledTempFile;

/// Bytes that are kept in memory.
const IN_MEMORY: usize = 8 << 20;
/// Different things to do that are kept, and how many of them are shown for one cause.
const FIXES: usize = 1_000;
/// Users who are named for one cause.
const EXAMPLES: usize = 5;
/// Between two lines of progress where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// One user who is not ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    pub dn: Option<String>,
    #[serde(rename = "objectGUID")]
    pub object_guid: Option<ObjectGuid>,
    #[serde(rename = "userPrincipalName")]
    pub user_principal_name: Option<String>,
    pub verdicts: Vec<Short>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

impl Line {
    /// Something is proven or likely; otherwise it could not be read.
    pub fn is_known(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.state != State::Unknown)
    }
}

/// A verdict without its proofs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Short {
    pub cause: Cause,
    pub state: State,
    pub code: PublicCode,
    pub summary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fix: Option<usize>,
}

/// What to do, with the commands for the first user who needs it.
#[derive(Debug, Clone, Serialize)]
pub struct Fix {
    /// In a sentence.
    pub text: String,
    /// How many users it is for.
    pub count: u64,
    /// For the first of them.
    pub commands: Vec<Command>,
}

/// All users with one cause.
#[derive(Debug, Serialize)]
pub struct Group {
    pub cause: Cause,
    pub state: State,
    pub code: PublicCode,
    pub count: u64,
    pub summary: &'static str,
    /// The first few.
    pub examples: Vec<String>,
    /// What mends it, what helps most first.
    pub fixes: Vec<Fix>,
}

/// The sum.
#[derive(Debug, Default)]
pub struct Tally {
    pub checked: u64,
    pub ready: u64,
    pub not_ready: u64,
    pub unknown: u64,
    pub groups: Vec<Group>,
}

/// Listens to a pass.
pub struct Roll {
    checked: u64,
    lines: SpooledTempFile,
    again: HashSet<ObjectGuid>,
    fixes: Vec<(String, Vec<Command>)>,
    place_of: HashMap<(Cause, String), usize>,
    trouble: Option<io::Error>,
    bar: Option<ProgressBar>,
    said_at: Instant,
    began_at: Instant,
}

impl Roll {
    /// `bar`: where somebody watches.
    pub fn new(bar: Option<ProgressBar>) -> Self {
        Self {
            checked: 0,
            lines: SpooledTempFile::new(IN_MEMORY),
            again: HashSet::new(),
            fixes: Vec::new(),
            place_of: HashMap::new(),
            trouble: None,
            bar,
            said_at: Instant::now(),
            began_at: Instant::now(),
        }
    }

    fn place(&mut self, verdict: &Verdict) -> Option<usize> {
        let key = (verdict.cause, verdict.fix.text.clone());
        if let Some(place) = self.place_of.get(&key) {
            return Some(*place);
        }
        let place = self.fixes.len();
        if place == FIXES {
            return None;
        }
        self.fixes.push((verdict.fix.text.clone(), verdict.fix.commands.clone()));
        self.place_of.insert(key, place);
        Some(place)
    }

    fn keep(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.lines.write_all(&text)
    }

    fn progress(&mut self, done: u64, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            bar.set_position(done);
        } else if self.said_at.elapsed() >= PAUSE {
            self.said_at = Instant::now();
            let rate = u128::from(done) * 1000 / self.began_at.elapsed().as_millis().max(1);
            crate::output::note(&format!("keyback: {done} {what}, {rate} a second"));
        }
    }

    /// Tells of everybody who is not ready, in the order of the pass.
    pub fn each(&mut self, mut tell: impl FnMut(Line) -> io::Result<()>) -> io::Result<()> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        self.lines.rewind()?;
        for text in BufReader::new(&mut self.lines).lines() {
            let line: Line = serde_json::from_str(&text?)?;
            let void = !line.again && line.object_guid.is_some_and(|guid| self.again.contains(&guid));
            if !void && !line.verdicts.is_empty() {
                tell(line)?;
            }
        }
        Ok(())
    }

    /// Adds up.
    pub fn tally(&mut self) -> io::Result<Tally> {
        let mut groups: BTreeMap<(State, Cause), (Group, BTreeMap<usize, u64>)> = BTreeMap::new();
        let (mut not_ready, mut unknown) = (0, 0);
        self.each(|line| {
            if line.is_known() {
                not_ready += 1;
            } else {
                unknown += 1;
            }
            let mut met = HashSet::new();
            for verdict in &line.verdicts {
                let Short { cause, state, code, fix, .. } = verdict;
                let group = || Group {
                    cause: *cause,
                    state: *state,
                    code: *code,
                    count: 0,
                    summary: cause.summary(),
                    examples: Vec::new(),
                    fixes: Vec::new(),
                };
                let (group, fixes) =
                    groups.entry((*state, *cause)).or_insert_with(|| (group(), BTreeMap::new()));
                if let Some(fix) = fix {
                    *fixes.entry(*fix).or_default() += 1;
                }
                if met.insert((*state, *cause)) {
                    group.count += 1;
                    group.examples.extend(line.dn.clone().filter(|_| group.count <= EXAMPLES as u64));
                }
            }
            Ok(())
        })?;
        let mut groups: Vec<Group> = groups
            .into_values()
            .map(|(group, fixes)| {
                let known = fixes.into_iter().filter_map(|(place, count)| {
                    let (text, commands) = self.fixes.get(place)?.clone();
                    Some(Fix { text, count, commands })
                });
                let mut fixes: Vec<Fix> = known.collect();
                fixes.sort_by_key(|fix| std::cmp::Reverse(fix.count));
                Group { fixes, ..group }
            })
            .collect();
        groups.sort_by_key(|group| (group.state, std::cmp::Reverse(group.count)));
        let ready = self.checked.saturating_sub(not_ready + unknown);
        Ok(Tally { checked: self.checked, ready, not_ready, unknown, groups })
    }
}

impl Audience for Roll {
    fn begin(&mut self) {
        self.checked = 0;
        self.again.clear();
        self.trouble = self.lines.set_len(0).and_then(|()| self.lines.rewind()).err();
    }

    fn names(&mut self, people: u64) {
        self.progress(people, "names read");
    }

    fn user(&mut self, user: Patient, verdicts: Vec<Verdict>, again: bool) {
        if again {
            self.again.extend(user.object_guid);
        } else {
            self.checked += 1;
            self.progress(self.checked, "users looked at");
        }
        if verdicts.is_empty() || self.trouble.is_some() {
            return;
        }
        let verdicts = verdicts.into_iter().map(|verdict| {
            let fix = self.place(&verdict);
            let Verdict { cause, state, code, summary, .. } = verdict;
            Short { cause, state, code, summary, fix }
        });
        let verdicts = verdicts.collect();
        let Patient { dn, object_guid, user_principal_name, .. } = user;
        let line = Line { dn, object_guid, user_principal_name, verdicts, again };
        if let Err(error) = self.keep(&line) {
            self.trouble = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_core::diagnosis::Remedy;

    fn user(number: u8) -> Patient {
        Patient {
            dn: Some(format!("CN=u{number}")),
            object_guid: Some(ObjectGuid::from_wire([number; 16])),
            ..Patient::default()
        }
    }

    fn verdict(cause: Cause, state: State, fix: &str) -> Verdict {
        Verdict {
            cause,
            state,
            code: cause.code(),
            summary: "It is so.".to_owned(),
            because: Vec::new(),
            rules_out: Vec::new(),
            fix: Remedy { text: fix.to_owned(), commands: Vec::new(), automatic: false },
        }
    }

    #[test]
    fn a_second_word_replaces_the_first_and_a_new_beginning_all_of_it() -> io::Result<()> {
        use Cause::{RightsResetMissing, TargetDuplicateUpn, TargetLocked};
        let mut roll = Roll::new(None);
        roll.begin();
        roll.user(user(9), vec![verdict(TargetLocked, State::Confirmed, "x")], false);
        roll.begin();
        roll.user(user(1), vec![verdict(TargetLocked, State::Confirmed, "Unlock it.")], false);
        roll.user(user(2), vec![], false);
        roll.user(user(3), vec![], false);
        roll.user(user(4), vec![verdict(RightsResetMissing, State::Unknown, "Grant OU=A.")], false);
        let locked = verdict(TargetLocked, State::Confirmed, "Unlock it.");
        roll.user(user(1), vec![locked, verdict(TargetDuplicateUpn, State::Confirmed, "Rename.")], true);
        roll.user(user(3), vec![verdict(TargetDuplicateUpn, State::Confirmed, "Rename.")], true);
        let tally = roll.tally()?;
        assert_eq!((tally.checked, tally.ready, tally.not_ready, tally.unknown), (4, 1, 2, 1));
        let groups: Vec<_> =
            tally.groups.iter().map(|group| (group.cause, group.count, group.fixes[0].count)).collect();
        assert_eq!(groups, [(TargetDuplicateUpn, 2, 2), (TargetLocked, 1, 1), (RightsResetMissing, 1, 1)]);
        assert_eq!(tally.groups[0].examples, ["CN=u1", "CN=u3"]);
        Ok(())
    }

    #[test]
    fn more_than_fits_into_memory_is_kept_all_the_same() -> io::Result<()> {
        let mut roll = Roll::new(None);
        roll.begin();
        let long = "x".repeat(1 << 20);
        for number in 0..20 {
            let mut verdict = verdict(Cause::TargetLocked, State::Confirmed, "Unlock it.");
            verdict.summary.clone_from(&long);
            roll.user(user(number), vec![verdict], false);
        }
        assert!(roll.lines.is_rolled());
        assert_eq!(roll.tally()?.not_ready, 20);
        Ok(())
    }
}
