//! Where a pruned chain begins.

use super::Head;
use crate::clock::Timestamp;
use crate::keys::{SigningKey, VerifyingKey};

const MAGIC: &[u8] = b"keyback-checkpoint-1\0";

/// Stands for every row up to `head`, which were pruned. The server signs it, and it keeps the agent's signature over the
/// very head: only what the agent has countersigned is pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest row that was pruned.
    pub head: Head,
    /// When.
    pub at: Timestamp,
    /// The statement that names the head.
    pub said: String,
    /// The agent's signature over it.
    pub signature: Vec<u8>,
    /// The server's signature over all of that.
    pub server_signature: Vec<u8>,
}

impl Checkpoint {
    /// Signed by the server.
    pub fn sign(head: Head, at: Timestamp, said: String, signature: Vec<u8>, by: &SigningKey) -> Self {
        let mut checkpoint = Self { head, at, said, signature, server_signature: Vec::new() };
        checkpoint.server_signature = by.sign(&checkpoint.signed_bytes());
        checkpoint
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.head.number.to_be_bytes());
        bytes.extend_from_slice(self.head.hash.as_bytes());
        bytes.extend_from_slice(&self.at.as_micros().to_be_bytes());
        bytes.extend_from_slice(&(self.said.len() as u64).to_be_bytes());
        bytes.extend_from_slice(self.said.as_bytes());
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Whether both have signed it, and the agent this head.
    pub fn holds(&self, server: &VerifyingKey, agents: &[VerifyingKey]) -> bool {
        server.verifies(&self.signed_bytes(), &self.server_signature)
            && crate::statement::check(&self.said, &self.signature, agents)
                .is_some_and(|said| said.head == Some(self.head))
    }
}
