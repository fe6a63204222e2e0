//! A portal with a store of its own, and a browser without JavaScript.

use crate::agent::{self, Agent, CODE};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use keyback_core::{Clock, Timestamp};
use keyback_server::portal::{self, PortalConfig};
use keyback_server::web::Peer;
use keyback_server::{DoorLimits, Jobs, Limits};
use keyback_store::Store;
use std::error::Error;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tower::ServiceExt;

pub const URL: &str = "https://reset.example.org";
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
pub const NEW: &str = "correct-Horse-7-battery";

/// 2026-11-24T07:00:00Z, until somebody moves it.
pub struct ByHand(AtomicI64);

impl Clock for ByHand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl ByHand {
    pub fn pass(&self, duration: Duration) {
        self.0.fetch_add(i64::try_from(duration.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

pub struct Site {
    folder: tempfile::TempDir,
    pub router: Router,
    pub jobs: Jobs,
    pub agent: Arc<Agent>,
    pub clock: Arc<ByHand>,
}

impl Site {
    pub async fn new() -> Result<Self, Box<dyn Error>> {
        Self::with(DoorLimits::default()).await
    }

    /// With other limits at the door. A wrong code is answered at once.
    pub async fn with(door: DoorLimits) -> Result<Self, Box<dyn Error>> {
        let door = DoorLimits { wrong_code: Duration::ZERO, ..door };
        Self::build(tempfile::tempdir()?, door, vec![]).await
    }

    /// With these limits, and none other.
    pub async fn exactly(door: DoorLimits) -> Result<Self, Box<dyn Error>> {
        Self::build(tempfile::tempdir()?, door, vec![]).await
    }

    /// The same behind a proxy that says where each request comes from.
    pub async fn behind_proxy(door: DoorLimits) -> Result<Self, Box<dyn Error>> {
        let door = DoorLimits { wrong_code: Duration::ZERO, ..door };
        Self::build(tempfile::tempdir()?, door, vec![PROXY.into()]).await
    }

    /// Behind the proxy, with a store in memory: what is measured is not how busy the disk is.
    pub async fn in_memory(door: DoorLimits) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        Self::build(folder, DoorLimits { wrong_code: Duration::ZERO, ..door }, vec![PROXY.into()]).await
    }

    async fn build(
        folder: tempfile::TempDir,
        door: DoorLimits,
        trusted_proxies: Vec<IpAddr>,
    ) -> Result<Self, Box<dyn Error>> {
        let store = Store::open(&folder.path().join("keyback.db")).await?;
        let agent = Arc::new(Agent::new());
        let clock = Arc::new(ByHand(AtomicI64::new(1_795_503_600_000_000)));
        let limits = Limits { retry: Duration::from_millis(1), door, ..Limits::default() };
        let jobs = Jobs::new(store, agent.clone(), agent::sealer(), clock.clone(), limits);
        let config = PortalConfig {
            public_url: URL.to_owned(),
            organisation: "Example & Sons".to_owned(),
            help: Some("Call the help desk: 555-0100".to_owned()),
            trusted_proxies,
        };
        let router = portal::router(jobs.clone(), config);
        Ok(Self { folder, router, jobs, agent, clock })
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("keyback.db")
    }

    pub fn browser(&self) -> Browser {
        Browser { router: self.router.clone(), cookie: None, token: None, at: None, agent: None }
    }

    /// A browser whose requests come through the proxy, from this address.
    pub fn browser_at(&self, address: &str) -> Browser {
        Browser { at: Some(address.to_owned()), ..self.browser() }
    }

    /// A browser whose person has typed a name and waits for the mail.
    pub async fn asked(&self, operation: &str, user: &str) -> Result<Browser, Box<dyn Error>> {
        let mut browser = self.browser();
        let answer = browser.post(&format!("/{operation}"), &[("user", user)]).await?;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        assert_eq!(answer.location(), format!("/{operation}/code"));
        self.settled().await;
        Ok(browser)
    }

    /// A browser whose person has proved to be alice.
    pub async fn proven(&self, operation: &str) -> Result<Browser, Box<dyn Error>> {
        let mut browser = self.asked(operation, "alice").await?;
        browser.get(&format!("/{operation}/code")).await?;
        let answer = browser.send_form(&format!("/{operation}/code"), &[("code", CODE)]).await?;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        assert_eq!(browser.get(&answer.location()).await?.status, StatusCode::OK);
        Ok(browser)
    }

    /// Waits until every job that can end has ended.
    pub async fn settled(&self) {
        let open = async {
            loop {
                let jobs = self.jobs.store().list_jobs(1000).await.unwrap();
                let mut running = jobs.iter().filter(|job| job.state.name() == "running");
                match running.next() {
                    None => return,
                    Some(job) => {
                        self.jobs.wait(job.id, Duration::from_millis(5)).await.unwrap();
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), open).await.unwrap();
    }

    /// How many jobs there are whose kind this is.
    pub async fn count(&self, kind: &str) -> usize {
        let jobs = self.jobs.store().list_jobs(1000).await.unwrap();
        jobs.iter().filter(|job| job.kind.name() == kind).count()
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn location(&self) -> String {
        self.header("location").to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The one sentence under which people read what is wrong.
    pub fn alert(&self) -> &str {
        let rest = self.body.split_once("role=\"alert\"").map_or("", |(_, rest)| rest);
        rest.split_once("<p>").and_then(|(_, rest)| rest.split_once("</p>")).map_or("", |(text, _)| text)
    }
}

#[derive(Clone)]
pub struct Browser {
    router: Router,
    pub cookie: Option<String>,
    /// Of the last form that was shown.
    pub token: Option<String>,
    /// As the proxy says.
    at: Option<String>,
    /// What it says of itself.
    pub agent: Option<&'static str>,
}

/// application/x-www-form-urlencoded, everything escaped.
pub fn form(fields: &[(&str, &[u8])]) -> String {
    let escape = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02X}"); // a String takes everything
            text
        })
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}={}", escape(name.as_bytes()), escape(value))).collect();
    pairs.join("&")
}

impl Browser {
    /// As a browser sends it from a page of ours.
    pub fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "reset.example.org")
            .header(header::ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
            .header("sec-fetch-site", "same-origin");
        if let Some(at) = &self.at {
            request = request.header("x-forwarded-for", at).extension(Peer(PROXY.into()));
        }
        if let Some(agent) = self.agent {
            request = request.header(header::USER_AGENT, agent);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, format!("__Host-keyback={cookie}"));
        }
        request
    }

    pub async fn send(&mut self, request: Request<Body>) -> Result<Answer, Box<dyn Error>> {
        let response = self.router.clone().oneshot(request).await?;
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(to_bytes(body, 1 << 20).await?.to_vec())?;
        if let Some(cookie) = parts.headers.get(header::SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            self.cookie = pair.strip_prefix("__Host-keyback=").map(str::to_owned);
        }
        if let Some((_, rest)) = body.split_once("name=\"token\" value=\"") {
            self.token = rest.split('"').next().map(str::to_owned);
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, Box<dyn Error>> {
        let request = self.request("GET", path).body(Body::empty())?;
        self.send(request).await
    }

    pub async fn get_json(&mut self, path: &str) -> Result<(StatusCode, serde_json::Value), Box<dyn Error>> {
        let mut request = self.request("GET", path).body(Body::empty())?;
        request.headers_mut().insert(header::ACCEPT, "application/json".parse()?);
        let answer = self.send(request).await?;
        Ok((answer.status, serde_json::from_str(&answer.body)?))
    }

    pub fn form_request(&self, path: &str, body: impl Into<Body>) -> Result<Request<Body>, Box<dyn Error>> {
        let request = self
            .request("POST", path)
            .header(header::ORIGIN, URL)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        Ok(request.body(body.into())?)
    }

    pub async fn post_raw(&mut self, path: &str, body: String) -> Result<Answer, Box<dyn Error>> {
        let request = self.form_request(path, body)?;
        self.send(request).await
    }

    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Box<dyn Error>> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        self.post_raw(path, form(&fields)).await
    }

    /// With the token of the page that was shown last.
    pub async fn send_form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Box<dyn Error>> {
        let token = self.token.clone().unwrap_or_default();
        let mut all = vec![("token", token.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &all).await
    }
}
