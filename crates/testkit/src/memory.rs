//! Looks for a marker in the memory of a running process, as a core file would show it.

use anyhow::{Context, Result};
use memchr::memmem;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where a marker stands.
#[derive(Debug)]
pub struct Found {
    /// The mapping, as /proc/PID/maps names it.
    pub region: String,
    /// The address.
    pub at: u64,
    /// UTF-8 or UTF-16.
    pub form: &'static str,
    /// What stands around it.
    pub around: String,
}

/// Read at once; overlapping by more than any marker.
const CHUNK: u64 = 1 << 20;
const OVERLAP: u64 = 256;

/// Every place where `marker` stands in what the process can read, in UTF-8 and UTF-16LE, and how many bytes were read. The
/// process must be a child of this one, or this one root.
pub fn find(pid: u32, marker: &str) -> Result<(Vec<Found>, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).context("the process is gone")?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let wide: Vec<u8> = marker.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let forms = [("UTF-8", memmem::Finder::new(marker.as_bytes())), ("UTF-16", memmem::Finder::new(&wide))];
    let (mut found, mut looked_at) = (Vec::new(), 0);
    for region in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|may| may.starts_with('r'))) {
        let range = region.split(' ').next().and_then(|range| range.split_once('-')).context("maps")?;
        let (mut at, end) = (u64::from_str_radix(range.0, 16)?, u64::from_str_radix(range.1, 16)?);
        while at < end {
            let mut bytes = vec![0; usize::try_from((end - at).min(CHUNK + OVERLAP))?];
            let Ok(()) = memory.read_exact_at(&mut bytes, at) else { break }; // the kernel's own pages
            for (form, finder) in &forms {
                for offset in finder.find_iter(&bytes).take_while(|offset| *offset < 1 << 20) {
                    let from = offset.saturating_sub(96);
                    let around = &bytes[from..bytes.len().min(offset + 96)];
                    found.push(Found {
                        region: region.to_owned(),
                        at: at + u64::try_from(offset)?,
                        form,
                        around: around.escape_ascii().to_string(),
                    });
                }
            }
            looked_at += CHUNK.min(end - at);
            at += CHUNK;
        }
    }
    Ok((found, looked_at))
}
