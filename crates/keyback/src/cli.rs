//! The command line's form. What each command does lies in its own module.

use crate::audit::Format;
use crate::config::Config;
use crate::doctor::DoctorOptions;
use crate::init::InitOptions;
use crate::output::Trouble;
use crate::scan::ScanOptions;
use clap::{Args, Parser, Subcommand};
use keyback_core::audit::Head;
use keyback_core::ids::{NotAKeyId, NotAUserName};
use keyback_core::{CorrelationId, JobId, KeyId, ObjectGuid, Timestamp, UserName};
use std::path::PathBuf;

/// Self-service password reset for Active Directory that names the cause of every failure.
#[derive(Parser)]
#[command(
    name = "keyback",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done or healthy, 1 it looked and found something, 2 wrong usage or configuration, \
3 it could not look (nothing reachable, no right to read)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration lies.
#[derive(Args)]
pub struct ConfigPath {
    /// The configuration file
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "KEYBACK_CONFIG",
        default_value = "keyback.toml"
    )]
    pub config: PathBuf,
}

impl ConfigPath {
    /// Reads and checks it.
    pub fn load(&self) -> Result<Config, Trouble> {
        Ok(Config::load(&self.config)?)
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the server, and the agent with it unless told otherwise
    Serve {
        #[command(flatten)]
        config: ConfigPath,
        /// Wait for an agent on the relay instead of running one in this process
        #[arg(long)]
        without_agent: bool,
    },
    /// Run an agent that dials the relay of a server
    Agent {
        #[command(flatten)]
        config: ConfigPath,
        #[command(subcommand)]
        command: Option<AgentCommand>,
    },
    /// Look at keys, make new ones, enrol an agent, give a key up
    Key {
        #[command(flatten)]
        config: ConfigPath,
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Ask what is needed, probe it, and write the configuration and the keys
    Init(Box<InitOptions>),
    /// Check configuration, keys, versions and reachability
    Check {
        #[command(flatten)]
        config: ConfigPath,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Say why a password reset of one user fails, or why a job was refused, and what mends it
    #[command(after_help = "\
USER is a userPrincipalName, a sAMAccountName, DOMAIN\\name, a mail address, a DN or an objectGUID.\n\
Without --dc the [agent] section of the configuration is used; with --dc no configuration is read.\n\
With --all, --json is {checked, ready, not_ready, unknown, seconds, dc, causes: [{cause, state, code, count, summary, \
examples, fixes}], users: [{dn, objectGUID, userPrincipalName, verdicts: [{cause, state, code, summary}]}]}; users holds \
those with verdicts only.\n\
--fix --json prints {outcome, why, before, changes, refused, fix_at, undo_file, after}; outcome is healthy, refused, \
shown, mended, changed (mended, and something else is wrong) or failed. --undo --json prints {outcome, why, file, \
objects}; outcome is undone, nothing_to_undo, changed_since or shown.\n\
Exit codes: 0 nothing is wrong (any more), 1 something is, 2 wrong usage or configuration, 3 it could not look.")]
    Doctor(Box<DoctorOptions>),
    /// Say what a code means: AADSTS120008, 120008, 0x52D, 52e, 33004, a name, or a whole pasted error
    #[command(after_help = "\
Spellings that are read: AADSTS120008, 120008, SSPR_0029, 0x52D, 0000052D, 1325, -2147023570, 52e, 33004, \
ldap:50, family:code, a symbolic name (ERROR_PASSWORD_RESTRICTION), or a pasted error in quotes.\n\
Exit code 1: one of them is not in the catalogue; what it may be is then a guess, and marked as one.")]
    Explain {
        /// One or more codes, or a text that holds some; standard input where there is none, or `-`
        #[arg(value_name = "CODE", allow_hyphen_values = true)]
        codes: Vec<String>,
        /// Write the whole reference as pages that anyone can host, into this folder
        #[arg(long, value_name = "DIR", conflicts_with_all = ["codes", "json"])]
        site: Option<PathBuf>,
        /// Where those pages will be reached, for the sitemap and canonical links
        #[arg(long, value_name = "URL", requires = "site")]
        base_url: Option<String>,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Find codes in logs: files, folders, archives, standard input
    #[command(after_help = "\
Reads sign-in and audit logs (JSON, NDJSON, CSV), Power BI refreshes, gateway logs, Data Factory runs, Databricks and dbt logs, \
exceptions of MSAL and azure-identity, Windows events (XML, EVTX), LDAP diagnostics and URLs; UTF-8 and UTF-16; gzip, zstd and zip.\n\
Exit codes: 0 no failure found, 1 failures found, 2 wrong usage, 3 nothing could be looked at.")]
    Scan(Box<ScanOptions>),
    /// Look at jobs
    Job {
        #[command(flatten)]
        config: ConfigPath,
        #[command(subcommand)]
        command: JobCommand,
    },
    /// Bring what people prove themselves with
    Person {
        #[command(flatten)]
        config: ConfigPath,
        #[command(subcommand)]
        command: PersonCommand,
    },
    /// Let somebody in who has lost everything else: a code for once, to be handed over in person
    Pass {
        #[command(flatten)]
        config: ConfigPath,
        #[command(subcommand)]
        command: PassCommand,
    },
    /// Look at the audit trail, verify it, export it, delete from it
    Audit {
        #[command(flatten)]
        config: ConfigPath,
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(Subcommand)]
pub enum AgentCommand {
    /// Let an agent write again that stopped after a burst
    Resume {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Say that the journal of an agent in quarantine is the right one
    Confirm {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Every key of this configuration, by its id
    List {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Make the next keys; the other side learns them from the keys in use
    Rotate {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// On the server: make a one-time code. On the agent's host, with --code-file: enrol with it
    Enrol {
        /// The file with the code that the server made
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Give up a key of the other side: what it signs counts no more, from now on
    Revoke {
        /// The key's id, from `keyback key list`
        #[arg(value_parser = key_id)]
        id: KeyId,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

fn user_name(text: &str) -> Result<UserName, NotAUserName> {
    UserName::parse(text)
}

fn key_id(text: &str) -> Result<KeyId, NotAKeyId> {
    KeyId::try_from(text.to_owned())
}

#[derive(Subcommand)]
pub enum JobCommand {
    /// The newest jobs
    List {
        /// At most this many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// One job, with code, cause and evidence
    Show {
        /// The job's id
        id: JobId,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Wait until a job has ended
    Wait {
        /// The job's id
        id: JobId,
        /// At most this long
        #[arg(long, default_value_t = 300, value_name = "N")]
        seconds: u64,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum PersonCommand {
    /// Bring authenticator apps or hardware tokens of many people, all of them or none
    #[command(after_help = "\
FILE is text: the first line is `user,method,value`, then a line a method. USER is a name as `doctor` takes it; method is \
totp; value is the key in Base32, 160 bits (SHA-1, 6 digits, 30 s). A field holds no comma and no quote.\n\
Reads the directory and the agent's `agent-methods.key`, so it runs where [server] and [agent] are.\n\
--json prints {lines, imported, problems: [{line, problem}], not_told: [line]}.\n\
Exit codes: 0 done, 1 a line is wrong and nothing was done, 2 wrong usage or configuration, 3 it could not look.")]
    Import {
        /// Which only its owner may read
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Look at every line, and do nothing
        #[arg(long)]
        check: bool,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum PassCommand {
    /// Make a pass. It is shown once, and its person is told by mail that there is one
    Create {
        /// A name as `doctor` takes it
        #[arg(value_parser = user_name)]
        user: UserName,
        /// Good for so long
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=168))]
        hours: u32,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum AuditCommand {
    /// The newest rows, oldest first
    List {
        /// Only this user action
        #[arg(long, value_name = "ID")]
        correlation_id: Option<CorrelationId>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Look whether the record is whole, and name the first link that is not
    #[command(
        after_help = "Exit codes: 0 whole, 1 broken, 2 wrong usage or configuration, 3 it could not look."
    )]
    Verify {
        /// What `keyback audit head` printed beside the agent; read from its journal where that is on this machine
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<Head>,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Write rows for another program
    Export {
        /// Which form
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
        /// Only from then on: a date (2026-11-24, UTC), a time (2026-11-24T07:00:00Z) or a span (7d, 24h)
        #[arg(long, value_name = "TIME", value_parser = instant)]
        since: Option<Timestamp>,
        /// Only before
        #[arg(long, value_name = "TIME", value_parser = instant)]
        until: Option<Timestamp>,
        /// Into this file, which only its owner may read; standard output when absent
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Delete what is older than `[audit]` in the configuration allows; `serve` does it every hour
    Prune {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Delete what names one person; the rows stay, and so does the chain
    Erase {
        /// The person's objectGUID
        guid: ObjectGuid,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// The newest row that this machine's agent has seen, for `audit verify --head`
    Head {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

fn instant(text: &str) -> Result<Timestamp, String> {
    crate::scan::since(text).map(|at| Timestamp::from_micros(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        let midnight = Ok(Timestamp::from_micros(1_795_478_400_000_000));
        assert_eq!(instant("2026-11-24"), midnight);
        assert_eq!(instant("2026-11-24T01:00:00+01:00"), midnight);
        assert!(instant("yesterday").is_err());
    }
}
