//! The pages themselves: pure functions from the catalogue to text.

use super::{Place, family_name};
use askama::Template;
use keyback_codes::catalogue::{Basis, Category, Entry, Related, Severity};
use keyback_codes::explain::{Found, explain_code};
use serde_json::json;
use std::collections::BTreeSet;

/// What most people come for.
const FRONT: [&str; 4] = ["sspr", "sspr-reason", "ad-bind", "ldap-client"];

#[derive(Template)]
#[template(path = "reference/entry.html")]
struct EntryPage<'a> {
    place: &'a Place,
    entry: &'static Entry,
    family: &'a str,
    severity: Severity,
    reason: String,
    structured: String,
    path: String,
    before: Option<&'static Entry>,
    after: Option<&'static Entry>,
}

impl EntryPage<'_> {
    fn path(&self) -> &str {
        &self.path
    }

    #[expect(clippy::unused_self, reason = "the frame asks every page")]
    fn query(&self) -> &'static str {
        ""
    }

    fn related(&self) -> Vec<(&'static Related, &'static Entry)> {
        let other = |related: &'static Related| {
            let (family, code) = related.code.split_once(':')?;
            Some((related, Entry::find(family, code)?))
        };
        self.entry.related.iter().filter_map(other).collect()
    }

    fn cause(&self, id: &str) -> Option<String> {
        Entry::find("keyback", id).filter(|cause| *cause != self.entry).map(|cause| self.place.entry(cause))
    }

    fn sources(&self) -> BTreeSet<(Basis, &'static str)> {
        self.entry.statements().iter().filter_map(|it| Some((it.basis, it.source?))).collect()
    }
}

pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let text: String =
        chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default();
    format!("{text}.")
}

/// One code.
pub fn entry_page(place: &Place, entry: &'static Entry) -> Result<String, askama::Error> {
    let (severity, reason) = entry.severity();
    let (_, siblings) =
        Entry::families().find(|(family, _)| *family == entry.family).unwrap_or((entry.family, &[]));
    let at = siblings.iter().position(|sibling| sibling == entry).unwrap_or(0);
    let structured = json!({
        "@context": "https://schema.org",
        "@type": "TechArticle",
        "headline": format!("{}: {}", entry.quoted(), entry.title),
        "description": entry.meaning,
        "about": entry.name.unwrap_or(entry.code),
        "keywords": [entry.code, entry.family, entry.category.word()],
    });
    EntryPage {
        place,
        entry,
        family: family_name(entry.family),
        severity,
        reason,
        // Inside a script element only this could end it.
        path: place.entry(entry),
        structured: structured.to_string().replace('<', "\\u003c"),
        before: at.checked_sub(1).map(|before| &siblings[before]),
        after: siblings.get(at + 1),
    }
    .render()
}

type Group = (&'static str, &'static str, Vec<&'static Entry>);

#[derive(Template)]
#[template(path = "reference/index.html")]
struct IndexPage<'a> {
    place: &'a Place,
    path: String,
    heading: String,
    guess: Option<String>,
    query: &'a str,
    category: &'a str,
    level: &'a str,
    groups: Vec<Group>,
    families: Vec<(&'static str, &'static str, usize)>,
}

impl IndexPage<'_> {
    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> &str {
        self.query
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn categories(&self) -> &'static [Category] {
        Category::ALL
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn severities(&self) -> &'static [Severity] {
        Severity::ALL
    }
}

fn families() -> Vec<(&'static str, &'static str, usize)> {
    Entry::families().map(|(family, entries)| (family, family_name(family), entries.len())).collect()
}

fn group(entries: Vec<&'static Entry>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in entries {
        match groups.last_mut().filter(|(family, _, _)| *family == entry.family) {
            Some((_, _, list)) => list.push(entry),
            None => groups.push((entry.family, family_name(entry.family), vec![entry])),
        }
    }
    groups
}

/// Where everybody begins.
pub fn front_page(place: &Place) -> Result<String, askama::Error> {
    let public = keyback_codes::PublicCode::ALL
        .iter()
        .filter_map(|code| Entry::find("aadsts", &code.number().to_string()));
    let asked = public.chain(Entry::all().iter().filter(|entry| FRONT.contains(&entry.family)));
    IndexPage {
        place,
        path: place.index().to_owned(),
        heading: "What an error code means, and what mends it".to_owned(),
        guess: None,
        query: "",
        category: "",
        level: "",
        groups: group(asked.collect()),
        families: families(),
    }
    .render()
}

/// All codes of one family.
pub fn family_page(place: &Place, family: &str) -> Result<Option<String>, askama::Error> {
    let Some((family, entries)) = Entry::families().find(|(known, _)| *known == family) else {
        return Ok(None);
    };
    let page = IndexPage {
        place,
        path: place.family(family),
        heading: family_name(family).to_owned(),
        guess: None,
        query: "",
        category: "",
        level: "",
        groups: vec![(family, family_name(family), entries.iter().collect())],
        families: Vec::new(),
    };
    page.render().map(Some)
}

/// What fits a search, the nearest first.
pub(super) fn found_page(
    place: &Place,
    query: &str,
    category: &str,
    level: &str,
) -> Result<String, askama::Error> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let fits = |entry: &&'static Entry| {
        let text = || {
            format!(
                "{} {} {} {}",
                entry.quoted(),
                entry.name.unwrap_or_default(),
                entry.title,
                entry.aliases.join(" ")
            )
            .to_lowercase()
        };
        (category.is_empty() || entry.category.word() == category)
            && (level.is_empty() || entry.severity().0.word() == level)
            && (words.is_empty() || {
                let text = text();
                words.iter().all(|word| text.contains(word.as_str()))
            })
    };
    let exact = if query.is_empty() { Vec::new() } else { explain_code(query).entries };
    let mut entries: Vec<&'static Entry> = exact;
    for entry in Entry::all().iter().filter(fits) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    // Every page stays short enough for a phone.
    let count = entries.len();
    entries.truncate(200);
    IndexPage {
        place,
        path: place.index().to_owned(),
        heading: match count {
            0 => "Nothing found".to_owned(),
            1 => "One code found".to_owned(),
            many if many > 200 => format!("{many} codes found, the first 200"),
            many => format!("{many} codes found"),
        },
        guess: None,
        query,
        category,
        level,
        groups: group(entries),
        families: Vec::new(),
    }
    .render()
}

/// Several entries have this spelling, or none: then what it may be is a guess.
pub fn missing_page(place: &Place, found: &Found) -> Result<String, askama::Error> {
    let (heading, guess, entries) = match &found.guess {
        Some(guess) => {
            let family =
                guess.family.map(|family| format!(" A guess: {}.", family_name(family))).unwrap_or_default();
            ("Not in the catalogue".to_owned(), Some(format!("{}{family}", guess.why)), guess.near.clone())
        }
        None => ("Several codes have this spelling".to_owned(), None, found.entries.clone()),
    };
    IndexPage {
        place,
        path: place.index().to_owned(),
        heading,
        guess,
        query: &found.query,
        category: "",
        level: "",
        groups: group(entries),
        families: Vec::new(),
    }
    .render()
}

/// What the search of the pages loads: address, code, title and name, for each entry.
pub fn search_index(place: &Place) -> String {
    let line = |entry: &Entry| {
        json!([place.entry(entry), entry.quoted(), entry.title, entry.name.unwrap_or_default()])
    };
    serde_json::Value::Array(Entry::all().iter().map(line).collect()).to_string()
}
