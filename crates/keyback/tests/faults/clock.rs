//! The clock of the host is set, while the process runs.

use super::support::{Dc, Keyback};
use anyhow::{Result, ensure};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::proxy::Proxy;
use keyback_testkit::walk::{job_of, prove, reset};
use std::time::Duration;

/// Fault: the host's clock is set two hours forward and back while the process runs => proofs end, people are helped at once
#[test]
fn a_clock_set_forward_and_back_ends_proofs_and_keeps_nobody_waiting() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    keyback.serve_by_clock(&[])?;
    let user = lab.add_user("clock")?;
    let version = lab.key_version(&user)?;
    let mut browser = keyback.browser()?;
    let page = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?;
    keyback.set_clock("+2h")?;
    let form = page.form()?.fill("new", "Too-Late-Now-1!")?.fill("repeat", "Too-Late-Now-1!")?;
    let answer = browser.submit_only(&form)?;
    ensure!(answer.status != 202, "a proof of two hours ago was taken: {}", answer.words());
    for (offset, password) in [("+2h", "Clock-Ahead-1!"), ("+0", "Clock-Back-1!"), ("-2h", "Clock-Behind-1!")]
    {
        keyback.set_clock(offset)?;
        let mut browser = keyback.browser()?;
        let page = reset(&mut browser, &user.sam, &user.mail, password, &mut keyback.sink)?;
        ensure!(page.words().contains("works now"), "{offset}: {}\n{}", page.words(), keyback.log());
        assert!(lab.kinit(&user.sam, password)?);
    }
    assert_eq!(lab.key_version(&user)?, version + 3);
    // The person's cap of three holds, although by this clock the first two writes are yet to come.
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Clock-Fourth-1!", &mut keyback.sink)?;
    let job = keyback.ended(&job_of(&page)?)?;
    assert_eq!((&job["state"], &job["cause"]), (&"refused".into(), &"agent.cap_user".into()), "{job}");
    let (exit, verified) = keyback.json(&["audit", "verify"])?;
    assert_eq!(exit, 0, "{verified}");
    Ok(())
}

/// Fault: the host's clock is set back an hour while a job waits to be tried again => it ends at once, with its cause
#[test]
fn a_job_that_waits_does_not_wait_for_the_hour_that_a_clock_was_set_back() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
    keyback.use_dcs(&[Dc::of_at(&lab, proxy.address())])?;
    keyback.serve_by_clock(&[])?;
    let user = lab.add_user("waits")?;
    let version = lab.key_version(&user)?;
    let mut browser = keyback.browser()?;
    let page = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?;
    proxy.delay_answers(Duration::from_hours(1));
    let form = page.form()?.fill("new", "Clock-Waits-1!")?.fill("repeat", "Clock-Waits-1!")?;
    let job = job_of(&browser.submit_only(&form)?)?;
    keyback.until_state(&job, "queued")?;
    keyback.set_clock("-1h")?;
    let ended = keyback.ended(&job)?;
    // The message is from a time that has not come yet: refused for good, and nothing was sent.
    assert_eq!((&ended["state"], &ended["cause"]), (&"refused".into(), &"message.refused".into()), "{ended}");
    assert_eq!(lab.key_version(&user)?, version);
    Ok(())
}
