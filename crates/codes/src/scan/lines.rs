//! Logs and NDJSON: a record is a line, or a statement with the lines that continue it.

use super::json::Json;
use super::openings::{line_end, statement_begin, statement_end};
use super::record::{self, Place};
use super::stamp;
use super::text::{Codes, codes_in, lossy};
use super::vector::line_breaks;
use super::{Event, LONGEST_RECORD, Sink, anchors, note};

/// So far back the beginning of a statement is looked for.
const LOOK_BACK: usize = 64 * 1024;
/// With so much of the next piece the statement at the end of the last one is finished, as a rule.
const JOIN: usize = 8 * 1024;
/// Of a statement that is too long, so much is read around a hit.
const AROUND: usize = 64 * 1024;

/// How many lines there are before a place.
struct Count {
    at: usize,
    lines: u64,
}

impl Count {
    fn go_to(&mut self, bytes: &[u8], at: usize) {
        if self.at <= at {
            self.lines += line_breaks(&bytes[self.at..at]);
        } else {
            self.lines -= line_breaks(&bytes[at..self.at]);
        }
        self.at = at;
    }
}

pub(super) struct Lines {
    /// From the beginning of a statement.
    buffer: Vec<u8>,
    /// Up to here the buffer has been searched.
    searched: usize,
    /// Lines before the buffer.
    passed: u64,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), searched: 0, passed: 0 }
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let mut from = 0;
        if !self.buffer.is_empty() {
            // What was left over is finished with the beginning of the block; the rest is read where it lies.
            let begin = block.len().min(JOIN);
            self.buffer.extend_from_slice(&block[..begin]);
            self.work(false, found, notes);
            if begin == block.len() {
                return;
            }
            let Some(left) = begin.checked_sub(self.buffer.len()) else {
                self.buffer.extend_from_slice(&block[begin..]);
                return self.work(false, found, notes);
            };
            self.buffer.clear();
            from = left;
        }
        let rest = &block[from..];
        let done = self.search(rest, false, found, notes);
        self.buffer.extend_from_slice(&rest[done..]);
    }

    pub(super) fn finish(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.work(true, found, notes);
        self.buffer = Vec::new();
    }

    fn work(&mut self, last: bool, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let done = self.search(&buffer, last, found, notes);
        buffer.drain(..done);
        self.buffer = buffer;
    }

    /// Reads whole statements from the beginning of one on; how many bytes are done with.
    fn search(&mut self, bytes: &[u8], last: bool, found: &mut Sink<'_>, notes: &mut Vec<String>) -> usize {
        // Only whole lines are read; what follows the last line break waits.
        let whole = match memchr::memrchr(b'\n', bytes) {
            _ if last => bytes.len(),
            Some(at) => at + 1,
            None if bytes.len() > LONGEST_RECORD => cut_here(bytes, notes),
            None => return 0,
        };
        let lines = &bytes[..whole];
        let mut count = Count { at: 0, lines: self.passed };
        // Statements before this are read, or known to hold nothing.
        let mut floor = 0;
        let mut from = self.searched;
        let mut keep = None;
        loop {
            count.go_to(lines, from);
            let (hit, to, breaks) = anchors::find_counting(lines, from);
            count = Count { at: to, lines: count.lines + breaks };
            let Some(hit) = hit else { break };
            let begin = statement_begin(lines, hit, floor, LOOK_BACK);
            let (end, sure) = statement_end(lines, begin, LONGEST_RECORD);
            let end = end.max(line_end(lines, hit));
            let long = end - begin > LONGEST_RECORD;
            if !sure && !last && !long && bytes.len() - begin <= LONGEST_RECORD {
                keep = Some(begin); // its next lines may be on their way
                break;
            }
            count.go_to(lines, begin);
            let place = Place { record: count.lines + 1, line: count.lines + 1 };
            if long {
                note(notes, "a record is longer than 1 MiB and was read in parts");
                let (mut next, mut read_to) = (Some(hit), begin);
                while let Some(hit) = next {
                    let around = hit.saturating_sub(1024).max(read_to)..end.min(hit + AROUND);
                    read_to = around.end;
                    read(&lines[around], place, found, notes);
                    next = anchors::find(&lines[..end], read_to);
                }
            } else {
                read(&lines[begin..end], place, found, notes);
            }
            (from, floor) = (end, end);
        }
        let done = match keep {
            Some(begin) => begin,
            // The statement that the last line belongs to may go on, and a hit in what follows needs its beginning.
            None if !last => {
                let begin = statement_begin(lines, whole.saturating_sub(1), floor, LOOK_BACK);
                if bytes.len() - begin > LONGEST_RECORD { whole } else { begin }
            }
            None => whole,
        };
        count.go_to(bytes, done);
        self.passed = count.lines;
        // What stands at the end of the last line may be judged otherwise once the next is there.
        self.searched = if keep.is_some() { 0 } else { (whole - done).saturating_sub(anchors::LOOKS_AHEAD) };
        done
    }
}

/// A line that is too long is cut where no anchor can be torn apart.
fn cut_here(bytes: &[u8], notes: &mut Vec<String>) -> usize {
    note(notes, "a record is longer than 1 MiB and was read in parts");
    let at = bytes.len() - 32 * anchors::LOOKS_AHEAD;
    memchr::memrchr3(b' ', b',', b'}', &bytes[..at]).map_or(at, |blank| blank + 1)
}

fn read(bytes: &[u8], place: Place, found: &mut Sink<'_>, notes: &mut Vec<String>) {
    let text = lossy(bytes);
    let trimmed = text.trim();
    if trimmed.starts_with('{')
        && let Some(value) = Json::parse(trimmed.trim_end_matches(','))
    {
        for value in record::records_of(value) {
            record::read(&value, place, trimmed, found, notes);
        }
        return;
    }
    read_text(&text, place, &mut Codes::default(), found, notes);
}

/// A statement, or what is no JSON after all. `known` are the codes that its record was seen to hold already.
pub(super) fn read_text(
    text: &str,
    place: Place,
    known: &mut Codes,
    found: &mut Sink<'_>,
    notes: &mut Vec<String>,
) {
    let already = known.list.len();
    codes_in(text, known);
    known.tell(notes);
    if known.list.len() == already {
        return;
    }
    let (time, correlation_id, user) = (stamp::time_of(text), stamp::correlation_id(text), stamp::user(text));
    for code in &known.list[already..] {
        found(Event {
            record: place.record,
            line: place.line,
            family: code.family,
            code: code.code.clone(),
            confidence: code.confidence,
            time: time.clone(),
            correlation_id: correlation_id.clone(),
            user: user.clone(),
            text: stamp::excerpt(text, code.at),
        });
    }
}
