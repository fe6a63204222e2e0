//! Why a reset of one user fails, or that it should not.
//!
//! Reads ([`Directory::examine`]), lets each probe judge what was read, and puts the faults into the order in which they
//! are mended ([`verdict`]). [`judge`] is pure: whoever has the readings already (`--all`, a test) calls it alone. A probe
//! says `Ok` only of what it has read; what cannot be read is `Unknown`, with the right that would let it be read.
//!
//! A fault is what makes a reset by keyback, with this connector, scope and candidate, fail or do harm. What is merely
//! odd (a trace of an old administrator, a policy that passes, a deny for somebody else) is observed and accuses nobody.

mod connector;
mod everyone;
mod finding;
mod identity;
mod inheritance;
mod keyback;
pub mod mend;
mod policy;
mod protection;
mod reach;
mod remedy;
mod right;
mod rights;
mod state;
#[cfg(test)]
mod tests;
pub mod undo;
mod verdict;
mod view;
mod words;

pub use everyone::{Audience, Census, diagnose_everyone};
pub use finding::Finding;
pub use keyback::KeybackState;
pub use mend::is_automatic;
pub(crate) use verdict::refine;

use crate::PasswordFilter;
use finding::Report;
use keyback_ad::{Directory, Dn, Examination, Found, Sid};
use keyback_codes::Cause;
use keyback_core::diagnosis::{Diagnosis, Patient};
use keyback_core::job::Operation;
use keyback_core::{Clock, NewPassword, ServerReply, Timestamp, UserName};
use view::View;

/// What the agent is told, as far as it decides whether a reset may happen.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// The OUs that may be touched. `None`: not told, so nobody is out of scope.
    pub scope: Option<Vec<Dn>>,
    /// Groups whose members are left alone, beside those that AdminSDHolder protects.
    pub protected_groups: Vec<Sid>,
    /// Whether codes are mailed to the directory's address of record: then nobody without one can begin.
    pub mails_codes: bool,
    /// Which passwords are not written.
    pub passwords: PasswordFilter,
    /// How keyback itself fares. `None`: doctor runs without it.
    pub keyback: Option<KeybackState>,
}

/// What a domain controller answered when it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What it was asked.
    pub operation: Operation,
    /// What it said.
    pub reply: ServerReply,
    /// What it names by itself, where it names one thing only.
    pub cause: Option<Cause>,
}

impl Observed {
    /// What an answer to `operation` says by itself.
    pub fn new(operation: Operation, reply: ServerReply) -> Self {
        Self { operation, cause: keyback_ad::named_cause(operation, &reply), reply }
    }
}

/// One question to doctor.
pub struct Case<'a> {
    /// As it was asked for.
    pub name: &'a UserName,
    /// The password that the person wants, where there is one. Judged in memory only.
    pub candidate: Option<&'a NewPassword>,
    /// A refusal to be explained, where there was one.
    pub observed: Option<&'a Observed>,
}

/// Reads and judges.
pub async fn diagnose(
    directory: &Directory,
    setting: &Setting,
    case: &Case<'_>,
    clock: &dyn Clock,
) -> Diagnosis {
    let examination = directory.examine(case.name, clock).await;
    judge(&examination, setting, case, clock.now())
}

/// Judges what was read. Asks nobody; a candidate is looked up in the agent's own lists.
pub fn judge(examination: &Examination, setting: &Setting, case: &Case<'_>, now: Timestamp) -> Diagnosis {
    let view = View { examination, setting, case, now };
    let mut report = Report::default();
    reach::probe(&view, &mut report);
    if let Some(ground) = &examination.ground {
        connector::probe(&view, ground, &mut report);
        identity::probe(&view, ground, &mut report);
        if let Some(Found::One(subject)) = &examination.found {
            protection::probe(&view, ground, subject, &mut report);
            rights::probe(&view, ground, subject, &mut report);
            state::probe(&view, ground, subject, &mut report);
            policy::probe(&view, ground, subject, &mut report);
        }
    }
    keyback::probe(&view, &mut report);
    let (verdicts, ruled_out) = verdict::decide(report.findings, &report.excluded, case.observed);
    Diagnosis {
        user: patient(examination, case),
        verdicts,
        ruled_out,
        observations: report.observations,
        dc: examination.ground.as_ref().map(|ground| ground.dc.clone()),
        seconds: examination.took.as_secs_f64(),
        round_trips: examination.questions,
    }
}

/// A user like any other.
#[cfg(test)]
pub(crate) fn sample_user() -> keyback_ad::User {
    tests::healthy().subject.user
}

fn patient(examination: &Examination, case: &Case<'_>) -> Patient {
    let asked = case.name.as_str().to_owned();
    match &examination.found {
        Some(Found::One(subject)) => Patient {
            asked,
            dn: Some(subject.user.dn.to_string()),
            object_guid: Some(subject.user.guid),
            user_principal_name: subject.user.user_principal_name.clone(),
        },
        Some(Found::Unreadable { dn, .. }) => Patient { asked, dn: Some(dn.clone()), ..Patient::default() },
        Some(Found::Nobody { .. } | Found::Several(_)) | None => Patient { asked, ..Patient::default() },
    }
}
