//! What the sentences of an entry rest on: numbered once, and led to where that can be read.

use keyback_codes::catalogue::{Basis, Entry};

/// One source and what it is to the entry.
pub(super) struct Source {
    pub(super) basis: Basis,
    pub(super) text: &'static str,
    /// Where a browser finds it, if its text tells.
    pub(super) url: Option<String>,
}

/// The sources of an entry in the order in which its sentences need them.
pub(super) struct Sources(Vec<Source>);

impl Sources {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut sources: Vec<Source> = Vec::new();
        for statement in entry.statements() {
            let Some(text) = statement.source else { continue };
            if !sources.iter().any(|known| known.basis == statement.basis && known.text == text) {
                sources.push(Source { basis: statement.basis, text, url: url(text) });
            }
        }
        Self(sources)
    }

    pub(super) fn list(&self) -> &[Source] {
        &self.0
    }

    /// The raised number behind a sentence; nothing where the sentence is our own reasoning.
    pub(super) fn mark(&self, basis: Basis, source: Option<&str>) -> String {
        let at = source
            .and_then(|text| self.0.iter().position(|known| known.basis == basis && known.text == text));
        let Some(number) = at.map(|at| at + 1) else { return String::new() };
        format!(
            "<sup><a href=\"#source-{number}\" aria-label=\"{}, source {number}\">{number}</a></sup>",
            basis.said()
        )
    }
}

/// `learn.microsoft.com/…` as it stands; `Owner/repository path @commit` at GitHub.
fn url(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_end_matches([',', ';'])).collect();
    let is_page = |word: &&&str| {
        word.split_once('/').is_some_and(|(host, _)| {
            [".com", ".org", ".net", ".io"].iter().any(|end| host.ends_with(end))
                && host.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-'
                })
        })
    };
    if let Some(page) = words.iter().find(is_page) {
        return Some(format!("https://{page}"));
    }
    let commit = words.iter().find_map(|word| word.strip_prefix('@'))?;
    let hex = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    let [repository, path, ..] = words[..] else { return None };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let whole =
        repository.matches('/').count() == 1 && path.contains('.') && plain(repository) && plain(path);
    (hex && whole).then(|| format!("https://github.com/{repository}/blob/{commit}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_leads_to_where_it_can_be_read() {
        for (text, expected) in [
            (
                "learn.microsoft.com/en-us/entra/reference-error-codes (2025-02-03)",
                Some("https://learn.microsoft.com/en-us/entra/reference-error-codes"),
            ),
            ("KB 817433, support.microsoft.com/topic/x-1", Some("https://support.microsoft.com/topic/x-1")),
            (
                "MicrosoftDocs/entra-docs docs/identity/a.md @03df4c5c (06/24/2024)",
                Some("https://github.com/MicrosoftDocs/entra-docs/blob/03df4c5c/docs/identity/a.md"),
            ),
            ("AzureAD/microsoft-identity-web, list of certificate error codes in its Constants.cs", None),
            ("own measurement, Samba AD DC 4.17.12 (Debian 12)", None),
            ("RFC 4511 section 4.1.9", None),
        ] {
            assert_eq!(url(text).as_deref(), expected, "{text}");
        }
    }
}
