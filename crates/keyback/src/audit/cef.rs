//! ArcSight's Common Event Format, one line a row: header fields escape `\` and `|`, values escape `\`, `=` and line ends.

use super::row;
use keyback_core::audit::{Activity, AuditResult};
use keyback_store::AuditRow;
use std::fmt::Write;
use std::net::IpAddr;

/// Control characters have no escape in this format, and a log collector may cut a line at one, or at a separator of
/// Unicode's.
fn printable(c: char) -> char {
    if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }
}

fn header(text: &str) -> String {
    text.chars().map(printable).fold(String::new(), |mut out, c| {
        if matches!(c, '\\' | '|') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

fn value(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' | '=' => out.extend(['\\', c]),
            other => out.push(printable(other)),
        }
        out
    })
}

const fn signature_id(activity: Activity) -> &'static str {
    match activity {
        Activity::CodeRequested => "code-requested",
        Activity::CodeChecked => "code-checked",
        Activity::Reset => "reset",
        Activity::Change => "change",
        Activity::Unlock => "unlock",
        Activity::SignedIn => "signed-in",
        Activity::MethodAdded => "method-added",
        Activity::MethodTested => "method-tested",
        Activity::MethodRemoved => "method-removed",
        Activity::MethodsImported => "methods-imported",
        Activity::Erased => "erased",
    }
}

/// 0 to 10.
const fn severity(result: AuditResult) -> u8 {
    match result {
        AuditResult::Pending => 1,
        AuditResult::Success => 3,
        AuditResult::Failure => 6,
    }
}

pub fn record(row: &AuditRow) -> String {
    let activity = row.facts.activity;
    let code = row.facts.code.map(|code| code.to_string());
    let mut line = format!(
        "CEF:0|keyback|keyback|{}|{}|{}|{}|",
        header(env!("CARGO_PKG_VERSION")),
        header(code.as_deref().unwrap_or(signature_id(activity))),
        header(activity.display_name()),
        severity(row.facts.result)
    );
    let failure = row::failure(row);
    let mut first = true;
    let mut put = |key: &str, text: Option<&str>| {
        if let Some(text) = text {
            // A String takes everything.
            let _ = write!(line, "{}{key}={}", if first { "" } else { " " }, value(text));
            first = false;
        }
    };
    let mut labelled = |number: u8, label: &str, text: Option<&str>| {
        if text.is_some() {
            put(&format!("cs{number}Label"), Some(label));
            put(&format!("cs{number}"), text);
        }
    };
    labelled(1, "correlationId", Some(&row.correlation_id.to_string()));
    labelled(2, "jobId", row.job_id.map(|id| id.to_string()).as_deref());
    labelled(3, "cause", row.facts.cause.map(|cause| cause.to_string()).as_deref());
    labelled(4, "domainController", row::dc(row, failure.as_ref()).as_deref());
    labelled(5, "hash", Some(&row.hash.to_string()));
    put("rt", Some(&(row.at.as_micros() / 1000).to_string()));
    put("externalId", Some(&row.number.to_string()));
    put("cat", Some(row::CATEGORY));
    put("act", Some(row::phase(row)));
    put("outcome", Some(row::result(row)));
    put("reason", row::reason(row));
    put("suser", row::user(row));
    match row::source(row).map(str::parse::<IpAddr>) {
        Some(Ok(IpAddr::V4(_))) => put("src", row::source(row)),
        Some(Ok(IpAddr::V6(_))) => {
            put("c6a2Label", Some("Source IPv6 Address"));
            put("c6a2", row::source(row));
        }
        Some(Err(_)) => put("shost", row::source(row)),
        None => {}
    }
    put("duid", row::object_guid(row).map(|guid| guid.to_string()).as_deref());
    put("duser", row.person.as_ref().map(|(_, upn)| upn.as_str()));
    let text = failure.and_then(|failure| failure.reply).map(|reply| reply.text);
    put("msg", text.as_deref());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_escapes() {
        assert_eq!(header("a|b\\c=d\ne"), "a\\|b\\\\c=d e");
        assert_eq!(value("a|b\\c=d\ne\rf\u{1b}[0m"), "a|b\\\\c\\=d\\ne\\rf [0m");
    }
}
