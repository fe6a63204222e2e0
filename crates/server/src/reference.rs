//! The error reference: one page for each code, from the catalogue.
//!
//! The same pages stand in the portal and, written to a folder, on any host: [`Place`] decides where links lead. Nothing
//! here asks the store or the directory.

mod lists;
mod pages;
mod routes;
mod sources;

use keyback_codes::catalogue::Entry;
pub use lists::{Filter, PER_PAGE, family_page, front_page, missing_page, page_count, search_index};
pub use pages::entry_page;
pub(crate) use routes::routes;

/// Where the pages stand, and so where their links lead.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the portal, which answers searches too.
    Portal {
        /// `https://reset.example.org`, without a path.
        public_url: String,
    },
    /// Files side by side in one folder.
    Folder {
        /// Where the folder will be reached, with a slash at its end; for the sitemap and canonical links.
        base_url: Option<String>,
        /// Links are whole addresses where there is a base: for a page that is shown at any address, such as 404.html.
        whole_links: bool,
    },
}

impl Place {
    fn is_live(&self) -> bool {
        matches!(self, Self::Portal { .. })
    }

    fn link(&self, live: impl Into<String>, file: impl Into<String>) -> String {
        match self {
            Self::Portal { .. } => live.into(),
            Self::Folder { base_url: Some(base), whole_links: true } => format!("{base}{}", file.into()),
            Self::Folder { .. } => file.into(),
        }
    }

    fn index(&self) -> String {
        self.link("/errors", "index.html")
    }

    fn entry(&self, entry: &Entry) -> String {
        let slug = slug(entry);
        self.link(format!("/errors/{slug}"), format!("{slug}.html"))
    }

    fn entry_json(&self, entry: &Entry) -> Option<String> {
        (!self.is_live()).then(|| self.link("", format!("{}.json", slug(entry))))
    }

    /// A page of a family's list, from 1.
    fn family(&self, family: &str, page: usize) -> String {
        match page {
            0 | 1 => self.link(format!("/errors?family={family}"), format!("family-{family}.html")),
            _ => self
                .link(format!("/errors?family={family}&page={page}"), format!("family-{family}-{page}.html")),
        }
    }

    fn asset(&self, name: &'static str) -> String {
        self.link(crate::portal::asset_url(name), name)
    }

    fn search_index(&self) -> String {
        self.link("/errors/search.json", "search.json")
    }

    /// The one address of a page.
    fn canonical(&self, path: &str) -> Option<String> {
        match self {
            Self::Portal { public_url } => Some(format!("{public_url}{path}")),
            Self::Folder { whole_links: true, .. } => None,
            Self::Folder { base_url, .. } => base_url.as_ref().map(|base| format!("{base}{path}")),
        }
    }
}

/// The last part of an entry's address: `aadsts120008`, `win32-0000052d`, `sspr-0029`, `keyback-rights.deny_ace`.
pub fn slug(entry: &Entry) -> String {
    let code: String = entry
        .code
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    slug_start(entry.family) + &code
}

/// What stands before the code in an address.
fn slug_start(family: &str) -> String {
    if family == "aadsts" { family.to_owned() } else { format!("{family}-") }
}

/// The entry with this address.
pub fn find_by_slug(text: &str) -> Option<&'static Entry> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_prefix("powerbi-").filter(|rest| rest.starts_with("aadsts")).unwrap_or(&text);
    if let Some(code) = text.strip_prefix("aadsts").filter(|code| !code.starts_with('-')) {
        return Entry::find("aadsts", code);
    }
    // Of `ldap-client-81` both `ldap` and `ldap-client` are beginnings.
    Entry::families()
        .filter(|(family, _)| text.starts_with(&slug_start(family)))
        .flat_map(|(_, entries)| entries)
        .find(|entry| slug(entry) == text)
}

/// A family as a person calls it.
pub fn family_name(family: &str) -> &str {
    match family {
        "aadsts" => "Entra ID sign-in (AADSTS)",
        "ad-bind" => "LDAP bind sub-codes (data …)",
        "ad-class" => "Classes of AD errors",
        "ad-problem" => "AD problem numbers",
        "ad-right" => "Rights in AD",
        "adf" => "Data Factory",
        "adsync-event" => "Events of ADSync",
        "adsync-hr" => "Results of the sync engine",
        "dirsync-event" => "Events of Directory Synchronization",
        "dsid" => "Shapes of AD messages",
        "hresult" => "HRESULT",
        "keyback" => "keyback's causes",
        "kpasswd" => "Kerberos password change",
        "krb" => "Kerberos",
        "ldap" => "LDAP results",
        "ldap-client" => "LDAP client errors",
        "ldap-control" => "LDAP controls",
        "nerr" => "Network management (NERR)",
        "ntstatus" => "NTSTATUS",
        "password-protection-event" => "Events of Entra Password Protection",
        "powerbi" => "Power BI and gateways",
        "samr-reason" => "Reasons of a refused password (SAMR)",
        "sspr" => "Password reset page (SSPR)",
        "sspr-reason" => "Reasons in audit records",
        "win32" => "Win32 and AD sub-codes",
        "windows-event" => "Windows security events",
        "writeback-event" => "Events of PasswordResetService",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_address_leads_back_to_its_entry_and_none_is_shared() {
        let slugs: BTreeSet<_> = Entry::all().iter().map(slug).collect();
        assert_eq!(slugs.len(), Entry::all().len());
        for entry in Entry::all() {
            assert_eq!(find_by_slug(&slug(entry)), Some(entry), "{}", slug(entry));
            assert_ne!(family_name(entry.family), entry.family, "a family without a name");
        }
        assert_eq!(find_by_slug("powerbi-aadsts120008"), Entry::find("aadsts", "120008"));
        assert_eq!(find_by_slug("AADSTS120008"), Entry::find("aadsts", "120008"));
    }
}
