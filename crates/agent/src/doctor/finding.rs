//! What probes hand over: observations, and the faults that they prove.

use super::remedy;
use keyback_codes::Cause;
use keyback_core::diagnosis::{Observation, Remedy, State, Verdict};

/// One fault, before the faults are put in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub cause: Cause,
    /// How sure.
    pub state: State,
    /// In plain words, with the names that matter here.
    pub summary: String,
    /// The observations that prove it.
    pub because: Vec<String>,
    /// Causes with the same symptom that they exclude.
    pub rules_out: Vec<Cause>,
    /// What to do.
    pub fix: Remedy,
}

impl Finding {
    pub(super) fn new(cause: Cause, state: State, summary: impl Into<String>, because: &[&str]) -> Self {
        Self {
            cause,
            state,
            summary: summary.into(),
            because: because.iter().map(|id| (*id).to_owned()).collect(),
            rules_out: Vec::new(),
            fix: remedy::general(cause),
        }
    }

    pub(super) fn confirmed(cause: Cause, summary: impl Into<String>, because: &[&str]) -> Self {
        Self::new(cause, State::Confirmed, summary, because)
    }

    pub(super) fn ruling_out(mut self, causes: &[Cause]) -> Self {
        self.rules_out = causes.to_vec();
        self
    }

    pub(super) fn mended_by(mut self, fix: Remedy) -> Self {
        self.fix = fix;
        self
    }
}

impl From<Finding> for Verdict {
    fn from(finding: Finding) -> Self {
        // What is not proven is not mended.
        let automatic = finding.fix.automatic && finding.state == State::Confirmed;
        Self {
            code: finding.cause.code(),
            cause: finding.cause,
            state: finding.state,
            summary: finding.summary,
            because: finding.because,
            rules_out: finding.rules_out,
            fix: Remedy { automatic, ..finding.fix },
        }
    }
}

/// What all probes together say.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) observations: Vec<Observation>,
    pub(super) findings: Vec<Finding>,
    /// What the observations exclude.
    pub(super) excluded: Vec<Cause>,
}

impl Report {
    pub(super) fn observe(&mut self, observation: Observation) {
        self.observations.push(observation);
    }

    pub(super) fn accuse(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn exclude(&mut self, causes: &[Cause]) {
        self.excluded.extend(causes);
    }
}
