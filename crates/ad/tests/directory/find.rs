//! Whom a name means.

use crate::support::*;
use anyhow::{Result, bail};
use keyback_ad::{Dn, FindError};
use keyback_codes::{Cause, Explain};
use keyback_core::SourceAnchor;
use keyback_testkit::lab::{Lab, Samba};

fn not_found<T>(found: &Result<T, FindError>) -> bool {
    matches!(found, Err(FindError::NotFound { .. }))
}

on_both! {
    async fn a_user_is_found_by_every_form_of_its_name(lab) {
        let user = lab.add_user("find")?;
        lab.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: proxyAddresses\nproxyAddresses: SMTP:prime.{}\nproxyAddresses: smtp:second.{}\n-\nreplace: mail\nmail: letters.{}\n",
            user.dn, user.mail, user.mail, user.mail
        ))?;
        let directory = directory(&lab)?;
        let forms = [
            user.sam.clone(),
            user.sam.to_uppercase(),
            user.upn.clone(),
            user.upn.to_uppercase(),
            format!("letters.{}", user.mail),
            format!("prime.{}", user.mail),
            format!("SECOND.{}", user.mail),
            format!("{}\\{}", lab.env("AD_DOMAIN"), user.sam),
            format!("{}\\{}", lab.env("AD_REALM").to_lowercase(), user.sam),
            user.dn.clone(),
            user.dn.to_lowercase(),
            user.guid.to_string(),
            format!("{{{}}}", user.guid.to_string().to_uppercase()),
        ];
        for form in forms {
            let found = directory.find_user(&name(&form)?).await;
            match found {
                Ok(found) => assert_eq!(found.guid, user.guid, "{form}"),
                Err(error) => bail!("{form}: {error:?}"),
            }
        }
    }

    async fn a_user_is_read_whole(lab) {
        let user = lab.add_user("whole")?;
        let found = directory(&lab)?.load_user(user.guid).await?;
        assert_eq!(Dn::parse(&user.dn)?, found.dn);
        assert_eq!(found.sam_account_name, user.sam);
        assert_eq!(found.user_principal_name.as_deref(), Some(user.upn.as_str()));
        assert_eq!(found.mail.as_deref(), Some(user.mail.as_str()));
        assert_eq!(found.source_anchor, SourceAnchor::from_wire(user.guid.to_wire()));
        assert_eq!(found.user_account_control, Some(512));
        assert_eq!(found.key_version, Some(lab.key_version(&user)?));
        assert_eq!(found.pwd_last_set.map(|at| at.to_string()), lab.attribute(&user.dn, "pwdLastSet")?);
        assert_eq!(found.primary_group_id, Some(513));
        assert_eq!(found.lockout_time, None);
        let users = found.sid.domain().map(|domain| domain.with_rid(513)).expect("a user has a domain");
        assert!(found.token_groups.is_some_and(|groups| groups.contains(&users)), "Domain Users");
        assert!(found.object_classes.iter().any(|class| class == "user"));
        assert!(!found.is_critical_system_object);
    }

    async fn an_anchor_of_its_own_wins_over_the_object_guid(lab) {
        let user = lab.add_user("anchor")?;
        lab.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: mS-DS-ConsistencyGuid\nmS-DS-ConsistencyGuid:: AAECAwQFBgcICQoLDA0ODw==\n",
            user.dn
        ))?;
        let found = directory(&lab)?.load_user(user.guid).await?;
        assert_eq!(found.source_anchor.to_string(), "AAECAwQFBgcICQoLDA0ODw==");
    }

    async fn metacharacters_find_nothing_and_inject_nothing(lab) {
        let user = lab.add_user("meta")?;
        let directory = directory(&lab)?;
        let prefix = &user.sam[..user.sam.len() - 1];
        let forms = [
            "*".to_owned(), "*)(\\".to_owned(), "a\\,b".to_owned(), "*@ad.example".to_owned(),
            format!("{prefix}*"), format!("{}*", user.sam), format!("*{}", user.sam),
            format!("{})(objectClass=*", user.sam), format!("x)(|(sAMAccountName={}", user.sam),
            format!("{}\\2a", user.sam), format!("\\{}", user.sam), format!("ADX\\{}\\", user.sam), format!("ADX\\\\{}", user.sam),
            format!("OTHER\\{}", user.sam), format!("CN={}", user.sam), format!("<GUID={}>", user.guid),
            format!("{},CN=x", user.dn), format!("CN=*,{}", lab.base_dn()), format!("{}\u{7f}", user.upn).replace('\u{7f}', "%00"),
            format!("CN=nobody,{}", lab.base_dn()), "00000000-0000-0000-0000-000000000000".to_owned(),
            "@".to_owned(), "@ad.example".to_owned(), "ADX\\".to_owned(), "\\".to_owned(), "(".to_owned(), "\u{202e}ada".to_owned(),
        ];
        for form in forms {
            let found = directory.find_user(&name(&form)?).await;
            assert!(not_found(&found), "{form}: {found:?}");
        }
    }

    async fn two_users_with_one_mail_address_are_several_and_neither_is_taken(lab) {
        let first = lab.add_user("twin")?;
        let second = lab.add_user_in("OU=Staff", "twin", "Start-Pass1!", &format!("mail: {}\n", first.mail.to_uppercase()))?;
        let found = directory(&lab)?.find_user(&name(&first.mail)?).await;
        let Err(error) = found else { bail!("one of two was taken: {found:?}") };
        assert_eq!(error.cause(), Cause::TargetDuplicateUpn);
        let shown: Vec<_> = error.failure().evidence.into_iter().map(|fact| fact.value).collect();
        assert!(shown.contains(&first.dn) && shown.contains(&second.dn), "{shown:?}");
    }

    async fn the_upn_of_one_and_the_mail_address_of_another_are_several(lab) {
        let one = lab.add_user("upn")?;
        lab.modify(&format!("dn: {}\nchangetype: modify\nreplace: mail\nmail: other.{}\n", one.dn, one.mail))?;
        lab.add_user_in("OU=Staff", "mail", "Start-Pass1!", &format!("mail: {}\n", one.upn))?;
        let found = directory(&lab)?.find_user(&name(&one.upn)?).await;
        assert!(matches!(&found, Err(FindError::Several { dns, .. }) if dns.len() == 2), "{found:?}");
    }

    async fn what_is_no_user_is_not_found(lab) {
        let directory = directory(&lab)?;
        let base = lab.base_dn();
        for form in ["DCAD$", "Domain Admins", &format!("CN=Domain Admins,CN=Users,{base}"), base, &format!("OU=Staff,{base}")] {
            assert!(not_found(&directory.find_user(&name(form)?).await), "{form}");
        }
    }

    async fn a_user_with_commas_and_umlauts_in_its_name_is_found_by_its_dn(lab) {
        let id = std::process::id();
        for (number, cn) in (0..).zip(["Müller\\, Zoë \\+ \\\"Co\\\" ", "\\#hash", "a\\=b\\;c\\<d\\>"]) {
            let cn = format!("{}{id}", cn.trim_end());
            let dn = format!("CN={cn},OU=Staff,{}", lab.base_dn());
            let sam = format!("odd{id:x}-{number}-{}", u8::from(lab.env("AD_SAMBA") == "host"));
            lab.modify(&format!("dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {sam}\n"))?;
            let directory = directory(&lab)?;
            let by_dn = directory.find_user(&name(&dn)?).await?;
            let by_sam = directory.find_user(&name(&sam)?).await?;
            let (_, staff) = directory.find_container(&format!("OU=Staff,{}", lab.base_dn())).await?;
            assert_eq!(by_dn, by_sam);
            assert!(by_dn.dn.is_under(&staff), "{}", by_dn.dn);
            lab.modify(&format!("dn: {dn}\nchangetype: delete\n"))?;
        }
    }

    async fn an_ou_is_kept_by_its_guid_and_resolved_to_where_it_lies(lab) {
        let directory = directory(&lab)?;
        let (guid, dn) = directory.find_container(&format!("ou=staff,{}", lab.base_dn())).await?;
        assert_eq!(dn, Dn::parse(&format!("OU=Staff,{}", lab.base_dn()))?);
        assert_eq!(directory.resolve_scope(&[guid]).await?, vec![dn]);
        assert!(not_found(&directory.find_container("OU=Nowhere,DC=ad,DC=example").await));
        assert!(not_found(&directory.find_container("DC=another,DC=example").await));
        assert!(not_found(&directory.find_container("no dn at all").await));
        let gone = "00000000-0000-0000-0000-000000000001".parse()?;
        assert!(not_found(&directory.resolve_scope(&[guid, gone]).await));
    }
}
