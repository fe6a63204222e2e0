//! The loops that every byte of a log goes through, with the widest vectors that the processor has.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x64};

/// Bytes that are looked at together.
const WIDTH: usize = 64;
/// Bytes of a pattern.
const PATTERN: usize = 3;
/// What has to be there to look for patterns that begin in one width.
const ROOM: usize = WIDTH + PATTERN - 1;

/// Patterns of three bytes, in up to eight groups, each a bit. A place may hold one of a group where each of its bytes
/// has the bit of the group in a table: that is quick to ask for 64 places at once, and nearly as good as the patterns
/// themselves where those of a group are alike.
pub(super) struct Filter {
    /// By the lower and by the upper half of a byte: 16 entries are what every processor looks up at once.
    halves: [[[u8; 16]; 2]; PATTERN],
    /// By the lower six bits of a byte, for AVX-512: half the work.
    sixes: [[u8; 64]; PATTERN],
}

impl Filter {
    pub(super) const fn new() -> Self {
        Self { halves: [[[0; 16]; 2]; PATTERN], sixes: [[0; 64]; PATTERN] }
    }

    /// Adds what stands at `at` in a literal of ASCII.
    pub(super) const fn add(&mut self, group: u8, literal: &[u8], at: usize) {
        let mut which = 0;
        while which < PATTERN {
            let byte = literal[at + which] as usize;
            // A text is filled up with zeros behind its end: no pattern may look like them.
            assert!(byte < 128 && byte & 63 != 0);
            self.halves[which][0][byte & 15] |= 1 << group;
            self.halves[which][1][byte >> 4] |= 1 << group;
            self.sixes[which][byte & 63] |= 1 << group;
            which += 1;
        }
    }

    /// Goes through the places from `from` on that may hold a pattern, for as long as `visit` wants more.
    pub(super) fn each(&self, bytes: &[u8], from: usize, visit: impl FnMut(usize) -> bool) {
        self.walk::<false>(bytes, from, visit);
    }

    /// The same, and counts line breaks on the way: up to where they are counted, and how many there are from `from`
    /// to there. One pass for both costs hardly more than one of them.
    pub(super) fn each_counting(
        &self,
        bytes: &[u8],
        from: usize,
        visit: impl FnMut(usize) -> bool,
    ) -> (usize, u64) {
        self.walk::<true>(bytes, from, visit)
    }

    fn walk<const COUNT: bool>(
        &self,
        bytes: &[u8],
        from: usize,
        visit: impl FnMut(usize) -> bool,
    ) -> (usize, u64) {
        let level = Level::new();
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let Some(simd) = level.as_avx512() {
            return dispatch!(simd.level(), simd => walk::<_, COUNT>(simd, bytes, from, visit, by_sixes(simd, &self.sixes)));
        }
        dispatch!(level, simd => walk::<_, COUNT>(simd, bytes, from, visit, by_halves(simd, &self.halves)))
    }
}

#[expect(clippy::inline_always, reason = "what is not inlined into its dispatch is built without vectors")]
#[inline(always)]
fn walk<S: Simd, const COUNT: bool>(
    simd: S,
    bytes: &[u8],
    from: usize,
    mut visit: impl FnMut(usize) -> bool,
    places: impl Fn(&[u8; ROOM]) -> u64,
) -> (usize, u64) {
    let (mut at, mut breaks) = (from, 0);
    while let Some(room) = bytes[at..].first_chunk() {
        if !visit_all(places(room), at, &mut visit) {
            return (at, breaks);
        }
        if COUNT {
            breaks +=
                u64::from(u8x64::from_slice(simd, &room[..WIDTH]).simd_eq(b'\n').to_bitmask().count_ones());
        }
        at += WIDTH;
    }
    let (mut room, rest) = ([0; 2 * WIDTH + PATTERN], &bytes[at..]);
    room[..rest.len()].copy_from_slice(rest);
    for (width, room) in room.windows(ROOM).step_by(WIDTH).filter_map(<[u8]>::first_chunk).enumerate() {
        if !visit_all(places(room), at + width * WIDTH, &mut visit) {
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

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn by_sixes<S: Simd>(simd: S, tables: &[[u8; 64]; PATTERN]) -> impl Fn(&[u8; ROOM]) -> u64 {
    let tables = [0, 1, 2].map(
        #[inline(always)]
        |which: usize| u8x64::from_slice(simd, &tables[which]),
    );
    #[inline(always)]
    move |room| {
        let mut groups = u8x64::splat(simd, 0xff);
        for which in 0..PATTERN {
            groups &= tables[which].swizzle_dyn(u8x64::from_slice(simd, &room[which..which + WIDTH]) & 63);
        }
        groups.simd_ne(0).to_bitmask()
    }
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn by_halves<S: Simd>(simd: S, tables: &[[[u8; 16]; 2]; PATTERN]) -> impl Fn(&[u8; ROOM]) -> u64 {
    let tables = [0, 1, 2].map(
        #[inline(always)]
        |which: usize| {
            [0, 1].map(
                #[inline(always)]
                |half: usize| u8x64::block_splat(tables[which][half].simd_into(simd)),
            )
        },
    );
    #[inline(always)]
    move |room| {
        let mut groups = u8x64::splat(simd, 0xff);
        for which in 0..PATTERN {
            let here = u8x64::from_slice(simd, &room[which..which + WIDTH]);
            groups &= tables[which][0].swizzle_dyn_within_blocks(here & 15)
                & tables[which][1].swizzle_dyn_within_blocks(here >> 4);
        }
        groups.simd_ne(0).to_bitmask()
    }
}

/// How many line breaks there are.
pub(super) fn line_breaks(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is visited, and what is counted.
    fn walked(
        filter: &Filter,
        level: Level,
        sixes: bool,
        bytes: &[u8],
        from: usize,
    ) -> (Vec<usize>, usize, u64) {
        let mut places = Vec::new();
        let visit = |place| {
            places.push(place);
            true
        };
        let (to, breaks) = if sixes {
            dispatch!(level, simd => walk::<_, true>(simd, bytes, from, visit, by_sixes(simd, &filter.sixes)))
        } else {
            dispatch!(level, simd => walk::<_, true>(simd, bytes, from, visit, by_halves(simd, &filter.halves)))
        };
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
                    for (level, sixes) in [
                        (Level::new(), true),
                        (Level::new(), false),
                        (Level::baseline(), true),
                        (Level::baseline(), false),
                    ] {
                        let found = walked(&filter, level, sixes, &bytes, from);
                        assert_eq!(found, expected, "{level:?} {sixes} {length} {place} {from}");
                    }
                }
            }
        }
    }
}
