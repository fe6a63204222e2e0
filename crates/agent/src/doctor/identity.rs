//! Whom the name means: nobody, a deleted one, several; who else has the user's names; whether it lies in scope.

use super::finding::{Finding, Report};
use super::remedy::{self, by_server, powershell, sh};
use super::view::{Seen, View, escaped, ps_quoted, quoted};
use keyback_ad::{Found, Ground, Holder, Subject, Tombstone};
use keyback_codes::Cause;
use keyback_core::diagnosis::State;

/// What no userPrincipalName may hold if it is to be synchronised and typed (Microsoft, "Prepare for directory
/// synchronization": characters to remove from userPrincipalName), blanks among them.
const RESERVED: &str = "\\%&*+/=?{}|<>();:,[]\"` ";

pub(super) fn probe(view: &View<'_>, ground: &Ground, report: &mut Report) {
    match &view.examination.found {
        Some(Found::One(subject)) => {
            one(view, ground, subject, report);
            scope(view, ground, subject, report);
            anchor(view, ground, subject, report);
            addresses(view, ground, subject, report);
            names(view, ground, subject, report);
            characters(view, ground, subject, report);
            mail(view, ground, subject, report);
        }
        Some(Found::Nobody { tombstones }) => nobody(view, ground, tombstones, report),
        Some(Found::Several(holders)) => several(view, ground, holders, report),
        Some(Found::Unreadable { dn, attribute }) => unreadable(view, ground, dn, attribute, report),
        None => {}
    }
}

fn filter_of(name: &str) -> String {
    let name = escaped(name);
    format!("(|(userPrincipalName={name})(sAMAccountName={name})(mail={name}))")
}

fn one(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let user = &subject.user;
    let seen = Seen::ok("target.found", format!("The name means {}.", user.dn))
        .fact("objectGUID", user.guid.to_string(), user.dn.as_str())
        .fact("sAMAccountName", &user.sam_account_name, user.dn.as_str());
    let command =
        view.reads(ground, user.dn.as_str(), &["objectGUID", "sAMAccountName", "userPrincipalName"]);
    report.observe(seen.on(&ground.dc).at(user.dn.as_str()).shown_by(command).into());
    report.exclude(&[Cause::TargetNotFound, Cause::TargetDeleted]);
}

fn nobody(view: &View<'_>, ground: &Ground, tombstones: &[Tombstone], report: &mut Report) {
    let id = "target.found";
    let asked = view.case.name.as_str();
    let attributes = ["distinguishedName"];
    let command = view.searches(ground, &filter_of(asked), &attributes);
    if let [tombstone, ..] = tombstones {
        let was = tombstone.sam_account_name.as_deref().unwrap_or(asked);
        let from = tombstone.last_known_parent.as_deref().unwrap_or("an unknown place");
        let when = tombstone.when_changed.map_or_else(String::new, |at| format!(" not later than {at}"));
        let summary = format!("{was} was deleted from {from}{when}.");
        let mut seen = Seen::found(id, summary.clone());
        for stone in tombstones {
            seen = seen.fact("distinguishedName", &stone.dn, "CN=Deleted Objects");
        }
        report.observe(seen.on(&ground.dc).at(&tombstone.dn).shown_by(command).into());
        let guid = tombstone.guid.map(|guid| guid.to_string()).unwrap_or_default();
        let fix = remedy::with(
            Cause::TargetDeleted,
            "Restore the user where the Recycle Bin is on, or create it anew.",
            vec![powershell(format!("Restore-ADObject -Identity {}", ps_quoted(&guid)))],
        );
        // More than one with the same name: which of them was meant is not known, that it is gone is.
        let finding = Finding::confirmed(Cause::TargetDeleted, summary, &[id]);
        report.accuse(finding.ruling_out(&[Cause::TargetNotFound]).mended_by(fix));
        return;
    }
    let connector = view.connector(ground);
    let summary = format!(
        "{connector} sees no user called {asked}. Either there is none, or {connector} may not see it: the directory \
         does not tell which."
    );
    let seen = Seen::found(id, summary.clone()).fact("searched", ground.base.as_str(), &ground.dc);
    report.observe(seen.on(&ground.dc).shown_by(command.clone()).into());
    let fix = remedy::with(
        Cause::TargetNotFound,
        format!(
            "Check the name as an administrator. If the user is there, let {connector} list and read the OU \
             (List Contents, Read all properties)."
        ),
        by_server(
            ground,
            sh(format!("samba-tool user show {}", quoted(asked.split('@').next().unwrap_or(asked)))),
            vec![powershell(format!("Get-ADUser -LDAPFilter {}", ps_quoted(&filter_of(asked))))],
        ),
    );
    report.accuse(Finding::confirmed(Cause::TargetNotFound, summary, &[id]).mended_by(fix));
}

fn several(view: &View<'_>, ground: &Ground, holders: &[Holder], report: &mut Report) {
    let id = "target.found";
    let asked = view.case.name.as_str();
    let summary = format!("The name {asked} fits {} users, so none of them is taken.", holders.len());
    let mut seen = Seen::found(id, summary.clone());
    for holder in holders {
        seen = seen.fact("distinguishedName", &holder.dn, &ground.dc);
    }
    let address = format!("smtp:{asked}");
    let by_address = holders.iter().all(|holder| {
        let same = |known: &String| known.eq_ignore_ascii_case(&address);
        holder.proxy_addresses.iter().any(same)
    });
    let cause = if by_address { Cause::TargetDuplicateProxyAddress } else { Cause::TargetDuplicateUpn };
    report.observe(seen.on(&ground.dc).shown_by(view.searches(ground, &filter_of(asked), &["mail"])).into());
    report.accuse(Finding::confirmed(cause, summary, &[id]).ruling_out(&[Cause::TargetNotFound]));
}

fn unreadable(view: &View<'_>, ground: &Ground, dn: &str, attribute: &str, report: &mut Report) {
    let id = "target.found";
    let connector = view.connector(ground);
    let summary = format!("{dn} is there, and {connector} may not read its {attribute}.");
    let needs = format!("Read all properties on {dn} for {connector}.");
    let seen = Seen::unknown(id, summary.clone(), needs.clone());
    report.observe(seen.on(&ground.dc).at(dn).shown_by(view.reads(ground, dn, &[attribute])).into());
    let fix = remedy::with(Cause::TargetNotFound, format!("Grant {needs}"), Vec::new());
    report.accuse(Finding::new(Cause::TargetNotFound, State::Unknown, summary, &[id]).mended_by(fix));
}

fn scope(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "target.scope";
    let dn = &subject.user.dn;
    let Some(scope) = &view.setting.scope else {
        report.observe(Seen::not_applicable(id, "No scope was given, so every user is in it.").into());
        return;
    };
    let listed: Vec<String> = scope.iter().map(ToString::to_string).collect();
    let inside = scope.iter().find(|ou| dn.is_under(ou));
    let seen = match inside {
        Some(ou) => Seen::ok(id, format!("The user lies in scope, under {ou}.")),
        None => Seen::found(id, format!("The user lies outside the scope: {dn}.")),
    };
    let seen = seen.fact("scope", listed.join("; "), "configuration");
    let seen = seen.fact("distinguishedName", dn.as_str(), &ground.dc);
    let command = view.reads(ground, dn.as_str(), &["distinguishedName"]);
    report.observe(seen.on(&ground.dc).at(dn.as_str()).shown_by(command).into());
    if inside.is_some() {
        report.exclude(&[Cause::TargetOutOfScope]);
        return;
    }
    let summary = format!("{dn} lies under none of the OUs in scope: {}.", listed.join("; "));
    report.accuse(Finding::confirmed(Cause::TargetOutOfScope, summary, &[id]));
}

fn dns<'a>(holders: impl IntoIterator<Item = &'a Holder>) -> String {
    holders.into_iter().map(|holder| holder.dn.as_str()).collect::<Vec<_>>().join("; ")
}

/// One look for others, accused where there are some.
fn others(
    ground: &Ground,
    report: &mut Report,
    (id, cause, what): (&str, Cause, &str),
    found: &[&Holder],
    facts: Vec<(String, String)>,
    command: String,
) {
    let seen = if found.is_empty() {
        report.exclude(&[cause]);
        Seen::ok(id, format!("Nobody else has this user's {what}."))
    } else {
        Seen::found(id, format!("Others have this user's {what}: {}.", dns(found.iter().copied())))
    };
    let seen =
        facts.into_iter().fold(seen, |seen, (attribute, value)| seen.fact(&attribute, value, &ground.dc));
    report.observe(seen.on(&ground.dc).shown_by(command).into());
}

fn anchor(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "target.anchor";
    let own = subject.consistency_guid.unwrap_or(subject.user.guid.to_wire());
    let same: Vec<&Holder> = subject
        .holders
        .iter()
        .filter(|other| {
            other.consistency_guid.or(other.guid.map(keyback_core::ObjectGuid::to_wire)) == Some(own)
        })
        .collect();
    let hex: String = own.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let filter = format!("(|(mS-DS-ConsistencyGuid={hex})(objectGUID={hex}))");
    let facts = vec![("source anchor".to_owned(), subject.user.source_anchor.to_string())];
    let command = view.searches(ground, &filter, &["mS-DS-ConsistencyGuid"]);
    others(ground, report, (id, Cause::TargetDuplicateAnchor, "source anchor"), &same, facts, command);
    if let [first, ..] = same.as_slice() {
        let summary = format!(
            "{} carries the same source anchor as this user ({}), so a cloud identity cannot tell them apart.",
            dns(same.iter().copied()),
            subject.user.source_anchor
        );
        let commands = vec![powershell(format!(
            "Set-ADObject -Identity {} -Clear mS-DS-ConsistencyGuid",
            ps_quoted(&first.dn)
        ))];
        let fix =
            remedy::with(Cause::TargetDuplicateAnchor, Cause::TargetDuplicateAnchor.fix().text, commands);
        report.accuse(Finding::confirmed(Cause::TargetDuplicateAnchor, summary, &[id]).mended_by(fix));
    }
}

/// The prefix says only which address is the primary one; case does not matter.
fn same_address(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn addresses(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "target.addresses";
    let own = &subject.proxy_addresses;
    let shares = |other: &&Holder| {
        other.proxy_addresses.iter().any(|address| own.iter().any(|mine| same_address(mine, address)))
    };
    let same: Vec<&Holder> = subject.holders.iter().filter(shares).collect();
    let command = if own.is_empty() {
        view.reads(ground, subject.user.dn.as_str(), &["proxyAddresses"])
    } else {
        let terms: String =
            own.iter().map(|address| format!("(proxyAddresses={})", escaped(address))).collect();
        view.searches(ground, &format!("(|{terms})"), &["proxyAddresses"])
    };
    let facts = own.iter().map(|address| ("proxyAddresses".to_owned(), address.clone())).collect();
    let what = (id, Cause::TargetDuplicateProxyAddress, "addresses");
    others(ground, report, what, &same, facts, command);
    if !same.is_empty() {
        let common = own.iter().find(|mine| {
            same.iter().any(|other| other.proxy_addresses.iter().any(|theirs| same_address(mine, theirs)))
        });
        let summary = format!(
            "{} has the address {} too.",
            dns(same.iter().copied()),
            common.map_or("(unknown)", String::as_str)
        );
        report.accuse(Finding::confirmed(Cause::TargetDuplicateProxyAddress, summary, &[id]));
    }
}

fn names(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "target.names";
    let user = &subject.user;
    let domain = ground.base.dns_domain();
    let mut typed: Vec<&String> = user.user_principal_name.iter().chain(&user.mail).collect();
    typed.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
    let is_typed = |name: &str| typed.iter().any(|own| own.eq_ignore_ascii_case(name));
    // The same search that a name from the portal goes through; an address that both have is named as such.
    let shares = |other: &&Holder| {
        let implicit = other.sam_account_name.as_ref().map(|account| format!("{account}@{domain}"));
        let by_address = other.proxy_addresses.iter().any(|address| {
            let ours = subject.proxy_addresses.iter().any(|mine| same_address(mine, address));
            !ours && address.split_once(':').is_some_and(|(_, name)| is_typed(name))
        });
        [&other.user_principal_name, &other.mail, &implicit].into_iter().flatten().any(|name| is_typed(name))
            || by_address
    };
    let same: Vec<&Holder> = subject.holders.iter().filter(shares).collect();
    let terms: String =
        typed.iter().map(|name| format!("(userPrincipalName={0})(mail={0})", escaped(name))).collect();
    let command = view.searches(ground, &format!("(|{terms})"), &["userPrincipalName", "mail"]);
    let facts = typed.iter().map(|name| ("name".to_owned(), (*name).clone())).collect();
    others(ground, report, (id, Cause::TargetDuplicateUpn, "names"), &same, facts, command);
    if !same.is_empty() {
        // The names that the search found with somebody else; one that came by another way is named in general.
        let has = |other: &Holder, name: &str| {
            let implicit = other.sam_account_name.as_ref().map(|account| format!("{account}@{domain}"));
            [&other.user_principal_name, &other.mail, &implicit]
                .into_iter()
                .flatten()
                .chain(&other.proxy_addresses)
                .any(|theirs| {
                    theirs.rsplit(':').next().is_some_and(|theirs| theirs.eq_ignore_ascii_case(name))
                })
        };
        let mut names: Vec<String> = typed.iter().map(|name| (*name).clone()).collect();
        names.retain(|name| same.iter().any(|other| has(other, name)));
        names.dedup();
        let summary = format!(
            "{} answers to the same name or mail address as this user ({}), so whoever types it is turned away.",
            dns(same.iter().copied()),
            super::words::list(&names)
        );
        report.accuse(Finding::confirmed(Cause::TargetDuplicateUpn, summary, &[id]));
    }
}

fn characters(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "target.characters";
    let dn = subject.user.dn.as_str();
    let Some(upn) = &subject.user.user_principal_name else {
        report.observe(
            Seen::not_applicable(id, "The user has no userPrincipalName.").on(&ground.dc).at(dn).into(),
        );
        return;
    };
    let odd: String = upn.chars().filter(|c| RESERVED.contains(*c) || c.is_control()).collect();
    let seen = if odd.is_empty() {
        report.exclude(&[Cause::TargetReservedCharacters]);
        Seen::ok(id, "The name holds no reserved character.")
    } else {
        let summary = format!("The userPrincipalName {upn} holds reserved characters: {odd}");
        let fix = remedy::with(
            Cause::TargetReservedCharacters,
            "Give the user a userPrincipalName of letters, digits and . - _ ! # ^ ~ '.",
            by_server(
                ground,
                sh(format!(
                    "samba-tool user rename {} --upn=NAME@DOMAIN",
                    quoted(&subject.user.sam_account_name)
                )),
                vec![powershell(format!(
                    "Set-ADUser -Identity {} -UserPrincipalName NAME@DOMAIN",
                    ps_quoted(&subject.user.sam_account_name)
                ))],
            ),
        );
        let finding = Finding::confirmed(Cause::TargetReservedCharacters, format!("{summary}."), &[id]);
        report.accuse(finding.mended_by(fix));
        Seen::found(id, format!("{summary}."))
    };
    let seen = seen.fact("userPrincipalName", upn, dn);
    report
        .observe(seen.on(&ground.dc).at(dn).shown_by(view.reads(ground, dn, &["userPrincipalName"])).into());
}

fn mail(view: &View<'_>, ground: &Ground, subject: &Subject, report: &mut Report) {
    let id = "target.mail";
    let user = &subject.user;
    let dn = user.dn.as_str();
    let command = view.reads(ground, dn, &["mail"]);
    let seen = match (&user.mail, view.setting.mails_codes) {
        (Some(mail), _) => {
            report.exclude(&[Cause::TargetNoMail]);
            Seen::ok(id, "The user has an address of record.").fact("mail", mail, dn)
        }
        (None, false) => Seen::not_applicable(id, "The user has no mail address; no code is mailed here."),
        (None, true) => {
            let summary = format!("{dn} has no mail address, so no code can be sent.");
            report.accuse(Finding::confirmed(Cause::TargetNoMail, summary.clone(), &[id]));
            Seen::found(id, summary)
        }
    };
    report.observe(seen.on(&ground.dc).at(dn).shown_by(command).into());
}
