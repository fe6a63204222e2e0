//! `keyback.toml`: its form, and every refusal with the line and the remedy.
//!
//! Unknown keys are refused. Secrets never stand in it: they lie in files of their own, which only their owner may read.

use crate::limits::ServerLimits;
use crate::output::{Trouble, USAGE};
use crate::proofs::Proof;
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::PasswordFilter;
use keyback_agent::passwords::{Blocklist, Breached, ListError};
use keyback_codes::{Cause, Explain};
use keyback_core::ObjectGuid;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the pages and mails call you.
    pub organisation: Organisation,
    /// What browsers talk to.
    pub server: Option<Server>,
    /// What talks to the directory.
    pub agent: Option<Agent>,
    /// Between the two, when they are two processes.
    #[serde(default)]
    pub relay: Relay,
    /// How long the audit trail is kept.
    #[serde(default)]
    pub audit: Audit,
}

/// How the pages and mails call you.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organisation {
    /// For headlines and mails.
    pub name: String,
    /// Whom to call, one line.
    pub help: Option<String>,
}

/// What browsers talk to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What people type: `https://reset.example.org`.
    pub public_url: String,
    /// Certificate chain; without it, TLS is a proxy's business.
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's key.
    pub tls_key_file: Option<PathBuf>,
    /// Proxies whose X-Forwarded-For is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpAddr>,
    /// The database.
    pub store: PathBuf,
    /// The server's signing key.
    pub signing_key_file: PathBuf,
    /// What is pinned of the agent.
    pub agent_key_file: PathBuf,
    /// What is pinned of other agents on the same domain, which do what the one before them does not.
    #[serde(default)]
    pub stand_in_key_files: Vec<PathBuf>,
    /// How long one of several agents has a job before the next one gets it.
    #[serde(default = "a_minute")]
    pub job_turn_seconds: NonZeroU32,
    /// A job ends after; at most 300.
    #[serde(default = "five_minutes")]
    pub job_deadline_seconds: u64,
    /// How often somebody may try, and what one client may cost.
    #[serde(default)]
    pub limits: ServerLimits,
}

const fn five_minutes() -> u64 {
    300
}

const fn a_minute() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(59)
}

/// What talks to the directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The domain controllers, the preferred one first.
    pub dc: Vec<Dc>,
    /// The CA that issued their certificates, PEM.
    pub ca_file: PathBuf,
    /// The connector account, as it binds: its userPrincipalName.
    pub connector: String,
    /// Its password.
    pub connector_password_file: PathBuf,
    /// Where to look for people; the domain when absent.
    pub base: Option<String>,
    /// The OUs the agent may touch, by objectGUID.
    pub scope: Vec<ObjectGuid>,
    /// SIDs of groups whose members are left alone, beside those that AdminSDHolder protects.
    #[serde(default)]
    pub protected_groups: Vec<String>,
    /// The agent's memory.
    pub journal: PathBuf,
    /// The agent's unsealing key.
    pub unsealing_key_file: PathBuf,
    /// The agent's signing key.
    pub signing_key_file: PathBuf,
    /// What the agents of this domain keep people's methods with; `agent-methods.key` beside the unsealing key when absent.
    pub methods_key_file: Option<PathBuf>,
    /// What is pinned of the server.
    pub server_key_file: PathBuf,
    /// The public keys of other agents on the same domain: what they vouch for is believed.
    #[serde(default)]
    pub peer_key_files: Vec<PathBuf>,
    /// The way to people.
    pub mail: Mail,
    /// How much it writes at most.
    #[serde(default)]
    pub caps: Caps,
    /// Which ways to prove oneself it accepts.
    #[serde(default)]
    pub proof: Proof,
    /// Which passwords it does not write. Without it, only the directory judges.
    pub passwords: Option<Passwords>,
}

/// Which passwords the agent does not write. The section alone keeps people's own names out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    /// Terms that count next to nothing, one a line.
    pub blocklist_file: Option<PathBuf>,
    /// Words that may not stand in a password at all.
    #[serde(default)]
    pub organisation_words: Vec<String>,
    /// SHA-1 hashes of breached passwords: a sorted file, or a folder of range files.
    pub breached_hashes: Option<PathBuf>,
    /// What was seen more seldom is let pass.
    #[serde(default = "once")]
    pub breached_count: NonZeroU64,
}

const fn once() -> NonZeroU64 {
    NonZeroU64::MIN
}

impl Passwords {
    /// Reads the lists, or says what is wrong with them.
    pub fn filter(&self) -> Result<PasswordFilter, Trouble> {
        let wrong = |error: ListError| Trouble {
            exit: USAGE,
            text: crate::output::chain(&error),
            cause: error.cause(),
            fix: error.remedy().to_owned(),
        };
        let blocklist = match &self.blocklist_file {
            Some(path) => Blocklist::load(path).map_err(wrong)?,
            None => Blocklist::default(),
        };
        let breached = match &self.breached_hashes {
            Some(path) => Some(Breached::open(path, self.breached_count.get()).map_err(wrong)?),
            None => None,
        };
        PasswordFilter::new(blocklist, &self.organisation_words, breached).map_err(wrong)
    }
}

/// How much the agent writes at most; what is left out keeps its default.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Writes for one person in 24 hours.
    user_day: Option<NonZeroU32>,
    /// Writes in an hour.
    agent_hour: Option<NonZeroU32>,
    /// Writes in an hour to people in one OU of the scope.
    ou_hour: Option<NonZeroU32>,
    /// The agent stops when its own cap has refused more jobs than this in an hour.
    burst: Option<NonZeroU32>,
}

impl Caps {
    /// As the agent takes them.
    pub fn numbers(&self) -> keyback_agent::Caps {
        let default = keyback_agent::Caps::default();
        let or = |set: Option<NonZeroU32>, default| set.map_or(default, NonZeroU32::get);
        keyback_agent::Caps {
            user_day: or(self.user_day, default.user_day),
            agent_hour: or(self.agent_hour, default.agent_hour),
            ou_hour: or(self.ou_hour, default.ou_hour),
            burst: or(self.burst, default.burst),
        }
    }
}

/// One domain controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dc {
    /// `ldaps://dc1.ad.example`: the name is checked against the certificate.
    pub url: String,
    /// Where to dial instead of asking DNS.
    pub address: Option<IpAddr>,
}

/// The way to people.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `smtps://mail.example.org` or `smtp://…?tls=required`.
    pub gateway: String,
    /// `Help desk <help@example.org>`.
    pub from: String,
    /// Where the gateway asks for a name.
    pub user: Option<String>,
    /// And a password.
    pub password_file: Option<PathBuf>,
}

/// Between server and agent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// A Unix socket that the server makes and the agent dials.
    pub socket: Option<PathBuf>,
}

/// How long the audit trail is kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Rows.
    pub keep_days: u32,
    /// Whom they are about; not longer than the rows.
    pub personal_days: u32,
}

impl Default for Audit {
    /// A year's rows are there for the audit in the month after it; names for as long as a complaint takes.
    fn default() -> Self {
        Self { keep_days: 400, personal_days: 180 }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("the {what} {path} cannot be read")]
    Read {
        /// Which file.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, a value of the wrong form.
    #[error("{path}: {message}")]
    Form {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// A value that does not do.
    #[error("{path}: `{key}`: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A section that the command needs.
    #[error("the configuration has no [{0}] section")]
    Missing(&'static str),
    /// A secret that others can read.
    #[error("the secret file {path} can be read by others than its owner (mode {mode:o})")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl Explain for ConfigError {
    fn cause(&self) -> Cause {
        match self {
            Self::Read { .. }
            | Self::Form { .. }
            | Self::Value { .. }
            | Self::Missing(_)
            | Self::Open { .. } => Cause::ConfigInvalid,
        }
    }
}

impl ConfigError {
    /// What to do about this one.
    pub fn remedy(&self) -> String {
        match self {
            Self::Read { path, what, .. } if *what == "configuration" => {
                format!(
                    "Write one with `keyback init --config {}`, or name another with --config.",
                    path.display()
                )
            }
            Self::Read { path, .. } => {
                format!("Put the file there, and let the user that runs keyback read it: {}", path.display())
            }
            Self::Form { .. } => "Correct that line; `keyback.example.toml` shows every key.".to_owned(),
            Self::Value { remedy, .. } => remedy.clone(),
            Self::Missing(section) => {
                format!("Add [{section}] as in `keyback.example.toml`, or run `keyback init`.")
            }
            Self::Open { path, .. } => format!("chmod 600 {}", path.display()),
        }
    }
}

/// Reads a file that only its owner may read; a newline at the end does not belong to the secret.
pub fn read_secret(what: &'static str, path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let failed = |source| ConfigError::Read { what, path: path.to_owned(), source };
    #[cfg(unix)]
    {
        let meta = std::fs::metadata(path).map_err(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(ConfigError::Open { path: path.to_owned(), mode });
        }
    }
    let mut text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let kept = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(kept);
    Ok(text)
}

impl Config {
    /// Reads and checks the file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { what: "configuration", path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Form {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config.check(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.each_path(|file| *file = folder.join(&*file));
        Ok(config)
    }

    fn each_path(&mut self, change: impl FnMut(&mut PathBuf)) {
        let mut paths = Vec::new();
        if let Some(server) = &mut self.server {
            paths.extend([&mut server.store, &mut server.signing_key_file, &mut server.agent_key_file]);
            paths.extend(server.tls_cert_file.as_mut());
            paths.extend(server.tls_key_file.as_mut());
            paths.extend(&mut server.stand_in_key_files);
        }
        if let Some(agent) = &mut self.agent {
            paths.extend([
                &mut agent.ca_file,
                &mut agent.connector_password_file,
                &mut agent.journal,
                &mut agent.unsealing_key_file,
                &mut agent.signing_key_file,
                &mut agent.server_key_file,
            ]);
            paths.extend(agent.mail.password_file.as_mut());
            paths.extend(agent.methods_key_file.as_mut());
            paths.extend(&mut agent.peer_key_files);
            if let Some(passwords) = &mut agent.passwords {
                paths.extend(passwords.blocklist_file.as_mut());
                paths.extend(passwords.breached_hashes.as_mut());
            }
        }
        paths.extend(self.relay.socket.as_mut());
        paths.into_iter().for_each(change);
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        if let Some(agent) = &self.agent {
            agent.proof.policy()?;
        }
        let wrong = |key, problem: String, remedy: &str| {
            Err(ConfigError::Value { path: path.to_owned(), key, problem, remedy: remedy.to_owned() })
        };
        if let Some(server) = &self.server {
            let host =
                server.public_url.strip_prefix("https://").or(server.public_url.strip_prefix("http://"));
            let Some(host) =
                host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
            else {
                let problem = format!("{:?} is not an address without a path", server.public_url);
                return wrong(
                    "server.public_url",
                    problem,
                    "Write what people type: https://reset.example.org",
                );
            };
            if server.public_url.starts_with("http://") && !is_loopback(host) {
                let problem = "passwords would travel in the clear".to_owned();
                return wrong(
                    "server.public_url",
                    problem,
                    "Use https://; http:// is for a loopback address only.",
                );
            }
            if server.tls_cert_file.is_some() != server.tls_key_file.is_some() {
                let problem = "a certificate needs its key, and a key its certificate".to_owned();
                return wrong(
                    "server.tls_cert_file",
                    problem,
                    "Set both tls_cert_file and tls_key_file, or none.",
                );
            }
            if let Some(key) = server.limits.zero() {
                return wrong(
                    key,
                    "0 would let nobody in".to_owned(),
                    "Write a number, or leave the key out.",
                );
            }
            if !(1..=300).contains(&server.job_deadline_seconds) {
                let problem = format!("{} is not between 1 and 300", server.job_deadline_seconds);
                return wrong(
                    "server.job_deadline_seconds",
                    problem,
                    "A message is valid five minutes at most.",
                );
            }
        }
        let Audit { keep_days, personal_days } = self.audit;
        if keep_days == 0 || personal_days == 0 {
            return wrong(
                "audit.keep_days",
                "nothing would be kept".to_owned(),
                "Write at least one day for keep_days and personal_days.",
            );
        }
        if personal_days > keep_days {
            let problem = format!("{personal_days} is more than keep_days, {keep_days}");
            return wrong(
                "audit.personal_days",
                problem,
                "Names go with their rows at the latest: lower it.",
            );
        }
        if let Some(agent) = &self.agent {
            if agent.dc.is_empty() {
                return wrong(
                    "agent.dc",
                    "no domain controller".to_owned(),
                    "Add one [[agent.dc]] with its `url`.",
                );
            }
            if agent.scope.is_empty() {
                let remedy = "Name at least one OU by its objectGUID; `keyback init` finds it from the DN.";
                return wrong("agent.scope", "the agent may touch nobody".to_owned(), remedy);
            }
            if agent.mail.user.is_some() != agent.mail.password_file.is_some() {
                let problem = "a user needs a password_file, and a password_file a user".to_owned();
                return wrong("agent.mail.user", problem, "Set both, or none.");
            }
        }
        Ok(())
    }

    /// The server's section, for a command that needs it.
    pub fn server(&self) -> Result<&Server, ConfigError> {
        self.server.as_ref().ok_or(ConfigError::Missing("server"))
    }

    /// The agent's section, for a command that needs it.
    pub fn agent(&self) -> Result<&Agent, ConfigError> {
        self.agent.as_ref().ok_or(ConfigError::Missing("agent"))
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_prefix('[').map_or_else(
        || host.split(':').next().unwrap_or(host),
        |rest| rest.split(']').next().unwrap_or(rest),
    );
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Agent {
    /// Where the key for people's methods lies.
    pub fn methods_key_file(&self) -> PathBuf {
        let beside = || self.unsealing_key_file.with_file_name("agent-methods.key");
        self.methods_key_file.clone().unwrap_or_else(beside)
    }

    /// The directory that this section describes.
    pub fn directory(&self) -> Result<Directory, Trouble> {
        let password = read_secret("connector's password", &self.connector_password_file)?;
        let wrong = |error: keyback_ad::ConfigError| Trouble::of(USAGE, &error);
        let connector = Connector::new(self.connector.clone(), password).map_err(wrong)?;
        let dcs: Result<Vec<DcAddress>, Trouble> = self
            .dc
            .iter()
            .map(|dc| {
                let parsed: DcAddress = dc.url.parse().map_err(wrong)?;
                Ok(dc.address.map_or(parsed.clone(), |address| parsed.at(address)))
            })
            .collect();
        let ca_pem = std::fs::read(&self.ca_file).map_err(|source| ConfigError::Read {
            what: "CA file",
            path: self.ca_file.clone(),
            source,
        })?;
        let config = DirectoryConfig {
            dcs: dcs?,
            ca_pem,
            connector,
            base: self.base.clone(),
            limits: Limits::default(),
        };
        Directory::new(config).map_err(wrong)
    }

    /// The passwords that this section does not want.
    pub fn passwords(&self) -> Result<PasswordFilter, Trouble> {
        self.passwords.as_ref().map_or_else(|| Ok(PasswordFilter::default()), Passwords::filter)
    }

    /// The longest that one write may take.
    pub fn write_limit() -> Duration {
        Limits::default().write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../keyback.example.toml");

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyback.toml");
        std::fs::write(&path, text).expect("written");
        Config::load(&path)
    }

    #[test]
    fn the_example_is_a_good_configuration() {
        let config = load(EXAMPLE).expect("the example loads");
        assert!(config.server.is_some() && config.agent.is_some());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_its_name() {
        let error = load(&EXAMPLE.replace("listen =", "lisen =")).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("lisen") && text.contains("line "), "{text}");
        assert!(error.remedy().contains("keyback.example.toml"));
    }

    #[test]
    fn names_are_not_kept_longer_than_their_rows() {
        let with = |lines: &str| load(&format!("{EXAMPLE}\n[audit]\n{lines}\n"));
        assert!(with("keep_days = 30\npersonal_days = 30").is_ok());
        for (bad, at) in [
            ("keep_days = 0", "audit.keep_days"),
            ("personal_days = 0", "audit.keep_days"),
            ("keep_days = 30", "audit.personal_days"),
        ] {
            let error = with(bad).expect_err(bad);
            assert!(matches!(error, ConfigError::Value { key, .. } if key == at), "{error}");
        }
    }

    #[test]
    fn clear_text_is_for_loopback_only() {
        let with = |url: &str| load(&EXAMPLE.replace("https://reset.example.org", url));
        for good in
            ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "https://x.example"]
        {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in
            ["http://reset.example.org", "http://127.0.0.1.example", "ftp://x", "https://", "https://x/path"]
        {
            assert!(matches!(with(bad), Err(ConfigError::Value { key: "server.public_url", .. })), "{bad}");
        }
    }

    #[test]
    fn the_example_shows_every_limit_with_what_holds_when_it_is_left_out() {
        let shown: String = EXAMPLE
            .lines()
            .skip_while(|line| !line.starts_with("# [server.limits]"))
            .take_while(|line| line.starts_with("# "))
            .map(|line| format!("{}\n", &line[2..]))
            .collect();
        let config = load(&format!("{EXAMPLE}\n{shown}")).expect("loads");
        let given = format!("{:?}", config.server().expect("a section").limits);
        assert_eq!(given, format!("{:?}", ServerLimits::default()));
        for name in
            given.split(['{', ',']).filter_map(|part| part.split_once(": ")).map(|(name, _)| name.trim())
        {
            assert!(shown.contains(&format!("{name} = ")), "{name}");
            let zero = load(&format!("{EXAMPLE}\n[server.limits]\n{name} = 0\n"));
            assert!(matches!(zero, Err(ConfigError::Value { key, .. }) if key.ends_with(name)), "{name}");
        }
    }

    #[test]
    fn the_example_shows_every_key_about_passwords_and_the_lists_lie_beside_the_configuration() {
        let shown: String = EXAMPLE
            .lines()
            .skip_while(|line| !line.starts_with("# [agent.passwords]"))
            .take_while(|line| line.starts_with("# "))
            .map(|line| format!("{}\n", &line[2..]))
            .collect();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyback.toml");
        std::fs::write(&path, format!("{EXAMPLE}\n{shown}")).expect("written");
        let config = Config::load(&path).expect("loads");
        let agent = config.agent().expect("a section");
        let passwords = agent.passwords.as_ref().expect("a section");
        assert_eq!(passwords.blocklist_file, Some(folder.path().join("blocklist.txt")));
        assert_eq!(passwords.breached_hashes, Some(folder.path().join("pwned-passwords-sha1")));
        for key in format!("{passwords:?}").split([' ', ',']).filter_map(|part| part.strip_suffix(':')) {
            assert!(shown.contains(&format!("{key} = ")), "{key}");
        }
        let missing = agent.passwords().expect_err("no such file");
        assert!(missing.text.contains("blocklist.txt cannot be read"), "{}", missing.text);
        std::fs::write(folder.path().join("blocklist.txt"), "contoso\nabc\n").expect("written");
        let short = agent.passwords().expect_err("a short term");
        assert!(short.text.starts_with("line 2 of ") && short.fix.contains("Shorten"), "{}", short.text);
        assert_eq!((short.exit, short.cause), (USAGE, Cause::ConfigInvalid));
        assert!(
            load(EXAMPLE)
                .expect("loads")
                .agent()
                .expect("a section")
                .passwords()
                .expect("none")
                .sizes()
                .is_none()
        );
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "word\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(read_secret("secret", &path), Err(ConfigError::Open { mode: 0o640, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(read_secret("secret", &path).expect("read").as_str(), "word");
    }
}
