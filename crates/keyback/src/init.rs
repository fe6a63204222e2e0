//! `keyback init`: asks what is needed, probes as it goes, writes the configuration and the keys.
//!
//! Each question can be answered by a flag; with `--yes` nothing is asked and every probe must succeed.

use crate::check;
use crate::output::{self, BLIND, Trouble, USAGE, note};
use crate::{config, keyfiles};
use clap::Args;
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::{MailConfig, Mailer};
use keyback_codes::Explain;
use keyback_core::{ObjectGuid, SystemClock};
use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// The answers that may come as flags.
#[derive(Args)]
pub struct InitOptions {
    /// Where to write the configuration; the keys go beside it
    #[arg(long, short, value_name = "FILE", default_value = "keyback.toml")]
    config: PathBuf,
    /// Ask nothing: what no flag answers takes its default, and every probe must succeed
    #[arg(long, short)]
    yes: bool,
    /// Your organisation's name, as pages and mails use it
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// Whom to call, one line
    #[arg(long, value_name = "TEXT")]
    help_line: Option<String>,
    /// Where to listen
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// What people type
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A domain controller (repeatable, the preferred one first)
    #[arg(long, value_name = "LDAPS-URL")]
    dc: Vec<String>,
    /// Where to dial the domain controller instead of asking DNS (repeatable, in the order of --dc)
    #[arg(long, value_name = "IP")]
    dc_address: Vec<IpAddr>,
    /// The CA that issued the domain controllers' certificates, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The connector account's userPrincipalName
    #[arg(long, value_name = "UPN")]
    connector: Option<String>,
    /// A file with the connector account's password
    #[arg(long, value_name = "FILE")]
    connector_password_file: Option<PathBuf>,
    /// An OU whose people may use keyback, by its DN (repeatable)
    #[arg(long, value_name = "DN")]
    scope: Vec<String>,
    /// The mail gateway: smtps://host, smtp://host?tls=required, or smtp://127.0.0.1
    #[arg(long, value_name = "URL")]
    mail_gateway: Option<String>,
    /// The sender of keyback's mails
    #[arg(long, value_name = "ADDRESS")]
    mail_from: Option<String>,
}

/// Asks on the terminal, unless the answer is there.
struct Asker {
    silent: bool,
}

impl Asker {
    fn ask(
        &self,
        given: Option<String>,
        flag: &str,
        question: &str,
        default: Option<&str>,
    ) -> Result<String, Trouble> {
        if let Some(given) = given {
            return Ok(given);
        }
        if self.silent {
            return default.map(str::to_owned).ok_or_else(|| {
                Trouble::usage(
                    format!("nothing says: {question}"),
                    format!("Add {flag}, or leave out --yes."),
                )
            });
        }
        loop {
            let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "{question}{shown}: ").and_then(|()| err.flush());
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            if !matches!(read, Ok(1..)) {
                return Err(Trouble::usage(
                    "the answers ended",
                    "Answer by flags instead: `keyback init --help`.",
                ));
            }
            match (line.trim(), default) {
                ("", Some(default)) => return Ok(default.to_owned()),
                ("", None) => {}
                (answer, _) => return Ok(answer.to_owned()),
            }
        }
    }

    /// After a probe that failed: whether to go on all the same.
    fn keep(&self, trouble: Trouble) -> Result<(), Trouble> {
        if self.silent {
            return Err(trouble);
        }
        let _ = output::report(&trouble);
        match self.ask(None, "", "Go on with this all the same? (y/n)", Some("n"))?.as_str() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(trouble),
        }
    }
}

fn list(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

struct DirectoryAnswers {
    dcs: Vec<(String, Option<IpAddr>)>,
    ca: PathBuf,
    connector: String,
    password: Zeroizing<String>,
    directory: Directory,
}

fn password(asker: &Asker, file: Option<&Path>) -> Result<Zeroizing<String>, Trouble> {
    match file {
        Some(file) => Ok(config::read_secret("connector's password", file)?),
        None if asker.silent => Err(Trouble::usage(
            "nothing says the connector account's password",
            "Add --connector-password-file, or leave out --yes.",
        )),
        None => rpassword::prompt_password("The connector account's password (not shown): ")
            .map(Zeroizing::new)
            .map_err(|error| {
                Trouble::usage(format!("no password was read: {error}"), "Use --connector-password-file.")
            }),
    }
}

async fn ask_directory(asker: &Asker, options: &InitOptions) -> Result<DirectoryAnswers, Trouble> {
    let urls = if options.dc.is_empty() {
        let question = "Your domain controllers, with a blank between (ldaps://dc1.example.org)";
        list(&asker.ask(None, "--dc", question, None)?, ' ')
    } else {
        options.dc.clone()
    };
    let given = options.ca.as_ref().map(|path| path.display().to_string());
    let ca = PathBuf::from(asker.ask(
        given,
        "--ca",
        "The file with the CA that issued their certificates (PEM)",
        None,
    )?);
    let ca = ca.canonicalize().map_err(|error| {
        Trouble::usage(
            format!("{}: {error}", ca.display()),
            "Export the issuing CA's certificate as PEM and name that file.",
        )
    })?;
    let question = "The connector account (svc-keyback@example.org)";
    let connector = asker.ask(options.connector.clone(), "--connector", question, None)?;
    let password = password(asker, options.connector_password_file.as_deref())?;
    let addresses = options.dc_address.iter().copied().map(Some).chain(std::iter::repeat(None));
    let dcs: Vec<(String, Option<IpAddr>)> = urls.into_iter().zip(addresses).collect();
    let parsed: Result<Vec<DcAddress>, Trouble> = dcs
        .iter()
        .map(|(url, address)| {
            let dc: DcAddress = url.parse().map_err(|error| Trouble::of(USAGE, &error))?;
            Ok(address.map_or(dc.clone(), |address| dc.at(address)))
        })
        .collect();
    let ca_pem = std::fs::read(&ca).map_err(|error| {
        Trouble::usage(format!("{}: {error}", ca.display()), "Let this user read the file.")
    })?;
    let account =
        Connector::new(connector.clone(), password.clone()).map_err(|error| Trouble::of(USAGE, &error))?;
    let config =
        DirectoryConfig { dcs: parsed?, ca_pem, connector: account, base: None, limits: Limits::default() };
    let directory = Directory::new(config).map_err(|error| Trouble::of(USAGE, &error))?;
    let mut served = false;
    for report in directory.probe(&SystemClock).await {
        note(check::describe_dc(&report).trim_end());
        served |= report.error().is_none();
        if let Some(error) = report.error() {
            asker.keep(Trouble::of(BLIND, error))?;
        }
    }
    if !served {
        note("None of them serves: the OUs in scope cannot be looked up.");
    }
    Ok(DirectoryAnswers { dcs, ca, connector, password, directory })
}

async fn ask_scope(
    asker: &Asker,
    options: &InitOptions,
    directory: &Directory,
) -> Result<Vec<(ObjectGuid, String)>, Trouble> {
    let dns = if options.scope.is_empty() {
        let question =
            "The OUs whose people may use keyback, with a semicolon between (OU=Staff,DC=example,DC=org)";
        list(&asker.ask(None, "--scope", question, None)?, ';')
    } else {
        options.scope.clone()
    };
    let mut scope = Vec::new();
    for dn in dns {
        let (guid, dn) = directory.find_container(&dn).await.map_err(|error| Trouble {
            text: format!("{dn}: {error}"),
            fix: format!("Check the DN, and that the connector account may see it. {}", error.fix().text),
            ..Trouble::of(BLIND, &error)
        })?;
        note(&format!("  in scope: {dn}  ({guid})"));
        scope.push((guid, dn.to_string()));
    }
    Ok(scope)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `keyback init`.
pub async fn run(options: Box<InitOptions>) -> Result<ExitCode, Trouble> {
    if options.config.exists() {
        return Err(Trouble::usage(
            format!("{} is there already; it was left alone", options.config.display()),
            "Edit it, move it away, or name another file with --config.",
        ));
    }
    let folder =
        options.config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let asker = Asker { silent: options.yes };
    let organisation = asker.ask(
        options.organisation.clone(),
        "--organisation",
        "Your organisation's name",
        Some("Example Ltd"),
    )?;
    let url = asker.ask(
        options.public_url.clone(),
        "--public-url",
        "The address that people type",
        Some("http://127.0.0.1:8080"),
    )?;
    let listen = options.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let directory = ask_directory(&asker, &options).await?;
    let scope = ask_scope(&asker, &options, &directory.directory).await?;
    let question = "The mail gateway (smtps://host, smtp://host?tls=required, or smtp://127.0.0.1)";
    let gateway = asker.ask(options.mail_gateway.clone(), "--mail-gateway", question, None)?;
    let from = asker.ask(options.mail_from.clone(), "--mail-from", "The sender of mails", None)?;
    let mail = MailConfig {
        gateway: gateway.clone(),
        credentials: None,
        from: from.clone(),
        organisation: organisation.clone(),
    };
    let mailer = Mailer::new(mail).map_err(|error| Trouble::of(USAGE, &error))?;
    match mailer.probe().await {
        Ok(()) => note("  ok    mail gateway"),
        Err(error) => asker.keep(Trouble::of(BLIND, &error))?,
    }

    let failed = |error: std::io::Error| {
        Trouble::usage(
            format!("{}: {error}", folder.display()),
            "Choose a folder that this user may write to, without keys in it.",
        )
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    keyfiles::make(folder).map_err(failed)?;
    if !keyfiles::write_new(&folder.join("connector.password"), &format!("{}\n", *directory.password))
        .map_err(failed)?
    {
        return Err(failed(std::io::Error::other("connector.password is there already")));
    }
    let text = render(&options, listen, &url, &organisation, &directory, &scope, (&gateway, &from));
    keyfiles::write_new(&options.config, &text).map_err(failed)?;
    config::Config::load(&options.config)?;
    note(&format!(
        "\nWritten: {}, the keys and connector.password beside it.\nNext:    keyback check --config {0}\n         keyback serve --config {0}",
        options.config.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn render(
    options: &InitOptions,
    listen: SocketAddr,
    url: &str,
    organisation: &str,
    directory: &DirectoryAnswers,
    scope: &[(ObjectGuid, String)],
    (gateway, from): (&str, &str),
) -> String {
    let mut text = format!(
        "# Written by `keyback init`. Every key is explained in keyback.example.toml.\n\n[organisation]\nname = {}\n",
        quoted(organisation)
    );
    let mut put = |line: String| {
        let _ = writeln!(text, "{line}"); // a String takes everything
    };
    if let Some(help) = &options.help_line {
        put(format!("help = {}", quoted(help)));
    }
    put(format!("\n[server]\nlisten = \"{listen}\"\npublic_url = {}", quoted(url)));
    put("store = \"keyback.db\"\nsigning_key_file = \"server-signing.key\"\nagent_key_file = \"agent-public.key\"".to_owned());
    put(format!("\n[agent]\nca_file = {}", quoted(&directory.ca.display().to_string())));
    put(format!(
        "connector = {}\nconnector_password_file = \"connector.password\"",
        quoted(&directory.connector)
    ));
    put("scope = [".to_owned());
    for (guid, dn) in scope {
        put(format!("    \"{guid}\", # {}", output::plain(dn)));
    }
    put("]\njournal = \"agent.journal\"\nunsealing_key_file = \"agent-unsealing.key\"".to_owned());
    put("signing_key_file = \"agent-signing.key\"\nserver_key_file = \"server-public.key\"".to_owned());
    for (dc, address) in &directory.dcs {
        put(format!("\n[[agent.dc]]\nurl = {}", quoted(dc)));
        if let Some(address) = address {
            put(format!("address = \"{address}\""));
        }
    }
    put(format!("\n[agent.mail]\ngateway = {}\nfrom = {}", quoted(gateway), quoted(from)));
    text
}
