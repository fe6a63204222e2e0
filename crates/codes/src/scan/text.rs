//! Codes in running text: a log statement, a message, a URL.

use super::Confidence::{self, Certain, Likely, Possible};
use super::anchors;
use crate::catalogue::{Entry, Kind};

/// The codes of one record, each once.
#[derive(Default)]
pub(super) struct Codes {
    pub(super) list: Vec<Hit>,
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
        match self.list.iter_mut().find(|known| known.family == family && known.code == code) {
            Some(known) => known.confidence = known.confidence.max(confidence),
            None => self.list.push(Hit { family, code, confidence, at }),
        }
    }

    fn has(&self, family: &str) -> bool {
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

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Every place where `literal` stands and no letter or digit touches its left side.
fn places<'a>(text: &'a str, literal: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(literal)
        .map(|(at, _)| at)
        .filter(move |at| *at == 0 || !is_word(text.as_bytes()[at - 1]))
}

fn run(text: &str, from: usize, of: impl Fn(u8) -> bool) -> &str {
    let length = text.as_bytes()[from..].iter().take_while(|byte| of(**byte)).count();
    &text[from..from + length]
}

/// Finds the codes of every family in `text`.
pub(super) fn codes_in(text: &str, codes: &mut Codes) {
    let kinds = anchors::kinds(text.as_bytes());
    if kinds.any(&["AADSTS", "SSPR_", "error?code="]) {
        entra(text, codes);
    }
    if kinds.any(&[
        "DM_",
        "DMTS_",
        "ModelRefresh",
        "UserError",
        "ERROR_",
        "STATUS_",
        "_ERR_",
        "SEC_E_",
        "NERR_",
    ]) {
        names(text, codes);
    }
    if kinds.any(&["hr=80", "0x80", "0xC0"]) {
        results(text, codes);
    }
    if kinds.any(&["LDAP", "ldap_", "LdapErr", "Err: DSID-", "check_password"]) {
        ldap(text, codes);
    }
}

/// AADSTS and SSPR codes.
fn entra(text: &str, codes: &mut Codes) {
    for at in places(text, "AADSTS") {
        let digits = run(text, at + 6, |byte| byte.is_ascii_digit());
        let next = text.as_bytes().get(at + 6 + digits.len()).copied().unwrap_or(b' ');
        if (5..=8).contains(&digits.len()) && !is_word(next) {
            codes.add("aadsts", digits, Certain, at);
        }
    }
    for at in places(text, "error?code=") {
        let host = text[..at].ends_with("login.microsoftonline.com/")
            || text[..at].ends_with("login.microsoftonline.us/");
        let digits = run(text, at + 11, |byte| byte.is_ascii_digit());
        if host {
            codes.add_sign_in(digits, at);
        }
    }
    for at in places(text, "SSPR_") {
        let digits = run(text, at + 5, |byte| byte.is_ascii_digit());
        let next = text.as_bytes().get(at + 5 + digits.len()).copied().unwrap_or(b' ');
        if digits.len() == 4 && !is_word(next) && next != b'-' {
            codes.add("sspr", digits, Certain, at);
        }
    }
}

/// Codes that are names.
fn names(text: &str, codes: &mut Codes) {
    for (prefix, family) in [
        ("DM_GWPipeline_", "powerbi"),
        ("DMTS_", "powerbi"),
        ("ModelRefreshFailed_", "powerbi"),
        ("ModelRefresh_", "powerbi"),
    ] {
        for at in places(text, prefix) {
            let name = run(text, at, is_word);
            if name.len() > prefix.len() + 3 {
                codes.add(family, name, Certain, at);
            }
        }
    }
    for at in places(text, "UserErrorFail") {
        codes.add("adf", run(text, at, is_word), Certain, at);
    }
    for (part, family) in [
        ("ERROR_", "win32"),
        ("NERR_", "nerr"),
        ("SEC_E_", "hresult"),
        ("NT_STATUS_", "ntstatus"),
        ("STATUS_", "ntstatus"),
        ("KDC_ERR_", "krb"),
        ("KRB5KDC_ERR_", "krb"),
        ("KRB_AP_ERR_", "krb"),
        ("KRB5KRB_AP_ERR_", "krb"),
    ] {
        for at in places(text, part) {
            let name = run(text, at, is_word);
            let known = match family {
                "ntstatus" => Entry::find(family, name.strip_prefix("NT_").unwrap_or(name)),
                "krb" => Entry::find(family, name).or_else(|| {
                    let tail = name.split_once("_ERR_").map(|(_, tail)| tail)?;
                    Entry::all().iter().find(|entry| {
                        entry.family == "krb" && entry.name.is_some_and(|it| it.ends_with(tail))
                    })
                }),
                _ => Entry::find(family, name),
            };
            let Some(entry) = known.filter(|entry| entry.kind != Kind::Success) else { continue };
            // Win32 errors stand in logs by name; the others have a number that everybody quotes.
            let code = if family == "win32" { name } else { entry.code };
            codes.add(entry.family, code, Possible, at);
        }
    }
}

/// 32-bit results: `hr=80230626`, `0x80070005`, `0xC000006A`.
fn results(text: &str, codes: &mut Codes) {
    for (prefix, skip) in [("hr=", 3), ("0x", 2)] {
        for at in places(text, prefix) {
            let start = if text[at + skip..].starts_with("0x") { at + skip + 2 } else { at + skip };
            let digits = run(text, start, |byte| byte.is_ascii_hexdigit());
            let next = text.as_bytes().get(start + digits.len()).copied().unwrap_or(b' ');
            if digits.len() != 8 || is_word(next) {
                continue;
            }
            let digits = digits.to_ascii_uppercase();
            for family in ["adsync-hr", "hresult", "ntstatus"] {
                let known = Entry::find(family, &digits).is_some_and(|entry| entry.kind != Kind::Success);
                if known || (family == "adsync-hr" && digits.starts_with("8023") && prefix == "hr=") {
                    codes.add(family, digits.clone(), Certain, at);
                }
            }
        }
    }
}

/// What LDAP clients and domain controllers write.
fn ldap(text: &str, codes: &mut Codes) {
    let lower = text.to_ascii_lowercase();
    if !["ldap", "err: dsid-", "check_password_restrictions"].iter().any(|mark| lower.contains(mark)) {
        return;
    }
    let mut result = |at: usize, from: usize| {
        let digits = run(&lower, from, |byte| byte.is_ascii_digit());
        let next = lower.as_bytes().get(from + digits.len()).copied().unwrap_or(b' ');
        let known = (1..=2).contains(&digits.len()) && !is_word(next);
        if known && Entry::find("ldap", digits).is_some_and(|entry| entry.kind == Kind::Failure) {
            codes.add("ldap", digits, Certain, at);
        }
    };
    // `ldap_modify: Insufficient access (50)`, `ldap_bind: Invalid credentials (49)`
    for (at, _) in lower.match_indices("ldap_") {
        let end = super::stamp::floor(&lower, at + 80);
        if let Some(open) = lower[at..end].find('(')
            && !lower[at..at + open].contains('\n')
        {
            result(at, at + open + 1);
        }
    }
    // `LDAP Result Code 53`, `[LDAP: error code 49 - …]`, `LDAP error code 53`, `LDAP error 19`, `result: 50 insufficientAccessRights`
    for mark in [
        "ldap result code ",
        "ldap: error code ",
        "ldap error code ",
        "ldap error code: ",
        "ldap error ",
        "ldap error: ",
        "ldap_err=",
        "resultcode=",
        "result code: ",
        "ldap err=",
        "modify password error ",
        "bind error ",
    ] {
        for (at, _) in lower.match_indices(mark) {
            result(at, at + mark.len());
        }
    }
    // ldap3 of Python: `LDAPInsufficientAccessRightsResult - 50 - insufficientAccessRights`
    for (at, _) in text.match_indices("Result - ") {
        result(at, at + "Result - ".len());
    }
    sub_codes(text, codes);
}

/// `0000052D: SvcErr: …`, `00000056: Constraint violation - …`, `… data 775, v1db1`.
fn sub_codes(text: &str, codes: &mut Codes) {
    let bytes = text.as_bytes();
    for (colon, _) in text.match_indices(": ") {
        let Some(at) = colon.checked_sub(8) else { continue };
        let digits = &bytes[at..colon];
        let alone = at == 0 || !is_word(bytes[at - 1]);
        if alone && digits.starts_with(b"0000") && digits.iter().all(u8::is_ascii_hexdigit) {
            let digits = text[at..colon].to_ascii_uppercase();
            if Entry::find("win32", &digits).is_some_and(|entry| entry.kind != Kind::Success) {
                codes.add("win32", digits, Certain, at);
            }
        }
    }
    if !text.contains("LdapErr") && !text.contains("AcceptSecurityContext") {
        return;
    }
    for at in places(text, "data ") {
        let data = run(text, at + 5, |byte| byte.is_ascii_hexdigit()).to_ascii_lowercase();
        if Entry::find("ad-bind", &data).is_some() {
            codes.add("ad-bind", data, Certain, at);
            if !codes.has("ldap") {
                codes.add("ldap", "49", Certain, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut codes = Codes::default();
        codes_in(text, &mut codes);
        codes.list.iter().map(|code| format!("{}:{}", code.family, code.code)).collect()
    }

    #[test]
    fn unmistakable_spellings_are_found_each_once() {
        for (text, expected) in [
            ("AADSTS50126: wrong. error_codes [50126] AADSTS50126", &["aadsts:50126"][..]),
            ("error_description=AADSTS65004%3A+User", &["aadsts:65004"]),
            ("https://login.microsoftonline.com/error?code=50126", &["aadsts:50126"]),
            ("code SSPR_0029 shown", &["sspr:0029"]),
            (
                "GatewayPipelineErrorCode=DM_GWPipeline_Gateway_MashupDataAccessError",
                &["powerbi:DM_GWPipeline_Gateway_MashupDataAccessError"],
            ),
            ("hr=80230626, message", &["adsync-hr:80230626"]),
            ("BAIL: 0x80230626 (The password", &["adsync-hr:80230626"]),
            ("failed with ERROR_ACCESS_DENIED.", &["win32:ERROR_ACCESS_DENIED"]),
            ("ldap_modify: Insufficient access (50)", &["ldap:50"]),
            (
                "[LDAP: error code 49 - 80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1]",
                &["ldap:49", "ad-bind:52e"],
            ),
            (
                "LDAP Result Code 53: 0000052D: SvcErr: DSID-031A12D2, problem 5003, data 0",
                &["ldap:53", "win32:0000052D"],
            ),
            ("status NT_STATUS_WRONG_PASSWORD", &["ntstatus:C000006A"]),
            ("KDC_ERR_PREAUTH_FAILED", &["krb:24"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_names_that_only_look_like_codes_are_left_alone() {
        for text in [
            "TOP (50126)",
            "with ID 50053:",
            "duration=50126",
            "GET /orders?code=50053&page=2",
            "AADSTS501",
            "AADSTS50126x",
            "xAADSTS50126",
            "SSPR_46d60756-9dde-4bb7-8387-f38111398faf_ABCDE",
            "SSPR_4188902f",
            "0x80131500",
            "NO_ERROR_HERE",
            "STATUS_SUCCESS",
            "(50) nothing of a directory",
            "data 775 in a table",
            "0000052D without a colon",
            "error code 0",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }
}
