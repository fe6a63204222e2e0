//! From what a person holds (a code in any spelling, a name, a pasted error) to the entries of the catalogue.

mod text;

pub use text::explain_text;

use crate::catalogue::{Entry, Relation};
use serde_json::{Value, json};

/// When one spelling fits several families, in this order: what people ask about most comes first.
const FIRST: [&str; 10] = [
    "aadsts",
    "sspr",
    "writeback-event",
    "ad-bind",
    "ldap",
    "hresult",
    "ntstatus",
    "win32",
    "adsync-hr",
    "krb",
];

/// What one thing that was asked for turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The code or name as it was read.
    pub query: String,
    /// What it means, likeliest first. Empty when the catalogue does not know it.
    pub entries: Vec<&'static Entry>,
    /// For what is not known: where it probably belongs.
    pub guess: Option<Guess>,
}

/// Where an unknown code probably belongs. A guess, and said to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The nearest family, if the spelling tells one.
    pub family: Option<&'static str>,
    /// Why that one.
    pub why: String,
    /// The nearest entries.
    pub near: Vec<&'static Entry>,
}

impl Found {
    /// True where the catalogue had nothing.
    pub fn is_unknown(&self) -> bool {
        self.entries.is_empty()
    }

    /// The shape of `keyback explain --json`, and how each answer was found: `query`, and `guess` where the catalogue
    /// does not know it.
    pub fn answers(&self) -> Vec<Value> {
        let answer = |entry: &&Entry| {
            let mut value = json!(entry);
            value["query"] = json!(self.query);
            value["guess"] = json!(false);
            value
        };
        let Some(guess) = &self.guess else { return self.entries.iter().map(answer).collect() };
        let near = guess
            .near
            .iter()
            .map(|near| json!({ "code": near.address(), "relation": Relation::ConfusedWith }));
        vec![json!({
            "query": self.query,
            "guess": true,
            "family": guess.family,
            "code": self.query,
            "name": null,
            "title": "Not in the catalogue",
            "meaning": guess.why,
            "severity": null,
            "severity_reason": "Nothing is known about it.",
            "category": null,
            "retry": null,
            "actor": null,
            "causes": [],
            "fixes": [],
            "related": near.collect::<Vec<_>>(),
            "statements": [],
            "name_only": false,
            "documented": false,
        })]
    }
}

/// Explains one code or name, in any spelling: `AADSTS120008`, `120008`, `0x52D`, `1325`, `52e`, `-2147023570`,
/// `ldap:50`, `PasswordChangeOnPremComplexity`.
pub fn explain_code(text: &str) -> Found {
    let query = trim(text);
    let mut entries = known(query);
    // A word that is a family's own code comes before the same word as another's alias.
    let own = |entry: &Entry| {
        query.bytes().any(|byte| byte.is_ascii_alphabetic()) && entry.code.eq_ignore_ascii_case(query)
    };
    entries.sort_by_key(|entry| {
        (!own(entry), FIRST.iter().position(|family| *family == entry.family).unwrap_or(FIRST.len()))
    });
    let guess = entries.is_empty().then(|| guess(query));
    Found { query: query.to_owned(), entries, guess }
}

fn trim(text: &str) -> &str {
    let text = text.trim();
    text.trim_matches(|c: char| {
        matches!(c, '"' | '\'' | '`' | ',' | ';' | '.' | ':' | '(' | ')' | '[' | ']' | '<' | '>')
    })
}

/// Longer than every spelling of the catalogue, with its family before it.
const LONGEST_SPELLING: usize = 200;

/// The entries that a spelling names, each once.
fn known(query: &str) -> Vec<&'static Entry> {
    let mut found: Vec<&'static Entry> = Vec::new();
    let mut add = |entries: &mut dyn Iterator<Item = &'static Entry>| {
        for entry in entries {
            if !found.iter().any(|known| std::ptr::eq(*known, entry)) {
                found.push(entry);
            }
        }
    };
    if query.len() > LONGEST_SPELLING {
        return found;
    }
    add(&mut Entry::by_key(query));
    if let Some((family, code)) = query.split_once(':') {
        let family = family.to_ascii_lowercase();
        add(&mut known(code).into_iter().filter(|entry| entry.family == family));
        return found;
    }
    let lower = query.to_ascii_lowercase();
    for (prefix, family) in [
        ("powerbi-aadsts", "aadsts"),
        ("aadsts", "aadsts"),
        ("sspr_", "sspr"),
        ("sspr", "sspr"),
        ("ldap_", "ldap"),
        ("ldap", "ldap"),
        ("data", "ad-bind"),
    ] {
        if let Some(code) = lower.strip_prefix(prefix) {
            add(&mut Entry::by_key(code.trim_start()).filter(|entry| entry.family == family));
        }
    }
    if let Some(code) = lower.strip_prefix("event id").or_else(|| lower.strip_prefix("event")) {
        add(&mut Entry::by_key(code.trim_start()).filter(|entry| entry.family.ends_with("-event")));
    }
    let (hex, decimal) = numbers(&lower);
    if let Some(value) = hex {
        add(&mut by_value(value));
        if value <= 0xfff {
            add(&mut Entry::by_key(&format!("{value:x}")).filter(|entry| entry.family == "ad-bind"));
        }
    }
    if let Some(value) = decimal {
        add(&mut Entry::by_key(&value.to_string()));
        // Small numbers are everything and nothing as Win32 codes; from 1000 on, AD's own begin.
        if !(0..1000).contains(&value) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an HRESULT printed as a signed number"
            )]
            add(&mut by_value(value as u32));
        }
    }
    found
}

/// The 32-bit codes: Win32, NTSTATUS, HRESULT.
fn by_value(value: u32) -> impl Iterator<Item = &'static Entry> {
    // 0x8007xxxx wraps a Win32 code.
    let wrapped = (value >> 16 == 0x8007).then(|| Entry::by_key(&format!("{:08X}", value & 0xffff)));
    let wrapped = wrapped.into_iter().flatten().filter(|entry| entry.family == "win32");
    Entry::by_key(&format!("{value:08X}")).chain(wrapped)
}

/// The text as a hexadecimal and as a decimal number, where it can be read so.
fn numbers(lower: &str) -> (Option<u32>, Option<i64>) {
    if let Some(digits) = lower.strip_prefix("0x") {
        return (u32::from_str_radix(digits, 16).ok(), None);
    }
    let hex = lower.len() == 8 || lower.bytes().any(|byte| byte.is_ascii_alphabetic());
    let decimal = lower.parse::<i64>().ok().filter(|value| (-0x8000_0000..=0xffff_ffff).contains(value));
    (hex.then(|| u32::from_str_radix(lower, 16).ok()).flatten(), decimal)
}

fn guess(query: &str) -> Guess {
    let lower = query.to_ascii_lowercase();
    let digits = lower.trim_start_matches("aadsts");
    let (hex, decimal) = numbers(&lower);
    let (family, why) = if lower.starts_with("aadsts") && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        (Some("aadsts"), "It is spelled like a code of Entra ID's sign-in service.".to_owned())
    } else if lower.starts_with("sspr") {
        (Some("sspr"), "It is spelled like a code of Microsoft's password reset page.".to_owned())
    } else if let Some(value) = hex.filter(|value| *value > 0xffff) {
        match value >> 16 {
            0x8007 => (
                Some("hresult"),
                format!("An HRESULT that begins with 8007 carries Win32 code {} (0x{0:X}).", value & 0xffff),
            ),
            0x8023 => (
                Some("adsync-hr"),
                "HRESULTs that begin with 8023 come from the synchronisation engine.".to_owned(),
            ),
            0x8009 => (
                Some("hresult"),
                "HRESULTs that begin with 8009 come from Windows' security providers.".to_owned(),
            ),
            0xc000 => (Some("ntstatus"), "It has the form of an NTSTATUS error.".to_owned()),
            _ => (Some("hresult"), "It has the form of a 32-bit result code.".to_owned()),
        }
    } else if let Some(value) = decimal {
        match value {
            31_000..=33_999 => (
                Some("writeback-event"),
                "PasswordResetService numbers its events from 31001 to 33999.".to_owned(),
            ),
            10_000..=10_099 | 20_000..=20_099 | 30_000..=30_099 => (
                Some("password-protection-event"),
                "Entra Password Protection numbers its events so.".to_owned(),
            ),
            40_000.. => (Some("aadsts"), "Entra ID's sign-in codes are numbers of this size.".to_owned()),
            0..=999 => (Some("ldap"), "LDAP result codes are small numbers.".to_owned()),
            _ => (Some("win32"), "Win32 codes are numbers of this size.".to_owned()),
        }
    } else if let Some(value) = hex {
        (Some("win32"), format!("Read as hexadecimal it is Win32 code {value}."))
    } else {
        (None, "It is not spelled like any family of codes.".to_owned())
    };
    let near = match (family, digits.parse::<i64>()) {
        (Some(family), Ok(number)) => by_number(family, number),
        _ => by_spelling(&lower),
    };
    Guess { family, why, near }
}

/// The neighbours by number.
fn by_number(family: &str, number: i64) -> Vec<&'static Entry> {
    let mut near: Vec<_> = Entry::families()
        .filter(|(name, _)| *name == family)
        .flat_map(|(_, entries)| entries)
        .filter_map(|entry| Some((entry.code.parse::<i64>().ok()?.abs_diff(number), entry)))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(3).map(|(_, entry)| entry).collect()
}

/// Spellings of a Jaro-Winkler likeness above this are suggested.
const ALIKE: f64 = 0.86;

/// How often each character occurs, counted in 64 classes, and how a word begins.
struct Letters<'a> {
    word: &'a str,
    counts: [u8; 64],
    length: usize,
}

impl<'a> Letters<'a> {
    fn of(word: &'a str) -> Self {
        let (mut counts, mut length) = ([0_u8; 64], 0);
        for character in word.chars() {
            let class = u32::from(character) as usize % 64;
            counts[class] = counts[class].saturating_add(1);
            length += 1;
        }
        Self { word, counts, length }
    }

    /// What Jaro-Winkler would give if every character that both have stood in the same place: quicker than it by far.
    #[expect(clippy::cast_precision_loss, reason = "lengths of words")]
    fn likeness_at_most(&self, other: &Self) -> f64 {
        let common: u32 =
            self.counts.iter().zip(&other.counts).map(|(left, right)| u32::from(*left.min(right))).sum();
        let common = f64::from(common);
        let jaro = (common / self.length as f64 + common / other.length as f64 + 1.0) / 3.0;
        let begin =
            self.word.chars().zip(other.word.chars()).take(4).take_while(|(left, right)| left == right);
        jaro + 0.1 * begin.count() as f64 * (1.0 - jaro) + 1e-9
    }
}

/// The entries with a code, name or alias spelled nearly so.
fn by_spelling(lower: &str) -> Vec<&'static Entry> {
    if lower.len() < 3 || lower.len() > 100 {
        return Vec::new();
    }
    let letters = Letters::of(lower);
    let mut near: Vec<(f64, &'static str)> = Entry::keys()
        .filter(|key| key.len() >= 3 && !key.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|key| letters.likeness_at_most(&Letters::of(key)) > ALIKE)
        .map(|key| (strsim::jaro_winkler(lower, key), key))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .collect();
    near.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    let mut entries: Vec<&'static Entry> = Vec::new();
    for entry in near.into_iter().take(6).flat_map(|(_, key)| Entry::by_key(key)) {
        if !entries.iter().any(|known| std::ptr::eq(*known, entry)) {
            entries.push(entry);
        }
    }
    entries.truncate(4);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(query: &str) -> String {
        explain_code(query).entries.first().map(|entry| entry.address()).unwrap_or_default()
    }

    #[test]
    fn every_spelling_leads_to_its_entry() {
        for (query, expected) in [
            ("AADSTS120008", "aadsts:120008"),
            ("aadsts120008", "aadsts:120008"),
            ("120008", "aadsts:120008"),
            ("powerbi-aadsts120008", "aadsts:120008"),
            ("0x52D", "win32:0000052D"),
            ("52D", "win32:0000052D"),
            ("0000052D", "win32:0000052D"),
            ("0000052D:", "win32:0000052D"),
            ("1325", "win32:0000052D"),
            ("52e", "ad-bind:52e"),
            ("data 52e", "ad-bind:52e"),
            ("775", "ad-bind:775"),
            ("33004", "writeback-event:33004"),
            ("event 33004", "writeback-event:33004"),
            ("PasswordChangeOnPremComplexity", "aadsts:120004"),
            ("passwordchangeonpremcomplexity", "aadsts:120004"),
            ("ERROR_PASSWORD_RESTRICTION", "win32:0000052D"),
            ("50", "ldap:50"),
            ("ldap:50", "ldap:50"),
            ("LDAP 50", "ldap:50"),
            ("-2147016552", "hresult:80072098"),
            ("0x80072098", "hresult:80072098"),
            ("SSPR_0029", "sspr:0029"),
            ("0xC000006A", "ntstatus:C000006A"),
            ("rights.deny_ace", "keyback:rights.deny_ace"),
            ("80230626", "adsync-hr:80230626"),
        ] {
            assert_eq!(first(query), expected, "{query}");
        }
    }

    #[test]
    fn no_spelling_is_longer_than_what_is_looked_for() {
        let longest = Entry::keys().map(str::len).max().unwrap_or_default();
        assert!(longest + 32 <= LONGEST_SPELLING, "{longest}");
        assert!(known(&":".repeat(1_000_000)).is_empty());
    }

    #[test]
    fn what_is_alike_is_never_left_out_by_the_quicker_look() {
        for word in [
            "paswordchangeonpremcomplexity",
            "error_acces_denied",
            "insuficientaccessrights",
            "kdc_eror",
            "ünïcode",
        ] {
            for key in Entry::keys() {
                let likeness = strsim::jaro_winkler(word, key);
                assert!(Letters::of(word).likeness_at_most(&Letters::of(key)) >= likeness, "{word} {key}");
            }
        }
    }

    #[test]
    fn the_unknown_is_guessed_and_said_to_be_a_guess() {
        for (query, family) in [
            ("AADSTS999999", Some("aadsts")),
            ("33999", Some("writeback-event")),
            ("0x80239999", Some("adsync-hr")),
            ("0xC0009999", Some("ntstatus")),
            ("SSPR_9999", Some("sspr")),
            ("blarg", None),
        ] {
            let found = explain_code(query);
            assert!(found.is_unknown(), "{query}");
            assert_eq!(found.guess.and_then(|guess| guess.family), family, "{query}");
        }
        let near =
            explain_code("PaswordChangeOnPremComplexity").guess.map(|guess| guess.near).unwrap_or_default();
        assert_eq!(near.first().map(|entry| entry.code), Some("120004"));
    }
}
