//! The portal: the pages on which people help themselves.
//!
//! Decides what a person is asked, told and shown, step by step; what becomes of a job is the engine's (`jobs`), what a
//! request must look like is `web`'s. No page and no delay tells a stranger whether there is such a user.

mod ask;
mod assets;
mod code;
mod finish;
mod health;
mod home;
mod job;
mod page;
pub(crate) mod problem;
mod register;
mod rules;
mod words;

pub use assets::bytes as asset_bytes;
pub(crate) use assets::url as asset_url;

use crate::jobs::Jobs;
use crate::web::cookie;
use crate::web::guard::{self, Origin, note};
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use keyback_core::job::Operation;
use keyback_core::{PlainTicket, UserName};
use keyback_store::Flow;
use page::Frame;
use problem::Problem;
use std::net::IpAddr;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// What an administrator says about the portal.
#[derive(Debug, Clone)]
pub struct PortalConfig {
    /// Where people find it, without a path: `https://reset.example.org`. Requests for another host are turned away.
    pub public_url: String,
    /// Whose portal it is, as it stands at the top of each page.
    pub organisation: String,
    /// Whom to call when it does not help, in plain text.
    pub help: Option<String>,
    /// Whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// What every handler needs.
pub(crate) struct Portal {
    jobs: Jobs,
    organisation: String,
    help: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) trusted_proxies: Vec<IpAddr>,
}

pub(crate) type Shared = axum::extract::State<Arc<Portal>>;
pub(crate) type Answered = Result<Response, Problem>;

/// One line of the route table.
pub struct Route {
    /// As axum writes it: `/jobs/{id}`.
    pub path: &'static str,
    /// Methods that are answered.
    pub methods: &'static [&'static str],
    handlers: MethodRouter<Arc<Portal>>,
}

impl Route {
    pub(crate) fn new(
        path: &'static str,
        methods: &'static [&'static str],
        handlers: MethodRouter<Arc<Portal>>,
    ) -> Self {
        Self { path, methods, handlers }
    }
}

/// Every route: the router is built from it, and a test walks it.
pub fn routes() -> Vec<Route> {
    let route = |path, methods, handlers| Route { path, methods, handlers };
    let mut table = vec![
        route("/", &["GET"][..], get(home::show)),
        route("/jobs/{id}", &["GET"], get(job::show)),
        route("/jobs/{id}/events", &["GET"], get(job::events)),
        route("/assets/{name}", &["GET"], get(assets::show)),
        route("/healthz", &["GET"], get(health::live)),
        route("/readyz", &["GET"], get(health::ready)),
    ];
    for operation in [Operation::Reset, Operation::Change, Operation::Unlock, Operation::Register] {
        let words = words::of(operation);
        let both = &["GET", "POST"][..];
        let ask = get(move |portal: Shared| async move { ask::show(operation, &portal) })
            .post(move |portal: Shared, request: Request| ask::post(operation, portal, request));
        let code = get(move |portal: Shared, headers: HeaderMap| code::show(operation, portal, headers))
            .post(move |portal: Shared, request: Request| code::post(operation, portal, request));
        table.push(route(words.ask_path, both, ask));
        table.push(route(words.code_path, both, code));
        if operation == Operation::Register {
            continue;
        }
        let finish = get(move |portal: Shared, headers: HeaderMap| finish::show(operation, portal, headers))
            .post(move |portal: Shared, request: Request| finish::post(operation, portal, request));
        table.push(route(words.finish_path, both, finish));
    }
    table.extend(register::routes());
    table.extend(crate::reference::routes());
    table
}

/// The whole portal, to be given to [`crate::web::serve`].
pub fn router(jobs: Jobs, config: PortalConfig) -> Router {
    let portal = Arc::new(Portal {
        jobs,
        organisation: config.organisation,
        help: config.help,
        origin: Origin::of(&config.public_url),
        trusted_proxies: config.trusted_proxies,
    });
    let mut router = Router::new();
    for Route { path, handlers, .. } in routes() {
        router = router.route(path, handlers);
    }
    router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::wrong_method())
        .layer(CatchPanicLayer::custom(Problem::of_panic))
        .layer(axum::middleware::from_fn_with_state(portal.clone(), guard::around))
        .with_state(portal)
}

/// Somebody whose ticket stands for a flow.
struct Holder {
    ticket: PlainTicket,
    flow: Flow,
}

impl Holder {
    /// Whether a page of this flow's sent the form.
    fn is_own_form(&self, token: &[u8]) -> bool {
        !token.is_empty() && same(token, self.flow.form_token.as_bytes())
    }
}

impl Portal {
    fn frame(&self) -> Frame<'_> {
        Frame { organisation: &self.organisation, help: self.help.as_deref() }
    }

    /// The flow of whoever sent this, if there is one.
    async fn find_holder(&self, headers: &HeaderMap) -> Result<Option<Holder>, Problem> {
        let Some(ticket) = cookie::read_ticket(headers, self.origin.secure) else { return Ok(None) };
        let hash = ticket.hash_for(cookie::browser(headers));
        let flow = self.jobs.store().find_flow(hash, self.jobs.now()).await?;
        Ok(flow.map(|flow| {
            note(flow.correlation_id);
            Holder { ticket, flow }
        }))
    }

    /// The same, of a flow that is for this operation.
    async fn find_holder_of(
        &self,
        operation: Operation,
        headers: &HeaderMap,
    ) -> Result<Option<Holder>, Problem> {
        Ok(self.find_holder(headers).await?.filter(|holder| holder.flow.operation == operation))
    }

    /// Whether the flow's proof holds now. The agent looks again.
    fn is_proven(&self, flow: &Flow) -> bool {
        flow.proof_until.is_some_and(|until| self.jobs.now() < until)
    }
}

fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Compares without telling by its time how much was right.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (l, r)| differs | (l ^ r)) == 0
}

fn user_name(typed: &[u8]) -> Option<UserName> {
    std::str::from_utf8(typed).ok().and_then(|typed| UserName::parse(typed).ok())
}
