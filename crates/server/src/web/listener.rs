//! Connections: how many, for how long, and how they end.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What one client may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait in the operating system's queue.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From one answer (or the handshake) to the last byte of the next request's header: so also the longest idle time.
    pub header: Duration,
    /// Bytes of a request's header, and of what is read ahead of its body. At least 8192.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            header_bytes: 16 * 1024,
        }
    }
}

/// The other end of the connection. An extension of each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Cancelled when the server stops: what would go on streaming ends then. An extension of each request.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(pub(crate) CancellationToken);

struct Front {
    router: Router,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    stop: CancellationToken,
}

/// Serves until `stop`, then takes no more connections and returns when those that are there have had their answers.
/// Dropping the future ends them at once, so a caller may put a limit on it.
///
/// # Errors
/// None so far: a connection that cannot be accepted is the client's trouble, or passes.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    let front = Arc::new(Front { router, tls: tls.map(TlsAcceptor::from), limits, stop });
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = front.stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (place, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let front = front.clone();
                    connections.spawn(async move {
                        let _place = place;
                        front.talk(stream, peer.ip().to_canonical()).await;
                    });
                }
                Err(error) => {
                    // Too many open files, mostly: give the others time to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

impl Front {
    async fn talk(&self, stream: TcpStream, peer: IpAddr) {
        // Answers are small and complete; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.answer(stream, peer).await };
        match timeout(self.limits.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.answer(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%error, source = %peer, "no TLS came about"),
            Err(_) => tracing::debug!(source = %peer, "the TLS handshake took too long"),
        }
    }

    async fn answer(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr) {
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(Stopping(self.stop.clone()));
            let request: Request = request.map(Body::new);
            self.router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .max_buf_size(self.limits.header_bytes.max(8192))
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, source = %peer, "a connection broke");
        }
    }
}
