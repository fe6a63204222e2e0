//! What came of a job, with its evidence: the agent says it, the store keeps it, the administrator reads it.

use crate::clock::Timestamp;
use crate::ids::{ChallengeId, MethodId, ObjectGuid, SourceAnchor};
use crate::methods::{SealedMethod, Way};
use crate::rules::PasswordRules;
use keyback_codes::{Cause, PublicCode};
use serde::{Deserialize, Serialize};

/// A domain controller's answer, kept whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerReply {
    /// LDAP result code (RFC 4511 section 4.1.9).
    pub result: u32,
    /// Win32 code from the start of the diagnostic message, where there is one. Samba leaves it out at times.
    pub win32: Option<u32>,
    /// AD's bind sub-code: the `data XXX` of a result 49.
    pub bind_data: Option<u32>,
    /// The diagnostic message, without a trailing NUL or newline.
    pub text: String,
}

/// One thing that was read or seen, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What it is: an attribute's name, or a step.
    pub attribute: String,
    /// Its value, escaped for printing.
    pub value: String,
    /// Where it was read: a DN, or a server's name.
    pub from: String,
}

impl Evidence {
    /// One fact.
    pub fn new(attribute: &str, value: impl Into<String>, from: impl Into<String>) -> Self {
        Self { attribute: attribute.to_owned(), value: value.into(), from: from.into() }
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The public code.
    pub code: PublicCode,
    /// What really happened, as far as the evidence tells.
    pub cause: Cause,
    /// The domain controller's answer, when there was one.
    pub reply: Option<ServerReply>,
    /// The domain controller that was asked, as it stands in the configuration.
    pub dc: Option<String>,
    /// What else was seen.
    pub evidence: Vec<Evidence>,
}

impl Failure {
    /// A failure that no domain controller had a part in.
    pub fn of(cause: Cause) -> Self {
        Self { code: cause.code(), cause, reply: None, dc: None, evidence: Vec::new() }
    }

    /// The same, with one more piece of evidence.
    #[must_use]
    pub fn seen(mut self, attribute: &str, value: impl Into<String>, from: impl Into<String>) -> Self {
        self.evidence.push(Evidence::new(attribute, value, from));
        self
    }
}

/// What the directory did, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The domain controller that served.
    pub dc: String,
    /// msDS-KeyVersionNumber before and after: one more after each password that was set.
    pub key_version: Option<(i64, i64)>,
    /// Whether the domain controller looked at history and minimum age (it offers policy hints, or it was a change).
    pub history_enforced: bool,
    /// Whether the request was bound to the pwdLastSet read before it.
    pub compare_and_swap: bool,
    /// Found out afterwards, because the answer was lost.
    pub settled: bool,
    /// What an administrator should know although it worked: `rights.pwdlastset_missing`, `policy.hints_unsupported`.
    pub remarks: Vec<Cause>,
}

/// Whom a name meant. The server may show it to the one who has proved to be that person, and to administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The one key that survives renames and moves.
    pub object_guid: ObjectGuid,
    /// As Entra knows them.
    pub source_anchor: SourceAnchor,
    /// userPrincipalName, else the sAMAccountName.
    pub user_principal_name: String,
    /// sAMAccountName.
    pub sam_account_name: String,
    /// displayName, else the sAMAccountName.
    pub display_name: String,
    /// The address of record, masked: `a•••@ad.example`.
    pub mail_hint: String,
}

/// What the agent answers to one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The directory did what was asked.
    Done(Done),
    /// A code is on its way to the address of record.
    CodeSent {
        /// The challenge that the code answers.
        challenge: ChallengeId,
        /// To whom it went.
        person: Person,
        /// When the code ends.
        expires_at: Timestamp,
    },
    /// The code was right: for a while, this challenge proves who sits there.
    CodeAccepted {
        /// The challenge that is now proven.
        challenge: ChallengeId,
        /// When the proof ends.
        expires_at: Timestamp,
        /// What the agent says of it to other agents: a signed [`Voucher`](crate::turn::Voucher).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voucher: Option<String>,
        /// What the new password has to be like. `None`: none is wanted, or nothing could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<PasswordRules>,
        /// The method that the code was of, as it has to be kept from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renewed: Option<SealedMethod>,
    },
    /// The code was right, and one of another way is needed as well.
    MoreProof {
        /// The challenge.
        challenge: ChallengeId,
        /// What was given so far.
        given: Vec<Way>,
        /// As [`Outcome::CodeAccepted`] has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renewed: Option<SealedMethod>,
    },
    /// The current password was right: until then, this challenge may look after its person's methods.
    SignedIn {
        /// The challenge.
        challenge: ChallengeId,
        /// When that ends.
        expires_at: Timestamp,
    },
    /// A method to be kept for its person.
    Kept {
        /// The method.
        method: SealedMethod,
        /// It counts from then on.
        usable_at: Timestamp,
    },
    /// A method that is registered was tried, and is in order.
    Tested {
        /// As it has to be kept from now on.
        renewed: SealedMethod,
    },
    /// This method counts no more.
    Removed {
        /// Which.
        method: MethodId,
    },
    /// Not done, for good.
    Refused(Failure),
    /// Not done; trying again may help.
    Retry(Failure),
    /// Sent to a domain controller, and whether it was done is not known yet.
    Unknown(Failure),
}

impl Outcome {
    /// What stood in the way, if anything did.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) | Self::Retry(failure) | Self::Unknown(failure) => Some(failure),
            Self::Done(_)
            | Self::CodeSent { .. }
            | Self::CodeAccepted { .. }
            | Self::MoreProof { .. }
            | Self::SignedIn { .. }
            | Self::Kept { .. }
            | Self::Tested { .. }
            | Self::Removed { .. } => None,
        }
    }
}
