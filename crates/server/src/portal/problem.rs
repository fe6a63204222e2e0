//! What a person reads when a request led nowhere: a plain sentence, what to do, and the number to quote.

use crate::jobs::JobsError;
use crate::portal::Portal;
use crate::portal::page::{Frame, html};
use crate::web::form::FormError;
use crate::web::guard::noted;
use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::{IntoResponse, Response};
use keyback_codes::{Cause, Explain, PublicCode};
use keyback_core::CorrelationId;
use keyback_store::StoreError;
use std::any::Any;

/// Travels as an extension of the response to the guard, which knows whose page it is.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    todo: &'static str,
    code: Option<PublicCode>,
    cause: Option<Cause>,
    again: &'static str,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame<'a>,
    problem: &'a Problem,
    correlation_id: CorrelationId,
}

impl Problem {
    const fn plain(status: StatusCode, title: &'static str, todo: &'static str) -> Self {
        Self { status, title, todo, code: None, cause: None, again: "/" }
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

    pub(crate) const fn other_site() -> Self {
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
    pub(crate) const fn timed_out(again: &'static str) -> Self {
        Self {
            again,
            ..Self::plain(
                StatusCode::FORBIDDEN,
                "This page has timed out.",
                "For your safety you have some minutes for each step. Nothing was changed. Please start again.",
            )
        }
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
            return (problem.status, Json(json)).into_response();
        }
        html(problem.status, &ProblemPage { frame: self.frame(), problem, correlation_id })
    }
}
