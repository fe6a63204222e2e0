//! The door: which budgets a try takes from before anything is done for it.
//!
//! A guesser has to be stopped; somebody else's guesses must not shut out the person whose name it is. So a try takes
//! from the network's budget, from the name's at that network, and from the name's everywhere; the last one is not asked
//! of a network from which somebody has proved who they are. What is known and what is unknown is counted alike.

use keyback_core::ObjectGuid;
use keyback_store::{BudgetKey, Counted, Door, Flow, Rate, Spend};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::Duration;

/// Tries within one window that cost no wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// For one name, from one network (an IPv4 address, an IPv6 /64).
    pub name_from_source: u32,
    /// For one name, from everywhere.
    pub name: u32,
    /// From one network, for whatever names.
    pub source: u32,
}

/// What the door lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorLimits {
    /// Codes asked for.
    pub asks: Tries,
    /// Codes typed.
    pub codes: Tries,
    /// Tries are forgotten after this.
    pub window: Duration,
    /// After the last free try; doubles with each further one.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
    /// Jobs that may be open at once; for people who have a code or have used it, a quarter more.
    pub open_jobs: u32,
    /// A code that was not right is answered this long after it came, whatever was done with it: an agent is quicker
    /// with one for a user who is not there.
    pub wrong_code: Duration,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            asks: Tries { name_from_source: 5, name: 20, source: 300 },
            codes: Tries { name_from_source: 10, name: 30, source: 600 },
            window: Duration::from_hours(1),
            first_wait: Duration::from_mins(1),
            longest_wait: Duration::from_mins(15),
            open_jobs: 500,
            wrong_code: Duration::from_millis(750),
        }
    }
}

fn key(what: &str, of: &[&str]) -> BudgetKey {
    let mut digest = Sha256::new().chain_update(b"keyback/budget/1/").chain_update(what.as_bytes());
    for part in of {
        digest = digest.chain_update([0]).chain_update(part.as_bytes());
    }
    BudgetKey(digest.finalize().into())
}

/// What one subscriber has at the least: an IPv4 address, an IPv6 /64.
fn network(source: Option<&str>) -> String {
    match source.and_then(|source| source.parse().ok()) {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        None => "-".to_owned(),
    }
}

/// The mark of a network from which somebody proved who they are.
pub(super) fn home(source: Option<&str>) -> BudgetKey {
    key("home", &[&network(source)])
}

impl DoorLimits {
    const fn rate(&self, tries: u32) -> Rate {
        Rate { tries, window: self.window, first_wait: self.first_wait, longest_wait: self.longest_wait }
    }

    fn door(&self, kind: &str, tries: Tries, name: &str, source: Option<&str>) -> Door {
        let network = network(source);
        // The directory does not tell capitals apart.
        let name = name.to_lowercase();
        let spend = |what: &str, of: &[&str], counted, tries, spares_home| Spend {
            key: key(&format!("{kind} {what}"), of),
            counted,
            rate: self.rate(tries),
            spares_home,
        };
        let spends = vec![
            spend("source", &[&network], Counted::Source, tries.source, false),
            spend(
                "name from source",
                &[&name, &network],
                Counted::NameFromSource,
                tries.name_from_source,
                false,
            ),
            spend("name", &[&name], Counted::Name, tries.name, true),
        ];
        Door { spends, home: home(source), open_jobs: self.open_jobs }
    }

    /// For somebody who asks for a code.
    pub(super) fn ask(&self, name: &str, source: Option<&str>) -> Door {
        self.door("ask", self.asks, name, source)
    }

    /// For somebody who types one. A user who is there has budgets under their objectGUID too, whatever names they are
    /// given.
    pub(super) fn code(&self, flow: &Flow, source: Option<&str>) -> Door {
        let mut door = self.door("code", self.codes, flow.user_name.as_str(), source);
        if let Some(guid) = flow.object_guid {
            door.spends.extend(self.person(guid, source));
        }
        door.open_jobs = self.reserved();
        door
    }

    fn person(&self, guid: ObjectGuid, source: Option<&str>) -> [Spend; 2] {
        let guid = guid.to_string();
        let spend = |what: &str, of: &[&str], tries, spares_home| Spend {
            key: key(what, of),
            counted: Counted::Person,
            rate: self.rate(tries),
            spares_home,
        };
        [
            spend("code guid from source", &[&guid, &network(source)], self.codes.name_from_source, false),
            spend("code guid", &[&guid], self.codes.name, true),
        ]
    }

    /// Jobs that may be open where somebody who has a code, or has used it, wants one.
    pub(super) const fn reserved(&self) -> u32 {
        self.open_jobs.saturating_add(self.open_jobs / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_64() {
        for (source, network_of) in [
            (Some("192.0.2.7"), "192.0.2.7"),
            (Some("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"),
            (Some("2001:db8:1:2::"), "2001:db8:1:2::/64"),
            (Some("garbage"), "-"),
            (None, "-"),
        ] {
            assert_eq!(network(source), network_of);
        }
    }

    #[test]
    fn capitals_share_a_budget_and_no_two_kinds_do() {
        let limits = DoorLimits::default();
        let keys = |door: &Door| door.spends.iter().map(|spend| spend.key).collect::<Vec<_>>();
        let one = keys(&limits.ask("Ada", Some("192.0.2.7")));
        assert_eq!(one, keys(&limits.ask("aDA", Some("192.0.2.7"))));
        let mut all = one;
        all.extend(keys(&limits.door("code", limits.codes, "ada", Some("192.0.2.7"))));
        all.extend(limits.person(ObjectGuid::from_wire([7; 16]), Some("192.0.2.7")).map(|spend| spend.key));
        all.push(home(Some("192.0.2.7")));
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), 9);
    }
}
