//! Whom the agent leaves alone, whatever the server asks: objects out of scope, and protected ones.
//!
//! Protection is evaluated from the token, not from adminCount, which is a trace only; what cannot be read is refused.
//! The set is MS-ADTS 3.1.1.6.1.2 (objects that AdminSDHolder protects) and, beyond it, what is no person: domain
//! controllers, trusts, machine and service accounts, krbtgt, and the connector account itself. Samba runs no SDProp
//! (measured on 4.17.12), so there the directory would let these resets pass.

use keyback_ad::descriptor::Acl;
use keyback_ad::{Dn, Sid, User};
use keyback_codes::Cause;
use keyback_core::{Failure, ObjectGuid};

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

/// The OUs that the user lies under. Refuses one who lies under none of them.
pub fn check_scope(user: &User, scope: &[(ObjectGuid, Dn)]) -> Result<Vec<ObjectGuid>, Failure> {
    let under: Vec<ObjectGuid> =
        scope.iter().filter(|(_, ou)| user.dn.is_under(ou)).map(|(guid, _)| *guid).collect();
    if !under.is_empty() {
        return Ok(under);
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
    // Of several the same one on every server, and a group of the domain before a builtin one that it is in.
    let bad = groups
        .iter()
        .filter(|group| builtin(group) || in_domain(group, &DOMAIN_GROUPS) || extra.contains(group))
        .min();
    bad.map_or(Ok(()), |group| protected("tokenGroups", group.to_string()))
}

/// Refuses who carries AdminSDHolder's DACL, and whose DACL cannot be compared with it. The directory gives it to members
/// of every protected group, of some that no list names too; a former administrator keeps it, which is mended by
/// switching inheritance on, so that is the cause that is named.
pub fn check_dacl(user: &User, holder: Option<&Acl>) -> Result<(), Failure> {
    let at = user.dn.to_string();
    match (&user.dacl, holder) {
        (Some(own), Some(holder)) if own.aces == holder.aces => {
            Err(Failure::of(Cause::RightsInheritanceOff).seen("DACL", "AdminSDHolder's", at))
        }
        (Some(_), Some(_)) => Ok(()),
        (own, _) => {
            let whose = if own.is_none() { at } else { "CN=AdminSDHolder,CN=System".to_owned() };
            Err(Failure::of(Cause::RightsProtectedObject).seen("nTSecurityDescriptor", "not readable", whose))
        }
    }
}

/// Every group whose members are left alone, in a domain with this SID: `extra` and those that AdminSDHolder protects.
pub fn protected_groups(domain: Option<&Sid>, extra: &[Sid]) -> Vec<Sid> {
    let builtin = BUILTIN.parse::<Sid>().ok();
    let rids_of = |domain: Option<&Sid>, rids: &[u32]| -> Vec<Sid> {
        domain.into_iter().flat_map(|domain| rids.iter().map(|rid| domain.with_rid(*rid))).collect()
    };
    let mut groups = rids_of(builtin.as_ref(), &BUILTIN_GROUPS);
    groups.extend(rids_of(domain, &DOMAIN_GROUPS));
    groups.extend_from_slice(extra);
    groups
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

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_core::SourceAnchor;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    const DOMAIN: &str = "S-1-5-21-1-2-3";

    fn user(groups: &[&str]) -> Result<User, Box<dyn std::error::Error>> {
        Ok(User {
            guid: ObjectGuid::from_wire([1; 16]),
            dn: Dn::parse("CN=ada,OU=Sales,OU=Staff,DC=ad,DC=example")?,
            sid: format!("{DOMAIN}-1104").parse()?,
            sam_account_name: "ada".to_owned(),
            user_principal_name: None,
            display_name: None,
            mail: None,
            source_anchor: SourceAnchor::from_wire([1; 16]),
            user_account_control: Some(0x200),
            pwd_last_set: None,
            lockout_time: None,
            key_version: None,
            primary_group_id: Some(513),
            token_groups: Some(groups.iter().map(|sid| sid.parse()).collect::<Result<_, _>>()?),
            object_classes: vec!["top".to_owned(), "person".to_owned(), "user".to_owned()],
            admin_count: None,
            is_critical_system_object: false,
            dacl: None,
            dc: "dc1".to_owned(),
        })
    }

    fn refused(user: &User) -> Result<bool, Box<dyn std::error::Error>> {
        let (connector, extra) = (format!("{DOMAIN}-1105").parse()?, [format!("{DOMAIN}-1200").parse()?]);
        let checked = check_protection(user, &connector, &extra);
        assert!(checked.as_ref().err().is_none_or(|failure| failure.cause == Cause::RightsProtectedObject));
        Ok(checked.is_err())
    }

    #[test]
    fn members_of_protected_groups_are_refused_and_of_others_not() -> Tested {
        for rid in [544, 548, 549, 550, 551, 552] {
            assert!(refused(&user(&[&format!("S-1-5-32-{rid}")])?)?, "builtin {rid}");
        }
        for rid in [512, 516, 518, 519, 521, 1200] {
            assert!(refused(&user(&[&format!("{DOMAIN}-{rid}")])?)?, "of the domain {rid}");
        }
        for sid in
            ["S-1-5-32-545", "S-1-5-32-512", "S-1-5-21-1-2-3-513", "S-1-5-21-1-2-3-544", "S-1-5-21-9-9-9-512"]
        {
            assert!(!refused(&user(&["S-1-5-32-545", sid])?)?, "{sid}");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_person_the_connector_itself_and_what_cannot_be_read_are_refused() -> Tested {
        let plain = user(&[])?;
        assert!(!refused(&plain)?);
        let with = |change: fn(&mut User)| {
            let mut user = plain.clone();
            change(&mut user);
            refused(&user)
        };
        assert!(with(|user| user.token_groups = None)?);
        assert!(with(|user| user.user_account_control = None)?);
        assert!(with(|user| user.primary_group_id = None)?);
        assert!(with(|user| user.primary_group_id = Some(512))?);
        assert!(with(|user| user.user_account_control = Some(0x1000))?);
        assert!(with(|user| user.user_account_control = Some(0x2000))?);
        assert!(with(|user| user.object_classes.push("COMPUTER".to_owned()))?);
        assert!(with(|user| user.is_critical_system_object = true)?);
        for rid in [500, 502, 1105] {
            let mut user = plain.clone();
            user.sid = format!("{DOMAIN}-{rid}").parse()?;
            assert!(refused(&user)?, "{rid}");
        }
        // A trace that is left behind is no proof.
        assert!(!with(|user| user.admin_count = Some(1))?);
        Ok(())
    }

    #[test]
    fn who_carries_admin_sd_holders_dacl_is_refused_and_whose_cannot_be_compared_too() -> Tested {
        let of = |text: &str| -> Result<Option<Acl>, Box<dyn std::error::Error>> {
            Ok(keyback_ad::descriptor::SecurityDescriptor::from_sddl(text, None)?.dacl)
        };
        let (holder, other) =
            (of("D:PAI(A;;RPWP;;;BA)(A;;RP;;;AU)")?, of("D:AI(A;;RPWP;;;BA)(A;ID;RP;;;AU)")?);
        let with = |dacl: &Option<Acl>| user(&[]).map(|user| User { dacl: dacl.clone(), ..user });
        let cause = |own: &Option<Acl>, holder: &Option<Acl>| -> Result<_, Box<dyn std::error::Error>> {
            Ok(check_dacl(&with(own)?, holder.as_ref()).err().map(|failure| failure.cause))
        };
        assert_eq!(cause(&holder, &holder)?, Some(Cause::RightsInheritanceOff));
        assert_eq!(cause(&other, &holder)?, None);
        assert_eq!(cause(&None, &holder)?, Some(Cause::RightsProtectedObject));
        assert_eq!(cause(&other, &None)?, Some(Cause::RightsProtectedObject));
        Ok(())
    }

    #[test]
    fn scope_is_where_the_user_lies_and_nothing_else() -> Tested {
        let user = user(&[])?;
        let guid = |seed: u8| ObjectGuid::from_wire([seed; 16]);
        let ou = |seed: u8, dn: &str| Dn::parse(dn).map(|dn| (guid(seed), dn));
        let scope = [
            ou(1, "OU=Admins,DC=ad,DC=example")?,
            ou(2, "ou=staff,dc=AD,dc=example")?,
            ou(3, "OU=Sales,OU=Staff,DC=ad,DC=example")?,
        ];
        assert_eq!(check_scope(&user, &scope).ok(), Some(vec![guid(2), guid(3)]));
        for dn in [
            "OU=Finance,OU=Staff,DC=ad,DC=example",
            "OU=Staff,DC=other,DC=example",
            "OU=taff,DC=ad,DC=example",
        ] {
            assert!(check_scope(&user, &[ou(1, dn)?]).is_err(), "{dn}");
        }
        assert!(check_scope(&user, &[]).is_err());
        Ok(())
    }
}
