//! What a person reads when a request led nowhere: a plain sentence, what to do, and the number to quote.

use crate::jobs::JobsError;
use crate::portal::Portal;
use crate::portal::page::{Frame, html};
use crate::web::form::FormError;
use crate::web::guard::noted;
use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, Response as HttpResponse, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keyback_codes::{Cause, Explain, PublicCode};
use keyback_core::CorrelationId;
use keyback_store::{Counted, StoreError, TurnedAway};
use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

/// Travels as an extension of the response to the guard, which knows whose page it is.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    todo: Cow<'static, str>,
    code: Option<PublicCode>,
    cause: Option<Cause>,
    again: &'static str,
    button: &'static str,
    /// Until the same request may do better.
    wait: Option<Duration>,
}

/// A person who came when too much was to do comes again after this.
const BUSY: Duration = Duration::from_secs(30);

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame<'a>,
    problem: &'a Problem,
    correlation_id: CorrelationId,
}

impl Problem {
    const fn plain(status: StatusCode, title: &'static str, todo: &'static str) -> Self {
        let todo = Cow::Borrowed(todo);
        Self { status, title, todo, code: None, cause: None, again: "/", button: "Start again", wait: None }
    }

    /// Something of ours failed. Whoever calls has logged the error.
    fn internal(status: StatusCode, cause: Cause) -> Self {
        let (title, todo) = PublicCode::Internal.for_person();
        Self { code: Some(cause.code()), cause: Some(cause), ..Self::plain(status, title, todo) }
    }

    /// There is no such page, or it is somebody else's: which of the two, nobody is told.
    pub(crate) const fn not_found() -> Self {
        Self::plain(
            StatusCode::NOT_FOUND,
            "There is no such page.",
            "It may have been here: pages about a password are only shown for a while, and only to the browser that began.",
        )
    }

    pub(crate) const fn wrong_method() -> Self {
        Self::plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "This page cannot be used like that.",
            "Start at the first page.",
        )
    }

    pub(crate) const fn other_host() -> Self {
        Self::plain(
            StatusCode::MISDIRECTED_REQUEST,
            "This is not the address of this page.",
            "Use the address that your organisation told you.",
        )
    }

    pub(crate) fn other_site() -> Self {
        Self {
            cause: Some(Cause::InputForm),
            code: Some(Cause::InputForm.code()),
            ..Self::plain(
                StatusCode::FORBIDDEN,
                "This form was not sent by our own page.",
                "Nothing was changed. Start at the first page.",
            )
        }
    }

    pub(crate) const fn bad_proxy() -> Self {
        Self::plain(
            StatusCode::BAD_REQUEST,
            "Your request came with a damaged return address.",
            "Nothing was changed. Your administrator can mend this: a proxy sends an X-Forwarded-For that is not an address.",
        )
    }

    /// A form arrived without the ticket that belongs to it.
    pub(crate) fn timed_out(again: &'static str) -> Self {
        Self {
            again,
            ..Self::plain(
                StatusCode::FORBIDDEN,
                "This page has timed out.",
                "For your safety you have some minutes for each step. Nothing was changed. Please start again.",
            )
        }
    }

    /// Too many tries, or too much to do. The same words for a name that is there and one that is not.
    fn turned_away(turned_away: TurnedAway) -> Self {
        let (status, title, wait, cause) = match turned_away {
            TurnedAway::TooMany { counted, wait } => {
                let title = match counted {
                    Counted::Source => "Too many tries came from your network.",
                    Counted::NameFromSource | Counted::Name | Counted::Person => {
                        "There were too many tries for this name."
                    }
                };
                (StatusCode::TOO_MANY_REQUESTS, title, wait, Cause::ProofTooMany)
            }
            TurnedAway::Busy => {
                let title = "Too many people are being helped right now.";
                (StatusCode::SERVICE_UNAVAILABLE, title, BUSY, Cause::ServerBusy)
            }
        };
        let minutes = wait.as_secs().div_ceil(60).max(1);
        let (a_while, s) =
            if minutes == 1 { ("a minute".to_owned(), "") } else { (minutes.to_string(), " minutes") };
        Self {
            todo: Cow::Owned(format!("Nothing was changed. Wait {a_while}{s}, then try again.")),
            code: Some(cause.code()),
            cause: Some(cause),
            wait: Some(wait),
            ..Self::plain(status, title, "")
        }
    }

    fn with_wait(&self, mut response: Response) -> Response {
        if let Some(wait) = self.wait {
            // Whole seconds, rounded up: not a moment too early.
            let seconds = wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// Where the person may try again.
    pub(crate) fn back_to(self, path: &'static str) -> Self {
        Self { again: path, button: "Back", ..self }
    }

    /// A handler panicked: our bug, one request, and the process goes on.
    #[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
    pub(crate) fn of_panic(payload: Box<dyn Any + Send + 'static>) -> HttpResponse<Body> {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        noted();
        tracing::error!(panic = text.unwrap_or("of another kind"), "a handler panicked");
        let (title, todo) = PublicCode::Internal.for_person();
        let code = Some(PublicCode::Internal);
        Self { code, ..Self::plain(StatusCode::INTERNAL_SERVER_ERROR, title, todo) }.into_response()
    }
}

impl From<FormError> for Problem {
    fn from(error: FormError) -> Self {
        tracing::info!(%error, "a form was refused");
        let (code, cause) = (Some(error.code()), Some(error.cause()));
        let (title, todo) = (
            "This form is not the one that we sent out.",
            "Nothing was changed. Start again, and fill in the page as it is.",
        );
        Self { code, cause, ..Self::plain(error.status(), title, todo) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        noted();
        tracing::error!(
            error = &error as &dyn std::error::Error,
            cause = %error.cause(),
            "the store failed, and nothing was begun"
        );
        Self::internal(StatusCode::SERVICE_UNAVAILABLE, error.cause())
    }
}

impl From<JobsError> for Problem {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Store(error) => error.into(),
            JobsError::TurnedAway(turned_away) => {
                noted();
                tracing::warn!(?turned_away, cause = %error.cause(), "turned away at the door");
                Self::turned_away(turned_away)
            }
            JobsError::Message(error) => {
                noted();
                tracing::error!(error = &error as &dyn std::error::Error, cause = %error.cause(), "no job was begun");
                Self::internal(StatusCode::INTERNAL_SERVER_ERROR, error.cause())
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl Portal {
    /// The page or, for a program, the JSON. Its number stands in the log line of this request too.
    pub(crate) fn problem_page(&self, problem: &Problem, wants_json: bool) -> Response {
        let correlation_id = noted();
        if wants_json {
            let json = serde_json::json!({
                "code": problem.code,
                "cause": problem.cause,
                "title": problem.title,
                "correlation_id": correlation_id,
            });
            return problem.with_wait((problem.status, Json(json)).into_response());
        }
        problem.with_wait(html(problem.status, &ProblemPage { frame: self.frame(), problem, correlation_id }))
    }
}
