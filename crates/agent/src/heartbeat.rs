//! The agent says how it is, when its server asks.
//!
//! The question is also what lets it write: it carries the heads of journals that the server has seen. An agent that was
//! not asked lately cannot know whether its journal is the newest, and writes nothing; one that learns that it is not
//! goes into quarantine. A relay that withholds the questions only stops the agent.

use crate::{Agent, Ended, may_pass, no_journal};
use keyback_codes::Cause;
use keyback_core::heartbeat::{Ask, Heartbeat, Latency, STALE_AFTER};
use keyback_core::message::{MessageError, VERSION, digest};
use keyback_core::{Failure, KeyId, Timestamp, VerifyingKey};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// What was heard from the server, and of the domain controller.
#[derive(Default)]
pub(crate) struct Pulse {
    asked_at: Option<Timestamp>,
    latency: Option<Latency>,
    told: Told,
}

/// What the server's last question says of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// It seals to this key now.
    pub seals_to: Option<KeyId>,
    /// It signs with this key now.
    pub signs_with: Option<KeyId>,
    /// It will sign with this one.
    pub successor: Option<VerifyingKey>,
}

impl Agent {
    /// Answers a question after its state. `None` when it is not the server's.
    pub(crate) async fn beat(&self, message: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys();
        let now = self.now();
        let mut asked = Err(MessageError::Signature);
        for server in keys.servers() {
            asked = Ask::parse(message, server, now);
            if asked != Err(MessageError::Signature) {
                break;
            }
        }
        let ask = match asked {
            Ok(ask) => ask,
            Err(error) => {
                tracing::warn!(%error, "a question after the agent's state was refused");
                return None;
            }
        };
        let journal = self.journal();
        match journal.compare(&ask.seen, now).await {
            Ok(true) => tracing::error!(
                cause = Cause::AgentQuarantined.id(),
                "the server has seen a newer journal than this one; `keyback agent confirm` if that is right"
            ),
            Ok(false) => {}
            // Not asked, then: without its journal it must not write anyway.
            Err(error) => {
                let _ = no_journal(&error);
                return None;
            }
        }
        let latency = {
            let mut pulse = self.pulse();
            pulse.asked_at = Some(now);
            pulse.told = Told {
                seals_to: Some(ask.recipient),
                signs_with: Some(ask.sender),
                successor: ask.successor.map(|key| VerifyingKey::from_bytes(key.0)),
            };
            pulse.latency.clone()
        };
        let own = keys.generation(Some(ask.recipient))?;
        let newest = keys.own().first()?.public();
        let heartbeat = Heartbeat {
            version: VERSION,
            request: digest(message),
            agent: own.public().agent(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            at: now,
            head: journal.durable_head(),
            state: journal.state(),
            latency,
            server: keys.servers().first()?.id(),
            successor: (newest != own.public()).then_some(newest),
        };
        Some(heartbeat.sign(own.signing()))
    }

    /// What the server's last question said of keys.
    pub fn told(&self) -> Told {
        self.pulse().told
    }

    /// Whether the server has compared journals lately.
    pub(crate) fn check_pulse(&self) -> Ended<()> {
        let asked_at = self.pulse().asked_at;
        match asked_at {
            Some(at) if self.now().since(at) <= STALE_AFTER => Ok(()),
            Some(at) => {
                Err(may_pass(Failure::of(Cause::AgentUnasked).seen("asked last", at.to_string(), "agent")))
            }
            None => Err(may_pass(Failure::of(Cause::AgentUnasked).seen("asked last", "never", "agent"))),
        }
    }

    /// A domain controller answered after `took`.
    pub(crate) fn took(&self, dc: &str, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.pulse().latency = Some(Latency { dc: dc.to_owned(), micros });
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
