//! How two sides that know nothing of each other pin each other's keys: by a code that is carried another way.
//!
//! The relay may read, alter and replay all of this. It does not know the code, and each side's tag covers the keys of
//! both, so it can swap none of them. The server keeps the code's hash only, and each code once.

use crate::clock::Timestamp;
use crate::heartbeat::{AgentPublic, Bytes32};
use crate::ids;
use crate::message::MessageError;
use ring::hmac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use zeroize::Zeroizing;

/// A code can be used for this long.
pub const CODE_IS_GOOD: Duration = Duration::from_mins(15);
/// No message of an enrolment is longer.
const MOST_BYTES: usize = 4096;
const INVITE: &[u8; 4] = b"KBE1";
const OFFER: &[u8; 4] = b"KBE2";
const ACCEPT: &[u8; 4] = b"KBE3";
/// Crockford's Base32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LETTERS: usize = 20;

/// What an agent that wants to enrol says to everything that it does not understand.
pub const WANTED: &[u8] = b"KBE0";
/// What the server says when no code fits.
pub const REFUSED: &[u8] = b"KBE5";
/// What it says when it has pinned the server.
pub const PINNED: &[u8] = b"KBE4";

/// The one-time code: 100 random bits, read out as `K7QF-….`. Shown once and never kept.
pub struct PlainEnrolmentCode(Zeroizing<String>);

impl PlainEnrolmentCode {
    /// A new one.
    pub fn mint() -> Self {
        let random = Zeroizing::new(ids::random::<LETTERS>());
        Self(Zeroizing::new(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()))
    }

    /// What somebody typed: blanks and dashes do not count, nor does case; I and L are read as 1, O as 0.
    pub fn parse(typed: &str) -> Option<Self> {
        let mut letters = Zeroizing::new(String::with_capacity(LETTERS));
        for typed in typed.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let letter = match typed.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            };
            if letters.len() == LETTERS || !u8::try_from(letter).is_ok_and(|byte| ALPHABET.contains(&byte)) {
                return None;
            }
            letters.push(letter);
        }
        (letters.len() == LETTERS).then_some(Self(letters))
    }

    /// In groups of four, for the one terminal that shows it.
    pub fn expose(&self) -> Zeroizing<String> {
        let groups: Vec<&str> = (0..LETTERS).step_by(4).filter_map(|at| self.0.get(at..at + 4)).collect();
        Zeroizing::new(groups.join("-"))
    }

    /// What the server keeps, and what both sides derive their tags from.
    pub fn hash(&self) -> EnrolmentKey {
        let mut hasher = Sha256::new_with_prefix(b"keyback/enrolment/1/");
        hasher.update(self.0.as_bytes());
        EnrolmentKey(hasher.finalize().into())
    }
}

/// The hash of a code. Whoever has it could take the code's place until the code ends: it is a secret too.
pub struct EnrolmentKey([u8; 32]);

impl EnrolmentKey {
    /// As it was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For the store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn covered(side: &str, server: &Bytes32, agent: &AgentPublic) -> Vec<u8> {
        let mut covered = format!("keyback/enrolment/1/{side}/").into_bytes();
        covered.extend_from_slice(&server.0);
        covered.extend_from_slice(&agent.sealing.0);
        covered.extend_from_slice(&agent.verifying.0);
        covered
    }

    fn tag(&self, side: &str, server: &Bytes32, agent: &AgentPublic) -> Bytes32 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, &Self::covered(side, server, agent));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Bytes32(bytes)
    }

    fn fits(&self, tag: &Bytes32, side: &str, server: &Bytes32, agent: &AgentPublic) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::verify(&key, &Self::covered(side, server, agent), &tag.0).is_ok()
    }
}

/// The server shows its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// The server's verifying key.
    pub server: Bytes32,
    /// When its codes end, for the agent's page.
    pub until: Timestamp,
}

/// The agent shows its keys, and that it knows the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The agent's keys.
    pub agent: AgentPublic,
    /// Over both sides' keys.
    pub tag: Bytes32,
}

/// The server has pinned the agent, and shows that it knows the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Over both sides' keys.
    pub tag: Bytes32,
}

fn write(magic: &[u8], document: &impl Serialize) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    // Plain data of our own types: there is nothing in it that cannot be written as JSON.
    bytes.extend_from_slice(&serde_json::to_vec(document).unwrap_or_default());
    bytes
}

fn read<T: DeserializeOwned>(magic: &[u8], bytes: &[u8]) -> Result<T, MessageError> {
    let json = bytes.strip_prefix(magic).filter(|json| json.len() <= MOST_BYTES);
    serde_json::from_slice(json.ok_or(MessageError::Malformed)?).map_err(|_| MessageError::Unknown)
}

impl Invite {
    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(INVITE, self)
    }

    /// Of the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        read(INVITE, bytes)
    }
}

impl Offer {
    /// By an agent that has seen `server`.
    pub fn new(agent: AgentPublic, server: &Bytes32, code: &EnrolmentKey) -> Self {
        Self { tag: code.tag("agent", server, &agent), agent }
    }

    /// Whether it was made with this code, for this server.
    pub fn fits(&self, server: &Bytes32, code: &EnrolmentKey) -> bool {
        code.fits(&self.tag, "agent", server, &self.agent)
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(OFFER, self)
    }

    /// Of the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        read(OFFER, bytes)
    }
}

impl Accept {
    /// By the server.
    pub fn new(server: &Bytes32, agent: &AgentPublic, code: &EnrolmentKey) -> Self {
        Self { tag: code.tag("server", server, agent) }
    }

    /// Whether it was made with this code, for these keys.
    pub fn fits(&self, server: &Bytes32, agent: &AgentPublic, code: &EnrolmentKey) -> bool {
        code.fits(&self.tag, "server", server, agent)
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(ACCEPT, self)
    }

    /// Of the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        read(ACCEPT, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agent(seed: u8) -> AgentPublic {
        AgentPublic { sealing: Bytes32([seed; 32]), verifying: Bytes32([seed + 1; 32]) }
    }

    const SERVER: Bytes32 = Bytes32([7; 32]);

    #[test]
    fn a_code_reads_back_as_it_is_shown_and_as_people_type_it() {
        let code = PlainEnrolmentCode::mint();
        let shown = code.expose();
        assert_eq!(shown.len(), 24);
        for typed in [shown.to_string(), shown.to_lowercase(), shown.replace('-', " ")] {
            let read = PlainEnrolmentCode::parse(&typed).map(|code| *code.hash().as_bytes());
            assert_eq!(read, Some(*code.hash().as_bytes()));
        }
        let twins = ["OIL0-0000-0000-0000-0000", "0110-0000-0000-0000-0000"];
        let hashes = twins.map(|text| PlainEnrolmentCode::parse(text).map(|code| *code.hash().as_bytes()));
        assert!(hashes[0].is_some() && hashes[0] == hashes[1]);
        for bad in
            ["", "0000", "0000-0000-0000-0000-0000-0", "U000-0000-0000-0000-0000", "é000-0000-0000-0000-0000"]
        {
            assert!(PlainEnrolmentCode::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_tag_covers_the_keys_of_both_sides_and_the_side() {
        let code = PlainEnrolmentCode::mint().hash();
        let offer = Offer::new(agent(1), &SERVER, &code);
        assert!(offer.fits(&SERVER, &code));
        assert!(!offer.fits(&Bytes32([8; 32]), &code), "another server's key");
        for swapped in [
            AgentPublic { sealing: Bytes32([9; 32]), ..offer.agent },
            AgentPublic { verifying: Bytes32([9; 32]), ..offer.agent },
        ] {
            assert!(!Offer { agent: swapped, tag: offer.tag }.fits(&SERVER, &code));
        }
        assert!(!offer.fits(&SERVER, &PlainEnrolmentCode::mint().hash()), "another code");
        let accept = Accept::new(&SERVER, &agent(1), &code);
        assert!(accept.fits(&SERVER, &agent(1), &code) && !accept.fits(&SERVER, &agent(2), &code));
        let mirrored = Accept { tag: offer.tag };
        assert!(!mirrored.fits(&SERVER, &agent(1), &code), "an offer sent back is no acceptance");
    }

    proptest! {
        #[test]
        fn hostile_bytes_and_texts_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in any::<String>()) {
            for magic in [INVITE, OFFER, ACCEPT] {
                let message = [magic.as_slice(), &bytes].concat();
                let _ = (Invite::parse(&message), Offer::parse(&message), Accept::parse(&message));
            }
            let _ = PlainEnrolmentCode::parse(&text);
        }
    }
}
