//! Flows: what the ticket in a person's cookie stands for.

use crate::budget::{Door, TurnedAway, enter};
use crate::job::{NewJob, from_json, insert_job};
use crate::{Store, StoreError};
use keyback_core::job::Operation;
use keyback_core::{
    ChallengeId, CorrelationId, JobId, KeyId, ObjectGuid, PasswordRules, SourceAnchor, TicketHash, Timestamp,
    UserName, Way,
};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A flow as it begins.
pub struct NewFlow {
    /// Its id; one user action, so the correlation ID is its own.
    pub correlation_id: CorrelationId,
    /// Of the ticket in the cookie.
    pub ticket_hash: TicketHash,
    /// What the flow's forms carry.
    pub form_token: String,
    /// What the person wants.
    pub operation: Operation,
    /// As typed.
    pub user_name: UserName,
    /// They want to prove themselves with something that they hold: no code is mailed.
    pub held: bool,
    /// Where the request came from.
    pub source: Option<String>,
    /// Now.
    pub created_at: Timestamp,
    /// The ticket is worth nothing after.
    pub expires_at: Timestamp,
}

/// A flow as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// One user action.
    pub correlation_id: CorrelationId,
    /// What the flow's forms carry. Empty in a flow that an earlier version began: no form is taken then.
    pub form_token: String,
    /// What the person wants.
    pub operation: Operation,
    /// As typed.
    pub user_name: UserName,
    /// They want to prove themselves with something that they hold: no code was mailed.
    pub held: bool,
    /// Where it began.
    pub source: Option<String>,
    /// The ticket is worth nothing after.
    pub expires_at: Timestamp,
    /// The agent mailed a code. Says that the user exists: show nothing of it before `proof_until` is set.
    pub challenge: Option<ChallengeId>,
    /// The agent that mailed the code, by the key that its messages are sealed to.
    pub agent: Option<KeyId>,
    /// What that agent says of the proof to other agents.
    pub voucher: Option<String>,
    /// Whom the name meant.
    pub object_guid: Option<ObjectGuid>,
    /// As Entra knows them.
    pub source_anchor: Option<SourceAnchor>,
    /// Where the code went, masked.
    pub mail_hint: Option<String>,
    /// Ways in which a right code was given while another one is needed.
    pub given: Vec<Way>,
    /// The person's password was right, too: they may look after their methods until then.
    pub signed_in_until: Option<Timestamp>,
    /// The code was right; the proof holds until then.
    pub proof_until: Option<Timestamp>,
    /// What the new password has to be like; for whoever has proved who they are.
    pub rules: Option<PasswordRules>,
    /// The job that does it.
    pub job_id: Option<JobId>,
}

pub(crate) fn parsed<T: std::str::FromStr>(what: &'static str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| StoreError::Unreadable { what, value: value.to_owned() })
}

fn maybe<T: std::str::FromStr>(what: &'static str, value: Option<String>) -> Result<Option<T>, StoreError> {
    value.map(|value| parsed(what, &value)).transpose()
}

fn read(row: &AnyRow) -> Result<Flow, StoreError> {
    let user_name: String = row.try_get("user_name")?;
    Ok(Flow {
        correlation_id: parsed("correlation_id", row.try_get("correlation_id")?)?,
        form_token: row.try_get("form_token")?,
        operation: parsed("operation", row.try_get("operation")?)?,
        user_name: UserName::parse(&user_name)
            .map_err(|_| StoreError::Unreadable { what: "user_name", value: user_name })?,
        source: row.try_get("source")?,
        expires_at: Timestamp::from_micros(row.try_get("expires_at")?),
        challenge: maybe("challenge", row.try_get("challenge")?)?,
        agent: maybe("agent", row.try_get("agent")?)?,
        voucher: row.try_get("voucher")?,
        object_guid: maybe("object_guid", row.try_get("object_guid")?)?,
        source_anchor: row.try_get::<Option<String>, _>("source_anchor")?.map(SourceAnchor::from_text),
        mail_hint: row.try_get("mail_hint")?,
        held: row.try_get::<i64, _>("held")? != 0,
        given: row
            .try_get::<Option<String>, _>("given")?
            .map_or(Ok(Vec::new()), |given| from_json("given", &given))?,
        signed_in_until: row.try_get::<Option<i64>, _>("signed_in_until")?.map(Timestamp::from_micros),
        proof_until: row.try_get::<Option<i64>, _>("proof_until")?.map(Timestamp::from_micros),
        rules: row
            .try_get::<Option<String>, _>("rules")?
            .map(|rules| from_json("rules", &rules))
            .transpose()?,
        job_id: maybe("job_id", row.try_get("job_id")?)?,
    })
}

impl Store {
    /// Begins a flow: its budgets, its row, the job that asks for a code and the intent, or none of them.
    pub async fn begin_flow(
        &self,
        flow: &NewFlow,
        job: &NewJob,
        door: &Door,
    ) -> Result<Result<(), TurnedAway>, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        if let Err(turned_away) = enter(&mut tx, door, flow.created_at).await? {
            return Ok(Err(turned_away));
        }
        sqlx::query(
            "INSERT INTO flow (id, ticket_hash, correlation_id, operation, user_name, source, created_at, expires_at, \
             form_token, held) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(flow.correlation_id.to_string())
        .bind(flow.ticket_hash.as_bytes().as_slice())
        .bind(flow.correlation_id.to_string())
        .bind(flow.operation.name())
        .bind(flow.user_name.as_str())
        .bind(flow.source.as_deref())
        .bind(flow.created_at.as_micros())
        .bind(flow.expires_at.as_micros())
        .bind(flow.form_token.as_str())
        .bind(i64::from(flow.held))
        .execute(&mut *tx)
        .await?;
        let head = insert_job(&mut tx, self.audit_head(), job).await?;
        tx.commit().await?;
        head.into_iter().for_each(|head| self.set_head(head));
        Ok(Ok(()))
    }

    /// The flow that a ticket stands for, unless its time is over. While a code is checked, the ticket that came with
    /// the form and the one that was handed out for it both stand for the flow.
    pub async fn find_flow(&self, ticket: TicketHash, now: Timestamp) -> Result<Option<Flow>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM flow WHERE (ticket_hash = $1 OR next_ticket_hash = $1) AND expires_at > $2",
        )
        .bind(ticket.as_bytes().as_slice())
        .bind(now.as_micros())
        .fetch_optional(&mut *self.reader().await?)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Forgets flows whose time is over. Their jobs and audit rows stay.
    pub async fn forget_flows(&self, now: Timestamp) -> Result<u64, StoreError> {
        let gone = sqlx::query("DELETE FROM flow WHERE expires_at <= $1")
            .bind(now.as_micros())
            .execute(&mut *self.writer().await?)
            .await?;
        Ok(gone.rows_affected())
    }
}
