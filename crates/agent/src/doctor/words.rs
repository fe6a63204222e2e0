//! SIDs, ACEs and instants in words.

use keyback_ad::descriptor::{Ace, AceFlags, Effect, Numbered};
use keyback_ad::{FileTime, Ground, Sid, guid};

const EVERYWHERE: &[(&str, &str)] = &[
    ("S-1-1-0", "Everyone"),
    ("S-1-3-0", "Creator Owner"),
    ("S-1-3-4", "Owner Rights"),
    ("S-1-5-2", "Network"),
    ("S-1-5-10", "Self"),
    ("S-1-5-11", "Authenticated Users"),
    ("S-1-5-15", "This Organization"),
    ("S-1-5-18", "Local System"),
    ("S-1-5-32-544", "Administrators"),
    ("S-1-5-32-545", "Users"),
    ("S-1-5-32-546", "Guests"),
    ("S-1-5-32-548", "Account Operators"),
    ("S-1-5-32-549", "Server Operators"),
    ("S-1-5-32-550", "Print Operators"),
    ("S-1-5-32-551", "Backup Operators"),
    ("S-1-5-32-552", "Replicator"),
    ("S-1-5-32-554", "Pre-Windows 2000 Compatible Access"),
];

const OF_A_DOMAIN: &[(u32, &str)] = &[
    (500, "Administrator"),
    (502, "krbtgt"),
    (512, "Domain Admins"),
    (513, "Domain Users"),
    (514, "Domain Guests"),
    (515, "Domain Computers"),
    (516, "Domain Controllers"),
    (518, "Schema Admins"),
    (519, "Enterprise Admins"),
    (521, "Read-only Domain Controllers"),
];

/// A group or account by the name that it has in every domain; else its SID.
pub(super) fn who(sid: &Sid) -> String {
    let text = sid.to_string();
    if let Some((_, name)) = EVERYWHERE.iter().find(|(known, _)| *known == text) {
        return (*name).to_owned();
    }
    let in_a_domain = text.starts_with("S-1-5-21-");
    let rid = OF_A_DOMAIN.iter().find(|(rid, _)| in_a_domain && sid.rid() == Some(*rid));
    rid.map_or(text, |(_, name)| (*name).to_owned())
}

/// The same, and the connector account by its own name.
pub(super) fn whom(ground: &Ground, sid: &Sid, connector: &str) -> String {
    if ground.connector_sid.as_ref() == Some(sid) { connector.to_owned() } else { who(sid) }
}

/// What an ACE says: "an inherited ACE allows Reset Password to Domain Users".
pub(super) fn says(ground: &Ground, ace: Numbered<'_>, connector: &str) -> String {
    let Ace { flags, kind, .. } = ace.ace;
    let origin = if flags.contains(AceFlags::INHERITED) { "an inherited ACE" } else { "an explicit ACE" };
    let verb = match kind.effect() {
        Effect::Allow => "allows",
        Effect::Deny => "denies",
        Effect::Conditional => "under a condition allows or denies",
        Effect::None => "does not decide about",
    };
    let Some(rights) = ace.ace.rights() else { return format!("{origin} {verb} something unknown") };
    let what = match rights.object_type {
        Some(guid) => guid.name().map_or_else(|| guid.to_string(), ToOwned::to_owned),
        None => format!("rights {:#x}", rights.mask.0),
    };
    let whom = whom(ground, &rights.sid, connector);
    // The class for which it was inherited says nothing more on the object itself.
    let of = rights.inherited_object_type.filter(|class| *class != guid::USER);
    let of = of.and_then(guid::Guid::name).map(|class| format!(" on {class} objects")).unwrap_or_default();
    format!("{origin} {verb} {what} to {whom}{of}")
}

/// An instant; the two values for "never".
pub(super) fn moment(at: FileTime) -> String {
    if at.is_zero() || at.as_ticks() == i64::MAX { "never".to_owned() } else { at.to_timestamp().to_string() }
}

/// Several things in a sentence: "a, b and c".
pub(super) fn list(things: &[String]) -> String {
    match things {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
