//! What a load balancer asks.

use crate::portal::Shared;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use keyback_codes::Explain;

/// The process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The store answers too, so a person can be helped.
pub(crate) async fn ready(portal: Shared) -> Response {
    match portal.jobs.store().next_due().await {
        Ok(_) => Json(serde_json::json!({ "ready": true })).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "not ready");
            let answer = serde_json::json!({
                "ready": false,
                "code": error.code(),
                "cause": error.cause(),
                "fix": error.fix().text,
            });
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
        }
    }
}
