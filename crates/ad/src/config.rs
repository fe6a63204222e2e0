//! What the agent is told about its directory, and what is wrong with it before anything is dialled.

use keyback_codes::{Cause, Explain};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use zeroize::Zeroizing;

/// One domain controller. LDAPS only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DcAddress {
    /// The name that its certificate must be for.
    pub host: String,
    /// 636 unless said otherwise.
    pub port: u16,
    /// Dial this instead of asking DNS. The certificate is still checked for `host`.
    pub address: Option<IpAddr>,
}

impl DcAddress {
    /// The same, dialled at `address`.
    #[must_use]
    pub fn at(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }
}

/// As evidence, logs and [`crate::Pin`] name it: the host, with the port where it is not 636.
impl fmt::Display for DcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (636, _) => f.write_str(&self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

impl FromStr for DcAddress {
    type Err = ConfigError;

    /// `ldaps://host[:port]`, an IPv6 address in brackets.
    fn from_str(url: &str) -> Result<Self, ConfigError> {
        let bad = |reason| ConfigError::Url { url: url.to_owned(), reason };
        let rest = url.strip_prefix("ldaps://").ok_or_else(|| {
            bad(if url.starts_with("ldap://") {
                "ldap:// would send passwords in clear text; write ldaps://"
            } else {
                "it must begin with ldaps://"
            })
        })?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, port))) => (host, port.strip_prefix(':').or(port.is_empty().then_some("636"))),
            Some(None) => return Err(bad("the bracket is not closed")),
            None => rest.split_once(':').map_or((rest, Some("636")), |(host, port)| (host, Some(port))),
        };
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let port = port.ok_or_else(|| bad("the port must be a number from 1 to 65535"))?;
        if rustls::pki_types::ServerName::try_from(host).is_err() {
            return Err(bad("the host must be a DNS name or an IP address"));
        }
        Ok(Self { host: host.to_owned(), port, address: None })
    }
}

/// How long and how much. A limit is for one step; whoever waits for an answer waits no longer than its sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Name to address.
    pub resolve: Duration,
    /// TCP, all addresses of a name together.
    pub connect: Duration,
    /// TLS handshake. A frozen domain controller accepts TCP and hangs here.
    pub tls: Duration,
    /// Sign-in.
    pub bind: Duration,
    /// One search, with all that it returns.
    pub read: Duration,
    /// One modify. Samba lets it wait for the database's lock.
    pub write: Duration,
    /// Longest message, in bytes; a whole answer may be sixteen times as long.
    pub message_bytes: usize,
    /// Most objects in one answer.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(2),
            connect: Duration::from_secs(2),
            tls: Duration::from_secs(3),
            bind: Duration::from_secs(4),
            read: Duration::from_secs(4),
            write: Duration::from_secs(15),
            message_bytes: 1 << 20,
            entries: 5_000,
        }
    }
}

/// The account that keyback signs in with. No `Debug`: it holds a password.
pub struct Connector {
    /// userPrincipalName, `DOMAIN\name` or DN.
    pub name: String,
    password: Zeroizing<String>,
}

impl Connector {
    /// # Errors
    /// An empty name or password would make the bind an anonymous one (RFC 4513 section 5.1.2).
    pub fn new(name: String, password: Zeroizing<String>) -> Result<Self, ConfigError> {
        if name.is_empty() || password.is_empty() {
            return Err(ConfigError::EmptyConnector);
        }
        Ok(Self { name, password })
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

/// All that [`crate::Directory`] needs to know.
pub struct DirectoryConfig {
    /// In the order in which they are tried.
    pub dcs: Vec<DcAddress>,
    /// The CA certificates that may have issued the domain controllers' certificates, and no others.
    pub ca_pem: Vec<u8>,
    /// Who signs in.
    pub connector: Connector,
    /// Where users are looked for; the domain where it is not said.
    pub base: Option<String>,
    /// How long and how much.
    pub limits: Limits,
}

/// The configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address of a domain controller.
    #[error("{url:?} is no address of a domain controller: {reason}")]
    Url {
        /// As it was written.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// No domain controller at all.
    #[error("no domain controller is listed")]
    NoDc,
    /// The same one twice: evidence could not tell them apart.
    #[error("{dc} is listed twice")]
    TwiceListed {
        /// The name.
        dc: String,
    },
    /// The CA file does not hold certificates only.
    #[error("the CA file cannot be used: {}", bad.join("; "))]
    CaFile {
        /// One line for each bad block.
        bad: Vec<String>,
    },
    /// No name or no password.
    #[error("the connector account's name or password is empty")]
    EmptyConnector,
    /// Not a distinguished name.
    #[error("{base:?} is no distinguished name")]
    Base {
        /// As it was written.
        base: String,
    },
}

impl Explain for ConfigError {
    fn cause(&self) -> Cause {
        match self {
            Self::Url { .. }
            | Self::NoDc
            | Self::TwiceListed { .. }
            | Self::CaFile { .. }
            | Self::EmptyConnector
            | Self::Base { .. } => Cause::ConfigInvalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_with_and_without_a_port() {
        for (url, host, port, shown) in [
            ("ldaps://dc1.ad.example", "dc1.ad.example", 636, "dc1.ad.example"),
            ("ldaps://dc1.ad.example:1636/", "dc1.ad.example", 1636, "dc1.ad.example:1636"),
            ("ldaps://127.0.0.3", "127.0.0.3", 636, "127.0.0.3"),
            ("ldaps://[::1]:3269", "::1", 3269, "[::1]:3269"),
            ("ldaps://[::1]", "::1", 636, "::1"),
        ] {
            let address: DcAddress = url.parse().expect(url);
            assert_eq!(
                (address.host.as_str(), address.port, address.to_string().as_str()),
                (host, port, shown)
            );
        }
    }

    #[test]
    fn an_address_without_tls_or_with_more_in_it_is_refused() {
        for url in [
            "ldap://dc1",
            "dc1",
            "ldaps://",
            "ldaps://dc1:0",
            "ldaps://dc1:x",
            "ldaps://u@dc1",
            "ldaps://dc1/x",
            "ldaps://[::1",
            "ldaps://[::1]x",
            "ldaps://dc 1",
        ] {
            assert!(url.parse::<DcAddress>().is_err(), "{url}");
        }
    }

    #[test]
    fn an_empty_connector_password_is_refused() {
        assert!(Connector::new("svc@ad.example".to_owned(), Zeroizing::default()).is_err());
    }
}
