//! One job, at most one changed password.
//!
//! Looks at its journal first, at the proof and the target next, journals what it read of the user (the pin), and sends
//! one modify. When the answer is lost, it looks before it does anything again: threat model, "Setting a password when
//! the answer may get lost".

use crate::journal::{Begin, JobRecord, JournalError};
use crate::turn::Shared;
use crate::{Agent, Ended, guard, may_pass, no_journal, not_found, not_understood};
use keyback_ad::{Pin, Settled, User, Verdict, Write, WriteError};
use keyback_codes::{Cause, Explain};
use keyback_core::message::{Header, SignedRequest};
use keyback_core::outcome::Outcome;
use keyback_core::{ChallengeId, CurrentPassword, Done, Failure, NewPassword, ObjectGuid};
use tokio::time::Instant;

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
        let remembered = journal.job(header.job_id);
        #[cfg(feature = "simulation")]
        let remembered = remembered.filter(|record| self.0.broken.remembers(record));
        if let Some(JobRecord::Ended { outcome, .. }) = remembered {
            return Ok(outcome);
        }
        let shared = match self.shared(header, challenge) {
            Ok(shared) => shared,
            Err(ended) => {
                let in_doubt = remembered.is_some() || header.is_taken_over();
                return Ok(self.unsent(header, in_doubt, ended, None).await);
            }
        };
        #[cfg(feature = "simulation")]
        let shared = shared.filter(|_| !self.0.broken.turns);
        let before = match (remembered, &shared) {
            (Some(JobRecord::Begun { at, pin, asked }), _) => Some((at, pin, asked)),
            (_, Some(Shared { stood, begun_until: Some(until), .. })) => {
                match self.take_over(header, challenge, stood, *until).await {
                    Ok(arrived) => Some((arrived, stood.clone(), false)),
                    Err(ended) => return Ok(self.unsent(header, true, ended, None).await),
                }
            }
            (_, Some(_) | None) => None,
        };
        let earlier = match before {
            Some((at, pin, asked)) => {
                // Of a job that others may do as well, the last one asks.
                let may_ask = !asked && shared.as_ref().is_none_or(|shared| shared.is_last);
                self.settle(header, guid, &pin, &wish, may_ask).await?;
                if matches!(wish, Wish::Change(..)) {
                    // Bound or not: a current password that is wrong would be counted a second time.
                    return Ok(Outcome::Unknown(Failure::of(Cause::DcUnreachable).seen(
                        "settling",
                        "not done yet; a change is sent once",
                        pin.dc,
                    )));
                }
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
        let in_doubt = earlier.is_some();
        let (write, ous) = match self.prepare(request, guid, challenge, &wish, shared.as_ref()).await {
            Ok(ready) => ready,
            Err(ended) => return Ok(self.unsent(header, in_doubt, ended, None).await),
        };
        if let Some(new) = wish.new_password()
            && let Err(ended) = self.0.parts.passwords.check(new, write.user()).await
        {
            return Ok(self.unsent(header, in_doubt, ended, Some(challenge)).await);
        }
        let expected = earlier.as_ref().or(shared.as_ref().map(|shared| &shared.stood));
        if expected.is_some_and(|pin| pin != write.pin()) {
            // Another domain controller, or another password since: sending again could set it twice.
            let ended = Failure::of(if in_doubt { Cause::DcUnreachable } else { Cause::TargetOutrun });
            let ended = Outcome::Refused(ended.seen("settling", "the user has changed", guid.to_string()));
            return Ok(self.unsent(header, in_doubt, ended, None).await);
        }
        let pin = write.pin().clone();
        let begin = Begin { job_id: header.job_id, at: self.now(), object_guid: guid, challenge, pin, ous };
        if let Err(ended) = self.begin(begin).await {
            return Ok(self.unsent(header, in_doubt, ended, None).await);
        }
        if let Some(shared) = shared
            && let Err(ended) = self.check_time(header, Some(&shared))
        {
            // The next agent goes by it that nothing is sent any more.
            return Ok(self.not_sent(header, in_doubt, ended).await);
        }
        let asked_at = Instant::now();
        let sent = match &wish {
            Wish::Reset(new) => write.reset(new, is_locked(write.user())).await,
            Wish::Change(current, new) => write.change(current, new).await,
            Wish::Unlock => write.unlock().await,
        };
        self.took(&write.pin().dc, asked_at.elapsed());
        Ok(self.judge(header, &write, sent, in_doubt).await)
    }

    /// Everything that is looked at before the write.
    async fn prepare(
        &self,
        request: &SignedRequest<'_>,
        guid: ObjectGuid,
        challenge: ChallengeId,
        wish: &Wish<'_>,
        shared: Option<&Shared>,
    ) -> Ended<(Write, Vec<ObjectGuid>)> {
        let header = &request.header;
        self.check_time(header, shared)?;
        self.check_proof(header, challenge, header.job_id)?;
        let directory = &self.0.parts.directory;
        let begun = match shared {
            Some(shared) => directory.begin_write_at(guid, &shared.stood.dc).await,
            None => directory.begin_write(guid).await,
        };
        let write = begun.map_err(|error| not_found(&error))?;
        let ous = self.check_target(write.user()).await?;
        if !matches!(wish, Wish::Unlock) {
            guard::check_state(write.user()).map_err(Outcome::Refused)?;
        }
        Ok((write, ous))
    }

    /// A message whose time is over is refused, unless the job goes on to another agent.
    fn check_time(&self, header: &Header, shared: Option<&Shared>) -> Ended<()> {
        let Err(error) = header.check_validity(self.now()) else { return Ok(()) };
        let failure = not_understood(&error);
        let goes_on = shared.is_some_and(|shared| !shared.is_last);
        Err(if goes_on { Outcome::Retry(failure) } else { Outcome::Refused(failure) })
    }

    /// Counts the write and journals it, before it is done. What the agent may not write ends here.
    async fn begin(&self, begin: Begin) -> Ended<()> {
        self.check_pulse()?;
        let journal = &self.0.parts.journal;
        let Err(not_begun) = journal.begun(begin, self.0.parts.caps).await else { return Ok(()) };
        let failure = not_begun.refusal().map_err(|error| no_journal(&error))?;
        Err(Outcome::Refused(failure))
    }

    /// Stops the agent when its own cap has refused too many writes.
    async fn stop_after_a_burst(&self) -> Result<(), JournalError> {
        let parts = &self.0.parts;
        if parts.journal.stop_after_a_burst(self.now(), parts.caps).await? {
            tracing::error!(
                cause = Cause::AgentStopped.id(),
                "stopped: too many writes were refused; `keyback agent resume` when all is well"
            );
        }
        Ok(())
    }

    /// What ends an attempt before its write. Where an earlier write may still be on its way, that says nothing about the
    /// job; else a refusal is kept, for copies of the message that come when its reason has passed. `tried`: the proof that
    /// a password was tried on.
    async fn unsent(
        &self,
        header: &Header,
        in_doubt: bool,
        ended: Outcome,
        tried: Option<ChallengeId>,
    ) -> Outcome {
        match ended {
            Outcome::Refused(failure) | Outcome::Retry(failure) if in_doubt => Outcome::Unknown(failure),
            Outcome::Refused(_) => {
                let kept =
                    self.0.parts.journal.refused(header.job_id, self.now(), ended.clone(), tried).await;
                let looked = match kept {
                    Ok(()) => self.stop_after_a_burst().await,
                    Err(error) => Err(error),
                };
                looked.map_or_else(|error| no_journal(&error), |()| ended)
            }
            Outcome::Retry(_)
            | Outcome::Unknown(_)
            | Outcome::Done(_)
            | Outcome::CodeSent { .. }
            | Outcome::CodeAccepted { .. }
            | Outcome::MoreProof { .. }
            | Outcome::SignedIn { .. }
            | Outcome::Kept { .. }
            | Outcome::Tested { .. }
            | Outcome::Removed { .. } => ended,
        }
    }

    /// What was begun in the journal was not sent.
    async fn not_sent(&self, header: &Header, in_doubt: bool, ended: Outcome) -> Outcome {
        if !in_doubt && let Err(error) = self.0.parts.journal.not_done(header.job_id, self.now()).await {
            return no_journal(&error);
        }
        self.unsent(header, in_doubt, ended, None).await
    }

    async fn judge(
        &self,
        header: &Header,
        write: &Write,
        sent: Result<Done, WriteError>,
        in_doubt: bool,
    ) -> Outcome {
        match sent {
            Ok(done) => {
                let outcome = self.end(header, Outcome::Done(done)).await;
                self.notify(header, write.user());
                outcome
            }
            Err(error) => match error.verdict() {
                // This agent may not; the one before it perhaps might.
                Verdict::Refuse
                    if header.is_taken_over() && matches!(error, WriteError::AccessDenied { .. }) =>
                {
                    Outcome::Unknown(error.failure())
                }
                Verdict::Refuse => self.end(header, Outcome::Refused(error.failure())).await,
                // Of this write; the one before may still be on its way.
                Verdict::Retry if in_doubt => Outcome::Unknown(error.failure()),
                Verdict::Retry => {
                    if let Err(error) = self.0.parts.journal.not_done(header.job_id, self.now()).await {
                        return no_journal(&error);
                    }
                    may_pass(error.failure())
                }
                // The only one that was sent, and it was not carried out: somebody else was faster. Another agent, perhaps,
                // with this very job.
                Verdict::LookFirst
                    if !in_doubt && header.turn.is_none() && matches!(error, WriteError::Stale(_)) =>
                {
                    self.end(header, Outcome::Refused(error.failure())).await
                }
                Verdict::LookFirst => Outcome::Unknown(error.failure()),
            },
        }
    }

    /// What became of a request whose answer was lost. `Ok`: it was not done.
    async fn settle(
        &self,
        header: &Header,
        guid: ObjectGuid,
        pin: &Pin,
        wish: &Wish<'_>,
        may_ask: bool,
    ) -> Ended<()> {
        let unknown = |failure: Failure| Outcome::Unknown(failure);
        let (directory, new) = (&self.0.parts.directory, wish.new_password());
        let mut settled = directory.look(guid, pin, new).await.map_err(|error| unknown(error.failure()))?;
        // Of one job no more than one wrong password may be counted: not a second bind, and none after a change that may
        // have been refused for its current password.
        let may_bind = match &settled {
            Settled::NeedsBind { counted } => {
                may_ask && (!matches!(wish, Wish::Change(..)) || *counted == Some(0))
            }
            Settled::NotDone | Settled::Done(_) | Settled::Outrun | Settled::Unknown => false,
        };
        if may_bind {
            let kept = self.0.parts.journal.asked(header.job_id, self.now()).await;
            kept.map_err(|error| unknown(Failure::of(error.cause())))?;
            settled = directory.settle(guid, pin, new).await.map_err(|error| unknown(error.failure()))?;
        }
        match settled {
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
            Settled::Unknown | Settled::NeedsBind { .. } => Err(unknown(
                Failure::of(Cause::DcUnreachable).seen("settling", "the directory does not tell", &pin.dc),
            )),
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
