//! One entry of an access control list ([MS-DTYP] 2.4.4).

use crate::descriptor::mask::{AccessMask, AceFlags};
use crate::descriptor::{Malformed, TooLarge};
use crate::guid::Guid;
use crate::sid::Sid;

/// The type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AceType(pub u8);

/// What an ACE does in an access check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It gives rights.
    Allow,
    /// It refuses them.
    Deny,
    /// It allows or denies under a condition, which is not judged here. Samba 4.24.7 judges it, 4.17.12 skips the ACE
    /// (both measured).
    Conditional,
    /// It audits, labels or is unknown: an access check skips it.
    None,
}

/// What follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Mask, SID, perhaps more.
    Simple,
    /// Mask, object flags, up to two GUIDs, SID, perhaps more.
    Object,
    /// Not known here.
    Opaque,
}

impl AceType {
    /// A.
    pub const ALLOW: Self = Self(0x0);
    /// D.
    pub const DENY: Self = Self(0x1);
    /// AU.
    pub const AUDIT: Self = Self(0x2);
    /// OA.
    pub const ALLOW_OBJECT: Self = Self(0x5);
    /// OD.
    pub const DENY_OBJECT: Self = Self(0x6);
    /// OU.
    pub const AUDIT_OBJECT: Self = Self(0x7);
    /// XA: with a condition.
    pub const ALLOW_CALLBACK: Self = Self(0x9);
    /// XD.
    pub const DENY_CALLBACK: Self = Self(0xa);
    /// ZA.
    pub const ALLOW_CALLBACK_OBJECT: Self = Self(0xb);
    /// No letters.
    pub const DENY_CALLBACK_OBJECT: Self = Self(0xc);

    /// What it does.
    pub const fn effect(self) -> Effect {
        match self.0 {
            0x0 | 0x5 => Effect::Allow,
            0x1 | 0x6 => Effect::Deny,
            0x9..=0xc => Effect::Conditional,
            _ => Effect::None,
        }
    }

    /// Whether an ACE of this type can name what it is for by a GUID.
    pub(crate) const fn is_object(self) -> bool {
        matches!(self.shape(), Shape::Object)
    }

    pub(crate) const fn shape(self) -> Shape {
        match self.0 {
            // Allow, deny, audit, alarm; the same with a condition; label, resource attribute, scoped policy.
            0x0..=0x3 | 0x9 | 0xa | 0xd | 0xe | 0x11..=0x13 => Shape::Simple,
            0x5..=0x8 | 0xb | 0xc | 0xf | 0x10 => Shape::Object,
            _ => Shape::Opaque,
        }
    }
}

/// One ACE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ace {
    /// What it is.
    pub kind: AceType,
    /// How it is inherited.
    pub flags: AceFlags,
    /// Its body.
    pub body: Body,
}

/// What an ACE says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// Rights for somebody.
    Rights(Rights),
    /// Bytes that are only kept.
    Opaque(Vec<u8>),
}

/// Rights for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rights {
    /// Which.
    pub mask: AccessMask,
    /// For this class, attribute, property set or control access right only. Object ACEs alone have it.
    pub object_type: Option<Guid>,
    /// Effective on objects of this class only, when inherited. Object ACEs alone have it.
    pub inherited_object_type: Option<Guid>,
    /// For whom.
    pub sid: Sid,
    /// What follows the SID: a condition, an attribute, or padding.
    pub more: Vec<u8>,
}

/// Type, flags, size.
const HEADER: usize = 4;
/// Bits of an object ACE's own flags.
const OBJECT_TYPE_PRESENT: u32 = 1;
const INHERITED_OBJECT_TYPE_PRESENT: u32 = 2;

impl Ace {
    /// An allow ACE; an object ACE where a GUID is given.
    pub fn allow(mask: AccessMask, object_type: Option<Guid>, sid: Sid) -> Self {
        let kind = if object_type.is_some() { AceType::ALLOW_OBJECT } else { AceType::ALLOW };
        Self::explicit(kind, mask, object_type, sid)
    }

    /// A deny ACE; an object ACE where a GUID is given.
    pub fn deny(mask: AccessMask, object_type: Option<Guid>, sid: Sid) -> Self {
        let kind = if object_type.is_some() { AceType::DENY_OBJECT } else { AceType::DENY };
        Self::explicit(kind, mask, object_type, sid)
    }

    fn explicit(kind: AceType, mask: AccessMask, object_type: Option<Guid>, sid: Sid) -> Self {
        let rights = Rights { mask, object_type, inherited_object_type: None, sid, more: Vec::new() };
        Self { kind, flags: AceFlags::default(), body: Body::Rights(rights) }
    }

    /// The same ACE, inherited only, by descendants of one class (`None`: of every class).
    #[must_use]
    pub fn for_descendants(mut self, class: Option<Guid>) -> Self {
        self.flags = AceFlags::CONTAINER_INHERIT | AceFlags::INHERIT_ONLY;
        if let (Body::Rights(rights), Some(class)) = (&mut self.body, class) {
            rights.inherited_object_type = Some(class);
            self.kind = match self.kind {
                AceType::ALLOW => AceType::ALLOW_OBJECT,
                AceType::DENY => AceType::DENY_OBJECT,
                kind => kind,
            };
        }
        self
    }

    /// What it says, unless it is opaque.
    pub const fn rights(&self) -> Option<&Rights> {
        match &self.body {
            Body::Rights(rights) => Some(rights),
            Body::Opaque(_) => None,
        }
    }

    /// What it does to the object that carries it: nothing when it is inherit-only.
    pub const fn effect(&self) -> Effect {
        if self.flags.contains(AceFlags::INHERIT_ONLY) { Effect::None } else { self.kind.effect() }
    }

    /// Whether it came from above.
    pub const fn is_inherited(&self) -> bool {
        self.flags.contains(AceFlags::INHERITED)
    }

    /// The ACE that begins the bytes, and what follows it.
    pub(crate) fn decode_first(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let [kind, flags, low, high, ..] = *bytes else { return Err(Malformed::Ace) };
        let size = usize::from(u16::from_le_bytes([low, high]));
        let (whole, rest) = bytes.split_at_checked(size).ok_or(Malformed::Ace)?;
        let body = whole.get(HEADER..).ok_or(Malformed::Ace)?;
        let kind = AceType(kind);
        let body = match kind.shape() {
            Shape::Opaque => Body::Opaque(body.to_vec()),
            shape @ (Shape::Simple | Shape::Object) => {
                Body::Rights(Rights::decode(body, shape).ok_or(Malformed::Ace)?)
            }
        };
        Ok((Self { kind, flags: AceFlags(flags), body }, rest))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let start = out.len();
        out.extend([self.kind.0, self.flags.0, 0, 0]);
        match &self.body {
            Body::Rights(rights) => rights.encode(self.kind.shape(), out),
            Body::Opaque(bytes) => out.extend(bytes),
        }
        let size = u16::try_from(out.len() - start).map_err(|_| TooLarge)?;
        out[start + 2..start + HEADER].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }
}

impl Rights {
    fn decode(body: &[u8], shape: Shape) -> Option<Self> {
        let (mask, mut rest) = body.split_first_chunk::<4>()?;
        let mut guids = [None, None];
        if shape == Shape::Object {
            let (flags, after) = rest.split_first_chunk::<4>()?;
            let flags = u32::from_le_bytes(*flags);
            rest = after;
            // A bit that is not known may announce a field that is not known either.
            if flags & !(OBJECT_TYPE_PRESENT | INHERITED_OBJECT_TYPE_PRESENT) != 0 {
                return None;
            }
            for (guid, bit) in guids.iter_mut().zip([OBJECT_TYPE_PRESENT, INHERITED_OBJECT_TYPE_PRESENT]) {
                if flags & bit != 0 {
                    let (bytes, after) = rest.split_first_chunk::<16>()?;
                    *guid = Some(Guid::from_wire(*bytes));
                    rest = after;
                }
            }
        }
        let (sid, more) = Sid::decode_first(rest).ok()?;
        let [object_type, inherited_object_type] = guids;
        let mask = AccessMask(u32::from_le_bytes(*mask));
        Some(Self { mask, object_type, inherited_object_type, sid, more: more.to_vec() })
    }

    fn encode(&self, shape: Shape, out: &mut Vec<u8>) {
        out.extend(self.mask.0.to_le_bytes());
        if shape == Shape::Object {
            let bit = |guid: &Option<Guid>, bit| if guid.is_some() { bit } else { 0 };
            let flags = bit(&self.object_type, OBJECT_TYPE_PRESENT)
                | bit(&self.inherited_object_type, INHERITED_OBJECT_TYPE_PRESENT);
            out.extend(flags.to_le_bytes());
            let guids = [self.object_type, self.inherited_object_type];
            guids.into_iter().flatten().for_each(|guid| out.extend(guid.to_wire()));
        }
        out.extend(self.sid.encode());
        out.extend(&self.more);
    }
}
