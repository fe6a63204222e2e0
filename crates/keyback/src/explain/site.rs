//! `keyback explain --site DIR`: the reference as a folder of pages that anyone can host.

use crate::output::{self, Trouble};
use keyback_codes::catalogue::Entry;
use keyback_codes::explain::Found;
use keyback_server::portal::asset_bytes;
use keyback_server::reference::{
    Place, entry_page, family_page, front_page, missing_page, page_count, search_index, slug,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Says that a folder is ours to write into.
const MARK: &str = ".keyback-reference";
const MARK_TEXT: &str = "Written by `keyback explain --site`; the next run writes over what lies here.\n";

/// Writes every page; nothing outside the folder.
pub fn write(folder: &Path, base_url: Option<&str>) -> Result<ExitCode, Trouble> {
    let base_url = base_url.map(check_base).transpose()?;
    let before = claim(folder)?;
    let place = Place::Folder { base_url: base_url.clone(), whole_links: false };
    let mut site = Site { folder, written: BTreeSet::new(), pages: Vec::new() };
    site.page("index.html", front_page(&place))?;
    for (family, entries) in Entry::families() {
        for number in 1..=page_count(entries.len()) {
            let html = family_page(&place, family, number).map(Option::unwrap_or_default);
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            site.page(&format!("family-{family}{number}.html"), html)?;
        }
        for entry in entries {
            let slug = slug(entry);
            site.page(&format!("{slug}.html"), entry_page(&place, entry))?;
            site.put(&format!("{slug}.json"), serde_json::json!([entry]).to_string())?;
        }
    }
    let nothing = Found { query: String::new(), entries: Vec::new(), guess: None };
    // Shown at any address, so its links cannot go by where it lies.
    let anywhere = Place::Folder { base_url: base_url.clone(), whole_links: true };
    site.put("404.html", rendered(missing_page(&anywhere, &nothing))?)?;
    let index = search_index(&place);
    // A page that was opened from a file can load a script, but no JSON.
    site.put("search.js", format!("keybackSearchIndex({index});\n"))?;
    site.put("search.json", index)?;
    for asset in ["reference.css", "reference.js", "favicon.svg"] {
        site.put(asset, asset_bytes(asset).unwrap_or_default())?;
    }
    let mut robots = "User-agent: *\nAllow: /\n".to_owned();
    if let Some(base) = &base_url {
        site.put("sitemap.xml", sitemap(base, &site.pages))?;
        let _ = writeln!(robots, "Sitemap: {base}sitemap.xml"); // a String takes everything
    }
    site.put("robots.txt", robots)?;
    site.finish(&before)?;
    output::note(&format!("keyback: {} pages in {}", site.pages.len(), folder.display()));
    if base_url.is_none() {
        output::note("keyback: without --base-url there is no sitemap and no canonical link");
    }
    Ok(ExitCode::SUCCESS)
}

fn rendered(page: Result<String, askama::Error>) -> Result<String, Trouble> {
    page.map_err(|error| Trouble::internal(error.to_string()))
}

/// With one slash at its end.
fn check_base(base: &str) -> Result<String, Trouble> {
    let whole = base.starts_with("https://") || base.starts_with("http://");
    if whole && !base.contains([' ', '?', '#', '"', '<', '>']) {
        return Ok(format!("{}/", base.trim_end_matches('/')));
    }
    Err(Trouble::usage(
        format!("{base:?} is no address for pages"),
        "Give where the folder will be reached, such as https://errors.example.org/codes/.",
    ))
}

/// A folder that is being written, and what lies in it by now.
struct Site<'a> {
    folder: &'a Path,
    written: BTreeSet<String>,
    pages: Vec<String>,
}

impl Site<'_> {
    fn page(&mut self, name: &str, page: Result<String, askama::Error>) -> Result<(), Trouble> {
        self.put(name, rendered(page)?)?;
        self.pages.push(name.to_owned());
        Ok(())
    }

    fn put(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), Trouble> {
        put(self.folder, name, bytes)?;
        self.written.insert(name.to_owned());
        Ok(())
    }

    /// Takes away what the last run wrote and this one did not, and keeps the list for the next.
    fn finish(&self, before: &BTreeSet<String>) -> Result<(), Trouble> {
        for name in before.difference(&self.written) {
            // Somebody may have taken it away; and only plain names are ours.
            if !name.contains(['/', '\\']) {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
        let list: String = self.written.iter().fold(MARK_TEXT.to_owned(), |text, name| text + name + "\n");
        put(self.folder, MARK, list)
    }
}

/// Takes a folder that is new, empty, or ours, and says what we wrote there before.
fn claim(folder: &Path) -> Result<BTreeSet<String>, Trouble> {
    let failed = |error: std::io::Error| {
        Trouble::usage(
            format!("{} cannot be used: {error}", folder.display()),
            "Give a folder that you may write to.",
        )
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let empty = fs::read_dir(folder).map_err(failed)?.next().is_none();
    if !empty && !folder.join(MARK).exists() {
        return Err(Trouble::usage(
            format!("{} holds files that are not ours", folder.display()),
            "Give an empty folder, or one that this command wrote before.",
        ));
    }
    let before = fs::read_to_string(folder.join(MARK)).unwrap_or_default();
    let before: BTreeSet<String> = before.lines().skip(1).map(str::to_owned).collect();
    if before.is_empty() {
        fs::write(folder.join(MARK), MARK_TEXT).map_err(failed)?;
    }
    Ok(before)
}

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), Trouble> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(|error| {
        Trouble::usage(
            format!("{} cannot be written: {error}", path.display()),
            "Make room, or give another folder.",
        )
    })
}

fn sitemap(base: &str, names: &[String]) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    let base = base.replace('&', "&amp;").replace('<', "&lt;");
    for name in names {
        let _ = writeln!(xml, "<url><loc>{base}{name}</loc></url>"); // a String takes everything
    }
    xml.push_str("</urlset>\n");
    xml
}
