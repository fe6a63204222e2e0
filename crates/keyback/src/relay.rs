//! The two relays of one machine: in process, and over a Unix socket that the agent dials.
//!
//! Both carry sealed and signed bytes and are trusted with nothing. The socket lets server and agent run as two users,
//! so that the server's cannot read the agent's keys.

use keyback_agent::Agent;
use keyback_core::KeyId;
use keyback_core::heartbeat::Ask;
use keyback_core::message::MAX_MESSAGE;
use keyback_core::relay::{Answer, Relay, RelayError};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The agent in this very process.
pub struct InProcess(pub Agent);

impl Relay for InProcess {
    fn request(&self, request: Vec<u8>, limit: Duration) -> Answer<'_> {
        let agent = self.0.clone();
        Box::pin(async move {
            // A task of its own: what was begun goes on when nobody waits any more.
            let work = tokio::spawn(async move { agent.handle(&request).await });
            match tokio::time::timeout(limit, work).await {
                Ok(Ok(Some(reply))) => Ok(reply),
                Ok(Ok(None) | Err(_)) | Err(_) => Err(RelayError::NoAnswer),
            }
        })
    }
}

/// A frame: which request, how many bytes, the bytes.
async fn write_frame(to: &mut OwnedWriteHalf, number: u64, bytes: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(12 + bytes.len());
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes());
    frame.extend_from_slice(bytes);
    to.write_all(&frame).await
}

async fn read_frame(from: &mut OwnedReadHalf) -> io::Result<(u64, Vec<u8>)> {
    let number = from.read_u64_le().await?;
    let length = usize::try_from(from.read_u32_le().await?).map_err(io::Error::other)?;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame longer than any message"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok((number, bytes))
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>>;

/// What an agent sends first, under this number, and again when its keys change: the ids of the keys that it opens seals
/// with, so that messages find it. An agent that wants to enrol has none yet.
const HELLO: u64 = u64::MAX;

#[derive(Clone)]
struct Line {
    number: u64,
    /// What is sealed to one of these belongs here.
    opens: Vec<KeyId>,
    outbox: mpsc::Sender<(u64, Vec<u8>)>,
    pending: Pending,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server's end of the socket: agents dial in, and of those that a request may be for, the one that came last gets it.
pub struct Socket {
    lines: Arc<Mutex<Vec<Line>>>,
    numbers: AtomicU64,
}

impl Socket {
    /// Listens. A socket file that nobody answers on is taken over.
    pub async fn listen(path: &Path, stop: CancellationToken) -> io::Result<Self> {
        if path.exists() {
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        tokio::spawn(accept(listener, Arc::clone(&lines), stop, path.to_owned()));
        Ok(Self { lines, numbers: AtomicU64::new(0) })
    }
}

async fn accept(
    listener: UnixListener,
    lines: Arc<Mutex<Vec<Line>>>,
    stop: CancellationToken,
    path: PathBuf,
) {
    let mut number = 0;
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        number += 1;
        let (outbox, inbox) = mpsc::channel(64);
        let line = Line { number, opens: Vec::new(), outbox, pending: Arc::default() };
        tracing::info!(agent.line = number, "an agent has dialled in");
        let (lines, stop) = (Arc::clone(&lines), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                error = carry(stream, &line, &lines, inbox) => {
                    tracing::warn!(agent.line = line.number, %error, "an agent's line is gone");
                }
            }
            locked(&lines).retain(|other| other.number != line.number);
            locked(&line.pending).clear(); // whoever waits learns that no answer comes
        });
    }
    let _ = std::fs::remove_file(path);
}

async fn carry(
    stream: UnixStream,
    line: &Line,
    lines: &Mutex<Vec<Line>>,
    mut inbox: mpsc::Receiver<(u64, Vec<u8>)>,
) -> io::Error {
    let (mut from, mut to) = stream.into_split();
    let reading = async {
        loop {
            match read_frame(&mut from).await {
                Ok((HELLO, bytes)) => {
                    let Ok(opens) = serde_json::from_slice(&bytes) else {
                        return io::Error::new(io::ErrorKind::InvalidData, "a hello that is none");
                    };
                    let mut lines = locked(lines);
                    lines.retain(|other| other.number != line.number);
                    lines.push(Line { opens, ..line.clone() });
                }
                Ok((number, bytes)) => {
                    if let Some(waiting) = locked(&line.pending).remove(&number) {
                        let _ = waiting.send(bytes);
                    }
                }
                Err(error) => return error,
            }
        }
    };
    let writing = async {
        while let Some((number, bytes)) = inbox.recv().await {
            if let Err(error) = write_frame(&mut to, number, &bytes).await {
                return error;
            }
        }
        io::Error::other("closed")
    };
    tokio::select! { error = reading => error, error = writing => error }
}

impl Relay for Socket {
    fn request(&self, request: Vec<u8>, limit: Duration) -> Answer<'_> {
        Box::pin(async move {
            let recipient = Ask::peek_recipient(&request);
            let may_take =
                |line: &&Line| line.opens.is_empty() || recipient.is_none_or(|key| line.opens.contains(&key));
            let line =
                locked(&self.lines).iter().rev().find(may_take).cloned().ok_or(RelayError::NotTaken)?;
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let (sender, answer) = oneshot::channel();
            locked(&line.pending).insert(number, sender);
            if line.outbox.send((number, request)).await.is_err() {
                locked(&line.pending).remove(&number);
                return Err(RelayError::NotTaken);
            }
            let answer = tokio::time::timeout(limit, answer).await;
            locked(&line.pending).remove(&number);
            match answer {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(_)) | Err(_) => Err(RelayError::NoAnswer),
            }
        })
    }
}

/// The agent's end: dials, and dials again when the line is gone, until told to stop.
pub async fn dial(path: &Path, agent: Agent, stop: CancellationToken) {
    let mut told = false;
    while !stop.is_cancelled() {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                tracing::info!(relay = %path.display(), "dialled the relay");
                told = false;
                tokio::select! {
                    () = stop.cancelled() => {}
                    error = answer(stream, &agent) => tracing::warn!(%error, "the line to the relay is gone"),
                }
            }
            Err(error) if !told => {
                tracing::warn!(relay = %path.display(), %error, "the relay cannot be reached; trying again every second");
                told = true;
            }
            Err(_) => {}
        }
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(Duration::from_secs(1)) => {} }
    }
}

/// Dials, and answers one message after the other until `answer` says how it ended.
pub async fn converse<T>(
    path: &Path,
    mut answer: impl FnMut(&[u8]) -> (Vec<u8>, Option<T>),
) -> io::Result<T> {
    let (mut from, mut to) = UnixStream::connect(path).await?.into_split();
    write_frame(&mut to, HELLO, b"[]").await?;
    loop {
        let (number, message) = read_frame(&mut from).await?;
        let (reply, ended) = answer(&message);
        write_frame(&mut to, number, &reply).await?;
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

/// The ids of the keys that the agent opens seals with.
fn hello(agent: &Agent) -> Vec<u8> {
    let opens: Vec<KeyId> = agent.keys().own().iter().map(|own| own.public().recipient()).collect();
    // Plain data: there is nothing in it that cannot be written as JSON.
    serde_json::to_vec(&opens).unwrap_or_default()
}

async fn answer(stream: UnixStream, agent: &Agent) -> io::Error {
    let (mut from, mut to) = stream.into_split();
    let mut said = hello(agent);
    if let Err(error) = write_frame(&mut to, HELLO, &said).await {
        return error;
    }
    let (replies, mut outbox) = mpsc::channel::<(u64, Vec<u8>)>(64);
    let reading = async {
        loop {
            match read_frame(&mut from).await {
                Ok((number, bytes)) => {
                    let (agent, replies) = (agent.clone(), replies.clone());
                    tokio::spawn(async move {
                        if let Some(reply) = agent.handle(&bytes).await {
                            let _ = replies.send((number, reply)).await;
                        }
                    });
                }
                Err(error) => return error,
            }
        }
    };
    let writing = async {
        while let Some((number, bytes)) = outbox.recv().await {
            // The server learns of new keys from a reply, and uses them at once.
            let hello = hello(agent);
            if hello != said {
                said = hello;
                if let Err(error) = write_frame(&mut to, HELLO, &said).await {
                    return error;
                }
            }
            if let Err(error) = write_frame(&mut to, number, &bytes).await {
                return error;
            }
        }
        io::Error::other("closed")
    };
    tokio::select! { error = reading => error, error = writing => error }
}
