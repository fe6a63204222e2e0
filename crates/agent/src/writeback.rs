//! One job, at most one changed password.
//!
//! Looks at its journal first, at the proof and the target next, journals what it read of the user (the pin), and sends
//! one modify. When the answer is lost, it looks before it does anything again: threat model, "Setting a password when
//! the answer may get lost".

use crate::journal::JobRecord;
use crate::{Agent, Ended, guard, may_pass, no_journal, not_found, refused};
use keyback_ad::{Pin, Settled, User, Verdict, Write, WriteError};
use keyback_codes::Cause;
use keyback_core::message::{Header, SignedRequest};
use keyback_core::outcome::Outcome;
use keyback_core::{ChallengeId, CurrentPassword, Done, Failure, NewPassword, ObjectGuid};

/// What is to be written.
pub(crate) enum Wish<'a> {
    Reset(&'a NewPassword),
    Change(&'a CurrentPassword, &'a NewPassword),
    Unlock,
}

impl Wish<'_> {
    const fn new_password(&self) -> Option<&NewPassword> {
        match self {
            Self::Reset(new) | Self::Change(_, new) => Some(new),
            Self::Unlock => None,
        }
    }
}

impl Agent {
    /// The way of a reset, a change or an unlock.
    pub(crate) async fn write(
        &self,
        request: &SignedRequest<'_>,
        challenge: ChallengeId,
        wish: Wish<'_>,
    ) -> Ended<Outcome> {
        let header = &request.header;
        let guid = header.object_guid.ok_or_else(|| Outcome::Refused(Failure::of(Cause::MessageRefused)))?;
        let journal = &self.0.parts.journal;
        let earlier = match journal.job(header.job_id) {
            Some(JobRecord::Ended { outcome, .. }) => return Ok(outcome),
            Some(JobRecord::Begun { at, pin }) => {
                self.settle(header, guid, &pin, &wish).await?;
                // Nothing was done. Without a compare-and-swap the first request may still be on its way.
                let waited = self.now().since(at) > 2 * self.0.parts.write_limit;
                if !waited && pin.pwd_last_set.is_none_or(keyback_ad::FileTime::is_zero) {
                    return Ok(Outcome::Unknown(Failure::of(Cause::DcUnreachable).seen(
                        "settling",
                        "not done yet",
                        pin.dc,
                    )));
                }
                Some(pin)
            }
            None => None,
        };
        request.header.check_validity(self.now()).map_err(|error| refused(&error))?;
        self.check_proof(header, challenge, header.job_id)?;
        let write = self.0.parts.directory.begin_write(guid).await.map_err(|error| not_found(&error))?;
        self.check_target(write.user()).await?;
        if !matches!(wish, Wish::Unlock) {
            guard::check_state(write.user()).map_err(Outcome::Refused)?;
        }
        if earlier.is_some_and(|pin| pin != *write.pin()) {
            // Another domain controller, or another password since: sending again could set it twice.
            return Ok(Outcome::Unknown(Failure::of(Cause::DcUnreachable).seen(
                "settling",
                "the user has changed",
                guid.to_string(),
            )));
        }
        let begun = journal.begun(header.job_id, self.now(), guid, challenge, write.pin().clone()).await;
        begun.map_err(|error| no_journal(&error))?;
        let sent = match &wish {
            Wish::Reset(new) => write.reset(new, is_locked(write.user())).await,
            Wish::Change(current, new) => write.change(current, new).await,
            Wish::Unlock => write.unlock().await,
        };
        Ok(self.judge(header, &write, sent).await)
    }

    async fn judge(&self, header: &Header, write: &Write, sent: Result<Done, WriteError>) -> Outcome {
        match sent {
            Ok(done) => {
                let outcome = self.end(header, Outcome::Done(done)).await;
                self.notify(header, write.user());
                outcome
            }
            Err(error) => match error.verdict() {
                Verdict::Refuse => self.end(header, Outcome::Refused(error.failure())).await,
                Verdict::Retry => {
                    if let Err(error) = self.0.parts.journal.not_done(header.job_id, self.now()).await {
                        return no_journal(&error);
                    }
                    may_pass(error.failure())
                }
                Verdict::LookFirst => Outcome::Unknown(error.failure()),
            },
        }
    }

    /// What became of a request whose answer was lost. `Ok`: it was not done.
    async fn settle(&self, header: &Header, guid: ObjectGuid, pin: &Pin, wish: &Wish<'_>) -> Ended<()> {
        let unknown = |failure: Failure| Outcome::Unknown(failure);
        let directory = &self.0.parts.directory;
        match directory
            .settle(guid, pin, wish.new_password())
            .await
            .map_err(|error| unknown(error.failure()))?
        {
            Settled::NotDone => Ok(()),
            Settled::Done(done) => {
                let outcome = self.end(header, Outcome::Done(done)).await;
                if let Ok(user) = directory.load_user(guid).await {
                    self.notify(header, &user);
                }
                Err(outcome)
            }
            Settled::Outrun => {
                Err(self.end(header, Outcome::Refused(Failure::of(Cause::TargetOutrun))).await)
            }
            Settled::Unknown => Err(unknown(Failure::of(Cause::DcUnreachable).seen(
                "settling",
                "the directory does not tell",
                &pin.dc,
            ))),
        }
    }

    /// Journals an end. It stands even if the journal does not take it: the directory is asked next time.
    async fn end(&self, header: &Header, outcome: Outcome) -> Outcome {
        if let Err(error) = self.0.parts.journal.ended(header.job_id, self.now(), outcome.clone()).await {
            tracing::error!(job.id = %header.job_id, %error, "an outcome was not journalled");
        }
        outcome
    }

    /// Tells the person, behind the answer.
    fn notify(&self, header: &Header, user: &User) {
        let Some(to) = user.mail.clone() else { return };
        let (agent, header, at) = (self.clone(), header.clone(), self.now());
        self.0.afterwards.spawn(async move {
            let mailer = &agent.0.parts.mailer;
            if let Err(error) = mailer.send_notice(&to, header.operation, header.correlation_id, at).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(job.id = %header.job_id, correlation_id = %header.correlation_id, error, "no notice was mailed");
            }
        });
    }
}

fn is_locked(user: &User) -> bool {
    user.lockout_time.is_some_and(|at| !at.is_zero())
}
