//! `keyback scan` and `explain` as somebody uses them: the real binary, on samples, on archives and on hostile files.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../codes/tests/samples")
}

fn keyback(arguments: &[&str], path: &Path) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_keyback")).args(arguments).arg(path).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| text(&output.stdout))
}

/// Codes and their counts.
fn counted(output: &Output) -> Result<BTreeMap<String, u64>> {
    let document = json(output)?;
    let findings = document["findings"].as_array().context("findings")?;
    let count = |it: &Value| {
        (
            format!(
                "{}:{}",
                it["family"].as_str().unwrap_or_default(),
                it["code"].as_str().unwrap_or_default()
            ),
            it["count"].as_u64().unwrap_or(0),
        )
    };
    Ok(findings.iter().map(count).collect())
}

#[test]
fn the_samples_folder_gives_every_expected_event_on_a_line_of_its_own() -> Result<()> {
    let output = keyback(&["scan", "--events"], &samples())?;
    ensure!(output.status.code() == Some(1), "{}", text(&output.stderr));
    let mut found = BTreeMap::<(String, String, String), u64>::new();
    for line in text(&output.stdout).lines() {
        let event: Value = serde_json::from_str(line)?;
        let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let file =
            Path::new(&word("file")).file_name().context("a file name")?.to_string_lossy().into_owned();
        if file != "expected.tsv" {
            *found.entry((file, word("family"), word("code"))).or_default() += 1;
        }
    }
    let mut expected = BTreeMap::new();
    for line in std::fs::read_to_string(samples().join("expected.tsv"))?.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        expected.insert((cells[0].to_owned(), cells[1].to_owned(), cells[2].to_owned()), cells[3].parse()?);
    }
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn a_report_adds_up_hides_names_and_follows_a_reset_across_files() -> Result<()> {
    let output = keyback(&["scan", "--json"], &samples())?;
    let document = json(&output)?;
    let all = text(&output.stdout);
    for name in ["cai.lin", "ben.okafor", "ada.devries", "203.0.113."] {
        ensure!(!all.contains(name), "{name} is shown");
    }
    let journeys = document["journeys"].as_array().context("journeys")?;
    ensure!(
        journeys.iter().any(|journey| journey["files"].as_u64() > Some(1)),
        "no reset was followed across files"
    );
    let shown = text(&keyback(&["scan", "--json", "--show"], &samples())?.stdout);
    ensure!(shown.contains("cai.lin@example.org"), "--show hides names");
    let report = text(&keyback(&["scan"], &samples())?.stdout);
    ensure!(!report.contains('\u{1b}'), "colours in a pipe");
    for line in report.lines().filter(|line| !line.contains(" $ ")) {
        ensure!(line.chars().count() <= 80, "too wide: {line}");
    }
    Ok(())
}

#[test]
fn a_page_is_written_that_needs_nothing_else_and_escapes_what_it_shows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("<b>x.log");
    std::fs::write(
        &log,
        "2026-03-02 04:05:06 <script>alert(1)</script> AADSTS50126: wrong\n2026-03-04 04:05:06 AADSTS50126: wrong\n",
    )?;
    let page = folder.path().join("report.html");
    keyback(&["scan", "--html", &page.to_string_lossy()], &log)?;
    let html = std::fs::read_to_string(page)?;
    ensure!(html.contains("AADSTS50126") && html.contains("<svg"), "{html}");
    ensure!(!html.contains("<script") && !html.contains("<b>x.log"), "not escaped");
    ensure!(
        !html.contains("http://") && !html.contains("https://") && !html.contains("src="),
        "it loads something"
    );
    Ok(())
}

#[test]
fn archives_are_read_and_packed_archives_are_told_apart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let line = "AADSTS50126: wrong\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(line.as_bytes())?;
    let gzip = gzip.finish()?;
    std::fs::write(folder.path().join("a.log.gz"), &gzip)?;
    std::fs::write(folder.path().join("cut.log.gz"), &gzip[..gzip.len() - 9])?;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(folder.path().join("b.zip"))?);
    zip.start_file("../../etc/inner.log", zip::write::SimpleFileOptions::default())?;
    zip.write_all(line.as_bytes())?;
    zip.finish()?;
    let output = keyback(&["scan", "--json"], folder.path())?;
    let document = json(&output)?;
    assert_eq!(counted(&output)?.get("aadsts:50126").copied(), Some(3), "{document}");
    let notes = document["notes"].to_string();
    ensure!(notes.contains("cut.log.gz"), "{notes}");
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

fn zip(entries: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

#[test]
fn packed_in_packed_is_read_to_a_small_depth_and_zstandard_frame_by_frame() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let line = b"AADSTS50126: wrong\n".as_slice();
    let inner = zip(&[("a.log", line), ("b.log.gz", &gzip(line)?)])?;
    std::fs::write(at("outer.zip"), zip(&[("inner.zip", &inner), ("c.log", line)])?)?;
    std::fs::write(at("outer.zip.gz"), gzip(&inner)?)?;
    let frame = |bytes: &[u8]| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Uncompressed)
    };
    let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), b"skip"].concat();
    std::fs::write(at("frames.zst"), [frame(line), skipped, frame(line)].concat())?;
    let mut deep = line.to_vec();
    for _ in 0..9 {
        deep = gzip(&deep)?;
    }
    std::fs::write(at("deep.gz"), deep)?;
    let output = keyback(&["scan", "--events"], folder.path())?;
    let mut files: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| -> Result<String> {
            let event: Value = serde_json::from_str(line)?;
            let file = event["file"].as_str().context("a file")?;
            Ok(file.rsplit('/').next().unwrap_or_default().to_owned())
        })
        .collect::<Result<_>>()?;
    files.sort();
    assert_eq!(
        files,
        [
            "frames.zst",
            "frames.zst",
            "outer.zip!c.log",
            "outer.zip!inner.zip!a.log",
            "outer.zip!inner.zip!b.log.gz",
            "outer.zip.gz!a.log",
            "outer.zip.gz!b.log.gz",
        ]
    );
    ensure!(text(&output.stderr).contains("packed more than"), "{}", text(&output.stderr));

    let mut piped = Command::new(env!("CARGO_BIN_EXE_keyback"))
        .args(["scan", "--events", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    piped.stdin.take().context("stdin")?.write_all(&inner)?;
    assert_eq!(text(&piped.wait_with_output()?.stdout).lines().count(), 2);
    Ok(())
}

#[test]
fn a_file_under_two_names_counts_once_and_a_file_that_is_gone_leaves_a_note() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.log"), "AADSTS50126: wrong\n")?;
    std::os::unix::fs::symlink(at("a.log"), at("b.log"))?;
    std::fs::hard_link(at("a.log"), at("c.log"))?;
    let gone = at("gone.log").to_string_lossy().into_owned();
    let output = keyback(&["scan", "--json", &gone], folder.path())?;
    assert_eq!(counted(&output)?.get("aadsts:50126").copied(), Some(1));
    let notes = json(&output)?["notes"].to_string();
    for part in ["b.log", "c.log", "gone.log"] {
        ensure!(notes.contains(part), "{notes}");
    }
    Ok(())
}

#[test]
fn a_secret_is_in_no_output_and_no_control_character_reaches_a_terminal() -> Result<()> {
    const MARK: &str = "Tr1pw1reSecret";
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("a.log");
    let shapes = [
        format!("password={MARK}"),
        format!("\"client_secret\": \"two {MARK}\""),
        format!("Authorization: Digest response={MARK}"),
        format!("Cookie: a=1; ESTSAUTH={MARK}"),
        format!("https://x/?sv=1&sig={MARK}"),
        format!("Server=x;User ID=y;Password={MARK}"),
        format!("refresh_token=0.A{MARK}aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ];
    let mut lines = String::new();
    for (number, shape) in shapes.iter().enumerate() {
        // A code of its own each, so that each is a sample.
        lines.push_str(&format!(
            "2026-03-0{} 04:05:06 \u{1b}]0;x\u{7}\u{1b}[31m{shape} AADSTS5012{number}: wrong\n",
            number + 1
        ));
    }
    std::fs::write(&log, lines)?;
    let page = folder.path().join("page.html");
    let page_name = page.to_string_lossy().into_owned();
    for arguments in [
        &["scan"][..],
        &["scan", "--show"],
        &["scan", "--json", "--show"],
        &["scan", "--html", &page_name, "--show"],
        &["scan", "--events"],
    ] {
        let output = keyback(arguments, &log)?;
        let all = text(&output.stdout) + &text(&output.stderr);
        ensure!(all.contains("5012"), "{all}");
        ensure!(!all.contains(MARK), "{arguments:?}: {all}");
        ensure!(!all.chars().any(|c| c.is_control() && c != '\n'), "{arguments:?}: {all:?}");
    }
    ensure!(!std::fs::read_to_string(page)?.contains(MARK), "in the page");
    Ok(())
}

#[test]
fn a_bomb_is_not_unpacked_to_its_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gzip = flate2::write::GzEncoder::new(
        std::fs::File::create(folder.path().join("bomb.gz"))?,
        flate2::Compression::best(),
    );
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..400 {
        gzip.write_all(&zeros)?;
    }
    gzip.finish()?;
    let output = keyback(&["scan", "--json"], folder.path())?;
    let notes = json(&output)?["notes"].to_string();
    ensure!(notes.contains("unpacks to more than"), "{notes}");
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[test]
fn hostile_files_leave_a_note_and_the_rest_is_reported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("good.log"), "AADSTS50126: wrong\r\n")?;
    let mut long = vec![b'x'; 48 << 20];
    long.extend_from_slice(b" AADSTS50053: locked ");
    long.resize(64 << 20, b'y');
    std::fs::write(at("one-line.log"), &long)?;
    let deep = [&b"{\"value\":"[..], &vec![b'['; 100_000], b"\"AADSTS50058: x\"", &vec![b']'; 100_000], b"}"]
        .concat();
    std::fs::write(at("deep.json"), deep)?;
    std::fs::write(
        at("bytes.log"),
        [&b"\xff\xfe\xfa\0\0AADSTS"[..], &[0xc3, 0x28, 0, 7], b"\nAADSTS50055: x\0\n"].concat(),
    )?;
    std::fs::write(
        at("truncated.json"),
        b"{\"value\": [{\"status\": {\"errorCode\": 50057, \"failureReason\": \"AADSTS50057: x",
    )?;
    std::os::unix::fs::symlink(folder.path(), at("loop"))?;
    std::os::unix::fs::symlink(at("nowhere"), at("broken"))?;
    ensure!(Command::new("mkfifo").arg(at("pipe")).status()?.success(), "mkfifo");
    let began = Instant::now();
    let output = keyback(&["scan", "--json"], folder.path())?;
    ensure!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    let document = json(&output)?;
    let found = counted(&output)?;
    for code in ["aadsts:50126", "aadsts:50053", "aadsts:50057"] {
        ensure!(found.contains_key(code), "{code} is missing: {document}");
    }
    let notes = document["notes"].to_string();
    for part in ["loop", "broken", "pipe", "one-line.log"] {
        ensure!(notes.contains(part), "no note on {part}: {notes}");
    }
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[test]
fn exit_codes_tell_found_nothing_found_and_nothing_looked_at() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let quiet = folder.path().join("quiet.log");
    std::fs::write(&quiet, "all is well, TOP (50126) took 1325 ms\n")?;
    assert_eq!(keyback(&["scan"], &quiet)?.status.code(), Some(0));
    assert_eq!(keyback(&["scan"], &folder.path().join("missing"))?.status.code(), Some(3));
    assert_eq!(keyback(&["scan", "--since", "yesterdayish"], &quiet)?.status.code(), Some(2));
    let mut piped = Command::new(env!("CARGO_BIN_EXE_keyback"))
        .args(["scan", "--events", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    piped.stdin.take().context("stdin")?.write_all(b"AADSTS50126: wrong\n")?;
    let output = piped.wait_with_output()?;
    ensure!(text(&output.stdout).contains("\"50126\""), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[test]
fn only_what_happened_since_then_is_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("a.log");
    std::fs::write(&log, "2026-03-01 04:05:06 AADSTS50126: x\n2026-03-05 04:05:06 AADSTS50126: x\n")?;
    let output = keyback(&["scan", "--json", "--since", "2026-03-03"], &log)?;
    assert_eq!(counted(&output)?.get("aadsts:50126").copied(), Some(1));
    Ok(())
}

#[test]
fn explain_answers_in_the_shape_of_the_design_and_marks_a_guess() -> Result<()> {
    let output = keyback(&["explain", "--json", "0x52D"], Path::new("AADSTS999999"))?;
    assert_eq!(output.status.code(), Some(1));
    let document = json(&output)?;
    let entries = document.as_array().context("an array")?;
    let known = &entries[0];
    for field in [
        "family",
        "code",
        "name",
        "title",
        "meaning",
        "severity",
        "severity_reason",
        "category",
        "retry",
        "actor",
        "causes",
        "fixes",
        "related",
        "statements",
        "name_only",
        "documented",
    ] {
        ensure!(entries.iter().all(|entry| entry.get(field).is_some()), "{field} is missing");
    }
    assert_eq!(
        (known["family"].as_str(), known["code"].as_str(), known["guess"].as_bool()),
        (Some("win32"), Some("0000052D"), Some(false))
    );
    assert_eq!(entries.last().and_then(|entry| entry["guess"].as_bool()), Some(true));
    Ok(())
}
