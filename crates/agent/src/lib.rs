//! What is done to the directory.
//!
//! Checks every message and every proof itself, refuses who is out of scope or protected, remembers in a journal of its
//! own what it began, and listens on no socket. The server may ask; it cannot make the agent do anything twice, for
//! somebody else, or without a proof.

mod caps;
pub mod doctor;
mod guard;
mod heartbeat;
mod held;
mod journal;
mod keys;
mod mail;
pub mod passwords;
mod proof;
mod refusal;
mod register;
mod rules;
#[cfg(feature = "simulation")]
pub mod simulation;
mod totp;
mod turn;
mod vault;
mod ways;
mod writeback;

pub use caps::{Caps, Full};
pub use heartbeat::Told;
pub use journal::{Begin, Journal, JournalError, NotBegun};
pub use keys::{AgentKeys, Generation, UnsealingKey};
pub use mail::{MailConfig, MailError, Mailer};
pub use passwords::PasswordFilter;
pub use vault::Vault;
pub use ways::{GroupRule, ProofPolicy, ProofRule};

use keyback_ad::descriptor::Acl;
use keyback_ad::{Directory, Dn, FindError, Sid, User};
use keyback_codes::{Cause, Explain};
use keyback_core::audit::Head;
use keyback_core::diagnosis::Diagnosis;
use keyback_core::heartbeat::Ask;
use keyback_core::message::{Body, Header, MessageError, Reply, SignedRequest};
use keyback_core::outcome::Outcome;
use keyback_core::{Clock, Failure, JobId, ObjectGuid, Timestamp, UserName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// How long the whereabouts of the OUs in scope are believed.
const SCOPE_IS_GOOD: Duration = Duration::from_mins(1);

/// What an agent is made of.
pub struct AgentParts {
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
    /// How much it writes at most.
    pub caps: Caps,
    /// Which passwords it does not write.
    pub passwords: PasswordFilter,
    /// Which ways to prove oneself are accepted, and how many are needed.
    pub proof: ProofPolicy,
    /// What opens people's methods.
    pub vault: Vault,
    /// Its way to people.
    pub mailer: Mailer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The longest that a domain controller may take over one write.
    pub write_limit: Duration,
}

struct Bounds {
    read_at: Timestamp,
    scope: Vec<(ObjectGuid, Dn)>,
    connector: Sid,
    holder: Option<Acl>,
}

impl Bounds {
    fn dns(&self) -> Vec<Dn> {
        self.scope.iter().map(|(_, dn)| dn.clone()).collect()
    }
}

/// The agent. Cheap to clone.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    parts: AgentParts,
    keys: RwLock<Arc<AgentKeys>>,
    pulse: Mutex<heartbeat::Pulse>,
    bounds: Mutex<Option<Arc<Bounds>>>,
    turns: Mutex<HashMap<JobId, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while something that somebody typed is compared and counted.
    tries: tokio::sync::Mutex<()>,
    /// Held while a password is tried: what the directory has counted is read before. Codes do not wait for that.
    sign_ins: tokio::sync::Mutex<()>,
    afterwards: TaskTracker,
    doctors: Semaphore,
    #[cfg(feature = "simulation")]
    broken: simulation::Broken,
}

impl Inner {
    fn new(parts: AgentParts, keys: AgentKeys) -> Self {
        Self {
            parts,
            keys: RwLock::new(Arc::new(keys)),
            pulse: Mutex::default(),
            bounds: Mutex::new(None),
            turns: Mutex::new(HashMap::new()),
            tries: tokio::sync::Mutex::new(()),
            sign_ins: tokio::sync::Mutex::new(()),
            afterwards: TaskTracker::new(),
            doctors: Semaphore::new(refusal::AT_ONCE),
            #[cfg(feature = "simulation")]
            broken: simulation::Broken::default(),
        }
    }
}

/// What ends a job's way early.
type Ended<T> = Result<T, Outcome>;

impl Agent {
    /// An agent that waits to be asked.
    pub fn new(parts: AgentParts, keys: AgentKeys) -> Self {
        Self(Arc::new(Inner::new(parts, keys)))
    }

    /// Answers one message. `None` when it is so broken that there is nobody to answer.
    pub async fn handle(&self, message: &[u8]) -> Option<Vec<u8>> {
        if Ask::is_one(message) {
            return self.beat(message).await;
        }
        let keys = self.keys();
        let request = match keys.check(message) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(%error, "a message was refused");
                // Bound to these very bytes: whoever altered them has refused only their own alteration.
                let header = keyback_core::message::peek_header(message)?;
                let digest = keyback_core::message::digest(message);
                return self.reply(&keys, &header, digest, refused(&error), None);
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
        let (outcome, diagnosis) = match keys.open(&request) {
            Err(error) => (refused(&error), None),
            Ok(body) => {
                let outcome = self.act(&request, &body).await.unwrap_or_else(|ended| ended);
                self.look_into(&request.header, &body, outcome).await
            }
        };
        self.reply(&keys, &request.header, request.digest, outcome, diagnosis)
    }

    /// The keys that it uses now.
    pub fn keys(&self) -> Arc<AgentKeys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses other keys from the next message on.
    pub fn use_keys(&self, keys: AgentKeys) {
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Its memory.
    pub fn journal(&self) -> &Journal {
        &self.0.parts.journal
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
            Body::AskCode { .. }
            | Body::CheckCode { .. }
            | Body::CheckPassword { .. }
            | Body::AddTotp { .. }
            | Body::AddRecovery { .. }
            | Body::TestMethod { .. }
            | Body::RemoveMethod { .. } => {
                self.check_validity(request)?;
                self.verify(&request.header, body).await
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

    /// What is asked of nobody but this agent and its journal, the directory at most being read.
    async fn verify(&self, header: &Header, body: &Body) -> Ended<Outcome> {
        match body {
            Body::AskCode { user, held } => self.mint_code(header, user, *held).await,
            Body::CheckCode { challenge, code, methods } => {
                self.check_code(header, *challenge, code, methods.as_ref()).await
            }
            Body::CheckPassword { challenge, current } => {
                self.check_password(header, *challenge, current).await
            }
            Body::AddTotp { challenge, method, seed, code } => {
                self.add_totp(header, *challenge, *method, seed, code)
            }
            Body::AddRecovery { challenge, method, replaces, codes } => {
                self.add_recovery(header, *challenge, *method, *replaces, codes).await
            }
            Body::TestMethod { challenge, code, methods } => {
                self.test_method(header, *challenge, code, methods).await
            }
            Body::RemoveMethod { challenge, method } => self.remove_method(header, *challenge, *method).await,
            Body::Reset { .. } | Body::Change { .. } | Body::Unlock { .. } => {
                Err(Outcome::Refused(Failure::of(Cause::MessageRefused)))
            }
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

    /// Signed by the key of the same generation as the one that the message was sealed to.
    fn reply(
        &self,
        keys: &AgentKeys,
        to: &Header,
        request: String,
        outcome: Outcome,
        diagnosis: Option<Diagnosis>,
    ) -> Option<Vec<u8>> {
        let reply = Reply::new(to.job_id, request, outcome, self.now(), self.journal().audit_head());
        Some(reply.with(diagnosis).sign(keys.generation(Some(to.recipient))?.signing()))
    }

    /// Where the OUs in scope lie now, and who the connector is.
    async fn bounds(&self) -> Ended<Arc<Bounds>> {
        let now = self.now();
        let known = self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now.since(known.read_at) < SCOPE_IS_GOOD) {
            return Ok(known);
        }
        let parts = &self.0.parts;
        let dns = parts.directory.resolve_scope(&parts.scope).await.map_err(|error| not_found(&error))?;
        let scope = parts.scope.iter().copied().zip(dns).collect();
        let connector =
            parts.directory.find_user(&parts.connector).await.map_err(|error| not_found(&error))?;
        let holder = parts.directory.read_admin_sd_holder().await.map_err(|error| not_found(&error))?;
        let bounds = Arc::new(Bounds { read_at: now, scope, connector: connector.sid, holder });
        *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bounds));
        Ok(bounds)
    }

    /// Scope and protection, judged on what was just read of the user. The OUs of the scope that the user lies under.
    async fn check_target(&self, user: &User) -> Ended<Vec<ObjectGuid>> {
        let bounds = self.bounds().await?;
        let ous = guard::check_scope(user, &bounds.scope).map_err(Outcome::Refused)?;
        guard::check_protection(user, &bounds.connector, &self.0.parts.protected_groups)
            .and_then(|()| guard::check_dacl(user, bounds.holder.as_ref()))
            .map_err(Outcome::Refused)?;
        Ok(ous)
    }
}

fn not_understood(error: &MessageError) -> Failure {
    Failure::of(error.cause()).seen("message", error.to_string(), "agent")
}

fn refused(error: &MessageError) -> Outcome {
    Outcome::Refused(not_understood(error))
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
