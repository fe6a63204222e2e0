//! What a person types to prove who they are, besides the code from a mail: codes of an app, and of a sheet.

use super::PlainCode;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Drops what people type between the groups of a code. `None` when more is left than `most` characters.
fn bare(typed: &str, most: usize) -> Option<Zeroizing<String>> {
    let mut kept = Zeroizing::new(String::with_capacity(most));
    for c in typed.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2013}')) {
        if !c.is_ascii() || kept.len() == most {
            return None;
        }
        kept.push(c.to_ascii_lowercase());
    }
    Some(kept)
}

/// Six digits from an authenticator app.
pub struct TotpCode(Zeroizing<String>);

impl TotpCode {
    /// Digits of a code.
    pub const DIGITS: usize = 6;

    /// What a person typed. `None` when it cannot be a code.
    pub fn parse(typed: &str) -> Option<Self> {
        let kept = bare(typed, Self::DIGITS)?;
        (kept.len() == Self::DIGITS && kept.bytes().all(|c| c.is_ascii_digit())).then_some(Self(kept))
    }

    /// The digits, for the seal.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.0.bytes().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    }
}

/// What an authenticator app makes its codes from: 160 bits, the length of SHA-1 (RFC 4226 section 4).
pub struct TotpSeed(Zeroizing<[u8; TotpSeed::BYTES]>);

impl TotpSeed {
    /// Bytes of a seed.
    pub const BYTES: usize = 20;

    /// From random bits.
    pub fn mint(random: Zeroizing<[u8; Self::BYTES]>) -> Self {
        Self(random)
    }

    /// `None` when the length is another one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The same, where it has to be kept with something new.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(Zeroizing::new(*self.0))
    }

    /// The bytes, for the page that shows them and for the seal.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// A code from a sheet, good for once: sixteen letters and digits, 80 bits, in groups of four.
pub struct RecoveryCode(Zeroizing<String>);

impl RecoveryCode {
    /// Characters of a code, without what stands between its groups.
    pub const LENGTH: usize = 16;
    /// Codes on one sheet.
    pub const SHEET: usize = 10;
    /// No l, no o, no 0 and no 1: they are taken for each other.
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

    /// From random bits, five for each character.
    pub fn mint(random: &[u8; Self::LENGTH]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(Self::LENGTH));
        text.extend(random.iter().map(|byte| char::from(Self::ALPHABET[usize::from(byte & 31)])));
        Self(text)
    }

    /// What a person typed. `None` when it cannot be a code.
    pub fn parse(typed: &str) -> Option<Self> {
        let kept = bare(typed, Self::LENGTH)?;
        let shape = kept.len() == Self::LENGTH && kept.bytes().all(|c| Self::ALPHABET.contains(&c));
        shape.then_some(Self(kept))
    }

    /// The characters, for the seal.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As it stands on the sheet: `abcd-efgh-ijkm-npqr`.
    pub fn grouped(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::LENGTH + 3));
        for (at, c) in self.0.chars().enumerate() {
            if at > 0 && at.is_multiple_of(4) {
                text.push('-');
            }
            text.push(c);
        }
        text
    }

    /// What is kept instead of the code.
    pub fn hash(&self, salt: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"keyback/recovery/1/")
            .chain_update(salt)
            .chain_update(self.0.as_bytes())
            .finalize()
            .into()
    }
}

/// A code that somebody typed; its form tells what it is of.
pub enum TypedCode {
    /// Eight digits: from the mail.
    Mailed(PlainCode),
    /// Six digits: from an app.
    Totp(TotpCode),
    /// Sixteen characters: from a sheet.
    Recovery(RecoveryCode),
}

impl TypedCode {
    /// What a person typed. `None` when it has no code's form.
    pub fn parse(typed: &str) -> Option<Self> {
        PlainCode::parse(typed)
            .map(Self::Mailed)
            .or_else(|| TotpCode::parse(typed).map(Self::Totp))
            .or_else(|| RecoveryCode::parse(typed).map(Self::Recovery))
    }

    /// The code without anything between its groups, for the seal.
    pub fn expose(&self) -> &str {
        match self {
            Self::Mailed(code) => code.expose(),
            Self::Totp(code) => code.expose(),
            Self::Recovery(code) => code.expose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_what_was_typed_tells_what_it_is() {
        let kind = |typed: &str| match TypedCode::parse(typed) {
            Some(TypedCode::Mailed(_)) => "mail",
            Some(TypedCode::Totp(_)) => "totp",
            Some(TypedCode::Recovery(_)) => "recovery",
            None => "none",
        };
        for (typed, expected) in [
            (" 1234 5678", "mail"),
            ("123 456", "totp"),
            ("ABCD-efgh-2345-6789", "recovery"),
            ("2222222222222222", "recovery"),
            ("12345", "none"),
            ("1234567", "none"),
            ("abcd-efgh-2345-678", "none"),
            ("abcd-efgh-2345-678l", "none"),
            ("１２３４５６", "none"),
            ("", "none"),
        ] {
            assert_eq!(kind(typed), expected, "{typed}");
        }
    }

    #[test]
    fn a_recovery_code_reads_back_from_its_sheet_and_its_hash_has_a_salt() {
        let minted = RecoveryCode::mint(&[0, 1, 2, 3, 31, 32, 33, 34, 255, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(minted.grouped().as_str(), "abcd-9abc-9fgh-ijkm");
        let read = RecoveryCode::parse(&minted.grouped().to_uppercase()).unwrap();
        assert_eq!(read.hash(b"a"), minted.hash(b"a"));
        assert_ne!(read.hash(b"a"), minted.hash(b"b"));
        assert_eq!(TotpCode::parse("012 345").unwrap().number(), 12_345);
    }
}
