//! Times in the forms that logs write, as RFC 3339 in UTC.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A date that stands right before a clock.
fn date_before(bytes: &[u8], clock: usize) -> Option<(i64, u32, u32)> {
    let number = |part: &[u8]| {
        let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        digits.then(|| part.iter().fold(0_u32, |sum, byte| sum * 10 + u32::from(byte - b'0')))
    };
    let between =
        |from: usize, to: usize| clock.checked_sub(from).and_then(|from| bytes.get(from..clock - to));
    let alone = |length: usize| {
        let before = clock.checked_sub(length + 1).and_then(|at| bytes.get(at));
        !before.is_some_and(u8::is_ascii_digit)
    };
    let triple = |year: &[u8], month: &[u8], day: &[u8]| {
        let (year, month, day) = (number(year)?, number(month)?, number(day)?);
        let year = if year < 100 { year + 2000 } else { year };
        ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some((i64::from(year), month, day))
    };
    // 2026-03-02T, 2026/03/02 , 2026-03-02,
    if let Some([y1, y2, y3, y4, b'-' | b'/', m1, m2, b'-' | b'/', d1, d2, b'T' | b' ' | b',' | b'_' | b't']) =
        between(11, 0)
        && alone(11)
    {
        return triple(&[*y1, *y2, *y3, *y4], &[*m1, *m2], &[*d1, *d2]);
    }
    // 02/Mar/2026:
    if let Some([d1, d2, b'/' | b'-' | b' ', m1, m2, m3, b'/' | b'-' | b' ', year @ .., b':' | b' ']) =
        between(12, 0)
        && alone(12)
    {
        let name = [*m1, *m2, *m3];
        let month = MONTHS.iter().position(|month| month.as_bytes() == name);
        if let Some(month) = month.and_then(|month| u32::try_from(month + 1).ok()) {
            return triple(year, month.to_string().as_bytes(), &[*d1, *d2]);
        }
    }
    // 26/03/02 04:05:06, as Spark writes it
    if let Some([y1, y2, b'/', m1, m2, b'/', d1, d2, b' ']) = between(9, 0)
        && alone(9)
    {
        return triple(&[*y1, *y2], &[*m1, *m2], &[*d1, *d2]);
    }
    None
}

/// `3/2/2026, 4:05:06 AM`: month before day, as only the form with AM and PM has it.
fn american(bytes: &[u8], clock: usize) -> Option<(i64, u32, u32)> {
    let head = std::str::from_utf8(bytes.get(clock.saturating_sub(12)..clock)?).ok()?;
    let date = head.trim_end_matches([' ', ',']).rsplit([' ', ',', '"', '\t']).next()?;
    let mut parts = date.split('/');
    let (month, day, year) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day) && (1970..=9999).contains(&year))
        .then_some((year, month, day))
}

/// The first time of the text. One without a zone is taken as UTC, as the logs of Microsoft's services write it.
pub(super) fn time(text: &str) -> Option<String> {
    if let Some(at) = text.find("/Date(") {
        let digits: String = text[at + 6..].chars().take_while(char::is_ascii_digit).take(15).collect();
        return digits.parse().ok().and_then(epoch);
    }
    let bytes = text.as_bytes();
    memchr::memchr_iter(b':', bytes).find_map(|colon| at_colon(text, bytes, colon))
}

/// A clock whose first colon is this one.
fn at_colon(text: &str, bytes: &[u8], colon: usize) -> Option<String> {
    let two = |at: usize| match bytes.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
        }
        _ => None,
    };
    let minute = two(colon + 1)?;
    if bytes.get(colon + 3) != Some(&b':') {
        return None;
    }
    let second = two(colon + 4)?;
    let padded = colon.checked_sub(2).filter(|at| two(*at).is_some());
    let start = padded.or_else(|| colon.checked_sub(1).filter(|at| bytes[*at].is_ascii_digit()))?;
    let mut hour = match padded {
        Some(at) => two(at)?,
        None => u32::from(bytes[start] - b'0'),
    };
    let rest = text.get(colon + 6..)?;
    let digits: String =
        rest.strip_prefix(['.', ',']).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    let rest = if digits.is_empty() { rest } else { &rest[digits.len() + 1..] };
    let half = rest.trim_start();
    let date = if half.starts_with("AM") || half.starts_with("PM") {
        hour = hour % 12 + if half.starts_with('P') { 12 } else { 0 };
        american(bytes, start).or_else(|| date_before(bytes, start))?
    } else {
        date_before(bytes, start)?
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction: String = digits.chars().take(9).collect();
    let fraction = if fraction.is_empty() { fraction } else { format!(".{fraction}") };
    let minutes = days(date.0, date.1, date.2) * 1440 + i64::from(hour * 60 + minute) - offset(rest);
    let (year, month, day) = civil(minutes.div_euclid(1440));
    let minute = minutes.rem_euclid(1440);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{second:02}{fraction}Z",
        minute / 60,
        minute % 60
    ))
}

/// `+02:00`, `-0500`, ` +0000`: minutes east of Greenwich.
fn offset(rest: &str) -> i64 {
    let zone = rest.strip_prefix(' ').unwrap_or(rest).as_bytes();
    let (sign, digits) = match zone {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return 0,
    };
    let (hours, minutes) = match digits {
        [a, b, b':', c, d, ..] | [a, b, c, d, ..] if [a, b, c, d].iter().all(|it| it.is_ascii_digit()) => {
            ([a, b], [c, d])
        }
        _ => return 0,
    };
    let value = |pair: [&u8; 2]| i64::from(pair[0] - b'0') * 10 + i64::from(pair[1] - b'0');
    let east = value(hours) * 60 + value(minutes);
    if east > 14 * 60 { 0 } else { sign * east }
}

/// Seconds or milliseconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "within the range that is checked first")]
pub(super) fn epoch(number: f64) -> Option<String> {
    let seconds = if (1e12..1e13).contains(&number) { number / 1000.0 } else { number };
    if !(1e9..1e10).contains(&seconds) {
        return None;
    }
    let whole = seconds.floor() as i64;
    let (year, month, day) = civil(whole.div_euclid(86_400));
    let second = whole.rem_euclid(86_400);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    ))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; March counts as the first month, so that the leap day
/// comes last.
fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
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
            ("at 2026-03-02T04:05:06+02:00", Some("2026-03-02T02:05:06Z")),
            ("2026-03-01T01:05:06.5-0700", Some("2026-03-01T08:05:06.5Z")),
            ("2026-01-01T00:30:00+01:00", Some("2025-12-31T23:30:00Z")),
            ("2024-03-01T00:30:00+01:00", Some("2024-02-29T23:30:00Z")),
            ("203.0.113.5 - - [02/Mar/2026:04:05:06 +0000]", Some("2026-03-02T04:05:06Z")),
            ("26/03/02 04:05:06 ERROR", Some("2026-03-02T04:05:06Z")),
            ("2026/03/02 04:05:06 failed", Some("2026-03-02T04:05:06Z")),
            ("3/2/2026, 4:05:06 PM", Some("2026-03-02T16:05:06Z")),
            ("3/2/2026 12:05:06 AM", Some("2026-03-02T00:05:06Z")),
            ("\"/Date(1772424306123)/\"", Some("2026-03-02T04:05:06Z")),
            ("2026-13-02 04:05:06", None),
            ("12026-03-02 04:05:06", None),
            ("no time", None),
            ("::::é:12:34:56", None),
        ] {
            assert_eq!(time(text).as_deref(), expected, "{text}");
        }
        assert_eq!(epoch(1_772_424_306.0).as_deref(), Some("2026-03-02T04:05:06Z"));
        assert_eq!(epoch(50_126.0), None);
    }

    #[test]
    fn days_and_dates_are_inverse() {
        for day in (-200_000..200_000).step_by(37) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, u32::try_from(month).unwrap(), u32::try_from(date).unwrap()), day);
        }
    }
}
