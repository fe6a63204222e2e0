//! How the agent is: asks it every quarter of a minute, remembers the highest head of its journal, and does the server's
//! part when keys are enrolled and rotated.

use crate::jobs::{AgentPin, Sealer, ServerKeys};
use keyback_codes::{Cause, Explain};
use keyback_core::enrolment::{Accept, Invite, Offer, PINNED, REFUSED, WANTED};
use keyback_core::heartbeat::{
    ASK_IS_GOOD, AgentPublic, Ask, Bytes32, EVERY, Heartbeat, OLD_KEYS_ARE_KEPT, STALE_AFTER,
};
use keyback_core::message::{MessageError, VERSION};
use keyback_core::relay::Relay;
use keyback_core::{Clock, Timestamp, ids};
use keyback_store::{HeardAgent, Store, StoreError};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// An agent answers from memory and its journal; longer means that it hangs.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the server looks whether something is to be done.
const TICK: Duration = Duration::from_secs(1);

/// Where the server's keys lie.
pub trait Keyring: Send + Sync {
    /// The keys, if the files were changed by somebody else since they were read.
    fn changed(&self) -> io::Result<Option<ServerKeys>>;
    /// Pins these of the agent, the newest first, and gives the keys as they are then.
    fn pin(&self, agents: &[AgentPublic]) -> io::Result<ServerKeys>;
    /// The next signing key takes the place of the one in use.
    fn promote(&self) -> io::Result<ServerKeys>;
}

/// Why an agent could not be asked or enrolled.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// What was heard could not be kept.
    #[error("the agent's state could not be kept")]
    Store(#[from] StoreError),
    /// The answer is not the agent's.
    #[error("the answer is not the pinned agent's")]
    Message(#[from] MessageError),
    /// The key files cannot be written.
    #[error("the key files cannot be written")]
    Keys(#[source] io::Error),
    /// The agent that dialled in does not know an open code for these keys.
    #[error("an agent that wanted to enrol was refused: no open code fits")]
    Enrolment,
}

impl Explain for AgentsError {
    fn cause(&self) -> Cause {
        match self {
            Self::Store(error) => error.cause(),
            Self::Message(error) => error.cause(),
            Self::Keys(_) => Cause::ConfigInvalid,
            Self::Enrolment => Cause::KeyEnrolment,
        }
    }
}

/// Whether what was heard last is good enough at `now`; what is wrong with it else.
pub fn judge(heard: &HeardAgent, now: Timestamp) -> Option<Cause> {
    if now.since(heard.heard_at) > STALE_AFTER {
        return Some(Cause::AgentHeartbeatStale);
    }
    heard.heartbeat.state.cause()
}

/// Who answered a question.
enum Heard {
    Nobody,
    /// Somebody who wants to enrol.
    Stranger,
    Agent(Box<Heartbeat>),
}

/// The one that asks.
pub struct Agents {
    store: Store,
    relay: Arc<dyn Relay>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    keyring: Box<dyn Keyring>,
}

impl Agents {
    /// Asks nobody until [`Agents::run`].
    pub fn new(
        store: Store,
        relay: Arc<dyn Relay>,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        keyring: Box<dyn Keyring>,
    ) -> Self {
        Self { store, relay, sealer, clock, keyring }
    }

    /// Asks until told to stop: every [`EVERY`] while the agent answers, every second while it does not.
    pub async fn run(&self, stop: CancellationToken) {
        let mut last: Option<Timestamp> = None;
        let mut told: Option<String> = None;
        let mut newest_answers_since: Option<Timestamp> = None;
        while !stop.is_cancelled() {
            let now = self.clock.now();
            match self.keyring.changed() {
                Ok(Some(keys)) => {
                    tracing::info!("the key files have changed; using the new keys");
                    self.sealer.use_keys(keys);
                    last = None;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the key files cannot be read; using the keys as they were");
                }
            }
            if last.is_none_or(|last| now < last || now.since(last) >= EVERY) {
                let beat = self.beat().await;
                last = beat.as_ref().is_ok_and(Option::is_some).then_some(now);
                let problem = match beat {
                    Ok(_) => None,
                    Err(error) => {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        Some(format!("{error}: {}", source.unwrap_or_default()))
                    }
                };
                if problem != told {
                    if let Some(problem) = &problem {
                        tracing::warn!(problem, "the agent was not heard");
                    }
                    told = problem;
                }
                if last.is_some() {
                    let since = *newest_answers_since.get_or_insert(now);
                    if let Err(error) = self.forget_old_pins(since, now) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "old keys could not be unpinned"
                        );
                    }
                }
                if self.sealer.keys().agents.len() < 2 {
                    newest_answers_since = None;
                }
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(TICK) => {} }
        }
    }

    /// Asks every agent once. What the first one said; `None`: it did not answer.
    pub async fn beat(&self) -> Result<Option<Heartbeat>, AgentsError> {
        let keys = self.sealer.keys();
        let now = self.clock.now();
        // At once: one that hangs must not keep the others from being asked.
        let (first, others) = tokio::join!(self.beat_first(&keys, now), self.beat_others(&keys, now));
        if let Some(heartbeat) = first.as_ref().ok().and_then(Option::as_ref) {
            self.promote(&keys, others.iter().chain([heartbeat]))?;
        }
        first
    }

    async fn beat_first(&self, keys: &ServerKeys, now: Timestamp) -> Result<Option<Heartbeat>, AgentsError> {
        let Some(pin) = keys.agents.first() else {
            self.enrol(keys, now).await?;
            return Ok(None);
        };
        match self.hear(keys, pin, now).await? {
            Heard::Nobody => Ok(None),
            Heard::Stranger => {
                self.enrol(keys, now).await?;
                Ok(None)
            }
            Heard::Agent(heartbeat) => {
                self.rotate(pin, &heartbeat)?;
                Ok(Some(*heartbeat))
            }
        }
    }

    async fn beat_others(&self, keys: &ServerKeys, now: Timestamp) -> Vec<Heartbeat> {
        let mut heard = Vec::new();
        for pin in &keys.stand_ins {
            match self.hear(keys, pin, now).await {
                Ok(Heard::Agent(heartbeat)) => heard.push(*heartbeat),
                Ok(Heard::Nobody | Heard::Stranger) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, agent = %pin.verifying.id(), "an agent that stands in was not heard");
                }
            }
        }
        heard
    }

    /// Asks one agent, and keeps what it said.
    async fn hear(&self, keys: &ServerKeys, pin: &AgentPin, now: Timestamp) -> Result<Heard, AgentsError> {
        let ask = Ask {
            version: VERSION,
            nonce: Bytes32(ids::random()),
            not_before: now,
            not_after: now.plus(ASK_IS_GOOD),
            sender: keys.signing.verifying_key().id(),
            recipient: pin.sealing.id(),
            seen: self.store.seen_heads(&keys.beside(pin)).await?,
            successor: keys.next.as_ref().map(|next| Bytes32(*next.verifying_key().as_bytes())),
        };
        let ask = ask.sign(&keys.signing);
        let Ok(answer) = self.relay.request(ask.clone(), LIMIT).await else { return Ok(Heard::Nobody) };
        if answer == WANTED {
            return Ok(Heard::Stranger);
        }
        let heartbeat = Heartbeat::parse(&answer, &pin.verifying, &ask)?;
        self.store.heard(&heartbeat, self.clock.now()).await?;
        if let Some(cause) = heartbeat.state.cause() {
            tracing::error!(agent = %heartbeat.agent, cause = cause.id(), "the agent writes nothing");
        }
        Ok(Heard::Agent(Box::new(heartbeat)))
    }

    /// Pins what the agent's pinned key vouches for.
    fn rotate(&self, pin: &AgentPin, heartbeat: &Heartbeat) -> Result<(), AgentsError> {
        if let Some(next) = heartbeat.successor {
            AgentPin::of(&next).map_err(|_| MessageError::Malformed)?;
            let renewed = self.keyring.pin(&[next, pin.public()]).map_err(AgentsError::Keys)?;
            tracing::info!(old = %heartbeat.agent, new = %next.agent(), "the agent's keys have rotated");
            self.sealer.use_keys(renewed);
        }
        Ok(())
    }

    /// Begins to sign with the next key once every agent has pinned it.
    fn promote<'a>(
        &self,
        keys: &ServerKeys,
        heard: impl Iterator<Item = &'a Heartbeat>,
    ) -> Result<(), AgentsError> {
        let Some(next) = keys.next.as_ref().map(|next| next.verifying_key().id()) else { return Ok(()) };
        if heard.filter(|heartbeat| heartbeat.server == next).count() <= keys.stand_ins.len() {
            return Ok(());
        }
        let renewed = self.keyring.promote().map_err(AgentsError::Keys)?;
        tracing::info!(new = %next, "signing with the new key");
        self.sealer.use_keys(renewed);
        Ok(())
    }

    /// Once every job that was sealed to the agent's old keys has ended.
    fn forget_old_pins(&self, newest_answers_since: Timestamp, now: Timestamp) -> Result<(), AgentsError> {
        let keys = self.sealer.keys();
        let [newest, _, ..] = keys.agents.as_slice() else { return Ok(()) };
        if now.since(newest_answers_since) < OLD_KEYS_ARE_KEPT {
            return Ok(());
        }
        self.sealer.use_keys(self.keyring.pin(&[newest.public()]).map_err(AgentsError::Keys)?);
        Ok(())
    }

    /// Somebody wants to enrol: pins their keys if they know an open code, and gives up all that was pinned before.
    async fn enrol(&self, keys: &ServerKeys, now: Timestamp) -> Result<(), AgentsError> {
        let open = self.store.open_enrolments(now).await?;
        let Some(until) = open.iter().map(|(_, until)| *until).max() else { return Ok(()) };
        let server = Bytes32(*keys.signing.verifying_key().as_bytes());
        let invite = Invite { server, until };
        let Ok(answer) = self.relay.request(invite.to_bytes(), LIMIT).await else { return Ok(()) };
        let offer = match Offer::parse(&answer) {
            Ok(offer) => offer,
            Err(_) if answer == WANTED => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let known = AgentPin::of(&offer.agent).is_ok();
        let fitting = open.iter().find(|(code, _)| known && offer.fits(&server, code)).map(|(code, _)| code);
        let Some(code) = fitting else {
            let _ = self.relay.request(REFUSED.to_vec(), LIMIT).await;
            return Err(AgentsError::Enrolment);
        };
        if !self.store.use_enrolment(code, offer.agent.agent(), now).await? {
            let _ = self.relay.request(REFUSED.to_vec(), LIMIT).await;
            return Err(AgentsError::Enrolment);
        }
        let renewed = self.keyring.pin(&[offer.agent]).map_err(AgentsError::Keys)?;
        let others: Vec<_> = keys.stand_ins.iter().map(|pin| pin.verifying.id()).collect();
        self.store.forget_agents(&others).await?;
        self.sealer.use_keys(renewed);
        tracing::info!(agent = %offer.agent.agent(), "an agent was enrolled");
        let accept = Accept::new(&server, &offer.agent, code);
        match self.relay.request(accept.to_bytes(), LIMIT).await {
            Ok(answer) if answer == PINNED => Ok(()),
            // It will offer again, with the same keys and the same code.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
