//! Everything that keyback says to a directory.
//!
//! Decides how a domain controller is reached, whom a name means, what its answers mean and what to do when an answer is
//! lost. Leaves to the agent who may be touched at all, and when to try again. Alone in speaking LDAP.

mod config;
mod connection;
pub mod descriptor;
mod directory;
mod dn;
mod error;
mod examine;
mod find;
pub mod guid;
mod mend;
mod policy;
mod probe;
mod reply;
mod settle;
mod sid;
mod sign_in;
#[cfg(feature = "simulation")]
pub mod simulation;
mod time;
mod tls;
mod wire;
mod write;
mod write_error;

pub use config::{ConfigError, Connector, DcAddress, DirectoryConfig, Limits};
pub use directory::Directory;
pub use dn::{Dn, NotADn};
pub use error::{DirectoryError, FindError, Step};
pub use examine::{
    Account, ConnectorAccount, Container, DcState, EVERYONE, Examination, Found, Ground, Holder, PAGES,
    Passed, Subject, Tombstone, Visitor, Wanted,
};
pub use find::User;
pub use mend::{Attribute, MendError, Mender, Object, ValueChange};
pub use policy::{AdInterval, Applies, Policy, Rule, UserRules, names};
pub use probe::{DcReport, StepReport};
pub use reply::{named_cause, read_reply};
pub use settle::Settled;
pub use sid::{NotASid, Sid};
pub use sign_in::{PasswordCheck, SignedIn};
pub use time::FileTime;
pub use tls::Certificate;
pub use write::{Pin, Write};
pub use write_error::{Refused, Right, Verdict, WriteError};
