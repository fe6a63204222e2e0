//! Codes of authenticator apps: RFC 6238 with SHA-1, six digits and steps of 30 s, which every app knows.

use hmac::{Hmac, KeyInit, Mac};
use keyback_core::{Timestamp, TotpCode, TotpSeed};
use sha1::Sha1;

/// Microseconds of one step.
const STEP: i64 = 30_000_000;
/// Steps before and after the present one that are accepted: a code may be on its way, a clock a little off.
const NEAR: i64 = 1;
/// Steps in which a code is looked for that is none now, to say how far the phone's clock is off: an hour each way.
const FAR: i64 = 120;

/// What a typed code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The code of this step, which is now.
    Right(i64),
    /// The code of a step that lies so many seconds from now: the phone's clock is that much ahead.
    ClockOff(i64),
    /// No code of this app's, or of hours ago.
    Wrong,
}

/// RFC 4226 section 5.3.
fn code_at(seed: &TotpSeed, step: i64) -> u32 {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(seed.expose()) else { return u32::MAX };
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[19] & 0xf);
    let mut word = [0; 4];
    word.copy_from_slice(&hash[offset..offset + 4]);
    (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
}

/// Judges a code by the agent's clock.
pub(crate) fn judge(seed: &TotpSeed, typed: &TotpCode, now: Timestamp) -> Judged {
    let present = now.as_micros().div_euclid(STEP);
    let typed = typed.number();
    // The nearest step first: of two that have the same code, that one is meant.
    let mut nearest = (0..=FAR).flat_map(|by| [-by, by]);
    match nearest.find(|by| code_at(seed, present + by) == typed) {
        Some(by) if by.abs() <= NEAR => Judged::Right(present + by),
        Some(by) => Judged::ClockOff(by * STEP / 1_000_000),
        None => Judged::Wrong,
    }
}

/// The code that an app with this seed shows now. For tests of whoever has to type one.
#[cfg(test)]
pub(crate) fn shown(seed: &TotpSeed, now: Timestamp) -> String {
    format!("{:06}", code_at(seed, now.as_micros().div_euclid(STEP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> TotpSeed {
        TotpSeed::from_bytes(b"12345678901234567890").unwrap()
    }

    /// RFC 6238 appendix B, its last six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in
            [(59, 287_082), (1_111_111_109, 81_804), (1_234_567_890, 5_924), (20_000_000_000, 353_130)]
        {
            assert_eq!(code_at(&seed(), seconds / 30), code);
        }
    }

    #[test]
    fn a_step_each_way_is_accepted_and_what_is_farther_is_named() {
        let now = Timestamp::from_micros(1_111_111_109_000_000);
        let at = |seconds: i64| Timestamp::from_micros(now.as_micros() + seconds * 1_000_000);
        let judged = |seconds| judge(&seed(), &TotpCode::parse(&shown(&seed(), at(seconds))).unwrap(), now);
        let step = now.as_micros() / STEP;
        assert_eq!([0, -30, 30].map(judged), [0, -1, 1].map(|by| Judged::Right(step + by)));
        assert_eq!(judged(-420), Judged::ClockOff(-420));
        assert_eq!(judged(3600), Judged::ClockOff(3600));
        assert_eq!(judged(-3660), Judged::Wrong);
        let other = TotpSeed::from_bytes(b"another seed of 20 b").unwrap();
        assert_eq!(judge(&other, &TotpCode::parse(&shown(&seed(), now)).unwrap(), now), Judged::Wrong);
    }
}
