//! Tables: exports of sign-in and audit logs as CSV, by the names in their first line.

use super::record::{self, Place};
use super::stamp;
use super::text::{Codes, codes_in};
use super::{Event, LONGEST_RECORD, Sink, anchors};
use serde_json::Value;

/// What a column holds, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    /// Nothing but a result code of Entra ID.
    Code,
    Reason,
    Service,
    Result,
    Time,
    CorrelationId,
    User,
    /// JSON, or words.
    Other,
}

pub(super) struct Table {
    columns: Vec<Column>,
    separator: u8,
    buffer: Vec<u8>,
    /// Up to here the quotes of the buffer were counted, and whether one is open there.
    looked: usize,
    quoted: bool,
    rows: u64,
    lines: u64,
    first: bool,
    noted: bool,
}

fn column(name: &str) -> Column {
    let folded: String = name
        .split(" [")
        .next()
        .unwrap_or(name)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match folded.as_str() {
        "resulttype" | "signinerrorcode" | "errorcode" | "statuserrorcode" => Column::Code,
        "resultreason" => Column::Reason,
        "loggedbyservice" | "service" => Column::Service,
        "result" | "status" if folded == "result" => Column::Result,
        "timegenerated" | "dateutc" | "createddatetime" | "activitydatetime" | "date" | "time"
        | "timestamp" => Column::Time,
        "correlationid" => Column::CorrelationId,
        "userprincipalname"
        | "username"
        | "upn"
        | "initiatedbyuserprincipalname"
        | "actoruserprincipalname" => Column::User,
        _ => Column::Other,
    }
}

impl Table {
    /// Where the first line holds the names of columns that matter.
    pub(super) fn of_header(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let separator = [b',', b';', b'\t']
            .into_iter()
            .max_by_key(|separator| memchr::memchr_iter(*separator, line).count())?;
        let names = cells(text, separator);
        let columns: Vec<Column> = names.iter().map(|name| column(name)).collect();
        let tells = columns.iter().any(|it| matches!(it, Column::Code | Column::Reason));
        let frames = columns.iter().filter(|it| !matches!(it, Column::Other)).count() >= 2;
        (names.len() >= 3 && tells && frames).then_some(Self {
            columns,
            separator,
            buffer: Vec::new(),
            looked: 0,
            quoted: false,
            rows: 0,
            lines: 0,
            first: true,
            noted: false,
        })
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.buffer.extend_from_slice(block);
        self.work(false, found, notes);
    }

    pub(super) fn finish(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.work(true, found, notes);
    }

    fn work(&mut self, last: bool, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut begin = 0;
        let mut at = self.looked;
        while let Some(next) = memchr::memchr2(b'"', b'\n', &buffer[at..]) {
            at += next + 1;
            if buffer[at - 1] == b'"' {
                self.quoted = !self.quoted;
            } else if !self.quoted || at - begin > LONGEST_RECORD {
                // A quote that never closes must not swallow the file.
                if self.quoted && !self.noted {
                    notes.push("a quoted cell never ends; the table was read on at the next line".to_owned());
                    self.noted = true;
                }
                self.quoted = false;
                self.row(&buffer[begin..at], found);
                begin = at;
            }
        }
        if last {
            self.row(&buffer[begin..], found);
            begin = buffer.len();
        } else if buffer.len() - begin > 4 * LONGEST_RECORD {
            if !self.noted {
                notes.push("a row is longer than 4 MiB and was left out".to_owned());
                self.noted = true;
            }
            self.quoted = false;
            begin = buffer.len();
        }
        self.buffer = buffer[begin..].to_vec();
        self.looked = self.buffer.len();
    }

    fn row(&mut self, bytes: &[u8], found: &mut Sink<'_>) {
        let line = self.lines + 1;
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        if std::mem::take(&mut self.first) || bytes.trim_ascii().is_empty() {
            return;
        }
        self.rows += 1;
        let text = String::from_utf8_lossy(bytes);
        let cells = cells(text.trim_end_matches(['\r', '\n']), self.separator);
        let mut codes = Codes::default();
        let of = |wanted: Column| {
            let mut all = self
                .columns
                .iter()
                .zip(&cells)
                .filter(|(column, cell)| **column == wanted && !cell.is_empty());
            all.next().map(|(_, cell)| cell.as_str())
        };
        for (column, cell) in self.columns.iter().zip(&cells) {
            match column {
                Column::Code => codes.add_sign_in(cell.trim(), 0),
                Column::Other if anchors::find(cell.as_bytes(), 0).is_some() => {
                    match serde_json::from_str::<Value>(cell) {
                        Ok(value) => {
                            let place = Place { record: 0, line: 0 };
                            record::read(&value, place, cell, &mut |event| {
                                codes.add(event.family, event.code, event.confidence, 0);
                            });
                        }
                        Err(_) => codes_in(cell, &mut codes),
                    }
                }
                Column::Reason
                | Column::Service
                | Column::Result
                | Column::Time
                | Column::CorrelationId
                | Column::User
                | Column::Other => {}
            }
        }
        if let Some(reason) = of(Column::Reason) {
            record::add_reason(&mut codes, reason, of(Column::Service), of(Column::Result));
        }
        if codes.list.is_empty() {
            return;
        }
        let upn = || {
            text.split("userPrincipalName")
                .nth(1)
                .and_then(|rest| rest.split('"').find(|part| part.contains('@')))
                .map(ToOwned::to_owned)
        };
        let user = of(Column::User).map(ToOwned::to_owned).or_else(upn);
        let (time, correlation_id) = (
            of(Column::Time).and_then(stamp::time),
            of(Column::CorrelationId).filter(|id| stamp::is_guid(id)),
        );
        for code in codes.list {
            found(Event {
                record: self.rows,
                line,
                family: code.family,
                confidence: code.confidence,
                time: time.clone(),
                correlation_id: correlation_id.map(str::to_ascii_lowercase),
                user: user.clone(),
                text: stamp::excerpt(&text, text.find(code.code.as_str()).unwrap_or(0)),
                code: code.code,
            });
        }
    }
}

/// The cells of one row (RFC 4180).
fn cells(row: &str, separator: u8) -> Vec<String> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = row.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            c if !quoted && c == char::from(separator) => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}
