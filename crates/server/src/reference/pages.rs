//! One page for one code: a pure function from the catalogue to text.

use super::sources::Sources;
use super::{Place, family_name};
use askama::Template;
use keyback_codes::catalogue::{Entry, Related, Severity};
use serde_json::json;

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
    sources: Sources,
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

    /// The page of a cause id, save on that page itself.
    fn cause(&self, id: &str) -> Option<String> {
        Entry::find("keyback", id).filter(|cause| *cause != self.entry).map(|cause| self.place.entry(cause))
    }

    /// What an answer to "what is this?" can be: one line to paste into a ticket.
    fn quotation(&self) -> String {
        let name = self.entry.name.map(|name| format!(" ({name})")).unwrap_or_default();
        let address = self.place.canonical(&self.path).map(|url| format!(" {url}")).unwrap_or_default();
        format!("{}{name}: {}.{address}", self.entry.quoted(), self.entry.title)
    }

    fn has_reasoning(&self) -> bool {
        self.entry.statements().iter().any(|statement| statement.source.is_none())
    }

    /// At most some 160 characters, as much as a result of a search shows.
    fn description(&self) -> String {
        let whole = format!("{}. {}", self.entry.title, self.entry.meaning);
        if whole.chars().count() <= 160 {
            return whole;
        }
        let short: String = whole.chars().take(157).collect();
        format!(
            "{}…",
            short
                .rsplit_once(' ')
                .map_or(short.as_str(), |(start, _)| start)
                .trim_end_matches([',', ';', ':'])
        )
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
    let path = place.entry(entry);
    let structured = json!({
        "@context": "https://schema.org",
        "@type": "TechArticle",
        "headline": format!("{}: {}", entry.quoted(), entry.title),
        "description": entry.meaning,
        "url": place.canonical(&path),
        "inLanguage": "en",
        "about": { "@type": "DefinedTerm", "termCode": entry.quoted(), "name": entry.name.unwrap_or(entry.title), "inDefinedTermSet": family_name(entry.family) },
        "keywords": [entry.quoted(), entry.code, entry.category.said()],
    });
    EntryPage {
        place,
        entry,
        family: family_name(entry.family),
        severity,
        reason,
        path,
        sources: Sources::of(entry),
        // Inside a script element only this could end it.
        structured: structured.to_string().replace('<', "\\u003c"),
        before: at.checked_sub(1).map(|before| &siblings[before]),
        after: siblings.get(at + 1),
    }
    .render()
}
