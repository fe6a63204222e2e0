//! What can go wrong with the database.

use keyback_codes::{Cause, Explain};
use std::path::PathBuf;

/// Nothing of the transaction that met this was kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened, created or brought to this version's form.
    #[error("the store {path} cannot be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The file belongs to another version of keyback, or is not keyback's.
    #[error("the store {path} cannot be brought to this version's form")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// No space left.
    #[error("there is no space left for the store")]
    Full {
        /// The database's words.
        #[source]
        source: sqlx::Error,
    },
    /// Any other refusal: locked, read-only, damaged.
    #[error("the store refused")]
    Refused {
        /// The database's words.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds something that this version cannot read.
    #[error("the store holds a {what} that cannot be read: {value:?}")]
    Unreadable {
        /// Which column.
        what: &'static str,
        /// What stands there.
        value: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(source: sqlx::Error) -> Self {
        // SQLITE_FULL is 13 (sqlite.org/rescode.html); its message names the disk.
        let full = source.as_database_error().is_some_and(|error| {
            error.code().is_some_and(|code| code == "13")
                || error.message().contains("database or disk is full")
        });
        if full { Self::Full { source } } else { Self::Refused { source } }
    }
}

impl Explain for StoreError {
    fn cause(&self) -> Cause {
        match self {
            Self::Open { .. }
            | Self::Migrate { .. }
            | Self::Full { .. }
            | Self::Refused { .. }
            | Self::Unreadable { .. } => Cause::StoreUnavailable,
        }
    }
}
