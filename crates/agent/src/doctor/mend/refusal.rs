//! What is not mended, and why.

use keyback_codes::Cause;

const GONE: &str = "Nobody can be mended who is not there, or not shown.";
const DECISION: &str = "Only an administrator knows which of the accounts is to keep the value.";
const POLICY: &str = "A policy is obeyed, not changed: another password mends it.";
const NETWORK: &str = "It lies outside of the directory: a name, a certificate, a clock, a machine.";
const OWN: &str = "It is keyback's own state, not the directory's.";
const TYPED: &str = "It is what somebody typed, and no state of the directory.";

/// Whether keyback can mend it itself.
pub const fn is_automatic(cause: Cause) -> bool {
    why_not(cause).is_none()
}

/// Why keyback never mends it. `None`: it can, where the least change is clear.
pub(super) const fn why_not(cause: Cause) -> Option<&'static str> {
    Some(match cause {
        Cause::RightsResetMissing
        | Cause::RightsDenyAce
        | Cause::RightsInheritanceOff
        | Cause::RightsUnlockAttributeMissing
        | Cause::RightsPwdLastSetMissing
        | Cause::RightsCannotChange
        | Cause::PolicyPsoUnreadable
        | Cause::TargetLocked
        | Cause::ConnectorLocked
        | Cause::ConnectorDisabled => return None,
        Cause::RightsProtectedObject => {
            "Administrators are kept out of self-service on purpose. keyback puts no account into Domain Admins, asks \
             for no full control, and edits neither AdminSDHolder nor what it protects."
        }
        Cause::TargetDisabled => "Whether a disabled person is let in again is an administrator's decision.",
        Cause::TargetExpired => "How long a person may sign in is an administrator's decision.",
        Cause::TargetOutOfScope => "The scope is what keyback is told to touch: it does not widen it itself.",
        Cause::TargetNoMail => "Nobody but an administrator knows the person's address.",
        Cause::TargetReservedCharacters => "A new name for a person is an administrator's decision.",
        Cause::ConnectorBindFailed | Cause::ConnectorPasswordExpired => {
            "A new password of the connector account belongs into its file as well: set both by hand."
        }
        Cause::TargetNotFound | Cause::TargetDeleted => GONE,
        Cause::TargetDuplicateAnchor | Cause::TargetDuplicateProxyAddress | Cause::TargetDuplicateUpn => {
            DECISION
        }
        Cause::PolicyLength
        | Cause::PolicyComplexity
        | Cause::PolicyContainsName
        | Cause::PolicyHistory
        | Cause::PolicyMinAge
        | Cause::PolicyFilterOrUnknown
        | Cause::PolicyHintsUnsupported
        | Cause::PolicyBanned
        | Cause::PolicyBreached => POLICY,
        Cause::DcNameResolution
        | Cause::DcUnreachable
        | Cause::DcTlsUntrusted
        | Cause::DcTlsExpired
        | Cause::DcTlsNameMismatch
        | Cause::DcClockSkew
        | Cause::DcReadOnly
        | Cause::DcBusy
        | Cause::ProtocolError => NETWORK,
        Cause::AgentOffline
        | Cause::AgentHeartbeatStale
        | Cause::AgentCapUser
        | Cause::AgentListsUnreadable
        | Cause::AgentCapAgent
        | Cause::AgentCapOu
        | Cause::AgentStopped
        | Cause::AgentQuarantined
        | Cause::AgentUnasked
        | Cause::KeyEnrolment
        | Cause::RelayUnreachable
        | Cause::WritebackDisabled
        | Cause::SyncStopped
        | Cause::SyncError
        | Cause::SyncStale
        | Cause::OutcomeUnknown
        | Cause::MailUnreachable
        | Cause::MessageRefused
        | Cause::ServerBusy
        | Cause::StoreUnavailable
        | Cause::JournalUnavailable
        | Cause::ConfigInvalid
        | Cause::Unspecified => OWN,
        Cause::TargetWrongPassword
        | Cause::TargetOutrun
        | Cause::InputPassword
        | Cause::InputName
        | Cause::InputForm
        | Cause::ProofWrongCode
        | Cause::ProofExpired
        | Cause::ProofTooMany
        | Cause::ProofCodeUsed
        | Cause::ProofClockOff
        | Cause::ProofMethodFrozen
        | Cause::ProofWayNotAllowed
        | Cause::ProofPasswordTries => TYPED,
    })
}
