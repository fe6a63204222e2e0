//! Administrators and other accounts that are left alone; and traces of former ones, which are harmless by themselves.

use super::finding::{Finding, Report};
use super::remedy;
use super::view::{Seen, View};
use super::words::who;
use crate::guard;
use keyback_ad::{Ground, Sid, Subject};
use keyback_codes::Cause;
use keyback_core::diagnosis::State;

pub(super) fn probe(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    membership(view, ground, subject, report);
    traces(view, ground, subject, report);
}

/// Whether the agent's own guard lets this user pass: the same function that a reset goes through.
fn membership(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "protection.membership";
    let user = &subject.user;
    let dn = user.dn.as_str();
    let command = view.reads(ground, dn, &["tokenGroups", "primaryGroupID", "userAccountControl"]);
    let readable =
        user.token_groups.is_some() && user.user_account_control.is_some() && user.primary_group_id.is_some();
    let nobody = Sid::decode(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).ok();
    let Some(connector) = ground.connector_sid.as_ref().or(nobody.as_ref()) else { return };
    let refused = guard::check_protection(user, connector, &view.setting.protected_groups).err();
    let Some(failure) = refused else {
        let seen = Seen::ok(id, "The user is in no protected group, however nested.");
        report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
        report.exclude(&[Cause::RightsProtectedObject]);
        return;
    };
    if !readable {
        let needs = format!(
            "Read tokenGroups, userAccountControl and primaryGroupID on {dn} for {} (Pre-Windows 2000 Compatible \
             Access, or Read all properties).",
            view.connector(ground)
        );
        let summary = "The user's groups cannot be read, so keyback treats it as protected.";
        let seen = Seen::unknown(id, summary, needs.clone());
        report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
        let fix = remedy::with(Cause::RightsProtectedObject, format!("Grant: {needs}"), Vec::new());
        let finding = Finding::new(Cause::RightsProtectedObject, State::Unknown, summary, &[id]);
        report.accuse(finding.mended_by(fix));
        return;
    }
    let fact = failure.evidence.first();
    let why = fact.map_or_else(String::new, |fact| match fact.attribute.as_str() {
        "tokenGroups" => {
            let group = fact.value.parse().map_or_else(|_| fact.value.clone(), |sid| who(&sid));
            format!("it is a member of {group}, directly or through other groups")
        }
        "objectSid" if *connector == user.sid => "it is the connector account itself".to_owned(),
        "objectSid" => "it is an account that the system needs".to_owned(),
        attribute => format!("its {attribute} is {}", fact.value),
    });
    let summary = format!("{dn} is protected: {why}. keyback leaves it alone whatever its rights are.");
    let seen = Seen::found(id, format!("The user is protected: {why}."));
    let seen = seen.facts(failure.evidence).on(&ground.dc).at(dn).shown_by(command);
    report.observe(seen.into());
    let finding = Finding::confirmed(Cause::RightsProtectedObject, summary, &[id, "protection.traces"]);
    report.accuse(finding.ruling_out(&[
        Cause::RightsResetMissing,
        Cause::RightsDenyAce,
        Cause::RightsInheritanceOff,
    ]));
}

/// Whether the user's DACL is what AdminSDHolder gives.
pub(super) fn has_holders_dacl(ground: &Ground, subject: &Subject) -> Option<bool> {
    let own = subject.descriptor.as_ref()?;
    let holder = ground.admin_sd_holder.as_ref()?;
    Some(own.dacl.as_ref()?.aces == holder.dacl.as_ref()?.aces)
}

/// adminCount and AdminSDHolder's DACL stay behind when an administrator leaves. Alone they do nothing; with the DACL
/// the inheritance is off, which the rights' probes see.
fn traces(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "protection.traces";
    let dn = subject.user.dn.as_str();
    let count = subject.user.admin_count.unwrap_or(0);
    let same = has_holders_dacl(ground, subject);
    let closed = subject.descriptor.as_ref().map(keyback_ad::descriptor::SecurityDescriptor::is_protected);
    let summary = match (count > 0, closed, same) {
        (false, Some(false), _) => "Nothing shows that the user was an administrator once.",
        (true, Some(false), _) => "adminCount was left behind; inheritance is on, so it does nothing.",
        (_, Some(true), Some(true)) => "The DACL is AdminSDHolder's, and inheritance is off.",
        (true, Some(true), _) => "adminCount is set and inheritance is off.",
        (false, Some(true), _) => "Inheritance is off, and nothing speaks of an administrator.",
        (_, None, _) => "The user's descriptor cannot be read.",
    };
    let mut seen = match (closed, count > 0) {
        (Some(false), false) => Seen::ok(id, summary),
        (Some(_), _) => Seen::found(id, summary),
        (None, _) => Seen::unknown(id, summary, format!("Read permissions on {dn}.")),
    };
    seen = seen.fact("adminCount", count.to_string(), dn);
    if let Some(closed) = closed {
        seen = seen.fact("inheritance", if closed { "off" } else { "on" }, dn);
    }
    if let Some(same) = same {
        seen = seen.fact("DACL as AdminSDHolder's", same.to_string(), dn);
    }
    let command = view.reads(ground, dn, &["adminCount", "nTSecurityDescriptor"]);
    report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
}
