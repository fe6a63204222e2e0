//! nTSecurityDescriptor: who may do what to an object, read and written byte for byte ([MS-DTYP] 2.4.6).
//!
//! Decides what the bytes say, how they read as text ([`sddl`](SecurityDescriptor::to_sddl)), and what an access check
//! makes of them ([`Question`], [`Decision`]). Leaves to others to fetch the bytes, and to say what ought to be granted.
//!
//! A descriptor's bytes come from a server that may lie: nothing here panics or allocates beyond what the bytes carry.

mod access;
mod ace;
mod inherit;
mod mask;
mod sddl;
mod sddl_parse;
mod token;

pub use access::{Decision, Numbered, Question, Reason, Server};
pub use ace::{Ace, AceType, Body, Effect, Rights};
pub use mask::{AccessMask, AceFlags, Control};
pub use sddl::Domains;
pub use sddl_parse::NotSddl;
pub use token::Token;

use crate::sid::Sid;

/// The longest descriptor that its own fields can describe: header, two SIDs, two ACLs; with room for gaps.
pub const MAX_BYTES: usize = 0x4_0000;
/// Revision, padding, control bits, four offsets.
const HEADER: usize = 20;
/// Revision, padding, size, count, padding.
const ACL_HEADER: usize = 8;
/// The revision of an ACL that may hold object ACEs ([MS-DTYP] 2.4.5), which every ACL of a directory object has.
const REVISION_DS: u8 = 4;

/// The bytes are no security descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short, or of another revision.
    #[error("the bytes do not begin as a self-relative security descriptor")]
    Header,
    /// Longer than a descriptor can be.
    #[error("a security descriptor is not this long")]
    TooLong,
    /// The owner or the group.
    #[error("the owner or group is no SID within the bytes")]
    Sid,
    /// An ACL's size or number of entries.
    #[error("an access control list does not fit into the bytes")]
    Acl,
    /// An ACE's size, flags or SID.
    #[error("an access control entry does not fit into its list")]
    Ace,
}

/// An ACL or ACE is longer than the 65,535 bytes that its size field can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access control list may not be longer than 65535 bytes")]
pub struct TooLarge;

/// nTSecurityDescriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityDescriptor {
    /// Control bits. [`encode`](Self::encode) writes the two "present" bits as they stand here.
    pub control: Control,
    /// The owner; absent when it was not asked for.
    pub owner: Option<Sid>,
    /// The primary group, which no directory looks at.
    pub group: Option<Sid>,
    /// What is audited; absent when it was not asked for.
    pub sacl: Option<Acl>,
    /// Who may do what. `None` with [`Control::DACL_PRESENT`] is a NULL DACL: everybody may do everything. `None`
    /// without it also comes from not asking (SD_FLAGS without 4), so read it with 4 before judging.
    pub dacl: Option<Acl>,
    layout: Layout,
}

/// An access control list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    revision: u8,
    /// The entries, in the order in which they are judged.
    pub aces: Vec<Ace>,
    /// Bytes after the last entry: legal, and kept.
    slack: Vec<u8>,
}

/// What says nothing but has to come back as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    resource_manager_control: u8,
    /// In which order the parts lie.
    order: [Part; 4],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Owner,
    Group,
    Sacl,
    Dacl,
}

impl Default for Layout {
    /// As Samba lays them out.
    fn default() -> Self {
        Self { resource_manager_control: 0, order: [Part::Owner, Part::Group, Part::Sacl, Part::Dacl] }
    }
}

impl Default for Acl {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Acl {
    /// Of these entries, in this order.
    pub const fn new(aces: Vec<Ace>) -> Self {
        Self { revision: REVISION_DS, aces, slack: Vec::new() }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let [revision @ 2..=4, _, size0, size1, count0, count1, _, _, ..] = *bytes else {
            return Err(Malformed::Acl);
        };
        let size = usize::from(u16::from_le_bytes([size0, size1]));
        let count = u16::from_le_bytes([count0, count1]);
        let mut rest = bytes.get(ACL_HEADER..size).ok_or(Malformed::Acl)?;
        let mut aces = Vec::new();
        for _ in 0..count {
            let (ace, after) = Ace::decode_first(rest)?;
            aces.push(ace);
            rest = after;
        }
        Ok(Self { revision, aces, slack: rest.to_vec() })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let start = out.len();
        let count = u16::try_from(self.aces.len()).map_err(|_| TooLarge)?;
        out.extend([self.revision, 0, 0, 0]);
        out.extend(count.to_le_bytes());
        out.extend([0, 0]);
        self.aces.iter().try_for_each(|ace| ace.encode(out))?;
        out.extend(&self.slack);
        let size = u16::try_from(out.len() - start).map_err(|_| TooLarge)?;
        out[start + 2..start + 4].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }

    /// The entries with their places.
    pub fn numbered(&self) -> impl Iterator<Item = Numbered<'_>> {
        self.aces.iter().enumerate().map(|(index, ace)| Numbered { index, ace })
    }
}

impl SecurityDescriptor {
    /// Of a DACL alone, as it is written with SD_FLAGS 4.
    pub fn of_dacl(dacl: Acl) -> Self {
        Self {
            control: Control::SELF_RELATIVE | Control::DACL_PRESENT,
            owner: None,
            group: None,
            sacl: None,
            dacl: Some(dacl),
            layout: Layout::default(),
        }
    }

    /// From the attribute's value. Accepts parts in any order, gaps between them, and bytes after an ACL's last entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_BYTES {
            return Err(Malformed::TooLong);
        }
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed::Header)?;
        let [1, resource_manager_control, low, high, offsets @ ..] = *header else {
            return Err(Malformed::Header);
        };
        let control = Control(u16::from_le_bytes([low, high]));
        if !control.contains(Control::SELF_RELATIVE) {
            return Err(Malformed::Header);
        }
        let (offsets, _) = offsets.as_chunks::<4>();
        let offset = |part: Part| offsets.get(part as usize).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let at = |part, malformed| match usize::try_from(offset(part)) {
            Ok(0) => Ok(None),
            Ok(offset) if offset >= HEADER => bytes.get(offset..).map(Some).ok_or(malformed),
            Ok(_) | Err(_) => Err(malformed),
        };
        let sid = |part| {
            let first = at(part, Malformed::Sid)?.map(Sid::decode_first).transpose();
            first.map(|found| found.map(|(sid, _)| sid)).map_err(|_| Malformed::Sid)
        };
        let acl = |part, present| match at(part, Malformed::Acl)? {
            Some(bytes) if control.contains(present) => Acl::decode(bytes).map(Some),
            // Without the bit the offset says nothing ([MS-DTYP] 2.4.6).
            Some(_) | None => Ok(None),
        };
        let Layout { mut order, .. } = Layout::default();
        if !order.iter().map(|part| offset(*part)).filter(|offset| *offset > 0).is_sorted() {
            order.sort_by_key(|part| offset(*part));
        }
        Ok(Self {
            control,
            owner: sid(Part::Owner)?,
            group: sid(Part::Group)?,
            sacl: acl(Part::Sacl, Control::SACL_PRESENT)?,
            dacl: acl(Part::Dacl, Control::DACL_PRESENT)?,
            layout: Layout { resource_manager_control, order },
        })
    }

    /// The attribute's value. What [`decode`](Self::decode) took comes back byte for byte, unless it had gaps, parts that
    /// overlap, or padding that is not zero; what Samba 4.17.12 and 4.24.7 send has none of these.
    pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
        let mut out = vec![1, self.layout.resource_manager_control];
        out.extend((self.control | Control::SELF_RELATIVE).0.to_le_bytes());
        out.resize(HEADER, 0);
        for part in self.layout.order {
            let start = out.len();
            match part {
                Part::Owner => out.extend(self.owner.iter().flat_map(Sid::encode)),
                Part::Group => out.extend(self.group.iter().flat_map(Sid::encode)),
                Part::Sacl => self.sacl.iter().try_for_each(|acl| acl.encode(&mut out))?,
                Part::Dacl => self.dacl.iter().try_for_each(|acl| acl.encode(&mut out))?,
            }
            if out.len() > start {
                let field = 4 + 4 * part as usize;
                let start = u32::try_from(start).map_err(|_| TooLarge)?;
                out[field..field + 4].copy_from_slice(&start.to_le_bytes());
            }
        }
        Ok(out)
    }

    /// Whether inheritance from above is off (P), as on every object that AdminSDHolder protects.
    pub const fn is_protected(&self) -> bool {
        self.control.contains(Control::DACL_PROTECTED)
    }

    /// The DACL's entries with their places; none where there is no DACL.
    pub fn aces(&self) -> impl Iterator<Item = Numbered<'_>> {
        self.dacl.iter().flat_map(Acl::numbered)
    }
}
