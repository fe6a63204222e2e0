//! How an agent is: the server asks over the relay, the agent answers, both signed.
//!
//! The question carries the highest heads of journals that the server has seen from this agent, so that an agent whose
//! journal is older than that (restored, replaced) finds out before it writes. Either side hands out its next public keys
//! here, signed by the key that the other side has pinned: that is how keys rotate.

use crate::clock::Timestamp;
use crate::ids::{JournalId, KeyId};
use crate::keys::{KeyError, SealingKey, SigningKey, VerifyingKey};
use crate::message::{MessageError, VERSION, cut_signature, digest, peek_header, sign_json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyback_codes::Cause;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A question is valid this long at most.
pub const ASK_IS_GOOD: Duration = Duration::from_mins(1);
/// How often the server asks.
pub const EVERY: Duration = Duration::from_secs(15);
/// Who was not heard for longer is stale; an agent that was not asked for longer writes nothing.
pub const STALE_AFTER: Duration = Duration::from_mins(1);
/// An old key is kept for this long after its last use: twice the longest that a message is valid.
pub const OLD_KEYS_ARE_KEPT: Duration = Duration::from_mins(10);
/// More journals than this are not remembered of one agent.
pub const MOST_HEADS: usize = 16;

const ASK: &[u8; 4] = b"KBS1";
const HEARTBEAT: &[u8; 4] = b"KBH1";

/// 32 bytes, in Base64 where they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes32(pub [u8; 32]);

impl From<Bytes32> for String {
    fn from(bytes: Bytes32) -> Self {
        STANDARD.encode(bytes.0)
    }
}

impl TryFrom<String> for Bytes32 {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        let damaged = KeyError::Damaged { expected: "32 bytes" };
        let bytes = STANDARD.decode(text).map_err(|_| damaged.clone())?;
        bytes.try_into().map(Self).map_err(|_| damaged)
    }
}

/// How far a journal has come: counts its records, and chains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Which journal.
    pub journal: JournalId,
    /// Records that were ever written; never goes down.
    pub sequence: u64,
    /// SHA-256 over the head before and the record.
    pub hash: Bytes32,
}

/// An agent's public keys of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentPublic {
    /// What the server seals to.
    pub sealing: Bytes32,
    /// What checks the agent's signatures.
    pub verifying: Bytes32,
}

impl AgentPublic {
    /// Of both keys.
    pub const fn of(sealing: &SealingKey, verifying: &VerifyingKey) -> Self {
        Self { sealing: Bytes32(*sealing.as_bytes()), verifying: Bytes32(*verifying.as_bytes()) }
    }

    /// The agent's id: its signing key's.
    pub fn agent(&self) -> KeyId {
        KeyId::of(&self.verifying.0)
    }

    /// The sealing key's id, as a message's recipient.
    pub fn recipient(&self) -> KeyId {
        KeyId::of(&self.sealing.0)
    }
}

/// The server's question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// [`VERSION`].
    pub version: u8,
    /// Random, so that no two questions are equal.
    pub nonce: Bytes32,
    /// Not to be answered before.
    pub not_before: Timestamp,
    /// Not to be answered after.
    pub not_after: Timestamp,
    /// The server's signing key.
    pub sender: KeyId,
    /// The unsealing key that the server seals to now.
    pub recipient: KeyId,
    /// The highest head of each journal that this agent has shown.
    pub seen: Vec<Head>,
    /// The key that will sign in place of this one.
    pub successor: Option<Bytes32>,
}

/// Whether the agent writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentState {
    /// It does.
    Running,
    /// It does not, until an administrator says `keyback agent resume`: too many writes were refused by its cap.
    Stopped {
        /// When it stopped.
        at: Timestamp,
        /// How many writes its cap had refused in the hour before.
        refused: u32,
    },
    /// It does not, until an administrator says `keyback agent confirm`: its journal is older than one seen before, or
    /// another one.
    Quarantined {
        /// When that was found out.
        at: Timestamp,
        /// Its own head.
        own: Head,
        /// The head that the server had seen.
        seen: Head,
    },
}

impl AgentState {
    /// What keeps it from writing.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Running => None,
            Self::Stopped { .. } => Some(Cause::AgentStopped),
            Self::Quarantined { .. } => Some(Cause::AgentQuarantined),
        }
    }

    /// One word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped { .. } => "stopped",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

/// How long a domain controller took last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Which, as the configuration names it.
    pub dc: String,
    /// From the question to the answer.
    pub micros: u64,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// [`VERSION`].
    pub version: u8,
    /// [`digest`] of the question.
    pub request: String,
    /// The key that signs this.
    pub agent: KeyId,
    /// keyback's version there.
    pub software: String,
    /// The agent's clock.
    pub at: Timestamp,
    /// How far its journal has come, as far as it lies on the disk.
    pub head: Head,
    /// Whether it writes.
    pub state: AgentState,
    /// Its domain controller's last answer, if it asked one since it started.
    pub latency: Option<Latency>,
    /// The newest of the server's keys that it has pinned.
    pub server: KeyId,
    /// The keys that will come in place of these.
    pub successor: Option<AgentPublic>,
}

fn parse<T: DeserializeOwned>(bytes: &[u8], magic: &[u8], from: &VerifyingKey) -> Result<T, MessageError> {
    serde_json::from_slice(cut_signature(bytes, magic, from)?).map_err(|_| MessageError::Unknown)
}

impl Ask {
    /// Whether these bytes want to be a question.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(ASK)
    }

    /// The agent that a question or a message is for, whoever wrote it. To be used for finding the way to it, and no more.
    pub fn peek_recipient(bytes: &[u8]) -> Option<KeyId> {
        if let Some(header) = peek_header(bytes) {
            return Some(header.recipient);
        }
        let ask: Self = serde_json::from_slice(bytes.strip_prefix(ASK)?.split_last_chunk::<64>()?.0).ok()?;
        Some(ask.recipient)
    }

    /// The signed bytes.
    pub fn sign(&self, by: &SigningKey) -> Vec<u8> {
        sign_json(ASK, self, by)
    }

    /// Checks signature, form and time.
    pub fn parse(bytes: &[u8], from: &VerifyingKey, now: Timestamp) -> Result<Self, MessageError> {
        let ask: Self = parse(bytes, ASK, from)?;
        if ask.version != VERSION || ask.sender != from.id() || ask.seen.len() > MOST_HEADS {
            return Err(MessageError::Unknown);
        }
        let (not_before, not_after) = (ask.not_before, ask.not_after);
        if now < not_before || now > not_after || not_after.since(not_before) > ASK_IS_GOOD {
            return Err(MessageError::Validity { not_before, not_after, now });
        }
        Ok(ask)
    }
}

impl Heartbeat {
    /// The signed bytes.
    pub fn sign(&self, by: &SigningKey) -> Vec<u8> {
        sign_json(HEARTBEAT, self, by)
    }

    /// Checks signature and form, and that this answers `ask`.
    pub fn parse(bytes: &[u8], from: &VerifyingKey, ask: &[u8]) -> Result<Self, MessageError> {
        let heartbeat: Self = parse(bytes, HEARTBEAT, from)?;
        if heartbeat.version != VERSION || heartbeat.agent != from.id() {
            return Err(MessageError::Unknown);
        }
        if heartbeat.request == digest(ask) { Ok(heartbeat) } else { Err(MessageError::OtherRequest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn head() -> Head {
        Head { journal: JournalId::from_random([1; 16]), sequence: 7, hash: Bytes32([2; 32]) }
    }

    fn ask() -> Ask {
        Ask {
            version: VERSION,
            nonce: Bytes32([9; 32]),
            not_before: NOW,
            not_after: NOW.plus(ASK_IS_GOOD),
            sender: key(1).verifying_key().id(),
            recipient: KeyId::of(b"agent"),
            seen: vec![head()],
            successor: Some(Bytes32([3; 32])),
        }
    }

    fn heartbeat(ask: &[u8]) -> Heartbeat {
        Heartbeat {
            version: VERSION,
            request: digest(ask),
            agent: key(2).verifying_key().id(),
            software: "0.1.0".to_owned(),
            at: NOW,
            head: head(),
            state: AgentState::Quarantined { at: NOW, own: head(), seen: head() },
            latency: Some(Latency { dc: "dc1".to_owned(), micros: 1500 }),
            server: key(1).verifying_key().id(),
            successor: None,
        }
    }

    #[test]
    fn question_and_answer_read_back_and_belong_together() {
        let (question, other) = (ask().sign(&key(1)), Ask { seen: vec![], ..ask() }.sign(&key(1)));
        assert_eq!(Ask::parse(&question, &key(1).verifying_key(), NOW), Ok(ask()));
        let answer = heartbeat(&question).sign(&key(2));
        let from = key(2).verifying_key();
        assert_eq!(Heartbeat::parse(&answer, &from, &question), Ok(heartbeat(&question)));
        assert_eq!(Heartbeat::parse(&answer, &from, &other), Err(MessageError::OtherRequest));
    }

    #[test]
    fn every_flipped_byte_is_noticed_on_both_ways() {
        let question = ask().sign(&key(1));
        let answer = heartbeat(&question).sign(&key(2));
        for at in 0..question.len().max(answer.len()) {
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                }
                bytes
            };
            assert!(
                at >= question.len()
                    || Ask::parse(&flipped(&question), &key(1).verifying_key(), NOW).is_err()
            );
            let altered = Heartbeat::parse(&flipped(&answer), &key(2).verifying_key(), &question);
            assert!(at >= answer.len() || altered.is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_question_holds_for_a_minute_at_most() {
        let signed = |ask: &Ask| ask.sign(&key(1));
        let at = |ask: &Ask, now| Ask::parse(&signed(ask), &key(1).verifying_key(), now);
        assert!(at(&ask(), NOW.plus(ASK_IS_GOOD)).is_ok());
        assert!(at(&ask(), NOW.plus(ASK_IS_GOOD + Duration::from_micros(1))).is_err());
        assert!(at(&ask(), Timestamp::from_micros(0)).is_err());
        let long = Ask { not_after: NOW.plus(Duration::from_mins(2)), ..ask() };
        assert!(at(&long, NOW).is_err());
        let crowded = Ask { seen: vec![head(); MOST_HEADS + 1], ..ask() };
        assert!(at(&crowded, NOW).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
            let mut message = if magic { ASK.to_vec() } else { HEARTBEAT.to_vec() };
            message.extend_from_slice(&bytes);
            prop_assert!(Ask::parse(&message, &key(1).verifying_key(), NOW).is_err());
            prop_assert!(Heartbeat::parse(&message, &key(1).verifying_key(), b"").is_err());
            // Past the signature too: whoever holds the key may still send nonsense.
            let signature = key(1).sign(&message);
            message.extend_from_slice(&signature);
            let _ = Ask::parse(&message, &key(1).verifying_key(), NOW);
            let _ = Heartbeat::parse(&message, &key(1).verifying_key(), b"");
        }
    }
}
