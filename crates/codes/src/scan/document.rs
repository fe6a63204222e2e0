//! A JSON document that lists records over many lines, or in one long one. Its elements are cut out one by one, however
//! long the document is; nesting is counted, not followed.

use super::record::{self, Place};
use super::stamp;
use super::text::{Codes, codes_in};
use super::{Event, LONGEST_RECORD, Sink, anchors};
use serde_json::Value;

/// Up to this length a document is read as a whole, to see whether it lists anything.
const SMALL: usize = 4 << 20;
/// Brackets deeper than this are counted and not remembered.
const REMEMBERED: usize = 1024;

#[expect(clippy::struct_excessive_bools, reason = "the state of a byte machine")]
pub(super) struct Document {
    buffer: Vec<u8>,
    /// Up to here the buffer has been walked.
    walked: usize,
    open: Vec<u8>,
    /// Brackets open beyond [`REMEMBERED`].
    deeper: usize,
    in_string: bool,
    escaped: bool,
    /// Where the record that is open begins, and how deep it lies.
    begun: Option<(usize, usize)>,
    records: u64,
    /// Lines before the buffer.
    lines: u64,
    /// Too long to be read as a whole.
    streaming: bool,
    noted: bool,
}

/// JSON, and not a line of text that begins with a bracket.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let inner = head[1..].trim_ascii_start();
    match head[0] {
        b'{' => matches!(inner.first(), Some(b'"' | b'}')),
        _ => {
            matches!(inner.first(), Some(b'{' | b'[' | b'"' | b']'))
                || (inner.first().is_some_and(u8::is_ascii_digit) && inner.contains(&b','))
        }
    }
}

impl Document {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            walked: 0,
            open: Vec::new(),
            deeper: 0,
            in_string: false,
            escaped: false,
            begun: None,
            records: 0,
            lines: 0,
            streaming: false,
            noted: false,
        }
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.buffer.extend_from_slice(block);
        self.streaming |= self.buffer.len() > SMALL;
        if self.streaming {
            self.walk(found, notes);
            self.forget(found);
        }
    }

    pub(super) fn finish(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        if !self.streaming
            && let Ok(value) = serde_json::from_slice::<Value>(&self.buffer)
        {
            let mut records = record::records_of(value);
            if let ([single], false) =
                (records.as_mut_slice(), self.buffer.trim_ascii_start().starts_with(b"["))
                && anchors::find(&self.buffer, 0).is_some()
                && !single.is_null()
            {
                let source = String::from_utf8_lossy(&self.buffer).into_owned();
                record::read(single, Place { record: 1, line: 1 }, &source, found);
                return;
            }
        }
        self.walk(found, notes);
        if self.records == 0 || self.begun.is_some() {
            self.rest(found, notes);
        }
        self.buffer = Vec::new();
    }

    fn walk(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = self.walked;
        while at < buffer.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                } else if let Some(next) = memchr::memchr2(b'"', b'\\', &buffer[at..]) {
                    at += next + 1;
                    self.escaped = buffer[at - 1] == b'\\';
                    self.in_string = self.escaped;
                } else {
                    at = buffer.len();
                }
                continue;
            }
            match buffer[at] {
                b'"' => self.in_string = true,
                bracket @ (b'{' | b'[') => {
                    if bracket == b'{'
                        && self.begun.is_none()
                        && self.deeper == 0
                        && self.open.last() == Some(&b'[')
                    {
                        self.begun = Some((at, self.open.len()));
                    }
                    if self.open.len() < REMEMBERED {
                        self.open.push(bracket);
                    } else {
                        self.deeper += 1;
                        if !self.noted {
                            notes.push(format!(
                                "nested deeper than {REMEMBERED} levels; what lies deeper was read as text"
                            ));
                            self.noted = true;
                        }
                    }
                }
                b'}' | b']' => {
                    if self.deeper > 0 {
                        self.deeper -= 1;
                    } else {
                        self.open.pop();
                        if let Some((begin, depth)) = self.begun
                            && self.open.len() <= depth
                        {
                            self.begun = None;
                            self.record(&buffer, begin, at + 1, found);
                        }
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.walked = at;
        self.buffer = buffer;
    }

    fn record(&mut self, buffer: &[u8], begin: usize, end: usize, found: &mut Sink<'_>) {
        self.records += 1;
        let bytes = &buffer[begin..end];
        if anchors::find(bytes, 0).is_none() {
            return;
        }
        let line = self.lines + 1 + memchr::memchr_iter(b'\n', &buffer[..begin]).count() as u64;
        let place = Place { record: self.records, line };
        let source = String::from_utf8_lossy(bytes);
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => {
                record::read(&value, place, &source, found);
            }
            Err(_) => as_text(&source, place, found),
        }
    }

    /// Drops what has been walked and belongs to no open record.
    fn forget(&mut self, found: &mut Sink<'_>) {
        if let Some((begin, depth)) = self.begun
            && self.walked - begin > LONGEST_RECORD * 4
        {
            // Too long for one record: what is there is read as text, and the rest goes on as another.
            let place = Place { record: self.records + 1, line: self.lines + 1 };
            as_text(&String::from_utf8_lossy(&self.buffer[begin..self.walked]), place, found);
            self.begun = Some((self.walked, depth));
        }
        let done = self.begun.map_or(self.walked, |(begin, _)| begin);
        self.lines += memchr::memchr_iter(b'\n', &self.buffer[..done]).count() as u64;
        self.buffer.drain(..done);
        self.walked -= done;
        self.begun = self.begun.map(|(begin, depth)| (begin - done, depth));
    }

    /// A document that lists nothing, or that was cut off in a record.
    fn rest(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        if !self.open.is_empty() {
            notes.push("the document ends in the middle".to_owned());
        }
        let begin = self.begun.map_or(0, |(begin, _)| begin);
        if anchors::find(&self.buffer[begin..], 0).is_some() {
            let line = self.lines + 1 + memchr::memchr_iter(b'\n', &self.buffer[..begin]).count() as u64;
            let place = Place { record: self.records + 1, line };
            let rest = &self.buffer[begin..];
            as_text(&String::from_utf8_lossy(&rest[..rest.len().min(LONGEST_RECORD * 4)]), place, found);
        }
    }
}

/// What is no JSON after all.
fn as_text(text: &str, place: Place, found: &mut Sink<'_>) {
    let mut codes = Codes::default();
    codes_in(text, &mut codes);
    super::lines::json_fields(text, &mut codes);
    let correlation_id = stamp::correlation_id(&text[..stamp::floor(text, 8192)]);
    for code in codes.list {
        found(Event {
            record: place.record,
            line: place.line,
            family: code.family,
            code: code.code,
            confidence: code.confidence,
            time: stamp::time_of(text),
            correlation_id: correlation_id.clone(),
            user: None,
            text: stamp::excerpt(text, code.at),
        });
    }
}
