//! What is scanned: files, folders and standard input, in order. Whatever cannot be read leaves a note and lets the others
//! go on. How what is packed is unpacked lies in `unpack`.

use super::unpack::{Budget, EVTX, guarded, scan_evtx, scan_stream, scan_zip};
use keyback_codes::scan::Event;
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More files than this are not told apart from their other names: some megabytes of memory at most.
const MOST_NAMES: usize = 200_000;

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

/// All files below the paths, folders in order of their names. Each is scanned before the next is looked for, so that a
/// million of them take no memory.
pub fn scan_paths(paths: &[PathBuf], watcher: &mut dyn Watcher) {
    let mut walk = Walk::default();
    for path in paths {
        walk.enter(path, watcher, &mut scan_file);
    }
}

/// How long all of it is, as far as that can be known beforehand.
pub fn length_of(paths: &[PathBuf]) -> u64 {
    struct Nobody;
    impl Watcher for Nobody {
        fn event(&mut self, _: &str, _: Event) {}
        fn note(&mut self, _: &str, _: &str) {}
        fn progress(&mut self, _: u64) {}
        fn looked(&mut self) {}
    }
    let (mut walk, mut total) = (Walk::default(), 0);
    for path in paths {
        walk.enter(path, &mut Nobody, &mut |_, length, _| total += length);
    }
    total
}

/// What is done with a file.
type Visit<'a> = dyn FnMut(&Path, u64, &mut dyn Watcher) + 'a;

/// Where we have been: a folder that leads back to itself, and a file under two names, are read once.
#[derive(Default)]
struct Walk {
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    fn enter(&mut self, path: &Path, watcher: &mut dyn Watcher, visit: &mut Visit<'_>) {
        let name = path.to_string_lossy();
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) => return watcher.note(&name, &format!("cannot be looked at: {error}")),
        };
        if let Some(what) = special(&found) {
            return watcher.note(&name, &format!("{what}: left out"));
        }
        let id = (found.dev(), found.ino());
        let new = if found.is_dir() || self.seen.len() < MOST_NAMES {
            self.seen.insert(id)
        } else {
            !self.seen.contains(&id)
        };
        if !new {
            return watcher.note(&name, "this was read already, under another name");
        }
        if !found.is_dir() {
            return visit(path, found.len(), watcher);
        }
        let entries = fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|it| it.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = match entries {
            Ok(names) => names,
            Err(error) => return watcher.note(&name, &format!("the folder cannot be read: {error}")),
        };
        names.sort();
        for inside in names {
            self.enter(&path.join(inside), watcher, visit);
        }
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

/// Scans one file, up to the length that it had when it was found.
fn scan_file(path: &Path, length: u64, watcher: &mut dyn Watcher) {
    let name = path.to_string_lossy().into_owned();
    let mut budget = Budget::of_file(length);
    let scanned = File::open(path).and_then(|mut file| {
        let mut head = [0; 8];
        let read = file.read(&mut head)?;
        match &head[..read] {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => {
                let file = File::open(path)?;
                guarded(&name, watcher, |watcher| scan_zip(file, &name, 0, &mut budget, watcher));
                watcher.progress(length);
                Ok(())
            }
            EVTX => {
                let file = File::open(path)?;
                guarded(&name, watcher, |watcher| scan_evtx(file, &name, watcher));
                watcher.progress(length);
                Ok(())
            }
            _ => {
                // A file that grows is read to where it ended when we came.
                let file = Box::new(File::open(path)?.take(length));
                scan_stream(file, &name, 0, &mut budget, watcher)
            }
        }
    });
    if let Err(error) = scanned {
        watcher.note(&name, &format!("cannot be read: {error}"));
    }
}

/// Scans standard input.
pub fn scan_standard_input(watcher: &mut dyn Watcher) {
    let stdin = Box::new(io::stdin().lock());
    if let Err(error) = scan_stream(stdin, "-", 0, &mut Budget::of_stream(), watcher) {
        watcher.note("-", &format!("cannot be read: {error}"));
    }
}
