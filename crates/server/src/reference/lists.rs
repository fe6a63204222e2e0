//! Lists of codes: where everybody begins, a family, what a search found, and what is not there.

use super::{Place, family_name, slug_start};
use askama::Template;
use keyback_codes::catalogue::{Category, Entry, Severity};
use keyback_codes::explain::{Found, explain_code, explain_text};
use serde_json::json;

/// A page of a list holds so many, so that it stays short enough for a phone on a train.
pub const PER_PAGE: usize = 200;

/// Families that the first page shows whole.
const FRONT: [&str; 3] = ["sspr", "sspr-reason", "ad-bind"];

/// What a visitor asked for. Empty words ask for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A code, a name, words, or a pasted error.
    pub query: String,
    /// As [`Category::word`] spells it.
    pub category: String,
    /// As [`Severity::word`] spells it.
    pub severity: String,
    /// A family.
    pub family: String,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fits(&self, entry: &Entry) -> bool {
        let is = |asked: &str, word: &str| asked.is_empty() || asked == word;
        is(&self.category, entry.category.word())
            && is(&self.severity, entry.severity().0.word())
            && is(&self.family, entry.family)
    }
}

type Family = (&'static str, &'static str, usize);

struct Group {
    family: &'static str,
    said: &'static str,
    entries: Vec<&'static Entry>,
}

#[derive(Template)]
#[template(path = "reference/index.html")]
struct ListPage<'a> {
    place: &'a Place,
    path: String,
    heading: String,
    lead: Option<String>,
    /// What was asked for is not there, and this is why we think what we think.
    guess: Option<String>,
    filter: Filter,
    groups: Vec<Group>,
    families: Vec<Family>,
    /// Address and number of each further page, and which one this is.
    pages: Vec<(usize, String)>,
    page: usize,
}

impl ListPage<'_> {
    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> &str {
        &self.filter.query
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn categories(&self) -> &'static [Category] {
        Category::ALL
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn severities(&self) -> &'static [Severity] {
        Severity::ALL
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn all_families(&self) -> Vec<Family> {
        families()
    }
}

fn families() -> Vec<Family> {
    Entry::families().map(|(family, entries)| (family, family_name(family), entries.len())).collect()
}

/// By family, each family where its first entry stands.
fn group(entries: &[&'static Entry]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in entries {
        match groups.iter_mut().find(|group| group.family == entry.family) {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group {
                family: entry.family,
                said: family_name(entry.family),
                entries: vec![entry],
            }),
        }
    }
    groups
}

fn plain<'a>(place: &'a Place, heading: &str, entries: &[&'static Entry]) -> ListPage<'a> {
    ListPage {
        place,
        path: place.index(),
        heading: heading.to_owned(),
        lead: None,
        guess: None,
        filter: Filter::default(),
        groups: group(entries),
        families: Vec::new(),
        pages: Vec::new(),
        page: 1,
    }
}

/// How many pages a list of so many needs.
pub const fn page_count(entries: usize) -> usize {
    if entries == 0 { 1 } else { entries.div_ceil(PER_PAGE) }
}

fn one_page(entries: &[&'static Entry], page: usize) -> Vec<&'static Entry> {
    entries.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE).copied().collect()
}

/// Where everybody begins.
pub fn front_page(place: &Place) -> Result<String, askama::Error> {
    let public = keyback_codes::PublicCode::ALL
        .iter()
        .filter_map(|code| Entry::find("aadsts", &code.number().to_string()));
    let asked: Vec<_> =
        public.chain(Entry::all().iter().filter(|entry| FRONT.contains(&entry.family))).collect();
    let lead = format!(
        "{} codes of Entra ID sign-in, password writeback, Active Directory, LDAP, Kerberos and Windows. For each: what \
         it says, how to tell its causes apart, and the one change that mends it.",
        Entry::all().len()
    );
    ListPage {
        lead: Some(lead),
        families: families(),
        ..plain(place, "What an error code means, and what mends it", &asked)
    }
    .render()
}

/// A page of all codes of one family.
pub fn family_page(place: &Place, family: &str, page: usize) -> Result<Option<String>, askama::Error> {
    let found = Entry::families()
        .find(|(known, entries)| *known == family && (1..=page_count(entries.len())).contains(&page));
    let Some((family, entries)) = found else { return Ok(None) };
    let entries: Vec<_> = entries.iter().collect();
    let pages = (1..=page_count(entries.len())).map(|page| (page, place.family(family, page)));
    let filter = Filter { family: family.to_owned(), ..Filter::default() };
    ListPage {
        path: place.family(family, page),
        lead: Some(format!("{} codes.", entries.len())).filter(|_| entries.len() > 1),
        filter,
        pages: pages.collect(),
        page,
        ..plain(place, family_name(family), &one_page(&entries, page))
    }
    .render()
    .map(Some)
}

/// What fits: the codes that were meant first, then what holds every word.
fn search(filter: &Filter) -> Vec<&'static Entry> {
    let meant = match filter.query.as_str() {
        "" => Vec::new(),
        query if query.contains(char::is_whitespace) => {
            let mut all: Vec<_> = explain_text(query).into_iter().flat_map(|found| found.entries).collect();
            all.extend(explain_code(query).entries);
            all
        }
        query => explain_code(query).entries,
    };
    let words: Vec<String> = filter.query.split_whitespace().map(str::to_lowercase).collect();
    let holds_all = |entry: &Entry| {
        let text = format!(
            "{} {} {} {} {}",
            entry.quoted(),
            entry.code,
            entry.name.unwrap_or_default(),
            entry.title,
            entry.aliases.join(" ")
        );
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    };
    let mut entries: Vec<&'static Entry> = Vec::new();
    for entry in meant.into_iter().chain(Entry::all().iter().filter(|entry| holds_all(entry))) {
        if filter.fits(entry) && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

/// A page of what fits a search.
pub(super) fn found_page(place: &Place, filter: Filter, page: usize) -> Result<String, askama::Error> {
    let entries = search(&filter);
    let count = page_count(entries.len());
    let page = page.clamp(1, count);
    let address = |page: usize| {
        let escaped = |text: &str| {
            text.bytes().fold(String::new(), |mut out, byte| {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    out.push_str(&format!("%{byte:02X}"));
                }
                out
            })
        };
        let Filter { query, category, severity, family } = &filter;
        let pairs = [("q", query), ("category", category), ("severity", severity), ("family", family)];
        let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
        let asked: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        format!("{}?{}&page={page}", place.index(), asked.join("&"))
    };
    let pages: Vec<_> = (1..=count).map(|page| (page, address(page))).collect();
    let heading = match entries.len() {
        0 => "Nothing found".to_owned(),
        1 => "One code found".to_owned(),
        many => format!("{many} codes found"),
    };
    ListPage { filter, pages, page, ..plain(place, &heading, &one_page(&entries, page)) }.render()
}

/// Several entries have this spelling, or none: then what it may be is a guess.
pub fn missing_page(place: &Place, found: &Found) -> Result<String, askama::Error> {
    let filter = Filter { query: found.query.clone(), ..Filter::default() };
    let page = match &found.guess {
        Some(guess) => {
            let guess_at = match guess.family {
                Some(family) if guess.near.is_empty() => format!(" A guess: {}.", family_name(family)),
                Some(family) => format!(" A guess: {}. These come nearest:", family_name(family)),
                None if guess.near.is_empty() => String::new(),
                None => " A guess from its letters:".to_owned(),
            };
            ListPage {
                guess: Some(format!("{}{guess_at}", guess.why)),
                families: if guess.near.is_empty() { families() } else { Vec::new() },
                filter,
                ..plain(place, "Not in the catalogue", &guess.near)
            }
        }
        None if found.entries.is_empty() => {
            ListPage { families: families(), ..plain(place, "There is no such page", &[]) }
        }
        None => ListPage {
            lead: Some("The place where it stands tells which one it is.".to_owned()),
            filter,
            ..plain(place, "Several codes have this spelling", &found.entries)
        },
    };
    page.render()
}

/// What the search of the pages loads on demand.
///
/// `{"place":[before,after],"categories":[…],"severities":[…],"families":[{"id","name","quoted","slug","codes":[[code,title,names,category,severity]]}]}`:
/// a category and a severity are places in the lists above them; `quoted` and `slug` are what stands before the code
/// where it is quoted and in its address.
pub fn search_index(place: &Place) -> String {
    let place_in = |all: &[&str], word: &str| all.iter().position(|known| *known == word);
    let categories: Vec<&str> = Category::ALL.iter().map(|it| it.word()).collect();
    let severities: Vec<&str> = Severity::ALL.iter().map(|it| it.word()).collect();
    let families: Vec<_> = Entry::families()
        .filter_map(|(family, entries)| {
            let quoted = entries.first()?.quoted();
            let codes: Vec<_> = entries
                .iter()
                .map(|entry| {
                    let names: Vec<&str> =
                        entry.name.into_iter().chain(entry.aliases.iter().copied()).collect();
                    let category = place_in(&categories, entry.category.word());
                    let severity = place_in(&severities, entry.severity().0.word());
                    json!([entry.code, entry.title, names.join(" "), category, severity])
                })
                .collect();
            Some(json!({
                "id": family,
                "name": family_name(family),
                "quoted": quoted.strip_suffix(entries.first()?.code)?,
                "slug": slug_start(family),
                "codes": codes,
            }))
        })
        .collect();
    let around = if place.is_live() { ["/errors/", ""] } else { ["", ".html"] };
    json!({ "place": around, "categories": categories, "severities": severities, "families": families })
        .to_string()
}
