//! What is left of secrets once their jobs have ended: in the memory of both processes, in the store, the journal and the
//! logs, and on the relay.

mod support;

use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Lab, Samba, TestUser};
use keyback_testkit::memory;
use keyback_testkit::walk::{end_of, job_of, prove};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::Keyback;

/// In every password.
const MARKER: &str = "Zq7MarkerSecret";
/// Passwords that are set: `USERS` people, so many each.
const RESETS: usize = 100;
const USERS: usize = 20;

/// What went over the relay, both ways.
type Capture = Arc<Mutex<Vec<u8>>>;

fn carry(mut from: UnixStream, mut to: UnixStream, capture: Capture) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            capture.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
}

/// A second socket, through which the agent reaches the first.
fn tap(at: &Path, relay: &Path) -> Result<Capture> {
    let (listener, relay, capture) = (UnixListener::bind(at)?, relay.to_owned(), Capture::default());
    let kept = Arc::clone(&capture);
    std::thread::spawn(move || {
        while let Ok((agent, _)) = listener.accept() {
            let Ok(server) = UnixStream::connect(&relay) else { continue };
            let Ok((agent_too, server_too)) = agent.try_clone().and_then(|a| Ok((a, server.try_clone()?)))
            else {
                continue;
            };
            carry(agent, server, Arc::clone(&kept));
            carry(server_too, agent_too, Arc::clone(&kept));
        }
    });
    Ok(capture)
}

/// Sets a password: by a change where the current one is said, else by a reset.
fn set(keyback: &mut Keyback, user: &TestUser, current: Option<&str>, new: &str) -> Result<()> {
    let mut browser = keyback.browser()?;
    let operation = if current.is_some() { "change" } else { "reset" };
    let mut form = prove(&mut browser, operation, &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    if let Some(current) = current {
        form = form.fill("current", current)?;
    }
    let answer = browser.submit_only(&form.fill("new", new)?.fill("repeat", new)?)?;
    let page = end_of(&mut browser, &job_of(&answer)?)?;
    ensure!(page.words().contains("works now"), "{new}: {}", page.words());
    Ok(())
}

/// Fault: process memory, store, journal, logs and relay are searched after a hundred resets => no password
#[test]
fn a_hundred_resets_leave_no_password_in_memory_store_log_or_relay() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    keyback.edit(|text| {
        let caps = "[agent.caps]\nuser_day = 100\nagent_hour = 1000\nou_hour = 1000\n\n[agent.mail]";
        let limits = "\n[server.limits]\nasks_per_source = 100000\ncodes_per_source = 100000\n\
                      asks_per_name_and_source = 1000\ncodes_per_name_and_source = 1000\n";
        format!("{}\n[relay]\nsocket = \"relay.sock\"\n{limits}", text.replace("[agent.mail]", caps))
    })?;
    let relay = keyback.folder.join("relay.sock");
    let server = keyback.run_on("keyback.toml", &["serve", "--without-agent"])?;
    keyback.wait_until_ready()?;
    let capture = tap(&keyback.folder.join("tap.sock"), &relay)?;
    let text = std::fs::read_to_string(keyback.config())?.replace("relay.sock", "tap.sock");
    std::fs::write(keyback.folder.join("agent.toml"), text)?;
    let agent = keyback.run_on("agent.toml", &["agent"])?;
    let users: Vec<TestUser> = (0..USERS).map(|_| lab.add_user("memory")).collect::<Result<_>>()?;
    let mut current: Option<String> = None;
    for number in 0..RESETS {
        let user = &users[number / (RESETS / USERS)];
        let new = format!("{MARKER}-{number}-Aa!");
        // Of each person's passwords, the last one is set by a change.
        let is_last = number % (RESETS / USERS) == RESETS / USERS - 1;
        set(&mut keyback, user, current.as_deref().filter(|_| is_last), &new)?;
        current = Some(new);
    }
    let last = users.last().context("users")?;
    assert!(lab.kinit(&last.sam, &current.context("a password")?)?, "the passwords were set");
    // A browser's connection keeps its last request in its buffer: they have to be closed, and seen to be.
    let started = Instant::now();
    let mut left = Vec::new();
    while started.elapsed() < Duration::from_secs(20) {
        left.clear();
        for (name, pid) in [("server", server), ("agent", agent)] {
            let (own, looked_at) = memory::find(pid, "Test & Sons")?;
            ensure!(!own.is_empty() && looked_at > 1 << 20, "the search itself finds nothing in {name}");
            left.extend(memory::find(pid, MARKER)?.0.into_iter().map(|found| (name, found)));
        }
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200)); // another process's doing, seen only by looking again
    }
    assert!(left.is_empty(), "{} times: {:#?}", left.len(), &left[..left.len().min(12)]);
    for path in support::files(&keyback.folder)? {
        let bytes = std::fs::read(&path)?;
        assert_eq!(keyback_testkit::tripwire::find(MARKER, &bytes), None, "{}", path.display());
    }
    let carried = capture.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(carried.len() > RESETS * 1000, "the relay carried {} bytes", carried.len());
    assert_eq!(keyback_testkit::tripwire::find(MARKER, &carried), None, "the relay");
    Ok(())
}
