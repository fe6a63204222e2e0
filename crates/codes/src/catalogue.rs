//! The catalogue: what every code that an administrator can meet means, as data compiled into the binary.
//!
//! The sentences lie in `catalogue/*.toml`, one file per family; `build.rs` turns them into statics. This module holds
//! their types, computes the severity and finds entries by code, name or alias.

use serde::{Serialize, Serializer};
use std::fmt;

mod data {
    #[allow(clippy::wildcard_imports, reason = "the generated statics name whatever the data files use")]
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));
}

/// Declares an enum whose values are written in kebab case in data files, pages and JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal, $said:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$value_doc])* #[doc = $said] $value,)+ }

        impl $name {
            /// Every value, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// As data files, addresses and JSON spell it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }

            /// As a person reads it.
            pub const fn said(self) -> &'static str {
                match self { $(Self::$value => $said,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

words! {
    /// What an entry is about.
    Category {
        PasswordPolicy = "password-policy", "password rules";
        Writeback = "writeback", "password reset and writeback";
        PasswordProtection = "password-protection", "banned passwords";
        SignIn = "sign-in", "signing in";
        Account = "account", "state of the account";
        Mfa = "mfa", "second factor";
        ConditionalAccess = "conditional-access", "access conditions";
        Consent = "consent", "consent and permissions of applications";
        Application = "application", "registration of an application";
        Token = "token", "tokens, sessions and keys";
        Federation = "federation", "federation and SAML";
        Device = "device", "devices";
        Tenant = "tenant", "tenants and guests";
        Request = "request", "form of a request";
        Rights = "rights", "rights in the directory";
        Directory = "directory", "directory operations";
        Reachability = "reachability", "reaching a server";
        Kerberos = "kerberos", "Kerberos";
        Sync = "sync", "synchronisation";
        DataSource = "data-source", "data refresh and gateways";
        Configuration = "configuration", "configuration";
        Service = "service", "the service itself";
    }
}

words! {
    /// Whether anything failed.
    Kind {
        Failure = "failure", "failure";
        /// The sign-in goes on after the person did something: not a failure.
        Interrupt = "interrupt", "interruption, not a failure";
        Success = "success", "success";
        /// Names a thing (a right, a control, a shape of message) and no event.
        Name = "name", "name of a thing";
    }
}

words! {
    /// Whom one occurrence touches.
    Scope {
        Request = "request", "one request";
        Person = "person", "one person";
        Application = "application", "everyone who uses one application or data source";
        Server = "server", "everyone whom one server serves";
        Organisation = "organisation", "the whole organisation";
    }
}

words! {
    /// Who can mend it.
    Actor {
        /// It passes, or there is nothing to mend.
        Nobody = "nobody", "nobody has to act";
        Person = "person", "the person can act";
        Developer = "developer", "the application's developer or owner has to act";
        Administrator = "administrator", "an administrator has to act";
        Microsoft = "microsoft", "only the service's operator can act";
    }
}

words! {
    /// Whether trying again helps.
    Retry {
        Never = "never", "do not try again";
        Unchanged = "unchanged", "try again as it is";
        AfterWait = "after-wait", "try again after a wait";
        AfterChange = "after-change", "try again after something was changed";
    }
}

words! {
    /// How bad one occurrence is: computed, never written down.
    Severity {
        None = "none", "none";
        Info = "info", "info";
        Low = "low", "low";
        Medium = "medium", "medium";
        High = "high", "high";
        Critical = "critical", "critical";
    }
}

words! {
    /// What a sentence rests on.
    Basis {
        Documented = "documented", "documented by its maker";
        Measured = "measured", "measured by us";
        Ours = "ours", "our own reasoning";
    }
}

words! {
    /// How another code is related to this one.
    Relation {
        Twin = "twin", "the same thing under another code";
        Wraps = "wraps", "carries that code inside";
        WrappedBy = "wrapped-by", "arrives inside that code";
        ConfusedWith = "confused-with", "often taken for that code";
        Precedes = "precedes", "comes before that code";
        Follows = "follows", "comes after that code";
        Sibling = "sibling", "another outcome of the same step";
    }
}

words! {
    /// Where a command line is typed.
    Shell {
        Sh = "sh", "Unix shell";
        Powershell = "powershell", "PowerShell";
        Cmd = "cmd", "Windows command prompt";
    }
}

/// A claim beside the meaning, with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// One or two sentences.
    pub text: &'static str,
    /// What it rests on.
    pub basis: Basis,
    /// Where that can be looked up: an address, a standard's section, or a version that was measured.
    pub source: Option<&'static str>,
}

/// One thing that can be behind the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KnownCause {
    /// The cause id of keyback's doctor, where it has one.
    pub id: Option<&'static str>,
    /// What is wrong.
    pub text: &'static str,
    /// The observation that proves it.
    pub confirm: &'static str,
    /// The observation that rules it out.
    pub exclude: &'static str,
    /// What the sentence rests on.
    #[serde(skip)]
    pub basis: Basis,
    /// Where that can be looked up.
    #[serde(skip)]
    pub source: Option<&'static str>,
}

/// One way to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KnownFix {
    /// What to do.
    pub text: &'static str,
    /// The lines to type, with capital words where a name belongs.
    pub commands: &'static [Command],
    /// What the sentence rests on.
    #[serde(skip)]
    pub basis: Basis,
    /// Where that can be looked up.
    #[serde(skip)]
    pub source: Option<&'static str>,
}

/// A line to type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Where.
    pub shell: Shell,
    /// What.
    pub line: &'static str,
}

/// Another entry, as `family:code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Related {
    /// `family:code`.
    pub code: &'static str,
    /// What it is to this one.
    pub relation: Relation,
}

/// What one code means. Every field is written by hand in `catalogue/FAMILY.toml`.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file it stands in.
    pub family: &'static str,
    /// The code as its maker writes it, without a prefix such as `AADSTS`.
    pub code: &'static str,
    /// The symbolic name, never cut. `None` where none is known.
    pub name: Option<&'static str>,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// A headline of a few words.
    pub title: &'static str,
    /// What it says, in plain words.
    pub meaning: &'static str,
    /// What it is about.
    pub category: Category,
    /// Whether anything failed.
    pub kind: Kind,
    /// Whom one occurrence touches.
    pub scope: Scope,
    /// Who can mend it.
    pub actor: Actor,
    /// Whether trying again helps.
    pub retry: Retry,
    /// Where it shows up.
    pub surfaces: &'static [&'static str],
    /// A line to look for in a log.
    pub log_line: Option<&'static str>,
    /// What the meaning rests on.
    pub basis: Basis,
    /// Where that can be looked up.
    pub source: Option<&'static str>,
    /// Only the name is documented: the meaning is read from it.
    pub name_only: bool,
    /// Further claims.
    pub notes: &'static [Statement],
    /// What can be behind it, likeliest first.
    pub causes: &'static [KnownCause],
    /// What mends it, best first.
    pub fixes: &'static [KnownFix],
    /// Other entries.
    pub related: &'static [Related],
}

impl Entry {
    /// Every entry: families in alphabetical order, each sorted by code.
    pub fn all() -> &'static [Self] {
        data::ENTRIES
    }

    /// The families and their entries.
    pub fn families() -> impl Iterator<Item = (&'static str, &'static [Self])> {
        data::FAMILIES.iter().map(|(family, first, end)| (*family, &data::ENTRIES[*first..*end]))
    }

    /// The entries whose code, name or alias is `key`, whatever its case.
    pub fn by_key(key: &str) -> impl Iterator<Item = &'static Self> + use<> {
        let key = key.to_lowercase();
        let found = data::INDEX.binary_search_by(|(known, _)| (*known).cmp(key.as_str()));
        let places: &[u16] = found.map_or(&[], |place| data::INDEX[place].1);
        places.iter().map(|place| &data::ENTRIES[usize::from(*place)])
    }

    /// The entry of one family with this code, name or alias.
    pub fn find(family: &str, key: &str) -> Option<&'static Self> {
        Self::by_key(key).find(|entry| entry.family == family)
    }

    /// Every spelling under which an entry is found, in lower case and sorted.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        data::INDEX.iter().map(|(key, _)| *key)
    }

    /// `AADSTS120008`, `Win32 0x0000052D`, `LDAP 50`, `event 33004`: as a person would quote it.
    pub fn quoted(&self) -> String {
        let code = self.code;
        match self.family {
            "aadsts" => format!("AADSTS{code}"),
            "sspr" => format!("SSPR_{code}"),
            "win32" | "ntstatus" | "hresult" | "adsync-hr" => format!("0x{code}"),
            "ldap" => format!("LDAP {code}"),
            "ldap-client" => format!("LDAP client {code}"),
            "ad-bind" => format!("data {code}"),
            "ad-problem" => format!("problem {code}"),
            "samr-reason" => format!("SAMR reason {code}"),
            "krb" => format!("Kerberos {code}"),
            "kpasswd" => format!("kpasswd {code}"),
            "nerr" => format!("NERR {code}"),
            family if family.ends_with("-event") => format!("event {code}"),
            _ => code.to_owned(),
        }
    }

    /// `family:code`: the one spelling that fits no other entry.
    pub fn address(&self) -> String {
        format!("{}:{}", self.family, self.code)
    }

    /// How bad one occurrence is, and why.
    ///
    /// Computed from whom it touches and who can act, so that two codes of the same kind cannot differ.
    pub fn severity(&self) -> (Severity, String) {
        let severity = match (self.kind, self.scope, self.actor) {
            (Kind::Success | Kind::Name, _, _) => Severity::None,
            (Kind::Interrupt, _, _) => Severity::Info,
            (Kind::Failure, Scope::Request, _)
            | (Kind::Failure, Scope::Person, Actor::Nobody | Actor::Person)
            | (Kind::Failure, Scope::Application, Actor::Nobody) => Severity::Low,
            (Kind::Failure, Scope::Person, Actor::Developer | Actor::Administrator | Actor::Microsoft)
            | (Kind::Failure, Scope::Application, Actor::Person)
            | (Kind::Failure, Scope::Server, Actor::Nobody | Actor::Person) => Severity::Medium,
            (
                Kind::Failure,
                Scope::Application | Scope::Server,
                Actor::Developer | Actor::Administrator | Actor::Microsoft,
            )
            | (Kind::Failure, Scope::Organisation, Actor::Nobody | Actor::Person) => Severity::High,
            (
                Kind::Failure,
                Scope::Organisation,
                Actor::Developer | Actor::Administrator | Actor::Microsoft,
            ) => Severity::Critical,
        };
        let reason = match self.kind {
            Kind::Success => "Nothing failed.".to_owned(),
            Kind::Name => "It names a thing; nothing happened.".to_owned(),
            Kind::Interrupt => "The sign-in goes on once the person has done what is asked.".to_owned(),
            Kind::Failure => format!("It touches {}, and {}.", self.scope.said(), self.actor.said()),
        };
        (severity, reason)
    }

    /// Every sentence of the entry that claims something, with what it rests on.
    pub fn statements(&self) -> Vec<Statement> {
        let meaning = Statement { text: self.meaning, basis: self.basis, source: self.source };
        let causes =
            self.causes.iter().map(|it| Statement { text: it.text, basis: it.basis, source: it.source });
        let fixes =
            self.fixes.iter().map(|it| Statement { text: it.text, basis: it.basis, source: it.source });
        [meaning].into_iter().chain(self.notes.iter().copied()).chain(causes).chain(fixes).collect()
    }
}

/// The shape of `keyback explain --json`.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            family: &'a str,
            code: &'a str,
            quoted: String,
            name: Option<&'a str>,
            aliases: &'a [&'a str],
            title: &'a str,
            meaning: &'a str,
            severity: Severity,
            severity_reason: String,
            category: Category,
            kind: Kind,
            scope: Scope,
            retry: Retry,
            actor: Actor,
            surfaces: &'a [&'a str],
            log_line: Option<&'a str>,
            causes: &'a [KnownCause],
            fixes: &'a [KnownFix],
            related: &'a [Related],
            statements: Vec<Statement>,
            name_only: bool,
            documented: bool,
        }
        let (severity, severity_reason) = self.severity();
        Shape {
            family: self.family,
            code: self.code,
            quoted: self.quoted(),
            name: self.name,
            aliases: self.aliases,
            title: self.title,
            meaning: self.meaning,
            severity,
            severity_reason,
            category: self.category,
            kind: self.kind,
            scope: self.scope,
            retry: self.retry,
            actor: self.actor,
            surfaces: self.surfaces,
            log_line: self.log_line,
            causes: self.causes,
            fixes: self.fixes,
            related: self.related,
            statements: self.statements(),
            name_only: self.name_only,
            documented: self.basis == Basis::Documented,
        }
        .serialize(serializer)
    }
}
