//! The access check, and which ACE decided it ([MS-DTYP] 2.5.3.2; [MS-ADTS] 5.1.3.3.2 to 5.1.3.3.4).
//!
//! An object's own descriptor is judged, never its container's: what was inherited is stamped on the object already.
//! Order decides: nothing is sorted, so an allow that stands before a deny wins. Privileges (SeTakeOwnership and the
//! like) and the dSHeuristics bits that change an owner's rights are not looked at.

use crate::descriptor::mask::AccessMask;
use crate::descriptor::token::Token;
use crate::descriptor::{Ace, AceType, Control, Effect, Rights, SecurityDescriptor};
use crate::guid::{self, Guid};
use crate::sid::Sid;

/// S-1-5-10: the object itself.
const SELF: (u64, &[u32]) = (5, &[10]);
/// S-1-3-4: whoever owns the object.
const OWNER_RIGHTS: (u64, &[u32]) = (3, &[4]);
/// What an owner may always do, unless an ACE for OWNER RIGHTS says otherwise ([MS-DTYP] 2.5.3.2).
const OWNERS: AccessMask = AccessMask(AccessMask::READ_CONTROL.0 | AccessMask::WRITE_DAC.0);

/// Whose access check is to be foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// As [MS-DTYP] and [MS-ADTS] say it.
    Windows,
    /// Samba 4.17.12 and 4.24.7 (measured, `tests/directory/access.rs`). It differs: an object ACE that allows control
    /// access, and names nothing or one of the question's GUIDs, grants whatever was asked; an ACE for OWNER RIGHTS does
    /// nothing; without a DACL (not: with a NULL DACL) only the owner may do something.
    Samba,
}

/// What somebody wants to do: the rights, and the GUIDs by which an object ACE may name them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    rights: AccessMask,
    /// From the most general to the most special: class, property set, attribute; or a control access right alone.
    names: Vec<Guid>,
}

impl Question {
    /// May this control access right be used ([MS-ADTS] 5.1.3.3.4)?
    pub fn control_right(right: Guid) -> Self {
        Self { rights: AccessMask::CONTROL_ACCESS, names: vec![right] }
    }

    /// May this attribute of an object of this class be written ([MS-ADTS] 5.1.3.3.3)? `property_set` is its
    /// attributeSecurityGUID.
    pub fn write_property(class: Guid, property_set: Option<Guid>, attribute: Guid) -> Self {
        Self::property(AccessMask::WRITE_PROPERTY, class, property_set, attribute)
    }

    /// May it be read?
    pub fn read_property(class: Guid, property_set: Option<Guid>, attribute: Guid) -> Self {
        Self::property(AccessMask::READ_PROPERTY, class, property_set, attribute)
    }

    fn property(rights: AccessMask, class: Guid, property_set: Option<Guid>, attribute: Guid) -> Self {
        Self { rights, names: [Some(class), property_set, Some(attribute)].into_iter().flatten().collect() }
    }

    /// May this property set be written as a whole?
    pub fn write_property_set(class: Guid, property_set: Guid) -> Self {
        Self { rights: AccessMask::WRITE_PROPERTY, names: vec![class, property_set] }
    }

    /// Does an object of this class give these rights, all of them ([MS-ADTS] 5.1.3.3.2)?
    pub fn rights_on(class: Guid, rights: AccessMask) -> Self {
        Self { rights, names: vec![class] }
    }

    /// May a password be set without the old one?
    pub fn reset_password() -> Self {
        Self::control_right(guid::RESET_PASSWORD)
    }

    /// May a password be set with the old one?
    pub fn change_password() -> Self {
        Self::control_right(guid::CHANGE_PASSWORD)
    }

    /// May pwdLastSet of an object of this class be written?
    pub fn write_pwd_last_set(class: Guid) -> Self {
        Self::write_property(class, Some(guid::ACCOUNT_RESTRICTIONS), guid::PWD_LAST_SET)
    }

    /// May lockoutTime of an object of this class be written?
    pub fn write_lockout_time(class: Guid) -> Self {
        Self::write_property(class, None, guid::LOCKOUT_TIME)
    }

    /// May the DACL of an object of this class be written?
    pub fn write_dacl(class: Guid) -> Self {
        Self { rights: AccessMask::WRITE_DAC, names: vec![class, guid::NT_SECURITY_DESCRIPTOR] }
    }

    /// The rights that are asked for.
    pub const fn rights(&self) -> AccessMask {
        self.rights
    }

    /// Whether this allow or deny ACE speaks of what is asked, whoever it is for. One that is inherit-only does not.
    pub fn concerns(&self, ace: &Ace) -> bool {
        ace.effect() != Effect::None
            && ace.rights().is_some_and(|rights| {
                rights.mask.mapped().intersects(self.rights) && self.level(ace.kind, rights).is_some()
            })
    }

    /// Where in the names an ACE speaks; `None` for one that speaks of something else.
    fn level(&self, kind: AceType, rights: &Rights) -> Option<Level> {
        match rights.object_type {
            None if kind.is_object() => Some(Level::Name(0)),
            None => Some(Level::Whole),
            Some(name) => self.names.iter().position(|known| *known == name).map(Level::Name),
        }
    }
}

/// An ACE and its place in the DACL, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// Its place.
    pub index: usize,
    /// Itself.
    pub ace: &'a Ace,
}

/// The answer, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether the server does it.
    pub granted: bool,
    /// Why.
    pub reason: Reason<'a>,
    /// The ACEs that gave some of the rights asked for, in order.
    pub gave: Vec<Numbered<'a>>,
    /// Of a refusal by a deny ACE: the allow ACE that would have completed the grant if no deny ACE stood there. `None`
    /// then means that taking the deny away is not enough.
    pub behind: Option<Numbered<'a>>,
    /// Conditional ACEs for this account and question that stand before the decision. Their conditions are not judged:
    /// where this is not empty, the answer is not certain.
    pub conditional: Vec<Numbered<'a>>,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// Granted: there is no DACL, or it is NULL.
    NoDacl,
    /// Granted: the account owns the object.
    Owner,
    /// Granted by this ACE, the last of those that were needed.
    Allowed(Numbered<'a>),
    /// Granted by this ACE on Samba alone, beyond what it says ([`Server::Samba`]).
    OverGranted(Numbered<'a>),
    /// Refused by this ACE.
    Denied(Numbered<'a>),
    /// Refused: no ACE gives these rights to the account.
    NotAllowed(AccessMask),
}

impl SecurityDescriptor {
    /// What `server` answers when `token` asks `question` of the object that carries this descriptor. `object_sid` is the
    /// object's own, for ACEs that speak of SELF.
    pub fn check<'a>(
        &'a self,
        token: &Token,
        object_sid: Option<&Sid>,
        question: &Question,
        server: Server,
    ) -> Decision<'a> {
        let check = Check { descriptor: self, token, object_sid, question, server };
        let mut decision = check.walk(true);
        if matches!(decision.reason, Reason::Denied(_)) {
            decision.behind = match check.walk(false).reason {
                Reason::Allowed(ace) | Reason::OverGranted(ace) => Some(ace),
                Reason::NoDacl | Reason::Owner | Reason::Denied(_) | Reason::NotAllowed(_) => None,
            };
        }
        decision
    }
}

struct Check<'a, 'q> {
    descriptor: &'a SecurityDescriptor,
    token: &'q Token,
    object_sid: Option<&'q Sid>,
    question: &'q Question,
    server: Server,
}

/// What an ACE speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The object as a whole, as a simple ACE does.
    Whole,
    /// The name at this place in the question, and all that follow.
    Name(usize),
}

/// What is still to be granted. On Windows all are always equal: an object type tree of one branch passes what was
/// granted both down and up. Samba passes it down only.
struct Remaining {
    /// For the object as a whole.
    whole: AccessMask,
    /// For each name of the question.
    named: Vec<AccessMask>,
}

impl Remaining {
    fn at(&self, level: Level) -> AccessMask {
        match level {
            Level::Whole => self.whole,
            Level::Name(level) => self.named.get(level).copied().unwrap_or(self.whole),
        }
    }

    fn clear(&mut self, from: usize, mask: AccessMask) {
        self.named.iter_mut().skip(from).for_each(|left| *left = left.without(mask));
    }

    /// What the most special name lacks.
    fn missing(&self) -> AccessMask {
        self.named.last().copied().unwrap_or(self.whole)
    }
}

impl<'a> Check<'a, '_> {
    fn owns(&self) -> bool {
        self.descriptor.owner.as_ref().is_some_and(|owner| self.token.contains(owner))
    }

    fn is_for_owner_rights(ace: &Ace) -> bool {
        ace.rights().is_some_and(|rights| rights.sid.is_well_known(OWNER_RIGHTS.0, OWNER_RIGHTS.1))
    }

    /// Whether the owner has what owners have: not where an ACE for OWNER RIGHTS says what they have.
    fn owner_may(&self) -> bool {
        let limited = || {
            self.server == Server::Windows
                && self.descriptor.aces().any(|numbered| {
                    numbered.ace.effect() != Effect::None && Self::is_for_owner_rights(numbered.ace)
                })
        };
        self.owns() && !limited()
    }

    fn is_for_us(&self, sid: &Sid) -> bool {
        if sid.is_well_known(SELF.0, SELF.1) {
            return self.object_sid.is_some_and(|object| self.token.contains(object));
        }
        if sid.is_well_known(OWNER_RIGHTS.0, OWNER_RIGHTS.1) {
            return self.server == Server::Windows && self.owns();
        }
        self.token.contains(sid)
    }

    fn walk(&self, obey_denies: bool) -> Decision<'a> {
        let asked = self.question.rights;
        let mut decision = Decision {
            granted: true,
            reason: Reason::NoDacl,
            gave: Vec::new(),
            behind: None,
            conditional: Vec::new(),
        };
        let present = self.descriptor.control.contains(Control::DACL_PRESENT);
        if self.descriptor.dacl.is_none() && (present || self.server == Server::Windows) {
            return decision;
        }
        let mut left = Remaining { whole: asked, named: vec![asked; self.question.names.len()] };
        if self.owner_may() {
            left.whole = left.whole.without(OWNERS);
            if self.server == Server::Windows {
                left.clear(0, OWNERS);
            }
            if left.whole.is_empty() {
                decision.reason = Reason::Owner;
                return decision;
            }
        }
        for numbered in self.descriptor.aces() {
            let Some(rights) = numbered.ace.rights().filter(|rights| self.is_for_us(&rights.sid)) else {
                continue;
            };
            let Some(level) = self.question.level(numbered.ace.kind, rights) else { continue };
            let mask = rights.mask.mapped();
            match numbered.ace.effect() {
                Effect::Allow => {
                    if mask.intersects(asked) {
                        decision.gave.push(numbered);
                    }
                    self.grant(&mut left, level, mask);
                    if left.at(level).is_empty() {
                        decision.reason = Reason::Allowed(numbered);
                        return decision;
                    }
                    if self.server == Server::Samba
                        && level != Level::Whole
                        && mask.intersects(AccessMask::CONTROL_ACCESS)
                    {
                        decision.reason = Reason::OverGranted(numbered);
                        return decision;
                    }
                }
                Effect::Deny if obey_denies && left.at(level).intersects(mask) => {
                    return Decision { granted: false, reason: Reason::Denied(numbered), ..decision };
                }
                Effect::Conditional if mask.intersects(asked) => decision.conditional.push(numbered),
                Effect::Deny | Effect::Conditional | Effect::None => {}
            }
        }
        Decision { granted: false, reason: Reason::NotAllowed(left.missing()), ..decision }
    }

    fn grant(&self, left: &mut Remaining, level: Level, mask: AccessMask) {
        match (self.server, level) {
            (Server::Windows, _) | (Server::Samba, Level::Whole) => {
                left.whole = left.whole.without(mask);
                left.clear(0, mask);
            }
            (Server::Samba, Level::Name(level)) => left.clear(level, mask),
        }
    }
}
