//! `/errors`: the reference in the portal.

use super::{
    Filter, Place, entry_page, family_page, find_by_slug, front_page, lists, missing_page, search_index, slug,
};
use crate::portal::{Answered, Portal, Route, Shared};
use crate::web::guard;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use keyback_codes::catalogue::Entry;
use keyback_codes::explain::explain_code;
use std::sync::Arc;

/// A pasted error is longer than a code; more than this is for `keyback scan`.
const MOST_BYTES: usize = 4096;

/// For the portal's table.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new("/errors", &["GET"], get(list)),
        Route::new("/errors/search.json", &["GET"], get(index)),
        Route::new("/errors/{code}", &["GET"], get(show)),
    ]
}

fn place(portal: &Arc<Portal>) -> Place {
    Place::Portal { public_url: portal.origin.text().to_owned() }
}

fn page(status: StatusCode, rendered: Result<String, askama::Error>) -> Response {
    match rendered {
        Ok(html) => {
            let kept = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "public, max-age=300"),
                (header::VARY, "accept"),
            ];
            (status, kept, html).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn json(status: StatusCode, body: String) -> Response {
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// One value of a query, decoded; anything that is no text is nothing.
fn parameter(query: &str, name: &str) -> String {
    let value = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let mut decoded = Vec::new();
    let mut bytes = value.unwrap_or_default().bytes().take(MOST_BYTES);
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .unwrap_or(b' ')
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).unwrap_or_default().trim().to_owned()
}

async fn list(portal: Shared, RawQuery(query): RawQuery) -> Answered {
    let place = place(&portal);
    let query = query.unwrap_or_default();
    let filter = Filter {
        query: parameter(&query, "q"),
        category: parameter(&query, "category"),
        severity: parameter(&query, "severity"),
        family: parameter(&query, "family"),
    };
    let number = parameter(&query, "page").parse().unwrap_or(1);
    if filter.is_empty() {
        return Ok(page(StatusCode::OK, front_page(&place)));
    }
    let only_family = Filter { family: filter.family.clone(), ..Filter::default() };
    if filter != only_family {
        return Ok(page(StatusCode::OK, lists::found_page(&place, filter, number)));
    }
    Ok(match family_page(&place, &filter.family, number) {
        Ok(Some(html)) => page(StatusCode::OK, Ok(html)),
        Ok(None) => page(StatusCode::NOT_FOUND, missing_page(&place, &explain_code(&filter.family))),
        Err(error) => page(StatusCode::OK, Err(error)),
    })
}

async fn index(portal: Shared) -> Answered {
    Ok(json(StatusCode::OK, search_index(&place(&portal))))
}

/// The one address of a code. Programs and people are led there alike.
fn moved(entry: &Entry) -> Response {
    let mut response = Redirect::permanent(&format!("/errors/{}", slug(entry))).into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn show(portal: Shared, Path(code): Path<String>, headers: HeaderMap) -> Answered {
    let place = place(&portal);
    let wants_json = guard::wants_json(&headers);
    let code: String = code.chars().take(200).collect();
    if let Some(entry) = find_by_slug(&code) {
        if slug(entry) != code {
            return Ok(moved(entry));
        }
        if wants_json {
            return Ok(json(StatusCode::OK, serde_json::json!([entry]).to_string()));
        }
        return Ok(page(StatusCode::OK, entry_page(&place, entry)));
    }
    let found = explain_code(&code);
    let status = if found.is_unknown() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    if wants_json {
        return Ok(json(status, serde_json::json!(found.answers()).to_string()));
    }
    Ok(match found.entries.as_slice() {
        [entry] => moved(entry),
        _ => page(status, missing_page(&place, &found)),
    })
}
