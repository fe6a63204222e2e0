//! keyback as its users meet it: the binary, its configuration, its pages and its mails, against the lab.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod alone;
mod clock;

use anyhow::{Context, Result, ensure};
use keyback_testkit::browser::Browser;
use keyback_testkit::lab::Lab;
use keyback_testkit::mail::MailSink;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The binary under test.
pub const KEYBACK: &str = env!("CARGO_BIN_EXE_keyback");

/// A domain controller as the configuration names it.
pub struct Dc {
    pub host: String,
    pub address: SocketAddr,
}

impl Dc {
    /// The lab itself.
    pub fn of(lab: &Lab) -> Self {
        Self { host: lab.fqdn().to_owned(), address: lab.ldaps() }
    }

    /// The lab, dialled somewhere else.
    pub fn of_at(lab: &Lab, address: SocketAddr) -> Self {
        Self { host: lab.fqdn().to_owned(), address }
    }
}

/// A keyback of a test's own: folder, mail sink, and the process while it runs.
pub struct Keyback {
    pub folder: PathBuf,
    pub url: String,
    pub sink: MailSink,
    pub runtime: Runtime,
    processes: Vec<Child>,
    _temporary: tempfile::TempDir,
}

/// Where a keyback of this test's listens, and listens again after a restart: at an address of the process's own. At
/// 127.0.0.1 the port could be somebody else's by then, be it the near end of an outgoing connection.
fn own_address() -> Result<SocketAddr> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = IpAddr::from([127, 128 | (high & 0x3f), middle, low]);
    Ok(TcpListener::bind((own, 0))?.local_addr()?)
}

impl Keyback {
    /// Written by `keyback init` against the lab, not started yet.
    pub fn init(lab: &Lab) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let folder = temporary.path().join("keyback");
        Self::init_in(lab, temporary, folder)
    }

    /// The same, with its files in `folder`.
    pub fn init_in(lab: &Lab, temporary: tempfile::TempDir, folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let sink = runtime.block_on(MailSink::start("127.0.0.1:0".parse()?))?;
        let (connector, password) = lab.connector();
        let secret = temporary.path().join("given.password");
        std::fs::write(&secret, password)?;
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let address = own_address()?;
        let url = format!("http://{address}");
        let output = Command::new(KEYBACK)
            .args([
                "init",
                "--yes",
                "--organisation",
                "Test & Sons",
                "--mail-from",
                "Help <help@example.org>",
            ])
            .args(["--config", &folder.join("keyback.toml").display().to_string()])
            .args(["--listen", &address.to_string(), "--public-url", &url])
            .args(["--dc", &format!("ldaps://{}", lab.fqdn()), "--dc-address", &lab.ip().to_string()])
            .args(["--ca", &lab.ca_file().display().to_string(), "--connector", connector])
            .args(["--connector-password-file", &secret.display().to_string()])
            .args(["--scope", &format!("OU=Staff,{}", lab.base_dn())])
            .args(["--mail-gateway", &format!("smtp://{}", sink.address())])
            .output()?;
        ensure!(output.status.success(), "init: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { folder, url, sink, runtime, processes: Vec::new(), _temporary: temporary })
    }

    /// Set up and running.
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut keyback = Self::init(lab)?;
        keyback.serve(&[])?;
        Ok(keyback)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("keyback.toml")
    }

    /// Edits the configuration.
    pub fn edit(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let text = std::fs::read_to_string(self.config())?;
        Ok(std::fs::write(self.config(), change(text))?)
    }

    /// Puts these domain controllers in place of the configured ones.
    pub fn use_dcs(&self, dcs: &[Dc]) -> Result<()> {
        self.edit(|text| {
            let (before, rest) = text.split_once("\n[[agent.dc]]").unwrap_or((&text, ""));
            let after = rest.split_once("\n[agent.mail]").map_or("", |(_, after)| after);
            let blocks: String = dcs
                .iter()
                .map(|Dc { host, address }| {
                    format!(
                        "\n[[agent.dc]]\nurl = \"ldaps://{host}:{}\"\naddress = \"{}\"\n",
                        address.port(),
                        address.ip()
                    )
                })
                .collect();
            format!("{before}{blocks}\n[agent.mail]{after}")
        })
    }

    /// A job ends after so many seconds.
    pub fn use_deadline(&self, seconds: u64) -> Result<()> {
        self.edit(|text| text.replace("[server]\n", &format!("[server]\njob_deadline_seconds = {seconds}\n")))
    }

    /// Starts one more process of keyback, its log appended to `keyback.log`.
    pub fn run(&mut self, arguments: &[&str]) -> Result<()> {
        self.run_with(arguments, &[])
    }

    fn run_with(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
        self.spawn("keyback.toml", arguments, variables).map(drop)
    }

    /// Starts one more process with another configuration of the same folder; its number.
    pub fn run_on(&mut self, config: &str, arguments: &[&str]) -> Result<u32> {
        self.spawn(config, arguments, &[])
    }

    fn spawn(&mut self, config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<u32> {
        let log = File::options().create(true).append(true).open(self.folder.join("keyback.log"))?;
        let child = Command::new(KEYBACK)
            .args(arguments)
            .args(["--config", &self.folder.join(config).display().to_string()])
            .env("KEYBACK_LOG", "debug,sqlx=warn,hyper=info,h2=info")
            .envs(variables.iter().copied())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let number = child.id();
        self.processes.push(child);
        Ok(number)
    }

    /// Runs `serve` and waits until it is ready.
    pub fn serve(&mut self, more: &[&str]) -> Result<()> {
        self.run(&[&["serve"], more].concat())?;
        self.wait_until_ready()
    }

    /// Runs `serve` with these environment variables and waits until it is ready.
    pub fn serve_with(&mut self, more: &[&str], variables: &[(&str, &str)]) -> Result<()> {
        self.run_with(&[&["serve"], more].concat(), variables)?;
        self.wait_until_ready()
    }

    /// Waits until the pages are there.
    pub fn wait_until_ready(&self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.browser()?.fetch("/readyz", &[]).is_ok_and(|page| page.status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20)); // another process's doing, seen only by looking again
        }
        anyhow::bail!("not ready within 20 s: {}", self.log())
    }

    /// What the processes have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("keyback.log")).unwrap_or_default()
    }

    /// Ends every process as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        for mut child in self.processes.drain(..) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// The same for the process that was started last.
    pub fn kill_newest(&mut self) -> Result<()> {
        let mut child = self.processes.pop().context("no process runs")?;
        let killed = child.kill();
        child.wait()?;
        Ok(killed?)
    }

    /// The same for the process that was started first.
    pub fn kill_oldest(&mut self) -> Result<()> {
        ensure!(!self.processes.is_empty(), "no process runs");
        let mut child = self.processes.remove(0);
        let killed = child.kill();
        child.wait()?;
        Ok(killed?)
    }

    /// Ends every process as a service manager would; how long that took.
    pub fn terminate(&mut self) -> Result<Duration> {
        let started = Instant::now();
        for mut child in self.processes.drain(..) {
            Command::new("kill").arg(child.id().to_string()).status()?;
            child.wait()?;
        }
        Ok(started.elapsed())
    }

    /// A new browser.
    pub fn browser(&self) -> Result<Browser> {
        Browser::new(&self.url)
    }

    /// A command of keyback's with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(KEYBACK)
            .args(arguments)
            .args(["--config", &self.config().display().to_string()])
            .stdin(Stdio::null())
            .output()?)
    }

    /// The same with `--json`: exit code and document.
    pub fn json(&self, arguments: &[&str]) -> Result<(i32, serde_json::Value)> {
        let output = self.command(&[arguments, &["--json"]].concat())?;
        let document = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok((output.status.code().unwrap_or(-1), document))
    }

    /// The job, once it has ended.
    pub fn ended(&self, job: &str) -> Result<serde_json::Value> {
        Ok(self.json(&["job", "wait", job, "--seconds", "90"])?.1)
    }

    /// Waits until the job is in this state.
    pub fn until_state(&self, job: &str, state: &str) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            if self.json(&["job", "show", job])?.1["state"] == state {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50)); // another process's doing, seen only by looking again
        }
        anyhow::bail!("the job is never {state}: {}", self.log())
    }

    /// The newest outcome row of the audit trail for a user, once there is one.
    pub fn outcome_for(&self, user: &str) -> Result<serde_json::Value> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            let rows = self.json(&["audit", "list"])?.1;
            let rows = rows.as_array().context("rows")?.iter().rev();
            let found = rows.into_iter().find(|row| row["user"] == user && row["phase"] == "outcome");
            if let Some(row) = found {
                return Ok(row.clone());
            }
            std::thread::sleep(Duration::from_millis(50)); // another process's doing, seen only by looking again
        }
        anyhow::bail!("no outcome for {user}: {}", self.log())
    }
}

impl Drop for Keyback {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("keyback-failed-{}.log", std::process::id()));
            let _ = std::fs::write(&path, self.log());
        }
    }
}

/// Every file under a folder.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// An address on the test's own.
pub fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}
