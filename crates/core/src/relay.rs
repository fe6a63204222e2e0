//! How a message reaches an agent. The relay carries sealed and signed bytes and is trusted with nothing: it may read,
//! drop, repeat, reorder, delay and forge, and it is never the record.

use keyback_codes::{Cause, Explain};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Why no answer came.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RelayError {
    /// Nobody took the message: it reached no agent.
    #[error("no agent took the message")]
    NotTaken,
    /// An agent may have taken it, and no answer came in time.
    #[error("no answer came from the agent in time")]
    NoAnswer,
}

impl Explain for RelayError {
    fn cause(&self) -> Cause {
        match self {
            Self::NotTaken => Cause::AgentOffline,
            Self::NoAnswer => Cause::AgentHeartbeatStale,
        }
    }
}

/// What a request comes to.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, RelayError>> + Send + 'a>>;

/// Request and reply, bytes only.
pub trait Relay: Send + Sync {
    /// Sends `request` to an agent and waits for its reply, at most `limit`.
    fn request(&self, request: Vec<u8>, limit: Duration) -> Answer<'_>;
}
