//! Opening the database.

use crate::StoreError;
use keyback_core::audit::Head;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, Executor, Transaction};
use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What every connection is told first. FULL: a commit is on the disk when it returns.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024; PRAGMA secure_delete = ON";

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) writer: AnyPool,
    pub(crate) readers: AnyPool,
    pub(crate) head: Arc<Mutex<Head>>,
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        .test_before_acquire(false) // a file does not hang up; asking it first would cost a round for each statement
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(PRAGMAS).await.map(drop) }))
}

impl Store {
    /// Opens the file, creates it where it is missing, and brings it to this version's form.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let mut address = String::from("sqlite://");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    address.push(char::from(*byte));
                }
                other => {
                    let _ = write!(address, "%{other:02X}"); // a String takes everything
                }
            }
        }
        address.push_str("?mode=rwc");
        let options = AnyConnectOptions::from_str(&address).map_err(failed)?;
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        sqlx::migrate!("migrations/sqlite")
            .run(&writer)
            .await
            .map_err(|source| StoreError::Migrate { path: path.to_owned(), source })?;
        let readers = pool(2).connect_with(options).await.map_err(failed)?;
        let store = Self { writer, readers, head: Arc::new(Mutex::new(Head::NONE)) };
        store.chain_legacy().await?;
        let mut tx = store.writer.begin().await?;
        let head = crate::trail::read_head(&mut tx).await?;
        drop(tx);
        store.set_head(head);
        Ok(store)
    }

    /// Begins a transaction that reads before it writes: another process cannot write in between.
    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        const WRITE: &str = "BEGIN IMMEDIATE";
        match self.writer.begin_with(WRITE).await {
            // On a full disk SQLite rolls back by itself, and sqlx goes on counting a transaction that is no more.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.writer.acquire().await?.close().await?;
                self.writer.begin_with(WRITE).await
            }
            begun => begun,
        }
    }

    /// Finishes what runs and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The database library's version, for `check`.
    pub async fn version(&self) -> Result<String, StoreError> {
        Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&self.readers).await?)
    }
}
