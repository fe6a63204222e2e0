//! What `doctor --fix` changes: the least that helps, at the narrowest place, and why the rest is left to people.
//!
//! [`plan`] is pure: from what was examined and what it proves to edits of objects. [`prepare`] reads the objects as the
//! account that mends and makes exact values of the edits ([`draft`]); [`apply`](Draft::apply) writes them. It never joins
//! a group, gives more than the one right that is missing, edits AdminSDHolder or a protected object, or changes a policy.

mod commands;
mod draft;
mod refusal;
mod rights;
#[cfg(test)]
mod tests;

pub use commands::commands;
pub use draft::{Draft, Unfit, prepare};
pub use refusal::is_automatic;
pub(super) use rights::is_narrow;

use super::Setting;
use crate::guard;
use keyback_ad::descriptor::{AccessMask, Ace};
use keyback_ad::{Applies, Dn, Examination, Found, Ground, Subject, User};
use keyback_codes::Cause;
use keyback_core::diagnosis::{Diagnosis, State};
use std::cmp::Reverse;

/// One change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// One more ACE, where canonical order has it.
    Add(Ace),
    /// One explicit ACE less.
    Remove(Ace),
    /// Inheritance from above is on again.
    Inherit,
    /// A lockout ends: lockoutTime = 0.
    Unlock,
    /// The trace of a former administrator goes: no adminCount.
    ForgetAdminCount,
    /// The account is enabled.
    Enable,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An object whose DN was read.
    Object(Dn),
    /// An account of which only the name is known, because it could not sign in.
    Account(String),
}

impl Target {
    fn depth(&self) -> usize {
        match self {
            Self::Object(dn) => std::iter::successors(dn.parent(), Dn::parent).count(),
            Self::Account(_) => 0,
        }
    }
}

/// The edits of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend {
    /// Which.
    pub target: Target,
    /// In the order in which they are made.
    pub edits: Vec<Edit>,
    /// The faults that they mend.
    pub causes: Vec<Cause>,
    /// Whom else it concerns, and why here; sentences.
    pub remarks: Vec<String>,
}

/// A fault that is not mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub cause: Cause,
    /// Why; a sentence.
    pub why: String,
}

/// All that is to be done about one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is changed.
    pub mends: Vec<Mend>,
    /// What is not.
    pub refused: Vec<Refused>,
    /// The OU in scope on which the same ACEs would cover everybody in it.
    pub offer: Option<Dn>,
}

/// The container for which a grant was asked is none in which it belongs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{dn} is no place for a grant: {why}")]
pub struct NotAPlace {
    /// As it was asked.
    pub dn: Dn,
    /// Why not.
    pub why: &'static str,
}

struct Planner<'a> {
    setting: &'a Setting,
    diagnosis: &'a Diagnosis,
    /// The user as the account that mends sees it.
    seen: Option<&'a User>,
    /// Where a grant is asked to lie.
    at: Option<&'a Dn>,
    plan: Plan,
}

/// What mends the faults of `diagnosis`, which was made from `examination`. `seen` is the user as the account that mends
/// sees it: where inheritance is off, the connector account often cannot read the groups any more. With `at`, what is
/// missing is granted there and not on the user's own OU.
pub fn plan(
    examination: &Examination,
    setting: &Setting,
    diagnosis: &Diagnosis,
    seen: Option<&User>,
    at: Option<&Dn>,
) -> Result<Plan, NotAPlace> {
    let mut planner = Planner { setting, diagnosis, seen, at, plan: Plan::default() };
    planner.connector(&examination.connector);
    if let (Some(ground), Some(Found::One(subject))) = (&examination.ground, &examination.found) {
        if let Some(at) = at {
            planner.check_place(at, ground, subject)?;
        }
        planner.user(ground, subject);
    }
    planner.refuse_the_rest();
    // The deepest first: what is changed above changes the inherited ACEs below, and so what was read there.
    planner.plan.mends.sort_by_key(|mend| Reverse(mend.target.depth()));
    Ok(planner.plan)
}

impl Planner<'_> {
    fn has(&self, cause: Cause) -> bool {
        let proven = |verdict: &&keyback_core::diagnosis::Verdict| verdict.state == State::Confirmed;
        self.diagnosis.verdicts.iter().filter(proven).any(|verdict| verdict.cause == cause)
    }

    fn edit(&mut self, target: Target, edit: Edit, cause: Cause) -> Option<&mut Mend> {
        let mends = &mut self.plan.mends;
        let index = mends.iter().position(|mend| mend.target == target).unwrap_or_else(|| {
            mends.push(Mend { target, edits: Vec::new(), causes: Vec::new(), remarks: Vec::new() });
            mends.len() - 1
        });
        let mend = mends.get_mut(index)?;
        if !mend.edits.contains(&edit) {
            mend.edits.push(edit);
        }
        if !mend.causes.contains(&cause) {
            mend.causes.push(cause);
        }
        Some(mend)
    }

    fn edit_object(&mut self, ground: &Ground, dn: &Dn, edit: Edit, cause: Cause, remark: Option<String>) {
        if is_forbidden(dn, &ground.base) {
            self.refuse(cause, format!("{dn} belongs to the system: keyback does not touch it."));
            return;
        }
        if let Some(mend) = self.edit(Target::Object(dn.clone()), edit, cause) {
            mend.remarks.extend(
                remark.filter(|remark| !mend.remarks.contains(remark)).into_iter().collect::<Vec<_>>(),
            );
        }
    }

    fn refuse(&mut self, cause: Cause, why: impl Into<String>) {
        let refused = Refused { cause, why: why.into() };
        if !self.plan.refused.contains(&refused) {
            self.plan.refused.push(refused);
        }
    }

    /// It could not sign in, so nothing else was read.
    fn connector(&mut self, name: &str) {
        for (cause, edit, remark) in [
            (
                Cause::ConnectorLocked,
                Edit::Unlock,
                "Find out who guesses its password, or it is locked again.",
            ),
            (
                Cause::ConnectorDisabled,
                Edit::Enable,
                "Somebody disabled it: make sure that it was not on purpose.",
            ),
        ] {
            if self.has(cause)
                && let Some(mend) = self.edit(Target::Account(name.to_owned()), edit, cause)
            {
                mend.remarks.push(remark.to_owned());
            }
        }
    }

    fn user(&mut self, ground: &Ground, subject: &Subject) {
        let Some(sid) = &ground.connector_sid else { return };
        let dn = &subject.user.dn;
        let user = self.seen.unwrap_or(&subject.user);
        if guard::check_protection(user, sid, &self.setting.protected_groups).is_err() {
            self.refuse_all(match (&user.token_groups, self.seen) {
                (None, None) => {
                    "Whether the user is protected cannot be read by the connector account: --fix-as names one that can."
                }
                (None, Some(_)) => "Whether the user is protected cannot be read: nothing of it is changed.",
                (Some(_), _) => "The user is protected: nothing of it is changed.",
            });
            return;
        }
        if self.has(Cause::TargetOutOfScope) {
            self.refuse_all("The user is out of scope: whoever is not to be reset needs no mending.");
            return;
        }
        self.rights(ground, subject, sid);
        if self.has(Cause::TargetLocked) {
            let remark = "badPwdCount ends with it, and --undo does not bring that back; Windows takes no lockoutTime back but 0.".to_owned();
            self.edit_object(ground, dn, Edit::Unlock, Cause::TargetLocked, Some(remark));
        }
        if let (true, Some(Applies::UnreadablePso(pso))) =
            (self.has(Cause::PolicyPsoUnreadable), &subject.applies)
        {
            let read = Ace::allow(AccessMask::GENERIC_READ.mapped(), None, sid.clone());
            match Dn::parse(pso) {
                Ok(pso) => {
                    let remark =
                        "The policy itself stays as it is; the connector account may read it.".to_owned();
                    let cause = Cause::PolicyPsoUnreadable;
                    self.edit_object(ground, &pso, Edit::Add(read), cause, Some(remark));
                }
                Err(_) => self.refuse(Cause::PolicyPsoUnreadable, "The policy's DN cannot be read."),
            }
        }
    }

    fn refuse_all(&mut self, why: &str) {
        let causes: Vec<Cause> = self.diagnosis.verdicts.iter().map(|verdict| verdict.cause).collect();
        for cause in causes.into_iter().filter(|cause| refusal::why_not(*cause).is_none()) {
            self.refuse(cause, why);
        }
    }

    /// Whatever is neither mended nor refused yet.
    fn refuse_the_rest(&mut self) {
        for verdict in &self.diagnosis.verdicts {
            let cause = verdict.cause;
            let mended = self.plan.mends.iter().any(|mend| mend.causes.contains(&cause));
            let refused = self.plan.refused.iter().any(|refused| refused.cause == cause);
            match refusal::why_not(cause) {
                Some(why) => self.refuse(cause, why),
                None if mended || refused => {}
                None if verdict.state == State::Confirmed => {
                    self.refuse(cause, "What was read does not say where the change belongs.");
                }
                None => self.refuse(cause, "It is not proven: what it rests on could not be read."),
            }
        }
    }
}

/// What belongs to the system. Policies lie there too, but an ACE to read one is no change of it.
fn is_forbidden(dn: &Dn, base: &Dn) -> bool {
    let under = |name: &str| Dn::parse(&format!("{name},{base}")).is_ok_and(|place| dn.is_under(&place));
    let policies = "CN=Password Settings Container,CN=System";
    (under("CN=System") && !under(policies)) || under("OU=Domain Controllers") || under("CN=Builtin")
}
