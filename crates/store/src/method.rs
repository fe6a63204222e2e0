//! What people registered to prove themselves with, as far as anybody but an agent can read it.

use crate::flow::parsed;
use crate::trail::{Entry, append};
use crate::{Store, StoreError};
use keyback_core::audit::Activity;
use keyback_core::methods::SealedBytes;
use keyback_core::{MethodId, ObjectGuid, SealedMethod, Timestamp, Way};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

/// A method that the agent is asked to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMethod {
    /// What it will be called.
    pub id: MethodId,
    /// Whose.
    pub object_guid: ObjectGuid,
    /// What it is.
    pub way: Way,
    /// As its person calls it.
    pub name: String,
    /// When it was asked for.
    pub added_at: Timestamp,
}

/// A method that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Which.
    pub id: MethodId,
    /// What it is.
    pub way: Way,
    /// As its person calls it.
    pub name: String,
    /// When it was registered.
    pub added_at: Timestamp,
    /// When one of its codes was right last.
    pub used_at: Option<Timestamp>,
    /// It counts from then on.
    pub usable_at: Option<Timestamp>,
    /// What only agents can open.
    pub sealed: SealedBytes,
}

/// A method that an administrator brings.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Whose, and what it is called.
    pub new: NewMethod,
    /// It counts from then on.
    pub usable_at: Timestamp,
    /// What only agents can open.
    pub sealed: SealedBytes,
}

/// What an agent's answer changes.
#[derive(Debug, Clone, Copy)]
pub enum MethodChange<'a> {
    /// It is registered, and counts from then on. A sheet of codes takes the place of the one before it.
    Kept(&'a SealedMethod, Timestamp),
    /// One of its codes was used.
    Used(&'a SealedMethod),
    /// It counts no more.
    Removed(MethodId),
}

fn read(row: &AnyRow) -> Result<Method, StoreError> {
    let unreadable = |value: String| StoreError::Unreadable { what: "method", value };
    let way: String = row.try_get("way")?;
    let id: String = row.try_get("id")?;
    let sealed = SealedBytes::new(row.try_get("sealed")?).ok_or_else(|| unreadable(id.clone()))?;
    Ok(Method {
        id: parsed("method", &id)?,
        way: parsed("way", &way)?,
        name: row.try_get("name")?,
        added_at: Timestamp::from_micros(row.try_get("added_at")?),
        used_at: row.try_get::<Option<i64>, _>("used_at")?.map(Timestamp::from_micros),
        usable_at: row.try_get::<Option<i64>, _>("usable_at")?.map(Timestamp::from_micros),
        sealed,
    })
}

/// Makes room for a method, which counts once the agent has kept it.
pub(crate) async fn insert(tx: &mut Transaction<'_, Any>, method: &NewMethod) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO method (id, object_guid, way, name, added_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(method.id.to_string())
        .bind(method.object_guid.to_string())
        .bind(method.way.name())
        .bind(method.name.as_str())
        .bind(method.added_at.as_micros())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Keeps what an agent's answer changes.
pub(crate) async fn change(
    tx: &mut Transaction<'_, Any>,
    change: MethodChange<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match change {
        MethodChange::Kept(method, usable_at) => {
            sqlx::query("UPDATE method SET sealed = $1, usable_at = $3 WHERE id = $2")
                .bind(method.sealed.as_bytes())
                .bind(method.id.to_string())
                .bind(usable_at.as_micros())
                .execute(&mut **tx)
                .await?;
            if method.way == Way::Recovery {
                sqlx::query(
                    "DELETE FROM method WHERE way = $1 AND id <> $2 AND object_guid = \
                     (SELECT object_guid FROM method WHERE id = $2)",
                )
                .bind(method.way.name())
                .bind(method.id.to_string())
                .execute(&mut **tx)
                .await?;
            }
        }
        // Good for once: nothing is left to be kept.
        MethodChange::Used(method) if method.way == Way::Pass => {
            sqlx::query("DELETE FROM method WHERE id = $1")
                .bind(method.id.to_string())
                .execute(&mut **tx)
                .await?;
        }
        MethodChange::Used(method) => {
            sqlx::query("UPDATE method SET sealed = $1, used_at = $2 WHERE id = $3")
                .bind(method.sealed.as_bytes())
                .bind(now.as_micros())
                .bind(method.id.to_string())
                .execute(&mut **tx)
                .await?;
        }
        MethodChange::Removed(id) => {
            sqlx::query("DELETE FROM method WHERE id = $1").bind(id.to_string()).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

impl Store {
    /// What somebody registered, the oldest first.
    pub async fn list_methods(&self, of: ObjectGuid) -> Result<Vec<Method>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM method WHERE object_guid = $1 AND sealed IS NOT NULL ORDER BY added_at, id",
        )
        .bind(of.to_string())
        .fetch_all(&mut *self.reader().await?)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Keeps what an administrator brings, all of it or nothing, with one row of the audit trail that says how many.
    pub async fn import_methods(&self, brought: &[Brought], now: Timestamp) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        for method in brought {
            insert(&mut tx, &method.new).await?;
            sqlx::query("UPDATE method SET sealed = $1, usable_at = $2 WHERE id = $3")
                .bind(method.sealed.as_bytes())
                .bind(method.usable_at.as_micros())
                .bind(method.new.id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        let rows = u64::try_from(brought.len()).ok();
        let head =
            append(&mut tx, self.audit_head(), &Entry::of_many(Activity::MethodsImported, rows, now)).await?;
        tx.commit().await?;
        self.set_head(head);
        Ok(())
    }

    /// Forgets methods that no agent has kept by `before`, and passes from before `a_week_ago`.
    pub async fn forget_unkept_methods(
        &self,
        before: Timestamp,
        a_week_ago: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM method WHERE (sealed IS NULL AND added_at < $1) OR (way = $2 AND added_at < $3)",
        )
        .bind(before.as_micros())
        .bind(Way::Pass.name())
        .bind(a_week_ago.as_micros())
        .execute(&mut *self.writer().await?)
        .await?;
        Ok(())
    }
}
