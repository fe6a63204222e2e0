//! The server's side of the seal: it can close one, and check who answers.

use keyback_core::KeyId;
use keyback_core::heartbeat::AgentPublic;
use keyback_core::keys::{KeyError, SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, Header, MessageError, peek_header, seal};
use std::sync::{Arc, PoisonError, RwLock};

/// What the server has pinned of its agent: one generation of keys.
#[derive(Clone)]
pub struct AgentPin {
    /// What it seals to.
    pub sealing: SealingKey,
    /// What checks the replies.
    pub verifying: VerifyingKey,
}

impl AgentPin {
    /// Of an agent's public keys.
    pub fn of(public: &AgentPublic) -> Result<Self, KeyError> {
        let sealing = SealingKey::from_bytes(public.sealing.0)?;
        Ok(Self { sealing, verifying: VerifyingKey::from_bytes(public.verifying.0) })
    }

    /// As they are written.
    pub const fn public(&self) -> AgentPublic {
        AgentPublic::of(&self.sealing, &self.verifying)
    }
}

/// The server's own keys, and what it has pinned of its agent.
pub struct ServerKeys {
    /// It signs with this one.
    pub signing: SigningKey,
    /// It will sign with this one as soon as the agent has pinned it.
    pub next: Option<SigningKey>,
    /// The newest first; a second one is there while the agent's keys rotate. Empty: no agent is enrolled.
    pub agents: Vec<AgentPin>,
}

/// Seals, and checks replies. Cheap to clone; the clones share their keys.
#[derive(Clone)]
pub struct Sealer(Arc<RwLock<Arc<ServerKeys>>>);

impl Sealer {
    /// From the server's own key and the agent's public ones.
    pub fn new(signing: SigningKey, sealing: SealingKey, agent: VerifyingKey) -> Self {
        let agents = vec![AgentPin { sealing, verifying: agent }];
        Self::of(ServerKeys { signing, next: None, agents })
    }

    /// With these keys.
    pub fn of(keys: ServerKeys) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(keys))))
    }

    /// The keys that it uses now.
    pub fn keys(&self) -> Arc<ServerKeys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses other keys from the next message on.
    pub fn use_keys(&self, keys: ServerKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// What checks the reply to a message of ours: the pin whose key it was sealed to.
    pub(super) fn agent_of(&self, message: &[u8]) -> Option<VerifyingKey> {
        let recipient = peek_header(message)?.recipient;
        let keys = self.keys();
        let pin = keys.agents.iter().find(|pin| pin.sealing.id() == recipient)?;
        Some(pin.verifying)
    }

    /// The ids that a header carries: of the sender, and of the key that opens the seal.
    pub(super) fn key_ids(&self) -> Result<(KeyId, KeyId), MessageError> {
        let keys = self.keys();
        let agent = keys.agents.first().ok_or(MessageError::NoAgent)?;
        Ok((keys.signing.verifying_key().id(), agent.sealing.id()))
    }

    /// The sealed and signed message.
    pub(super) fn seal(&self, header: &Header, body: &Body) -> Result<Vec<u8>, MessageError> {
        let keys = self.keys();
        let to = keys.agents.iter().find(|pin| pin.sealing.id() == header.recipient);
        let to = to.ok_or(MessageError::NoAgent)?;
        seal(header, body, &to.sealing, to.verifying.id(), &keys.signing)
    }
}
