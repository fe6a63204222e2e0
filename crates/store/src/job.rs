//! Jobs, as they were left by the last transition.

use crate::budget::{BudgetKey, Counted, Door, TurnedAway, enter, mark_home};
use crate::flow::parsed;
use crate::method::{MethodChange, NewMethod};
use crate::trail::{Entry, Row, append_at_end, append_row};
use crate::whole::whole;
use crate::{Store, StoreError};
use keyback_core::audit::{Activity, AuditEvent, Head};
use keyback_core::diagnosis::Diagnosis;
use keyback_core::job::{JobState, Kind, Operation};
use keyback_core::statement::Said;
use keyback_core::{
    CorrelationId, Done, Failure, JobId, KeyId, ObjectGuid, PasswordRules, Person, TicketHash, Timestamp, Way,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Row as _, Transaction};
use std::time::Duration;

/// A job as it begins, with the audit row that must be there before anything is done.
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it is asked to do.
    pub kind: Kind,
    /// What that is for.
    pub operation: Operation,
    /// Sealed and signed.
    pub message: Vec<u8>,
    /// Queued, or already offered.
    pub state: JobState,
    /// Given up after.
    pub deadline: Timestamp,
    /// The row that goes before.
    pub intent: AuditEvent,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The user action.
    pub correlation_id: CorrelationId,
    /// What it is asked to do.
    pub kind: Kind,
    /// What that is for.
    pub operation: Operation,
    /// As typed.
    pub user_name: String,
    /// Whom it meant.
    pub object_guid: Option<ObjectGuid>,
    /// Where the request came from.
    pub source: Option<String>,
    /// The name of its audit rows.
    pub activity: Activity,
    /// Sealed and signed; gone at the end.
    pub message: Option<Vec<u8>>,
    /// Where it stands.
    pub state: JobState,
    /// Given up after.
    pub deadline: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The domain controller's evidence.
    pub done: Option<Done>,
}

/// An attempt at a job that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from one.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// What stood in the way.
    pub failure: Failure,
}

/// After its deadline, a job's end can still be looked at for this long.
const LOOK_AT_THE_END: Duration = Duration::from_mins(10);

/// What came of asking for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is there.
    Created,
    /// Another job for the same user is open: follow that one.
    Joined(JobId),
    /// The flow's proof is used up: its job is this one.
    Already(JobId),
    /// Too many jobs are open.
    Busy,
}

/// A code that is to be checked, or another step of a flow's.
pub struct NewCheck {
    /// The job that checks it.
    pub job: NewJob,
    /// Of the ticket that came with the code.
    pub ticket: TicketHash,
    /// Of the ticket that is handed out for it: the flow's only one when the code is right. The same one, where none is.
    pub next_ticket: TicketHash,
    /// So often the same step of one flow may have been refused.
    pub tries: u32,
    /// What the agent is asked to keep.
    pub method: Option<NewMethod>,
}

/// What came of asking for a code to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The job is there.
    Begun,
    /// Another code of this flow's is being checked: that is not a second try.
    UnderWay,
    /// The flow has had its tries, or the ticket does not stand for it any more.
    FlowSpent,
    /// The budget of a user who is there is spent. Nobody may be told: ask again without it, for a challenge that is not
    /// theirs.
    PersonSpent,
    /// A budget that everybody has is spent.
    TurnedAway(TurnedAway),
}

/// What is kept together with a transition.
#[derive(Default)]
pub struct Effects<'a> {
    /// What stood in the way of this attempt.
    pub failure: Option<(u32, &'a Failure)>,
    /// The domain controller's evidence of success.
    pub done: Option<&'a Done>,
    /// What doctor read about a refusal.
    pub diagnosis: Option<&'a Diagnosis>,
    /// The row that goes after.
    pub outcome: Option<&'a AuditEvent>,
    /// The agent's word that it rests on.
    pub said: Option<&'a Said>,
    /// A code was mailed: to whom, under which challenge.
    pub code_sent: Option<(&'a str, &'a Person)>,
    /// The agent that mailed it, by the key that its messages are sealed to.
    pub mailed_by: Option<KeyId>,
    /// The code was right, until then, and so the new password has to be like this.
    pub code_accepted: Option<(Timestamp, Option<&'a PasswordRules>)>,
    /// What the agent says of that to other agents.
    pub voucher: Option<&'a str>,
    /// The code was right, and this is what was given so far: another one is needed.
    pub given: Option<&'a [Way]>,
    /// The person's password was right, until then.
    pub signed_in_until: Option<Timestamp>,
    /// What becomes of a method.
    pub method: Option<MethodChange<'a>>,
    /// The mark of the network from which the right code came.
    pub home: Option<BudgetKey>,
}

impl Effects<'_> {
    /// Whether the transition and its audit row are all that is kept.
    const fn are_in_the_move(&self) -> bool {
        // By name, so that what is added later is thought of.
        let Self {
            failure: None,
            diagnosis: None,
            code_sent: None,
            mailed_by: _,
            code_accepted: None,
            voucher: _,
            given: None,
            signed_in_until: None,
            method: None,
            home: None,
            done: _,
            outcome: _,
            said: _,
        } = self
        else {
            return false;
        };
        true
    }
}

pub(crate) fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable { what, value: error.to_string() })
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { what, value: text.to_owned() })
}

fn read(row: &AnyRow) -> Result<Job, StoreError> {
    let object_guid: Option<String> = row.try_get("object_guid")?;
    let done: Option<String> = row.try_get("done")?;
    Ok(Job {
        id: parsed("job id", row.try_get("id")?)?,
        correlation_id: parsed("correlation_id", row.try_get("correlation_id")?)?,
        kind: parsed("kind", row.try_get("kind")?)?,
        operation: parsed("operation", row.try_get("operation")?)?,
        user_name: row.try_get("user_name")?,
        object_guid: object_guid.map(|guid| parsed("object_guid", &guid)).transpose()?,
        source: row.try_get("source")?,
        activity: from_json("activity", row.try_get("activity")?)?,
        message: row.try_get("message")?,
        state: from_json("job state", row.try_get("state")?)?,
        deadline: Timestamp::from_micros(row.try_get("deadline")?),
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        done: done.map(|done| from_json("done", &done)).transpose()?,
    })
}

/// A job, or none where the user has an open one or the statement before it in the same text changed nothing. Its
/// parameters follow those of the audit row, whose statement comes last.
macro_rules! insert_job {
    () => {
        "INSERT INTO job (id, correlation_id, flow_id, kind, operation, user_name, object_guid, source, activity, message, \
         state, due_at, deadline, created_at) SELECT $14, $3, $3, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $2 \
         WHERE ($25 = 0 OR changes() = 1) ON CONFLICT DO NOTHING"
    };
}

/// A job's next state, if it is still in the one that was read.
macro_rules! move_job {
    () => {
        "UPDATE job SET state = $14, due_at = $15, finished_at = $16, done = COALESCE($17, done), \
         message = CASE WHEN $18 = 1 THEN NULL ELSE message END WHERE id = $19 AND state = $20"
    };
}

/// The parameters of [`move_job`].
struct Move {
    state: String,
    due_at: Option<i64>,
    finished_at: Option<i64>,
    done: Option<String>,
    id: String,
    before: String,
}

impl Move {
    fn of(job: &Job, next: &JobState, done: Option<&Done>) -> Result<Self, StoreError> {
        Ok(Self {
            state: json("job state", next)?,
            due_at: next.due_at().map(Timestamp::as_micros),
            finished_at: next.finished_at().map(Timestamp::as_micros),
            done: done.map(|done| json("done", done)).transpose()?,
            id: job.id.to_string(),
            before: json("job state", &job.state)?,
        })
    }

    fn bind<'q>(&'q self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        query
            .bind(self.state.as_str())
            .bind(self.due_at)
            .bind(self.finished_at)
            .bind(self.done.as_deref())
            .bind(i64::from(self.finished_at.is_some()))
            .bind(self.id.as_str())
            .bind(self.before.as_str())
    }
}

/// A flow's job. The person reads what came of it with the same ticket: it has to outlive the job. A job of this flow's
/// that was refused leaves the person free to choose another password.
macro_rules! submit_job {
    () => {
        concat!(
            "UPDATE flow SET job_id = $14, expires_at = CASE WHEN expires_at < $26 THEN $26 ELSE expires_at END \
             WHERE id = $3 AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = flow.job_id \
             AND (job.finished_at IS NULL OR job.state NOT LIKE '{\"state\":\"refused\"%')) \
             AND (SELECT COUNT(*) FROM (SELECT 1 FROM job WHERE due_at IS NOT NULL LIMIT $27)) < $27; ",
            insert_job!(),
            "; ",
            append_row!()
        )
    };
}

fn bind_job<'q>(
    query: Query<'q, Any, AnyArguments>,
    job: &'q NewJob,
    after_a_change: bool,
) -> Result<Query<'q, Any, AnyArguments>, StoreError> {
    let intent = &job.intent;
    Ok(query
        .bind(job.id.to_string())
        .bind(job.kind.name())
        .bind(job.operation.name())
        .bind(intent.user_name.as_str())
        .bind(intent.object_guid.map(|guid| guid.to_string()))
        .bind(intent.source.as_deref())
        .bind(json("activity", &intent.activity)?)
        .bind(job.message.as_slice())
        .bind(json("job state", &job.state)?)
        .bind(job.state.due_at().map(Timestamp::as_micros))
        .bind(job.deadline.as_micros())
        .bind(i64::from(after_a_change)))
}

/// The job and its intent; gives the audit chain's new head. `None`, and neither, where the user has an open job already.
pub(crate) async fn insert_job(
    tx: &mut Transaction<'_, Any>,
    known: Head,
    job: &NewJob,
) -> Result<Option<Head>, StoreError> {
    let entry = Entry::of(&job.intent, None);
    let row = Row::after(known, &entry)?;
    let both = sqlx::query(concat!(insert_job!(), "; ", append_row!()));
    let inserted = bind_job(row.bind(both, true), job, false)?.execute(&mut **tx).await?;
    match inserted.rows_affected() {
        0 => Ok(None),
        1 => append_at_end(tx, &entry).await.map(Some),
        _ => Ok(Some(row.head())),
    }
}

/// Why a flow's job was not taken: it has one that stands, or too many are open.
async fn standing(tx: &mut Transaction<'_, Any>, flow: String) -> Result<Submitted, StoreError> {
    let found: Option<Option<String>> = sqlx::query_scalar(
        "SELECT (SELECT job.id FROM job WHERE job.id = flow.job_id AND (job.finished_at IS NULL \
         OR job.state NOT LIKE '{\"state\":\"refused\"%')) FROM flow WHERE flow.id = $1",
    )
    .bind(&flow)
    .fetch_optional(&mut **tx)
    .await?;
    match found {
        None => Err(StoreError::Unreadable { what: "flow", value: flow }),
        Some(None) => Ok(Submitted::Busy),
        Some(Some(mine)) => Ok(Submitted::Already(parsed("job id", &mine)?)),
    }
}

/// What a step of a flow comes to beside its code: the next ticket is the flow's from then on.
async fn keep_steps(
    tx: &mut Transaction<'_, Any>,
    job: &Job,
    effects: &Effects<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(given) = effects.given {
        sqlx::query(
            "UPDATE flow SET given = $1, ticket_hash = COALESCE(next_ticket_hash, ticket_hash), \
                 next_ticket_hash = NULL WHERE id = $2",
        )
        .bind(json("given", &given)?)
        .bind(job.correlation_id.to_string())
        .execute(&mut **tx)
        .await?;
    }
    if let Some(until) = effects.signed_in_until {
        sqlx::query(
                "UPDATE flow SET signed_in_until = $1, expires_at = CASE WHEN expires_at < $1 THEN $1 ELSE expires_at END, \
                 ticket_hash = COALESCE(next_ticket_hash, ticket_hash), next_ticket_hash = NULL WHERE id = $2",
            )
            .bind(until.as_micros())
            .bind(job.correlation_id.to_string())
            .execute(&mut **tx)
            .await?;
    }
    if let Some(change) = effects.method {
        crate::method::change(tx, change, now).await?;
    }
    Ok(())
}

impl Store {
    /// Counts a code that somebody typed and begins its check: budgets, tickets, the job and its intent, or none of
    /// them. Of many at once, one is checked.
    pub async fn add_check(&self, check: &NewCheck, door: &Door) -> Result<Checked, StoreError> {
        let flow = check.job.intent.correlation_id.to_string();
        let mut writer = self.writer().await?;
        let mut tx = self.begin(&mut writer).await?;
        let checks = sqlx::query(
            "SELECT SUM(finished_at IS NULL) AS open, SUM(state LIKE '{\"state\":\"refused\"%') AS wrong FROM job \
             WHERE correlation_id = $1 AND activity = $2",
        )
        .bind(&flow)
        .bind(json("activity", &check.job.intent.activity)?)
        .fetch_one(&mut *tx)
        .await?;
        if checks.try_get::<Option<i64>, _>("open")?.unwrap_or_default() > 0 {
            return Ok(Checked::UnderWay);
        }
        if checks.try_get::<Option<i64>, _>("wrong")?.unwrap_or_default() >= i64::from(check.tries) {
            return Ok(Checked::FlowSpent);
        }
        match enter(&mut tx, door, check.job.intent.at).await? {
            Ok(()) => {}
            Err(TurnedAway::TooMany { counted: Counted::Person, .. }) => return Ok(Checked::PersonSpent),
            Err(turned_away) => return Ok(Checked::TurnedAway(turned_away)),
        }
        if let Some(method) = &check.method {
            crate::method::insert(&mut tx, method).await?;
        }
        let next = (check.ticket != check.next_ticket).then(|| check.next_ticket.as_bytes().as_slice());
        let taken = sqlx::query(
            "UPDATE flow SET ticket_hash = $1, next_ticket_hash = $2 \
             WHERE id = $3 AND (ticket_hash = $1 OR next_ticket_hash = $1)",
        )
        .bind(check.ticket.as_bytes().as_slice())
        .bind(next)
        .bind(&flow)
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 0 {
            return Ok(Checked::FlowSpent);
        }
        let head = insert_job(&mut tx, self.audit_head(), &check.job).await?;
        tx.commit().await?;
        head.into_iter().for_each(|head| self.set_head(head));
        Ok(Checked::Begun)
    }

    /// Submits the job that a flow was all about: the job, the flow's end and the intent in one transaction. One open
    /// job a user; an equal submission joins it. A flow has one job, and another only after a refusal. None begins while
    /// `open_jobs` are open.
    pub async fn submit(&self, job: &NewJob, open_jobs: u32) -> Result<Submitted, StoreError> {
        let flow = job.intent.correlation_id.to_string();
        let entry = Entry::of(&job.intent, None);
        let row = Row::after(self.audit_head(), &entry)?;
        let mut writer = self.writer().await?;
        let last = job.deadline.plus(LOOK_AT_THE_END).as_micros();
        let bound = |text| -> Result<_, StoreError> {
            Ok(bind_job(row.bind(sqlx::query(text), true), job, true)?.bind(last).bind(i64::from(open_jobs)))
        };
        if self.run_whole(&mut writer, bound(whole!(submit_job!()))?).await? {
            self.set_head(row.head());
            return Ok(Submitted::Created);
        }
        let mut tx = self.begin(&mut writer).await?;
        let done = bound(submit_job!())?.execute(&mut *tx).await?;
        let head = match done.rows_affected() {
            0 => return standing(&mut tx, flow).await,
            // The flow alone: the user has an open job.
            1 => None,
            2 => Some(append_at_end(&mut tx, &entry).await?),
            _ => Some(row.head()),
        };
        if let Some(head) = head {
            tx.commit().await?;
            self.set_head(head);
            return Ok(Submitted::Created);
        }
        let open: String = sqlx::query_scalar(
            "UPDATE flow SET job_id = (SELECT id FROM job WHERE object_guid = $1 AND finished_at IS NULL \
             AND kind <> 'verify') WHERE id = $2 RETURNING job_id",
        )
        .bind(job.intent.object_guid.map(|guid| guid.to_string()))
        .bind(&flow)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Submitted::Joined(parsed("job id", &open)?))
    }

    /// Open jobs whose time has come, or seems to be after `farthest`, the oldest first.
    pub async fn due_jobs(
        &self,
        now: Timestamp,
        farthest: Timestamp,
        at_most: u32,
    ) -> Result<Vec<Job>, StoreError> {
        // Two, so that each is looked up in the index.
        let due = "SELECT * FROM job WHERE id IN (SELECT id FROM job WHERE due_at <= $1 \
                   UNION ALL SELECT id FROM job WHERE due_at > $2) ORDER BY created_at LIMIT $3";
        let rows = sqlx::query(due)
            .bind(now.as_micros())
            .bind(farthest.as_micros())
            .bind(i64::from(at_most))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// When the next open job has to be looked at.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let due: Option<i64> = sqlx::query_scalar("SELECT MIN(due_at) FROM job WHERE due_at IS NOT NULL")
            .fetch_one(&mut *self.reader().await?)
            .await?;
        Ok(due.map(Timestamp::from_micros))
    }

    /// Jobs that a process which is no more had offered: their leases end now.
    pub async fn orphaned_jobs(&self) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query("SELECT * FROM job WHERE due_at IS NOT NULL ORDER BY created_at")
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let jobs: Result<Vec<Job>, StoreError> = rows.iter().map(read).collect();
        Ok(jobs?.into_iter().filter(|job| matches!(job.state, JobState::Running { .. })).collect())
    }

    /// Keeps a transition and what belongs to it, if the state is still the one that was read. `false`: somebody else
    /// was faster, and nothing was kept.
    pub async fn save(&self, job: &Job, next: &JobState, effects: Effects<'_>) -> Result<bool, StoreError> {
        let entry = effects.outcome.map(|event| Entry::of(event, effects.said));
        let row = entry.as_ref().map(|entry| Row::after(self.audit_head(), entry)).transpose()?;
        let finished = next.finished_at();
        let mut writer = self.writer().await?;
        let moved = Move::of(job, next, effects.done)?;
        if let Some(row) = row.as_ref().filter(|_| effects.are_in_the_move()) {
            let whole = sqlx::query(whole!(concat!(move_job!(), "; ", append_row!())));
            if self.run_whole(&mut writer, moved.bind(row.bind(whole, true))).await? {
                self.set_head(row.head());
                return Ok(true);
            }
        }
        let mut tx = self.begin(&mut writer).await?;
        let query = match &row {
            Some(row) => row.bind(sqlx::query(concat!(move_job!(), "; ", append_row!())), true),
            None => Row::bind_none(sqlx::query(move_job!())),
        };
        let saved = moved.bind(query).execute(&mut *tx).await?;
        if saved.rows_affected() == 0 {
            return Ok(false);
        }
        let head = match (&entry, row) {
            (Some(entry), _) if saved.rows_affected() == 1 => Some(append_at_end(&mut tx, entry).await?),
            (_, row) => row.map(|row| row.head()),
        };
        let now = finished.or(next.due_at()).unwrap_or(job.created_at);
        if let Some((number, failure)) = effects.failure {
            sqlx::query("INSERT INTO attempt (job_id, number, at, failure) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(job.id.to_string())
                .bind(i64::from(number))
                .bind(now.as_micros())
                .bind(json("failure", failure)?)
                .execute(&mut *tx)
                .await?;
        }
        if let Some(diagnosis) = effects.diagnosis {
            sqlx::query(
                "INSERT INTO diagnosis (job_id, at, diagnosis) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(job.id.to_string())
            .bind(now.as_micros())
            .bind(json("diagnosis", diagnosis)?)
            .execute(&mut *tx)
            .await?;
        }
        if let Some((challenge, person)) = effects.code_sent {
            sqlx::query(
                "UPDATE flow SET challenge = $1, object_guid = $2, source_anchor = $3, mail_hint = $4, agent = $5 WHERE id = $6",
            )
            .bind(challenge)
            .bind(person.object_guid.to_string())
            .bind(person.source_anchor.to_string())
            .bind(person.mail_hint.as_str())
            .bind(effects.mailed_by.map(|agent| agent.to_string()))
            .bind(job.correlation_id.to_string())
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO person (object_guid, source_anchor, user_principal_name, sam_account_name, display_name, \
                 mail_hint, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (object_guid) DO UPDATE SET \
                 source_anchor = excluded.source_anchor, user_principal_name = excluded.user_principal_name, \
                 sam_account_name = excluded.sam_account_name, display_name = excluded.display_name, \
                 mail_hint = excluded.mail_hint, seen_at = excluded.seen_at",
            )
            .bind(person.object_guid.to_string())
            .bind(person.source_anchor.to_string())
            .bind(person.user_principal_name.as_str())
            .bind(person.sam_account_name.as_str())
            .bind(person.display_name.as_str())
            .bind(person.mail_hint.as_str())
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await?;
        }
        if let Some((until, rules)) = effects.code_accepted {
            // Whoever typed the code holds the new ticket; the one that brought the form here is worth nothing now.
            sqlx::query(
                "UPDATE flow SET proof_until = $1, rules = $2, ticket_hash = COALESCE(next_ticket_hash, ticket_hash), \
                 next_ticket_hash = NULL, voucher = $3 WHERE id = $4",
            )
            .bind(until.as_micros())
            .bind(rules.map(|rules| json("rules", rules)).transpose()?)
            .bind(effects.voucher)
            .bind(job.correlation_id.to_string())
            .execute(&mut *tx)
            .await?;
        }
        keep_steps(&mut tx, job, &effects, now).await?;
        if let Some(home) = effects.home {
            mark_home(&mut tx, home, now).await?;
        }
        tx.commit().await?;
        head.into_iter().for_each(|head| self.set_head(head));
        Ok(true)
    }

    /// One job.
    pub async fn find_job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query("SELECT * FROM job WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// What stood in a job's way, attempt by attempt.
    pub async fn list_attempts(&self, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        let rows =
            sqlx::query("SELECT number, at, failure FROM attempt WHERE job_id = $1 ORDER BY at, number")
                .bind(id.to_string())
                .fetch_all(&mut *self.reader().await?)
                .await?;
        let attempt = |row: &AnyRow| {
            Ok(Attempt {
                number: u32::try_from(row.try_get::<i64, _>("number")?).unwrap_or(u32::MAX),
                at: Timestamp::from_micros(row.try_get("at")?),
                failure: from_json("failure", row.try_get("failure")?)?,
            })
        };
        rows.iter().map(attempt).collect()
    }

    /// What doctor read when the job was refused, and when that was.
    pub async fn find_diagnosis(&self, id: JobId) -> Result<Option<(Timestamp, Diagnosis)>, StoreError> {
        let row = sqlx::query("SELECT at, diagnosis FROM diagnosis WHERE job_id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let diagnosis = from_json("diagnosis", row.try_get("diagnosis")?)?;
        Ok(Some((Timestamp::from_micros(row.try_get("at")?), diagnosis)))
    }

    /// The jobs of one user action, the oldest first.
    pub async fn list_flow_jobs(&self, of: CorrelationId) -> Result<Vec<Job>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM job WHERE correlation_id = $1 ORDER BY created_at, id LIMIT 64")
                .bind(of.to_string())
                .fetch_all(&mut *self.reader().await?)
                .await?;
        rows.iter().map(read).collect()
    }

    /// The newest jobs first.
    pub async fn list_jobs(&self, at_most: u32) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query("SELECT * FROM job ORDER BY created_at DESC, id LIMIT $1")
            .bind(i64::from(at_most))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(read).collect()
    }
}
