//! One connection to one domain controller: dial, sign in, ask.
//!
//! A task of its own owns the socket and hands each answer to whoever asked, by message id. Every step and every
//! request has a limit; whoever runs into it closes the connection for all, because a domain controller that left one
//! question unanswered is asked on a new one. Referrals and search references are not followed: the domain controller
//! behind them may be outside the configuration.

use crate::config::{DcAddress, Limits};
use crate::dn::Dn;
use crate::error::{DirectoryError, Step};
use crate::time::decode_generalized_time;
use crate::tls::{self, Certificate, Trust};
use crate::wire::{self, Answers, Body, Entry, Match, WireError};
use futures_util::StreamExt;
use keyback_core::{ServerReply, Timestamp};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapDerefAliases, LdapFilter, LdapOp, LdapSearchRequest, LdapSearchScope,
};
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// A whole answer may be this many times the longest message.
const ANSWER_MESSAGES: usize = 16;

/// The end of an operation and what came before it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) entries: Vec<Entry>,
    pub(crate) reply: ServerReply,
    /// Where a paged search goes on; empty at its end.
    pub(crate) cookie: Vec<u8>,
}

/// No answer, and whether the question may have left.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// False only when not a single byte of the request was handed to the connection.
    pub(crate) sent: bool,
    pub(crate) how: How,
}

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    Closed(String),
    TimedOut,
    Protocol(String),
}

impl Broken {
    pub(crate) fn at(self, dc: &str, step: Step) -> DirectoryError {
        let dc = dc.to_owned();
        match self.how {
            How::Closed(reason) => DirectoryError::Closed { dc, step, reason },
            How::TimedOut => DirectoryError::TimedOut { dc, step },
            How::Protocol(reason) => DirectoryError::Protocol { dc, step, reason },
        }
    }
}

/// What a domain controller says of itself.
#[derive(Debug, Clone)]
pub(crate) struct RootDse {
    pub(crate) base: Dn,
    pub(crate) configuration: Option<String>,
    pub(crate) dns_host_name: Option<String>,
    pub(crate) ds_service_name: Option<String>,
    pub(crate) vendor: Option<String>,
    pub(crate) current_time: Option<Timestamp>,
    /// The control that makes a reset obey history and minimum age, where it is offered.
    pub(crate) policy_hints: Option<&'static str>,
}

/// [MS-ADTS] 3.1.1.3.4.1.27, and its older twin.
const POLICY_HINTS: [&str; 2] = ["1.2.840.113556.1.4.2239", "1.2.840.113556.1.4.2066"];

/// An open connection.
pub(crate) struct Connection {
    requests: mpsc::Sender<Outgoing>,
    broken: CancellationToken,
    last_id: AtomicI32,
    pub(crate) opened_at: Instant,
}

/// What carries the bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Name to addresses.
pub(crate) async fn resolve(dc: &DcAddress, limits: &Limits) -> Result<Vec<SocketAddr>, DirectoryError> {
    if let Some(address) = dc.address {
        return Ok(vec![SocketAddr::new(address, dc.port)]);
    }
    let failed = |reason: String| DirectoryError::Resolve { dc: dc.to_string(), reason };
    match timeout(limits.resolve, tokio::net::lookup_host((dc.host.as_str(), dc.port))).await {
        Err(_) => Err(DirectoryError::TimedOut { dc: dc.to_string(), step: Step::Resolve }),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(found)) => {
            let found: Vec<_> = found.collect();
            if found.is_empty() { Err(failed("no address".to_owned())) } else { Ok(found) }
        }
    }
}

/// TCP, to the first address that takes it.
pub(crate) async fn connect(
    dc: &DcAddress,
    addresses: &[SocketAddr],
    limits: &Limits,
) -> Result<TcpStream, DirectoryError> {
    let share = limits.connect / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failed = DirectoryError::TimedOut { dc: dc.to_string(), step: Step::Connect };
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it a request of two writes would wait for the delayed acknowledgement of the first.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => {
                failed =
                    DirectoryError::Connect { dc: dc.to_string(), reason: format!("{address}: {error}") };
            }
            Err(_) => {}
        }
    }
    Err(failed)
}

/// TLS, and the certificate that was accepted.
pub(crate) async fn shake_hands(
    dc: &DcAddress,
    stream: TcpStream,
    trust: &Trust,
    limits: &Limits,
) -> Result<(TlsStream<TcpStream>, Option<Certificate>), DirectoryError> {
    let name = dc.to_string();
    let failed = |reason: String| DirectoryError::Handshake { dc: name.clone(), reason };
    let host = ServerName::try_from(dc.host.clone()).map_err(|error| failed(error.to_string()))?;
    let (config, seen) = trust.handshake().map_err(|error| failed(error.to_string()))?;
    match timeout(limits.tls, TlsConnector::from(config).connect(host, stream)).await {
        Err(_) => Err(DirectoryError::TimedOut { dc: name, step: Step::Tls }),
        Ok(Err(error)) => Err(tls::judge(&name, &error, &seen)),
        Ok(Ok(stream)) => Ok((stream, seen.certificate())),
    }
}

impl Connection {
    /// Resolve, connect, TLS: everything before the first LDAP message.
    pub(crate) async fn dial(dc: &DcAddress, trust: &Trust, limits: &Limits) -> Result<Self, DirectoryError> {
        let addresses = resolve(dc, limits).await?;
        let stream = connect(dc, &addresses, limits).await?;
        let (stream, _) = shake_hands(dc, stream, trust, limits).await?;
        Ok(Self::over(stream, limits))
    }

    /// Begins to speak LDAP.
    pub(crate) fn over(stream: impl Stream, limits: &Limits) -> Self {
        let (requests, queue) = mpsc::channel(16);
        let broken = CancellationToken::new();
        tokio::spawn(serve(stream, queue, broken.clone(), *limits));
        Self { requests, broken, last_id: AtomicI32::new(0), opened_at: Instant::now() }
    }

    /// Whether it can be used no more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    /// Asks, and waits at most `limit` for the end of the answer.
    pub(crate) async fn ask(
        &self,
        op: LdapOp,
        controls: Vec<LdapControl>,
        limit: Duration,
    ) -> Result<Answer, Broken> {
        self.send(|id| wire::encode(id, op, controls), limit).await
    }

    /// Searches by a filter of bytes; the filter that stands in `search` is not looked at.
    pub(crate) async fn ask_matching(
        &self,
        search: LdapOp,
        filter: Match,
        controls: Vec<LdapControl>,
        limit: Duration,
    ) -> Result<Answer, Broken> {
        self.send(|id| wire::encode_search(id, search, filter, controls), limit).await
    }

    async fn send(
        &self,
        encode: impl FnOnce(i32) -> Zeroizing<Vec<u8>>,
        limit: Duration,
    ) -> Result<Answer, Broken> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let bytes = encode(id);
        let (reply, answer) = oneshot::channel();
        let gone = || Broken { sent: false, how: How::Closed("the connection was closed before".to_owned()) };
        let ask = async {
            self.requests.send(Outgoing { id, bytes, reply }).await.map_err(|_| gone())?;
            // The task ends without a word only if it panicked.
            answer.await.unwrap_or_else(|_| {
                Err(Broken { sent: true, how: How::Closed("the connection's task ended".to_owned()) })
            })
        };
        timeout(limit, ask).await.unwrap_or_else(|_| {
            self.broken.cancel();
            Err(Broken { sent: true, how: How::TimedOut })
        })
    }

    /// Simple bind. The reply is the domain controller's, whatever it says.
    pub(crate) async fn bind(
        &self,
        name: &str,
        password: &str,
        limits: &Limits,
    ) -> Result<ServerReply, Broken> {
        let op = LdapOp::BindRequest(LdapBindRequest {
            version: 3,
            dn: name.to_owned(),
            cred: LdapBindCred::Simple(password.to_owned()), // wiped when it is encoded
        });
        self.ask(op, Vec::new(), limits.bind).await.map(|answer| answer.reply)
    }

    /// Reads what the domain controller says of itself.
    pub(crate) async fn read_root_dse(&self, dc: &str, limits: &Limits) -> Result<RootDse, DirectoryError> {
        let broken = |broken: Broken| broken.at(dc, Step::RootDse);
        let asked = self.ask(base_search("", &ROOT_DSE), Vec::new(), limits.read).await;
        RootDse::decode(dc, &asked.map_err(broken)?)
    }
}

/// All that [`RootDse`] shows.
pub(crate) const ROOT_DSE: [&str; 7] = [
    "defaultNamingContext",
    "configurationNamingContext",
    "dnsHostName",
    "dsServiceName",
    "vendorName",
    "currentTime",
    "supportedControl",
];

impl RootDse {
    pub(crate) fn decode(dc: &str, answer: &Answer) -> Result<Self, DirectoryError> {
        let [entry] = answer.entries.as_slice() else {
            let (dc, step, reply) = (dc.to_owned(), Step::RootDse, answer.reply.clone());
            return Err(match reply.result {
                51 | 52 => DirectoryError::Busy { dc, step, reply },
                _ => DirectoryError::Refused { dc, step, reply },
            });
        };
        let base = entry.text("defaultNamingContext").and_then(|base| Dn::parse(base).ok());
        let base = base.ok_or_else(|| DirectoryError::Protocol {
            dc: dc.to_owned(),
            step: Step::RootDse,
            reason: "no defaultNamingContext: this is no domain controller".to_owned(),
        })?;
        let controls = entry.values("supportedControl");
        let text = |attribute| entry.bytes(attribute).map(crate::reply::clean);
        Ok(Self {
            base,
            configuration: text("configurationNamingContext"),
            dns_host_name: text("dnsHostName"),
            ds_service_name: text("dsServiceName"),
            vendor: text("vendorName"),
            current_time: entry.text("currentTime").and_then(decode_generalized_time),
            policy_hints: POLICY_HINTS.into_iter().find(|oid| controls.iter().any(|c| c == oid.as_bytes())),
        })
    }
}

/// Reads one object.
pub(crate) fn base_search(base: &str, attributes: &[&str]) -> LdapOp {
    search(base, LdapSearchScope::Base, LdapFilter::Present("objectClass".to_owned()), 1, attributes)
}

/// A search of any scope, for at most `size_limit` objects.
pub(crate) fn search(
    base: &str,
    scope: LdapSearchScope,
    filter: LdapFilter,
    size_limit: i32,
    attributes: &[&str],
) -> LdapOp {
    LdapOp::SearchRequest(LdapSearchRequest {
        base: base.to_owned(),
        scope,
        aliases: LdapDerefAliases::Never,
        sizelimit: size_limit,
        timelimit: 0,
        typesonly: false,
        filter,
        attrs: attributes.iter().map(|&name| name.to_owned()).collect(),
    })
}

struct Outgoing {
    id: i32,
    bytes: Zeroizing<Vec<u8>>,
    reply: oneshot::Sender<Result<Answer, Broken>>,
}

struct Waiting {
    reply: oneshot::Sender<Result<Answer, Broken>>,
    entries: Vec<Entry>,
    references: usize,
    bytes: usize,
}

/// The connection's task: lives as long as the socket and at least one [`Connection`].
async fn serve(
    stream: impl Stream,
    mut queue: mpsc::Receiver<Outgoing>,
    broken: CancellationToken,
    limits: Limits,
) {
    let mut answers = FramedRead::new(stream, Answers { limit: limits.message_bytes });
    let mut waiting = BTreeMap::new();
    let how = loop {
        tokio::select! {
            // In this order: a connection that has ended must not take another request.
            biased;
            () = broken.cancelled() => break How::Closed("closed after a request ran out of time".to_owned()),
            answer = answers.next() => match answer {
                None => break How::Closed("closed by the domain controller".to_owned()),
                Some(Err(WireError::Read(error))) => break How::Closed(error.to_string()),
                Some(Err(error)) => break How::Protocol(error.to_string()),
                Some(Ok(message)) => if let Err(how) = deliver(&mut waiting, message, &limits) { break how },
            },
            outgoing = queue.recv() => match outgoing {
                None => {
                    let unbind = wire::encode(i32::MAX, LdapOp::UnbindRequest, Vec::new());
                    let goodbye = async {
                        answers.get_mut().write_all(&unbind).await?;
                        answers.get_mut().shutdown().await
                    };
                    let _ = timeout(limits.connect, goodbye).await;
                    break How::Closed("no longer needed".to_owned());
                }
                Some(Outgoing { id, bytes, reply }) => {
                    waiting.insert(id, Waiting { reply, entries: Vec::new(), references: 0, bytes: 0 });
                    let stream = answers.get_mut();
                    let written = async { stream.write_all(&bytes).await?; stream.flush().await };
                    tokio::select! {
                        () = broken.cancelled() => {}
                        written = written => if let Err(error) = written { break How::Closed(error.to_string()) },
                    }
                }
            },
        }
    };
    tracing::debug!(?how, waiting = waiting.len(), "connection ended");
    broken.cancel();
    for (_, Waiting { reply, .. }) in waiting {
        let _ = reply.send(Err(Broken { sent: true, how: how.clone() }));
    }
    queue.close();
    while let Some(Outgoing { reply, .. }) = queue.recv().await {
        let _ = reply.send(Err(Broken { sent: false, how: how.clone() }));
    }
}

fn deliver(waiting: &mut BTreeMap<i32, Waiting>, message: wire::Message, limits: &Limits) -> Result<(), How> {
    let wire::Message { id, body, cookie, size } = message;
    if id == 0 {
        // Notice of Disconnection (RFC 4511 section 4.4.1), or something else that nobody asked for.
        let said = match body {
            Body::Result(raw) => ServerReply::from(raw).text,
            Body::Entry(_) | Body::Reference => String::new(),
        };
        return Err(How::Closed(format!("the domain controller took its leave: {said}")));
    }
    let Some(mut asked) = waiting.remove(&id) else {
        return Err(How::Protocol(format!("an answer to a question that nobody asked (message id {id})")));
    };
    asked.bytes += size;
    match body {
        Body::Result(raw) => {
            // Nobody waits when the asker was dropped; the answer is then of no use.
            let _ = asked.reply.send(Ok(Answer { entries: asked.entries, reply: raw.into(), cookie }));
            return Ok(());
        }
        Body::Entry(entry) => asked.entries.push(entry),
        Body::Reference => asked.references += 1,
    }
    let items = asked.entries.len() + asked.references;
    let over = items > limits.entries || asked.bytes > limits.message_bytes * ANSWER_MESSAGES;
    waiting.insert(id, asked);
    if over { Err(How::Protocol("the answer is longer than the limit".to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dc_that_is_busy_when_it_is_asked_who_it_is_is_busy_and_does_not_refuse() {
        let decoded = |result| {
            let reply = ServerReply { result, win32: None, bind_data: None, text: String::new() };
            RootDse::decode("dc1", &Answer { entries: Vec::new(), reply, cookie: Vec::new() }).err()
        };
        assert!(matches!(decoded(51), Some(DirectoryError::Busy { step: Step::RootDse, .. })));
        assert!(matches!(decoded(52), Some(DirectoryError::Busy { .. })));
        assert!(matches!(decoded(50), Some(DirectoryError::Refused { .. })));
    }
}
