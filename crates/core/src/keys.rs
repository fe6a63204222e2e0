//! Keys, as far as both sides need them: signing and checking signatures, and sealing *to* an agent.
//!
//! What opens a seal lives in `agent` alone; `server` and `store` cannot name it.

use crate::ids::{self, KeyId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::Deserializable;
use keyback_codes::{Cause, Explain};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

/// The HPKE suite of version 1 (RFC 9180): X25519, HKDF-SHA256, ChaCha20-Poly1305.
pub type Kem = hpke::kem::X25519HkdfSha256;
/// The key schedule of the suite.
pub type Kdf = hpke::kdf::HkdfSha256;
/// The cipher of the suite.
pub type Aead = hpke::aead::ChaCha20Poly1305;

/// What a key file holds, one word in its first line, so that no key can be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The server's signing key (A5).
    ServerSigning,
    /// The agent's signing key (A4).
    AgentSigning,
    /// The agent's unsealing key (A4).
    AgentUnsealing,
    /// What the agents of a domain keep people's methods with (A6).
    Methods,
    /// What the agent has pinned of the server.
    ServerPublic,
    /// What the server has pinned of the agent: its sealing key and its verifying key.
    AgentPublic,
}

impl Purpose {
    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ServerSigning => "server-signing",
            Self::AgentSigning => "agent-signing",
            Self::AgentUnsealing => "agent-unsealing",
            Self::Methods => "methods",
            Self::ServerPublic => "server-public",
            Self::AgentPublic => "agent-public",
        }
    }
}

/// Why a key file cannot be used.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Another kind of key, or no key at all.
    #[error("this is not a key file for {expected}: its first line must be `keyback-key-1 {expected}`")]
    NotThisKey {
        /// The purpose asked for.
        expected: &'static str,
    },
    /// The right kind, damaged.
    #[error("the key file for {expected} is damaged")]
    Damaged {
        /// The purpose asked for.
        expected: &'static str,
    },
}

impl Explain for KeyError {
    fn cause(&self) -> Cause {
        match self {
            Self::NotThisKey { .. } | Self::Damaged { .. } => Cause::ConfigInvalid,
        }
    }
}

/// The text of a key file: a line that says what it is, then each key in Base64 on a line of its own.
pub fn write_key_file(purpose: Purpose, keys: &[&[u8]]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(format!("keyback-key-1 {}\n", purpose.word()));
    for key in keys {
        text.push_str(&Zeroizing::new(STANDARD.encode(key)));
        text.push('\n');
    }
    text
}

/// Reads `N` keys of 32 bytes from a key file's text.
pub fn read_key_file<const N: usize>(
    purpose: Purpose,
    text: &str,
) -> Result<[Zeroizing<[u8; 32]>; N], KeyError> {
    let expected = purpose.word();
    let mut lines = text.lines();
    if lines.next() != Some(&format!("keyback-key-1 {expected}")) {
        return Err(KeyError::NotThisKey { expected });
    }
    let mut keys = std::array::from_fn(|_| Zeroizing::new([0; 32]));
    for key in &mut keys {
        let line = lines.next().ok_or(KeyError::Damaged { expected })?;
        let bytes = Zeroizing::new(STANDARD.decode(line).map_err(|_| KeyError::Damaged { expected })?);
        **key = bytes.as_slice().try_into().map_err(|_| KeyError::Damaged { expected })?;
    }
    if lines.next().is_some() { Err(KeyError::Damaged { expected }) } else { Ok(keys) }
}

/// At most this many keys stand in one file: a pair of each generation.
pub const MOST_KEYS: usize = 4;

/// Reads as many keys of 32 bytes as a key file's text has, [`MOST_KEYS`] at most.
pub fn read_key_list(purpose: Purpose, text: &str) -> Result<Vec<Zeroizing<[u8; 32]>>, KeyError> {
    let count = text.lines().count().saturating_sub(1);
    match count {
        0 => read_key_file::<0>(purpose, text).map(Vec::from),
        1 => read_key_file::<1>(purpose, text).map(Vec::from),
        2 => read_key_file::<2>(purpose, text).map(Vec::from),
        3 => read_key_file::<3>(purpose, text).map(Vec::from),
        MOST_KEYS => read_key_file::<MOST_KEYS>(purpose, text).map(Vec::from),
        _ => Err(KeyError::Damaged { expected: purpose.word() }),
    }
}

/// Signs: Ed25519 (RFC 8032). The server has one, each agent has one.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// 32 random bytes, to be kept in a key file.
    pub fn new_seed() -> Zeroizing<[u8; 32]> {
        Zeroizing::new(ids::random())
    }

    /// From the 32 bytes of a key file.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|_| KeyError::Damaged { expected: "signing" })
    }

    /// What the other side pins.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(key)
    }

    /// 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// Checks what the other side's [`SigningKey`] signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// From a key file.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For a key file.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0)
    }

    /// Whether the other side signed exactly this.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// Seals to one agent. It cannot open.
#[derive(Clone)]
pub struct SealingKey {
    bytes: [u8; 32],
    key: <Kem as hpke::Kem>::PublicKey,
}

impl SealingKey {
    /// From the 32 bytes of a key file.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = <Kem as hpke::Kem>::PublicKey::from_bytes(&bytes)
            .map_err(|_| KeyError::Damaged { expected: "sealing" })?;
        Ok(Self { bytes, key })
    }

    /// For a key file.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key's id: a message names it, so that an agent knows which of its keys opens it.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.bytes)
    }

    /// For HPKE.
    pub(crate) const fn key(&self) -> &<Kem as hpke::Kem>::PublicKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_reads_back_and_is_not_taken_for_another() {
        let text = write_key_file(Purpose::AgentPublic, &[&[1; 32], &[2; 32]]);
        let keys = read_key_file::<2>(Purpose::AgentPublic, &text);
        assert_eq!(keys.map(|keys| keys.map(|key| *key)), Ok([[1; 32], [2; 32]]));
        assert!(matches!(
            read_key_file::<1>(Purpose::ServerSigning, &text),
            Err(KeyError::NotThisKey { .. })
        ));
        assert!(matches!(read_key_file::<1>(Purpose::AgentPublic, &text), Err(KeyError::Damaged { .. })));
        assert!(matches!(read_key_file::<3>(Purpose::AgentPublic, &text), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn a_signature_holds_for_its_message_only() -> Result<(), KeyError> {
        let key = SigningKey::from_seed(&[7; 32])?;
        let signature = key.sign(b"this");
        assert!(key.verifying_key().verifies(b"this", &signature));
        assert!(!key.verifying_key().verifies(b"that", &signature));
        Ok(())
    }
}
