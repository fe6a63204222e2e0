//! Dead, hostile and several domain controllers; connectors that see little.

use crate::support::*;
use anyhow::{Result, ensure};
use keyback_ad::DcAddress;
use keyback_core::diagnosis::{ProbeOutcome, State};
use keyback_testkit::lab::{Lab, Samba};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Accepts connections, and either says nothing or sends bytes for ever.
async fn dead(talks: bool) -> Result<DcAddress> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    while talks && client.write_all(&[0x16; 4096]).await.is_ok() {}
                }
            });
        }
    });
    Ok(format!("ldaps://dead.example:{}", address.port()).parse::<DcAddress>()?.at(address.ip()))
}

/// Fault: one DC of three is dead while doctor looks => within 2 s, and named
#[tokio::test]
async fn one_dead_domain_controller_of_three_costs_little_and_is_named() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        for place in 0..3 {
            let mut dcs = vec![address(&lab)?, DcAddress { host: "localhost".to_owned(), ..address(&lab)? }];
            dcs.insert(place, dead(false).await?);
            let directory = directory_of(&lab, dcs, "svc-keyback", lab.connector().1)?;
            let started = Instant::now();
            let diagnosis = doctor(&directory, &setting(&lab)?, "bob", None, None).await?;
            ensure!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
            ensure!(diagnosis.is_healthy(), "{:?}", verdicts(&diagnosis));
            let named = diagnosis.observations.iter().any(|seen| {
                seen.outcome == ProbeOutcome::Found
                    && seen.dc.as_deref().is_some_and(|dc| dc.starts_with("dead"))
            });
            ensure!(named, "the dead one is not named");
        }
    }
    Ok(())
}

#[tokio::test]
async fn something_else_that_answers_or_never_ends_is_told_apart_from_a_domain_controller() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    for (talks, cause) in [(false, "dc.unreachable"), (true, "dc.protocol")] {
        let directory = directory_of(&lab, vec![dead(talks).await?], "svc-keyback", lab.connector().1)?;
        let diagnosis = doctor(&directory, &setting(&lab)?, "bob", None, None).await?;
        ensure!(
            verdicts(&diagnosis).first() == Some(&(cause, State::Confirmed)),
            "{:?}",
            verdicts(&diagnosis)
        );
        ensure!(diagnosis.dc.is_none());
    }
    Ok(())
}

/// Fault: the connector's password is wrong => tried once, no lockout
#[tokio::test]
async fn a_wrong_connector_password_is_tried_once() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let dcs = vec![address(&lab)?, DcAddress { host: "localhost".to_owned(), ..address(&lab)? }];
    let directory = directory_of(&lab, dcs, "svc-keyback", "Wrong-Pass1!")?;
    let diagnosis = doctor(&directory, &setting(&lab)?, "bob", None, None).await?;
    ensure!(
        verdicts(&diagnosis).first() == Some(&("connector.bind_failed", State::Confirmed)),
        "{:?}",
        verdicts(&diagnosis)
    );
    let connector = format!("CN=svc-keyback,OU=Service,{}", lab.base_dn());
    ensure!(lab.attribute(&connector, "badPwdCount")?.as_deref() == Some("1"));
    Ok(())
}

/// Where Authenticated Users are no longer in Pre-Windows 2000 Compatible Access, an account without rights reads little.
#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_names_the_right() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::private(samba, &[])?;
        lab.seed("harden prewin2000\n")?;
        let diagnosis =
            doctor(&directory_as(&lab, "svc-norights")?, &setting(&lab)?, "bob", None, None).await?;
        check_form(&diagnosis)?;
        for id in ["protection.membership", "state.enabled", "state.lockout", "state.expiry"] {
            let seen = diagnosis.observation(id);
            ensure!(seen.is_some_and(|seen| seen.outcome == ProbeOutcome::Unknown), "{id}: {seen:?}");
        }
        ensure!(
            verdicts(&diagnosis).first() == Some(&("rights.reset_missing", State::Confirmed)),
            "{:?}",
            verdicts(&diagnosis)
        );
        // The one with the rights is not hindered.
        let keyback = doctor(&directory(&lab)?, &setting(&lab)?, "bob", None, None).await?;
        ensure!(keyback.is_healthy(), "{:?}", verdicts(&keyback));
    }
    Ok(())
}

#[tokio::test]
async fn a_name_of_two_and_a_name_of_nobody_are_clear_answers() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let (directory, setting) = (directory(&lab)?, setting(&lab)?);
    for (name, cause) in [
        ("shared@ad.example", "target.duplicate_upn"),
        ("nobody-at-all", "target.not_found"),
        ("*)(objectClass=*", "target.not_found"),
        ("CN=nobody,OU=Staff,DC=ad,DC=example", "target.not_found"),
        ("00000000-0000-0000-0000-000000000000", "target.not_found"),
    ] {
        let diagnosis = doctor(&directory, &setting, name, None, None).await?;
        ensure!(verdicts(&diagnosis) == [(cause, State::Confirmed)], "{name}: {:?}", verdicts(&diagnosis));
    }
    Ok(())
}
