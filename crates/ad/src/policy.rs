//! Which rule a password breaks, when the domain controller refuses it and does not say (every Windows).
//!
//! Reads the policy that applies to one user and evaluates it against the password in memory. What is left when all
//! readable rules allow the password is history or a password filter.

use crate::directory::{Dc, Directory, Inner, Use};
use crate::error::{DirectoryError, FindError};
use crate::find::{User, by_guid};
use crate::time::FileTime;
use crate::wire::Entry;
use crate::write_error::{Refused, WriteError};
use keyback_core::{Evidence, NewPassword, ObjectGuid, Timestamp};
use std::time::Duration;

/// A duration as AD stores it: a negative count of 100 ns. 0 is "none", the lowest value "for ever".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdInterval(pub(crate) i64);

impl AdInterval {
    /// As stored: a negative count of 100 ns.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    fn ticks(self) -> i64 {
        self.0.checked_neg().unwrap_or(i64::MAX)
    }

    /// Whole seconds; `None` is "for ever".
    pub fn seconds(self) -> Option<i64> {
        self.0.checked_neg().map(|ticks| ticks / 10_000_000)
    }

    /// When it ends if it began at `at`. `None`: never.
    pub fn after(self, at: FileTime) -> Option<FileTime> {
        self.0.checked_neg()?.checked_add(at.as_ticks()).map(FileTime::from_ticks)
    }
}

/// The rules for one user. `None` where one cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The domain, or the fine-grained policy: its DN.
    pub source: String,
    /// In UTF-16 units.
    pub min_length: Option<usize>,
    /// Three of five kinds of characters, and no name.
    pub complexity: Option<bool>,
    /// How many passwords are remembered, the present one among them.
    pub history: Option<u32>,
    /// How old a password must be before it may be changed.
    pub min_age: Option<AdInterval>,
    /// How long an account stays locked; 0 also is "until it is unlocked by hand".
    pub lockout_duration: Option<AdInterval>,
}

/// What applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applies {
    /// These rules.
    Policy(Policy),
    /// A fine-grained policy that the connector account cannot read.
    UnreadablePso(String),
}

/// A rule that the password or the account breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Too short, or over 256 characters.
    Length,
    /// Fewer than three kinds of characters.
    Complexity,
    /// The account's name, or a part of the displayed one.
    ContainsName,
    /// The last change is too recent.
    MinAge,
}

impl Rule {
    /// In the order in which a person can do something about them.
    pub const ALL: [Self; 4] = [Self::Length, Self::Complexity, Self::ContainsName, Self::MinAge];
}

/// What [`Policy`] is read from, on a PSO and on the domain.
pub(crate) const PSO: [&str; 5] = [
    "msDS-MinimumPasswordLength",
    "msDS-PasswordComplexityEnabled",
    "msDS-PasswordHistoryLength",
    "msDS-MinimumPasswordAge",
    "msDS-LockoutDuration",
];
pub(crate) const DOMAIN: [&str; 5] =
    ["minPwdLength", "pwdProperties", "pwdHistoryLength", "minPwdAge", "lockoutDuration"];

/// What applies to one user's next password.
#[derive(Debug, Clone)]
pub struct UserRules {
    /// The rules, where they can be read.
    pub applies: Applies,
    /// Whom they are for.
    pub user: User,
    /// Whether the domain controller can be made to look at history and minimum age on a reset (policy hints).
    pub policy_hints: bool,
}

impl Directory {
    /// Reads what applies to the user's next password: three questions, four where the domain controller has to be
    /// dialled first.
    pub async fn read_rules(&self, guid: ObjectGuid) -> Result<UserRules, FindError> {
        let mut round = self.inner.round(Use::Reads);
        while let Some(dc) = round.next() {
            match self.inner.rules_on(&dc, guid).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                answered => {
                    round.served();
                    return answered;
                }
            }
        }
        Err(round.none_serves().into())
    }
}

impl Inner {
    async fn rules_on(&self, dc: &Dc, guid: ObjectGuid) -> Result<UserRules, FindError> {
        let base = by_guid(guid);
        let (user, applies) = tokio::join!(self.load_on(dc, &base), self.read_policy(dc, guid));
        let policy_hints = self.connection(dc, Use::Reads).await?.facts.policy_hints.is_some();
        Ok(UserRules { applies: applies?, user: user?, policy_hints })
    }

    /// Reads the policy that applies to a user: its resultant PSO, which replaces every value, else the domain's.
    pub(crate) async fn read_policy(&self, dc: &Dc, guid: ObjectGuid) -> Result<Applies, FindError> {
        let entry = self.entry(dc, &by_guid(guid), &["msDS-ResultantPSO"]).await?;
        if let Some(pso) = entry.text("msDS-ResultantPSO") {
            let unreadable = || Applies::UnreadablePso(crate::reply::clean(pso.as_bytes()));
            return match self.entry(dc, pso, &PSO).await {
                // Without the right the object itself is still there, and empty (measured on Samba 4.17.12).
                Ok(entry) if entry.attributes.is_empty() => Ok(unreadable()),
                Ok(entry) => Ok(Applies::Policy(pso_policy(&entry))),
                Err(FindError::NotFound { .. }) => Ok(unreadable()),
                Err(error) => Err(error),
            };
        }
        let domain = self.connection(dc, Use::Reads).await?.facts.base.clone();
        let entry = self.entry(dc, domain.as_str(), &DOMAIN).await?;
        Ok(Applies::Policy(domain_policy(&entry)))
    }

    async fn now_on(&self, dc: &Dc) -> Result<Option<Timestamp>, DirectoryError> {
        let serving = self.connection(dc, Use::Reads).await?;
        Ok(serving.connection.read_root_dse(&dc.name, &self.limits).await?.current_time)
    }

    /// Finds the rule behind a bare `0000052D`.
    pub(crate) async fn judge_policy(
        &self,
        dc: &Dc,
        user: &User,
        password: &NewPassword,
        mut refused: Refused,
    ) -> WriteError {
        let policy = match self.read_policy(dc, user.guid).await {
            Ok(Applies::Policy(policy)) => policy,
            Ok(Applies::UnreadablePso(pso)) => {
                refused.evidence.push(Evidence::new("msDS-ResultantPSO", pso, user.dn.as_str()));
                return WriteError::PsoUnreadable(refused);
            }
            Err(error) => {
                tracing::warn!(dc = %dc.name, %error, "the policy could not be read");
                return WriteError::FilterOrUnknown(refused);
            }
        };
        let now = self.now_on(dc).await.ok().flatten();
        refused.evidence.extend(policy.evidence());
        if let Some(set) = user.pwd_last_set {
            refused.evidence.push(Evidence::new("pwdLastSet", set.to_string(), user.dn.as_str()));
        }
        match policy.broken_by(password.expose(), user, now) {
            Some(Rule::Length) => WriteError::Length(refused),
            Some(Rule::Complexity) => WriteError::NotComplex(refused),
            Some(Rule::ContainsName) => WriteError::ContainsName(refused),
            Some(Rule::MinAge) => WriteError::TooYoung(refused),
            None => WriteError::FilterOrUnknown(refused),
        }
    }
}

pub(crate) fn domain_policy(entry: &Entry) -> Policy {
    Policy {
        source: crate::reply::clean(entry.dn.as_bytes()),
        min_length: entry.number("minPwdLength"),
        complexity: entry.number::<u32>("pwdProperties").map(|properties| properties & 1 != 0),
        history: entry.number("pwdHistoryLength"),
        min_age: entry.number("minPwdAge").map(AdInterval),
        lockout_duration: entry.number("lockoutDuration").map(AdInterval),
    }
}

pub(crate) fn pso_policy(entry: &Entry) -> Policy {
    Policy {
        source: crate::reply::clean(entry.dn.as_bytes()),
        min_length: entry.number("msDS-MinimumPasswordLength"),
        complexity: entry.text("msDS-PasswordComplexityEnabled").map(|enabled| enabled == "TRUE"),
        history: entry.number("msDS-PasswordHistoryLength"),
        min_age: entry.number("msDS-MinimumPasswordAge").map(AdInterval),
        lockout_duration: entry.number("msDS-LockoutDuration").map(AdInterval),
    }
}

impl Policy {
    fn evidence(&self) -> Vec<Evidence> {
        let seen = |attribute, value: Option<String>| {
            Evidence::new(attribute, value.unwrap_or_else(|| "(unreadable)".to_owned()), &self.source)
        };
        vec![
            seen("minimum length", self.min_length.map(|length| length.to_string())),
            seen("complexity", self.complexity.map(|on| on.to_string())),
            seen("history length", self.history.map(|length| length.to_string())),
            seen("minimum age in seconds", self.min_age.map(|age| (age.ticks() / 10_000_000).to_string())),
        ]
    }

    /// The first rule that is broken, in the order in which a person can do something about it ([MS-SAMR] 3.1.1.7.2).
    fn broken_by(&self, password: &str, user: &User, now: Option<Timestamp>) -> Option<Rule> {
        Rule::ALL.into_iter().find(|rule| self.breaks(*rule, password, user, now) == Some(true))
    }

    /// Whether setting `password` for `user` breaks `rule`, where it is enforced. `None`: what decides cannot be read.
    pub fn judge(
        &self,
        rule: Rule,
        password: &NewPassword,
        user: &User,
        now: Option<Timestamp>,
    ) -> Option<bool> {
        self.breaks(rule, password.expose(), user, now)
    }

    fn breaks(&self, rule: Rule, password: &str, user: &User, now: Option<Timestamp>) -> Option<bool> {
        const PASSWORD_NOT_REQUIRED: u32 = 0x20;
        match rule {
            Rule::Length => {
                let length = password.encode_utf16().count();
                let exempt =
                    user.user_account_control.is_some_and(|flags| flags & PASSWORD_NOT_REQUIRED != 0);
                if length > 256 {
                    return Some(true);
                }
                if exempt { Some(false) } else { self.min_length.map(|least| length < least) }
            }
            Rule::Complexity => self.complexity.map(|on| on && kinds_of_characters(password) < 3),
            Rule::ContainsName => self.complexity.map(|on| {
                on && contains_name(password, &user.sam_account_name, user.display_name.as_deref())
            }),
            Rule::MinAge => self.too_young(user, now),
        }
    }

    /// Whether the last change is younger than the minimum age. `None`: what decides cannot be read.
    pub fn too_young(&self, user: &User, now: Option<Timestamp>) -> Option<bool> {
        // The domain controller's clock is read in whole seconds, cut off: in doubt, old enough.
        let now = FileTime::from_timestamp(now?.plus(Duration::from_secs(1)));
        let age = self.min_age?;
        let set = user.pwd_last_set?;
        let ends = set.as_ticks().saturating_add(age.ticks());
        Some(!set.is_zero() && age.ticks() > 0 && now.as_ticks() < ends)
    }
}

fn kinds_of_characters(password: &str) -> usize {
    const SYMBOLS: &str = "~!@#$%^&*_-+=`|\\(){}[]:;\"'<>,.?/";
    let kinds: [fn(char) -> bool; 5] = [
        char::is_uppercase,
        char::is_lowercase,
        |c| c.is_ascii_digit(),
        |c| SYMBOLS.contains(c),
        |c| c.is_alphabetic() && !c.is_uppercase() && !c.is_lowercase(),
    ];
    kinds.iter().filter(|kind| password.chars().any(*kind)).count()
}

/// What Windows looks for in a password, in lower case: the account's name, and the parts of the displayed one, if they
/// have more than two characters ([MS-SAMR] 3.1.1.7.2).
pub fn names<'a>(account: &'a str, display_name: Option<&'a str>) -> impl Iterator<Item = String> + 'a {
    let parts = display_name.unwrap_or_default().split([' ', ',', '.', '\t', '-', '_', '#']);
    parts.chain([account]).filter(|part| part.chars().count() > 2).map(str::to_lowercase)
}

fn contains_name(password: &str, account: &str, display_name: Option<&str>) -> bool {
    let password = password.to_lowercase();
    names(account, display_name).any(|name| password.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Connector, DcAddress, DirectoryConfig, Limits};
    use crate::directory::Directory;
    use crate::dn::Dn;
    use keyback_codes::Cause;
    use keyback_core::{Failure, ObjectGuid, SourceAnchor};
    use keyback_testkit::lab::{Lab, Samba};
    use zeroize::Zeroizing;

    fn user() -> User {
        User {
            guid: ObjectGuid::from_wire([1; 16]),
            dn: Dn::parse("CN=Ada Lovelace,DC=ad").expect("a DN"),
            sid: "S-1-5-21-1-2-3-1104".parse().expect("a SID"),
            sam_account_name: "adal".to_owned(),
            user_principal_name: None,
            display_name: Some("Ada Lovelace-Byron (R&D)".to_owned()),
            mail: None,
            source_anchor: SourceAnchor::from_wire([1; 16]),
            user_account_control: Some(0x200),
            pwd_last_set: Some(FileTime::from_timestamp(Timestamp::from_micros(0))),
            lockout_time: None,
            key_version: Some(1),
            primary_group_id: Some(513),
            token_groups: None,
            object_classes: vec!["top".to_owned(), "user".to_owned()],
            admin_count: None,
            is_critical_system_object: false,
            dacl: None,
            dc: "dc1".to_owned(),
        }
    }

    const HOUR: i64 = 3_600 * 10_000_000;

    fn policy() -> Policy {
        Policy {
            source: "DC=ad".to_owned(),
            min_length: Some(8),
            complexity: Some(true),
            history: Some(24),
            min_age: Some(AdInterval(-HOUR)),
            lockout_duration: None,
        }
    }

    #[test]
    fn the_first_broken_rule_is_named() {
        let late = Some(Timestamp::from_micros(3_600_000_000));
        let early = Some(Timestamp::from_micros(3_598_000_000));
        for (password, now, rule) in [
            ("Sh0rt!", late, Some(Rule::Length)),
            ("lowercase only", late, Some(Rule::Complexity)),
            ("My-adal-1234", late, Some(Rule::ContainsName)),
            ("xxLOVELACE-12", late, Some(Rule::ContainsName)),
            ("Byron-is-a-poet-1", late, Some(Rule::ContainsName)),
            ("Fine-Pass-1234", early, Some(Rule::MinAge)),
            ("Fine-Pass-1234", late, None),
            ("Fine-Pass-1234", None, None),
        ] {
            assert_eq!(policy().broken_by(password, &user(), now), rule, "{password}");
        }
    }

    #[test]
    fn rules_that_cannot_be_read_or_do_not_apply_accuse_nobody() {
        let unreadable =
            Policy { min_length: None, complexity: None, history: None, min_age: None, ..policy() };
        let now = Some(Timestamp::from_micros(0));
        assert_eq!(unreadable.broken_by("x", &user(), now), None);
        let must_change = User { pwd_last_set: Some(FileTime::ZERO), ..user() };
        assert_eq!(policy().broken_by("Fine-Pass-1234", &must_change, now), None);
        let exempt = User { user_account_control: Some(0x220), pwd_last_set: None, ..user() };
        assert_eq!(policy().broken_by("S1!a", &exempt, now), None);
    }

    #[test]
    fn five_kinds_of_characters_count() {
        for (password, kinds) in [("a", 1), ("aA", 2), ("aA1!", 4), ("aA1!字", 5), ("  ", 0), ("äÖ", 2)] {
            assert_eq!(kinds_of_characters(password), kinds, "{password}");
        }
    }

    /// What Windows answers, whichever rule it was.
    fn bare() -> Refused {
        let text = "0000052D: SvcErr: DSID-031A126C, problem 5003 (WILL_NOT_PERFORM), data 0".to_owned();
        let reply = keyback_core::ServerReply { result: 53, win32: Some(0x52d), bind_data: None, text };
        Refused { dc: "dc1".to_owned(), reply, evidence: Vec::new() }
    }

    fn directory(lab: &Lab, connector: &str) -> anyhow::Result<Directory> {
        let connector = format!("{connector}@{}", lab.env("AD_REALM").to_lowercase());
        Ok(Directory::new(DirectoryConfig {
            dcs: vec![format!("ldaps://{}", lab.fqdn()).parse::<DcAddress>()?.at(lab.ip())],
            ca_pem: std::fs::read(lab.ca_file())?,
            connector: Connector::new(connector, Zeroizing::new(lab.connector().1.to_owned()))?,
            base: None,
            limits: Limits::default(),
        })?)
    }

    async fn judged(directory: &Directory, user: &User, password: &str) -> anyhow::Result<Failure> {
        let new = NewPassword::parse(Zeroizing::new(password.as_bytes().to_vec()))?;
        let dc = &directory.inner.dcs[0];
        Ok(directory.inner.judge_policy(dc, user, &new, bare()).await.failure())
    }

    #[tokio::test]
    async fn a_bare_refusal_is_judged_by_the_policy_that_applies() -> anyhow::Result<()> {
        for samba in Samba::ALL {
            let lab = Lab::shared(samba)?;
            let plain = lab.add_user("polplain")?;
            let strict = lab.add_user_in("OU=Staff", "polpso", "Start-Pass-0001!", "")?;
            let pso =
                format!("CN=pso-{},CN=Password Settings Container,CN=System,{}", strict.sam, lab.base_dn());
            lab.modify(&format!(
                "dn: {pso}\nchangetype: add\nobjectClass: msDS-PasswordSettings\nmsDS-PasswordSettingsPrecedence: 1\n\
                 msDS-PasswordReversibleEncryptionEnabled: FALSE\nmsDS-PasswordHistoryLength: 5\n\
                 msDS-PasswordComplexityEnabled: TRUE\nmsDS-MinimumPasswordLength: 16\n\
                 msDS-MinimumPasswordAge: -864000000000\nmsDS-MaximumPasswordAge: -36288000000000\n\
                 msDS-LockoutThreshold: 0\nmsDS-LockoutObservationWindow: -18000000000\n\
                 msDS-LockoutDuration: -18000000000\nmsDS-PSOAppliesTo: {}\n",
                strict.dn
            ))?;
            let keyback = directory(&lab, "svc-keyback")?;
            let (plain, strict) =
                (keyback.load_user(plain.guid).await?, keyback.load_user(strict.guid).await?);
            for (user, password, cause) in [
                (&plain, "Short1", Cause::PolicyLength),
                (&plain, "onlylowercase", Cause::PolicyComplexity),
                (&plain, "Start-Pass1!", Cause::PolicyFilterOrUnknown),
                (&strict, "Fourteen-Chars", Cause::PolicyLength),
                (&strict, "Long-Enough-Pass-1!", Cause::PolicyMinAge),
            ] {
                let failure = judged(&keyback, user, password).await?;
                assert_eq!(failure.cause, cause, "{password} {failure:?}");
                let source = if user.guid == strict.guid { pso.as_str() } else { lab.base_dn() };
                assert!(failure.evidence.iter().any(|fact| fact.from == source), "{source} {failure:?}");
            }
            let blind = directory(&lab, "svc-norights")?;
            let failure = judged(&blind, &strict, "Fourteen-Chars").await?;
            assert_eq!(failure.cause, Cause::PolicyPsoUnreadable, "{failure:?}");
            assert!(failure.evidence.iter().any(|fact| fact.value == pso), "{failure:?}");
            lab.modify(&format!("dn: {pso}\nchangetype: delete\n"))?;
        }
        Ok(())
    }
}
