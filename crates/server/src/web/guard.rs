//! Stands around every handler: is the request meant for us, did its form come from us, from where was it sent; one
//! span and one log line; headers; and the page for whatever went wrong.

use crate::portal::Portal;
use crate::portal::problem::Problem;
use crate::web::{Peer, headers};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use keyback_core::{CorrelationId, ids};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;
use tracing::field::{Empty, display};

/// Where the request came from, for budgets and the audit trail. An extension of each request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source(pub(crate) Option<String>);

tokio::task_local! {
    static NOTED: Cell<Option<CorrelationId>>;
}

/// From here on, what is logged of this request carries the number that the person can quote.
pub(crate) fn note(correlation_id: CorrelationId) {
    // Outside a request (a stream that goes on after its answer began) there is no page to put it on.
    let _ = NOTED.try_with(|noted| noted.set(Some(correlation_id)));
    tracing::Span::current().record("correlation_id", display(correlation_id));
}

/// The number of this request; a new one where no flow has given it one.
pub(crate) fn noted() -> CorrelationId {
    NOTED.try_with(Cell::get).ok().flatten().unwrap_or_else(|| {
        let correlation_id = CorrelationId::from_random(ids::random());
        note(correlation_id);
        correlation_id
    })
}

/// Probes come from load balancers that know an address and no name.
const ANY_HOST: [&str; 2] = ["/healthz", "/readyz"];

/// The middleware.
pub(crate) async fn around(State(portal): State<Arc<Portal>>, request: Request, next: Next) -> Response {
    NOTED.scope(Cell::new(None), answer(portal, request, next)).await
}

async fn answer(portal: Arc<Portal>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    // The route and not the path: a path may hold what somebody pasted there.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        route,
        source = Empty,
        correlation_id = Empty,
        job.id = Empty,
    );
    let wants_json = wants_json(request.headers());
    let answer = async {
        match admit(&portal, &mut request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into(),
        }
    };
    let mut response = answer.instrument(span.clone()).await;
    let _in_span = span.enter();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = portal.problem_page(&problem, wants_json);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    headers::put_on(response.headers_mut(), portal.origin.secure);
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(status = response.status().as_u16(), duration_ms, "answered");
    response
}

/// Whether the client is a program that reads JSON.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json") && !accept.contains("text/html"))
}

fn admit(portal: &Portal, request: &mut Request) -> Result<(), Problem> {
    let source = source(request, &portal.trusted_proxies)?;
    if let Some(source) = &source.0 {
        tracing::Span::current().record("source", display(source));
    }
    if !ANY_HOST.contains(&request.uri().path()) && !portal.origin.is_asked(request) {
        return Err(Problem::other_host());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !portal.origin.sent(request.headers()) {
        return Err(Problem::other_site());
    }
    request.extensions_mut().insert(source);
    Ok(())
}

/// What stands in `public_url`: the only place that absolute links and comparisons take it from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// As a browser writes it: no default port, no path.
    text: String,
    authority: String,
    default_port: &'static str,
    /// https.
    pub(crate) secure: bool,
}

impl Origin {
    /// As a browser writes it: the scheme and the authority.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn of(public_url: &str) -> Self {
        let url = public_url.trim_end_matches('/').to_ascii_lowercase();
        let secure = url.starts_with("https://");
        let default_port = if secure { ":443" } else { ":80" };
        let (scheme, authority) = url.split_once("://").unwrap_or(("http", &url));
        let authority = authority.strip_suffix(default_port).unwrap_or(authority).to_owned();
        Self { text: format!("{scheme}://{authority}"), authority, default_port, secure }
    }

    fn is_our_authority(&self, asked: &str) -> bool {
        let asked = asked.to_ascii_lowercase();
        asked.strip_suffix(self.default_port).unwrap_or(&asked) == self.authority
    }

    /// Whether the request names our host, once, wherever it names one.
    fn is_asked(&self, request: &Request) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        hosts.next().is_none()
            && host.is_some_and(|host| self.is_our_authority(host))
            && request.uri().authority().is_none_or(|uri| self.is_our_authority(uri.as_str()))
    }

    /// Whether our own page sent this form, as far as the browser tells.
    fn sent(&self, headers: &HeaderMap) -> bool {
        let says = |name: HeaderName, ours: &str| {
            headers
                .get_all(name)
                .iter()
                .all(|value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(ours.as_bytes()))
        };
        says(header::ORIGIN, &self.text) && says(HeaderName::from_static("sec-fetch-site"), "same-origin")
    }
}

/// The peer, or what a listed proxy says of it: the last address in X-Forwarded-For that is not itself a listed proxy.
fn source(request: &Request, trusted: &[IpAddr]) -> Result<Source, Problem> {
    let Some(Peer(peer)) = request.extensions().get::<Peer>() else { return Ok(Source(None)) };
    let mut source = *peer;
    let lines: Vec<_> = request.headers().get_all("x-forwarded-for").iter().collect();
    for line in lines.into_iter().rev() {
        for hop in line.to_str().unwrap_or_default().rsplit(',') {
            if !trusted.contains(&source) {
                return Ok(Source(Some(source.to_string())));
            }
            source = address(hop.trim()).ok_or_else(Problem::bad_proxy)?;
        }
    }
    Ok(Source(Some(source.to_string())))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            request.headers_mut().append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        request
    }

    #[test]
    fn only_our_own_host_is_asked() {
        let origin = Origin::of("https://Reset.Example.org/");
        for (host, ours) in [
            ("reset.example.org", true),
            ("RESET.example.org:443", true),
            ("reset.example.org:80", false),
            ("reset.example.org.evil.test", false),
            ("evil.test", false),
            ("", false),
        ] {
            assert_eq!(origin.is_asked(&request(&[("host", host)])), ours, "{host}");
        }
        assert!(!origin.is_asked(&request(&[])), "no host at all");
        let twice = request(&[("host", "reset.example.org"), ("host", "reset.example.org")]);
        assert!(!origin.is_asked(&twice), "two hosts");
        let mut absolute = request(&[("host", "reset.example.org")]);
        *absolute.uri_mut() = "http://evil.test/".parse().unwrap();
        assert!(!origin.is_asked(&absolute), "the request line names another");
        assert!(Origin::of("http://127.0.0.1:8080").is_asked(&request(&[("host", "127.0.0.1:8080")])));
    }

    #[test]
    fn a_form_counts_when_nothing_says_that_it_came_from_elsewhere() {
        let origin = Origin::of("https://reset.example.org");
        for (headers, ours) in [
            (&[][..], true),
            (&[("origin", "https://reset.example.org"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("origin", "https://reset.example.org:444")], false),
            (&[("origin", "http://reset.example.org")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("origin", "https://reset.example.org"), ("origin", "https://evil.test")], false),
        ] {
            assert_eq!(origin.sent(request(headers).headers()), ours, "{headers:?}");
        }
    }

    #[test]
    fn a_forwarded_address_counts_from_a_listed_proxy_only() {
        let proxies: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let from = |peer: &str, forwarded: &[&str]| {
            let lines: Vec<_> = forwarded.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let mut request = request(&lines);
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
            source(&request, &proxies).ok().and_then(|source| source.0)
        };
        assert_eq!(from("192.0.2.9", &["198.51.100.1"]).as_deref(), Some("192.0.2.9"));
        assert_eq!(from("10.0.0.1", &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(from("10.0.0.1", &["198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(from("10.0.0.1", &["203.0.113.7, 198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(
            from("10.0.0.1", &["203.0.113.7, 198.51.100.1, 10.0.0.2"]).as_deref(),
            Some("198.51.100.1")
        );
        assert_eq!(from("10.0.0.1", &["203.0.113.7", "[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(from("10.0.0.1", &["garbage, 198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(from("10.0.0.1", &["198.51.100.1, garbage"]), None, "unparsable means refused");
    }
}
