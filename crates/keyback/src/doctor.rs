//! `keyback doctor USER`: why a reset of this user fails, with the evidence, and what mends it.
//!
//! Runs from the agent's configuration, or stand-alone from flags, against any Active Directory. `--fix` mends what has a
//! clear least change ([`fix`]), `--undo` takes it back ([`undo`]).

mod all;
mod fix;
mod fix_page;
mod html;
mod job;
mod mending;
mod page;
mod roll;
mod undo;

use crate::cli::ConfigPath;
use crate::config::{Agent, ConfigError, read_secret};
use crate::output::{self, BLIND, FOUND, Trouble, USAGE};
use all::{AllOptions, Outputs};
use clap::Args;
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Dn, FindError, Limits, Sid};
use keyback_agent::doctor::{self, Case, Observed, Setting};
use keyback_core::diagnosis::{Diagnosis, State};
use keyback_core::job::Operation;
use keyback_core::{JobId, NewPassword, SystemClock, UserName};
use mending::Mending;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// What doctor takes.
#[derive(Args)]
pub struct DoctorOptions {
    /// Whom to look at
    #[arg(value_name = "USER", allow_hyphen_values = true, required_unless_present_any = ["job", "all", "undo"])]
    user: Option<String>,
    /// Instead of USER: the job that was refused, with what was read at the time
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "dc", "reply", "all"])]
    job: Option<JobId>,
    /// With --job: look again now, at the user whom the job was about
    #[arg(long, requires = "job")]
    again: bool,
    #[command(flatten)]
    config: ConfigPath,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
    /// The report as one page, with nothing to be loaded from elsewhere
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    all: AllOptions,
    #[command(flatten)]
    place: Place,
    /// A file with the password that the person wants, to be judged by the rules
    #[arg(long, value_name = "FILE")]
    candidate_file: Option<PathBuf>,
    /// What the domain controller answered when it refused: "50 00002098: SecErr: …"
    #[arg(long, value_name = "RESULT TEXT")]
    reply: Option<String>,
    #[command(flatten)]
    mending: Mending,
}

/// Which directory, when no configuration says it.
#[derive(Args)]
struct Place {
    /// A domain controller (repeatable, the preferred one first); no configuration is then read
    #[arg(long, value_name = "LDAPS-URL", requires_all = ["ca", "connector", "password_file"])]
    dc: Vec<String>,
    /// Where to dial the domain controller instead of asking DNS (repeatable, in the order of --dc)
    #[arg(long, value_name = "IP", requires = "dc")]
    dc_address: Vec<IpAddr>,
    /// The CA that issued the domain controllers' certificates, PEM
    #[arg(long, value_name = "FILE", requires = "dc")]
    ca: Option<PathBuf>,
    /// The connector account's userPrincipalName
    #[arg(long, value_name = "UPN", requires = "dc")]
    connector: Option<String>,
    /// A file with the connector account's password
    #[arg(long, value_name = "FILE", requires = "dc")]
    password_file: Option<PathBuf>,
    /// Where to look for users; the domain when absent
    #[arg(long, value_name = "DN", requires = "dc")]
    base: Option<String>,
    /// An OU whose users may be reset (repeatable); everybody when absent
    #[arg(long, value_name = "DN", requires = "dc")]
    scope: Vec<String>,
}

/// `keyback doctor`.
pub async fn run(options: DoctorOptions) -> Result<ExitCode, Trouble> {
    if options.all.all {
        return everybody(options).await;
    }
    if options.mending.undo.is_some() {
        let (directory, _) = open(options.place, &options.config).await?;
        return undo::run(&options.mending, &directory, options.json).await;
    }
    let candidate = options.candidate_file.as_deref().map(read_candidate).transpose()?;
    let (name, observed) = match (options.job, &options.user) {
        (Some(id), _) => {
            let again = options.again || candidate.is_some() || options.mending.fix;
            match job::recall(&options.config.load()?, id, again).await? {
                job::Known::Then(at, diagnosis) => {
                    output::note(&format!("keyback: as it was at {at}, when the job was refused"));
                    return print(&diagnosis, options.json, options.html.as_deref());
                }
                job::Known::Ask(name, observed) => (name, observed),
            }
        }
        (None, Some(user)) => {
            let name = UserName::parse(user).map_err(|error| Trouble::of(USAGE, &error))?;
            (name, options.reply.as_deref().map(parse_reply).transpose()?)
        }
        (None, None) => return Err(Trouble::usage("nobody was named", "Give a USER, --all, or --job ID.")),
    };
    let (directory, setting) = open(options.place, &options.config).await?;
    let case = Case { name: &name, candidate: candidate.as_ref(), observed: observed.as_ref() };
    if options.mending.fix {
        return fix::run(&options.mending, &directory, &setting, &case, options.json).await;
    }
    let diagnosis = doctor::diagnose(&directory, &setting, &case, &SystemClock).await;
    print(&diagnosis, options.json, options.html.as_deref())
}

async fn everybody(options: DoctorOptions) -> Result<ExitCode, Trouble> {
    let (directory, setting) = if options.place.dc.is_empty() {
        let config = options.config.load()?;
        let agent = config.agent()?;
        let (directory, setting) = from_config(agent).await?;
        if setting.scope.is_none()
            && let Err(FindError::NotFound { .. } | FindError::Unreadable { .. }) =
                directory.resolve_scope(&agent.scope).await
        {
            let fix = "Read agent.scope in the configuration: each is the objectGUID of an OU that the connector account sees.";
            return Err(Trouble::usage("an OU in scope is not there, so nobody knows who is meant", fix));
        }
        (directory, setting)
    } else {
        options.place.open()?
    };
    let outputs = Outputs { json: options.json, html: options.html.as_deref() };
    all::run(&options.all, &outputs, &directory, &setting).await
}

async fn open(place: Place, config: &ConfigPath) -> Result<(Directory, Setting), Trouble> {
    if place.dc.is_empty() { from_config(config.load()?.agent()?).await } else { place.open() }
}

fn print(diagnosis: &Diagnosis, as_document: bool, html: Option<&Path>) -> Result<ExitCode, Trouble> {
    if let Some(file) = html {
        html::write_one(file, diagnosis)?;
    }
    if as_document {
        output::say_json(diagnosis)?;
    } else {
        output::say_styled(&page::render(diagnosis));
    }
    Ok(ExitCode::from(exit(diagnosis)))
}

/// Nothing that was read proves a fault, and something could not be read: that is not having looked.
fn exit(diagnosis: &Diagnosis) -> u8 {
    let proven = diagnosis.verdicts.iter().any(|verdict| verdict.state == State::Confirmed);
    match (diagnosis.verdicts.is_empty(), &diagnosis.dc) {
        (true, Some(_)) => 0,
        (_, None) => BLIND,
        (false, Some(_)) if proven => FOUND,
        (false, Some(_)) => {
            let guessed = diagnosis.verdicts.iter().any(|verdict| verdict.state == State::Possible);
            if guessed { FOUND } else { BLIND }
        }
    }
}

async fn from_config(agent: &Agent) -> Result<(Directory, Setting), Trouble> {
    let directory = agent.directory()?;
    let groups: Result<Vec<Sid>, _> = agent.protected_groups.iter().map(|sid| sid.parse()).collect();
    let protected_groups = groups.map_err(|_| {
        Trouble::usage("agent.protected_groups holds something that is no SID", "A SID reads S-1-5-21-…")
    })?;
    // Where the directory cannot be asked, the diagnosis says why; the scope then decides nothing.
    let scope = directory.resolve_scope(&agent.scope).await.ok();
    let passwords = agent.passwords()?;
    Ok((directory, Setting { scope, protected_groups, mails_codes: true, passwords, keyback: None }))
}

impl Place {
    fn open(self) -> Result<(Directory, Setting), Trouble> {
        let wrong = |error: keyback_ad::ConfigError| Trouble::of(USAGE, &error);
        let needed = |flag: &str| Trouble::usage(format!("--dc needs {flag}"), "See keyback doctor --help.");
        let password_file = self.password_file.ok_or_else(|| needed("--password-file"))?;
        let password = read_secret("connector's password", &password_file)?;
        let connector = self.connector.ok_or_else(|| needed("--connector"))?;
        let ca = self.ca.ok_or_else(|| needed("--ca"))?;
        if self.dc_address.len() > self.dc.len() {
            return Err(Trouble::usage(
                "there are more --dc-address than --dc",
                "Give each --dc-address after its --dc.",
            ));
        }
        let mut dcs = Vec::with_capacity(self.dc.len());
        for (index, url) in self.dc.iter().enumerate() {
            let parsed: DcAddress = url.parse().map_err(wrong)?;
            dcs.push(match self.dc_address.get(index) {
                Some(address) => parsed.at(*address),
                None => parsed,
            });
        }
        let ca_pem = std::fs::read(&ca).map_err(|source| ConfigError::Read {
            what: "CA file",
            path: ca.clone(),
            source,
        })?;
        let connector = Connector::new(connector, password).map_err(wrong)?;
        let config = DirectoryConfig { dcs, ca_pem, connector, base: self.base, limits: Limits::default() };
        let scope = self.scope.iter().map(|dn| {
            Dn::parse(dn).map_err(|_| {
                Trouble::usage(
                    format!("--scope {dn:?} is no distinguished name"),
                    "It reads OU=Staff,DC=ad,DC=example.",
                )
            })
        });
        let scope: Vec<Dn> = scope.collect::<Result<_, _>>()?;
        let scope = Some(scope).filter(|scope| !scope.is_empty());
        let setting = Setting { scope, ..Setting::default() };
        Ok((Directory::new(config).map_err(wrong)?, setting))
    }
}

fn read_candidate(path: &Path) -> Result<NewPassword, Trouble> {
    let text = read_secret("candidate password", path)?;
    NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec())).map_err(|error| Trouble::of(USAGE, &error))
}

/// `50 00002098: SecErr: …`: the LDAP result, then the text as it came.
fn parse_reply(text: &str) -> Result<Observed, Trouble> {
    let (result, text) = text.trim().split_once([' ', ':']).unwrap_or((text.trim(), ""));
    let result = result.parse().map_err(|_| {
        Trouble::usage(
            "--reply does not begin with an LDAP result code",
            "Write it as: 53 0000052D: SvcErr: …",
        )
    })?;
    let reply = keyback_ad::read_reply(result, text.trim_start());
    Ok(Observed::new(Operation::Reset, reply))
}
