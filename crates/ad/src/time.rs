//! AD's time: `FileTime` on attributes, GeneralizedTime on the rootDSE.

use keyback_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// 100 ns since 1601-01-01T00:00:00Z, as pwdLastSet and lockoutTime hold it. 0 means "never", and on pwdLastSet
/// "must change at next logon".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileTime(i64);

/// Microseconds between 1601 and 1970.
const EPOCHS_APART: i64 = 11_644_473_600_000_000;

impl FileTime {
    /// "Never", or "must change".
    pub const ZERO: Self = Self(0);

    /// From 100 ns since 1601.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// 100 ns since 1601.
    pub const fn as_ticks(self) -> i64 {
        self.0
    }

    /// Whether it is the special value 0.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The instant, cut to microseconds.
    pub const fn to_timestamp(self) -> Timestamp {
        Timestamp::from_micros((self.0 / 10).saturating_sub(EPOCHS_APART))
    }

    /// The instant in AD's count.
    pub const fn from_timestamp(at: Timestamp) -> Self {
        Self(at.as_micros().saturating_add(EPOCHS_APART).saturating_mul(10))
    }
}

/// The digits, as LDAP carries them.
impl fmt::Display for FileTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A GeneralizedTime in UTC with seconds, `20261124070000.0Z`, as the rootDSE's currentTime has it. `None` for all else.
pub(crate) fn decode_generalized_time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?.split('.').next().filter(|digits| digits.len() == 14)?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits[range].parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !in_range {
        return None;
    }
    // Days since 1970 of a Gregorian date, with the year beginning in March so that a leap day comes last.
    let shifted = if month > 2 { year } else { year - 1 };
    let (century, month) = (shifted.div_euclid(100), (month + 9) % 12);
    let days =
        365 * shifted + shifted.div_euclid(4) - century + century.div_euclid(4) + (153 * month + 2) / 5 + day
            - 719_469;
    Some(Timestamp::from_micros((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_time_is_a_timestamp_and_back() {
        let at = FileTime::from_ticks(134_399_772_001_234_560);
        assert_eq!(at.to_timestamp().to_string(), "2026-11-24T07:00:00.123Z");
        assert_eq!(FileTime::from_timestamp(at.to_timestamp()), at);
    }

    #[test]
    fn generalized_time_reads_as_the_same_instant() {
        for (text, expected) in [
            ("20261124070000.0Z", "2026-11-24T07:00:00.000Z"),
            ("20240229235959.0Z", "2024-02-29T23:59:59.000Z"),
            ("20000301000000Z", "2000-03-01T00:00:00.000Z"),
            ("19700101000000.0Z", "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(decode_generalized_time(text).map(|at| at.to_string()).as_deref(), Some(expected));
        }
        for bad in ["", "Z", "20261124070000.0", "2026112407000.0Z", "20261324070000.0Z", "２0261124070000Z"]
        {
            assert_eq!(decode_generalized_time(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_tick_count_panics(text in "\\PC*", ticks in any::<i64>()) {
            let _ = decode_generalized_time(&text);
            let _ = FileTime::from_timestamp(FileTime::from_ticks(ticks).to_timestamp());
        }
    }
}
