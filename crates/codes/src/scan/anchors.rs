//! The literals that every interesting record holds, looked for all at once in raw bytes.
//!
//! They are chosen to be rare in ordinary lines. What follows a hit decides whether the record is cut out at all: a
//! sign-in log says `"errorCode": 0` in nearly every record, and that must cost next to nothing.

use super::vector::Filter;

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

/// A literal; where in it the three bytes stand that are rarest in logs; with which others it is looked for (those whose
/// three bytes are alike); and whether the bytes right after it make the record worth a look.
struct Anchor {
    literal: &'static str,
    rarest: usize,
    group: u8,
    worth: fn(&[u8]) -> bool,
}

const fn anchor(group: u8, literal: &'static str, rarest: usize, worth: fn(&[u8]) -> bool) -> Anchor {
    Anchor { literal, rarest, group, worth }
}

const ANCHORS: [Anchor; 32] = [
    anchor(0, "AADSTS", 2, digits),
    anchor(0, "DMTS_", 0, upper),
    anchor(0, "STATUS_", 3, upper),
    anchor(0, "PasswordResetService", 12, always),
    // errorCode, ErrorCode
    anchor(1, "rrorCode", 2, value),
    anchor(1, "error?code=", 3, digits),
    anchor(1, "ldap_", 2, always),
    // KDC_ERR_, KRB_AP_ERR_, NERR_
    anchor(1, "ERR_", 1, upper),
    anchor(1, "SEC_E_", 3, upper),
    // resultType, ResultType
    anchor(2, "esultType", 3, number),
    anchor(2, "resultReason", 4, value),
    anchor(2, "ModelRefresh", 3, always),
    anchor(2, "SAM_PWD_CHANGE", 3, always),
    anchor(3, "'desc", 0, always),
    anchor(3, "ADSync", 1, always),
    anchor(3, "Directory Synchronization", 0, always),
    anchor(4, "error_codes", 4, always),
    anchor(4, "SSPR_0", 3, always),
    // LdapErr, SvcErr and the like
    anchor(4, "Err: DSID-", 1, always),
    anchor(4, "ERROR_", 2, upper),
    anchor(4, "KrbException", 0, always),
    anchor(5, "0x80", 1, six_hex),
    anchor(5, "0xC0", 1, six_hex),
    anchor(5, "0xc0", 1, six_hex),
    anchor(5, "check_password_restrictions", 4, always),
    anchor(6, "Sign-in error code", 2, always),
    anchor(6, "hr=80", 0, six_hex),
    anchor(7, "DM_GWPipeline", 2, always),
    anchor(7, "LDAP", 0, always),
    anchor(7, "_KPASSWD_", 0, always),
    anchor(7, "PasswordProtection-", 6, always),
    anchor(7, "Security-Auditing", 7, always),
];

static FILTER: Filter = {
    let (mut filter, mut at) = (Filter::new(), 0);
    while at < ANCHORS.len() {
        filter.add(ANCHORS[at].group, ANCHORS[at].literal.as_bytes(), ANCHORS[at].rarest);
        at += 1;
    }
    filter
};

/// The rarest bytes of each anchor as a number; no two are the same.
const RAREST: [u32; ANCHORS.len()] = {
    let (mut all, mut at) = ([0; ANCHORS.len()], 0);
    while at < ANCHORS.len() {
        let (literal, rarest) = (ANCHORS[at].literal.as_bytes(), ANCHORS[at].rarest);
        all[at] = u32::from_le_bytes([literal[rarest], literal[rarest + 1], literal[rarest + 2], 0]);
        let mut before = 0;
        while before < at {
            assert!(all[before] != all[at]);
            before += 1;
        }
        at += 1;
    }
    all
};

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
            if begins(ANCHORS[at].literal.as_bytes(), beginnings[which].as_bytes()) {
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

/// The anchor whose rarest bytes stand at `place`, and where it begins.
fn anchor_at(bytes: &[u8], place: usize) -> Option<(usize, usize)> {
    let [first, second, third] = *bytes[place..].first_chunk()?;
    let rarest = u32::from_le_bytes([first, second, third, 0]);
    // All are compared, without a branch: for most places it is none.
    let same =
        RAREST.iter().enumerate().fold(0, |same, (which, it)| same | u32::from(*it == rarest) << which);
    let which = same.trailing_zeros() as usize;
    let anchor = ANCHORS.get(which)?;
    let begin = place.checked_sub(anchor.rarest)?;
    bytes[begin..].starts_with(anchor.literal.as_bytes()).then_some((which, begin))
}

/// Which anchors a record holds: only their families are looked for in it.
pub(super) fn kinds(bytes: &[u8]) -> Kinds {
    let mut seen = 0;
    FILTER.each(bytes, 0, |place| {
        seen |= anchor_at(bytes, place).map_or(0, |(which, _)| 1 << which);
        true
    });
    Kinds(seen)
}

/// Whether an anchor begins from `from` on whose rarest bytes stand at `place`, and makes its record worth a look.
fn worth_at(bytes: &[u8], place: usize, from: usize) -> Option<usize> {
    let (which, begin) = anchor_at(bytes, place)?;
    let Anchor { literal, worth, .. } = &ANCHORS[which];
    (begin >= from && worth(&bytes[begin + literal.len()..])).then_some(begin)
}

/// The first place from `from` on where a record may be worth a look.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let mut found = None;
    FILTER.each(bytes, from, |place| {
        found = worth_at(bytes, place, from);
        found.is_none()
    });
    found
}

/// The same; and up to where line breaks were counted on the way, and how many there are from `from` to there.
pub(super) fn find_counting(bytes: &[u8], from: usize) -> (Option<usize>, usize, u64) {
    let mut found = None;
    let (to, breaks) = FILTER.each_counting(bytes, from, |place| {
        found = worth_at(bytes, place, from);
        found.is_none()
    });
    (found, to, breaks)
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
        }
    }
}
