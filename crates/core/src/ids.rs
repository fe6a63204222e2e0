//! Ids, each a type of its own: swapping two of them does not compile.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])+ $name:ident) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// From 128 random bits.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// One job: one attempt of one person to do one thing.
    JobId
}
uuid_id! {
    /// One user action, through every log line, job and audit row.
    CorrelationId
}
uuid_id! {
    /// One mailed code and what has become of it; minted by the agent.
    ChallengeId
}

uuid_id! {
    /// One thing that a person registered to prove themselves with: a phone's app, a sheet of recovery codes.
    MethodId
}

impl MethodId {
    /// Its sixteen bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Of sixteen bytes that [`MethodId::to_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

uuid_id! {
    /// One journal of an agent, from its first record on; a copy of it has the same.
    JournalId
}

/// 128 bits from the operating system, for ids that need not be guessed again.
///
/// # Panics
/// When the operating system has no randomness to give: nothing is safe to do then.
#[expect(clippy::expect_used, reason = "without randomness no id, ticket or key may be made")]
pub fn random<const N: usize>() -> [u8; N] {
    use ring::rand::SecureRandom;
    let mut bytes = [0; N];
    #[cfg(feature = "simulation")]
    if crate::simulation::fill(&mut bytes) {
        return bytes;
    }
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// objectGUID: sixteen bytes as the directory stores them. Prints with the first three fields little-endian
/// (MS-DTYP 2.3.4.2), as every Microsoft tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectGuid([u8; 16]);

impl ObjectGuid {
    /// From the attribute's value on the wire.
    pub const fn from_wire(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The attribute's value on the wire.
    pub const fn to_wire(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for ObjectGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes_le(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for ObjectGuid {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(|guid| Self(guid.to_bytes_le()))
    }
}

impl From<ObjectGuid> for String {
    fn from(guid: ObjectGuid) -> Self {
        guid.to_string()
    }
}

impl TryFrom<String> for ObjectGuid {
    type Error = uuid::Error;
    fn try_from(text: String) -> Result<Self, uuid::Error> {
        text.parse()
    }
}

/// mS-DS-ConsistencyGuid where it is set, else objectGUID: Base64 of the sixteen raw bytes, as Entra's `ImmutableId`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceAnchor(String);

impl SourceAnchor {
    /// Of the sixteen raw bytes.
    pub fn from_wire(bytes: [u8; 16]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// From the Base64 text that was kept.
    pub const fn from_text(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for SourceAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which key signed or must open a message: the first eight bytes of the SHA-256 of the public key, in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Of a public key's bytes.
    pub fn of(public_key: &[u8]) -> Self {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(public_key);
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// The text is not sixteen hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a key id is sixteen hexadecimal digits")]
pub struct NotAKeyId;

impl TryFrom<String> for KeyId {
    type Error = NotAKeyId;
    fn try_from(text: String) -> Result<Self, NotAKeyId> {
        text.parse()
    }
}

impl std::str::FromStr for KeyId {
    type Err = NotAKeyId;
    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        if text.len() != 16 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAKeyId);
        }
        let mut id = [0; 8];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| NotAKeyId)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAKeyId)?;
        }
        Ok(Self(id))
    }
}

/// A user name as a person typed it: UPN, sAMAccountName, `DOMAIN\name`, mail address, DN or GUID. 1 to 256
/// characters, no control characters, blanks at both ends removed. Which of these it is, the directory decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserName(String);

/// The text cannot name a user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a user name is 1 to 256 characters without control characters")]
pub struct NotAUserName;

impl keyback_codes::Explain for NotAUserName {
    fn cause(&self) -> keyback_codes::Cause {
        keyback_codes::Cause::InputName
    }
}

impl UserName {
    /// As typed, with the blanks at both ends removed.
    pub fn parse(typed: &str) -> Result<Self, NotAUserName> {
        let name = typed.trim();
        let length = name.chars().count();
        if length == 0 || length > 256 || name.chars().any(char::is_control) {
            return Err(NotAUserName);
        }
        Ok(Self(name.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl TryFrom<String> for UserName {
    type Error = NotAUserName;
    fn try_from(text: String) -> Result<Self, NotAUserName> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_guid_prints_as_microsoft_tools_do() {
        let wire =
            [0x47, 0xe5, 0xb1, 0x60, 0xe5, 0x4f, 0xd9, 0x4d, 0xa8, 0x41, 0x4a, 0xe1, 0x4e, 0x4b, 0x46, 0xa4];
        let guid = ObjectGuid::from_wire(wire);
        assert_eq!(guid.to_string(), "60b1e547-4fe5-4dd9-a841-4ae14e4b46a4");
        assert_eq!(
            "60b1e547-4fe5-4dd9-a841-4ae14e4b46a4".parse::<ObjectGuid>().map(ObjectGuid::to_wire),
            Ok(wire)
        );
    }

    #[test]
    fn a_key_id_reads_back_from_its_text() {
        let id = KeyId::of(b"a public key");
        assert_eq!(KeyId::try_from(id.to_string()).ok(), Some(id));
        for bad in ["+1+1+1+1+1+1+1+1", "zz", "é5afe7f00d5afe7"] {
            assert!(KeyId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_name_keeps_metacharacters_and_refuses_control_characters() {
        assert_eq!(UserName::parse(" a*)(b\\=,c ").map(String::from), Ok("a*)(b\\=,c".to_owned()));
        for bad in ["", "   ", "a\0b", "a\nb", &"x".repeat(257)] {
            assert_eq!(UserName::parse(bad), Err(NotAUserName));
        }
    }
}
