//! `docs/faults.md`: which fault is injected by which test. Made from the `/// Fault: WHAT => WHAT HOLDS` lines above the tests.

use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const HEAD: &str = "\
# Faults and what holds

Each row is a test that injects the fault. Made from the `Fault:` lines in the tests: after a change,
`KEYBACK_WRITE_DOCS=1 cargo nextest run -p keyback --test faults -E 'test(table)'`.

| Fault | What holds | Test |
|---|---|---|
";

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn rows(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for package in std::fs::read_dir(root.join("crates"))? {
        for folder in ["src", "tests"] {
            let folder = package.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.path().join(folder);
            if folder.is_dir() {
                sources(&folder, &mut files)?;
            }
        }
    }
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let mut faults: Vec<&str> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(fault) = line.strip_prefix("/// Fault: ") {
                faults.push(fault);
            } else if let Some((_, name)) = line.split_once("fn ").filter(|_| !line.starts_with("//")) {
                let name = name.split('(').next().unwrap_or(name);
                let place = file.strip_prefix(root)?.display();
                for fault in faults.drain(..) {
                    let (what, holds) =
                        fault.split_once(" => ").with_context(|| format!("{place}: {fault}"))?;
                    rows.push(format!("| {what} | {holds} | `{place}` {name} |"));
                }
            }
        }
        ensure!(faults.is_empty(), "{}: a fault without a test", file.display());
    }
    Ok(rows)
}

#[test]
fn the_table_of_faults_is_what_the_tests_say() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut page = HEAD.to_owned();
    for row in rows(&root)? {
        writeln!(page, "{row}")?;
    }
    let file = root.join("docs/faults.md");
    if std::env::var_os("KEYBACK_WRITE_DOCS").is_some() {
        std::fs::write(&file, &page)?;
    }
    ensure!(std::fs::read_to_string(&file).unwrap_or_default() == page, "{HEAD}is not up to date");
    Ok(())
}
