//! JSON that lists records over many lines, or in one long one. Its records are cut out one by one, however long the
//! input is; nesting is counted, not followed.
//!
//! A record is an element of a top-level array, an element of an array that an object at the top calls `value`,
//! `records` or the like, or else the object at the top itself.

use super::json::Json;
use super::record::{self, Place};
use super::text::{Codes, lossy};
use super::{LONGEST_RECORD, Sink, anchors, lines, note};
use std::ops::Range;

/// Brackets deeper than this are counted and not remembered.
const REMEMBERED: usize = 128;
/// What lists records in the answers of services.
pub(super) const LISTS: [&[u8]; 7] =
    [b"value", b"records", b"Records", b"data", b"items", b"results", b"events"];

/// Where the walk is in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Structure,
    Text,
    Escape,
}

pub(super) struct Document {
    buffer: Vec<u8>,
    /// Up to here the buffer has been walked.
    walked: usize,
    open: Vec<u8>,
    /// Brackets open beyond [`REMEMBERED`].
    deeper: usize,
    inside: In,
    /// Where the last text began and ended: the name of what follows.
    last_text: (usize, usize),
    /// Where the record that is open begins, and how many brackets are open around it.
    begun: Option<(usize, usize)>,
    /// What the open record was seen to hold, where it is too long to be read at once.
    parts: Option<Codes>,
    records: u64,
    /// Every list of objects at the top lists records: the input is too long to be one.
    any_list: bool,
    /// Lines before the buffer.
    lines: u64,
    /// Up to here the lines of the buffer were counted, and how many they were.
    counted: (usize, u64),
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
            inside: In::Structure,
            last_text: (0, 0),
            begun: None,
            parts: None,
            records: 0,
            any_list: false,
            lines: 0,
            counted: (0, 0),
        }
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.buffer.extend_from_slice(block);
        let buffer = std::mem::take(&mut self.buffer);
        self.walk(&buffer, found, notes);
        self.buffer = buffer;
        self.forget(found, notes);
    }

    pub(super) fn finish(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        if !self.open.is_empty() {
            note(notes, "the document ends in the middle");
        }
        let buffer = std::mem::take(&mut self.buffer);
        let begin = self.begun.map_or(self.walked, |(begin, _)| begin);
        self.as_text(&buffer, begin..buffer.len(), found, notes);
    }

    fn walk(&mut self, buffer: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let mut at = self.walked;
        while let Some(&byte) = buffer.get(at) {
            match self.inside {
                In::Escape => self.inside = In::Text,
                In::Text => match memchr::memchr3(b'"', b'\\', b'\n', &buffer[at..]) {
                    None => {
                        at = buffer.len();
                        break;
                    }
                    Some(next) => {
                        at += next;
                        if buffer[at] == b'\\' {
                            self.inside = In::Escape;
                        } else {
                            // JSON has no line breaks in texts: at one, a quote was lost.
                            self.inside = In::Structure;
                            self.last_text.1 = at;
                        }
                    }
                },
                In::Structure => match byte {
                    b'"' if !self.open.is_empty() => {
                        self.inside = In::Text;
                        self.last_text.0 = at + 1;
                    }
                    b'{' | b'[' => self.opens(buffer, at, byte, notes),
                    b'}' | b']' => self.closes(buffer, at, found, notes),
                    _ => {}
                },
            }
            at += 1;
        }
        self.walked = at;
    }

    fn opens(&mut self, buffer: &[u8], at: usize, bracket: u8, notes: &mut Vec<String>) {
        let depth = self.open.len() + self.deeper;
        let list = bracket == b'{' && depth > 0 && self.deeper == 0 && self.lists();
        if list && self.parts.is_none() {
            self.begun = Some((at, depth));
        } else if depth == 0 && self.begun.is_none() {
            self.begun = Some((at, 0));
        }
        if self.open.len() < REMEMBERED {
            // Remembered with a bracket: whether it is the list of an envelope.
            let named = || {
                self.any_list
                    || LISTS.contains(&buffer.get(self.last_text.0..self.last_text.1).unwrap_or_default())
            };
            let top = self.open.is_empty() || self.open == [b'{'] && named();
            let nested = || {
                self.begun.is_some()
                    && self.open.len() <= 4
                    && buffer.get(self.last_text.0..self.last_text.1) == Some(b"records")
            };
            self.open.push(if bracket == b'[' && (top || nested()) { b'L' } else { bracket });
        } else {
            self.deeper += 1;
            note(notes, "JSON nested deeper than 128 levels was read as text");
        }
    }

    /// Whether what opens now is an element of a list of records.
    fn lists(&self) -> bool {
        let elements = self.open.last() == Some(&b'L');
        // Not inside a record that is one already.
        elements && self.begun.is_none_or(|(_, depth)| depth == 0 || depth < self.open.len())
    }

    fn closes(&mut self, buffer: &[u8], at: usize, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        self.open.pop();
        if let Some((begin, depth)) = self.begun
            && self.open.len() <= depth
        {
            self.begun = None;
            self.record(buffer, begin..at + 1, depth == 0, found, notes);
        }
    }

    /// `top`: it is no element of a list, and may be an envelope that calls its list by a name of its own.
    fn record(
        &mut self,
        buffer: &[u8],
        range: Range<usize>,
        top: bool,
        found: &mut Sink<'_>,
        notes: &mut Vec<String>,
    ) {
        if self.parts.is_some() {
            self.as_text(buffer, range, found, notes);
            self.parts = None;
            self.records += 1;
            return;
        }
        let bytes = &buffer[range.clone()];
        self.records += 1;
        if anchors::find(bytes, 0).is_none() {
            return;
        }
        let mut place = Place { record: self.records, line: self.line_of(buffer, range.start) };
        let source = lossy(bytes);
        match std::str::from_utf8(bytes).ok().and_then(Json::parse) {
            Some(value) if top => {
                for value in record::records_of(value) {
                    record::read(&value, place, &source, found, notes);
                    self.records = place.record;
                    place.record += 1;
                }
            }
            Some(value) => record::read(&value, place, &source, found, notes),
            None => lines::read_text(&source, place, &mut Codes::default(), found, notes),
        }
    }

    /// Drops what has been walked and belongs to no open record.
    fn forget(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let buffer = std::mem::take(&mut self.buffer);
        if let Some((begin, 0)) = self.begun
            && self.walked - begin > LONGEST_RECORD
            && !self.any_list
            && self.parts.is_none()
        {
            // Once more from its beginning, and this time any list in it is one of records.
            self.any_list = true;
            self.open.clear();
            (self.deeper, self.inside, self.begun, self.walked) = (0, In::Structure, None, begin);
            self.walk(&buffer, found, notes);
        }
        let done = match self.begun {
            Some((begin, depth)) if self.walked - begin > LONGEST_RECORD => {
                note(notes, "a record was longer than 1 MiB and was read in parts");
                // Cut where no code can be torn apart.
                let last = self.walked - anchors::LOOKS_AHEAD * 4;
                let cut =
                    memchr::memrchr3(b' ', b',', b'{', &buffer[begin..last]).map_or(last, |at| begin + at);
                let cut = cut.max(begin + LONGEST_RECORD / 2);
                self.as_text(&buffer, begin..cut, found, notes);
                self.begun = Some((cut, depth));
                cut
            }
            Some((begin, _)) => begin,
            None => self.walked,
        };
        // The name of what comes next is still needed.
        let done = if self.inside == In::Structure && self.begun.is_none() {
            done
        } else {
            done.min(self.last_text.0.max(self.begun.map_or(0, |it| it.0)))
        };
        self.lines = self.line_of(&buffer, done) - 1;
        self.counted = (0, 0);
        self.walked -= done;
        self.begun = self.begun.map(|(begin, depth)| (begin - done, depth));
        self.last_text = (self.last_text.0.saturating_sub(done), self.last_text.1.saturating_sub(done));
        let mut buffer = buffer;
        buffer.drain(..done);
        self.buffer = buffer;
    }

    /// The line that holds `at`, from 1. Only forwards: a part is counted once.
    fn line_of(&mut self, buffer: &[u8], at: usize) -> u64 {
        let (from, mut lines) = self.counted;
        if at >= from {
            lines += memchr::memchr_iter(b'\n', &buffer[from..at]).count() as u64;
            self.counted = (at, lines);
            return self.lines + lines + 1;
        }
        self.lines + memchr::memchr_iter(b'\n', &buffer[..at]).count() as u64 + 1
    }

    /// What is no JSON after all, or a part of a record.
    fn as_text(&mut self, buffer: &[u8], range: Range<usize>, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        if range.is_empty() || anchors::find(&buffer[range.clone()], 0).is_none() {
            self.parts.get_or_insert_default();
            return;
        }
        let place = Place { record: self.records + 1, line: self.line_of(buffer, range.start) };
        let mut codes = self.parts.take().unwrap_or_default();
        lines::read_text(&lossy(&buffer[range]), place, &mut codes, found, notes);
        self.parts = Some(codes);
    }
}
