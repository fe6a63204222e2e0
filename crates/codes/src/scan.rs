//! Finds codes in logs of any size: bytes in, events out. No I/O.
//!
//! One pass looks for a few literals that every interesting record holds (`anchors`); only around a hit the record is
//! cut out and read as what it is: a JSON object, a row of a table, a Windows event, or a log statement with the lines
//! that continue it. Bare numbers count only where a field says that they are a result code.
//!
//! An event is one code in one record: a code that is repeated inside a record counts once. `record` is the number of
//! the element, row or event; in logs and NDJSON, where every line may begin one, it is the number of its first line.

mod anchors;
mod clock;
mod document;
mod fields;
mod json;
mod ldap;
mod lines;
mod names;
mod openings;
mod record;
mod stamp;
mod table;
mod text;
mod utf16;
mod vector;
mod windows;

use document::Document;
use lines::Lines;
use serde::Serialize;
use table::Table;
use utf16::Utf16;
use windows::Windows;

/// A record longer than this is read in parts.
pub const LONGEST_RECORD: usize = 1 << 20;
/// Different codes of one record that are reported: each costs a look through the record, and a hostile one could hold a
/// hundred thousand.
pub const MOST_CODES: usize = 256;
/// Inputs are worked on in pieces of this size, whatever the size of the blocks they come in: so what is found cannot
/// depend on where they are cut. Blocks of a multiple of it are read where they lie, without a copy.
pub const PIECE: usize = 256 * 1024;
/// So much is looked at before the format is decided.
const SNIFF: usize = 64 * 1024;
/// UTF-8 that says so.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How sure it is that the code means a failure of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A name that stands elsewhere too.
    Possible,
    /// A bare number in a field that says what it is.
    Likely,
    /// The spelling fits nothing else.
    Certain,
}

/// One code in one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which record of its input, from 1.
    pub record: u64,
    /// The line on which the record begins, from 1.
    pub line: u64,
    /// As the catalogue names it.
    pub family: &'static str,
    /// As the catalogue writes it, or as found where the catalogue does not know it.
    pub code: String,
    /// How sure.
    pub confidence: Confidence,
    /// RFC 3339 in UTC, where the record gives a time.
    pub time: Option<String>,
    /// The correlation ID or tracking ID in lower case.
    pub correlation_id: Option<String>,
    /// The account that the record is about.
    pub user: Option<String>,
    /// At most 400 bytes of the record around the code, in one line.
    pub text: String,
}

/// Where events go.
pub type Sink<'a> = dyn FnMut(Event) + 'a;

/// Reads one input in blocks of any size; what is found does not depend on where the blocks are cut.
pub struct Scanner {
    piece: usize,
    sniff: usize,
    /// The beginning of a piece.
    pending: Vec<u8>,
    encoding: Encoding,
    /// Until the format is known; decoded.
    head: Vec<u8>,
    decoder: Option<Utf16>,
    decoded: Vec<u8>,
    format: Option<Format>,
    notes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Unknown,
    Bytes,
    Utf16,
}

enum Format {
    Lines(Lines),
    Document(Document),
    Table(Table),
    Windows(Windows),
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// For one input.
    pub fn new() -> Self {
        Self::in_pieces_of(PIECE, SNIFF)
    }

    /// For tests: pieces of another size, at least 64 bytes, and so many bytes to decide the format by. No record that
    /// is shorter than 64 KiB may be read otherwise where a piece ends in it.
    #[doc(hidden)]
    pub fn in_pieces_of(piece: usize, sniff: usize) -> Self {
        Self {
            piece: piece.max(64),
            sniff,
            pending: Vec::new(),
            encoding: Encoding::Unknown,
            head: Vec::new(),
            decoder: None,
            decoded: Vec::new(),
            format: None,
            notes: Vec::new(),
        }
    }

    /// The next bytes of the input.
    pub fn feed(&mut self, block: &[u8], found: &mut Sink<'_>) {
        let mut rest = block;
        if !self.pending.is_empty() {
            let (begin, after) = rest.split_at(rest.len().min(self.piece - self.pending.len()));
            self.pending.extend_from_slice(begin);
            rest = after;
            if self.pending.len() < self.piece {
                return;
            }
            let mut piece = std::mem::take(&mut self.pending);
            self.piece(&piece, found);
            piece.clear();
            self.pending = piece;
        }
        while let Some((piece, after)) = rest.split_at_checked(self.piece) {
            self.piece(piece, found);
            rest = after;
        }
        self.pending.extend_from_slice(rest);
    }

    /// The input has ended.
    pub fn finish(&mut self, found: &mut Sink<'_>) {
        let piece = std::mem::take(&mut self.pending);
        self.piece(&piece, found);
        self.decode(&[], true, found);
        if self.format.is_none() {
            self.choose_format(found);
        }
        match &mut self.format {
            Some(Format::Lines(lines)) => lines.finish(found, &mut self.notes),
            Some(Format::Document(document)) => document.finish(found, &mut self.notes),
            Some(Format::Table(table)) => table.finish(found, &mut self.notes),
            Some(Format::Windows(windows)) => windows.finish(found, &mut self.notes),
            None => {}
        }
    }

    fn piece(&mut self, piece: &[u8], found: &mut Sink<'_>) {
        if self.encoding == Encoding::Unknown {
            self.choose_encoding(piece);
        }
        self.decode(piece, false, found);
    }

    /// What could not be read as it should.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn choose_encoding(&mut self, head: &[u8]) {
        let zeros =
            |from: usize| head.iter().skip(from).step_by(2).take(32).filter(|byte| **byte == 0).count();
        let sample = head.len().min(64) / 2;
        self.decoder = match head {
            [0xff, 0xfe, ..] => Some(Utf16::new(false)),
            [0xfe, 0xff, ..] => Some(Utf16::new(true)),
            _ if sample >= 2 && zeros(1) * 4 >= sample * 3 && zeros(0) * 4 < sample => {
                Some(Utf16::new(false))
            }
            _ if sample >= 2 && zeros(0) * 4 >= sample * 3 && zeros(1) * 4 < sample => Some(Utf16::new(true)),
            _ => None,
        };
        self.encoding = if self.decoder.is_some() { Encoding::Utf16 } else { Encoding::Bytes };
    }

    fn decode(&mut self, block: &[u8], last: bool, found: &mut Sink<'_>) {
        let Some(decoder) = &mut self.decoder else { return self.take(block, found) };
        let mut text = std::mem::take(&mut self.decoded);
        decoder.decode(block, &mut text);
        if last {
            decoder.finish(&mut text);
        }
        self.take(&text, found);
        text.clear();
        self.decoded = text;
    }

    /// UTF-8, or bytes that are read as if they were.
    fn take(&mut self, bytes: &[u8], found: &mut Sink<'_>) {
        if self.format.is_none() {
            self.head.extend_from_slice(bytes);
            if self.head.len() >= self.sniff + BYTE_ORDER_MARK.len() {
                self.choose_format(found);
            }
            return;
        }
        self.give(bytes, found);
    }

    fn give(&mut self, bytes: &[u8], found: &mut Sink<'_>) {
        match &mut self.format {
            Some(Format::Lines(lines)) => lines.feed(bytes, found, &mut self.notes),
            Some(Format::Document(document)) => document.feed(bytes, found, &mut self.notes),
            Some(Format::Table(table)) => table.feed(bytes, found, &mut self.notes),
            Some(Format::Windows(windows)) => windows.feed(bytes, found, &mut self.notes),
            None => {}
        }
    }

    fn choose_format(&mut self, found: &mut Sink<'_>) {
        let head = std::mem::take(&mut self.head);
        let body = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head);
        self.format = Some(format_of(&body[..body.len().min(self.sniff)]));
        self.give(body, found);
    }
}

/// Says a thing once.
fn note(notes: &mut Vec<String>, text: &str) {
    if !notes.iter().any(|known| known == text) {
        notes.push(text.to_owned());
    }
}

fn format_of(head: &[u8]) -> Format {
    let trimmed = head.trim_ascii_start();
    let first_line = trimmed.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let more = !trimmed[first_line.len()..].trim_ascii_start().is_empty();
    match trimmed.first() {
        Some(b'<') if windows::looks_like(trimmed) => Format::Windows(Windows::new()),
        // A whole object on the first line: one of many. Otherwise a document that spans lines, or one long line.
        Some(b'{') if first_line.ends_with(b"}") && more => Format::Lines(Lines::new()),
        Some(b'{' | b'[') if document::looks_like(trimmed) => Format::Document(Document::new()),
        _ => match Table::of_header(trimmed) {
            Some(table) => Format::Table(table),
            None => Format::Lines(Lines::new()),
        },
    }
}
