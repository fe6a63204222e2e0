//! What people prove themselves with: signing in to look after it, and adding, trying and removing it.
//!
//! Whoever is here has proved a challenge for [`Operation::Register`] and then typed their password. The password comes
//! last, so that a stranger who knows a name can lock nobody out; it is one bind, counted before it is made, and none is
//! made where the directory would soon lock the account.

use crate::held::Wrong;
use crate::journal::ChallengeState;
use crate::proof::refused;
use crate::totp::{self, Judged};
use crate::vault::{Method, Secret};
use crate::{Agent, Ended, may_pass, no_journal, not_found};
use keyback_ad::SignedIn;
use keyback_codes::{Cause, Explain};
use keyback_core::job::Operation;
use keyback_core::message::Header;
use keyback_core::methods::Bundle;
use keyback_core::outcome::Outcome;
use keyback_core::{
    ChallengeId, CurrentPassword, Failure, MethodId, ObjectGuid, RecoveryCode, Timestamp, TotpCode, TotpSeed,
    TypedCode, ids,
};
use std::time::Duration;

/// After the right password, methods can be looked after for this long.
const SIGNED_IN_FOR: Duration = Duration::from_mins(15);
/// Passwords that are tried for one person in an hour.
const PASSWORDS_AN_HOUR: usize = 3;

fn check_operation(header: &Header) -> Ended<()> {
    if header.operation == Operation::Register { Ok(()) } else { Err(refused(Cause::MessageRefused)) }
}

impl Agent {
    /// Whether this is the password of whoever has proved the challenge: one bind a job, and none at a retry.
    pub(crate) async fn check_password(
        &self,
        header: &Header,
        id: ChallengeId,
        current: &CurrentPassword,
    ) -> Ended<Outcome> {
        let _one = self.0.sign_ins.lock().await;
        check_operation(header)?;
        self.check_proof(header, id, header.job_id)?;
        let parts = &self.0.parts;
        let guid = header.object_guid.ok_or_else(|| refused(Cause::MessageRefused))?;
        let now = self.now();
        if let Some(until) = parts.journal.challenge(id).and_then(|state| state.signed_in_until) {
            return Ok(Outcome::SignedIn { challenge: id, expires_at: until });
        }
        let an_hour_ago = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
        let (tried, by_this_job) = parts.journal.passwords_since(guid, an_hour_ago, header.job_id);
        if by_this_job {
            // Its answer was lost. Asking the directory again could count against the person twice.
            return Ok(refused(Cause::ProofExpired));
        }
        let check =
            parts.directory.begin_password_check(guid, now).await.map_err(|error| not_found(&error))?;
        self.check_target(check.user()).await?;
        if tried >= PASSWORDS_AN_HOUR || check.room() == 0 {
            let room = check.room().to_string();
            let failure =
                Failure::of(Cause::ProofPasswordTries).seen("wrong passwords left", room, &check.user().dc);
            return Ok(Outcome::Refused(failure));
        }
        parts.journal.password_tried(header.job_id, now, guid).await.map_err(|error| no_journal(&error))?;
        let asked = check.ask(current).await.map_err(|error| {
            // Asked again, it would be a second try.
            Outcome::Refused(Failure::of(error.cause()).seen("bind", error.to_string(), error.dc()))
        })?;
        let (cause, reply) = match asked {
            SignedIn::Right => {
                let until = now.plus(SIGNED_IN_FOR);
                parts.journal.signed_in(id, now, until).await.map_err(|error| no_journal(&error))?;
                return Ok(Outcome::SignedIn { challenge: id, expires_at: until });
            }
            SignedIn::Wrong(reply) => (Cause::TargetWrongPassword, reply),
            SignedIn::Untold(reply) if reply.bind_data == Some(0x775) => (Cause::TargetLocked, reply),
            SignedIn::Untold(reply) => (Cause::Unspecified, reply),
        };
        Ok(Outcome::Refused(Failure { reply: Some(reply), ..Failure::of(cause) }))
    }

    /// The challenge of whoever has signed in with it.
    fn signed_in(&self, header: &Header, id: ChallengeId) -> Ended<ChallengeState> {
        check_operation(header)?;
        let state = self.journal().challenge(id).filter(|state| {
            Some(state.challenge.person.object_guid) == header.object_guid
                && state.challenge.operation == Operation::Register
                && state.signed_in_until.is_some_and(|until| self.now() <= until)
        });
        state.ok_or_else(|| refused(Cause::ProofExpired))
    }

    /// What is added beside what somebody has counts later. Whoever had nothing has proved themselves by mail: what they add
    /// then counts at once.
    fn usable_at(&self, state: &ChallengeState, now: Timestamp) -> Timestamp {
        if state.by_held { now.plus(self.0.parts.proof.freeze) } else { now }
    }

    fn keep(&self, header: &Header, method: &Method) -> Ended<Outcome> {
        let kept =
            self.0.parts.vault.close(method).ok_or_else(|| may_pass(Failure::of(Cause::ConfigInvalid)))?;
        let usable_at = method.usable_at;
        let what = match method.secret {
            Secret::Totp { .. } => "An authenticator app was added",
            Secret::Recovery { .. } | Secret::Pass { .. } => {
                "Recovery codes were made; those from before count no more"
            }
        };
        self.tell(header, method.object_guid, format!("{what}. It counts from {usable_at}."));
        Ok(Outcome::Kept { method: kept, usable_at })
    }

    /// Tells the person at their address of record, behind the answer.
    fn tell(&self, header: &Header, whom: ObjectGuid, what: String) {
        let (agent, correlation_id, at) = (self.clone(), header.correlation_id, self.now());
        self.0.afterwards.spawn(async move {
            let parts = &agent.0.parts;
            let Ok(user) = parts.directory.load_user(whom).await else { return };
            let Some(to) = user.mail else { return };
            if let Err(error) = parts.mailer.send_change(&to, &what, correlation_id, at).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%correlation_id, error, "no notice was mailed");
            }
        });
    }

    /// Keeps an app that has shown that it has the seed and the time.
    pub(crate) fn add_totp(
        &self,
        header: &Header,
        id: ChallengeId,
        method: MethodId,
        seed: &TotpSeed,
        code: &TotpCode,
    ) -> Ended<Outcome> {
        let state = self.signed_in(header, id)?;
        let now = self.now();
        let last_step = match totp::judge(seed, code, now) {
            Judged::Right(step) => step,
            Judged::ClockOff(seconds) => return Err(Wrong::ClockOff(seconds).refusal()),
            Judged::Wrong => return Err(Wrong::Code.refusal()),
        };
        let usable_at = self.usable_at(&state, now);
        self.keep(
            header,
            &Method {
                id: method,
                object_guid: state.challenge.person.object_guid,
                usable_at,
                secret: Secret::Totp { seed: seed.again(), last_step },
            },
        )
    }

    /// Keeps a sheet of codes. The one before it is worth nothing from then on.
    pub(crate) async fn add_recovery(
        &self,
        header: &Header,
        id: ChallengeId,
        method: MethodId,
        replaces: Option<MethodId>,
        codes: &[RecoveryCode],
    ) -> Ended<Outcome> {
        let state = self.signed_in(header, id)?;
        let now = self.now();
        if let Some(old) = replaces {
            self.journal().method_gone(old, now).await.map_err(|error| no_journal(&error))?;
        }
        let salt = ids::random();
        let hashes = codes.iter().map(|code| code.hash(&salt)).collect();
        let usable_at = self.usable_at(&state, now);
        self.keep(
            header,
            &Method {
                id: method,
                object_guid: state.challenge.person.object_guid,
                usable_at,
                secret: Secret::Recovery { salt, used: 0, hashes },
            },
        )
    }

    /// Looks whether a code belongs to one of the person's methods. It is used up by that.
    pub(crate) async fn test_method(
        &self,
        header: &Header,
        id: ChallengeId,
        code: &TypedCode,
        methods: &Bundle,
    ) -> Ended<Outcome> {
        let _one = self.0.tries.lock().await;
        let state = self.signed_in(header, id)?;
        let person = state.challenge.person.object_guid;
        self.check_held_tries(person)?;
        let now = self.now();
        let judged = self.judge_held(&self.open_methods(person, Some(methods)), code, header.job_id, now);
        let (until, spent) = match &judged {
            Ok(right) => (state.proof_until, Some(right.spent)),
            Err(_) => (None, None),
        };
        self.journal().tried_held(id, now, until, spent).await.map_err(|error| no_journal(&error))?;
        match judged.map(|right| right.renewed) {
            Ok(Some(renewed)) => Ok(Outcome::Tested { renewed }),
            Ok(None) => Err(may_pass(Failure::of(Cause::ConfigInvalid))),
            Err(wrong) => Err(wrong.refusal()),
        }
    }

    /// From now on the method counts no more, whoever still has its block.
    pub(crate) async fn remove_method(
        &self,
        header: &Header,
        id: ChallengeId,
        method: MethodId,
    ) -> Ended<Outcome> {
        let state = self.signed_in(header, id)?;
        self.journal().method_gone(method, self.now()).await.map_err(|error| no_journal(&error))?;
        let what = "One of the ways in which you prove who you are was removed.".to_owned();
        self.tell(header, state.challenge.person.object_guid, what);
        Ok(Outcome::Removed { method })
    }
}
