//! Codes that are names (`ERROR_ACCESS_DENIED`) and 32-bit results (`0x80230626`) in running text.

use super::Confidence::{Certain, Likely, Possible};
use super::anchors::{Kinds, beginning};
use super::stamp::floor;
use super::text::{Codes, byte_at, is_word, places, run};
use crate::catalogue::{Entry, Kind};
use memchr::memmem::Finder;
use std::sync::LazyLock;

const fn of(anchor: &str) -> Kinds {
    beginning(&[anchor])
}

/// The beginning of a name, the family it belongs to, and the anchor without which it is not there.
const PREFIXES: [(&str, &str, Kinds); 15] = [
    ("DM_GWPipeline_", "powerbi", of("DM_GWPipeline")),
    ("DMTS_", "powerbi", of("DMTS_")),
    ("ModelRefreshFailed_", "powerbi", of("ModelRefresh")),
    ("ModelRefresh_", "powerbi", of("ModelRefresh")),
    ("UserErrorFail", "adf", of("rrorCode")),
    ("ERROR_", "win32", of("ERROR_")),
    ("NERR_", "nerr", of("ERR_")),
    ("SEC_E_", "hresult", of("SEC_E_")),
    ("NT_STATUS_", "ntstatus", of("STATUS_")),
    ("STATUS_", "ntstatus", of("STATUS_")),
    ("KDC_ERR_", "krb", of("ERR_")),
    ("KRB5", "krb", of("ERR_")),
    ("KRB_AP_ERR_", "krb", of("ERR_")),
    ("SAM_PWD_CHANGE_", "samr-reason", of("SAM_PWD_CHANGE")),
    ("KRB5_KPASSWD_", "kpasswd", of("_KPASSWD_")),
];

static FINDERS: LazyLock<[Finder<'_>; PREFIXES.len()]> =
    LazyLock::new(|| PREFIXES.map(|(prefix, ..)| Finder::new(prefix)));
const JAVA: Kinds = of("KrbException");
static JAVA_FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("KrbException"));

pub(super) fn names_in(text: &str, kinds: Kinds, codes: &mut Codes) {
    for ((prefix, family, anchor), finder) in PREFIXES.iter().copied().zip(&*FINDERS) {
        if !kinds.any(anchor) {
            continue;
        }
        for at in places(text, finder) {
            let name = run(text, at, is_word);
            let end = at + name.len();
            // `ERROR_ACCESS_DENIED.md`, `--STATUS_X-y`: the name of something else.
            let joined = matches!(byte_at(text, end), b'-' | b'.' | b'@') && is_word(byte_at(text, end + 1));
            if joined || name.len() <= prefix.len() {
                continue;
            }
            if matches!(family, "powerbi" | "adf") {
                if name.len() > prefix.len() + 3 && !name.contains("ErrorDetailNameCode") {
                    codes.add(family, name, Certain, at);
                }
                continue;
            }
            let Some(entry) = known(family, name).filter(|entry| entry.kind != Kind::Success) else {
                continue;
            };
            // Win32 errors stand in logs by name; the others have a number that everybody quotes.
            let code = if family == "win32" { name } else { entry.code };
            codes.add(entry.family, code, Possible, at);
        }
    }
    if !kinds.any(JAVA) {
        return;
    }
    // Java: `KrbException: Pre-authentication information was invalid (24) - PREAUTH_FAILED`.
    for at in places(text, &JAVA_FINDER) {
        let line = text[at..floor(text, at + 160)].lines().next().unwrap_or_default();
        let number = line.split('(').skip(1).find_map(|part| part.split_once(')'));
        if let Some((number, _)) = number
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && let Some(entry) = Entry::find("krb", number).filter(|entry| entry.code == number)
        {
            codes.add("krb", entry.code, Certain, at);
        }
    }
}

fn known(family: &str, name: &str) -> Option<&'static Entry> {
    match family {
        "ntstatus" => Entry::find(family, name.strip_prefix("NT_").unwrap_or(name)),
        "krb" => Entry::find(family, name).or_else(|| {
            let tail = name.split_once("_ERR_").map(|(_, tail)| tail)?;
            let (_, entries) = Entry::families().find(|(name, _)| *name == "krb")?;
            entries.iter().find(|entry| {
                let named = entry.name.and_then(|it| it.split_once("_ERR_"));
                named.is_some_and(|(_, it)| it == tail)
            })
        }),
        _ => Entry::find(family, name),
    }
}

/// Words before a 32-bit number that say that it is a result.
const SAYS_RESULT: [&str; 14] = [
    "status",
    "error",
    "hresult",
    "hr=",
    "hr:",
    "hr =",
    "result",
    "code",
    "exception",
    "fail",
    "returned",
    "denied",
    "reason",
    "mms(",
];

/// `hr=80230626`, `0x80070005`, `0xC000006A`.
pub(super) fn results_in(text: &str, codes: &mut Codes) {
    static RESULTS: LazyLock<[Finder<'_>; 2]> = LazyLock::new(|| ["hr=", "0x"].map(Finder::new));
    for (prefix, finder) in ["hr=", "0x"].into_iter().zip(&*RESULTS) {
        for at in places(text, finder) {
            let start = at + prefix.len();
            let start = start + if text[start..].starts_with("0x") { 2 } else { 0 };
            let digits = run(text, start, |byte| byte.is_ascii_hexdigit());
            if digits.len() != 8 || is_word(byte_at(text, start + digits.len())) {
                continue;
            }
            let digits = digits.to_ascii_uppercase();
            let before = text[floor(text, at.saturating_sub(64))..at].to_ascii_lowercase();
            let said = prefix == "hr=" || SAYS_RESULT.iter().any(|word| before.contains(word));
            // What follows says it as well: `0x80230626 (The password could not …)`.
            let said = said || text[start + 8..].starts_with(" (") || text[start + 8..].starts_with(": ");
            if !said {
                continue;
            }
            if digits.starts_with("8023")
                && (prefix == "hr=" || Entry::find("adsync-hr", &digits).is_some() || before.contains("mms("))
            {
                codes.add("adsync-hr", digits, Certain, at);
                continue;
            }
            for family in ["hresult", "ntstatus"] {
                let entry = Entry::find(family, &digits);
                if entry.is_some_and(|entry| entry.kind != Kind::Success && entry.code == digits) {
                    codes.add(family, digits.clone(), Likely, at);
                }
            }
        }
    }
}
