//! Reaching a domain controller, staying with it, and leaving it when it stops answering.

use crate::support::*;
use anyhow::{Context, Result, bail};
use keyback_ad::{ConfigError, DcAddress, Directory, DirectoryError, FindError, Limits, Step, Verdict};
use keyback_codes::{Cause, Explain};
use keyback_core::{Failure, SystemClock};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::proxy::Proxy;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const NEW: &str = "Brand-New-Pass7!";

async fn failure(directory: &Directory) -> Result<Failure> {
    match directory.find_user(&name("anybody")?).await {
        Err(FindError::Directory(error)) => Ok(error.failure()),
        other => bail!("it was reached: {other:?}"),
    }
}

fn seen(failure: &Failure, attribute: &str) -> Option<String> {
    let facts = failure.evidence.iter();
    facts.filter(|fact| fact.attribute == attribute).map(|fact| fact.value.clone()).next()
}

on_both! {
    async fn a_probe_tells_what_a_domain_controller_is(lab, samba) {
        let reports = directory(&lab)?.probe(&SystemClock).await;
        let [report] = reports.as_slice() else { bail!("one report for one DC") };
        assert!(report.error().is_none(), "{report:?}");
        let steps: Vec<_> = report.steps.iter().map(|step| step.step).collect();
        assert_eq!(steps, [Step::Resolve, Step::Connect, Step::Tls, Step::Bind, Step::RootDse, Step::Read]);
        assert_eq!(report.policy_hints, Some(samba == Samba::V4_24));
        assert_eq!(report.read_only, Some(false));
        assert_eq!(report.dns_host_name.as_deref(), Some(lab.fqdn()));
        assert_eq!(report.base.as_deref(), Some(lab.base_dn()));
        assert!(report.clock_ahead.is_some_and(|seconds| seconds.abs() <= 2), "{:?}", report.clock_ahead);
        let certificate = report.certificate.as_ref().context("no certificate")?;
        assert!(certificate.names.iter().any(|name| name == lab.fqdn()), "{certificate:?}");
        assert!(certificate.not_before < certificate.not_after);
    }

    async fn a_wrong_connector_password_is_named_and_not_tried_again_and_again(lab) {
        let connector = lab.add_user("conn")?;
        let directory = directory_as(&lab, &connector.upn, "Not-The-One-9!")?;
        for attempt in 0..6 {
            let failure = failure(&directory).await?;
            assert_eq!(failure.cause, Cause::ConnectorBindFailed, "{failure:?}");
            assert_eq!(failure.reply.as_ref().and_then(|reply| reply.bind_data), Some(0x52e));
            assert_eq!(seen(&failure, "reason").is_some(), attempt > 0, "says that it did not ask again");
        }
        assert_eq!(bad_password_count(&lab, &connector)?, 1);
    }

    async fn the_state_of_the_connector_account_is_named(lab) {
        let disabled = lab.add_user("disabled")?;
        lab.modify(&format!("dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n", disabled.dn))?;
        let must = lab.add_user("mustch")?;
        lab.modify(&format!("dn: {}\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: 0\n", must.dn))?;
        let expired = lab.add_user("expired")?;
        lab.modify(&format!("dn: {}\nchangetype: modify\nreplace: accountExpires\naccountExpires: 120000000000000000\n", expired.dn))?;
        let locked = lab.add_user("locked")?;
        lock_out(&lab, &locked)?;
        for (connector, cause) in [
            (disabled, Cause::ConnectorDisabled),
            (must, Cause::ConnectorPasswordExpired),
            (expired, Cause::ConnectorPasswordExpired),
            (locked, Cause::ConnectorLocked),
        ] {
            let failure = failure(&directory_as(&lab, &connector.upn, &connector.password)?).await?;
            assert_eq!(failure.cause, cause, "{failure:?}");
        }
    }

    async fn a_certificate_for_another_name_is_refused_and_the_names_are_shown(lab) {
        let other = "ldaps://other.example".parse::<DcAddress>()?.at(lab.ip());
        let failure = failure(&Directory::new(config(&lab, vec![other])?)?).await?;
        assert_eq!((failure.cause, failure.dc.as_deref()), (Cause::DcTlsNameMismatch, Some("other.example")));
        assert!(seen(&failure, "certificate.names").is_some_and(|names| names.contains(lab.fqdn())), "{failure:?}");
    }

    async fn a_certificate_of_another_ca_is_refused(lab) {
        let mut config = config(&lab, vec![address(&lab)?])?;
        config.ca_pem = keyback_testkit::hostile::Authority::new()?.pem().as_bytes().to_vec();
        let failure = failure(&Directory::new(config)?).await?;
        assert_eq!(failure.cause, Cause::DcTlsUntrusted, "{failure:?}");
        assert!(seen(&failure, "certificate.issuer").is_some(), "{failure:?}");
    }

    async fn a_connection_that_was_cut_is_replaced_for_reads_and_writes(lab) {
        let user = lab.add_user("cut")?;
        let cutter = Cutter::start(lab.ldaps()).await?;
        let directory = Directory::new(config(&lab, vec![address_at(&lab, cutter.address)?])?)?;
        directory.begin_write(user.guid).await?;
        for round in 0..3 {
            cutter.cut();
            assert_eq!(directory.load_user(user.guid).await?.guid, user.guid);
            let write = directory.begin_write(user.guid).await?;
            write.reset(&new_password(&format!("{NEW}{round}"))?, false).await?;
        }
    }

    async fn a_hung_domain_controller_is_left_for_one_that_serves_and_not_tried_again_at_once(lab) {
        let user = lab.add_user("hung")?;
        let hung = TcpListener::bind("127.0.0.1:0").await?; // the kernel takes the connection, nobody answers
        let dcs = vec![address_at(&lab, hung.local_addr()?)?, address(&lab)?];
        let directory = Directory::new(config(&lab, dcs)?)?;
        let started = Instant::now();
        let write = directory.begin_write(user.guid).await?;
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(write.pin().dc, lab.fqdn());
        let started = Instant::now();
        write.reset(&new_password(NEW)?, false).await?;
        directory.find_user(&name(&user.sam)?).await?;
        assert!(started.elapsed() < Duration::from_secs(2), "it was tried again: {:?}", started.elapsed());
    }

    async fn a_domain_controller_that_stops_answering_on_a_kept_connection_is_left(lab) {
        let user = lab.add_user("frozen")?;
        let proxy = Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()).await?;
        let dcs = vec![address_at(&lab, proxy.address())?, address(&lab)?];
        let directory = Directory::new(config(&lab, dcs)?)?;
        assert_ne!(directory.begin_write(user.guid).await?.pin().dc, lab.fqdn());
        proxy.delay_answers(Duration::from_hours(1));
        let started = Instant::now();
        let (one, two) = tokio::join!(directory.begin_write(user.guid), directory.begin_write(user.guid));
        // A read's limit; and a handshake's for the one who is told that the connection was closed and tries another.
        assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
        assert_eq!((one?.pin().dc.as_str(), two?.pin().dc.as_str()), (lab.fqdn(), lab.fqdn()));
        proxy.delay_answers(Duration::ZERO);
        assert_eq!(directory.begin_write(user.guid).await?.pin().dc, lab.fqdn(), "stays with the one that serves");
    }
}

/// Fault: a DC's name or port leads nowhere => named
#[tokio::test]
async fn names_and_ports_that_lead_nowhere_are_named() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let unresolvable = vec!["ldaps://no-such-dc.invalid".parse::<DcAddress>()?];
    let failed = failure(&Directory::new(config(&lab, unresolvable)?)?).await?;
    assert_eq!(failed.cause, Cause::DcNameResolution, "{failed:?}");
    let closed = vec!["ldaps://dc.example:9".parse::<DcAddress>()?.at("127.0.0.1".parse()?)];
    let failed = failure(&Directory::new(config(&lab, closed)?)?).await?;
    assert_eq!(failed.cause, Cause::DcUnreachable, "{failed:?}");
    assert_eq!(seen(&failed, "step").as_deref(), Some("connect"));
    Ok(())
}

#[tokio::test]
async fn when_none_serves_every_error_is_evidence_and_the_telling_one_is_the_cause() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let dcs = vec![
        "ldaps://dc.example:9".parse::<DcAddress>()?.at("127.0.0.1".parse()?),
        "ldaps://other.example".parse::<DcAddress>()?.at(lab.ip()),
    ];
    let failed = failure(&Directory::new(config(&lab, dcs)?)?).await?;
    assert_eq!((failed.cause, failed.dc.as_deref()), (Cause::DcTlsNameMismatch, Some("other.example")));
    assert!(failed.evidence.iter().any(|fact| fact.from == "dc.example:9"), "{failed:?}");
    Ok(())
}

/// Fault: every DC hangs => waiting ends within its limits
#[tokio::test]
async fn waiting_ends_when_every_domain_controller_hangs() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let hung = TcpListener::bind("127.0.0.1:0").await?;
    let directory = Directory::new(config(&lab, vec![address_at(&lab, hung.local_addr()?)?])?)?;
    let started = Instant::now();
    // All at once: whoever waits behind the one who dials shares its failure instead of dialling again.
    let all = futures_util::future::join_all((0..10).map(|_| failure(&directory))).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for failed in all {
        assert_eq!(failed?.cause, Cause::DcUnreachable);
    }
    Ok(())
}

/// Fault: a port that speaks no TLS => named, nothing sent
#[tokio::test]
async fn ports_that_speak_no_tls_are_named() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let plain = vec![address_at(&lab, std::net::SocketAddr::new(lab.ip(), 389))?];
    let failed = failure(&Directory::new(config(&lab, plain)?)?).await?;
    assert!(matches!(failed.cause, Cause::ProtocolError | Cause::DcUnreachable), "{failed:?}");
    assert_eq!(seen(&failed, "step").as_deref(), Some("tls"));
    Ok(())
}

#[test]
fn bad_blocks_in_a_ca_file_are_each_reported() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let good = std::fs::read_to_string(lab.ca_file())?;
    let block = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    for (ca, count) in [
        (String::new(), 1),
        ("not a certificate".to_owned(), 1),
        (format!("{good}{}{}", block("AAAA"), block("MIIB")), 2),
        (block("%%%%"), 1),
    ] {
        let mut config = config(&lab, vec![address(&lab)?])?;
        config.ca_pem = ca.into_bytes();
        match Directory::new(config).err() {
            Some(ConfigError::CaFile { bad }) => assert_eq!(bad.len(), count, "{bad:?}"),
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

#[test]
fn a_list_without_or_with_the_same_domain_controller_twice_is_refused() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    assert_eq!(Directory::new(config(&lab, vec![])?).err(), Some(ConfigError::NoDc));
    let twice = Directory::new(config(&lab, vec![address(&lab)?, address(&lab)?])?);
    assert!(matches!(twice.err(), Some(ConfigError::TwiceListed { .. })));
    Ok(())
}

/// Fault: a DC never answers a modify => after its limit the outcome is open, not failed
#[tokio::test]
async fn a_write_waits_no_longer_than_its_limit_and_leaves_the_outcome_open() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let user = lab.add_user("late")?;
    let proxy = Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()).await?;
    let mut config = config(&lab, vec![address_at(&lab, proxy.address())?])?;
    config.limits = Limits { write: Duration::from_millis(500), ..Limits::default() };
    let directory = Directory::new(config)?;
    let write = directory.begin_write(user.guid).await?;
    proxy.delay_answers(Duration::from_hours(1));
    let error = write.reset(&new_password(NEW)?, false).await.err().context("no answer can have come")?;
    assert!(matches!(&error, keyback_ad::WriteError::NoAnswer(DirectoryError::TimedOut { .. })), "{error:?}");
    assert_eq!((error.cause(), error.verdict()), (Cause::OutcomeUnknown, Verdict::LookFirst));
    Ok(())
}
