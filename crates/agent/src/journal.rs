//! The agent's own memory: which codes it minted, which jobs it began, what came of them.
//!
//! One line of JSON a record, appended; what must not be forgotten is on the disk before the agent goes on. The server
//! and the relay may repeat and reorder as they like: a job that stands here is not done again.

use keyback_ad::Pin;
use keyback_codes::{Cause, Explain};
use keyback_core::audit::Head;
use keyback_core::job::Operation;
use keyback_core::outcome::Outcome;
use keyback_core::{ChallengeId, JobId, ObjectGuid, Person, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
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
}

/// What has become of a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeState {
    /// As minted.
    pub challenge: Challenge,
    /// Wrong codes so far.
    pub wrong: u32,
    /// The code was right; the proof holds until then.
    pub proof_until: Option<Timestamp>,
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
    },
    /// Over; the same answer is given to whoever asks again.
    Ended {
        /// When.
        at: Timestamp,
        /// The answer.
        outcome: Outcome,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Record {
    Minted(Challenge),
    Tried { challenge: ChallengeId, at: Timestamp, proof_until: Option<Timestamp> },
    Begun { job_id: JobId, at: Timestamp, object_guid: ObjectGuid, challenge: ChallengeId, pin: Pin },
    NotDone { job_id: JobId, at: Timestamp },
    Ended { job_id: JobId, at: Timestamp, outcome: Outcome },
    AuditHead(Head),
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

#[derive(Default)]
struct Memory {
    challenges: HashMap<ChallengeId, ChallengeState>,
    jobs: HashMap<JobId, JobRecord>,
    audit_head: Option<Head>,
}

impl Memory {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Minted(challenge) => {
                // A job that is asked again mints again; the code before is worth nothing then.
                self.challenges.retain(|_, old| old.challenge.job_id != challenge.job_id);
                let state = ChallengeState {
                    challenge: challenge.clone(),
                    wrong: 0,
                    proof_until: None,
                    used_by: Vec::new(),
                };
                self.challenges.insert(challenge.id, state);
            }
            Record::Tried { challenge, proof_until, .. } => {
                if let Some(state) = self.challenges.get_mut(&challenge) {
                    match proof_until {
                        Some(until) => state.proof_until = Some(until),
                        None => state.wrong += 1,
                    }
                }
            }
            Record::Begun { job_id, at, challenge, pin, .. } => {
                self.jobs.insert(job_id, JobRecord::Begun { at, pin });
                if let Some(state) = self.challenges.get_mut(&challenge)
                    && !state.used_by.contains(&job_id)
                {
                    state.used_by.push(job_id);
                }
            }
            Record::NotDone { job_id, .. } => {
                self.jobs.remove(&job_id);
            }
            Record::Ended { job_id, at, outcome } => {
                self.jobs.insert(job_id, JobRecord::Ended { at, outcome });
            }
            Record::AuditHead(head) => self.audit_head = Some(head),
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.challenges.retain(|_, state| now.since(state.challenge.at) < KEPT);
        self.jobs.retain(|_, record| match record {
            JobRecord::Begun { .. } => true,
            JobRecord::Ended { at, .. } => now.since(*at) < KEPT,
        });
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
        let mut records: Vec<Record> = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("opened")(error)),
            Ok(file) => {
                let mut lines = BufReader::new(file).split(b'\n').enumerate().peekable();
                while let Some((index, line)) = lines.next() {
                    let line = line.map_err(failed("read"))?;
                    match serde_json::from_slice(&line) {
                        Ok(record) => records.push(record),
                        Err(_) if lines.peek().is_none() => {}
                        Err(_) => {
                            return Err(JournalError::Damaged { path: path.to_owned(), line: index + 1 });
                        }
                    }
                }
            }
        }
        let mut memory = Memory::default();
        records.iter().cloned().for_each(|record| memory.apply(record));
        memory.forget(now);
        let kept: Vec<&Record> = records
            .iter()
            .filter(|record| match record {
                Record::Minted(challenge) => memory.challenges.contains_key(&challenge.id),
                Record::Tried { challenge, .. } => memory.challenges.contains_key(challenge),
                Record::Begun { job_id, .. }
                | Record::NotDone { job_id, .. }
                | Record::Ended { job_id, .. } => memory.jobs.contains_key(job_id),
                Record::AuditHead(head) => memory.audit_head == Some(*head),
            })
            .collect();
        let file = rewrite(path, &kept).map_err(failed("written"))?;
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

    /// How many codes were mailed to somebody since `since`.
    pub fn codes_since(&self, whom: ObjectGuid, since: Timestamp) -> usize {
        let memory = locked(&self.0.memory);
        let to_them = |state: &&ChallengeState| {
            state.challenge.person.object_guid == whom && state.challenge.at >= since
        };
        memory.challenges.values().filter(to_them).count()
    }

    /// The highest head of the server's audit chain that this agent was ever given.
    pub fn audit_head(&self) -> Option<Head> {
        locked(&self.0.memory).audit_head
    }

    /// The same of a journal that an agent may have open.
    pub fn read_audit_head(path: &Path) -> Result<Option<Head>, JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), step: "read", source };
        let mut head = None;
        for line in BufReader::new(File::open(path).map_err(failed)?).split(b'\n') {
            if let Ok(Record::AuditHead(seen)) = serde_json::from_slice(&line.map_err(failed)?) {
                head = Some(seen);
            }
        }
        Ok(head)
    }

    /// The server gave this head. `false`: it is not the one of that number which it gave before. An older one is no
    /// news: messages overtake each other.
    pub async fn saw_head(&self, head: Head) -> Result<bool, JournalError> {
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
        self.append(Record::Tried { challenge, at, proof_until }, true).await
    }

    /// The next thing is a write to the pinned domain controller.
    pub async fn begun(
        &self,
        job_id: JobId,
        at: Timestamp,
        object_guid: ObjectGuid,
        challenge: ChallengeId,
        pin: Pin,
    ) -> Result<(), JournalError> {
        self.append(Record::Begun { job_id, at, object_guid, challenge, pin }, true).await
    }

    /// The write was certainly not done; the job may begin anew. Losing this record costs a look at the directory.
    pub async fn not_done(&self, job_id: JobId, at: Timestamp) -> Result<(), JournalError> {
        self.append(Record::NotDone { job_id, at }, false).await
    }

    /// The job is over. Losing this record to a power cut costs a look at the directory.
    pub async fn ended(&self, job_id: JobId, at: Timestamp, outcome: Outcome) -> Result<(), JournalError> {
        self.append(Record::Ended { job_id, at, outcome }, false).await
    }

    /// What need not be on the disk yet is written at once: the hop to another thread would cost more than the write.
    async fn append(&self, record: Record, durable: bool) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { path: self.0.path.clone(), step: "written", source };
        if !durable && let Ok(mut file) = self.0.file.try_lock() {
            return self.0.write(&mut file, record, durable).map_err(failed);
        }
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut file = locked(&inner.file);
            inner.write(&mut file, record, durable)
        });
        written.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
    }
}

impl Inner {
    fn write(&self, file: &mut File, record: Record, durable: bool) -> io::Result<()> {
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        let before = file.stream_position()?;
        let result = file.write_all(&line).and_then(|()| if durable { file.sync_data() } else { Ok(()) });
        if let Err(error) = result {
            // Half a line would make the next one unreadable.
            file.set_len(before)?;
            file.seek(io::SeekFrom::Start(before))?;
            return Err(error);
        }
        locked(&self.memory).apply(record);
        Ok(())
    }
}

/// Writes the records to a new file and puts it in the old one's place.
fn rewrite(path: &Path, records: &[&Record]) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let mut bytes = Vec::new();
    for record in records {
        serde_json::to_writer(&mut bytes, record)?;
        bytes.push(b'\n');
    }
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_core::{Failure, SourceAnchor};

    type Tested = Result<(), Box<dyn std::error::Error>>;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn challenge(seed: u8) -> Challenge {
        Challenge {
            id: ChallengeId::from_random([seed; 16]),
            job_id: JobId::from_random([seed; 16]),
            at: NOW,
            expires_at: NOW,
            operation: Operation::Reset,
            person: Person {
                object_guid: ObjectGuid::from_wire([9; 16]),
                source_anchor: SourceAnchor::from_wire([9; 16]),
                user_principal_name: "ada@ad.example".to_owned(),
                sam_account_name: "ada".to_owned(),
                display_name: "Ada".to_owned(),
                mail_hint: "a•••@ad.example".to_owned(),
            },
            code_hash: [0; 32],
        }
    }

    fn pin() -> Pin {
        Pin { dc: "dc1".to_owned(), key_version: Some(3), pwd_last_set: None }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again() -> Tested {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("journal");
        let (minted, job) = (challenge(1), JobId::from_random([2; 16]));
        {
            let journal = Journal::open(&path, NOW)?;
            journal.minted(minted.clone()).await?;
            journal.tried(minted.id, NOW, None).await?;
            journal.tried(minted.id, NOW, Some(NOW)).await?;
            journal.begun(job, NOW, minted.person.object_guid, minted.id, pin()).await?;
        }
        let journal = Journal::open(&path, NOW)?;
        let state = journal.challenge(minted.id).ok_or("the challenge is gone")?;
        assert_eq!((state.wrong, state.proof_until, state.used_by), (1, Some(NOW), vec![job]));
        assert_eq!(journal.job(job), Some(JobRecord::Begun { at: NOW, pin: pin() }));
        assert_eq!(journal.codes_since(minted.person.object_guid, NOW), 1);
        Ok(())
    }

    /// Fault: a crash cuts the journal's last line short => dropped; damage elsewhere stops the agent
    #[tokio::test]
    async fn a_line_cut_short_by_a_crash_is_dropped_and_damage_elsewhere_is_refused() -> Tested {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("journal");
        let job = JobId::from_random([2; 16]);
        let journal = Journal::open(&path, NOW)?;
        journal.ended(job, NOW, Outcome::Refused(Failure::of(Cause::PolicyHistory))).await?;
        let whole = std::fs::read(&path)?;
        std::fs::write(&path, [whole.as_slice(), b"{\"ended\":{\"job"].concat())?;
        assert!(Journal::open(&path, NOW)?.job(job).is_some());
        std::fs::write(&path, [b"{\"ended\":\n".as_slice(), &whole].concat())?;
        assert!(matches!(Journal::open(&path, NOW), Err(JournalError::Damaged { line: 1, .. })));
        Ok(())
    }

    #[tokio::test]
    async fn after_a_day_only_what_is_open_is_kept() -> Tested {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("journal");
        let (ended, open) = (JobId::from_random([2; 16]), JobId::from_random([3; 16]));
        let journal = Journal::open(&path, NOW)?;
        journal.ended(ended, NOW, Outcome::Refused(Failure::of(Cause::PolicyHistory))).await?;
        journal.begun(open, NOW, ObjectGuid::from_wire([1; 16]), challenge(1).id, pin()).await?;
        let journal = Journal::open(&path, NOW.plus(KEPT))?;
        assert_eq!(journal.job(ended), None);
        assert!(journal.job(open).is_some());
        Ok(())
    }

    #[tokio::test]
    async fn asking_again_for_the_same_job_makes_the_first_code_worthless() -> Tested {
        let folder = tempfile::tempdir()?;
        let journal = Journal::open(&folder.path().join("journal"), NOW)?;
        let first = challenge(1);
        let second = Challenge { id: ChallengeId::from_random([7; 16]), ..first.clone() };
        journal.minted(first.clone()).await?;
        journal.minted(second.clone()).await?;
        assert!(journal.challenge(first.id).is_none() && journal.challenge(second.id).is_some());
        Ok(())
    }
}
