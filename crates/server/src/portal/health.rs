//! What a load balancer asks.

use crate::agents;
use crate::portal::Shared;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use keyback_codes::Explain;
use keyback_store::HeardAgent;

/// The process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The store answers too, so a person can be helped.
pub(crate) async fn ready(portal: Shared) -> Response {
    let store = portal.jobs.store();
    let heard = match store.next_due().await {
        Ok(_) => store.list_agents().await,
        Err(error) => Err(error),
    };
    match heard {
        Ok(heard) => {
            let now = portal.jobs.now();
            let agent = |agent: &HeardAgent| {
                serde_json::json!({
                    "id": agent.heartbeat.agent,
                    "state": agent.heartbeat.state.name(),
                    "cause": agents::judge(agent, now),
                    "heard": agent.heard_at.to_string(),
                    "journal": agent.heartbeat.head.sequence,
                })
            };
            let agents: Vec<_> = heard.iter().map(agent).collect();
            // An agent that is away or stopped is no reason to send people to another server: it says why.
            Json(serde_json::json!({ "ready": true, "agents": agents })).into_response()
        }
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
