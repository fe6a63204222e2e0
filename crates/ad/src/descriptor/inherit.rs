//! What comes from above, what is missing, and where a new ACE belongs ([MS-DTYP] 2.5.3.4, [MS-ADTS] 6.1.3).

use crate::descriptor::{Ace, AceFlags, AceType, Acl, Body, Effect, Numbered, SecurityDescriptor};
use crate::guid::Guid;
use crate::sid::Sid;

/// S-1-3-0 and S-1-3-1: replaced by the child's owner and group when inherited.
const CREATOR_OWNER: (u64, &[u32]) = (3, &[0]);
const CREATOR_GROUP: (u64, &[u32]) = (3, &[1]);

impl Ace {
    /// The ACE that a child of this class gets from this ACE of its container, in effect there. `None` when nothing
    /// takes effect there: not for containers (no CI), or for another class. Compare a class with the ACE's, never with
    /// the class that it derives from: an inetOrgPerson does not get what is for user (measured on Samba 4.17.12).
    pub fn inherited_by(&self, class: Guid, owner: Option<&Sid>, group: Option<&Sid>) -> Option<Self> {
        let rights = self.rights()?;
        if !self.flags.contains(AceFlags::CONTAINER_INHERIT)
            || rights.inherited_object_type.is_some_and(|only| only != class)
        {
            return None;
        }
        let mut rights = rights.clone();
        rights.mask = rights.mask.mapped();
        let mut passed_on = !self.flags.contains(AceFlags::NO_PROPAGATE);
        for ((authority, parts), creator) in [(CREATOR_OWNER, owner), (CREATOR_GROUP, group)] {
            if rights.sid.is_well_known(authority, parts) {
                rights.sid = creator?.clone();
                passed_on = false; // a second, inherit-only ACE keeps the creator for the next level
            }
        }
        let down = if passed_on {
            AceFlags::CONTAINER_INHERIT | AceFlags(self.flags.0 & AceFlags::OBJECT_INHERIT.0)
        } else {
            AceFlags::default()
        };
        let audit = AceFlags(self.flags.0 & (AceFlags::SUCCESSFUL_ACCESS | AceFlags::FAILED_ACCESS).0);
        Some(Self { kind: self.kind, flags: AceFlags::INHERITED | down | audit, body: Body::Rights(rights) })
    }

    /// Whether this ACE gives or takes at least what `other` does, for the same account and object type.
    pub fn covers(&self, other: &Self) -> bool {
        let (Some(ours), Some(others)) = (self.rights(), other.rights()) else { return self == other };
        let plain = |kind| match kind {
            AceType::ALLOW_OBJECT => AceType::ALLOW,
            AceType::DENY_OBJECT => AceType::DENY,
            kind => kind,
        };
        plain(self.kind) == plain(other.kind)
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
