//! A store that is full, locked, read-only, or older than it was.

use super::support::{Dc, Keyback};
use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Lab, Samba};
use keyback_testkit::proxy::Proxy;
use keyback_testkit::walk::{job_of, prove, reset};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The store's file, as `init` names it.
const STORE: &str = "keyback.db";

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

/// Fault: the disk is full => 503 AADSTS120021 and nothing begun; goes on when there is room
#[test]
fn on_a_full_disk_nothing_is_begun_and_all_goes_on_when_there_is_room_again() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let disk = SmallDisk::new(8)?;
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
    for number in 0..100 {
        if last.status != 202 {
            break;
        }
        // The WAL file had room left in it; a new person's try takes it up.
        let mut other = keyback.browser()?;
        let ask = other.open("/reset")?.form()?.fill("user", format!("nobody-{number}"))?;
        last = other.submit_only(&ask)?;
        if last.status == 303 {
            last.status = 202;
        }
    }
    assert_eq!(last.status, 503, "{}", last.words());
    assert!(last.words().contains("AADSTS120021"), "{}", last.words());

    std::fs::remove_file(&filler)?;
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Room-Again-1!", &mut keyback.sink)
        .with_context(|| keyback.log())?;
    assert!(page.words().contains("works now"), "{}\n{}", page.words(), keyback.log());
    let after = keyback.json(&["job", "list", "--limit", "200"])?.1;
    let open = |jobs: &serde_json::Value| {
        jobs.as_array().map_or(0, |jobs| jobs.iter().filter(|job| job["finished"].is_null()).count())
    };
    assert_eq!((open(&jobs), open(&after)), (0, 0), "{after}");
    Ok(())
}

/// Somebody else who holds the store's write lock until the guard goes.
struct Locked(Child);

impl Locked {
    fn new(store: &Path) -> Result<Self> {
        let hold = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN IMMEDIATE')\n\
                    print('held', flush=True)\nsys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", hold])
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().context("no output")?),
            &mut line,
        )?;
        ensure!(line == "held\n", "the lock was not had: {line}");
        Ok(Self(child))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // it ends with its input, and the lock with it
        let _ = self.0.wait();
    }
}

/// Fault: another process holds the store's lock => 503 AADSTS120021 within 15 s and nothing begun; goes on when it is free
#[test]
fn a_locked_store_begins_nothing_and_goes_on_when_it_is_free() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("lock")?;
    let version = lab.key_version(&user)?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    let form = form.fill("new", "Lock-Held-1!")?.fill("repeat", "Lock-Held-1!")?;
    let locked = Locked::new(&keyback.folder.join(STORE))?;
    let started = Instant::now();
    let answer = browser.submit_only(&form)?;
    ensure!(started.elapsed() < Duration::from_secs(15), "the page took {:?}", started.elapsed());
    assert_eq!(answer.status, 503, "{}", answer.words());
    assert!(answer.words().contains("AADSTS120021"), "{}", answer.words());
    assert_eq!(lab.key_version(&user)?, version);
    drop(locked);
    // The proof still holds, and so does the page: sent again, it works.
    let job = keyback.ended(&job_of(&browser.submit_only(&form)?)?)?;
    assert_eq!(job["state"], "succeeded", "{job}\n{}", keyback.log());
    assert_eq!(lab.key_version(&user)?, version + 1);
    Ok(())
}

/// Fault: the store lies on a read-only file system => `serve` does not start, and says so with cause and fix
#[test]
fn a_store_that_cannot_be_written_stops_the_start() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let disk = SmallDisk::new(8)?;
    let keyback = Keyback::init_in(&lab, tempfile::tempdir()?, disk.0.path().to_owned())?;
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).status()?;
    ensure!(remounted.success(), "only root can do that");
    let output = keyback.command(&["serve"])?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("fix:"), "{text}");
    assert!(text.contains(&disk.0.path().display().to_string()), "{text}");
    Ok(())
}

/// Fault: the store is restored from a copy in which a finished job is still open => the agent's journal answers, no second change
#[test]
fn a_store_restored_from_an_old_copy_changes_nothing_twice() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::init(&lab)?;
    let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
    keyback.use_dcs(&[Dc::of_at(&lab, proxy.address())])?;
    keyback.serve(&[])?;
    let user = lab.add_user("old")?;
    let version = lab.key_version(&user)?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "reset", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    proxy.delay_answers(Duration::from_secs(1));
    let job =
        job_of(&browser.submit_only(&form.fill("new", "Old-Copy-1!")?.fill("repeat", "Old-Copy-1!")?)?)?;
    let copy = tempfile::tempdir()?;
    let files: Vec<String> = ["", "-wal"].iter().map(|end| format!("{STORE}{end}")).collect();
    for file in &files {
        std::fs::copy(keyback.folder.join(file), copy.path().join(file))?;
    }
    assert_eq!(keyback.json(&["job", "show", &job])?.1["state"], "running");
    assert_eq!(keyback.ended(&job)?["state"], "succeeded");
    keyback.kill()?;
    proxy.delay_answers(Duration::ZERO);
    std::fs::remove_file(keyback.folder.join(format!("{STORE}-shm")))?;
    for file in &files {
        std::fs::copy(copy.path().join(file), keyback.folder.join(file))?;
    }
    assert_eq!(keyback.json(&["job", "show", &job])?.1["state"], "running", "the copy is older than the end");
    keyback.serve(&[])?;
    let ended = keyback.ended(&job)?;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", keyback.log());
    assert_eq!(lab.key_version(&user)?, version + 1);
    Ok(())
}
