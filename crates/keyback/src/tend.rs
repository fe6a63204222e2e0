//! What goes on beside an agent's work: it takes up its administrator's orders and lets its keys rotate.
//!
//! The agent listens on no socket, so an order is a file beside its journal: whoever may write there is its administrator.

use crate::config::Agent as Section;
use crate::keyfiles::{self, Stamp};
use crate::output::{self, FOUND, Trouble};
use keyback_agent::Agent;
use keyback_core::heartbeat::OLD_KEYS_ARE_KEPT;
use keyback_core::{Clock, SystemClock, Timestamp, VerifyingKey};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the agent looks.
const TICK: Duration = Duration::from_millis(500);
/// How long `keyback agent resume` waits for a running agent.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an administrator may say to an agent that writes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The burst was looked into.
    Resume,
    /// The journal is the right one.
    Confirm,
}

impl Order {
    const fn word(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Confirm => "confirm",
        }
    }

    fn file(self, section: &Section) -> PathBuf {
        section.journal.with_added_extension(self.word())
    }
}

/// `keyback agent resume` and `keyback agent confirm`.
pub async fn order(section: &Section, order: Order, as_document: bool) -> Result<ExitCode, Trouble> {
    let file = order.file(section);
    let failed = |error: io::Error| {
        Trouble::usage(
            format!("{}: {error}", file.display()),
            "Run this as the user that runs the agent, on its host.",
        )
    };
    keyfiles::write_new(&file, "").map_err(failed)?;
    let started = tokio::time::Instant::now();
    while file.exists() && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await; // another process's doing, seen only by looking again
    }
    let taken = !file.exists();
    if as_document {
        output::say_json(&serde_json::json!({ "order": order.word(), "taken": taken }))?;
    } else if taken {
        output::say(&format!("The agent has taken `{}`; `keyback check` shows how it is.", order.word()));
    } else {
        output::say("No agent runs here. It takes this up when it starts.");
    }
    Ok(if taken { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// Since when something has been so.
#[derive(Default)]
struct Since(Option<Timestamp>);

impl Since {
    /// Whether it has been so for as long as old keys are kept.
    fn long(&mut self, so: bool, now: Timestamp) -> bool {
        if !so {
            self.0 = None;
            return false;
        }
        now.since(*self.0.get_or_insert(now)) >= OLD_KEYS_ARE_KEPT
    }
}

struct Tended<'a> {
    section: &'a Section,
    agent: &'a Agent,
    newest_own: Since,
    newest_server: Since,
}

/// Looks after the agent until told to stop.
pub async fn tend(section: Section, agent: Agent, stop: CancellationToken) {
    let files = [&section.unsealing_key_file, &section.signing_key_file, &section.server_key_file];
    let stamp = Stamp::of(files.into_iter().chain(&section.peer_key_files).cloned().collect());
    let mut tended = Tended {
        section: &section,
        agent: &agent,
        newest_own: Since::default(),
        newest_server: Since::default(),
    };
    while !stop.is_cancelled() {
        if stamp.changed() {
            match keyfiles::agent_keys(&section) {
                Ok(keys) => {
                    tracing::info!("the key files have changed; using the new keys");
                    agent.use_keys(keys);
                }
                Err(trouble) => {
                    tracing::error!(
                        problem = trouble.text,
                        "the key files cannot be used; using the keys as they were"
                    );
                }
            }
        }
        let now = SystemClock.now();
        if let Err(error) = tended.rotate(now) {
            tracing::error!(%error, "the key files cannot be written");
        }
        for order in [Order::Resume, Order::Confirm] {
            tended.take(order, now).await;
        }
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(TICK) => {} }
    }
}

impl Tended<'_> {
    async fn take(&self, order: Order, now: Timestamp) {
        let file = order.file(self.section);
        if !file.exists() {
            return;
        }
        let journal = self.agent.journal();
        let taken = match order {
            Order::Resume => journal.resume(now).await,
            Order::Confirm => journal.confirm(now).await,
        };
        match taken {
            Ok(true) => tracing::warn!(order = order.word(), "an administrator lets the agent write again"),
            Ok(false) => tracing::info!(order = order.word(), "there was no need for this order"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an order could not be journalled");
                return;
            }
        }
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::error!(%error, file = %file.display(), "an order cannot be removed");
        }
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let (told, keys) = (self.agent.told(), self.agent.keys());
        let servers = keys.servers();
        if let Some(next) = told.successor
            && !servers.contains(&next)
            && let Some(current) = servers.iter().find(|key| Some(key.id()) == told.signs_with)
        {
            tracing::info!(old = %current.id(), new = %next.id(), "the server's key rotates");
            return keyfiles::pin_servers(self.section, &[next, *current]);
        }
        let newest = servers.first().map(VerifyingKey::id);
        if self.newest_server.long(servers.len() > 1 && told.signs_with == newest, now) {
            return keyfiles::pin_servers(self.section, &servers[..1]);
        }
        let own = keys.own();
        let newest = own.first().map(|own| own.public().recipient());
        if self.newest_own.long(own.len() > 1 && told.seals_to == newest, now) {
            let seeds =
                keyfiles::own_seeds(self.section).map_err(|trouble| io::Error::other(trouble.text))?;
            tracing::info!("every job that was sealed to the old keys has ended: destroying them");
            return keyfiles::write_own(self.section, &seeds[seeds.len() - 1..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_is_kept_until_the_new_one_was_used_for_long_enough_without_a_break() {
        let at = |minutes: u64| Timestamp::from_micros(0).plus(Duration::from_mins(minutes));
        let mut since = Since::default();
        assert!(!since.long(true, at(0)) && !since.long(true, at(9)));
        assert!(!since.long(false, at(10)) && !since.long(true, at(11)) && !since.long(true, at(20)));
        assert!(since.long(true, at(21)));
    }
}
