//! The rights that keyback uses: as a question to an access check, as an ACE, in words.

use keyback_ad::descriptor::{AccessMask, Question};
use keyback_ad::guid::{self, Guid};
use keyback_codes::Cause;
use keyback_core::job::Operation;

/// One right that keyback uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Reset,
    Unlock,
    PwdLastSet,
    Change,
    Unexpire,
}

impl Right {
    pub(super) const ON_USER: [Self; 4] = [Self::Reset, Self::Unlock, Self::PwdLastSet, Self::Change];

    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Reset => "rights.reset",
            Self::Unlock => "rights.lockoutTime",
            Self::PwdLastSet => "rights.pwdLastSet",
            Self::Change => "rights.change",
            Self::Unexpire => "rights.unexpire",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Reset => "Reset Password",
            Self::Unlock => "Write lockoutTime",
            Self::PwdLastSet => "Write pwdLastSet",
            Self::Change => "Change Password",
            Self::Unexpire => "Unexpire Password",
        }
    }

    /// What it is called when nobody gave it.
    pub(super) const fn missing(self) -> Cause {
        match self {
            Self::Reset => Cause::RightsResetMissing,
            Self::Unlock => Cause::RightsUnlockAttributeMissing,
            Self::PwdLastSet | Self::Unexpire => Cause::RightsPwdLastSetMissing,
            Self::Change => Cause::RightsCannotChange,
        }
    }

    pub(super) fn question(self, class: Guid) -> Question {
        match self {
            Self::Reset => Question::reset_password(),
            Self::Unlock => Question::write_lockout_time(class),
            Self::PwdLastSet => Question::write_pwd_last_set(class),
            Self::Change => Question::change_password(),
            Self::Unexpire => Question::control_right(guid::UNEXPIRE_PASSWORD),
        }
    }

    pub(super) const fn attribute(self) -> Option<&'static str> {
        match self {
            Self::Unlock => Some("lockoutTime"),
            Self::PwdLastSet => Some("pwdLastSet"),
            Self::Reset | Self::Change | Self::Unexpire => None,
        }
    }

    pub(super) const fn guid(self) -> Guid {
        match self {
            Self::Reset => guid::RESET_PASSWORD,
            Self::Unlock => guid::LOCKOUT_TIME,
            Self::PwdLastSet => guid::PWD_LAST_SET,
            Self::Change => guid::CHANGE_PASSWORD,
            Self::Unexpire => guid::UNEXPIRE_PASSWORD,
        }
    }

    /// As SDDL and dsacls write it.
    pub(super) const fn letters(self) -> (&'static str, &'static str) {
        match self {
            Self::Reset => ("CR", "CA;Reset Password"),
            Self::Unlock => ("WP", "WP;lockoutTime"),
            Self::PwdLastSet => ("WP", "WP;pwdLastSet"),
            Self::Change => ("CR", "CA;Change Password"),
            Self::Unexpire => ("CR", "CA;Unexpire Password"),
        }
    }

    /// What an ACE that gives it has.
    pub(super) const fn mask(self) -> AccessMask {
        match self {
            Self::Reset | Self::Change | Self::Unexpire => AccessMask::CONTROL_ACCESS,
            Self::Unlock | Self::PwdLastSet => AccessMask::WRITE_PROPERTY,
        }
    }

    /// Whether the operation that was refused has any use for it.
    pub(super) const fn matters(self, operation: Option<Operation>) -> bool {
        match (self, operation) {
            (_, None) | (Self::PwdLastSet | Self::Unexpire, Some(_)) => true,
            (Self::Reset, Some(operation)) => matches!(operation, Operation::Reset),
            (Self::Change, Some(operation)) => matches!(operation, Operation::Change),
            (Self::Unlock, Some(operation)) => matches!(operation, Operation::Reset | Operation::Unlock),
        }
    }
}
