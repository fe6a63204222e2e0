//! What goes wrong around keyback: a domain controller that hangs, a process that is killed, a disk that is full.

mod support;

use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::proxy::Proxy;
use keyback_testkit::walk::{end_of, job_of, prove, reset};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Dc, Keyback};

/// Accepts connections and never answers, as a frozen domain controller does.
fn hanging() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0")?) // the kernel accepts up to its backlog; nobody ever reads
}

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

/// A folder with little room, unmounted when it goes.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mebibytes: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = format!("size={mebibytes}m,mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status()?;
        ensure!(mounted.success(), "only root can mount a small disk");
        Ok(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_nothing_is_begun_and_all_goes_on_when_there_is_room_again() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let disk = SmallDisk::new(4)?;
    let mut keyback = Keyback::init_in(&lab, tempfile::tempdir()?, disk.0.path().to_owned())?;
    keyback.serve(&[])?;
    let user = lab.add_user("full")?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    let form = form.fill("new", "Full-Disk-1!")?.fill("repeat", "Full-Disk-1!")?;
    let jobs = keyback.json(&["job", "list"])?.1;
    let filler = disk.0.path().join("filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", filler.display()))
        .output()?;

    let mut last = browser.submit_only(&form)?;
    for _ in 0..100 {
        if last.status != 202 {
            break;
        }
        // The WAL file had room left in it; a new person's try takes it up.
        let mut other = keyback.browser()?;
        let ask = other.open("/reset")?.form()?.fill("user", "nobody-at-all")?;
        last = other.submit_only(&ask)?;
        if last.status == 303 {
            last.status = 202;
        }
    }
    assert_eq!(last.status, 503, "{}", last.words());
    assert!(last.words().contains("AADSTS120021"), "{}", last.words());

    std::fs::remove_file(&filler)?;
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Room-Again-1!", &mut keyback.sink)?;
    assert!(page.words().contains("works now"), "{}\n{}", page.words(), keyback.log());
    let after = keyback.json(&["job", "list", "--limit", "200"])?.1;
    let open = |jobs: &serde_json::Value| {
        jobs.as_array().map_or(0, |jobs| jobs.iter().filter(|job| job["finished"].is_null()).count())
    };
    assert_eq!((open(&jobs), open(&after)), (0, 0), "{after}");
    Ok(())
}

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
    let mut second = keyback.browser()?;
    let page = reset(&mut second, &user.sam, &user.mail, "Two-Processes-1!", &mut keyback.sink)?;
    assert!(page.words().contains("works now"), "{}", page.words());
    assert_eq!(keyback.outcome_for(&user.sam)?["result"], "success");
    let took = keyback.terminate()?;
    ensure!(took < Duration::from_secs(12), "SIGTERM took {took:?}");
    Ok(())
}
