//! When, under which correlation ID, and whom: read off a statement's text.

pub(super) use super::clock::{epoch, time};
use memchr::memmem::Finder;
use std::sync::LazyLock;

static TIMESTAMP: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("Timestamp"));
/// `Trace ID` ends in the same letters and is another thing.
static CORRELATIONS: LazyLock<[Finder<'_>; 4]> =
    LazyLock::new(|| ["orrelation", "rackingId", "racking ID", "lient-request-id"].map(Finder::new));
/// What is common to the next four: most texts hold none.
static PRINCIPAL: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("rincipalName"));
static PRINCIPALS: LazyLock<[Finder<'_>; 4]> = LazyLock::new(|| {
    ["UserPrincipalName:", "userPrincipalName\":", "UserPrincipalName=", "userPrincipalName="]
        .map(Finder::new)
});
static USERS: LazyLock<[Finder<'_>; 3]> =
    LazyLock::new(|| ["user account '", "upn:", "username="].map(Finder::new));

/// The time that the code's own message carries, else the first of the statement.
pub(super) fn time_of(text: &str) -> Option<String> {
    let own = TIMESTAMP.find(text.as_bytes()).and_then(|at| time(&text[at..floor(text, at + 60)]));
    own.or_else(|| time(&text[..floor(text, 200)]))
}

/// The GUID after a label such as `Correlation ID`, `correlationId`, `Correlation+ID%3A` or `TrackingId`.
pub(super) fn correlation_id(text: &str) -> Option<String> {
    if text.len() < "rackingId".len() + GUID {
        return None;
    }
    for part in &*CORRELATIONS {
        for at in part.find_iter(text.as_bytes()) {
            let from = at + part.needle().len();
            let near = text.get(from..floor(text, from + 60)).unwrap_or_default();
            if let Some(guid) = guid_within(near) {
                return Some(guid.to_ascii_lowercase());
            }
        }
    }
    None
}

/// The first GUID of the text.
pub(super) fn guid_within(text: &str) -> Option<&str> {
    let starts = memchr::memchr_iter(b'-', text.as_bytes()).filter_map(|dash| dash.checked_sub(8));
    starts.filter_map(|at| text.get(at..at + GUID)).find(|part| is_guid(part))
}

/// Bytes of a GUID.
const GUID: usize = 36;

/// `8-4-4-4-12` hexadecimal digits.
pub(super) fn is_guid(text: &str) -> bool {
    text.len() == GUID
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The account that a text names after `UserPrincipalName`, `user account` or `user=`.
pub(super) fn user(text: &str) -> Option<String> {
    // Every label ends in one of these.
    memchr::memchr3(b':', b'=', b'\'', text.as_bytes())?;
    let principals = PRINCIPAL.find(text.as_bytes()).map(|_| &*PRINCIPALS);
    for label in principals.into_iter().flatten().chain(&*USERS) {
        let Some(at) = label.find(text.as_bytes()) else { continue };
        let rest = text[at + label.needle().len()..].trim_start_matches([' ', '"', '\'']);
        let name: String =
            rest.chars().take_while(|c| c.is_alphanumeric() || "@._-+'#\\$".contains(*c)).take(256).collect();
        if name.len() > 1 {
            return Some(name);
        }
    }
    None
}

/// The nearest border of a character at or before `at`.
pub(super) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// At most 400 bytes around `at`, in one line. Half a word at its beginning is left out: it could be the end of a secret,
/// and the name that tells so is not there.
pub(super) fn excerpt(text: &str, at: usize) -> String {
    let begin = floor(text, at.saturating_sub(120));
    let end = floor(text, begin + 400);
    if begin == 0 {
        return in_one_line(String::with_capacity(end), &text[..end]);
    }
    let before = &text[begin..floor(text, at)];
    let behind = |(at, border): (usize, &str)| at + border.len();
    let signs = ['"', '\'', '&', ';', ',', '<', '>', '{', '}', '\n'];
    let whole =
        before.match_indices(signs).next().or_else(|| before.match_indices(char::is_whitespace).next());
    let whole = whole.map_or(before.len(), behind);
    in_one_line(String::from("…"), &text[begin + whole..end])
}

/// Appends the words of a text with one blank between them.
fn in_one_line(mut line: String, text: &str) -> String {
    let mut border = "";
    for word in text.split_whitespace() {
        line.push_str(border);
        line.push_str(word);
        border = " ";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_ids_are_found_behind_every_label_and_nowhere_else() {
        let guid = "f0e70981-67ff-441e-aa01-347877c49d50";
        for label in [
            "Correlation ID: ",
            "correlationId\":\"",
            "Correlation+ID%3A+",
            "TrackingId: ",
            "\"correlation_id\": \"",
        ] {
            assert_eq!(
                correlation_id(&format!("x {label}{} y", guid.to_uppercase())).as_deref(),
                Some(guid),
                "{label}"
            );
        }
        assert_eq!(correlation_id(&format!("Trace ID: {guid}")), None);
        assert_eq!(correlation_id("Correlation ID: é"), None);
    }
}
