//! Whether a password is somebody's: one bind, and before it how many wrong ones the directory bears.
//!
//! A wrong bind counts toward the lockout on the domain controller that was asked, so both are read there. The directory
//! takes the password before the current one, too, for up to an hour after a change.

use crate::connection::base_search;
use crate::directory::{Dc, Directory, Inner, Use};
use crate::error::{DirectoryError, FindError, Step};
use crate::find::{User, by_guid};
use crate::policy::AdInterval;
use crate::settle::{Proof, proof};
use crate::time::FileTime;
use keyback_core::{CurrentPassword, ObjectGuid, ServerReply, Timestamp};
use std::sync::Arc;

/// What a bind with a password tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIn {
    /// It is theirs, in whatever state the account is.
    Right,
    /// It is not.
    Wrong(ServerReply),
    /// The directory does not tell: the account is locked, or something is amiss.
    Untold(ServerReply),
}

/// One bind that may be made.
pub struct PasswordCheck {
    directory: Directory,
    dc: Arc<Dc>,
    user: User,
    room: u32,
}

/// A wrong password less than this before the account is locked is the person's own to make.
const LEFT_TO_THE_PERSON: u32 = 2;
/// Wrong passwords that are borne where the policy cannot be read.
const CAREFUL: u32 = 1;

impl Directory {
    /// Reads the user, and how many wrong passwords are borne, on the domain controller that will be asked.
    pub async fn begin_password_check(
        &self,
        guid: ObjectGuid,
        now: Timestamp,
    ) -> Result<PasswordCheck, FindError> {
        let mut round = self.inner.round(Use::Writes);
        while let Some(dc) = round.next() {
            match self.inner.look_before(&dc, guid, now).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                read => {
                    round.served();
                    let (user, room) = read?;
                    return Ok(PasswordCheck { directory: self.clone(), dc, user, room });
                }
            }
        }
        Err(round.none_serves().into())
    }
}

impl PasswordCheck {
    /// Whom it is about.
    pub const fn user(&self) -> &User {
        &self.user
    }

    /// Wrong passwords that may still be tried; two less than lock the account.
    pub const fn room(&self) -> u32 {
        self.room
    }

    /// One bind, on a connection of its own.
    pub async fn ask(&self, password: &CurrentPassword) -> Result<SignedIn, DirectoryError> {
        let inner = &self.directory.inner;
        let connection = inner.dial(&self.dc).await?;
        let reply = connection.bind(self.user.dn.as_str(), password.expose(), &inner.limits).await;
        let reply = reply.map_err(|broken| broken.at(&self.dc.name, Step::Bind))?;
        Ok(match proof(reply.result, reply.bind_data) {
            Proof::Ours => SignedIn::Right,
            Proof::NotOurs => SignedIn::Wrong(reply),
            Proof::None => SignedIn::Untold(reply),
        })
    }
}

impl Inner {
    async fn look_before(&self, dc: &Dc, guid: ObjectGuid, now: Timestamp) -> Result<(User, u32), FindError> {
        let base = by_guid(guid);
        let user = self.load_on(dc, &base).await?;
        let counts = self.entry(dc, &base, &["badPwdCount", "badPasswordTime", "msDS-ResultantPSO"]).await?;
        let lockout = if let Some(pso) = counts.text("msDS-ResultantPSO") {
            self.lockout(dc, pso, "msDS-LockoutThreshold", "msDS-LockoutObservationWindow").await?
        } else {
            let domain = self.connection(dc, Use::Reads).await?.facts.base.clone();
            self.lockout(dc, domain.as_str(), "lockoutThreshold", "lockOutObservationWindow").await?
        };
        let counted = counts.number("badPwdCount").unwrap_or(0);
        let last = counts.number("badPasswordTime").map(FileTime::from_ticks);
        Ok((user, room(lockout, counted, last, now)))
    }

    /// Threshold and window, where they can be read.
    async fn lockout(
        &self,
        dc: &Dc,
        at: &str,
        threshold: &str,
        window: &str,
    ) -> Result<Option<(u32, AdInterval)>, FindError> {
        let answer = self.read(dc, base_search(at, &[threshold, window])).await?;
        let entry = answer.entries.first().filter(|_| answer.reply.result == 0);
        Ok(entry.and_then(|entry| {
            Some((entry.number(threshold)?, AdInterval::from_ticks(entry.number(window)?)))
        }))
    }
}

/// Wrong passwords that may be tried now.
fn room(lockout: Option<(u32, AdInterval)>, counted: u32, last: Option<FileTime>, now: Timestamp) -> u32 {
    let Some((threshold, window)) = lockout else { return CAREFUL.saturating_sub(counted) };
    if threshold == 0 {
        return u32::MAX;
    }
    // The count stays after its window, and the next wrong password begins at one again.
    let is_over = last
        .and_then(|last| window.after(last))
        .is_some_and(|end| end.to_timestamp() < now && !end.is_zero());
    let counted = if is_over { 0 } else { counted };
    threshold.saturating_sub(LEFT_TO_THE_PERSON).saturating_sub(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_wrong_passwords_are_left_to_the_person() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let window = AdInterval::from_ticks(-30 * 60 * 10_000_000);
        let ago = |minutes: i64| {
            Some(FileTime::from_timestamp(Timestamp::from_micros(now.as_micros() - minutes * 60_000_000)))
        };
        for (lockout, counted, last, expected) in [
            (Some((5, window)), 0, None, 3),
            (Some((5, window)), 2, ago(1), 1),
            (Some((5, window)), 4, ago(29), 0),
            (Some((5, window)), 4, ago(31), 3),
            (Some((2, window)), 0, None, 0),
            (Some((0, window)), 9, ago(1), u32::MAX),
            (None, 0, None, 1),
            (None, 1, ago(60), 0),
        ] {
            assert_eq!(room(lockout, counted, last, now), expected, "{lockout:?} {counted}");
        }
    }
}
