//! What a domain controller's answer means.
//!
//! Judged by operation, sub-code and text together, never by the LDAP code alone: a refused password comes as 19 or as
//! 53, and only Samba's text names the rule. Every shape here was measured or is cited in the tests' table.

use crate::wire::RawResult;
use keyback_codes::Cause;
use keyback_core::ServerReply;
use keyback_core::job::Operation;
use std::sync::LazyLock;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Reset,
    Change,
    Unlock,
    MustChange,
}

/// What a refused modify means, as far as the answer alone tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The connector account lacks a right.
    AccessDenied,
    /// A change without the Change Password right.
    CannotChange,
    WrongCurrentPassword,
    Locked,
    TooShort,
    NotComplex,
    InHistory,
    TooYoung,
    /// A password filter broke or took too long.
    Filter,
    /// 0000052D and no word which rule.
    SomePolicy,
    /// pwdLastSet is not what it was: the compare-and-swap held.
    Stale,
    NotFound,
    ReadOnly,
    Busy,
    /// The bind was lost.
    NotBound,
    Unknown,
}

mod win32 {
    pub(super) const ACCESS_DENIED: u32 = 0x05;
    pub(super) const INVALID_PASSWORD: u32 = 0x56;
    pub(super) const INVALID_DOMAIN_STATE: u32 = 0x4dc;
    pub(super) const PASSWORD_RESTRICTION: u32 = 0x52d;
    pub(super) const ACCOUNT_LOCKED_OUT: u32 = 0x775;
    pub(super) const DS_OPERATIONS_ERROR: u32 = 0x2020;
    pub(super) const DS_CONSTRAINT_VIOLATION: u32 = 0x202f;
    pub(super) const DS_INSUFF_ACCESS_RIGHTS: u32 = 0x2098;
}

/// The rules that Samba names, after `check_password_restrictions: ` (source4/dsdb/samdb/ldb_modules/password_hash.c).
const SAMBA_RULES: [(&str, Meaning); 9] = [
    ("the password is too short", Meaning::TooShort),
    ("the password does not meet the complexity criteria", Meaning::NotComplex),
    ("the password was already used", Meaning::InHistory),
    ("password is too young to change", Meaning::TooYoung),
    ("the password doesn't fit due to a miscellaneous restriction", Meaning::Filter),
    ("password changes disabled", Meaning::CannotChange),
    ("password can't be changed on this account", Meaning::CannotChange),
    ("the old password specified doesn't match", Meaning::WrongCurrentPassword),
    ("password change not permitted, account locked out", Meaning::Locked),
];

impl From<RawResult> for ServerReply {
    fn from(raw: RawResult) -> Self {
        let text = clean(&raw.text);
        let (win32, bind_data) = (leading_code(&text), bind_data(raw.code, &text));
        Self { result: raw.code, win32, bind_data, text: if *BARE { bare(text) } else { text } }
    }
}

/// Text without NUL and newline at the end, everything that is not a visible character escaped.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let trimmed = text.trim_end_matches(|c: char| c == '\0' || c.is_whitespace());
    let mut cleaned = String::with_capacity(trimmed.len());
    for c in trimmed.chars() {
        if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            cleaned.extend(c.escape_default());
        } else {
            cleaned.push(c);
        }
    }
    cleaned
}

/// What a domain controller answered, from a result code and a text as a log or a person gives them.
pub fn read_reply(result: u32, text: &str) -> ServerReply {
    RawResult { code: result, text: text.as_bytes().to_vec() }.into()
}

/// What the answer to a modify names by itself. `None` where a Windows domain controller says no more than that it
/// refused, or Samba's text fits several causes.
pub fn named_cause(operation: Operation, reply: &ServerReply) -> Option<Cause> {
    let asked = match operation {
        Operation::Reset => Asked::Reset,
        Operation::Change => Asked::Change,
        Operation::Unlock => Asked::Unlock,
        Operation::Register => return None,
    };
    match classify(asked, reply) {
        Meaning::CannotChange => Some(Cause::RightsCannotChange),
        Meaning::WrongCurrentPassword => Some(Cause::TargetWrongPassword),
        Meaning::Locked => Some(Cause::TargetLocked),
        Meaning::TooShort => Some(Cause::PolicyLength),
        Meaning::NotComplex => Some(Cause::PolicyComplexity),
        Meaning::InHistory => Some(Cause::PolicyHistory),
        Meaning::TooYoung => Some(Cause::PolicyMinAge),
        Meaning::Stale => Some(Cause::TargetOutrun),
        Meaning::NotFound => Some(Cause::TargetNotFound),
        Meaning::ReadOnly => Some(Cause::DcReadOnly),
        Meaning::Busy => Some(Cause::DcBusy),
        Meaning::AccessDenied
        | Meaning::Filter
        | Meaning::SomePolicy
        | Meaning::NotBound
        | Meaning::Unknown => None,
    }
}

/// `KEYBACK_BARE`, for tests: every answer's text is cut to its code, as if a Windows domain controller had sent it. What
/// a bind's `data` says is kept, because Windows says it too.
static BARE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("KEYBACK_BARE").is_some());

fn bare(text: String) -> String {
    match leading_code(&text) {
        Some(_) if text.contains(", data ") => text,
        Some(_) => text.chars().take(8).chain(": ".chars()).collect(),
        None => String::new(),
    }
}

/// `^[0-9A-Fa-f]{8}: `. Samba leaves it out where its own text begins with a letter from a to f.
fn leading_code(text: &str) -> Option<u32> {
    let (digits, rest) = text.split_at_checked(8)?;
    let code = digits.bytes().all(|digit| digit.is_ascii_hexdigit()) && rest.starts_with(':');
    code.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

fn bind_data(result: u32, text: &str) -> Option<u32> {
    let (_, rest) = text.split_once(", data ").filter(|_| result == 49)?;
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Takes the secrets out of an answer that repeats one of them. No domain controller was seen doing so; a hostile one
/// may. A secret that is part of Samba's own fixed sentences ("password") is no repetition.
pub(crate) fn withhold(mut reply: ServerReply, secrets: &[&str]) -> ServerReply {
    let fixed = ["check_password_restrictions: ", "Constraint violation - ", "Unwilling to perform - "];
    let mut rest = reply.text.clone();
    for sentence in fixed.into_iter().chain(SAMBA_RULES.map(|(sentence, _)| sentence)) {
        rest = rest.replace(sentence, "\0");
    }
    if secrets.iter().any(|secret| secret.chars().count() > 3 && rest.contains(secret)) {
        "(withheld: the text repeats the password)".clone_into(&mut reply.text);
    }
    reply
}

/// What `reply` means as the answer to a modify.
pub(crate) fn classify(asked: Asked, reply: &ServerReply) -> Meaning {
    let text = reply.text.to_ascii_lowercase();
    if let Some((_, meaning)) = SAMBA_RULES.iter().find(|(rule, _)| text.contains(rule)) {
        return *meaning;
    }
    match (reply.result, reply.win32) {
        (19 | 53, Some(win32::PASSWORD_RESTRICTION)) => Meaning::SomePolicy,
        (19 | 53, Some(win32::ACCOUNT_LOCKED_OUT)) => Meaning::Locked,
        (19, Some(win32::INVALID_PASSWORD)) if asked == Asked::Change => Meaning::WrongCurrentPassword,
        // Windows: 0000202F (MS-ADCAP 3.3.4.1.8.7), seen as 00000005 too; Samba: no sub-code. Samba's own refusal of
        // our malformed values has 0000202F and "setup_io".
        (19, Some(win32::DS_CONSTRAINT_VIOLATION | win32::ACCESS_DENIED) | None)
            if asked == Asked::Change && !text.contains("setup_io") =>
        {
            Meaning::CannotChange
        }
        (50, _) | (_, Some(win32::DS_INSUFF_ACCESS_RIGHTS)) => Meaning::AccessDenied,
        (16, _) => Meaning::Stale,
        (32, _) => Meaning::NotFound,
        (10, _) => Meaning::ReadOnly,
        (51 | 52, _) => Meaning::Busy,
        (1, Some(win32::DS_OPERATIONS_ERROR | win32::INVALID_DOMAIN_STATE)) => Meaning::NotBound,
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(code: u32, text: &str) -> ServerReply {
        RawResult { code, text: text.as_bytes().to_vec() }.into()
    }

    /// Operation, LDAP code, text, meaning. 4.17 and 4.24: measured on Samba 4.17.12 and 4.24.7. Windows: texts seen in
    /// public reports (ltb-project/self-service-password#694, cannatag/ldap3#1157 and #882, pwm-project/pwm#407) or
    /// built after the specification that reference/active-directory.md names.
    #[test]
    fn a_bare_answer_keeps_its_code_and_what_a_sign_in_says() {
        let rule = "0000052D: Constraint violation - check_password_restrictions: the password is too short.";
        assert_eq!(bare(rule.to_owned()), "0000052D: ");
        assert_eq!(bare("error in module acl: insufficient access rights".to_owned()), "");
        let sign_in =
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1";
        assert_eq!(bare(sign_in.to_owned()), sign_in);
    }

    #[test]
    fn every_known_answer_means_what_was_measured() {
        use Asked::{Change, MustChange, Reset, Unlock};
        let windows_change = "0000052D: AtrErr: DSID-03190F80, #1:\n\t0: 0000052D: DSID-03190F80, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)\n\0";
        #[rustfmt::skip] // one answer a line
        let table = [
            (Reset, 50, "error in module acl: insufficient access rights during LDB_MODIFY (50)", Meaning::AccessDenied),
            (Reset, 50, "00002098: SecErr: DSID-0315130F, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0\n\0", Meaning::AccessDenied),
            (Reset, 50, "00000005: SecErr: DSID-031A1190, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0", Meaning::AccessDenied),
            (Unlock, 50, "00002098: Object CN=ada,DC=ad has no write property access\n", Meaning::AccessDenied),
            (MustChange, 50, "Failed to modify CN=ada: Setting pwdLastSet to -1 requires the Unexpire-Password right that was not given on the Domain object", Meaning::AccessDenied),
            (Change, 19, "error in module acl: Constraint violation during LDB_MODIFY (19)", Meaning::CannotChange),
            (Change, 19, "0000202F: AtrErr: DSID-03191083, #1:\n\t0: 0000202F", Meaning::CannotChange),
            (Change, 19, "00000005: AtrErr: DSID-03191083, #1: 0: 00000005: DSID-03191083, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)", Meaning::CannotChange),
            (Change, 19, "0000202F: setup_io: it's not allowed to set the NT hash password directly'", Meaning::Unknown),
            (Change, 19, "00000056: Constraint violation - check_password_restrictions: The old password specified doesn't match!", Meaning::WrongCurrentPassword),
            (Change, 19, "00000056: AtrErr: DSID-03190F80, #1:\n\t0: 00000056: DSID-03190F80, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)", Meaning::WrongCurrentPassword),
            (Change, 19, "00000775: Password change not permitted, account locked out! at ../../x.c:1", Meaning::Locked),
            (Change, 19, "00000775: AtrErr: DSID-03190F80", Meaning::Locked),
            (Reset, 19, "0000052D: Constraint violation - check_password_restrictions: the password is too short. It should be equal or longer than 7 characters!", Meaning::TooShort),
            (Reset, 53, "0000052D: Unwilling to perform - check_password_restrictions: the password is too short. It should be equal or longer than 7 characters!", Meaning::TooShort),
            (Reset, 53, "0000052D: SvcErr: DSID-031A126C, problem 5003 (WILL_NOT_PERFORM), data 0\n\0", Meaning::SomePolicy),
            (Change, 19, windows_change, Meaning::SomePolicy),
            (Reset, 19, "0000052D: Constraint violation - check_password_restrictions: the password does not meet the complexity criteria!", Meaning::NotComplex),
            (Reset, 53, "0000052D: Unwilling to perform - check_password_restrictions: the password does not meet the complexity criteria!", Meaning::NotComplex),
            (Change, 19, "0000052D: Constraint violation - check_password_restrictions: the password was already used (previous password)!", Meaning::InHistory),
            (Change, 19, "0000052D: Constraint violation - check_password_restrictions: the password was already used (in history)!", Meaning::InHistory),
            (Reset, 53, "0000052D: Unwilling to perform - check_password_restrictions: the password was already used (in history)!", Meaning::InHistory),
            (Change, 19, "0000052D: Constraint violation - check_password_restrictions: password is too young to change!", Meaning::TooYoung),
            (Reset, 53, "0000052D: Unwilling to perform - check_password_restrictions: password is too young to change!", Meaning::TooYoung),
            (Change, 19, "0000052D: Constraint violation - check_password_restrictions: password changes disabled!", Meaning::CannotChange),
            (Change, 19, "0000052D: Constraint violation - check_password_restrictions: password can't be changed on this account!", Meaning::CannotChange),
            (Reset, 19, "0000052D: Constraint violation - check_password_restrictions: the password doesn't fit due to a miscellaneous restriction!", Meaning::Filter),
            (Reset, 53, "00002035: setup_io: it's not allowed to set the NT hash password directly'", Meaning::Unknown),
            (Reset, 53, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0", Meaning::Unknown),
            (Reset, 53, "00002077: SvcErr: DSID-03190F9E, problem 5003 (WILL_NOT_PERFORM), data 0", Meaning::Unknown),
            (Reset, 53, "00002035: modify forbidden on global catalog port at x", Meaning::Unknown),
            (Reset, 16, "00002085: modify/delete: no such value 'pwdLastSet'", Meaning::Stale),
            (Reset, 16, "00002085: AtrErr: DSID-03152D2C, #1:\n\t0: 00002085: DSID-03152D2C, problem 1001 (NO_ATTRIBUTE_OR_VAL), data 0, Att 90060 (pwdLastSet)", Meaning::Stale),
            (Reset, 32, "00002030: No such Base DN: CN=x", Meaning::NotFound),
            (Reset, 32, "Base-DN '<GUID=60b1e547-4fe5-4dd9-a841-4ae14e4b46a4>' not found", Meaning::NotFound),
            (Reset, 32, "0000208D: NameErr: DSID-03100241, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'DC=ad'", Meaning::NotFound),
            (Reset, 10, "0000202B: Referral error", Meaning::ReadOnly),
            (Reset, 51, "Pending requests on this LDAP session", Meaning::Busy),
            (Reset, 52, "", Meaning::Busy),
            (Reset, 1, "00002020: Operation unavailable without authentication", Meaning::NotBound),
            (Reset, 1, "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563", Meaning::NotBound),
            (Reset, 12, "", Meaning::Unknown),
            (Reset, 34, "00002032: ldb_modify: invalid dn '(null)'", Meaning::Unknown),
            (Reset, 80, "00000057: setup_last_set_field: pwdLastSet must be 0 or -1 only! x", Meaning::Unknown),
        ];
        for (asked, code, text, meaning) in table {
            assert_eq!(classify(asked, &reply(code, text)), meaning, "{asked:?} {code} {text}");
        }
    }

    #[test]
    fn sub_codes_are_read_where_they_stand_and_nowhere_else() {
        assert_eq!(reply(19, "0000052D: Constraint violation").win32, Some(0x52d));
        assert_eq!(reply(50, "error in module acl: insufficient access rights").win32, None);
        assert_eq!(reply(32, "Base-DN '<GUID=x>' not found").win32, None);
        let refused =
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1";
        assert_eq!(reply(49, refused).bind_data, Some(0x52e));
        assert_eq!(reply(53, "0000052D: SvcErr, data 0").bind_data, None);
    }

    #[test]
    fn text_is_fit_for_a_log() {
        assert_eq!(clean(b"no access\n\0"), "no access");
        assert_eq!(clean(b"a\nb\x1b[31m\xff"), "a\\nb\\u{1b}[31m\u{fffd}");
        assert_eq!(clean("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn an_answer_that_repeats_the_password_is_withheld_and_samba_s_own_words_are_not() {
        let echo = reply(53, "0000052D: your Tr1cky-Secret! is bad");
        assert!(!withhold(echo, &["Tr1cky-Secret!"]).text.contains("Tr1cky"));
        let plain = reply(
            19,
            "0000052D: Constraint violation - check_password_restrictions: the password is too short. It",
        );
        assert_eq!(withhold(plain.clone(), &["password"]), plain);
    }

    proptest! {
        #[test]
        fn hostile_texts_never_panic_and_come_out_printable(code in any::<u32>(), text in prop::collection::vec(any::<u8>(), 0..200)) {
            let reply = ServerReply::from(RawResult { code, text });
            prop_assert!(!reply.text.chars().any(char::is_control));
            for asked in [Asked::Reset, Asked::Change, Asked::Unlock, Asked::MustChange] {
                let _ = classify(asked, &reply);
            }
        }
    }
}
