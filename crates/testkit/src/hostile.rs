//! A domain controller that is none: TLS with a certificate of a test's own CA, and behind it whatever a test wants said.
//!
//! [`Hostile::start`] plays along for some questions, then does evil; [`serve`] leaves everything to the test.

use anyhow::Result;
use keyback_core::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name in its certificate.
pub const HOST: &str = "dc.hostile.example";

const BASE: &[u8] = b"DC=hostile";
/// RFC 4511 section 4.5.1: a SearchRequest.
const SEARCH: u8 = 0x63;
/// RFC 4511 section 4.3: an UnbindRequest.
const UNBIND: u8 = 0x42;

/// A CA for one test.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// With a key of its own.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "A test's own CA");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// For a server called [`HOST`], whose certificate may have expired long ago.
    pub fn acceptor(&self, expired: bool) -> Result<TlsAcceptor> {
        let mut params = CertificateParams::new(vec![HOST.to_owned()])?;
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 2, 2));
        }
        self.acceptor_with(&params)
    }

    /// The same, with a certificate that is good until then, to the second.
    pub fn acceptor_until(&self, not_after: Timestamp) -> Result<TlsAcceptor> {
        let mut params = CertificateParams::new(vec![HOST.to_owned()])?;
        let seconds = u64::try_from(not_after.as_micros() / 1_000_000)?;
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        self.acceptor_with(&params)
    }

    fn acceptor_with(&self, params: &CertificateParams) -> Result<TlsAcceptor> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Carries on to a server that shows a certificate of `ca_pem` for `host`: another certificate in front of the same server.
pub async fn carry_on(
    mut stream: TlsStream<TcpStream>,
    server: SocketAddr,
    host: &str,
    ca_pem: &[u8],
) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem).map_err(|error| anyhow::anyhow!("{error:?}"))?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let server = TcpStream::connect(server).await?;
    let mut server = TlsConnector::from(Arc::new(config)).connect(name, server).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}

/// Hands every connection that has shaken hands to `talk`, until the test's runtime ends. Where it listens.
pub async fn serve<F: Future<Output = ()> + Send>(
    acceptor: TlsAcceptor,
    talk: impl Fn(TlsStream<TcpStream>) -> F + Send + Clone + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, talk) = (acceptor.clone(), talk.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    talk(stream).await;
                }
            });
        }
    });
    Ok(address)
}

/// Tag, length in four octets, content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[tag, 0x84], length.as_slice(), content].concat()
}

/// An LDAPMessage (RFC 4511 section 4.1.1).
pub fn message(id: &[u8], op: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(2, id), op].concat())
}

/// The end of an operation, with a text.
pub fn result(op: u8, code: u8, text: &str) -> Vec<u8> {
    tlv(op, &[&[10, 1, code, 4, 0], tlv(4, text.as_bytes()).as_slice()].concat())
}

/// An object as a search returns it.
pub fn entry(dn: &[u8], attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let attributes = attributes.iter().map(|(name, values)| {
        let values: Vec<u8> = values.iter().flat_map(|value| tlv(4, value)).collect();
        tlv(0x30, &[tlv(4, name.as_bytes()), tlv(0x31, &values)].concat())
    });
    tlv(0x64, &[tlv(4, dn), tlv(0x30, &attributes.flatten().collect::<Vec<_>>())].concat())
}

/// `levels` sequences, each in the one before.
pub fn nested(levels: u32) -> Vec<u8> {
    (0..levels)
        .rev()
        .flat_map(|below| [[0x30, 0x84].as_slice(), &(below * 6).to_be_bytes()].concat())
        .collect()
}

/// What an examination reads, most of it.
const SHOWN: [&str; 16] = [
    "defaultNamingContext",
    "currentTime",
    "dsServiceName",
    "tokenGroups",
    "objectClass",
    "objectGUID",
    "objectSid",
    "sAMAccountName",
    "userAccountControl",
    "lockoutTime",
    "pwdLastSet",
    "primaryGroupID",
    "nTSecurityDescriptor",
    "minPwdLength",
    "msDS-ResultantPSO",
    "allowedAttributesEffective",
];

/// What it does once it no longer plays along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evil {
    /// Sends what is no BER.
    Garbage,
    /// Sends sequences in sequences, 100,000 deep, under the right message id.
    Nested,
    /// Sends one value of 100 MB.
    Huge,
    /// Sends objects without end.
    Endless,
    /// Sends search references without end.
    References,
    /// Sends the right answer, one byte a second.
    Drip,
    /// Sends the right answer under another message id.
    WrongId,
    /// Sends a notification that nobody asked for.
    Notice,
    /// Closes in the middle of the right answer.
    CutOff,
    /// Says nothing more.
    Silent,
    /// Says that it is busy.
    Busy,
    /// Sends objects that are right in form and senseless: no attribute has a value that fits it.
    Senseless,
}

impl Evil {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Garbage,
        Self::Nested,
        Self::Huge,
        Self::Endless,
        Self::References,
        Self::Drip,
        Self::WrongId,
        Self::Notice,
        Self::CutOff,
        Self::Silent,
        Self::Busy,
        Self::Senseless,
    ];
}

/// A running one.
pub struct Hostile {
    /// Where it listens.
    pub address: SocketAddr,
    /// The CA to trust.
    pub ca_pem: String,
}

impl Hostile {
    /// Answers the first `honest` questions of each connection as a domain controller with one user would.
    pub async fn start(honest: usize, evil: Evil) -> Result<Self> {
        let authority = Authority::new()?;
        let talk = move |stream| async move {
            let _ = talk(stream, honest, evil).await;
        };
        let address = serve(authority.acceptor(false)?, talk).await?;
        Ok(Self { address, ca_pem: authority.pem })
    }
}

async fn talk(mut stream: TlsStream<TcpStream>, honest: usize, evil: Evil) -> std::io::Result<()> {
    let mut asked = 0;
    while let Some(question) = Question::read(&mut stream).await? {
        asked += 1;
        if asked <= honest {
            stream.write_all(&question.answer()).await?;
        } else {
            do_evil(&mut stream, &question, evil).await?;
        }
        stream.flush().await?;
    }
    Ok(())
}

async fn do_evil(stream: &mut TlsStream<TcpStream>, question: &Question, evil: Evil) -> std::io::Result<()> {
    match evil {
        Evil::Garbage => stream.write_all(&[0x6b; 4096]).await,
        Evil::Nested => stream.write_all(&message(&question.id, &nested(100_000))).await,
        Evil::Huge => {
            stream.write_all(&before_a_value_of(100_000_000, &question.id)).await?;
            let piece = vec![b'x'; 1_000_000];
            for _ in 0..100 {
                stream.write_all(&piece).await?;
            }
            Ok(())
        }
        Evil::Endless => send_for_ever(stream, &entry(BASE, &[("cn", &[b"x"])]), question).await,
        Evil::References => {
            send_for_ever(stream, &tlv(0x73, &tlv(4, b"ldap://elsewhere.example")), question).await
        }
        Evil::Drip => {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            for byte in question.answer() {
                tick.tick().await;
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
            }
            Ok(())
        }
        Evil::WrongId => stream.write_all(&Question { id: vec![0x77], ..question.clone() }.answer()).await,
        Evil::Notice => stream.write_all(&message(&[0], &result(0x78, 52, "shutting down"))).await,
        Evil::CutOff => {
            let answer = question.answer();
            stream.write_all(&answer[..answer.len() / 2]).await?;
            stream.shutdown().await
        }
        Evil::Silent => Ok(()),
        Evil::Busy => stream.write_all(&question.end(51, "busy")).await,
        Evil::Senseless => {
            let nonsense: [&[u8]; 2] = [b"\xff\xfe nonsense \0", b""];
            let attributes = SHOWN.map(|name| (name, nonsense.as_slice()));
            let object = message(&question.id, &entry(b"not=a,,dn\\", &attributes));
            let object = if question.op == SEARCH { object } else { Vec::new() };
            stream.write_all(&[object, question.end(0, "")].concat()).await
        }
    }
}

async fn send_for_ever(
    stream: &mut TlsStream<TcpStream>,
    op: &[u8],
    question: &Question,
) -> std::io::Result<()> {
    let many = message(&question.id, op).repeat(1_000);
    loop {
        stream.write_all(&many).await?;
    }
}

/// All of an object with one attribute up to the first byte of its value.
fn before_a_value_of(bytes: u32, id: &[u8]) -> Vec<u8> {
    let (mut begun, mut length) = (Vec::new(), bytes);
    for (tag, first) in [
        (4, vec![]),
        (0x31, vec![]),
        (0x30, tlv(4, b"cn")),
        (0x30, vec![]),
        (0x64, tlv(4, BASE)),
        (0x30, tlv(2, id)),
    ] {
        length += u32::try_from(first.len()).unwrap_or_default();
        begun = [&[tag, 0x84], length.to_be_bytes().as_slice(), &first, &begun].concat();
        length += 6;
    }
    begun
}

/// What was asked, as far as an answer depends on it.
#[derive(Debug, Clone)]
struct Question {
    id: Vec<u8>,
    op: u8,
    of_root_dse: bool,
}

impl Question {
    /// `None`: the asker took its leave.
    async fn read(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Option<Self>> {
        let Ok(0x30) = stream.read_u8().await else { return Ok(None) };
        let mut length = usize::from(stream.read_u8().await?);
        if length >= 0x80 {
            let mut octets = vec![0; length & 0x7f];
            stream.read_exact(&mut octets).await?;
            length = octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        }
        let mut content = vec![0; length];
        stream.read_exact(&mut content).await?;
        let (id, rest) =
            content.get(2..).and_then(|rest| rest.split_at_checked(content[1].into())).unwrap_or_default();
        let op = rest.first().copied().unwrap_or(UNBIND);
        // The rootDSE's DN is empty; it is the first field of a search.
        let header = 2 + rest.get(1).map_or(0, |first| usize::from(first & 0x7f) * usize::from(first >> 7));
        let base = rest.get(header + 1);
        Ok((op != UNBIND).then(|| Self { id: id.to_vec(), op, of_root_dse: base == Some(&0) }))
    }

    fn end(&self, code: u8, text: &str) -> Vec<u8> {
        let op = if self.op == SEARCH { 0x65 } else { self.op + 1 };
        message(&self.id, &result(op, code, text))
    }

    /// As a domain controller would answer whose domain holds one user.
    fn answer(&self) -> Vec<u8> {
        let object = match (self.op == SEARCH, self.of_root_dse) {
            (false, _) => return self.end(0, ""),
            (true, true) => {
                entry(b"", &[("defaultNamingContext", &[BASE]), ("dsServiceName", &[b"CN=NTDS,DC=hostile"])])
            }
            (true, false) => entry(
                b"CN=anybody,DC=hostile",
                &[
                    ("objectClass", &[b"top", b"person", b"organizationalPerson", b"user"]),
                    ("objectGUID", &[b"0123456789abcdef"]),
                    ("objectSid", &[b"\x01\x01\0\0\0\0\0\x05\x12\0\0\0"]),
                    ("sAMAccountName", &[b"anybody"]),
                    ("msDS-isRODC", &[b"FALSE"]),
                ],
            ),
        };
        [message(&self.id, &object), self.end(0, "")].concat()
    }
}
