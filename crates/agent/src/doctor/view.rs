//! What every probe looks at, and how it writes down what it saw.

use super::{Case, Setting};
use keyback_ad::descriptor::{Domains, Numbered, Server};
use keyback_ad::{Examination, Ground};
use keyback_core::diagnosis::{Observation, ProbeOutcome};
use keyback_core::{Evidence, Timestamp};

/// The readings, the setting and the question.
pub(super) struct View<'a> {
    pub(super) examination: &'a Examination,
    pub(super) setting: &'a Setting,
    pub(super) case: &'a Case<'a>,
    pub(super) now: Timestamp,
}

/// An observation in the making.
pub(super) struct Seen(Observation);

impl Seen {
    pub(super) fn new(id: &str, outcome: ProbeOutcome, summary: impl Into<String>) -> Self {
        Self(Observation {
            id: id.to_owned(),
            probe: id.to_owned(),
            outcome,
            summary: summary.into(),
            dc: None,
            dn: None,
            facts: Vec::new(),
            needs: None,
            reproduce: String::new(),
        })
    }

    pub(super) fn ok(id: &str, summary: impl Into<String>) -> Self {
        Self::new(id, ProbeOutcome::Ok, summary)
    }

    pub(super) fn found(id: &str, summary: impl Into<String>) -> Self {
        Self::new(id, ProbeOutcome::Found, summary)
    }

    pub(super) fn unknown(id: &str, summary: impl Into<String>, needs: impl Into<String>) -> Self {
        let mut seen = Self::new(id, ProbeOutcome::Unknown, summary);
        seen.0.needs = Some(needs.into());
        seen
    }

    pub(super) fn not_applicable(id: &str, summary: impl Into<String>) -> Self {
        Self::new(id, ProbeOutcome::NotApplicable, summary)
    }

    /// Of several observations by one probe: `id` is then this one's, and `probe` the probe's.
    pub(super) fn by(mut self, probe: &str) -> Self {
        probe.clone_into(&mut self.0.probe);
        self
    }

    pub(super) fn on(mut self, dc: &str) -> Self {
        self.0.dc = Some(dc.to_owned());
        self
    }

    pub(super) fn at(mut self, dn: &str) -> Self {
        self.0.dn = Some(dn.to_owned());
        self
    }

    pub(super) fn fact(mut self, attribute: &str, value: impl Into<String>, from: &str) -> Self {
        self.0.facts.push(Evidence::new(attribute, value, from));
        self
    }

    pub(super) fn facts(mut self, facts: impl IntoIterator<Item = Evidence>) -> Self {
        self.0.facts.extend(facts);
        self
    }

    pub(super) fn shown_by(mut self, command: String) -> Self {
        self.0.reproduce = command;
        self
    }
}

impl From<Seen> for Observation {
    fn from(seen: Seen) -> Self {
        seen.0
    }
}

/// The same text in single quotes for a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The same text in single quotes for PowerShell.
pub(super) fn ps_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl View<'_> {
    fn host(&self, ground: &Ground) -> String {
        let of = |state: &&keyback_ad::DcState| state.dc == ground.dc;
        self.examination.dcs.iter().find(of).map_or(ground.dc.clone(), |state| match state.port {
            636 => state.host.clone(),
            port => format!("{}:{port}", state.host),
        })
    }

    /// The command that reads some attributes of one object.
    pub(super) fn reads(&self, ground: &Ground, dn: &str, attributes: &[&str]) -> String {
        if ground.server == Server::Windows && !dn.is_empty() {
            return format!(
                "Get-ADObject -Server {} -Identity {} -Properties {}",
                ground.dc,
                ps_quoted(dn),
                attributes.join(",")
            );
        }
        let descriptor = if attributes.contains(&"nTSecurityDescriptor") {
            " -E 1.2.840.113556.1.4.801=::MAMCAQc="
        } else {
            ""
        };
        format!(
            "ldapsearch -x -H ldaps://{} -D {} -W{descriptor} -s base -b {} {}",
            self.host(ground),
            quoted(&self.examination.connector),
            quoted(dn),
            attributes.join(" ")
        )
    }

    /// The command that searches the domain.
    pub(super) fn searches(&self, ground: &Ground, filter: &str, attributes: &[&str]) -> String {
        if ground.server == Server::Windows {
            return format!(
                "Get-ADObject -Server {} -LDAPFilter {} -Properties {}",
                ground.dc,
                ps_quoted(filter),
                attributes.join(",")
            );
        }
        format!(
            "ldapsearch -x -H ldaps://{} -D {} -W -b {} {} {}",
            self.host(ground),
            quoted(&self.examination.connector),
            quoted(ground.base.as_str()),
            quoted(filter),
            attributes.join(" ")
        )
    }

    /// The connector account by its name, as prose calls it.
    pub(super) fn connector<'a>(&'a self, ground: &'a Ground) -> &'a str {
        let own = ground.connector.as_ref().and_then(|connector| connector.name.as_deref());
        own.unwrap_or(&self.examination.connector)
    }
}

/// An ACE as text.
pub(super) fn sddl(ground: &Ground, ace: Numbered<'_>) -> String {
    ace.ace.to_sddl(ground.domain_sid.as_ref().map(Domains::single))
}

/// A value within a filter (RFC 4515 section 3).
pub(super) fn escaped(value: &str) -> String {
    value.chars().fold(String::new(), |mut text, c| {
        match c {
            '*' | '(' | ')' | '\\' => text.push_str(&format!("\\{:02x}", u32::from(c))),
            c => text.push(c),
        }
        text
    })
}
