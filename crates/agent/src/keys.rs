//! The agent's keys (A4): what opens a seal, and what signs its replies.

use hpke::{Deserializable, Kem as _, OpModeR, Serializable};
use keyback_core::KeyId;
use keyback_core::heartbeat::AgentPublic;
use keyback_core::keys::{Aead, Kdf, Kem, KeyError, SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, MessageError, SignedRequest, seal_info};
use zeroize::Zeroizing;

/// Opens what was sealed to this agent.
pub struct UnsealingKey {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: [u8; 32],
}

impl UnsealingKey {
    /// A new one: 32 bytes for the key file.
    pub fn new_bytes() -> Zeroizing<[u8; 32]> {
        Zeroizing::new(keyback_core::ids::random())
    }

    /// From the 32 bytes of a key file, from which the pair is derived (RFC 9180 section 7.1.3).
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let (private, key) = Kem::derive_keypair(bytes);
        let mut public = [0; 32];
        public.copy_from_slice(&key.to_bytes());
        Self { private, public }
    }

    /// What the server pins.
    pub const fn public_bytes(&self) -> &[u8; 32] {
        &self.public
    }
}

/// An agent's own keys of one generation: they come and go together.
pub struct Generation {
    unsealing: UnsealingKey,
    sealing: SealingKey,
    signing: SigningKey,
}

impl Generation {
    /// Of both keys.
    pub fn new(unsealing: UnsealingKey, signing: SigningKey) -> Result<Self, KeyError> {
        let sealing = SealingKey::from_bytes(unsealing.public)?;
        Ok(Self { unsealing, sealing, signing })
    }

    /// What the server pins.
    pub fn public(&self) -> AgentPublic {
        AgentPublic::of(&self.sealing, &self.signing.verifying_key())
    }

    /// The key that signs replies.
    pub(crate) const fn signing(&self) -> &SigningKey {
        &self.signing
    }
}

/// All of the agent's keys, and what it has pinned of the server. In each list the first is the newest; a second one is
/// there while keys rotate.
pub struct AgentKeys {
    own: Vec<Generation>,
    servers: Vec<VerifyingKey>,
    peers: Vec<VerifyingKey>,
}

impl AgentKeys {
    /// Of one generation, at rest.
    pub fn new(unsealing: UnsealingKey, signing: SigningKey, server: VerifyingKey) -> Result<Self, KeyError> {
        Self::rotating(vec![Generation::new(unsealing, signing)?], vec![server])
    }

    /// Of several. Without a server's key every message is refused.
    pub fn rotating(own: Vec<Generation>, servers: Vec<VerifyingKey>) -> Result<Self, KeyError> {
        if own.is_empty() {
            return Err(KeyError::Damaged { expected: "agent" });
        }
        Ok(Self { own, servers, peers: Vec::new() })
    }

    /// The same, beside these agents on the same domain: what they vouch for is believed.
    #[must_use]
    pub fn beside(self, peers: Vec<VerifyingKey>) -> Self {
        Self { peers, ..self }
    }

    /// The agent's keys, the newest first.
    pub fn own(&self) -> &[Generation] {
        &self.own
    }

    /// The server's pinned keys, the newest first.
    pub fn servers(&self) -> &[VerifyingKey] {
        &self.servers
    }

    /// The pinned keys of other agents.
    pub fn peers(&self) -> &[VerifyingKey] {
        &self.peers
    }

    /// The generation that a message is for; the newest, where that cannot be told.
    pub(crate) fn generation(&self, recipient: Option<KeyId>) -> Option<&Generation> {
        let meant = |own: &&Generation| Some(own.sealing.id()) == recipient;
        self.own.iter().find(meant).or(self.own.first())
    }

    /// Checks a request's signature with every key that is pinned.
    pub(crate) fn check<'a>(&self, message: &'a [u8]) -> Result<SignedRequest<'a>, MessageError> {
        let mut result = Err(MessageError::Signature);
        for server in &self.servers {
            result = SignedRequest::parse(message, server);
            match &result {
                Err(MessageError::Signature) => {}
                Ok(request) if request.header.sender != server.id() => return Err(MessageError::Seal),
                Ok(_) | Err(_) => break,
            }
        }
        result
    }

    /// Opens the body of a request whose signature holds.
    pub(crate) fn open(&self, request: &SignedRequest<'_>) -> Result<Body, MessageError> {
        let meant = |own: &&Generation| own.sealing.id() == request.header.recipient;
        let own = self.own.iter().find(meant).ok_or(MessageError::Seal)?;
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(request.encapsulated)
            .map_err(|_| MessageError::Malformed)?;
        let plain = hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &own.unsealing.private,
            &encapsulated,
            &seal_info(request.header.kind, own.signing.verifying_key().id()),
            request.sealed,
            request.aad,
        );
        let plain = Zeroizing::new(plain.map_err(|_| MessageError::Seal)?);
        Body::decode(request.header.kind, &plain)
    }
}
