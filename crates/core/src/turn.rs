//! Several agents on one domain: whose turn a message is, and what one agent vouches for to the others.
//!
//! A job that more than one agent may do is sealed once for each of them, and each copy has a time of its own. The second
//! agent has no record of what the first one did; what it has is the state of the user from before anybody could have
//! done anything, which the agent that minted the code has read and signed ([`Voucher`]). Every agent binds its write to
//! that state on that domain controller, so one write at most is carried out. `docs/decisions/0012-several-agents.md`.

use crate::clock::Timestamp;
use crate::ids::{ChallengeId, KeyId, ObjectGuid};
use crate::job::Operation;
use crate::keys::{SigningKey, VerifyingKey};
use crate::message::{MessageError, VERSION, cut_signature, peek_header, sign_json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const VOUCHER: &[u8; 4] = b"KBV1";
const BUNDLE: &[u8; 4] = b"KBM1";

/// What an agent has to know of the others that may do the same job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Who may have begun it before this message was valid, the first one first.
    pub earlier: Vec<Earlier>,
    /// Nobody has it after this one.
    pub last: bool,
    /// The signed [`Voucher`].
    pub voucher: String,
}

/// An agent that had the job before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// Its id.
    pub agent: KeyId,
    /// Its message was valid until then: it began at the latest.
    pub until: Timestamp,
}

/// One agent's word to the others: this code was right, and this is how the user stood when it was minted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    /// [`VERSION`].
    pub version: u8,
    /// Who says so.
    pub agent: KeyId,
    /// The challenge that is proven.
    pub challenge: ChallengeId,
    /// Who has proved to sit there.
    pub object_guid: ObjectGuid,
    /// For this, and nothing else.
    pub operation: Operation,
    /// The proof's end.
    pub expires_at: Timestamp,
    /// The domain controller that was asked, as the configuration names it: the one that every agent writes to.
    pub dc: String,
    /// msDS-KeyVersionNumber there.
    pub key_version: Option<i64>,
    /// pwdLastSet there, in ticks of 100 ns since 1601.
    pub pwd_last_set: Option<i64>,
}

impl Voucher {
    /// As a header carries it.
    pub fn sign(&self, by: &SigningKey) -> String {
        URL_SAFE_NO_PAD.encode(sign_json(VOUCHER, self, by))
    }

    /// Checks signature and form. Whom and what it is for, and until when, is the agent's to judge.
    pub fn parse(text: &str, from: &[VerifyingKey]) -> Result<Self, MessageError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MessageError::Malformed)?;
        for key in from {
            let json = match cut_signature(&bytes, VOUCHER, key) {
                Err(MessageError::Signature) => continue,
                cut => cut?,
            };
            let voucher: Self = serde_json::from_slice(json).map_err(|_| MessageError::Unknown)?;
            let known = voucher.version == VERSION && voucher.agent == key.id();
            return if known { Ok(voucher) } else { Err(MessageError::Unknown) };
        }
        Err(MessageError::Signature)
    }
}

/// The copies of one job's message as the store keeps them. A single one is kept as it is.
pub fn bundle(mut copies: Vec<Vec<u8>>) -> Vec<u8> {
    if copies.len() == 1 {
        return copies.remove(0);
    }
    let mut bytes = BUNDLE.to_vec();
    for copy in copies {
        // None is longer than a message may be.
        bytes.extend_from_slice(&u32::try_from(copy.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&copy);
    }
    bytes
}

fn copies(kept: &[u8]) -> Vec<&[u8]> {
    let Some(mut rest) = kept.strip_prefix(BUNDLE) else { return vec![kept] };
    let mut copies = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((copy, after)) = after.split_at_checked(length) else { break };
        copies.push(copy);
        rest = after;
    }
    copies
}

/// The copy to be offered now, at this attempt: where the copies have turns, the one whose turn it is; else each in turn.
pub fn copy_for(kept: &[u8], attempt: u32, now: Timestamp) -> Option<&[u8]> {
    let copies = copies(kept);
    let begun = |copy: &&&[u8]| peek_header(copy).is_some_and(|header| header.not_before <= now);
    match copies.as_slice() {
        [only] => Some(only),
        [first, ..] if peek_header(first).is_some_and(|header| header.turn.is_some()) => {
            Some(copies.iter().rev().find(begun).unwrap_or(first))
        }
        all => {
            let number = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0);
            all.get(number.checked_rem(all.len())?).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn voucher() -> Voucher {
        Voucher {
            version: VERSION,
            agent: key(1).verifying_key().id(),
            challenge: ChallengeId::from_random([1; 16]),
            object_guid: ObjectGuid::from_wire([2; 16]),
            operation: Operation::Reset,
            expires_at: Timestamp::from_micros(5),
            dc: "dc1.ad.example".to_owned(),
            key_version: Some(3),
            pwd_last_set: Some(9),
        }
    }

    /// Fault: a voucher between agents is altered in each byte, or signed by somebody else => it is worth nothing
    #[test]
    fn a_voucher_counts_only_as_a_pinned_agent_signed_it() {
        let signed = voucher().sign(&key(1));
        let peers = [key(2).verifying_key(), key(1).verifying_key()];
        assert_eq!(Voucher::parse(&signed, &peers), Ok(voucher()));
        assert_eq!(Voucher::parse(&signed, &peers[..1]), Err(MessageError::Signature));
        assert_eq!(Voucher::parse(&signed, &[]), Err(MessageError::Signature));
        // In another's name.
        assert_eq!(Voucher::parse(&voucher().sign(&key(2)), &peers), Err(MessageError::Unknown));
        let bytes = URL_SAFE_NO_PAD.decode(&signed).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(Voucher::parse(&URL_SAFE_NO_PAD.encode(altered), &peers).is_err(), "byte {at}");
        }
    }

    #[test]
    fn copies_without_turns_are_offered_one_after_the_other() {
        let now = Timestamp::from_micros(0);
        let kept = bundle(vec![b"one".to_vec(), b"two".to_vec()]);
        let offered = |attempt| copy_for(&kept, attempt, now);
        assert_eq!([1, 2, 3].map(offered), [Some(&b"one"[..]), Some(b"two"), Some(b"one")]);
        let single = bundle(vec![b"one".to_vec()]);
        assert_eq!((copies(&single), copy_for(&single, 7, now)), (vec![&b"one"[..]], Some(&b"one"[..])));
        assert_eq!(copies(&kept[..kept.len() - 1]), [b"one"], "what is cut off is left out");
        assert_eq!(copy_for(BUNDLE, 1, now), None);
    }
}
