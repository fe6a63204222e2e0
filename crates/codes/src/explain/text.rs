//! Codes inside a text: a pasted error with trace and correlation IDs, a mail from the help desk, some lines of a log.
//!
//! A number alone is never a code: the table [`LABELS`] says behind which words it is one. Names and prefixed forms count
//! wherever they stand. GUIDs, times, ports and versions match no line of the table. Big files are `scan`'s.

use super::{Found, explain_code, known, trim};
use crate::catalogue::Entry;

/// What a number behind a label is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Whatever family knows a number of that size.
    Any,
    /// The same, for words that stand before other numbers too: from 1000 on.
    Big,
    Ldap,
    /// LDAP, if the text is about LDAP at all.
    PerhapsLdap,
    Bind,
    Problem,
    Event,
    Win32,
    Kerberos,
    /// Eight hexadecimal digits without 0x.
    Hr,
    /// A status of HTTP or a process: never ours.
    Nothing,
}

/// Words before a number, in lower case, blanks for `_` and `-`; the longest that fits decides.
const LABELS: &[(&str, Reading)] = &[
    ("error code", Reading::Any),
    ("errorcode", Reading::Any),
    ("error codes", Reading::Any),
    ("error number", Reading::Any),
    ("errornumber", Reading::Any),
    ("error id", Reading::Any),
    ("suberror", Reading::Any),
    ("resulttype", Reading::Any),
    ("failure code", Reading::Any),
    ("error", Reading::Big),
    ("code", Reading::Big),
    ("ldap error code", Reading::Ldap),
    ("ldap result code", Reading::Ldap),
    ("ldap result", Reading::Ldap),
    ("ldap error", Reading::Ldap),
    ("ldap err", Reading::Ldap),
    ("ldap code", Reading::Ldap),
    ("ldap rc", Reading::Ldap),
    ("ldap", Reading::Ldap),
    ("resultcode", Reading::PerhapsLdap),
    ("result code", Reading::PerhapsLdap),
    ("result", Reading::PerhapsLdap),
    ("err", Reading::PerhapsLdap),
    ("rc", Reading::PerhapsLdap),
    ("data", Reading::Bind),
    ("problem", Reading::Problem),
    ("event id", Reading::Event),
    ("eventid", Reading::Event),
    ("event code", Reading::Event),
    ("eventcode", Reading::Event),
    ("event", Reading::Event),
    ("win32 error", Reading::Win32),
    ("win32 error code", Reading::Win32),
    ("win32error", Reading::Win32),
    ("win32exception", Reading::Win32),
    ("win32", Reading::Win32),
    ("system error", Reading::Win32),
    ("windows error", Reading::Win32),
    ("getlasterror", Reading::Win32),
    ("kerberos error", Reading::Kerberos),
    ("kerberos error code", Reading::Kerberos),
    ("kerberos", Reading::Kerberos),
    ("krb5", Reading::Kerberos),
    ("krb error", Reading::Kerberos),
    ("krb5 error code", Reading::Kerberos),
    ("hr", Reading::Hr),
    ("hresult", Reading::Hr),
    ("status code", Reading::Nothing),
    ("http error", Reading::Nothing),
    ("http error code", Reading::Nothing),
    ("exit code", Reading::Nothing),
    ("return code", Reading::Nothing),
    ("response code", Reading::Nothing),
    ("verification code", Reading::Nothing),
];

/// Characters before or behind a number in which the words stand that tell what it is.
const NEAR: usize = 400;

/// Finds the codes in a text, in the order in which they stand there, each once.
///
/// What has the form of a code of ours and is not in the catalogue comes back as a guess.
pub fn explain_text(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let words = words(text);
    let about_ldap = is_about_ldap(text);
    for &word in &words {
        let Some(answer) = read(text, word, about_ldap) else { continue };
        let again = |old: &Found| match (old.entries.first(), answer.entries.first()) {
            (Some(old), Some(new)) => std::ptr::eq(*old, *new),
            (None, None) => old.query.eq_ignore_ascii_case(&answer.query),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !found.iter().any(again) {
            found.push(answer);
        }
    }
    // What .NET and others call an error (0x80131500) is worth a guess only where nothing better stands beside it.
    if found.iter().any(|answer| !answer.is_unknown()) {
        found.retain(|answer| !answer.is_unknown() || !answer.query.to_ascii_lowercase().starts_with("0x"));
    }
    // Nothing but codes, side by side: then bare numbers are meant.
    if found.is_empty() && words.len() <= 8 {
        let bare: Option<Vec<Found>> = words.iter().map(|word| if_known(word.text)).collect();
        return bare.unwrap_or_default();
    }
    found
}

/// A word and where it begins.
#[derive(Clone, Copy)]
struct Word<'a> {
    at: usize,
    text: &'a str,
}

/// Runs of letters, digits, `_`, and of `.` and `-` inside; so a GUID, a version and a host name are one word each.
fn words(text: &str) -> Vec<Word<'_>> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(inside) {
        let tail = &rest[start..];
        let end = tail.find(|c| !inside(c)).unwrap_or(tail.len());
        let word = tail[..end].trim_end_matches(['.', '-']);
        let trimmed = word.trim_start_matches(['.', '-']);
        // One minus before a number belongs to it.
        let signed =
            trimmed.bytes().all(|byte| byte.is_ascii_digit()) && word.ends_with(&format!("-{trimmed}"));
        let word = if signed { &word[word.len() - trimmed.len() - 1..] } else { trimmed };
        if !trimmed.is_empty() {
            words
                .push(Word { at: text.len() - tail.len() + tail[..end].find(word).unwrap_or(0), text: word });
        }
        rest = &tail[end..];
    }
    words
}

/// Without a guess, which costs a look at every spelling of the catalogue.
fn if_known(word: &str) -> Option<Found> {
    (!known(trim(word)).is_empty()).then(|| explain_code(word))
}

fn read(text: &str, word: Word<'_>, about_ldap: bool) -> Option<Found> {
    prefixed(word.text)
        .or_else(|| hexadecimal(text, word))
        .or_else(|| sub_code(text, word))
        .or_else(|| labelled(text, word, about_ldap))
        .or_else(|| in_brackets(text, word))
        .or_else(|| signed(word.text))
        .or_else(|| named(word.text))
}

fn answer(query: &str, entries: Vec<&'static Entry>) -> Option<Found> {
    (!entries.is_empty()).then(|| Found { query: query.to_owned(), entries, guess: None })
}

/// The entries of these families with that key, in the order of the families.
fn of(families: &[&str], key: &str) -> Vec<&'static Entry> {
    families.iter().filter_map(|family| Entry::find(family, key)).collect()
}

/// `AADSTS50126`, also at the end of a longer run (`nAADSTS50126` where a line end was escaped), and `SSPR_0029`.
fn prefixed(word: &str) -> Option<Found> {
    let lower = word.to_ascii_lowercase();
    for (prefix, least) in [("aadsts", 4), ("sspr_", 4)] {
        let Some(at) = lower.find(prefix) else { continue };
        let digits = lower[at + prefix.len()..].trim_start_matches(['_', '-']);
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        if digits.len() >= least {
            return Some(explain_code(&format!("{}{digits}", prefix.to_ascii_uppercase())));
        }
    }
    None
}

/// `0x8007052E`, `0x52D`. An unknown one counts where it has the form of an error: eight digits, the highest bit set.
fn hexadecimal(text: &str, word: Word<'_>) -> Option<Found> {
    let digits = word.text.strip_prefix("0x").or_else(|| word.text.strip_prefix("0X"))?;
    let value = u32::from_str_radix(digits, 16).ok().filter(|value| *value != 0)?;
    // Windows writes the Kerberos error of events 4768 to 4771 in hexadecimal.
    if value < 0x100 && matches!(label(text, word.at), Some(("failure code" | "result code", _))) {
        return answer(word.text, of(&["krb"], &value.to_string()));
    }
    let found = explain_code(word.text);
    (!found.is_unknown() || (digits.len() == 8 && value >> 31 == 1)).then_some(found)
}

/// `0000052D: SvcErr: …`: eight hexadecimal digits, a colon, and words.
fn sub_code(text: &str, word: Word<'_>) -> Option<Found> {
    let is_hex = word.text.len() == 8 && word.text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let rest = text[word.at + word.text.len()..].strip_prefix(':').filter(|_| is_hex)?;
    if !rest.trim_start().starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    // 80090308 stands before every refused bind; the code behind `data` is the answer.
    let near = rest.char_indices().nth(NEAR).map_or(rest, |(end, _)| &rest[..end]);
    let line = near.lines().next().unwrap_or_default();
    if line.contains("AcceptSecurityContext") && line.contains("data ") {
        return None;
    }
    answer(word.text, of(&["win32", "hresult", "ntstatus", "adsync-hr"], word.text))
}

/// The label right before this place, and what it says.
fn label(text: &str, at: usize) -> Option<(&'static str, Reading)> {
    let before = text[..at].trim_end_matches(|c: char| c.is_whitespace() || ":=#(['\"<>\\".contains(c));
    let start = before.char_indices().rev().nth(23).map_or(0, |(start, _)| start);
    let tail: String = before[start..]
        .chars()
        .map(|c| if matches!(c, '_' | '-' | ':' | '(' | ')') { ' ' } else { c.to_ascii_lowercase() })
        .collect();
    let tail = tail.trim_end().strip_suffix(" is").unwrap_or_else(|| tail.trim_end());
    let fits = |(label, _): &&(&str, Reading)| {
        tail.strip_suffix(label).is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphanumeric()))
    };
    LABELS.iter().filter(fits).max_by_key(|(label, _)| label.len()).copied()
}

fn labelled(text: &str, word: Word<'_>, about_ldap: bool) -> Option<Found> {
    let (_, reading) = label(text, word.at)?;
    let decimal = word.text.parse::<i64>().ok();
    let hex = word.text.len() == 8 && word.text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match reading {
        Reading::Nothing => None,
        Reading::Any if decimal.is_some_and(|value| (1..=123).contains(&value)) => ldap(word),
        Reading::Any | Reading::Big => {
            let big = decimal.is_some_and(|value| !(0..1000).contains(&value));
            (big || (hex && reading == Reading::Any)).then(|| if_known(word.text)).flatten()
        }
        Reading::Ldap => decimal.filter(|value| *value != 0).and_then(|_| ldap(word)),
        Reading::PerhapsLdap => decimal.filter(|value| *value != 0 && about_ldap).and_then(|_| ldap(word)),
        Reading::Bind => {
            let after = &text[word.at + word.text.len()..];
            // `data 530 rows` is something else.
            let ends = !after.trim_start().starts_with(|c: char| c.is_ascii_alphabetic());
            answer(
                &format!("data {}", word.text),
                of(&["ad-bind"], word.text).into_iter().filter(|_| ends).collect(),
            )
        }
        Reading::Problem => answer(&format!("problem {}", word.text), of(&["ad-problem"], word.text)),
        Reading::Event => {
            let events = known(word.text).into_iter().filter(|entry| entry.family.ends_with("-event"));
            answer(&format!("event {}", word.text), events.filter(|entry| entry.code != "0").collect())
        }
        Reading::Win32 => {
            let value = decimal.filter(|value| (1..=0xffff).contains(value))?;
            answer(word.text, of(&["win32", "nerr"], &format!("{value:08X}")))
        }
        Reading::Kerberos => answer(&format!("Kerberos {}", word.text), of(&["krb"], word.text)),
        Reading::Hr => {
            let found = hex.then(|| explain_code(&format!("0x{}", word.text)))?;
            Some(Found { query: word.text.to_owned(), ..found })
        }
    }
}

fn ldap(word: Word<'_>) -> Option<Found> {
    answer(&format!("LDAP {}", word.text), of(&["ldap", "ldap-client"], word.text))
}

fn is_about_ldap(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["ldap", "additional info", "dsid-", "'desc'"].iter().any(|sign| lower.contains(sign))
}

/// `ldap_modify: Server is unwilling to perform (53)`.
fn in_brackets(text: &str, word: Word<'_>) -> Option<Found> {
    let value: u32 = word.text.parse().ok().filter(|value| (1..=123).contains(value))?;
    let before = text[..word.at].strip_suffix('(')?.trim_end();
    let closed = text[word.at + word.text.len()..].starts_with(')');
    let near = before.char_indices().rev().nth(NEAR).map_or(before, |(start, _)| &before[start..]);
    let line = near.lines().next_back().unwrap_or_default();
    let words =
        before.ends_with(|c: char| c.is_ascii_alphabetic()) && line.to_ascii_lowercase().contains("ldap");
    (closed && words)
        .then(|| answer(&format!("LDAP {value}"), of(&["ldap", "ldap-client"], word.text)))
        .flatten()
}

/// An HRESULT or NTSTATUS printed as a signed number: nothing else looks like `-2147016552`.
fn signed(word: &str) -> Option<Found> {
    let value: i64 = word.parse().ok()?;
    (-0x8000_0000..=-0x3000_0000).contains(&value).then(|| if_known(word)).flatten()
}

/// A symbolic name of the catalogue: with `_`, a capital inside, or the dot of a cause id.
fn named(word: &str) -> Option<Found> {
    let inner = word.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_lowercase());
    if word.len() < 6
        || !(word.contains(['_', '.']) || inner)
        || word.bytes().all(|byte| !byte.is_ascii_alphabetic())
    {
        return None;
    }
    let found = if_known(word)?;
    // `LdapErr` says which part of the server speaks; the codes beside it say what happened.
    let tells = |entry: &&Entry| !matches!(entry.family, "ad-class" | "dsid");
    found.entries.first().is_some_and(tells).then_some(found)
}

#[cfg(test)]
mod tests;
