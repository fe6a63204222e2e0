//! Verifying the chain: the first link that does not hold, and what was done to it.
//!
//! What it proves, and what it cannot, is written down in `docs/decisions/0008-the-audit-chain.md`.

use super::{AuditResult, ChainHash, Checkpoint, Facts, Head, Link, Personal, Phase, commit};
use crate::keys::VerifyingKey;
use crate::statement::{self, Ending, Statement};
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;

/// What was done to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It does not say what it said when it was written.
    Altered,
    /// It is not there.
    Removed,
    /// It was not there.
    Inserted,
    /// It stood elsewhere.
    Reordered,
    /// The agent did not sign this, or the signature does not fit.
    Signature,
    /// The agent has countersigned a newer head than the chain has: its end was cut off, or an old copy put in its place.
    Behind,
}

impl Fault {
    /// As `--json` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Signature => "signature",
            Self::Behind => "behind",
        }
    }
}

/// The first broken link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its number.
    pub number: i64,
    /// The last row that it may be, where that cannot be told more closely.
    pub until: i64,
    /// What was done.
    pub fault: Fault,
    /// How that shows.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.fault.name();
        if self.number == self.until {
            write!(f, "row {}: {name}: {}", self.number, self.detail)
        } else {
            write!(f, "rows {} to {}: {name}: {}", self.number, self.until, self.detail)
        }
    }
}

impl std::error::Error for Broken {}

/// Whose signatures count.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The server's, and those that it had before.
    pub servers: Vec<VerifyingKey>,
    /// The agent's, and those that it had before.
    pub agents: Vec<VerifyingKey>,
}

/// The personal side of a row, while it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// 32 random bytes.
    pub salt: Vec<u8>,
    /// [`Personal`] as JSON.
    pub text: String,
}

/// A chain that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Rows looked at.
    pub rows: u64,
    /// Of them with the agent's signature.
    pub countersigned: u64,
    /// Of them without personal data: erased, or older than that is kept.
    pub erased: u64,
    /// The last row before the first one looked at; zero, or where the chain was pruned.
    pub from: i64,
    /// The newest row.
    pub head: Head,
    /// The newest row that the agent has vouched for.
    pub vouched: i64,
}

/// What looking at a row came to.
pub enum Step {
    /// It holds.
    Holds,
    /// It does not.
    Broken(Broken),
    /// It does not; what was done shows in the rows behind it: [`Verifier::diagnose`].
    LookBehind,
}

/// Goes through a chain, row by row.
pub struct Verifier {
    keys: Keys,
    from: i64,
    head: Head,
    /// Of each row from `from` on.
    hashes: Vec<ChainHash>,
    rows: u64,
    countersigned: u64,
    erased: u64,
    legacy_over: bool,
    vouched: i64,
}

fn broken(number: i64, fault: Fault, detail: impl Into<String>) -> Broken {
    Broken { number, until: number, fault, detail: detail.into() }
}

impl Verifier {
    /// From the beginning, or from where the chain was pruned.
    pub fn new(keys: Keys, checkpoint: Option<&Checkpoint>) -> Result<Self, Broken> {
        let head = checkpoint.map_or(Head::NONE, |checkpoint| checkpoint.head);
        if let Some(checkpoint) = checkpoint
            && !checkpoint.holds(&keys.servers, &keys.agents)
        {
            let detail =
                "the checkpoint that stands for the pruned rows is not signed by this server and its agent";
            return Err(broken(head.number, Fault::Signature, detail));
        }
        Ok(Self {
            keys,
            from: head.number,
            head,
            hashes: vec![head.hash],
            rows: 0,
            countersigned: 0,
            erased: 0,
            legacy_over: false,
            vouched: head.number,
        })
    }

    /// The next row, in the order of numbers.
    pub fn push(&mut self, link: &Link, clear: Option<&Clear>) -> Step {
        let number = self.head.number + 1;
        if link.number != number || link.previous != self.head.hash || link.hash != link.hash_at(number) {
            return Step::LookBehind;
        }
        if let Err(broken) = self.check(link, clear) {
            return Step::Broken(broken);
        }
        self.head = link.head();
        self.hashes.push(link.hash);
        self.rows += 1;
        Step::Holds
    }

    /// What a row says, once its place in the chain is right.
    fn check(&mut self, link: &Link, clear: Option<&Clear>) -> Result<(), Broken> {
        let fail = |fault, detail: &str| Err(broken(link.number, fault, detail));
        let Ok(facts) = serde_json::from_str::<Facts>(&link.event) else {
            return fail(Fault::Altered, "its event cannot be read");
        };
        match clear {
            None => self.erased += 1,
            Some(clear) if commit(&clear.salt, &clear.text) != link.personal => {
                return fail(Fault::Altered, "whom it is about is not what the chain's hash says");
            }
            Some(_) => {}
        }
        if facts.legacy && self.legacy_over {
            return fail(
                Fault::Inserted,
                "it claims to be older than the chain, and stands behind newer rows",
            );
        }
        self.legacy_over |= !facts.legacy;
        let Some(said) = self.statement(link)? else {
            let needs =
                facts.result == AuditResult::Success && facts.activity.is_an_agents() && !facts.legacy;
            if needs {
                return fail(Fault::Signature, "a success that no agent has signed");
            }
            return Ok(());
        };
        if said.job_id.to_string() != link.job_id || facts.phase != Phase::Outcome {
            return fail(Fault::Signature, "what the agent signed belongs to another row");
        }
        if !agrees(&said.ending, &facts) {
            return fail(Fault::Signature, "the agent signed another outcome");
        }
        if let Some(clear) = clear {
            let reply =
                serde_json::from_str::<Personal>(&clear.text).ok().and_then(|personal| personal.reply);
            if reply.is_none_or(|reply| ChainHash::of(reply.as_bytes()) != said.reply) {
                return fail(Fault::Signature, "the evidence is not what the agent signed");
            }
        }
        self.check_head(link.number, said.head)?;
        self.countersigned += 1;
        Ok(())
    }

    fn statement(&self, link: &Link) -> Result<Option<Statement>, Broken> {
        match (&link.said, &link.signature) {
            (None, None) => Ok(None),
            (Some(said), Some(signature)) => {
                let detail =
                    "the agent's signature does not fit; if its key was changed, its old key is needed";
                statement::check(said, signature, &self.keys.agents)
                    .ok_or_else(|| broken(link.number, Fault::Signature, detail))
                    .map(Some)
            }
            (Some(_), None) | (None, Some(_)) => {
                Err(broken(link.number, Fault::Signature, "half of the agent's signature is missing"))
            }
        }
    }

    /// Whether the head that the agent saw is in this chain, before row `number`.
    fn check_head(&mut self, number: i64, head: Option<Head>) -> Result<(), Broken> {
        let Some(head) = head else { return Ok(()) };
        if head.number >= number {
            let detail = format!("the agent had seen row {} before it signed this one", head.number);
            return Err(broken(number, Fault::Behind, detail));
        }
        let index = usize::try_from(head.number - self.from).ok();
        let Some(index) = index else { return Ok(()) }; // pruned
        if self.hashes.get(index) != Some(&head.hash) {
            let detail = format!("the agent has countersigned another row {}: see row {number}", head.number);
            let first = (self.vouched + 1).min(head.number);
            return Err(Broken { until: head.number, ..broken(first, Fault::Altered, detail) });
        }
        self.vouched = self.vouched.max(head.number);
        Ok(())
    }

    /// The end of the chain. `seen` is the head that the agent's own journal holds, where that is known.
    pub fn finish(mut self, seen: Option<Head>) -> Result<Verified, Broken> {
        let end = self.head.number + 1;
        if let Some(seen) = seen.filter(|seen| seen.number >= end) {
            let detail = format!("the agent has seen row {}, and the chain ends before it", seen.number);
            return Err(Broken { until: seen.number, ..broken(end, Fault::Behind, detail) });
        }
        self.check_head(end, seen)?;
        Ok(Verified {
            rows: self.rows,
            countersigned: self.countersigned,
            erased: self.erased,
            from: self.from,
            head: self.head,
            vouched: self.vouched,
        })
    }

    /// What was done to the row that [`Step::LookBehind`] was said of, judged by the rows that follow it.
    pub fn diagnose(&self, link: &Link, following: &[Link]) -> Broken {
        let (number, previous) = (self.head.number + 1, self.head.hash);
        if link.number > number {
            let last = link.number - 1;
            let detail = format!("the next row is {}", link.number);
            return Broken { until: last, ..broken(number, Fault::Removed, detail) };
        }
        // Before the row is judged: does the next one follow the row before? Then it is this one that was put in.
        let skipped = following.iter().any(|next| next.previous == previous);
        if link.hash == link.hash_at(link.number) {
            if skipped {
                return broken(number, Fault::Inserted, "the next row follows the row before it");
            }
            let detail = format!("row {number} follows another row {}", self.head.number);
            return if self.rows > 0 && self.vouched < self.head.number {
                broken(self.head.number, Fault::Altered, detail)
            } else {
                broken(number, Fault::Altered, detail)
            };
        }
        let Some(own) = own_number(link) else {
            return if skipped {
                broken(
                    number,
                    Fault::Inserted,
                    "its hash does not fit, and the next row follows the row before it",
                )
            } else {
                broken(number, Fault::Altered, "its hash does not fit its content")
            };
        };
        let detail = format!("row {own} stands here");
        if own < number && skipped {
            return broken(number, Fault::Inserted, format!("a copy of row {own} stands here"));
        }
        if own < number {
            return Broken { until: number - 1, ..broken(own, Fault::Inserted, detail) };
        }
        let owns: HashSet<i64> = following.iter().filter_map(own_number).collect();
        if owns.contains(&number) {
            return broken(number, Fault::Reordered, detail);
        }
        Broken { until: own - 1, ..broken(number, Fault::Removed, detail) }
    }
}

/// How far a row may have been moved for its own number still to be found.
const MOVED: i64 = 1024;

/// The number under which the row's hash fits.
fn own_number(link: &Link) -> Option<i64> {
    let near = (1..=MOVED).flat_map(|by| [link.number + by, link.number - by]);
    std::iter::once(link.number).chain(near).find(|number| link.hash == link.hash_at(*number))
}

/// Whether a row claims what the agent said.
fn agrees(said: &Ending, facts: &Facts) -> bool {
    match said {
        Ending::Done(done) => facts.result == AuditResult::Success && facts.done.as_ref() == Some(done),
        Ending::CodeSent
        | Ending::CodeAccepted
        | Ending::MoreProof
        | Ending::SignedIn
        | Ending::Kept(_)
        | Ending::Tested
        | Ending::Removed(_) => facts.result == AuditResult::Success && facts.done.is_none(),
        Ending::Refused(code, cause) | Ending::Retry(code, cause) | Ending::Unknown(code, cause) => {
            facts.result == AuditResult::Failure
                && (facts.code, facts.cause, &facts.done) == (Some(*code), Some(*cause), &None)
        }
    }
}
