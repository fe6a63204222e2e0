//! The scanner against samples of every format, whole and cut anywhere.

use keyback_codes::scan::{Event, Scanner};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

fn events(blocks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scanner = Scanner::new();
    for block in blocks {
        scanner.feed(block.as_ref(), &mut |event| events.push(event));
    }
    scanner.finish(&mut |event| events.push(event));
    events
}

fn samples() -> impl Iterator<Item = (String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the samples").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.into_iter().filter(|path| path.extension().is_none_or(|extension| extension != "tsv")).map(|path| {
        (
            path.file_name().expect("a name").to_string_lossy().into_owned(),
            std::fs::read(path).expect("a sample"),
        )
    })
}

type Counted = BTreeMap<(String, String, String), usize>;

#[test]
fn the_samples_hold_what_is_expected_and_nothing_else() {
    let mut expected = Counted::new();
    for line in include_str!("samples/expected.tsv").lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        expected.insert(
            (cells[0].to_owned(), cells[1].to_owned(), cells[2].to_owned()),
            cells[3].parse().unwrap(),
        );
    }
    let mut found = Counted::new();
    for (file, bytes) in samples() {
        for event in events([&bytes]) {
            *found.entry((file.clone(), event.family.to_owned(), event.code)).or_default() += 1;
        }
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|(key, count)| found.get(*key) != Some(*count))
        .map(|(key, count)| (key, count, found.get(key)))
        .collect();
    let decoys: Vec<_> = found.iter().filter(|(key, _)| !expected.contains_key(*key)).collect();
    assert!(missing.is_empty() && decoys.is_empty(), "missing {missing:#?}\ndecoys {decoys:#?}");
    assert_eq!(found.values().sum::<usize>(), 93);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn where_the_blocks_are_cut_changes_nothing(cuts in prop::collection::vec(1_usize..4000, 1..40)) {
        for (file, bytes) in samples() {
            let whole = events([&bytes]);
            let mut blocks = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (block, after) = rest.split_at((*cut).min(rest.len()));
                blocks.push(block);
                rest = after;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(&events(blocks), &whole, "{}", file);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 0_usize..2000) {
        let (left, right) = bytes.split_at(cut.min(bytes.len()));
        let _ = events([left, right]);
    }

    #[test]
    fn no_damage_to_a_sample_makes_it_panic(which in 0_usize..17, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let (_, mut bytes) = samples().nth(which).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = events([&bytes]);
    }
}
