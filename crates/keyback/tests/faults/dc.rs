//! A domain controller that does not answer.

use super::support::{Dc, Keyback};
use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::walk::{end_of, job_of, prove};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Accepts connections and never answers, as a frozen domain controller does.
fn hanging() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0")?) // the kernel accepts up to its backlog; nobody ever reads
}

/// Fault: a DC takes connections and never answers, and there is a second => the second serves, the page answers within 5 s
#[test]
fn a_dc_that_never_answers_is_passed_over_for_the_next_one() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let hang = hanging()?;
    let mut keyback = Keyback::init(&lab)?;
    keyback.use_dcs(&[Dc::of_at(&lab, hang.local_addr()?), Dc::of(&lab)])?;
    keyback.serve(&[])?;
    let user = lab.add_user("hang")?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    let started = Instant::now();
    let answer = browser.submit_only(&form.fill("new", "Second-Dc-1!")?.fill("repeat", "Second-Dc-1!")?)?;
    ensure!(started.elapsed() < Duration::from_secs(5), "the page took {:?}", started.elapsed());
    let job = keyback.ended(&job_of(&answer)?)?;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["dc"], lab.fqdn());
    assert!(lab.kinit(&user.sam, "Second-Dc-1!")?);
    Ok(())
}

/// Fault: the only DC freezes before the modify => AADSTS120013 at the deadline, both audit rows, nothing changed
#[test]
fn a_job_whose_only_dc_hangs_waits_and_ends_at_its_deadline_with_its_audit_rows() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let mut keyback = Keyback::init(&lab)?;
    keyback.use_deadline(12)?;
    keyback.serve(&[])?;
    let user = lab.add_user("dead")?;
    let version = lab.key_version(&user)?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    lab.stop_answering()?;
    let started = Instant::now();
    let answer = browser.submit_only(&form.fill("new", "Never-Set-1!")?.fill("repeat", "Never-Set-1!")?)?;
    ensure!(started.elapsed() < Duration::from_secs(5), "the page took {:?}", started.elapsed());
    assert_eq!(answer.status, 202);
    let job = keyback.ended(&job_of(&answer)?)?;
    let took = started.elapsed();
    assert_eq!(
        (job["state"].as_str(), job["code"].as_str()),
        (Some("exhausted"), Some("AADSTS120013")),
        "{job}"
    );
    assert_eq!(job["cause"], "dc.unreachable");
    ensure!(took > Duration::from_secs(11) && took < Duration::from_secs(40), "ended after {took:?}");
    let page = end_of(&mut browser, &job_of(&answer)?)?;
    assert!(page.words().contains("AADSTS120013"), "{}", page.words());
    let rows = keyback
        .json(&["audit", "list", "--correlation-id", job["correlation_id"].as_str().context("id")?])?
        .1;
    let resets: Vec<_> =
        rows.as_array().context("rows")?.iter().filter(|row| row["jobId"] == job["id"]).collect();
    let phases: Vec<_> = resets.iter().map(|row| (row["phase"].as_str(), row["result"].as_str())).collect();
    assert_eq!(phases, [(Some("intent"), Some("pending")), (Some("outcome"), Some("failure"))]);
    lab.answer_again()?;
    assert_eq!(lab.key_version(&user)?, version, "nothing was changed");
    Ok(())
}
