//! A TCP proxy that can be told to misbehave: answers late, or not at all. TLS passes through it unread.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Between a client and one server.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on `listen` (port 0 takes a free one) and passes on to `server`.
    pub async fn start(listen: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let proxy = Self { address: listener.local_addr()?, delay_ms };
        let delay = Arc::clone(&proxy.delay_ms);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let delay = Arc::clone(&delay);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        pass(client, server, delay).await;
                    }
                });
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, what the server sends arrives this much later. Requests arrive at once.
    pub fn delay_answers(&self, by: Duration) {
        self.delay_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

async fn pass(client: TcpStream, server: TcpStream, delay: Arc<AtomicU64>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let upstream = tokio::io::copy(&mut from_client, &mut to_server);
    let read = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let at = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
            if late.send((at, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    };
    let write = async {
        while let Some((at, bytes)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to_client.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { _ = upstream => {}, () = async { tokio::join!(read, write); } => {} }
}
