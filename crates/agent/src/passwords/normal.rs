//! One form for the many ways to write a word.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Lower case, then the four substitutions that Microsoft documents: 0 is o, 1 is l, $ is s, @ is a. Terms and passwords
/// alike, so that both may be written with either.
/// It may be a password: no copy of it is left behind.
pub(super) fn normalise(text: &str) -> Zeroizing<String> {
    // Lower case has at most three times the bytes; were there less room, growing would leave a copy.
    let mut normal = Zeroizing::new(String::with_capacity(3 * text.len() + 16));
    normal.extend(text.nfc().flat_map(char::to_lowercase).map(plain));
    normal
}

const fn plain(c: char) -> char {
    match c {
        '0' => 'o',
        '1' => 'l',
        '$' => 's',
        '@' => 'a',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_examples_come_out_as_documented() {
        for (text, plain) in [
            ("Bl@nK", "blank"),
            ("p0LL23fb", "poll23fb"),
            ("C0ntos0Blank12", "contosoblankl2"),
            ("ContoS0Bl@nkf9!", "contosoblankf9!"),
            ("ÄRGER", "ärger"),
        ] {
            assert_eq!(normalise(text).as_str(), plain);
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing_more(text in "\\PC{0,40}") {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once);
        }

        #[test]
        fn case_and_substitutions_make_no_difference(word in "[a-z2-9!?-]{1,20}", upper in any::<u32>()) {
            let written: String = word.chars().enumerate().map(|(at, c)| match (c, upper >> (at % 32) & 1) {
                ('o', 1) => '0',
                ('l', 1) => '1',
                ('s', 1) => '$',
                ('a', 1) => '@',
                (c, 1) => c.to_ascii_uppercase(),
                (c, _) => c,
            }).collect();
            prop_assert_eq!(normalise(&written).to_string(), word);
        }

        #[test]
        fn nothing_is_left_that_is_substituted(text in "\\PC{0,40}") {
            prop_assert!(!normalise(&text).contains(['0', '1', '$', '@']));
        }
    }
}
