//! The server's side of the seal: it can close one, and check who answers.

use keyback_core::KeyId;
use keyback_core::heartbeat::AgentPublic;
use keyback_core::keys::{KeyError, SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, Header, MessageError, seal};
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
    /// Other agents on the same domain: in this order they do what the one before them does not. Their keys do not rotate
    /// by themselves.
    pub stand_ins: Vec<AgentPin>,
}

impl ServerKeys {
    /// Everything that is pinned.
    fn pins(&self) -> impl Iterator<Item = &AgentPin> {
        self.agents.iter().chain(&self.stand_ins)
    }

    /// The ids of every pinned agent that is not the one of `pin`, of each generation.
    pub(crate) fn beside(&self, pin: &AgentPin) -> Vec<KeyId> {
        let id = |pin: &AgentPin| pin.verifying.id();
        let own = self.agents.iter().any(|agent| id(agent) == id(pin));
        let others = self.stand_ins.iter().filter(|other| id(other) != id(pin));
        others.chain(self.agents.iter().filter(|_| !own)).map(id).collect()
    }
}

/// Seals, and checks replies. Cheap to clone; the clones share their keys.
#[derive(Clone)]
pub struct Sealer(Arc<RwLock<Arc<ServerKeys>>>);

impl Sealer {
    /// From the server's own key and the agent's public ones.
    pub fn new(signing: SigningKey, sealing: SealingKey, agent: VerifyingKey) -> Self {
        let agents = vec![AgentPin { sealing, verifying: agent }];
        Self::of(ServerKeys { signing, next: None, agents, stand_ins: Vec::new() })
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

    /// What checks the reply to a message that was sealed to this key.
    pub(super) fn agent_of(&self, recipient: KeyId) -> Option<VerifyingKey> {
        let keys = self.keys();
        let pin = keys.pins().find(|pin| pin.sealing.id() == recipient)?;
        Some(pin.verifying)
    }

    /// The server's key that signs now.
    pub(super) fn sender(&self) -> KeyId {
        self.keys().signing.verifying_key().id()
    }

    /// One key to seal to for each agent, in the order in which they are asked: `first` goes before the others.
    pub(super) fn recipients(&self, first: Option<KeyId>) -> Vec<AgentPin> {
        let keys = self.keys();
        let mut order: Vec<AgentPin> = keys.agents.iter().take(1).chain(&keys.stand_ins).cloned().collect();
        let known = keys.pins().position(|pin| Some(pin.sealing.id()) == first);
        // An older key of an agent whose keys rotate is that agent all the same.
        let first = known.map(|at| at.saturating_sub(keys.agents.len().saturating_sub(1)));
        if let Some(first) = first.filter(|first| *first < order.len()) {
            order[..=first].rotate_right(1);
        }
        order
    }

    /// The sealed and signed message.
    pub(super) fn seal(&self, header: &Header, body: &Body, to: &AgentPin) -> Result<Vec<u8>, MessageError> {
        seal(header, body, &to.sealing, to.verifying.id(), &self.keys().signing)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn pin(seed: u8) -> AgentPin {
        let verifying = SigningKey::from_seed(&[seed; 32]).unwrap().verifying_key();
        // Any bytes make a public key of X25519.
        AgentPin { sealing: SealingKey::from_bytes([seed; 32]).unwrap(), verifying }
    }

    #[test]
    fn the_agent_that_mailed_the_code_goes_first_by_whichever_of_its_keys() {
        let signing = SigningKey::from_seed(&[9; 32]).unwrap();
        let stand_ins = vec![pin(3), pin(4)];
        let sealer = Sealer::of(ServerKeys { signing, next: None, agents: vec![pin(1), pin(2)], stand_ins });
        let order = |first: Option<u8>| {
            let first = first.map(|seed| pin(seed).sealing.id());
            sealer.recipients(first).iter().map(AgentPin::public).collect::<Vec<_>>()
        };
        let of = |seeds: [u8; 3]| seeds.map(|seed| pin(seed).public());
        assert_eq!(order(None), of([1, 3, 4]));
        assert_eq!(order(Some(1)), of([1, 3, 4]));
        assert_eq!(order(Some(2)), of([1, 3, 4]), "an older key of the first agent");
        assert_eq!(order(Some(3)), of([3, 1, 4]));
        assert_eq!(order(Some(4)), of([4, 1, 3]));
        assert_eq!(order(Some(7)), of([1, 3, 4]), "a key that is not pinned any more");
        let ids = |seeds: &[u8]| seeds.iter().map(|seed| pin(*seed).verifying.id()).collect::<Vec<_>>();
        assert_eq!(sealer.keys().beside(&pin(2)), ids(&[3, 4]));
        assert_eq!(sealer.keys().beside(&pin(3)), ids(&[4, 1, 2]));
    }
}
