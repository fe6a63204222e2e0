//! Reset, change, unlock: one modify, bound to what was read before it.
//!
//! The compare-and-swap: `delete pwdLastSet: P, add pwdLastSet: -1` in the same modify as the password. If anybody set
//! a password since P was read, the domain controller answers 16, writes nothing and counts nothing, so sending again
//! is harmless. It cannot tell when P is 0. Never turns a refused change into a reset.

use crate::connection::{Broken, base_search};
use crate::directory::{Dc, Directory, Serving, Use};
use crate::error::{DirectoryError, FindError, Step};
use crate::find::{User, attr, by_guid};
use crate::reply::{Asked, Meaning, classify, withhold};
use crate::time::FileTime;
use crate::write_error::{Refused, Right, WriteError};
use keyback_codes::Cause;
use keyback_core::{CurrentPassword, Done, Evidence, NewPassword, ObjectGuid, ServerReply};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapModify, LdapModifyRequest, LdapModifyType, LdapOp, LdapPartialAttribute};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout};

/// Which domain controller will be written to, and what it said just before. Journalled before the write: with it, what
/// became of a lost answer can be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// As the configuration names it.
    pub dc: String,
    /// msDS-KeyVersionNumber.
    pub key_version: Option<i64>,
    /// pwdLastSet.
    pub pwd_last_set: Option<FileTime>,
}

impl Pin {
    /// Whether a write with it is refused once somebody has set a password since.
    pub(crate) fn is_bound(&self) -> bool {
        self.pwd_last_set.is_some_and(|seen| !seen.is_zero())
    }
}

/// A write that is about to happen.
pub struct Write {
    directory: Directory,
    dc: Arc<Dc>,
    user: User,
    pin: Pin,
}

/// What one modify carries besides the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    compare: bool,
    unlock: bool,
}

impl Plan {
    /// What to leave out, step by step, when a right is missing: a modify is all or nothing.
    fn all(wanted: Self) -> Vec<Self> {
        let mut plans = Vec::with_capacity(4);
        for (compare, unlock) in [(true, true), (false, true), (true, false), (false, false)] {
            let plan = Self { compare: compare && wanted.compare, unlock: unlock && wanted.unlock };
            if !plans.contains(&plan) {
                plans.push(plan);
            }
        }
        plans
    }

    fn attributes(self) -> &'static str {
        match (self.compare, self.unlock) {
            (true, true) => "unicodePwd pwdLastSet lockoutTime",
            (true, false) => "unicodePwd pwdLastSet",
            (false, true) => "unicodePwd lockoutTime",
            (false, false) => "unicodePwd",
        }
    }
}

/// What a modify that worked had in it.
struct Applied {
    plan: Plan,
    hints: bool,
}

impl Directory {
    /// Chooses the domain controller that will be written to, and reads the user there.
    pub async fn begin_write(&self, guid: ObjectGuid) -> Result<Write, FindError> {
        let mut round = self.inner.round(Use::Writes);
        while let Some(dc) = round.next() {
            match self.begin_on(dc, guid).await {
                Err(FindError::Directory(error)) => round.failed(error)?,
                begun => {
                    round.served();
                    return begun;
                }
            }
        }
        Err(round.none_serves().into())
    }

    /// The same on the domain controller that the configuration calls `dc`, and on no other.
    pub async fn begin_write_at(&self, guid: ObjectGuid, dc: &str) -> Result<Write, FindError> {
        self.begin_on(self.inner.listed(dc)?, guid).await
    }

    async fn begin_on(&self, dc: Arc<Dc>, guid: ObjectGuid) -> Result<Write, FindError> {
        let base = by_guid(guid);
        // Both at once: whoever serves reads and not writes must not be pinned.
        let (user, ready) =
            tokio::join!(self.inner.load_on(&dc, &base), self.inner.connection(&dc, Use::Writes));
        let user = user?;
        ready?;
        let pin = Pin { dc: dc.name.clone(), key_version: user.key_version, pwd_last_set: user.pwd_last_set };
        Ok(Write { directory: self.clone(), dc, user, pin })
    }
}

impl Write {
    /// For the journal.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The user as the pinned domain controller shows it.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Sets `unicodePwd` by one replace: a reset, which needs no old password ([MS-ADTS] 3.1.1.3.1.5.1). With
    /// `also_unlock` the same modify ends a lockout.
    ///
    /// Adds the policy hints control (3.1.1.3.4.1.27) where the rootDSE lists it; without it a domain controller skips
    /// history and minimum age on a reset. Samba lists it from 4.24 (measured absent on 4.17.12), so
    /// `history_enforced` tells which it was.
    ///
    /// # Errors
    /// `NoAnswer` leaves the outcome unknown: [`Directory::settle`] before trying again.
    pub async fn reset(&self, new: &NewPassword, also_unlock: bool) -> Result<Done, WriteError> {
        let wanted = Plan { compare: self.pin.pwd_last_set.is_some(), unlock: also_unlock };
        let set = |plan: Plan| {
            let mut changes = self.compare(plan);
            changes.push(change(LdapModifyType::Replace, attr::UNICODE_PWD, unicode_pwd(new.expose())));
            if plan.unlock {
                changes.push(unlocked());
            }
            changes
        };
        let applied = self.apply(Asked::Reset, wanted, &[new.expose()], set).await;
        let applied = self.judged(Asked::Reset, applied, new).await?;
        let mut remarks = Vec::new();
        if wanted.compare && !applied.plan.compare {
            remarks.push(Cause::RightsPwdLastSetMissing);
        }
        if wanted.unlock && !applied.plan.unlock {
            remarks.push(Cause::RightsUnlockAttributeMissing);
        }
        if !applied.hints {
            remarks.push(Cause::PolicyHintsUnsupported);
        }
        Ok(self.done(&applied, applied.hints, remarks).await)
    }

    /// Deletes the old value of `unicodePwd` and adds the new one: a change, in which the domain controller checks the
    /// old password, history and minimum age. Goes over the connector's connection: nobody signs in as the user.
    ///
    /// # Errors
    /// `WrongCurrentPassword` has cost one bad-password count. `NoAnswer` leaves the outcome unknown, and sending
    /// again would cost another: [`Directory::settle`] first.
    pub async fn change(&self, current: &CurrentPassword, new: &NewPassword) -> Result<Done, WriteError> {
        let wanted = Plan { compare: self.pin.pwd_last_set.is_some(), unlock: false };
        let set = |plan: Plan| {
            let mut changes = self.compare(plan);
            changes.push(change(LdapModifyType::Delete, attr::UNICODE_PWD, unicode_pwd(current.expose())));
            changes.push(change(LdapModifyType::Add, attr::UNICODE_PWD, unicode_pwd(new.expose())));
            changes
        };
        let applied = self.apply(Asked::Change, wanted, &[current.expose(), new.expose()], set).await;
        let applied = self.judged(Asked::Change, applied, new).await?;
        let missing = wanted.compare && !applied.plan.compare;
        let remarks = Vec::from_iter(missing.then_some(Cause::RightsPwdLastSetMissing));
        Ok(self.done(&applied, true, remarks).await)
    }

    /// Ends a lockout: lockoutTime = 0.
    pub async fn unlock(&self) -> Result<Done, WriteError> {
        self.attribute(Asked::Unlock, unlocked).await
    }

    /// Makes the user change the password at the next sign-in: pwdLastSet = 0.
    pub async fn must_change(&self) -> Result<Done, WriteError> {
        self.attribute(Asked::MustChange, || {
            change(LdapModifyType::Replace, attr::PWD_LAST_SET, b"0".to_vec())
        })
        .await
    }

    async fn attribute(&self, asked: Asked, modify: fn() -> LdapModify) -> Result<Done, WriteError> {
        let nothing = Plan { compare: false, unlock: false };
        match self.apply(asked, nothing, &[], |_| vec![modify()]).await {
            Ok(_) => Ok(Done {
                dc: self.pin.dc.clone(),
                key_version: None,
                history_enforced: false,
                compare_and_swap: false,
                settled: false,
                remarks: Vec::new(),
            }),
            Err(Stopped::Broken(error)) => Err(error),
            Err(Stopped::Refused(meaning, refused)) => Err(named(asked, meaning, refused)),
        }
    }

    fn compare(&self, plan: Plan) -> Vec<LdapModify> {
        #[cfg(feature = "simulation")]
        if self.directory.inner.simulation.as_ref().is_some_and(|simulation| !simulation.compare_and_swap) {
            return Vec::new();
        }
        match self.pin.pwd_last_set.filter(|_| plan.compare) {
            Some(seen) => vec![
                change(LdapModifyType::Delete, attr::PWD_LAST_SET, seen.to_string().into_bytes()),
                change(LdapModifyType::Add, attr::PWD_LAST_SET, b"-1".to_vec()),
            ],
            None => Vec::new(),
        }
    }

    /// Sends the modify; where a right is missing, sends it again with less in it.
    async fn apply(
        &self,
        asked: Asked,
        wanted: Plan,
        secrets: &[&str],
        changes: impl Fn(Plan) -> Vec<LdapModify>,
    ) -> Result<Applied, Stopped> {
        let _turn = self.turn().await?;
        let started = Instant::now();
        let mut evidence = Vec::new();
        loop {
            let mut serving = self.connection().await?;
            for plan in Plan::all(wanted) {
                let (reply, hints) = self.send(asked, &mut serving, || changes(plan)).await?;
                if reply.result == 0 {
                    return Ok(Applied { plan, hints });
                }
                let reply = withhold(reply, secrets);
                let meaning = classify(asked, &reply);
                tracing::debug!(dc = %self.pin.dc, result = reply.result, text = %reply.text, ?meaning, "refused");
                if meaning != Meaning::AccessDenied || plan == (Plan { compare: false, unlock: false }) {
                    let denied = meaning == Meaning::AccessDenied;
                    let old_token = serving.connection.opened_at < started;
                    if denied {
                        // The token is as old as the bind: a right that was granted since needs a new one.
                        self.dc.drop_connection(Use::Writes, &serving).await;
                    }
                    if denied && old_token {
                        break;
                    }
                    return Err(Stopped::Refused(
                        meaning,
                        Refused { dc: self.pin.dc.clone(), reply, evidence },
                    ));
                }
                evidence.push(Evidence::new(
                    "modify",
                    format!("{}: {} {}", plan.attributes(), reply.result, reply.text),
                    self.user.dn.as_str(),
                ));
            }
            evidence.clear();
        }
    }

    /// First come, first served. Whoever waits longer than two writes may take gets no turn: nothing was sent.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Stopped> {
        let limit = self.directory.inner.limits.write * 2;
        let turn = timeout(limit, self.dc.writer.acquire()).await.ok().and_then(Result::ok);
        turn.ok_or_else(|| {
            let error = DirectoryError::TimedOut { dc: self.pin.dc.clone(), step: Step::Queue };
            Stopped::Broken(WriteError::Unreachable(error))
        })
    }

    async fn connection(&self) -> Result<Arc<Serving>, Stopped> {
        let serving = self.directory.inner.connection(&self.dc, Use::Writes).await;
        serving.map_err(|error| Stopped::Broken(WriteError::Unreachable(error)))
    }

    /// One modify. Sent a second time only if the first is known not to have been carried out.
    async fn send(
        &self,
        asked: Asked,
        serving: &mut Arc<Serving>,
        changes: impl Fn() -> Vec<LdapModify>,
    ) -> Result<(ServerReply, bool), Stopped> {
        let mut again = true;
        loop {
            let op =
                LdapOp::ModifyRequest(LdapModifyRequest { dn: by_guid(self.user.guid), changes: changes() });
            let hints = serving.facts.policy_hints.filter(|_| asked == Asked::Reset);
            let controls = Vec::from_iter(hints.map(|oid| LdapControl::Unknown {
                oid: oid.to_owned(),
                criticality: true,
                value: Some(vec![0x30, 3, 2, 1, 1]), // SEQUENCE { Flags INTEGER 1 }
            }));
            match serving.connection.ask(op, controls, self.directory.inner.limits.write).await {
                Ok(answer) if again && classify(asked, &answer.reply) == Meaning::NotBound => {}
                Ok(answer) => {
                    if classify(asked, &answer.reply) == Meaning::ReadOnly {
                        self.dc.is_read_only();
                    }
                    return Ok((answer.reply, hints.is_some()));
                }
                Err(Broken { sent: false, .. }) if again => {}
                Err(broken) => {
                    let sent = broken.sent;
                    let error = broken.at(&self.pin.dc, Step::Write);
                    let error =
                        if sent { WriteError::NoAnswer(error) } else { WriteError::Unreachable(error) };
                    return Err(Stopped::Broken(error));
                }
            }
            again = false;
            self.dc.drop_connection(Use::Writes, serving).await;
            *serving = self.connection().await?;
        }
    }

    /// Gives a refusal its name; where the domain controller did not say which rule, by evaluating the rules.
    async fn judged(
        &self,
        asked: Asked,
        applied: Result<Applied, Stopped>,
        new: &NewPassword,
    ) -> Result<Applied, WriteError> {
        match applied {
            Ok(applied) => Ok(applied),
            Err(Stopped::Broken(error)) => Err(error),
            Err(Stopped::Refused(Meaning::SomePolicy, refused)) => {
                Err(self.directory.inner.judge_policy(&self.dc, &self.user, new, refused).await)
            }
            Err(Stopped::Refused(meaning, refused)) => Err(named(asked, meaning, refused)),
        }
    }

    /// Reads back what proves it. The answer to the modify has already said that it was done.
    async fn done(&self, applied: &Applied, history_enforced: bool, mut remarks: Vec<Cause>) -> Done {
        let op = base_search(&by_guid(self.user.guid), &[attr::KEY_VERSION, attr::PWD_LAST_SET]);
        let answer = self.directory.inner.read(&self.dc, op).await;
        let entry = answer.as_ref().ok().and_then(|answer| answer.entries.first());
        let after = entry.and_then(|entry| entry.number(attr::KEY_VERSION));
        let set = entry.and_then(|entry| entry.number(attr::PWD_LAST_SET)).map(FileTime::from_ticks);
        // Windows sets 0 where the connector account lacks Unexpire-Password on the domain ([MS-SAMR] 3.1.1.8.7): the
        // new password is expired at once.
        if set == Some(FileTime::ZERO) && !remarks.contains(&Cause::RightsPwdLastSetMissing) {
            remarks.push(Cause::RightsPwdLastSetMissing);
        }
        Done {
            dc: self.pin.dc.clone(),
            key_version: self.pin.key_version.zip(after),
            history_enforced,
            compare_and_swap: applied.plan.compare,
            settled: false,
            remarks,
        }
    }
}

/// Why a modify did not go through.
enum Stopped {
    Refused(Meaning, Refused),
    Broken(WriteError),
}

fn named(asked: Asked, meaning: Meaning, refused: Refused) -> WriteError {
    match meaning {
        Meaning::AccessDenied => {
            let right = match asked {
                Asked::Reset => Right::ResetPassword,
                Asked::Change => Right::ChangePassword,
                Asked::Unlock => Right::LockoutTime,
                Asked::MustChange => Right::PwdLastSet,
            };
            WriteError::AccessDenied { right, refused }
        }
        Meaning::CannotChange => WriteError::CannotChange(refused),
        Meaning::WrongCurrentPassword => WriteError::WrongCurrentPassword(refused),
        Meaning::Locked => WriteError::Locked(refused),
        Meaning::TooShort => WriteError::Length(refused),
        Meaning::NotComplex => WriteError::NotComplex(refused),
        Meaning::InHistory => WriteError::InHistory(refused),
        Meaning::TooYoung => WriteError::TooYoung(refused),
        Meaning::Filter | Meaning::SomePolicy => WriteError::FilterOrUnknown(refused),
        Meaning::Stale => WriteError::Stale(refused),
        Meaning::NotFound => WriteError::NotFound(refused),
        Meaning::ReadOnly => WriteError::ReadOnly(refused),
        Meaning::Busy | Meaning::NotBound => WriteError::Busy(refused),
        Meaning::Unknown => WriteError::Other(refused),
    }
}

fn change(operation: LdapModifyType, attribute: &str, value: Vec<u8>) -> LdapModify {
    LdapModify {
        operation,
        modification: LdapPartialAttribute { atype: attribute.to_owned(), vals: vec![value] },
    }
}

fn unlocked() -> LdapModify {
    change(LdapModifyType::Replace, attr::LOCKOUT_TIME, b"0".to_vec())
}

/// The password in double quotes, UTF-16LE, no byte order mark ([MS-ADTS] 3.1.1.3.1.5.1). The bytes are wiped when the
/// request is encoded.
fn unicode_pwd(password: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * (password.len() + 2)); // never grows: no copy is left behind
    for unit in std::iter::once(u16::from(b'"')).chain(password.encode_utf16()).chain([u16::from(b'"')]) {
        bytes.extend(unit.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicode_pwd_is_the_quoted_password_in_utf_16_little_endian() {
        assert_eq!(unicode_pwd("aé\u{1f511}"), [0x22, 0, 0x61, 0, 0xe9, 0, 0x3d, 0xd8, 0x11, 0xdd, 0x22, 0]);
        let password = "\u{1f511}é".repeat(100);
        assert!(unicode_pwd(&password).capacity() <= 2 * (password.len() + 2), "it grew");
    }

    #[test]
    fn less_and_less_is_sent_and_nothing_twice() {
        let plans = |compare, unlock| Plan::all(Plan { compare, unlock }).len();
        assert_eq!(
            (plans(true, true), plans(true, false), plans(false, true), plans(false, false)),
            (4, 2, 2, 1)
        );
    }
}
