//! keyback itself: the agent's heartbeat and the writeback switch, as far as whoever asks knows them.

use super::finding::{Finding, Report};
use super::view::{Seen, View};
use keyback_codes::Cause;
use std::time::Duration;

/// Silence longer than this is no mere delay.
const STALE: Duration = Duration::from_mins(5);

/// How keyback itself fares, as the server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeybackState {
    /// Since when no agent has been heard. `None`: never heard.
    pub silent_for: Option<Duration>,
    /// Whether writeback is on.
    pub writeback: bool,
}

pub(super) fn probe(view: &View<'_>, report: &mut Report) {
    let Some(state) = view.setting.keyback else {
        let text = "Agent, relay and writeback were not looked at: doctor ran on its own.";
        report.observe(
            Seen::not_applicable("keyback.service", text).shown_by("keyback check".to_owned()).into(),
        );
        return;
    };
    let id = "keyback.service";
    let fault = match (state.silent_for, state.writeback) {
        (None, _) => Some((Cause::AgentOffline, "No agent has been heard.".to_owned())),
        (Some(silent), _) if silent > STALE => {
            let text = format!("The agent has not been heard for {} s.", silent.as_secs());
            Some((Cause::AgentHeartbeatStale, text))
        }
        (Some(_), false) => Some((Cause::WritebackDisabled, "Writeback is switched off.".to_owned())),
        (Some(_), true) => None,
    };
    let seen = match &fault {
        None => {
            report.exclude(&[Cause::AgentOffline, Cause::AgentHeartbeatStale, Cause::WritebackDisabled]);
            Seen::ok(id, "An agent is heard and writeback is on.")
        }
        Some((_, text)) => Seen::found(id, text),
    };
    report.observe(seen.shown_by("keyback check".to_owned()).into());
    if let Some((cause, text)) = fault {
        report.accuse(Finding::confirmed(cause, text, &[id]));
    }
}
