//! Security descriptors as text ([MS-DTYP] 2.5.1): as Windows and `samba-tool dsacl get` write it.
//! (Samba 4.17.12 puts the letters of a mask into another order; 4.24.7 into that of Windows.)

use crate::descriptor::ace::Shape;
use crate::descriptor::{Ace, Acl, Body, Control, SecurityDescriptor};
use crate::sid::Sid;
use std::fmt;

/// The domain whose accounts have two-letter names (DA: its Domain Admins), and the one at the head of its forest (EA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domains<'a> {
    /// The domain's SID.
    pub own: &'a Sid,
    /// The forest root domain's SID.
    pub forest_root: &'a Sid,
}

impl<'a> Domains<'a> {
    /// Of a forest of one domain.
    pub const fn single(own: &'a Sid) -> Self {
        Self { own, forest_root: own }
    }
}

/// What two letters stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alias {
    /// The same SID everywhere.
    Fixed(u64, &'static [u32]),
    /// An account of the domain.
    Domain(u32),
    /// An account of the forest root domain.
    Forest(u32),
}

/// [MS-DTYP] 2.5.1.1, sid-token.
pub(super) const ALIASES: &[(&str, Alias)] = &[
    ("WD", Alias::Fixed(1, &[0])),
    ("CO", Alias::Fixed(3, &[0])),
    ("CG", Alias::Fixed(3, &[1])),
    ("OW", Alias::Fixed(3, &[4])),
    ("NU", Alias::Fixed(5, &[2])),
    ("IU", Alias::Fixed(5, &[4])),
    ("SU", Alias::Fixed(5, &[6])),
    ("AN", Alias::Fixed(5, &[7])),
    ("ED", Alias::Fixed(5, &[9])),
    ("PS", Alias::Fixed(5, &[10])),
    ("AU", Alias::Fixed(5, &[11])),
    ("RC", Alias::Fixed(5, &[12])),
    ("SY", Alias::Fixed(5, &[18])),
    ("LS", Alias::Fixed(5, &[19])),
    ("NS", Alias::Fixed(5, &[20])),
    ("WR", Alias::Fixed(5, &[33])),
    ("BA", Alias::Fixed(5, &[32, 544])),
    ("BU", Alias::Fixed(5, &[32, 545])),
    ("BG", Alias::Fixed(5, &[32, 546])),
    ("PU", Alias::Fixed(5, &[32, 547])),
    ("AO", Alias::Fixed(5, &[32, 548])),
    ("SO", Alias::Fixed(5, &[32, 549])),
    ("PO", Alias::Fixed(5, &[32, 550])),
    ("BO", Alias::Fixed(5, &[32, 551])),
    ("RE", Alias::Fixed(5, &[32, 552])),
    ("RU", Alias::Fixed(5, &[32, 554])),
    ("RD", Alias::Fixed(5, &[32, 555])),
    ("NO", Alias::Fixed(5, &[32, 556])),
    ("MU", Alias::Fixed(5, &[32, 558])),
    ("LU", Alias::Fixed(5, &[32, 559])),
    ("IS", Alias::Fixed(5, &[32, 568])),
    ("CY", Alias::Fixed(5, &[32, 569])),
    ("ER", Alias::Fixed(5, &[32, 573])),
    ("CD", Alias::Fixed(5, &[32, 574])),
    ("RA", Alias::Fixed(5, &[32, 575])),
    ("ES", Alias::Fixed(5, &[32, 576])),
    ("MS", Alias::Fixed(5, &[32, 577])),
    ("HA", Alias::Fixed(5, &[32, 578])),
    ("AA", Alias::Fixed(5, &[32, 579])),
    ("RM", Alias::Fixed(5, &[32, 580])),
    ("UD", Alias::Fixed(5, &[84, 0, 0, 0, 0, 0])),
    ("AC", Alias::Fixed(15, &[2, 1])),
    ("LW", Alias::Fixed(16, &[4096])),
    ("ME", Alias::Fixed(16, &[8192])),
    ("MP", Alias::Fixed(16, &[8448])),
    ("HI", Alias::Fixed(16, &[12288])),
    ("SI", Alias::Fixed(16, &[16384])),
    ("AS", Alias::Fixed(18, &[1])),
    ("SS", Alias::Fixed(18, &[2])),
    ("LA", Alias::Domain(500)),
    ("LG", Alias::Domain(501)),
    ("DA", Alias::Domain(512)),
    ("DU", Alias::Domain(513)),
    ("DG", Alias::Domain(514)),
    ("DC", Alias::Domain(515)),
    ("DD", Alias::Domain(516)),
    ("CA", Alias::Domain(517)),
    ("PA", Alias::Domain(520)),
    ("CN", Alias::Domain(522)),
    ("AP", Alias::Domain(525)),
    ("KA", Alias::Domain(526)),
    ("RS", Alias::Domain(553)),
    ("RO", Alias::Forest(498)),
    ("SA", Alias::Forest(518)),
    ("EA", Alias::Forest(519)),
    ("EK", Alias::Forest(527)),
];

/// [MS-DTYP] 2.5.1.1, ace-type. Types without letters there are written as a number, which is our own way.
pub(super) const TYPES: &[(&str, u8)] = &[
    ("A", 0x0),
    ("D", 0x1),
    ("AU", 0x2),
    ("AL", 0x3),
    ("OA", 0x5),
    ("OD", 0x6),
    ("OU", 0x7),
    ("OL", 0x8),
    ("XA", 0x9),
    ("XD", 0xa),
    ("ZA", 0xb),
    ("XU", 0xd),
    ("ML", 0x11),
    ("RA", 0x12),
    ("SP", 0x13),
];

pub(super) const FLAGS: &[(&str, u8)] =
    &[("OI", 0x1), ("CI", 0x2), ("NP", 0x4), ("IO", 0x8), ("ID", 0x10), ("SA", 0x40), ("FA", 0x80)];

pub(super) const RIGHTS: &[(&str, u32)] = &[
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
    ("SD", 0x1_0000),
    ("RC", 0x2_0000),
    ("WD", 0x4_0000),
    ("WO", 0x8_0000),
    ("GA", 0x1000_0000),
    ("GX", 0x2000_0000),
    ("GW", 0x4000_0000),
    ("GR", 0x8000_0000),
];

/// Written only for exactly these rights of a file, which have a bit that no directory object knows.
pub(super) const FILE_RIGHTS: &[(&str, u32)] =
    &[("FA", 0x1f_01ff), ("FR", 0x12_0089), ("FW", 0x12_0116), ("FX", 0x12_00a0)];

/// Flags of a DACL and of a SACL, in the order in which they are written.
pub(super) const DACL_FLAGS: [(&str, Control); 3] = [
    ("P", Control::DACL_PROTECTED),
    ("AR", Control::DACL_AUTO_INHERIT_REQUIRED),
    ("AI", Control::DACL_AUTO_INHERITED),
];
pub(super) const SACL_FLAGS: [(&str, Control); 3] = [
    ("P", Control::SACL_PROTECTED),
    ("AR", Control::SACL_AUTO_INHERIT_REQUIRED),
    ("AI", Control::SACL_AUTO_INHERITED),
];

/// Stands for an ACL that is present and NULL.
pub(super) const NULL_ACL: &str = "NO_ACCESS_CONTROL";

impl SecurityDescriptor {
    /// The descriptor as text. Accounts of `domains` get their two letters, all others their SID. Everything that an ACE
    /// holds is in it, and [`from_sddl`](Self::from_sddl) takes it back; what has no place in SDDL (an ACE of an unknown
    /// type, bytes after a SID, a condition) is written as a number or as `#` and hexadecimal digits, which other tools
    /// do not take.
    pub fn to_sddl(&self, domains: Option<Domains<'_>>) -> String {
        let mut text = String::new();
        for (name, sid) in [("O:", &self.owner), ("G:", &self.group)] {
            if let Some(sid) = sid {
                text += name;
                text += &sid_text(sid, domains);
            }
        }
        if self.control.contains(Control::DACL_PRESENT) {
            text += "D:";
            self.write_acl(&mut text, DACL_FLAGS, self.dacl.as_ref(), domains);
        }
        if self.control.contains(Control::SACL_PRESENT) {
            text += "S:";
            self.write_acl(&mut text, SACL_FLAGS, self.sacl.as_ref(), domains);
        }
        text
    }

    fn write_acl(
        &self,
        text: &mut String,
        flags: [(&str, Control); 3],
        acl: Option<&Acl>,
        domains: Option<Domains<'_>>,
    ) {
        for (name, bit) in flags {
            if self.control.contains(bit) {
                *text += name;
            }
        }
        match acl {
            None => *text += NULL_ACL,
            Some(acl) => acl.aces.iter().for_each(|ace| *text += &ace.to_sddl(domains)),
        }
    }
}

impl Ace {
    /// The ACE as text, in its parentheses.
    pub fn to_sddl(&self, domains: Option<Domains<'_>>) -> String {
        let kind = match name_of(TYPES, self.kind.0) {
            Some(name) => name.to_owned(),
            None => format!("{:#04x}", self.kind.0),
        };
        let flags = letters(FLAGS, self.flags.0).unwrap_or_else(|| format!("{:#04x}", self.flags.0));
        match &self.body {
            Body::Opaque(bytes) => format!("({kind};{flags};;;;;#{})", Hex(bytes)),
            Body::Rights(rights) => {
                let mask = rights.mask.0;
                let mask = letters(RIGHTS, mask)
                    .or_else(|| name_of(FILE_RIGHTS, mask).map(str::to_owned))
                    .unwrap_or_else(|| format!("{mask:#x}"));
                let guids = [rights.object_type, rights.inherited_object_type];
                let guids = guids.map(|guid| guid.map(|guid| guid.to_string()).unwrap_or_default());
                let [object, inherited] =
                    if self.kind.shape() == Shape::Object { guids } else { Default::default() };
                let sid = sid_text(&rights.sid, domains);
                let more =
                    if rights.more.is_empty() { String::new() } else { format!(";#{}", Hex(&rights.more)) };
                format!("({kind};{flags};{mask};{object};{inherited};{sid}{more})")
            }
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn name_of<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> Option<&'static str> {
    table.iter().find(|(_, known)| *known == value).map(|(name, _)| *name)
}

/// All bits as letters; `None` when one has none.
fn letters<T>(table: &[(&str, T)], bits: T) -> Option<String>
where
    T: Copy + Into<u32>,
{
    let bits = bits.into();
    let all = table.iter().fold(0, |all, (_, bit)| all | (*bit).into());
    (bits & !all == 0)
        .then(|| table.iter().filter(|(_, bit)| bits & (*bit).into() != 0).map(|(name, _)| *name).collect())
}

/// A SID's letters, or the SID.
fn sid_text(sid: &Sid, domains: Option<Domains<'_>>) -> String {
    let in_domain =
        |domain: &Sid, rid: u32| sid.rid() == Some(rid) && sid.domain().is_some_and(|of| of == *domain);
    let is = |alias: Alias| match alias {
        Alias::Fixed(authority, parts) => sid.is_well_known(authority, parts),
        Alias::Domain(rid) => domains.is_some_and(|domains| in_domain(domains.own, rid)),
        Alias::Forest(rid) => domains.is_some_and(|domains| in_domain(domains.forest_root, rid)),
    };
    match ALIASES.iter().find(|(_, alias)| is(*alias)) {
        Some((name, _)) => (*name).to_owned(),
        None => sid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{AccessMask, AceFlags, NotSddl, samples};
    use crate::guid;
    use proptest::prelude::*;

    fn domain() -> Sid {
        "S-1-5-21-1-2-3".parse().unwrap()
    }

    #[test]
    fn the_text_is_what_the_lab_s_own_samba_writes_and_means_the_same_bytes() {
        for sample in samples::samples() {
            let domains = Some(Domains::single(&sample.domain));
            let descriptor = SecurityDescriptor::decode(&sample.bytes).unwrap();
            // 4.17 writes the letters of a mask in an order of its own.
            if sample.version != "4.17.12" {
                assert_eq!(descriptor.to_sddl(domains), sample.sddl, "{}", sample.dn);
            }
            let back = SecurityDescriptor::from_sddl(sample.sddl, domains).expect(sample.dn);
            assert_eq!((back.owner, back.group), (descriptor.owner, descriptor.group));
            assert_eq!((back.dacl, back.sacl), (descriptor.dacl, descriptor.sacl), "{}", sample.dn);
        }
    }

    #[test]
    fn the_ace_that_delegates_a_reset_reads_as_in_the_manual() {
        let sid: Sid = "S-1-5-21-1-2-3-1105".parse().unwrap();
        let ace = Ace::allow(AccessMask::CONTROL_ACCESS, Some(guid::RESET_PASSWORD), sid);
        let ace = ace.for_descendants(Some(guid::USER));
        let text = "(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;S-1-5-21-1-2-3-1105)";
        assert_eq!(ace.to_sddl(None), text);
        assert_eq!(Ace::from_sddl(text, None), Ok(ace));
    }

    #[test]
    fn letters_follow_the_domain_and_the_forest_apart() {
        let root: Sid = "S-1-5-21-7-8-9".parse().unwrap();
        let own = domain();
        let domains = Some(Domains { own: &own, forest_root: &root });
        let ace = |rid: u32, of: &Sid| Ace::allow(AccessMask::READ_CONTROL, None, of.with_rid(rid));
        assert_eq!(ace(512, &own).to_sddl(domains), "(A;;RC;;;DA)");
        assert_eq!(ace(519, &root).to_sddl(domains), "(A;;RC;;;EA)");
        assert_eq!(ace(519, &own).to_sddl(domains), "(A;;RC;;;S-1-5-21-1-2-3-519)");
        assert_eq!(Ace::from_sddl("(A;;RC;;;EA)", domains), Ok(ace(519, &root)));
        let error = Ace::from_sddl("(A;;RC;;;DA)", None).unwrap_err();
        assert_eq!(error.to_string(), "a SID that does not depend on the domain at \"DA\"");
    }

    #[test]
    fn numbers_owners_without_letters_and_odd_rights_are_taken() {
        let mask = |text: &str| {
            Ace::from_sddl(&format!("(A;;{text};;;WD)"), None)
                .map(|ace| ace.rights().map(|rights| rights.mask.0))
        };
        assert_eq!(mask("0x100"), Ok(Some(0x100)));
        assert_eq!(mask("256"), Ok(Some(0x100)));
        assert_eq!(mask("0400"), Ok(Some(0x100)));
        assert_eq!(mask("FA"), Ok(Some(0x1f_01ff)));
        assert_eq!(mask(""), Ok(Some(0)));
        assert!(mask("+1").is_err() && mask("CR ").is_err() && mask("0x1ffffffff").is_err());
        for text in [
            "O:S-1-5-21-1-2-3-512D:P",
            "O:S-1-5-21-1-2-3-512S:AI",
            "O:SYG:BAD:PARAI(A;;GA;;;WD)S:NO_ACCESS_CONTROL",
        ] {
            assert_eq!(SecurityDescriptor::from_sddl(text, None).unwrap().to_sddl(None), text);
        }
        let odd = Ace::allow(AccessMask(0x10_0100), None, Sid::well_known(1, &[0]));
        assert_eq!(odd.to_sddl(None), "(A;;0x100100;;;WD)");
    }

    #[test]
    fn text_that_is_no_sddl_is_refused_with_its_place() {
        for text in [
            "D",
            "X:",
            "D:(A;;CR;;;WD",
            "D:(A;;CR;;;WD))",
            "D:D:",
            "D:(A;;CR;;WD)",
            "O:",
            "D:(A;;CR;x;;WD)",
            "D:(Q;;CR;;;WD)",
            "D:é",
        ] {
            assert!(SecurityDescriptor::from_sddl(text, None).is_err(), "{text}");
        }
        let error = SecurityDescriptor::from_sddl("D:(A;;CR;;;WDX)", None).unwrap_err();
        assert_eq!(error, NotSddl { what: "nothing after the SID", rest: "X".to_owned() });
    }

    proptest! {
        #[test]
        fn every_descriptor_survives_its_text(descriptor in samples::descriptor(samples::ace().boxed())) {
            let domain = domain();
            for domains in [None, Some(Domains::single(&domain))] {
                let text = descriptor.to_sddl(domains);
                prop_assert_eq!(SecurityDescriptor::from_sddl(&text, domains), Ok(descriptor.clone()), "{}", text);
            }
        }

        #[test]
        fn hostile_text_never_panics(text in "\\PC{0,60}", near in "([OGDS]:)?(P|AI|SY|S-1-5-[0-9]{1,12}|\\((A|OA|0x[0-9a-f]{1,3});(CI)?;[A-Z0-9]{0,4};;;[A-Z]{0,3}(;#[0-9a-f]{0,5})?\\)){0,4}") {
            let domain = domain();
            for text in [text, near] {
                if let Ok(descriptor) = SecurityDescriptor::from_sddl(&text, Some(Domains::single(&domain))) {
                    let _ = descriptor.encode();
                }
                let _ = Ace::from_sddl(&text, None);
            }
        }

        #[test]
        fn flags_that_have_no_letters_become_a_number(flags: u8) {
            let mut ace = Ace::allow(AccessMask::ALL, None, Sid::well_known(1, &[0]));
            ace.flags = AceFlags(flags);
            prop_assert_eq!(Ace::from_sddl(&ace.to_sddl(None), None), Ok(ace));
        }
    }
}
