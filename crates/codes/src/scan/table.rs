//! Tables: exports of sign-in, audit and event logs as CSV, by the names in their first line.

use super::fields::add_factory;
use super::json::Json;
use super::record::{self, Place};
use super::stamp;
use super::text::{Codes, codes_in, lossy};
use super::windows;
use super::{Event, LONGEST_RECORD, Sink, anchors, note};
use std::borrow::Cow;
use std::ops::Range;

/// What a column holds, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    /// Nothing but a result code of Entra ID.
    Code,
    /// Nothing but a result code of Data Factory, which has a column for the type of failure beside it.
    FactoryCode,
    Reason,
    Description,
    Service,
    Result,
    Time,
    CorrelationId,
    User,
    /// The source of a Windows event.
    Provider,
    EventId,
    /// What somebody named.
    Label,
    /// JSON, or words.
    Other,
}

pub(super) struct Table {
    columns: Vec<Column>,
    separator: u8,
    /// From the beginning of a row.
    buffer: Vec<u8>,
    rows: u64,
    lines: u64,
    /// Lines up to the header and itself that are still to come.
    header: usize,
    /// The end of a row that was too long is on its way.
    skipping: bool,
}

fn column(name: &str) -> Column {
    let folded = record::fold(name.split(" [").next().unwrap_or(name));
    match folded.as_str() {
        "resulttype" | "signinerrorcode" | "errorcode" | "statuserrorcode" => Column::Code,
        "resultreason" => Column::Reason,
        "resultdescription" => Column::Description,
        "loggedbyservice" | "service" => Column::Service,
        "result" => Column::Result,
        "timegenerated" | "dateutc" | "createddatetime" | "activitydatetime" | "date" | "time"
        | "timestamp" | "dateandtime" | "timecreated" | "start" => Column::Time,
        "correlationid" => Column::CorrelationId,
        "userprincipalname"
        | "username"
        | "upn"
        | "initiatedbyuserprincipalname"
        | "actoruserprincipalname" => Column::User,
        "source" | "providername" | "sourcename" => Column::Provider,
        "eventid" | "id" | "eventcode" => Column::EventId,
        name if record::is_label(name) => Column::Label,
        _ => Column::Other,
    }
}

impl Table {
    /// Where the first line holds the names of columns that matter.
    pub(super) fn of_header(head: &[u8]) -> Option<Self> {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let mut line = lines.next()?;
        let mut header = 1;
        // What Excel and PowerShell 5 put before the names.
        while line.starts_with(b"sep=") || line.starts_with(b"#TYPE") {
            line = lines.next()?;
            header += 1;
        }
        let separator = [b',', b';', b'\t']
            .into_iter()
            .max_by_key(|separator| memchr::memchr_iter(*separator, line).count())?;
        let names: Vec<_> =
            Cells { row: line, separator, at: Some(0) }.map(|cell| said(&line[cell])).collect();
        let mut columns: Vec<Column> = names.iter().map(|name| column(name)).collect();
        let has = |wanted: Column| columns.contains(&wanted);
        let tells = has(Column::Code) || has(Column::Reason) || has(Column::Provider) && has(Column::EventId);
        let frames = columns.iter().filter(|it| !matches!(it, Column::Other | Column::Label)).count() >= 2;
        if names.len() < 3 || !tells || !frames {
            return None;
        }
        if names.iter().any(|name| record::fold(name) == "failuretype") {
            for column in &mut columns {
                if *column == Column::Code {
                    *column = Column::FactoryCode;
                }
            }
        }
        Some(Self { columns, separator, buffer: Vec::new(), rows: 0, lines: 0, header, skipping: false })
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        if self.buffer.is_empty() {
            let done = self.rows(block, false, found, notes);
            self.buffer.extend_from_slice(&block[done..]);
        } else {
            self.buffer.extend_from_slice(block);
            self.work(false, found, notes);
        }
    }

    pub(super) fn finish(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.work(true, found, notes);
    }

    fn work(&mut self, last: bool, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let done = self.rows(&buffer, last, found, notes);
        buffer.drain(..done);
        self.buffer = buffer;
    }

    /// Reads whole rows; how many bytes are done with.
    fn rows(&mut self, bytes: &[u8], last: bool, found: &mut Sink<'_>, notes: &mut Vec<String>) -> usize {
        let mut begin = 0;
        while begin < bytes.len() {
            let rest = &bytes[begin..];
            let end = match row_end(rest, self.separator) {
                Some(end) if end <= LONGEST_RECORD => begin + end,
                // A quote that never closes must not swallow the file.
                _ if rest.len() > LONGEST_RECORD => {
                    note(
                        notes,
                        "a row is longer than 1 MiB: a quote may not be closed; it was read up to the next line",
                    );
                    match memchr::memchr(b'\n', rest) {
                        Some(newline) if newline < LONGEST_RECORD => begin + newline + 1,
                        _ => {
                            self.row(&rest[..LONGEST_RECORD], found, notes);
                            self.skipping = true;
                            begin += LONGEST_RECORD;
                            continue;
                        }
                    }
                }
                Some(_) | None if last => bytes.len(),
                Some(_) | None => break,
            };
            self.row(&bytes[begin..end], found, notes);
            begin = end;
        }
        begin
    }

    fn row(&mut self, bytes: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let line = self.lines + 1;
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        if self.header > 0 {
            self.header -= usize::from(!bytes.trim_ascii().is_empty());
            return;
        }
        let row = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        if row.is_empty() {
            return;
        }
        if std::mem::take(&mut self.skipping) {
            return super::lines::read_text(
                &lossy(row),
                Place { record: self.rows, line },
                &mut Codes::default(),
                found,
                notes,
            );
        }
        self.rows += 1;
        let mut codes = Codes::default();
        let worth = anchors::find(row, 0).is_some();
        let columns = self.columns.iter().copied().chain(std::iter::repeat(Column::Other));
        let (mut reason, mut description, mut provider, mut id) = (None, None, None, None);
        let (mut service, mut result) = (None, None);
        for (column, cell) in columns.zip(Cells { row, separator: self.separator, at: Some(0) }) {
            let cell = &row[cell];
            match column {
                Column::Code => code(cell, &mut codes),
                Column::FactoryCode => add_factory(&mut codes, &said(cell), 0),
                Column::Reason if reason.is_none() => reason = Some(cell),
                Column::Service if service.is_none() => service = Some(cell),
                Column::Result if result.is_none() => result = Some(cell),
                Column::Provider if provider.is_none() => provider = Some(cell),
                Column::EventId if id.is_none() => id = Some(cell),
                Column::Description | Column::Other => {
                    if column == Column::Description && description.is_none() {
                        description = Some(cell);
                    }
                    if worth && anchors::find(cell, 0).is_some() {
                        words(&said(cell), &mut codes, notes);
                    }
                }
                Column::Reason
                | Column::Service
                | Column::Result
                | Column::Time
                | Column::CorrelationId
                | Column::User
                | Column::Provider
                | Column::EventId
                | Column::Label => {}
            }
        }
        // The reason stands in the description of exports that have no column of its own.
        let reason =
            reason.filter(|cell| !cell.is_empty()).or_else(|| description.filter(|_| service.is_some()));
        if let Some(reason) = reason.filter(|reason| reason.len() > 6) {
            let (service, result) = (service.map(said), result.map(said));
            record::add_reason(&mut codes, &said(reason), service.as_deref(), result.as_deref());
        }
        if let (Some(provider), Some(id)) = (provider, id)
            && let Some(family) = windows::family_of(&said(provider))
        {
            windows::add_event(&mut codes, family, said(id).trim());
        }
        codes.tell(notes);
        if !codes.list.is_empty() {
            self.report(row, line, codes, found);
        }
    }

    fn report(&self, row: &[u8], line: u64, codes: Codes, found: &mut Sink<'_>) {
        let text = lossy(row);
        let (mut time, mut correlation_id, mut user) = (None, None, None);
        for (column, cell) in self.columns.iter().zip(Cells { row, separator: self.separator, at: Some(0) }) {
            let cell = || said(&row[cell.clone()]).into_owned();
            match column {
                Column::Time if time.is_none() => time = stamp::time(&cell()),
                Column::CorrelationId if correlation_id.is_none() => {
                    correlation_id =
                        Some(cell()).filter(|id| stamp::is_guid(id)).map(|id| id.to_ascii_lowercase());
                }
                Column::User if user.is_none() => user = Some(cell()).filter(|name| !name.is_empty()),
                Column::Code
                | Column::FactoryCode
                | Column::Reason
                | Column::Description
                | Column::Service
                | Column::Result
                | Column::Time
                | Column::CorrelationId
                | Column::User
                | Column::Provider
                | Column::EventId
                | Column::Label
                | Column::Other => {}
            }
        }
        let upn = || {
            text.split("userPrincipalName")
                .nth(1)
                .and_then(|rest| rest.split('"').find(|part| part.contains('@')))
                .map(ToOwned::to_owned)
                .or_else(|| stamp::user(&text))
        };
        let user = user.or_else(upn);
        let correlation_id = correlation_id.or_else(|| stamp::correlation_id(&text));
        for code in codes.list {
            found(Event {
                record: self.rows,
                line,
                family: code.family,
                confidence: code.confidence,
                time: time.clone(),
                correlation_id: correlation_id.clone(),
                user: user.clone(),
                text: stamp::excerpt(&text, record::place_of(&text, &code.code)),
                code: code.code,
            });
        }
    }
}

/// A cell of result codes: a number, a number as a spreadsheet writes it, or with its prefix.
fn code(cell: &[u8], codes: &mut Codes) {
    if matches!(cell, [] | b"0" | b"\"0\"" | b"\"\"") {
        return;
    }
    let cell = said(cell);
    let number = cell.trim();
    codes.add_sign_in(number.strip_suffix(".0").unwrap_or(number), 0);
    codes_in(number, codes);
}

/// A cell of JSON or of words.
fn words(cell: &str, codes: &mut Codes, notes: &mut Vec<String>) {
    match Json::parse(cell) {
        Some(value) => {
            let found = &mut |event: Event| codes.add(event.family, event.code, event.confidence, 0);
            record::read(&value, Place { record: 0, line: 0 }, cell, found, notes);
        }
        None => codes_in(cell, codes),
    }
}

/// What a cell says, without its quotes (RFC 4180).
fn said(cell: &[u8]) -> Cow<'_, str> {
    match cell.strip_prefix(b"\"") {
        Some(inner) => {
            let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
            Cow::Owned(lossy(inner).replace("\"\"", "\""))
        }
        None => lossy(cell),
    }
}

/// The borders of a row's cells, quotes included.
struct Cells<'a> {
    row: &'a [u8],
    separator: u8,
    at: Option<usize>,
}

impl Iterator for Cells<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let begin = self.at?;
        // A quote opens a cell only at its very beginning; elsewhere it is a letter.
        let from = if self.row.get(begin) == Some(&b'"') { quote_end(self.row, begin + 1)? } else { begin };
        let end = memchr::memchr(self.separator, &self.row[from..]).map(|at| from + at);
        self.at = end.map(|end| end + 1);
        Some(begin..end.unwrap_or(self.row.len()))
    }
}

/// Behind the quote that closes the cell. A cell that is never closed ends with the bytes.
fn quote_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let Some(quote) = memchr::memchr(b'"', bytes.get(at..)?) else { return Some(bytes.len()) };
        at += quote + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// Behind the line break that ends the first row; `None` where it is not there yet.
fn row_end(bytes: &[u8], separator: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at = quote_end(bytes, at + 1)?;
            if at >= bytes.len() {
                return None;
            }
        }
        at += memchr::memchr2(separator, b'\n', bytes.get(at..)?)? + 1;
        if bytes[at - 1] == b'\n' {
            return Some(at);
        }
    }
}
