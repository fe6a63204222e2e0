//! What a refusal comes from: doctor is asked while the evidence is fresh and the submitted password still in memory.

use crate::Agent;
use crate::doctor::{self, Case, KeybackState, Observed, Setting};
use keyback_codes::Cause;
use keyback_core::UserName;
use keyback_core::diagnosis::Diagnosis;
use keyback_core::job::Kind;
use keyback_core::message::{Body, Header};
use keyback_core::outcome::Outcome;
use std::time::Duration;

/// No more users than this are examined at once: a refusal must not cost the directory more than what was asked.
pub(crate) const AT_ONCE: usize = 2;
/// An answer is not held back for longer than this.
const LIMIT: Duration = Duration::from_secs(5);
/// A reply has to stay well below [`keyback_core::message::MAX_MESSAGE`]; bytes of JSON.
const LONGEST: usize = 40 * 1024;

/// Whether the directory can say more about it than the failure does.
fn is_worth_a_look(cause: Cause) -> bool {
    let family = cause.id().split_once('.').map_or("", |(family, _)| family);
    matches!(family, "rights" | "policy" | "target" | "connector" | "dc")
        && !matches!(cause, Cause::TargetWrongPassword | Cause::TargetOutrun)
}

impl Agent {
    /// The same refusal with its cause made precise, and what was read. Anything but a refusal stays as it is.
    pub(crate) async fn look_into(
        &self,
        header: &Header,
        body: &Body,
        outcome: Outcome,
    ) -> (Outcome, Option<Diagnosis>) {
        let Outcome::Refused(failure) = outcome else { return (outcome, None) };
        if !is_worth_a_look(failure.cause) {
            return (Outcome::Refused(failure), None);
        }
        let observed = failure.reply.clone().map(|reply| Observed::new(header.operation, reply));
        let looked = tokio::time::timeout(LIMIT, self.examine(header, body, observed.as_ref()));
        let diagnosis = looked.await.unwrap_or_else(|_| {
            tracing::warn!(job.id = %header.job_id, correlation_id = %header.correlation_id, "doctor took too long");
            None
        });
        let Some(diagnosis) = diagnosis else { return (Outcome::Refused(failure), None) };
        let failure = doctor::refine(failure, observed.as_ref(), &diagnosis);
        (Outcome::Refused(failure), diagnosis.within(LONGEST))
    }

    async fn examine(&self, header: &Header, body: &Body, observed: Option<&Observed>) -> Option<Diagnosis> {
        let parts = &self.0.parts;
        let (name, candidate) = match body {
            Body::AskCode { user, .. } => (user.clone(), None),
            Body::Reset { new, .. } | Body::Change { new, .. } => (whom(header)?, Some(new)),
            Body::Unlock { .. } => (whom(header)?, None),
            Body::CheckCode { .. }
            | Body::CheckPassword { .. }
            | Body::AddTotp { .. }
            | Body::AddRecovery { .. }
            | Body::TestMethod { .. }
            | Body::RemoveMethod { .. } => return None,
        };
        let _place = match header.kind {
            // Anybody can name users: what is beyond the limit goes without.
            Kind::Verify => self.0.doctors.try_acquire().ok()?,
            Kind::Reset | Kind::Change | Kind::Unlock => self.0.doctors.acquire().await.ok()?,
        };
        let setting = Setting {
            scope: self.bounds().await.ok().map(|bounds| bounds.dns()),
            protected_groups: parts.protected_groups.clone(),
            mails_codes: true,
            passwords: parts.passwords.clone(),
            keyback: Some(KeybackState { silent_for: Some(Duration::ZERO), writeback: true }),
        };
        let case = Case { name: &name, candidate, observed };
        Some(doctor::diagnose(&parts.directory, &setting, &case, parts.clock.as_ref()).await)
    }
}

fn whom(header: &Header) -> Option<UserName> {
    UserName::parse(&header.object_guid?.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_asked_about_what_it_knows() {
        for cause in [Cause::RightsResetMissing, Cause::PolicyFilterOrUnknown, Cause::TargetNotFound] {
            assert!(is_worth_a_look(cause), "{cause}");
        }
        for cause in [Cause::TargetWrongPassword, Cause::ProofExpired, Cause::MailUnreachable] {
            assert!(!is_worth_a_look(cause), "{cause}");
        }
    }
}
