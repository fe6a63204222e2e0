//! Logs and NDJSON: a record is a line, or a statement with the lines that continue it.

use super::record::{self, Place};
use super::stamp;
use super::text::{Codes, codes_in};
use super::{Event, LONGEST_RECORD, Sink, anchors};
use serde_json::Value;

/// So far back the beginning of a statement is looked for.
const LOOK_BACK: usize = 64 * 1024;

pub(super) struct Lines {
    /// From the beginning of a line.
    buffer: Vec<u8>,
    /// Up to here the buffer has been searched.
    searched: usize,
    /// Lines before the buffer.
    passed: u64,
    cut: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), searched: 0, passed: 0, cut: false }
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let mut from = 0;
        if !self.buffer.is_empty() {
            // What was left over is finished with the beginning of the block; the rest is read where it lies.
            let begin = block.len().min(LOOK_BACK);
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

    /// Reads whole statements from the beginning of a line on; how many bytes are done with.
    fn search(&mut self, bytes: &[u8], last: bool, found: &mut Sink<'_>, notes: &mut Vec<String>) -> usize {
        // Only whole lines are read; what follows the last line break waits.
        let whole = match memchr::memrchr(b'\n', bytes) {
            _ if last => bytes.len(),
            Some(at) => at + 1,
            None if bytes.len() > LONGEST_RECORD => self.cut_here(bytes, notes),
            None => return 0,
        };
        let mut counted = (0, self.passed);
        let mut from = self.searched;
        let mut keep = None;
        while let Some(hit) = anchors::find(&bytes[..whole], from) {
            let begin = statement_begin(&bytes[..whole], hit);
            let end = statement_end(&bytes[..whole], hit);
            let long = end - begin > LONGEST_RECORD;
            if end == whole && !last && !long {
                keep = Some(begin); // its next lines may be on their way
                break;
            }
            counted.1 += memchr::memchr_iter(b'\n', &bytes[counted.0..begin]).count() as u64;
            counted.0 = begin;
            let part = if long {
                &bytes[hit.saturating_sub(1024).max(begin)..end.min(hit + LONGEST_RECORD)]
            } else {
                &bytes[begin..end]
            };
            read(part, Place { record: counted.1 + 1, line: counted.1 + 1 }, found);
            from = end;
        }
        let done = match keep {
            Some(begin) => begin,
            // The statement that the last line belongs to may go on, and a hit in what follows needs its beginning.
            None if !last => statement_begin(&bytes[..whole], whole.saturating_sub(1)).max(from.min(whole)),
            None => whole,
        };
        self.passed =
            counted.1 + memchr::memchr_iter(b'\n', &bytes[counted.0..done.max(counted.0)]).count() as u64;
        self.searched = if keep.is_some() { 0 } else { whole - done };
        done
    }

    /// A line that is too long is cut where no anchor can be torn apart.
    fn cut_here(&mut self, bytes: &[u8], notes: &mut Vec<String>) -> usize {
        if !self.cut {
            notes.push("a line is longer than 1 MiB and was read in parts".to_owned());
            self.cut = true;
        }
        let at = bytes.len() - 64 * anchors::LOOKS_AHEAD;
        memchr::memrchr3(b' ', b',', b'}', &bytes[..at]).map_or(at, |blank| blank + 1)
    }
}

/// Where the line begins that holds `at`.
fn line_begin(bytes: &[u8], at: usize) -> usize {
    memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |newline| newline + 1)
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |newline| at + newline + 1)
}

/// Where the statement begins that holds `at`.
fn statement_begin(bytes: &[u8], at: usize) -> usize {
    let mut begin = line_begin(bytes, at);
    let floor = at.saturating_sub(LOOK_BACK);
    while begin > floor
        && continues(&bytes[begin..line_end(bytes, begin)], &bytes[line_begin(bytes, begin - 1)..begin])
    {
        begin = line_begin(bytes, begin - 1);
    }
    begin
}

/// Where the statement ends that holds `at`.
fn statement_end(bytes: &[u8], at: usize) -> usize {
    let mut previous = line_begin(bytes, at);
    let mut end = line_end(bytes, at);
    while end < bytes.len() && end - at <= LONGEST_RECORD {
        let next = line_end(bytes, end);
        if !continues(&bytes[end..next], &bytes[previous..end]) {
            break;
        }
        previous = end;
        end = next;
    }
    end
}

/// Whether a line goes on with the statement of the line before.
fn continues(line: &[u8], before: &[u8]) -> bool {
    if line.is_empty() || line.starts_with(b"{") || is_blank(before) {
        return false;
    }
    if line[0].is_ascii_whitespace() {
        return !is_blank(line);
    }
    GOES_ON.iter().any(|words| line.starts_with(words)) && !has_own_time(line)
}

/// A statement's first line tells when or what; a line that begins so goes on with it.
const GOES_ON: [&[u8]; 19] = [
    b"at ",
    b"---",
    b"Caused by",
    b"Traceback",
    b"Trace ID",
    b"Correlation ID",
    b"Timestamp",
    b"Inner",
    b"Response",
    b"StatusCode",
    b"Headers",
    b"Content:",
    b"Original exception",
    b"Stack",
    b"java.",
    b"azure.",
    b"Runtime Error",
    b"}",
    b"File \"",
];
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Whether the line begins with a time: then it is a statement of its own.
fn has_own_time(line: &[u8]) -> bool {
    let head: Vec<u8> = line.iter().take(32).copied().collect();
    head.windows(8).any(|part| {
        part.iter()
            .enumerate()
            .all(|(at, byte)| if at == 2 || at == 5 { *byte == b':' } else { byte.is_ascii_digit() })
    })
}

fn read(bytes: &[u8], place: Place, found: &mut Sink<'_>) {
    let text = String::from_utf8_lossy(bytes);
    let trimmed = text.trim();
    if trimmed.starts_with('{')
        && let Ok(value) = serde_json::from_str::<Value>(trimmed.trim_end_matches(','))
    {
        for value in record::records_of(value) {
            record::read(&value, place, trimmed, found);
        }
        return;
    }
    let mut codes = Codes::default();
    codes_in(&text, &mut codes);
    json_fields(&text, &mut codes);
    if codes.list.is_empty() {
        return;
    }
    let (time, correlation_id, user) =
        (stamp::time_of(&text), stamp::correlation_id(&text), stamp::user(&text));
    for code in codes.list {
        found(Event {
            record: place.record,
            line: place.line,
            family: code.family,
            code: code.code,
            confidence: code.confidence,
            time: time.clone(),
            correlation_id: correlation_id.clone(),
            user: user.clone(),
            text: stamp::excerpt(&text, code.at),
        });
    }
}

/// Objects inside a line of text, such as the body of an answer.
pub(super) fn json_fields(text: &str, codes: &mut Codes) {
    for field in ["errorCode\"", "resultType\"", "ResultType\""] {
        for (at, _) in text.match_indices(field) {
            let rest = text[at + field.len()..].trim_start_matches(['\\', ' ']);
            let Some(rest) = rest.strip_prefix(':') else { continue };
            let rest = rest.trim_start_matches(['\\', ' ', '"']);
            let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if record::is_powerbi(&word) {
                codes.add("powerbi", word, super::Confidence::Certain, at);
            } else if rest[word.len()..].starts_with(['"', '\\', ',', '}', ' ']) {
                codes.add_sign_in(&word, at);
            }
        }
    }
}
