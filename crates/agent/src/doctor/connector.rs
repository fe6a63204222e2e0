//! The connector account: it signed in, so it is neither disabled nor locked; who it is to an access check.

use super::finding::Report;
use super::view::{Seen, View};
use super::words::{moment, who};
use keyback_ad::Ground;
use keyback_codes::Cause;

pub(super) fn probe(view: &View<'_>, ground: &Ground, report: &mut Report) {
    // A sign-in proves all of these ([MS-ERREF]: 533, 775, 532, 701, 773 would have refused it).
    report.exclude(&[Cause::ConnectorDisabled, Cause::ConnectorLocked, Cause::ConnectorPasswordExpired]);
    state(view, ground, report);
    token(view, ground, report);
}

fn state(view: &View<'_>, ground: &Ground, report: &mut Report) {
    let id = "connector.state";
    let name = view.connector(ground);
    let attributes = ["userAccountControl", "lockoutTime", "accountExpires", "pwdLastSet"];
    let Some(connector) = &ground.connector else {
        let summary = format!("{name} signed in; its own object is not shown to it.");
        let needs = "Read on its own account, so that an expiry can be foreseen.";
        let seen = Seen::unknown(id, summary, needs).on(&ground.dc);
        report.observe(seen.shown_by(view.reads(ground, "", &["tokenGroups"])).into());
        return;
    };
    let account = &connector.account;
    let mut seen = Seen::ok(id, format!("{name} signed in: enabled, not locked, not expired."));
    let dn = &connector.dn;
    if let Some(control) = account.control {
        seen = seen.fact("userAccountControl", format!("{control:#x}"), dn);
    }
    for (attribute, at) in
        [("accountExpires", account.expires), ("password expires", account.password_expires)]
    {
        if let Some(at) = at {
            seen = seen.fact(attribute, moment(at), dn);
        }
    }
    report.observe(seen.on(&ground.dc).at(dn).shown_by(view.reads(ground, dn, &attributes)).into());
}

fn token(view: &View<'_>, ground: &Ground, report: &mut Report) {
    let id = "connector.token";
    let command = view.reads(ground, "", &["tokenGroups"]);
    let Some(token) = &ground.token else {
        let summary = "The connector account's groups are not shown, so its rights cannot be judged.";
        let needs = "A domain controller shows tokenGroups of the rootDSE to whoever is signed in.";
        let seen = Seen::unknown(id, summary, needs);
        report.observe(seen.on(&ground.dc).shown_by(command).into());
        return;
    };
    let mut groups: Vec<String> =
        token.sids().filter(|sid| ground.connector_sid.as_ref() != Some(sid)).map(who).collect();
    groups.sort();
    let own = ground.connector_sid.as_ref().map(ToString::to_string).unwrap_or_default();
    let summary = format!("The access check counts {} groups of {}.", groups.len(), view.connector(ground));
    let seen = Seen::ok(id, summary).fact("objectSid", own, &ground.dc).fact(
        "tokenGroups",
        groups.join(", "),
        &ground.dc,
    );
    report.observe(seen.on(&ground.dc).shown_by(command).into());
}
