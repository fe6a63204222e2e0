//! `/reset`, `/change`, `/unlock`: who are you?
//!
//! The same bytes and the same work for every name: whether there is such a user is asked afterwards, by a job.

use crate::portal::page::{Frame, Wrong, html};
use crate::portal::words::{self, Words};
use crate::portal::{Answered, Portal, Shared, see_other, user_name};
use crate::web::guard::{Source, note};
use crate::web::{cookie, form};
use askama::Template;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use keyback_core::PlainTicket;
use keyback_core::ids::NotAUserName;
use keyback_core::job::Operation;

#[derive(Template)]
#[template(path = "ask.html")]
struct Ask<'a> {
    frame: Frame<'a>,
    words: &'a Words,
    step: u8,
    typed: &'a str,
    wrong: Option<Wrong>,
}

pub(crate) fn show(operation: Operation, portal: &Portal) -> Response {
    let words = words::of(operation);
    html(StatusCode::OK, &Ask { frame: portal.frame(), words, step: 1, typed: "", wrong: None })
}

pub(crate) async fn post(operation: Operation, portal: Shared, request: Request) -> Answered {
    let words = words::of(operation);
    let (parts, body) = request.into_parts();
    // The second button's: an app or a sheet of codes is at hand, and no mail is wanted.
    let held = parts.uri.query() == Some("by=app");
    let [typed] = form::read(&parts.headers, body, ["user"]).await?;
    let Some(name) = user_name(&typed) else {
        let wrong = Some(Wrong::of("user", words::BAD_NAME, &NotAUserName));
        let typed = String::from_utf8_lossy(&typed);
        let page = Ask { frame: portal.frame(), words, step: 1, typed: &typed, wrong };
        return Ok(html(StatusCode::UNPROCESSABLE_ENTITY, &page));
    };
    let Source(source) = parts.extensions.get().cloned().unwrap_or_default();
    let ticket = PlainTicket::mint();
    let hash = ticket.hash_for(cookie::browser(&parts.headers));
    let correlation_id = portal.jobs.ask_code(hash, operation, name, held, source).await?;
    note(correlation_id);
    let mut response = see_other(words.code_path);
    response.headers_mut().insert(header::SET_COOKIE, cookie::set_ticket(&ticket, portal.origin.secure));
    Ok(response)
}
