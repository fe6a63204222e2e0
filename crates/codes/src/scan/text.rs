//! Codes in running text: a log statement, a message, a URL.

use super::Confidence::{self, Certain, Likely};
use super::anchors::{self, Kinds, beginning};
use super::{MOST_CODES, fields, ldap, names, note, windows};
use memchr::memmem::Finder;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The codes of one record, each once; no more than [`MOST_CODES`].
#[derive(Default)]
pub(super) struct Codes {
    pub(super) list: Vec<Hit>,
    /// There were more.
    cut: bool,
}

pub(super) struct Hit {
    pub(super) family: &'static str,
    pub(super) code: String,
    pub(super) confidence: Confidence,
    /// Where it stands in the text that it was found in.
    pub(super) at: usize,
}

impl Codes {
    pub(super) fn add(
        &mut self,
        family: &'static str,
        code: impl Into<String>,
        confidence: Confidence,
        at: usize,
    ) {
        let code = code.into();
        let full = self.list.len() >= MOST_CODES;
        match self.list.iter_mut().find(|known| known.family == family && known.code == code) {
            Some(known) => known.confidence = known.confidence.max(confidence),
            None if !full => self.list.push(Hit { family, code, confidence, at }),
            None => self.cut = true,
        }
    }

    /// Says so where not all codes of the record are here.
    pub(super) fn tell(&self, notes: &mut Vec<String>) {
        if self.cut {
            note(
                notes,
                &format!("a record holds more than {MOST_CODES} codes: no more of them are reported"),
            );
        }
    }

    pub(super) fn has(&self, family: &str) -> bool {
        self.list.iter().any(|code| code.family == family)
    }

    /// A bare number that a field calls a result code of Entra ID.
    pub(super) fn add_sign_in(&mut self, digits: &str, at: usize) {
        let plausible = (5..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plausible && !digits.starts_with('0') {
            self.add("aadsts", digits, Likely, at);
        }
    }
}

/// Bytes as text, with U+FFFD for what is none. Checked as a whole first: that is several times as fast.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether no letter or digit touches what begins at `at`: one that belongs to an escape (`%20`, `\n`, `\u0022`, the end
/// of a colour) does not count.
fn begins_word(text: &[u8], at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|last| text.get(last)) else { return true };
    if !is_word(before) {
        return true;
    }
    let back = |length: usize| at.checked_sub(length).map_or(&b""[..], |from| &text[from..at]);
    let hex = |part: &[u8]| part.iter().all(u8::is_ascii_hexdigit);
    if let [b'%', rest @ ..] = back(3) {
        return hex(rest);
    }
    if let [b'\\', b'n' | b'r' | b't'] = back(2) {
        return true;
    }
    if let [b'\\', b'u', rest @ ..] = back(6) {
        return hex(rest);
    }
    let colour = text[..at - 1]
        .iter()
        .rev()
        .take(12)
        .skip_while(|byte| byte.is_ascii_digit() || **byte == b';')
        .copied()
        .take(2);
    before == b'm' && colour.eq([b'[', 0x1b])
}

/// Every place where a literal stands and no letter or digit touches its left side.
pub(super) fn places<'a>(text: &'a str, literal: &'a Finder<'_>) -> impl Iterator<Item = usize> + 'a {
    literal.find_iter(text.as_bytes()).filter(move |at| begins_word(text.as_bytes(), *at))
}

/// The bytes from `from` on that are `of` a kind. ASCII kinds only: the border is one of a character.
pub(super) fn run(text: &str, from: usize, of: impl Fn(u8) -> bool) -> &str {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| of(**byte)).count();
    text.get(from..from + length).unwrap_or_default()
}

/// The byte at `at`, or a blank behind the end.
pub(super) fn byte_at(text: &str, at: usize) -> u8 {
    text.as_bytes().get(at).copied().unwrap_or(b' ')
}

const ENTRA: Kinds = beginning(&["AADSTS", "SSPR_", "error?code="]);
const FIELDS: Kinds = beginning(&["rrorCode", "esultType", "error_codes", "Sign-in error"]);
const NAMES: Kinds = beginning(&[
    "DM_GW",
    "DMTS_",
    "ModelRefresh",
    "rrorCode",
    "ERROR_",
    "STATUS_",
    "ERR_",
    "SEC_E_",
    "SAM_PWD",
    "_KPASSWD_",
    "KrbException",
]);
const RESULTS: Kinds = beginning(&["hr=", "0x80", "0xC0", "0xc0"]);
const LDAP: Kinds = beginning(&["LDAP", "ldap_", "Err: DSID-", "check_password", "'desc"]);
const PROVIDERS: Kinds =
    beginning(&["PasswordReset", "ADSync", "Directory Sync", "PasswordProtection", "Security-Audit"]);

/// Finds the codes of every family in `text`.
pub(super) fn codes_in(text: &str, codes: &mut Codes) {
    let kinds = anchors::kinds(text.as_bytes());
    if kinds.any(ENTRA) {
        entra(text, codes);
    }
    if kinds.any(FIELDS) {
        fields::fields_in(text, kinds, codes);
    }
    if kinds.any(NAMES) {
        names::names_in(text, kinds, codes);
    }
    if kinds.any(RESULTS) {
        names::results_in(text, codes);
    }
    if kinds.any(LDAP) {
        ldap::ldap_in(text, codes);
    }
    if kinds.any(PROVIDERS) {
        windows::event_in(text, codes);
    }
}

/// Whether it is no code but a part of a name: documents, files and identifiers are called after codes.
fn joined(text: &str, at: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let word = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| is_word(*byte));
    let next = byte_at(text, end);
    if matches!(next, b'-' | b'.' | b'/') && word(Some(end + 1)) || next == b'@' {
        return true;
    }
    let said = matches!(next, b':' | b'%' | b'\\' | b'&');
    let before = at.checked_sub(1).map_or(b' ', |at| bytes[at]);
    !said && matches!(before, b'-' | b'/') && word(at.checked_sub(2))
}

/// AADSTS and SSPR codes.
fn entra(text: &str, codes: &mut Codes) {
    static LITERALS: LazyLock<[Finder<'_>; 3]> =
        LazyLock::new(|| ["AADSTS", "error?code=", "SSPR_"].map(Finder::new));
    let [aadsts, address, sspr] = &*LITERALS;
    for at in places(text, aadsts) {
        let digits = run(text, at + 6, |byte| byte.is_ascii_digit());
        let end = at + 6 + digits.len();
        let whole = (5..=8).contains(&digits.len()) && !digits.starts_with('0');
        if whole && !is_word(byte_at(text, end)) && !joined(text, at, end) {
            codes.add("aadsts", digits, Certain, at);
        }
    }
    for at in address.find_iter(text.as_bytes()) {
        let host = &text[super::stamp::floor(text, at.saturating_sub(60))..at];
        let ours = [
            "login.microsoftonline",
            "login.microsoft.com",
            "login.windows.net",
            "login.partner.microsoftonline",
        ]
        .iter()
        .any(|name| host.contains(name));
        let from = at + address.needle().len();
        let digits = run(text, from, |byte| byte.is_ascii_digit());
        if ours && !is_word(byte_at(text, from + digits.len())) {
            codes.add_sign_in(digits, at);
        }
    }
    for at in places(text, sspr) {
        let digits = run(text, at + 5, |byte| byte.is_ascii_digit());
        let end = at + 5 + digits.len();
        if digits.len() == 4 && !is_word(byte_at(text, end)) && !joined(text, at, end) {
            codes.add("sspr", digits, Certain, at);
        }
    }
}
