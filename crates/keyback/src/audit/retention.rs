//! `audit prune` and `audit erase`: what is deleted, and when.

use crate::config::{Audit, Config};
use crate::keyfiles;
use crate::output::{self, FOUND, Trouble};
use keyback_core::keys::SigningKey;
use keyback_core::{Clock, ObjectGuid, SystemClock, Timestamp};
use keyback_store::{Erased, Pruned, Store, StoreError};
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often `serve` looks for what is too old.
const EVERY: Duration = Duration::from_hours(1);

fn days_before(now: Timestamp, days: u32) -> Timestamp {
    let span = i64::from(days).saturating_mul(86_400_000_000);
    Timestamp::from_micros(now.as_micros().saturating_sub(span))
}

/// Deletes what is older than the configuration allows.
async fn prune_once(store: &Store, audit: &Audit, by: &SigningKey) -> Result<Pruned, StoreError> {
    let now = SystemClock.now();
    let (keep, personal) = (days_before(now, audit.keep_days), days_before(now, audit.personal_days));
    store.prune_audit(keep, personal, now, by).await
}

/// The same, every hour, until `stop`.
pub async fn keep_pruning(store: Store, audit: Audit, by: SigningKey, stop: CancellationToken) {
    let mut hours = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hours.tick() => match prune_once(&store, &audit, &by).await {
                Ok(pruned) if pruned == Pruned::default() => {}
                Ok(Pruned { rows, personal, jobs }) => {
                    tracing::info!(rows, personal, jobs, "deleted what the audit trail need not keep");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the audit trail could not be pruned");
                }
            },
        }
    }
}

/// `audit prune`.
pub async fn prune(store: &Store, config: &Config, json: bool) -> Result<ExitCode, Trouble> {
    let key = keyfiles::server_signing(config.server()?)?;
    let pruned = prune_once(store, &config.audit, &key).await?;
    if json {
        output::say_json(&pruned)?;
    } else {
        let Pruned { rows, personal, jobs } = pruned;
        let Audit { keep_days, personal_days } = config.audit;
        output::say(&format!(
            "Deleted {rows} rows older than {keep_days} days, the personal data of {personal} rows older than \
             {personal_days} days, and {jobs} jobs of that age."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// `audit erase`.
pub async fn erase(store: &Store, whom: ObjectGuid, json: bool) -> Result<ExitCode, Trouble> {
    let erased = store.erase_person(whom, SystemClock.now()).await?;
    let Erased { rows, jobs, open_jobs } = erased;
    if json {
        output::say_json(&erased)?;
    } else {
        output::say(&format!("Deleted the personal data of {rows} rows, and {jobs} jobs. The rows stay."));
        if open_jobs > 0 {
            output::note(&format!(
                "{open_jobs} jobs of theirs are still open: run this again in five minutes."
            ));
        }
        output::note(
            "The agent's journal forgets them within a day. Log files, exports and backups are yours to clean.",
        );
    }
    Ok(if open_jobs > 0 { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}
