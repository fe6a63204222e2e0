//! `keyback scan` on Windows event logs. They are written here, as [MS-EVEN6] 2.2.3 and the description of libevtx have
//! it: a file header and a chunk of 64 KiB, whose records fill in a template of BinXML that the first of them defines.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const HEADER: usize = 4096;
const CHUNK: usize = 65_536;
const FIRST_RECORD: usize = 512;
/// 2026-03-02T04:05:06Z in units of 100 ns since 1601.
const TIME: u64 = 134_168_979_060_000_000;
/// Of the template; its first four bytes are the template's id.
const GUID: [u8; 16] = *b"\x7e\x6b\x61\x63keyback test";
// What a template is filled with: a text, an unsigned number of 16 bits, a time.
const TEXT: u8 = 0x01;
const NUMBER: u8 = 0x06;
const INSTANT: u8 = 0x11;

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("it fits into 16 bits").to_le_bytes()
}

fn long(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("it fits into 32 bits").to_le_bytes()
}

fn crc(parts: &[&[u8]]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum().to_le_bytes()
}

struct Record {
    provider: &'static str,
    id: u16,
    data: &'static str,
}

/// A chunk while it is written.
struct Chunk {
    bytes: Vec<u8>,
    /// Where each name stands that was written.
    names: HashMap<&'static str, usize>,
    template: Option<usize>,
    /// Where the records begin.
    records: Vec<usize>,
}

impl Chunk {
    fn of(records: &[Record], first: usize) -> Self {
        let mut chunk =
            Self { bytes: vec![0; FIRST_RECORD], names: HashMap::new(), template: None, records: Vec::new() };
        for (at, record) in records.iter().enumerate() {
            chunk.record(record, first + at);
        }
        chunk.finish(first);
        chunk
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn put_at(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Room for a length; `close` fills it in.
    fn open(&mut self) -> usize {
        self.put(&[0; 4]);
        self.bytes.len()
    }

    fn close(&mut self, begin: usize) {
        let length = long(self.bytes.len() - begin);
        self.put_at(begin - 4, &length);
    }

    /// The place of a name; the name itself where it is new, at the head of the list of those with a like hash.
    fn name(&mut self, name: &'static str) {
        if let Some(at) = self.names.get(name) {
            return self.put(&long(*at));
        }
        let at = self.bytes.len() + 4;
        let hash = name
            .encode_utf16()
            .fold(0_u32, |hash, unit| hash.wrapping_mul(65_599).wrapping_add(u32::from(unit)));
        let bucket = 128 + 4 * (hash as usize % 64);
        let next = self.bytes[bucket..bucket + 4].to_vec();
        self.put(&long(at));
        self.put(&next);
        self.put(&hash.to_le_bytes()[..2]);
        self.put(&short(name.len()));
        self.put(&wide(name));
        self.put(&[0; 2]);
        self.put_at(bucket, &long(at));
        self.names.insert(name, at);
    }

    /// An element of a template, with an attribute or without; what it holds is written by `inside`.
    fn element(
        &mut self,
        name: &'static str,
        attribute: Option<(&'static str, &[u8])>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.put(&[if attribute.is_some() { 0x41 } else { 0x01 }, 0xff, 0xff]);
        let begin = self.open();
        self.name(name);
        if let Some((name, value)) = attribute {
            let list = self.open();
            self.put(&[0x06]);
            self.name(name);
            self.put(value);
            self.close(list);
        }
        self.put(&[0x02]);
        inside(self);
        self.put(&[0x04]);
        self.close(begin);
    }

    fn substitution(which: u8, kind: u8) -> [u8; 4] {
        [0x0d, which, 0, kind]
    }

    fn template(&mut self) {
        const SCHEMA: &str = "http://schemas.microsoft.com/win/2004/08/events/event";
        let schema = [&[0x05, 0x01][..], &short(SCHEMA.len()), &wide(SCHEMA)].concat();
        let leaf = |which, kind| move |chunk: &mut Self| chunk.put(&Self::substitution(which, kind));
        self.put(&[0x0f, 1, 1, 0]);
        self.element("Event", Some(("xmlns", &schema)), |chunk| {
            chunk.element("System", None, |chunk| {
                chunk.element("Provider", Some(("Name", &Self::substitution(0, TEXT))), |_| ());
                chunk.element("EventID", None, leaf(1, NUMBER));
                let time = Self::substitution(2, INSTANT);
                chunk.element("TimeCreated", Some(("SystemTime", &time)), |_| ());
                chunk.element("Computer", None, leaf(3, TEXT));
            });
            chunk.element("EventData", None, |chunk| chunk.element("Data", None, leaf(4, TEXT)));
        });
        self.put(&[0x00]);
    }

    fn record(&mut self, record: &Record, id: usize) {
        let begin = self.bytes.len();
        self.records.push(begin);
        self.put(b"**\0\0");
        self.put(&[0; 4]);
        self.put(&(id as u64).to_le_bytes());
        self.put(&TIME.to_le_bytes());
        self.put(&[0x0f, 1, 1, 0, 0x0c, 1]);
        self.put(&GUID[..4]);
        let known = self.template;
        let at = known.unwrap_or(self.bytes.len() + 4);
        self.put(&long(at));
        if known.is_none() {
            self.template = Some(at);
            self.put(&[0; 4]);
            self.put(&GUID);
            let definition = self.open();
            self.template();
            self.close(definition);
        }
        let values = [
            (TEXT, wide(record.provider)),
            (NUMBER, record.id.to_le_bytes().to_vec()),
            (INSTANT, TIME.to_le_bytes().to_vec()),
            (TEXT, wide("sync01.example.test")),
            (TEXT, wide(record.data)),
        ];
        self.put(&long(values.len()));
        for (kind, value) in &values {
            self.put(&short(value.len()));
            self.put(&[*kind, 0]);
        }
        for (_, value) in &values {
            self.put(value);
        }
        self.put(&[0x00]);
        let length = long(self.bytes.len() + 4 - begin);
        self.put(&length);
        self.put_at(begin + 4, &length);
    }

    fn finish(&mut self, first: usize) {
        let (first, last) = (first as u64, (first + self.records.len() - 1) as u64);
        let free = self.bytes.len();
        self.put_at(0, b"ElfChnk\0");
        for (at, number) in [(8, first), (16, last), (24, first), (32, last)] {
            self.put_at(at, &number.to_le_bytes());
        }
        let (last, checksum) = (self.records[self.records.len() - 1], crc(&[&self.bytes[FIRST_RECORD..]]));
        for (at, number) in [(40, long(128)), (44, long(last)), (48, long(free)), (52, checksum)] {
            self.put_at(at, &number);
        }
        let bucket = 384 + 4 * (GUID[0] as usize % 32);
        self.put_at(bucket, &long(self.template.expect("a record came before")));
        let checksum = crc(&[&self.bytes[..120], &self.bytes[128..FIRST_RECORD]]);
        self.put_at(124, &checksum);
        self.bytes.resize(CHUNK, 0);
    }
}

fn log(chunks: &[Chunk]) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"ElfFile\0");
    put(16, &(chunks.len() as u64 - 1).to_le_bytes());
    put(24, &(chunks.iter().map(|chunk| chunk.records.len()).sum::<usize>() as u64 + 1).to_le_bytes());
    put(32, &long(128));
    put(36, &[1, 0, 3, 0]);
    put(40, &short(HEADER));
    put(42, &short(chunks.len()));
    let checksum = crc(&[&header[..120]]);
    header[124..128].copy_from_slice(&checksum);
    chunks.iter().fold(header, |log, chunk| [log, chunk.bytes.clone()].concat())
}

/// Two chunks: a reset that fails and what the synchronisation says of it; a quoted code, and what is nothing to us.
fn chunks() -> [Chunk; 2] {
    let refused = Record {
        provider: "PasswordResetService",
        id: 33_004,
        data: "TrackingId: 7d13d619-99be-4406-ba60-0c64f37005ae, Reason: Synchronization Engine returned an error \
               hr=80230626, UserPrincipalName: zoë.müller@example.org, Details: für Zoë",
    };
    let engine = Record { provider: "ADSync", id: 6329, data: "An unexpected error has occurred: 駅 🚉" };
    let quoted =
        Record { provider: "Some Program", id: 33_004, data: "it said <AADSTS50126>: wrong & \"over\"" };
    let other = Record { provider: "Outlook", id: 31_001, data: "nothing" };
    [Chunk::of(&[refused, engine], 1), Chunk::of(&[quoted, other], 3)]
}

fn scan(arguments: &[&str], path: &Path) -> Result<(Output, Value)> {
    let output = Command::new(env!("CARGO_BIN_EXE_keyback"))
        .args(["scan", "--json"])
        .args(arguments)
        .arg(path)
        .output()?;
    let document = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output, document))
}

/// `family:code` of every finding, sorted.
fn codes(document: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = document["findings"].as_array().into_iter().flatten();
    let mut all: Vec<String> =
        findings.map(|it| format!("{}:{}", word(&it["family"]), word(&it["code"]))).collect();
    all.sort();
    all
}

/// Does something to a log.
type Damage<'a> = dyn Fn(&mut Vec<u8>) + 'a;

const FIRST: [&str; 3] = ["adsync-event:6329", "adsync-hr:80230626", "writeback-event:33004"];
const ALL: [&str; 4] = ["aadsts:50126", FIRST[0], FIRST[1], FIRST[2]];

#[test]
fn an_event_log_is_read_wherever_it_lies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, packed) = (folder.path().join("Application.evtx"), folder.path().join("Application.evtx.gz"));
    let log = log(&chunks());
    std::fs::write(&path, &log)?;
    let (output, document) = scan(&["--show"], &path)?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(codes(&document), ALL);
    assert_eq!(document["notes"], serde_json::json!([]));
    let refused = document["findings"].as_array().into_iter().flatten().find(|it| it["code"] == "33004");
    let example = &refused.context("33004")?["examples"][0];
    assert_eq!(example["time"], "2026-03-02T04:05:06.0000000Z");
    assert_eq!(example["correlation_id"], "7d13d619-99be-4406-ba60-0c64f37005ae");
    let text = example["text"].as_str().context("a text")?;
    ensure!(text.contains("UserPrincipalName: zoë.müller@example.org, Details: für Zoë"), "{text}");
    let engine = document.to_string();
    ensure!(engine.contains("駅 🚉") && engine.contains("AADSTS50126"), "{engine}");

    // Packed, and on standard input.
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(&packed)?, flate2::Compression::fast());
    gzip.write_all(&log)?;
    gzip.finish()?;
    assert_eq!(codes(&scan(&[], &packed)?.1), ALL);
    let mut piped = Command::new(env!("CARGO_BIN_EXE_keyback"))
        .args(["scan", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    piped.stdin.take().context("stdin")?.write_all(&log)?;
    assert_eq!(codes(&serde_json::from_slice(&piped.wait_with_output()?.stdout)?), ALL);
    Ok(())
}

#[test]
fn what_is_cut_off_or_damaged_is_said_and_the_rest_is_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("Application.evtx");
    let whole = log(&chunks());
    let second = chunks()[0].records[1];
    // What becomes of the log; what is found then, and what is said.
    let cases: [(&Damage<'_>, &[&str], &str); 6] = [
        (&|log| log.truncate(HEADER + CHUNK + 1000), &FIRST, "the event log is cut off: 1 of its parts"),
        (&|log| log.truncate(HEADER + CHUNK - 1), &[], "the event log is cut off: 0 of its parts"),
        (&|log| log[HEADER + CHUNK] = b'X', &FIRST, "1 parts of the event log, of 64 KiB each, are damaged"),
        (
            &|log| log[HEADER + second] = 0,
            &[ALL[0], FIRST[1], FIRST[2]],
            "1 records of the event log are damaged",
        ),
        // The kind of a value in the second record.
        (
            &|log| {
                let at = HEADER + second + 24 + 14 + 4 + 2;
                assert_eq!(log[at], TEXT);
                log[at] = 0x7f;
            },
            &[ALL[0], FIRST[1], FIRST[2]],
            "1 records of the event log are damaged",
        ),
        (&|log| log.truncate(100), &[], "the event log cannot be read: "),
    ];
    for (at, (damage, expected, said)) in cases.into_iter().enumerate() {
        let mut log = whole.clone();
        damage(&mut log);
        std::fs::write(&path, &log)?;
        let (output, document) = scan(&[], &path)?;
        assert_eq!(codes(&document), expected, "case {at}: {document}");
        let notes = document["notes"].to_string();
        ensure!(notes.contains(said), "case {at}: {notes}");
        let unread = document["files"] == 0;
        let code = if unread { 3 } else { i32::from(!expected.is_empty()) };
        assert_eq!(output.status.code(), Some(code), "case {at}");
    }
    // No byte of it brings the scan down or keeps it from ending.
    for at in (0..HEADER + CHUNK).filter(|at| whole[*at] != 0).step_by(97) {
        let mut log = whole.clone();
        log[at] ^= 0xff;
        std::fs::write(&path, &log)?;
        let (output, _) = scan(&[], &path)?;
        ensure!(matches!(output.status.code(), Some(0 | 1 | 3)), "byte {at}: {output:?}");
    }
    Ok(())
}
