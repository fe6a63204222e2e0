//! What a person proves themselves with, as far as the server may know of it.
//!
//! What a method consists of (a seed, hashes of codes) only agents can read: here it is a sealed block. All blocks have one
//! length, so that neither the store nor the relay tells an app from a sheet of codes by it.

use crate::ids::MethodId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Bytes of a sealed method.
pub const SEALED: usize = 432;
/// As many methods one person has at most.
pub const MOST_METHODS: usize = 8;

/// A way to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A code that the agent mails to the address of record.
    Mail,
    /// A code from an authenticator app (RFC 6238).
    Totp,
    /// A code from a sheet, each good for once.
    Recovery,
    /// A code that the help desk gave, good for once and for some hours.
    Pass,
}

impl Way {
    /// As it stands in JSON and the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Totp => "totp",
            Self::Recovery => "recovery",
            Self::Pass => "pass",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no way.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no way to prove oneself")]
pub struct UnknownWay(String);

impl FromStr for Way {
    type Err = UnknownWay;
    fn from_str(text: &str) -> Result<Self, UnknownWay> {
        [Self::Mail, Self::Totp, Self::Recovery, Self::Pass]
            .into_iter()
            .find(|way| way.name() == text)
            .ok_or_else(|| UnknownWay(text.to_owned()))
    }
}

/// A method as the store keeps it and as a message carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedMethod {
    /// Which.
    pub id: MethodId,
    /// What it is.
    pub way: Way,
    /// What only agents can read.
    pub sealed: SealedBytes,
}

/// [`SEALED`] bytes, in Base64 where they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SealedBytes(Vec<u8>);

impl SealedBytes {
    /// `None` when the length is another one.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == SEALED).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<SealedBytes> for String {
    fn from(bytes: SealedBytes) -> Self {
        STANDARD.encode(bytes.0)
    }
}

impl TryFrom<String> for SealedBytes {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).ok().and_then(Self::new).ok_or("not a sealed method")
    }
}

/// A person's methods on their way to the agent: always the same length, whether there are any or not.
pub struct Bundle(Vec<u8>);

impl Bundle {
    /// Of these methods. What is left of the room is `noise`: nobody who cannot open a method tells it from one.
    pub fn of<'a>(methods: impl IntoIterator<Item = &'a SealedBytes>, mut noise: Vec<u8>) -> Self {
        noise.resize(SEALED * MOST_METHODS, 0);
        for (place, method) in noise.chunks_exact_mut(SEALED).zip(methods) {
            place.copy_from_slice(method.as_bytes());
        }
        Self(noise)
    }

    /// From a message. `None` when the length is another one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == SEALED * MOST_METHODS).then(|| Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Each place: a method, or noise.
    pub fn places(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chunks_exact(SEALED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_one_length_and_gives_back_what_was_put_in() {
        let one = SealedBytes::new(vec![7; SEALED]).unwrap();
        let (some, none) = (Bundle::of([&one], vec![1; 9]), Bundle::of([], vec![2; 100_000]));
        assert_eq!(some.as_bytes().len(), none.as_bytes().len());
        let read = Bundle::parse(some.as_bytes()).unwrap();
        assert_eq!(read.places().next(), Some(one.as_bytes()));
        assert_eq!(read.places().count(), MOST_METHODS);
        assert!(Bundle::parse(&some.as_bytes()[1..]).is_none());
        assert!(SealedBytes::new(vec![0; SEALED + 1]).is_none());
    }

    #[test]
    fn a_sealed_method_reads_back_from_json() {
        let id = MethodId::from_random([1; 16]);
        let sealed = SealedBytes::new(vec![9; SEALED]).unwrap();
        let method = SealedMethod { id, way: Way::Recovery, sealed };
        let json = serde_json::to_string(&method).unwrap();
        assert_eq!(serde_json::from_str::<SealedMethod>(&json).unwrap(), method);
        assert!(serde_json::from_str::<SealedMethod>(&json.replace("CQkJ", "")).is_err());
        assert_eq!(MethodId::from_bytes(id.to_bytes()), id);
    }
}
