//! Who sits there: minting a code, mailing it to the address of record, and checking the one that was typed.

use crate::journal::Challenge;
use crate::mail::{MailError, mask};
use crate::{Agent, Ended, may_pass, no_journal, not_found};
use keyback_ad::User;
use keyback_codes::{Cause, Explain};
use keyback_core::message::Header;
use keyback_core::outcome::Outcome;
use keyback_core::{ChallengeId, Failure, JobId, Person, PlainCode, Timestamp, UserName, ids};
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

fn refused(cause: Cause) -> Outcome {
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
        mail_hint: mask(mail),
    }
}

impl Agent {
    /// Finds the user, mints a code, journals it and mails it.
    pub(crate) async fn mint_code(&self, header: &Header, name: &UserName) -> Ended<Outcome> {
        let parts = &self.0.parts;
        let user = parts.directory.find_user(name).await.map_err(|error| not_found(&error))?;
        self.check_target(&user).await?;
        let Some(mail) = user.mail.as_deref() else {
            let failure = Failure::of(Cause::TargetNoMail).seen(
                "mail",
                "not set, or not readable",
                user.dn.to_string(),
            );
            return Ok(Outcome::Refused(failure));
        };
        let now = self.now();
        let an_hour_ago = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
        if parts.journal.codes_since(user.guid, an_hour_ago) >= CODES_AN_HOUR {
            return Ok(refused(Cause::ProofTooMany));
        }
        // Whoever takes a job over from this agent goes by how the user stood before anybody could do anything.
        let stood = if self.keys().peers().is_empty() {
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
            stood,
        };
        parts.journal.minted(challenge).await.map_err(|error| no_journal(&error))?;
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
        code: &PlainCode,
    ) -> Ended<Outcome> {
        let journal = &self.0.parts.journal;
        let now = self.now();
        // The hash is taken either way: a challenge that is not there must not answer faster.
        let hash = code.hash(id.to_string().as_bytes());
        let Some(state) = journal.challenge(id) else { return Ok(refused(Cause::ProofWrongCode)) };
        let challenge = &state.challenge;
        if now > challenge.expires_at || challenge.operation != header.operation {
            return Ok(refused(Cause::ProofExpired));
        }
        if state.wrong >= WRONG_CODES {
            return Ok(refused(Cause::ProofTooMany));
        }
        // Both are salted hashes: how long the comparison takes tells nothing about the code.
        let right = hash == challenge.code_hash;
        let proof_until = right.then(|| now.plus(PROOF_IS_GOOD));
        journal.tried(id, now, proof_until).await.map_err(|error| no_journal(&error))?;
        let Some(expires_at) = proof_until else { return Ok(refused(Cause::ProofWrongCode)) };
        let rules = self.read_rules(challenge.person.object_guid, header.operation).await;
        let voucher = self.vouch(header, id, expires_at);
        Ok(Outcome::CodeAccepted { challenge: id, expires_at, rules, voucher })
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
