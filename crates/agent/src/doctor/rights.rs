//! What the connector account may do to this user: reset, change, unlock, pwdLastSet; and Unexpire Password at the
//! domain's head. A right that is missing has one of three reasons: a deny ACE, inheritance that was cut, or nobody gave it.

use super::finding::{Finding, Report};
use super::inheritance::{self, Cut};
use super::mend::is_narrow;
use super::protection;
use super::remedy::{self, by_server, cmd, powershell, sh};
use super::right::Right;
use super::view::{Seen, View, ps_quoted, quoted, sddl};
use super::words::{list, says};
use keyback_ad::descriptor::{Decision, Effect, Numbered, Question, Reason, Server, Token};
use keyback_ad::guid;
use keyback_ad::{Dn, Ground, Sid, Subject};
use keyback_codes::Cause;
use keyback_core::diagnosis::{Command, Remedy, State};

/// Why a right is missing.
enum Loss<'a> {
    Denied { ace: Numbered<'a>, only: bool },
    Cut(Cut<'a>),
    NeverGiven,
}

/// The rights that one thing takes away.
struct Taken<'a, T> {
    by: T,
    rights: Vec<Right>,
    cuts: Vec<Cut<'a>>,
}

pub(super) fn probe(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let Some(token) = &ground.token else { return }; // connector.token says what is missing
    unexpire(view, ground, token, report);
    let Some(descriptor) = &subject.descriptor else {
        unreadable(view, ground, subject, report);
        return;
    };
    let operation = view.case.observed.map(|observed| observed.operation);
    let mut denied: Vec<Taken<'_, Numbered<'_>>> = Vec::new();
    let mut cut: Vec<Taken<'_, &Dn>> = Vec::new();
    for right in Right::ON_USER {
        let question = right.question(subject.class);
        let decision = descriptor.check(token, Some(&subject.user.sid), &question, ground.server);
        observe(view, ground, subject, right, &decision, report);
        if !decision.is_certain() {
            conditional(view, subject, right, &decision, report);
            continue;
        }
        if decision.granted {
            report.exclude(&[right.missing()]);
            continue;
        }
        if !right.matters(operation) {
            continue;
        }
        for loss in losses(ground, subject, token, &question, &decision) {
            match loss {
                Loss::Denied { ace, .. } if right == Right::Change && is_for_everyone(ace) => {
                    report.accuse(cannot_change(view, ground, subject, Some(ace)));
                }
                Loss::Denied { ace, only } => {
                    match denied.iter_mut().find(|taken| taken.by.index == ace.index) {
                        Some(known) => known.rights.push(right),
                        None => denied.push(Taken { by: ace, rights: vec![right], cuts: Vec::new() }),
                    }
                    if !only {
                        report.accuse(missing(view, ground, subject, right));
                    }
                }
                Loss::Cut(found) => match cut.iter_mut().find(|taken| taken.by == found.blocker) {
                    Some(known) => {
                        known.rights.push(right);
                        known.cuts.push(found);
                    }
                    None => cut.push(Taken { by: found.blocker, rights: vec![right], cuts: vec![found] }),
                },
                Loss::NeverGiven if right == Right::Change => {
                    report.accuse(cannot_change(view, ground, subject, None));
                }
                Loss::NeverGiven => {
                    report.accuse(missing(view, ground, subject, right));
                    if descriptor.is_protected() && !inheritance::all_readable(subject) {
                        report.accuse(perhaps_cut(ground, subject, right));
                    }
                }
            }
        }
    }
    denied.iter().for_each(|taken| report.accuse(deny(view, ground, subject, taken)));
    for (number, taken) in cut.iter().enumerate() {
        let id = if number == 0 {
            "rights.inheritance".to_owned()
        } else {
            format!("rights.inheritance:{number}")
        };
        observe_cut(view, ground, taken, &id, report);
        report.accuse(inheritance_off(view, ground, subject, taken, &id));
    }
    if denied.is_empty() {
        report.exclude(&[Cause::RightsDenyAce]);
    }
    if cut.is_empty() && inheritance::all_readable(subject) {
        report.exclude(&[Cause::RightsInheritanceOff]);
    }
}

/// A refusal by a deny ACE has a second reason where nothing would grant the right without it.
fn losses<'a>(
    ground: &Ground,
    subject: &'a Subject,
    token: &Token,
    question: &Question,
    decision: &Decision<'a>,
) -> Vec<Loss<'a>> {
    let never = || match inheritance::find_cut(subject, token, question, ground.server) {
        Some(cut) => Loss::Cut(cut),
        None => Loss::NeverGiven,
    };
    match decision.reason {
        Reason::Denied(ace) => {
            let behind = if decision.behind.is_some() { None } else { Some(never()) };
            let only = !matches!(behind, Some(Loss::NeverGiven));
            let second = behind.filter(|loss| matches!(loss, Loss::Cut(_)));
            std::iter::once(Loss::Denied { ace, only }).chain(second).collect()
        }
        Reason::NotAllowed(_) => vec![never()],
        Reason::NoDacl | Reason::Owner | Reason::Allowed(_) | Reason::OverGranted(_) => Vec::new(),
    }
}

fn is_for_everyone(ace: Numbered<'_>) -> bool {
    let everyone: Option<Sid> = "S-1-1-0".parse().ok();
    ace.ace.rights().is_some_and(|rights| Some(&rights.sid) == everyone.as_ref())
}

fn observe(
    view: &View<'_>,
    ground: &Ground,
    subject: &Subject,
    right: Right,
    decision: &Decision<'_>,
    report: &mut Report,
) {
    let dn = subject.user.dn.as_str();
    let connector = view.connector(ground);
    let name = right.name();
    let (why, ace) = match decision.reason {
        Reason::NoDacl => ("the object has no DACL, so everybody has every right".to_owned(), None),
        Reason::Owner => (format!("{connector} owns the object"), None),
        Reason::Allowed(ace) | Reason::Denied(ace) => (says(ground, ace, connector), Some(ace)),
        Reason::OverGranted(ace) => {
            (format!("{}, and Samba takes it for every right", says(ground, ace, connector)), Some(ace))
        }
        Reason::NotAllowed(_) => ("no ACE gives it".to_owned(), None),
    };
    let seen = match (decision.is_certain(), decision.granted) {
        (false, _) => Seen::unknown(
            right.id(),
            format!("Whether {connector} has {name} depends on a conditional ACE."),
            "Nothing lets it be read: conditions are not judged.",
        ),
        (true, true) => Seen::ok(right.id(), format!("{connector} has {name}: {why}.")),
        (true, false) => Seen::found(right.id(), format!("{connector} has no {name}: {why}.")),
    };
    let mut seen = seen.on(&ground.dc).at(dn);
    if let Some(ace) = ace {
        seen = seen.fact("nTSecurityDescriptor", format!("ACE {}: {}", ace.index, sddl(ground, ace)), dn);
    }
    for ace in decision.behind.iter().chain(&decision.conditional) {
        seen = seen.fact("nTSecurityDescriptor", format!("ACE {}: {}", ace.index, sddl(ground, *ace)), dn);
    }
    if let Some(attribute) = right.attribute() {
        let listed = is_writable(subject, attribute);
        seen = seen.fact("allowedAttributesEffective", format!("{attribute}: {listed}"), dn);
    }
    let attributes = match right.attribute() {
        Some(_) => ["nTSecurityDescriptor", "allowedAttributesEffective"].as_slice(),
        None => ["nTSecurityDescriptor"].as_slice(),
    };
    report.observe(seen.shown_by(view.reads(ground, dn, attributes)).into());
}

/// The server's own word on an attribute: in the list exactly when the write works (measured on Samba, 1,600 DACLs).
fn is_writable(subject: &Subject, attribute: &str) -> bool {
    let listed = |list: &Vec<String>| list.iter().any(|name| name.eq_ignore_ascii_case(attribute));
    subject.writable.as_ref().is_some_and(listed)
}

/// Without the descriptor the server's own list still decides about the attributes; about the passwords nothing does.
fn unreadable(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let dn = subject.user.dn.as_str();
    let connector = view.connector(ground);
    let needs = format!("Read permissions on {dn} for {connector}.");
    let operation = view.case.observed.map(|observed| observed.operation);
    for right in Right::ON_USER {
        let id = right.id();
        let command = view.reads(ground, dn, &["nTSecurityDescriptor", "allowedAttributesEffective"]);
        let name = right.name();
        if let Some(attribute) = right.attribute() {
            let listed = is_writable(subject, attribute);
            let text = format!("{connector} has {}{name}, says the server.", if listed { "" } else { "no " });
            let seen = if listed { Seen::ok(id, text) } else { Seen::found(id, text) };
            let seen = seen.fact("allowedAttributesEffective", format!("{attribute}: {listed}"), dn);
            report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
            if listed {
                report.exclude(&[right.missing()]);
            } else if right.matters(operation) {
                report.accuse(missing(view, ground, subject, right));
            }
            continue;
        }
        let summary =
            format!("Whether {connector} has {name} cannot be told: the descriptor is not readable.");
        report.observe(
            Seen::unknown(id, summary.clone(), needs.clone()).on(&ground.dc).at(dn).shown_by(command).into(),
        );
        if right == Right::Reset && right.matters(operation) {
            let fix = remedy::with(right.missing(), format!("Grant: {needs} Then ask again."), Vec::new());
            report.accuse(Finding::new(right.missing(), State::Unknown, summary, &[id]).mended_by(fix));
        }
    }
}

fn conditional(
    view: &View<'_>,
    subject: &Subject,
    right: Right,
    decision: &Decision<'_>,
    report: &mut Report,
) {
    if !right.matters(view.case.observed.map(|observed| observed.operation)) {
        return;
    }
    let denies = decision.conditional.iter().any(|ace| ace.ace.kind.effect() == Effect::Conditional);
    let cause = if denies && decision.granted { Cause::RightsDenyAce } else { right.missing() };
    let summary = format!(
        "A conditional ACE on {} decides about {}, and its condition is not judged here.",
        subject.user.dn,
        right.name()
    );
    report.accuse(Finding::new(cause, State::Unknown, summary, &[right.id()]));
}

fn missing(view: &View<'_>, ground: &Ground, subject: &Subject, right: Right) -> Finding {
    let connector = view.connector(ground);
    let dn = &subject.user.dn;
    let place = inheritance::narrowest(subject);
    let cause = right.missing();
    let summary = format!("{connector} has no {} on {dn}: no ACE gives it, here or above.", right.name());
    let fix = remedy::with(
        cause,
        format!("Grant {connector} {} on the users below {place}.", right.name()),
        grant(view, ground, subject, place, right),
    );
    let mut ruled_out = vec![Cause::RightsDenyAce];
    if inheritance::all_readable(subject) {
        ruled_out.push(Cause::RightsInheritanceOff);
    }
    Finding::confirmed(cause, summary, &[right.id()]).ruling_out(&ruled_out).mended_by(fix)
}

fn grant(view: &View<'_>, ground: &Ground, subject: &Subject, place: &Dn, right: Right) -> Vec<Command> {
    let (letters, dsacls) = right.letters();
    let sid = ground.connector_sid.as_ref();
    let ace = inheritance::grant_sddl(letters, right.guid(), subject.class, sid);
    let class = subject.class.name().unwrap_or("user");
    remedy::grant(ground, place.as_str(), &ace, &format!("{}:{dsacls};{class}", view.connector(ground)))
}

fn perhaps_cut(ground: &Ground, subject: &Subject, right: Right) -> Finding {
    let unread: Vec<String> = subject
        .containers
        .iter()
        .filter(|container| container.descriptor.is_none())
        .map(|container| container.dn.to_string())
        .collect();
    let summary = format!(
        "Inheritance is off on {}, and what is delegated above cannot be read on {}: whether a right was cut off \
         is not known.",
        subject.user.dn,
        list(&unread)
    );
    let fix = remedy::with(
        Cause::RightsInheritanceOff,
        "Grant the connector account Read permissions on these containers, and ask again.",
        inherit_again(ground, subject.user.dn.as_str()),
    );
    Finding::new(Cause::RightsInheritanceOff, State::Unknown, summary, &[right.id()]).mended_by(fix)
}

fn names(rights: &[Right]) -> String {
    list(&rights.iter().map(|right| right.name().to_owned()).collect::<Vec<_>>())
}

fn ids(rights: &[Right]) -> Vec<&'static str> {
    rights.iter().map(|right| right.id()).collect()
}

fn deny(view: &View<'_>, ground: &Ground, subject: &Subject, taken: &Taken<'_, Numbered<'_>>) -> Finding {
    let connector = view.connector(ground);
    let dn = &subject.user.dn;
    let ace = taken.by;
    let text = sddl(ground, ace);
    let summary = format!(
        "A deny ACE takes {} from {connector}: {}.",
        names(&taken.rights),
        says(ground, ace, connector)
    );
    let origin = ace
        .ace
        .is_inherited()
        .then(|| inheritance::origin(&subject.containers, ace, subject.class))
        .flatten();
    let place = origin.map_or_else(|| dn.to_string(), ToString::to_string);
    let commands = by_server(
        ground,
        sh(format!("samba-tool dsacl delete --objectdn={} --sddl={}", quoted(&place), quoted(&text))),
        vec![cmd(format!(
            "dsacls \"{place}\" /R \"{}\"",
            ace.ace.rights().map(|rights| rights.sid.to_string()).unwrap_or_default()
        ))],
    );
    let mut fix = remedy::with(
        Cause::RightsDenyAce,
        format!("Remove the deny ACE from {place}, or {connector} from the group that it names."),
        if origin.is_some() { Vec::new() } else { commands },
    );
    // keyback takes an ACE away only where it can be read, and where that is all it is for.
    fix.automatic &= is_narrow(ace.ace) && (origin.is_some() || !ace.ace.is_inherited());
    Finding::confirmed(Cause::RightsDenyAce, summary, &ids(&taken.rights))
        .ruling_out(&[Cause::RightsResetMissing, Cause::RightsInheritanceOff, Cause::RightsProtectedObject])
        .mended_by(fix)
}

/// samba-tool cannot switch inheritance on again (4.17.12 and 4.24.7), so there is no line for Samba.
fn inherit_again(ground: &Ground, dn: &str) -> Vec<Command> {
    match ground.server {
        Server::Windows => vec![cmd(format!("dsacls \"{dn}\" /P:N"))],
        Server::Samba => Vec::new(),
    }
}

/// Where inheritance stops, and the ACEs that stop there.
fn observe_cut(view: &View<'_>, ground: &Ground, taken: &Taken<'_, &Dn>, id: &str, report: &mut Report) {
    let blocker = taken.by.as_str();
    let summary = format!("Inheritance is off on {blocker}; ACEs above it would grant what is missing.");
    let mut seen = Seen::found(id, summary).by("rights.inheritance").on(&ground.dc).at(blocker);
    seen = seen.fact("inheritance", "off", blocker);
    for cut in &taken.cuts {
        seen = seen.fact("nTSecurityDescriptor", sddl(ground, cut.ace), cut.giver.as_str());
    }
    report.observe(seen.shown_by(view.reads(ground, blocker, &["nTSecurityDescriptor"])).into());
}

fn inheritance_off(
    view: &View<'_>,
    ground: &Ground,
    subject: &Subject,
    taken: &Taken<'_, &Dn>,
    id: &str,
) -> Finding {
    let connector = view.connector(ground);
    let blocker = taken.by;
    let givers: Vec<String> = taken.cuts.iter().map(|cut| cut.giver.to_string()).collect();
    let giver = givers.first().cloned().unwrap_or_default();
    let on_user = *blocker == subject.user.dn;
    let former = on_user
        && (subject.user.admin_count.unwrap_or(0) > 0
            || protection::has_holders_dacl(ground, subject) == Some(true));
    let why = if former { " It was left behind from a time as administrator." } else { "" };
    let summary = format!(
        "Inheritance is switched off on {blocker}, so what {giver} delegates to {connector} does not arrive: {}.{why}",
        names(&taken.rights)
    );
    let mut text = format!("Switch inheritance on again for {blocker}.");
    let mut commands = inherit_again(ground, blocker.as_str());
    if former {
        text.push_str(" Clear adminCount as well: the account is no administrator any more.");
        commands.push(powershell(format!(
            "Set-ADUser -Identity {} -Clear adminCount",
            ps_quoted(&subject.user.sam_account_name)
        )));
    }
    let because: Vec<&str> = ids(&taken.rights).into_iter().chain([id, "protection.traces"]).collect();
    Finding::confirmed(Cause::RightsInheritanceOff, summary, &because)
        .ruling_out(&[Cause::RightsResetMissing, Cause::RightsDenyAce, Cause::RightsProtectedObject])
        .mended_by(remedy::with(Cause::RightsInheritanceOff, text, commands))
}

fn cannot_change(view: &View<'_>, ground: &Ground, subject: &Subject, ace: Option<Numbered<'_>>) -> Finding {
    let dn = &subject.user.dn;
    let why = ace.map_or_else(
        || "no ACE gives Change Password to anybody who asks".to_owned(),
        |ace| says(ground, ace, view.connector(ground)),
    );
    let summary = format!("{dn} cannot change its own password: {why}. A reset is not touched by this.");
    let fix: Remedy = remedy::with(
        Cause::RightsCannotChange,
        "Clear 'User cannot change password' on the account.",
        vec![powershell(format!(
            "Set-ADUser -Identity {} -CannotChangePassword $false",
            ps_quoted(&subject.user.sam_account_name)
        ))],
    );
    Finding::confirmed(Cause::RightsCannotChange, summary, &[Right::Change.id()]).mended_by(fix)
}

/// On Windows a reset without it leaves pwdLastSet at 0, so that the person must change the new password at once
/// ([MS-SAMR] 3.1.1.8.7); on Samba only `pwdLastSet: -1` needs it, which the compare-and-swap sends.
fn unexpire(view: &View<'_>, ground: &Ground, token: &Token, report: &mut Report) {
    let right = Right::Unexpire;
    let id = right.id();
    let head = ground.base.as_str();
    let connector = view.connector(ground);
    let command = view.reads(ground, head, &["nTSecurityDescriptor"]);
    let Some(descriptor) = &ground.domain_descriptor else {
        let needs = format!("Read permissions on {head} for {connector}.");
        let summary = "Whether the new password would be expired at once cannot be told.";
        report.observe(Seen::unknown(id, summary, needs).on(&ground.dc).at(head).shown_by(command).into());
        return;
    };
    let question = right.question(guid::DOMAIN_DNS);
    let decision = descriptor.check(token, ground.domain_sid.as_ref(), &question, ground.server);
    let why = match decision.reason {
        Reason::Allowed(ace) | Reason::Denied(ace) | Reason::OverGranted(ace) => says(ground, ace, connector),
        Reason::NoDacl | Reason::Owner => "the object is open".to_owned(),
        Reason::NotAllowed(_) => "no ACE gives it".to_owned(),
    };
    let has = if decision.granted { "has" } else { "has no" };
    let text = format!("{connector} {has} Unexpire Password on the domain: {why}.");
    let seen = if decision.granted { Seen::ok(id, text.clone()) } else { Seen::found(id, text) };
    report.observe(seen.on(&ground.dc).at(head).shown_by(command).into());
    if decision.granted {
        return;
    }
    let sid = ground.connector_sid.as_ref().map(ToString::to_string).unwrap_or_default();
    let ace = format!("(OA;;CR;{};;{sid})", guid::UNEXPIRE_PASSWORD);
    let fix = remedy::with(
        right.missing(),
        format!("Grant {connector} Unexpire Password on {head} itself."),
        remedy::grant(ground, head, &ace, &format!("{connector}:CA;Unexpire Password")),
    );
    let summary = format!(
        "{connector} has no Unexpire Password on {head} ({why}): pwdLastSet cannot be set to now, and on Windows a \
         reset leaves the new password expired."
    );
    report.accuse(Finding::confirmed(right.missing(), summary, &[id]).mended_by(fix));
}
