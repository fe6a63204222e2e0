//! TLS to a domain controller: only the given CA is trusted, and the certificate must be for the configured name.
//!
//! Decides which of the causes (untrusted, expired, other name) a refused certificate is, and keeps what it showed.

use crate::error::DirectoryError;
use keyback_core::{Evidence, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The names and addresses that it is for (subjectAltName).
    pub names: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

impl Certificate {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind of name names a server")]
    fn decode(der: &[u8]) -> Option<Self> {
        use x509_parser::extensions::GeneralName;
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names).map(|name| match name {
            GeneralName::DNSName(name) => printable(name),
            GeneralName::IPAddress(bytes) => address(bytes),
            other => printable(&other.to_string()),
        });
        let seconds = |at: x509_parser::time::ASN1Time| {
            Timestamp::from_micros(at.timestamp().saturating_mul(1_000_000))
        };
        Some(Self {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            names: names.take(50).collect(),
            not_before: seconds(certificate.validity().not_before),
            not_after: seconds(certificate.validity().not_after),
        })
    }

    pub(crate) fn evidence(&self, dc: &str) -> Vec<Evidence> {
        vec![
            Evidence::new("certificate.subject", &self.subject, dc),
            Evidence::new("certificate.issuer", &self.issuer, dc),
            Evidence::new("certificate.names", self.names.join(" "), dc),
            Evidence::new("certificate.not_before", self.not_before.to_string(), dc),
            Evidence::new("certificate.not_after", self.not_after.to_string(), dc),
        ]
    }
}

fn printable(text: &str) -> String {
    crate::reply::clean(text.as_bytes())
}

fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
    v4.or_else(|_| v6()).map_or_else(|_| format!("{bytes:02x?}"), |address| address.to_string())
}

/// The CA that is trusted, and how to shake hands.
#[derive(Clone)]
pub(crate) struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

/// Why a CA file cannot be used: one line for each bad block.
pub(crate) struct BadCa(pub(crate) Vec<String>);

impl Trust {
    pub(crate) fn new(ca_pem: &[u8]) -> Result<Self, BadCa> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let mut bad = Vec::new();
        for (number, block) in (1..).zip(CertificateDer::pem_slice_iter(ca_pem)) {
            match block {
                Ok(der) => {
                    if let Err(error) = roots.add(der) {
                        bad.push(format!("certificate {number}: {error}"));
                    }
                }
                Err(error) => bad.push(format!("certificate {number}: {error}")),
            }
        }
        if bad.is_empty() && roots.is_empty() {
            bad.push("no certificate in it (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        if !bad.is_empty() {
            return Err(BadCa(bad));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| BadCa(vec![error.to_string()]))?;
        Ok(Self { verifier, provider })
    }

    /// A configuration for one handshake, and the place where it leaves the certificate that it saw.
    pub(crate) fn handshake(&self) -> Result<(Arc<ClientConfig>, Arc<Seen>), rustls::Error> {
        let seen = Arc::new(Seen { verifier: Arc::clone(&self.verifier), presented: Mutex::new(None) });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()? // 1.2 and 1.3
            .dangerous() // only to look on: every decision is the webpki verifier's
            .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Ok((Arc::new(config), seen))
    }
}

/// Passes every question to webpki and remembers the certificate.
#[derive(Debug)]
pub(crate) struct Seen {
    verifier: Arc<WebPkiServerVerifier>,
    presented: Mutex<Option<CertificateDer<'static>>>,
}

impl Seen {
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let presented = self.presented.lock().unwrap_or_else(PoisonError::into_inner);
        presented.as_ref().and_then(|der| Certificate::decode(der))
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(end_entity.clone().into_owned());
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The cause behind a handshake that failed.
#[expect(clippy::wildcard_enum_match_arm, reason = "a kind that is not known yet is no reason to trust")]
pub(crate) fn judge(dc: &str, error: &io::Error, seen: &Seen) -> DirectoryError {
    let dc = dc.to_owned();
    let certificate = || seen.certificate().map(Box::new);
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                DirectoryError::TlsExpired { dc, certificate: certificate() }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                DirectoryError::TlsName { dc, certificate: certificate() }
            }
            reason => DirectoryError::TlsUntrusted {
                dc,
                reason: printable(&reason.to_string()),
                certificate: certificate(),
            },
        },
        Some(other) => DirectoryError::Handshake { dc, reason: printable(&other.to_string()) },
        None => DirectoryError::Closed { dc, step: crate::error::Step::Tls, reason: error.to_string() },
    }
}
