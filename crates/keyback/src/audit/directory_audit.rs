//! Microsoft Graph's `directoryAudit`, for programs that read Entra's audit log already.
//!
//! Entra knows no intents: there a step on the way is an activity of its own, and it is written so here.

use super::row;
use keyback_core::audit::{Activity, AuditResult, Phase};
use keyback_store::AuditRow;
use serde_json::{Value, json};

/// What Entra calls a step on the way.
const STEP: &str = "Self-service password reset flow activity progress";

/// What the step was.
const fn step(activity: Activity) -> &'static str {
    match activity {
        Activity::CodeRequested => "User submitted their user ID",
        Activity::CodeChecked => "User submitted the code that was mailed to them",
        Activity::Reset => "User submitted a new password",
        Activity::Change => "User submitted their current and a new password",
        Activity::Unlock => "User asked to unlock their account",
        Activity::SignedIn => "User submitted their current password",
        Activity::MethodAdded => "User submitted a method to prove who they are",
        Activity::MethodTested => "User submitted a code of a method to test it",
        Activity::MethodRemoved => "User asked to remove a method",
        Activity::MethodsImported | Activity::Erased => "",
    }
}

const fn operation(activity: Activity) -> &'static str {
    match activity {
        Activity::Erased | Activity::MethodRemoved => "Delete",
        Activity::MethodAdded | Activity::MethodsImported => "Add",
        Activity::CodeRequested
        | Activity::CodeChecked
        | Activity::Reset
        | Activity::Change
        | Activity::Unlock
        | Activity::SignedIn
        | Activity::MethodTested => "Update",
    }
}

pub fn record(row: &AuditRow) -> Value {
    let activity = row.facts.activity;
    let intent = row.facts.phase == Phase::Intent;
    let failure = row::failure(row);
    let user = row::user(row).map(|typed| {
        let (name, upn) = row.person.as_ref().map_or((typed, typed), |(name, upn)| (name, upn));
        (row::object_guid(row), name, upn)
    });
    let initiator = user.map(|(id, name, upn)| {
        json!({ "id": id, "displayName": name, "userPrincipalName": upn, "ipAddress": row::source(row) })
    });
    let target = user.map(|(id, name, upn)| {
        json!({
            "id": id, "displayName": name, "type": "User", "userPrincipalName": upn,
            "groupType": null, "modifiedProperties": [],
        })
    });
    let mut details = vec![("phase", row::phase(row).to_owned()), ("number", row.number.to_string())];
    let mut detail = |key, value: Option<String>| details.extend(value.map(|value| (key, value)));
    detail("jobId", row.job_id.map(|id| id.to_string()));
    detail("code", row.facts.code.map(|code| code.to_string()));
    detail("cause", row.facts.cause.map(|cause| cause.to_string()));
    detail("domainController", row::dc(row, failure.as_ref()));
    let reply = failure.as_ref().and_then(|failure| failure.reply.as_ref());
    detail("ldapResult", reply.map(|reply| reply.result.to_string()));
    detail("serverText", reply.map(|reply| reply.text.clone()));
    for seen in failure.iter().flat_map(|failure| &failure.evidence) {
        detail("evidence", Some(format!("{}={} ({})", seen.attribute, seen.value, seen.from)));
    }
    if let Some((before, after)) = row.facts.done.as_ref().and_then(|done| done.key_version) {
        detail("keyVersion", Some(format!("{before} -> {after}")));
    }
    detail("rows", row.facts.rows.map(|rows| rows.to_string()));
    detail("countersigned", Some(row.countersigned.to_string()));
    detail("hash", Some(row.hash.to_string()));
    json!({
        "id": format!("keyback_{}_{}", row.number, row.correlation_id),
        "category": row::CATEGORY,
        "correlationId": row.correlation_id,
        "result": if row.facts.result == AuditResult::Failure { "failure" } else { "success" },
        "resultReason": if intent { step(activity) } else { row::reason(row).unwrap_or_default() },
        "activityDisplayName": if intent { STEP } else { activity.display_name() },
        "activityDateTime": row.at.to_string(),
        "loggedByService": row::SERVICE,
        "operationType": operation(activity),
        "initiatedBy": { "user": initiator, "app": null },
        "targetResources": target.into_iter().collect::<Vec<_>>(),
        "additionalDetails": details
            .into_iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect::<Vec<_>>(),
    })
}
