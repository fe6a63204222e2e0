//! `/reset/code`, `/change/code`, `/unlock/code`: the code from the mail.
//!
//! What is said here must be the same whether there is such a user or not. So it depends only on what is the same for
//! both: whether a directory could be reached at all, and how many codes were typed.

use crate::portal::job::minutes_left;
use crate::portal::page::{Frame, Wrong, html};
use crate::portal::problem::Problem;
use crate::portal::words::{self, Words};
use crate::portal::{Answered, Holder, Portal, Shared, same, see_other};
use crate::web::form;
use crate::web::guard::Source;
use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use keyback_codes::{Cause, PublicCode};
use keyback_core::audit::Activity;
use keyback_core::job::{JobState, Operation};
use keyback_core::{CorrelationId, Failure, PlainCode};
use keyback_store::{Flow, Job, StoreError};
use std::time::Duration;

/// An agent mostly answers at once; a browser does not notice this wait.
const WAIT: Duration = Duration::from_secs(3);
/// Wrong codes before a person must start again: the agent's own limit for one challenge.
const TRIES: usize = 5;

/// Where the flow stands, as far as anybody may be told.
enum Stage {
    /// A code is awaited.
    Open,
    /// An agent looks at the code that was typed.
    Checking,
    /// It was not the right one.
    WrongCode,
    /// Nor were those before it.
    TooMany,
    /// No directory answers yet; tried again for so many minutes.
    Waiting(u64),
    /// It ended without reaching a directory.
    Failed(PublicCode),
}

#[derive(Template)]
#[template(path = "code.html")]
struct Code<'a> {
    frame: Frame<'a>,
    words: &'a Words,
    step: u8,
    stage: Stage,
    token: String,
    correlation_id: CorrelationId,
    wrong: Option<Wrong>,
}

/// Causes that come before anybody looks for the user, so that they tell nothing about one.
const fn is_same_for_everyone(cause: Cause) -> bool {
    matches!(cause.code(), PublicCode::Unreachable)
        || matches!(
            cause,
            Cause::ConnectorBindFailed
                | Cause::ConnectorDisabled
                | Cause::ConnectorLocked
                | Cause::ConnectorPasswordExpired
                | Cause::MessageRefused
                | Cause::JournalUnavailable
                | Cause::StoreUnavailable
                | Cause::ConfigInvalid
        )
}

fn public(failure: &Failure) -> Option<PublicCode> {
    is_same_for_everyone(failure.cause).then_some(failure.code)
}

impl Portal {
    async fn stage(&self, flow: &Flow) -> Result<Stage, StoreError> {
        let jobs = self.jobs.store().list_flow_jobs(flow.correlation_id).await?;
        if let Some(stage) = stage_of_checks(&jobs) {
            return Ok(stage);
        }
        let Some(asked) = jobs.iter().find(|job| job.activity == Activity::CodeRequested) else {
            return Ok(Stage::Open);
        };
        if let Some(code) = asked.state.failure().and_then(public) {
            return Ok(Stage::Failed(code));
        }
        if matches!(asked.state, JobState::Queued { .. } | JobState::Doubtful { .. }) {
            // Only the attempts say what stands in the way.
            let attempts = self.jobs.store().list_attempts(asked.id).await?;
            if attempts.last().is_some_and(|last| public(&last.failure).is_some()) {
                return Ok(Stage::Waiting(minutes_left(asked, self.jobs.now())));
            }
        }
        Ok(Stage::Open)
    }

    fn code_page(
        &self,
        operation: Operation,
        holder: &Holder,
        stage: Stage,
        wrong: Option<Wrong>,
    ) -> Response {
        let wrong = wrong.or_else(|| match stage {
            Stage::WrongCode => Some(Wrong::new("code", words::WRONG_CODE)),
            Stage::TooMany => Some(Wrong::new("code", words::TOO_MANY_CODES)),
            Stage::Open | Stage::Checking | Stage::Waiting(_) | Stage::Failed(_) => None,
        });
        let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let page = Code {
            frame: self.frame(),
            words: words::of(operation),
            step: 2,
            stage,
            token: holder.ticket.form_token(),
            correlation_id: holder.flow.correlation_id,
            wrong,
        };
        html(status, &page)
    }

    /// Where somebody belongs who needs no code, or no code any more.
    fn beyond(&self, operation: Operation, flow: &Flow) -> Option<Response> {
        match flow.job_id {
            Some(id) => Some(see_other(&format!("/jobs/{id}"))),
            None if self.is_proven(flow) => Some(see_other(words::of(operation).finish_path)),
            None => None,
        }
    }
}

/// What the codes that were typed came to; `None` before the first, and after a right one whose proof is over.
fn stage_of_checks(jobs: &[Job]) -> Option<Stage> {
    let checks = || jobs.iter().filter(|job| job.activity == Activity::CodeChecked);
    let failure = match &checks().next_back()?.state {
        JobState::Queued { .. } | JobState::Running { .. } | JobState::Doubtful { .. } => {
            return Some(Stage::Checking);
        }
        JobState::Succeeded { .. } => return None,
        JobState::Refused { why: failure, .. } | JobState::Exhausted { last: failure, .. } => failure,
    };
    if let Some(code) = public(failure) {
        return Some(Stage::Failed(code));
    }
    // Which of wrong, too old and too many it was says whether there is a challenge, and so a user.
    let wrong = checks().filter(|job| matches!(job.state, JobState::Refused { .. })).count();
    Some(if wrong >= TRIES { Stage::TooMany } else { Stage::WrongCode })
}

pub(crate) async fn show(operation: Operation, portal: Shared, headers: HeaderMap) -> Answered {
    let Some(holder) = portal.find_holder_of(operation, &headers).await? else {
        return Ok(see_other(words::of(operation).ask_path));
    };
    if let Some(elsewhere) = portal.beyond(operation, &holder.flow) {
        return Ok(elsewhere);
    }
    let stage = portal.stage(&holder.flow).await?;
    let mut page = portal.code_page(operation, &holder, stage, None);
    *page.status_mut() = StatusCode::OK; // nothing was sent that could be wrong
    Ok(page)
}

pub(crate) async fn post(operation: Operation, portal: Shared, request: Request) -> Answered {
    let words = words::of(operation);
    let (parts, body) = request.into_parts();
    let Some(mut holder) = portal.find_holder_of(operation, &parts.headers).await? else {
        return Err(Problem::timed_out(words.ask_path));
    };
    let [token, typed] = form::read(&parts.headers, body, ["token", "code"]).await?;
    if !same(&token, holder.ticket.form_token().as_bytes()) {
        return Err(Problem::other_site());
    }
    if let Some(elsewhere) = portal.beyond(operation, &holder.flow) {
        return Ok(elsewhere);
    }
    let jobs = portal.jobs.store().list_flow_jobs(holder.flow.correlation_id).await?;
    let stage = match stage_of_checks(&jobs) {
        // One at a time: a second click is not a second try.
        Some(stage @ (Stage::Checking | Stage::TooMany)) => stage,
        Some(Stage::Open | Stage::WrongCode | Stage::Waiting(_) | Stage::Failed(_)) | None => {
            let Some(code) = std::str::from_utf8(&typed).ok().and_then(PlainCode::parse) else {
                let wrong = Wrong::new("code", words::NOT_EIGHT_DIGITS);
                return Ok(portal.code_page(operation, &holder, Stage::Open, Some(wrong)));
            };
            // The mail may be here before the agent's word that it was sent; until then no code can be right.
            let asked = jobs.iter().find(|job| job.activity == Activity::CodeRequested);
            if let Some(asked) = asked.filter(|asked| asked.state.finished_at().is_none()) {
                let asked = portal.jobs.wait(asked.id, WAIT).await?;
                if asked.is_none_or(|asked| asked.state.finished_at().is_none()) {
                    let stage = portal.stage(&holder.flow).await?;
                    return Ok(portal.code_page(operation, &holder, stage, None));
                }
                holder.flow = portal
                    .find_holder_of(operation, &parts.headers)
                    .await?
                    .map_or(holder.flow, |now| now.flow);
            }
            let Source(source) = parts.extensions.get().cloned().unwrap_or_default();
            let id = portal.jobs.check_code(&holder.flow, code, source).await?;
            let job = portal.jobs.wait(id, WAIT).await?;
            if job.is_some_and(|job| matches!(job.state, JobState::Succeeded { .. })) {
                return Ok(see_other(words.finish_path));
            }
            portal.stage(&holder.flow).await?
        }
    };
    Ok(portal.code_page(operation, &holder, stage, None))
}
