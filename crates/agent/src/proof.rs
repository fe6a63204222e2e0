//! Who sits there: minting a code, mailing it to the address of record, and checking the one that was typed, be it from the
//! mail or of something that the person holds.

use crate::held::{Right, Wrong};
use crate::journal::Challenge;
use crate::mail::{MailError, mask};
use crate::{Agent, Ended, may_pass, no_journal, not_found};
use keyback_ad::User;
use keyback_codes::{Cause, Explain};
use keyback_core::job::Operation;
use keyback_core::message::Header;
use keyback_core::methods::Bundle;
use keyback_core::outcome::Outcome;
use keyback_core::{
    ChallengeId, Failure, JobId, ObjectGuid, Person, PlainCode, SealedMethod, Timestamp, TypedCode, UserName,
    Way, ids,
};
use std::time::Duration;

/// A code can be typed in for this long.
const CODE_IS_GOOD: Duration = Duration::from_mins(10);
/// After the right code, the new password can be submitted for this long.
const PROOF_IS_GOOD: Duration = Duration::from_mins(15);
/// Wrong codes before a challenge is worth nothing.
const WRONG_CODES: u32 = 5;
/// Codes that one person is mailed in an hour, lest somebody fill their mailbox.
const CODES_AN_HOUR: usize = 6;
/// Passwords that may be tried on one proof: the directory's policy may refuse the first ones.
const JOBS_A_PROOF: usize = 5;

/// What a right code comes to.
enum Counted {
    /// It is not enough.
    MoreProof(Outcome),
    /// It proves who sits there.
    Enough { person: ObjectGuid, until: Timestamp, renewed: Option<SealedMethod> },
}

/// Whether what was given proves somebody. Who wants to look after their methods and has one must use it: else a mailbox
/// that was taken over would be enough to replace it.
/// Two ways are not asked for there: the password is one more, and the second way may be what they are here for.
fn is_enough(operation: Operation, given: &[Way], has_methods: bool, needed: usize) -> bool {
    let held = given.iter().any(|way| *way != Way::Mail);
    match operation {
        Operation::Register => held || !has_methods,
        Operation::Reset | Operation::Change | Operation::Unlock => given.len() >= needed,
    }
}

pub(crate) fn refused(cause: Cause) -> Outcome {
    Outcome::Refused(Failure::of(cause))
}

fn person(user: &User, mail: &str) -> Person {
    let sam = &user.sam_account_name;
    Person {
        object_guid: user.guid,
        source_anchor: user.source_anchor.clone(),
        user_principal_name: user.user_principal_name.clone().unwrap_or_else(|| sam.clone()),
        sam_account_name: sam.clone(),
        display_name: user.display_name.clone().unwrap_or_else(|| sam.clone()),
        mail_hint: if mail.is_empty() { String::new() } else { mask(mail) },
    }
}

impl Agent {
    /// Finds the user, mints a code, journals it and mails it. `held`: mails none, for the person has something else.
    pub(crate) async fn mint_code(&self, header: &Header, name: &UserName, held: bool) -> Ended<Outcome> {
        let parts = &self.0.parts;
        let user = parts.directory.find_user(name).await.map_err(|error| not_found(&error))?;
        self.check_target(&user).await?;
        let Some(mail) = user.mail.as_deref().or(held.then_some("")) else {
            let failure = Failure::of(Cause::TargetNoMail).seen(
                "mail",
                "not set, or not readable",
                user.dn.to_string(),
            );
            return Ok(Outcome::Refused(failure));
        };
        let rule = parts.proof.rule(&user);
        let ways: &[Way] = if held { &[Way::Totp, Way::Recovery, Way::Pass] } else { &[Way::Mail] };
        if !ways.iter().any(|way| rule.ways.contains(way)) {
            let wanted = if held { "an app, a sheet or a pass" } else { "a mailed code" };
            let failure = Failure::of(Cause::ProofWayNotAllowed);
            return Ok(Outcome::Refused(failure.seen("way", wanted, user.dn.to_string())));
        }
        let now = self.now();
        let an_hour_ago = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
        if parts.journal.codes_since(user.guid, an_hour_ago, held) >= CODES_AN_HOUR {
            return Ok(refused(Cause::ProofTooMany));
        }
        // Whoever takes a job over from this agent goes by how the user stood before anybody could do anything.
        let writes = header.operation != Operation::Register;
        let stood = if self.keys().peers().is_empty() || !writes {
            None
        } else {
            let begun = parts.directory.begin_write(user.guid).await.map_err(|error| not_found(&error))?;
            Some(begun.pin().clone())
        };
        let id = ChallengeId::from_random(ids::random());
        let code = PlainCode::mint(ids::random());
        let expires_at = now.plus(CODE_IS_GOOD);
        let person = person(&user, mail);
        let challenge = Challenge {
            id,
            job_id: header.job_id,
            at: now,
            expires_at,
            operation: header.operation,
            person: person.clone(),
            code_hash: code.hash(id.to_string().as_bytes()),
            held,
            rule: rule.special(),
            stood,
        };
        parts.journal.minted(challenge).await.map_err(|error| no_journal(&error))?;
        if held {
            return Ok(Outcome::CodeSent { challenge: id, person, expires_at });
        }
        let sent =
            parts.mailer.send_code(mail, &code, header.operation, header.correlation_id, expires_at).await;
        sent.map_err(|error| mail_failed(&error, &user))?;
        tracing::info!(
            job.id = %header.job_id,
            correlation_id = %header.correlation_id,
            user.object_guid = %user.guid,
            "a code was mailed"
        );
        Ok(Outcome::CodeSent { challenge: id, person, expires_at })
    }

    /// Counts the try, then answers.
    pub(crate) async fn check_code(
        &self,
        header: &Header,
        id: ChallengeId,
        code: &TypedCode,
        methods: Option<&Bundle>,
    ) -> Ended<Outcome> {
        let (person, proof_until, renewed) = match self.count_code(header, id, code, methods).await? {
            Counted::MoreProof(outcome) => {
                self.mail_second(header, id).await;
                return Ok(outcome);
            }
            Counted::Enough { person, until, renewed } => (person, until, renewed),
        };
        let rules = self.read_rules(person, header.operation).await;
        let voucher = self.vouch(header, id, proof_until);
        Ok(Outcome::CodeAccepted { challenge: id, expires_at: proof_until, rules, voucher, renewed })
    }

    /// A code by mail as the second proof, where the first one was of something held and nothing was mailed yet. Nobody
    /// waits for it, and a sheet may do as well.
    async fn mail_second(&self, header: &Header, id: ChallengeId) {
        let parts = &self.0.parts;
        let Some(state) = parts.journal.challenge(id) else { return };
        let challenge = state.challenge;
        let rule = challenge.rule.unwrap_or_default();
        if !challenge.held || !rule.ways.contains(&Way::Mail) {
            return;
        }
        let Ok(user) = parts.directory.load_user(challenge.person.object_guid).await else { return };
        let Some(mail) = user.mail else { return };
        let code = PlainCode::mint(ids::random());
        let hash = code.hash(id.to_string().as_bytes());
        if let Err(error) = parts.journal.mailed(id, self.now(), hash).await {
            tracing::error!(%error, "no code was mailed as the second proof");
            return;
        }
        let sent = parts
            .mailer
            .send_code(&mail, &code, header.operation, header.correlation_id, challenge.expires_at)
            .await;
        if let Err(error) = sent {
            tracing::warn!(job.id = %header.job_id, error = &error as &dyn std::error::Error, "no code was mailed as the second proof");
        }
    }

    /// Tries are looked at one after the other: of many at once, no more count than of those that come by themselves.
    async fn count_code(
        &self,
        header: &Header,
        id: ChallengeId,
        code: &TypedCode,
        methods: Option<&Bundle>,
    ) -> Ended<Counted> {
        let _one = self.0.tries.lock().await;
        let journal = &self.0.parts.journal;
        let now = self.now();
        // The hash is taken either way: a challenge that is not there must not answer faster.
        let hash = match code {
            TypedCode::Mailed(code) => Some(code.hash(id.to_string().as_bytes())),
            TypedCode::Totp(_) | TypedCode::Recovery(_) => None,
        };
        let Some(state) = journal.challenge(id) else { return Err(refused(Cause::ProofWrongCode)) };
        let challenge = &state.challenge;
        if now > challenge.expires_at || challenge.operation != header.operation {
            return Err(refused(Cause::ProofExpired));
        }
        if state.wrong >= WRONG_CODES {
            return Err(refused(Cause::ProofTooMany));
        }
        let person = challenge.person.object_guid;
        let rule = challenge.rule.clone().unwrap_or_default();
        let mine = self.open_methods(person, methods);
        let (way, found) = if let Some(hash) = hash {
            // Both are salted hashes: how long the comparison takes tells nothing about the code.
            (Way::Mail, (hash == challenge.code_hash).then_some(None).ok_or(Wrong::Code))
        } else {
            self.check_held_tries(person)?;
            let judged = self.judge_held(&mine, code, header.job_id, now);
            let typed = if matches!(code, TypedCode::Totp(_)) { Way::Totp } else { Way::Recovery };
            (judged.as_ref().map_or(typed, |right| right.way), judged.map(Some))
        };
        let found = if rule.ways.contains(&way) { found } else { found.and(Err(Wrong::NotAllowed)) };
        let right = match found {
            Ok(right) => right,
            Err(wrong) => {
                let kept = match way {
                    Way::Mail => journal.tried(id, now, None).await,
                    Way::Totp | Way::Recovery | Way::Pass => journal.tried_held(id, now, None, None).await,
                };
                kept.map_err(|error| no_journal(&error))?;
                return Err(wrong.refusal());
            }
        };
        let (spent, renewed) =
            right.map_or((None, None), |Right { spent, renewed, .. }| (Some(spent), renewed));
        let given: Vec<Way> =
            state.given.iter().copied().filter(|other| *other != way).chain([way]).collect();
        if !is_enough(header.operation, &given, !mine.is_empty(), rule.needed) {
            journal.given(id, now, way, spent).await.map_err(|error| no_journal(&error))?;
            return Ok(Counted::MoreProof(Outcome::MoreProof { challenge: id, given, renewed }));
        }
        let until = now.plus(PROOF_IS_GOOD);
        let kept = match way {
            Way::Mail => journal.tried(id, now, Some(until)).await,
            Way::Totp | Way::Recovery | Way::Pass => journal.tried_held(id, now, Some(until), spent).await,
        };
        kept.map_err(|error| no_journal(&error))?;
        Ok(Counted::Enough { person, until, renewed })
    }

    /// Whether the challenge proves, now, that this header's user wants this header's operation.
    pub(crate) fn check_proof(&self, header: &Header, id: ChallengeId, job_id: JobId) -> Ended<()> {
        let journal = &self.0.parts.journal;
        let (until, operation, person, used_by) = match (journal.challenge(id), self.vouched(header, id)) {
            (Some(state), _) => {
                let challenge = state.challenge;
                (state.proof_until, challenge.operation, challenge.person.object_guid, state.used_by)
            }
            (None, Some(voucher)) => {
                let used_by = journal.rested_on(id);
                (Some(voucher.expires_at), voucher.operation, voucher.object_guid, used_by)
            }
            (None, None) => return Err(refused(Cause::ProofExpired)),
        };
        let others: Vec<JobId> = used_by.into_iter().filter(|used| *used != job_id).collect();
        let holds = until.is_some_and(|until| self.now() <= until)
            && operation == header.operation
            && header.object_guid == Some(person)
            && others.len() < JOBS_A_PROOF
            && !self.succeeded(&others);
        if holds { Ok(()) } else { Err(refused(Cause::ProofExpired)) }
    }

    /// Whether one of the jobs has done what the proof was given for, or may have.
    fn succeeded(&self, jobs: &[JobId]) -> bool {
        use crate::journal::JobRecord;
        jobs.iter().any(|job| match self.0.parts.journal.job(*job) {
            Some(JobRecord::Ended { outcome, .. }) => !matches!(outcome, Outcome::Refused(_)),
            Some(JobRecord::Begun { .. }) => true,
            None => false,
        })
    }
}

fn mail_failed(error: &MailError, user: &User) -> Outcome {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    may_pass(Failure::of(error.cause()).seen("mail", format!("{error}: {source}"), user.dn.to_string()))
}
