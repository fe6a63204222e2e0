//! Names that only one person may have, and which of them were seen twice.
//!
//! A pass over everybody cannot keep every name: a Bloom filter of fixed size remembers that a name was seen, and only
//! what may have been seen before is kept. The directory is asked about these afterwards, so a false alarm costs a question
//! and accuses nobody.

use super::subject::Holder;
use crate::find::attr;
use crate::wire::Match;
use keyback_core::ObjectGuid;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Bits of the filter: 16 MiB. With a million users of six names each, one name in a thousand is a false alarm.
const BITS: u64 = 1 << 27;
const PROBES: u32 = 4;
/// At most so many names are asked about.
const MOST: usize = 20_000;

/// What must not lead to two people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Name {
    /// What a person types: userPrincipalName, mail, an address, `sAMAccountName@domain`. In lower case.
    Typed(String),
    /// A value of proxyAddresses, in lower case.
    Address(String),
    /// The source anchor.
    Anchor([u8; 16]),
}

impl Name {
    /// Everything by which `holder` can be reached in a domain with this DNS name.
    pub(super) fn all_of(holder: &Holder, domain: &str) -> HashSet<Self> {
        let account = holder.sam_account_name.as_ref().map(|account| format!("{account}@{domain}"));
        let typed = [&holder.user_principal_name, &holder.mail, &account].into_iter().flatten();
        let addresses = holder.proxy_addresses.iter().map(|address| address.to_lowercase());
        let mut names: HashSet<Self> = typed.map(|name| Self::Typed(name.to_lowercase())).collect();
        for address in addresses {
            if let Some(name) = address.strip_prefix("smtp:") {
                names.insert(Self::Typed(name.to_owned()));
            }
            names.insert(Self::Address(address));
        }
        names.extend(holder.consistency_guid.or(holder.guid.map(ObjectGuid::to_wire)).map(Self::Anchor));
        names
    }

    /// Who has it, as a search says it.
    pub(super) fn terms(&self, domain: &str) -> Vec<Match> {
        match self {
            Self::Anchor(anchor) => vec![
                Match::Equals(attr::CONSISTENCY_GUID, anchor.to_vec()),
                Match::Equals(attr::OBJECT_GUID, anchor.to_vec()),
            ],
            Self::Address(address) => vec![Match::text(attr::PROXY_ADDRESSES, address)],
            Self::Typed(name) => {
                let mut any = vec![
                    Match::text(attr::USER_PRINCIPAL_NAME, name),
                    Match::text(attr::MAIL, name),
                    Match::text(attr::PROXY_ADDRESSES, &format!("smtp:{name}")),
                ];
                // Every account also has its sAMAccountName at the domain's DNS name for a userPrincipalName.
                if let Some((account, suffix)) = name.rsplit_once('@')
                    && suffix.eq_ignore_ascii_case(domain)
                    && !account.is_empty()
                {
                    any.push(Match::text(attr::SAM_ACCOUNT_NAME, account));
                }
                any
            }
        }
    }
}

/// Names as they go by.
pub(super) struct Names {
    domain: String,
    bits: Vec<u64>,
    keys: [RandomState; 2],
    twice: HashSet<Name>,
    too_many: bool,
}

impl Names {
    pub(super) fn new(domain: String) -> Self {
        let bits = vec![0; usize::try_from(BITS / 64).unwrap_or(0)];
        let keys = [RandomState::new(), RandomState::new()];
        Self { domain, bits, keys, twice: HashSet::new(), too_many: false }
    }

    /// Somebody goes by; everybody only once.
    pub(super) fn pass(&mut self, holder: &Holder) {
        for name in Name::all_of(holder, &self.domain) {
            if !self.was_seen(&name) {
                continue;
            }
            if self.twice.len() < MOST {
                self.twice.insert(name);
            } else {
                self.too_many |= !self.twice.contains(&name);
            }
        }
    }

    /// Whether it may have been seen before; from now on it was.
    fn was_seen(&mut self, name: &Name) -> bool {
        let [start, step] = [0, 1].map(|key: usize| self.keys[key].hash_one(name));
        let mut seen = true;
        for probe in 0..PROBES {
            let bit = start.wrapping_add((step | 1).wrapping_mul(u64::from(probe))) % BITS;
            let mask = 1 << (bit % 64);
            if let Some(word) = self.bits.get_mut(usize::try_from(bit / 64).unwrap_or(0)) {
                seen &= *word & mask != 0;
                *word |= mask;
            }
        }
        seen
    }

    /// What may have been seen twice, and whether there was more than is kept.
    pub(super) fn seen_twice(self) -> (Vec<Name>, bool) {
        let mut twice: Vec<Name> = self.twice.into_iter().collect();
        twice.sort();
        (twice, self.too_many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(number: u32) -> Holder {
        Holder {
            guid: Some(ObjectGuid::from_wire([u8::try_from(number % 251).unwrap_or(0); 16])),
            dn: format!("CN=u{number},DC=ad"),
            sam_account_name: Some(format!("u{number}")),
            user_principal_name: Some(format!("U{number}@ad.example")),
            mail: Some(format!("u{number}@ad.example")),
            proxy_addresses: vec![format!("SMTP:u{number}@ad.example"), format!("x500:u{number}")],
            consistency_guid: Some(u128::from(number).to_be_bytes()),
        }
    }

    #[test]
    fn one_person_may_have_a_name_in_several_ways() {
        let mut names = Names::new("ad.example".to_owned());
        (0..1000).for_each(|number| names.pass(&holder(number)));
        assert_eq!(names.seen_twice(), (vec![], false));
    }

    #[test]
    fn what_two_people_have_is_kept_whichever_attribute_holds_it() {
        let mut names = Names::new("ad.example".to_owned());
        (0..1000).for_each(|number| names.pass(&holder(number)));
        let mut other = holder(2000);
        other.mail = Some("U7@AD.example".to_owned());
        other.proxy_addresses.push("X500:U8".to_owned());
        other.consistency_guid = Some(9_u128.to_be_bytes());
        names.pass(&other);
        let expected = vec![
            Name::Typed("u7@ad.example".to_owned()),
            Name::Address("x500:u8".to_owned()),
            Name::Anchor(9_u128.to_be_bytes()),
        ];
        assert_eq!(names.seen_twice(), (expected, false));
    }

    #[test]
    fn more_than_can_be_kept_is_said() {
        let mut names = Names::new("ad.example".to_owned());
        for number in 0..6_000 {
            names.pass(&holder(number));
            names.pass(&holder(number));
        }
        let (twice, too_many) = names.seen_twice();
        assert_eq!((twice.len(), too_many), (MOST, true));
    }
}
