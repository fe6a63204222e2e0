//! Budgets: how often somebody may try. Counted before the try, in the transaction that begins it.
//!
//! What is counted, and for whom, is the caller's: here a budget is a key and a rate. The first tries cost no wait; each
//! one after them doubles the wait until the next. A try that is turned away is not counted, so whoever keeps pressing
//! does not lengthen the wait.

use crate::{Store, StoreError};
use keyback_core::Timestamp;
use sqlx::any::{Any, AnyRow};
use sqlx::{AnyConnection, Row, Transaction};
use std::time::Duration;

/// SHA-256 of what is counted and for whom: the table names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BudgetKey(pub [u8; 32]);

/// How many tries, and the waits after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tries within one window that cost no wait.
    pub tries: u32,
    /// Tries are forgotten this long after the first, or after the end of the last wait.
    pub window: Duration,
    /// The first wait; it doubles with each further try.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
}

/// What a budget belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A network, whatever name it asks for.
    Source,
    /// A name, from one network.
    NameFromSource,
    /// A name, from everywhere.
    Name,
    /// A user who is there. Nobody may be told that this budget is spent.
    Person,
}

/// One budget that a try takes from.
#[derive(Debug, Clone, Copy)]
pub struct Spend {
    /// Which.
    pub key: BudgetKey,
    /// What it belongs to.
    pub counted: Counted,
    /// How much it holds.
    pub rate: Rate,
    /// Not taken from where the try comes from a home ([`Door::home`]).
    pub spares_home: bool,
}

/// What has to be so before a try begins.
#[derive(Debug, Clone)]
pub struct Door {
    /// Taken from, all of them or none. At most [`MOST_SPENDS`].
    pub spends: Vec<Spend>,
    /// The network's mark: somebody proved who they are from there ([`crate::Effects::home`]).
    pub home: BudgetKey,
    /// Jobs that may be open at once.
    pub open_jobs: u32,
}

/// Why a try was turned away. Nothing was kept and nothing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// A budget is spent.
    TooMany {
        /// Whose.
        counted: Counted,
        /// Until the next try.
        wait: Duration,
    },
    /// Too many jobs are open.
    Busy,
}

/// The most budgets that one try takes from.
pub const MOST_SPENDS: usize = 6;
/// A network from which somebody proved who they are is a home for so long.
const HOME_FOR: Duration = Duration::from_hours(24 * 90);

/// A budget as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    tries: u32,
    free_at: Timestamp,
    forget_at: Timestamp,
}

impl Budget {
    /// One more try.
    ///
    /// # Errors
    /// How long until the next try may be made.
    fn spend(found: Option<Self>, rate: Rate, now: Timestamp) -> Result<Self, Duration> {
        let Some(budget) = found.filter(|budget| now < budget.forget_at) else {
            return Ok(Self::after(1, now.plus(rate.window), rate, now));
        };
        let wait = budget.free_at.since(now);
        // A longer one than there is comes from a clock that was set back: it must not lock anybody out.
        if !wait.is_zero() && wait <= rate.longest_wait {
            return Err(wait);
        }
        Ok(Self::after(budget.tries.saturating_add(1), budget.forget_at, rate, now))
    }

    fn after(tries: u32, forget_at: Timestamp, rate: Rate, now: Timestamp) -> Self {
        let Some(over) = tries.checked_sub(rate.tries) else {
            return Self { tries, free_at: now, forget_at };
        };
        let wait = rate.first_wait.saturating_mul(1 << over.min(20)).min(rate.longest_wait);
        let free_at = now.plus(wait);
        Self { tries, free_at, forget_at: free_at.plus(rate.window) }
    }
}

/// The budgets that the door asks for, and whether the try comes from a home.
struct Found {
    budgets: Vec<([u8; 32], Budget)>,
    is_home: bool,
}

const FIND: &str =
    "SELECT key, tries, free_at, forget_at FROM budget WHERE key IN ($1, $2, $3, $4, $5, $6, $7)";

fn wanted(door: &Door) -> [&[u8]; MOST_SPENDS + 1] {
    let mut keys: [&[u8]; MOST_SPENDS + 1] = [&[]; MOST_SPENDS + 1];
    keys[MOST_SPENDS] = &door.home.0;
    for (place, spend) in keys.iter_mut().zip(&door.spends) {
        *place = &spend.key.0;
    }
    keys
}

impl Found {
    fn read(rows: &[AnyRow], door: &Door, now: Timestamp) -> Result<Self, StoreError> {
        let mut found = Self { budgets: Vec::with_capacity(rows.len()), is_home: false };
        for row in rows {
            let key: &[u8] = row.try_get("key")?;
            let budget = Budget {
                tries: u32::try_from(row.try_get::<i64, _>("tries")?).unwrap_or(u32::MAX),
                free_at: Timestamp::from_micros(row.try_get("free_at")?),
                forget_at: Timestamp::from_micros(row.try_get("forget_at")?),
            };
            if key == door.home.0 {
                found.is_home = now < budget.forget_at;
            } else if let Ok(key) = key.try_into() {
                found.budgets.push((key, budget));
            }
        }
        Ok(found)
    }

    /// What every budget comes to, or the longest wait of those that are spent; what everybody may be told goes first.
    fn spend(&self, door: &Door, now: Timestamp) -> Result<Vec<(BudgetKey, Budget)>, TurnedAway> {
        let mut spent = Vec::with_capacity(door.spends.len());
        let mut longest: Option<(bool, Duration, Counted)> = None;
        for spend in door.spends.iter().filter(|spend| !(self.is_home && spend.spares_home)) {
            let found = self.budgets.iter().find(|(key, _)| *key == spend.key.0).map(|(_, budget)| *budget);
            match Budget::spend(found, spend.rate, now) {
                Ok(budget) => spent.push((spend.key, budget)),
                Err(wait) => {
                    let may_be_told = spend.counted != Counted::Person;
                    if longest.is_none_or(|(told, other, _)| (told, other) < (may_be_told, wait)) {
                        longest = Some((may_be_told, wait, spend.counted));
                    }
                }
            }
        }
        longest.map_or(Ok(spent), |(_, wait, counted)| Err(TurnedAway::TooMany { counted, wait }))
    }
}

async fn find(at: &mut AnyConnection, door: &Door) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut query = sqlx::query(FIND);
    for key in wanted(door) {
        query = query.bind(key);
    }
    query.fetch_all(at).await
}

/// Takes from every budget, or says why not. Ends the transaction itself in no case.
pub(crate) async fn enter(
    tx: &mut Transaction<'_, Any>,
    door: &Door,
    now: Timestamp,
) -> Result<Result<(), TurnedAway>, StoreError> {
    let open: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM (SELECT 1 FROM job WHERE due_at IS NOT NULL LIMIT $1)")
            .bind(i64::from(door.open_jobs))
            .fetch_one(&mut **tx)
            .await?;
    if open >= i64::from(door.open_jobs) {
        return Ok(Err(TurnedAway::Busy));
    }
    if door.spends.is_empty() {
        return Ok(Ok(()));
    }
    let rows = find(&mut *tx, door).await?;
    let spent = match Found::read(&rows, door, now)?.spend(door, now) {
        Ok(spent) => spent,
        Err(turned_away) => return Ok(Err(turned_away)),
    };
    for (key, budget) in spent {
        put(tx, key, budget).await?;
    }
    Ok(Ok(()))
}

async fn put(tx: &mut Transaction<'_, Any>, key: BudgetKey, budget: Budget) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO budget (key, tries, free_at, forget_at) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO UPDATE SET \
         tries = excluded.tries, free_at = excluded.free_at, forget_at = excluded.forget_at",
    )
    .bind(key.0.as_slice())
    .bind(i64::from(budget.tries))
    .bind(budget.free_at.as_micros())
    .bind(budget.forget_at.as_micros())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Somebody proved who they are from there.
pub(crate) async fn mark_home(
    tx: &mut Transaction<'_, Any>,
    home: BudgetKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    put(tx, home, Budget { tries: 0, free_at: now, forget_at: now.plus(HOME_FOR) }).await
}

impl Store {
    /// Whether a try would be turned away by its budgets: a look that neither counts nor waits for the writer, so that a
    /// flood of what is turned away costs the others little. The transaction that begins the try looks again.
    pub async fn find_spent_budget(
        &self,
        door: &Door,
        now: Timestamp,
    ) -> Result<Option<TurnedAway>, StoreError> {
        let rows = find(&mut *self.reader().await?, door).await?;
        Ok(Found::read(&rows, door, now)?.spend(door, now).err())
    }

    /// Forgets budgets that do not matter any more.
    pub async fn forget_budgets(&self, now: Timestamp) -> Result<u64, StoreError> {
        let gone = sqlx::query("DELETE FROM budget WHERE forget_at <= $1")
            .bind(now.as_micros())
            .execute(&mut *self.writer().await?)
            .await?;
        Ok(gone.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        tries: 3,
        window: Duration::from_hours(1),
        first_wait: Duration::from_mins(1),
        longest_wait: Duration::from_mins(15),
    };

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000 * seconds.cast_signed())
    }

    #[test]
    fn the_first_tries_cost_no_wait_and_then_the_waits_double_up_to_the_longest() {
        let (mut budget, mut now, mut waits) = (None, at(1000), Vec::new());
        for _ in 0..10 {
            let wait = match Budget::spend(budget, RATE, now) {
                Ok(_) => Duration::ZERO,
                Err(wait) => wait,
            };
            waits.push(wait.as_secs());
            now = now.plus(wait);
            budget = Some(Budget::spend(budget, RATE, now).expect("the wait is over"));
        }
        assert_eq!(waits, [0, 0, 0, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_try_that_is_turned_away_does_not_lengthen_the_wait_and_quiet_is_forgotten() {
        let mut budget = None;
        for _ in 0..3 {
            budget = Some(Budget::spend(budget, RATE, at(0)).expect("free"));
        }
        for second in [0, 1, 59] {
            assert_eq!(Budget::spend(budget, RATE, at(second)), Err(Duration::from_secs(60 - second)));
        }
        let after = Budget::spend(budget, RATE, at(60 + 3600)).expect("forgotten");
        assert_eq!(after.tries, 1);
        let slow =
            Budget::spend(Some(Budget { tries: 2, free_at: at(0), forget_at: at(3600) }), RATE, at(3600));
        assert_eq!(slow.map(|budget| budget.tries), Ok(1), "two in one hour are no matter in the next");
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let far = Budget { tries: 9, free_at: at(1_000_000), forget_at: at(2_000_000) };
        let budget = Budget::spend(Some(far), RATE, at(0)).expect("let in");
        assert_eq!(budget.free_at, at(900), "and counted");
    }
}
