//! Rights that are missing: which ACE to add or to take away, and where; where inheritance is to be on again.

use super::super::inheritance::{self, Cut};
use super::super::right::Right;
use super::super::words::{who, whom};
use super::{Edit, NotAPlace, Planner, is_forbidden};
use keyback_ad::descriptor::{Ace, Reason, SecurityDescriptor, Token};
use keyback_ad::guid;
use keyback_ad::{Dn, Ground, Sid, Subject};
use keyback_codes::Cause;

const EVERYONE: &str = "S-1-1-0";
const SELF: &str = "S-1-5-10";

impl Planner<'_> {
    pub(super) fn rights(&mut self, ground: &Ground, subject: &Subject, sid: &Sid) {
        let Some(token) = &ground.token else { return };
        self.unexpire(ground, token, sid);
        let Some(own) = &subject.descriptor else { return };
        // What is left when the denies that were found are gone: one may stand behind another.
        let mut left = own.clone();
        for right in Right::ON_USER {
            while let Some(denied) = self.right(ground, subject, token, sid, right, &left) {
                if let Some(dacl) = &mut left.dacl {
                    dacl.aces.retain(|ace| *ace != denied);
                }
            }
        }
    }

    /// Plans for one right. The deny ACE that is planned to go, where that is what stands in the way.
    fn right(
        &mut self,
        ground: &Ground,
        subject: &Subject,
        token: &Token,
        sid: &Sid,
        right: Right,
        left: &SecurityDescriptor,
    ) -> Option<Ace> {
        let question = right.question(subject.class);
        let decision = left.check(token, Some(&subject.user.sid), &question, ground.server);
        if !decision.is_certain() {
            return None;
        }
        match decision.reason {
            Reason::NoDacl | Reason::Owner | Reason::Allowed(_) | Reason::OverGranted(_) => None,
            Reason::Denied(ace) => {
                let denied = ace.ace.clone();
                self.remove_deny(ground, subject, right, &denied).then_some(denied)
            }
            Reason::NotAllowed(_) => {
                match inheritance::find_cut(subject, token, &question, ground.server) {
                    Some(cut) => self.inherit(ground, subject, &cut),
                    None => self.grant(ground, subject, sid, right),
                }
                None
            }
        }
    }

    fn remove_deny(&mut self, ground: &Ground, subject: &Subject, right: Right, ace: &Ace) -> bool {
        let Some(rights) = ace.rights() else { return false };
        let for_everyone = rights.sid.to_string() == EVERYONE;
        let of_change = right == Right::Change && for_everyone;
        let cause = if of_change { Cause::RightsCannotChange } else { Cause::RightsDenyAce };
        if !self.has(cause) {
            return false;
        }
        let place = if ace.is_inherited() {
            inheritance::source(&subject.containers, ace, subject.class)
        } else {
            Some((&subject.user.dn, keyback_ad::descriptor::Numbered { index: 0, ace }))
        };
        let Some((dn, explicit)) = place else {
            self.refuse(
                cause,
                "The deny ACE is inherited, and the container that it comes from cannot be read.",
            );
            return false;
        };
        if !is_narrow(explicit.ace) {
            let why = format!(
                "The deny ACE on {dn} takes more than the rights that keyback uses: what else it is for, only an \
                 administrator knows."
            );
            self.refuse(cause, why);
            return false;
        }
        let connector = ground.connector.as_ref().and_then(|own| own.name.as_deref());
        let whose = whom(ground, &rights.sid, connector.unwrap_or("the connector account"));
        let mut remark = format!("The ACE denies it to {whose}.");
        if ground.connector_sid.as_ref() != Some(&rights.sid) {
            remark.push_str(" Everybody whom that means gets back what other ACEs give.");
        }
        if ace.is_inherited() {
            remark.push_str(&format!(" It holds for every user below {dn}."));
        }
        self.edit_object(ground, dn, Edit::Remove(explicit.ace.clone()), cause, Some(remark));
        if of_change && let Some(descriptor) = &subject.descriptor {
            // 'User cannot change password' is two ACEs: for Everyone and for SELF.
            let its_twin = |other: &Ace| {
                other
                    .rights()
                    .is_some_and(|own| own.sid.to_string() == SELF && own.object_type == rights.object_type)
                    && other.kind == ace.kind
            };
            for twin in descriptor.aces().filter(|own| !own.ace.is_inherited() && its_twin(own.ace)) {
                self.edit_object(ground, &subject.user.dn, Edit::Remove(twin.ace.clone()), cause, None);
            }
        }
        true
    }

    /// Everything that is closed between the user and what delegates.
    fn inherit(&mut self, ground: &Ground, subject: &Subject, cut: &Cut<'_>) {
        let cause = Cause::RightsInheritanceOff;
        if !self.has(cause) {
            return;
        }
        let user = &subject.user;
        if subject.descriptor.as_ref().is_some_and(SecurityDescriptor::is_protected) {
            self.edit_object(ground, &user.dn, Edit::Inherit, cause, None);
            if self.seen.unwrap_or(user).admin_count.is_some_and(|count| count > 0) {
                let remark =
                    "adminCount goes as well: the account is in no protected group any more.".to_owned();
                self.edit_object(ground, &user.dn, Edit::ForgetAdminCount, cause, Some(remark));
            }
        }
        if *cut.blocker == user.dn {
            return;
        }
        for container in &subject.containers {
            if container.descriptor.as_ref().is_some_and(SecurityDescriptor::is_protected) {
                let remark = format!(
                    "Everything below {} gets what the containers above it give and deny.",
                    container.dn
                );
                self.edit_object(ground, &container.dn, Edit::Inherit, cause, Some(remark));
            }
            if container.dn == *cut.blocker {
                return;
            }
        }
    }

    fn grant(&mut self, ground: &Ground, subject: &Subject, sid: &Sid, right: Right) {
        let cause = right.missing();
        if !self.has(cause) {
            return;
        }
        let ace = Ace::allow(right.mask(), Some(right.guid()), sid.clone());
        let (dn, remark) = match self.at.ok_or(()).or_else(|()| narrowest(ground, subject)) {
            Ok(dn) => {
                (dn, format!("Every user below {dn} gets it, present and future, and nothing else does."))
            }
            Err(why) => {
                let remark = format!("On the user alone: {why}.");
                self.edit_object(ground, &subject.user.dn, Edit::Add(ace), cause, Some(remark));
                return;
            }
        };
        let ace = ace.for_descendants(Some(subject.class));
        self.edit_object(ground, dn, Edit::Add(ace), cause, Some(remark));
        let scope = self.setting.scope.iter().flatten();
        self.plan.offer = scope
            .filter(|ou| *ou != dn && self.at.is_none() && is_place(ou, ground, subject).is_ok())
            .max_by_key(|ou| ou.as_str().len())
            .cloned();
    }

    /// Unexpire Password stands at the domain's head and nowhere else.
    fn unexpire(&mut self, ground: &Ground, token: &Token, sid: &Sid) {
        let cause = Cause::RightsPwdLastSetMissing;
        let Some(descriptor) = ground.domain_descriptor.as_ref().filter(|_| self.has(cause)) else { return };
        let question = Right::Unexpire.question(guid::DOMAIN_DNS);
        let decision = descriptor.check(token, ground.domain_sid.as_ref(), &question, ground.server);
        match decision.reason {
            Reason::NotAllowed(_) if decision.is_certain() => {
                let ace = Ace::allow(Right::Unexpire.mask(), Some(guid::UNEXPIRE_PASSWORD), sid.clone());
                let remark =
                    "It can be given at the domain's head only, and is for that object alone.".to_owned();
                self.edit_object(ground, &ground.base, Edit::Add(ace), cause, Some(remark));
            }
            Reason::Denied(ace) if decision.is_certain() => {
                let whose = ace.ace.rights().map(|rights| who(&rights.sid)).unwrap_or_default();
                let why = format!(
                    "A deny ACE at the domain's head takes Unexpire Password from {whose}: whom else it is for, only \
                     an administrator knows."
                );
                self.refuse(cause, why);
            }
            Reason::NotAllowed(_)
            | Reason::Denied(_)
            | Reason::NoDacl
            | Reason::Owner
            | Reason::Allowed(_)
            | Reason::OverGranted(_) => {}
        }
    }

    pub(super) fn check_place(&self, at: &Dn, ground: &Ground, subject: &Subject) -> Result<(), NotAPlace> {
        let no = |why| Err(NotAPlace { dn: at.clone(), why });
        if let Err(why) = is_place(at, ground, subject) {
            return no(why);
        }
        match &self.setting.scope {
            Some(scope) if !scope.iter().any(|ou| at.is_under(ou)) => {
                no("it is higher than the OUs in scope: users who are never reset would be covered")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether what is granted in this container reaches the user, and not the accounts of the system.
fn is_place(at: &Dn, ground: &Ground, subject: &Subject) -> Result<(), &'static str> {
    let Some(depth) = subject.containers.iter().position(|container| container.dn == *at) else {
        return Err("the user does not lie below it");
    };
    if *at == ground.base {
        return Err("it is the domain's head, and would cover everybody");
    }
    let people = format!("CN=Users,{}", ground.base);
    if Dn::parse(&people).is_ok_and(|people| people == *at) || is_forbidden(at, &ground.base) {
        return Err("Administrator and krbtgt lie there");
    }
    let closed =
        |descriptor: Option<&SecurityDescriptor>| descriptor.is_none_or(SecurityDescriptor::is_protected);
    let between = subject.containers.iter().take(depth);
    if closed(subject.descriptor.as_ref())
        || between.into_iter().any(|container| closed(container.descriptor.as_ref()))
    {
        return Err("inheritance is off between it and the user, or cannot be read");
    }
    Ok(())
}

/// The user's own container, unless there is a reason against it.
fn narrowest<'a>(ground: &Ground, subject: &'a Subject) -> Result<&'a Dn, &'static str> {
    let own = inheritance::narrowest(subject);
    let reason = |why: &'static str| if *own == ground.base { "it lies at the domain's head" } else { why };
    is_place(own, ground, subject).map(|()| own).map_err(reason)
}

/// Whether an ACE is about one right that keyback uses and nothing else.
pub(in super::super) fn is_narrow(ace: &Ace) -> bool {
    let about = |right: &Right| {
        ace.rights()
            .is_some_and(|rights| rights.object_type == Some(right.guid()) && rights.mask == right.mask())
    };
    Right::ON_USER.iter().any(about)
}
