//! The undo file: what `doctor --fix` is about to change, so that `doctor --undo` restores it byte for byte.
//!
//! Written before the change. Its checksum shows that it was edited or cut short; it is no signature, so whoever undoes is
//! shown the changes and asked, and only the attributes of [`Attribute`] can be in it.

use super::mend::Draft;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyback_ad::descriptor::{Ace, SecurityDescriptor};
use keyback_ad::{Attribute, Mender, Object, Sid, ValueChange};
use keyback_core::{ObjectGuid, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What this version writes and reads.
const FORMAT: u32 = 1;

/// The file, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    #[serde(rename = "keyback_undo")]
    format: u32,
    /// keyback's version.
    pub version: String,
    /// When it was written.
    pub written_at: String,
    /// The domain controller that was changed, as the configuration named it.
    pub dc: String,
    /// The domain's DN.
    pub domain: String,
    /// The domain's SID: another domain may have the same name.
    pub domain_sid: Option<String>,
    /// Who was mended, as it was asked for.
    pub user: String,
    /// The account that made the changes.
    pub changed_by: String,
    /// What was changed.
    pub changes: Vec<Changed>,
    sha256: String,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Where it lay.
    pub dn: String,
    /// Which it is.
    #[serde(rename = "objectGUID")]
    pub object_guid: ObjectGuid,
    /// Its values.
    pub values: Vec<Value>,
}

/// One attribute, in Base64. `null`: absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Which.
    pub attribute: Attribute,
    /// What was there.
    pub before: Option<String>,
    /// What was written.
    pub after: Option<String>,
}

/// The text is no undo file that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NotUndo {
    /// No such JSON.
    #[error("this is no undo file: {0}")]
    Form(#[from] serde_json::Error),
    /// Of another format.
    #[error("the undo file has format {found}, and this version reads {FORMAT}")]
    Format {
        /// What it says.
        found: u32,
    },
    /// Its content does not fit its checksum.
    #[error("the undo file was changed since keyback wrote it: its checksum does not fit")]
    Edited,
    /// A value is no Base64.
    #[error("a value of the undo file is no Base64")]
    Value,
}

/// How an object stands to an undo file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is as it was before: there is nothing to undo.
    AsBefore,
    /// It is as keyback left it.
    AsAfter,
    /// Somebody changed it since.
    Changed,
}

impl Undo {
    /// Of these drafts.
    pub fn new(drafts: &[Draft], mender: &Mender, user: &str, changed_by: &str, at: Timestamp) -> Self {
        let base64 = |value: &Option<Vec<u8>>| value.as_ref().map(|bytes| STANDARD.encode(bytes));
        let value = |change: &ValueChange| Value {
            attribute: change.attribute,
            before: base64(&change.before),
            after: base64(&change.after),
        };
        let changed = |draft: &Draft| Changed {
            dn: draft.object.dn.to_string(),
            object_guid: draft.object.guid,
            values: draft.changes.iter().map(value).collect(),
        };
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            written_at: at.to_string(),
            dc: mender.dc().to_owned(),
            domain: mender.base().to_string(),
            domain_sid: mender.domain_sid().map(Sid::to_string),
            user: user.to_owned(),
            changed_by: changed_by.to_owned(),
            changes: drafts.iter().filter(|draft| !draft.changes.is_empty()).map(changed).collect(),
            sha256: String::new(),
        }
    }

    /// The file's text, with its checksum.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let sealed = Self { sha256: self.checksum()?, ..self.clone() };
        serde_json::to_string_pretty(&sealed).map(|text| text + "\n")
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, NotUndo> {
        let undo: Self = serde_json::from_str(text)?;
        if undo.format != FORMAT {
            return Err(NotUndo::Format { found: undo.format });
        }
        if undo.sha256 != undo.checksum()? {
            return Err(NotUndo::Edited);
        }
        Ok(undo)
    }

    /// SHA-256 over everything but itself, in hexadecimal.
    fn checksum(&self) -> Result<String, serde_json::Error> {
        let content = serde_json::to_vec(&Self { sha256: String::new(), ..self.clone() })?;
        Ok(Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether it is about this domain.
    pub fn is_of(&self, mender: &Mender) -> bool {
        let sid = mender.domain_sid().map(Sid::to_string);
        let same_sid = sid.is_none() || self.domain_sid.is_none() || sid == self.domain_sid;
        same_sid && keyback_ad::Dn::parse(&self.domain).is_ok_and(|domain| domain == *mender.base())
    }
}

impl Changed {
    /// The changes, as they were made.
    pub fn values(&self) -> Result<Vec<ValueChange>, NotUndo> {
        let bytes = |text: &Option<String>| {
            text.as_ref().map(|text| STANDARD.decode(text)).transpose().map_err(|_| NotUndo::Value)
        };
        let value = |value: &Value| {
            Ok(ValueChange {
                attribute: value.attribute,
                before: bytes(&value.before)?,
                after: bytes(&value.after)?,
            })
        };
        self.values.iter().map(value).collect()
    }
}

/// How an object stands to what was changed of it.
pub fn standing(changes: &[ValueChange], object: &Object) -> Standing {
    let all = |recorded: fn(&ValueChange) -> Option<&[u8]>| {
        changes
            .iter()
            .all(|change| is_same(change.attribute, recorded(change), object.value(change.attribute)))
    };
    if all(|change| change.before.as_deref()) {
        Standing::AsBefore
    } else if all(|change| change.after.as_deref()) {
        Standing::AsAfter
    } else {
        Standing::Changed
    }
}

/// What undoes `changes` on the object as it is now.
pub fn reversed(changes: Vec<ValueChange>, object: &Object) -> Vec<ValueChange> {
    let back = |change: ValueChange| ValueChange {
        before: object.value(change.attribute).map(<[u8]>::to_vec),
        after: change.before,
        attribute: change.attribute,
    };
    changes.into_iter().map(back).collect()
}

/// Of a descriptor, what the server makes itself does not count: the inherited ACEs follow what lies above, and the undo
/// file was written before the server made them.
fn is_same(attribute: Attribute, recorded: Option<&[u8]>, now: Option<&[u8]>) -> bool {
    if recorded == now || attribute != Attribute::Descriptor {
        return recorded == now;
    }
    let (Some(recorded), Some(now)) = (recorded.and_then(own_part), now.and_then(own_part)) else {
        return false;
    };
    recorded == now
}

/// Whether inheritance is off, and the explicit ACEs.
fn own_part(bytes: &[u8]) -> Option<(bool, Vec<Ace>)> {
    let descriptor = SecurityDescriptor::decode(bytes).ok()?;
    let explicit =
        descriptor.aces().filter(|own| !own.ace.is_inherited()).map(|own| own.ace.clone()).collect();
    Some((descriptor.is_protected(), explicit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo() -> Undo {
        Undo {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            written_at: "2026-11-24T12:00:00Z".to_owned(),
            dc: "dc1".to_owned(),
            domain: "DC=ad,DC=example".to_owned(),
            domain_sid: Some("S-1-5-21-1-2-3".to_owned()),
            user: "ada".to_owned(),
            changed_by: "admin@ad.example".to_owned(),
            changes: vec![Changed {
                dn: "CN=ada,DC=ad,DC=example".to_owned(),
                object_guid: ObjectGuid::from_wire([7; 16]),
                values: vec![Value {
                    attribute: Attribute::LockoutTime,
                    before: Some(STANDARD.encode("133")),
                    after: Some(STANDARD.encode("0")),
                }],
            }],
            sha256: String::new(),
        }
    }

    #[test]
    fn what_was_written_reads_back_and_whatever_was_edited_does_not() {
        let text = undo().to_json().expect("JSON");
        let read = Undo::parse(&text).expect("it reads back");
        assert_eq!(read.changes, undo().changes);
        let change = &read.changes[0].values().expect("Base64")[0];
        assert_eq!((change.before.as_deref(), change.after.as_deref()), (Some(&b"133"[..]), Some(&b"0"[..])));
        for (old, new) in [
            ("dc1", "dc2"),
            ("DC=ad,DC=example\"", "DC=other,DC=example\""),
            ("CN=ada", "CN=bob"),
            ("\"lockoutTime\"", "\"adminCount\""),
            (&STANDARD.encode("133"), &STANDARD.encode("134")),
            ("S-1-5-21-1-2-3", "S-1-5-21-1-2-4"),
        ] {
            assert!(text.contains(old), "{old}");
            let edited = text.replace(old, new);
            assert!(matches!(Undo::parse(&edited), Err(NotUndo::Edited)), "{old}");
        }
        let newer = text.replace("\"keyback_undo\": 1", "\"keyback_undo\": 2");
        assert!(matches!(Undo::parse(&newer), Err(NotUndo::Format { found: 2 })));
        for bad in ["", "{}", "[]", &text[..text.len() / 2], &text.replace("lockoutTime", "member")] {
            assert!(matches!(Undo::parse(bad), Err(NotUndo::Form(_))), "{bad}");
        }
    }

    #[test]
    fn of_a_descriptor_only_its_own_part_counts() {
        let bytes = |sddl: &str| {
            SecurityDescriptor::from_sddl(sddl, None).map(|sd| sd.encode().expect("bytes")).expect("SDDL")
        };
        let same =
            |one: &str, other: &str| is_same(Attribute::Descriptor, Some(&bytes(one)), Some(&bytes(other)));
        assert!(same("D:AI(A;;RP;;;WD)", "D:AI(A;;RP;;;WD)(A;ID;RP;;;AU)"));
        assert!(!same("D:AI(A;;RP;;;WD)", "D:PAI(A;;RP;;;WD)"));
        assert!(!same("D:AI(A;;RP;;;WD)", "D:AI(A;;RP;;;WD)(A;;RP;;;AU)"));
        assert!(!is_same(Attribute::Descriptor, Some(b"x"), Some(b"y")));
        assert!(!is_same(Attribute::AdminCount, Some(b"1"), None));
        assert!(is_same(Attribute::AdminCount, None, None));
    }
}
