//! A TCP proxy that can be told to misbehave: answers late, or not at all. TLS passes through it unread.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Between a client and one server.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    lines: Arc<Lines>,
}

/// The connections, counted from one, and the one whose requests are held back.
#[derive(Debug)]
struct Lines {
    opened: AtomicU64,
    held: watch::Sender<Option<u64>>,
    caught: AtomicBool,
}

impl Proxy {
    /// Listens on `listen` (port 0 takes a free one) and passes on to `server`.
    pub async fn start(listen: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            opened: AtomicU64::new(0),
            held: watch::Sender::new(None),
            caught: AtomicBool::new(false),
        };
        let proxy = Self { address: listener.local_addr()?, delay_ms, lines: Arc::new(lines) };
        let passing = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = passing.clone();
                let number = proxy.lines.opened.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        pass(client, server, number, &proxy).await;
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

    /// From now on, what the client sends on the connection that was opened last does not arrive.
    pub fn hold_newest(&self) {
        self.lines.held.send_replace(Some(self.lines.opened.load(Ordering::Relaxed)));
    }

    /// Whether something was held back.
    pub fn has_caught(&self) -> bool {
        self.lines.caught.load(Ordering::Relaxed)
    }

    /// What was held back arrives now, whether the client still waits or not.
    pub fn release(&self) {
        self.lines.held.send_replace(None);
    }
}

impl Lines {
    async fn carry(&self, number: u64, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut held = self.held.subscribe();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if *held.borrow_and_update() == Some(number) {
                self.caught.store(true, Ordering::Relaxed);
                let _ = held.wait_for(|held| *held != Some(number)).await; // the sender outlives every line
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    }
}

async fn pass(client: TcpStream, server: TcpStream, number: u64, proxy: &Proxy) {
    let delay = &proxy.delay_ms;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let upstream = proxy.lines.carry(number, from_client, to_server);
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
    tokio::select! { () = upstream => {}, () = async { tokio::join!(read, write); } => {} }
}
