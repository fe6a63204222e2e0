//! Secrets: types without `Debug`, `Display`, `Clone` or `Serialize`. There is no wrong way to print one.

mod codes;

pub use codes::{RecoveryCode, TotpCode, TotpSeed, TypedCode};

use crate::ids;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyback_codes::{Cause, Explain};
use sha2::{Digest, Sha256};
use unicode_normalization::is_nfc;
use zeroize::Zeroizing;

/// Why a text cannot be a password. A domain controller accepts some of these, and the person can then not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAPassword {
    /// Nothing was typed. An empty password turns a simple bind into an unauthenticated one (RFC 4513 section 5.1.2).
    #[error("the password is empty")]
    Empty,
    /// More than 256 characters (code points); Windows takes at most 256 (MS-SAMR 3.1.1.7.2).
    #[error("the password has more than 256 characters")]
    TooLong,
    /// A control character, U+0000 among them.
    #[error("the password has a control character in it")]
    ControlCharacter,
    /// Not in Unicode normalization form C: another keyboard may type the same letters as other code points.
    #[error("the password has characters in decomposed form")]
    NotNfc,
    /// Not Unicode text: a lone surrogate, or bytes that are not UTF-8.
    #[error("the password is not Unicode text")]
    NotUnicode,
}

impl NotAPassword {
    /// What the person reads beside the field.
    pub const fn for_person(self) -> &'static str {
        match self {
            Self::Empty => "Type a password.",
            Self::TooLong => "This password is too long: at most 256 characters.",
            Self::ControlCharacter => {
                "This password has an invisible control character in it, perhaps from pasting. Type it instead."
            }
            Self::NotNfc => {
                "This password has letters with separate accents, perhaps from pasting. Type it instead."
            }
            Self::NotUnicode => {
                "This password has something in it that is not a character. Type it instead of pasting."
            }
        }
    }
}

impl Explain for NotAPassword {
    fn cause(&self) -> Cause {
        match self {
            Self::Empty | Self::TooLong | Self::ControlCharacter | Self::NotNfc | Self::NotUnicode => {
                Cause::InputPassword
            }
        }
    }
}

fn check(typed: &[u8]) -> Result<(), NotAPassword> {
    let text = std::str::from_utf8(typed).map_err(|_| NotAPassword::NotUnicode)?;
    match text.chars().take(257).count() {
        0 => Err(NotAPassword::Empty),
        257 => Err(NotAPassword::TooLong),
        _ if text.chars().any(char::is_control) => Err(NotAPassword::ControlCharacter),
        _ if !is_nfc(text) => Err(NotAPassword::NotNfc),
        _ => Ok(()),
    }
}

macro_rules! password {
    ($(#[$doc:meta])+ $name:ident) => {
        $(#[$doc])+
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Checks the bytes as they were typed, and keeps them unchanged.
            pub fn parse(typed: Zeroizing<Vec<u8>>) -> Result<Self, NotAPassword> {
                check(&typed)?;
                // Checked above, so nothing is replaced; the copy is wiped like the original.
                Ok(Self(Zeroizing::new(String::from_utf8_lossy(&typed).into_owned())))
            }

            /// The secret itself, for the one who seals it or sends it to the directory.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }
    };
}

password! {
    /// The password that the person wants from now on.
    NewPassword
}
password! {
    /// The password that the person says is theirs today. Tested by itself only for `/register`, after another proof.
    CurrentPassword
}

/// A mailed code: what the agent minted, or what a person typed as one. Blanks and dashes between the digits do not count.
pub struct PlainCode(Zeroizing<String>);

impl PlainCode {
    /// Digits of a mailed code.
    pub const DIGITS: usize = 8;

    /// Eight digits from 64 random bits: the bias is under 2^-37.
    pub fn mint(random: [u8; 8]) -> Self {
        Self(Zeroizing::new(format!("{:08}", u64::from_le_bytes(random) % 100_000_000)))
    }

    /// What a person typed. `None` when it cannot be a code.
    pub fn parse(typed: &str) -> Option<Self> {
        let mut digits = Zeroizing::new(String::with_capacity(Self::DIGITS));
        for typed in typed.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2013}')) {
            if !typed.is_ascii_digit() || digits.len() == Self::DIGITS {
                return None;
            }
            digits.push(typed);
        }
        (digits.len() == Self::DIGITS).then_some(Self(digits))
    }

    /// The digits, for the mail or the seal.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the agent keeps instead of the code. The salt is the challenge's own, so equal codes have different hashes.
    pub fn hash(&self, salt: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"keyback/code/1/")
            .chain_update(salt)
            .chain_update(self.0.as_bytes())
            .finalize()
            .into()
    }
}

/// 256 random bits that let their holder go on with one flow: plain in the cookie, a hash in the store.
pub struct PlainTicket(Zeroizing<String>);

impl PlainTicket {
    /// A new one, from the operating system's randomness.
    pub fn mint() -> Self {
        let bytes = Zeroizing::new(ids::random::<32>());
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    /// From a cookie. `None` when it cannot be a ticket.
    pub fn parse(text: &str) -> Option<Self> {
        let shape =
            text.len() == 43 && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
        shape.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// For the cookie, and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store keeps: the ticket as this browser (its User-Agent) may use it. From another it is no ticket.
    pub fn hash_for(&self, browser: &[u8]) -> TicketHash {
        let digest = Sha256::new()
            .chain_update(b"keyback/ticket/1/")
            .chain_update(self.0.as_bytes())
            .chain_update(browser)
            .finalize();
        TicketHash(digest.into())
    }
}

/// 128 random bits for a flow's forms: another site does not know them, so it cannot send the form.
pub fn form_token() -> String {
    URL_SAFE_NO_PAD.encode(ids::random::<16>())
}

/// SHA-256 of a ticket and its browser: enough for the store to find the flow, useless in a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketHash([u8; 32]);

impl TicketHash {
    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<NewPassword, NotAPassword> {
        NewPassword::parse(Zeroizing::new(text.to_vec()))
    }

    #[test]
    fn texts_that_cannot_be_passwords_are_refused_each_with_its_reason() {
        let cases: [(&[u8], NotAPassword); 7] = [
            (b"", NotAPassword::Empty),
            (&[b'x'; 257], NotAPassword::TooLong),
            (b"nul\0nul", NotAPassword::ControlCharacter),
            (b"line\nline", NotAPassword::ControlCharacter),
            ("next\u{85}line".as_bytes(), NotAPassword::ControlCharacter),
            ("e\u{301}".as_bytes(), NotAPassword::NotNfc),
            (b"\xed\xa0\x80", NotAPassword::NotUnicode), // a lone surrogate, percent-encoded by a browser that allows it
        ];
        for (text, reason) in cases {
            assert_eq!(parse(text).err(), Some(reason));
        }
    }

    #[test]
    fn a_password_is_kept_unchanged_up_to_256_code_points() {
        for text in ["x", &"\u{1f511}".repeat(256), "  pass word  ", "Grüße-1"] {
            assert_eq!(parse(text.as_bytes()).map(|kept| kept.expose().to_owned()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_code_is_eight_digits_however_it_is_spaced() {
        let minted = PlainCode::mint([7; 8]);
        assert_eq!(minted.expose().len(), PlainCode::DIGITS);
        assert_eq!(
            PlainCode::parse(" 1234-5678 ").map(|code| code.expose().to_owned()),
            Some("12345678".to_owned())
        );
        for bad in ["", "1234567", "123456789", "1234567x", "１２３４５６７８"] {
            assert!(PlainCode::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn equal_codes_hash_differently_under_different_salts() {
        let code = PlainCode::mint([1; 8]);
        assert_ne!(code.hash(b"a"), code.hash(b"b"));
    }

    #[test]
    fn a_ticket_reads_back_from_its_cookie() {
        let ticket = PlainTicket::mint();
        let back = PlainTicket::parse(ticket.expose()).map(|back| back.hash_for(b"a browser"));
        assert_eq!(back, Some(ticket.hash_for(b"a browser")));
        assert_ne!(back, Some(ticket.hash_for(b"another browser")));
        assert!(PlainTicket::parse("short").is_none());
    }
}
