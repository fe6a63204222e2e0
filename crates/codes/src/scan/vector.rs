//! The loop that every byte of a log goes through, with the vectors that the processor has.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x32};

/// Bytes that are looked at together.
const WIDTH: usize = 64;
/// Bytes of a vector: six tables of them stay in the registers of AVX2.
const VECTOR: usize = 32;
/// Bytes of a pattern.
const PATTERN: usize = 3;
/// What has to be there to look for patterns that begin in one width.
const ROOM: usize = WIDTH + PATTERN - 1;

/// Patterns of three bytes, in up to eight groups, each a bit. A place may hold one of a group where both halves of each
/// of its bytes have the group's bit in a table of 16 entries: that is quick to ask for many places at once, and nearly as
/// good as the patterns themselves where those of a group are alike.
pub(super) struct Filter {
    /// For each byte, by its lower and by its upper half.
    tables: [[[u8; 16]; 2]; PATTERN],
}

impl Filter {
    pub(super) const fn new() -> Self {
        Self { tables: [[[0; 16]; 2]; PATTERN] }
    }

    /// Adds what stands at `at` in a literal of ASCII.
    pub(super) const fn add(&mut self, group: u8, literal: &[u8], at: usize) {
        let mut which = 0;
        while which < PATTERN {
            let byte = literal[at + which] as usize;
            // A text is filled up with zeros behind its end: no pattern may look like them.
            assert!(byte >= 16 && byte < 128);
            self.tables[which][0][byte & 15] |= 1 << group;
            self.tables[which][1][byte >> 4] |= 1 << group;
            which += 1;
        }
    }

    /// Goes through the places from `from` on that may hold a pattern, for as long as `visit` wants more.
    pub(super) fn each(&self, bytes: &[u8], from: usize, visit: impl FnMut(usize) -> bool) {
        dispatch!(Level::new(), simd => walk::<_, false>(simd, self, bytes, from, visit));
    }

    /// The same, and counts line breaks on the way: up to where they are counted, and how many there are from `from`
    /// to there. One pass for both costs hardly more than one of them.
    pub(super) fn each_counting(
        &self,
        bytes: &[u8],
        from: usize,
        visit: impl FnMut(usize) -> bool,
    ) -> (usize, u64) {
        dispatch!(Level::new(), simd => walk::<_, true>(simd, self, bytes, from, visit))
    }
}

#[expect(clippy::inline_always, reason = "what is not inlined into its dispatch is built without vectors")]
#[inline(always)]
fn walk<S: Simd, const COUNT: bool>(
    simd: S,
    filter: &Filter,
    bytes: &[u8],
    from: usize,
    mut visit: impl FnMut(usize) -> bool,
) -> (usize, u64) {
    let [first, second, third] = &filter.tables;
    let tables = [tables(simd, first), tables(simd, second), tables(simd, third)];
    let (mut at, mut breaks) = (from, 0);
    while let Some(room) = bytes[at..].first_chunk() {
        if !visit_all(places(simd, &tables, room), at, &mut visit) {
            return (at, breaks);
        }
        if COUNT {
            breaks += u64::from(line_breaks_in(simd, room));
        }
        at += WIDTH;
    }
    let (mut room, rest) = ([0; 2 * WIDTH + PATTERN], &bytes[at..]);
    room[..rest.len()].copy_from_slice(rest);
    for (width, room) in room.windows(ROOM).step_by(WIDTH).filter_map(<[u8]>::first_chunk).enumerate() {
        if !visit_all(places(simd, &tables, room), at + width * WIDTH, &mut visit) {
            return (at, breaks);
        }
    }
    if COUNT {
        breaks += line_breaks(rest);
    }
    (bytes.len(), breaks)
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn visit_all(mut places: u64, at: usize, visit: &mut impl FnMut(usize) -> bool) -> bool {
    while places != 0 {
        if !visit(at + places.trailing_zeros() as usize) {
            return false;
        }
        places &= places - 1;
    }
    true
}

/// The tables of one byte.
type Tables<S> = [u8x32<S>; 2];

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn tables<S: Simd>(simd: S, [low, high]: &[[u8; 16]; 2]) -> Tables<S> {
    [u8x32::block_splat((*low).simd_into(simd)), u8x32::block_splat((*high).simd_into(simd))]
}

/// Where in the first width of `room` a pattern may begin.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn places<S: Simd>(simd: S, tables: &[Tables<S>; PATTERN], room: &[u8; ROOM]) -> u64 {
    let mut places = 0;
    for begin in [0, VECTOR] {
        let mut groups = u8x32::splat(simd, 0xff);
        for which in 0..PATTERN {
            let here = u8x32::from_slice(simd, &room[begin + which..][..VECTOR]);
            let [low, high] = &tables[which];
            groups &= low.swizzle_dyn_within_blocks(here & 15) & high.swizzle_dyn_within_blocks(here >> 4);
        }
        places |= groups.simd_ne(0).to_bitmask() << begin;
    }
    places
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn line_breaks_in<S: Simd>(simd: S, room: &[u8; ROOM]) -> u32 {
    let breaks = |part: &[u8]| u8x32::from_slice(simd, part).simd_eq(b'\n').to_bitmask();
    (breaks(&room[..VECTOR]) | breaks(&room[VECTOR..WIDTH]) << VECTOR).count_ones()
}

/// How many line breaks there are.
pub(super) fn line_breaks(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is visited, and what is counted.
    fn walked(filter: &Filter, level: Level, bytes: &[u8], from: usize) -> (Vec<usize>, usize, u64) {
        let mut places = Vec::new();
        let visit = |place| {
            places.push(place);
            true
        };
        let (to, breaks) = dispatch!(level, simd => walk::<_, true>(simd, filter, bytes, from, visit));
        (places, to, breaks)
    }

    #[test]
    fn every_pattern_is_visited_wherever_it_stands_and_every_line_is_counted() {
        let mut filter = Filter::new();
        filter.add(0, b"AADSTS", 2);
        filter.add(7, b"ldap_", 2);
        for length in [3, 63, 64, 65, 66, 67, 127, 128, 129, 130, 131, 200, 300] {
            for place in 0..length - 2 {
                let mut bytes = vec![b'\n'; length];
                bytes[place..place + 3].copy_from_slice(if place % 2 == 0 { b"DST" } else { b"ap_" });
                for from in [0, 1, place / 2, place].into_iter().filter(|from| *from <= place) {
                    let expected = (vec![place], length, (length - from - 3) as u64);
                    for level in [Level::new(), Level::baseline()] {
                        let found = walked(&filter, level, &bytes, from);
                        assert_eq!(found, expected, "{level:?} {length} {place} {from}");
                    }
                }
            }
        }
    }
}
