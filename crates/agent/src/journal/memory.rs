//! What the journal's records say, taken together.

use super::{Challenge, ChallengeState, JobRecord, KEPT};
use crate::caps::Counts;
use keyback_ad::Pin;
use keyback_codes::Cause;
use keyback_core::audit;
use keyback_core::heartbeat::{AgentState, Bytes32, Head};
use keyback_core::outcome::Outcome;
use keyback_core::{ChallengeId, JobId, MethodId, ObjectGuid, Timestamp, Way};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Record {
    Minted(Challenge),
    Tried {
        challenge: ChallengeId,
        at: Timestamp,
        proof_until: Option<Timestamp>,
        /// What was tried is of something that the person holds, and not of a mail.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        held: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    },
    /// A code was right, and another one is needed.
    Given {
        challenge: ChallengeId,
        at: Timestamp,
        way: Way,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    },
    /// A code is mailed as the second proof.
    Mailed {
        challenge: ChallengeId,
        at: Timestamp,
        code_hash: [u8; 32],
    },
    /// The next thing is a bind with what somebody says is their password.
    PasswordTried {
        job_id: JobId,
        at: Timestamp,
        object_guid: ObjectGuid,
    },
    /// It was theirs.
    SignedIn {
        challenge: ChallengeId,
        at: Timestamp,
        until: Timestamp,
    },
    /// This method counts no more, whoever still has it.
    MethodGone {
        method: MethodId,
        at: Timestamp,
    },
    Begun(Begin),
    /// Another agent may have begun it.
    TookOver {
        job_id: JobId,
        challenge: ChallengeId,
        at: Timestamp,
        pin: Pin,
    },
    /// The next thing is a bind with the new password.
    Asked {
        job_id: JobId,
        at: Timestamp,
    },
    NotDone {
        job_id: JobId,
        at: Timestamp,
    },
    Ended {
        job_id: JobId,
        at: Timestamp,
        outcome: Outcome,
        /// The proof that a refused password was tried on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tried: Option<ChallengeId>,
    },
    /// The server gave this head of its audit chain.
    AuditHead(audit::Head),
    /// The agent writes, or does not from now on. `confirmed`: an administrator says that this journal is the right one,
    /// and it counts on from here.
    State {
        at: Timestamp,
        state: AgentState,
        confirmed: Option<u64>,
    },
    /// Where the journal stood when it was written anew. What stands before it is not counted again.
    Kept {
        head: Head,
        state: AgentState,
        excused: Vec<JobId>,
    },
}

/// A code that is good for once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Of which method.
    pub method: MethodId,
    /// Which code: an app's step of 30 s since 1970, or the place on a sheet.
    pub what: Once,
    /// The job that it was typed for: the same job may ask again.
    pub job_id: JobId,
}

/// What makes a code good for once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Once {
    /// The step of 30 s since 1970. Those before it count no more either.
    Step(i64),
    /// The place on a sheet.
    Place(u8),
}

/// The next thing is a write to the pinned domain controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// The job.
    pub job_id: JobId,
    /// When.
    pub at: Timestamp,
    /// Whose password.
    pub object_guid: ObjectGuid,
    /// The proof.
    pub challenge: ChallengeId,
    /// What was read before.
    pub pin: Pin,
    /// The OUs of the scope that the user lies under.
    pub ous: Vec<ObjectGuid>,
}

impl Record {
    pub(super) const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Minted(challenge) => Some(challenge.at),
            Self::Begun(begin) => Some(begin.at),
            Self::TookOver { at, .. }
            | Self::Tried { at, .. }
            | Self::Given { at, .. }
            | Self::Mailed { at, .. }
            | Self::PasswordTried { at, .. }
            | Self::SignedIn { at, .. }
            | Self::MethodGone { at, .. }
            | Self::Asked { at, .. }
            | Self::NotDone { at, .. }
            | Self::Ended { at, .. }
            | Self::State { at, .. } => Some(*at),
            Self::AuditHead(_) | Self::Kept { .. } => None,
        }
    }
}

pub(super) struct Memory {
    pub(super) challenges: HashMap<ChallengeId, ChallengeState>,
    pub(super) jobs: HashMap<JobId, JobRecord>,
    /// The jobs that rested on challenges of other agents.
    pub(super) vouched: HashMap<ChallengeId, Vec<JobId>>,
    pub(super) counts: Counts,
    /// The newest step of each app that was used lately, and every place of a sheet that ever was.
    pub(super) steps: HashMap<MethodId, (i64, JobId, Timestamp)>,
    pub(super) places: HashMap<(MethodId, u8), JobId>,
    pub(super) gone: HashSet<MethodId>,
    /// Passwords that were tried lately.
    pub(super) passwords: HashMap<JobId, (ObjectGuid, Timestamp)>,
    pub(super) audit_head: Option<audit::Head>,
    pub(super) state: AgentState,
    pub(super) head: Head,
    /// As far as the journal lies on the disk: a power cut may take what comes after.
    pub(super) durable: Head,
}

impl Memory {
    pub(super) fn new(head: Head) -> Self {
        Self {
            challenges: HashMap::new(),
            jobs: HashMap::new(),
            vouched: HashMap::new(),
            counts: Counts::default(),
            steps: HashMap::new(),
            places: HashMap::new(),
            gone: HashSet::new(),
            passwords: HashMap::new(),
            audit_head: None,
            state: AgentState::Running,
            head,
            durable: head,
        }
    }

    /// Takes in a record and its line.
    pub(super) fn apply(&mut self, record: Record, line: &[u8]) {
        let mut hasher = Sha256::new_with_prefix(self.head.hash.0);
        hasher.update(line);
        self.head.hash = Bytes32(hasher.finalize().into());
        self.head.sequence = self.head.sequence.saturating_add(1);
        match record {
            Record::Minted(challenge) => {
                // A job that is asked again mints again; the code before is worth nothing then.
                self.challenges.retain(|_, old| old.challenge.job_id != challenge.job_id);
                let state = ChallengeState {
                    challenge: challenge.clone(),
                    wrong: 0,
                    held_wrong: 0,
                    given: Vec::new(),
                    by_held: false,
                    proof_until: None,
                    signed_in_until: None,
                    used_by: Vec::new(),
                };
                self.challenges.insert(challenge.id, state);
            }
            Record::Tried { challenge, at, proof_until, held, spent } => {
                self.on(challenge, |state| {
                    if proof_until.is_some() {
                        state.proof_until = proof_until;
                        state.by_held |= held;
                    } else {
                        state.wrong += 1;
                        state.held_wrong += u32::from(held);
                    }
                });
                self.spend(spent, at);
            }
            Record::Given { challenge, at, way, spent } => {
                self.on(challenge, |state| {
                    state.given.retain(|other| *other != way);
                    state.given.push(way);
                    state.by_held |= way != Way::Mail;
                });
                self.spend(spent, at);
            }
            Record::Mailed { challenge, code_hash, .. } => self.on(challenge, |state| {
                state.challenge.code_hash = code_hash;
                state.challenge.held = false;
            }),
            Record::PasswordTried { job_id, at, object_guid } => {
                self.passwords.insert(job_id, (object_guid, at));
            }
            Record::SignedIn { challenge, until, .. } => {
                self.on(challenge, |state| state.signed_in_until = Some(until));
            }
            Record::MethodGone { method, .. } => {
                self.gone.insert(method);
                self.places.retain(|(of, _), _| *of != method);
            }
            Record::Begun(Begin { job_id, at, object_guid, challenge, pin, ous }) => {
                self.jobs.insert(job_id, JobRecord::Begun { at, pin, asked: false });
                self.counts.take(job_id, at, object_guid, ous);
                self.rests_on(challenge, job_id);
            }
            Record::TookOver { job_id, challenge, at, pin } => {
                self.rests_on(challenge, job_id);
                self.jobs.insert(job_id, JobRecord::Begun { at, pin, asked: false });
            }
            Record::Asked { job_id, .. } => {
                if let Some(JobRecord::Begun { asked, .. }) = self.jobs.get_mut(&job_id) {
                    *asked = true;
                }
            }
            Record::NotDone { job_id, .. } => {
                self.jobs.remove(&job_id);
                self.counts.give_back(job_id);
            }
            Record::Ended { job_id, at, outcome, tried } => {
                if let Some(challenge) = tried {
                    self.rests_on(challenge, job_id);
                }
                if let Outcome::Refused(failure) = &outcome {
                    self.counts.give_back(job_id);
                    if failure.cause == Cause::AgentCapAgent {
                        self.counts.refuse(job_id, at);
                    }
                }
                self.jobs.insert(job_id, JobRecord::Ended { at, outcome });
            }
            Record::AuditHead(head) => self.audit_head = Some(head),
            Record::State { state, confirmed, .. } => {
                if self.state != AgentState::Running && state == AgentState::Running && confirmed.is_none() {
                    self.counts.excuse_all();
                }
                self.state = state;
                self.head.sequence = self.head.sequence.max(confirmed.unwrap_or(0));
            }
            Record::Kept { head, state, excused } => {
                self.head = head;
                self.state = state;
                self.counts.excuse(excused);
            }
        }
    }

    fn on(&mut self, challenge: ChallengeId, change: impl FnOnce(&mut ChallengeState)) {
        if let Some(state) = self.challenges.get_mut(&challenge) {
            change(state);
        }
    }

    fn spend(&mut self, spent: Option<Spent>, at: Timestamp) {
        let Some(Spent { method, what, job_id }) = spent else { return };
        match what {
            Once::Step(step) => {
                let newest = self.steps.entry(method).or_insert((step, job_id, at));
                if newest.0 <= step {
                    *newest = (step, job_id, at);
                }
            }
            Once::Place(place) => {
                self.places.insert((method, place), job_id);
            }
        }
    }

    /// Whether a code that was used has to be remembered still.
    fn remembers(&self, spent: Option<&Spent>) -> bool {
        spent.is_some_and(|spent| match spent.what {
            Once::Step(step) => self.steps.get(&spent.method).is_some_and(|(newest, ..)| *newest == step),
            Once::Place(place) => self.places.contains_key(&(spent.method, place)),
        })
    }

    fn rests_on(&mut self, challenge: ChallengeId, job_id: JobId) {
        let used_by = match self.challenges.get_mut(&challenge) {
            Some(state) => &mut state.used_by,
            None => self.vouched.entry(challenge).or_default(),
        };
        if !used_by.contains(&job_id) {
            used_by.push(job_id);
        }
    }

    /// Drops what is older than a day before `now`.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.challenges.retain(|_, state| now.since(state.challenge.at) < KEPT);
        self.jobs.retain(|_, record| match record {
            JobRecord::Begun { .. } => true,
            JobRecord::Ended { at, .. } => now.since(*at) < KEPT,
        });
        self.vouched.retain(|_, used_by| used_by.iter().any(|job_id| self.jobs.contains_key(job_id)));
        self.counts.forget(now);
        // A step is far outside of what is accepted by then. A sheet is good for years.
        self.steps.retain(|_, (.., at)| now.since(*at) < KEPT);
        self.passwords.retain(|_, (_, at)| now.since(*at) < KEPT);
    }

    /// Whether a record still says something after [`Memory::forget`].
    pub(super) fn needs(&self, record: &Record) -> bool {
        match record {
            Record::Minted(challenge) => self.challenges.contains_key(&challenge.id),
            Record::Tried { challenge, spent, .. } | Record::Given { challenge, spent, .. } => {
                self.challenges.contains_key(challenge) || self.remembers(spent.as_ref())
            }
            Record::SignedIn { challenge, .. } | Record::Mailed { challenge, .. } => {
                self.challenges.contains_key(challenge)
            }
            Record::PasswordTried { job_id, .. } => self.passwords.contains_key(job_id),
            Record::MethodGone { method, .. } => self.gone.contains(method),
            Record::Begun(Begin { job_id, .. })
            | Record::TookOver { job_id, .. }
            | Record::Asked { job_id, .. }
            | Record::NotDone { job_id, .. }
            | Record::Ended { job_id, .. } => self.jobs.contains_key(job_id),
            Record::AuditHead(head) => self.audit_head == Some(*head),
            Record::State { .. } | Record::Kept { .. } => false,
        }
    }
}
