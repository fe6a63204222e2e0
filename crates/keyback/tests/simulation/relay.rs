//! A relay that does nothing by itself: it keeps every message until the scheduler decides what becomes of it.

use keyback_core::JobId;
use keyback_core::message::peek_header;
use keyback_core::relay::{Answer, Relay, RelayError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

type Waiting = oneshot::Sender<Result<Vec<u8>, RelayError>>;

/// A message that the server sent.
pub struct Letter {
    pub job: JobId,
    pub bytes: Vec<u8>,
    /// Which server sent it: each one that was killed has a successor.
    pub server: u32,
    /// How often an agent was given it.
    pub delivered: u32,
    /// Who waits for the answer.
    waiting: Option<Waiting>,
}

impl Letter {
    /// Whether this server still waits for the answer.
    pub fn is_open(&self, server: u32) -> bool {
        self.server == server && self.waiting.as_ref().is_some_and(|waiting| !waiting.is_closed())
    }
}

/// An answer that an agent gave; `None` where it gave none.
pub struct Answered {
    pub letter: usize,
    pub bytes: Option<Vec<u8>>,
}

/// All letters, from the first.
#[derive(Clone, Default)]
pub struct Post {
    letters: Arc<Mutex<Vec<Letter>>>,
    answers: Arc<Mutex<Vec<Answered>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Post {
    pub fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        locked(&self.letters)
    }

    pub fn answers(&self) -> MutexGuard<'_, Vec<Answered>> {
        locked(&self.answers)
    }

    /// How many answers this server waits for.
    pub fn open(&self, server: u32) -> usize {
        self.letters().iter().filter(|letter| letter.is_open(server)).count()
    }

    /// Ends the server's wait. Nothing happens where nobody waits, or who waits was killed.
    pub fn end(&self, letter: usize, server: u32, answer: Result<Vec<u8>, RelayError>) {
        let letter = &mut self.letters()[letter];
        if letter.is_open(server)
            && let Some(waiting) = letter.waiting.take()
        {
            let _ = waiting.send(answer); // the engine waits without a limit of its own
        }
    }

    /// The relay of the server with this number.
    pub fn relay(&self, server: u32) -> Arc<dyn Relay> {
        Arc::new(Line { post: self.clone(), server })
    }
}

struct Line {
    post: Post,
    server: u32,
}

impl Relay for Line {
    fn request(&self, request: Vec<u8>, _: Duration) -> Answer<'_> {
        let (waiting, answer) = oneshot::channel();
        let job = peek_header(&request).expect("the engine sends messages").job_id;
        let letter =
            Letter { job, bytes: request, server: self.server, delivered: 0, waiting: Some(waiting) };
        self.post.letters().push(letter);
        Box::pin(async move { answer.await.unwrap_or(Err(RelayError::NoAnswer)) })
    }
}
