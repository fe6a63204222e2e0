//! The agent's own memory: which codes it minted, which jobs it began, what came of them.
//!
//! One line of JSON a record, appended; what must not be forgotten is on the disk before the agent goes on. The server
//! and the relay may repeat and reorder as they like: a job that stands here is not done again. The records are counted
//! and chained, so that an older copy of the journal is known for one; and they hold the agent to its caps.

mod memory;
#[cfg(test)]
mod tests;

pub use memory::{Begin, Once, Spent};

use crate::caps::{Caps, Full};
use crate::ways::ProofRule;
use keyback_ad::Pin;
use keyback_codes::{Cause, Explain};
use keyback_core::audit;
use keyback_core::heartbeat::{AgentState, Bytes32, Head};
use keyback_core::job::Operation;
use keyback_core::outcome::Outcome;
use keyback_core::{
    ChallengeId, Failure, JobId, JournalId, MethodId, ObjectGuid, Person, Timestamp, Way, ids,
};
use memory::{Memory, Record};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is older than this is dropped when the journal is opened, unless it is still open.
const KEPT: Duration = Duration::from_hours(24);

/// A code that was mailed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// The job that asked for it.
    pub job_id: JobId,
    /// When it was minted.
    pub at: Timestamp,
    /// The code is worth nothing after.
    pub expires_at: Timestamp,
    /// What it is for.
    pub operation: Operation,
    /// To whom it went.
    pub person: Person,
    /// Of the code, salted with the challenge's id.
    pub code_hash: [u8; 32],
    /// No code was mailed: the person wants to prove themselves with something that they hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// What is asked of the person, where that is not what is asked of everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<ProofRule>,
    /// How the user stood when the code was minted, where other agents may have to go by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Pin>,
}

/// What has become of a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeState {
    /// As minted.
    pub challenge: Challenge,
    /// Wrong codes so far.
    pub wrong: u32,
    /// Those of them that were no mailed ones.
    pub held_wrong: u32,
    /// Ways in which a right code was given, while another one is needed.
    pub given: Vec<Way>,
    /// The proof is of something that the person holds.
    pub by_held: bool,
    /// The code was right; the proof holds until then.
    pub proof_until: Option<Timestamp>,
    /// The person's password was right; they may look after their methods until then.
    pub signed_in_until: Option<Timestamp>,
    /// The jobs that rested on it.
    pub used_by: Vec<JobId>,
}

/// What has become of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobRecord {
    /// Something may have been sent to the pinned domain controller.
    Begun {
        /// When.
        at: Timestamp,
        /// What was read before.
        pin: Pin,
        /// A domain controller was asked, or was about to be, whether the new password is the user's.
        asked: bool,
    },
    /// Over; the same answer is given to whoever asks again.
    Ended {
        /// When.
        at: Timestamp,
        /// The answer.
        outcome: Outcome,
    },
}

/// The journal cannot be read or written. Nothing is done without it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Opening, reading or writing failed.
    #[error("the journal {path} cannot be {step}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// A line, not the last one, is no record.
    #[error("line {line} of the journal {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
}

impl Explain for JournalError {
    fn cause(&self) -> Cause {
        match self {
            Self::Io { .. } | Self::Damaged { .. } => Cause::JournalUnavailable,
        }
    }
}

/// Why a job may not begin to write.
#[derive(Debug)]
pub enum NotBegun {
    /// The journal cannot be written.
    Journal(JournalError),
    /// A cap is used up.
    Full(Full),
    /// The agent has stopped, or its journal is not the newest.
    Halted(AgentState),
}

impl NotBegun {
    /// The refusal that this ends the job with; the journal's error is none, for it may pass.
    pub fn refusal(self) -> Result<Failure, JournalError> {
        match self {
            Self::Journal(error) => Err(error),
            Self::Full(full) => Ok(full.failure()),
            Self::Halted(state) => {
                let failure = Failure::of(state.cause().unwrap_or(Cause::AgentStopped));
                Ok(match state {
                    AgentState::Running => failure,
                    AgentState::Stopped { at, refused } => failure
                        .seen("stopped at", at.to_string(), "agent")
                        .seen("refused by its cap in the hour before", refused.to_string(), "agent"),
                    AgentState::Quarantined { own, seen, .. } => failure
                        .seen("journal", format!("{} at {}", own.journal, own.sequence), "agent")
                        .seen("seen before", format!("{} at {}", seen.journal, seen.sequence), "server"),
                })
            }
        }
    }
}

struct Inner {
    path: PathBuf,
    file: Mutex<File>,
    memory: Mutex<Memory>,
}

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole records behind: each is applied in one go.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Opens the file, or begins it; drops what is old, and a last line that a crash cut short.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, JournalError> {
        let failed = |step| move |source| JournalError::Io { path: path.to_owned(), step, source };
        let mut records: Vec<(Record, Vec<u8>)> = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("opened")(error)),
            Ok(file) => {
                let mut reader = BufReader::new(file);
                for number in 1.. {
                    let mut line = Vec::new();
                    if reader.read_until(b'\n', &mut line).map_err(failed("read"))? == 0 {
                        break;
                    }
                    // Without its end a crash cut it short.
                    let Some(line) = line.strip_suffix(b"\n") else { break };
                    let record =
                        untagged(line).and_then(|line| Some((serde_json::from_slice(line).ok()?, line)));
                    let Some((record, line)) = record else {
                        return Err(JournalError::Damaged { path: path.to_owned(), line: number });
                    };
                    records.push((record, line.to_vec()));
                }
            }
        }
        let journal = JournalId::from_random(ids::random());
        let mut memory = Memory::new(Head { journal, sequence: 0, hash: Bytes32([0; 32]) });
        // Never by a clock that is ahead of everything that was written: it would empty the caps.
        let newest = records.iter().filter_map(|(record, _)| record.at()).max().unwrap_or(now);
        records.iter().cloned().for_each(|(record, line)| memory.apply(record, &line));
        memory.forget(now.min(newest));
        let mut lines: Vec<Vec<u8>> =
            records.into_iter().filter(|(record, _)| memory.needs(record)).map(|(_, line)| line).collect();
        let stands =
            Record::Kept { head: memory.head, state: memory.state.clone(), excused: memory.counts.excused() };
        lines.push(serde_json::to_vec(&stands).map_err(|error| failed("written")(error.into()))?);
        let file = rewrite(path, &lines).map_err(failed("written"))?;
        memory.durable = memory.head;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            file: Mutex::new(file),
            memory: Mutex::new(memory),
        })))
    }

    /// The challenge, as it stands.
    pub fn challenge(&self, id: ChallengeId) -> Option<ChallengeState> {
        locked(&self.0.memory).challenges.get(&id).cloned()
    }

    /// The job, if the agent ever began it.
    pub fn job(&self, id: JobId) -> Option<JobRecord> {
        locked(&self.0.memory).jobs.get(&id).cloned()
    }

    /// The jobs that rested on a challenge that another agent minted.
    pub fn rested_on(&self, challenge: ChallengeId) -> Vec<JobId> {
        locked(&self.0.memory).vouched.get(&challenge).cloned().unwrap_or_default()
    }

    /// How many codes were mailed to somebody since `since`; or how often they began without one (`held`).
    pub fn codes_since(&self, whom: ObjectGuid, since: Timestamp, held: bool) -> usize {
        let memory = locked(&self.0.memory);
        let to_them = |state: &&ChallengeState| {
            let Challenge { person, at, held: without, .. } = &state.challenge;
            person.object_guid == whom && *at >= since && *without == held
        };
        memory.challenges.values().filter(to_them).count()
    }

    /// How many wrong codes were tried for somebody in a day, of those that are no mailed ones.
    pub fn held_wrong(&self, whom: ObjectGuid) -> u32 {
        let memory = locked(&self.0.memory);
        let theirs = |state: &&ChallengeState| state.challenge.person.object_guid == whom;
        memory.challenges.values().filter(theirs).map(|state| state.held_wrong).sum()
    }

    /// The job that used this code up, or one after it.
    pub fn spent_by(&self, method: MethodId, what: Once) -> Option<JobId> {
        let memory = locked(&self.0.memory);
        match what {
            Once::Step(step) => {
                memory.steps.get(&method).filter(|(newest, ..)| step <= *newest).map(|(_, job_id, _)| *job_id)
            }
            Once::Place(place) => memory.places.get(&(method, place)).copied(),
        }
    }

    /// Whether this method was removed.
    pub fn is_gone(&self, method: MethodId) -> bool {
        locked(&self.0.memory).gone.contains(&method)
    }

    /// How many passwords were tried for somebody since `since`, and whether `job_id` did.
    pub fn passwords_since(&self, whom: ObjectGuid, since: Timestamp, job_id: JobId) -> (usize, bool) {
        let memory = locked(&self.0.memory);
        let lately = memory.passwords.values().filter(|(guid, at)| *guid == whom && *at >= since).count();
        (lately, memory.passwords.contains_key(&job_id))
    }

    /// The highest head of the server's audit chain that this agent was ever given.
    pub fn audit_head(&self) -> Option<audit::Head> {
        locked(&self.0.memory).audit_head
    }

    /// The same of a journal that an agent may have open.
    pub fn read_audit_head(path: &Path) -> Result<Option<audit::Head>, JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), step: "read", source };
        let mut head = None;
        for line in BufReader::new(File::open(path).map_err(failed)?).split(b'\n') {
            let line = line.map_err(failed)?;
            if let Some(Record::AuditHead(seen)) =
                untagged(&line).and_then(|line| serde_json::from_slice(line).ok())
            {
                head = Some(seen);
            }
        }
        Ok(head)
    }

    /// The server gave this head. `false`: it is not the one of that number which it gave before. An older one is no
    /// news: messages overtake each other.
    pub async fn saw_head(&self, head: audit::Head) -> Result<bool, JournalError> {
        match self.audit_head() {
            Some(known) if known.number >= head.number => Ok(known.number > head.number || known == head),
            Some(_) | None => self.append(Record::AuditHead(head), false).await.map(|()| true),
        }
    }

    /// A code is about to be mailed.
    pub async fn minted(&self, challenge: Challenge) -> Result<(), JournalError> {
        self.append(Record::Minted(challenge), true).await
    }

    /// A code was wrong, or right until then. Counted before the answer is given.
    pub async fn tried(
        &self,
        challenge: ChallengeId,
        at: Timestamp,
        proof_until: Option<Timestamp>,
    ) -> Result<(), JournalError> {
        self.append(Record::Tried { challenge, at, proof_until, held: false, spent: None }, true).await
    }

    /// The same for a code of something that the person holds. `spent`: it was right, and good for this once.
    pub async fn tried_held(
        &self,
        challenge: ChallengeId,
        at: Timestamp,
        proof_until: Option<Timestamp>,
        spent: Option<Spent>,
    ) -> Result<(), JournalError> {
        self.append(Record::Tried { challenge, at, proof_until, held: true, spent }, true).await
    }

    /// A code was right, and one of another way is needed as well.
    pub async fn given(
        &self,
        challenge: ChallengeId,
        at: Timestamp,
        way: Way,
        spent: Option<Spent>,
    ) -> Result<(), JournalError> {
        self.append(Record::Given { challenge, at, way, spent }, true).await
    }

    /// A code is about to be mailed as the second proof of a challenge that began without one.
    pub async fn mailed(
        &self,
        challenge: ChallengeId,
        at: Timestamp,
        code_hash: [u8; 32],
    ) -> Result<(), JournalError> {
        self.append(Record::Mailed { challenge, at, code_hash }, true).await
    }

    /// The next thing is a bind with what may not be this user's password.
    pub async fn password_tried(
        &self,
        job_id: JobId,
        at: Timestamp,
        object_guid: ObjectGuid,
    ) -> Result<(), JournalError> {
        self.append(Record::PasswordTried { job_id, at, object_guid }, true).await
    }

    /// The password was right.
    pub async fn signed_in(
        &self,
        challenge: ChallengeId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), JournalError> {
        self.append(Record::SignedIn { challenge, at, until }, true).await
    }

    /// This method counts no more. Never forgotten: an old copy of the store must not bring it back.
    pub async fn method_gone(&self, method: MethodId, at: Timestamp) -> Result<(), JournalError> {
        self.append(Record::MethodGone { method, at }, true).await
    }

    /// The next thing is a write to the pinned domain controller, unless the agent has stopped or a cap is used up. Looked
    /// at and counted in one step, and on the disk when this returns.
    pub async fn begun(&self, begin: Begin, caps: Caps) -> Result<(), NotBegun> {
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut file = locked(&inner.file);
            {
                let mut memory = locked(&inner.memory);
                if memory.state != AgentState::Running {
                    return Err(NotBegun::Halted(memory.state.clone()));
                }
                let Begin { job_id, at, object_guid, ref ous, .. } = begin;
                if let Err(full) = memory.counts.check(job_id, object_guid, ous, at, &caps) {
                    return Err(NotBegun::Full(full));
                }
                memory.counts.forget(at);
            }
            let written = inner.write(&mut file, Record::Begun(begin), true);
            written.map_err(|source| NotBegun::Journal(inner.failed(source)))
        });
        written.await.unwrap_or_else(|error| Err(NotBegun::Journal(self.0.failed(io::Error::other(error)))))
    }

    /// Whether the agent writes.
    pub fn state(&self) -> AgentState {
        locked(&self.0.memory).state.clone()
    }

    /// How far the journal has come, as far as it lies on the disk.
    pub fn durable_head(&self) -> Head {
        locked(&self.0.memory).durable
    }

    /// Stops the agent when its own cap has refused more jobs lately than `caps` bears. Whether it has.
    pub async fn stop_after_a_burst(&self, at: Timestamp, caps: Caps) -> Result<bool, JournalError> {
        let refused = {
            let memory = locked(&self.0.memory);
            if memory.state != AgentState::Running {
                return Ok(false);
            }
            memory.counts.refused_lately(at)
        };
        if refused <= caps.burst {
            return Ok(false);
        }
        self.append(Record::State { at, state: AgentState::Stopped { at, refused }, confirmed: None }, true)
            .await?;
        Ok(true)
    }

    /// Compares the journal with the heads that the server has seen. Whether it is an older or another one: then the agent
    /// is in quarantine from now on.
    pub async fn compare(&self, seen: &[Head], at: Timestamp) -> Result<bool, JournalError> {
        let (own, state) = {
            let memory = locked(&self.0.memory);
            (memory.head, memory.state.clone())
        };
        if matches!(state, AgentState::Quarantined { .. }) {
            return Ok(false);
        }
        let newer = seen
            .iter()
            .find(|seen| seen.journal == own.journal)
            .map_or_else(|| seen.first(), |seen| Some(seen).filter(|seen| older(&own, seen)));
        let Some(&seen) = newer else { return Ok(false) };
        let state = AgentState::Quarantined { at, own, seen };
        self.append(Record::State { at, state, confirmed: None }, true).await?;
        Ok(true)
    }

    /// An administrator has looked at the burst: the agent writes again. Whether it had stopped.
    pub async fn resume(&self, at: Timestamp) -> Result<bool, JournalError> {
        if !matches!(self.state(), AgentState::Stopped { .. }) {
            return Ok(false);
        }
        self.append(Record::State { at, state: AgentState::Running, confirmed: None }, true).await?;
        Ok(true)
    }

    /// An administrator says that this journal is the right one: it counts on after the one seen before. Whether the
    /// agent was in quarantine.
    pub async fn confirm(&self, at: Timestamp) -> Result<bool, JournalError> {
        let AgentState::Quarantined { seen, .. } = self.state() else { return Ok(false) };
        let confirmed = Some(seen.sequence.saturating_add(1));
        self.append(Record::State { at, state: AgentState::Running, confirmed }, true).await?;
        Ok(true)
    }

    /// Another agent may have begun this job: what it would have read before is `pin`, and what it sent has arrived or
    /// been lost by `at`.
    pub async fn took_over(
        &self,
        job_id: JobId,
        challenge: ChallengeId,
        at: Timestamp,
        pin: Pin,
    ) -> Result<(), JournalError> {
        self.append(Record::TookOver { job_id, challenge, at, pin }, true).await
    }

    /// The next thing is a bind with the new password, which may count against the user: once for each job.
    pub async fn asked(&self, job_id: JobId, at: Timestamp) -> Result<(), JournalError> {
        self.append(Record::Asked { job_id, at }, true).await
    }

    /// The job is over before anything was sent. A copy of its message may come when the reason has passed, so this must
    /// not be forgotten. `tried`: a password was judged that rested on this proof, and the proof pays for it.
    pub async fn refused(
        &self,
        job_id: JobId,
        at: Timestamp,
        outcome: Outcome,
        tried: Option<ChallengeId>,
    ) -> Result<(), JournalError> {
        self.append(Record::Ended { job_id, at, outcome, tried }, true).await
    }

    /// The write was certainly not done; the job may begin anew. Losing this record costs a look at the directory.
    pub async fn not_done(&self, job_id: JobId, at: Timestamp) -> Result<(), JournalError> {
        self.append(Record::NotDone { job_id, at }, false).await
    }

    /// The job is over. Losing this record to a power cut costs a look at the directory.
    pub async fn ended(&self, job_id: JobId, at: Timestamp, outcome: Outcome) -> Result<(), JournalError> {
        self.append(Record::Ended { job_id, at, outcome, tried: None }, false).await
    }

    /// What need not be on the disk yet is written at once: the hop to another thread would cost more than the write.
    async fn append(&self, record: Record, durable: bool) -> Result<(), JournalError> {
        if !durable && let Ok(mut file) = self.0.file.try_lock() {
            return self.0.write(&mut file, record, durable).map_err(|source| self.0.failed(source));
        }
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut file = locked(&inner.file);
            inner.write(&mut file, record, durable)
        });
        let written = written.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|source| self.0.failed(source))
    }
}

/// Whether a journal at `own` was seen further on, or as another one at the same place.
fn older(own: &Head, seen: &Head) -> bool {
    seen.sequence > own.sequence || (seen.sequence == own.sequence && seen.hash != own.hash)
}

impl Inner {
    fn failed(&self, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), step: "written", source }
    }

    fn write(&self, file: &mut File, record: Record, durable: bool) -> io::Result<()> {
        let line = serde_json::to_vec(&record)?;
        let before = file.stream_position()?;
        let result =
            file.write_all(&tagged(&line)).and_then(|()| if durable { file.sync_data() } else { Ok(()) });
        if let Err(error) = result {
            // Half a line would make the next one unreadable.
            file.set_len(before)?;
            file.seek(io::SeekFrom::Start(before))?;
            return Err(error);
        }
        let mut memory = locked(&self.memory);
        memory.apply(record, &line);
        if durable {
            memory.durable = memory.head;
        }
        Ok(())
    }
}

/// Bytes of a line's hash that stand behind it, in hex: a disk that alters a record must not alter what the agent did.
const TAG: usize = 8;

fn tag(line: &[u8]) -> String {
    Sha256::digest(line).iter().take(TAG).map(|byte| format!("{byte:02x}")).collect()
}

/// A record as it stands in the file.
fn tagged(line: &[u8]) -> Vec<u8> {
    [line, b"\t", tag(line).as_bytes(), b"\n"].concat()
}

/// The record of a line, if it is what was written. Lines from before there were tags end with the record.
fn untagged(line: &[u8]) -> Option<&[u8]> {
    match line.iter().rposition(|byte| *byte == b'\t') {
        None => Some(line),
        Some(at) => (&line[at + 1..] == tag(&line[..at]).as_bytes()).then_some(&line[..at]),
    }
}

/// Writes the lines to a new file and puts it in the old one's place.
fn rewrite(path: &Path, lines: &[Vec<u8>]) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend_from_slice(&tagged(line));
    }
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(file)
}
