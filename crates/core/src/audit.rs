//! What is recorded: *intent* before a step, *outcome* after it, under one correlation ID; each row chained to the one
//! before.

mod chain;
mod checkpoint;
mod verify;

pub use chain::{ChainFormError, ChainHash, Facts, Head, Link, Personal, commit};
pub use checkpoint::Checkpoint;
pub use verify::{Broken, Clear, Fault, Keys, Step, Verified, Verifier};

use crate::clock::Timestamp;
use crate::ids::{CorrelationId, JobId, ObjectGuid};
use crate::outcome::{Done, Failure};
use serde::{Deserialize, Serialize};

/// Before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is about to be done. Cannot be written: is not done.
    Intent,
    /// It was done, or not.
    Outcome,
}

/// What was done, in the words of Entra's own audit log where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Somebody asked for a code.
    #[serde(rename = "Self-service password reset flow activity progress")]
    CodeRequested,
    /// Somebody typed a code.
    #[serde(rename = "Verify code for self-service password reset")]
    CodeChecked,
    /// Reset.
    #[serde(rename = "Reset password (self-service)")]
    Reset,
    /// Change.
    #[serde(rename = "Change password (self-service)")]
    Change,
    /// Unlock.
    #[serde(rename = "Unlock user account (self-service)")]
    Unlock,
    /// Somebody wants to look after their methods, and typed their current password for it.
    #[serde(rename = "User started security info registration")]
    SignedIn,
    /// A method was registered.
    #[serde(rename = "User registered security info")]
    MethodAdded,
    /// A method was tried.
    #[serde(rename = "User reviewed security info")]
    MethodTested,
    /// A method was removed.
    #[serde(rename = "User deleted security info")]
    MethodRemoved,
    /// An administrator brought methods of several people.
    #[serde(rename = "Admin registered security info")]
    MethodsImported,
    /// An administrator had a person's data deleted.
    #[serde(rename = "Erase personal data from the audit log")]
    Erased,
}

impl Activity {
    /// Every activity.
    pub const ALL: [Self; 11] = [
        Self::CodeRequested,
        Self::CodeChecked,
        Self::Reset,
        Self::Change,
        Self::Unlock,
        Self::SignedIn,
        Self::MethodAdded,
        Self::MethodTested,
        Self::MethodRemoved,
        Self::MethodsImported,
        Self::Erased,
    ];

    /// Entra's `activityDisplayName`.
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::CodeRequested => "Self-service password reset flow activity progress",
            Self::CodeChecked => "Verify code for self-service password reset",
            Self::Reset => "Reset password (self-service)",
            Self::Change => "Change password (self-service)",
            Self::Unlock => "Unlock user account (self-service)",
            Self::SignedIn => "User started security info registration",
            Self::MethodAdded => "User registered security info",
            Self::MethodTested => "User reviewed security info",
            Self::MethodRemoved => "User deleted security info",
            Self::MethodsImported => "Admin registered security info",
            Self::Erased => "Erase personal data from the audit log",
        }
    }

    /// Whether an agent does it: its success counts only with the agent's signature.
    pub const fn is_an_agents(self) -> bool {
        match self {
            Self::CodeRequested
            | Self::CodeChecked
            | Self::Reset
            | Self::Change
            | Self::Unlock
            | Self::SignedIn
            | Self::MethodAdded
            | Self::MethodTested
            | Self::MethodRemoved => true,
            Self::MethodsImported | Self::Erased => false,
        }
    }
}

/// How it ended, as Entra's `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// Not known yet: an intent.
    Pending,
    /// Done, on evidence.
    Success,
    /// Not done.
    Failure,
}

/// One row of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// The user action that it belongs to.
    pub correlation_id: CorrelationId,
    /// The job that does it.
    pub job_id: JobId,
    /// Before or after.
    pub phase: Phase,
    /// What.
    pub activity: Activity,
    /// How it ended.
    pub result: AuditResult,
    /// The name that was typed.
    pub user_name: String,
    /// Whom it meant, once that is known.
    pub object_guid: Option<ObjectGuid>,
    /// The address that the request came from.
    pub source: Option<String>,
    /// The domain controller's evidence of success.
    pub done: Option<Done>,
    /// Code, cause and evidence of a failure.
    pub failure: Option<Failure>,
}

impl AuditEvent {
    /// The row that goes before: same ids, nothing known yet.
    pub fn intent(
        at: Timestamp,
        correlation_id: CorrelationId,
        job_id: JobId,
        activity: Activity,
        user_name: String,
        object_guid: Option<ObjectGuid>,
        source: Option<String>,
    ) -> Self {
        Self {
            at,
            correlation_id,
            job_id,
            phase: Phase::Intent,
            activity,
            result: AuditResult::Pending,
            user_name,
            object_guid,
            source,
            done: None,
            failure: None,
        }
    }

    /// The row that goes after: what the intent's job came to. Without a failure it succeeded.
    #[must_use]
    pub fn ended(self, at: Timestamp, done: Option<&Done>, failure: Option<&Failure>) -> Self {
        let result = if failure.is_some() { AuditResult::Failure } else { AuditResult::Success };
        Self { at, phase: Phase::Outcome, result, done: done.cloned(), failure: failure.cloned(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activities_serialise_as_the_name_that_is_shown() {
        for activity in Activity::ALL {
            assert_eq!(serde_json::to_value(activity).ok(), Some(activity.display_name().into()));
        }
    }
}
