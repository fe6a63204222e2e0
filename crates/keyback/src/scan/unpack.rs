//! Streams, packed or not: gzip, Zstandard and zip in each other, and Windows event logs. Bounded in depth, in what one
//! file may unpack to, and in memory, whatever a hostile file says of itself.

use super::inputs::Watcher;
use flate2::read::MultiGzDecoder;
use keyback_codes::scan::Scanner;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Bytes that are read at once.
const BLOCK: usize = 256 * 1024;
/// Where blocks begin in memory: an unaligned copy out of the page cache takes twice as long (measured).
const ALIGN: usize = 4096;
/// Packed inside packed: no deeper.
const NESTED: usize = 4;
/// What one file may unpack to, however well it is packed.
const MOST_UNPACKED: u64 = 64 << 30;
/// So much may be unpacked before it must stay in proportion to what was packed.
const UNSUSPECTED: u64 = 256 << 20;
/// Logs that repeat themselves reach some hundreds.
const HIGHEST_RATIO: u64 = 400;
/// What a Zstandard frame may ask to keep in memory: `zstd -19` asks for 8 MiB.
const WIDEST_WINDOW: u64 = 16 << 20;
/// An archive or event log that does not lie in a file is held in memory, up to here.
const HELD: u64 = 12 << 20;
/// What a Windows event log begins with.
pub const EVTX: &[u8] = b"ElfFile\0";
/// The list of an archive's entries is archive in memory, several times as long as it is on disk.
const LONGEST_DIRECTORY: u64 = 4 << 20;

/// What a file may still unpack to.
pub struct Budget {
    packed: Rc<Cell<u64>>,
    unpacked: u64,
}

impl Budget {
    /// For a file of this length.
    pub fn of_file(length: u64) -> Self {
        Self { packed: Rc::new(Cell::new(length)), unpacked: 0 }
    }

    /// For a stream whose length shows only as it is read.
    pub fn of_stream() -> Self {
        Self::of_file(0)
    }

    fn spend(&mut self, bytes: u64) -> bool {
        self.unpacked += bytes;
        !self.is_spent()
    }

    fn is_spent(&self) -> bool {
        let most = self.packed.get().saturating_mul(HIGHEST_RATIO).max(UNSUSPECTED);
        self.unpacked > most.min(MOST_UNPACKED)
    }
}

/// Counts what is read from a stream of unknown length.
struct Counted<R> {
    inner: R,
    packed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(block)?;
        self.packed.set(self.packed.get() + read as u64);
        Ok(read)
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a reader of a foreign format: one that panics on a hostile file costs that file and no other.
pub fn guarded(name: &str, watcher: &mut dyn Watcher, read: impl FnOnce(&mut dyn Watcher)) {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    GUARDED.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| read(watcher)));
    GUARDED.set(false);
    if ended.is_err() {
        watcher.note(name, "is damaged in a way that its reader does not survive: read up to there");
    }
}

/// Scans what comes in on a stream; unpacks it first where it is packed.
pub fn scan_stream(
    stream: Box<dyn Read + '_>,
    name: &str,
    depth: usize,
    budget: &mut Budget,
    watcher: &mut dyn Watcher,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(4096, stream);
    let head = stream.fill_buf()?;
    let evtx = head.starts_with(EVTX);
    let head = head.get(..4).map(<[u8]>::to_vec).unwrap_or_default();
    // From here on blocks as long as its buffer or longer pass it by.
    let mut whole: Box<dyn Read + '_> = Box::new(stream);
    let (gzip, zip) = (head.starts_with(&[0x1f, 0x8b]), head.starts_with(b"PK\x03\x04"));
    let zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || head.try_into().is_ok_and(is_skippable);
    if !(gzip || zip || zstd || evtx) {
        return read_plain(whole, name, depth > 0, budget, watcher);
    }
    if depth >= NESTED && !evtx {
        watcher.note(name, &format!("is packed more than {NESTED} times: left out"));
        return Ok(());
    }
    if depth == 0 && budget.packed.get() == 0 {
        whole = Box::new(Counted { inner: whole, packed: Rc::clone(&budget.packed) });
    }
    if zip || evtx {
        // Both are read in leaps.
        let mut bytes = Vec::new();
        whole.take(HELD + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > HELD {
            let what = if zip { "a zip archive" } else { "an event log" };
            watcher.note(
                name,
                &format!("is {what} of more than 12 MiB that does not lie in a file: unpack it first"),
            );
            return Ok(());
        }
        if depth > 0 {
            budget.spend(bytes.len() as u64);
        }
        let bytes = Cursor::new(bytes);
        guarded(name, watcher, |watcher| {
            if zip {
                scan_zip(bytes, name, depth, budget, watcher);
            } else {
                scan_evtx(bytes, name, watcher);
            }
        });
        return Ok(());
    }
    let packed = BufReader::with_capacity(BLOCK, whole);
    let unpacked: Box<dyn Read + '_> =
        if gzip { Box::new(MultiGzDecoder::new(packed)) } else { Box::new(Frames::new(packed)) };
    let mut ended = Ok(());
    guarded(name, watcher, |watcher| {
        ended = scan_stream(unpacked, name, depth + 1, budget, watcher);
    });
    if depth == 0 {
        watcher.progress(budget.packed.get());
    }
    ended
}

fn read_plain(
    mut stream: Box<dyn Read + '_>,
    name: &str,
    unpacking: bool,
    budget: &mut Budget,
    watcher: &mut dyn Watcher,
) -> io::Result<()> {
    let mut scanner = Scanner::new();
    let mut room = vec![0; BLOCK + ALIGN];
    let begin = room.as_ptr().align_offset(ALIGN).min(ALIGN);
    let block = &mut room[begin..begin + BLOCK];
    let mut total: u64 = 0;
    let mut ended = Ok(());
    loop {
        match stream.read(block) {
            Ok(0) => break,
            Ok(read) => {
                total += read as u64;
                scanner.feed(&block[..read], &mut |event| watcher.event(name, event));
                if !unpacking {
                    watcher.progress(read as u64);
                } else if !budget.spend(read as u64) {
                    let (mib, packed) = (budget.unpacked >> 20, budget.packed.get());
                    watcher.note(
                        name,
                        &format!("unpacks to more than {mib} MiB from {packed} bytes: read no further"),
                    );
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                ended = Err(io::Error::other(format!("it breaks off after {total} bytes: {error}")));
                break;
            }
        }
    }
    scanner.finish(&mut |event| watcher.event(name, event));
    for note in scanner.notes() {
        watcher.note(name, note);
    }
    if ended.is_ok() || total > 0 {
        watcher.looked();
    }
    ended
}

/// Scans every entry of a zip archive. An entry's name is a label and never a path: nothing is written anywhere.
pub fn scan_zip(
    mut file: impl Read + Seek,
    name: &str,
    depth: usize,
    budget: &mut Budget,
    watcher: &mut dyn Watcher,
) {
    if let Some(note) = long_directory(&mut file) {
        return watcher.note(name, &note);
    }
    let mut archive = match zip::ZipArchive::new(BufReader::new(file)) {
        Ok(archive) => archive,
        Err(error) => return watcher.note(name, &format!("the archive cannot be read: {error}")),
    };
    for index in 0..archive.len() {
        if budget.is_spent() {
            let left = archive.len() - index;
            return watcher.note(name, &format!("{left} of its entries were not read"));
        }
        let entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error) => {
                watcher.note(name, &format!("entry {index} cannot be read: {error}"));
                continue;
            }
        };
        if entry.is_dir() {
            continue;
        }
        let label =
            entry.name().map_or_else(|_| format!("{name}!{index}"), |inner| format!("{name}!{inner}"));
        if let Err(error) = scan_stream(Box::new(entry), &label, depth + 1, budget, watcher) {
            watcher.note(&label, &format!("cannot be read: {error}"));
        }
    }
}

/// Why an archive's list of entries does not fit into memory, read off its last record.
fn long_directory(file: &mut (impl Read + Seek)) -> Option<String> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(end.saturating_sub(66_000))).ok()?;
    let mut tail = Vec::new();
    file.take(66_000).read_to_end(&mut tail).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    let number = |at: usize, length: usize| {
        let bytes = tail.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)))
    };
    let last = |mark: &[u8]| tail.windows(4).rposition(|bytes| bytes == mark);
    let short = last(b"PK\x05\x06").and_then(|at| number(at + 12, 4)).filter(|length| *length != 0xffff_ffff);
    let length = short.or_else(|| last(b"PK\x06\x06").and_then(|at| number(at + 40, 8)))?;
    (length > LONGEST_DIRECTORY)
        .then(|| format!("the archive's list of entries is {length} bytes long: unpack it first"))
}

/// How much of an event log is missing at its end, by what its header says and by how long it is.
fn cut_off(file: &mut (impl Read + Seek)) -> Option<String> {
    const HEADER: u64 = 4096;
    const CHUNK: u64 = 65_536;
    let mut header = [0; 44];
    file.read_exact(&mut header).ok()?;
    let there = file.seek(SeekFrom::End(0)).ok()?.checked_sub(HEADER)?;
    file.seek(SeekFrom::Start(0)).ok()?;
    let (written, whole) = (u64::from(u16::from_le_bytes([header[42], header[43]])), there / CHUNK);
    (whole < written || there % CHUNK != 0)
        .then(|| format!("the event log is cut off: {whole} of its parts, of 64 KiB each, are here whole"))
}

/// Scans a Windows event log, as the XML that its records stand for.
pub fn scan_evtx(mut file: impl Read + Seek, name: &str, watcher: &mut dyn Watcher) {
    let cut_off = cut_off(&mut file);
    let mut parser = match evtx::EvtxParser::from_read_seek(file) {
        Ok(parser) => parser.with_configuration(evtx::ParserSettings::default().num_threads(1).indent(false)),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            return watcher.note(name, &format!("the event log cannot be read: {cause}"));
        }
    };
    let mut scanner = Scanner::new();
    let (mut records, mut chunks) = (0_u32, 0_u32);
    for record in parser.records() {
        match record {
            Ok(record) => scanner.feed(record.data.as_bytes(), &mut |event| watcher.event(name, event)),
            Err(evtx::err::EvtxError::FailedToParseChunk { .. }) => chunks += 1,
            Err(_) => records += 1,
        }
    }
    scanner.finish(&mut |event| watcher.event(name, event));
    for note in scanner.notes() {
        watcher.note(name, note);
    }
    if let Some(cut_off) = cut_off {
        watcher.note(name, &cut_off);
    }
    if chunks > 0 {
        let note = format!("{chunks} parts of the event log, of 64 KiB each, are damaged and were left out");
        watcher.note(name, &note);
    }
    if records > 0 {
        watcher.note(name, &format!("{records} records of the event log are damaged and were left out"));
    }
    watcher.looked();
}

/// Zstandard: one frame after the other, as `zstd -T0`, `pzstd` and `cat` write them.
struct Frames<R: Read> {
    state: State<R>,
}

enum State<R: Read> {
    Between(R),
    Inside(Box<StreamingDecoder<Frame<R>, FrameDecoder>>),
    Ended,
}

/// A frame's first four bytes, which had to be looked at, and the rest.
type Frame<R> = io::Chain<Cursor<[u8; 4]>, R>;

/// A frame that holds something for others than us.
fn is_skippable(magic: [u8; 4]) -> bool {
    (0x184d_2a50..=0x184d_2a5f).contains(&u32::from_le_bytes(magic))
}

impl<R: Read> Frames<R> {
    fn new(packed: R) -> Self {
        Self { state: State::Between(packed) }
    }

    /// The next frame that holds something.
    fn next(mut packed: R) -> io::Result<State<R>> {
        loop {
            let mut magic = [0; 4];
            if packed.read(&mut magic[..1])? == 0 {
                return Ok(State::Ended);
            }
            packed.read_exact(&mut magic[1..])?;
            if !is_skippable(magic) {
                let decoder = StreamingDecoder::new_with_max_window_size(
                    Cursor::new(magic).chain(packed),
                    WIDEST_WINDOW,
                )
                .map_err(|error| io::Error::other(error.to_string()))?;
                return Ok(State::Inside(Box::new(decoder)));
            }
            let mut length = [0; 4];
            packed.read_exact(&mut length)?;
            io::copy(&mut packed.by_ref().take(u64::from(u32::from_le_bytes(length))), &mut io::sink())?;
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        loop {
            // An error leaves it ended.
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(packed) => self.state = Self::next(packed)?,
                State::Inside(mut decoder) => {
                    let read = decoder.read(block)?;
                    if read > 0 || block.is_empty() {
                        self.state = State::Inside(decoder);
                        return Ok(read);
                    }
                    self.state = State::Between(decoder.into_inner().into_inner().1);
                }
            }
        }
    }
}
