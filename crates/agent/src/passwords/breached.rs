//! Passwords that attackers know: the public list of SHA-1 hashes, on the agent's own disk.
//!
//! Two forms, as they are published. One file of lines `HASH:COUNT` (40 hexadecimal digits, how often it was seen),
//! sorted by hash, tens of gigabytes: it is searched by halving and never loaded. Or a folder with a file for each of the
//! first five digits, `21BD1` or `21BD1.txt`, whose lines `REST:COUNT` hold the other 35. SHA-1 of the password's UTF-8.
//!
//! Errors name the list and never the place in it where the password would be: that is a part of its hash.

use super::ListError;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A part of a file that is small enough is read line by line.
const PART: u64 = 4096;
/// More than any line: 40 digits, a colon, a count, CR and LF.
const LINE: usize = 80;
/// The largest file of a range that is read; the published ones have some 40 KiB.
const LARGEST_RANGE: u64 = 16 * 1024 * 1024;
/// Places that are compared before a file is taken for sorted.
const SAMPLES: u64 = 1024;
/// Range files that are looked for before a folder is taken for whole.
const RANGES: u32 = 64;

/// SHA-1 of a password, in capital hexadecimal digits. A key to a list: it is worth the password itself to whoever has
/// the list, so it is shown nowhere.
pub struct PasswordHash(Zeroizing<[u8; 40]>);

#[cfg(test)]
impl PasswordHash {
    pub(super) fn digits(&self) -> String {
        String::from_utf8_lossy(self.0.as_slice()).into_owned()
    }
}

/// The hash of a password.
pub(super) fn hash(password: &str) -> PasswordHash {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut digits = Zeroizing::new([0; 40]);
    for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha1::digest(password.as_bytes())) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    PasswordHash(digits)
}

/// A list of breached passwords.
#[derive(Debug)]
pub struct Breached {
    list: List,
    path: PathBuf,
    at_least: u64,
}

#[derive(Debug)]
enum List {
    File { file: File, length: u64 },
    Folder,
}

/// What a list is, for `keyback check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where.
    pub path: PathBuf,
    /// Bytes of the file; `None` for a folder.
    pub bytes: Option<u64>,
    /// Seen more seldom is let pass.
    pub at_least: u64,
}

/// One line of a list.
struct Line<'a> {
    digits: &'a [u8],
    count: u64,
}

impl<'a> Line<'a> {
    /// `digits` hexadecimal ones, a colon, a number.
    fn parse(line: &'a [u8], digits: usize) -> Option<Self> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (hash, rest) = line.split_at_checked(digits)?;
        let count = std::str::from_utf8(rest.strip_prefix(b":")?).ok()?;
        let count = count.bytes().all(|c| c.is_ascii_digit()).then(|| count.parse().ok())??;
        hash.iter().all(u8::is_ascii_hexdigit).then_some(Self { digits: hash, count })
    }

    fn compare(&self, wanted: &[u8]) -> std::cmp::Ordering {
        self.digits.iter().map(u8::to_ascii_uppercase).cmp(wanted.iter().copied())
    }
}

impl Breached {
    /// Opens a file or folder and looks at some places of it: whether it has the form, is sorted, and whole.
    /// `at_least`: what was seen more seldom is let pass.
    pub fn open(path: &Path, at_least: u64) -> Result<Self, ListError> {
        let failed = |source| ListError::Read { path: path.to_owned(), source };
        let meta = std::fs::metadata(path).map_err(failed)?;
        let list = if meta.is_dir() {
            List::Folder
        } else {
            List::File { file: File::open(path).map_err(failed)?, length: meta.len() }
        };
        let breached = Self { list, path: path.to_owned(), at_least };
        match &breached.list {
            List::File { file, length } => breached.look_over(file, *length)?,
            List::Folder => breached.look_for_holes()?,
        }
        Ok(breached)
    }

    /// What it is.
    pub fn listed(&self) -> Listed {
        let bytes = match self.list {
            List::File { length, .. } => Some(length),
            List::Folder => None,
        };
        Listed { path: self.path.clone(), bytes, at_least: self.at_least }
    }

    /// Whether the list holds the hash, often enough.
    pub fn holds(&self, hash: &PasswordHash) -> Result<bool, ListError> {
        let count = match &self.list {
            List::File { file, length } => self.search(file, *length, hash.0.as_slice()),
            List::Folder => self.search_range(&hash.0),
        };
        // Where the damage is would tell where the password's hash is.
        let damaged = || ListError::Damaged { path: self.path.clone() };
        let count =
            count.map_err(|error| if matches!(error, ListError::Form { .. }) { damaged() } else { error })?;
        Ok(count.is_some_and(|count| count >= self.at_least))
    }

    fn failed(&self, source: io::Error) -> ListError {
        ListError::Read { path: self.path.clone(), source }
    }

    /// Halves the file until a small part is left: 24 reads for 40 GB.
    fn search(&self, file: &File, length: u64, wanted: &[u8]) -> Result<Option<u64>, ListError> {
        let (mut low, mut high) = (0, length); // `low` begins a line; what is wanted begins in low..=high
        while high - low > PART {
            let middle = low + (high - low) / 2;
            let Some((at, line)) = self.line_after(file, middle)?.filter(|(at, _)| *at < high) else {
                high = middle; // no line begins between the two
                continue;
            };
            let line = self.parse(&line, at)?;
            match line.compare(wanted) {
                std::cmp::Ordering::Less => low = at,
                std::cmp::Ordering::Equal => return Ok(Some(line.count)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        let mut part = vec![0; usize::try_from(high - low).unwrap_or(0) + 2 * LINE];
        let read = read_at(file, &mut part, low).map_err(|source| self.failed(source))?;
        if (read as u64) < high - low {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into())); // it was longer when it was opened
        }
        let mut at = low;
        let mut lines = part[..read].split(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next().filter(|_| at <= high) {
            let is_cut_off = lines.peek().is_none() && read == part.len();
            if is_cut_off || line.is_empty() {
                break;
            }
            let parsed = self.parse(line, at)?;
            if parsed.compare(wanted).is_eq() {
                return Ok(Some(parsed.count));
            }
            at += line.len() as u64 + 1;
        }
        Ok(None)
    }

    /// The first whole line that begins after `from` (or at 0), and where.
    fn line_after(&self, file: &File, from: u64) -> Result<Option<(u64, Vec<u8>)>, ListError> {
        let mut bytes = [0; 2 * LINE];
        let read = read_at(file, &mut bytes, from).map_err(|source| self.failed(source))?;
        let bytes = &bytes[..read];
        let skipped = if from == 0 {
            0
        } else {
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None if read <= LINE => return Ok(None), // within the last line
                None => return Err(ListError::Form { path: self.path.clone(), at: from }),
            }
        };
        let line = bytes[skipped..].split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok((!line.is_empty()).then(|| (from + skipped as u64, line.to_vec())))
    }

    fn parse<'a>(&self, line: &'a [u8], at: u64) -> Result<Line<'a>, ListError> {
        Line::parse(line, 40).ok_or_else(|| ListError::Form { path: self.path.clone(), at })
    }

    /// Compares lines all over the file with those before them.
    fn look_over(&self, file: &File, length: u64) -> Result<(), ListError> {
        let mut before: Option<Vec<u8>> = None;
        for sample in 0..SAMPLES {
            let from =
                u64::try_from(u128::from(length) * u128::from(sample) / u128::from(SAMPLES)).unwrap_or(0);
            let Some((at, line)) = self.line_after(file, from)? else {
                if sample == 0 {
                    return Err(ListError::Form { path: self.path.clone(), at: 0 });
                }
                break;
            };
            let digits = self.parse(&line, at)?.digits.to_ascii_uppercase();
            if before.is_some_and(|before| before > digits) {
                return Err(ListError::Unsorted { path: self.path.clone(), at });
            }
            before = Some(digits);
        }
        Ok(())
    }

    fn read_range(&self, prefix: &str) -> Result<Vec<u8>, ListError> {
        let named = |name: String| {
            let path = self.path.join(name);
            match std::fs::metadata(&path) {
                Ok(meta) if meta.len() > LARGEST_RANGE => Err(io::Error::other("a range file is too large")),
                Ok(_) => std::fs::read(&path),
                Err(error) => Err(error),
            }
        };
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let read = match named(format!("{prefix}.txt")) {
            Err(error) if is_missing(&error) => named(prefix.to_owned()),
            read => read,
        };
        read.map_err(|error| {
            if is_missing(&error) {
                ListError::Holes { path: self.path.clone(), missing: 1, asked: 1 }
            } else {
                self.failed(error)
            }
        })
    }

    fn search_range(&self, wanted: &[u8; 40]) -> Result<Option<u64>, ListError> {
        let (prefix, rest) = wanted.split_at(5);
        let bytes = self.read_range(&String::from_utf8_lossy(prefix))?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line =
                Line::parse(line, 35).ok_or_else(|| ListError::Form { path: self.path.clone(), at: 0 })?;
            if line.compare(rest).is_eq() {
                return Ok(Some(line.count));
            }
        }
        Ok(None)
    }

    /// Looks for range files spread over all of them, each by its name.
    fn look_for_holes(&self) -> Result<(), ListError> {
        let step = 0x10_0000 / RANGES;
        let mut missing = 0;
        for range in 0..RANGES {
            let prefix = format!("{:05X}", range * step);
            match self.read_range(&prefix) {
                Ok(bytes) => {
                    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
                    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    if !first.trim_ascii().is_empty() && Line::parse(first, 35).is_none() {
                        return Err(ListError::Form { path: self.path.join(prefix), at: 0 });
                    }
                }
                Err(ListError::Holes { .. }) => missing += 1,
                Err(error) => return Err(error),
            }
        }
        if missing == 0 {
            Ok(())
        } else {
            Err(ListError::Holes { path: self.path.clone(), missing, asked: RANGES as usize })
        }
    }
}

/// As many bytes as there are, up to the buffer's length.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn digits(password: &str) -> String {
        hash(password).digits()
    }

    /// A list of `password-0` …, each seen as often as its number, with these line ends.
    fn list(count: usize, ends: &str) -> String {
        let mut lines: Vec<(String, usize)> =
            (0..count).map(|number| (digits(&format!("password-{number}")), number)).collect();
        lines.sort();
        lines.iter().fold(String::new(), |mut text, (hash, number)| {
            let _ = write!(text, "{hash}:{number}{ends}"); // a String takes everything
            text
        })
    }

    fn opened(text: &str, at_least: u64) -> (tempfile::TempDir, Result<Breached, ListError>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hashes.txt");
        std::fs::write(&path, text).expect("written");
        let breached = Breached::open(&path, at_least);
        (folder, breached)
    }

    #[test]
    fn the_hash_is_that_of_the_published_lists() {
        assert_eq!(digits("password"), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
    }

    #[test]
    fn each_password_of_a_file_is_found_and_no_other() {
        for (count, ends) in [(1, "\n"), (2, "\r\n"), (90, "\n"), (5_000, "\r\n"), (5_000, "\n")] {
            let text = list(count, ends);
            for text in [text.as_str(), text.trim_end()] {
                let (_folder, breached) = opened(text, 0);
                let breached = breached.expect("a list");
                for number in 0..count {
                    let held = breached.holds(&hash(&format!("password-{number}"))).expect("read");
                    assert!(held, "{number} of {count}");
                }
                for number in 0..1_000 {
                    assert!(!breached.holds(&hash(&format!("other-{number}"))).expect("read"), "{number}");
                }
            }
        }
    }

    #[test]
    fn what_was_seen_too_seldom_is_let_pass() {
        let (_folder, breached) = opened(&list(200, "\n"), 100);
        let breached = breached.expect("a list");
        for (number, held) in [(99, false), (100, true), (199, true)] {
            assert_eq!(breached.holds(&hash(&format!("password-{number}"))).expect("read"), held, "{number}");
        }
    }

    #[test]
    fn a_file_that_is_not_sorted_or_not_a_list_is_told() {
        let sorted = list(500, "\n");
        let reversed: Vec<&str> = sorted.lines().rev().collect();
        let (_folder, unsorted) = opened(&reversed.join("\n"), 1);
        assert!(matches!(unsorted, Err(ListError::Unsorted { .. })), "{unsorted:?}");
        for text in ["", "\n", "password\n", "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8\n", &"x".repeat(9_000)]
        {
            let (_folder, bad) = opened(text, 1);
            assert!(matches!(bad, Err(ListError::Form { .. })), "{bad:?}");
        }
        assert!(matches!(Breached::open(Path::new("/nowhere/hashes"), 1), Err(ListError::Read { .. })));
        let damaged =
            sorted.replace(&sorted.lines().nth(250).expect("a line")[10..30], "....................");
        let (_folder, breached) = opened(&damaged, 1);
        let told = breached.map(|breached| {
            (0..500).filter_map(|n| breached.holds(&hash(&format!("password-{n}"))).err()).count()
        });
        assert!(matches!(told, Ok(1..) | Err(ListError::Form { .. })), "{told:?}");
    }

    #[test]
    fn damage_that_was_not_seen_at_first_is_told_without_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hashes.txt");
        let text = list(500, "\n");
        let line = text.lines().nth(250).expect("a line");
        std::fs::write(&path, text.replace(line, &line.replace(':', ";"))).expect("written");
        let file = File::open(&path).expect("a file");
        let list = List::File { file, length: text.len() as u64 };
        let breached = Breached { list, path, at_least: 0 };
        let damaged = |number: &usize| {
            matches!(breached.holds(&hash(&format!("password-{number}"))), Err(ListError::Damaged { .. }))
        };
        let number = line.split(':').nth(1).and_then(|number| number.parse().ok()).expect("a number");
        assert!(damaged(&number), "it may be the one that is looked for");
        assert!((0..500).filter(damaged).count() < 100, "the others are found");
    }

    #[test]
    fn a_file_that_was_cut_off_since_is_no_pass() {
        let (folder, breached) = opened(&list(5_000, "\n"), 0);
        let breached = breached.expect("a list");
        let file = File::options().write(true).open(folder.path().join("hashes.txt")).expect("a file");
        file.set_len(100_000).expect("cut off");
        let passed = |number: &u32| matches!(breached.holds(&hash(&format!("password-{number}"))), Ok(false));
        assert_eq!((0..5_000).filter(passed).count(), 0);
    }

    #[test]
    fn blank_lines_at_the_end_change_nothing() {
        let (_folder, breached) = opened(&format!("{}{}", list(300, "\n"), "\n".repeat(9_000)), 0);
        let breached = breached.expect("a list");
        for number in 0..300 {
            assert!(breached.holds(&hash(&format!("password-{number}"))).expect("read"), "{number}");
        }
        assert!(!breached.holds(&hash("another")).expect("read"));
    }

    /// A whole folder has a million files: here are those that are looked for, and the password's.
    fn ranges(folder: &Path, password: &str, count: u64) {
        for range in 0..RANGES {
            std::fs::write(folder.join(format!("{:05X}.txt", range * (0x10_0000 / RANGES))), "")
                .expect("written");
        }
        let digits = digits(password);
        let text = format!("{}:3\r\n{}:{count}\r\n", "0".repeat(35), &digits[5..]);
        std::fs::write(folder.join(&digits[..5]), text).expect("written");
    }

    #[test]
    fn a_folder_of_ranges_is_searched_by_the_first_five_digits_and_a_hole_is_no_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        ranges(folder.path(), "password", 7);
        let breached = Breached::open(folder.path(), 7).expect("a list");
        assert!(breached.holds(&hash("password")).expect("read"));
        let hole = breached.holds(&hash("another")).expect_err("no file");
        assert!(matches!(hole, ListError::Holes { .. }));
        let told = hole.to_string();
        assert!(!told.contains(&digits("another")[..5]), "a part of the hash: {told}");
        assert!(!Breached::open(folder.path(), 8).expect("a list").holds(&hash("password")).expect("read"));
        std::fs::remove_file(folder.path().join("00000.txt")).expect("removed");
        let holes = Breached::open(folder.path(), 1);
        assert!(matches!(holes, Err(ListError::Holes { missing: 1, asked: 64, .. })), "{holes:?}");
    }
}
