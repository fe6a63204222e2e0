//! The literals that every interesting record holds, looked for all at once in raw bytes.
//!
//! They are chosen to be rare in ordinary lines. What follows a hit decides whether the record is cut out at all: a
//! sign-in log says `"errorCode": 0` in nearly every record, and that must cost next to nothing.

use aho_corasick::packed::{Config, MatchKind, Searcher};
use std::sync::LazyLock;

/// A literal, and whether the bytes right after it make the record worth a look.
type Anchor = (&'static str, fn(&[u8]) -> bool);

fn always(_: &[u8]) -> bool {
    true
}

fn digits(after: &[u8]) -> bool {
    after.len() >= 5 && after[..5].iter().all(u8::is_ascii_digit)
}

/// The first byte of the value that follows a field's name, in JSON, in JSON inside a string, or in Python's spelling.
fn first_of_value(after: &[u8]) -> Option<u8> {
    // Nearly every record of a sign-in log: a success.
    if after.starts_with(b"\":0") || after.starts_with(b"\": 0") {
        return None;
    }
    let mut rest =
        after.iter().take(24).copied().skip_while(|byte| matches!(byte, b'"' | b'\'' | b'\\' | b' ' | b'\t'));
    if !matches!(rest.next(), Some(b':' | b'=')) {
        return None;
    }
    rest.find(|byte| !matches!(byte, b'"' | b'\'' | b'\\' | b' ' | b'\t' | b'\n' | b'\r'))
}

/// Escaped in a way that is not looked through here.
fn escaped(after: &[u8]) -> bool {
    matches!(after.first(), Some(b'&' | b'%'))
}

/// A value that is neither zero nor empty nor null.
fn value(after: &[u8]) -> bool {
    escaped(after)
        || first_of_value(after).is_some_and(|byte| matches!(byte, b'1'..=b'9' | b'A'..=b'Z' | b'&'))
}

fn number(after: &[u8]) -> bool {
    escaped(after) || first_of_value(after).is_some_and(|byte| matches!(byte, b'1'..=b'9' | b'&'))
}

fn upper(after: &[u8]) -> bool {
    after.first().is_some_and(u8::is_ascii_uppercase)
}

/// A 32-bit number in hexadecimal, of which two digits were seen.
fn six_hex(after: &[u8]) -> bool {
    after.iter().take(7).take_while(|byte| byte.is_ascii_hexdigit()).count() == 6
}

/// No more than 32: beyond that the packed search needs a second table, which halves its speed (measured, AVX2).
const ANCHORS: [Anchor; 32] = [
    ("AADSTS", digits),
    // errorCode, ErrorCode
    ("rrorCode", value),
    // resultType, ResultType
    ("esultType", number),
    ("resultReason", value),
    ("error_codes", always),
    ("Sign-in error code", always),
    ("error?code=", digits),
    ("SSPR_0", always),
    ("DM_GWPipeline", always),
    ("DMTS_", upper),
    ("ModelRefresh", always),
    ("0x80", six_hex),
    ("0xC0", six_hex),
    ("0xc0", six_hex),
    ("hr=80", six_hex),
    ("LDAP", always),
    ("ldap_", always),
    // LdapErr, SvcErr and the like
    ("Err: DSID-", always),
    ("check_password_restrictions", always),
    ("'desc", always),
    ("ERROR_", upper),
    // KDC_ERR_, KRB_AP_ERR_, NERR_
    ("ERR_", upper),
    ("STATUS_", upper),
    ("SEC_E_", upper),
    ("SAM_PWD_CHANGE", always),
    ("_KPASSWD_", always),
    ("KrbException", always),
    ("PasswordResetService", always),
    ("ADSync", always),
    ("Directory Synchronization", always),
    ("PasswordProtection-", always),
    ("Security-Auditing", always),
];

static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    let mut builder = Config::new().match_kind(MatchKind::LeftmostFirst).builder();
    for (literal, _) in ANCHORS {
        builder.add(literal);
    }
    builder.build()
});

/// Which anchors a text holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u64);

impl Kinds {
    pub(super) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

/// The anchors that begin so. Worked out by the compiler; a beginning that fits none does not compile.
pub(super) const fn beginning(beginnings: &[&str]) -> Kinds {
    let (mut mask, mut which) = (0, 0);
    while which < beginnings.len() {
        let (before, mut at) = (mask, 0);
        while at < ANCHORS.len() {
            if begins(ANCHORS[at].0.as_bytes(), beginnings[which].as_bytes()) {
                mask |= 1 << at;
            }
            at += 1;
        }
        assert!(mask != before, "no anchor begins so");
        which += 1;
    }
    Kinds(mask)
}

const fn begins(anchor: &[u8], beginning: &[u8]) -> bool {
    let mut at = 0;
    while at < beginning.len() {
        if at >= anchor.len() || anchor[at] != beginning[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Which anchors a record holds: only their families are looked for in it.
pub(super) fn kinds(bytes: &[u8]) -> Kinds {
    // The packed search takes no text that is shorter than its vectors: zeros make up for that.
    let mut room = [0; 64];
    let bytes = match room.get_mut(..bytes.len()) {
        Some(begin) => {
            begin.copy_from_slice(bytes);
            &room[..]
        }
        None => bytes,
    };
    let mut seen = 0_u64;
    match SEARCHER.as_ref() {
        Some(searcher) if bytes.len() >= searcher.minimum_len() => {
            let mut from = 0;
            while let Some(hit) = searcher.find_in(bytes, (from..bytes.len()).into()) {
                seen |= 1 << hit.pattern().as_usize();
                from = hit.end();
            }
        }
        Some(_) | None => {
            for (at, (literal, _)) in ANCHORS.iter().enumerate() {
                if memchr::memmem::find(bytes, literal.as_bytes()).is_some() {
                    seen |= 1 << at;
                }
            }
        }
    }
    Kinds(seen)
}

/// The first place from `from` on where a record may be worth a look.
pub(super) fn find(bytes: &[u8], mut from: usize) -> Option<usize> {
    let Some(searcher) = SEARCHER.as_ref() else { return find_slowly(bytes, from) };
    loop {
        let hit = searcher.find_in(bytes, (from..bytes.len()).into())?;
        let (_, worth) = ANCHORS[hit.pattern().as_usize()];
        if worth(&bytes[hit.end()..]) {
            return Some(hit.start());
        }
        from = hit.end();
    }
}

/// For processors without the vector instructions that the packed search needs.
fn find_slowly(bytes: &[u8], from: usize) -> Option<usize> {
    let hits = ANCHORS.iter().filter_map(|(literal, worth)| {
        let hits = memchr::memmem::find_iter(&bytes[from..], literal);
        hits.map(|at| from + at).find(|at| worth(&bytes[at + literal.len()..]))
    });
    hits.min()
}

/// An anchor and the bytes after it that are looked at to judge it are no longer than this.
pub(super) const LOOKS_AHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_nothing_are_not_worth_a_look_and_codes_are() {
        for quiet in [
            r#"{"errorCode":0}"#,
            r#""errorCode": 0"#,
            r#""resultType": "0""#,
            r#""errorCode":null"#,
            r#""errorCode": """#,
            "AADSTS501\n",
            "ErrorCode=-2147467259",
            "at 0x80a",
            "no codes",
        ] {
            assert_eq!(find(quiet.as_bytes(), 0), None, "{quiet}");
            assert_eq!(find_slowly(quiet.as_bytes(), 0), None, "{quiet}");
        }
        for loud in [
            r#"{"errorCode":50126}"#,
            r#""errorCode" : "2200""#,
            r#""resultType": "53003""#,
            r#"\"errorCode\": \"Model\""#,
            "AADSTS50126:",
            "ErrorCode=UserErrorX",
            "errorCode=50126",
            "&#34;error_codes&#34;:[50126]",
            "status 0xc000006a",
            "SSPR_0029",
        ] {
            assert!(find(loud.as_bytes(), 0).is_some(), "{loud}");
            assert_eq!(find(loud.as_bytes(), 0), find_slowly(loud.as_bytes(), 0), "{loud}");
        }
    }
}
