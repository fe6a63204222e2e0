//! What became of a write whose answer was lost.
//!
//! Asks the same domain controller: another one may not know yet. msDS-KeyVersionNumber tells how many passwords were
//! set since; whose the last one is, one bind with the new password tells. pwdLastSet alone proves nothing: a domain
//! controller sets it to 0 when the connector account lacks the Unexpire-Password right.

use crate::connection::base_search;
use crate::directory::{Dc, Directory, Inner};
use crate::error::{DirectoryError, Step};
use crate::find::{attr, by_guid};
use crate::time::FileTime;
use crate::write::Pin;
use keyback_core::{Done, NewPassword, ObjectGuid};

const BAD_PASSWORDS: &str = "badPwdCount";

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Nothing was written; it may be sent again.
    NotDone,
    /// It was done, and this proves it.
    Done(Done),
    /// Somebody else set a password since, and ours was not set. Theirs stays.
    Outrun,
    /// A password was set since; one bind with the new one may tell whose.
    NeedsBind {
        /// badPwdCount of the user there.
        counted: Option<u32>,
    },
    /// It cannot be found out.
    Unknown,
}

/// What a bind with the new password tells about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Ours,
    NotOurs,
    None,
}

impl Directory {
    /// What can be told without a bind: see [`Directory::settle`].
    pub async fn look(
        &self,
        guid: ObjectGuid,
        pin: &Pin,
        new: Option<&NewPassword>,
    ) -> Result<Settled, DirectoryError> {
        Ok(self.read_since(guid, pin, new.is_some()).await?.0)
    }

    /// Finds out on the domain controller of `pin` what became of a reset or change to `new`, or of an unlock (`None`).
    /// A bind with a wrong password costs one bad-password count, so ask once, and later than the domain controller
    /// may still carry the write out: twice the limit for a write.
    pub async fn settle(
        &self,
        guid: ObjectGuid,
        pin: &Pin,
        new: Option<&NewPassword>,
    ) -> Result<Settled, DirectoryError> {
        let dc = self.inner.listed(&pin.dc)?;
        let (settled, seen) = self.read_since(guid, pin, new.is_some()).await?;
        let (Settled::NeedsBind { .. }, Some(new), Some(seen)) = (&settled, new, seen) else {
            return Ok(settled);
        };
        let proof = self.inner.prove(&dc, &seen.dn, new).await?;
        // A password that somebody set between the two questions says nothing about the one before it.
        let still = match proof {
            Proof::NotOurs => self.read_since(guid, pin, true).await?.1.is_some_and(|again| again == seen),
            Proof::Ours | Proof::None => true,
        };
        Ok(match proof {
            Proof::Ours => {
                let hints = self.inner.offers_hints(&dc).await;
                Settled::Done(done(&dc, pin.key_version.zip(seen.version), hints))
            }
            // Bound to what was read, ours cannot be carried out any more.
            Proof::NotOurs if still && seen.ahead == Ahead::Changed && pin.is_bound() => Settled::Outrun,
            // Not done, not done yet, or outrun: nothing that can be read tells these apart.
            Proof::NotOurs | Proof::None => Settled::Unknown,
        })
    }

    async fn read_since(
        &self,
        guid: ObjectGuid,
        pin: &Pin,
        of_password: bool,
    ) -> Result<(Settled, Option<Since>), DirectoryError> {
        let dc = self.inner.listed(&pin.dc)?;
        let attributes = [attr::KEY_VERSION, attr::PWD_LAST_SET, attr::LOCKOUT_TIME, BAD_PASSWORDS];
        let answer = self.inner.read(&dc, base_search(&by_guid(guid), &attributes)).await?;
        let entry = match (answer.reply.result, answer.entries.first()) {
            (0, Some(entry)) => entry,
            (0 | 32, _) => return Ok((Settled::Unknown, None)), // deleted meanwhile, or hidden
            _ => {
                let dc = dc.name.clone();
                return Err(DirectoryError::Refused { dc, step: Step::Read, reply: answer.reply });
            }
        };
        let version = entry.number::<i64>(attr::KEY_VERSION);
        let file_time = |attribute| entry.number(attribute).map(FileTime::from_ticks);
        if !of_password {
            // Absent is as good as 0: nobody is locked out.
            let locked = file_time(attr::LOCKOUT_TIME).is_some_and(|at| !at.is_zero());
            return Ok((if locked { Settled::NotDone } else { Settled::Done(done(&dc, None, false)) }, None));
        }
        let set = file_time(attr::PWD_LAST_SET);
        let ahead = ahead(pin, version, set);
        let settled = match ahead {
            Ahead::Same => Settled::NotDone,
            // Ours may have been the first of them, and somebody else's the second.
            Ahead::Further | Ahead::Odd => Settled::Unknown,
            Ahead::Changed | Ahead::Unreadable => Settled::NeedsBind { counted: entry.number(BAD_PASSWORDS) },
        };
        Ok((settled, Some(Since { ahead, version, set, dn: entry.dn.clone() })))
    }
}

/// What was read about a password since the pin.
#[derive(PartialEq, Eq)]
struct Since {
    ahead: Ahead,
    version: Option<i64>,
    set: Option<FileTime>,
    dn: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    Same,
    /// One password since, or at least one.
    Changed,
    /// Two or more.
    Further,
    /// Behind: a restored domain controller.
    Odd,
    /// Nothing to compare.
    Unreadable,
}

/// How far the directory is ahead of the pin.
fn ahead(pin: &Pin, version: Option<i64>, set: Option<FileTime>) -> Ahead {
    match (pin.key_version, version) {
        (Some(before), Some(now)) if now == before => Ahead::Same,
        (Some(before), Some(now)) if before.checked_add(1) == Some(now) => Ahead::Changed,
        (Some(before), Some(now)) if now > before => Ahead::Further,
        (Some(_), Some(_)) => Ahead::Odd,
        // A password that is set moves pwdLastSet, unless it was 0 and stays 0.
        (None, _) | (_, None) => match (pin.pwd_last_set, set) {
            (Some(before), Some(now)) if before != now => Ahead::Changed,
            (Some(_), Some(now)) if !now.is_zero() => Ahead::Same,
            (Some(_) | None, Some(_) | None) => Ahead::Unreadable,
        },
    }
}

fn done(dc: &Dc, key_version: Option<(i64, i64)>, history_enforced: bool) -> Done {
    // Whether it was bound to pwdLastSet died with the answer, so it is not claimed.
    let dc = dc.name.clone();
    Done { dc, key_version, history_enforced, compare_and_swap: false, settled: true, remarks: Vec::new() }
}

impl Inner {
    /// One bind with the new password, on a connection of its own.
    async fn prove(&self, dc: &Dc, user: &str, new: &NewPassword) -> Result<Proof, DirectoryError> {
        let connection = self.dial(dc).await?;
        let reply = connection.bind(user, new.expose(), &self.limits).await;
        let reply = reply.map_err(|broken| broken.at(&dc.name, Step::Bind))?;
        let proof = proof(reply.result, reply.bind_data);
        tracing::debug!(dc = %dc.name, result = reply.result, data = ?reply.bind_data, ?proof, "asked whose password it is");
        Ok(proof)
    }

    async fn offers_hints(&self, dc: &Dc) -> bool {
        let serving = self.connection(dc, crate::directory::Use::Reads).await;
        serving.is_ok_and(|serving| serving.facts.policy_hints.is_some())
    }
}

/// Each of these states is told only to whoever has the right password; 775 to anybody.
pub(crate) fn proof(result: u32, bind_data: Option<u32>) -> Proof {
    match (result, bind_data) {
        (0, _) | (49, Some(0x530 | 0x531 | 0x532 | 0x533 | 0x701 | 0x773)) => Proof::Ours,
        (49, Some(0x52e)) => Proof::NotOurs,
        _ => Proof::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(key_version: Option<i64>, ticks: Option<i64>) -> Pin {
        Pin { dc: "dc1".to_owned(), key_version, pwd_last_set: ticks.map(FileTime::from_ticks) }
    }

    #[test]
    fn the_key_version_decides_and_pwd_last_set_only_in_its_absence() {
        let at = |ticks| Some(FileTime::from_ticks(ticks));
        for (before, version, set, expected) in [
            (pin(Some(3), Some(9)), Some(3), at(0), Ahead::Same),
            (pin(Some(3), Some(9)), Some(4), at(9), Ahead::Changed),
            (pin(Some(3), Some(9)), Some(5), at(9), Ahead::Further),
            (pin(Some(3), Some(9)), Some(2), at(9), Ahead::Odd),
            (pin(None, Some(9)), Some(4), at(9), Ahead::Same),
            (pin(Some(3), Some(9)), None, at(9), Ahead::Same),
            (pin(None, Some(9)), None, at(10), Ahead::Changed),
            (pin(None, Some(0)), None, at(0), Ahead::Unreadable),
            (pin(None, None), None, None, Ahead::Unreadable),
            (pin(None, None), Some(4), at(10), Ahead::Unreadable),
            (pin(None, Some(9)), None, None, Ahead::Unreadable),
        ] {
            assert_eq!(ahead(&before, version, set), expected, "{before:?} {version:?} {set:?}");
        }
    }

    #[test]
    fn only_the_right_password_is_told_the_state_of_the_account() {
        for data in [0x530, 0x531, 0x532, 0x533, 0x701, 0x773] {
            assert_eq!(proof(49, Some(data)), Proof::Ours);
        }
        assert_eq!(proof(0, None), Proof::Ours);
        assert_eq!(proof(49, Some(0x52e)), Proof::NotOurs);
        for (result, data) in [(49, Some(0x775)), (49, None), (51, None), (49, Some(0x525))] {
            assert_eq!(proof(result, data), Proof::None);
        }
    }
}
