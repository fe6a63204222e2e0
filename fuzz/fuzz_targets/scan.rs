//! Any bytes, cut anywhere: the same events as in one piece. The first byte says where to cut; the corpus is the samples,
//! one or more of each format.
#![no_main]

use keyback_codes::scan::{Event, Scanner};
use libfuzzer_sys::fuzz_target;

fn events<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scanner = Scanner::new();
    for block in blocks {
        scanner.feed(block, &mut |event| events.push(event));
    }
    scanner.finish(&mut |event| events.push(event));
    events
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let whole = events(std::iter::once(bytes));
    let cut = usize::from(*cut).max(1) * 7;
    assert_eq!(events(bytes.chunks(cut)), whole, "cut every {cut} bytes");
});
