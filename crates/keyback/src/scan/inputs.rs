//! What is scanned: files, folders, archives, standard input. Each input is read to its end, in blocks, and whatever
//! cannot be read leaves a note and lets the others go on.

use flate2::read::MultiGzDecoder;
use keyback_codes::scan::Event;
use keyback_codes::scan::Scanner;
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BLOCK: usize = 256 * 1024;
/// Where blocks begin in memory: an unaligned copy out of the page cache takes twice as long (measured).
const ALIGN: usize = 4096;
/// Archives inside archives: no deeper.
const NESTED: usize = 3;
/// What one archive may unpack to, however well it is packed.
const MOST_UNPACKED: u64 = 64 << 30;
/// From here on, what is unpacked must stay in proportion to what was packed.
const UNSUSPECTED: u64 = 256 << 20;
const HIGHEST_RATIO: u64 = 1000;

/// Told of everything that happens on the way.
pub trait Watcher {
    /// An event in the input of this name.
    fn event(&mut self, input: &str, event: Event);
    /// Something about the input of this name that the reader should know.
    fn note(&mut self, input: &str, note: &str);
    /// So many bytes of a file were read.
    fn progress(&mut self, bytes: u64);
    /// Another input was looked at.
    fn looked(&mut self);
}

/// All files below the paths, folders in order of their names.
pub fn list(paths: &[PathBuf], watcher: &mut dyn Watcher) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for path in paths {
        walk(path, &mut files, &mut seen, watcher);
    }
    files
}

fn walk(
    path: &Path,
    files: &mut Vec<(PathBuf, u64)>,
    seen: &mut HashSet<(u64, u64)>,
    watcher: &mut dyn Watcher,
) {
    let name = path.to_string_lossy();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => return watcher.note(&name, &format!("cannot be looked at: {error}")),
    };
    if !found.is_dir() {
        return match special(&found) {
            Some(what) => watcher.note(&name, &format!("{what}: left out")),
            None => files.push((path.to_owned(), found.len())),
        };
    }
    if !seen.insert((found.dev(), found.ino())) {
        return watcher.note(&name, "this folder was read already, under another name");
    }
    let mut inside = match fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|it| it.path())).collect::<io::Result<Vec<_>>>())
    {
        Ok(inside) => inside,
        Err(error) => return watcher.note(&name, &format!("the folder cannot be read: {error}")),
    };
    inside.sort();
    for path in inside {
        walk(&path, files, seen, watcher);
    }
}

fn special(found: &Metadata) -> Option<&'static str> {
    let kind = found.file_type();
    if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else {
        None
    }
}

/// Scans one file, up to the length that it had when it was listed.
pub fn scan_file(path: &Path, length: u64, watcher: &mut dyn Watcher) {
    let name = path.to_string_lossy().into_owned();
    let scanned = File::open(path).and_then(|mut file| {
        let mut head = [0; 8];
        let read = file.read(&mut head)?;
        match &head[..read] {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => {
                scan_zip(File::open(path)?, &name, watcher);
                Ok(())
            }
            b"ElfFile\0" => {
                scan_evtx(path, &name, length, watcher);
                Ok(())
            }
            _ => {
                // A file that grows is read to where it ended when we came.
                scan_stream(Box::new(File::open(path)?.take(length)), &name, Some(length), 0, watcher)
            }
        }
    });
    if let Err(error) = scanned {
        watcher.note(&name, &format!("cannot be read: {error}"));
    }
}

/// Scans what comes in on a stream; unpacks it first where it is packed.
pub fn scan_stream(
    stream: Box<dyn Read + '_>,
    name: &str,
    packed: Option<u64>,
    depth: usize,
    watcher: &mut dyn Watcher,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(4096, stream);
    let head = stream.fill_buf()?.get(..8).map(<[u8]>::to_vec).unwrap_or_default();
    // From here on blocks as long as its buffer or longer pass it by.
    let whole: Box<dyn Read + '_> = Box::new(stream);
    let unpacked: Box<dyn Read + '_> = match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BLOCK, whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => match ruzstd::decoding::StreamingDecoder::new(whole) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => return Err(io::Error::other(error.to_string())),
        },
        [b'P', b'K', 3, 4, ..] => {
            watcher.note(name, "a zip archive inside another input: unpack it first");
            return Ok(());
        }
        _ => return read_plain(whole, name, packed, depth > 0, watcher),
    };
    if depth >= NESTED {
        watcher.note(name, "packed too many times: left out");
        return Ok(());
    }
    scan_stream(unpacked, name, packed, depth + 1, watcher)
}

fn read_plain(
    mut stream: Box<dyn Read + '_>,
    name: &str,
    packed: Option<u64>,
    unpacking: bool,
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
                watcher.progress(if unpacking { 0 } else { read as u64 });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                ended = Err(io::Error::other(format!("it breaks off after {total} bytes: {error}")));
                break;
            }
        }
        let ratio = packed.filter(|packed| *packed > 0).map_or(0, |packed| total / packed);
        if unpacking && (total > MOST_UNPACKED || (total > UNSUSPECTED && ratio > HIGHEST_RATIO)) {
            watcher.note(
                name,
                &format!(
                    "unpacks to more than {} MiB from {} bytes: read no further",
                    total >> 20,
                    packed.unwrap_or(0)
                ),
            );
            break;
        }
    }
    scanner.finish(&mut |event| watcher.event(name, event));
    for note in scanner.notes() {
        watcher.note(name, note);
    }
    watcher.looked();
    if unpacking {
        watcher.progress(packed.unwrap_or(0));
    }
    ended
}

fn scan_zip(file: File, name: &str, watcher: &mut dyn Watcher) {
    let mut archive = match zip::ZipArchive::new(BufReader::new(file)) {
        Ok(archive) => archive,
        Err(error) => return watcher.note(name, &format!("the archive cannot be read: {error}")),
    };
    for index in 0..archive.len() {
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
        // A label, and never a path: nothing is written anywhere.
        let label =
            format!("{name}!{}", entry.name().unwrap_or_else(|_| "(a name that cannot be read)".into()));
        let packed = entry.compressed_size();
        if let Err(error) = scan_packed(Box::new(entry), &label, packed, watcher) {
            watcher.note(&label, &error.to_string());
        }
    }
}

fn scan_packed(
    entry: Box<dyn Read + '_>,
    label: &str,
    packed: u64,
    watcher: &mut dyn Watcher,
) -> io::Result<()> {
    scan_stream(entry, label, Some(packed.max(1)), 1, watcher)
}

fn scan_evtx(path: &Path, name: &str, length: u64, watcher: &mut dyn Watcher) {
    let mut parser = match evtx::EvtxParser::from_path(path) {
        Ok(parser) => parser.with_configuration(evtx::ParserSettings::default().num_threads(1).indent(false)),
        Err(error) => return watcher.note(name, &format!("the event log cannot be read: {error}")),
    };
    let mut scanner = Scanner::new();
    let mut broken = 0_u32;
    for record in parser.records() {
        match record {
            Ok(record) => scanner.feed(record.data.as_bytes(), &mut |event| watcher.event(name, event)),
            Err(_) => broken += 1,
        }
    }
    scanner.finish(&mut |event| watcher.event(name, event));
    if broken > 0 {
        watcher.note(name, &format!("{broken} records of the event log are damaged"));
    }
    watcher.progress(length);
    watcher.looked();
}
