//! Fields inside running text that say that their value is a result code: the body of an answer in a log line, a Python
//! dictionary, a query string, JSON that was escaped once more.

use super::Confidence::{Certain, Likely};
use super::anchors::{Kinds, beginning};
use super::record::is_powerbi;
use super::text::{Codes, byte_at, is_word, run};
use crate::catalogue::Entry;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Names of fields whose value is a result code.
const FIELDS: [(&str, Kinds); 6] = [
    ("errorCode", beginning(&["rrorCode"])),
    ("ErrorCode", beginning(&["rrorCode"])),
    ("resultType", beginning(&["esultType"])),
    ("ResultType", beginning(&["esultType"])),
    ("error_codes", beginning(&["error_codes"])),
    ("Sign-in error code", beginning(&["Sign-in"])),
];

static FINDERS: LazyLock<[Finder<'_>; FIELDS.len()]> =
    LazyLock::new(|| FIELDS.map(|(field, _)| Finder::new(field)));

/// What stands around a field's name and value in one escape or another.
const DECORATIONS: [&str; 10] = ["\"", "'", "\\", " ", "\t", "&#34;", "&#39;", "&quot;", "%22", "%20"];

/// Behind the decorations that stand at `at`.
fn undecorated(text: &str, mut at: usize) -> usize {
    while let Some(length) =
        DECORATIONS.iter().find(|it| text[at..].starts_with(**it)).map(|decoration| decoration.len())
    {
        at += length;
    }
    at
}

pub(super) fn fields_in(text: &str, kinds: Kinds, codes: &mut Codes) {
    for ((field, anchor), finder) in FIELDS.into_iter().zip(&*FINDERS) {
        if !kinds.any(anchor) {
            continue;
        }
        for at in finder.find_iter(text.as_bytes()) {
            if at.checked_sub(1).is_some_and(|before| is_word(text.as_bytes()[before])) {
                continue;
            }
            let after = at + field.len();
            let sign = undecorated(text, after);
            let Some(length) =
                [":", "=", "%3A", "%3D"].iter().find(|it| text[sign..].starts_with(**it)).map(|it| it.len())
            else {
                continue;
            };
            let value = undecorated(text, sign + length);
            if field == "error_codes" {
                list(text, value, codes, at);
            } else {
                one(text, value, sign > after || field == "Sign-in error code", codes, at);
            }
        }
    }
}

/// `[50173]`, `[ 50173, 50126 ]`.
fn list(text: &str, from: usize, codes: &mut Codes, at: usize) {
    let rest = &text[from..super::stamp::floor(text, from + 200)];
    let Some(rest) = ["[", "%5B"].iter().find_map(|open| rest.strip_prefix(open)) else { return };
    let inner = rest.split([']', '%']).next().unwrap_or_default();
    for number in inner.split(',') {
        codes.add_sign_in(number.trim_matches(|c: char| !c.is_ascii_digit()), at);
    }
}

/// One value. `quoted`: the field's name was in quotes, as JSON has it.
fn one(text: &str, from: usize, quoted: bool, codes: &mut Codes, at: usize) {
    let word = run(text, from, is_word);
    let end = from + word.len();
    if matches!(byte_at(text, end), b'.' | b'-') && is_word(byte_at(text, end + 1)) {
        return;
    }
    if is_powerbi(word) {
        codes.add("powerbi", word, Certain, at);
    } else if is_factory(word) || text[end..].starts_with(",'Type=Microsoft.DataTransfer") && !word.is_empty()
    {
        codes.add("adf", word, Certain, at);
    } else if quoted || Entry::find("aadsts", word).is_some_and(|entry| entry.code == word) {
        // Without quotes anything is called an error code: only numbers that are known count there.
        codes.add_sign_in(word, at);
    }
}

/// Names in the manner of Data Factory's: `UserErrorFailedToGetAccessTokenByServicePrincipal`.
pub(super) fn is_factory(word: &str) -> bool {
    let named = word.starts_with(|c: char| c.is_ascii_uppercase()) && word.bytes().all(is_word);
    named && (word.starts_with("UserError") && word.len() > 12 || Entry::find("adf", word).is_some())
}

/// A bare number of Data Factory's own list.
pub(super) fn add_factory(codes: &mut Codes, code: &str, at: usize) {
    let number = code.len() <= 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let name = code.bytes().all(is_word) && code.starts_with(|c: char| c.is_ascii_uppercase());
    if code != "0" && !code.is_empty() && (number || name) {
        codes.add("adf", code, Likely, at);
    }
}
