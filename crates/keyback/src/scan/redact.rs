//! What a sample may show. Names, addresses and tenants become pseudonyms, the same one for the same value within one
//! run; secrets are never shown, whatever was asked for.

use regex::{Captures, Regex};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// What stands in a secret's place.
const SECRET: &str = "[secret]";

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "a constant, compiled by every test of this module")]
    Regex::new(text).expect("a valid pattern")
}

/// A name that says "secret", and the value behind it: in a URL, a form, JSON (escaped or not), a header, a connection string.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?ix)\b(
            (?:(?:client|shared)[_-]?)?secret(?:[_-]?(?:value|key))?|pass(?:word|wd|phrase)|pwd|(?:client[_-]?)?assertion
            |(?:(?:access|refresh|id|bearer|auth|sas|[a-z-]{0,12})[_-])?token|authorization|(?:set-)?cookie|api[_-]?key|account[_-]?key
            |shared[_-]?access[_-]?(?:key|signature)|private[_-]?key|sig|signature|saml(?:request|response)|code_verifier
        )
        ((?:\\?["'])?\s*(?:=|:|%3[dDaA])\s*(?:\\?["'])?)
        ((?:bearer|basic|negotiate)\s+)?
        ([^\s"'\\&;,<>]{3,})"#,
    )
});
/// Secrets that need no name: tokens of three parts, keys, long runs of Base64.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2} | (?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}
        | -----BEGIN[\x20A-Z]*PRIVATE\x20KEY-----(?:.*?-----END[\x20A-Z]*PRIVATE\x20KEY-----|.*) | \b[A-Za-z0-9~_.]{3}[78]Q~[A-Za-z0-9~_.-]{20,} | \b0\.A[A-Za-z0-9_-]{40,}
        | [A-Za-z0-9+/]{64,}={0,2}",
    )
});
static MAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\p{L}\p{N}._%+'#-]+(?:@|%40)[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-fA-F]{1,4}:){3,7}(?::?[0-9a-fA-F]{1,4})+\b")
});
static GUID: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)((?:trace|correlation|request|tracking)(?:[ _+-]|%20)?id\W{1,6}(?:3A\W?)?)?\b([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\b",
    )
});
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)((?:user(?:name|displayname)?|displayname|identity|account(?:name)?|samaccountname|device(?:displayname)?|computer(?:name)?)\\?["']?\s*[:=]\s*\\?["'])([^"'\\]{2,})"#,
    )
});
static DN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b((?:CN|OU)=)([^,;\n]+)"));

/// Decides what is shown.
pub struct Redactor {
    show: bool,
    keys: RandomState,
}

impl Redactor {
    /// `show`: names and addresses as they stand.
    pub fn new(show: bool) -> Self {
        Self { show, keys: RandomState::new() }
    }

    /// The same word for the same value, in this run only.
    pub fn pseudonym(&self, kind: &str, value: &str) -> String {
        if self.show {
            return crate::output::plain(value);
        }
        format!("{kind}-{:06x}", self.keys.hash_one(value.to_lowercase()) & 0x00ff_ffff)
    }

    /// A piece of a log, safe to print: no secret, no control character, and no name unless it was asked for.
    pub fn text(&self, text: &str) -> String {
        let text = without_escapes(text);
        let text = BARE.replace_all(&text, SECRET);
        let text = NAMED.replace_all(&text, |found: &Captures<'_>| {
            // A word that ends in a colon begins a sentence: `inner token: oauth2: cannot …`.
            if found[4].ends_with(':') {
                return found[0].to_owned();
            }
            format!("{}{}{SECRET}", &found[1], &found[2])
        });
        if self.show {
            return text.into_owned();
        }
        let text = MAIL
            .replace_all(&text, |found: &Captures<'_>| self.pseudonym("user", &found[0].replace("%40", "@")));
        let text = GUID.replace_all(&text, |found: &Captures<'_>| match found.get(1) {
            Some(label) => format!("{}{}", label.as_str(), &found[2]),
            None => self.pseudonym("id", &found[2]),
        });
        let text = ADDRESS.replace_all(&text, |found: &Captures<'_>| self.pseudonym("address", &found[0]));
        let text = NAME.replace_all(&text, |found: &Captures<'_>| {
            let known = ["user-", "id-", "address-"].iter().any(|word| found[2].starts_with(word));
            if known {
                found[0].to_owned()
            } else {
                format!("{}{}", &found[1], self.pseudonym("name", &found[2]))
            }
        });
        DN.replace_all(&text, |found: &Captures<'_>| {
            format!("{}{}", &found[1], self.pseudonym("name", &found[2]))
        })
        .into_owned()
    }
}

/// Without terminal sequences and control characters.
fn without_escapes(text: &str) -> String {
    static ESCAPES: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b."));
    crate::output::plain(&ESCAPES.replace_all(text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "Tr1pw1re-Secret";

    #[test]
    fn secrets_are_never_shown_in_whatever_shape_they_stand() {
        for show in [false, true] {
            let redactor = Redactor::new(show);
            for text in [
                format!("password={MARK}&x=1"),
                format!(r#"{{"client_secret":"{MARK}","a":1}}"#),
                format!(r#"{{\"password\": \"{MARK}\"}}"#),
                format!("Authorization: Bearer {MARK}"),
                format!("Authorization: Basic {MARK}"),
                format!("Server=tcp:x;User ID=a;Password={MARK};Encrypt=True"),
                format!("Cookie: {MARK}"),
                format!("refresh_token={MARK}"),
                format!("client_assertion%3D{MARK}"),
                format!("https://x.blob.core.windows.net/?sv=1&sig={MARK}&se=2"),
                format!("AccountKey={MARK}=="),
                format!("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI{MARK}.abc"),
                format!("-----BEGIN PRIVATE KEY----- {MARK} -----END PRIVATE KEY-----"),
            ] {
                let shown = redactor.text(&text);
                assert!(!shown.contains(MARK), "{text} -> {shown}");
            }
        }
    }

    #[test]
    fn names_become_the_same_word_and_are_shown_when_asked_for() {
        let redactor = Redactor::new(false);
        let text = "ada@example.org from 203.0.113.9, again Ada@example.org, tenant 11111111-2222-4333-8444-555555555555";
        let shown = redactor.text(text);
        for part in ["ada", "Ada", "203.0.113.9", "11111111"] {
            assert!(!shown.contains(part), "{shown}");
        }
        let word = shown.split(' ').next().unwrap_or_default();
        assert_eq!(shown.matches(word).count(), 2, "{shown}");
        assert_eq!(Redactor::new(true).text(text), text);
    }

    #[test]
    fn codes_and_correlation_ids_stay() {
        let redactor = Redactor::new(false);
        let text = "AADSTS50126: wrong. Correlation ID: f0e70981-67ff-441e-aa01-347877c49d50 error_codes [50126] https://x/error?code=50126";
        assert_eq!(redactor.text(text), text);
        assert_eq!(redactor.text("\u{1b}[0mred\u{1b}[31m\u{7}"), "red\u{fffd}");
    }
}
