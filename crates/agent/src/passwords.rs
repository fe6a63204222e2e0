//! Passwords worth having: what the organisation does not want, and what attackers know already.
//!
//! Judged before the directory is asked: names of the person, a blocklist in the manner of Entra Password Protection
//! ([`Blocklist`]), and a list of breached passwords that lies on the agent's host ([`Breached`]). What comes out of it
//! names neither the password nor a character, a term or a count of it: evidence is read by administrators, and a list
//! of refused passwords is a list of nearly good ones.

mod blocklist;
mod breached;
mod normal;

pub use blocklist::{Blocklist, Score};
pub use breached::{Breached, Listed};

use crate::{Ended, may_pass};
use keyback_ad::User;
use keyback_codes::{Cause, Explain, PublicCode};
use keyback_core::outcome::Outcome;
use keyback_core::{Failure, NewPassword};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Names and words of the organisation shorter than this are not looked for inside a password, as in Entra.
pub const SHORTEST_WORD: usize = 4;

/// What the agent is told to judge passwords by. Nothing by default. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PasswordFilter(Option<Arc<Lists>>);

#[derive(Debug)]
struct Lists {
    blocklist: Blocklist,
    /// Words that may not stand in a password at all, normalised.
    organisation: Vec<String>,
    breached: Option<Breached>,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not there, or cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not UTF-8.
    #[error("line {line} of {path} is not UTF-8")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
    /// A term has fewer than four characters or more than sixteen.
    #[error("line {line} of {path} has {length} characters; a term has 4 to 16")]
    Length {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Characters.
        length: usize,
    },
    /// No term at all.
    #[error("{path} holds no term")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A word of the organisation is too short to be looked for.
    #[error("{word:?} in organisation_words has fewer than 4 characters")]
    Word {
        /// The word.
        word: String,
    },
    /// A line is not of the form `HASH:COUNT`.
    #[error("{path} does not consist of lines HASH:COUNT with SHA-1 in hexadecimal, as at byte {at}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        at: u64,
    },
    /// A line is damaged; where is not told.
    #[error("a line of {path} is not of the form HASH:COUNT")]
    Damaged {
        /// The file or folder.
        path: PathBuf,
    },
    /// A hash comes after a higher one.
    #[error("{path} is not sorted by hash, as at byte {at}")]
    Unsorted {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        at: u64,
    },
    /// The folder lacks range files.
    #[error("{path} lacks {missing} of the {asked} range files that were looked for; whole, it has 1048576")]
    Holes {
        /// The folder.
        path: PathBuf,
        /// How many were not there.
        missing: usize,
        /// Of how many.
        asked: usize,
    },
}

impl Explain for ListError {
    fn cause(&self) -> Cause {
        match self {
            Self::Read { .. }
            | Self::NotUtf8 { .. }
            | Self::Length { .. }
            | Self::Empty { .. }
            | Self::Word { .. }
            | Self::Form { .. }
            | Self::Damaged { .. }
            | Self::Unsorted { .. }
            | Self::Holes { .. } => Cause::ConfigInvalid,
        }
    }
}

impl ListError {
    /// What to do about this one.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } => "Put the list there, readable for the agent, or leave the key out.",
            Self::NotUtf8 { .. } => "Save the file as UTF-8.",
            Self::Length { .. } => {
                "Shorten the term to its base (`contoso`, not `contoso-headquarters`), or take it out: near misses and \
                 endings are found by themselves."
            }
            Self::Empty { .. } => "Write one term a line, or leave `blocklist_file` out.",
            Self::Word { .. } => "Leave it out, or write a longer form.",
            Self::Form { .. } | Self::Damaged { .. } => {
                "Use the list of SHA-1 hashes as it is published: 40 digits, a colon, how often it was seen."
            }
            Self::Unsorted { .. } => {
                "Use the list that is ordered by hash, not by prevalence, or sort it: LC_ALL=C sort -o FILE FILE"
            }
            Self::Holes { .. } => "Finish the download of the range files.",
        }
    }
}

/// What the lists hold, for `keyback check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Terms of the blocklist, after case and substitutions are undone.
    pub terms: usize,
    /// Words of the organisation.
    pub words: usize,
    /// The list of breached passwords.
    pub breached: Option<Listed>,
}

/// What is wrong with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwanted {
    /// A name of the person's own stands in it.
    Name,
    /// A word of the organisation stands in it.
    Organisation,
    /// Too little is left beside terms of the blocklist.
    Blocklist(Score),
    /// It is known from breaches.
    Breached,
}

impl PasswordFilter {
    /// Judges by these.
    pub fn new(
        blocklist: Blocklist,
        organisation_words: &[String],
        breached: Option<Breached>,
    ) -> Result<Self, ListError> {
        let word = |word: &String| {
            let plain = normal::normalise(word.trim());
            if plain.chars().count() < SHORTEST_WORD {
                return Err(ListError::Word { word: word.clone() });
            }
            Ok(plain.to_string())
        };
        let organisation = organisation_words.iter().map(word).collect::<Result<_, _>>()?;
        Ok(Self(Some(Arc::new(Lists { blocklist, organisation, breached }))))
    }

    /// What it holds. `None`: nothing is judged.
    pub fn sizes(&self) -> Option<Sizes> {
        self.0.as_ref().map(|lists| Sizes {
            terms: lists.blocklist.len(),
            words: lists.organisation.len(),
            breached: lists.breached.as_ref().map(Breached::listed),
        })
    }

    /// Whether common words are judged.
    pub fn has_blocklist(&self) -> bool {
        self.0.as_ref().is_some_and(|lists| !lists.blocklist.is_empty() || !lists.organisation.is_empty())
    }

    /// Whether passwords are looked up among breached ones.
    pub fn has_breached(&self) -> bool {
        self.0.as_ref().is_some_and(|lists| lists.breached.is_some())
    }

    /// The names of a person that may not stand in a password, in lower case. Empty where nothing is judged.
    pub fn names(&self, user: &User) -> Vec<String> {
        if self.0.is_some() { names(user) } else { Vec::new() }
    }

    /// Judges `password` as a password of `user`. Reads from the disk where there is a list of breached passwords.
    /// # Errors
    /// The list of breached passwords cannot be read.
    pub fn judge(&self, password: &NewPassword, user: &User) -> Result<Option<Unwanted>, ListError> {
        let Some(lists) = &self.0 else { return Ok(None) };
        if let Some(unwanted) = lists.judge_words(password.expose(), &names(user)) {
            return Ok(Some(unwanted));
        }
        let Some(breached) = &lists.breached else { return Ok(None) };
        Ok(breached.holds(&breached::hash(password.expose()))?.then_some(Unwanted::Breached))
    }

    /// The same, as what ends a job.
    pub(crate) async fn check(&self, password: &NewPassword, user: &User) -> Ended<()> {
        let Some(lists) = &self.0 else { return Ok(()) };
        if let Some(unwanted) = lists.judge_words(password.expose(), &names(user)) {
            return Err(Outcome::Refused(self.failure(unwanted)));
        }
        if lists.breached.is_none() {
            return Ok(());
        }
        let (hash, lists) = (breached::hash(password.expose()), Arc::clone(lists));
        let looked = tokio::task::spawn_blocking(move || {
            lists.breached.as_ref().map_or(Ok(false), |breached| breached.holds(&hash))
        });
        match looked.await {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true)) => Err(Outcome::Refused(self.failure(Unwanted::Breached))),
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a password could not be looked up"
                );
                Err(may_pass(unreadable(&error)))
            }
            Err(error) => Err(may_pass(Failure::of(Cause::AgentListsUnreadable).seen(
                "breached passwords",
                error.to_string(),
                "agent",
            ))),
        }
    }

    /// What a job ends with.
    pub(crate) fn failure(&self, unwanted: Unwanted) -> Failure {
        let failure = Failure::of(unwanted.cause());
        match unwanted {
            Unwanted::Name => failure.seen("names", "a name of the person stands in the password", "agent"),
            Unwanted::Organisation => failure.seen(
                "organisation_words",
                "a word of the organisation stands in the password",
                "agent",
            ),
            Unwanted::Blocklist(score) => {
                let code = if score.fuzzy { PublicCode::FuzzyBanned } else { failure.code };
                let terms = self.0.as_ref().map_or(0, |lists| lists.blocklist.len());
                let near = if score.fuzzy { ", near misses counted as terms" } else { "" };
                let points = format!("{} of {} points{near}", score.points, Score::ENOUGH);
                Failure { code, ..failure.seen("blocklist", points, format!("{terms} terms")) }
            }
            Unwanted::Breached => {
                failure.seen("breached passwords", "its SHA-1 is in the list", "breached_hashes")
            }
        }
    }
}

pub(crate) fn unreadable(error: &ListError) -> Failure {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Failure::of(Cause::AgentListsUnreadable).seen("breached passwords", format!("{error}{source}"), "agent")
}

impl Unwanted {
    /// The cause that it is known by.
    pub const fn cause(self) -> Cause {
        match self {
            Self::Name => Cause::PolicyContainsName,
            Self::Organisation | Self::Blocklist(_) => Cause::PolicyBanned,
            Self::Breached => Cause::PolicyBreached,
        }
    }
}

impl Lists {
    fn judge_words(&self, password: &str, names: &[String]) -> Option<Unwanted> {
        let plain = normal::normalise(password);
        let holds = |word: &str| plain.contains(word);
        if names.iter().any(|name| holds(normal::normalise(name).as_str())) {
            return Some(Unwanted::Name);
        }
        if self.organisation.iter().any(|word| holds(word)) {
            return Some(Unwanted::Organisation);
        }
        if self.blocklist.is_empty() {
            return None;
        }
        let score = self.blocklist.score(&plain);
        (score.points < Score::ENOUGH).then_some(Unwanted::Blocklist(score))
    }
}

/// The names that are looked for, in lower case and each once: account name, the parts of the displayed name, and of
/// userPrincipalName and mail what stands before the @, in parts too.
fn names(user: &User) -> Vec<String> {
    let local = |address: &Option<String>| {
        address.as_deref().and_then(|address| address.split('@').next()).map(str::to_owned)
    };
    let mut names: Vec<String> = [local(&user.user_principal_name), local(&user.mail)]
        .into_iter()
        .flatten()
        .flat_map(|local| keyback_ad::names(&local, Some(&local)).collect::<Vec<_>>())
        .chain(keyback_ad::names(&user.sam_account_name, user.display_name.as_deref()))
        .filter(|name| name.chars().count() >= SHORTEST_WORD)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sample_user;
    use zeroize::Zeroizing;

    fn password(text: &str) -> NewPassword {
        NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec())).expect("a password")
    }

    fn filter(terms: &[&str], words: &[&str]) -> PasswordFilter {
        let blocklist = Blocklist::of(terms.iter().copied());
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        PasswordFilter::new(blocklist, &words, None).expect("a filter")
    }

    fn judged(filter: &PasswordFilter, user: &User, text: &str) -> Option<Cause> {
        filter.judge(&password(text), user).expect("no list to read").map(Unwanted::cause)
    }

    /// The user Poll of Microsoft's example: `p0LL23fb` holds the name.
    #[test]
    fn a_name_of_four_letters_may_not_stand_in_a_password_however_it_is_written() {
        let filter = filter(&[], &["Contoso"]);
        let poll = User { display_name: Some("Poll Jo Zed".to_owned()), ..sample_user() };
        for (text, cause) in [
            ("p0LL23fb", Some(Cause::PolicyContainsName)),
            ("xyzadal23fbq", Some(Cause::PolicyContainsName)),
            ("x-Zed-Jo-2718", None),
            ("x-Z1", None), // short, which is the directory's to judge where there is no blocklist
            ("Marmot-Kite-9", None),
            ("xC0nt0$o-Marmot-Kite-9", Some(Cause::PolicyBanned)),
        ] {
            assert_eq!(
                judged(&filter, &User { sam_account_name: "adal".to_owned(), ..poll.clone() }, text),
                cause,
                "{text}"
            );
        }
        assert_eq!(judged(&PasswordFilter::default(), &poll, "p0LL23fb"), None, "nothing is judged untold");
    }

    #[test]
    fn evidence_shows_neither_password_nor_term_nor_name() {
        let user = sample_user();
        let filter = filter(&["marmot"], &["contoso"]);
        for text in ["Marm0t12", "Marmut12", "Contoso-xyz-77", "Lovelace-77-xy"] {
            let unwanted = filter.judge(&password(text), &user).expect("read").expect(text);
            let failure = serde_json::to_string(&filter.failure(unwanted)).expect("JSON").to_lowercase();
            for part in [text, "marmot", "marmut", "contoso", "lovelace", "77"] {
                assert!(!failure.contains(&part.to_lowercase()), "{part}: {failure}");
            }
        }
    }

    #[test]
    fn a_near_miss_has_the_code_of_the_fuzzy_list() {
        let filter = filter(&["marmot"], &[]);
        for (text, code) in [("Marm0t12", PublicCode::Banned), ("Marmut12", PublicCode::FuzzyBanned)] {
            let unwanted = filter.judge(&password(text), &sample_user()).expect("read").expect(text);
            assert_eq!(filter.failure(unwanted).code, code, "{text}");
        }
    }

    #[test]
    fn words_that_are_too_short_are_told() {
        let short = PasswordFilter::new(Blocklist::default(), &["abc".to_owned()], None);
        assert!(matches!(short, Err(ListError::Word { word }) if word == "abc"));
    }

    /// Numbers below `limit`, the same in each run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }

        fn word(&mut self) -> String {
            let mut letter = |letters: &str| {
                let at = usize::try_from(self.below(letters.len() as u64)).unwrap_or(0);
                letters[at..].chars().next().unwrap_or('a')
            };
            let syllables: Vec<String> =
                (0..3).map(|_| format!("{}{}", letter("bcdfghjklmnpqrstvwz"), letter("aeiou"))).collect();
            let length = 4 + usize::try_from(self.below(3)).unwrap_or(0);
            syllables.concat()[..length].to_owned()
        }
    }

    #[test]
    #[ignore = "measures: ./bench passwords"]
    fn bench_passwords() {
        use std::fmt::Write;
        use std::time::Instant;
        let mut numbers = Numbers(7);
        let mut words = std::collections::BTreeSet::new();
        while words.len() < 5_000 {
            words.insert(numbers.word());
        }
        let began = Instant::now();
        let blocklist = Blocklist::of(words.iter().map(String::as_str));
        println!("{} terms read in {:?}", blocklist.len(), began.elapsed());
        let lists = Lists { blocklist, organisation: vec!["example".to_owned()], breached: None };
        let names = names(&sample_user());
        for length in [12, 16, 24, 64, 256] {
            let passwords: Vec<String> = (0..200)
                .map(|_| {
                    let mut text = String::new();
                    while text.len() < length {
                        let _ = write!(text, "{}-{}", numbers.word(), numbers.below(100)); // a String takes everything
                    }
                    text[..length].to_owned()
                })
                .collect();
            let began = Instant::now();
            let refused = passwords.iter().filter(|text| lists.judge_words(text, &names).is_some()).count();
            let each = began.elapsed() / 200;
            println!("{length} characters: {each:?} a password, {refused} of 200 refused");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hashes.txt");
        let mut lines: Vec<String> = (0..2_000_000_u32)
            .map(|number| {
                let hash = breached::hash(&number.to_string());
                format!("{}:{number}\r\n", hash.digits())
            })
            .collect();
        lines.sort();
        std::fs::write(&path, lines.concat()).expect("written");
        let list = Breached::open(&path, 1).expect("a list");
        let began = Instant::now();
        let held =
            (0..20_000_u32).filter(|n| list.holds(&breached::hash(&(n * 199).to_string())).expect("read"));
        let held = held.count();
        let each = began.elapsed() / 20_000;
        println!(
            "{} bytes of hashes, cached: {each:?} a password, {held} of 20000 found",
            list.listed().bytes.unwrap_or(0)
        );
    }
}
