//! `/`: what can be done here.

use crate::portal::page::{Frame, html};
use crate::portal::{Answered, Shared};
use askama::Template;
use axum::http::StatusCode;

#[derive(Template)]
#[template(path = "home.html")]
struct Home<'a> {
    frame: Frame<'a>,
}

pub(crate) async fn show(portal: Shared) -> Answered {
    Ok(html(StatusCode::OK, &Home { frame: portal.frame() }))
}
