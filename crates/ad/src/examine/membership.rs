//! Who is in certain groups, however nested, read from the groups.
//!
//! tokenGroups says it of one user, and only when that one is read alone. For everybody the question is turned round: the
//! groups that matter are few, so their `member` is followed downwards, each group read once.

use super::ground::{DESCRIPTOR, DN, Ground, Root, descriptor};
use super::session::{Session, descriptors};
use crate::connection::{base_search, search};
use crate::descriptor::Question;
use crate::error::{DirectoryError, Step};
use crate::find::{attr, by_guid, wire_guid};
use crate::guid;
use crate::sid::Sid;
use crate::wire::{Entry, Match};
use keyback_core::ObjectGuid;
use ldap3_proto::proto::{LdapFilter, LdapSearchScope};
use std::collections::{HashMap, HashSet};

const MEMBER: &str = "member";
/// Objects that one question asks for.
const BATCH: usize = 100;
/// Of these every domain has both (Administrators, Domain Admins): who does not see them does not see members either.
const EVERYWHERE: [u32; 2] = [544, 512];

/// Which of the groups somebody is in.
#[derive(Debug, Default)]
pub(super) struct Membership {
    of_object: HashMap<ObjectGuid, Vec<Sid>>,
    of_group: HashMap<Sid, Vec<Sid>>,
    /// Whether every group that was met showed its members.
    pub(super) complete: bool,
}

impl Membership {
    /// The groups that this user is in: the primary one, and those that were asked for.
    pub(super) fn of(&self, user: ObjectGuid, primary: Option<&Sid>) -> Vec<Sid> {
        let through = primary.and_then(|primary| self.of_group.get(primary));
        let direct = self.of_object.get(&user);
        let mut groups: Vec<Sid> = primary.cloned().into_iter().collect();
        for group in direct.into_iter().chain(through).flatten() {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        groups
    }
}

/// A group as it was read.
struct Group {
    guid: ObjectGuid,
    sid: Option<Sid>,
    members: Vec<ObjectGuid>,
}

impl Session<'_> {
    /// Follows the groups that `wanted` names.
    pub(super) async fn read_membership(
        &self,
        root: &Root,
        ground: &Ground,
        wanted: &[Sid],
    ) -> Result<Membership, DirectoryError> {
        let mut complete = true;
        let mut groups: HashMap<ObjectGuid, Group> = HashMap::new();
        let by_sid: Vec<Match> =
            wanted.iter().map(|sid| Match::Equals(attr::OBJECT_SID, sid.encode())).collect();
        let mut wave = self.read_objects(root, &by_sid).await?;
        for rid in EVERYWHERE {
            let asked = wanted.iter().any(|sid| sid.rid() == Some(rid));
            complete &=
                !asked || wave.iter().any(|entry| sid_of(entry).and_then(|sid| sid.rid()) == Some(rid));
        }
        let roots: Vec<(ObjectGuid, Sid)> =
            wave.iter().filter_map(|entry| Some((guid_of(entry)?, sid_of(entry)?))).collect();
        // By DN in lower case.
        let mut of_dn: HashMap<String, Option<ObjectGuid>> = HashMap::new();
        while !wave.is_empty() {
            let mut named: Vec<(ObjectGuid, Vec<String>)> = Vec::new();
            for entry in &wave {
                let Some(guid) = guid_of(entry).filter(|guid| !groups.contains_key(guid)) else { continue };
                complete &= shows_members(entry, ground);
                groups.insert(guid, Group { guid, sid: sid_of(entry), members: Vec::new() });
                let members = self.read_members(entry).await?;
                named.push((guid, members.iter().map(|dn| dn.to_lowercase()).collect()));
            }
            let unknown: HashSet<&String> =
                named.iter().flat_map(|(_, dns)| dns).filter(|dn| !of_dn.contains_key(*dn)).collect();
            let terms: Vec<Match> = unknown.iter().map(|dn| Match::text(DN, dn)).collect();
            let found = self.read_objects(root, &terms).await?;
            let unknown: Vec<String> = unknown.into_iter().cloned().collect();
            // Whoever is not shown is nobody whom a pass meets.
            of_dn.extend(unknown.into_iter().map(|dn| (dn, None)));
            of_dn.extend(found.iter().map(|entry| (entry.dn.to_lowercase(), guid_of(entry))));
            for (guid, dns) in named {
                if let Some(group) = groups.get_mut(&guid) {
                    group.members = dns.iter().filter_map(|dn| of_dn.get(dn).copied().flatten()).collect();
                }
            }
            wave = found.into_iter().filter(is_group).collect();
        }
        Ok(spread(&groups, &roots, complete))
    }

    /// Objects with what a group shows, found by any of `terms`.
    async fn read_objects(&self, root: &Root, terms: &[Match]) -> Result<Vec<Entry>, DirectoryError> {
        let attributes = [attr::OBJECT_GUID, attr::OBJECT_SID, attr::OBJECT_CLASS, MEMBER, DESCRIPTOR];
        let mut entries = Vec::new();
        for batch in terms.chunks(BATCH) {
            let nothing = LdapFilter::Present(attr::OBJECT_CLASS.to_owned());
            let op = search(root.base.as_str(), LdapSearchScope::Subtree, nothing, 0, &attributes);
            let answer = self.ask_matching(op, Match::Any(batch.to_vec()), vec![descriptors()]).await?;
            match answer.reply.result {
                0 => entries.extend(answer.entries.into_iter().map(slim)),
                _ => return Err(self.refused(answer)),
            }
        }
        Ok(entries)
    }

    /// All members: a domain controller shows a long list in pieces ([MS-ADTS] 3.1.1.3.1.3.3, 1,500 values on Windows).
    async fn read_members(&self, entry: &Entry) -> Result<Vec<String>, DirectoryError> {
        let mut members = entry.texts(MEMBER);
        let Some(guid) = guid_of(entry) else { return Ok(members) };
        let mut next = piece(entry).map(|(values, end)| {
            members.extend(values);
            end
        });
        while let Some(Some(end)) = next {
            let rest = format!("{MEMBER};range={}-*", end + 1);
            let answer = self.ask(Step::Read, base_search(&by_guid(guid), &[&rest]), Vec::new()).await?;
            next = answer.entries.first().and_then(piece).map(|(values, end)| {
                members.extend(values);
                end
            });
        }
        Ok(members)
    }
}

/// The values of a piece, and where it ends; no end for the last one.
fn piece(entry: &Entry) -> Option<(Vec<String>, Option<u64>)> {
    let (name, _) =
        entry.attributes.iter().find(|(name, _)| name.to_ascii_lowercase().starts_with("member;"))?;
    let (_, end) = name.rsplit_once('-')?;
    Some((entry.texts(name), end.parse().ok()))
}

fn guid_of(entry: &Entry) -> Option<ObjectGuid> {
    wire_guid(entry.bytes(attr::OBJECT_GUID)).map(ObjectGuid::from_wire)
}

fn sid_of(entry: &Entry) -> Option<Sid> {
    entry.bytes(attr::OBJECT_SID).and_then(|sid| Sid::decode(sid).ok())
}

/// Of a member that is no group only its objectGUID is kept: there may be many.
fn slim(mut entry: Entry) -> Entry {
    if !is_group(&entry) {
        entry.attributes.retain(|(name, _)| name.eq_ignore_ascii_case(attr::OBJECT_GUID));
    }
    entry
}

fn is_group(entry: &Entry) -> bool {
    entry.texts(attr::OBJECT_CLASS).iter().any(|class| class.eq_ignore_ascii_case("group"))
}

/// An empty group and one whose members are not shown look the same; the descriptor tells them apart.
fn shows_members(entry: &Entry, ground: &Ground) -> bool {
    if !is_group(entry) || !entry.values(MEMBER).is_empty() {
        return true;
    }
    let question = Question::read_property(guid::GROUP, Some(guid::GROUP_MEMBERSHIP), guid::MEMBER);
    let (Some(token), Some(descriptor)) = (&ground.token, descriptor(entry)) else { return false };
    let decision = descriptor.check(token, sid_of(entry).as_ref(), &question, ground.server);
    decision.granted && decision.is_certain()
}

/// Hands each of the roots down to everything below it.
fn spread(groups: &HashMap<ObjectGuid, Group>, roots: &[(ObjectGuid, Sid)], complete: bool) -> Membership {
    let mut membership = Membership { complete, ..Membership::default() };
    for (root, sid) in roots {
        let mut met: HashSet<ObjectGuid> = HashSet::new();
        let mut open = vec![*root];
        while let Some(group) = open.pop().and_then(|guid| groups.get(&guid)) {
            if !met.insert(group.guid) {
                continue;
            }
            if let Some(own) = &group.sid {
                membership.of_group.entry(own.clone()).or_default().push(sid.clone());
            }
            for member in &group.members {
                if groups.contains_key(member) {
                    open.push(*member);
                } else {
                    let known = membership.of_object.entry(*member).or_default();
                    if !known.contains(sid) {
                        known.push(sid.clone());
                    }
                }
            }
        }
    }
    membership
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(number: u8) -> ObjectGuid {
        ObjectGuid::from_wire([number; 16])
    }

    fn sid(rid: u32) -> Sid {
        format!("S-1-5-21-1-2-3-{rid}").parse().expect("a SID")
    }

    #[test]
    fn a_member_of_a_member_is_a_member_and_a_ring_ends() {
        let group = |number: u8, members: &[u8]| {
            let members = members.iter().copied().map(guid).collect();
            (guid(number), Group { guid: guid(number), sid: Some(sid(u32::from(number))), members })
        };
        let groups =
            HashMap::from([group(1, &[2, 50]), group(2, &[3, 51]), group(3, &[1, 52]), group(9, &[3])]);
        let membership = spread(&groups, &[(guid(1), sid(1)), (guid(9), sid(9))], true);
        for user in [50, 51, 52] {
            assert_eq!(membership.of(guid(user), None), [sid(1), sid(9)], "{user}");
        }
        assert_eq!(membership.of(guid(60), Some(&sid(513))), [sid(513)]);
        assert_eq!(membership.of(guid(60), Some(&sid(3))), [sid(3), sid(1), sid(9)], "by its primary group");
        assert_eq!(membership.of(guid(60), Some(&sid(1))), [sid(1), sid(9)]);
    }

    #[test]
    fn a_long_list_of_members_comes_in_pieces() {
        let entry = |name: &str| Entry {
            dn: "CN=g".to_owned(),
            attributes: vec![(name.to_owned(), vec![b"CN=a".to_vec()])],
        };
        assert_eq!(piece(&entry("member;range=0-1499")), Some((vec!["CN=a".to_owned()], Some(1499))));
        assert_eq!(piece(&entry("Member;range=1500-*")), Some((vec!["CN=a".to_owned()], None)));
        assert_eq!(piece(&entry("member")), None);
    }
}
