//! The seams of the simulation (`crates/keyback/tests/simulation`): an agent that is broken on purpose, and mails that go
//! nowhere. Behind a feature that no shipped binary has.

use crate::journal::JobRecord;
use crate::{Agent, AgentKeys, AgentParts, Inner};
use std::sync::Arc;

/// What this agent does not do. The simulation has to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Broken {
    /// It does not remember the jobs that it began or ended.
    pub journal: bool,
    /// It sends again without finding out first what became of what it sent.
    pub fence: bool,
    /// It does what it is asked as if there were no other agents.
    pub turns: bool,
}

impl Broken {
    /// What such an agent remembers of a job.
    pub(crate) fn remembers(self, record: &JobRecord) -> bool {
        match record {
            JobRecord::Begun { .. } => !self.journal && !self.fence,
            JobRecord::Ended { .. } => !self.journal,
        }
    }
}

impl Agent {
    /// As [`Agent::new`], with a fault.
    pub fn broken(parts: AgentParts, keys: AgentKeys, broken: Broken) -> Self {
        Self(Arc::new(Inner { broken, ..Inner::new(parts, keys) }))
    }
}

/// Takes a mail: to whom, and its subject.
pub type Postman = Arc<dyn Fn(&str, &str) + Send + Sync>;
