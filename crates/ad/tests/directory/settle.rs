//! What became of a write whose answer was lost.

use crate::support::*;
use anyhow::{Result, bail};
use keyback_ad::{Directory, DirectoryError, Limits, Pin, Settled, WriteError};
use keyback_codes::{Cause, Explain};
use keyback_testkit::lab::{Lab, SEEDED_PASSWORD, Samba};
use keyback_testkit::proxy::Proxy;
use std::time::{Duration, Instant};

const NEW: &str = "Brand-New-Pass7!";

on_both! {
    async fn a_reset_that_was_done_is_found_out(lab) {
        let user = lab.add_user("settle")?;
        let directory = directory(&lab)?;
        let write = directory.begin_write(user.guid).await?;
        let before = lab.key_version(&user)?;
        write.reset(&new_password(NEW)?, false).await?;
        let settled = directory.settle(user.guid, write.pin(), Some(&new_password(NEW)?)).await?;
        let Settled::Done(done) = settled else { bail!("{settled:?}") };
        assert!(done.settled && !done.compare_and_swap, "{done:?}");
        assert_eq!(done.key_version, Some((before, before + 1)));
        assert_eq!(bad_password_count(&lab, &user)?, 0);
    }

    async fn a_write_that_was_not_done_is_found_out_without_a_bind(lab) {
        let user = lab.add_user("notdone")?;
        let directory = directory(&lab)?;
        let write = directory.begin_write(user.guid).await?;
        let settled = directory.settle(user.guid, write.pin(), Some(&new_password(NEW)?)).await?;
        assert_eq!(settled, Settled::NotDone);
        assert_eq!(bad_password_count(&lab, &user)?, 0);
    }

    async fn a_password_that_somebody_else_set_outran_ours(lab) {
        let user = lab.add_user("outrun")?;
        let directory = directory(&lab)?;
        let write = directory.begin_write(user.guid).await?;
        set_password(&lab, &user, "Theirs-Was-1st!")?;
        let settled = directory.settle(user.guid, write.pin(), Some(&new_password(NEW)?)).await?;
        assert_eq!(settled, Settled::Outrun);
        assert_eq!(bad_password_count(&lab, &user)?, 1, "one bind, no more");
        set_password(&lab, &user, "Theirs-Was-2nd!")?;
        let settled = directory.settle(user.guid, write.pin(), Some(&new_password(NEW)?)).await?;
        assert_eq!(settled, Settled::Unknown, "two versions ahead: ours may have been the first of them");
        assert_eq!(bad_password_count(&lab, &user)?, 1, "and no bind");
    }

    async fn the_password_is_ours_in_every_state_of_the_account(lab) {
        for change in [
            "replace: userAccountControl\nuserAccountControl: 514",
            "replace: accountExpires\naccountExpires: 120000000000000000",
            "replace: pwdLastSet\npwdLastSet: 0",
            "replace: userWorkstations\nuserWorkstations: PC1",
        ] {
            let user = lab.add_user("state")?;
            let directory = directory(&lab)?;
            let write = directory.begin_write(user.guid).await?;
            write.reset(&new_password(NEW)?, false).await?;
            lab.modify(&format!("dn: {}\nchangetype: modify\n{change}\n", user.dn))?;
            let settled = directory.settle(user.guid, write.pin(), Some(&new_password(NEW)?)).await?;
            assert!(matches!(settled, Settled::Done(_)), "{change}: {settled:?}");
        }
    }

    async fn a_locked_account_proves_nothing(lab) {
        let user = lab.add_user("unknown")?;
        let directory = directory(&lab)?;
        let write = directory.begin_write(user.guid).await?;
        write.reset(&new_password(NEW)?, false).await?;
        lock_out(&lab, &user)?;
        let settled = directory.settle(user.guid, write.pin(), Some(&new_password(NEW)?)).await?;
        assert_eq!(settled, Settled::Unknown);
    }

    async fn an_unlock_is_settled_by_lockout_time(lab) {
        let user = lab.add_user("setunlock")?;
        lock_out(&lab, &user)?;
        let directory = directory(&lab)?;
        let write = directory.begin_write(user.guid).await?;
        assert_eq!(directory.settle(user.guid, write.pin(), None).await?, Settled::NotDone);
        write.unlock().await?;
        assert!(matches!(directory.settle(user.guid, write.pin(), None).await?, Settled::Done(_)));
    }

    async fn a_lost_answer_is_settled_on_the_same_domain_controller(lab) {
        for change in [false, true] {
            let user = lab.add_user("lost")?;
            let proxy = Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()).await?;
            let mut config = config(&lab, vec![address_at(&lab, proxy.address())?, address(&lab)?])?;
            config.limits = Limits { write: Duration::from_secs(1), ..Limits::default() };
            let directory = Directory::new(config)?;
            let write = directory.begin_write(user.guid).await?;
            let new = new_password(NEW)?;
            proxy.delay_answers(Duration::from_hours(1));
            let outcome = if change {
                write.change(&current_password(SEEDED_PASSWORD)?, &new).await
            } else {
                write.reset(&new, true).await
            };
            assert!(matches!(outcome, Err(WriteError::NoAnswer(_))), "{outcome:?}");
            proxy.delay_answers(Duration::ZERO);
            let settled = directory.settle(user.guid, write.pin(), Some(&new)).await?;
            assert!(matches!(&settled, Settled::Done(done) if done.dc == write.pin().dc), "{settled:?}");
            assert!(lab.kinit(&user.sam, NEW)?);
            // Sent again it would be harmless: it is bound to what was read before.
            let again = if change {
                write.change(&current_password(SEEDED_PASSWORD)?, &new).await
            } else {
                write.reset(&new, true).await
            };
            assert!(matches!(again, Err(WriteError::Stale(_))), "{again:?}");
            assert_eq!(bad_password_count(&lab, &user)?, 0);
        }
    }
}

/// Fault: the DC that took a write is configured away before it is settled => refused to guess elsewhere
#[tokio::test]
async fn a_pin_to_a_domain_controller_that_is_no_longer_listed_is_refused() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let user = lab.add_user("unlisted")?;
    let pin = Pin { dc: "old-dc.ad.example".to_owned(), key_version: Some(2), pwd_last_set: None };
    let settled = directory(&lab)?.settle(user.guid, &pin, Some(&new_password(NEW)?)).await;
    let Err(error @ DirectoryError::NotListed { .. }) = settled else { bail!("{settled:?}") };
    assert_eq!(error.cause(), Cause::DcUnreachable);
    Ok(())
}

/// The domain controller is frozen while it holds the request, and goes on after we gave up.
/// Fault: a DC freezes with the modify in its hands and carries it out later => found out by the key version before anything is sent again
#[tokio::test]
async fn a_write_that_a_frozen_domain_controller_carries_out_late_is_found_out() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let user = lab.add_user("freeze")?;
    let mut config = config(&lab, vec![address(&lab)?])?;
    config.limits = Limits { write: Duration::from_secs(1), ..Limits::default() };
    let directory = Directory::new(config)?;
    let write = directory.begin_write(user.guid).await?;
    lab.stop_answering()?;
    let new = new_password(NEW)?;
    let outcome = write.reset(&new, false).await;
    assert!(matches!(outcome, Err(WriteError::NoAnswer(_))), "{outcome:?}");
    lab.answer_again()?;
    let started = Instant::now();
    let settled = loop {
        match directory.settle(user.guid, write.pin(), Some(&new)).await {
            Ok(Settled::NotDone) if started.elapsed() < Duration::from_secs(5) => {}
            settled => break settled?,
        }
    };
    assert_eq!(matches!(settled, Settled::Done(_)), lab.kinit(&user.sam, NEW)?, "{settled:?}");
    Ok(())
}
