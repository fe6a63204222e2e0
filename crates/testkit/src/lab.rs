//! The lab: a real Samba AD DC for the tests, seen from outside keyback: everything here goes through `ldap-utils` and
//! Kerberos' own tools, so that what keyback says is checked against somebody else's word.
//!
//! Shared DCs are started by `./test` (or `lab/up`) and named by `KEYBACK_LAB_424` and `KEYBACK_LAB_HOST`, the paths of
//! their `lab.env`. `KEYBACK_TEST_DC` names a file of the same form for another DC, say a Windows one, and stands in for both.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyback_core::ObjectGuid;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which Samba.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Samba {
    /// 4.24 from trixie-backports: policy hints, refusals as on Windows.
    V4_24,
    /// Debian 12's own 4.17: no policy hints.
    Host,
}

impl Samba {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4_24, Self::Host];

    /// As `lab/up --samba` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4_24 => "4.24",
            Self::Host => "host",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::V4_24 => "KEYBACK_LAB_424",
            Self::Host => "KEYBACK_LAB_HOST",
        }
    }

    const fn default_env(self) -> &'static str {
        match self {
            Self::V4_24 => "/var/lib/keyback-lab/dc-424/lab.env",
            Self::Host => "/var/lib/keyback-lab/dc-host/lab.env",
        }
    }
}

/// The password that the seed gives everybody.
pub const SEEDED_PASSWORD: &str = "Start-Pass1!";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A user of a test's own.
#[derive(Debug, Clone)]
pub struct TestUser {
    /// sAMAccountName, unique in this run.
    pub sam: String,
    /// userPrincipalName.
    pub upn: String,
    /// distinguishedName.
    pub dn: String,
    /// mail.
    pub mail: String,
    /// objectGUID.
    pub guid: ObjectGuid,
    /// The password it was made with.
    pub password: String,
}

/// An object as a search shows it.
#[derive(Debug, Clone)]
pub struct Found {
    /// distinguishedName.
    pub dn: String,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Found {
    /// All values of an attribute.
    pub fn values(&self, attribute: &str) -> impl Iterator<Item = &[u8]> {
        let attribute = attribute.to_owned();
        self.attributes.iter().filter(move |(name, _)| *name == attribute).map(|(_, value)| value.as_slice())
    }

    /// Its first value.
    pub fn value(&self, attribute: &str) -> Result<&[u8]> {
        self.values(attribute).next().with_context(|| format!("{} shows no {attribute}", self.dn))
    }
}

/// A change that the DC refused.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// The change, as LDIF.
    pub record: String,
    /// LDAP result code.
    pub code: u32,
    /// What the DC said.
    pub text: String,
}

/// Whose word is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// A name to bind with.
    pub name: &'a str,
    /// Its password.
    pub password: &'a str,
}

/// One domain controller.
#[derive(Debug)]
pub struct Lab {
    env: BTreeMap<String, String>,
    private: Option<PathBuf>,
}

/// Whom a breakage hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hits {
    /// One user.
    User,
    /// Everybody, or everybody below an OU.
    Domain,
}

/// A line of `lab/break --list`.
#[derive(Debug, Clone)]
pub struct Breakage {
    /// Cause id, with `:variant` if it is one.
    pub cause: String,
    /// `None`: the lab cannot show it.
    pub hits: Option<Hits>,
    /// True where Samba 4.17 accepts the reset all the same.
    pub only_4_24: bool,
    /// What is done, or why the lab cannot.
    pub what: String,
}

/// A breakage in force; mended when it goes.
#[derive(Debug)]
pub struct Broken<'a> {
    lab: &'a Lab,
    cause: String,
    user: Option<String>,
    /// A password that is refused for this cause, where not all are.
    pub password: Option<String>,
    mended: bool,
}

impl Broken<'_> {
    /// Puts everything back, and fails if something is not as it was.
    pub fn mend(mut self) -> Result<()> {
        self.mended = true;
        self.undo()
    }

    fn undo(&self) -> Result<()> {
        let mut command = Command::new(project().join("lab/mend"));
        command.args(["--dir", self.lab.env("AD_DIR"), &self.cause]).args(&self.user);
        let (good, _, err) = run(&mut command, "")?;
        ensure!(good, "{err}");
        Ok(())
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        if !self.mended {
            let _ = self.undo();
        }
    }
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read_env(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

fn run(command: &mut Command, input: &str) -> Result<(bool, String, String)> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(
            || format!("{command:?} does not start: is the package there? (lab/packages --install)"),
        )?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

fn password_line(password: &str) -> String {
    let quoted: Vec<u8> = format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    format!("unicodePwd:: {}", STANDARD.encode(quoted))
}

/// A loopback address of this process's own, on which nothing listens.
fn free_address() -> Result<Ipv4Addr> {
    for _ in 0..1000 {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes()[3];
        // Each count another address: two DCs of one process must never share one.
        let address = Ipv4Addr::new(127, 100 + high % 100, low, 2 + count % 250);
        if TcpStream::connect((address, 389)).is_err() {
            return Ok(address);
        }
    }
    bail!("no free loopback address")
}

impl Lab {
    /// The DC that all tests share. They make users of their own in it and leave the rest alone.
    pub fn shared(samba: Samba) -> Result<Self> {
        let path = std::env::var("KEYBACK_TEST_DC")
            .or_else(|_| std::env::var(samba.variable()))
            .unwrap_or_else(|_| samba.default_env().to_owned());
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no lab ({path}): run ./test, or start one with `lab/up --samba {}`",
                samba.name()
            )
        })?;
        Ok(Self { env: read_env(&text), private: None })
    }

    /// A DC of this test's own, on its own address, ended when this value goes. `options` are those of `lab/up`.
    pub fn private(samba: Samba, options: &[&str]) -> Result<Self> {
        let address = free_address()?;
        let folder = PathBuf::from(format!("/var/lib/keyback-lab/test-{address}"));
        let lab = Self { env: BTreeMap::new(), private: Some(folder.clone()) };
        let (address, folder) = (address.to_string(), folder.display().to_string());
        let mut command = Command::new(project().join("lab/up"));
        command.args(["--samba", samba.name(), "--ip", &address, "--dir", &folder]).args(options);
        let (good, out, err) = run(&mut command, "")?;
        ensure!(good, "lab/up failed: {err}");
        Ok(Self { env: read_env(&out), private: lab.forget() })
    }

    fn forget(mut self) -> Option<PathBuf> {
        self.private.take()
    }

    /// One of the `lab.env` variables.
    pub fn env(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }

    /// Where it listens.
    pub fn ip(&self) -> IpAddr {
        self.env("AD_IP").parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// The LDAPS port's address.
    pub fn ldaps(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), 636)
    }

    /// The name in its certificate.
    pub fn fqdn(&self) -> &str {
        self.env("AD_FQDN")
    }

    /// The CA that issued its certificate.
    pub fn ca_file(&self) -> PathBuf {
        PathBuf::from(self.env("AD_CA"))
    }

    /// `DC=ad,DC=example`.
    pub fn base_dn(&self) -> &str {
        self.env("AD_BASE_DN")
    }

    /// The connector account and its password.
    pub fn connector(&self) -> (&str, &str) {
        (self.env("AD_CONNECTOR_UPN"), self.env("AD_CONNECTOR_PW"))
    }

    /// Administrator.
    pub fn administrator(&self) -> Account<'_> {
        Account { name: self.env("AD_ADMIN_UPN"), password: self.env("AD_ADMIN_PW") }
    }

    fn tool(&self, tool: &str, account: Account<'_>) -> Command {
        let mut command = Command::new(tool);
        command.env("LDAPTLS_CACERT", self.ca_file()).args(["-x", "-H", self.env("AD_LDAPS")]);
        command.args(["-o", "ldif-wrap=no", "-D", account.name, "-w", account.password]);
        command
    }

    fn admin(&self, tool: &str) -> Command {
        self.tool(tool, self.administrator())
    }

    /// Makes many changes on one connection, and goes on after one that is refused.
    pub fn try_modify(&self, account: Account<'_>, ldif: &str) -> Result<Vec<Rejected>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("rejected.ldif");
        let (good, _, err) = run(self.tool("ldapmodify", account).args(["-c", "-S"]).arg(&file), ldif)?;
        let text = std::fs::read_to_string(&file).with_context(|| format!("ldapmodify: {err}"))?;
        let mut rejected = Vec::new();
        for whole in text.split("# Error: ").filter(|part| !part.trim().is_empty()) {
            let (text, record) = whole.split_once('\n').context("no record after an error")?;
            let code = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
            let code = code.and_then(|(code, _)| code.parse().ok());
            let code = code.with_context(|| format!("no result code: {text}"))?;
            rejected.push(Rejected { record: record.trim().to_owned(), code, text: text.to_owned() });
        }
        ensure!(good == rejected.is_empty(), "ldapmodify: {err}");
        Ok(rejected)
    }

    /// Resets a password, with the policy hints control if wanted.
    pub fn reset(
        &self,
        account: Account<'_>,
        dn: &str,
        password: &str,
        hints: bool,
    ) -> Result<Option<Rejected>> {
        let control = if hints { "control: 1.2.840.113556.1.4.2239 true:: MAMCAQE=\n" } else { "" };
        let line = password_line(password);
        let ldif = format!("dn: {dn}\n{control}changetype: modify\nreplace: unicodePwd\n{line}\n");
        Ok(self.try_modify(account, &ldif)?.pop())
    }

    /// Searches; `options` are further ones of `ldapsearch`, the filter and attributes last.
    pub fn search(&self, account: Account<'_>, base: &str, options: &[&str]) -> Result<Vec<Found>> {
        let mut command = self.tool("ldapsearch", account);
        command.args(["-LLL", "-b", base]).args(options);
        let (good, out, err) = run(&mut command, "")?;
        ensure!(good, "ldapsearch {base}: {err}");
        let mut found: Vec<Found> = Vec::new();
        for line in out.lines() {
            let Some((name, rest)) = line.split_once(':') else { continue };
            let value = match rest.strip_prefix(':') {
                Some(base64) => STANDARD.decode(base64.trim())?,
                None => rest.trim_start().as_bytes().to_vec(),
            };
            if name == "dn" {
                found.push(Found { dn: String::from_utf8(value)?, attributes: Vec::new() });
            } else if let Some(last) = found.last_mut()
                && !name.starts_with('#')
            {
                last.attributes.push((name.to_owned(), value));
            }
        }
        Ok(found)
    }

    /// Changes the directory as Administrator.
    pub fn modify(&self, ldif: &str) -> Result<()> {
        let (good, _, err) = run(&mut self.admin("ldapmodify"), ldif)?;
        ensure!(good, "ldapmodify: {err}\n{ldif}");
        Ok(())
    }

    /// A user in `OU=Staff` (or another OU), with a password, a mail address and more LDIF lines if given.
    pub fn add_user_in(&self, ou: &str, prefix: &str, password: &str, more: &str) -> Result<TestUser> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let sam = format!("{prefix}{:x}-{number}", std::process::id());
        let domain = self.env("AD_REALM").to_lowercase();
        let dn = format!("CN={sam},{ou},{}", self.base_dn());
        let (upn, mail) = (format!("{sam}@{domain}"), format!("{sam}@{domain}"));
        let mail_line = if more.contains("mail:") { String::new() } else { format!("mail: {mail}\n") };
        let ldif = format!(
            "dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {sam}\nuserPrincipalName: {upn}\n{mail_line}\
             userAccountControl: 512\n{}\n{more}",
            password_line(password)
        );
        self.modify(&ldif)?;
        let guid = self.attribute_bytes(&dn, "objectGUID")?.context("no objectGUID")?;
        let guid = ObjectGuid::from_wire(
            guid.try_into().map_err(|_| anyhow::anyhow!("objectGUID is not 16 bytes"))?,
        );
        Ok(TestUser { sam, upn, dn, mail, guid, password: password.to_owned() })
    }

    /// The same in `OU=Staff` with the seeded password.
    pub fn add_user(&self, prefix: &str) -> Result<TestUser> {
        self.add_user_in("OU=Staff", prefix, SEEDED_PASSWORD, "")
    }

    /// An attribute's first value, as Administrator sees it.
    pub fn attribute_bytes(&self, dn: &str, attribute: &str) -> Result<Option<Vec<u8>>> {
        let mut command = self.admin("ldapsearch");
        command.args(["-LLL", "-s", "base", "-b", dn, attribute]);
        let (good, out, err) = run(&mut command, "")?;
        ensure!(good, "ldapsearch {dn}: {err}");
        for line in out.lines() {
            if let Some(value) = line.strip_prefix(&format!("{attribute}:: ")) {
                return Ok(Some(STANDARD.decode(value)?));
            }
            if let Some(value) = line.strip_prefix(&format!("{attribute}: ")) {
                return Ok(Some(value.as_bytes().to_vec()));
            }
        }
        Ok(None)
    }

    /// The same as text.
    pub fn attribute(&self, dn: &str, attribute: &str) -> Result<Option<String>> {
        Ok(self.attribute_bytes(dn, attribute)?.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// msDS-KeyVersionNumber: one more after each password that was set.
    pub fn key_version(&self, user: &TestUser) -> Result<i64> {
        self.attribute(&user.dn, "msDS-KeyVersionNumber")?
            .context("no msDS-KeyVersionNumber")?
            .parse()
            .map_err(Into::into)
    }

    /// A simple bind over LDAPS; what AD says after `data` when it is refused.
    pub fn bind(&self, name: &str, password: &str) -> Result<std::result::Result<(), String>> {
        let mut command = Command::new("ldapsearch");
        command.env("LDAPTLS_CACERT", self.ca_file()).args(["-LLL", "-x", "-H", self.env("AD_LDAPS")]);
        command.args(["-D", name, "-w", password, "-s", "base", "-b", "", "defaultNamingContext"]);
        let (good, _, err) = run(&mut command, "")?;
        if good {
            return Ok(Ok(()));
        }
        let data = err.split("data ").nth(1).and_then(|rest| rest.split(',').next());
        Ok(Err(data.with_context(|| format!("ldapsearch: {err}"))?.to_owned()))
    }

    /// Whether Kerberos takes the password. Unlike a simple bind, it never takes the one before.
    pub fn kinit(&self, sam: &str, password: &str) -> Result<bool> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new("kinit");
        command.env("KRB5_CONFIG", self.env("KRB5_CONFIG")).env("KRB5CCNAME", folder.path().join("cache"));
        command.arg(format!("{sam}@{}", self.env("AD_REALM")));
        let (good, _, err) = run(&mut command, &format!("{password}\n"))?;
        ensure!(good || err.contains("Preauthentication failed") || err.contains("Password"), "kinit: {err}");
        Ok(good)
    }

    /// Makes a reset of `user` fail for this cause (`lab/break --list`). The password that then fails, where only some do.
    pub fn break_it(&self, cause: &str, user: &str) -> Result<Option<String>> {
        ensure!(self.private.is_some(), "a shared DC is not to be broken");
        let dir = self.env("AD_DIR");
        let mut command = Command::new(project().join("lab/break"));
        let (good, out, err) = run(command.args([cause, user, "--dir", dir]), "")?;
        ensure!(good, "lab/break {cause}: {err}");
        Ok(read_env(&out).remove("BREAK_PASSWORD"))
    }

    /// Puts back what was broken.
    pub fn mend(&self) -> Result<()> {
        let mut command = Command::new(project().join("lab/mend"));
        let (good, _, err) = run(command.args(["--dir", self.env("AD_DIR")]), "")?;
        ensure!(good, "lab/mend: {err}");
        Ok(())
    }

    /// Puts more objects into it, in the language of `lab/seed`.
    pub fn seed(&self, statements: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), statements)?;
        let mut command = Command::new(project().join("lab/seed"));
        let (good, _, err) = run(command.arg(file.path()).args(["--dir", self.env("AD_DIR")]), "")?;
        ensure!(good, "lab/seed: {err}");
        Ok(())
    }

    fn processes(&self) -> Result<Vec<String>> {
        let mark = format!("keyback-lab:{} ", self.env("AD_DIR"));
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let ours = std::fs::read_to_string(format!("/proc/{name}/mountinfo"))
                .is_ok_and(|mounts| mounts.contains(&mark));
            if ours && name.parse::<u32>().is_ok() {
                found.push(name);
            }
        }
        ensure!(!found.is_empty(), "the DC in {} does not run", self.env("AD_DIR"));
        Ok(found)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        ensure!(self.private.is_some(), "a shared DC is not to be disturbed");
        let (good, _, err) = run(Command::new("kill").arg(signal).args(self.processes()?), "")?;
        ensure!(good, "kill: {err}");
        Ok(())
    }

    /// Every cause, as `lab/break --list` has it.
    pub fn breakages() -> Result<Vec<Breakage>> {
        let (good, out, err) = run(Command::new(project().join("lab/break")).arg("--list"), "")?;
        ensure!(good, "lab/break --list: {err}");
        let row = |line: &str| {
            let mut words = line.split_whitespace();
            let cause = words.next()?.to_owned();
            let (hits, shows_on) = (words.next()?, words.next()?);
            let hits = match hits {
                "user" => Some(Hits::User),
                "domain" => Some(Hits::Domain),
                _ => None,
            };
            let what = words.collect::<Vec<_>>().join(" ");
            Some(Breakage { cause, hits, only_4_24: shows_on == "4.24", what })
        };
        out.lines().map(|line| row(line).with_context(|| format!("lab/break --list: {line}"))).collect()
    }

    /// Makes resets fail for this cause until the guard goes. What hits the whole domain needs a DC of the test's own.
    pub fn break_(&self, cause: &str, user: Option<&TestUser>) -> Result<Broken<'_>> {
        static LISTED: OnceLock<Vec<Breakage>> = OnceLock::new();
        if LISTED.get().is_none() {
            let _ = LISTED.set(Self::breakages()?);
        }
        let known = LISTED.get().and_then(|all| all.iter().find(|breakage| breakage.cause == cause));
        let hits = known.with_context(|| format!("there is no cause {cause}"))?.hits;
        ensure!(
            hits == Some(Hits::User) || self.private.is_some(),
            "a shared DC is not to be disturbed: {cause}"
        );
        let user = user.map(|user| user.sam.clone());
        let mut command = Command::new(project().join("lab/break"));
        command.args(["--dir", self.env("AD_DIR"), cause]).args(&user);
        let (good, out, err) = run(&mut command, "")?;
        ensure!(good, "{err}");
        let password = read_env(&out).remove("BREAK_PASSWORD");
        Ok(Broken { lab: self, cause: cause.to_owned(), user, password, mended: false })
    }

    /// From now on it accepts connections and answers nothing.
    pub fn stop_answering(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Goes on where it stopped.
    pub fn answer_again(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// Ends it as a power cut would.
    pub fn kill(&self) -> Result<()> {
        self.signal("-KILL")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(folder) = &self.private {
            let _ = run(Command::new(project().join("lab/down")).arg("--dir").arg(folder), "");
        }
    }
}
