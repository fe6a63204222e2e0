//! Connections: how many, from whom, for how long, and how they end.
//!
//! HTTP/1.1 only, over TLS too (no other protocol is offered): one request at a time, so there are no streams to count.

use crate::web::patient::Patient;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
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
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more wait in the operating system's queue.
    pub connections: usize,
    /// Connections at once from one network (an IPv4 address, an IPv6 /64); more are closed at once.
    pub connections_per_source: usize,
    /// Proxies that speak for many: the limit before is not theirs.
    pub proxies: Vec<IpAddr>,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From one answer (or the handshake) to the last byte of the next request's header: so also the longest idle time.
    pub header: Duration,
    /// Bytes of a request's header, and of what is read ahead of its body. At least 8192.
    pub header_bytes: usize,
    /// A client that reads nothing of its answer for so long is let go.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_source: 64,
            proxies: vec![],
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            header_bytes: 16 * 1024,
            stall: Duration::from_secs(20),
        }
    }
}

/// The other end of the connection. An extension of each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

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
    let places = Arc::new(Semaphore::new(front.limits.connections));
    let crowd = Arc::new(Crowd::default());
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
                    let peer = peer.ip().to_canonical();
                    let Some(seat) = crowd.enter(peer, &front.limits) else {
                        tracing::debug!(source = %peer, "one connection too many from there");
                        continue;
                    };
                    let front = front.clone();
                    connections.spawn(async move {
                        let _seat = (place, seat);
                        front.talk(stream, peer).await;
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

/// Connections by network.
#[derive(Default)]
struct Crowd(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place in the crowd, until it is dropped.
struct Seat(Arc<Crowd>, IpAddr);

/// An IPv4 address, or the first address of an IPv6 /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Crowd {
    fn enter(self: &Arc<Self>, peer: IpAddr, limits: &Limits) -> Option<Seat> {
        let most = if limits.proxies.contains(&peer) { usize::MAX } else { limits.connections_per_source };
        let network = network(peer);
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = crowd.entry(network).or_default();
        if *there >= most {
            return None;
        }
        *there += 1;
        Some(Seat(Arc::clone(self), network))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut crowd = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut there) = crowd.entry(self.1) {
            *there.get_mut() -= 1;
            if *there.get() == 0 {
                there.remove();
            }
        }
    }
}

impl Front {
    async fn talk(&self, stream: TcpStream, peer: IpAddr) {
        // Answers are small and complete; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, self.limits.stall);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_so_many_seats_and_a_listed_proxy_has_no_limit() {
        let crowd = Arc::new(Crowd::default());
        let proxies = vec!["192.0.2.9".parse().unwrap()];
        let limits = Limits { connections_per_source: 2, proxies, ..Limits::default() };
        let enter = |peer: &str| crowd.enter(peer.parse().unwrap(), &limits);
        let mut seats: Vec<_> =
            ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
                .into_iter()
                .map(|peer| enter(peer).expect(peer))
                .collect();
        assert!(enter("192.0.2.1").is_none() && enter("2001:db8::3").is_none());
        seats.extend((0..9).map(|_| enter("192.0.2.9").expect("a proxy")));
        seats.remove(0);
        assert!(enter("192.0.2.1").is_some());
        drop(seats);
        assert!(crowd.0.lock().unwrap().is_empty(), "nobody is remembered who has gone");
    }
}
