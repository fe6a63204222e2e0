//! What was found, added up: by code, by time, and reset by reset. Bounded, however much is found.

use super::inputs::Watcher;
use super::redact::Redactor;
use jiff::Timestamp;
use keyback_codes::catalogue::{Entry, Kind, Scope, Severity};
use keyback_codes::scan::Event;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// More people than this are not told apart for one code.
const MOST_USERS: usize = 100_000;
/// More correlation IDs than this are not followed.
const MOST_JOURNEYS: usize = 50_000;
const LONGEST_JOURNEY: usize = 24;
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
    pub more_journeys: bool,
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
            reason.push_str(&format!(" Here it touched {} people.", self.users()));
        }
        (raised, reason)
    }
}

/// Adds up while the inputs are read.
pub struct Collector<'a> {
    redactor: &'a Redactor,
    since: Option<Timestamp>,
    keys: RandomState,
    findings: HashMap<(&'static str, String), Finding>,
    journeys: HashMap<String, Journey>,
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
            more_journeys: false,
        };
        Self {
            redactor,
            since,
            keys: RandomState::new(),
            findings: HashMap::new(),
            journeys: HashMap::new(),
            report,
            bar,
        }
    }

    /// The report: the worst and most frequent first.
    pub fn finish(self) -> Report {
        let Self { findings, journeys, mut report, bar, .. } = self;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        report.findings = findings.into_values().collect();
        report.findings.sort_by(|left, right| {
            let rank = |it: &Finding| (it.is_failure(), it.severity().0, it.count);
            rank(right)
                .cmp(&rank(left))
                .then_with(|| (left.family, &left.code).cmp(&(right.family, &right.code)))
        });
        report.journeys = journeys.into_values().filter(|journey| journey.steps.len() > 1).collect();
        for journey in &mut report.journeys {
            journey.steps.sort_by(|left, right| (left.time, &left.file).cmp(&(right.time, &right.file)));
        }
        report.journeys.sort_by(|left, right| {
            let rank = |it: &Journey| (it.files(), it.steps.len());
            rank(right).cmp(&rank(left)).then_with(|| left.correlation_id.cmp(&right.correlation_id))
        });
        report
    }

    fn follow(&mut self, input: &str, event: &Event, time: Option<Timestamp>) {
        let Some(id) = &event.correlation_id else { return };
        if !self.journeys.contains_key(id) && self.journeys.len() >= MOST_JOURNEYS {
            self.report.more_journeys = true;
            return;
        }
        let journey = self.journeys.entry(id.clone()).or_insert_with(|| Journey {
            correlation_id: id.clone(),
            user: None,
            steps: Vec::new(),
        });
        if journey.user.is_none() {
            journey.user = event.user.as_ref().map(|user| self.redactor.pseudonym("user", user));
        }
        if journey.steps.len() < LONGEST_JOURNEY {
            let title = Entry::find(event.family, &event.code).map(|entry| entry.title);
            journey.steps.push(JourneyStep {
                time,
                file: input.to_owned(),
                family: event.family,
                code: event.code.clone(),
                title,
            });
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
        self.follow(input, &event, time);
        let entry = Entry::find(event.family, &event.code);
        let finding = self.findings.entry((event.family, event.code.clone())).or_insert_with(|| Finding {
            family: event.family,
            code: event.code.clone(),
            entry,
            count: 0,
            first_seen: None,
            last_seen: None,
            users: HashSet::new(),
            examples: Vec::new(),
        });
        finding.count += 1;
        if let Some(time) = time {
            finding.first_seen = Some(finding.first_seen.map_or(time, |first| first.min(time)));
            finding.last_seen = Some(finding.last_seen.map_or(time, |last| last.max(time)));
            if finding.is_failure() {
                *self.report.hours.entry(time.as_second().div_euclid(3600)).or_default() += 1;
            }
        }
        if let Some(user) = event.user.as_ref().filter(|_| finding.users.len() < MOST_USERS) {
            finding.users.insert(self.keys.hash_one(user.to_lowercase()));
        }
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(Example {
                file: input.to_owned(),
                line: event.line,
                record: event.record,
                time: event.time,
                correlation_id: event.correlation_id,
                text: self.redactor.text(&event.text),
            });
        }
    }

    fn note(&mut self, input: &str, note: &str) {
        if self.report.notes.len() < MOST_NOTES {
            self.report.notes.push((input.to_owned(), note.to_owned()));
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
