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

    /// Asks once. `None`: nobody answered.
    pub async fn beat(&self) -> Result<Option<Heartbeat>, AgentsError> {
        let keys = self.sealer.keys();
        let now = self.clock.now();
        let Some(pin) = keys.agents.first() else {
            self.enrol(&keys, now).await?;
            return Ok(None);
        };
        let ask = Ask {
            version: VERSION,
            nonce: Bytes32(ids::random()),
            not_before: now,
            not_after: now.plus(ASK_IS_GOOD),
            sender: keys.signing.verifying_key().id(),
            recipient: pin.sealing.id(),
            seen: self.store.seen_heads().await?,
            successor: keys.next.as_ref().map(|next| Bytes32(*next.verifying_key().as_bytes())),
        };
        let ask = ask.sign(&keys.signing);
        let Ok(answer) = self.relay.request(ask.clone(), LIMIT).await else { return Ok(None) };
        if answer == WANTED {
            self.enrol(&keys, now).await?;
            return Ok(None);
        }
        let heartbeat = Heartbeat::parse(&answer, &pin.verifying, &ask)?;
        self.store.heard(&heartbeat, self.clock.now()).await?;
        if let Some(cause) = heartbeat.state.cause() {
            tracing::error!(agent = %heartbeat.agent, cause = cause.id(), "the agent writes nothing");
        }
        self.rotate(&keys, pin, &heartbeat)?;
        Ok(Some(heartbeat))
    }

    /// Pins what the agent's pinned key vouches for, and begins to sign with a key that the agent has pinned.
    fn rotate(&self, keys: &ServerKeys, pin: &AgentPin, heartbeat: &Heartbeat) -> Result<(), AgentsError> {
        if let Some(next) = heartbeat.successor {
            AgentPin::of(&next).map_err(|_| MessageError::Malformed)?;
            let renewed = self.keyring.pin(&[next, pin.public()]).map_err(AgentsError::Keys)?;
            tracing::info!(old = %heartbeat.agent, new = %next.agent(), "the agent's keys have rotated");
            self.sealer.use_keys(renewed);
        }
        if keys.next.as_ref().is_some_and(|next| next.verifying_key().id() == heartbeat.server) {
            let renewed = self.keyring.promote().map_err(AgentsError::Keys)?;
            tracing::info!(new = %heartbeat.server, "signing with the new key");
            self.sealer.use_keys(renewed);
        }
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
        self.store.forget_agents().await?;
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
