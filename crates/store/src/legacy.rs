//! Rows from before there was a chain: each is chained once, in their order, under its number.

use crate::trail::{Entry, append_after, read_head, unreadable};
use crate::{Store, StoreError};
use keyback_core::audit::{AuditEvent, Facts, Head};
use sqlx::Row;

impl Store {
    /// Takes up what the old table still holds, in one transaction.
    pub(crate) async fn chain_legacy(&self) -> Result<(), StoreError> {
        // Most of the time there is nothing, and a store that is only read is not locked for it.
        let any: i64 = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM audit_unchained)")
            .fetch_one(&mut *self.writer().await?)
            .await?;
        if any == 0 {
            return Ok(());
        }
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        let rows = sqlx::query("SELECT number, event FROM audit_unchained ORDER BY number")
            .fetch_all(&mut *tx)
            .await?;
        let mut head = read_head(&mut tx).await?;
        for row in &rows {
            let event: String = row.try_get("event")?;
            let event: AuditEvent =
                serde_json::from_str(&event).map_err(|_| unreadable("audit event")(event))?;
            let entry = Entry::of(&event, None);
            let entry = Entry { facts: Facts { legacy: true, ..entry.facts }, ..entry };
            // A row that was missing then is missing now: the gap stays to be seen.
            let number: i64 = row.try_get("number")?;
            let behind = Head { number: number - 1, ..head };
            head = append_after(&mut tx, behind, &entry)
                .await?
                .ok_or_else(|| unreadable("audit number")(number.to_string()))?;
        }
        sqlx::query("DELETE FROM audit_unchained").execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
