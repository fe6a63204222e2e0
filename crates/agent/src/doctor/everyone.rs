//! Everybody in scope, in one pass: who could not reset a password today, and why.
//!
//! The readings come from [`Directory::examine_everyone`]; each user goes through [`judge`], as a single one does, without
//! a candidate password and without a refusal to explain.

use super::{Case, Setting, judge};
use crate::guard;
use keyback_ad::{Directory, Examination, Passed, Sid, Visitor, Wanted};
use keyback_core::diagnosis::{Diagnosis, Patient, Verdict};
use keyback_core::{Clock, UserName};

/// Who hears about everybody.
pub trait Audience: Send {
    /// It begins, or begins anew after it was cut off: what was said before is void.
    fn begin(&mut self);
    /// Names of so many people were read, in a domain that is wider than the scope.
    fn names(&mut self, people: u64);
    /// One user; no verdict is a reset that should succeed. `again`: a second time, and the first word is void.
    fn user(&mut self, user: Patient, verdicts: Vec<Verdict>, again: bool);
}

/// What became of a pass.
#[derive(Debug)]
pub struct Census {
    /// How it was read.
    pub passed: Passed,
    /// What doctor says where nobody could be looked at.
    pub way: Diagnosis,
}

/// Reads and judges everybody in scope. `all` is what the whole of them is called where nobody could be looked at.
pub async fn diagnose_everyone(
    directory: &Directory,
    setting: &Setting,
    all: &UserName,
    clock: &dyn Clock,
    audience: &mut dyn Audience,
) -> Census {
    let case = Case { name: all, candidate: None, observed: None };
    let groups = |domain: Option<&Sid>| guard::protected_groups(domain, &setting.protected_groups);
    let wanted = Wanted { scope: setting.scope.as_deref(), groups: &groups };
    let mut judging = Judging { setting, case: &case, clock, audience };
    let passed = directory.examine_everyone(&wanted, clock, &mut judging).await;
    let way = judge(&passed.examination, setting, &case, clock.now());
    Census { passed, way }
}

struct Judging<'a> {
    setting: &'a Setting,
    case: &'a Case<'a>,
    clock: &'a dyn Clock,
    audience: &'a mut dyn Audience,
}

impl Visitor for Judging<'_> {
    fn begin(&mut self, _: &Examination) {
        self.audience.begin();
    }

    fn names(&mut self, people: u64) {
        self.audience.names(people);
    }

    fn user(&mut self, examination: &Examination, again: bool) {
        let Diagnosis { user, verdicts, .. } = judge(examination, self.setting, self.case, self.clock.now());
        self.audience.user(user, verdicts, again);
    }
}
