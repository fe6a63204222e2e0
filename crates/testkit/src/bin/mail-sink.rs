//! `mail-sink --smtp IP:PORT --http IP:PORT`: takes mails over SMTP, shows them on a page. For the demo and the tests.

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use keyback_testkit::mail::MailSink;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1c2430;\
background:#f4f6f9}article{background:#fff;border-radius:12px;padding:1rem 1.5rem;margin:1rem 0;box-shadow:0 1px 4px #0002}\
h1{font-size:1.4rem}h2{font-size:1rem;margin:0}pre{white-space:pre-wrap;font:inherit}small{color:#5b6675}\
@media(prefers-color-scheme:dark){body{background:#10151c;color:#e6eaf0}article{background:#1a222d}small{color:#9aa6b5}}";

async fn list(State(sink): State<MailSink>) -> Html<String> {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta http-equiv=refresh content=3><title>Mail sink</title><style>{STYLE}</style><h1>Mail sink</h1>\
         <p><small>Every mail that keyback sent, the newest first. Nothing was delivered.</small>"
    );
    for mail in sink.mails().iter().rev() {
        let subject = mail.header("Subject").unwrap_or_default();
        let (to, text) = (mail.to.join(", "), mail.text());
        let _ = write!(
            page,
            "<article><h2>{}</h2><small>to {}</small><pre>{}</pre></article>",
            escape(&subject),
            escape(&to),
            escape(&text)
        );
    }
    Html(page)
}

async fn latest(
    State(sink): State<MailSink>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, String) {
    match query.get("to").and_then(|to| sink.latest(to)) {
        Some(mail) => (StatusCode::OK, mail.text()),
        None => (StatusCode::NOT_FOUND, "no mail yet\n".to_owned()),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [smtp_flag, smtp, http_flag, http] = arguments.as_slice() else {
        bail!("usage: mail-sink --smtp IP:PORT --http IP:PORT");
    };
    if smtp_flag != "--smtp" || http_flag != "--http" {
        bail!("usage: mail-sink --smtp IP:PORT --http IP:PORT");
    }
    let sink = MailSink::start(smtp.parse().context("--smtp")?).await?;
    let address: SocketAddr = http.parse().context("--http")?;
    let pages = Router::new().route("/", get(list)).route("/latest", get(latest)).with_state(sink);
    axum::serve(tokio::net::TcpListener::bind(address).await?, pages).await?;
    Ok(())
}
