//! Processes that are killed, ended, or lose each other.

use super::support::{Dc, Keyback};
use anyhow::{Result, ensure};
use keyback_testkit::browser::{Browser, Form};
use keyback_testkit::lab::{Lab, Samba, TestUser};
use keyback_testkit::proxy::Proxy;
use keyback_testkit::walk::{Mailbox as _, end_of, job_of, prove, reset};
use std::time::{Duration, Instant};

/// Fault: server and agent are killed after the DC took the modify and before its answer is recorded => Succeeded, settled, one change
#[test]
fn killed_after_the_dc_took_the_modify_the_job_ends_succeeded_with_one_change() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut keyback = Keyback::init(&lab)?;
        let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
        keyback.use_dcs(&[Dc::of_at(&lab, proxy.address())])?;
        keyback.serve(&[])?;
        let user = lab.add_user("kill")?;
        let version = lab.key_version(&user)?;
        let mut browser = keyback.browser()?;
        let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
        proxy.delay_answers(Duration::from_secs(2));
        let answer =
            browser.submit_only(&form.fill("new", "After-Kill-1!")?.fill("repeat", "After-Kill-1!")?)?;
        let job = job_of(&answer)?;
        let started = Instant::now();
        while lab.key_version(&user)? == version {
            ensure!(
                started.elapsed() < Duration::from_mins(1),
                "the modify never arrived: {}",
                keyback.log()
            );
        }
        // The DC has it, and its answer is on the line for two seconds more.
        keyback.kill()?;
        proxy.delay_answers(Duration::ZERO);
        assert_eq!(keyback.json(&["job", "show", &job])?.1["state"], "running");
        keyback.serve(&[])?;
        let ended = keyback.ended(&job)?;
        assert_eq!(ended["state"], "succeeded", "{ended}\n{}", keyback.log());
        assert_eq!(ended["done"]["settled"], true, "{ended}");
        assert_eq!(lab.key_version(&user)?, version + 1);
        assert!(lab.kinit(&user.sam, "After-Kill-1!")?);
        let page = end_of(&mut browser, &job)?;
        assert!(page.words().contains("works now"), "the ticket outlives the process: {}", page.words());
    }
    Ok(())
}

/// Fault: the agent is not there when a job is offered => the job waits for it
#[test]
fn server_and_agent_work_as_two_processes_over_a_socket_and_survive_each_other() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    keyback.edit(|text| format!("{text}\n[relay]\nsocket = \"relay.sock\"\n"))?;
    keyback.serve(&["--without-agent"])?;
    let user = lab.add_user("two")?;
    // Nobody is there yet: the job waits for the agent that comes.
    let mut browser = keyback.browser()?;
    let ask = browser.open("/reset")?.form()?.fill("user", &user.sam)?;
    browser.submit(&ask)?;
    keyback.run(&["agent"])?;
    assert_eq!(keyback.outcome_for(&user.sam)?["result"], "success");
    ensure!(keyback.sink.take_code(&user.mail)?.is_some(), "the job that waited mailed no code");
    let mut second = keyback.browser()?;
    let page = reset(&mut second, &user.sam, &user.mail, "Two-Processes-1!", &mut keyback.sink)?;
    assert!(page.words().contains("works now"), "{}", page.words());
    let took = keyback.terminate()?;
    ensure!(took < Duration::from_secs(12), "SIGTERM took {took:?}");
    Ok(())
}

/// A user with a proof, at the page that takes the new password, and how often their password was set.
fn at_the_last_page(keyback: &mut Keyback, lab: &Lab, name: &str) -> Result<(TestUser, i64, Browser, Form)> {
    let user = lab.add_user(name)?;
    let version = lab.key_version(&user)?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    Ok((user, version, browser, form))
}

/// Waits until the domain controller has set the password once more than `version` times.
fn until_set(lab: &Lab, user: &TestUser, version: i64, keyback: &Keyback) -> Result<()> {
    let started = Instant::now();
    while lab.key_version(user)? == version {
        ensure!(started.elapsed() < Duration::from_mins(1), "the modify never arrived: {}", keyback.log());
    }
    Ok(())
}

/// Fault: SIGTERM while a DC takes its time over the modify => ends within 10 s, the job with its true outcome
#[test]
fn ended_by_a_service_manager_a_job_in_flight_is_finished_first() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
    keyback.use_dcs(&[Dc::of_at(&lab, proxy.address())])?;
    keyback.serve(&[])?;
    let (user, version, mut browser, form) = at_the_last_page(&mut keyback, &lab, "term")?;
    proxy.delay_answers(Duration::from_secs(1));
    let answer = browser.submit_only(&form.fill("new", "Sig-Term-1!")?.fill("repeat", "Sig-Term-1!")?)?;
    let job = job_of(&answer)?;
    until_set(&lab, &user, version, &keyback)?;
    let took = keyback.terminate()?;
    ensure!(took < Duration::from_secs(10), "SIGTERM took {took:?}");
    let ended = keyback.json(&["job", "show", &job])?.1;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", keyback.log());
    assert_eq!(lab.key_version(&user)?, version + 1);
    Ok(())
}

/// Fault: SIGTERM while a DC answers too late to be waited for => ends within 12 s, the job stays open and is settled at the next start
#[test]
fn ended_with_an_answer_that_does_not_come_the_job_is_left_open_and_settled_later() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
    keyback.use_dcs(&[Dc::of_at(&lab, proxy.address())])?;
    keyback.serve(&[])?;
    let (user, version, mut browser, form) = at_the_last_page(&mut keyback, &lab, "late")?;
    // The modify is sent after one answer to a read; from then on nothing comes back in time.
    proxy.delay_answers(Duration::from_millis(500));
    let answer = browser.submit_only(&form.fill("new", "Sig-Term-2!")?.fill("repeat", "Sig-Term-2!")?)?;
    let job = job_of(&answer)?;
    until_set(&lab, &user, version, &keyback)?;
    proxy.delay_answers(Duration::from_mins(2));
    let took = keyback.terminate()?;
    ensure!(took < Duration::from_secs(12), "SIGTERM took {took:?}");
    proxy.delay_answers(Duration::ZERO);
    keyback.serve(&[])?;
    let ended = keyback.ended(&job)?;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", keyback.log());
    assert_eq!(lab.key_version(&user)?, version + 1);
    assert!(lab.kinit(&user.sam, "Sig-Term-2!")?);
    Ok(())
}

fn as_two_processes(lab: &Lab) -> Result<(Keyback, Proxy)> {
    let mut keyback = Keyback::init(lab)?;
    let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
    keyback.use_dcs(&[Dc::of_at(lab, proxy.address())])?;
    keyback.edit(|text| format!("{text}\n[relay]\nsocket = \"relay.sock\"\n"))?;
    keyback.serve(&["--without-agent"])?;
    keyback.run(&["agent"])?;
    Ok((keyback, proxy))
}

/// Fault: the agent alone is killed after the DC took the modify => the next agent settles it, one change
#[test]
fn an_agent_killed_in_mid_modify_is_followed_by_one_that_looks_first() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let (mut keyback, proxy) = as_two_processes(&lab)?;
    let (user, version, mut browser, form) = at_the_last_page(&mut keyback, &lab, "agentkill")?;
    proxy.delay_answers(Duration::from_secs(2));
    let answer = browser.submit_only(&form.fill("new", "Agent-Kill-1!")?.fill("repeat", "Agent-Kill-1!")?)?;
    let job = job_of(&answer)?;
    until_set(&lab, &user, version, &keyback)?;
    keyback.kill_newest()?;
    proxy.delay_answers(Duration::ZERO);
    keyback.run(&["agent"])?;
    let ended = keyback.ended(&job)?;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", keyback.log());
    assert_eq!(ended["done"]["settled"], true, "{ended}");
    assert_eq!(lab.key_version(&user)?, version + 1);
    Ok(())
}

/// Fault: the server alone is killed while the agent works => the agent's journal answers at the next start, one change
#[test]
fn a_server_killed_while_its_agent_works_learns_what_was_done() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let (mut keyback, proxy) = as_two_processes(&lab)?;
    let (user, version, mut browser, form) = at_the_last_page(&mut keyback, &lab, "serverkill")?;
    proxy.delay_answers(Duration::from_millis(500));
    let answer =
        browser.submit_only(&form.fill("new", "Server-Kill-1!")?.fill("repeat", "Server-Kill-1!")?)?;
    let job = job_of(&answer)?;
    until_set(&lab, &user, version, &keyback)?;
    keyback.kill_oldest()?;
    proxy.delay_answers(Duration::ZERO);
    keyback.serve(&["--without-agent"])?;
    let ended = keyback.ended(&job)?;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", keyback.log());
    assert_eq!(lab.key_version(&user)?, version + 1);
    assert!(lab.kinit(&user.sam, "Server-Kill-1!")?);
    Ok(())
}
