//! CSV (RFC 4180), safe to open in a spreadsheet: a cell that would be a formula begins with an apostrophe.

use super::row;
use keyback_store::AuditRow;

const COLUMNS: [&str; 25] = [
    "number",
    "activityDateTime",
    "correlationId",
    "jobId",
    "loggedByService",
    "category",
    "activityDisplayName",
    "phase",
    "result",
    "resultReason",
    "code",
    "cause",
    "initiatedBy",
    "ipAddress",
    "targetId",
    "targetUserPrincipalName",
    "targetDisplayName",
    "domainController",
    "keyVersionBefore",
    "keyVersionAfter",
    "ldapResult",
    "serverText",
    "evidence",
    "countersigned",
    "hash",
];

/// What a spreadsheet takes for the beginning of a formula; the wide forms are read as the narrow ones.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// One cell. Blanks before a sign do not save anybody: some programs cut them off first.
fn cell(text: &str) -> String {
    let formula = text.starts_with(FORMULA) || text.trim_start().starts_with(FORMULA);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(","))
}

pub fn head() -> String {
    line(&COLUMNS.map(str::to_owned))
}

pub fn record(row: &AuditRow) -> String {
    let failure = row::failure(row);
    let reply = failure.as_ref().and_then(|failure| failure.reply.as_ref());
    let evidence: Vec<String> = failure
        .iter()
        .flat_map(|failure| &failure.evidence)
        .map(|seen| format!("{}={} ({})", seen.attribute, seen.value, seen.from))
        .collect();
    let versions = row.facts.done.as_ref().and_then(|done| done.key_version);
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let shown = |value: Option<String>| value.unwrap_or_default();
    let cells: [String; 25] = [
        row.number.to_string(),
        row.at.to_string(),
        row.correlation_id.to_string(),
        shown(row.job_id.map(|id| id.to_string())),
        row::SERVICE.to_owned(),
        row::CATEGORY.to_owned(),
        row.facts.activity.display_name().to_owned(),
        row::phase(row).to_owned(),
        row::result(row).to_owned(),
        text(row::reason(row)),
        shown(row.facts.code.map(|code| code.to_string())),
        shown(row.facts.cause.map(|cause| cause.to_string())),
        text(row::user(row)),
        text(row::source(row)),
        shown(row::object_guid(row).map(|guid| guid.to_string())),
        text(row.person.as_ref().map(|(_, upn)| upn.as_str())),
        text(row.person.as_ref().map(|(name, _)| name.as_str())),
        shown(row::dc(row, failure.as_ref())),
        shown(versions.map(|(before, _)| before.to_string())),
        shown(versions.map(|(_, after)| after.to_string())),
        shown(reply.map(|reply| reply.result.to_string())),
        text(reply.map(|reply| reply.text.as_str())),
        evidence.join("; "),
        row.countersigned.to_string(),
        row.hash.to_string(),
    ];
    line(&cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_breaks_its_line() {
        for (text, expected) in [
            ("ada", "ada"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            (" =1", "' =1"),
            ("＝1", "'＝1"),
            ("=cmd|'/c calc'!A1,\"x\"", "\"'=cmd|'/c calc'!A1,\"\"x\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("\r=1", "\"'\r=1\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
