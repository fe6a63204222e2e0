//! `keyback check`: everything that `serve` and `agent` would rely on, each finding with a cause and a fix.

use crate::cli::ConfigPath;
use crate::config::{Agent, Config};
use crate::output::{self, BLIND, FOUND, Trouble, USAGE};
use crate::{key, keyfiles};
use keyback_ad::DcReport;
use keyback_agent::passwords::Listed;
use keyback_agent::{MailConfig, Mailer, PasswordFilter};
use keyback_codes::Cause;
use keyback_core::{Clock, SystemClock};
use keyback_server::agents;
use keyback_store::{HeardAgent, Store};
use serde::Serialize;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// A certificate that ends sooner than this is worth a word.
const SOON: Duration = Duration::from_hours(24 * 21);

/// Seconds between two clocks before Kerberos gives up (RFC 4120 section 1.6 recommends five minutes).
const MOST_APART: i64 = 300;

#[derive(Serialize)]
struct Finding {
    check: String,
    ok: bool,
    detail: String,
    cause: Option<Cause>,
    code: Option<String>,
    fix: Option<String>,
    #[serde(skip)]
    exit: u8,
}

impl Finding {
    fn good(check: &str, detail: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            ok: true,
            detail: detail.into(),
            cause: None,
            code: None,
            fix: None,
            exit: 0,
        }
    }

    fn bad(check: &str, trouble: Trouble) -> Self {
        Self {
            check: check.to_owned(),
            ok: false,
            detail: trouble.text,
            cause: Some(trouble.cause),
            code: Some(trouble.cause.code().to_string()),
            fix: Some(trouble.fix),
            exit: trouble.exit,
        }
    }

    fn of<T>(
        check: &str,
        result: Result<T, Trouble>,
        detail: impl FnOnce(&T) -> String,
    ) -> (Self, Option<T>) {
        match result {
            Ok(value) => (Self::good(check, detail(&value)), Some(value)),
            Err(trouble) => (Self::bad(check, trouble), None),
        }
    }
}

/// One domain controller, as `init` and `check` show it.
pub fn describe_dc(report: &DcReport) -> String {
    let mut text = String::new();
    let mut put = |line: String| {
        let _ = writeln!(text, "  {}", output::plain(&line)); // a String takes everything
    };
    match report.error() {
        Some(error) => put(format!("FAIL  {}: {}", report.dc, output::chain(error))),
        None => put(format!("ok    {}: {}", report.dc, summary(report))),
    }
    text
}

fn summary(report: &DcReport) -> String {
    let mut words = vec![report.vendor.clone().unwrap_or_else(|| "Active Directory".to_owned())];
    words.push(match report.policy_hints {
        Some(true) => "checks history on a reset".to_owned(),
        Some(false) | None => "does not check history on a reset".to_owned(),
    });
    if report.read_only == Some(true) {
        words.push("READ-ONLY".to_owned());
    }
    if let Some(certificate) = &report.certificate {
        words.push(format!("certificate until {}", certificate.not_after));
    }
    words.join(", ")
}

fn describe_lists(filter: &PasswordFilter) -> String {
    let Some(sizes) = filter.sizes() else {
        return "no lists: only the directory judges passwords".to_owned();
    };
    let breached = match sizes.breached {
        None => "none".to_owned(),
        // The published lines have 45 bytes on average: 40 digits, colon, count, CR and LF.
        Some(Listed { path, bytes: Some(bytes), at_least }) => format!(
            "{}, {bytes} bytes, about {} hashes, refused from {at_least} on",
            path.display(),
            bytes / 45
        ),
        Some(Listed { path, bytes: None, at_least }) => {
            format!("{}, a folder of ranges, refused from {at_least} on", path.display())
        }
    };
    format!(
        "terms on the blocklist: {}; words of the organisation: {}; breached passwords: {breached}",
        sizes.terms, sizes.words
    )
}

async fn check_agent(agent: &Agent, organisation: &str, findings: &mut Vec<Finding>) {
    let (finding, _) =
        Finding::of("agent keys", keyfiles::agent_keys(agent), |_| "readable by their owner only".to_owned());
    findings.push(finding);
    findings.push(Finding::of("passwords", agent.passwords(), describe_lists).0);
    let (finding, directory) =
        Finding::of("directory settings", agent.directory(), |_| format!("{} listed", agent.dc.len()));
    findings.push(finding);
    if let Some(directory) = directory {
        let now = SystemClock.now();
        let mut serves = false;
        for report in directory.probe(&SystemClock).await {
            let name = format!("dc {}", report.dc);
            if let Some(error) = report.error() {
                findings.push(Finding::bad(&name, Trouble::of(BLIND, error)));
                continue;
            }
            serves = true;
            findings.push(Finding::good(&name, summary(&report)));
            let usage = |text: String, cause: Cause| Trouble {
                exit: FOUND,
                text,
                cause,
                fix: cause.fix().text.to_owned(),
            };
            if report.read_only == Some(true) {
                findings.push(Finding::bad(
                    &name,
                    usage("this domain controller is read-only".to_owned(), Cause::DcReadOnly),
                ));
            }
            let ends = report.certificate.as_ref().map(|certificate| certificate.not_after);
            if let Some(ends) = ends.filter(|ends| ends.since(now) < SOON) {
                findings.push(Finding::bad(
                    &name,
                    usage(format!("the certificate ends at {ends}"), Cause::DcTlsExpired),
                ));
            }
            if let Some(ahead) = report.clock_ahead.filter(|ahead| ahead.abs() > MOST_APART) {
                let text = format!(
                    "its clock is {} s {} ours",
                    ahead.abs(),
                    if ahead > 0 { "ahead of" } else { "behind" }
                );
                findings.push(Finding::bad(&name, usage(text, Cause::DcClockSkew)));
            }
        }
        if serves {
            let scope =
                directory.resolve_scope(&agent.scope).await.map_err(|error| Trouble::of(FOUND, &error));
            let shown = |dns: &Vec<keyback_ad::Dn>| {
                dns.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            };
            findings.push(Finding::of("scope", scope, shown).0);
        }
    }
    let mail = MailConfig {
        gateway: agent.mail.gateway.clone(),
        credentials: None,
        from: agent.mail.from.clone(),
        organisation: organisation.to_owned(),
    };
    let gateway = match Mailer::new(mail) {
        Ok(mailer) => mailer.probe().await.map_err(|error| Trouble::of(BLIND, &error)),
        Err(error) => Err(Trouble::of(USAGE, &error)),
    };
    findings.push(Finding::of("mail gateway", gateway, |()| agent.mail.gateway.clone()).0);
}

/// What the server has heard of its agents. `expected`: they are processes of their own.
fn check_heartbeats(heard: &[HeardAgent], expected: bool, findings: &mut Vec<Finding>) {
    let now = SystemClock.now();
    let found = |text: String, cause: Cause| Trouble {
        exit: FOUND,
        text,
        cause,
        fix: match cause.fix().command {
            Some(command) => format!("{} {command}", cause.fix().text),
            None => cause.fix().text.to_owned(),
        },
    };
    if heard.is_empty() {
        findings.push(if expected {
            Finding::bad("agent", found("no agent was ever heard".to_owned(), Cause::AgentOffline))
        } else {
            Finding::good("agent", "not heard yet: `keyback serve` runs it")
        });
    }
    for agent in heard {
        let beat = &agent.heartbeat;
        let latency = beat.latency.as_ref().map_or_else(String::new, |latency| {
            format!(", {} answered in {} ms", latency.dc, latency.micros / 1000)
        });
        let detail = format!(
            "{}, keyback {}, {}, journal at {}, heard {}{latency}",
            beat.agent,
            beat.software,
            beat.state.name(),
            beat.head.sequence,
            agent.heard_at
        );
        findings.push(match agents::judge(agent, now) {
            None => Finding::good("agent", detail),
            Some(cause) => Finding::bad("agent", found(detail, cause)),
        });
    }
}

async fn check_all(path: &ConfigPath) -> Vec<Finding> {
    let (finding, config) =
        Finding::of("configuration", path.load(), |_: &Config| path.config.display().to_string());
    let mut findings = vec![finding];
    let Some(config) = config else { return findings };
    if let Some(server) = &config.server {
        let (finding, _) =
            Finding::of("server keys", keyfiles::server_keys(server), |keys| match keys.agents.first() {
                Some(pin) => format!("agent {} is pinned", pin.verifying.id()),
                None => "no agent is enrolled: `keyback key enrol`".to_owned(),
            });
        findings.push(finding);
        let opened = match Store::open(&server.store).await {
            Ok(store) => {
                let expected = config.relay.socket.is_some();
                match store.list_agents().await {
                    Ok(heard) => check_heartbeats(&heard, expected, &mut findings),
                    Err(error) => findings.push(Finding::bad("agent", error.into())),
                }
                store.version().await
            }
            Err(error) => Err(error),
        };
        let store = opened.map_err(Trouble::from);
        findings.push(
            Finding::of("store", store, |version| format!("{}, SQLite {version}", server.store.display())).0,
        );
    }
    match key::all(&config) {
        Ok(keys) => {
            let old: Vec<String> =
                keys.iter().filter(|key| key.is_old()).map(key::Listed::describe).collect();
            let detail = if old.is_empty() {
                format!("{} listed", keys.len())
            } else {
                format!("older than 30 days, consider `keyback key rotate`: {}", old.join("; "))
            };
            findings.push(Finding::good("key age", detail));
        }
        Err(trouble) => findings.push(Finding::bad("key age", trouble)),
    }
    if let Some(agent) = &config.agent {
        check_agent(agent, &config.organisation.name, &mut findings).await;
    }
    findings
}

/// `keyback check`.
pub async fn run(path: &ConfigPath, as_document: bool) -> Result<ExitCode, Trouble> {
    let findings = check_all(path).await;
    let worst = findings.iter().filter(|finding| !finding.ok).map(|finding| finding.exit);
    // Wrong configuration outweighs what could not be looked at, and that what was found.
    let exit = worst
        .max_by_key(|exit| match *exit {
            USAGE => 3,
            BLIND => 2,
            _ => 1,
        })
        .unwrap_or(0);
    if as_document {
        output::say_json(&serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "healthy": exit == 0, "findings": findings,
        }))?;
        return Ok(ExitCode::from(exit));
    }
    output::say(&format!("keyback {}", env!("CARGO_PKG_VERSION")));
    for finding in &findings {
        let mark = if finding.ok { "ok  " } else { "FAIL" };
        output::say(&format!("{mark}  {:<20} {}", finding.check, output::plain(&finding.detail)));
        if let (Some(cause), Some(fix)) = (finding.cause, &finding.fix) {
            output::say(&format!("      cause: {cause} ({})\n      fix:   {fix}", cause.code()));
        }
    }
    Ok(ExitCode::from(exit))
}
