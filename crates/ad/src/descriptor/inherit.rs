//! What comes from above, what is missing, and where a new ACE belongs ([MS-DTYP] 2.5.3.4, [MS-ADTS] 6.1.3).

use crate::descriptor::{Ace, AceFlags, AceType, Acl, Body, Effect, Numbered, SecurityDescriptor};
use crate::guid::Guid;
use crate::sid::Sid;

/// S-1-3-0 and S-1-3-1: replaced by the child's owner and group when inherited.
const CREATOR_OWNER: (u64, &[u32]) = (3, &[0]);
const CREATOR_GROUP: (u64, &[u32]) = (3, &[1]);

impl Ace {
    /// The ACE that a child of this class gets from this ACE of its container, in effect there, as Samba
    /// 4.17.12 and 4.24.7 stamp it (measured). `None` when nothing takes effect there: not for containers (no CI), or for another class. Compare a class with the ACE's, never with
    /// the class that it derives from: an inetOrgPerson does not get what is for user (measured on Samba 4.17.12).
    pub fn inherited_by(&self, class: Guid, owner: Option<&Sid>, group: Option<&Sid>) -> Option<Self> {
        let rights = self.rights()?;
        if !self.flags.contains(AceFlags::CONTAINER_INHERIT)
            || rights.inherited_object_type.is_some_and(|only| only != class)
        {
            return None;
        }
        let mut rights = rights.clone();
        // What has to be replaced here passes down by a second ACE that is inherit-only, and not by this one.
        let mut passed_on =
            !self.flags.contains(AceFlags::NO_PROPAGATE) && rights.mask.mapped() == rights.mask;
        rights.mask = rights.mask.mapped();
        for ((authority, parts), creator) in [(CREATOR_OWNER, owner), (CREATOR_GROUP, group)] {
            if rights.sid.is_well_known(authority, parts) {
                rights.sid = creator?.clone();
                passed_on = false;
            }
        }
        let down = if passed_on {
            AceFlags::CONTAINER_INHERIT | AceFlags(self.flags.0 & AceFlags::OBJECT_INHERIT.0)
        } else {
            AceFlags::default()
        };
        let mut kind = self.kind;
        if !passed_on {
            // Nobody below needs to know for whom it was; without any name it becomes a simple ACE.
            rights.inherited_object_type = None;
            if rights.object_type.is_none() {
                kind = kind.simple();
            }
        }
        let audit = AceFlags(self.flags.0 & (AceFlags::SUCCESSFUL_ACCESS | AceFlags::FAILED_ACCESS).0);
        Some(Self { kind, flags: AceFlags::INHERITED | down | audit, body: Body::Rights(rights) })
    }

    /// Whether this ACE gives or takes at least what `other` does, for the same account and object type.
    pub fn covers(&self, other: &Self) -> bool {
        let (Some(ours), Some(others)) = (self.rights(), other.rights()) else { return self == other };
        self.kind.simple() == other.kind.simple()
            && ours.sid == others.sid
            && ours.object_type == others.object_type
            && ours.mask.mapped().contains(others.mask.mapped())
            && ours.more == others.more
    }

    /// The place of its group in canonical order.
    fn rank(&self) -> u8 {
        match (self.is_inherited(), self.kind.effect_of_any()) {
            (true, _) => 2,
            (false, Effect::Deny) => 0,
            (false, _) => 1,
        }
    }
}

impl AceType {
    /// The type that says the same of the object as a whole.
    const fn simple(self) -> Self {
        match self {
            Self::ALLOW_OBJECT => Self::ALLOW,
            Self::DENY_OBJECT => Self::DENY,
            Self::AUDIT_OBJECT => Self::AUDIT,
            kind => kind,
        }
    }

    /// What it does, whatever its condition.
    const fn effect_of_any(self) -> Effect {
        match self {
            Self::DENY_CALLBACK | Self::DENY_CALLBACK_OBJECT => Effect::Deny,
            Self::ALLOW_CALLBACK | Self::ALLOW_CALLBACK_OBJECT => Effect::Allow,
            kind => kind.effect(),
        }
    }
}

impl Acl {
    /// Whether explicit denies stand before explicit allows, and both before what is inherited. Within what is inherited
    /// the order follows the levels above and cannot be judged from here.
    pub fn is_canonical(&self) -> bool {
        self.aces.iter().map(Ace::rank).is_sorted()
    }

    /// Puts an ACE at the end of its group in canonical order, and says where. In a DACL that is not canonical it stands
    /// before everything of a later group, so that a deny is never overtaken; the others stay as they are.
    pub fn insert(&mut self, ace: Ace) -> usize {
        let rank = ace.rank();
        let index = self.aces.iter().position(|other| other.rank() > rank).unwrap_or(self.aces.len());
        self.aces.insert(index, ace);
        index
    }
}

impl SecurityDescriptor {
    /// What a child of this class should have from this container and has not: the container's ACEs that would take
    /// effect on the child, and that none of the child's own ACEs covers. Where it is not empty, inheritance was cut: at
    /// the child if it is [protected](Self::is_protected), else at a container between the two.
    pub fn not_inherited_by(&self, child: &Self, class: Guid) -> Vec<Numbered<'_>> {
        let is_missing = |numbered: &Numbered<'_>| {
            let stamped = numbered.ace.inherited_by(class, child.owner.as_ref(), child.group.as_ref());
            stamped.is_some_and(|stamped| {
                !child
                    .aces()
                    .any(|held| !held.ace.flags.contains(AceFlags::INHERIT_ONLY) && held.ace.covers(&stamped))
            })
        };
        self.aces().filter(is_missing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::samples;
    use crate::guid;
    use proptest::prelude::*;

    fn sddl(text: &str) -> SecurityDescriptor {
        SecurityDescriptor::from_sddl(text, None).unwrap()
    }

    fn inherited(ace: &str) -> Option<String> {
        let owner: Sid = "S-1-5-21-1-2-3-7".parse().unwrap();
        let ace = Ace::from_sddl(ace, None).unwrap();
        ace.inherited_by(guid::USER, Some(&owner), None).map(|ace| ace.to_sddl(None))
    }

    #[test]
    fn an_ace_comes_down_only_with_its_flag_and_for_its_class() {
        assert_eq!(inherited("(A;CIIO;CR;;;WD)").as_deref(), Some("(A;CIID;CR;;;WD)"));
        assert_eq!(inherited("(A;CINPIO;CR;;;WD)").as_deref(), Some("(A;ID;CR;;;WD)"));
        assert_eq!(inherited("(A;CI;GA;;;WD)").as_deref(), Some("(A;ID;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;WD)"));
        assert_eq!(inherited("(A;CI;RC;;;CO)").as_deref(), Some("(A;ID;RC;;;S-1-5-21-1-2-3-7)"));
        assert_eq!(inherited("(A;;CR;;;WD)"), None);
        assert_eq!(inherited("(A;IO;CR;;;WD)"), None);
        assert_eq!(inherited("(A;OI;CR;;;WD)"), None);
        let of = |class: Guid| inherited(&format!("(OA;CIIO;CR;;{class};WD)"));
        assert_eq!(of(guid::USER), Some(format!("(OA;CIID;CR;;{};WD)", guid::USER)));
        assert_eq!(of(guid::COMPUTER), None);
        assert_eq!(of(guid::INET_ORG_PERSON), None);
    }

    #[test]
    fn what_was_cut_off_is_what_the_container_has_and_the_child_has_not() {
        let container = sddl(
            "D:(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;AU)(A;CI;RP;;;WD)(A;;WP;;;WD)",
        );
        let cut = |child: &str| {
            let child = sddl(child);
            container.not_inherited_by(&child, guid::USER).iter().map(|lost| lost.index).collect::<Vec<_>>()
        };
        assert_eq!(cut("D:P"), [0, 1]);
        assert_eq!(cut("D:P(A;;RPWP;;;WD)"), [0]);
        assert_eq!(cut("D:(OA;ID;CR;00299570-246d-11d0-a768-00aa006e0529;;AU)(A;CIIOID;RP;;;WD)"), [1]);
    }

    #[test]
    fn a_new_ace_goes_to_the_end_of_its_group() {
        let start = "D:(D;;RP;;;WD)(A;;RP;;;AU)(A;CIID;RP;;;SY)";
        let inserted = |ace: &str| {
            let mut descriptor = sddl(start);
            let dacl = descriptor.dacl.as_mut().unwrap();
            assert!(dacl.is_canonical());
            let index = dacl.insert(Ace::from_sddl(ace, None).unwrap());
            assert!(dacl.is_canonical());
            index
        };
        assert_eq!(inserted("(D;;CR;;;WD)"), 1);
        assert_eq!(inserted("(A;;CR;;;WD)"), 2);
        assert_eq!(inserted("(A;ID;CR;;;WD)"), 3);
        let dacl = |text: &str| sddl(text).dacl.unwrap();
        assert!(!dacl("D:(A;;RP;;;AU)(D;;RP;;;WD)").is_canonical());
        assert!(!dacl("D:(A;ID;RP;;;AU)(A;;RP;;;WD)").is_canonical());
        assert_eq!(
            dacl("D:(A;;RP;;;AU)(D;;RP;;;WD)").insert(Ace::from_sddl("(D;;CR;;;WD)", None).unwrap()),
            0
        );
    }

    #[test]
    fn the_lab_s_people_have_all_that_their_container_gives() {
        let sample = samples::sample("CN=s-cannot");
        let descriptor = SecurityDescriptor::decode(&sample.bytes).unwrap();
        assert!(descriptor.dacl.as_ref().unwrap().is_canonical());
        assert!(descriptor.not_inherited_by(&descriptor, guid::USER).is_empty());
    }

    proptest! {
        #[test]
        fn inserting_keeps_a_canonical_list_canonical(aces in prop::collection::vec(samples::plain_ace(), 0..20)) {
            let mut acl = Acl::default();
            for ace in aces {
                let index = acl.insert(ace.clone());
                prop_assert_eq!(&acl.aces[index], &ace);
                prop_assert!(acl.is_canonical());
            }
        }
    }
}
