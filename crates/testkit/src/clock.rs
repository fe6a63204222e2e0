//! A clock that goes when it is told to.

use keyback_core::{Clock, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Time as a test wants it, in both directions.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Stands at this instant.
    pub const fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Goes forward.
    pub fn advance(&self, by: Duration) {
        self.jump(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Goes forward, or back where `micros` is negative.
    pub fn jump(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_in_both_directions_and_never_by_itself() {
        let clock = ManualClock::at(Timestamp::from_micros(10));
        clock.advance(Duration::from_micros(5));
        clock.jump(-7);
        assert_eq!((clock.now(), clock.now()), (Timestamp::from_micros(8), Timestamp::from_micros(8)));
    }
}
