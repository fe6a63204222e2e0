//! Everything said to a database: flows, jobs, budgets, the audit trail and people.
//!
//! Alone in holding SQL. Each public function is one statement or one transaction; what may happen to a job is decided
//! by `keyback_core::job`, here it is only kept. SQLite in WAL mode with `synchronous=FULL`: what was committed is there
//! after a power cut. One connection writes.

mod agent;
mod budget;
#[cfg(test)]
mod chain_tests;
mod connection;
mod error;
mod flow;
mod job;
mod legacy;
mod method;
mod open;
mod retention;
#[cfg(test)]
mod tests;
mod trail;
mod whole;

pub use agent::HeardAgent;
pub use budget::{BudgetKey, Counted, Door, MOST_SPENDS, Rate, Spend, TurnedAway};
pub use error::StoreError;
pub use flow::{Flow, NewFlow};
pub use job::{Attempt, Checked, Effects, Job, NewCheck, NewJob, Submitted};
pub use method::{Brought, Method, MethodChange, NewMethod};
pub use open::Store;
pub use retention::{Erased, Pruned};
pub use trail::{AuditRow, AuditSpan};
