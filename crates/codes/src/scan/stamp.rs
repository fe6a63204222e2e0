//! When, under which correlation ID, and whom: read off a statement's text.

const DATE_TIME: &str = "9999-99-99T99:99:99";

/// `2026-03-02 04:05:06Z`, `2026-03-02T04:05:06.123`, `2026-03-02,04:05:09` as RFC 3339; a time without a zone is taken
/// as UTC, as the logs of Microsoft's services write it.
pub(super) fn time(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is = |at: usize, form: &str| {
        bytes.get(at..at + form.len()).is_some_and(|part| {
            part.iter().zip(form.bytes()).all(|(byte, want)| match want {
                b'9' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b' ' | b',' | b'_'),
                want => *byte == want,
            })
        })
    };
    let at = memchr::memchr_iter(b'-', bytes).filter_map(|dash| dash.checked_sub(4)).find(|at| {
        is(*at, DATE_TIME) && !at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_digit())
    })?;
    let (date, clock) = (&text[at..at + 10], &text[at + 11..at + 19]);
    let rest = &text[at + 19..];
    let fraction: String = rest
        .strip_prefix(['.', ','])
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .take(9)
        .collect();
    let digits = rest
        .strip_prefix(['.', ','])
        .map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    let zone = &rest[if fraction.is_empty() { 0 } else { digits }..];
    let zone = if matches!(zone.as_bytes(), [b'+' | b'-', h, m, b':', s, t, ..] if [h, m, s, t].iter().all(|it| it.is_ascii_digit()))
    {
        &zone[..6]
    } else {
        "Z"
    };
    let valid = date[5..7].parse().is_ok_and(|month: u8| (1..=12).contains(&month))
        && date[8..10].parse().is_ok_and(|day: u8| (1..=31).contains(&day))
        && clock[..2].parse().is_ok_and(|hour: u8| hour < 24);
    let fraction = if fraction.is_empty() { fraction } else { format!(".{fraction}") };
    valid.then(|| format!("{date}T{clock}{fraction}{zone}"))
}

/// The time that the code's own message carries, else the first of the statement.
pub(super) fn time_of(text: &str) -> Option<String> {
    let own = text.find("Timestamp").and_then(|at| time(&text[at..floor(text, at + 60)]));
    own.or_else(|| time(&text[..floor(text, 200)]))
}

/// The GUID after a label such as `Correlation ID`, `correlationId`, `Correlation+ID%3A` or `TrackingId`.
pub(super) fn correlation_id(text: &str) -> Option<String> {
    // `Trace ID` ends in the same letters and is another thing.
    for part in ["orrelation", "rackingId", "racking ID", "lient-request-id"] {
        for at in memchr::memmem::find_iter(text.as_bytes(), part) {
            let from = at + part.len();
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
    starts.filter_map(|at| text.get(at..at + 36)).find(|part| is_guid(part))
}

/// `8-4-4-4-12` hexadecimal digits.
pub(super) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The account that a text names after `UserPrincipalName`, `user account` or `user=`.
pub(super) fn user(text: &str) -> Option<String> {
    for label in [
        "UserPrincipalName:",
        "userPrincipalName\":",
        "UserPrincipalName=",
        "userPrincipalName=",
        "user account '",
        "upn:",
        "username=",
    ] {
        let Some(at) = text.find(label) else { continue };
        let rest = text[at + label.len()..].trim_start_matches([' ', '"', '\'']);
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

/// At most 400 bytes around `at`, in one line.
pub(super) fn excerpt(text: &str, at: usize) -> String {
    let begin = floor(text, at.saturating_sub(120));
    let end = floor(text, begin + 400);
    text[begin..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_logs_write() {
        for (text, expected) in [
            ("Timestamp: 2026-03-02 04:05:06Z", Some("2026-03-02T04:05:06Z")),
            ("2026-03-02T04:05:06.1234567Z DM", Some("2026-03-02T04:05:06.1234567Z")),
            ("2026-03-02,04:05:09;ERROR", Some("2026-03-02T04:05:09Z")),
            ("2026-03-02 04:05:06,123 [main]", Some("2026-03-02T04:05:06.123Z")),
            ("at 2026-03-02T04:05:06+02:00", Some("2026-03-02T04:05:06+02:00")),
            ("2026-13-02 04:05:06", None),
            ("12026-03-02 04:05:06", None),
            ("no time", None),
        ] {
            assert_eq!(time(text).as_deref(), expected, "{text}");
        }
    }

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
