//! `keyback explain --site DIR`: the reference as a folder of pages that anyone can host.

use crate::output::{self, Trouble};
use keyback_codes::catalogue::Entry;
use keyback_server::portal::asset_bytes;
use keyback_server::reference::{
    Place, entry_page, family_page, front_page, missing_page, search_index, slug,
};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Says that a folder is ours to write into.
const MARK: &str = ".keyback-reference";
const MARK_TEXT: &str = "Written by `keyback explain --site`; the next run writes over what lies here.\n";

/// Writes every page; nothing outside the folder.
pub fn write(folder: &Path, base_url: Option<&str>) -> Result<ExitCode, Trouble> {
    claim(folder)?;
    let base_url = base_url.map(|base| format!("{}/", base.trim_end_matches('/')));
    let place = Place::Folder { base_url: base_url.clone() };
    let mut names = vec!["index.html".to_owned()];
    let page = |rendered: Result<String, _>| {
        rendered.map_err(|error: askama::Error| Trouble::internal(error.to_string()))
    };
    put(folder, "index.html", &page(front_page(&place))?)?;
    for (family, entries) in Entry::families() {
        let name = format!("family-{family}.html");
        if let Some(html) =
            family_page(&place, family).map_err(|error| Trouble::internal(error.to_string()))?
        {
            put(folder, &name, &html)?;
            names.push(name);
        }
        for entry in entries {
            let slug = slug(entry);
            put(folder, &format!("{slug}.html"), &page(entry_page(&place, entry))?)?;
            put(folder, &format!("{slug}.json"), serde_json::json!([entry]).to_string())?;
            names.push(format!("{slug}.html"));
        }
    }
    let nothing = keyback_codes::explain::Found { query: String::new(), entries: Vec::new(), guess: None };
    put(folder, "404.html", &page(missing_page(&place, &nothing))?)?;
    put(folder, "search.json", search_index(&place))?;
    for asset in ["reference.css", "reference.js", "favicon.svg"] {
        put(folder, asset, asset_bytes(asset).unwrap_or_default())?;
    }
    if let Some(base) = &base_url {
        put(folder, "sitemap.xml", sitemap(base, &names))?;
        put(folder, "robots.txt", format!("User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n"))?;
    }
    output::note(&format!("keyback: {} pages in {}", names.len(), folder.display()));
    if base_url.is_none() {
        output::note("keyback: without --base-url there is no sitemap and no canonical link");
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a folder that is new, empty, or ours.
fn claim(folder: &Path) -> Result<(), Trouble> {
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
    fs::write(folder.join(MARK), MARK_TEXT).map_err(failed)
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
