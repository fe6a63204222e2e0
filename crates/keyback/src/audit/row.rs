//! One row, for people and for programs.

use crate::output::plain;
use keyback_core::audit::{Activity, AuditResult, Phase};
use keyback_core::{Failure, ObjectGuid};
use keyback_store::AuditRow;
use serde_json::{Value, json};

/// As Entra's own audit log names it.
pub const SERVICE: &str = "Self-service Password Management";
/// What all of it is filed under there.
pub const CATEGORY: &str = "UserManagement";
/// What stands where a person was erased, or never known.
const NOBODY: &str = "-";

pub const fn phase(row: &AuditRow) -> &'static str {
    match row.facts.phase {
        Phase::Intent => "intent",
        Phase::Outcome => "outcome",
    }
}

pub const fn result(row: &AuditRow) -> &'static str {
    match row.facts.result {
        AuditResult::Pending => "pending",
        AuditResult::Success => "success",
        AuditResult::Failure => "failure",
    }
}

/// The name that was typed; `None` where the row no longer names anybody.
pub fn user(row: &AuditRow) -> Option<&str> {
    row.personal.as_ref().map(|personal| personal.user_name.as_str())
}

pub fn object_guid(row: &AuditRow) -> Option<ObjectGuid> {
    row.personal.as_ref().and_then(|personal| personal.object_guid)
}

pub fn source(row: &AuditRow) -> Option<&str> {
    row.personal.as_ref().and_then(|personal| personal.source.as_deref())
}

/// Code, cause and evidence, while they are there.
pub fn failure(row: &AuditRow) -> Option<Failure> {
    row.personal.as_ref().and_then(keyback_core::audit::Personal::failure)
}

/// The sentence behind the cause.
pub fn reason(row: &AuditRow) -> Option<&'static str> {
    row.facts.cause.map(keyback_codes::Cause::summary)
}

/// The domain controller that served or refused.
pub fn dc(row: &AuditRow, failure: Option<&Failure>) -> Option<String> {
    let done = row.facts.done.as_ref().map(|done| done.dc.clone());
    done.or_else(|| failure.and_then(|failure| failure.dc.clone()))
}

/// One row, with the field names of Entra's own audit log where it has them.
pub fn as_json(row: &AuditRow) -> Value {
    json!({
        "number": row.number,
        "activityDateTime": row.at.to_string(),
        "loggedByService": SERVICE,
        "category": CATEGORY,
        "activityDisplayName": row.facts.activity.display_name(),
        "correlationId": row.correlation_id,
        "jobId": row.job_id,
        "phase": phase(row),
        "result": result(row),
        "resultReason": reason(row),
        "code": row.facts.code,
        "cause": row.facts.cause,
        "user": user(row),
        "objectGUID": object_guid(row),
        "userPrincipalName": row.person.as_ref().map(|(_, upn)| upn),
        "displayName": row.person.as_ref().map(|(name, _)| name),
        "ipAddress": source(row),
        "done": row.facts.done,
        "failure": failure(row),
        "rows": row.facts.rows,
        "countersigned": row.countersigned,
        "hash": row.hash,
    })
}

pub fn describe(row: &AuditRow) -> String {
    let mut detail = String::new();
    if let Some(done) = &row.facts.done {
        detail = format!("  dc={}", done.dc);
        if let Some((before, after)) = done.key_version {
            detail.push_str(&format!(" key version {before} -> {after}"));
        }
    }
    if let (Some(code), Some(cause)) = (row.facts.code, row.facts.cause) {
        detail = format!("  {code} {cause}");
        if let Some(id) = row.job_id {
            detail.push_str(&format!("  keyback doctor --job {id}"));
        }
    }
    if matches!(row.facts.activity, Activity::Erased | Activity::MethodsImported) {
        detail = format!("  {} rows", row.facts.rows.unwrap_or(0));
    }
    format!(
        "{:>5}  {}  {}  {:<7}  {:<7}  {}  {}{}",
        row.number,
        row.at,
        row.correlation_id,
        phase(row),
        result(row),
        row.facts.activity.display_name(),
        plain(user(row).unwrap_or(NOBODY)),
        plain(&detail)
    )
}
