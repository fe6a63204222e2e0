//! `/jobs/{id}`: what becomes of it, live or by reloading. For the browser that began, and nobody else.
//!
//! Evidence, names of servers and rules are the administrator's; here stand fixed sentences, the code and the
//! correlation ID.

use crate::portal::page::{Frame, html};
use crate::portal::problem::Problem;
use crate::portal::words::{self, Words};
use crate::portal::{Answered, Portal, Shared};
use crate::web::{Stopping, guard};
use askama::Template;
use axum::Json;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use keyback_codes::PublicCode;
use keyback_core::job::{JobState, Operation};
use keyback_core::{CorrelationId, JobId, Timestamp};
use keyback_store::{Flow, Job};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::display;

/// A stream ends after this; the browser comes back by itself while its page is open.
const LONGEST_STREAM: Duration = Duration::from_mins(10);
/// Longer quiet is broken by a comment, so that no proxy takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A job in a person's words.
struct View {
    id: JobId,
    correlation_id: CorrelationId,
    operation: Operation,
    state: &'static str,
    title: &'static str,
    stage: Stage,
}

enum Stage {
    Working,
    Waiting(String),
    Done { joined: bool, by_mail: bool },
    Failed { todo: &'static str, code: PublicCode, next: &'static str, button: &'static str },
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage<'a> {
    frame: Frame<'a>,
    words: &'a Words,
    step: u8,
    view: &'a View,
}

#[derive(Template)]
#[template(path = "job_body.html")]
struct JobBody<'a> {
    words: &'a Words,
    view: &'a View,
}

/// Whole minutes until the job's deadline, rounded up.
pub(super) fn minutes_left(job: &Job, now: Timestamp) -> u64 {
    job.deadline.since(now).as_secs().div_ceil(60)
}

impl View {
    fn of(job: &Job, flow: &Flow, now: Timestamp) -> Self {
        let stage = match &job.state {
            JobState::Running { .. } => Stage::Working,
            // Doubtful: an agent may have it. In either case it goes on by itself.
            JobState::Queued { .. } | JobState::Doubtful { .. } => {
                Stage::Waiting(words::keep_trying(minutes_left(job, now)))
            }
            JobState::Succeeded { .. } => Stage::Done {
                joined: job.correlation_id != flow.correlation_id,
                // Whoever came in with something that they hold needs no reminder.
                by_mail: !flow.held && flow.given.is_empty(),
            },
            JobState::Refused { why: failure, .. } | JobState::Exhausted { last: failure, .. } => {
                let words = words::of(flow.operation);
                let refused = matches!(job.state, JobState::Refused { .. });
                let may_choose_again = refused
                    && flow.proof_until.is_some_and(|until| now < until)
                    && matches!(
                        failure.code,
                        PublicCode::Banned
                            | PublicCode::FuzzyBanned
                            | PublicCode::ContainsName
                            | PublicCode::Policy
                            | PublicCode::WrongCurrentPassword
                    );
                let (next, button) = if may_choose_again {
                    (words.finish_path, "Try another password")
                } else {
                    (words.ask_path, "Start again")
                };
                Stage::Failed { todo: words::for_person(failure).1, code: failure.code, next, button }
            }
        };
        Self {
            id: job.id,
            correlation_id: job.correlation_id,
            operation: job.operation,
            state: job.state.name(),
            title: words::state(job.operation, &job.state),
            stage,
        }
    }

    /// As it was offered a moment ago.
    fn begun(id: JobId, flow: &Flow) -> Self {
        Self {
            id,
            correlation_id: flow.correlation_id,
            operation: flow.operation,
            state: "running",
            title: words::of(flow.operation).working,
            stage: Stage::Working,
        }
    }

    const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Working | Stage::Waiting(_))
    }

    const fn code(&self) -> Option<PublicCode> {
        match self.stage {
            Stage::Failed { code, .. } => Some(code),
            Stage::Working | Stage::Waiting(_) | Stage::Done { .. } => None,
        }
    }
}

impl Portal {
    fn job_page(&self, status: StatusCode, view: &View) -> Response {
        html(status, &JobPage { frame: self.frame(), words: words::of(view.operation), step: 4, view })
    }

    /// 202 for a job that was just begun: nothing more is read for it.
    pub(super) fn begun(&self, flow: &Flow, id: JobId) -> Response {
        tracing::Span::current().record("job.id", display(id));
        at(self.job_page(StatusCode::ACCEPTED, &View::begun(id, flow)), id)
    }

    /// 202 for a job that was there already.
    pub(super) async fn accepted(&self, flow: &Flow, id: JobId) -> Answered {
        let job = self.jobs.store().find_job(id).await?.ok_or_else(Problem::not_found)?;
        Ok(at(self.job_page(StatusCode::ACCEPTED, &View::of(&job, flow, self.jobs.now())), id))
    }

    /// The flow of whoever sent this, if that job is theirs.
    async fn load_own(&self, id: &str, headers: &HeaderMap) -> Result<(Flow, JobId), Problem> {
        let id: JobId = id.parse().map_err(|_| Problem::not_found())?;
        let holder = self.find_holder(headers).await?;
        let flow = holder.map(|holder| holder.flow).filter(|flow| flow.job_id == Some(id));
        tracing::Span::current().record("job.id", display(id));
        flow.map(|flow| (flow, id)).ok_or_else(Problem::not_found)
    }
}

fn at(mut response: Response, id: JobId) -> Response {
    if let Ok(place) = HeaderValue::from_str(&format!("/jobs/{id}")) {
        response.headers_mut().insert(header::LOCATION, place.clone());
        response.headers_mut().insert(header::CONTENT_LOCATION, place);
    }
    response
}

pub(crate) async fn show(portal: Shared, Path(id): Path<String>, headers: HeaderMap) -> Answered {
    let (flow, id) = portal.load_own(&id, &headers).await?;
    let job = portal.jobs.store().find_job(id).await?.ok_or_else(Problem::not_found)?;
    let view = View::of(&job, &flow, portal.jobs.now());
    let mut response = if guard::wants_json(&headers) {
        Json(serde_json::json!({
            "id": view.id,
            "correlation_id": view.correlation_id,
            "operation": view.operation,
            "state": view.state,
            "code": view.code(),
            "title": view.title,
        }))
        .into_response()
    } else {
        portal.job_page(StatusCode::OK, &view)
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

pub(crate) async fn events(portal: Shared, Path(id): Path<String>, request: Request) -> Answered {
    // Before the first look: a change in between is told twice rather than not at all.
    let changes = portal.jobs.changes();
    let (flow, id) = portal.load_own(&id, request.headers()).await?;
    let stop = request.extensions().get::<Stopping>().map(|stopping| stopping.0.clone()).unwrap_or_default();
    let watch = Watch {
        portal: portal.0.clone(),
        flow,
        id,
        changes,
        stop,
        until: Instant::now() + LONGEST_STREAM,
        told: None,
    };
    Ok(Sse::new(watch.into_stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// One open stream.
struct Watch {
    portal: Arc<Portal>,
    flow: Flow,
    id: JobId,
    changes: Receiver<Arc<Job>>,
    stop: CancellationToken,
    until: Instant,
    /// Whether the last state that was told was an open one.
    told: Option<bool>,
}

impl Watch {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut watch| {
            let event = watch.next().await?;
            Some((Ok(event), watch))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        let job = match self.told {
            None => self.read().await?,
            Some(true) => self.changed().await?,
            Some(false) => return None,
        };
        let view = View::of(&job, &self.flow, self.portal.jobs.now());
        self.told = Some(view.is_open());
        let html = JobBody { words: words::of(view.operation), view: &view }.render().ok()?;
        let told = serde_json::json!({
            "state": view.state,
            "code": view.code(),
            "title": view.title,
            "open": view.is_open(),
            "html": html,
        });
        Event::default().event("job").json_data(told).ok()
    }

    async fn read(&self) -> Option<Arc<Job>> {
        match self.portal.jobs.find_job(self.id).await {
            Ok(job) => job,
            Err(error) => {
                // The browser comes back by itself, or the person reloads.
                tracing::error!(error = &error as &dyn std::error::Error, job.id = %self.id, "a stream ended");
                None
            }
        }
    }

    /// The job when it has changed; `None` when the stream has to end first.
    async fn changed(&mut self) -> Option<Arc<Job>> {
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
            };
            match change {
                Ok(job) if job.id == self.id => return Some(job),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return self.read().await,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
