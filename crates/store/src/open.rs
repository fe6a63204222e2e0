//! Opening the database.

use crate::StoreError;
use crate::connection::{Connections, Held};
use keyback_core::audit::Head;
use sqlx::any::AnyConnectOptions;
use sqlx::{Any, AnyConnection, Transaction};
use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) writers: Arc<Connections>,
    readers: Arc<Connections>,
    pub(crate) head: Arc<Mutex<Head>>,
    /// A text of [`crate::whole`] may have left a transaction open.
    pub(crate) is_unfinished: Arc<AtomicBool>,
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
        let writers = Connections::open(options.clone(), 1).await.map_err(failed)?;
        let mut writer = writers.hold().await.map_err(failed)?;
        sqlx::migrate!("migrations/sqlite")
            .run(&mut *writer)
            .await
            .map_err(|source| StoreError::Migrate { path: path.to_owned(), source })?;
        drop(writer);
        let readers = Connections::open(options, 2).await.map_err(failed)?;
        let (writers, readers) = (Arc::new(writers), Arc::new(readers));
        let head = Arc::new(Mutex::new(Head::NONE));
        let store = Self { writers, readers, head, is_unfinished: Arc::default() };
        store.chain_legacy().await?;
        let head = crate::trail::read_head(&mut *store.reader().await?).await?;
        store.set_head(head);
        Ok(store)
    }

    /// The connection that writes.
    pub(crate) async fn writer(&self) -> Result<Held<'_>, sqlx::Error> {
        let mut writer = self.writers.hold().await?;
        self.finish_whole(&mut writer).await;
        Ok(writer)
    }

    /// One that reads.
    pub(crate) async fn reader(&self) -> Result<Held<'_>, sqlx::Error> {
        self.readers.hold().await
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin<'c>(
        &self,
        writer: &'c mut AnyConnection,
    ) -> Result<Transaction<'c, Any>, sqlx::Error> {
        self.writers.begin(writer).await
    }

    /// Finishes what runs and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    /// The database library's version, for `check`.
    pub async fn version(&self) -> Result<String, StoreError> {
        Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *self.reader().await?).await?)
    }
}
