//! What the agent puts its name to: the part of a reply that names nobody, and the audit chain's head that it has seen.
//!
//! The agent signs a statement, and the statement holds the SHA-256 of the whole reply. The reply carries a random salt,
//! so that its hash says nothing once the reply is deleted. The audit trail keeps statement and signature for good.

use crate::audit::{ChainHash, Head};
use crate::clock::Timestamp;
use crate::ids::{JobId, KeyId, MethodId};
use crate::keys::VerifyingKey;
use crate::outcome::{Done, Outcome};
use keyback_codes::{Cause, PublicCode};
use serde::{Deserialize, Serialize};

/// What came of a job, without a name in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ending {
    /// The directory did what was asked.
    Done(Done),
    /// A code was mailed.
    CodeSent,
    /// A code was right.
    CodeAccepted,
    /// A code was right, and another one is needed.
    MoreProof,
    /// The current password was right.
    SignedIn,
    /// A method was registered.
    Kept(MethodId),
    /// A method was tried, and is in order.
    Tested,
    /// A method counts no more.
    Removed(MethodId),
    /// Not done, for good.
    Refused(PublicCode, Cause),
    /// Not done; it may be tried again.
    Retry(PublicCode, Cause),
    /// Whether it was done is not known yet.
    Unknown(PublicCode, Cause),
}

impl Ending {
    /// Of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done(done) => Self::Done(done.clone()),
            Outcome::CodeSent { .. } => Self::CodeSent,
            Outcome::CodeAccepted { .. } => Self::CodeAccepted,
            Outcome::MoreProof { .. } => Self::MoreProof,
            Outcome::SignedIn { .. } => Self::SignedIn,
            Outcome::Kept { method, .. } => Self::Kept(method.id),
            Outcome::Tested { .. } => Self::Tested,
            Outcome::Removed { method } => Self::Removed(*method),
            Outcome::Refused(failure) => Self::Refused(failure.code, failure.cause),
            Outcome::Retry(failure) => Self::Retry(failure.code, failure.cause),
            Outcome::Unknown(failure) => Self::Unknown(failure.code, failure.cause),
        }
    }
}

/// What the agent signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The key that signs.
    pub signer: KeyId,
    /// The job.
    pub job_id: JobId,
    /// [`digest`](crate::message::digest) of the request that is answered.
    pub request: String,
    /// The agent's clock.
    pub at: Timestamp,
    /// What came of it.
    pub ending: Ending,
    /// The highest head of the audit chain that the agent was ever given.
    pub head: Option<Head>,
    /// Of the whole reply.
    pub reply: ChainHash,
}

/// A reply as the audit trail keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// [`Statement`] as JSON, byte for byte as it was signed.
    pub statement: String,
    /// Ed25519 over [`signed_bytes`] of it.
    pub signature: Vec<u8>,
    /// The reply as JSON: the statement holds its hash. It may name people.
    pub reply: String,
}

const MAGIC: &[u8; 4] = b"KBR2";

/// The bytes that a signature over a statement covers.
pub fn signed_bytes(statement: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&u16::try_from(statement.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend_from_slice(statement.as_bytes());
    bytes
}

/// Length of what stands before the statement in [`signed_bytes`].
pub(crate) const BEFORE: usize = MAGIC.len() + 2;

/// A message of [`signed_bytes`] and something behind them, cut between the two.
pub(crate) fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, _) = message.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    message.split_at_checked(BEFORE + usize::from(u16::from_le_bytes(*length)))
}

/// The statement, if one of `keys` signed exactly these bytes.
pub fn check(statement: &str, signature: &[u8], keys: &[VerifyingKey]) -> Option<Statement> {
    let said: Statement = serde_json::from_str(statement).ok()?;
    let key = keys.iter().find(|key| key.id() == said.signer)?;
    key.verifies(&signed_bytes(statement), signature).then_some(said)
}
