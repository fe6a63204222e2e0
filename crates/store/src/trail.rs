//! The audit trail: rows are appended by the transactions that they record, and read back.

use crate::{Store, StoreError};
use keyback_core::audit::{
    Activity, AuditEvent, AuditResult, ChainHash, Checkpoint, Clear, Facts, Head, Link, Personal, Phase,
    commit,
};
use keyback_core::statement::Said;
use keyback_core::{CorrelationId, JobId, Timestamp, ids};
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{AnyConnection, Row as _, Transaction};

/// A row of the trail, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Counts up by one.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// The user action that it belongs to.
    pub correlation_id: CorrelationId,
    /// The job that does it.
    pub job_id: Option<JobId>,
    /// What happened.
    pub facts: Facts,
    /// Whom it is about; `None` once that was erased.
    pub personal: Option<Personal>,
    /// Whether the agent has signed it. That the signature holds is for `audit verify` to say.
    pub countersigned: bool,
    /// displayName and userPrincipalName, as they were last seen.
    pub person: Option<(String, String)>,
    /// The row's place in the chain.
    pub hash: ChainHash,
}

/// Which rows to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditSpan {
    /// Behind this number.
    pub after: i64,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

pub(crate) fn unreadable(what: &'static str) -> impl Fn(String) -> StoreError {
    move |value| StoreError::Unreadable { what, value }
}

pub(crate) fn hash(row: &AnyRow, column: &str) -> Result<ChainHash, StoreError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| unreadable("audit hash")(format!("{} bytes", bytes.len())))?;
    Ok(ChainHash::from_bytes(bytes))
}

fn parsed<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| unreadable(what)(text.to_owned()))
}

fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| unreadable(what)(text.to_owned()))
}

fn read(row: &AnyRow) -> Result<AuditRow, StoreError> {
    let job_id: &str = row.try_get("job_id")?;
    let clear: Option<String> = row.try_get("clear")?;
    let upn: Option<String> = row.try_get("user_principal_name")?;
    let said: Option<String> = row.try_get("said")?;
    Ok(AuditRow {
        number: row.try_get("number")?,
        at: Timestamp::from_micros(row.try_get("at")?),
        correlation_id: parsed("correlation_id", row.try_get("correlation_id")?)?,
        job_id: if job_id.is_empty() { None } else { Some(parsed("job id", job_id)?) },
        facts: from_json("audit event", row.try_get("event")?)?,
        personal: clear.map(|clear| from_json("person of an audit row", &clear)).transpose()?,
        countersigned: said.is_some(),
        person: upn.map(|upn| Ok::<_, StoreError>((row.try_get("display_name")?, upn))).transpose()?,
        hash: any_hash(row, "hash"),
    })
}

const ROWS: &str = "SELECT audit.*, person.display_name, person.user_principal_name FROM audit \
     LEFT JOIN person ON person.object_guid = audit.clear ->> '$.object_guid'";

/// One row, or none where the chain goes on behind the head that it was made for, or where the statement before it in the
/// same text changed nothing and `$13` asks for that. Its parameters come first, so that a text may go on with others.
macro_rules! append_row {
    () => {
        "INSERT INTO audit (number, at, correlation_id, job_id, event, personal, said, signature, previous, hash, salt, clear) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 WHERE ($13 = 0 OR changes() = 1) \
         AND NOT EXISTS (SELECT 1 FROM audit WHERE number >= $1)"
    };
}
pub(crate) use append_row;

/// A hash of another length than 32 bytes is not a hash of anything: it is left to the verifier to say so.
fn any_hash(row: &AnyRow, column: &str) -> ChainHash {
    hash(row, column).unwrap_or(ChainHash::ZERO)
}

fn link(row: &AnyRow) -> Result<Link, StoreError> {
    Ok(Link {
        number: row.try_get("number")?,
        at: row.try_get("at")?,
        correlation_id: row.try_get("correlation_id")?,
        job_id: row.try_get("job_id")?,
        event: row.try_get("event")?,
        personal: any_hash(row, "personal"),
        said: row.try_get("said")?,
        signature: row.try_get("signature")?,
        previous: any_hash(row, "previous"),
        hash: any_hash(row, "hash"),
    })
}

fn clear(row: &AnyRow) -> Result<Option<Clear>, StoreError> {
    let salt: Option<Vec<u8>> = row.try_get("salt")?;
    Ok(match salt {
        Some(salt) => Some(Clear { salt, text: row.try_get("clear")? }),
        None => None,
    })
}

/// What is about to become a row.
pub(crate) struct Entry<'a> {
    pub at: i64,
    pub correlation_id: String,
    pub job_id: String,
    pub facts: Facts,
    pub personal: Option<Personal>,
    pub said: Option<&'a Said>,
}

impl<'a> Entry<'a> {
    pub fn of(event: &AuditEvent, said: Option<&'a Said>) -> Self {
        Self {
            at: event.at.as_micros(),
            correlation_id: event.correlation_id.to_string(),
            job_id: event.job_id.to_string(),
            facts: Facts::of(event),
            personal: Some(Personal::of(event, said.map(|said| said.reply.as_str()))),
            said,
        }
    }

    /// Of what the server itself did to several at once, without a job.
    pub fn of_many(activity: Activity, rows: Option<u64>, at: Timestamp) -> Self {
        let facts = Facts {
            phase: Phase::Outcome,
            activity,
            result: AuditResult::Success,
            code: None,
            cause: None,
            done: None,
            rows,
            legacy: false,
        };
        Self {
            at: at.as_micros(),
            correlation_id: CorrelationId::from_random(ids::random()).to_string(),
            job_id: String::new(),
            facts,
            personal: None,
            said: None,
        }
    }
}

fn json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| unreadable(what)(error.to_string()))
}

/// The chain's end.
pub(crate) async fn read_head(at: &mut AnyConnection) -> Result<Head, StoreError> {
    let row =
        sqlx::query("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetch_optional(at).await?;
    row.map_or(Ok(Head::NONE), |row| Ok(Head { number: row.try_get("number")?, hash: hash(&row, "hash")? }))
}

/// A row as it is kept.
pub(crate) struct Row {
    link: Link,
    clear: Option<Clear>,
}

impl Row {
    /// The one behind `head`.
    pub fn after(head: Head, entry: &Entry<'_>) -> Result<Self, StoreError> {
        let text =
            entry.personal.as_ref().map(|personal| json("person of an audit row", personal)).transpose()?;
        let clear = text.map(|text| Clear { salt: ids::random::<32>().to_vec(), text });
        let link = Link {
            number: 0,
            at: entry.at,
            correlation_id: entry.correlation_id.clone(),
            job_id: entry.job_id.clone(),
            event: json("audit event", &entry.facts)?,
            personal: clear.as_ref().map_or(ChainHash::ZERO, |clear| commit(&clear.salt, &clear.text)),
            said: entry.said.map(|said| said.statement.clone()),
            signature: entry.said.map(|said| said.signature.clone()),
            previous: ChainHash::ZERO,
            hash: ChainHash::ZERO,
        };
        Ok(Self { link: link.after(head), clear })
    }

    /// The chain's end with it.
    pub fn head(&self) -> Head {
        self.link.head()
    }

    /// The parameters of [`append_row`].
    pub fn bind<'q>(
        &'q self,
        query: Query<'q, Any, AnyArguments>,
        after_a_change: bool,
    ) -> Query<'q, Any, AnyArguments> {
        let link = &self.link;
        query
            .bind(link.number)
            .bind(link.at)
            .bind(link.correlation_id.as_str())
            .bind(link.job_id.as_str())
            .bind(link.event.as_str())
            .bind(link.personal.as_bytes().as_slice())
            .bind(link.said.as_deref())
            .bind(link.signature.as_deref())
            .bind(link.previous.as_bytes().as_slice())
            .bind(link.hash.as_bytes().as_slice())
            .bind(self.clear.as_ref().map(|clear| clear.salt.as_slice()))
            .bind(self.clear.as_ref().map(|clear| clear.text.as_str()))
            .bind(i64::from(after_a_change))
    }

    /// Their places, in a text that has no row.
    pub fn bind_none(query: Query<'_, Any, AnyArguments>) -> Query<'_, Any, AnyArguments> {
        (1..=13).fold(query, |query, _| query.bind(None::<i64>))
    }
}

/// Appends a row behind `head`, and gives the new head; `None` where the chain goes on behind it.
pub(crate) async fn append_after(
    tx: &mut Transaction<'_, Any>,
    head: Head,
    entry: &Entry<'_>,
) -> Result<Option<Head>, StoreError> {
    let row = Row::after(head, entry)?;
    let inserted = row.bind(sqlx::query(append_row!()), false).execute(&mut **tx).await?;
    Ok((inserted.rows_affected() > 0).then(|| row.head()))
}

/// Appends a row at the chain's end, which is likely to be `known`. The transaction has written before, or began as one
/// that writes: nobody else writes until it ends, so an end that is read here stays one.
pub(crate) async fn append(
    tx: &mut Transaction<'_, Any>,
    known: Head,
    entry: &Entry<'_>,
) -> Result<Head, StoreError> {
    if let Some(head) = append_after(tx, known, entry).await? {
        return Ok(head);
    }
    append_at_end(tx, entry).await
}

/// The same where another process has written, or this one's last transaction is not told yet.
pub(crate) async fn append_at_end(
    tx: &mut Transaction<'_, Any>,
    entry: &Entry<'_>,
) -> Result<Head, StoreError> {
    let head = read_head(tx).await?;
    append_after(tx, head, entry).await?.ok_or_else(|| unreadable("audit head")(head.to_string()))
}

impl Store {
    /// The chain's end, as this process last wrote or read it.
    pub fn audit_head(&self) -> Head {
        *self.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn set_head(&self, head: Head) {
        let mut known = self.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if head.number > known.number {
            *known = head;
        }
    }

    /// The newest `at_most` rows, oldest first, of one user action or of all.
    pub async fn list_audit(
        &self,
        of: Option<CorrelationId>,
        at_most: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let text = format!(
            "{ROWS} WHERE $1 IS NULL OR audit.correlation_id = $1 ORDER BY audit.number DESC LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(of.map(|of| of.to_string()))
            .bind(i64::from(at_most))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().rev().map(read).collect()
    }

    /// The next rows of a span, oldest first.
    pub async fn read_audit(&self, span: AuditSpan, at_most: u32) -> Result<Vec<AuditRow>, StoreError> {
        let text = format!(
            "{ROWS} WHERE audit.number > $1 AND audit.at >= $2 AND audit.at < $3 ORDER BY audit.number LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(span.after)
            .bind(span.since.map_or(i64::MIN, Timestamp::as_micros))
            .bind(span.until.map_or(i64::MAX, Timestamp::as_micros))
            .bind(i64::from(at_most))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The next links of the chain, each with its personal side while that is there.
    pub async fn read_links(
        &self,
        after: i64,
        at_most: u32,
    ) -> Result<Vec<(Link, Option<Clear>)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE number > $1 ORDER BY number LIMIT $2")
            .bind(after)
            .bind(i64::from(at_most))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        rows.iter().map(|row| Ok((link(row)?, clear(row)?))).collect()
    }

    /// Where a pruned chain begins.
    pub async fn audit_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let row = sqlx::query("SELECT * FROM audit_checkpoint ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        row.map(|row| {
            Ok(Checkpoint {
                head: Head { number: row.try_get("number")?, hash: hash(&row, "hash")? },
                at: Timestamp::from_micros(row.try_get("at")?),
                said: row.try_get("said")?,
                signature: row.try_get("signature")?,
                server_signature: row.try_get("server_signature")?,
            })
        })
        .transpose()
    }
}
