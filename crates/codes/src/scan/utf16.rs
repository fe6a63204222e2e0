//! UTF-16 to UTF-8, piece by piece. What Windows writes is nearly all ASCII: whole runs of that are packed at once.

/// Code units that are packed at once.
const RUN: usize = 64;

pub(super) struct Utf16 {
    big_endian: bool,
    /// The beginning of a character whose end is on its way: up to three bytes.
    torn: Vec<u8>,
    begun: bool,
}

impl Utf16 {
    pub(super) fn new(big_endian: bool) -> Self {
        Self { big_endian, torn: Vec::new(), begun: false }
    }

    /// Appends what the block says. A character that is none becomes U+FFFD.
    pub(super) fn decode(&mut self, block: &[u8], text: &mut Vec<u8>) {
        let mut rest = block;
        while !self.torn.is_empty() {
            let Some((byte, after)) = rest.split_first() else { return };
            self.torn.push(*byte);
            rest = after;
            let mut torn = std::mem::take(&mut self.torn);
            torn.drain(..self.characters(&torn, text));
            self.torn = torn;
        }
        text.reserve(rest.len() / 2 + RUN);
        let mut slow = 0;
        while rest.len() >= 2 * RUN {
            let (run, after) = rest.split_at(2 * RUN);
            if slow == 0 && if self.big_endian { ascii::<true>(run, text) } else { ascii::<false>(run, text) }
            {
                (rest, self.begun) = (after, true);
                continue;
            }
            rest = &rest[self.characters(run, text)..];
            // Text that is not ASCII is seldom alone.
            slow = if slow == 0 { 4 } else { slow - 1 };
        }
        let done = self.characters(rest, text);
        self.torn.extend_from_slice(&rest[done..]);
    }

    /// The input has ended: half a character is none.
    pub(super) fn finish(&mut self, text: &mut Vec<u8>) {
        if !std::mem::take(&mut self.torn).is_empty() {
            text.extend_from_slice("\u{fffd}".as_bytes());
        }
    }

    fn unit(&self, bytes: &[u8], at: usize) -> u16 {
        let pair = [bytes[2 * at], bytes[2 * at + 1]];
        if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    }

    /// Appends all characters that are there whole; how many bytes they took.
    fn characters(&mut self, bytes: &[u8], text: &mut Vec<u8>) -> usize {
        let mut units = bytes.len() / 2;
        if units > 0 && self.unit(bytes, units - 1) & 0xfc00 == 0xd800 {
            units -= 1;
        }
        let decoded = char::decode_utf16((0..units).map(|at| self.unit(bytes, at)));
        let mut begun = self.begun;
        for character in decoded {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            if begun || character != '\u{feff}' {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            begun = true;
        }
        self.begun = begun;
        2 * units
    }
}

/// Packs a run that is all ASCII; `false` where it is not. Written so that the compiler makes vectors of it.
fn ascii<const BIG_ENDIAN: bool>(run: &[u8], text: &mut Vec<u8>) -> bool {
    let Some(run) = run.as_chunks::<{ 2 * RUN }>().0.first() else { return false };
    let (mut all, mut packed) = (0_u16, [0_u8; RUN]);
    for (pair, byte) in run.as_chunks::<2>().0.iter().zip(&mut packed) {
        let unit = if BIG_ENDIAN { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
        all |= unit;
        *byte = unit.to_le_bytes()[0];
    }
    let ascii = all < 0x80;
    if ascii {
        text.extend_from_slice(&packed);
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_gives_the_same_text() {
        let mut units: Vec<u16> =
            "\u{feff}plain, and then ünïcödé 𝄞𝄞𝄞 text 𝄞".repeat(5).encode_utf16().collect();
        units.extend([0xd834, 0x41, 0xdd1e, 0xd834, 0xd834, 0xdd1e]);
        // Halves of characters in a row, at the end of every run and piece.
        units.extend([0xd834; 300]);
        units.extend("and a long run of nothing but ASCII, for the packing to do".encode_utf16());
        let expected = String::from_utf16_lossy(&units[1..]);
        for big_endian in [false, true] {
            let bytes: Vec<u8> = units
                .iter()
                .flat_map(|unit| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect();
            for size in [1, 2, 3, 5, 63, 64, 65, 1000] {
                let (mut decoder, mut text) = (Utf16::new(big_endian), Vec::new());
                for block in bytes.chunks(size) {
                    decoder.decode(block, &mut text);
                }
                decoder.finish(&mut text);
                assert_eq!(String::from_utf8(text).unwrap(), expected, "{size}");
            }
        }
    }
}
