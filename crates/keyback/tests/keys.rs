//! Caps, quarantine and keys, in the running binary.

mod support;

use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::walk::{end_of, job_of, prove, reset};
use serde_json::Value;
use std::time::{Duration, Instant};
use support::Keyback;

/// What `/readyz` says of the agent, once it is so.
fn agent_when(keyback: &Keyback, so: impl Fn(&Value) -> bool) -> Result<Value> {
    let started = Instant::now();
    let mut last = String::new();
    while started.elapsed() < Duration::from_secs(40) {
        let page = keyback.browser()?.fetch("/readyz", &[])?;
        last = page.text();
        let said: Value = serde_json::from_str(&last)?;
        if so(&said["agents"]) {
            return Ok(said["agents"].clone());
        }
        std::thread::sleep(Duration::from_millis(100)); // another process's doing, seen only by looking again
    }
    anyhow::bail!("/readyz: {last}\n{}", keyback.log())
}

fn with_caps(keyback: &Keyback, caps: &str) -> Result<()> {
    keyback.edit(|text| text.replace("[agent.mail]", &format!("[agent.caps]\n{caps}\n\n[agent.mail]")))
}

/// Fault: killed between two resets of one person => the cap still counts both
#[test]
fn a_persons_cap_holds_when_the_process_is_killed_between_two_resets() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    with_caps(&keyback, "user_day = 1")?;
    keyback.serve(&[])?;
    let user = lab.add_user("killcap")?;
    let mut browser = keyback.browser()?;
    reset(&mut browser, &user.sam, &user.mail, "First-Pass-1!", &mut keyback.sink)?;
    keyback.kill()?;
    keyback.serve(&[])?;
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Second-Pass-1!", &mut keyback.sink)?;
    let job = keyback.ended(&job_of(&page)?)?;
    assert_eq!((&job["state"], &job["cause"]), (&"refused".into(), &"agent.cap_user".into()), "{job}");
    assert!(lab.kinit(&user.sam, "First-Pass-1!")?);
    Ok(())
}

/// Fault: the journal is restored from an old copy => quarantine before anything is written, until confirmed
#[test]
fn a_journal_restored_from_an_old_copy_is_found_out_before_anything_is_written() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    keyback.serve(&[])?;
    let journal = keyback.folder.join("agent.journal");
    let old = std::fs::read(&journal)?;
    let user = lab.add_user("restored")?;
    let mut browser = keyback.browser()?;
    reset(&mut browser, &user.sam, &user.mail, "Before-Pass-1!", &mut keyback.sink)?;
    agent_when(&keyback, |agents| agents[0]["journal"].as_u64() > Some(2))?;
    keyback.kill()?;
    std::fs::write(&journal, old)?;
    keyback.serve(&[])?;
    let agents = agent_when(&keyback, |agents| agents[0]["state"] == "quarantined")?;
    assert_eq!(agents[0]["cause"], "agent.quarantined");
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Restored-Pass-1!", &mut keyback.sink)?;
    let job = keyback.ended(&job_of(&page)?)?;
    assert_eq!(job["cause"], "agent.quarantined", "{job}");
    let (exit, checked) = keyback.json(&["check"])?;
    let findings = checked["findings"].as_array().context("findings")?;
    ensure!(exit == 1 && findings.iter().any(|found| found["cause"] == "agent.quarantined"), "{checked}");
    let (exit, taken) = keyback.json(&["agent", "confirm"])?;
    assert_eq!((exit, &taken["taken"]), (0, &true.into()));
    agent_when(&keyback, |agents| agents[0]["state"] == "running")?;
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Confirmed-Pass-1!", &mut keyback.sink)?;
    assert_eq!(keyback.ended(&job_of(&page)?)?["state"], "succeeded");
    Ok(())
}

fn ids(keyback: &Keyback, purpose: &str, state: &str) -> Result<Vec<String>> {
    let (_, keys) = keyback.json(&["key", "list"])?;
    let fits = |key: &&Value| key["purpose"] == purpose && key["state"] == state;
    let keys = keys.as_array().context("keys")?.iter().filter(fits);
    Ok(keys.filter_map(|key| key["id"].as_str().map(str::to_owned)).collect())
}

/// The keys of both sides are gone, as on two hosts that know nothing of each other.
fn two_strangers(lab: &Lab) -> Result<Keyback> {
    let keyback = Keyback::init(lab)?;
    keyback.edit(|text| format!("{text}\n[relay]\nsocket = \"relay.sock\"\n"))?;
    for name in ["agent-public.key", "server-public.key", "agent-unsealing.key", "agent-signing.key"] {
        std::fs::remove_file(keyback.folder.join(name))?;
    }
    Ok(keyback)
}

fn write_code(keyback: &Keyback, code: &str) -> Result<String> {
    let path = keyback.folder.join("code");
    std::fs::write(&path, code)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(path.display().to_string())
}

/// Fault: an enrolment code is wrong or used, a key is revoked => refused, nothing is pinned or sealed
#[test]
fn two_processes_enrol_by_a_code_that_is_good_once_and_a_revoked_key_counts_no_more() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = two_strangers(&lab)?;
    keyback.serve(&["--without-agent"])?;
    let code = keyback.json(&["key", "enrol"])?.1["code"].as_str().context("code")?.to_owned();
    let store = std::fs::read(keyback.folder.join("keyback.db-wal"))?;
    let bare = code.replace('-', "");
    ensure!(
        ![code.as_str(), &bare]
            .iter()
            .any(|text| store.windows(text.len()).any(|part| part == text.as_bytes()))
    );

    let wrong = write_code(&keyback, "0000-0000-0000-0000-0000")?;
    let refused = keyback.command(&["key", "enrol", "--code-file", &wrong])?;
    ensure!(refused.status.code() == Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("key.enrolment_refused"), "{refused:?}");
    ensure!(ids(&keyback, "agent-public", "pinned")?.is_empty());

    let right = write_code(&keyback, &code)?;
    let (exit, enrolled) = keyback.json(&["key", "enrol", "--code-file", &right])?;
    ensure!(exit == 0, "{enrolled}\n{}", keyback.log());
    assert_eq!(ids(&keyback, "agent-public", "pinned")?, ids(&keyback, "agent-signing", "in use")?);
    assert_eq!(ids(&keyback, "server-public", "pinned")?, ids(&keyback, "server-signing", "in use")?);

    keyback.run(&["agent"])?;
    agent_when(&keyback, |agents| agents[0]["state"] == "running")?;
    let user = lab.add_user("enrol")?;
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Enrolled-Pass-1!", &mut keyback.sink)?;
    assert_eq!(keyback.ended(&job_of(&page)?)?["state"], "succeeded");

    // The server gives the agent up while a job waits for it.
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    let agent = ids(&keyback, "agent-public", "pinned")?.pop().context("a pin")?;
    let (exit, _) = keyback.json(&["key", "revoke", &agent])?;
    assert_eq!(exit, 0);
    assert_eq!(ids(&keyback, "agent-public", "past")?, [agent], "listed, for what it signed");
    let started = Instant::now();
    while !keyback.log().contains("the key files have changed") {
        ensure!(started.elapsed() < Duration::from_secs(20), "{}", keyback.log());
        std::thread::sleep(Duration::from_millis(50)); // another process's doing, seen only by looking again
    }
    let answer =
        browser.submit_only(&form.fill("new", "Revoked-Pass-1!")?.fill("repeat", "Revoked-Pass-1!")?)?;
    ensure!(answer.status != 202, "{}", answer.words());
    ensure!(lab.kinit(&user.sam, "Enrolled-Pass-1!")?);

    // The code is used up: other keys cannot come in by it.
    for name in ["agent-unsealing.key", "agent-signing.key"] {
        std::fs::remove_file(keyback.folder.join(name))?;
    }
    keyback.kill()?;
    keyback.serve(&["--without-agent"])?;
    let again = keyback.command(&["key", "enrol", "--code-file", &right])?;
    ensure!(again.status.code() == Some(3), "{}", String::from_utf8_lossy(&again.stderr));
    ensure!(ids(&keyback, "agent-public", "pinned")?.is_empty());
    Ok(())
}

/// Fault: keys rotate in mid-reset, and the process is killed => every reset ends succeeded
#[test]
fn keys_rotate_while_a_reset_is_on_its_way_and_nothing_is_lost() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("rotate")?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    let (agent, server) =
        (ids(&keyback, "agent-signing", "in use")?, ids(&keyback, "server-signing", "in use")?);
    assert_eq!(keyback.json(&["key", "rotate"])?.0, 0);
    let next = ids(&keyback, "agent-signing", "next")?;
    let answer =
        browser.submit_only(&form.fill("new", "Rotated-Pass-1!")?.fill("repeat", "Rotated-Pass-1!")?)?;
    assert!(end_of(&mut browser, &job_of(&answer)?)?.words().contains("works now"));
    let started = Instant::now();
    while ids(&keyback, "agent-public", "pinned")? != next
        || ids(&keyback, "server-signing", "in use")? == server
    {
        ensure!(started.elapsed() < Duration::from_secs(60), "{}", keyback.log());
        std::thread::sleep(Duration::from_millis(100)); // another process's doing, seen only by looking again
    }
    assert_eq!(ids(&keyback, "agent-public", "pinned before")?, agent, "kept for the jobs on their way");
    assert_eq!(ids(&keyback, "agent-signing", "in use")?, agent);
    let page = reset(&mut keyback.browser()?, &user.sam, &user.mail, "Rotated-Pass-2!", &mut keyback.sink)?;
    assert_eq!(keyback.ended(&job_of(&page)?)?["state"], "succeeded", "{}", keyback.log());
    let twice = keyback.command(&["key", "rotate"])?;
    ensure!(twice.status.code() == Some(2), "the agent's last rotation is not over");
    keyback.kill()?;
    keyback.serve(&[])?;
    let page = reset(&mut keyback.browser()?, &user.sam, &user.mail, "Rotated-Pass-3!", &mut keyback.sink)?;
    assert_eq!(keyback.ended(&job_of(&page)?)?["state"], "succeeded", "{}", keyback.log());
    let (exit, verified) = keyback.json(&["audit", "verify"])?;
    assert_eq!(exit, 0, "what the old keys signed still counts: {verified}");
    Ok(())
}
