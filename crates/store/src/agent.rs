//! What is known of agents: their last heartbeat, the highest head of their journals, and open enrolments.

use crate::{Store, StoreError};
use keyback_core::enrolment::EnrolmentKey;
use keyback_core::heartbeat::{Head, Heartbeat, MOST_HEADS};
use keyback_core::{KeyId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

/// An agent as it was heard last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardAgent {
    /// What it said.
    pub heartbeat: Heartbeat,
    /// The highest head of its journal that was ever seen.
    pub seen: Head,
    /// When it was heard, by the server's clock.
    pub heard_at: Timestamp,
}

fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { what, value: text.to_owned() })
}

fn to_json(value: &impl serde::Serialize) -> String {
    // Plain data of our own types: there is nothing in it that cannot be written as JSON.
    serde_json::to_string(value).unwrap_or_default()
}

fn read(row: &AnyRow) -> Result<HeardAgent, StoreError> {
    Ok(HeardAgent {
        heartbeat: from_json("heartbeat", row.try_get("heartbeat")?)?,
        seen: from_json("seen", row.try_get("seen")?)?,
        heard_at: Timestamp::from_micros(row.try_get("heard_at")?),
    })
}

impl Store {
    /// Keeps a heartbeat, and the head of its journal if it is the highest so far.
    pub async fn heard(&self, heartbeat: &Heartbeat, at: Timestamp) -> Result<(), StoreError> {
        let sequence = i64::try_from(heartbeat.head.sequence).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO agent (journal, sequence, seen, heartbeat, heard_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (journal) DO UPDATE SET heartbeat = excluded.heartbeat, heard_at = excluded.heard_at, \
             seen = CASE WHEN excluded.sequence > agent.sequence THEN excluded.seen ELSE agent.seen END, \
             sequence = CASE WHEN excluded.sequence > agent.sequence THEN excluded.sequence ELSE agent.sequence END",
        )
        .bind(heartbeat.head.journal.to_string())
        .bind(sequence)
        .bind(to_json(&heartbeat.head))
        .bind(to_json(heartbeat))
        .bind(at.as_micros())
        .execute(&mut *self.writer().await?)
        .await?;
        Ok(())
    }

    /// Every agent that was heard, the latest first.
    pub async fn list_agents(&self) -> Result<Vec<HeardAgent>, StoreError> {
        let rows = sqlx::query("SELECT seen, heartbeat, heard_at FROM agent ORDER BY heard_at DESC LIMIT 64")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The highest head of each journal, for the question to an agent. `others` are agents beside it: their journals are
    /// theirs.
    pub async fn seen_heads(&self, others: &[KeyId]) -> Result<Vec<Head>, StoreError> {
        let mut agents = self.list_agents().await?;
        agents.retain(|agent| !others.contains(&agent.heartbeat.agent));
        Ok(agents.into_iter().take(MOST_HEADS).map(|agent| agent.seen).collect())
    }

    /// Another agent was enrolled in their place; those of `others` stay.
    pub async fn forget_agents(&self, others: &[KeyId]) -> Result<(), StoreError> {
        for agent in self.list_agents().await? {
            if !others.contains(&agent.heartbeat.agent) {
                sqlx::query("DELETE FROM agent WHERE journal = $1")
                    .bind(agent.seen.journal.to_string())
                    .execute(&mut *self.writer().await?)
                    .await?;
            }
        }
        Ok(())
    }

    /// A code that may be used until then.
    pub async fn add_enrolment(
        &self,
        code: &EnrolmentKey,
        server: KeyId,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO enrolment (code_hash, server, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(code.as_bytes().as_slice())
        .bind(server.to_string())
        .bind(created_at.as_micros())
        .bind(expires_at.as_micros())
        .execute(&mut *self.writer().await?)
        .await?;
        Ok(())
    }

    /// The codes whose time is not over, used or not, and when it is.
    pub async fn open_enrolments(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(EnrolmentKey, Timestamp)>, StoreError> {
        let rows = sqlx::query("SELECT code_hash, expires_at FROM enrolment WHERE expires_at > $1 LIMIT 64")
            .bind(now.as_micros())
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let code = |row: &AnyRow| {
            let hash: Vec<u8> = row.try_get("code_hash")?;
            let hash = hash.try_into().map_err(|_| StoreError::Unreadable {
                what: "code_hash",
                value: "of another length than 32".to_owned(),
            })?;
            let ends = Timestamp::from_micros(row.try_get("expires_at")?);
            Ok((EnrolmentKey::from_bytes(hash), ends))
        };
        rows.iter().map(code).collect()
    }

    /// Uses a code up. False when it is over, or was used by another agent.
    pub async fn use_enrolment(
        &self,
        code: &EnrolmentKey,
        agent: KeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let used = sqlx::query(
            "UPDATE enrolment SET used_by = $2, used_at = $3 WHERE code_hash = $1 AND expires_at > $3 \
             AND (used_by IS NULL OR used_by = $2)",
        )
        .bind(code.as_bytes().as_slice())
        .bind(agent.to_string())
        .bind(now.as_micros())
        .execute(&mut *self.writer().await?)
        .await?;
        Ok(used.rows_affected() == 1)
    }
}
