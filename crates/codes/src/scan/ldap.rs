//! What LDAP clients, domain controllers and the programs in between write.

use super::Confidence::Certain;
use super::stamp::floor;
use super::text::{Codes, byte_at, is_word, places, run};
use crate::catalogue::{Entry, Kind};
use memchr::memmem::Finder;

/// Phrases behind which a result code stands; in lower case.
const MARKS: [&str; 16] = [
    "ldap result code ",
    "ldap: error code ",
    "ldap error code ",
    "ldap error code: ",
    "ldap error ",
    "ldap error: ",
    "ldap_err=",
    "ldap err=",
    "ldap err ",
    "resultcode=",
    "result code: ",
    "result code ",
    "resultcode: ",
    "ldap errno ",
    "ldap error=",
    "ldap error number: ",
];

/// Names of results as RFC 4511 spells them, where a client writes the name alone or behind the number.
const NAMES: [&str; 7] = [
    "invalidCredentials",
    "insufficientAccessRights",
    "unwillingToPerform",
    "constraintViolation",
    "noSuchObject",
    "strongerAuthRequired",
    "confidentialityRequired",
];

pub(super) fn ldap_in(text: &str, codes: &mut Codes) {
    let lower = text.to_ascii_lowercase();
    let spoken = ["ldap", "err: dsid-", "check_password_restrictions", "'desc", "(constraint_att_type)"]
        .iter()
        .any(|mark| lower.contains(mark));
    if !spoken && !NAMES.iter().any(|name| text.contains(name)) {
        return;
    }
    if spoken {
        results(&lower, codes);
    }
    described(text, codes);
    sub_codes(text, codes);
}

/// A number of one or two digits (or of the client's own) that is a failure.
fn result(lower: &str, at: usize, from: usize, codes: &mut Codes) {
    let digits = run(lower, from, |byte| byte.is_ascii_digit());
    let end = from + digits.len();
    let ends = !(is_word(byte_at(lower, end))
        || byte_at(lower, end) == b'.' && byte_at(lower, end + 1).is_ascii_digit());
    if !(1..=2).contains(&digits.len()) || !ends {
        return;
    }
    for family in ["ldap", "ldap-client"] {
        let entry = Entry::find(family, digits);
        if let Some(entry) = entry.filter(|entry| entry.code == digits && entry.kind == Kind::Failure) {
            codes.add(entry.family, digits, Certain, at);
            return;
        }
    }
}

fn results(lower: &str, codes: &mut Codes) {
    // `ldap_modify: Insufficient access (50)`, `ldap_bind: Invalid credentials (49)`
    for (at, _) in lower.match_indices("ldap_") {
        let call = lower[at..floor(lower, at + 120)].lines().next().unwrap_or_default();
        let named = run(call, 5, is_word);
        let rest =
            call[5 + named.len()..].trim_start_matches(|c: char| c == '(' || c == ')' || is_word_char(c));
        if !rest.starts_with(':') {
            continue;
        }
        if let Some(open) = call.rfind('(').filter(|_| call.matches('(').count() == 1).or_else(|| {
            // `ldap_bind: Invalid credentials (49) additional info: … (x)`: the first that holds a number.
            call.match_indices('(')
                .map(|(open, _)| open)
                .find(|open| byte_at(call, open + 1).is_ascii_digit())
        }) {
            let digits = run(call, open + 1, |byte| byte.is_ascii_digit());
            if byte_at(call, open + 1 + digits.len()) == b')' {
                result(lower, at, at + open + 1, codes);
            }
        }
    }
    for mark in MARKS {
        for (at, _) in lower.match_indices(mark) {
            // `Result Code` is said by other protocols too: the line must speak of LDAP.
            let from = floor(lower, at.saturating_sub(120));
            if mark.starts_with("ldap") || lower[from..at].contains("ldap") {
                result(lower, at, at + mark.len(), codes);
            }
        }
    }
    // `LDAP - Modify password error 53 (Server is unwilling to perform)`, `LDAP - Bind user error 49`
    for (at, _) in lower.match_indices("ldap - ") {
        let line = lower[at..floor(lower, at + 80)].lines().next().unwrap_or_default();
        if let Some(error) = line.find(" error ") {
            result(lower, at, at + error + 7, codes);
        }
    }
    // ldap3 of Python: `LDAPInsufficientAccessRightsResult - 50 - insufficientAccessRights`
    for (at, _) in lower.match_indices("result - ") {
        result(lower, at, at + 9, codes);
    }
    // `{'result': 53, 'desc': 'Server is unwilling to perform', …}`
    for quote in ['\'', '"'] {
        for (at, found) in lower.match_indices(&format!("result{quote}: ")) {
            if lower[at..floor(lower, at + 60)].contains("desc") {
                result(lower, at, at + found.len(), codes);
            }
        }
    }
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `result: 50 insufficientAccessRights`, `Result: unwillingToPerform (53)`.
fn described(text: &str, codes: &mut Codes) {
    for name in NAMES {
        for at in places(text, &Finder::new(name)) {
            let end = at + name.len();
            if is_word(byte_at(text, end)) {
                continue;
            }
            let Some(entry) = Entry::find("ldap", name) else { continue };
            let before = text[floor(text, at.saturating_sub(40))..at].to_ascii_lowercase();
            let numbered = text[end..].trim_start_matches([' ', '(', ',']).starts_with(entry.code);
            if numbered || before.contains("ldap") || before.contains("result") {
                codes.add("ldap", entry.code, Certain, at);
            }
        }
    }
}

/// `0000052D: SvcErr: …`, `00000056: Constraint violation - …`, `… data 775, v1db1`.
fn sub_codes(text: &str, codes: &mut Codes) {
    let bytes = text.as_bytes();
    for (colon, _) in text.match_indices(": ") {
        let Some(at) = colon.checked_sub(8) else { continue };
        let digits = &bytes[at..colon];
        let alone =
            at == 0 || !is_word(bytes[at - 1]) || matches!(bytes[..at], [.., b'\\', b'n' | b't' | b'r']);
        if alone && digits.starts_with(b"0000") && digits.iter().all(u8::is_ascii_hexdigit) {
            let digits = text[at..colon].to_ascii_uppercase();
            let entry = Entry::find("win32", &digits);
            if entry.is_some_and(|entry| entry.kind != Kind::Success && entry.code == digits) {
                codes.add("win32", digits, Certain, at);
            }
        }
    }
    if !text.contains("LdapErr") && !text.contains("AcceptSecurityContext") {
        return;
    }
    for at in places(text, &Finder::new("data ")) {
        let data = run(text, at + 5, |byte| byte.is_ascii_alphanumeric()).to_ascii_lowercase();
        if Entry::find("ad-bind", &data).is_some_and(|entry| entry.code == data) {
            codes.add("ad-bind", data, Certain, at);
            if !codes.has("ldap") {
                codes.add("ldap", "49", Certain, at);
            }
        }
    }
}
