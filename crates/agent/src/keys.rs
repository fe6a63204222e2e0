//! The agent's keys (A4): what opens a seal, and what signs its replies.

use hpke::{Deserializable, Kem as _, OpModeR, Serializable};
use keyback_core::KeyId;
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

    /// The key's id, as a message's recipient.
    pub fn id(&self) -> Result<KeyId, KeyError> {
        Ok(SealingKey::from_bytes(self.public)?.id())
    }
}

/// All of the agent's keys, and what it has pinned of the server.
pub struct AgentKeys {
    unsealing: UnsealingKey,
    recipient: KeyId,
    signing: SigningKey,
    agent: KeyId,
    server: VerifyingKey,
}

impl AgentKeys {
    /// The three of them.
    pub fn new(unsealing: UnsealingKey, signing: SigningKey, server: VerifyingKey) -> Result<Self, KeyError> {
        let (recipient, agent) = (unsealing.id()?, signing.verifying_key().id());
        Ok(Self { unsealing, recipient, signing, agent, server })
    }

    /// The key that signs replies.
    pub(crate) const fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// What checks the server's signature.
    pub(crate) const fn server(&self) -> &VerifyingKey {
        &self.server
    }

    /// Opens the body of a request whose signature holds.
    pub(crate) fn open(&self, request: &SignedRequest<'_>) -> Result<Body, MessageError> {
        if request.header.recipient != self.recipient || request.header.sender != self.server.id() {
            return Err(MessageError::Seal);
        }
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(request.encapsulated)
            .map_err(|_| MessageError::Malformed)?;
        let plain = hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &self.unsealing.private,
            &encapsulated,
            &seal_info(request.header.kind, self.agent),
            request.sealed,
            request.aad,
        );
        let plain = Zeroizing::new(plain.map_err(|_| MessageError::Seal)?);
        Body::decode(request.header.kind, &plain)
    }
}
