//! What was found, added up: by code, by time, and reset by reset. Bounded, however much is found.

use super::inputs::Watcher;
use super::redact::Redactor;
use jiff::Timestamp;
use keyback_codes::catalogue::{Entry, Kind, Scope, Severity};
use keyback_codes::scan::Event;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

// What is kept has bounds, so that 64 MiB are enough for a log of any size.
/// More people than this are not told apart for one code,
const MOST_USERS: usize = 100_000;
/// and more than this not for all codes together.
const MOST_USERS_OF_ALL: usize = 800_000;
/// More codes than this are counted together: the catalogue has fewer, and a hostile log can make them up.
const MOST_CODES: usize = 2_000;
/// More correlation IDs than this are not followed, each for so many steps, and all of them together for so many.
const MOST_JOURNEYS: usize = 40_000;
const LONGEST_JOURNEY: usize = 24;
const MOST_STEPS: usize = 200_000;
/// What of them a report shows.
const SHOWN_JOURNEYS: usize = 1_000;
const MOST_HOURS: usize = 100_000;
const EXAMPLES: usize = 3;
const MOST_NOTES: usize = 200;

/// All that came of a scan.
pub struct Report {
    pub files: u64,
    pub bytes: u64,
    pub findings: Vec<Finding>,
    pub journeys: Vec<Journey>,
    /// Failures by hour since 1970.
    pub hours: BTreeMap<i64, u64>,
    pub notes: Vec<(String, String)>,
    /// Why some journeys are not here.
    pub more_journeys: Option<&'static str>,
}

/// One code.
pub struct Finding {
    pub family: &'static str,
    pub code: String,
    pub entry: Option<&'static Entry>,
    pub count: u64,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    users: HashSet<u64>,
    more_users: bool,
    pub examples: Vec<Example>,
}

/// One place where it stands.
pub struct Example {
    pub file: String,
    pub line: u64,
    pub record: u64,
    pub time: Option<String>,
    pub correlation_id: Option<String>,
    pub text: String,
}

/// One user action, followed across files.
pub struct Journey {
    pub correlation_id: String,
    pub user: Option<String>,
    pub steps: Vec<JourneyStep>,
}

pub struct JourneyStep {
    pub time: Option<Timestamp>,
    pub file: String,
    pub family: &'static str,
    pub code: String,
    pub quoted: String,
    pub title: Option<&'static str>,
}

impl Finding {
    /// As a person would quote it.
    pub fn quoted(&self) -> String {
        match self.entry.filter(|entry| entry.code == self.code) {
            Some(entry) => entry.quoted(),
            None if self.family == "aadsts" => format!("AADSTS{}", self.code),
            None => self.code.clone(),
        }
    }

    /// Distinct people, as far as they were told apart.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Whether there were more of them.
    pub const fn more_users(&self) -> bool {
        self.more_users
    }

    /// How many accounts, in words.
    pub fn accounts(&self) -> String {
        match (self.users(), self.more_users) {
            (users, true) => format!("{users} or more accounts"),
            (1, false) => "one account".to_owned(),
            (users, false) => format!("{users} accounts"),
        }
    }

    /// Whether it happens only while a password is reset or changed.
    fn is_of_a_reset(&self) -> bool {
        matches!(self.family, "sspr" | "sspr-reason" | "writeback-event")
            || (self.family == "aadsts" && self.code.starts_with("1200") && self.code.len() == 6)
    }

    /// Whether it is a failure; what is not in the catalogue is taken for one.
    pub fn is_failure(&self) -> bool {
        self.entry.is_none_or(|entry| entry.kind == Kind::Failure)
    }

    /// The catalogue's severity, raised where the log shows that more people are touched than one occurrence tells.
    pub fn severity(&self) -> (Severity, String) {
        let Some(entry) = self.entry else {
            return (Severity::Medium, "It is not in the catalogue.".to_owned());
        };
        let (severity, mut reason) = entry.severity();
        let steps = match (entry.kind, entry.scope, self.users()) {
            (Kind::Failure, Scope::Request | Scope::Person, 50..) => 2,
            (Kind::Failure, Scope::Request | Scope::Person, 5..) => 1,
            _ => 0,
        };
        let place = Severity::ALL.iter().position(|it| *it == severity).unwrap_or(0);
        let raised = Severity::ALL[(place + steps).min(Severity::ALL.len() - 1)];
        if steps > 0 {
            reason.push_str(&format!(" Raised from {severity}: here it touched {}.", self.accounts()));
        }
        (raised, reason)
    }
}

/// A journey while it is followed: numbers for names.
struct Trail {
    name: Option<Box<str>>,
    steps: Vec<Step>,
}

struct Step {
    time: Option<Timestamp>,
    file: u32,
    finding: u32,
}

/// Adds up while the inputs are read.
pub struct Collector<'a> {
    redactor: &'a Redactor,
    since: Option<Timestamp>,
    keys: RandomState,
    codes: HashMap<(&'static str, String), u32>,
    trails: HashMap<Box<str>, Trail>,
    /// The files that steps name.
    files: Vec<String>,
    users: usize,
    steps: usize,
    other_codes: u64,
    undated: u64,
    more_notes: u64,
    report: Report,
    bar: Option<indicatif::ProgressBar>,
}

impl<'a> Collector<'a> {
    pub fn new(
        redactor: &'a Redactor,
        since: Option<Timestamp>,
        bar: Option<indicatif::ProgressBar>,
    ) -> Self {
        let report = Report {
            files: 0,
            bytes: 0,
            findings: Vec::new(),
            journeys: Vec::new(),
            hours: BTreeMap::new(),
            notes: Vec::new(),
            more_journeys: None,
        };
        Self {
            redactor,
            since,
            keys: RandomState::new(),
            codes: HashMap::new(),
            trails: HashMap::new(),
            files: Vec::new(),
            users: 0,
            steps: 0,
            other_codes: 0,
            undated: 0,
            more_notes: 0,
            report,
            bar,
        }
    }

    /// The report: the worst and most frequent first.
    pub fn finish(mut self) -> Report {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.report.journeys = self.journeys();
        self.add_notes();
        let mut report = self.report;
        report.findings.sort_by(|left, right| {
            let rank = |it: &Finding| (it.is_failure(), it.severity().0, it.count);
            rank(right)
                .cmp(&rank(left))
                .then_with(|| (left.family, &left.code).cmp(&(right.family, &right.code)))
        });
        report
    }

    /// Those that tell something: two events or more, or a step of a password reset.
    fn journeys(&mut self) -> Vec<Journey> {
        let findings = &self.report.findings;
        let mut trails: Vec<(Box<str>, Trail, bool, usize)> = self
            .trails
            .drain()
            .map(|(id, trail)| {
                let reset = trail.steps.iter().any(|step| findings[step.finding as usize].is_of_a_reset());
                let files = trail.steps.iter().map(|step| step.file).collect::<HashSet<_>>().len();
                (id, trail, reset, files)
            })
            .filter(|(_, trail, reset, _)| *reset || trail.steps.len() > 1)
            .collect();
        trails.sort_by(|left, right| {
            let rank = |it: &(Box<str>, Trail, bool, usize)| (it.3 > 1, it.2, it.3, it.1.steps.len());
            rank(right).cmp(&rank(left)).then_with(|| left.0.cmp(&right.0))
        });
        if trails.len() > SHOWN_JOURNEYS {
            self.report.more_journeys = Some("There were more journeys; the most telling thousand are here.");
            trails.truncate(SHOWN_JOURNEYS);
        }
        let journey = |(id, trail, ..): (Box<str>, Trail, bool, usize)| {
            let mut steps: Vec<JourneyStep> = trail
                .steps
                .iter()
                .map(|step| {
                    let finding = &findings[step.finding as usize];
                    JourneyStep {
                        time: step.time,
                        file: self.files[step.file as usize].clone(),
                        family: finding.family,
                        code: finding.code.clone(),
                        quoted: finding.quoted(),
                        title: finding.entry.map(|entry| entry.title),
                    }
                })
                .collect();
            steps.sort_by(|left, right| (left.time, &left.file).cmp(&(right.time, &right.file)));
            Journey { correlation_id: id.into(), user: trail.name.map(Into::into), steps }
        };
        trails.into_iter().map(journey).collect()
    }

    fn add_notes(&mut self) {
        let mut last = Vec::new();
        if self.more_notes > 0 {
            last.push(format!("{} more notes are not shown", self.more_notes));
        }
        if self.other_codes > 0 {
            last.push(format!(
                "{} events carry further codes: only {MOST_CODES} are told apart",
                self.other_codes
            ));
        }
        if self.undated > 0 && self.since.is_some() {
            last.push(format!("{} events have no time that can be read; --since left them in", self.undated));
        }
        self.report.notes.extend(last.into_iter().map(|note| ("all inputs".to_owned(), note)));
    }

    /// The place of the finding for this code, a new one while there is room.
    fn finding_of(&mut self, family: &'static str, code: &str) -> Option<u32> {
        let key = (family, code.to_owned());
        if let Some(place) = self.codes.get(&key) {
            return Some(*place);
        }
        let place = u32::try_from(self.report.findings.len()).ok()?;
        if self.report.findings.len() >= MOST_CODES {
            return None;
        }
        self.report.findings.push(Finding {
            family,
            // A made-up code can be as long as its line.
            code: code.chars().take(200).collect(),
            entry: Entry::find(family, code),
            count: 0,
            first_seen: None,
            last_seen: None,
            users: HashSet::new(),
            more_users: false,
            examples: Vec::new(),
        });
        self.codes.insert(key, place);
        Some(place)
    }

    fn follow(&mut self, input: &str, event: &Event, time: Option<Timestamp>, finding: u32) {
        let Some(id) = &event.correlation_id else { return };
        if self.steps >= MOST_STEPS
            || (self.trails.len() >= MOST_JOURNEYS && !self.trails.contains_key(id.as_str()))
        {
            self.report.more_journeys = Some("There were more correlation IDs than are followed.");
            return;
        }
        if self.files.last().is_none_or(|last| last != input) {
            self.files.push(input.to_owned());
        }
        let file = u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX);
        let trail =
            self.trails.entry(id.as_str().into()).or_insert_with(|| Trail { name: None, steps: Vec::new() });
        if let Some(user) = event.user.as_ref().filter(|_| trail.name.is_none()) {
            trail.name =
                Some(self.redactor.pseudonym("user", user).chars().take(64).collect::<String>().into());
        }
        if trail.steps.len() < LONGEST_JOURNEY {
            trail.steps.push(Step { time, file, finding });
            self.steps += 1;
        }
    }
}

impl Journey {
    /// In how many files it left a trace.
    pub fn files(&self) -> usize {
        self.steps.iter().map(|step| &step.file).collect::<HashSet<_>>().len()
    }
}

/// The event's time, if it can be read.
pub fn instant(event: &Event) -> Option<Timestamp> {
    event.time.as_ref().and_then(|time| time.parse().ok())
}

impl Watcher for Collector<'_> {
    fn event(&mut self, input: &str, event: Event) {
        let time = instant(&event);
        if time.zip(self.since).is_some_and(|(time, since)| time < since) {
            return;
        }
        if time.is_none() {
            self.undated += 1;
        }
        let Some(place) = self.finding_of(event.family, &event.code) else {
            self.other_codes += 1;
            return;
        };
        self.follow(input, &event, time, place);
        let finding = &mut self.report.findings[place as usize];
        finding.count += 1;
        if let Some(time) = time {
            finding.first_seen = Some(finding.first_seen.map_or(time, |first| first.min(time)));
            finding.last_seen = Some(finding.last_seen.map_or(time, |last| last.max(time)));
            let hour = time.as_second().div_euclid(3600);
            let hours = &mut self.report.hours;
            if finding.is_failure() && (hours.len() < MOST_HOURS || hours.contains_key(&hour)) {
                *hours.entry(hour).or_default() += 1;
            }
        }
        if let Some(user) = &event.user {
            let user = self.keys.hash_one(user.to_lowercase());
            if finding.users.len() < MOST_USERS && self.users < MOST_USERS_OF_ALL {
                self.users += usize::from(finding.users.insert(user));
            } else {
                finding.more_users |= !finding.users.contains(&user);
            }
        }
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(Example {
                file: input.to_owned(),
                line: event.line,
                record: event.record,
                text: self.redactor.text(&event.text, event.user.as_deref()),
                time: event.time,
                correlation_id: event.correlation_id,
            });
        }
    }

    fn note(&mut self, input: &str, note: &str) {
        if self.report.notes.len() < MOST_NOTES {
            self.report.notes.push((input.to_owned(), note.to_owned()));
        } else {
            self.more_notes += 1;
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.report.bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn looked(&mut self) {
        self.report.files += 1;
    }
}
