//! Any bytes, cut anywhere: the same events as in one piece. The first byte says how long a piece is; the corpus is the
//! samples, one or more of each format.
#![no_main]

use keyback_codes::scan::{Event, Scanner};
use libfuzzer_sys::fuzz_target;

/// So much decides the format here, for the pieces to come to more than one.
const SNIFF: usize = 1000;

fn events(bytes: &[u8], piece: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scanner = Scanner::in_pieces_of(piece, SNIFF);
    scanner.feed(bytes, &mut |event| events.push(event));
    scanner.finish(&mut |event| events.push(event));
    events
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let piece = 64 + usize::from(*cut) * 9;
    assert_eq!(events(bytes, piece), events(bytes, usize::MAX), "in pieces of {piece} bytes");
});
