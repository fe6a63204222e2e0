//! The audit chain: what a row's hash covers, and what it leaves out.
//!
//! Row n carries SHA-256 over the hash of row n - 1 and its own content, each field with its length before it, so that
//! two contents never have the same bytes. Who a row is about is not in the chain: the chain holds a hash of it, salted
//! with 32 random bytes. Salt and clear text can be deleted; what is left says nothing and the chain still verifies.

use crate::ids::ObjectGuid;
use crate::message::Reply;
use crate::outcome::{Done, Failure};
use keyback_codes::{Cause, PublicCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

use super::{Activity, AuditEvent, AuditResult, Phase};

const ROW: &[u8] = b"keyback-audit-1\0";
const PERSONAL: &[u8] = b"keyback-personal-1\0";

/// SHA-256. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What the first row of all follows.
    pub const ZERO: Self = Self([0; 32]);

    /// From the 32 bytes that were kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of anything.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no hash, or no head.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainFormError {
    /// Not 64 hexadecimal digits.
    #[error("a hash of the audit chain is 64 hexadecimal digits")]
    Hash,
    /// Not a number, a colon and a hash.
    #[error("a head of the audit chain is a number, a colon and 64 hexadecimal digits")]
    Head,
}

impl FromStr for ChainHash {
    type Err = ChainFormError;
    fn from_str(text: &str) -> Result<Self, ChainFormError> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(ChainFormError::Hash);
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(ChainFormError::Hash),
            }
        }
        Ok(Self(hash))
    }
}

impl From<ChainHash> for String {
    fn from(hash: ChainHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ChainHash {
    type Error = ChainFormError;
    fn try_from(text: String) -> Result<Self, ChainFormError> {
        text.parse()
    }
}

/// The newest row of a chain: its number and its hash, which covers everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Counts up by one; zero where there is no row yet.
    pub number: i64,
    /// The row's.
    pub hash: ChainHash,
}

impl Head {
    /// Of a chain without a row.
    pub const NONE: Self = Self { number: 0, hash: ChainHash::ZERO };
}

/// `17:3fb1…`, as `audit head` prints it.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = ChainFormError;
    fn from_str(text: &str) -> Result<Self, ChainFormError> {
        let (number, hash) = text.split_once(':').ok_or(ChainFormError::Head)?;
        let number = number.parse().map_err(|_| ChainFormError::Head)?;
        Ok(Self { number, hash: hash.parse().map_err(|_| ChainFormError::Head)? })
    }
}

/// What a row says of what happened, and of nobody: the chained part of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Before or after.
    pub phase: Phase,
    /// What.
    pub activity: Activity,
    /// How it ended.
    pub result: AuditResult,
    /// The public code of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<PublicCode>,
    /// Its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The domain controller's evidence of success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Done>,
    /// How many rows an erasure touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Written before there was a chain, and chained later: nobody vouches for what it said until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
}

/// Whom a row is about, and what may name them. Kept beside the chain, and deleted without breaking it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personal {
    /// The name that was typed.
    pub user_name: String,
    /// Whom it meant, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_guid: Option<ObjectGuid>,
    /// The address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Code, cause and evidence of a failure, where no agent's reply holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    /// The agent's reply, as it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl Personal {
    /// Of an event, with the reply that it rests on.
    pub fn of(event: &AuditEvent, reply: Option<&str>) -> Self {
        Self {
            user_name: event.user_name.clone(),
            object_guid: event.object_guid,
            source: event.source.clone(),
            failure: if reply.is_some() { None } else { event.failure.clone() },
            reply: reply.map(str::to_owned),
        }
    }

    /// Code, cause and evidence of a failure.
    pub fn failure(&self) -> Option<Failure> {
        let from_reply = || {
            let reply: Reply = serde_json::from_str(self.reply.as_deref()?).ok()?;
            reply.outcome.failure().cloned()
        };
        self.failure.clone().or_else(from_reply)
    }
}

impl Facts {
    /// The part of an event that names nobody.
    pub fn of(event: &AuditEvent) -> Self {
        Self {
            phase: event.phase,
            activity: event.activity,
            result: event.result,
            code: event.failure.as_ref().map(|failure| failure.code),
            cause: event.failure.as_ref().map(|failure| failure.cause),
            done: event.done.clone(),
            rows: None,
            legacy: false,
        }
    }
}

/// The hash that stands in the chain for a person: of 32 random bytes and what the row says of them.
pub fn commit(salt: &[u8], clear: &str) -> ChainHash {
    let mut bytes = PERSONAL.to_vec();
    put(&mut bytes, salt);
    put(&mut bytes, clear.as_bytes());
    ChainHash::of(&bytes)
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
    bytes.extend_from_slice(field);
}

/// A row, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Counts up by one.
    pub number: i64,
    /// Microseconds since 1970.
    pub at: i64,
    /// The user action.
    pub correlation_id: String,
    /// The job; empty where there was none.
    pub job_id: String,
    /// [`Facts`] as JSON.
    pub event: String,
    /// [`commit`] of the row's [`Personal`].
    pub personal: ChainHash,
    /// What the agent signed ([`Statement`](crate::statement::Statement) as JSON).
    pub said: Option<String>,
    /// Its signature.
    pub signature: Option<Vec<u8>>,
    /// The hash of the row before.
    pub previous: ChainHash,
    /// This row's.
    pub hash: ChainHash,
}

impl Link {
    /// What the hash covers, if the row stood at `number`.
    fn encode(&self, number: i64) -> Vec<u8> {
        let mut bytes = ROW.to_vec();
        bytes.extend_from_slice(self.previous.as_bytes());
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&self.at.to_be_bytes());
        put(&mut bytes, self.correlation_id.as_bytes());
        put(&mut bytes, self.job_id.as_bytes());
        put(&mut bytes, self.event.as_bytes());
        bytes.extend_from_slice(self.personal.as_bytes());
        for field in [self.said.as_ref().map(String::as_bytes), self.signature.as_deref()] {
            bytes.push(u8::from(field.is_some()));
            put(&mut bytes, field.unwrap_or_default());
        }
        bytes
    }

    /// What the hash must be, if the row stood at `number`.
    pub fn hash_at(&self, number: i64) -> ChainHash {
        ChainHash::of(&self.encode(number))
    }

    /// The same row behind `head`.
    #[must_use]
    pub fn after(mut self, head: Head) -> Self {
        self.number = head.number + 1;
        self.previous = head.hash;
        self.hash = self.hash_at(self.number);
        self
    }

    /// Number and hash.
    pub const fn head(&self) -> Head {
        Head { number: self.number, hash: self.hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash() -> impl Strategy<Value = ChainHash> {
        any::<[u8; 32]>().prop_map(ChainHash::from_bytes)
    }

    /// Short texts of few letters, so that a field's end and the next one's beginning often look alike.
    fn link() -> impl Strategy<Value = Link> {
        let text = || "[a\0\u{1}]{0,3}";
        let fields = (0..3_i64, 0..3_i64, text(), text(), text());
        let signed =
            (proptest::option::of(text()), proptest::option::of(prop::collection::vec(0..2_u8, 0..3)));
        (fields, prop_oneof![Just(ChainHash::ZERO), hash()], signed).prop_map(
            |((number, at, correlation_id, job_id, event), personal, (said, signature))| Link {
                number,
                at,
                correlation_id,
                job_id,
                event,
                personal,
                said,
                signature,
                previous: ChainHash::ZERO,
                hash: ChainHash::ZERO,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]
        #[test]
        fn two_rows_have_the_same_bytes_only_if_they_are_the_same(one in link(), other in link()) {
            prop_assert_eq!(one.encode(one.number) == other.encode(other.number), one == other);
        }

        #[test]
        fn a_byte_that_moves_from_a_field_to_its_neighbour_changes_the_hash(row in link(), letter in "[a-c]") {
            let mut first = row.clone();
            first.correlation_id.push_str(&letter);
            let mut second = row.clone();
            second.job_id.insert_str(0, &letter);
            prop_assert_ne!(first.hash_at(1), second.hash_at(1));
            prop_assert_ne!(first.hash_at(1), row.hash_at(1));
            prop_assert_ne!(row.hash_at(1), row.hash_at(2));
        }

        #[test]
        fn a_head_reads_back_from_its_text(number in any::<i64>(), hash in hash()) {
            let head = Head { number, hash };
            prop_assert_eq!(head.to_string().parse(), Ok(head));
        }

        #[test]
        fn salt_and_clear_text_are_kept_apart(salt in "[ab]{0,3}", clear in "[ab]{1,3}") {
            let (first, rest) = clear.split_at(1);
            prop_assert_ne!(commit(salt.as_bytes(), &clear), commit(format!("{salt}{first}").as_bytes(), rest));
        }
    }

    #[test]
    fn what_is_no_hash_or_head_is_refused() {
        for bad in ["", "1", "1:", "x:00", "1:zz", &format!("1:{}", "é".repeat(32)), &"0".repeat(64)] {
            assert_eq!(bad.parse::<Head>(), Err(ChainFormError::Head), "{bad}");
        }
        assert_eq!("0".repeat(63).parse::<ChainHash>(), Err(ChainFormError::Hash));
    }

    #[test]
    fn the_first_row_of_all_has_the_hash_that_other_programs_compute() {
        let row = Link {
            number: 0,
            at: 1,
            correlation_id: "c".to_owned(),
            job_id: "j".to_owned(),
            event: "{}".to_owned(),
            personal: ChainHash::ZERO,
            said: None,
            signature: None,
            previous: ChainHash::ZERO,
            hash: ChainHash::ZERO,
        };
        let row = row.after(Head::NONE);
        assert_eq!((row.number, row.previous), (1, ChainHash::ZERO));
        assert_eq!(row.hash.to_string(), "0ea0cd5488a10205b78defb013dd7ffa47a685ac7df9fa2a5a848ada8bcae4ee");
    }
}
