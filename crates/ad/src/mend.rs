//! Mending: what an administrator lets keyback change so that resets work again.
//!
//! Decides how an object is read before it is changed, and that nothing is overwritten that somebody else changed
//! meanwhile. Only the four attributes of [`Attribute`] can be written, whoever asks. Leaves to the agent what ought to be
//! changed. Signs in as the account that was given for this: [`Directory::signed_in_as`].

use crate::connection::{Answer, Broken, base_search};
use crate::descriptor::SecurityDescriptor;
use crate::directory::{Dc, Directory, Serving, Use};
use crate::dn::Dn;
use crate::error::{DirectoryError, FindError, Step};
use crate::find::{self, attr, by_guid};
use crate::sid::Sid;
use crate::wire::Entry;
use keyback_codes::{Cause, Explain};
use keyback_core::{ObjectGuid, ServerReply, UserName};
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapModify, LdapModifyRequest, LdapModifyType, LdapOp, LdapPartialAttribute};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What mending may write, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Attribute {
    /// The DACL of nTSecurityDescriptor; owner, group and SACL stay as they are.
    #[serde(rename = "nTSecurityDescriptor")]
    Descriptor,
    /// lockoutTime.
    #[serde(rename = "lockoutTime")]
    LockoutTime,
    /// adminCount.
    #[serde(rename = "adminCount")]
    AdminCount,
    /// userAccountControl.
    #[serde(rename = "userAccountControl")]
    UserAccountControl,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Descriptor, Self::LockoutTime, Self::AdminCount, Self::UserAccountControl];

    /// As LDAP spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Descriptor => "nTSecurityDescriptor",
            Self::LockoutTime => attr::LOCKOUT_TIME,
            Self::AdminCount => "adminCount",
            Self::UserAccountControl => attr::USER_ACCOUNT_CONTROL,
        }
    }
}

/// An attribute's value before and after. `None`: the attribute is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueChange {
    /// Which attribute.
    pub attribute: Attribute,
    /// What must still be there when it is written.
    pub before: Option<Vec<u8>>,
    /// What is written.
    pub after: Option<Vec<u8>>,
}

/// An object as the account that mends sees it.
#[derive(Debug, Clone)]
pub struct Object {
    /// objectGUID: it survives renames and moves.
    pub guid: ObjectGuid,
    /// Where it lies now.
    pub dn: Dn,
    values: Vec<(Attribute, Vec<u8>)>,
    writable: Vec<Attribute>,
}

impl Object {
    /// The value. `None`: absent, or not readable.
    pub fn value(&self, attribute: Attribute) -> Option<&[u8]> {
        self.values.iter().find(|(known, _)| *known == attribute).map(|(_, value)| value.as_slice())
    }

    /// The DACL, where it can be read.
    pub fn descriptor(&self) -> Option<SecurityDescriptor> {
        self.value(Attribute::Descriptor).and_then(|bytes| SecurityDescriptor::decode(bytes).ok())
    }

    /// Whether the server says that the account may write it (sDRightsEffective, allowedAttributesEffective).
    pub fn may_write(&self, attribute: Attribute) -> bool {
        self.writable.contains(&attribute)
    }

    fn decode(dc: &Dc, entry: &Entry) -> Result<Self, DirectoryError> {
        let unfit = |_| DirectoryError::Protocol {
            dc: dc.name.clone(),
            step: Step::Read,
            reason: "an object without a readable objectGUID or DN".to_owned(),
        };
        let effective = entry.texts("allowedAttributesEffective");
        let dacl = entry.number::<u32>("sDRightsEffective").is_some_and(|bits| bits & DACL != 0);
        let may_write = |attribute: &Attribute| match attribute {
            Attribute::Descriptor => dacl,
            Attribute::LockoutTime | Attribute::AdminCount | Attribute::UserAccountControl => {
                effective.iter().any(|name| name.eq_ignore_ascii_case(attribute.name()))
            }
        };
        let value = |attribute: Attribute| Some((attribute, entry.bytes(attribute.name())?.to_vec()));
        Ok(Self {
            guid: find::guid(dc, entry).map_err(unfit)?,
            dn: find::dn(dc, &entry.dn).map_err(unfit)?,
            values: Attribute::ALL.into_iter().filter_map(value).collect(),
            writable: Attribute::ALL.into_iter().filter(may_write).collect(),
        })
    }
}

/// Bit 4 of SD_FLAGS and of sDRightsEffective ([MS-ADTS] 3.1.1.3.4.1.11, [MS-ADA3] 2.233).
const DACL: u32 = 4;

/// Why an object was not mended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MendError {
    /// The directory could not be asked, before anything was sent.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It is not there, or not visible to this account.
    #[error("{dc}: {object} is not there, or this account cannot see it")]
    Gone {
        /// The domain controller.
        dc: String,
        /// Its DN or GUID.
        object: String,
    },
    /// It is not what it was when the change was made up.
    #[error("{dn}: {} was changed by somebody else meanwhile; nothing was written", attribute.name())]
    Changed {
        /// Where it lies.
        dn: String,
        /// What is different.
        attribute: Attribute,
    },
    /// The domain controller refused. Nothing of this object was changed.
    #[error("{dc} refused to change {dn}: {} {}", reply.result, reply.text)]
    Refused {
        /// The domain controller.
        dc: String,
        /// Where it lies.
        dn: String,
        /// The answer.
        reply: ServerReply,
    },
    /// Sent, and no answer came: it may be done or not.
    #[error("{dn}: whether it was changed is not known")]
    NoAnswer {
        /// Where it lies.
        dn: String,
        /// What happened to the answer.
        source: DirectoryError,
    },
}

impl Explain for MendError {
    fn cause(&self) -> Cause {
        match self {
            Self::Directory(error) => error.cause(),
            Self::Gone { .. } => Cause::TargetNotFound,
            Self::Changed { .. } => Cause::TargetOutrun,
            Self::Refused { .. } => Cause::Unspecified,
            Self::NoAnswer { .. } => Cause::OutcomeUnknown,
        }
    }
}

/// One domain controller, signed in to, for the changes of one mending.
pub struct Mender {
    directory: Directory,
    dc: Arc<Dc>,
    serving: Arc<Serving>,
    domain_sid: Option<Sid>,
}

impl Directory {
    /// Signs in to `preferred`, where it is one of ours, else to the first that serves.
    pub async fn open_mender(&self, preferred: Option<&str>) -> Result<Mender, DirectoryError> {
        if let Some(dc) = preferred.and_then(|name| self.inner.listed(name).ok()) {
            let serving = self.inner.connection(&dc, Use::Writes).await?;
            return self.mender(dc, serving).await;
        }
        let mut round = self.inner.round(Use::Writes);
        while let Some(dc) = round.next() {
            match self.inner.connection(&dc, Use::Writes).await {
                Ok(serving) => {
                    round.served();
                    return self.mender(dc, serving).await;
                }
                Err(error) => round.failed(error)?,
            }
        }
        Err(round.none_serves())
    }

    async fn mender(&self, dc: Arc<Dc>, serving: Arc<Serving>) -> Result<Mender, DirectoryError> {
        let mut mender = Mender { directory: self.clone(), dc, serving, domain_sid: None };
        let head = base_search(mender.base().as_str(), &[attr::OBJECT_SID]);
        let answer = mender.ask(head, Vec::new()).await?;
        let sid = answer.entries.first().and_then(|entry| entry.bytes(attr::OBJECT_SID));
        mender.domain_sid = sid.and_then(|sid| Sid::decode(sid).ok());
        Ok(mender)
    }
}

impl Mender {
    /// The domain controller, as the configuration names it.
    pub fn dc(&self) -> &str {
        &self.dc.name
    }

    /// The domain.
    pub fn base(&self) -> &Dn {
        &self.serving.facts.base
    }

    /// The domain's SID, where this account can read it.
    pub const fn domain_sid(&self) -> Option<&Sid> {
        self.domain_sid.as_ref()
    }

    /// Reads an object by its DN.
    pub async fn read(&self, dn: &Dn) -> Result<Object, MendError> {
        self.load(dn.as_str()).await
    }

    /// Reads an object wherever it lies now.
    pub async fn read_by_guid(&self, guid: ObjectGuid) -> Result<Object, MendError> {
        self.load(&by_guid(guid)).await
    }

    /// Reads the account that signs in under this name: userPrincipalName, `DOMAIN\\name` or DN.
    pub async fn find_account(&self, name: &str) -> Result<Object, MendError> {
        let gone = |name: &str| MendError::Gone { dc: self.dc.name.clone(), object: name.to_owned() };
        let user = UserName::parse(name).map_err(|_| gone(name))?;
        match self.directory.find_user(&user).await {
            Ok(user) => self.read_by_guid(user.guid).await,
            Err(FindError::Directory(error)) => Err(error.into()),
            Err(FindError::NotFound { .. } | FindError::Several { .. } | FindError::Unreadable { .. }) => {
                Err(gone(name))
            }
        }
    }

    async fn load(&self, base: &str) -> Result<Object, MendError> {
        let more = [attr::OBJECT_GUID, "sDRightsEffective", "allowedAttributesEffective"];
        let attributes: Vec<&str> = Attribute::ALL.map(Attribute::name).into_iter().chain(more).collect();
        let answer = self.ask(base_search(base, &attributes), vec![dacl_only()]).await?;
        match (answer.reply.result, answer.entries.as_slice()) {
            (0, [entry]) => Ok(Object::decode(&self.dc, entry)?),
            (0 | 10 | 32 | 34, _) => {
                Err(MendError::Gone { dc: self.dc.name.clone(), object: base.to_owned() })
            }
            _ => Err(DirectoryError::Refused {
                dc: self.dc.name.clone(),
                step: Step::Read,
                reply: answer.reply,
            }
            .into()),
        }
    }

    /// Writes all changes of one object by one modify, if everything is still as `before` says.
    ///
    /// lockoutTime, adminCount and userAccountControl are compared by the domain controller itself (delete the old value,
    /// add the new one). nTSecurityDescriptor can only be replaced (Samba 4.17.12 and 4.24.7 answer 53, "MOD_DELETE for
    /// nTSecurityDescriptor not supported"), so it is read again on the same connection right before: what somebody else
    /// writes within that round trip is overwritten.
    pub async fn write(&self, object: &Object, changes: &[ValueChange]) -> Result<(), MendError> {
        let dn = object.dn.to_string();
        let now = self.read_by_guid(object.guid).await?;
        if let Some(change) =
            changes.iter().find(|change| now.value(change.attribute) != change.before.as_deref())
        {
            return Err(MendError::Changed { dn, attribute: change.attribute });
        }
        let modify = LdapModifyRequest {
            dn: by_guid(object.guid),
            changes: changes.iter().flat_map(ValueChange::modify).collect(),
        };
        let asked = self.serving.connection.ask(
            LdapOp::ModifyRequest(modify),
            vec![dacl_only()],
            // Samba passes inherited ACEs on within the modify: about 10 s for 20,000 users (measured on 4.17.12).
            self.directory.inner.limits.write * 8,
        );
        match asked.await {
            Ok(Answer { reply, .. }) => match reply.result {
                0 => Ok(()),
                // One of the values to be deleted is not there any more, or the one to be added is.
                16 | 20 => Err(MendError::Changed { dn, attribute: compared(changes) }),
                _ => Err(MendError::Refused { dc: self.dc.name.clone(), dn, reply }),
            },
            Err(broken @ Broken { sent: true, .. }) => {
                Err(MendError::NoAnswer { dn, source: broken.at(&self.dc.name, Step::Write) })
            }
            Err(broken) => Err(broken.at(&self.dc.name, Step::Write).into()),
        }
    }

    /// Whether a read failed because the connection ended is of no interest here: a person asks, and can ask again.
    async fn ask(&self, op: LdapOp, controls: Vec<LdapControl>) -> Result<Answer, DirectoryError> {
        let asked = self.serving.connection.ask(op, controls, self.directory.inner.limits.read).await;
        asked.map_err(|broken| broken.at(&self.dc.name, Step::Read))
    }
}

/// The attribute that the domain controller compares itself, where there is one.
fn compared(changes: &[ValueChange]) -> Attribute {
    let own = changes.iter().map(|change| change.attribute).find(|own| *own != Attribute::Descriptor);
    own.unwrap_or(Attribute::Descriptor)
}

impl ValueChange {
    fn modify(&self) -> Vec<LdapModify> {
        let part = |operation, value: Vec<u8>| LdapModify {
            operation,
            modification: LdapPartialAttribute { atype: self.attribute.name().to_owned(), vals: vec![value] },
        };
        if self.attribute == Attribute::Descriptor {
            return self.after.iter().map(|value| part(LdapModifyType::Replace, value.clone())).collect();
        }
        let old = self.before.iter().map(|value| part(LdapModifyType::Delete, value.clone()));
        old.chain(self.after.iter().map(|value| part(LdapModifyType::Add, value.clone()))).collect()
    }
}

/// [MS-ADTS] 3.1.1.3.4.1.11: of the descriptor, the DACL only, both ways.
fn dacl_only() -> LdapControl {
    LdapControl::Unknown {
        oid: "1.2.840.113556.1.4.801".to_owned(),
        criticality: true,
        value: Some(vec![0x30, 3, 2, 1, 4]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        attribute: Attribute,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Vec<(LdapModifyType, String)> {
        let bytes = |value: &str| value.as_bytes().to_vec();
        let change = ValueChange { attribute, before: before.map(bytes), after: after.map(bytes) };
        let text = |part: LdapModify| {
            (part.operation, String::from_utf8_lossy(&part.modification.vals[0]).into_owned())
        };
        change.modify().into_iter().map(text).collect()
    }

    #[test]
    fn the_domain_controller_compares_whatever_it_can_compare() {
        use LdapModifyType::{Add, Delete, Replace};
        let said = |parts: &[(LdapModifyType, &str)]| -> Vec<(LdapModifyType, String)> {
            parts.iter().map(|(kind, text)| (kind.clone(), (*text).to_owned())).collect()
        };
        assert_eq!(change(Attribute::LockoutTime, Some("7"), Some("0")), said(&[(Delete, "7"), (Add, "0")]));
        assert_eq!(change(Attribute::AdminCount, Some("1"), None), said(&[(Delete, "1")]));
        assert_eq!(change(Attribute::AdminCount, None, Some("1")), said(&[(Add, "1")]));
        assert_eq!(change(Attribute::Descriptor, Some("a"), Some("b")), said(&[(Replace, "b")]));
    }
}
