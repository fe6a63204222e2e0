//! Over a real socket: events, TLS, limits and a graceful end.

use crate::Tested;
use crate::site::{Browser, NEW, Site};
use keyback_server::web::{self, Limits};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn serve(
    site: &Site,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
) -> Result<Served, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let ended = tokio::spawn(web::serve(listener, tls, site.router.clone(), limits, stop.clone()));
    Ok(Served { address, stop, ended })
}

/// Opens the event stream of a job; what comes before the first line of an event is read.
async fn listen(
    served: &Served,
    browser: &Browser,
    page: &str,
) -> Result<BufReader<TcpStream>, Box<dyn Error>> {
    let mut stream = TcpStream::connect(served.address).await?;
    let cookie = browser.cookie.as_deref().unwrap_or_default();
    let head = format!(
        "GET {page}/events HTTP/1.1\r\nHost: reset.example.org\r\nAccept: text/event-stream\r\nCookie: __Host-keyback={cookie}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(BufReader::new(stream))
}

/// The next event's JSON.
async fn event(stream: &mut BufReader<TcpStream>) -> Result<Option<serde_json::Value>, Box<dyn Error>> {
    let mut line = String::new();
    while timeout(SOON, stream.read_line(&mut line)).await?? > 0 {
        if let Some(json) = line.strip_prefix("data: ") {
            return Ok(Some(serde_json::from_str(json)?));
        }
        line.clear();
    }
    Ok(None)
}

#[tokio::test]
async fn events_tell_each_state_and_end_with_the_job() -> Tested {
    let site = Site::new().await?;
    let served = serve(&site, None, Limits::default()).await?;
    let mut browser = site.proven("reset").await?;
    site.agent.hold();
    let page = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?.location();
    let mut stream = listen(&served, &browser, &page).await?;
    let first = event(&mut stream).await?.ok_or("no event")?;
    assert_eq!(first["state"], "running");
    assert_eq!(first["open"], true);
    site.agent.permits.add_permits(1);
    let last = event(&mut stream).await?.ok_or("no event")?;
    assert_eq!(last["state"], "succeeded");
    assert!(last["html"].as_str().is_some_and(|html| html.contains("Your new password works now.")));
    // Chunked transfer: the last chunk is empty, and the connection is free for the next request.
    let mut rest = String::new();
    while !rest.ends_with("0\r\n\r\n") {
        assert!(timeout(SOON, stream.read_line(&mut rest)).await?? > 0);
    }
    let mut late = listen(&served, &browser, &page).await?;
    assert_eq!(
        event(&mut late).await?.ok_or("no event")?["state"],
        "succeeded",
        "whoever comes late is told too"
    );
    Ok(())
}

#[tokio::test]
async fn stopping_ends_streams_and_finishes_what_runs() -> Tested {
    let site = Site::new().await?;
    let served = serve(&site, None, Limits::default()).await?;
    let mut browser = site.proven("reset").await?;
    site.agent.hold();
    let page = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?.location();
    let mut stream = listen(&served, &browser, &page).await?;
    event(&mut stream).await?;
    let mut idle = TcpStream::connect(served.address).await?;
    served.stop.cancel();
    timeout(SOON, served.ended).await???;
    assert!(event(&mut stream).await?.is_none());
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(served.address).await.is_err());
    Ok(())
}

/// Fault: a client never finishes its header => let go
#[tokio::test]
async fn a_client_that_does_not_finish_its_header_is_let_go() -> Tested {
    let site = Site::new().await?;
    let limits = Limits { header: Duration::from_millis(100), connections: 1, ..Limits::default() };
    let served = serve(&site, None, limits).await?;
    let mut slow = TcpStream::connect(served.address).await?;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: reset.exam").await?;
    // The one place is taken; the second connection waits for it and is served then.
    let mut next = TcpStream::connect(served.address).await?;
    next.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    timeout(SOON, next.read_to_string(&mut answer)).await??;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_header_that_is_too_long_is_refused() -> Tested {
    let site = Site::new().await?;
    let served = serve(&site, None, Limits::default()).await?;
    let mut stream = TcpStream::connect(served.address).await?;
    let head = format!("GET / HTTP/1.1\r\nHost: reset.example.org\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000));
    let _ = stream.write_all(head.as_bytes()).await; // the server may have hung up already
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await?;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test]
async fn pages_come_over_tls_and_a_wrong_pair_of_files_is_told() -> Tested {
    let site = Site::new().await?;
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["reset.example.org".to_owned()])?;
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let tls = web::tls_from_files(&certificate, &key)?;
    let served = serve(&site, Some(tls), Limits::default()).await?;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(served.address).await?;
    let mut stream = connector.connect("reset.example.org".try_into()?, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: reset.example.org\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    let _ = timeout(SOON, stream.read_to_string(&mut answer)).await?;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("How can we help?"), "{answer}");

    let other = rcgen::generate_simple_self_signed(["reset.example.org".to_owned()])?;
    std::fs::write(&key, other.signing_key.serialize_pem())?;
    assert!(matches!(web::tls_from_files(&certificate, &key), Err(web::TlsError::Pair { .. })));
    assert!(matches!(web::tls_from_files(&key, &key), Err(web::TlsError::NoCertificate { .. })));
    assert!(matches!(web::tls_from_files(&certificate, &certificate), Err(web::TlsError::Key { .. })));
    let missing = folder.path().join("missing");
    assert!(matches!(web::tls_from_files(&missing, &key), Err(web::TlsError::Certificate { .. })));
    Ok(())
}
