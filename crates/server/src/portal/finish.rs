//! `/reset/password`, `/change/password`, `/unlock/confirm`: what it was all for, by somebody who has proved who they
//! are. Their address of record is shown from here on, masked.

use crate::portal::page::{Frame, Wrong, html};
use crate::portal::problem::Problem;
use crate::portal::rules::Shown;
use crate::portal::words::{self, Words};
use crate::portal::{Answered, Holder, Portal, Shared, same, see_other};
use crate::web::form::{self, Typed};
use crate::web::guard::Source;
use askama::Template;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use keyback_core::job::{JobState, Operation};
use keyback_core::message::Body;
use keyback_core::secrets::NotAPassword;
use keyback_core::{ChallengeId, CorrelationId, CurrentPassword, NewPassword};
use keyback_store::{Flow, StoreError};

#[derive(Template)]
#[template(path = "finish.html")]
struct Finish<'a> {
    frame: Frame<'a>,
    words: &'a Words,
    step: u8,
    asks_current: bool,
    asks_new: bool,
    user_name: &'a str,
    mail_hint: &'a str,
    token: &'a str,
    correlation_id: CorrelationId,
    rules: Option<Shown>,
    wrong: Option<Wrong>,
}

impl Finish<'_> {
    /// What describes the field of the new password: what is wrong with it, and the rules.
    fn described(&self) -> String {
        let wrong = self.is_wrong("new").then_some("wrong");
        let rules = self.rules.as_ref().map(|_| "rules");
        wrong.into_iter().chain(rules).collect::<Vec<_>>().join(" ")
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.wrong.as_ref().is_some_and(|wrong| wrong.field == field)
    }
}

impl Portal {
    pub(super) fn finish_page(&self, holder: &Holder, wrong: Option<Wrong>) -> Response {
        let Flow { operation, user_name, mail_hint, correlation_id, rules, .. } = &holder.flow;
        let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let page = Finish {
            frame: self.frame(),
            words: words::of(*operation),
            step: 3,
            asks_current: matches!(operation, Operation::Change | Operation::Register),
            asks_new: matches!(operation, Operation::Reset | Operation::Change),
            user_name: user_name.as_str(),
            mail_hint: mail_hint.as_deref().unwrap_or_default(),
            token: &holder.flow.form_token,
            correlation_id: *correlation_id,
            rules: rules.as_ref().map(|rules| Shown::of(rules, self.jobs.now())),
            wrong,
        };
        html(status, &page)
    }

    /// Whether the flow has a job that stands. One that was refused leaves the person free to try something else.
    async fn has_standing_job(&self, flow: &Flow) -> Result<bool, StoreError> {
        let Some(id) = flow.job_id else { return Ok(false) };
        let job = self.jobs.store().find_job(id).await?;
        Ok(job.is_some_and(|job| !matches!(job.state, JobState::Refused { .. })))
    }
}

pub(crate) async fn show(operation: Operation, portal: Shared, headers: HeaderMap) -> Answered {
    let words = words::of(operation);
    let Some(holder) = portal.find_holder_of(operation, &headers).await? else {
        return Ok(see_other(words.ask_path));
    };
    if portal.has_standing_job(&holder.flow).await? {
        return Ok(see_other(&format!(
            "/jobs/{}",
            holder.flow.job_id.map(|id| id.to_string()).unwrap_or_default()
        )));
    }
    if !portal.is_proven(&holder.flow) {
        return Ok(see_other(if holder.flow.job_id.is_some() { words.ask_path } else { words.code_path }));
    }
    Ok(portal.finish_page(&holder, None))
}

pub(crate) async fn post(operation: Operation, portal: Shared, request: Request) -> Answered {
    let words = words::of(operation);
    let (parts, body) = request.into_parts();
    let Some(holder) = portal.find_holder_of(operation, &parts.headers).await? else {
        return Err(Problem::timed_out(words.ask_path));
    };
    let typed = read(operation, &parts.headers, body).await?;
    if !holder.is_own_form(&typed.token) {
        return Err(Problem::other_site());
    }
    // The page was loaded again, or the button pressed twice: the same job, whatever the form says now.
    if let (Some(id), true) = (holder.flow.job_id, portal.has_standing_job(&holder.flow).await?) {
        return portal.accepted(&holder.flow, id).await;
    }
    let Some(challenge) = holder.flow.challenge.filter(|_| portal.is_proven(&holder.flow)) else {
        return Err(Problem::timed_out(words.ask_path));
    };
    match typed.into_body(operation, challenge) {
        Ok(body) => {
            let id = portal.jobs.submit(&holder.flow, body, source(&parts)).await?;
            Ok(portal.begun(&holder.flow, id))
        }
        Err(wrong) => Ok(portal.finish_page(&holder, Some(wrong))),
    }
}

pub(super) fn source(parts: &Parts) -> Option<String> {
    parts.extensions.get().cloned().unwrap_or(Source(None)).0
}

/// The form's fields, as bytes. Fields that the operation does not have stay empty and are not read.
struct Fields {
    token: Typed,
    current: Typed,
    new: Typed,
    repeat: Typed,
}

async fn read(
    operation: Operation,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<Fields, form::FormError> {
    let nothing = Typed::default;
    Ok(match operation {
        Operation::Reset => {
            let [token, new, repeat] = form::read(headers, body, ["token", "new", "repeat"]).await?;
            Fields { token, current: nothing(), new, repeat }
        }
        Operation::Change => {
            let names = ["token", "current", "new", "repeat"];
            let [token, current, new, repeat] = form::read(headers, body, names).await?;
            Fields { token, current, new, repeat }
        }
        Operation::Unlock | Operation::Register => {
            let [token] = form::read(headers, body, ["token"]).await?;
            Fields { token, current: nothing(), new: nothing(), repeat: nothing() }
        }
    })
}

impl Fields {
    fn into_body(self, operation: Operation, challenge: ChallengeId) -> Result<Body, Wrong> {
        let refused = |field| move |error: NotAPassword| Wrong::of(field, error.for_person(), &error);
        if matches!(operation, Operation::Unlock | Operation::Register) {
            return Ok(Body::Unlock { challenge });
        }
        let current = match operation {
            Operation::Change => Some(CurrentPassword::parse(self.current).map_err(refused("current"))?),
            Operation::Reset | Operation::Unlock | Operation::Register => None,
        };
        let repeated = same(&self.new, &self.repeat);
        let new = NewPassword::parse(self.new).map_err(refused("new"))?;
        if !repeated {
            return Err(Wrong::new("repeat", words::NOT_THE_SAME));
        }
        Ok(match current {
            Some(current) => Body::Change { challenge, current, new },
            None => Body::Reset { challenge, new },
        })
    }
}
