//! Reading the audit trail. It is written by the transactions that it records.

use crate::{Store, StoreError};
use keyback_core::CorrelationId;
use keyback_core::audit::AuditEvent;
use sqlx::Row;

/// A row and its place in the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Counts up by one; a gap is a row that somebody took out.
    pub number: i64,
    /// What is recorded.
    pub event: AuditEvent,
}

impl Store {
    /// The newest `at_most` rows, oldest first, of one user action or of all.
    pub async fn list_audit(
        &self,
        of: Option<CorrelationId>,
        at_most: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT number, event FROM audit WHERE $1 IS NULL OR correlation_id = $1 ORDER BY number DESC LIMIT $2",
        )
        .bind(of.map(|of| of.to_string()))
        .bind(i64::from(at_most))
        .fetch_all(&self.readers)
        .await?;
        let mut trail = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            let event: &str = row.try_get("event")?;
            trail.push(AuditRow {
                number: row.try_get("number")?,
                event: serde_json::from_str(event)
                    .map_err(|_| StoreError::Unreadable { what: "audit event", value: event.to_owned() })?,
            });
        }
        Ok(trail)
    }
}
