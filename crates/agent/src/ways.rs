//! Which ways to prove oneself are accepted of whom, and how many are needed: the agent's own file says so, and the server
//! cannot loosen it. Groups are found by the token, as protection is.

use keyback_ad::{Sid, User};
use keyback_core::Way;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Ways that exist.
const ALL: [Way; 4] = [Way::Mail, Way::Totp, Way::Recovery, Way::Pass];

/// What is asked of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofRule {
    /// These ways are accepted.
    pub ways: Vec<Way>,
    /// So many of them are needed.
    pub needed: usize,
}

impl Default for ProofRule {
    fn default() -> Self {
        Self { ways: ALL.to_vec(), needed: 1 }
    }
}

/// What is asked of the members of a group. What it leaves out is as for everybody.
#[derive(Debug, Clone)]
pub struct GroupRule {
    /// The group.
    pub group: Sid,
    /// These ways are accepted.
    pub ways: Option<Vec<Way>>,
    /// So many of them are needed.
    pub needed: Option<usize>,
}

/// What is asked of everybody.
#[derive(Debug, Clone)]
pub struct ProofPolicy {
    /// Of whoever is in no group.
    pub everybody: ProofRule,
    /// Of members of groups. Who is in several has to satisfy all of them.
    pub groups: Vec<GroupRule>,
    /// What is added beside what somebody has counts after this.
    pub freeze: Duration,
}

impl Default for ProofPolicy {
    fn default() -> Self {
        Self { everybody: ProofRule::default(), groups: Vec::new(), freeze: Duration::from_hours(24) }
    }
}

impl ProofPolicy {
    /// What is asked of this user. Who is, or was, an administrator (adminCount) needs two.
    pub(crate) fn rule(&self, user: &User) -> ProofRule {
        let mut rule = self.everybody.clone();
        let is_in = |group: &Sid| user.token_groups.as_ref().is_none_or(|groups| groups.contains(group));
        for group in self.groups.iter().filter(|group| is_in(&group.group)) {
            if let Some(ways) = &group.ways {
                rule.ways.retain(|way| ways.contains(way));
            }
            rule.needed = rule.needed.max(group.needed.unwrap_or(0));
        }
        if user.admin_count.is_some_and(|count| count != 0) {
            rule.needed = rule.needed.max(2);
        }
        rule
    }
}

impl ProofRule {
    /// As the journal keeps it: what is asked of everybody needs no record.
    pub(crate) fn special(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_ad::Dn;
    use keyback_core::{ObjectGuid, SourceAnchor};

    type Tested = Result<(), Box<dyn std::error::Error>>;

    fn user(groups: Option<&[&str]>, admin_count: Option<i64>) -> Result<User, Box<dyn std::error::Error>> {
        let groups = groups.map(|groups| groups.iter().map(|sid| sid.parse()).collect::<Result<_, _>>());
        Ok(User {
            guid: ObjectGuid::from_wire([1; 16]),
            dn: Dn::parse("CN=ada,OU=Staff,DC=ad,DC=example")?,
            sid: "S-1-5-21-1-2-3-1104".parse()?,
            sam_account_name: "ada".to_owned(),
            user_principal_name: None,
            display_name: None,
            mail: None,
            source_anchor: SourceAnchor::from_wire([1; 16]),
            user_account_control: Some(512),
            pwd_last_set: None,
            lockout_time: None,
            key_version: None,
            primary_group_id: Some(513),
            token_groups: groups.transpose()?,
            object_classes: vec!["user".to_owned()],
            admin_count,
            is_critical_system_object: false,
            dacl: None,
            dc: "dc1".to_owned(),
        })
    }

    #[test]
    fn members_of_several_groups_satisfy_all_of_them_and_administrators_need_two() -> Tested {
        let group =
            |sid: &str, ways: Option<&[Way]>, needed| -> Result<GroupRule, Box<dyn std::error::Error>> {
                Ok(GroupRule { group: sid.parse()?, ways: ways.map(<[Way]>::to_vec), needed })
            };
        let policy = ProofPolicy {
            groups: vec![
                group("S-1-5-21-1-2-3-1200", Some(&[Way::Totp, Way::Mail]), None)?,
                group("S-1-5-21-1-2-3-1201", Some(&[Way::Totp, Way::Recovery]), Some(2))?,
            ],
            ..ProofPolicy::default()
        };
        let asked = |groups: Option<&[&str]>, admin| user(groups, admin).map(|user| policy.rule(&user));
        assert_eq!(asked(Some(&[]), None)?.special(), None);
        let one = asked(Some(&["S-1-5-21-1-2-3-1200"]), Some(0))?;
        assert_eq!((one.ways, one.needed), (vec![Way::Mail, Way::Totp], 1));
        let both = asked(Some(&["S-1-5-21-1-2-3-1200", "S-1-5-21-1-2-3-1201"]), None)?;
        assert_eq!((both.ways, both.needed), (vec![Way::Totp], 2));
        assert_eq!(asked(None, None)?.needed, 2, "groups that cannot be read count as all of them");
        assert_eq!(asked(Some(&[]), Some(1))?.needed, 2, "a trace of an administrator");
        Ok(())
    }
}
