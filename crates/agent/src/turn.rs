//! Other agents on the same domain: what is believed of them, and taking over what they may have begun.
//!
//! An agent that takes a job over knows neither whether the one before it has sent anything nor what it read. It goes by
//! how the user stood when the code was minted, which the minting agent has signed: everybody binds their write to that,
//! on the domain controller where it was read, so one at most is carried out.

use crate::{Agent, Ended, no_journal, refused};
use keyback_ad::{FileTime, Pin};
use keyback_codes::Cause;
use keyback_core::message::{Header, VERSION};
use keyback_core::outcome::Outcome;
use keyback_core::turn::Voucher;
use keyback_core::{ChallengeId, Failure, Timestamp};

/// A job that several agents may do.
pub(crate) struct Shared {
    /// How the user stood before any of them could do anything.
    pub(crate) stood: Pin,
    /// Those before this one began until then.
    pub(crate) begun_until: Option<Timestamp>,
    /// Nobody has it after this one.
    pub(crate) is_last: bool,
}

fn pin_of(voucher: Voucher) -> Pin {
    let pwd_last_set = voucher.pwd_last_set.map(FileTime::from_ticks);
    Pin { dc: voucher.dc, key_version: voucher.key_version, pwd_last_set }
}

impl Agent {
    /// What this agent says of a challenge of its own to the others.
    pub(crate) fn vouch(&self, header: &Header, id: ChallengeId, expires_at: Timestamp) -> Option<String> {
        let challenge = self.journal().challenge(id)?.challenge;
        let keys = self.keys();
        let own = keys.generation(Some(header.recipient))?;
        let Pin { dc, key_version, pwd_last_set } = challenge.stood?;
        let voucher = Voucher {
            version: VERSION,
            agent: own.public().agent(),
            challenge: id,
            object_guid: challenge.person.object_guid,
            operation: challenge.operation,
            expires_at,
            dc,
            key_version,
            pwd_last_set: pwd_last_set.map(FileTime::as_ticks),
        };
        Some(voucher.sign(own.signing()))
    }

    /// What a pinned agent says of this challenge, where the message carries it.
    pub(crate) fn vouched(&self, header: &Header, id: ChallengeId) -> Option<Voucher> {
        let turn = header.turn.as_ref()?;
        let voucher = Voucher::parse(&turn.voucher, self.keys().peers()).ok()?;
        (voucher.challenge == id).then_some(voucher)
    }

    /// What the message says of other agents, where there are any.
    pub(crate) fn shared(&self, header: &Header, id: ChallengeId) -> Ended<Option<Shared>> {
        let Some(turn) = &header.turn else { return Ok(None) };
        let stood = match self.journal().challenge(id) {
            Some(own) => own.challenge.stood,
            None => self.vouched(header, id).map(pin_of),
        };
        let stood = stood.ok_or_else(|| {
            let failure = Failure::of(Cause::ProofExpired);
            Outcome::Refused(failure.seen("voucher", "not of an agent that is pinned here", "message"))
        })?;
        let begun_until = turn.earlier.iter().map(|earlier| earlier.until).max();
        Ok(Some(Shared { stood, begun_until, is_last: turn.last }))
    }

    /// Takes a job over from those who may have begun it until `until`; by when all that they sent has arrived.
    pub(crate) async fn take_over(
        &self,
        header: &Header,
        id: ChallengeId,
        stood: &Pin,
        until: Timestamp,
    ) -> Ended<Timestamp> {
        header.check_validity(self.now()).map_err(|error| refused(&error))?;
        self.check_proof(header, id, header.job_id)?;
        // It may have waited for its turn at the domain controller, as long as a write takes twice, and dialled.
        let arrived = until.plus(2 * self.0.parts.write_limit);
        let kept = self.journal().took_over(header.job_id, id, arrived, stood.clone()).await;
        kept.map_err(|error| no_journal(&error))?;
        tracing::warn!(
            job.id = %header.job_id,
            correlation_id = %header.correlation_id,
            "taking over a job that another agent may have begun"
        );
        Ok(arrived)
    }
}
