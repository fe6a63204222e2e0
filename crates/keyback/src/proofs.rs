//! `[agent.proof]`: how people prove who they are.

use crate::config::ConfigError;
use keyback_agent::{GroupRule, ProofPolicy, ProofRule};
use keyback_core::Way;
use serde::Deserialize;
use std::num::NonZeroU8;
use std::time::Duration;

/// Which ways to prove oneself the agent accepts, and how many it needs; what is left out keeps its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// `mail`, `totp`, `recovery`; all of them when absent.
    methods: Option<Vec<Way>>,
    /// How many of them.
    needed: Option<NonZeroU8>,
    /// What is added beside what somebody has counts after this.
    freeze_hours: Option<u32>,
    /// The same for members of groups.
    #[serde(default)]
    group: Vec<ProofGroup>,
}

/// What is asked of the members of a group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofGroup {
    /// Its SID.
    sid: String,
    methods: Option<Vec<Way>>,
    needed: Option<NonZeroU8>,
}

impl Proof {
    /// As the agent takes it.
    pub fn policy(&self) -> Result<ProofPolicy, ConfigError> {
        let wrong = |problem: String, remedy: &str| ConfigError::Value {
            path: "keyback.toml".into(),
            key: "agent.proof",
            problem,
            remedy: remedy.to_owned(),
        };
        let count = |needed: Option<NonZeroU8>| needed.map(|needed| usize::from(needed.get()));
        let default = ProofPolicy::default();
        let everybody = ProofRule {
            ways: self.methods.clone().unwrap_or(default.everybody.ways),
            needed: count(self.needed).unwrap_or(default.everybody.needed),
        };
        let mut groups = Vec::new();
        for group in &self.group {
            let sid = group.sid.parse().map_err(|error| {
                wrong(format!("{:?}: {error}", group.sid), "Write the group's SID: S-1-5-21-…-1105.")
            })?;
            groups.push(GroupRule { group: sid, ways: group.methods.clone(), needed: count(group.needed) });
        }
        for (ways, needed) in std::iter::once((Some(&everybody.ways), everybody.needed))
            .chain(groups.iter().map(|group| (group.ways.as_ref(), group.needed.unwrap_or(everybody.needed))))
        {
            let ways = ways.unwrap_or(&everybody.ways);
            if !(1..=2).contains(&needed) || ways.len() < needed {
                let problem = format!("{needed} of {} methods are needed", ways.len());
                return Err(wrong(problem, "Need one or two, and name as many methods at least."));
            }
        }
        let freeze = self.freeze_hours.map_or(default.freeze, |hours| Duration::from_hours(u64::from(hours)));
        Ok(ProofPolicy { everybody, groups, freeze })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<ProofPolicy, String> {
        let section: Proof = toml::from_str(text).map_err(|error| error.to_string())?;
        section.policy().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_keeps_its_default_and_what_nobody_could_satisfy_is_refused() {
        let read = policy("").unwrap();
        assert_eq!((read.everybody, read.freeze), (ProofRule::default(), Duration::from_hours(24)));
        let text = "needed = 2\nfreeze_hours = 0\n[[group]]\nsid = \"S-1-5-21-1-2-3-1110\"\nmethods = [\"totp\", \"pass\"]";
        let read = policy(text).unwrap();
        assert_eq!((read.everybody.needed, read.freeze, read.groups.len()), (2, Duration::ZERO, 1));
        for bad in [
            "needed = 3",
            "needed = 0",
            "methods = []",
            "methods = [\"fax\"]",
            "needed = 2\nmethods = [\"mail\"]",
            "needed = 2\n[[group]]\nsid = \"S-1-5-21-1\"\nmethods = [\"totp\"]",
            "[[group]]\nsid = \"CN=Staff\"",
        ] {
            assert!(policy(bad).is_err(), "{bad}");
        }
    }
}
