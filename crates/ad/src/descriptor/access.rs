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
    /// Samba 4.17.12 and 4.24.7 (measured for one right at a time, `tests/directory/access.rs`). It differs: an object ACE that allows control
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

impl Decision<'_> {
    /// Whether the server can say nothing else: no condition had to be left out.
    pub fn is_certain(&self) -> bool {
        self.conditional.is_empty()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{Acl, samples};
    use proptest::prelude::*;

    const RESET: &str = "00299570-246d-11d0-a768-00aa006e0529";
    const CLASS: &str = "bf967aba-0de6-11d0-a285-00aa003049e2";
    const LOCKOUT_TIME: &str = "28630ebf-41d5-11d1-a9c1-0000f80367c1";
    const PWD_LAST_SET: &str = "bf967a0a-0de6-11d0-a285-00aa003049e2";
    const ACCOUNT_RESTRICTIONS: &str = "4c164200-20c0-11d0-a768-00aa006e0529";
    const TARGET: &str = "S-1-5-21-1-2-3-2000";

    fn sid(text: &str) -> Sid {
        text.parse().unwrap()
    }

    fn sddl(text: &str) -> SecurityDescriptor {
        SecurityDescriptor::from_sddl(text, None).unwrap()
    }

    /// The connector (…-1105), in one group (…-1200), and everybody.
    fn connector() -> Token {
        Token::of_account(&sid("S-1-5-21-1-2-3-1105"), &[sid("S-1-5-21-1-2-3-1200")], Some(513), &[])
    }

    const US: &str = "S-1-5-21-1-2-3-1105";

    fn user() -> Sid {
        sid(TARGET)
    }

    fn ask<'a>(descriptor: &'a SecurityDescriptor, question: &Question, server: Server) -> Decision<'a> {
        descriptor.check(&connector(), Some(&user()), question, server)
    }

    /// Both servers say the same.
    fn granted(text: &str, question: &Question) -> bool {
        let descriptor = sddl(text);
        let windows = ask(&descriptor, question, Server::Windows).granted;
        assert_eq!(windows, ask(&descriptor, question, Server::Samba).granted, "{text}");
        windows
    }

    fn decided_by(text: &str, question: &Question) -> (bool, Option<usize>, Option<usize>) {
        let descriptor = sddl(text);
        let decision = ask(&descriptor, question, Server::Windows);
        let index = match decision.reason {
            Reason::Allowed(by) | Reason::OverGranted(by) | Reason::Denied(by) => Some(by.index),
            Reason::NoDacl | Reason::Owner | Reason::NotAllowed(_) => None,
        };
        (decision.granted, index, decision.behind.map(|behind| behind.index))
    }

    #[test]
    fn the_ace_that_delegates_a_right_grants_it_and_no_other() {
        let text = format!("D:(OA;;CR;{RESET};;{US})");
        assert_eq!(decided_by(&text, &Question::reset_password()), (true, Some(0), None));
        assert!(!granted(&text, &Question::change_password()));
        assert!(!granted(&text, &Question::write_lockout_time(guid::USER)));
        let text = format!("D:(A;;CR;;;{US})");
        assert!(granted(&text, &Question::reset_password()) && granted(&text, &Question::change_password()));
        assert!(granted(&format!("D:(A;;GA;;;{US})"), &Question::reset_password()));
        assert!(!granted(&format!("D:(A;;WP;;;{US})"), &Question::reset_password()));
    }

    #[test]
    fn an_attribute_may_be_written_by_its_name_its_property_set_its_class_or_none() {
        for name in [PWD_LAST_SET, ACCOUNT_RESTRICTIONS, CLASS, ""] {
            let text = format!("D:(OA;;WP;{name};;{US})");
            assert!(granted(&text, &Question::write_pwd_last_set(guid::USER)), "{name}");
        }
        let set = format!("D:(OA;;WP;{ACCOUNT_RESTRICTIONS};;{US})");
        assert!(
            !granted(&set, &Question::write_lockout_time(guid::USER)),
            "lockoutTime is in no property set"
        );
        let text = format!("D:(OA;;WP;{CLASS};;{US})");
        assert!(!granted(&text, &Question::write_pwd_last_set(guid::INET_ORG_PERSON)));
        assert!(!granted(&format!("D:(OA;;WP;{RESET};;{US})"), &Question::write_lockout_time(guid::USER)));
    }

    #[test]
    fn order_decides_and_the_allow_behind_a_deny_is_named() {
        let allow = format!("(OA;;CR;{RESET};;{US})");
        let deny = "(D;;CR;;;S-1-5-21-1-2-3-1200)";
        let reset = Question::reset_password();
        assert_eq!(decided_by(&format!("D:{deny}(A;;RP;;;WD){allow}"), &reset), (false, Some(0), Some(2)));
        assert_eq!(decided_by(&format!("D:{allow}{deny}"), &reset), (true, Some(0), None));
        assert_eq!(decided_by(&format!("D:{deny}"), &reset), (false, Some(0), None));
        // A deny for others, for another right, or inherit-only does nothing.
        for other in [
            "(D;;CR;;;DG)",
            "(D;;WP;;;WD)",
            "(D;CIIO;CR;;;WD)",
            "(OD;;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;;WD)",
        ] {
            let text = format!("D:{}{allow}", other.replace("DG", "S-1-5-21-1-2-3-514"));
            assert_eq!(decided_by(&text, &reset), (true, Some(1), None), "{other}");
        }
    }

    #[test]
    fn self_is_the_object_and_nobody_else() {
        let descriptor = sddl("D:(A;;CR;;;PS)");
        let itself = Token::of_account(&user(), &[], None, &[]);
        let reset = Question::reset_password();
        assert!(descriptor.check(&itself, Some(&user()), &reset, Server::Windows).granted);
        assert!(!ask(&descriptor, &reset, Server::Windows).granted);
        assert!(!descriptor.check(&itself, None, &reset, Server::Windows).granted);
    }

    #[test]
    fn null_and_missing_dacls_grant_and_an_empty_one_refuses() {
        let reset = Question::reset_password();
        assert!(granted("D:NO_ACCESS_CONTROL", &reset));
        assert!(!granted("D:", &reset));
        let missing = sddl("O:SY");
        assert_eq!(ask(&missing, &reset, Server::Windows).reason, Reason::NoDacl);
        assert!(!ask(&missing, &reset, Server::Samba).granted);
    }

    #[test]
    fn an_owner_writes_the_dacl_unless_owner_rights_say_otherwise() {
        let write = Question::write_dacl(guid::USER);
        let owned = |rest: &str| sddl(&format!("O:{US}D:{rest}"));
        let descriptor = owned("(D;;WD;;;WD)");
        for server in [Server::Windows, Server::Samba] {
            assert_eq!(ask(&descriptor, &write, server).reason, Reason::Owner);
        }
        assert!(!ask(&owned(""), &Question::reset_password(), Server::Windows).granted);
        // OWNER RIGHTS: honoured on Windows, not looked at by Samba.
        assert!(!ask(&owned("(A;;RC;;;OW)"), &write, Server::Windows).granted);
        assert!(ask(&owned("(A;;RC;;;OW)"), &write, Server::Samba).granted);
        assert!(ask(&owned("(A;;WD;;;OW)"), &write, Server::Windows).granted);
        assert!(ask(&owned("(A;CIIO;RC;;;OW)"), &write, Server::Windows).granted);
        assert!(ask(&owned("(A;;CR;;;OW)"), &Question::reset_password(), Server::Windows).granted);
        assert!(!ask(&owned("(A;;CR;;;OW)"), &Question::reset_password(), Server::Samba).granted);
    }

    #[test]
    fn samba_grants_everything_for_control_access_without_a_name() {
        let unlock = Question::write_lockout_time(guid::USER);
        for name in ["", CLASS, LOCKOUT_TIME] {
            let descriptor = sddl(&format!("D:(OA;;CR;{name};;{US})"));
            assert!(!ask(&descriptor, &unlock, Server::Windows).granted);
            let decision = ask(&descriptor, &unlock, Server::Samba);
            let first = descriptor.aces().next().unwrap();
            assert_eq!((decision.granted, decision.reason), (true, Reason::OverGranted(first)));
        }
        for other in
            [format!("(A;;CR;;;{US})"), format!("(OA;;CR;{RESET};;{US})"), "(OA;;CR;;;PS)".to_owned()]
        {
            assert!(!granted(&format!("D:{other}"), &unlock), "{other}");
        }
    }

    #[test]
    fn several_aces_may_give_one_right_each() {
        let both = Question::rights_on(guid::USER, AccessMask::DELETE | AccessMask::WRITE_DAC);
        let text = format!("D:(A;;SD;;;{US})(A;;RP;;;WD)(A;;WD;;;AU)");
        let descriptor = sddl(&text);
        let decision = ask(&descriptor, &both, Server::Windows);
        assert_eq!(decision.gave.iter().map(|gave| gave.index).collect::<Vec<_>>(), [0, 2]);
        assert!(granted(&text, &both));
        // What was granted cannot be denied any more.
        assert!(granted(&format!("D:(A;;SD;;;{US})(D;;SD;;;WD)(A;;WD;;;AU)"), &both));
        assert!(!granted(&format!("D:(A;;SD;;;{US})(D;;WD;;;WD)(A;;WD;;;AU)"), &both));
        let descriptor = sddl(&format!("D:(A;;SD;;;{US})"));
        assert_eq!(
            ask(&descriptor, &both, Server::Windows).reason,
            Reason::NotAllowed(AccessMask::WRITE_DAC)
        );
    }

    #[test]
    fn a_condition_is_not_judged_but_named() {
        let descriptor = sddl(&format!("D:(XA;;CR;;;{US};#61727478)"));
        let decision = ask(&descriptor, &Question::reset_password(), Server::Windows);
        assert!(!decision.granted);
        assert!(!decision.is_certain());
        assert!(ask(&descriptor, &Question::write_dacl(guid::USER), Server::Windows).is_certain());
    }

    #[test]
    fn a_protected_account_lacks_what_its_container_gives() {
        let sample = samples::sample("CN=p-admin");
        let descriptor = SecurityDescriptor::decode(&sample.bytes).unwrap();
        assert!(descriptor.is_protected());
        let somebody = Token::of_account(&sample.domain.with_rid(9999), &[], Some(513), &[]);
        let check = |question| descriptor.check(&somebody, None, &question, Server::Samba).granted;
        assert!(check(Question::change_password()));
        assert!(!check(Question::reset_password()));
    }

    proptest! {
        // One bit: the first ACE that matches decides. Written a second time, as simply as it can be said.
        #[test]
        fn for_one_right_the_first_ace_that_concerns_us_decides(
            aces in prop::collection::vec(samples::plain_ace(), 0..12), which in 0_usize..4,
        ) {
            let question = [
                Question::reset_password(),
                Question::change_password(),
                Question::write_pwd_last_set(guid::USER),
                Question::write_lockout_time(guid::USER),
            ][which].clone();
            let descriptor = SecurityDescriptor::of_dacl(Acl::new(aces));
            let token = connector();
            let first = descriptor.aces().find(|numbered| {
                question.concerns(numbered.ace) && token.contains(&numbered.ace.rights().unwrap().sid)
            });
            let expected = first.is_some_and(|first| first.ace.effect() == Effect::Allow);
            let decision = ask(&descriptor, &question, Server::Windows);
            prop_assert_eq!(decision.granted, expected);
            let reason = match first {
                None => Reason::NotAllowed(question.rights()),
                Some(first) if expected => Reason::Allowed(first),
                Some(first) => Reason::Denied(first),
            };
            prop_assert_eq!(decision.reason, reason);
        }

        #[test]
        fn samba_never_grants_less_for_one_right(aces in prop::collection::vec(samples::plain_ace(), 0..12)) {
            let descriptor = SecurityDescriptor::of_dacl(Acl::new(aces));
            let question = Question::write_pwd_last_set(guid::USER);
            if ask(&descriptor, &question, Server::Windows).granted {
                prop_assert!(ask(&descriptor, &question, Server::Samba).granted);
            }
        }
    }
}
