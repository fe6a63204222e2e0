//! Reset, change, unlock.

use crate::support::*;
use anyhow::{Context, Result, bail};
use keyback_ad::{Directory, Right, Verdict, Write, WriteError};
use keyback_codes::{Cause, Explain};
use keyback_testkit::lab::{Lab, SEEDED_PASSWORD, Samba, TestUser};
use keyback_testkit::proxy::Proxy;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const NEW: &str = "Brand-New-Pass7!";

async fn begin(lab: &Lab, user: &TestUser) -> Result<Write> {
    Ok(directory(lab)?.begin_write(user.guid).await?)
}

/// One of the seed's connectors that lack something.
fn connector(lab: &Lab, sam: &str) -> String {
    format!("{sam}@{}", lab.env("AD_REALM").to_lowercase())
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, WriteError>) -> Result<WriteError> {
    match outcome {
        Ok(done) => bail!("it was not refused: {done:?}"),
        Err(error) => Ok(error),
    }
}

/// The old password is still the one, and no password was set.
fn nothing_changed(lab: &Lab, user: &TestUser, version: i64) -> Result<()> {
    assert_eq!(lab.key_version(user)?, version);
    assert!(lab.kinit(&user.sam, &user.password)?, "the old password no longer works");
    Ok(())
}

on_both! {
    async fn a_reset_sets_the_password_once_and_proves_it(lab, samba) {
        let user = lab.add_user("reset")?;
        let before = lab.key_version(&user)?;
        let write = begin(&lab, &user).await?;
        assert_eq!(write.pin().key_version, Some(before));
        let done = write.reset(&new_password(NEW)?, false).await?;
        assert_eq!(done.key_version, Some((before, before + 1)));
        assert_eq!(lab.key_version(&user)?, before + 1);
        assert!(lab.kinit(&user.sam, NEW)?);
        assert!(!lab.kinit(&user.sam, SEEDED_PASSWORD)?);
        assert!(done.compare_and_swap && !done.settled);
        assert_eq!(done.history_enforced, samba == Samba::V4_24);
        let remarks = if samba == Samba::V4_24 { vec![] } else { vec![Cause::PolicyHintsUnsupported] };
        assert_eq!(done.remarks, remarks);
    }

    async fn passwords_of_every_script_and_length_arrive_unchanged(lab) {
        let long = format!("Aa1!{}", "x".repeat(252));
        for password in ["Grüße-aus-Köln-7", "Пароль-дня-2026", "密码-Abc-123", "Key\u{1f511}-Ring-9", " Blank at both ends 7 ", &long] {
            let user = lab.add_user("script")?;
            begin(&lab, &user).await?.reset(&new_password(password)?, false).await?;
            assert_eq!(lab.bind(&user.dn, password)?, Ok(()), "{password}");
        }
    }

    async fn a_reset_with_unlock_ends_a_lockout_and_one_without_does_not(lab) {
        for (also_unlock, then) in [(true, Ok(())), (false, Err("775".to_owned()))] {
            let user = lab.add_user("relock")?;
            lock_out(&lab, &user)?;
            begin(&lab, &user).await?.reset(&new_password(NEW)?, also_unlock).await?;
            assert_eq!(lab.bind(&user.dn, NEW)?, then);
        }
    }

    async fn a_reset_works_when_the_password_must_be_changed(lab) {
        let user = lab.add_user("must")?;
        let write = begin(&lab, &user).await?;
        write.must_change().await?;
        assert_eq!(lab.bind(&user.dn, SEEDED_PASSWORD)?, Err("773".to_owned()));
        let write = begin(&lab, &user).await?;
        assert!(write.user().pwd_last_set.is_some_and(keyback_ad::FileTime::is_zero));
        let done = write.reset(&new_password(NEW)?, false).await?;
        assert!(done.compare_and_swap, "{done:?}");
        assert_eq!(lab.bind(&user.dn, NEW)?, Ok(()));
    }

    async fn a_change_needs_the_current_password_and_proves_itself(lab) {
        let user = lab.add_user("change")?;
        let before = lab.key_version(&user)?;
        let done = begin(&lab, &user).await?.change(&current_password(SEEDED_PASSWORD)?, &new_password(NEW)?).await?;
        assert_eq!(done.key_version, Some((before, before + 1)));
        assert!(done.compare_and_swap && done.history_enforced && done.remarks.is_empty(), "{done:?}");
        assert!(lab.kinit(&user.sam, NEW)?);
    }

    async fn a_wrong_current_password_is_named_and_costs_one_count(lab) {
        let user = lab.add_user("wrong")?;
        let before = lab.key_version(&user)?;
        let write = begin(&lab, &user).await?;
        let error = refused(write.change(&current_password("Not-The-One-9!")?, &new_password(NEW)?).await)?;
        assert!(matches!(error, WriteError::WrongCurrentPassword(_)), "{error:?}");
        assert_eq!((error.cause(), error.verdict()), (Cause::TargetWrongPassword, Verdict::Refuse));
        assert_eq!(bad_password_count(&lab, &user)?, 1);
        nothing_changed(&lab, &user, before)?;
    }

    async fn a_change_on_a_locked_account_is_refused_as_locked(lab) {
        let user = lab.add_user("chlock")?;
        lock_out(&lab, &user)?;
        let write = begin(&lab, &user).await?;
        let error = refused(write.change(&current_password(SEEDED_PASSWORD)?, &new_password(NEW)?).await)?;
        assert!(matches!(error, WriteError::Locked(_)), "{error:?}");
    }

    async fn a_user_who_may_not_change_the_password_is_told_so_and_no_reset_is_made_of_it(lab) {
        let guid = directory(&lab)?.find_user(&name("s-cannot")?).await?.guid;
        let write = directory(&lab)?.begin_write(guid).await?;
        let error = refused(write.change(&current_password(SEEDED_PASSWORD)?, &new_password(NEW)?).await)?;
        assert_eq!(error.cause(), Cause::RightsCannotChange, "{error:?}");
        assert_eq!(lab.bind(write.user().dn.as_str(), NEW)?, Err("52e".to_owned()));
    }

    async fn too_short_and_not_complex_are_told_apart_in_resets_and_changes(lab) {
        let user = lab.add_user("weak")?;
        let before = lab.key_version(&user)?;
        for (password, cause) in [("Ab1!", Cause::PolicyLength), ("onlylowercase", Cause::PolicyComplexity)] {
            let new = new_password(password)?;
            let reset = refused(begin(&lab, &user).await?.reset(&new, false).await)?;
            assert_eq!((reset.cause(), reset.verdict()), (cause, Verdict::Refuse), "{reset:?}");
            let failure = reset.failure();
            let reply = failure.reply.context("the evidence is missing")?;
            assert_eq!(reply.win32, Some(0x52d));
            assert!(!reply.text.contains(password));
            let change = begin(&lab, &user).await?.change(&current_password(SEEDED_PASSWORD)?, &new).await;
            assert_eq!(refused(change)?.cause(), cause);
        }
        nothing_changed(&lab, &user, before)?;
        assert_eq!(bad_password_count(&lab, &user)?, 0);
    }

    async fn history_holds_in_a_change_and_in_a_reset_where_the_dc_offers_policy_hints(lab, samba) {
        let user = lab.add_user("history")?;
        let old = new_password(SEEDED_PASSWORD)?;
        let change = begin(&lab, &user).await?.change(&current_password(SEEDED_PASSWORD)?, &old).await;
        assert_eq!(refused(change)?.cause(), Cause::PolicyHistory);
        let reset = begin(&lab, &user).await?.reset(&old, false).await;
        if samba == Samba::V4_24 {
            assert_eq!(refused(reset)?.cause(), Cause::PolicyHistory);
        } else {
            let done = reset?;
            assert!(!done.history_enforced && done.remarks.contains(&Cause::PolicyHintsUnsupported), "{done:?}");
        }
    }

    async fn the_minimum_age_of_a_fine_grained_policy_is_named(lab, samba) {
        let user = lab.add_user("young")?;
        let pso = format!("CN=pso-{},CN=Password Settings Container,CN=System,{}", user.sam, lab.base_dn());
        lab.modify(&format!(
            "dn: {pso}\nchangetype: add\nobjectClass: msDS-PasswordSettings\nmsDS-PasswordSettingsPrecedence: 1\n\
             msDS-PasswordReversibleEncryptionEnabled: FALSE\nmsDS-PasswordHistoryLength: 24\nmsDS-PasswordComplexityEnabled: TRUE\n\
             msDS-MinimumPasswordLength: 7\nmsDS-MinimumPasswordAge: -864000000000\nmsDS-MaximumPasswordAge: -36288000000000\n\
             msDS-LockoutThreshold: 0\nmsDS-LockoutObservationWindow: -18000000000\nmsDS-LockoutDuration: -18000000000\nmsDS-PSOAppliesTo: {}\n",
            user.dn
        ))?;
        let change = begin(&lab, &user).await?.change(&current_password(SEEDED_PASSWORD)?, &new_password(NEW)?).await;
        assert_eq!(refused(change)?.cause(), Cause::PolicyMinAge);
        let reset = begin(&lab, &user).await?.reset(&new_password(NEW)?, false).await;
        match samba {
            Samba::V4_24 => assert_eq!(refused(reset)?.cause(), Cause::PolicyMinAge),
            Samba::Host => assert!(reset.is_ok(), "4.17 does not look at the age in a reset"),
        }
        lab.modify(&format!("dn: {pso}\nchangetype: delete\n"))?;
    }

    async fn a_password_that_somebody_else_set_meanwhile_stays(lab) {
        for change in [false, true] {
            let user = lab.add_user("stale")?;
            let write = begin(&lab, &user).await?;
            set_password(&lab, &user, "Theirs-Was-1st!")?;
            let version = lab.key_version(&user)?;
            let outcome = if change {
                write.change(&current_password("Theirs-Was-1st!")?, &new_password(NEW)?).await
            } else {
                write.reset(&new_password(NEW)?, true).await
            };
            let error = refused(outcome)?;
            assert!(matches!(error, WriteError::Stale(_)), "{error:?}");
            assert_eq!((error.cause(), error.verdict()), (Cause::TargetOutrun, Verdict::LookFirst));
            assert_eq!(lab.key_version(&user)?, version);
            assert!(lab.kinit(&user.sam, "Theirs-Was-1st!")?);
            assert_eq!(bad_password_count(&lab, &user)?, 0);
        }
    }

    async fn the_same_write_sent_twice_is_done_once_and_counts_nothing(lab) {
        let user = lab.add_user("twice")?;
        let before = lab.key_version(&user)?;
        let write = begin(&lab, &user).await?;
        write.change(&current_password(SEEDED_PASSWORD)?, &new_password(NEW)?).await?;
        let again = write.change(&current_password(SEEDED_PASSWORD)?, &new_password(NEW)?).await;
        assert!(matches!(refused(again)?, WriteError::Stale(_)));
        assert_eq!((lab.key_version(&user)?, bad_password_count(&lab, &user)?), (before + 1, 0));
    }

    async fn an_unlock_ends_the_lockout(lab) {
        let user = lab.add_user("unlock")?;
        lock_out(&lab, &user)?;
        begin(&lab, &user).await?.unlock().await?;
        assert_eq!(lab.bind(&user.dn, SEEDED_PASSWORD)?, Ok(()));
    }

    async fn a_connector_without_rights_is_refused_and_the_missing_right_is_named(lab) {
        let user = lab.add_user("norights")?;
        let before = lab.key_version(&user)?;
        let directory = directory_as(&lab, &connector(&lab, "svc-norights"), "Conn-Pass1!")?;
        let write = directory.begin_write(user.guid).await?;
        let error = refused(write.reset(&new_password(NEW)?, true).await)?;
        assert!(matches!(error, WriteError::AccessDenied { right: Right::ResetPassword, .. }), "{error:?}");
        assert_eq!((error.cause(), error.verdict()), (Cause::RightsResetMissing, Verdict::Refuse));
        let failure = error.failure();
        assert_eq!(failure.reply.map(|reply| reply.result), Some(50));
        assert_eq!(failure.evidence.len(), 3, "each fuller attempt: {:?}", failure.evidence);
        let unlock = refused(write.unlock().await)?;
        assert_eq!(unlock.cause(), Cause::RightsUnlockAttributeMissing);
        let must_change = refused(write.must_change().await)?;
        assert_eq!(must_change.cause(), Cause::RightsPwdLastSetMissing);
        nothing_changed(&lab, &user, before)?;
    }

    async fn a_connector_with_reset_only_resets_without_the_compare_and_swap_and_says_so(lab) {
        let user = lab.add_user("resetonly")?;
        let directory = directory_as(&lab, &connector(&lab, "svc-resetonly"), "Conn-Pass1!")?;
        let done = directory.begin_write(user.guid).await?.reset(&new_password(NEW)?, true).await?;
        assert!(!done.compare_and_swap, "{done:?}");
        for remark in [Cause::RightsPwdLastSetMissing, Cause::RightsUnlockAttributeMissing] {
            assert!(done.remarks.contains(&remark), "{done:?}");
        }
        assert!(lab.kinit(&user.sam, NEW)?);
        let done = directory.begin_write(user.guid).await?.reset(&new_password("Another-Pass8!")?, false).await?;
        assert!(!done.compare_and_swap && !done.remarks.contains(&Cause::RightsUnlockAttributeMissing), "{done:?}");
    }

    async fn a_right_that_was_granted_to_a_group_meanwhile_counts_without_a_restart(lab) {
        let connector = lab.add_user_in("OU=Service", "late", "Conn-Pass1!", "")?;
        let user = lab.add_user("granted")?;
        let directory = directory_as(&lab, &connector.upn, "Conn-Pass1!")?;
        let write = directory.begin_write(user.guid).await?; // both connections are open, with the old token
        lab.modify(&format!(
            "dn: CN=Domain Admins,CN=Users,{}\nchangetype: modify\nadd: member\nmember: {}\n",
            lab.base_dn(), connector.dn
        ))?;
        let done = write.reset(&new_password(NEW)?, true).await;
        lab.modify(&format!("dn: {}\nchangetype: delete\n", connector.dn))?;
        assert!(done?.compare_and_swap);
    }

    async fn eight_resets_at_once_are_served_in_order_and_all_succeed(lab) {
        let directory = directory(&lab)?;
        let mut writes = Vec::new();
        for _ in 0..8 {
            let user = lab.add_user("eight")?;
            writes.push((directory.begin_write(user.guid).await?, user));
        }
        let order = Mutex::new(Vec::new());
        let resets = writes.iter().enumerate().map(async |(number, (write, _))| {
            let done = write.reset(&new_password(NEW)?, false).await?;
            order.lock().expect("nobody panicked").push(number);
            anyhow::Ok(done)
        });
        for done in futures_util::future::join_all(resets).await {
            assert!(done?.compare_and_swap);
        }
        for (_, user) in &writes {
            assert!(lab.kinit(&user.sam, NEW)?);
        }
        assert_eq!(order.into_inner()?, (0..8).collect::<Vec<_>>());
    }
}

/// Fault: many writes for one DC at once => one is on its way at a time, first come first served
#[tokio::test]
async fn one_write_is_on_its_way_to_a_domain_controller_at_a_time() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let proxy = Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()).await?;
    let directory = Directory::new(config(&lab, vec![address_at(&lab, proxy.address())?])?)?;
    let mut writes = Vec::new();
    for _ in 0..4 {
        writes.push(directory.begin_write(lab.add_user("queue")?.guid).await?);
    }
    let delay = Duration::from_millis(400);
    proxy.delay_answers(delay);
    let (new, started) = (new_password(NEW)?, Instant::now());
    for done in futures_util::future::join_all(writes.iter().map(|write| write.reset(&new, false))).await {
        done?;
    }
    assert!(started.elapsed() >= delay * 4, "they overlapped: {:?}", started.elapsed());
    Ok(())
}
