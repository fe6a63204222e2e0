//! What is deleted from the audit trail and its surroundings, and when.

use crate::trail::{Entry, append, hash};
use crate::{Store, StoreError};
use keyback_core::audit::{Activity, Checkpoint, Head};
use keyback_core::keys::SigningKey;
use keyback_core::statement::Statement;
use keyback_core::{ObjectGuid, Timestamp};
use sqlx::{AnyConnection, Executor, Row};

/// Rows that one transaction deletes at most, so that a reset does not wait for it.
const AT_ONCE: i64 = 2_000;

/// The names that are certainly this person's, in lower case: what is known of them, and what was typed where they were
/// found.
const NAMES: &str = "SELECT lower($1) UNION SELECT lower(user_principal_name) FROM person WHERE object_guid = $1 \
     UNION SELECT lower(sam_account_name) FROM person WHERE object_guid = $1 \
     UNION SELECT lower(clear ->> '$.user_name') FROM audit WHERE clear ->> '$.object_guid' = $1 \
     UNION SELECT lower(user_name) FROM job WHERE object_guid = $1";
/// Of whole user actions: whom they were about is known only from the row that found it out.
const ERASE_ROWS: &str = "UPDATE audit SET salt = NULL, clear = NULL WHERE salt IS NOT NULL AND \
     (lower(clear ->> '$.user_name') IN (SELECT value FROM json_each($2)) OR correlation_id IN \
     (SELECT correlation_id FROM audit WHERE clear ->> '$.object_guid' = $1))";
const ERASE_ATTEMPTS: &str = "DELETE FROM attempt WHERE job_id IN (SELECT id FROM job WHERE finished_at IS NOT NULL \
     AND (object_guid = $1 OR lower(user_name) IN (SELECT value FROM json_each($2))))";
const ERASE_DIAGNOSES: &str = "DELETE FROM diagnosis WHERE job_id IN (SELECT id FROM job WHERE finished_at IS NOT NULL \
     AND (object_guid = $1 OR lower(user_name) IN (SELECT value FROM json_each($2))))";
const ERASE_JOBS: &str = "DELETE FROM job WHERE finished_at IS NOT NULL \
     AND (object_guid = $1 OR lower(user_name) IN (SELECT value FROM json_each($2)))";
const ERASE_FLOWS: &str =
    "DELETE FROM flow WHERE object_guid = $1 OR lower(user_name) IN (SELECT value FROM json_each($2))";
const ERASE_METHODS: &str = "DELETE FROM method WHERE object_guid = $1 AND $2 = $2";
const ERASE_PERSON: &str = "DELETE FROM person WHERE object_guid = $1 AND $2 = $2";
const OPEN_JOBS: &str = "SELECT COUNT(*) FROM job WHERE finished_at IS NULL \
     AND (object_guid = $1 OR lower(user_name) IN (SELECT value FROM json_each($2)))";

/// What was pruned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Rows of the chain.
    pub rows: u64,
    /// Rows that no longer name anybody.
    pub personal: u64,
    /// Ended jobs, which name people too.
    pub jobs: u64,
}

/// What was erased of one person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// Audit rows that no longer name them.
    pub rows: u64,
    /// Jobs that were deleted.
    pub jobs: u64,
    /// Jobs of theirs that are still open and were left alone.
    pub open_jobs: u64,
}

impl Store {
    /// Deletes rows from before `keep_after`, and whom rows from before `personal_after` are about. Only rows that the
    /// agent has countersigned go: a checkpoint with its signature and this server's stands for them from then on.
    pub async fn prune_audit(
        &self,
        keep_after: Timestamp,
        personal_after: Timestamp,
        now: Timestamp,
        by: &SigningKey,
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        while let Some(rows) = self.prune_rows(keep_after, now, by).await? {
            pruned.rows += rows;
        }
        let cut = personal_after.as_micros();
        loop {
            let gone = sqlx::query(
                "UPDATE audit SET salt = NULL, clear = NULL WHERE number IN (SELECT number FROM audit \
                 WHERE at < $1 AND salt IS NOT NULL ORDER BY number LIMIT $2)",
            )
            .bind(cut)
            .bind(AT_ONCE)
            .execute(&mut *self.writer().await?)
            .await?
            .rows_affected();
            pruned.personal += gone;
            if gone == 0 {
                break;
            }
        }
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        for statement in [
            "DELETE FROM attempt WHERE job_id IN (SELECT id FROM job WHERE finished_at < $1)",
            "DELETE FROM diagnosis WHERE job_id IN (SELECT id FROM job WHERE finished_at < $1)",
        ] {
            sqlx::query(statement).bind(cut).execute(&mut *tx).await?;
        }
        let jobs = sqlx::query("DELETE FROM job WHERE finished_at < $1").bind(cut).execute(&mut *tx).await?;
        pruned.jobs = jobs.rows_affected();
        sqlx::query("DELETE FROM person WHERE seen_at < $1").bind(cut).execute(&mut *tx).await?;
        tx.commit().await?;
        if pruned != Pruned::default() {
            Self::empty_log(&mut writer).await?;
        }
        Ok(pruned)
    }

    /// One step of it. `None`: there is nothing to prune, or nothing that the agent vouches for.
    async fn prune_rows(
        &self,
        keep_after: Timestamp,
        now: Timestamp,
        by: &SigningKey,
    ) -> Result<Option<u64>, StoreError> {
        let old: Option<i64> = sqlx::query_scalar(
            "SELECT MAX(number) FROM (SELECT number FROM audit WHERE at < $1 ORDER BY number LIMIT $2)",
        )
        .bind(keep_after.as_micros())
        .bind(AT_ONCE)
        .fetch_one(&mut *self.reader().await?)
        .await?;
        let Some(old) = old else { return Ok(None) };
        let Some((head, said, signature)) = self.countersigned(old).await? else { return Ok(None) };
        let checkpoint = Checkpoint::sign(head, now, said, signature, by);
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        let rows =
            sqlx::query("DELETE FROM audit WHERE number <= $1").bind(head.number).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM audit_checkpoint").execute(&mut *tx).await?;
        sqlx::query(
            "INSERT INTO audit_checkpoint (number, hash, at, said, signature, server_signature) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(head.number)
        .bind(head.hash.as_bytes().as_slice())
        .bind(checkpoint.at.as_micros())
        .bind(checkpoint.said.as_str())
        .bind(checkpoint.signature.as_slice())
        .bind(checkpoint.server_signature.as_slice())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Some(rows.rows_affected()))
    }

    /// The newest head up to row `old` that the agent has signed and that is this chain's.
    async fn countersigned(&self, old: i64) -> Result<Option<(Head, String, Vec<u8>)>, StoreError> {
        // Heads grow with the rows that name them: the first that is too new ends the search.
        let rows = sqlx::query(
            "SELECT said, signature FROM audit WHERE said IS NOT NULL AND number <= $1 ORDER BY number DESC LIMIT $2",
        )
        .bind(old.saturating_add(AT_ONCE))
        .bind(2 * AT_ONCE)
        .fetch_all(&mut *self.reader().await?)
        .await?;
        for row in rows {
            let said: String = row.try_get("said")?;
            let statement = serde_json::from_str::<Statement>(&said).ok();
            let Some(head) = statement.and_then(|said| said.head).filter(|head| head.number <= old) else {
                continue;
            };
            let stands = sqlx::query("SELECT hash FROM audit WHERE number = $1")
                .bind(head.number)
                .fetch_optional(&mut *self.reader().await?)
                .await?;
            if let Some(stands) = stands
                && hash(&stands, "hash")? == head.hash
            {
                return Ok(Some((head, said, row.try_get("signature")?)));
            }
        }
        Ok(None)
    }

    /// Deletes what names one person: of the audit trail, jobs that have ended, flows, their methods, and what was last seen of
    /// them.
    /// The rows stay, and so does the chain. A row says that it was done, and not to whom.
    pub async fn erase_person(&self, whom: ObjectGuid, now: Timestamp) -> Result<Erased, StoreError> {
        let guid = whom.to_string();
        // Nobody else writes from here on: the chain's end is read in between.
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        let names: Vec<String> = sqlx::query_scalar(NAMES).bind(&guid).fetch_all(&mut *tx).await?;
        let names = serde_json::to_string(&names)
            .map_err(|error| StoreError::Unreadable { what: "names", value: error.to_string() })?;
        let mut gone = Vec::new();
        for statement in [
            ERASE_ROWS,
            ERASE_ATTEMPTS,
            ERASE_DIAGNOSES,
            ERASE_JOBS,
            ERASE_FLOWS,
            ERASE_PERSON,
            ERASE_METHODS,
        ] {
            let done = sqlx::query(statement).bind(&guid).bind(&names).execute(&mut *tx).await?;
            gone.push(done.rows_affected());
        }
        let open_jobs: i64 =
            sqlx::query_scalar(OPEN_JOBS).bind(&guid).bind(&names).fetch_one(&mut *tx).await?;
        let erased =
            Erased { rows: gone[0], jobs: gone[3], open_jobs: u64::try_from(open_jobs).unwrap_or(0) };
        let entry = Entry::of_many(Activity::Erased, Some(erased.rows), now);
        let head = append(&mut tx, self.audit_head(), &entry).await?;
        tx.commit().await?;
        self.set_head(head);
        Self::empty_log(&mut writer).await?;
        Ok(erased)
    }

    /// What was deleted still stands in the write-ahead log until that is written over.
    async fn empty_log(writer: &mut AnyConnection) -> Result<(), StoreError> {
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        Ok(())
    }
}
