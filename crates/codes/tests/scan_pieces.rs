//! Where a piece ends in the input changes nothing.

use keyback_codes::scan::{Event, Scanner};
use std::path::Path;

fn events(bytes: &[u8], piece: usize, sniff: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scanner = Scanner::in_pieces_of(piece, sniff);
    scanner.feed(bytes, &mut |event| events.push(event));
    scanner.finish(&mut |event| events.push(event));
    events
}

#[test]
fn samples_in_small_pieces_hold_the_same_events() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    for file in std::fs::read_dir(folder).expect("the samples") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("a sample");
        for sniff in [500, 64 * 1024] {
            let whole = events(&bytes, usize::MAX, sniff);
            for piece in (64..2000).step_by(37).chain([4096, 8192, 16384]) {
                let parts = events(&bytes, piece, sniff);
                assert_eq!(parts, whole, "{} in pieces of {piece} bytes", path.display());
            }
        }
    }
}

/// `record:code` of every event, and the same in small pieces.
#[track_caller]
fn found(log: &str) -> Vec<String> {
    let whole = events(log.as_bytes(), usize::MAX, 500);
    for piece in 64..400 {
        assert_eq!(events(log.as_bytes(), piece, 500), whole, "in pieces of {piece} bytes");
    }
    whole.iter().map(|event| format!("{}:{}", event.record, event.code)).collect()
}

#[test]
fn a_statement_longer_than_a_piece_keeps_its_beginning() {
    let stack = "   at System.Net.Http.HttpConnection.Send()\n".repeat(40);
    let log = format!(
        "2026-03-02 04:05:06 ERROR began\n{stack}AADSTS50126: wrong\n2026-03-02 04:05:07 INFO next\n"
    );
    assert_eq!(found(&log), ["1:50126"]);
}

#[test]
fn a_statement_goes_on_behind_blank_lines_that_end_a_piece() {
    let blank = "\n".repeat(300);
    let log = format!(
        "2026-03-02 04:05:06 ERROR began\n{blank}  at x AADSTS50126: wrong\n2026-03-02 04:05:07 INFO next\n"
    );
    assert_eq!(found(&log), ["1:50126"]);
}

#[test]
fn objects_in_a_row_are_records_of_their_own_whatever_stands_before_them() {
    let log = "2026-03-02 04:05:06 INFO answers\n".to_owned()
        + &"{\"error_codes\":[50126],\"correlation\":\"none\"}\n".repeat(12);
    assert_eq!(found(&log)[..3], ["1:50126", "3:50126", "4:50126"]);
    assert_eq!(found(&log).len(), 12);
}

/// Found by fuzzing: the blank before the first whole word of an excerpt may be more than a byte long.
#[test]
fn an_excerpt_may_begin_behind_any_blank() {
    let text = format!("{}\u{2003}{} AADSTS50126: wrong\n", "x".repeat(40), "y".repeat(100));
    let events = events(text.as_bytes(), usize::MAX, 500);
    assert_eq!(events.len(), 1);
    assert!(events[0].text.starts_with("…yyy"), "{}", events[0].text);
}
