//! What is done to the directory.
//!
//! Checks every message and every proof itself, refuses who is out of scope or protected, remembers in a journal of its
//! own what it began, and listens on no socket. The server may ask; it cannot make the agent do anything twice, for
//! somebody else, or without a proof.

pub mod doctor;
mod guard;
mod journal;
mod keys;
mod mail;
mod proof;
mod refusal;
mod writeback;

pub use journal::{Journal, JournalError};
pub use keys::{AgentKeys, UnsealingKey};
pub use mail::{MailConfig, MailError, Mailer};

use keyback_ad::{Directory, Dn, FindError, Sid, User};
use keyback_codes::{Cause, Explain};
use keyback_core::audit::Head;
use keyback_core::diagnosis::Diagnosis;
use keyback_core::message::{Body, MessageError, Reply, SignedRequest};
use keyback_core::outcome::Outcome;
use keyback_core::{Clock, Failure, JobId, ObjectGuid, Timestamp, UserName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// How long the whereabouts of the OUs in scope are believed.
const SCOPE_IS_GOOD: Duration = Duration::from_mins(1);

/// What an agent is made of.
pub struct AgentParts {
    /// Its keys, and the server's.
    pub keys: AgentKeys,
    /// The directory it writes to.
    pub directory: Directory,
    /// The connector account, as it binds: never a target.
    pub connector: UserName,
    /// The OUs it may touch, by objectGUID; from its own file, which the server cannot reach.
    pub scope: Vec<ObjectGuid>,
    /// Groups whose members it leaves alone, beside those that AdminSDHolder protects.
    pub protected_groups: Vec<Sid>,
    /// Its memory.
    pub journal: Journal,
    /// Its way to people.
    pub mailer: Mailer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The longest that a domain controller may take over one write.
    pub write_limit: Duration,
}

struct Bounds {
    read_at: Timestamp,
    scope: Vec<Dn>,
    connector: Sid,
}

/// The agent. Cheap to clone.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    parts: AgentParts,
    bounds: Mutex<Option<Arc<Bounds>>>,
    turns: Mutex<HashMap<JobId, Arc<tokio::sync::Mutex<()>>>>,
    afterwards: TaskTracker,
    doctors: Semaphore,
}

/// What ends a job's way early.
type Ended<T> = Result<T, Outcome>;

impl Agent {
    /// An agent that waits to be asked.
    pub fn new(parts: AgentParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            bounds: Mutex::new(None),
            turns: Mutex::new(HashMap::new()),
            afterwards: TaskTracker::new(),
            doctors: Semaphore::new(refusal::AT_ONCE),
        }))
    }

    /// Answers one message. `None` when it is so broken that there is nobody to answer.
    pub async fn handle(&self, message: &[u8]) -> Option<Vec<u8>> {
        let parts = &self.0.parts;
        let request = match SignedRequest::parse(message, parts.keys.server()) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(%error, "a message was refused");
                // Bound to these very bytes: whoever altered them has refused only their own alteration.
                let job_id = keyback_core::message::peek_job_id(message)?;
                let digest = keyback_core::message::digest(message);
                return Some(self.reply(job_id, digest, refused(&error), None));
            }
        };
        let job_id = request.header.job_id;
        let turn = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(job_id).or_default())
        };
        let _turn = turn.lock().await; // the same job offered twice at once: the second finds what the first did
        if let Some(head) = request.header.head {
            self.remember_head(head).await;
        }
        let (outcome, diagnosis) = match parts.keys.open(&request) {
            Err(error) => (refused(&error), None),
            Ok(body) => {
                let outcome = self.act(&request, &body).await.unwrap_or_else(|ended| ended);
                self.look_into(&request.header, &body, outcome).await
            }
        };
        Some(self.reply(job_id, request.digest, outcome, diagnosis))
    }

    /// Waits for what goes on behind the answers: notices being mailed.
    pub async fn stop(&self, limit: Duration) {
        self.0.afterwards.close();
        if tokio::time::timeout(limit, self.0.afterwards.wait()).await.is_err() {
            tracing::warn!(mails = self.0.afterwards.len(), "stopped with notices that were not mailed");
        }
    }

    async fn act(&self, request: &SignedRequest<'_>, body: &Body) -> Ended<Outcome> {
        match body {
            Body::AskCode { user } => {
                self.check_validity(request)?;
                self.mint_code(&request.header, user).await
            }
            Body::CheckCode { challenge, code } => {
                self.check_validity(request)?;
                self.check_code(&request.header, *challenge, code).await
            }
            Body::Reset { challenge, new } => {
                self.write(request, *challenge, writeback::Wish::Reset(new)).await
            }
            Body::Change { challenge, current, new } => {
                self.write(request, *challenge, writeback::Wish::Change(current, new)).await
            }
            Body::Unlock { challenge } => self.write(request, *challenge, writeback::Wish::Unlock).await,
        }
    }

    /// The highest head of the audit chain is countersigned in every reply: a server that rewrites or cuts off what was
    /// before it cannot have that unsaid. Losing the last heads to a power cut weakens only that.
    async fn remember_head(&self, head: Head) {
        match self.0.parts.journal.saw_head(head).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(%head, "the server's audit chain is another one than before: `keyback audit verify`");
            }
            Err(error) => tracing::error!(%error, "the audit chain's head could not be remembered"),
        }
    }

    fn check_validity(&self, request: &SignedRequest<'_>) -> Ended<()> {
        request.header.check_validity(self.now()).map_err(|error| refused(&error))
    }

    fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    fn reply(
        &self,
        job_id: JobId,
        request: String,
        outcome: Outcome,
        diagnosis: Option<Diagnosis>,
    ) -> Vec<u8> {
        let parts = &self.0.parts;
        let reply = Reply::new(job_id, request, outcome, self.now(), parts.journal.audit_head());
        reply.with(diagnosis).sign(parts.keys.signing())
    }

    /// Where the OUs in scope lie now, and who the connector is.
    async fn bounds(&self) -> Ended<Arc<Bounds>> {
        let now = self.now();
        let known = self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now.since(known.read_at) < SCOPE_IS_GOOD) {
            return Ok(known);
        }
        let parts = &self.0.parts;
        let scope = parts.directory.resolve_scope(&parts.scope).await.map_err(|error| not_found(&error))?;
        let connector =
            parts.directory.find_user(&parts.connector).await.map_err(|error| not_found(&error))?;
        let bounds = Arc::new(Bounds { read_at: now, scope, connector: connector.sid });
        *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bounds));
        Ok(bounds)
    }

    /// Scope and protection, judged on what was just read of the user.
    async fn check_target(&self, user: &User) -> Ended<()> {
        let bounds = self.bounds().await?;
        guard::check_scope(user, &bounds.scope)
            .and_then(|()| guard::check_protection(user, &bounds.connector, &self.0.parts.protected_groups))
            .map_err(Outcome::Refused)
    }
}

fn refused(error: &MessageError) -> Outcome {
    Outcome::Refused(Failure::of(error.cause()).seen("message", error.to_string(), "agent"))
}

/// A lookup that failed: for good when the directory said so, for now when it could not be asked.
fn not_found(error: &FindError) -> Outcome {
    may_pass(error.failure())
}

fn may_pass(failure: Failure) -> Outcome {
    if failure.cause.may_pass() { Outcome::Retry(failure) } else { Outcome::Refused(failure) }
}

fn no_journal(error: &JournalError) -> Outcome {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, source, "nothing is done without the journal");
    Outcome::Retry(Failure::of(Cause::JournalUnavailable).seen(
        "journal",
        format!("{error}: {source}"),
        "agent",
    ))
}
