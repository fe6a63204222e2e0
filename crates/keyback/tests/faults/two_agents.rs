//! Two agents on one domain, each a process with a journal and keys of its own; one is stopped in mid-modify by SIGSTOP.

use super::support::{Dc, KEYBACK, Keyback};
use anyhow::{Result, bail, ensure};
use keyback_agent::UnsealingKey;
use keyback_core::keys::{Purpose, SigningKey, write_key_file};
use keyback_testkit::lab::{Lab, Samba, TestUser};
use keyback_testkit::proxy::Proxy;
use keyback_testkit::walk::{job_of, prove};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long the first agent has a job to itself, in seconds.
const TURN: u32 = 4;

/// A server and two agents. Each agent reaches the domain controller through a proxy of its own, under the same name.
struct Two {
    keyback: Keyback,
    first: Child,
    second: Child,
    proxy: Proxy,
}

impl Drop for Two {
    fn drop(&mut self) {
        for agent in [&mut self.first, &mut self.second] {
            let _ = (agent.kill(), agent.wait());
        }
    }
}

fn signal(agent: &Child, signal: &str) -> Result<()> {
    ensure!(Command::new("kill").args([signal, &agent.id().to_string()]).status()?.success(), "{signal}");
    Ok(())
}

fn until(what: &str, keyback: &Keyback, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(40) {
        if so()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20)); // another process's doing, seen only by looking again
    }
    bail!("{what}: {}", keyback.log())
}

/// Keys for a second agent beside those that `init` made.
fn make_keys(keyback: &Keyback) -> Result<()> {
    let (unsealing, signing) = (UnsealingKey::new_bytes(), SigningKey::new_seed());
    let verifying = SigningKey::from_seed(&signing)?.verifying_key();
    let sealing = *UnsealingKey::from_bytes(&unsealing).public_bytes();
    for (name, purpose, keys) in [
        ("second-unsealing.key", Purpose::AgentUnsealing, vec![unsealing.as_slice()]),
        ("second-signing.key", Purpose::AgentSigning, vec![signing.as_slice()]),
        ("second-public.key", Purpose::AgentPublic, vec![&sealing[..], verifying.as_bytes()]),
    ] {
        let path = keyback.folder.join(name);
        std::fs::write(&path, write_key_file(purpose, &keys).as_bytes())?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
    }
    Ok(())
}

fn run_agent(keyback: &Keyback, config: &str) -> Result<Child> {
    let log = File::options().create(true).append(true).open(keyback.folder.join("keyback.log"))?;
    let config = keyback.folder.join(config);
    let mut command = Command::new(KEYBACK);
    command.arg("agent").arg("--config").arg(config).env("KEYBACK_LOG", "debug,sqlx=warn");
    Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
}

impl Two {
    fn start(lab: &Lab) -> Result<Self> {
        let mut keyback = Keyback::init(lab)?;
        make_keys(&keyback)?;
        let proxy = keyback.runtime.block_on(Proxy::start("127.0.0.1:0".parse()?, lab.ldaps()))?;
        let beside = SocketAddr::from(([127, 0, 0, 2], proxy.address().port()));
        let second = keyback.runtime.block_on(Proxy::start(beside, lab.ldaps()))?;
        keyback.edit(|text| {
            let server = format!(
                "[server]\nstand_in_key_files = [\"second-public.key\"]\njob_turn_seconds = {TURN}\n"
            );
            let agent = "[agent]\npeer_key_files = [\"second-public.key\"]\n";
            let text = text.replace("[server]\n", &server).replace("[agent]\n", agent);
            format!("{text}\n[relay]\nsocket = \"relay.sock\"\n")
        })?;
        keyback.use_dcs(&[Dc::of_at(lab, second.address())])?;
        let of_second = std::fs::read_to_string(keyback.config())?
            .replace("peer_key_files = [\"second-public.key\"]", "peer_key_files = [\"agent-public.key\"]")
            .replace("agent-unsealing.key", "second-unsealing.key")
            .replace("agent-signing.key", "second-signing.key")
            .replace("agent.journal", "second.journal");
        std::fs::write(keyback.folder.join("second.toml"), of_second)?;
        keyback.use_dcs(&[Dc::of_at(lab, proxy.address())])?;
        keyback.serve(&["--without-agent"])?;
        let (first, second) = (run_agent(&keyback, "keyback.toml")?, run_agent(&keyback, "second.toml")?);
        let two = Self { keyback, first, second, proxy };
        until("both agents are heard", &two.keyback, || {
            let page = two.keyback.browser()?.fetch("/readyz", &[])?;
            let said: serde_json::Value = serde_json::from_str(&page.text())?;
            Ok(said["agents"].as_array().is_some_and(|agents| agents.len() == 2))
        })?;
        Ok(two)
    }

    /// Submits a password that the first agent sends, but whose answer it does not live to see: it is stopped once `sent`.
    fn stop_in_mid_modify(
        &mut self,
        user: &TestUser,
        password: &str,
        before: impl FnOnce(&Proxy),
        sent: impl Fn(&Proxy) -> Result<bool>,
    ) -> Result<String> {
        let mut browser = self.keyback.browser()?;
        let page = prove(&mut browser, "reset", &user.sam, &user.mail, &mut self.keyback.sink)?;
        let form = page.form()?.fill("new", password)?.fill("repeat", password)?;
        before(&self.proxy);
        let job = job_of(&browser.submit_only(&form)?)?;
        until("the modify never came", &self.keyback, || sent(&self.proxy))?;
        signal(&self.first, "-STOP")?;
        Ok(job)
    }
}

/// Fault: of two agents one is stopped (SIGSTOP) after the DC took its modify => the other settles the job, one change
#[test]
fn an_agent_stopped_after_the_dc_took_its_modify_is_followed_by_one_that_finds_it_done() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut two = Two::start(&lab)?;
        let user = lab.add_user("stopped")?;
        let version = lab.key_version(&user)?;
        let job = two.stop_in_mid_modify(
            &user,
            "Stop-After-1!",
            |proxy| proxy.delay_answers(Duration::from_millis(500)),
            |_| Ok(lab.key_version(&user)? > version),
        )?;
        let ended = two.keyback.ended(&job)?;
        assert_eq!(ended["state"], "succeeded", "{ended}\n{}", two.keyback.log());
        assert_eq!(ended["done"]["settled"], true, "{ended}");
        signal(&two.first, "-CONT")?;
        until("the first agent never learned what it did", &two.keyback, || {
            let journal = std::fs::read_to_string(two.keyback.folder.join("agent.journal"))?;
            Ok(journal.lines().any(|line| line.contains("\"ended\"") && line.contains(&job)))
        })?;
        assert_eq!(lab.key_version(&user)?, version + 1);
        assert!(lab.kinit(&user.sam, "Stop-After-1!")?);
        assert_eq!(two.keyback.json(&["job", "show", &job])?.1["state"], "succeeded");
        let (exit, verified) = two.keyback.json(&["audit", "verify"])?;
        assert_eq!(exit, 0, "the outcome carries the second agent's signature: {verified}");
    }
    Ok(())
}

/// Fault: of two agents one is stopped (SIGSTOP) with its modify on the way, which arrives after the other's => one change
#[test]
fn a_modify_of_a_stopped_agent_that_arrives_after_the_other_s_changes_nothing() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut two = Two::start(&lab)?;
        let user = lab.add_user("stopped")?;
        let version = lab.key_version(&user)?;
        let sent = |proxy: &Proxy| Ok(proxy.has_caught());
        let job = two.stop_in_mid_modify(&user, "Stop-Before-1!", Proxy::hold_newest, sent)?;
        let ended = two.keyback.ended(&job)?;
        assert_eq!(ended["state"], "succeeded", "{ended}\n{}", two.keyback.log());
        assert_eq!(ended["done"]["settled"], false, "the second agent's own: {ended}");
        assert_eq!(lab.key_version(&user)?, version + 1);
        two.proxy.release();
        signal(&two.first, "-CONT")?;
        until("the late modify never came to the domain controller", &two.keyback, || {
            Ok(two.keyback.log().contains("00002085"))
        })?;
        assert_eq!(lab.key_version(&user)?, version + 1);
        assert!(lab.kinit(&user.sam, "Stop-Before-1!")?);
        assert_eq!(two.keyback.json(&["job", "show", &job])?.1["state"], "succeeded");
    }
    Ok(())
}
