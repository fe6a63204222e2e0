//! The error reference: one page for each code, from the catalogue.
//!
//! The same pages stand in the portal and, written to a folder, on any host: [`Place`] decides where links lead. Nothing
//! here asks the store or the directory.

mod pages;
mod routes;

use keyback_codes::catalogue::Entry;
pub use pages::{entry_page, family_page, front_page, missing_page, search_index};
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
    },
}

impl Place {
    fn is_live(&self) -> bool {
        matches!(self, Self::Portal { .. })
    }

    fn index(&self) -> &'static str {
        if self.is_live() { "/errors" } else { "index.html" }
    }

    fn entry(&self, entry: &Entry) -> String {
        if self.is_live() { format!("/errors/{}", slug(entry)) } else { format!("{}.html", slug(entry)) }
    }

    fn family(&self, family: &str) -> String {
        if self.is_live() { format!("/errors?family={family}") } else { format!("family-{family}.html") }
    }

    fn asset(&self, name: &'static str) -> &'static str {
        if self.is_live() { crate::portal::asset_url(name) } else { name }
    }

    fn search_index(&self) -> &'static str {
        if self.is_live() { "/errors/search.json" } else { "search.json" }
    }

    /// The one address of a page.
    fn canonical(&self, path: &str) -> Option<String> {
        match self {
            Self::Portal { public_url } => Some(format!("{public_url}{path}")),
            Self::Folder { base_url } => base_url.as_ref().map(|base| format!("{base}{path}")),
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
    if entry.family == "aadsts" { format!("aadsts{code}") } else { format!("{}-{code}", entry.family) }
}

/// The entry with this address.
pub fn find_by_slug(text: &str) -> Option<&'static Entry> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_prefix("powerbi-").filter(|rest| rest.starts_with("aadsts")).unwrap_or(&text);
    if let Some(code) = text.strip_prefix("aadsts").filter(|code| !code.starts_with('-')) {
        return Entry::find("aadsts", code);
    }
    Entry::all().iter().find(|entry| {
        text.strip_prefix(entry.family).is_some_and(|rest| rest.starts_with('-')) && slug(entry) == text
    })
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
