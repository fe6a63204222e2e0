//! The server's side of the seal: it can close one, and check who answers.

use keyback_core::KeyId;
use keyback_core::keys::{SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, Header, MessageError, seal};

/// The server's signing key, and what it has pinned of its agent.
pub struct Sealer {
    signing: SigningKey,
    sealing: SealingKey,
    agent: VerifyingKey,
}

impl Sealer {
    /// From the server's own key and the agent's public ones.
    pub const fn new(signing: SigningKey, sealing: SealingKey, agent: VerifyingKey) -> Self {
        Self { signing, sealing, agent }
    }

    /// What checks the agent's replies.
    pub const fn agent(&self) -> &VerifyingKey {
        &self.agent
    }

    /// The ids that a header carries: of the sender, and of the key that opens the seal.
    pub(super) fn key_ids(&self) -> (KeyId, KeyId) {
        (self.signing.verifying_key().id(), self.sealing.id())
    }

    /// The sealed and signed message.
    pub(super) fn seal(&self, header: &Header, body: &Body) -> Result<Vec<u8>, MessageError> {
        seal(header, body, &self.sealing, self.agent.id(), &self.signing)
    }
}
