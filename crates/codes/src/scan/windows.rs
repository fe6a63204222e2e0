//! Windows events, exported as XML: the provider says what an event id means.

use super::record::Place;
use super::stamp;
use super::text::{Codes, codes_in, lossy};
use super::{Confidence, Event, LONGEST_RECORD, Sink, note};
use crate::catalogue::Entry;
use memchr::memmem;

pub(super) struct Windows {
    buffer: Vec<u8>,
    events: u64,
    lines: u64,
}

/// An export of events, with or without a root element.
pub(super) fn looks_like(head: &[u8]) -> bool {
    memmem::find(&head[..head.len().min(8192)], b"<Event").is_some()
}

/// The families whose events come from these providers.
pub(super) fn family_of(provider: &str) -> Option<&'static str> {
    let provider = provider.to_ascii_lowercase();
    Some(match provider.as_str() {
        "passwordresetservice" => "writeback-event",
        "adsync" => "adsync-event",
        "directory synchronization" => "dirsync-event",
        "microsoft-windows-security-auditing" => "windows-event",
        other if other.contains("azureadpasswordprotection") => "password-protection-event",
        _ => return None,
    })
}

/// The password reset service logs nothing else; the other providers log much that is no concern of ours.
pub(super) fn add_event(codes: &mut Codes, family: &'static str, id: &str) {
    let number = !id.is_empty() && id.len() <= 5 && id.bytes().all(|byte| byte.is_ascii_digit());
    if number
        && (family == "writeback-event" || Entry::find(family, id).is_some_and(|entry| entry.code == id))
    {
        codes.add(family, id, Confidence::Certain, 0);
    }
}

/// An event as the event viewer copies it (`Source: …`, `Event ID: …`) or PowerShell lists it (`ProviderName : …`, `Id : …`).
pub(super) fn event_in(text: &str, codes: &mut Codes) {
    let of = |names: &[&str]| {
        text.lines().find_map(|line| {
            let (label, value) = line.split_once(':')?;
            names.iter().any(|name| label.trim().eq_ignore_ascii_case(name)).then(|| value.trim())
        })
    };
    if let Some(family) = of(&["source", "providername", "provider"]).and_then(family_of)
        && let Some(id) = of(&["event id", "eventid", "id"])
    {
        add_event(codes, family, id);
    }
}

/// Families that any program's event may quote: their spelling fits nothing else.
const QUOTED: [&str; 6] = ["aadsts", "sspr", "powerbi", "ldap", "ad-bind", "adsync-hr"];

impl Windows {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), events: 0, lines: 0 }
    }

    pub(super) fn feed(&mut self, block: &[u8], found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.buffer.extend_from_slice(block);
        self.work(found, notes);
    }

    pub(super) fn finish(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.work(found, notes);
        if let Some(at) = begin_of_event(&self.buffer, 0) {
            notes.push("the last event is cut off".to_owned());
            let rest = self.buffer.split_off(at);
            self.event(&rest, 0, found, notes);
        }
    }

    fn work(&mut self, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut done = 0;
        while let Some(begin) = begin_of_event(&buffer, done) {
            let Some(end) = memmem::find(&buffer[begin..], b"</Event>").map(|at| begin + at + 8) else {
                if buffer.len() - begin > LONGEST_RECORD {
                    note(notes, "an event is longer than 1 MiB and was read in part");
                    self.event(&buffer[begin..], count(&buffer[done..begin]), found, notes);
                    self.lines += count(&buffer[done..]);
                    return;
                }
                self.lines += count(&buffer[done..begin]);
                self.buffer = buffer[begin..].to_vec();
                return;
            };
            self.lines += count(&buffer[done..begin]);
            self.event(&buffer[begin..end], 0, found, notes);
            self.lines += count(&buffer[begin..end]);
            done = end;
        }
        // The beginning of a tag may be torn: `<Event` and the byte behind it.
        let tail = done.max(buffer.len().saturating_sub(6));
        let keep = memchr::memrchr(b'<', &buffer[tail..]).map_or(buffer.len(), |at| tail + at);
        self.lines += count(&buffer[done..keep]);
        self.buffer = buffer[keep..].to_vec();
    }

    fn event(&mut self, bytes: &[u8], lines: u64, found: &mut Sink<'_>, notes: &mut Vec<String>) {
        self.events += 1;
        let place = Place { record: self.events, line: self.lines + lines + 1 };
        let xml = lossy(bytes);
        let family = attribute(&xml, "<Provider", "Name").and_then(|name| family_of(&unescape(name)));
        let mut codes = Codes::default();
        let id = xml.find("<EventID").and_then(|at| {
            let rest = &xml[at..];
            let value = &rest[rest.find('>')? + 1..];
            Some(value[..value.find('<')?].trim().to_owned())
        });
        if let (Some(family), Some(id)) = (family, id) {
            add_event(&mut codes, family, &id);
        }
        let data = xml.find("<EventData").or_else(|| xml.find("<UserData")).map_or("", |at| &xml[at..]);
        let data = unescape(&strip_tags(data));
        codes_in(&data, &mut codes);
        if family.is_none() {
            codes.list.retain(|code| QUOTED.contains(&code.family));
        }
        codes.tell(notes);
        if codes.list.is_empty() {
            return;
        }
        let time = attribute(&xml, "<TimeCreated", "SystemTime").and_then(stamp::time);
        let correlation_id = stamp::correlation_id(&data).or_else(|| {
            attribute(&xml, "<Correlation", "ActivityID")
                .and_then(stamp::guid_within)
                .map(str::to_ascii_lowercase)
        });
        let user = stamp::user(&data);
        for code in codes.list {
            found(Event {
                record: place.record,
                line: place.line,
                family: code.family,
                code: code.code,
                confidence: code.confidence,
                time: time.clone(),
                correlation_id: correlation_id.clone(),
                user: user.clone(),
                text: stamp::excerpt(&data, code.at),
            });
        }
    }
}

fn count(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// `<Event>` or `<Event xmlns=…>`, and not `<Events>` or `<EventData>`.
fn begin_of_event(bytes: &[u8], from: usize) -> Option<usize> {
    memmem::find_iter(&bytes[from..], b"<Event")
        .map(|at| from + at)
        .find(|at| bytes.get(at + 6).is_some_and(|byte| *byte == b'>' || byte.is_ascii_whitespace()))
}

fn attribute<'a>(xml: &'a str, tag: &str, name: &str) -> Option<&'a str> {
    let at = xml
        .match_indices(tag)
        .map(|(at, _)| at)
        .find(|at| !xml.as_bytes().get(at + tag.len()).is_some_and(u8::is_ascii_alphanumeric))?;
    let tag = &xml[at..at + xml[at..].find('>')?];
    let mut rest = tag;
    loop {
        let at = rest.find(name)?;
        let alone = rest[..at].ends_with(char::is_whitespace);
        rest = &rest[at + name.len()..];
        if let Some(value) = rest.trim_start().strip_prefix('=').filter(|_| alone) {
            let value = value.trim_start();
            let quote = value.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
            return value[1..].split(quote).next();
        }
    }
}

fn strip_tags(xml: &str) -> String {
    let mut text = String::with_capacity(xml.len());
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        text.push(' ');
        rest = rest[at..].find('>').map_or("", |end| &rest[at + end + 1..]);
    }
    text.push_str(rest);
    text
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#13;", "\r")
        .replace("&#10;", "\n")
        .replace("&#xD;", "\r")
        .replace("&#xA;", "\n")
        .replace("&amp;", "&")
}
