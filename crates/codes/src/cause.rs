//! The causes: what really happened, under ids that the API, the audit log and the tests rely on.
//!
//! One table. The first block of each family is the design's list; a cause that the design does not name (a wrong
//! code, a full disk) is keyback's own and marked so.

use crate::PublicCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing an administrator can do, and the command for it where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// One sentence.
    pub text: &'static str,
    /// A command line, with `USER` and `DC` where a name belongs.
    pub command: Option<&'static str>,
}

/// The text is not a cause id.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownCause(String);

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a cause id", self.0)
    }
}

impl std::error::Error for UnknownCause {}

macro_rules! causes {
    ($($name:ident = $id:literal, $code:ident, $summary:literal, $fix:literal $(, $command:literal)?;)+) => {
        /// What really happened. Serialised as its id, for example `policy.history`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Cause { $(#[doc = $summary] $name,)+ }

        impl Cause {
            /// Every cause, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable id.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// The public code that a job with this cause ends with.
            pub const fn code(self) -> PublicCode {
                match self { $(Self::$name => PublicCode::$code,)+ }
            }

            /// One sentence for the administrator.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)+ }
            }

            /// What mends it.
            pub const fn fix(self) -> Fix {
                match self { $(Self::$name => Fix { text: $fix, command: causes!(@ $($command)?) },)+ }
            }
        }
    };
    (@) => { None };
    (@ $command:literal) => { Some($command) };
}

causes! {
    RightsResetMissing = "rights.reset_missing", AdminMustAct,
        "The connector account has no Reset Password right on this user.",
        "Grant the connector account Reset Password on descendant user objects of the OU.",
        "dsacls \"OU\" /I:S /G \"CONNECTOR:CA;Reset Password;user\"";
    RightsDenyAce = "rights.deny_ace", AdminMustAct,
        "A deny ACE takes the right away that another ACE grants.",
        "Remove the deny ACE, or the connector account from the group that it names.";
    RightsInheritanceOff = "rights.inheritance_off", AdminMustAct,
        "Inheritance is switched off on the user or an OU above, so the delegated right does not arrive.",
        "Switch inheritance on again for the object.", "dsacls \"USER\" /P:N";
    RightsProtectedObject = "rights.protected_object", AdminMustAct,
        "The account belongs to a group that AdminSDHolder protects, or that this agent is told to leave alone.",
        "Reset this password by hand; administrators are kept out of self-service on purpose.";
    RightsUnlockAttributeMissing = "rights.unlock_attribute_missing", AdminMustAct,
        "The connector account may not write lockoutTime on this user.",
        "Grant the connector account Write lockoutTime on descendant user objects of the OU.",
        "dsacls \"OU\" /I:S /G \"CONNECTOR:WP;lockoutTime;user\"";
    RightsPwdLastSetMissing = "rights.pwdlastset_missing", AdminMustAct,
        "The connector account may not write pwdLastSet on this user.",
        "Grant the connector account Write pwdLastSet on descendant user objects of the OU.",
        "dsacls \"OU\" /I:S /G \"CONNECTOR:WP;pwdLastSet;user\"";
    RightsCannotChange = "rights.cannot_change", AdminMustAct,
        "Nobody but an administrator may change this user's password ('User cannot change password').",
        "Clear 'User cannot change password' on the account.";

    PolicyLength = "policy.length", Policy,
        "The password is shorter or longer than the policy that applies to this user allows.",
        "Choose a password of the demanded length.";
    PolicyComplexity = "policy.complexity", Policy,
        "The password lacks three of: upper case, lower case, digits, symbols, other letters.",
        "Choose a password with three kinds of characters.";
    PolicyContainsName = "policy.contains_name", ContainsName,
        "The password contains the user's name.",
        "Choose a password without the account name or a part of the display name.";
    PolicyHistory = "policy.history", Policy,
        "The password was used before and is still in the user's history.",
        "Choose a password that was not used before.";
    PolicyMinAge = "policy.min_age", Policy,
        "The last change is younger than the minimum password age.",
        "Wait until the minimum age is over, or set the minimum age to 0 for people who reset by themselves.",
        "samba-tool domain passwordsettings set --min-pwd-age=0";
    PolicyPsoUnreadable = "policy.pso_unreadable", Policy,
        "A fine-grained policy applies that the connector account cannot read.",
        "Grant the connector account read on the Password Settings Container.";
    PolicyFilterOrUnknown = "policy.filter_or_unknown", Policy,
        "The domain controller refused the password and every rule that can be read allows it: history, or a password filter.",
        "Look at the domain controller's own log for a password filter's message.";
    PolicyHintsUnsupported = "policy.hints_unsupported", Policy,
        "The domain controller does not offer policy hints, so a reset does not look at history and minimum age.",
        "Use Samba 4.24 or later, or Windows Server 2008 R2 or later.";
    PolicyBanned = "policy.banned", Banned,
        "The password is on the blocklist.",
        "Choose a password that is not on the blocklist.";

    TargetDisabled = "target.disabled", LockedOrDisabled,
        "The account is disabled.", "Enable the account if the person should sign in.", "samba-tool user enable USER";
    TargetLocked = "target.locked", LockedOrDisabled,
        "The account is locked out.", "Unlock it, or wait until the lockout ends.", "samba-tool user unlock USER";
    TargetExpired = "target.expired", LockedOrDisabled,
        "The account has expired.", "Extend the account's expiry.", "samba-tool user setexpiry USER --days=90";
    TargetNotFound = "target.not_found", NotFound,
        "No user with this name, or the connector account may not see it.",
        "Check the name; check that the connector account may list the OU.";
    TargetOutOfScope = "target.out_of_scope", WritebackOff,
        "The user lies outside the OUs that this agent may touch.",
        "Move the user, or add the OU to `scope` in the agent's configuration.";
    TargetDeleted = "target.deleted", NotFound,
        "The user was deleted.", "Restore the user from the Recycle Bin, or create it anew.";
    TargetDuplicateAnchor = "target.duplicate_anchor", NoSingleUser,
        "Two objects carry the same source anchor.", "Clear mS-DS-ConsistencyGuid on the one that is wrong.";
    TargetDuplicateProxyAddress = "target.duplicate_proxy_address", NoSingleUser,
        "Two objects carry the same address in proxyAddresses.", "Remove the address from the one that is wrong.";
    TargetDuplicateUpn = "target.duplicate_upn", NoSingleUser,
        "The name fits more than one user.",
        "Give each user a name and a mail address of their own, or let the person use the sAMAccountName.";
    TargetReservedCharacters = "target.reserved_characters", NoSingleUser,
        "The name contains characters that no user name may have.", "Type the user name as it is used to sign in.";

    ConnectorBindFailed = "connector.bind_failed", AdminMustAct,
        "The domain controller refused the connector account's name or password.",
        "Put the right password into the connector's password file and start the agent again.", "keyback check";
    ConnectorDisabled = "connector.disabled", AdminMustAct,
        "The connector account is disabled.", "Enable the connector account.", "samba-tool user enable CONNECTOR";
    ConnectorLocked = "connector.locked", AdminMustAct,
        "The connector account is locked out.", "Unlock it and find out who guesses its password.",
        "samba-tool user unlock CONNECTOR";
    ConnectorPasswordExpired = "connector.password_expired", AdminMustAct,
        "The connector account's password or account has expired.",
        "Set a new password for the connector account and let it not expire.";

    DcNameResolution = "dc.name_resolution", Unreachable,
        "The domain controller's name does not resolve.", "Check DNS, or set `address` for this domain controller.";
    DcUnreachable = "dc.unreachable", Unreachable,
        "No domain controller answered.", "Check that the domain controller runs and that port 636 is open from the agent.",
        "openssl s_client -connect DC:636";
    DcTlsUntrusted = "dc.tls_untrusted", Unreachable,
        "The domain controller's certificate was not issued by the CA that the agent trusts.",
        "Put the issuing CA's certificate into `ca_file`.", "openssl s_client -connect DC:636 -showcerts";
    DcTlsExpired = "dc.tls_expired", Unreachable,
        "The domain controller's certificate has expired or is not valid yet.",
        "Renew the certificate on the domain controller; check both clocks.";
    DcTlsNameMismatch = "dc.tls_name_mismatch", Unreachable,
        "The domain controller's certificate is for another name.",
        "Use the name that stands in the certificate as the host in `url`, with `address` where DNS does not know it.";
    DcClockSkew = "dc.clock_skew", Unreachable,
        "The clocks of agent and domain controller differ too much.", "Set both clocks by NTP.";
    DcReadOnly = "dc.read_only", Unreachable,
        "The domain controller is read-only.", "List a writable domain controller in the configuration.";
    DcBusy = "dc.busy", Unreachable,
        "The domain controller said that it is busy.", "Nothing to do if it passes; else look at the load of the domain controller.";

    AgentOffline = "agent.offline", Unreachable,
        "No agent took the job.", "Start the agent, and look at its log.", "keyback check";
    AgentHeartbeatStale = "agent.heartbeat_stale", Unreachable,
        "The agent has not been heard for a while.", "Look at the agent's log.", "keyback check";
    RelayUnreachable = "relay.unreachable", Unreachable,
        "The relay between server and agent cannot be reached.", "Check `relay` in both configurations.", "keyback check";
    WritebackDisabled = "writeback.disabled", WritebackOff,
        "Writeback is switched off.", "Switch writeback on in the configuration.";
    SyncStopped = "sync.stopped", Unreachable,
        "Synchronisation does not run.", "Start it again.", "keyback sync";
    SyncError = "sync.error", Unreachable,
        "The last synchronisation cycle failed.", "Read the cycle's error.", "keyback sync";
    SyncStale = "sync.stale", Unreachable,
        "What is known of this user is old.", "Run a cycle.", "keyback sync";

    // keyback's own, beside the design's list
    TargetWrongPassword = "target.wrong_password", WrongCurrentPassword,
        "The current password that the person typed is wrong.", "The person can type it again, or use a reset instead.";
    TargetNoMail = "target.no_mail", AdminMustAct,
        "The user has no mail address in the directory, so no code can be sent.",
        "Fill in the user's `mail` attribute.", "ldapmodify -H ldaps://DC (replace: mail)";
    TargetOutrun = "target.outrun", Ended,
        "Somebody else set this password while the job ran; theirs was left in place.",
        "Ask the person to try the new password first, and to start again if it does not work.";
    OutcomeUnknown = "outcome.unknown", Ended,
        "The domain controller took the request and its answer was lost; what it did could not be found out.",
        "Ask the person to try the new password first; compare pwdLastSet with the time of the job.";
    InputPassword = "input.password", Banned,
        "The text cannot be a password: it must be 1 to 256 characters in composed (NFC) form, without control characters.",
        "Choose another password.";
    InputName = "input.name", NoSingleUser,
        "The text cannot be a user name: it must be 1 to 256 characters without control characters.",
        "Type the user name as it is used to sign in.";
    InputForm = "input.form", Internal,
        "The form that arrived is not the one that was sent out.", "Reload the page and try again.";
    ProofWrongCode = "proof.wrong_code", Ended,
        "The code does not match the one that was mailed.", "The person can look at the newest mail and type it again.";
    ProofExpired = "proof.expired", Ended,
        "The proof is too old, was used already, or was never given.", "The person has to start again.";
    ProofTooMany = "proof.too_many_tries", Ended,
        "Too many wrong codes, or too many codes asked for.", "The person has to wait and start again.";
    ProofCodeUsed = "proof.code_used", Ended,
        "The code was right once; each code of an app or of a sheet is good for one time.",
        "The person waits for the next code of the app, or takes the next one of the sheet.";
    ProofClockOff = "proof.clock_off", Ended,
        "The code belongs to another moment: the clock of the person's phone is off.",
        "Let the phone set its clock by the network; compare the agent's clock, too, where it happens to many.";
    ProofMethodFrozen = "proof.method_frozen", Ended,
        "The code was right, of a method that was added lately and does not count yet.",
        "The person uses another way, or waits until the time in the evidence; `freeze_hours` in `[agent.proof]` sets it.";
    ProofWayNotAllowed = "proof.way_not_allowed", Ended,
        "This person may not prove themselves in this way.",
        "Name the way in `methods` of `[agent.proof]`, or of the group that the person is in, if it should be allowed.";
    ProofPasswordTries = "proof.password_tries", Ended,
        "The current password is not tried now: a wrong one could bring the account close to being locked.",
        "The person signs in to Windows with the right password, or waits until the lockout window is over.";
    MailUnreachable = "mail.unreachable", Internal,
        "The mail gateway did not take the message.", "Check `[mail]` in the agent's configuration and the gateway's log.",
        "keyback check";
    PolicyBreached = "policy.breached", Banned,
        "The password stands in the list of passwords that are known from breaches elsewhere.",
        "Choose a password that is used nowhere else.";
    AgentListsUnreadable = "agent.lists_unreadable", Internal,
        "The agent is told to look passwords up in a list of breached ones, and cannot read it.",
        "Put the list back where `breached_hashes` in `[agent.passwords]` points, whole and readable for the agent.",
        "keyback check";
    AgentCapUser = "agent.cap_user", Ended,
        "This person's password was set as often in 24 hours as the agent allows for one person.",
        "Wait until the time in the evidence, or set this password by hand; `user_day` in `[agent.caps]` is the number.";
    AgentCapAgent = "agent.cap_agent", Ended,
        "The agent has written as often in an hour as it is allowed to.",
        "Look at who was reset and why so many; wait until the time in the evidence, or raise `agent_hour` in `[agent.caps]`.",
        "keyback job list";
    AgentCapOu = "agent.cap_ou", Ended,
        "The agent has written as often in an hour as it is allowed to in this OU.",
        "Look at who was reset and why so many; wait until the time in the evidence, or raise `ou_hour` in `[agent.caps]`.",
        "keyback job list";
    AgentStopped = "agent.stopped", AdminMustAct,
        "The agent has stopped writing: its cap refused so many writes in an hour that this looks like an attack.",
        "Find out who asked for so many; when all is well, let the agent go on, on its host.",
        "keyback agent resume";
    AgentQuarantined = "agent.quarantined", AdminMustAct,
        "The agent's journal is older than one that it showed before, or another one: it may have forgotten what it did.",
        "If the journal was restored or replaced on purpose, confirm that on the agent's host.",
        "keyback agent confirm";
    AgentUnasked = "agent.unasked", Unreachable,
        "The server has not asked this agent for its state within the last minute, so the agent cannot know whether its journal is the newest.",
        "Nothing to do if it passes: the server asks every 15 seconds; else compare both clocks and look at the server's log.";
    KeyEnrolment = "key.enrolment_refused", AdminMustAct,
        "The enrolment was refused: the code is wrong, too old or used, or the keys on the way were not those that were sent.",
        "Make a new code on the server and carry it to the agent's host.", "keyback key enrol";
    MessageRefused = "message.refused", Internal,
        "A message between server and agent failed its checks: signature, recipient, validity or form.",
        "Compare the keys that both sides have pinned, and both clocks.", "keyback check";
    StoreUnavailable = "store.unavailable", Internal,
        "The database could not be read or written.", "Look at the disk that holds the store: space, permissions, errors.",
        "df -h";
    ServerBusy = "server.busy", Internal,
        "As many jobs are open as the server takes at once.",
        "Look why jobs do not end; if all is well, raise `open_jobs` in `[server.limits]`.", "keyback job list";
    JournalUnavailable = "journal.unavailable", Internal,
        "The agent's journal could not be written, so nothing was done.",
        "Look at the disk that holds the journal: space, permissions, errors.", "df -h";
    ConfigInvalid = "config.invalid", Internal,
        "The configuration cannot be used.", "Correct the line that the message names.", "keyback check";
    ProtocolError = "dc.protocol", Internal,
        "The domain controller's answer could not be understood or broke a limit.",
        "Check that the address is a domain controller's LDAPS port.";
    Unspecified = "dc.unspecified", Unspecified,
        "The domain controller refused in a way that is not in the catalogue.",
        "Read the server's reply in the evidence and report it to us.";
}

impl Cause {
    /// True for causes that may pass by themselves: the only ones after which a job is tried again.
    pub const fn may_pass(self) -> bool {
        matches!(self.code(), PublicCode::Unreachable | PublicCode::Internal)
            && !matches!(self, Self::MessageRefused | Self::InputForm | Self::ConfigInvalid)
    }
}

impl Cause {
    /// What the person reads, where the public code's words would lead them astray. It names no account and no server.
    pub const fn for_person(self) -> (&'static str, &'static str) {
        if matches!(self, Self::InputPassword) {
            return (
                "This password cannot be used.",
                "Choose a different one: 1 to 256 characters that can be typed.",
            );
        }
        if matches!(self, Self::PolicyBreached) {
            return (
                "This password is known to attackers.",
                "It stands in lists of passwords that were stolen elsewhere, from whomever. Choose one that you use nowhere else.",
            );
        }
        if matches!(self, Self::AgentCapUser) {
            return (
                "This account was reset, changed or unlocked as often as one day allows.",
                "Nothing was changed this time. If the earlier times were not you, call your help desk now; else try again tomorrow.",
            );
        }
        if matches!(self, Self::AgentCapAgent | Self::AgentCapOu) {
            return (
                "Too many people are setting passwords right now.",
                "Nothing was changed. Try again in an hour, or quote the number below to your help desk.",
            );
        }
        self.code().for_person()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        cause.id().to_owned()
    }
}

impl TryFrom<String> for Cause {
    type Error = UnknownCause;

    fn try_from(text: String) -> Result<Self, UnknownCause> {
        Self::ALL.iter().copied().find(|cause| cause.id() == text).ok_or(UnknownCause(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_cause_reads_back_from_its_id_and_no_id_stands_twice() {
        let ids: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.id()).collect();
        assert_eq!(ids.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            assert_eq!(Cause::try_from(cause.id().to_owned()), Ok(*cause));
        }
    }

    #[test]
    fn what_a_person_reads_ends_in_full_stops() {
        for cause in Cause::ALL {
            let (said, todo) = cause.for_person();
            assert!(said.ends_with('.') && todo.ends_with('.'), "{cause}");
        }
    }

    #[test]
    fn every_cause_says_what_happened_and_what_to_do_in_a_sentence() {
        for cause in Cause::ALL {
            assert!(cause.summary().ends_with('.'), "{cause}");
            assert!(cause.fix().text.ends_with('.'), "{cause}");
        }
    }
}
