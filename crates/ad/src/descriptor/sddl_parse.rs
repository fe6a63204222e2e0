//! Security descriptors from text ([MS-DTYP] 2.5.1).

use crate::descriptor::ace::Shape;
use crate::descriptor::sddl::{
    ALIASES, Alias, DACL_FLAGS, Domains, FILE_RIGHTS, FLAGS, NULL_ACL, RIGHTS, SACL_FLAGS, TYPES,
};
use crate::descriptor::{
    AccessMask, Ace, AceFlags, AceType, Acl, Body, Control, Layout, MAX_BYTES, Rights, SecurityDescriptor,
};
use crate::guid::Guid;
use crate::sid::Sid;

/// The text is no SDDL that this module takes, and from where on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at {rest:?}")]
pub struct NotSddl {
    /// What was expected.
    pub what: &'static str,
    /// The beginning of what stands there.
    pub rest: String,
}

fn expected(what: &'static str, rest: &str) -> NotSddl {
    NotSddl { what, rest: rest.chars().take(40).collect() }
}

impl SecurityDescriptor {
    /// From text, as Windows and Samba take it; without spaces, and without the conditions of callback ACEs. `domains` is
    /// needed for the letters that mean an account of a domain (DA).
    pub fn from_sddl(text: &str, domains: Option<Domains<'_>>) -> Result<Self, NotSddl> {
        if text.len() > 4 * MAX_BYTES {
            return Err(expected("a text that is not this long", text));
        }
        let mut descriptor = Self {
            control: Control::SELF_RELATIVE,
            owner: None,
            group: None,
            sacl: None,
            dacl: None,
            layout: Layout::default(),
        };
        let mut reader = Reader { rest: text, domains };
        let mut seen = 0; // one bit for each part
        while !reader.rest.is_empty() {
            let whole = reader.rest;
            let Some((name, after)) = whole.split_at_checked(2) else {
                return Err(expected("O:, G:, D: or S:", whole));
            };
            reader.rest = after;
            let part = match name {
                "O:" => {
                    descriptor.owner = Some(reader.sid()?);
                    1
                }
                "G:" => {
                    descriptor.group = Some(reader.sid()?);
                    2
                }
                "D:" => {
                    let control = reader.acl_flags(DACL_FLAGS);
                    descriptor.dacl = reader.acl()?;
                    descriptor.control = descriptor.control | control | Control::DACL_PRESENT;
                    4
                }
                "S:" => {
                    let control = reader.acl_flags(SACL_FLAGS);
                    descriptor.sacl = reader.acl()?;
                    descriptor.control = descriptor.control | control | Control::SACL_PRESENT;
                    8
                }
                _ => return Err(expected("O:, G:, D: or S:", whole)),
            };
            if seen & part != 0 {
                return Err(expected("each part only once", whole));
            }
            seen |= part;
        }
        Ok(descriptor)
    }
}

impl Ace {
    /// From text in parentheses.
    pub fn from_sddl(text: &str, domains: Option<Domains<'_>>) -> Result<Self, NotSddl> {
        let mut reader = Reader { rest: text, domains };
        let ace = reader.ace()?;
        if reader.rest.is_empty() { Ok(ace) } else { Err(expected("nothing more", reader.rest)) }
    }
}

struct Reader<'a> {
    rest: &'a str,
    domains: Option<Domains<'a>>,
}

impl<'a> Reader<'a> {
    fn acl_flags(&mut self, names: [(&str, Control); 3]) -> Control {
        let mut control = Control::default();
        while let Some((rest, bit)) =
            names.into_iter().find_map(|(name, bit)| Some((self.rest.strip_prefix(name)?, bit)))
        {
            self.rest = rest;
            control = control | bit;
        }
        control
    }

    fn acl(&mut self) -> Result<Option<Acl>, NotSddl> {
        if let Some(rest) = self.rest.strip_prefix(NULL_ACL) {
            self.rest = rest;
            return Ok(None);
        }
        let mut aces = Vec::new();
        while self.rest.starts_with('(') {
            aces.push(self.ace()?);
        }
        Ok(Some(Acl::new(aces)))
    }

    fn ace(&mut self) -> Result<Ace, NotSddl> {
        let whole = self.rest;
        let inner = whole.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let (inner, rest) = inner.ok_or_else(|| expected("an ACE in parentheses", whole))?;
        self.rest = rest;
        let fields: Vec<&str> = inner.splitn(8, ';').collect();
        let [kind, flags, mask, object, inherited, sid, ref more @ ..] = *fields.as_slice() else {
            return Err(expected("six or seven fields", whole));
        };
        let more = match *more {
            [] => Vec::new(),
            [more] => hex(more)?,
            _ => return Err(expected("six or seven fields", whole)),
        };
        let known = named(TYPES, kind).or_else(|| number(kind));
        let kind = AceType(known.ok_or_else(|| expected("an ACE's type", kind))?);
        let flags = letters(FLAGS, flags).or_else(|| number(flags));
        let flags = AceFlags(flags.ok_or_else(|| expected("an ACE's flags", whole))?);
        let shape = kind.shape();
        if shape == Shape::Opaque {
            let empty = [mask, object, inherited, sid].into_iter().all(str::is_empty);
            let body = empty.then_some(Body::Opaque(more));
            return Ok(Ace { kind, flags, body: body.ok_or_else(|| expected("four empty fields", whole))? });
        }
        let bits = letters(RIGHTS, mask).or_else(|| named(FILE_RIGHTS, mask)).or_else(|| number(mask));
        let mask = AccessMask(bits.ok_or_else(|| expected("rights", mask))?);
        let guid = |text: &str| match text {
            "" => Ok(None),
            text if shape == Shape::Object => {
                text.parse::<Guid>().map(Some).map_err(|_| expected("a GUID", text))
            }
            text => Err(expected("no GUID in an ACE of this type", text)),
        };
        let (object_type, inherited_object_type) = (guid(object)?, guid(inherited)?);
        let mut account = Reader { rest: sid, domains: self.domains };
        let sid = account.sid()?;
        if !account.rest.is_empty() {
            return Err(expected("nothing after the SID", account.rest));
        }
        let rights = Rights { mask, object_type, inherited_object_type, sid, more };
        Ok(Ace { kind, flags, body: Body::Rights(rights) })
    }

    fn sid(&mut self) -> Result<Sid, NotSddl> {
        let whole = self.rest;
        if whole.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("S-")) {
            let end = whole.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '-' | 'S' | 's' | 'x')));
            let mut end = end.unwrap_or(whole.len());
            // `…-512D:` and `…-513S:`: the next part has begun.
            if whole[end..].starts_with(':') {
                end = end.saturating_sub(1);
            }
            let (text, rest) = whole.split_at(end);
            self.rest = rest;
            return text.parse().map_err(|_| expected("a SID", whole));
        }
        let (name, rest) = whole.split_at_checked(2).ok_or_else(|| expected("a SID", whole))?;
        self.rest = rest;
        let alias = named(ALIASES, name).ok_or_else(|| expected("a SID", whole))?;
        let of = |domain: fn(Domains<'a>) -> &'a Sid| {
            self.domains
                .map(domain)
                .ok_or_else(|| expected("a SID that does not depend on the domain", whole))
        };
        Ok(match alias {
            Alias::Fixed(authority, parts) => Sid::well_known(authority, parts),
            Alias::Domain(rid) => of(|domains| domains.own)?.with_rid(rid),
            Alias::Forest(rid) => of(|domains| domains.forest_root)?.with_rid(rid),
        })
    }
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Pairs of letters, each a bit; none is no bits.
fn letters<T>(table: &[(&str, T)], text: &str) -> Option<T>
where
    T: Copy + Default + std::ops::BitOr<Output = T>,
{
    let mut bits = T::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_at_checked(2)?;
        bits = bits | named(table, name)?;
        rest = after;
    }
    Some(bits)
}

/// Hexadecimal after 0x, octal after 0, else decimal, as Windows reads it.
fn number<T: TryFrom<u32>>(text: &str) -> Option<T> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit()); // no sign
    let value = all_digits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()?;
    T::try_from(value).ok()
}

fn hex(text: &str) -> Result<Vec<u8>, NotSddl> {
    let wrong = || expected("# and hexadecimal digits", text);
    let digits = text.strip_prefix('#').ok_or_else(wrong)?;
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| odd.is_empty()).ok_or_else(wrong)
}
