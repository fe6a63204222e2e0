//! Who somebody is to an access check: the SIDs that a domain controller gives an account when it binds.

use crate::sid::Sid;
use std::collections::HashSet;

/// S-1-1-0, S-1-5-11, S-1-5-2: everybody who signed in through the network, unless as guest.
const EVERYBODY: [(u64, &[u32]); 3] = [(1, &[0]), (5, &[11]), (5, &[2])];
/// This Organization (in a token of Samba 4.24.7, not of 4.17.12); Users and Pre-Windows 2000 Compatible Access: what an
/// account is through Authenticated Users, which its own tokenGroups does not show (measured on both).
const THROUGH_EVERYBODY: [(u64, &[u32]); 3] = [(5, &[15]), (5, &[32, 545]), (5, &[32, 554])];

/// The SIDs of one account. A token is made at the bind: an open connection keeps the one that it got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Token {
    sids: HashSet<Sid>,
}

impl Token {
    /// The server's own word: all values of the rootDSE's tokenGroups, read on a connection of the account's own. Nothing
    /// has to be added (measured on Samba 4.17.12 and 4.24.7).
    pub fn of_root_dse(token_groups: impl IntoIterator<Item = Sid>) -> Self {
        token_groups.into_iter().collect()
    }

    /// Of an account that we are not bound as: its objectSid, its tokenGroups (from a base search), its primaryGroupID,
    /// and what every account is. `own_root_dse` is tokenGroups of the rootDSE as we read it for ourselves: where it
    /// shows This Organization, Users or Pre-Windows 2000 Compatible Access, everybody is taken to be in it.
    /// sIDHistory is not known here: [`with`](Self::with) adds it.
    pub fn of_account(
        object_sid: &Sid,
        token_groups: &[Sid],
        primary_group_id: Option<u32>,
        own_root_dse: &[Sid],
    ) -> Self {
        let primary = primary_group_id.and_then(|rid| object_sid.domain().map(|domain| domain.with_rid(rid)));
        let everybody = EVERYBODY.into_iter().map(|(authority, parts)| Sid::well_known(authority, parts));
        let through = own_root_dse.iter().filter(|sid| {
            THROUGH_EVERYBODY.into_iter().any(|(authority, parts)| sid.is_well_known(authority, parts))
        });
        let known = token_groups.iter().chain([object_sid]).chain(through).cloned();
        known.chain(primary).chain(everybody).collect()
    }

    /// The same token with one more SID.
    #[must_use]
    pub fn with(mut self, sid: Sid) -> Self {
        self.sids.insert(sid);
        self
    }

    /// Whether the account is, or is a member of, `sid`.
    pub fn contains(&self, sid: &Sid) -> bool {
        self.sids.contains(sid)
    }

    /// All of it, in no order.
    pub fn sids(&self) -> impl Iterator<Item = &Sid> {
        self.sids.iter()
    }
}

impl FromIterator<Sid> for Token {
    fn from_iter<T: IntoIterator<Item = Sid>>(sids: T) -> Self {
        Self { sids: sids.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(text: &str) -> Sid {
        text.parse().unwrap()
    }

    #[test]
    fn an_account_is_itself_its_groups_its_primary_group_and_everybody() {
        let own = [sid("S-1-5-32-554"), sid("S-1-5-21-1-2-3-1200"), sid("S-1-5-15")];
        let token =
            Token::of_account(&sid("S-1-5-21-1-2-3-1104"), &[sid("S-1-5-21-1-2-3-1105")], Some(513), &own);
        let mut sids: Vec<_> = token.sids().map(Sid::to_string).collect();
        sids.sort();
        let expected = [
            "S-1-1-0",
            "S-1-5-11",
            "S-1-5-15",
            "S-1-5-2",
            "S-1-5-21-1-2-3-1104",
            "S-1-5-21-1-2-3-1105",
            "S-1-5-21-1-2-3-513",
            "S-1-5-32-554",
        ];
        assert_eq!(sids, expected);
    }

    #[test]
    fn pre_windows_2000_is_not_assumed_where_the_server_does_not_show_it() {
        let token = Token::of_account(&sid("S-1-5-21-1-2-3-1104"), &[], None, &[]);
        assert!(!token.contains(&sid("S-1-5-32-554")));
        assert!(token.with(sid("S-1-5-32-554")).contains(&sid("S-1-5-32-554")));
    }
}
