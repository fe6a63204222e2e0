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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Case, Setting};
    use keyback_ad::Examination;
    use keyback_core::{Timestamp, UserName};

    fn accused(silent_for: Option<Duration>, writeback: bool) -> Vec<Cause> {
        let name = UserName::parse("ada").expect("a name");
        let keyback = Some(KeybackState { silent_for, writeback });
        let examination = Examination {
            dcs: Vec::new(),
            connector: "svc@ad.example".to_owned(),
            ground: None,
            found: None,
            questions: 0,
            took: Duration::ZERO,
        };
        let view = View {
            examination: &examination,
            setting: &Setting { keyback, ..Setting::default() },
            case: &Case { name: &name, candidate: None, observed: None },
            now: Timestamp::from_micros(0),
        };
        let mut report = Report::default();
        probe(&view, &mut report);
        report.findings.iter().map(|finding| finding.cause).collect()
    }

    #[test]
    fn a_silent_agent_is_named_before_a_switch_that_nobody_can_have_heard_of() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(accused(None, true), [Cause::AgentOffline]);
        assert_eq!(accused(seconds(301), false), [Cause::AgentHeartbeatStale]);
        assert_eq!(accused(seconds(300), false), [Cause::WritebackDisabled]);
        assert_eq!(accused(seconds(300), true), []);
    }
}
