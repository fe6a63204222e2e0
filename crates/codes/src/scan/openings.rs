//! Where a log statement begins and ends: what the beginning of a line tells.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// What the beginning of a line says about its place in a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// A time stands at its beginning: a statement of its own, which takes the lines behind it.
    Stamped,
    /// `ERROR: …`, `GET /…`: a statement of its own.
    Own,
    /// `{`: an object of its own, or the body of an answer that a stamped statement quotes.
    Object,
    /// Indented, or one of the phrases that go on with what was said.
    GoesOn,
    /// Nothing on it.
    Blank,
    /// Anything else.
    Plain,
}

/// Lines without a time of their own that a stamped statement takes: more of them are no longer one message.
const PLAIN_LINES: u32 = 64;
/// So far into a line its time is looked for.
const HEAD: usize = 80;

/// Beginnings of lines that go on with a statement, in the logs of several makers.
const PHRASES: [&[u8]; 31] = [
    // An event as the viewer copies it.
    b"Source:",
    b"Date:",
    b"Event ID:",
    b"Task Category:",
    b"Level:",
    b"Keywords:",
    b"User:",
    b"Computer:",
    b"Description:",
    b"at ",
    b"---",
    b"...",
    b"Caused by",
    b"Suppressed:",
    b"Trace ID",
    b"Correlation ID",
    b"Correlation Id",
    b"Request ID",
    b"Timestamp",
    b"Inner",
    b"Response",
    b"StatusCode",
    b"Status code",
    b"Headers",
    b"Content:",
    b"Original exception",
    b"Stack",
    b"additional info",
    b"}",
    b"]",
    b"File \"",
];
/// Words that begin a statement where no time does.
const LEVELS: [&[u8]; 10] =
    [b"ERROR", b"Error", b"WARN", b"INFO", b"DEBUG", b"FATAL", b"CRITICAL", b"TRACE", b"NOTICE", b"PANIC"];
const REQUESTS: [&[u8]; 6] = [b"GET /", b"POST /", b"PUT /", b"http://", b"https://", b"HEAD /"];

/// Without the escape sequences that colour a terminal.
fn without_colour(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(b"\x1b[") {
        let length = rest.iter().take(12).take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        line = rest.get(length + 1..).unwrap_or_default();
    }
    line
}

pub(super) fn of(line: &[u8]) -> Opening {
    let line = without_colour(line);
    let Some(first) = line.iter().find(|byte| !byte.is_ascii_whitespace()) else { return Opening::Blank };
    if line[0].is_ascii_whitespace() {
        return Opening::GoesOn;
    }
    if *first == b'{' {
        return Opening::Object;
    }
    if PHRASES.iter().any(|phrase| line.starts_with(phrase)) {
        return Opening::GoesOn;
    }
    if *first == b'#' {
        return Opening::Own;
    }
    if line.starts_with(b"Log Name:") || has_time(&line[..line.len().min(HEAD)]) {
        return Opening::Stamped;
    }
    let bare = line.strip_prefix(b"[").unwrap_or(line);
    let levelled = LEVELS.iter().any(|level| {
        bare.strip_prefix(*level)
            .is_some_and(|rest| matches!(rest.first(), Some(b':' | b' ' | b']' | b'\t' | b'|')))
    });
    if levelled || REQUESTS.iter().any(|request| line.starts_with(request)) {
        return Opening::Own;
    }
    Opening::Plain
}

/// `04:05:06` with nothing but a date, a source and brackets before it.
fn has_time(head: &[u8]) -> bool {
    memchr::memchr_iter(b':', head).any(|colon| {
        let digit = |at: usize| head.get(at).is_some_and(u8::is_ascii_digit);
        colon >= 1
            && digit(colon - 1)
            && digit(colon + 1)
            && digit(colon + 2)
            && head.get(colon + 3) == Some(&b':')
            && digit(colon + 4)
            && digit(colon + 5)
    })
}

/// The first byte behind the line that begins at `at`.
pub(super) fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |newline| at + newline + 1)
}

/// Where the line begins that holds `at`.
pub(super) fn line_begin(bytes: &[u8], at: usize) -> usize {
    memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |newline| newline + 1)
}

/// Where the statement ends that begins at `begin`, no further than `limit` bytes on; and whether that is sure: at the
/// end of what is there, what follows may belong to it.
pub(super) fn statement_end(bytes: &[u8], begin: usize, limit: usize) -> (usize, bool) {
    let mut end = line_end(bytes, begin);
    let first = of(&bytes[begin..end]);
    let stamped = first == Opening::Stamped;
    // Python says what was raised behind the lines that it was raised in.
    let mut raised = is_traceback(&bytes[begin..end]);
    let (mut last, mut blank, mut plain) = (first, false, 0);
    let mut at = end;
    while at < bytes.len() && at - begin <= limit {
        let next = line_end(bytes, at);
        let line = &bytes[at..next];
        let opening = of(line);
        match opening {
            Opening::Blank => {
                (blank, at) = (true, next);
                continue;
            }
            Opening::GoesOn if first == Opening::Object && !line[0].is_ascii_whitespace() => {
                return (end, true);
            }
            Opening::GoesOn if blank && !stamped => return (end, true),
            Opening::GoesOn => raised |= is_traceback(line),
            Opening::Plain if is_traceback(line) && !blank => raised = true,
            Opening::Plain if raised && last == Opening::GoesOn => raised = false,
            // Objects in a row are records of their own.
            Opening::Object if last == Opening::Object => return (end, true),
            Opening::Plain | Opening::Object if stamped && !blank && plain < PLAIN_LINES => plain += 1,
            Opening::Plain | Opening::Object | Opening::Stamped | Opening::Own => return (end, true),
        }
        (last, blank, at, end) = (opening, false, next, next);
    }
    (end, at < bytes.len())
}

fn is_traceback(line: &[u8]) -> bool {
    static TRACEBACK: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("Traceback (most recent"));
    TRACEBACK.find(&line[..line.len().min(256)]).is_some()
}

/// Where the statement begins that holds `at`. Nothing before `floor` belongs to it.
pub(super) fn statement_begin(bytes: &[u8], at: usize, floor: usize, limit: usize) -> usize {
    let opening = |begin: usize| {
        let line = &bytes[begin..bytes.len().min(begin + 256)];
        of(&line[..line_end(line, 0)])
    };
    let own = line_begin(bytes, at).max(floor);
    let mut begin = own;
    // Back to a line that cannot be but the first of its statement, and from there forwards again.
    while begin > floor && own - begin < limit {
        let before = line_begin(bytes, begin - 1).max(floor);
        match opening(begin) {
            Opening::Stamped | Opening::Own => break,
            Opening::Object if opening(before) == Opening::Object => break,
            Opening::Object | Opening::GoesOn | Opening::Blank | Opening::Plain => begin = before,
        }
    }
    while begin < own {
        let (end, sure) = statement_end(bytes, begin, limit);
        if end > own || !sure {
            break;
        }
        begin = end;
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(log: &str) -> Vec<&str> {
        let (mut begin, mut all) = (0, Vec::new());
        while begin < log.len() {
            let (end, _) = statement_end(log.as_bytes(), begin, 1 << 20);
            all.push(&log[begin..end]);
            for at in begin..end {
                let from = statement_begin(log.as_bytes(), at, 0, 1 << 16);
                assert_eq!(from, begin, "{at} in {log:?}");
            }
            begin = end;
        }
        all
    }

    #[test]
    fn a_stamped_statement_takes_the_lines_behind_it_up_to_the_next() {
        let log = "2026-03-02 04:05:06 ERROR one\nplain\n  at x\n\nTimestamp: 2026-03-02 04:05:06Z\n2026-03-02 04:05:07 two\n";
        assert_eq!(statements(log).len(), 2);
        assert_eq!(statements("DM.EnterpriseGateway Error: 0 : 2026-03-02T04:05:06Z x\r\nInnerType=a\r\nDM.EnterpriseGateway Verbose: 0 : 2026-03-02T04:05:06Z y\r\n").len(), 2);
        assert_eq!(statements("Mar  2 04:05:06 host app: a\nMar  2 04:05:06 host app: b\n").len(), 2);
    }

    #[test]
    fn lines_without_a_time_are_statements_save_those_that_go_on() {
        assert_eq!(statements("one\ntwo\n").len(), 2);
        assert_eq!(statements("one\n\tmore\nTrace ID: x\ntwo\n").len(), 2);
        assert_eq!(
            statements(
                "Traceback (most recent call last):\n  File \"x\"\na.b.Error: wrong\na.b.Error: other\n"
            )
            .len(),
            2
        );
        assert_eq!(statements("{\"a\":1}\n{\"a\":2}\n").len(), 2);
    }
}
