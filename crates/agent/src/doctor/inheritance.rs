//! Where a right that a container delegates is lost on its way down.

use keyback_ad::descriptor::{Ace, AceFlags, Acl, Numbered, Question, SecurityDescriptor, Server, Token};
use keyback_ad::guid::Guid;
use keyback_ad::{Container, Dn, Sid, Subject};

/// A container that delegates a right which the user has not, and where it stops.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    /// The container.
    pub(super) giver: &'a Dn,
    /// Its ACE that would grant it.
    pub(super) ace: Numbered<'a>,
    /// The object whose inheritance is off: the user, or a container between.
    pub(super) blocker: &'a Dn,
}

/// Looks upwards for the nearest container whose ACEs would grant `question` on the user, if nothing stopped them.
/// `None`: no container that can be read does, or inheritance is off nowhere between, so this is not why.
pub(super) fn find_cut<'a>(
    subject: &'a Subject,
    token: &Token,
    question: &Question,
    server: Server,
) -> Option<Cut<'a>> {
    let own = subject.descriptor.as_ref()?;
    let mut blocker = own.is_protected().then_some(&subject.user.dn);
    for (depth, container) in subject.containers.iter().enumerate() {
        if let (Some(blocker), Some(ace)) =
            (blocker, delegates(container, depth, subject, token, question, server))
        {
            let above = subject.containers.get(depth + 1..).unwrap_or_default();
            let giver = origin(above, ace, subject.class).filter(|_| ace.ace.is_inherited());
            return Some(Cut { giver: giver.unwrap_or(&container.dn), ace, blocker });
        }
        // The nearest one to the giver decides: everything below it is cut off by it already.
        if container.descriptor.as_ref().is_some_and(SecurityDescriptor::is_protected) {
            blocker = Some(&container.dn);
        }
    }
    None
}

fn delegates<'a>(
    container: &'a Container,
    depth: usize,
    subject: &Subject,
    token: &Token,
    question: &Question,
    server: Server,
) -> Option<Numbered<'a>> {
    let descriptor = container.descriptor.as_ref()?;
    let owner = subject.descriptor.as_ref().and_then(|own| own.owner.as_ref());
    let reaching = descriptor.aces().filter(|numbered| {
        // NP: for direct children only.
        depth == 0 || !numbered.ace.flags.contains(AceFlags::NO_PROPAGATE)
    });
    let (places, aces): (Vec<_>, Vec<_>) = reaching
        .filter_map(|numbered| Some((numbered, numbered.ace.inherited_by(subject.class, owner, None)?)))
        .unzip();
    let arrived = SecurityDescriptor::of_dacl(Acl::new(aces));
    let decision = arrived.check(token, Some(&subject.user.sid), question, server);
    let last = decision.gave.last()?.index;
    (decision.granted).then(|| places.get(last).copied()).flatten()
}

/// The container from which an inherited ACE comes, and its own ACE there: the nearest of these that has it explicitly.
pub(super) fn source<'a>(
    containers: &'a [Container],
    ace: &Ace,
    class: Guid,
) -> Option<(&'a Dn, Numbered<'a>)> {
    let stamped = |own: &Ace| own.inherited_by(class, None, None).unwrap_or_else(|| own.clone());
    let is_it = |own: &Numbered<'_>| !own.ace.is_inherited() && stamped(own.ace).covers(&stamped(ace));
    containers.iter().find_map(|container| {
        let own = container.descriptor.as_ref()?.aces().find(is_it)?;
        Some((&container.dn, own))
    })
}

/// The container alone.
pub(super) fn origin<'a>(containers: &'a [Container], ace: Numbered<'_>, class: Guid) -> Option<&'a Dn> {
    source(containers, ace.ace, class).map(|(dn, _)| dn)
}

/// Whether every container above can be judged.
pub(super) fn all_readable(subject: &Subject) -> bool {
    subject.containers.iter().all(|container| container.descriptor.is_some())
}

/// The nearest container in which a grant for users below belongs: the user's own.
pub(super) fn narrowest(subject: &Subject) -> &Dn {
    subject.containers.first().map_or(&subject.user.dn, |container| &container.dn)
}

/// The ACE that grants `mask` on `object_type` to `sid` for users below, as SDDL.
pub(super) fn grant_sddl(letters: &str, object_type: Guid, class: Guid, sid: Option<&Sid>) -> String {
    let sid = sid.map_or_else(|| "SID-OF-CONNECTOR".to_owned(), ToString::to_string);
    format!("(OA;CIIO;{letters};{object_type};{class};{sid})")
}
