//! Security identifiers ([MS-DTYP] 2.4.2).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// objectSid, or one value of tokenGroups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sid {
    authority: u64,
    sub_authorities: Vec<u32>,
}

/// The bytes or the text are no SID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SID reads S-1-5-21-…")]
pub struct NotASid;

impl Sid {
    /// From the attribute's value: revision 1, at most 15 sub-authorities, nothing after them.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotASid> {
        let (head, tail) = bytes.split_at_checked(8).ok_or(NotASid)?;
        let (sub_authorities, rest) = tail.as_chunks::<4>();
        if head[0] != 1 || sub_authorities.len() != usize::from(head[1]) || head[1] > 15 || !rest.is_empty() {
            return Err(NotASid);
        }
        Ok(Self {
            authority: head[2..].iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            sub_authorities: sub_authorities.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
        })
    }

    /// The SID that begins the bytes, and what follows it.
    pub(crate) fn decode_first(bytes: &[u8]) -> Result<(Self, &[u8]), NotASid> {
        let parts = usize::from(*bytes.get(1).ok_or(NotASid)?);
        let (sid, rest) = bytes.split_at_checked(8 + 4 * parts).ok_or(NotASid)?;
        Ok((Self::decode(sid)?, rest))
    }

    /// The bytes that [`decode`](Self::decode) takes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 4 * self.sub_authorities.len());
        bytes.extend([1, u8::try_from(self.sub_authorities.len()).unwrap_or(u8::MAX)]);
        bytes.extend(&self.authority.to_be_bytes()[2..]);
        self.sub_authorities.iter().for_each(|part| bytes.extend(part.to_le_bytes()));
        bytes
    }

    /// A well-known SID ([MS-DTYP] 2.4.2.4).
    pub(crate) fn well_known(authority: u64, sub_authorities: &[u32]) -> Self {
        Self { authority, sub_authorities: sub_authorities.to_vec() }
    }

    pub(crate) fn is_well_known(&self, authority: u64, sub_authorities: &[u32]) -> bool {
        self.authority == authority && self.sub_authorities == sub_authorities
    }

    /// The domain's SID: all but the last part. `None` for a SID without parts.
    pub fn domain(&self) -> Option<Self> {
        let (_, domain) = self.sub_authorities.split_last()?;
        Some(Self { authority: self.authority, sub_authorities: domain.to_vec() })
    }

    /// The relative id: the last part.
    pub fn rid(&self) -> Option<u32> {
        self.sub_authorities.last().copied()
    }

    /// The SID of this domain with `rid`.
    #[must_use]
    pub fn with_rid(&self, rid: u32) -> Self {
        let mut sub_authorities = self.sub_authorities.clone();
        sub_authorities.push(rid);
        Self { authority: self.authority, sub_authorities }
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // [MS-DTYP] 2.4.2.1: an authority of 2^32 and more is written in hexadecimal.
        if self.authority < 1 << 32 {
            write!(f, "S-1-{}", self.authority)?;
        } else {
            write!(f, "S-1-0x{:012x}", self.authority)?;
        }
        self.sub_authorities.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl FromStr for Sid {
    type Err = NotASid;

    fn from_str(text: &str) -> Result<Self, NotASid> {
        let mut parts = text.split('-');
        if !parts.next().is_some_and(|s| s.eq_ignore_ascii_case("s")) || parts.next() != Some("1") {
            return Err(NotASid);
        }
        let authority = parts.next().ok_or(NotASid)?;
        let authority = match authority.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => authority.parse(),
        };
        let authority = authority.ok().filter(|value| *value < 1 << 48).ok_or(NotASid)?;
        let sub_authorities = parts.map(str::parse).collect::<Result<Vec<_>, _>>().map_err(|_| NotASid)?;
        if sub_authorities.len() > 15 { Err(NotASid) } else { Ok(Self { authority, sub_authorities }) }
    }
}

impl From<Sid> for String {
    fn from(sid: Sid) -> Self {
        sid.to_string()
    }
}

impl TryFrom<String> for Sid {
    type Error = NotASid;

    fn try_from(text: String) -> Result<Self, NotASid> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOMAIN_ADMINS: [u8; 28] =
        [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255, 0, 2, 0, 0];

    #[test]
    fn a_sid_prints_as_every_tool_does_and_splits_into_domain_and_rid() -> Result<(), NotASid> {
        let sid = Sid::decode(&DOMAIN_ADMINS)?;
        assert_eq!(sid.to_string(), "S-1-5-21-1-2-4294967295-512");
        assert_eq!(sid.rid(), Some(512));
        assert_eq!(sid.domain().map(|domain| domain.to_string()).as_deref(), Some("S-1-5-21-1-2-4294967295"));
        assert_eq!(sid.domain().map(|domain| domain.with_rid(512)), Some(sid));
        Ok(())
    }

    #[test]
    fn bytes_that_are_cut_short_or_too_long_are_no_sid() {
        for length in 0..DOMAIN_ADMINS.len() {
            assert_eq!(Sid::decode(&DOMAIN_ADMINS[..length]), Err(NotASid));
        }
        assert_eq!(Sid::decode(&[&DOMAIN_ADMINS[..], &[0; 4]].concat()), Err(NotASid));
    }

    proptest! {
        #[test]
        fn hostile_bytes_and_texts_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "\\PC*") {
            if let Ok(sid) = Sid::decode(&bytes) {
                prop_assert_eq!(sid.encode(), bytes);
                prop_assert_eq!(sid.to_string().parse(), Ok(sid));
            }
            let _ = text.parse::<Sid>();
        }
    }
}
