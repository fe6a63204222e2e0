//! The codes a job can end with: Microsoft's AADSTS1200xx family, as the design assigns them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A code of the family that Entra's self-service reset reports (names: Microsoft's page "Microsoft Entra
/// authentication and authorization error codes"). Serialised as `AADSTS120004`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PublicCode {
    /// 120000: the current password was wrong.
    WrongCurrentPassword,
    /// 120002: banned, too weak, or not usable as a password.
    Banned,
    /// 120003: contains the person's name.
    ContainsName,
    /// 120004: refused by the directory's password policy.
    Policy,
    /// 120005: set on premises, a further target failed.
    PartlySet,
    /// 120008: ended for good for any other reason.
    Ended,
    /// 120011: the name fits no user or several.
    NoSingleUser,
    /// 120012: writeback is off for this user.
    WritebackOff,
    /// 120013: no agent or domain controller could be reached before the deadline.
    Unreachable,
    /// 120014: the account is locked or disabled.
    LockedOrDisabled,
    /// 120015: an administrator must act.
    AdminMustAct,
    /// 120016: the user is not there.
    NotFound,
    /// 120018: too close to a term of the blocklist.
    FuzzyBanned,
    /// 120020: unspecified.
    Unspecified,
    /// 120021: our own fault.
    Internal,
}

impl PublicCode {
    /// Every code, by number.
    pub const ALL: [Self; 15] = [
        Self::WrongCurrentPassword,
        Self::Banned,
        Self::ContainsName,
        Self::Policy,
        Self::PartlySet,
        Self::Ended,
        Self::NoSingleUser,
        Self::WritebackOff,
        Self::Unreachable,
        Self::LockedOrDisabled,
        Self::AdminMustAct,
        Self::NotFound,
        Self::FuzzyBanned,
        Self::Unspecified,
        Self::Internal,
    ];

    /// The number without its prefix.
    pub const fn number(self) -> u32 {
        match self {
            Self::WrongCurrentPassword => 120_000,
            Self::Banned => 120_002,
            Self::ContainsName => 120_003,
            Self::Policy => 120_004,
            Self::PartlySet => 120_005,
            Self::Ended => 120_008,
            Self::NoSingleUser => 120_011,
            Self::WritebackOff => 120_012,
            Self::Unreachable => 120_013,
            Self::LockedOrDisabled => 120_014,
            Self::AdminMustAct => 120_015,
            Self::NotFound => 120_016,
            Self::FuzzyBanned => 120_018,
            Self::Unspecified => 120_020,
            Self::Internal => 120_021,
        }
    }

    /// One plain sentence for the person, and what to do next. It names no account, no rule and no server.
    pub const fn for_person(self) -> (&'static str, &'static str) {
        match self {
            Self::WrongCurrentPassword => (
                "The current password was not right.",
                "Check Caps Lock and the keyboard layout, then try again. If you have forgotten it, use “Forgot password”.",
            ),
            Self::Banned | Self::FuzzyBanned => (
                "This password is too easy to guess.",
                "Too little of it is left without common words and words of your organisation. Choose a longer one, for example four unrelated words.",
            ),
            Self::ContainsName => (
                "The password contains your name.",
                "Choose one without your first name, last name or user name.",
            ),
            Self::Policy => (
                "Your organisation's rules do not allow this password.",
                "Choose a longer one that you have not used before. If you changed it today, you may have to wait until tomorrow.",
            ),
            Self::PartlySet => (
                "The password was changed, but not yet everywhere.",
                "Sign in to Windows with the new password. If another service refuses it, try that again in half an hour.",
            ),
            Self::Ended => (
                "This could not be completed.",
                "Try your new password first; if it does not work, start again.",
            ),
            Self::NoSingleUser | Self::NotFound => (
                "We could not match that name to one account.",
                "Check the spelling, or ask your help desk which user name is yours.",
            ),
            Self::WritebackOff => (
                "This account cannot be helped here.",
                "Your help desk can set a new password for you. Quote the number below.",
            ),
            Self::Unreachable => (
                "Your organisation's directory could not be reached in time.",
                "Nothing was changed. Try again in a few minutes.",
            ),
            Self::LockedOrDisabled => (
                "This account is locked or switched off.",
                "Choose “Unlock account”, or ask your help desk. Quote the number below.",
            ),
            Self::AdminMustAct => (
                "Your password could not be set, and only an administrator can mend the reason.",
                "Nothing was changed. Quote the number below to your help desk: it leads them to the cause.",
            ),
            Self::Unspecified => (
                "The directory refused without saying why.",
                "Nothing was changed. Quote the number below to your help desk.",
            ),
            Self::Internal => (
                "Something went wrong on our side.",
                "Nothing was changed. Try again; if it stays, quote the number below.",
            ),
        }
    }
}

impl fmt::Display for PublicCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AADSTS{}", self.number())
    }
}

impl From<PublicCode> for String {
    fn from(code: PublicCode) -> Self {
        code.to_string()
    }
}

/// The text is not one of the family's codes.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownPublicCode(String);

impl fmt::Display for UnknownPublicCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a code that a job can end with", self.0)
    }
}

impl std::error::Error for UnknownPublicCode {}

impl TryFrom<String> for PublicCode {
    type Error = UnknownPublicCode;

    fn try_from(text: String) -> Result<Self, UnknownPublicCode> {
        Self::ALL.into_iter().find(|code| code.to_string() == text).ok_or(UnknownPublicCode(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_text() {
        for code in PublicCode::ALL {
            assert_eq!(PublicCode::try_from(code.to_string()), Ok(code));
        }
        assert!(PublicCode::try_from("AADSTS120001".to_owned()).is_err());
    }

    #[test]
    fn what_a_person_reads_ends_in_full_stops() {
        for code in PublicCode::ALL {
            let (said, todo) = code.for_person();
            assert!(said.ends_with('.') && todo.ends_with('.'), "{code}");
        }
    }
}
