//! Codes of what a person holds: an app, or a sheet of codes. Each is good for once.
//!
//! What the person has comes with the message, closed by an agent of this domain. What was used up stands in this agent's
//! journal and, for the other agents, in the block that goes back to the store.

use crate::journal::{Once, Spent};
use crate::proof::refused;
use crate::totp::{self, Judged};
use crate::vault::{Method, Secret};
use crate::{Agent, Ended};
use keyback_codes::Cause;
use keyback_core::methods::Bundle;
use keyback_core::outcome::Outcome;
use keyback_core::{Failure, JobId, ObjectGuid, SealedMethod, Timestamp, TypedCode, Way};

/// Wrong codes of one person in 24 hours, however they came: at six digits and three steps, a guesser succeeds once in
/// forty years of such days.
const WRONG_A_DAY: u32 = 20;

/// A right code.
pub(crate) struct Right {
    pub(crate) way: Way,
    pub(crate) spent: Spent,
    /// The method, as it has to be kept from now on.
    pub(crate) renewed: Option<SealedMethod>,
}

/// Why a code was not right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Code,
    /// It was right once.
    Used,
    /// It is right, of a method that counts from then on.
    Frozen(Timestamp),
    /// It is of a way that is not accepted of this person.
    NotAllowed,
    /// It is the code of a moment that lies so many seconds from now.
    ClockOff(i64),
}

impl Wrong {
    pub(crate) fn refusal(self) -> Outcome {
        match self {
            Self::Code => refused(Cause::ProofWrongCode),
            Self::Used => refused(Cause::ProofCodeUsed),
            Self::Frozen(until) => Outcome::Refused(Failure::of(Cause::ProofMethodFrozen).seen(
                "counts from",
                until.to_string(),
                "agent",
            )),
            Self::NotAllowed => refused(Cause::ProofWayNotAllowed),
            Self::ClockOff(seconds) => Outcome::Refused(Failure::of(Cause::ProofClockOff).seen(
                "clock",
                seconds.to_string(),
                "the person's phone",
            )),
        }
    }
}

impl Agent {
    /// The person's methods that count: made by an agent of this domain, for them, and not removed since.
    pub(crate) fn open_methods(&self, whose: ObjectGuid, bundle: Option<&Bundle>) -> Vec<Method> {
        let parts = &self.0.parts;
        let places = bundle.into_iter().flat_map(Bundle::places);
        let open = places.filter_map(|block| parts.vault.open(block));
        open.filter(|method| method.object_guid == whose && !parts.journal.is_gone(method.id)).collect()
    }

    /// Refuses a person for whom too many codes were wrong.
    pub(crate) fn check_held_tries(&self, whose: ObjectGuid) -> Ended<()> {
        let wrong = self.0.parts.journal.held_wrong(whose);
        if wrong < WRONG_A_DAY { Ok(()) } else { Err(refused(Cause::ProofTooMany)) }
    }

    /// Looks for the method that a code is of.
    pub(crate) fn judge_held(
        &self,
        methods: &[Method],
        code: &TypedCode,
        job_id: JobId,
        now: Timestamp,
    ) -> Result<Right, Wrong> {
        let mut wrong = Wrong::Code;
        for method in methods {
            match self.judge_one(method, code, job_id, now) {
                Ok(right) => return Ok(right),
                // What tells more is told.
                Err(Wrong::Code) => {}
                Err(other) => wrong = other,
            }
        }
        Err(wrong)
    }

    fn judge_one(
        &self,
        method: &Method,
        code: &TypedCode,
        job_id: JobId,
        now: Timestamp,
    ) -> Result<Right, Wrong> {
        let (what, used_before, secret) = match (&method.secret, code) {
            (Secret::Totp { seed, last_step }, TypedCode::Totp(code)) => {
                let step = match totp::judge(seed, code, now) {
                    Judged::Right(step) => step,
                    Judged::ClockOff(seconds) => return Err(Wrong::ClockOff(seconds)),
                    Judged::Wrong => return Err(Wrong::Code),
                };
                let secret = Secret::Totp { seed: seed.again(), last_step: step.max(*last_step) };
                (Once::Step(step), step <= *last_step, secret)
            }
            (Secret::Recovery { salt, used, hashes }, TypedCode::Recovery(code)) => {
                let hash = code.hash(salt);
                let place = hashes.iter().position(|kept| *kept == hash).ok_or(Wrong::Code)?;
                let place = u8::try_from(place).map_err(|_| Wrong::Code)?;
                let bit = 1_u16 << place;
                let secret = Secret::Recovery { salt: *salt, used: used | bit, hashes: hashes.clone() };
                (Once::Place(place), used & bit != 0, secret)
            }
            (Secret::Pass { salt, hash, expires_at }, TypedCode::Recovery(code)) => {
                if code.hash(salt) != *hash || now > *expires_at {
                    return Err(Wrong::Code);
                }
                // It is not kept any longer; the journal remembers that it was used.
                let secret = Secret::Pass { salt: *salt, hash: *hash, expires_at: now };
                (Once::Place(0), false, secret)
            }
            _ => return Err(Wrong::Code),
        };
        let way = secret.way();
        if method.usable_at > now {
            return Err(Wrong::Frozen(method.usable_at));
        }
        // A job whose answer was lost asks again: that is the same once.
        match self.journal().spent_by(method.id, what) {
            Some(spender) if spender != job_id => return Err(Wrong::Used),
            None if used_before => return Err(Wrong::Used),
            Some(_) | None => {}
        }
        let next = Method { secret, ..*method };
        let renewed = self.0.parts.vault.close(&next);
        Ok(Right { way, spent: Spent { method: method.id, what, job_id }, renewed })
    }
}
