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
#[cfg(test)]
mod samples;
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

#[cfg(test)]
mod tests {
    use super::*;
    use binrw::{BinRead, BinWrite};
    use proptest::prelude::*;
    use std::io::Cursor;

    fn at(bytes: &[u8], offset: usize) -> usize {
        usize::from(bytes[offset]) | usize::from(bytes[offset + 1]) << 8
    }

    #[test]
    fn what_the_lab_stores_comes_back_byte_for_byte() {
        for sample in samples::samples() {
            let descriptor = SecurityDescriptor::decode(&sample.bytes).expect(sample.dn);
            assert_eq!(descriptor.encode().unwrap(), sample.bytes, "{}", sample.dn);
        }
    }

    #[test]
    fn parts_in_the_order_of_windows_and_bytes_after_the_last_ace_come_back_too() {
        let dacl = [
            4, 0, 32, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9, 9, 9, 9,
        ];
        let owner = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
        let header = [1, 0, 4, 0x80, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0];
        let bytes = [&header[..], &dacl, &owner].concat();
        let descriptor = SecurityDescriptor::decode(&bytes).unwrap();
        assert_eq!(descriptor.to_sddl(None), "O:SYD:(A;;CR;;;WD)");
        assert_eq!(descriptor.encode().unwrap(), bytes);
    }

    #[test]
    fn a_null_an_empty_and_a_missing_dacl_are_three_things() {
        let decode = |control: u8, offset: u8, rest: &[u8]| {
            let header = [1, 0, control, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, offset, 0, 0, 0];
            SecurityDescriptor::decode(&[&header[..], rest].concat())
        };
        let empty = [2, 0, 8, 0, 0, 0, 0, 0];
        assert_eq!(decode(4, 20, &empty).unwrap().dacl.map(|dacl| dacl.aces.len()), Some(0));
        let null = decode(4, 0, &[]).unwrap();
        assert_eq!((null.to_sddl(None).as_str(), &null.dacl), ("D:NO_ACCESS_CONTROL", &None));
        assert_eq!(decode(0, 0, &[]).unwrap().to_sddl(None), "");
        assert_eq!(decode(4, 20, &[]), Err(Malformed::Acl));
        assert_eq!(decode(4, 8, &empty), Err(Malformed::Acl));
    }

    #[test]
    fn a_descriptor_that_is_cut_short_is_refused() {
        let sample = samples::sample("CN=ada");
        for length in 0..sample.bytes.len() {
            assert!(SecurityDescriptor::decode(&sample.bytes[..length]).is_err(), "{length}");
        }
        assert_eq!(SecurityDescriptor::decode(&vec![0; MAX_BYTES + 1]), Err(Malformed::TooLong));
    }

    #[test]
    fn a_list_that_its_size_field_cannot_say_is_not_written() {
        let ace = Ace::allow(AccessMask::ALL, None, Sid::well_known(1, &[0]));
        let fits = SecurityDescriptor::of_dacl(Acl::new(vec![ace.clone(); 3276]));
        let bytes = fits.encode().unwrap();
        assert_eq!(at(&bytes, HEADER + 2), 8 + 3276 * 20);
        assert_eq!(SecurityDescriptor::decode(&bytes), Ok(fits));
        assert_eq!(SecurityDescriptor::of_dacl(Acl::new(vec![ace; 3277])).encode(), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_what_is_taken_is_stable(
            index in any::<prop::sample::Index>(),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            random in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let samples = samples::samples();
            let mut bytes = index.get(&samples).bytes.clone();
            for (place, byte) in noise {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            for bytes in [bytes, random] {
                if let Ok(descriptor) = SecurityDescriptor::decode(&bytes) {
                    let written = descriptor.encode().unwrap();
                    let again = SecurityDescriptor::decode(&written).unwrap();
                    prop_assert_eq!(again.encode().unwrap(), written);
                    prop_assert_eq!(again.to_sddl(None), descriptor.to_sddl(None));
                }
            }
        }

        #[test]
        fn what_is_written_reads_the_same(descriptor in samples::descriptor(samples::ace().boxed())) {
            let bytes = descriptor.encode().unwrap();
            prop_assert_eq!(SecurityDescriptor::decode(&bytes), Ok(descriptor));
        }

        // smb-dtyp knows neither NULL ACLs nor parts in another order, and slurps padding.
        #[test]
        fn another_implementation_reads_and_writes_the_same(
            descriptor in samples::descriptor(samples::plain_ace().boxed())
        ) {
            let null = |acl: &Option<Acl>, bit| acl.is_none() && descriptor.control.contains(bit);
            prop_assume!(!null(&descriptor.dacl, Control::DACL_PRESENT));
            prop_assume!(!null(&descriptor.sacl, Control::SACL_PRESENT));
            let bytes = descriptor.encode().unwrap();
            let other = smb_dtyp::SecurityDescriptor::read(&mut Cursor::new(&bytes)).unwrap();
            prop_assert_eq!(other.dacl.as_ref().map(|acl| acl.ace.len()), descriptor.dacl.as_ref().map(|acl| acl.aces.len()));
            let mut written = Cursor::new(Vec::new());
            other.write(&mut written).unwrap();
            prop_assert_eq!(written.into_inner(), bytes);
        }
    }
}
