//! Turns the catalogue's data files into Rust, so that the binary starts with them read, checked and indexed.
//!
//! `catalogue/README.md` says what an entry holds. A file that breaks the form stops the build and names the entry.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    sources: BTreeMap<String, String>,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    code: String,
    name: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    title: String,
    meaning: String,
    category: String,
    #[serde(default = "failure")]
    kind: String,
    scope: String,
    actor: String,
    retry: String,
    #[serde(default)]
    surfaces: Vec<String>,
    log_line: Option<String>,
    basis: String,
    source: Option<String>,
    #[serde(default)]
    name_only: bool,
    #[serde(default)]
    statement: Vec<Statement>,
    #[serde(default)]
    cause: Vec<Cause>,
    #[serde(default)]
    fix: Vec<Fix>,
    #[serde(default)]
    related: Vec<Related>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    text: String,
    basis: String,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cause {
    id: Option<String>,
    text: String,
    confirm: String,
    exclude: String,
    basis: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fix {
    text: String,
    #[serde(default)]
    commands: Vec<Command>,
    basis: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    shell: String,
    line: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Related {
    code: String,
    relation: String,
}

fn failure() -> String {
    "failure".to_owned()
}

fn main() {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("catalogue");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut out = String::from("pub(super) static ENTRIES: &[Entry] = &[\n");
    let mut index = BTreeMap::<String, Vec<usize>>::new();
    let mut count = 0;
    let mut families = String::from("pub(super) static FAMILIES: &[(&str, usize, usize)] = &[\n");
    for path in data_files(&folder) {
        let family = path.file_stem().and_then(|stem| stem.to_str()).expect("a file name").to_owned();
        let first = count;
        for entry in read(&path) {
            write_entry(&mut out, &family, &entry);
            for key in [Some(&entry.code), entry.name.as_ref()].into_iter().flatten().chain(&entry.aliases) {
                let places = index.entry(key.to_lowercase()).or_default();
                if places.last() != Some(&count) {
                    places.push(count);
                }
            }
            count += 1;
        }
        let _ = writeln!(families, "({family:?}, {first}, {count}),");
    }
    out.push_str("];\n");
    families.push_str("];\n");
    out.push_str(&families);
    out.push_str("pub(super) static INDEX: &[(&str, &[u16])] = &[\n");
    for (key, places) in index {
        let _ = writeln!(out, "({key:?}, &{places:?}),");
    }
    out.push_str("];\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("catalogue.rs");
    fs::write(target, out).expect("OUT_DIR can be written");
}

fn data_files(folder: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(folder).expect("the catalogue's folder can be read");
    let mut files: Vec<_> = listing.map(|file| file.expect("a folder's entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// The entries of one file, with each source's short name replaced by what it stands for.
fn read(path: &Path) -> Vec<Entry> {
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path).expect("a data file can be read");
    let mut file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sources = file.sources;
    let full = |source: &mut Option<String>| {
        if let Some(whole) = source.as_ref().and_then(|short| sources.get(short)) {
            *source = Some(whole.clone());
        }
    };
    for entry in &mut file.entry {
        full(&mut entry.source);
        entry.statement.iter_mut().for_each(|statement| full(&mut statement.source));
        entry.cause.iter_mut().for_each(|cause| full(&mut cause.source));
        entry.fix.iter_mut().for_each(|fix| full(&mut fix.source));
    }
    let numbers = file.entry.iter().all(|entry| entry.code.parse::<i64>().is_ok());
    let order =
        |entry: &Entry| (entry.code.parse::<i64>().ok().filter(|_| numbers), entry.code.to_lowercase());
    for pair in file.entry.windows(2) {
        let sorted = order(&pair[0]) < order(&pair[1]);
        assert!(sorted, "{}: {} must stand after {}", path.display(), pair[0].code, pair[1].code);
    }
    file.entry
}

/// `Foo::BarBaz` for `bar-baz`; rustc refuses a word that the enum does not have.
fn word(kind: &str, text: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    format!("{kind}::{}", text.split('-').filter(|part| !part.is_empty()).map(capital).collect::<String>())
}

fn provenance(basis: &str, source: Option<&str>) -> String {
    format!("basis: {}, source: {source:?}", word("Basis", basis))
}

fn write_entry(out: &mut String, family: &str, entry: &Entry) {
    let _ = writeln!(
        out,
        "Entry {{ family: {family:?}, code: {:?}, name: {:?}, aliases: &{:?}, title: {:?}, meaning: {:?}, category: {}, \
         kind: {}, scope: {}, actor: {}, retry: {}, surfaces: &{:?}, log_line: {:?}, {}, name_only: {},",
        entry.code,
        entry.name,
        entry.aliases,
        entry.title,
        entry.meaning,
        word("Category", &entry.category),
        word("Kind", &entry.kind),
        word("Scope", &entry.scope),
        word("Actor", &entry.actor),
        word("Retry", &entry.retry),
        entry.surfaces,
        entry.log_line,
        provenance(&entry.basis, entry.source.as_deref()),
        entry.name_only,
    );
    out.push_str(" notes: &[");
    for note in &entry.statement {
        let _ = write!(
            out,
            "Statement {{ text: {:?}, {} }}, ",
            note.text,
            provenance(&note.basis, note.source.as_deref())
        );
    }
    out.push_str("],\n causes: &[");
    for cause in &entry.cause {
        let from = provenance(cause.basis.as_deref().unwrap_or("ours"), cause.source.as_deref());
        let _ = write!(
            out,
            "KnownCause {{ id: {:?}, text: {:?}, confirm: {:?}, exclude: {:?}, {from} }}, ",
            cause.id, cause.text, cause.confirm, cause.exclude
        );
    }
    out.push_str("],\n fixes: &[");
    for fix in &entry.fix {
        let from = provenance(fix.basis.as_deref().unwrap_or("ours"), fix.source.as_deref());
        let _ = write!(out, "KnownFix {{ text: {:?}, {from}, commands: &[", fix.text);
        for command in &fix.commands {
            let _ = write!(
                out,
                "Command {{ shell: {}, line: {:?} }}, ",
                word("Shell", &command.shell),
                command.line
            );
        }
        out.push_str("] }, ");
    }
    out.push_str("],\n related: &[");
    for related in &entry.related {
        let _ = write!(
            out,
            "Related {{ code: {:?}, relation: {} }}, ",
            related.code,
            word("Relation", &related.relation)
        );
    }
    out.push_str("] },\n");
}
