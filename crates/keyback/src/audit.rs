//! `keyback audit`: what was about to be done, and what came of it.

use crate::output::{self, Trouble, plain};
use keyback_core::CorrelationId;
use keyback_core::audit::{AuditEvent, AuditResult, Phase};
use keyback_store::{AuditRow, Store};
use serde_json::{Value, json};
use std::process::ExitCode;

const fn phase(event: &AuditEvent) -> &'static str {
    match event.phase {
        Phase::Intent => "intent",
        Phase::Outcome => "outcome",
    }
}

const fn result(event: &AuditEvent) -> &'static str {
    match event.result {
        AuditResult::Pending => "pending",
        AuditResult::Success => "success",
        AuditResult::Failure => "failure",
    }
}

/// One row, with the field names of Entra's own audit log where it has them.
fn as_json(row: &AuditRow) -> Value {
    let event = &row.event;
    json!({
        "number": row.number,
        "activityDateTime": event.at.to_string(),
        "loggedByService": "Self-service Password Management",
        "category": "UserManagement",
        "activityDisplayName": event.activity.display_name(),
        "correlationId": event.correlation_id,
        "jobId": event.job_id,
        "phase": phase(event),
        "result": result(event),
        "resultReason": event.failure.as_ref().map(|failure| failure.cause.summary()),
        "code": event.failure.as_ref().map(|failure| failure.code),
        "cause": event.failure.as_ref().map(|failure| failure.cause),
        "user": event.user_name,
        "objectGUID": event.object_guid,
        "ipAddress": event.source,
        "done": event.done,
        "failure": event.failure,
    })
}

fn describe(row: &AuditRow) -> String {
    let event = &row.event;
    let mut detail = String::new();
    if let Some(done) = &event.done {
        detail = format!("  dc={}", done.dc);
        if let Some((before, after)) = done.key_version {
            detail.push_str(&format!(" key version {before} -> {after}"));
        }
    }
    if let Some(failure) = &event.failure {
        detail = format!("  {} {}  keyback doctor --job {}", failure.code, failure.cause, event.job_id);
    }
    format!(
        "{:>5}  {}  {}  {:<7}  {:<7}  {}  {}{}",
        row.number,
        event.at,
        event.correlation_id,
        phase(event),
        result(event),
        event.activity.display_name(),
        plain(&event.user_name),
        plain(&detail)
    )
}

/// `audit list`.
pub async fn list(
    store: &Store,
    of: Option<CorrelationId>,
    limit: u32,
    as_document: bool,
) -> Result<ExitCode, Trouble> {
    let rows = store.list_audit(of, limit).await?;
    if as_document {
        output::say_json(&rows.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        output::note("No audit rows.");
    }
    rows.iter().for_each(|row| output::say(&describe(row)));
    Ok(ExitCode::SUCCESS)
}
