//! Connections that stay with the store.
//!
//! A pool asks each connection, every time it comes back, whether it still lives: a task and four changes of thread for
//! each statement or transaction (`strace` over a reset), and a file does not hang up.

use sqlx::any::AnyConnectOptions;
use sqlx::{Any, AnyConnection, Connection, Executor, Transaction};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::timeout;

/// What every connection is told first. FULL: a commit is on the disk when it returns.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024; PRAGMA secure_delete = ON";
/// A connection that others hold is waited for no longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Some connections to one database, each for one caller at a time.
pub(crate) struct Connections {
    options: AnyConnectOptions,
    all: Vec<Mutex<Option<AnyConnection>>>,
    next: AtomicUsize,
}

/// A connection, until this is dropped.
pub(crate) type Held<'a> = MappedMutexGuard<'a, AnyConnection>;

async fn connect(options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect_with(options).await?;
    connection.execute(PRAGMAS).await?;
    Ok(connection)
}

fn held(connection: MutexGuard<'_, Option<AnyConnection>>) -> Result<Held<'_>, sqlx::Error> {
    MutexGuard::try_map(connection, Option::as_mut).map_err(|_| sqlx::Error::PoolClosed)
}

impl Connections {
    pub async fn open(options: AnyConnectOptions, number: usize) -> Result<Self, sqlx::Error> {
        let mut all = Vec::with_capacity(number);
        for _ in 0..number {
            all.push(Mutex::new(Some(connect(&options).await?)));
        }
        Ok(Self { options, all, next: AtomicUsize::new(0) })
    }

    /// A free one, or the next that is given back.
    pub async fn hold(&self) -> Result<Held<'_>, sqlx::Error> {
        if let Some(free) = self.all.iter().find_map(|connection| connection.try_lock().ok()) {
            return held(free);
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        held(timeout(LONGEST_WAIT, self.all[next].lock()).await.map_err(|_| sqlx::Error::PoolTimedOut)?)
    }

    /// Begins a transaction that writes: another process cannot write in between.
    pub async fn begin<'c>(
        &self,
        connection: &'c mut AnyConnection,
    ) -> Result<Transaction<'c, Any>, sqlx::Error> {
        if connection.is_in_transaction() {
            // A transaction that was dropped is rolled back behind the caller's back.
            connection.ping().await?;
        }
        if connection.is_in_transaction() {
            // On a full disk SQLite rolls back by itself, and sqlx goes on counting a transaction that is no more.
            *connection = connect(&self.options).await?;
        }
        connection.begin_with("BEGIN IMMEDIATE").await
    }

    /// Finishes what runs and closes all of them.
    pub async fn close(&self) {
        for connection in &self.all {
            if let Some(connection) = connection.lock().await.take() {
                let _ = connection.close().await; // there is nothing that could be done about it
            }
        }
    }
}
