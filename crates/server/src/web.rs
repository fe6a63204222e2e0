//! HTTP, as far as it is the same for every page: listening, guards, headers, cookies, forms.
//!
//! Decides what a request must look like before anybody reads it, and what every answer carries. What is on the pages
//! is decided by `portal`.

pub(crate) mod cookie;
pub(crate) mod form;
pub(crate) mod guard;
pub(crate) mod headers;
mod listener;
mod patient;
mod tls;

pub(crate) use listener::Stopping;
pub use listener::{Limits, Peer, serve};
pub use tls::{TlsError, tls_from_files};
