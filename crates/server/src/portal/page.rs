//! Templates, rendered.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use keyback_codes::{Cause, PublicCode};

/// What stands around every page.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) organisation: &'a str,
    pub(crate) help: Option<&'a str>,
}

/// What is wrong with what was typed: a sentence, the field, and the code and cause where there are any.
#[derive(Clone)]
pub(crate) struct Wrong {
    pub(crate) text: String,
    pub(crate) field: &'static str,
    pub(crate) reference: Option<(PublicCode, Cause)>,
}

impl Wrong {
    pub(crate) fn new(field: &'static str, text: &str) -> Self {
        Self { text: text.to_owned(), field, reference: None }
    }

    pub(crate) fn of(field: &'static str, text: &str, error: &impl keyback_codes::Explain) -> Self {
        Self { reference: Some((error.code(), error.cause())), ..Self::new(field, text) }
    }
}

/// The page. A template that cannot be rendered would be a fault of its own text, found by its snapshot.
pub(crate) fn html(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
