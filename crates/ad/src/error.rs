//! Why a domain controller could not be asked, why a user was not found, why a write was refused.
//!
//! One enum per boundary. Each value names the domain controller and, where one answered, keeps its reply whole.

use crate::dn::Dn;
use crate::tls::Certificate;
use keyback_codes::{Cause, Explain};
use keyback_core::{Evidence, Failure, ServerReply};
use std::fmt;

/// Where on the way to an answer something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Name to address.
    Resolve,
    /// TCP.
    Connect,
    /// Handshake and certificate.
    Tls,
    /// The connector account's sign-in.
    Bind,
    /// What the domain controller says of itself.
    RootDse,
    /// A search.
    Read,
    /// Our own queue: one write at a time.
    Queue,
    /// A modify.
    Write,
}

impl Step {
    /// As it stands in evidence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Bind => "bind",
            Self::RootDse => "rootDSE",
            Self::Read => "read",
            Self::Queue => "queue",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The directory could not be asked. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DirectoryError {
    /// The name has no address.
    #[error("{dc}: the name does not resolve: {reason}")]
    Resolve {
        /// The domain controller.
        dc: String,
        /// The resolver's words.
        reason: String,
    },
    /// TCP refused or unreachable.
    #[error("{dc}: no connection: {reason}")]
    Connect {
        /// The domain controller.
        dc: String,
        /// The operating system's words.
        reason: String,
    },
    /// A step took longer than its limit.
    #[error("{dc}: no answer in time ({step})")]
    TimedOut {
        /// The domain controller.
        dc: String,
        /// The step.
        step: Step,
    },
    /// The connection ended before the answer.
    #[error("{dc}: the connection ended ({step}): {reason}")]
    Closed {
        /// The domain controller.
        dc: String,
        /// The step.
        step: Step,
        /// What is known.
        reason: String,
    },
    /// The certificate was not issued by the CA that we trust, or cannot be used.
    #[error("{dc}: the certificate is not trusted: {reason}")]
    TlsUntrusted {
        /// The domain controller.
        dc: String,
        /// The verifier's words.
        reason: String,
        /// What was presented.
        certificate: Option<Box<Certificate>>,
    },
    /// The certificate is not valid now.
    #[error("{dc}: the certificate has expired or is not valid yet")]
    TlsExpired {
        /// The domain controller.
        dc: String,
        /// What was presented.
        certificate: Option<Box<Certificate>>,
    },
    /// The certificate is for another name.
    #[error("{dc}: the certificate is for another name")]
    TlsName {
        /// The domain controller.
        dc: String,
        /// What was presented.
        certificate: Option<Box<Certificate>>,
    },
    /// Something else than TLS answers, or no common version.
    #[error("{dc}: no TLS: {reason}")]
    Handshake {
        /// The domain controller.
        dc: String,
        /// The TLS library's words.
        reason: String,
    },
    /// The connector account's sign-in was refused.
    #[error("{dc}: the connector account was refused")]
    BindRefused {
        /// The domain controller.
        dc: String,
        /// The connector account's name.
        connector: String,
        /// The answer.
        reply: ServerReply,
        /// True when we did not ask again, to not lock the account: the answer is an earlier one.
        remembered: bool,
    },
    /// The domain controller says that it is busy.
    #[error("{dc}: busy ({step})")]
    Busy {
        /// The domain controller.
        dc: String,
        /// The step.
        step: Step,
        /// The answer.
        reply: ServerReply,
    },
    /// The answer breaks the protocol or one of our limits.
    #[error("{dc}: the answer cannot be used ({step}): {reason}")]
    Protocol {
        /// The domain controller.
        dc: String,
        /// The step.
        step: Step,
        /// What is wrong with it.
        reason: String,
    },
    /// A search was refused.
    #[error("{dc}: refused ({step})")]
    Refused {
        /// The domain controller.
        dc: String,
        /// The step.
        step: Step,
        /// The answer.
        reply: ServerReply,
    },
    /// The domain controller that was written to no longer stands in the configuration.
    #[error("{dc}: not in the configuration")]
    NotListed {
        /// The domain controller.
        dc: String,
    },
    /// None of several domain controllers served.
    #[error("none of {} domain controllers served", tried.len())]
    NoneServes {
        /// One error each, in the order in which they were asked.
        tried: Vec<DirectoryError>,
    },
}

impl DirectoryError {
    /// The domain controller, as it stands in the configuration.
    pub fn dc(&self) -> &str {
        match self {
            Self::Resolve { dc, .. }
            | Self::Connect { dc, .. }
            | Self::TimedOut { dc, .. }
            | Self::Closed { dc, .. }
            | Self::TlsUntrusted { dc, .. }
            | Self::TlsExpired { dc, .. }
            | Self::TlsName { dc, .. }
            | Self::Handshake { dc, .. }
            | Self::BindRefused { dc, .. }
            | Self::Busy { dc, .. }
            | Self::Protocol { dc, .. }
            | Self::Refused { dc, .. }
            | Self::NotListed { dc } => dc,
            Self::NoneServes { .. } => self.telling().map_or("", Self::dc),
        }
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        match self {
            Self::Resolve { .. } | Self::NotListed { .. } => Step::Resolve,
            Self::Connect { .. } => Step::Connect,
            Self::TlsUntrusted { .. }
            | Self::TlsExpired { .. }
            | Self::TlsName { .. }
            | Self::Handshake { .. } => Step::Tls,
            Self::BindRefused { .. } => Step::Bind,
            Self::TimedOut { step, .. }
            | Self::Closed { step, .. }
            | Self::Busy { step, .. }
            | Self::Protocol { step, .. }
            | Self::Refused { step, .. } => *step,
            Self::NoneServes { .. } => self.telling().map_or(Step::Connect, Self::step),
        }
    }

    /// Of several errors the one that tells most: an expired certificate tells more than a closed port.
    fn telling(&self) -> Option<&Self> {
        let Self::NoneServes { tried } = self else { return Some(self) };
        tried.iter().find(|error| error.cause() != Cause::DcUnreachable).or(tried.first())
    }

    fn reply(&self) -> Option<&ServerReply> {
        match self {
            Self::BindRefused { reply, .. } | Self::Busy { reply, .. } | Self::Refused { reply, .. } => {
                Some(reply)
            }
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Closed { .. }
            | Self::TlsUntrusted { .. }
            | Self::TlsExpired { .. }
            | Self::TlsName { .. }
            | Self::Handshake { .. }
            | Self::Protocol { .. }
            | Self::NotListed { .. } => None,
            Self::NoneServes { .. } => self.telling().and_then(Self::reply),
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let dc = self.dc();
        let mut seen = vec![Evidence::new("step", self.step().name(), dc)];
        match self {
            Self::Resolve { reason, .. }
            | Self::Connect { reason, .. }
            | Self::Closed { reason, .. }
            | Self::Handshake { reason, .. }
            | Self::Protocol { reason, .. } => seen.push(Evidence::new("reason", reason, dc)),
            Self::TlsUntrusted { reason, certificate, .. } => {
                seen.push(Evidence::new("reason", reason, dc));
                seen.extend(certificate.iter().flat_map(|certificate| certificate.evidence(dc)));
            }
            Self::TlsExpired { certificate, .. } | Self::TlsName { certificate, .. } => {
                seen.extend(certificate.iter().flat_map(|certificate| certificate.evidence(dc)));
            }
            Self::BindRefused { connector, remembered, .. } => {
                seen.push(Evidence::new("connector", connector, dc));
                if *remembered {
                    seen.push(Evidence::new(
                        "reason",
                        "not asked again, so that the account is not locked",
                        dc,
                    ));
                }
            }
            Self::NoneServes { tried } => {
                seen = tried.iter().flat_map(Self::evidence).collect();
            }
            Self::TimedOut { .. } | Self::Busy { .. } | Self::Refused { .. } | Self::NotListed { .. } => {}
        }
        seen
    }

    /// For the job's record.
    pub fn failure(&self) -> Failure {
        Failure {
            code: self.code(),
            cause: self.cause(),
            reply: self.reply().cloned(),
            dc: Some(self.dc().to_owned()).filter(|dc| !dc.is_empty()),
            evidence: self.evidence(),
        }
    }
}

impl Explain for DirectoryError {
    fn cause(&self) -> Cause {
        match self {
            Self::Resolve { .. } => Cause::DcNameResolution,
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Closed { .. } | Self::NotListed { .. } => {
                Cause::DcUnreachable
            }
            Self::TlsUntrusted { .. } => Cause::DcTlsUntrusted,
            Self::TlsExpired { .. } => Cause::DcTlsExpired,
            Self::TlsName { .. } => Cause::DcTlsNameMismatch,
            Self::Busy { .. } => Cause::DcBusy,
            Self::Handshake { .. } | Self::Protocol { .. } => Cause::ProtocolError,
            Self::Refused { .. } => Cause::Unspecified,
            // The sub-code of the bind tells the states apart: 533 disabled, 775 locked, 532 password expired,
            // 701 account expired, 773 must change. All else is a wrong name or password.
            Self::BindRefused { reply, .. } => match reply.bind_data {
                Some(0x533) => Cause::ConnectorDisabled,
                Some(0x775) => Cause::ConnectorLocked,
                Some(0x532 | 0x701 | 0x773) => Cause::ConnectorPasswordExpired,
                // A read-only one that does not hold the account's password and reaches nobody who does (measured on
                // Samba 4.17.12).
                Some(0x51f) => Cause::DcReadOnly,
                _ => Cause::ConnectorBindFailed,
            },
            Self::NoneServes { .. } => self.telling().map_or(Cause::DcUnreachable, Self::cause),
        }
    }
}

/// A user, or a container, was not found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FindError {
    /// Nothing there, or not visible to the connector account: the directory does not tell these apart.
    #[error("nothing found")]
    NotFound {
        /// The domain controller that was asked.
        dc: String,
    },
    /// More than one object: none of them is taken.
    #[error("the name fits {} objects", dns.len())]
    Several {
        /// The domain controller that was asked.
        dc: String,
        /// Which, or the first few of them.
        dns: Vec<Dn>,
    },
    /// The object lacks what every user has.
    #[error("{dn}: {attribute} is missing or unreadable")]
    Unreadable {
        /// The domain controller that was asked.
        dc: String,
        /// The object.
        dn: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// The directory could not be asked.
    #[error("the directory could not be asked")]
    Directory(#[source] DirectoryError),
}

impl From<DirectoryError> for FindError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl Explain for FindError {
    fn cause(&self) -> Cause {
        match self {
            Self::NotFound { .. } | Self::Unreadable { .. } => Cause::TargetNotFound,
            Self::Several { .. } => Cause::TargetDuplicateUpn,
            Self::Directory(error) => error.cause(),
        }
    }
}

impl FindError {
    /// For the job's record.
    pub fn failure(&self) -> Failure {
        let (dc, evidence) = match self {
            Self::Directory(error) => return error.failure(),
            Self::NotFound { dc } => (dc, Vec::new()),
            Self::Several { dc, dns } => {
                (dc, dns.iter().map(|dn| Evidence::new("distinguishedName", dn.as_str(), dc)).collect())
            }
            Self::Unreadable { dc, dn, attribute } => {
                (dc, vec![Evidence::new(attribute, "(unreadable)", dn)])
            }
        };
        Failure {
            code: self.code(),
            cause: self.cause(),
            reply: None,
            dc: Some(dc.clone()).filter(|dc| !dc.is_empty()),
            evidence,
        }
    }
}
