//! Distinguished names, as far as scope needs them: is this object under that one?

use serde::{Deserialize, Serialize};
use std::fmt;

/// A distinguished name in the text form of RFC 4514. Keeps the text as the directory gave it; compares without case
/// and without regard to how a character is escaped.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Dn {
    text: String,
    /// Normalised, the root's component last.
    components: Vec<Component>,
}

/// One RDN: its attribute and value, or several of them, sorted.
type Component = Vec<(String, Vec<u8>)>;

/// The text is no distinguished name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a distinguished name reads CN=…,OU=…,DC=…")]
pub struct NotADn;

impl Dn {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, NotADn> {
        let components = split(text, ',').map(component).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: text.to_owned(), components })
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is `ancestor` or lies anywhere below it.
    pub fn is_under(&self, ancestor: &Self) -> bool {
        self.components.ends_with(&ancestor.components)
    }

    /// The DN one level up, as the text has it. `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let own = split(&self.text, ',').next()?.len();
        let text = self.text.get(own + 1..)?.to_owned();
        let components = self.components.get(1..)?.to_vec();
        Some(Self { text, components })
    }

    /// The first component's value, unescaped, in lower case.
    pub fn name(&self) -> Option<String> {
        let (_, value) = self.components.first()?.first()?;
        String::from_utf8(value.clone()).ok()
    }

    /// The domain's name as DNS writes it, from the DC components at the end: `ad.example`. Empty where there are none.
    pub fn dns_domain(&self) -> String {
        let labels = self.components.iter().filter_map(|component| match component.as_slice() {
            [(attribute, value)] if attribute == "dc" => Some(String::from_utf8_lossy(value)),
            _ => None,
        });
        labels.collect::<Vec<_>>().join(".")
    }
}

/// Splits at each `separator` that no backslash escapes and no quotes enclose.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut escaped, mut quoted) = (false, false);
    text.split(move |c: char| {
        let here = c == separator && !escaped && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        here
    })
}

fn component(text: &str) -> Result<Component, NotADn> {
    let mut pairs = split(text, '+')
        .map(|pair| {
            let (attribute, value) = pair.split_once('=').ok_or(NotADn)?;
            let attribute = attribute.trim().to_ascii_lowercase();
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            if attribute.is_empty() || !attribute.chars().all(known) {
                return Err(NotADn);
            }
            Ok((attribute, folded(&unescape(value)?)))
        })
        .collect::<Result<Component, _>>()?;
    pairs.sort_unstable();
    Ok(pairs)
}

/// Lower case where the bytes are text; AD compares without case.
fn folded(value: &[u8]) -> Vec<u8> {
    std::str::from_utf8(value).map_or_else(|_| value.to_vec(), |text| text.to_lowercase().into_bytes())
}

fn unescape(value: &str) -> Result<Vec<u8>, NotADn> {
    let value = value.trim_start_matches(' ');
    if let Some(digits) = value.strip_prefix('#') {
        return unhex(digits.trim_end_matches(' ').as_bytes());
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut kept = 0; // blanks before this length were escaped
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                let next = rest.next().ok_or(NotADn)?;
                if next.is_ascii_hexdigit() {
                    bytes.extend(unhex(&[next, rest.next().ok_or(NotADn)?])?);
                } else {
                    bytes.push(next);
                }
                kept = bytes.len();
            }
            b'"' => kept = bytes.len(),
            byte => bytes.push(byte),
        }
    }
    while bytes.len() > kept && bytes.last() == Some(&b' ') {
        bytes.pop();
    }
    if bytes.is_empty() { Err(NotADn) } else { Ok(bytes) }
}

fn unhex(digits: &[u8]) -> Result<Vec<u8>, NotADn> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(NotADn);
    }
    pairs
        .iter()
        .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?))
        .collect::<Option<_>>()
        .ok_or(NotADn)
}

impl PartialEq for Dn {
    fn eq(&self, other: &Self) -> bool {
        self.components == other.components
    }
}

impl Eq for Dn {}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Dn> for String {
    fn from(dn: Dn) -> Self {
        dn.text
    }
}

impl TryFrom<String> for Dn {
    type Error = NotADn;

    fn try_from(text: String) -> Result<Self, NotADn> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn under(object: &str, ancestor: &str) -> bool {
        Dn::parse(object)
            .is_ok_and(|object| Dn::parse(ancestor).is_ok_and(|ancestor| object.is_under(&ancestor)))
    }

    #[test]
    fn a_parent_is_what_follows_the_first_comma_that_counts() {
        let dn = Dn::parse("CN=Doe\\, Jane,OU=\"a,b\",DC=ad").expect("a DN");
        let up: Vec<_> = std::iter::successors(dn.parent(), Dn::parent).map(|dn| dn.to_string()).collect();
        assert_eq!(up, ["OU=\"a,b\",DC=ad", "DC=ad"]);
        assert_eq!(dn.name().as_deref(), Some("doe, jane"));
    }

    #[test]
    fn an_object_is_under_its_ou_however_the_names_are_written() {
        for (object, ancestor) in [
            ("CN=ada,OU=Staff,DC=ad,DC=example", "ou=staff,dc=AD,dc=EXAMPLE"),
            ("CN=ada,OU=Staff,DC=ad,DC=example", "OU = Staff , DC=ad,DC=example"),
            ("CN=x,OU=R\\26D\\, Ost,DC=ad", "OU=R&D\\2C Ost,DC=ad"),
            ("CN=x,OU=M\\C3\\BCnchen,DC=ad", "OU=MÜNCHEN,DC=ad"),
            ("CN=x,OU=\"a,b\",DC=ad", "OU=a\\,b,DC=ad"),
            ("CN=x,CN=b+OU=a,DC=ad", "OU=A+CN=B,DC=ad"),
            ("CN=x,OU=end\\ ,DC=ad", "OU=end\\20,DC=ad"),
            ("DC=ad", "DC=ad"),
        ] {
            assert!(under(object, ancestor), "{object} is under {ancestor}");
        }
    }

    #[test]
    fn a_name_that_merely_looks_alike_is_not_under_it() {
        for (object, ancestor) in [
            ("CN=ada,OU=Outside,DC=ad", "OU=Staff,DC=ad"),
            ("CN=ada,OU=NotStaff,DC=ad", "OU=Staff,DC=ad"),
            ("CN=ada\\,OU=Staff,DC=ad", "OU=Staff,DC=ad"),
            ("CN=x\\2COU=Staff,DC=ad", "OU=Staff,DC=ad"),
            ("CN=\"x,OU=Staff\",DC=ad", "OU=Staff,DC=ad"),
            ("OU=Staff,DC=ad", "CN=ada,OU=Staff,DC=ad"),
            ("CN=x,CN=Staff,DC=ad", "OU=Staff,DC=ad"),
            ("CN=x,OU=end\\ ,DC=ad", "OU=end,DC=ad"),
        ] {
            assert!(!under(object, ancestor), "{object} is not under {ancestor}");
        }
    }

    #[test]
    fn texts_without_attributes_or_values_are_no_names() {
        for bad in ["", ",", "ada", "CN=", "CN=x,", "=x", "CN=x\\", "CN=x\\4", "CN=#1", "C N=x", "<GUID=x>"] {
            assert_eq!(Dn::parse(bad), Err(NotADn), "{bad}");
        }
    }

    #[test]
    fn the_domain_is_read_from_the_dc_components() {
        assert_eq!(Dn::parse("OU=a,DC=Ad,DC=example").map(|dn| dn.dns_domain()).as_deref(), Ok("ad.example"));
    }

    fn escape(value: &str) -> String {
        value.bytes().fold(String::new(), |text, byte| format!("{text}\\{byte:02X}"))
    }

    proptest! {
        #[test]
        fn hostile_texts_never_panic(text in "[a-zA-Z0-9=,+\\\\\"# é]{0,60}", other in "\\PC*") {
            let _ = (Dn::parse(&text), Dn::parse(&other));
        }

        #[test]
        fn no_value_breaks_out_of_its_component(value in "\\PC{1,20}", ou in "[a-z]{1,8}") {
            let staff = format!("OU={ou},DC=ad");
            let below = format!("CN={},{staff}", escape(&value));
            prop_assert!(under(&below, &staff));
            let inside = format!("CN={},DC=ad", escape(&format!("{value},OU={ou}")));
            prop_assert!(!under(&inside, &staff));
        }

        #[test]
        fn every_object_is_under_itself_and_each_of_its_ancestors(parts in prop::collection::vec("[a-z ,+=]{1,6}", 1..6)) {
            let rdns: Vec<_> = parts.iter().map(|part| format!("OU={}", escape(part))).collect();
            let dn = rdns.join(",");
            for from in 0..rdns.len() {
                prop_assert!(under(&dn, &rdns[from..].join(",")));
            }
        }
    }
}
