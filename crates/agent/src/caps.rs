//! How much the agent writes at most, whatever the server asks: per person and day, per hour, per OU and hour.
//!
//! What counts is what may have been written: a job begun counts until it is certain that the directory refused it. The
//! window slides. A clock that was put back frees nothing: what then lies in the future counts.

use keyback_codes::Cause;
use keyback_core::{Failure, JobId, ObjectGuid, Timestamp};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The window of a person's cap.
pub const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// The numbers. All of them at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Writes for one person in 24 hours.
    pub user_day: u32,
    /// Writes in an hour.
    pub agent_hour: u32,
    /// Writes in an hour to people in one OU of the scope.
    pub ou_hour: u32,
    /// The agent stops when its own cap has refused more jobs than this in an hour.
    pub burst: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { user_day: 3, agent_hour: 30, ou_hour: 30, burst: 10 }
    }
}

/// A cap is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// `agent.cap_user`, `agent.cap_agent` or `agent.cap_ou`.
    pub cause: Cause,
    /// How many are allowed.
    pub limit: u32,
    /// Of which OU, or of whom.
    pub of: Option<ObjectGuid>,
    /// The next write is allowed at this time.
    pub ends_at: Timestamp,
}

impl Full {
    /// The refusal, with the cap and its end.
    pub fn failure(&self) -> Failure {
        let window = if self.cause == Cause::AgentCapUser { "24 hours" } else { "hour" };
        let of = self.of.map_or_else(|| "agent".to_owned(), |guid| guid.to_string());
        Failure::of(self.cause).seen("cap", format!("{} writes in any {window}", self.limit), of).seen(
            "cap ends",
            self.ends_at.to_string(),
            "agent",
        )
    }
}

struct Write {
    at: Timestamp,
    user: ObjectGuid,
    ous: Vec<ObjectGuid>,
}

/// What was written lately, and what the agent's cap refused.
#[derive(Default)]
pub(crate) struct Counts {
    writes: HashMap<JobId, Write>,
    refused: HashMap<JobId, Timestamp>,
    /// What an administrator has looked at: it counts for nobody but the person.
    excused: HashSet<JobId>,
}

impl Counts {
    pub(crate) fn take(&mut self, job_id: JobId, at: Timestamp, user: ObjectGuid, ous: Vec<ObjectGuid>) {
        // The first time stands: a job that is tried again is still one write.
        self.writes.entry(job_id).or_insert(Write { at, user, ous });
    }

    /// Nothing was written.
    pub(crate) fn give_back(&mut self, job_id: JobId) {
        self.writes.remove(&job_id);
    }

    pub(crate) fn refuse(&mut self, job_id: JobId, at: Timestamp) {
        self.refused.insert(job_id, at);
    }

    /// Refusals by the agent's cap in the last hour.
    pub(crate) fn refused_lately(&self, now: Timestamp) -> u32 {
        let lately =
            |(job_id, at): &(&JobId, &Timestamp)| now.since(**at) < HOUR && !self.excused.contains(job_id);
        u32::try_from(self.refused.iter().filter(lately).count()).unwrap_or(u32::MAX)
    }

    /// An administrator has looked at everything up to now.
    pub(crate) fn excuse_all(&mut self) {
        self.excused = self.writes.keys().chain(self.refused.keys()).copied().collect();
    }

    pub(crate) fn excused(&self) -> Vec<JobId> {
        self.excused.iter().copied().collect()
    }

    pub(crate) fn excuse(&mut self, jobs: Vec<JobId>) {
        self.excused.extend(jobs);
    }

    /// Forgets what no window reaches any more.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.writes.retain(|_, write| now.since(write.at) < DAY);
        self.refused.retain(|_, at| now.since(*at) < HOUR);
        let (writes, refused) = (&self.writes, &self.refused);
        self.excused.retain(|job| writes.contains_key(job) || refused.contains_key(job));
    }

    /// Whether `job_id` may write now. It does not stand in its own way.
    pub(crate) fn check(
        &self,
        job_id: JobId,
        user: ObjectGuid,
        ous: &[ObjectGuid],
        now: Timestamp,
        caps: &Caps,
    ) -> Result<(), Full> {
        let others = || self.writes.iter().filter(|(id, _)| **id != job_id);
        let counted = || others().filter(|(id, _)| !self.excused.contains(id)).map(|(_, write)| write);
        let of_user = others().map(|(_, write)| write).filter(|write| write.user == user);
        full(of_user, DAY, caps.user_day, now)
            .map_or(Ok(()), |ends_at| Err((Cause::AgentCapUser, caps.user_day, Some(user), ends_at)))
            .and_then(|()| {
                full(counted(), HOUR, caps.agent_hour, now)
                    .map_or(Ok(()), |ends_at| Err((Cause::AgentCapAgent, caps.agent_hour, None, ends_at)))
            })
            .and_then(|()| {
                ous.iter().try_for_each(|ou| {
                    let in_ou = counted().filter(|write| write.ous.contains(ou));
                    full(in_ou, HOUR, caps.ou_hour, now)
                        .map_or(Ok(()), |ends_at| Err((Cause::AgentCapOu, caps.ou_hour, Some(*ou), ends_at)))
                })
            })
            .map_err(|(cause, limit, of, ends_at)| Full { cause, limit, of, ends_at })
    }
}

/// When there is room again, unless there is now.
fn full<'a>(
    writes: impl Iterator<Item = &'a Write>,
    window: Duration,
    limit: u32,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut times: Vec<Timestamp> =
        writes.map(|write| write.at).filter(|at| now.since(*at) < window).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let too_many = times.len().checked_sub(limit)?;
    times.sort_unstable();
    times.get(too_many).map(|at| at.plus(window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);
    const CAPS: Caps = Caps { user_day: 3, agent_hour: 5, ou_hour: 4, burst: 2 };

    fn job(seed: u8) -> JobId {
        JobId::from_random([seed; 16])
    }

    fn guid(seed: u8) -> ObjectGuid {
        ObjectGuid::from_wire([seed; 16])
    }

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn cause(counts: &Counts, user: u8, ou: u8, now: Timestamp) -> Option<Cause> {
        counts.check(job(99), guid(user), &[guid(ou)], now, &CAPS).err().map(|full| full.cause)
    }

    #[test]
    fn a_person_has_three_writes_in_any_24_hours_and_is_told_when_the_next_is() {
        let mut counts = Counts::default();
        for (seed, seconds) in [(1, 0), (2, 10), (3, 20)] {
            assert_eq!(cause(&counts, 1, 1, after(seconds)), None);
            counts.take(job(seed), after(seconds), guid(1), vec![guid(1)]);
        }
        let full = counts.check(job(4), guid(1), &[], after(30), &CAPS).unwrap_err();
        assert_eq!((full.cause, full.limit, full.ends_at), (Cause::AgentCapUser, 3, NOW.plus(DAY)));
        assert_eq!(cause(&counts, 1, 1, NOW.plus(DAY)), None, "the first is a day old");
        assert_eq!(cause(&counts, 2, 1, after(30)), None, "somebody else");
        assert!(
            counts.check(job(3), guid(1), &[], after(30), &CAPS).is_ok(),
            "a job tried again is one write"
        );
    }

    #[test]
    fn the_agent_and_each_ou_have_their_hour() {
        let mut counts = Counts::default();
        for seed in 1..=4 {
            counts.take(job(seed), after(u64::from(seed)), guid(seed), vec![guid(101)]);
        }
        assert_eq!(cause(&counts, 50, 101, after(10)), Some(Cause::AgentCapOu));
        assert_eq!(cause(&counts, 50, 102, after(10)), None);
        counts.take(job(5), after(5), guid(5), vec![guid(102)]);
        assert_eq!(cause(&counts, 50, 103, after(10)), Some(Cause::AgentCapAgent));
        assert_eq!(cause(&counts, 50, 103, after(3601)), None);
        counts.give_back(job(5));
        assert_eq!(cause(&counts, 50, 103, after(10)), None, "the directory refused it: nothing was written");
    }

    #[test]
    fn a_clock_that_is_put_back_frees_nothing() {
        let mut counts = Counts::default();
        for seed in 1..=3 {
            counts.take(job(seed), NOW, guid(1), vec![]);
        }
        let before = Timestamp::from_micros(NOW.as_micros() - 90_000_000_000);
        assert_eq!(cause(&counts, 1, 1, before), Some(Cause::AgentCapUser));
        counts.forget(before);
        assert_eq!(cause(&counts, 1, 1, before), Some(Cause::AgentCapUser));
    }

    #[test]
    fn what_an_administrator_has_looked_at_counts_for_the_person_only() {
        let mut counts = Counts::default();
        for seed in 1..=5 {
            counts.take(job(seed), NOW, guid(seed % 2), vec![]);
            counts.refuse(job(seed + 10), NOW);
        }
        assert_eq!((cause(&counts, 50, 1, NOW), counts.refused_lately(NOW)), (Some(Cause::AgentCapAgent), 5));
        counts.excuse_all();
        assert_eq!((cause(&counts, 50, 1, NOW), counts.refused_lately(NOW)), (None, 0));
        assert_eq!(cause(&counts, 1, 1, NOW), Some(Cause::AgentCapUser));
    }

    proptest! {
        /// Whatever comes in which order: in no window lie more writes than its cap allows.
        #[test]
        fn no_window_ever_holds_more_than_its_cap(asked in proptest::collection::vec((0_u64..200_000, 0_u8..4, 0_u8..3), 1..120)) {
            let mut counts = Counts::default();
            let (mut now, mut done) = (NOW, Vec::new());
            for (number, (seconds, user, ou)) in asked.into_iter().enumerate() {
                now = now.plus(Duration::from_secs(seconds % 4000));
                let id = JobId::from_random([u8::try_from(number).unwrap_or(0); 16]);
                if counts.check(id, guid(user), &[guid(ou)], now, &CAPS).is_ok() {
                    counts.take(id, now, guid(user), vec![guid(ou)]);
                    done.push((now, user, ou));
                }
            }
            for (end, user, ou) in &done {
                let within = |window: Duration| done.iter().filter(move |(at, _, _)| at <= end && end.since(*at) < window);
                prop_assert!(within(DAY).filter(|(_, who, _)| who == user).count() <= 3);
                prop_assert!(within(HOUR).count() <= 5);
                prop_assert!(within(HOUR).filter(|(_, _, of)| of == ou).count() <= 4);
            }
        }
    }
}
