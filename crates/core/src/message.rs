//! The messages between server and agent: what stands in the clear, what is sealed, who signs what.
//!
//! A request is a header (signed, and bound to the seal as HPKE `aad`), a sealed body and the server's signature over
//! both. A reply names the request by its digest; the agent signs a statement that holds the reply's hash. An unknown
//! version, suite, kind or field is refused, never skipped. Opening a seal is the agent's alone.

mod body;

pub use body::Body;

use crate::audit::{ChainHash, Head};
use crate::clock::Timestamp;
use crate::diagnosis::Diagnosis;
use crate::ids::{self, CorrelationId, JobId, KeyId, ObjectGuid, SourceAnchor};
use crate::job::{Kind, Operation};
use crate::keys::{Aead, Kdf, Kem, SealingKey, SigningKey, VerifyingKey};
use crate::outcome::Outcome;
use crate::statement::{self, Ending, Said, Statement};
use crate::turn::Turn;
use base64::Engine;
use hpke::{OpModeS, Serializable};
use keyback_codes::{Cause, Explain};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The version this code speaks, and the only one that it accepts.
pub const VERSION: u8 = 1;
/// X25519, HKDF-SHA256, ChaCha20-Poly1305.
pub const SUITE: u8 = 1;
/// A message is valid this long at most.
pub const MAX_VALIDITY: Duration = Duration::from_mins(5);
/// Sealed bodies are padded to a multiple of this many bytes.
pub const PADDED_TO: usize = 512;
/// No message is longer than this.
pub const MAX_MESSAGE: usize = 64 * 1024;

const REQUEST: &[u8; 4] = b"KBQ1";
const SIGNATURE: usize = 64;
const ENCAPSULATED: usize = 32;

/// What the relay may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    /// [`SUITE`].
    pub suite: u8,
    /// Which of the four things is asked.
    pub kind: Kind,
    /// The job; the agent does each once.
    pub job_id: JobId,
    /// Whom, once that is known.
    pub object_guid: Option<ObjectGuid>,
    /// Whom, as Entra knows them.
    pub source_anchor: Option<SourceAnchor>,
    /// What it is all for: a proof given for one operation is worth nothing for another.
    pub operation: Operation,
    /// Not to be acted upon before.
    pub not_before: Timestamp,
    /// Not to be acted upon after; the job's deadline.
    pub not_after: Timestamp,
    /// The user action.
    pub correlation_id: CorrelationId,
    /// The server's signing key.
    pub sender: KeyId,
    /// The agent's unsealing key.
    pub recipient: KeyId,
    /// The audit chain's newest row when this was made. The agent remembers the highest and countersigns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Where other agents may do the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
}

/// Why a message was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    /// Not a message, or longer than [`MAX_MESSAGE`].
    #[error("this is not a message of keyback's, or it is damaged")]
    Malformed,
    /// Another version, suite, kind or field.
    #[error("the message has a version, suite, kind or field that is not known here")]
    Unknown,
    /// There is no key to seal to.
    #[error("no agent is enrolled with this server")]
    NoAgent,
    /// Somebody else's signature, or altered bytes.
    #[error("the signature does not fit the pinned key")]
    Signature,
    /// Sealed for another key, or altered.
    #[error("the seal cannot be opened with this agent's key")]
    Seal,
    /// Too early, too late, or valid for too long.
    #[error("the message is not valid at this time: from {not_before} to {not_after}, now {now}")]
    Validity {
        /// The header's.
        not_before: Timestamp,
        /// The header's.
        not_after: Timestamp,
        /// This side's clock.
        now: Timestamp,
    },
    /// An answer to something else.
    #[error("the reply belongs to another request")]
    OtherRequest,
}

impl Explain for MessageError {
    fn cause(&self) -> Cause {
        match self {
            Self::NoAgent => Cause::AgentOffline,
            Self::Malformed
            | Self::Unknown
            | Self::Signature
            | Self::Seal
            | Self::Validity { .. }
            | Self::OtherRequest => Cause::MessageRefused,
        }
    }
}

/// The HPKE `info` of a message to one agent.
pub fn seal_info(kind: Kind, agent: KeyId) -> Vec<u8> {
    format!("keyback/1/{kind}/{agent}").into_bytes()
}

impl Header {
    /// Whether another agent may have begun the job before the one that this is for.
    pub fn is_taken_over(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| !turn.earlier.is_empty())
    }

    /// Whether another agent has the job after the one that this is for.
    pub fn is_passed_on(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| !turn.last)
    }

    /// Whether it may be acted upon at `now`.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), MessageError> {
        let (not_before, not_after) = (self.not_before, self.not_after);
        if now < not_before || now > not_after || not_after.since(not_before) > MAX_VALIDITY {
            return Err(MessageError::Validity { not_before, not_after, now });
        }
        Ok(())
    }
}

/// SHA-256 over a whole request: what a reply is bound to.
pub fn digest(request: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(request))
}

/// Seals the body to the agent and signs the whole.
pub fn seal(
    header: &Header,
    body: &Body,
    to: &SealingKey,
    agent: KeyId,
    by: &SigningKey,
) -> Result<Vec<u8>, MessageError> {
    let header_json = serde_json::to_vec(header).map_err(|_| MessageError::Malformed)?;
    let plain = body.encode();
    let (encapsulated, sealed) = hpke::single_shot_seal::<Aead, Kdf, Kem>(
        &OpModeS::Base,
        to.key(),
        &seal_info(header.kind, agent),
        &plain,
        &header_json,
    )
    .map_err(|_| MessageError::Seal)?;
    let length = u16::try_from(header_json.len()).map_err(|_| MessageError::Malformed)?;
    let mut message =
        Vec::with_capacity(REQUEST.len() + 2 + header_json.len() + ENCAPSULATED + sealed.len() + SIGNATURE);
    message.extend_from_slice(REQUEST);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&header_json);
    message.extend_from_slice(&encapsulated.to_bytes());
    message.extend_from_slice(&sealed);
    let signature = by.sign(&message);
    message.extend_from_slice(&signature);
    if message.len() > MAX_MESSAGE { Err(MessageError::Malformed) } else { Ok(message) }
}

/// What a message says in its header, whoever wrote it. To be used for telling that it was refused and for choosing
/// among pinned keys, and no more.
pub fn peek_header(bytes: &[u8]) -> Option<Header> {
    let (length, rest) = bytes.strip_prefix(REQUEST)?.split_first_chunk::<2>()?;
    serde_json::from_slice(rest.get(..usize::from(u16::from_le_bytes(*length)))?).ok()
}

/// A request whose signature holds, its body still sealed.
pub struct SignedRequest<'a> {
    /// What was signed.
    pub header: Header,
    /// The header's bytes, as they are bound to the seal.
    pub aad: &'a [u8],
    /// HPKE's encapsulated key.
    pub encapsulated: &'a [u8],
    /// The sealed body.
    pub sealed: &'a [u8],
    /// What the reply will name.
    pub digest: String,
}

/// The signed bytes between `magic` and the signature.
pub(crate) fn cut_signature<'a>(
    bytes: &'a [u8],
    magic: &[u8],
    from: &VerifyingKey,
) -> Result<&'a [u8], MessageError> {
    if bytes.len() > MAX_MESSAGE || bytes.len() < magic.len() + SIGNATURE || !bytes.starts_with(magic) {
        return Err(MessageError::Malformed);
    }
    let (signed, signature) = bytes.split_at(bytes.len() - SIGNATURE);
    if from.verifies(signed, signature) { Ok(&signed[magic.len()..]) } else { Err(MessageError::Signature) }
}

impl<'a> SignedRequest<'a> {
    /// Checks form and signature. Validity in time, and what is asked, are the agent's to judge.
    pub fn parse(bytes: &'a [u8], from: &VerifyingKey) -> Result<Self, MessageError> {
        let rest = cut_signature(bytes, REQUEST, from)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(MessageError::Malformed)?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (aad, rest) = rest.split_at_checked(length).ok_or(MessageError::Malformed)?;
        let (encapsulated, sealed) = rest.split_at_checked(ENCAPSULATED).ok_or(MessageError::Malformed)?;
        let header: Header = serde_json::from_slice(aad).map_err(|_| MessageError::Unknown)?;
        if header.version != VERSION || header.suite != SUITE {
            return Err(MessageError::Unknown);
        }
        Ok(Self { header, aad, encapsulated, sealed, digest: digest(bytes) })
    }
}

/// A signed document: `magic`, JSON, signature.
pub(crate) fn sign_json(magic: &[u8], document: &impl Serialize, by: &SigningKey) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    // Plain data of our own types: there is nothing in it that cannot be written as JSON.
    bytes.extend_from_slice(&serde_json::to_vec(document).unwrap_or_default());
    let signature = by.sign(&bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

/// The agent's answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// [`VERSION`].
    pub version: u8,
    /// The job.
    pub job_id: JobId,
    /// [`digest`] of the request that this answers.
    pub request: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Of a refusal: what doctor read about it, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The agent's clock.
    pub at: Timestamp,
    /// The highest head of the audit chain that the agent was ever given.
    pub head: Option<Head>,
    /// Random, so that the reply's hash says nothing to whoever does not have the reply.
    salt: String,
}

impl Reply {
    /// The answer to one request.
    pub fn new(job_id: JobId, request: String, outcome: Outcome, at: Timestamp, head: Option<Head>) -> Self {
        let salt = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(ids::random::<16>());
        Self { version: VERSION, job_id, request, outcome, diagnosis: None, at, head, salt }
    }

    /// The same, with what doctor read about a refusal.
    #[must_use]
    pub fn with(self, diagnosis: Option<Diagnosis>) -> Self {
        Self { diagnosis, ..self }
    }

    fn statement(&self, json: &str, signer: KeyId) -> Statement {
        Statement {
            signer,
            job_id: self.job_id,
            request: self.request.clone(),
            at: self.at,
            ending: Ending::of(&self.outcome),
            head: self.head,
            reply: ChainHash::of(json.as_bytes()),
        }
    }

    /// The signed statement, the reply, the signature over the statement.
    pub fn sign(&self, by: &SigningKey) -> Vec<u8> {
        // Plain data of our own types: there is nothing in it that cannot be written as JSON.
        let json = serde_json::to_string(self).unwrap_or_default();
        let statement = self.statement(&json, by.verifying_key().id());
        let mut bytes = statement::signed_bytes(&serde_json::to_string(&statement).unwrap_or_default());
        let signature = by.sign(&bytes);
        bytes.extend_from_slice(json.as_bytes());
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Checks the signature, and that this answers `job_id` and `request`. Also gives what the audit trail keeps.
    pub fn parse(
        bytes: &[u8],
        from: &VerifyingKey,
        job_id: JobId,
        request: &str,
    ) -> Result<(Self, Said), MessageError> {
        let (rest, signature) = match bytes.len().checked_sub(SIGNATURE) {
            Some(end) if bytes.len() <= MAX_MESSAGE => bytes.split_at(end),
            _ => return Err(MessageError::Malformed),
        };
        let (signed, json) = statement::split(rest).ok_or(MessageError::Malformed)?;
        if !from.verifies(signed, signature) {
            return Err(MessageError::Signature);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| MessageError::Malformed);
        let said = Said {
            statement: text(&signed[statement::BEFORE..])?,
            signature: signature.to_vec(),
            reply: text(json)?,
        };
        let claimed: Statement = serde_json::from_str(&said.statement).map_err(|_| MessageError::Unknown)?;
        if claimed.reply != ChainHash::of(json) {
            return Err(MessageError::Signature);
        }
        let reply: Self = serde_json::from_str(&said.reply).map_err(|_| MessageError::Unknown)?;
        if reply.version != VERSION || claimed != reply.statement(&said.reply, from.id()) {
            return Err(MessageError::Unknown);
        }
        if reply.job_id != job_id || reply.request != request {
            return Err(MessageError::OtherRequest);
        }
        Ok((reply, said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChallengeId, MethodId, UserName};
    use crate::methods::Bundle;
    use crate::outcome::Failure;
    use crate::secrets::{NewPassword, RecoveryCode, TotpCode, TotpSeed, TypedCode};
    use hpke::{Deserializable, Kem as _, OpModeR};
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn server() -> SigningKey {
        SigningKey::from_seed(&[1; 32]).unwrap()
    }

    fn agent_keys() -> (<Kem as hpke::Kem>::PrivateKey, SealingKey) {
        let (private, public) = Kem::derive_keypair(&[3; 32]);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&public.to_bytes());
        (private, SealingKey::from_bytes(bytes).unwrap())
    }

    fn header(kind: Kind) -> Header {
        let (_, sealing) = agent_keys();
        Header {
            version: VERSION,
            suite: SUITE,
            kind,
            job_id: JobId::from_random([1; 16]),
            object_guid: Some(ObjectGuid::from_wire([2; 16])),
            source_anchor: None,
            operation: Operation::Reset,
            not_before: Timestamp::from_micros(0),
            not_after: Timestamp::from_micros(60_000_000),
            correlation_id: CorrelationId::from_random([4; 16]),
            sender: server().verifying_key().id(),
            recipient: sealing.id(),
            head: None,
            turn: None,
        }
    }

    fn agent_id() -> KeyId {
        KeyId::of(b"agent")
    }

    fn reset(password: &str) -> Body {
        let new = NewPassword::parse(Zeroizing::new(password.as_bytes().to_vec())).unwrap();
        Body::Reset { challenge: ChallengeId::from_random([5; 16]), new }
    }

    fn sealed(password: &str) -> Vec<u8> {
        seal(&header(Kind::Reset), &reset(password), &agent_keys().1, agent_id(), &server()).unwrap()
    }

    fn open(bytes: &[u8]) -> Result<Body, MessageError> {
        let request = SignedRequest::parse(bytes, &server().verifying_key())?;
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(request.encapsulated)
            .map_err(|_| MessageError::Seal)?;
        let plain = hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &agent_keys().0,
            &encapsulated,
            &seal_info(request.header.kind, agent_id()),
            request.sealed,
            request.aad,
        )
        .map_err(|_| MessageError::Seal)?;
        Body::decode(request.header.kind, &plain)
    }

    #[test]
    fn what_was_sealed_opens_unchanged() {
        let Ok(Body::Reset { new, .. }) = open(&sealed("Grüße 1!")) else { panic!("a reset was sealed") };
        assert_eq!(new.expose(), "Grüße 1!");
    }

    /// Fault: each byte of a message is altered => the signature does not hold
    #[test]
    fn every_flipped_byte_is_noticed() {
        let message = sealed("secret");
        for at in 0..message.len() {
            let mut altered = message.clone();
            altered[at] ^= 1;
            assert!(SignedRequest::parse(&altered, &server().verifying_key()).is_err(), "byte {at}");
        }
        let other = SigningKey::from_seed(&[9; 32]).unwrap().verifying_key();
        assert_eq!(SignedRequest::parse(&message, &other).err(), Some(MessageError::Signature));
    }

    #[test]
    fn short_and_long_passwords_have_messages_of_equal_size_and_no_marker() {
        let (short, long) = (sealed("marker-x"), sealed(&"marker-x".repeat(20)));
        assert_eq!(short.len(), long.len());
        assert!(!long.windows(8).any(|window| window == b"marker-x"));
    }

    #[test]
    fn an_unknown_field_version_or_suite_is_refused() {
        let sign = |json: &str| {
            let mut bytes = REQUEST.to_vec();
            bytes.extend_from_slice(&u16::try_from(json.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(json.as_bytes());
            bytes.extend_from_slice(&[0; ENCAPSULATED]);
            let signature = server().sign(&bytes);
            bytes.extend_from_slice(&signature);
            bytes
        };
        let good = serde_json::to_string(&header(Kind::Reset)).unwrap();
        assert!(SignedRequest::parse(&sign(&good), &server().verifying_key()).is_ok());
        for bad in [
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("\"suite\":1", "\"suite\":2"),
            good.replace("\"kind\":\"reset\"", "\"kind\":\"delete\""),
            good.replacen('{', "{\"extra\":1,", 1),
        ] {
            assert_ne!(bad, good);
            let refused = SignedRequest::parse(&sign(&bad), &server().verifying_key()).err();
            assert_eq!(refused, Some(MessageError::Unknown), "{bad}");
        }
    }

    #[test]
    fn a_body_of_another_kind_is_refused() {
        let plain = reset("x").encode();
        for kind in [Kind::Change, Kind::Unlock, Kind::Verify] {
            assert_eq!(Body::decode(kind, &plain).err(), Some(MessageError::Unknown));
        }
    }

    #[test]
    fn what_is_kept_of_a_person_is_sealed_and_read_back_whole() {
        use crate::methods::SealedBytes;
        let challenge = ChallengeId::from_random([5; 16]);
        let method = MethodId::from_random([6; 16]);
        let one = SealedBytes::new(vec![7; crate::methods::SEALED]).unwrap();
        let bundle = || Bundle::of([&one], vec![9; 8000]);
        let code = |typed: &str| TypedCode::parse(typed).unwrap();
        let codes = (0..10).map(|seed| RecoveryCode::mint(&[seed; 16])).collect();
        let read = |body: &Body| Body::decode(Kind::Verify, &body.encode());
        let user = UserName::parse("ada").unwrap();
        assert!(matches!(read(&Body::AskCode { user, held: true }), Ok(Body::AskCode { held: true, .. })));
        let check = Body::CheckCode { challenge, code: code("123456"), methods: Some(bundle()) };
        let Ok(Body::CheckCode { code: TypedCode::Totp(typed), methods: Some(methods), .. }) = read(&check)
        else {
            panic!("a check")
        };
        assert_eq!((typed.number(), methods.places().next()), (123_456, Some(one.as_bytes())));
        let totp = TotpCode::parse("123456").unwrap();
        let add =
            Body::AddTotp { challenge, method, seed: TotpSeed::mint(Zeroizing::new([3; 20])), code: totp };
        assert!(
            matches!(read(&add), Ok(Body::AddTotp { method: id, seed, .. }) if id == method && *seed.expose() == [3; 20])
        );
        let sheet = Body::AddRecovery { challenge, method, replaces: Some(method), codes };
        let Ok(Body::AddRecovery { replaces, codes, .. }) = read(&sheet) else { panic!("a sheet") };
        assert_eq!((replaces, codes.len(), codes[9].expose()), (Some(method), 10, "jjjjjjjjjjjjjjjj"));
        let test = Body::TestMethod { challenge, code: code("abcdefghijkmnpqr"), methods: bundle() };
        assert!(matches!(read(&test), Ok(Body::TestMethod { code: TypedCode::Recovery(_), .. })));
        assert!(matches!(read(&Body::RemoveMethod { challenge, method }), Ok(Body::RemoveMethod { .. })));
        let equal = Body::CheckCode {
            challenge,
            code: code("abcdefghijkmnpqr"),
            methods: Some(Bundle::of([], vec![])),
        };
        assert_eq!(check.encode().len(), equal.encode().len(), "who has methods is not told by a length");
    }

    #[test]
    fn validity_has_two_ends_and_a_greatest_length() {
        let mut header = header(Kind::Reset);
        assert!(header.check_validity(Timestamp::from_micros(1)).is_ok());
        assert!(header.check_validity(Timestamp::from_micros(-1)).is_err());
        assert!(header.check_validity(Timestamp::from_micros(60_000_001)).is_err());
        header.not_after = Timestamp::from_micros(301_000_000);
        assert!(header.check_validity(Timestamp::from_micros(1)).is_err());
    }

    #[test]
    fn a_reply_counts_for_its_own_request_only() {
        let outcome = Outcome::Refused(Failure::of(Cause::PolicyLength));
        let head = Some(Head { number: 7, hash: ChainHash::of(b"head") });
        let now = Timestamp::from_micros(5);
        let reply = Reply::new(JobId::from_random([1; 16]), digest(b"request"), outcome, now, head);
        let bytes = reply.sign(&server());
        let key = server().verifying_key();
        let (parsed, said) = Reply::parse(&bytes, &key, reply.job_id, &reply.request).unwrap();
        assert_eq!(parsed, reply);
        let statement = statement::check(&said.statement, &said.signature, &[key]).unwrap();
        assert_eq!((statement.job_id, statement.head), (reply.job_id, head));
        assert_eq!(statement.reply, ChainHash::of(said.reply.as_bytes()));
        let refused = |job_id, request: &str| Reply::parse(&bytes, &key, job_id, request).err();
        let other = JobId::from_random([2; 16]);
        assert_eq!(refused(other, &reply.request), Some(MessageError::OtherRequest));
        assert_eq!(refused(reply.job_id, &digest(b"x")), Some(MessageError::OtherRequest));
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(Reply::parse(&altered, &key, reply.job_id, &reply.request).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = SignedRequest::parse(&bytes, &server().verifying_key());
            let _ = Reply::parse(&bytes, &server().verifying_key(), JobId::from_random([1; 16]), "");
            for kind in [Kind::Reset, Kind::Change, Kind::Unlock, Kind::Verify] {
                let _ = Body::decode(kind, &bytes);
            }
        }
    }
}
