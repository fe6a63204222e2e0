//! What a code means.
//!
//! Decides the public code, the words and the fix that belong to each cause, and holds the catalogue of every code that an
//! administrator can meet. Holds data only: no I/O, no async.
//! What happened to a particular job is decided by whoever saw it (`ad`, `agent`, `server`).

pub mod catalogue;
mod cause;
pub mod explain;
mod public;
pub mod scan;

pub use cause::{Cause, Fix, UnknownCause};
pub use public::{PublicCode, UnknownPublicCode};

/// Implemented by every error that crosses a boundary: a failure without a code, a cause and a fix cannot be built.
pub trait Explain {
    /// What really happened, as a stable id.
    fn cause(&self) -> Cause;

    /// The code that the outside world is told, after Microsoft's AADSTS1200xx family.
    fn code(&self) -> PublicCode {
        self.cause().code()
    }

    /// What an administrator can do about it.
    fn fix(&self) -> Fix {
        self.cause().fix()
    }
}
