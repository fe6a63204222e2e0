//! A job's states and the one function that moves between them. No clock, no SQL.

use crate::clock::Timestamp;
use crate::outcome::{Failure, Outcome};
use keyback_codes::Cause;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is done to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Sets a password without the old one.
    Reset,
    /// Sets a password; the directory checks the old one.
    Change,
    /// Ends a lockout: lockoutTime = 0.
    Unlock,
    /// Writes nothing to the directory: the person looks after what they can prove themselves with.
    Register,
}

/// What a message asks of the agent. It knows these four and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// See [`Operation::Reset`].
    Reset,
    /// See [`Operation::Change`].
    Change,
    /// See [`Operation::Unlock`].
    Unlock,
    /// Find out who somebody is: mail a code, check what was typed, keep what they will prove themselves with.
    Verify,
}

impl From<Operation> for Kind {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Reset => Self::Reset,
            Operation::Change => Self::Change,
            Operation::Unlock => Self::Unlock,
            Operation::Register => Self::Verify,
        }
    }
}

macro_rules! named {
    ($type:ident { $($variant:ident = $name:literal),+ }) => {
        impl $type {
            /// As it stands in JSON, the store and messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text { $($name => Ok(Self::$variant),)+ _ => Err(UnknownName(text.to_owned())) }
            }
        }
    };
}

/// The text names no operation or kind.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no operation of keyback's")]
pub struct UnknownName(String);

named! { Operation { Reset = "reset", Change = "change", Unlock = "unlock", Register = "register" } }
named! { Kind { Reset = "reset", Change = "change", Unlock = "unlock", Verify = "verify" } }

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Waits to be offered to an agent.
    Queued {
        /// Not before.
        ready_at: Timestamp,
        /// How often it was offered.
        attempt: u32,
    },
    /// An agent has it.
    Running {
        /// This is the nth offer.
        attempt: u32,
        /// When nobody waits for the answer any more.
        lease_until: Timestamp,
        /// An earlier offer was left without an answer. Left out of JSON where it is not so, as rows from before have it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_doubt: bool,
    },
    /// Sent, no answer: what the directory did must be found out first (msDS-KeyVersionNumber on the same DC).
    Doubtful {
        /// Not before.
        ready_at: Timestamp,
        /// How often it was offered.
        attempt: u32,
    },
    /// Done, on the domain controller's evidence. Terminal.
    Succeeded {
        /// When the answer arrived.
        at: Timestamp,
    },
    /// Not done, for good. Terminal.
    Refused {
        /// When the answer arrived.
        at: Timestamp,
        /// Why.
        why: Failure,
    },
    /// Its time is over. Terminal.
    Exhausted {
        /// When it was given up.
        at: Timestamp,
        /// What stood in the way last.
        last: Failure,
    },
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// It is offered to an agent, whose answer is waited for until then.
    Offered {
        /// When the lease ends.
        lease_until: Timestamp,
    },
    /// The agent answered.
    Answered {
        /// What it said.
        outcome: Outcome,
        /// When it may be offered again, should the answer ask for that.
        again_at: Timestamp,
    },
    /// No agent took it: nothing was sent to a directory.
    NotTaken {
        /// When to offer it again.
        again_at: Timestamp,
    },
    /// The lease ended without an answer.
    LeaseExpired,
    /// The deadline passed.
    DeadlinePassed {
        /// What stood in the way last, where something did.
        last: Option<Failure>,
    },
}

/// The event has no place in the state.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a job that is {from} cannot be {event}")]
pub struct IllegalTransition {
    /// The state's name.
    pub from: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl JobEvent {
    /// The event's name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offered { .. } => "offered",
            Self::Answered { .. } => "answered",
            Self::NotTaken { .. } => "returned untaken",
            Self::LeaseExpired => "left without an answer",
            Self::DeadlinePassed { .. } => "given up",
        }
    }
}

impl JobState {
    /// The state's name, as in `job show --json`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Running { .. } => "running",
            Self::Doubtful { .. } => "doubtful",
            Self::Succeeded { .. } => "succeeded",
            Self::Refused { .. } => "refused",
            Self::Exhausted { .. } => "exhausted",
        }
    }

    /// When the job has to be looked at next; `None` at the end.
    pub const fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued { ready_at, .. } | Self::Doubtful { ready_at, .. } => Some(*ready_at),
            Self::Running { lease_until, .. } => Some(*lease_until),
            Self::Succeeded { .. } | Self::Refused { .. } | Self::Exhausted { .. } => None,
        }
    }

    /// When it ended, if it did.
    pub const fn finished_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued { .. } | Self::Running { .. } | Self::Doubtful { .. } => None,
            Self::Succeeded { at } | Self::Refused { at, .. } | Self::Exhausted { at, .. } => Some(*at),
        }
    }

    /// Why it did not succeed, at the end.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { why: failure, .. } | Self::Exhausted { last: failure, .. } => Some(failure),
            Self::Queued { .. } | Self::Running { .. } | Self::Doubtful { .. } | Self::Succeeded { .. } => {
                None
            }
        }
    }

    /// The one place that decides where a job goes.
    pub fn on(self, event: JobEvent, now: Timestamp) -> Result<Self, IllegalTransition> {
        let illegal = IllegalTransition { from: self.name(), event: event.name() };
        match (self, event) {
            (Self::Queued { attempt, .. }, JobEvent::Offered { lease_until }) => {
                Ok(Self::Running { attempt: attempt.saturating_add(1), lease_until, in_doubt: false })
            }
            (Self::Doubtful { attempt, .. }, JobEvent::Offered { lease_until }) => {
                Ok(Self::Running { attempt: attempt.saturating_add(1), lease_until, in_doubt: true })
            }
            // The agent's last word counts, even if the lease was over when it came.
            (
                Self::Running { .. } | Self::Doubtful { .. },
                JobEvent::Answered {
                    outcome:
                        Outcome::Done(_)
                        | Outcome::CodeSent { .. }
                        | Outcome::CodeAccepted { .. }
                        | Outcome::MoreProof { .. }
                        | Outcome::SignedIn { .. }
                        | Outcome::Kept { .. }
                        | Outcome::Tested { .. }
                        | Outcome::Removed { .. },
                    ..
                },
            ) => Ok(Self::Succeeded { at: now }),
            (
                Self::Running { .. } | Self::Doubtful { .. },
                JobEvent::Answered { outcome: Outcome::Refused(why), .. },
            ) => Ok(Self::Refused { at: now, why }),
            // What is said of this offer says nothing of one before it.
            (
                Self::Running { attempt, in_doubt: false, .. },
                JobEvent::Answered { outcome: Outcome::Retry(_), again_at },
            ) => Ok(Self::Queued { ready_at: again_at, attempt }),
            (Self::Running { attempt, .. }, JobEvent::Answered { again_at, .. }) => {
                Ok(Self::Doubtful { ready_at: again_at, attempt })
            }
            (Self::Running { attempt, in_doubt, .. }, JobEvent::NotTaken { again_at }) => Ok(if in_doubt {
                Self::Doubtful { ready_at: again_at, attempt }
            } else {
                Self::Queued { ready_at: again_at, attempt }
            }),
            // The agent may have sent it: never silently queued, setting a password twice trips history.
            (Self::Running { attempt, .. }, JobEvent::LeaseExpired) => {
                Ok(Self::Doubtful { ready_at: now, attempt })
            }
            (Self::Queued { .. }, JobEvent::DeadlinePassed { last }) => Ok(Self::Exhausted {
                at: now,
                last: last.unwrap_or_else(|| Failure::of(Cause::AgentOffline)),
            }),
            (Self::Doubtful { .. }, JobEvent::DeadlinePassed { last }) => {
                let unknown = Failure::of(Cause::OutcomeUnknown);
                Ok(Self::Exhausted {
                    at: now,
                    last: Failure { cause: unknown.cause, code: unknown.code, ..last.unwrap_or(unknown) },
                })
            }
            (
                Self::Queued { .. }
                | Self::Running { .. }
                | Self::Doubtful { .. }
                | Self::Succeeded { .. }
                | Self::Refused { .. }
                | Self::Exhausted { .. },
                JobEvent::Offered { .. }
                | JobEvent::Answered { .. }
                | JobEvent::NotTaken { .. }
                | JobEvent::LeaseExpired
                | JobEvent::DeadlinePassed { .. },
            ) => Err(illegal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Done;

    const NOW: Timestamp = Timestamp::from_micros(1_000);
    const LATER: Timestamp = Timestamp::from_micros(2_000);

    fn why() -> Failure {
        Failure::of(Cause::PolicyHistory)
    }

    fn states() -> [JobState; 7] {
        [
            JobState::Queued { ready_at: NOW, attempt: 1 },
            JobState::Running { attempt: 1, lease_until: LATER, in_doubt: false },
            JobState::Doubtful { ready_at: NOW, attempt: 1 },
            JobState::Running { attempt: 2, lease_until: LATER, in_doubt: true },
            JobState::Succeeded { at: NOW },
            JobState::Refused { at: NOW, why: why() },
            JobState::Exhausted { at: NOW, last: why() },
        ]
    }

    fn answered(outcome: Outcome) -> JobEvent {
        JobEvent::Answered { outcome, again_at: LATER }
    }

    fn events() -> Vec<JobEvent> {
        let done = Done {
            dc: "dc".to_owned(),
            key_version: Some((1, 2)),
            history_enforced: true,
            compare_and_swap: true,
            settled: false,
            remarks: vec![],
        };
        vec![
            JobEvent::Offered { lease_until: LATER },
            answered(Outcome::Done(done)),
            answered(Outcome::Refused(why())),
            answered(Outcome::Retry(why())),
            answered(Outcome::Unknown(why())),
            JobEvent::NotTaken { again_at: LATER },
            JobEvent::LeaseExpired,
            JobEvent::DeadlinePassed { last: None },
        ]
    }

    #[test]
    fn every_pair_of_state_and_event_goes_where_the_table_says() {
        // One row a state, one column an event; - is illegal. The letter is the state's first.
        let table = [
            /* queued    */ "R - - - - - - E",
            /* running   */ "- S F Q D Q D -",
            /* doubtful  */ "R S F - - - - E",
            /* in doubt  */ "- S F D D D D -",
            /* succeeded */ "- - - - - - - -",
            /* refused   */ "- - - - - - - -",
            /* exhausted */ "- - - - - - - -",
        ];
        for (state, row) in states().into_iter().zip(table) {
            for (event, expected) in events().into_iter().zip(row.split(' ')) {
                let (from, by) = (state.name(), event.name());
                let came = match state.clone().on(event, NOW) {
                    Ok(JobState::Queued { .. }) => "Q",
                    Ok(JobState::Running { .. }) => "R",
                    Ok(JobState::Doubtful { .. }) => "D",
                    Ok(JobState::Succeeded { .. }) => "S",
                    Ok(JobState::Refused { .. }) => "F",
                    Ok(JobState::Exhausted { .. }) => "E",
                    Err(error) => {
                        assert_eq!(error, IllegalTransition { from, event: by });
                        "-"
                    }
                };
                assert_eq!(came, expected, "{from}, {by}");
            }
        }
    }

    #[test]
    fn each_offer_counts_as_an_attempt() {
        let offered = states()[0].clone().on(JobEvent::Offered { lease_until: LATER }, NOW);
        assert_eq!(offered, Ok(JobState::Running { attempt: 2, lease_until: LATER, in_doubt: false }));
    }

    #[test]
    fn a_running_job_without_doubt_reads_and_writes_as_before_there_was_any() {
        let (json, state) = (r#"{"state":"running","attempt":1,"lease_until":2000}"#, &states()[1]);
        assert_eq!(serde_json::to_string(state).ok().as_deref(), Some(json));
        assert_eq!(serde_json::from_str(json).ok().as_ref(), Some(state));
    }

    #[test]
    fn a_doubtful_job_that_runs_out_of_time_says_that_its_outcome_is_unknown() {
        let last = Failure::of(Cause::DcUnreachable).seen("step", "operation", "dc1");
        let ended = states()[2].clone().on(JobEvent::DeadlinePassed { last: Some(last) }, NOW);
        let failure = ended.ok().and_then(|state| state.failure().cloned());
        assert_eq!(failure.as_ref().map(|failure| failure.cause), Some(Cause::OutcomeUnknown));
        assert_eq!(failure.map(|failure| failure.evidence.len()), Some(1));
    }

    #[test]
    fn a_state_reads_back_from_its_json() {
        for state in states() {
            let json = serde_json::to_string(&state).unwrap_or_default();
            assert_eq!(serde_json::from_str::<JobState>(&json).ok(), Some(state), "{json}");
        }
    }
}
