//! Whom the agent leaves alone, whatever the server asks: objects out of scope, and protected ones.
//!
//! Protection is evaluated from the token, not from adminCount, which is a trace only; what cannot be read is refused.
//! The set is MS-ADTS 3.1.1.6.1.2 (objects that AdminSDHolder protects) and, beyond it, what is no person: domain
//! controllers, trusts, machine and service accounts, krbtgt, and the connector account itself. Samba runs no SDProp
//! (measured on 4.17.12), so there the directory would let these resets pass.

use keyback_ad::{Dn, Sid, User};
use keyback_codes::Cause;
use keyback_core::Failure;

/// The domain of the builtin groups.
const BUILTIN: &str = "S-1-5-32";
/// Of it: Administrators, Account, Server, Print and Backup Operators, Replicator.
const BUILTIN_GROUPS: [u32; 6] = [544, 548, 549, 550, 551, 552];
/// Of the domain: Domain Admins, Domain Controllers, Schema Admins, Enterprise Admins, Read-only Domain Controllers.
const DOMAIN_GROUPS: [u32; 5] = [512, 516, 518, 519, 521];
/// Of the domain: the built-in administrator, and krbtgt.
const DOMAIN_ACCOUNTS: [u32; 2] = [500, 502];
/// userAccountControl: trust, workstation and server accounts (MS-ADTS 2.2.16).
const NOT_A_PERSON: u32 = 0x800 | 0x1000 | 0x2000;
/// Classes of accounts that manage their own passwords.
const MANAGED: [&str; 3] = ["computer", "msDS-GroupManagedServiceAccount", "msDS-ManagedServiceAccount"];
const DISABLED: u32 = 0x2;

/// Refuses a user who lies under none of the OUs.
pub fn check_scope(user: &User, scope: &[Dn]) -> Result<(), Failure> {
    if scope.iter().any(|ou| user.dn.is_under(ou)) {
        return Ok(());
    }
    Err(Failure::of(Cause::TargetOutOfScope).seen("distinguishedName", user.dn.to_string(), &user.dc))
}

/// Refuses protected objects, members of `extra`, `connector` itself, and whatever cannot be judged.
pub fn check_protection(user: &User, connector: &Sid, extra: &[Sid]) -> Result<(), Failure> {
    let protected = |attribute: &str, value: String| {
        Err(Failure::of(Cause::RightsProtectedObject).seen(attribute, value, user.dn.to_string()))
    };
    let (Some(groups), Some(control), Some(primary)) =
        (&user.token_groups, user.user_account_control, user.primary_group_id)
    else {
        return protected("tokenGroups, userAccountControl or primaryGroupID", "not readable".to_owned());
    };
    if let Some(class) =
        user.object_classes.iter().find(|class| MANAGED.iter().any(|bad| bad.eq_ignore_ascii_case(class)))
    {
        return protected("objectClass", class.clone());
    }
    if control & NOT_A_PERSON != 0 {
        return protected("userAccountControl", format!("{control:#x}"));
    }
    let has = |sid: &Sid, rids: &[u32]| sid.rid().is_some_and(|rid| rids.contains(&rid));
    let in_domain = |sid: &Sid, rids: &[u32]| sid.domain() == user.sid.domain() && has(sid, rids);
    let builtin = |sid: &Sid| {
        sid.domain().is_some_and(|domain| domain.to_string() == BUILTIN) && has(sid, &BUILTIN_GROUPS)
    };
    if in_domain(&user.sid, &DOMAIN_ACCOUNTS) || user.sid == *connector || user.is_critical_system_object {
        return protected("objectSid", user.sid.to_string());
    }
    if DOMAIN_GROUPS.contains(&primary) {
        return protected("primaryGroupID", primary.to_string());
    }
    let bad = groups
        .iter()
        .find(|group| builtin(group) || in_domain(group, &DOMAIN_GROUPS) || extra.contains(group));
    bad.map_or(Ok(()), |group| protected("tokenGroups", group.to_string()))
}

/// Refuses accounts that would not let the person in afterwards.
pub fn check_state(user: &User) -> Result<(), Failure> {
    match user.user_account_control {
        Some(control) if control & DISABLED != 0 => Err(Failure::of(Cause::TargetDisabled).seen(
            "userAccountControl",
            format!("{control:#x}"),
            user.dn.to_string(),
        )),
        Some(_) | None => Ok(()),
    }
}
