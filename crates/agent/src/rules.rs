//! What the next password has to be like: read once, after the right code, so that the person sees it before they type.

use crate::{Agent, PasswordFilter};
use keyback_ad::{Applies, FileTime, UserRules};
use keyback_core::job::Operation;
use keyback_core::{ObjectGuid, PasswordRules, Timestamp};
use std::time::Duration;

/// The answer to a right code is not held back for longer than this. A browser waits three seconds for it.
const LIMIT: Duration = Duration::from_millis(1500);

impl Agent {
    /// The rules for somebody who has just proved who they are. `None` where no password is wanted; where the directory
    /// does not answer in time, what the agent knows by itself.
    pub(crate) async fn read_rules(&self, guid: ObjectGuid, operation: Operation) -> Option<PasswordRules> {
        if matches!(operation, Operation::Unlock | Operation::Register) {
            return None;
        }
        let parts = &self.0.parts;
        let read = tokio::time::timeout(LIMIT, parts.directory.read_rules(guid)).await;
        let read = match read {
            Ok(Ok(read)) => Some(read),
            Ok(Err(error)) => {
                tracing::warn!(%error, user.object_guid = %guid, "the rules for a password could not be read");
                None
            }
            Err(_) => {
                tracing::warn!(user.object_guid = %guid, "the rules for a password were not read in time");
                None
            }
        };
        Some(rules(read.as_ref(), operation, &parts.passwords, self.now()))
    }
}

/// `now` is the agent's clock: the domain controller's would cost another question.
fn rules(
    read: Option<&UserRules>,
    operation: Operation,
    passwords: &PasswordFilter,
    now: Timestamp,
) -> PasswordRules {
    let mut rules = PasswordRules {
        blocklist: passwords.has_blocklist(),
        breached: passwords.has_breached(),
        ..PasswordRules::default()
    };
    let Some(UserRules { applies, user, policy_hints }) = read else { return rules };
    rules.names = passwords.names(user);
    let Applies::Policy(policy) = applies else { return rules };
    rules.min_length = policy.min_length.and_then(|length| u32::try_from(length).ok());
    rules.complexity = policy.complexity;
    rules.history = policy.history;
    rules.min_age_seconds =
        policy.min_age.and_then(keyback_ad::AdInterval::seconds).and_then(|age| u64::try_from(age).ok());
    if policy.complexity == Some(true) {
        rules.names.extend(keyback_ad::names(&user.sam_account_name, user.display_name.as_deref()));
        rules.names.sort();
        rules.names.dedup();
    }
    // A change is always bound by the minimum age, a reset where the domain controller takes policy hints.
    let bound = operation == Operation::Change || *policy_hints;
    if bound && policy.too_young(user, Some(now)) == Some(true) {
        let ends = policy.min_age.zip(user.pwd_last_set).and_then(|(age, set)| age.after(set));
        rules.too_young_until = ends.map(FileTime::to_timestamp);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sample_user;
    use keyback_ad::{AdInterval, Policy, User};

    const HOUR: i64 = 3_600 * 10_000_000;

    fn read(policy_hints: bool) -> UserRules {
        let policy = Policy {
            source: "DC=ad".to_owned(),
            min_length: Some(12),
            complexity: Some(true),
            history: Some(24),
            min_age: Some(AdInterval::from_ticks(-HOUR)),
            lockout_duration: None,
        };
        let set = FileTime::from_timestamp(Timestamp::from_micros(0));
        let user = User { pwd_last_set: Some(set), ..sample_user() };
        UserRules { applies: Applies::Policy(policy), user, policy_hints }
    }

    fn shown(read: &UserRules, operation: Operation, minutes: i64) -> PasswordRules {
        rules(Some(read), operation, &PasswordFilter::default(), Timestamp::from_micros(minutes * 60_000_000))
    }

    #[test]
    fn the_rules_that_were_read_are_shown() {
        let rules = shown(&read(true), Operation::Reset, 90);
        assert_eq!(rules.min_length, Some(12));
        assert_eq!((rules.complexity, rules.history), (Some(true), Some(24)));
        assert_eq!((rules.min_age_seconds, rules.too_young_until), (Some(3600), None));
        assert_eq!(rules.names, ["ada", "lovelace"]);
    }

    #[test]
    fn the_minimum_age_binds_a_change_and_a_reset_with_policy_hints() {
        let ends = Some(Timestamp::from_micros(60 * 60_000_000));
        for (hints, operation, minutes, until) in [
            (false, Operation::Change, 30, ends),
            (true, Operation::Reset, 30, ends),
            (false, Operation::Reset, 30, None),
            (true, Operation::Change, 61, None),
        ] {
            assert_eq!(
                shown(&read(hints), operation, minutes).too_young_until,
                until,
                "{operation:?} {minutes}"
            );
        }
    }

    #[test]
    fn nothing_is_claimed_of_what_cannot_be_read() {
        let unreadable = UserRules { applies: Applies::UnreadablePso("CN=pso".to_owned()), ..read(true) };
        assert_eq!(shown(&unreadable, Operation::Change, 30), PasswordRules::default());
        let nothing = rules(None, Operation::Reset, &PasswordFilter::default(), Timestamp::from_micros(0));
        assert_eq!(nothing, PasswordRules::default());
    }
}
