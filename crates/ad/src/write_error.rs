//! Why a write was refused, and whether the job goes on.

use crate::error::{DirectoryError, FindError};
use keyback_codes::{Cause, Explain};
use keyback_core::{Evidence, Failure, ServerReply};

/// Whether a job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Final: asking again would get the same answer.
    Refuse,
    /// Nothing was done, and it may work later.
    Retry,
    /// It may have been done: [`crate::Directory::settle`] before anything else.
    LookFirst,
}

/// What the connector account was not allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Control access User-Force-Change-Password.
    ResetPassword,
    /// Control access User-Change-Password.
    ChangePassword,
    /// Write property lockoutTime.
    LockoutTime,
    /// Write property pwdLastSet.
    PwdLastSet,
}

/// A domain controller said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The domain controller.
    pub dc: String,
    /// Its answer.
    pub reply: ServerReply,
    /// What else was looked at to judge it.
    pub evidence: Vec<Evidence>,
}

/// A password was not set, an account not unlocked, or nobody knows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The connector account lacks a right on this user.
    #[error("the connector account may not do this")]
    AccessDenied {
        /// Which.
        right: Right,
        /// The answer.
        refused: Refused,
    },
    /// The user may not change the password, whoever asks.
    #[error("this user's password may not be changed")]
    CannotChange(Refused),
    /// The current password does not match. It cost one bad-password count.
    #[error("the current password is wrong")]
    WrongCurrentPassword(Refused),
    /// A change on a locked account.
    #[error("the account is locked")]
    Locked(Refused),
    /// Shorter than the policy wants, or longer than 256 characters.
    #[error("the password has the wrong length")]
    Length(Refused),
    /// Too few kinds of characters.
    #[error("the password is not complex enough")]
    NotComplex(Refused),
    /// Contains the account's or the person's name.
    #[error("the password contains the name")]
    ContainsName(Refused),
    /// Used before.
    #[error("the password was used before")]
    InHistory(Refused),
    /// The last change is too recent.
    #[error("the password was changed too recently")]
    TooYoung(Refused),
    /// Refused by policy, and the fine-grained policy that applies cannot be read.
    #[error("refused by a policy that the connector account cannot read")]
    PsoUnreadable(Refused),
    /// Refused by policy; every rule that can be read allows it.
    #[error("refused by history, a password filter, or a rule that is not known")]
    FilterOrUnknown(Refused),
    /// The user's pwdLastSet is no longer what it was: somebody, perhaps our own lost request, was faster.
    #[error("the password was set by somebody else meanwhile")]
    Stale(Refused),
    /// The user is not there, or not visible.
    #[error("the user is not there")]
    NotFound(Refused),
    /// A read-only domain controller.
    #[error("the domain controller is read-only")]
    ReadOnly(Refused),
    /// Busy.
    #[error("the domain controller is busy")]
    Busy(Refused),
    /// Refused in a way that is not in the catalogue.
    #[error("refused in an unknown way")]
    Other(Refused),
    /// The request may have left and no answer came: it may have been done, or be done yet.
    #[error("no answer came; whether it was done is not known")]
    NoAnswer(#[source] DirectoryError),
    /// Nothing was sent.
    #[error("nothing was sent")]
    Unreachable(#[source] DirectoryError),
}

impl WriteError {
    /// The one place that decides whether a job goes on.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::AccessDenied { .. }
            | Self::CannotChange(_)
            | Self::WrongCurrentPassword(_)
            | Self::Locked(_)
            | Self::Length(_)
            | Self::NotComplex(_)
            | Self::ContainsName(_)
            | Self::InHistory(_)
            | Self::TooYoung(_)
            | Self::PsoUnreadable(_)
            | Self::FilterOrUnknown(_)
            | Self::NotFound(_)
            | Self::Other(_) => Verdict::Refuse,
            Self::ReadOnly(_) | Self::Busy(_) => Verdict::Retry,
            Self::Stale(_) | Self::NoAnswer(_) => Verdict::LookFirst,
            Self::Unreachable(error) => error.verdict(),
        }
    }

    fn refused(&self) -> Result<&Refused, &DirectoryError> {
        match self {
            Self::AccessDenied { refused, .. }
            | Self::CannotChange(refused)
            | Self::WrongCurrentPassword(refused)
            | Self::Locked(refused)
            | Self::Length(refused)
            | Self::NotComplex(refused)
            | Self::ContainsName(refused)
            | Self::InHistory(refused)
            | Self::TooYoung(refused)
            | Self::PsoUnreadable(refused)
            | Self::FilterOrUnknown(refused)
            | Self::Stale(refused)
            | Self::NotFound(refused)
            | Self::ReadOnly(refused)
            | Self::Busy(refused)
            | Self::Other(refused) => Ok(refused),
            Self::NoAnswer(error) | Self::Unreachable(error) => Err(error),
        }
    }

    /// For the job's record.
    pub fn failure(&self) -> Failure {
        match self.refused() {
            Ok(refused) => Failure {
                code: self.code(),
                cause: self.cause(),
                reply: Some(refused.reply.clone()),
                dc: Some(refused.dc.clone()),
                evidence: refused.evidence.clone(),
            },
            Err(error) => Failure { code: self.code(), cause: self.cause(), ..error.failure() },
        }
    }
}

impl Explain for WriteError {
    fn cause(&self) -> Cause {
        match self {
            Self::AccessDenied { right: Right::ResetPassword, .. } => Cause::RightsResetMissing,
            Self::AccessDenied { right: Right::LockoutTime, .. } => Cause::RightsUnlockAttributeMissing,
            Self::AccessDenied { right: Right::PwdLastSet, .. } => Cause::RightsPwdLastSetMissing,
            Self::AccessDenied { right: Right::ChangePassword, .. } | Self::CannotChange(_) => {
                Cause::RightsCannotChange
            }
            Self::WrongCurrentPassword(_) => Cause::TargetWrongPassword,
            Self::Locked(_) => Cause::TargetLocked,
            Self::Length(_) => Cause::PolicyLength,
            Self::NotComplex(_) => Cause::PolicyComplexity,
            Self::ContainsName(_) => Cause::PolicyContainsName,
            Self::InHistory(_) => Cause::PolicyHistory,
            Self::TooYoung(_) => Cause::PolicyMinAge,
            Self::PsoUnreadable(_) => Cause::PolicyPsoUnreadable,
            Self::FilterOrUnknown(_) => Cause::PolicyFilterOrUnknown,
            Self::Stale(_) => Cause::TargetOutrun,
            Self::NotFound(_) => Cause::TargetNotFound,
            Self::ReadOnly(_) => Cause::DcReadOnly,
            Self::Busy(_) => Cause::DcBusy,
            Self::Other(_) => Cause::Unspecified,
            Self::NoAnswer(_) => Cause::OutcomeUnknown,
            Self::Unreachable(error) => error.cause(),
        }
    }
}

impl DirectoryError {
    /// Whether the directory may be reachable later without anybody's doing.
    pub fn verdict(&self) -> Verdict {
        // A lockout ends by itself; a wrong password, a disabled or expired account does not.
        let cause = self.cause();
        if cause == Cause::ConnectorLocked || cause.may_pass() { Verdict::Retry } else { Verdict::Refuse }
    }
}

impl FindError {
    /// Whether looking again may find somebody without anybody's doing.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::NotFound { .. } | Self::Several { .. } | Self::Unreadable { .. } => Verdict::Refuse,
            Self::Directory(error) => error.verdict(),
        }
    }
}
