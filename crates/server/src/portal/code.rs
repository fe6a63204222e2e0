//! `/reset/code`, `/change/code`, `/unlock/code`: the code from the mail.
//!
//! What is said here must be the same whether there is such a user or not. So it depends only on what is the same for
//! both: whether a directory could be reached at all, and how many codes were typed.

use crate::jobs::{CODES_A_FLOW, CodeCheck, Tickets};
use crate::portal::job::minutes_left;
use crate::portal::page::{Frame, Wrong, html};
use crate::portal::problem::Problem;
use crate::portal::words::{self, Words};
use crate::portal::{Answered, Holder, Portal, Shared, see_other};
use crate::web::guard::Source;
use crate::web::{cookie, form};
use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use keyback_codes::{Cause, PublicCode};
use keyback_core::audit::Activity;
use keyback_core::job::{JobState, Operation};
use keyback_core::{CorrelationId, Failure, PlainTicket, TypedCode, Way};
use keyback_store::{Flow, Job, StoreError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// An agent mostly answers at once; a browser does not notice this wait.
const WAIT: Duration = Duration::from_secs(3);
/// So many times the wait of a wrong code pass between asking for a code and hearing that one was wrong: more than
/// [`WAIT`] and a check together.
const EARLY: u32 = 6;

/// Where the flow stands, as far as anybody may be told.
enum Stage {
    /// A code is awaited.
    Open,
    /// An agent looks at the code that was typed.
    Checking,
    /// It was not the right one.
    WrongCode,
    /// It was right, and used already.
    Used,
    /// It was right, of something that counts later.
    Frozen,
    /// It is of a moment that lies so many seconds from now.
    ClockOff(i64),
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
    token: &'a str,
    correlation_id: CorrelationId,
    /// Of an app or a sheet, not of a mail.
    expects_held: bool,
    /// Another one was right already.
    second: bool,
    wrong: Option<Wrong>,
}

/// Whether the flow waits for a code of something that the person holds.
fn expects_held(flow: &Flow) -> bool {
    if flow.given.is_empty() { flow.held } else { flow.given.contains(&Way::Mail) }
}

/// The code that was typed, or what is wrong with its form.
fn parse_code(flow: &Flow, typed: &[u8]) -> Result<TypedCode, &'static str> {
    let code = std::str::from_utf8(typed).ok().and_then(TypedCode::parse);
    match (code, expects_held(flow)) {
        // The second one may be of any way that was not the first.
        (Some(code), _) if !flow.given.is_empty() => Ok(code),
        (Some(code), held) if held != matches!(code, TypedCode::Mailed(_)) => Ok(code),
        (_, false) => Err(words::NOT_EIGHT_DIGITS),
        (_, true) => Err(words::NOT_HELD),
    }
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
            Stage::WrongCode if expects_held(&holder.flow) => Some(Wrong::new("code", words::WRONG_HELD)),
            Stage::WrongCode => Some(Wrong::new("code", words::WRONG_CODE)),
            Stage::Used => Some(Wrong::new("code", words::USED_CODE)),
            Stage::Frozen => Some(Wrong::new("code", words::FROZEN)),
            Stage::ClockOff(seconds) => Some(Wrong::new("code", &words::clock_off(seconds))),
            Stage::TooMany => Some(Wrong::new("code", words::TOO_MANY_CODES)),
            Stage::Open | Stage::Checking | Stage::Waiting(_) | Stage::Failed(_) => None,
        });
        let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let page = Code {
            frame: self.frame(),
            words: words::of(operation),
            step: 2,
            stage,
            token: &holder.flow.form_token,
            correlation_id: holder.flow.correlation_id,
            expects_held: expects_held(&holder.flow),
            second: !holder.flow.given.is_empty(),
            wrong,
        };
        html(status, &page)
    }

    /// The mail may be here before the agent's word that it was sent; until then no code can be right. How long that
    /// takes says whether there is a user, so a wrong code is not answered before the instant that is given back.
    async fn wait_for_mail(&self, holder: &mut Holder, headers: &HeaderMap) -> Result<Instant, Problem> {
        let arrived = Instant::now();
        let jobs = self.jobs.store().list_flow_jobs(holder.flow.correlation_id).await?;
        let Some(asked) = jobs.iter().find(|job| job.activity == Activity::CodeRequested) else {
            return Ok(arrived);
        };
        let now = self.jobs.now();
        let left = |after: Duration| asked.created_at.plus(after).since(now);
        if asked.state.finished_at().is_none() {
            self.jobs.wait(asked.id, left(WAIT)).await?;
        }
        // The flow was read before the body came: the word may have come between, however this job stands now.
        if holder.flow.challenge.is_none()
            && let Some(now) = self.find_holder_of(holder.flow.operation, headers).await?
        {
            holder.flow = now.flow;
        }
        Ok(arrived + left(self.jobs.door().wrong_code * EARLY))
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

/// How far the phone's clock is ahead of the agent's, as the agent saw it.
pub(super) fn seconds_off(failure: &Failure) -> i64 {
    let clock = failure.evidence.iter().find(|seen| seen.attribute == "clock");
    clock.and_then(|seen| seen.value.parse().ok()).unwrap_or(0)
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
    Some(if wrong >= CODES_A_FLOW as usize {
        Stage::TooMany
    } else if failure.cause == Cause::ProofCodeUsed {
        // Only whoever has the app or the sheet comes here.
        Stage::Used
    } else if failure.cause == Cause::ProofMethodFrozen {
        Stage::Frozen
    } else if failure.cause == Cause::ProofClockOff {
        Stage::ClockOff(seconds_off(failure))
    } else {
        Stage::WrongCode
    })
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
    let wrong_at = Instant::now() + portal.jobs.door().wrong_code;
    let words = words::of(operation);
    let (parts, body) = request.into_parts();
    let Some(mut holder) = portal.find_holder_of(operation, &parts.headers).await? else {
        return Err(Problem::timed_out(words.ask_path));
    };
    let [token, typed] = form::read(&parts.headers, body, ["token", "code"]).await?;
    if !holder.is_own_form(&token) {
        return Err(Problem::other_site());
    }
    if let Some(elsewhere) = portal.beyond(operation, &holder.flow) {
        return Ok(elsewhere);
    }
    let code = match parse_code(&holder.flow, &typed) {
        Ok(code) => code,
        Err(words) => {
            let wrong = Some(Wrong::new("code", words));
            return Ok(portal.code_page(operation, &holder, Stage::Open, wrong));
        }
    };
    let early_until = portal.wait_for_mail(&mut holder, &parts.headers).await?;
    let Source(source) = parts.extensions.get().cloned().unwrap_or_default();
    let browser = cookie::browser(&parts.headers);
    let next = PlainTicket::mint();
    let tickets = Tickets { presented: holder.ticket.hash_for(browser), next: next.hash_for(browser) };
    let check = portal.jobs.check_code(&holder.flow, code, source, tickets).await;
    let id = match check.map_err(|error| Problem::from(error).back_to(words.code_path))? {
        CodeCheck::Begun(id) => id,
        // A second press is not a second try.
        CodeCheck::UnderWay => return Ok(portal.code_page(operation, &holder, Stage::Checking, None)),
        CodeCheck::FlowSpent => return Ok(portal.code_page(operation, &holder, Stage::TooMany, None)),
    };
    // Whoever typed the right code goes on with this ticket; the one that came with the form is worth nothing then.
    holder.ticket = next;
    let job = portal.jobs.wait(id, WAIT).await?;
    let mut response = if job.is_some_and(|job| matches!(job.state, JobState::Succeeded { .. })) {
        see_other(words.finish_path)
    } else {
        let stage = portal.stage(&holder.flow).await?;
        sleep_until(wrong_at.max(early_until)).await;
        portal.code_page(operation, &holder, stage, None)
    };
    let ticket = cookie::set_ticket(&holder.ticket, portal.origin.secure);
    response.headers_mut().insert(header::SET_COOKIE, ticket);
    Ok(response)
}
