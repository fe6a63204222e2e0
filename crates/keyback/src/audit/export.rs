//! `audit export`: rows in the order of the chain, a page at a time.

use super::{cef, csv, directory_audit, row};
use crate::output::{self, BLIND, Trouble};
use clap::ValueEnum;
use keyback_core::Timestamp;
use keyback_store::{AuditRow, AuditSpan, Store};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Rows read at once.
const PAGE: u32 = 1_000;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document a line, as `audit list --json` shows a row
    Jsonl,
    /// RFC 4180, a header line first
    Csv,
    /// ArcSight's Common Event Format, one line a row
    Cef,
    /// One JSON document, as Microsoft Graph lists directoryAudits
    DirectoryAudit,
}

/// What comes before the rows, between two of them, and behind.
struct Frame(String, &'static str, &'static str);

impl Format {
    fn frame(self) -> Frame {
        match self {
            Self::Jsonl | Self::Cef => Frame(String::new(), "", ""),
            Self::Csv => Frame(csv::head(), "", ""),
            Self::DirectoryAudit => Frame("{\"value\":[\n".to_owned(), ",\n", "\n]}\n"),
        }
    }

    fn record(self, row: &AuditRow) -> String {
        match self {
            Self::Jsonl => format!("{}\n", one_line(&row::as_json(row))),
            Self::Csv => csv::record(row),
            Self::Cef => cef::record(row),
            Self::DirectoryAudit => one_line(&directory_audit::record(row)),
        }
    }
}

/// A line separator of Unicode's inside a text would be a line's end to some readers of JSON lines.
fn one_line(value: &Value) -> String {
    value
        .to_string()
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
        .replace('\u{85}', "\\u0085")
}

async fn write(
    store: &Store,
    format: Format,
    mut span: AuditSpan,
    out: &mut impl Write,
) -> Result<u64, Failed> {
    let Frame(before, between, behind) = format.frame();
    out.write_all(before.as_bytes())?;
    let mut count = 0;
    loop {
        let rows = store.read_audit(span, PAGE).await?;
        let Some(last) = rows.last() else { break };
        span.after = last.number;
        for row in &rows {
            if count > 0 {
                out.write_all(between.as_bytes())?;
            }
            out.write_all(format.record(row).as_bytes())?;
            count += 1;
        }
    }
    out.write_all(behind.as_bytes())?;
    out.flush()?;
    Ok(count)
}

enum Failed {
    Store(keyback_store::StoreError),
    Write(io::Error),
}

impl From<keyback_store::StoreError> for Failed {
    fn from(error: keyback_store::StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Only its owner may read what names people.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// `audit export`.
pub async fn run(
    store: &Store,
    format: Format,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    out: Option<&Path>,
) -> Result<ExitCode, Trouble> {
    let span = AuditSpan { after: 0, since, until };
    let Some(path) = out else {
        return match write(store, format, span, &mut BufWriter::new(io::stdout().lock())).await {
            Ok(_) => Ok(ExitCode::SUCCESS),
            // A reader that has gone away is no error.
            Err(Failed::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(Failed::Write(error)) => Err(Trouble::internal(format!("standard output: {error}"))),
            Err(Failed::Store(error)) => Err(error.into()),
        };
    };
    let failed = |error: io::Error| Trouble {
        exit: BLIND,
        ..Trouble::usage(
            format!("{} cannot be written: {error}", path.display()),
            "Name a file with --out, in a folder that this user may write to.",
        )
    };
    // Under another name first: whoever picks the file up finds a whole one.
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let mut file = BufWriter::new(create(part).map_err(failed)?);
    match write(store, format, span, &mut file).await {
        Ok(count) => {
            std::fs::rename(part, path).map_err(failed)?;
            output::note(&format!("{count} rows written to {}", path.display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let _ = std::fs::remove_file(part); // what is left of it helps nobody
            match error {
                Failed::Store(error) => Err(error.into()),
                Failed::Write(error) => Err(failed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyback_codes::Cause;
    use keyback_core::audit::{Activity, AuditEvent, ChainHash, Facts, Personal};
    use keyback_core::{CorrelationId, Done, Failure, JobId, ObjectGuid, ServerReply};

    const NOW: Timestamp = Timestamp::from_micros(1_795_503_600_123_456);

    fn row(number: i64, event: &AuditEvent, known: bool) -> AuditRow {
        AuditRow {
            number,
            at: event.at,
            correlation_id: event.correlation_id,
            job_id: Some(event.job_id),
            facts: Facts::of(event),
            personal: Some(Personal::of(event, None)),
            countersigned: known,
            person: known.then(|| ("Ada \"=\" Lovelace".to_owned(), "ada@ad.example".to_owned())),
            hash: ChainHash::of(&number.to_be_bytes()),
        }
    }

    /// An intent whose name is an attack on each format, a success, a refusal, an erased row, an erasure.
    fn rows() -> Vec<AuditRow> {
        let (flow, job) = (CorrelationId::from_random([1; 16]), JobId::from_random([2; 16]));
        let whom = ObjectGuid::from_wire([7; 16]);
        let event = |name: &str, source: &str| {
            let guid = (name == "ada").then_some(whom);
            AuditEvent::intent(
                NOW,
                flow,
                job,
                Activity::Reset,
                name.to_owned(),
                guid,
                Some(source.to_owned()),
            )
        };
        let intent = event("=HYPERLINK(\"http://x\",\"y\") src=1.2.3.4 |a\\b\nCEF:0\u{2028}", "2001:db8::1");
        let done = Done {
            dc: "dc1.ad.example".to_owned(),
            key_version: Some((2, 3)),
            history_enforced: true,
            compare_and_swap: true,
            settled: false,
            remarks: vec![],
        };
        let mut failure =
            Failure::of(Cause::PolicyHistory).seen("pwdHistoryLength", "24", "DC=ad,DC=example");
        failure.dc = Some("dc1.ad.example".to_owned());
        failure.reply = Some(ServerReply {
            result: 53,
            win32: Some(0x52d),
            bind_data: None,
            text: "0000052D: =bad|\\".to_owned(),
        });
        let success = event("ada", "192.0.2.1").ended(NOW, Some(&done), None);
        let refusal = event("ada", "proxy.example").ended(NOW, None, Some(&failure));
        let erased = AuditRow { personal: None, person: None, ..row(4, &refusal, true) };
        let erasure = AuditRow {
            job_id: None,
            facts: Facts { activity: Activity::Erased, rows: Some(3), done: None, ..Facts::of(&success) },
            countersigned: false,
            ..AuditRow { personal: None, person: None, ..row(5, &success, true) }
        };
        vec![row(1, &intent, false), row(2, &success, true), row(3, &refusal, true), erased, erasure]
    }

    fn export(format: Format) -> String {
        let Frame(before, between, behind) = format.frame();
        let records: Vec<String> = rows().iter().map(|row| format.record(row)).collect();
        format!("{before}{}{behind}", records.join(between))
    }

    #[test]
    fn each_format_says_the_same_of_the_same_rows() {
        insta::assert_snapshot!("jsonl", export(Format::Jsonl));
        insta::assert_snapshot!("csv", export(Format::Csv).replace('\r', "\\r"));
        insta::assert_snapshot!("cef", export(Format::Cef));
        let document: Value = serde_json::from_str(&export(Format::DirectoryAudit)).expect("one document");
        insta::assert_json_snapshot!("directory_audit", document);
    }

    #[test]
    fn what_is_one_line_a_row_has_five_lines() {
        for format in [Format::Jsonl, Format::Cef] {
            let text = export(format);
            assert_eq!(text.lines().count(), 5, "{text}");
            assert!(!text.contains('\u{2028}'), "{text}");
        }
        for line in export(Format::Jsonl).lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(row["loggedByService"], "Self-service Password Management");
        }
    }
}
