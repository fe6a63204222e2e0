//! The GUIDs that ACEs name: classes, attributes, property sets and control access rights.
//!
//! Read from the schema and from CN=Extended-Rights of a live Samba 4.17.12; the well-known ones agree with Microsoft's
//! schema reference ([MS-ADA1] to [MS-ADSC], [MS-ADTS] 5.1.3.2.1 for the rights). They are the same in every forest.

use std::fmt;
use std::str::FromStr;

/// schemaIDGUID of a class or an attribute, attributeSecurityGUID, or rightsGuid. Kept as on the wire: the first three
/// fields little-endian ([MS-DTYP] 2.3.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// The text is no GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a GUID reads bf967aba-0de6-11d0-a285-00aa003049e2")]
pub struct NotAGuid;

/// Where each two digits of the text go.
const WIRE_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// From sixteen bytes of a descriptor.
    pub const fn from_wire(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Sixteen bytes for a descriptor.
    pub const fn to_wire(self) -> [u8; 16] {
        self.0
    }

    const fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0; 16];
        let (mut at, mut digits) = (0, 0);
        while at < 36 {
            if matches!(at, 8 | 13 | 18 | 23) {
                if text[at] != b'-' {
                    return None;
                }
            } else {
                let digit = match text[at] {
                    digit @ b'0'..=b'9' => digit - b'0',
                    digit @ b'a'..=b'f' => digit - b'a' + 10,
                    digit @ b'A'..=b'F' => digit - b'A' + 10,
                    _ => return None,
                };
                bytes[WIRE_ORDER[digits / 2]] |= if digits.is_multiple_of(2) { digit << 4 } else { digit };
                digits += 1;
            }
            at += 1;
        }
        Some(Self(bytes))
    }

    /// For the constants below: bad text does not compile.
    const fn constant(text: &str) -> Self {
        match Self::parse(text) {
            Some(guid) => guid,
            None => panic!("not a GUID"),
        }
    }

    /// What it is called, where it is one of the constants here.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| *name)
    }

    /// What kind of thing it names, where it is one of the constants here.
    pub fn kind(self) -> Option<Kind> {
        self.entry().map(|(_, _, kind)| *kind)
    }

    fn entry(self) -> Option<&'static (Self, &'static str, Kind)> {
        KNOWN.iter().find(|(guid, _, _)| *guid == self)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, index) in WIRE_ORDER.into_iter().enumerate() {
            let dash = if matches!(count, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{:02x}", self.0[index])?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = NotAGuid;

    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        Self::parse(text).ok_or(NotAGuid)
    }
}

/// All constants of this module.
pub fn all() -> impl Iterator<Item = Guid> {
    KNOWN.iter().map(|(guid, _, _)| *guid)
}

/// What a GUID names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A class of objects: schemaIDGUID.
    Class,
    /// An attribute outside every property set.
    Attribute,
    /// An attribute, and the property set that its attributeSecurityGUID names in the schema as it is delivered.
    AttributeOf(Guid),
    /// A property set: rightsGuid of a controlAccessRight with validAccesses 0x30.
    PropertySet,
    /// A control access right: validAccesses 0x100.
    ControlRight,
}

macro_rules! guids {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $label:literal, $kind:expr;)+) => {
        $($(#[$doc])+ pub const $name: Guid = Guid::constant($text);)+
        const KNOWN: &[(Guid, &str, Kind)] = &[$(($name, $label, $kind)),+];
    };
}

guids! {
    /// Reset Password: set a password without the old one.
    RESET_PASSWORD = "00299570-246d-11d0-a768-00aa006e0529", "Reset Password", Kind::ControlRight;
    /// Change Password: set a password with the old one.
    CHANGE_PASSWORD = "ab721a53-1e2f-11d0-9819-00aa0040529b", "Change Password", Kind::ControlRight;
    /// Unexpire Password, on the domain's head.
    UNEXPIRE_PASSWORD = "ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501", "Unexpire Password", Kind::ControlRight;
    /// Update Password Not Required Bit, on the domain's head.
    UPDATE_PASSWORD_NOT_REQUIRED = "280f369c-67c7-438e-ae98-1d46f3c6f541", "Update Password Not Required Bit", Kind::ControlRight;
    /// Enable Per User Reversibly Encrypted Password, on the domain's head.
    ENABLE_REVERSIBLE_PASSWORD = "05c74c5e-4deb-43b4-bd9f-86664c2a7fd5", "Enable Per User Reversibly Encrypted Password", Kind::ControlRight;
    /// Replicating Directory Changes: DirSync without its flag 1.
    REPLICATION_CHANGES = "1131f6aa-9c07-11d1-f79f-00c04fc2dcd2", "Replicating Directory Changes", Kind::ControlRight;
    /// Replicating Directory Changes All: opens the password hashes; never to be granted.
    REPLICATION_CHANGES_ALL = "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2", "Replicating Directory Changes All", Kind::ControlRight;
    /// Replicating Directory Changes In Filtered Set.
    REPLICATION_CHANGES_FILTERED = "89e95b76-444d-4c62-991a-0facbeda640c", "Replicating Directory Changes In Filtered Set", Kind::ControlRight;
    /// Reanimate Tombstones.
    REANIMATE_TOMBSTONES = "45ec5156-db7e-47bb-b53f-dbeb2d03c40f", "Reanimate Tombstones", Kind::ControlRight;

    /// Account Restrictions: pwdLastSet, userAccountControl, accountExpires; not lockoutTime.
    ACCOUNT_RESTRICTIONS = "4c164200-20c0-11d0-a768-00aa006e0529", "Account Restrictions", Kind::PropertySet;
    /// Logon Information: badPwdCount, logonHours, lastLogon.
    LOGON_INFORMATION = "5f202010-79a5-11d0-9020-00c04fc2d4cf", "Logon Information", Kind::PropertySet;
    /// General Information: sAMAccountName, displayName, objectSid.
    GENERAL_INFORMATION = "59ba2f42-79a2-11d0-9020-00c04fc2d3cf", "General Information", Kind::PropertySet;
    /// Public Information: mail, proxyAddresses, userPrincipalName, objectGUID.
    PUBLIC_INFORMATION = "e48d0154-bcf8-11d1-8702-00c04fb96050", "Public Information", Kind::PropertySet;
    /// Personal Information: mobile, telephoneNumber.
    PERSONAL_INFORMATION = "77b5b886-944a-11d1-aebd-0000f80367c1", "Personal Information", Kind::PropertySet;
    /// Private Information.
    PRIVATE_INFORMATION = "91e647de-d96f-4b70-9557-d63ff4f3ccd8", "Private Information", Kind::PropertySet;
    /// Group Membership: member, memberOf.
    GROUP_MEMBERSHIP = "bc0ac240-79a9-11d0-9020-00c04fc2d4cf", "Group Membership", Kind::PropertySet;
    /// Remote Access Information: tokenGroups.
    REMOTE_ACCESS = "037088f8-0ae1-11d2-b422-00a0c968f939", "Remote Access Information", Kind::PropertySet;
    /// Domain Password & Lockout Policies: pwdHistoryLength, minPwdLength.
    DOMAIN_PASSWORD = "c7407360-20bf-11d0-a768-00aa006e0529", "Domain Password & Lockout Policies", Kind::PropertySet;

    /// unicodePwd. A reset is judged by [`RESET_PASSWORD`], not by writing this.
    UNICODE_PWD = "bf9679e1-0de6-11d0-a285-00aa003049e2", "unicodePwd", Kind::Attribute;
    /// pwdLastSet.
    PWD_LAST_SET = "bf967a0a-0de6-11d0-a285-00aa003049e2", "pwdLastSet", Kind::AttributeOf(ACCOUNT_RESTRICTIONS);
    /// lockoutTime, which is in no property set.
    LOCKOUT_TIME = "28630ebf-41d5-11d1-a9c1-0000f80367c1", "lockoutTime", Kind::Attribute;
    /// userAccountControl.
    USER_ACCOUNT_CONTROL = "bf967a68-0de6-11d0-a285-00aa003049e2", "userAccountControl", Kind::AttributeOf(ACCOUNT_RESTRICTIONS);
    /// accountExpires.
    ACCOUNT_EXPIRES = "bf967915-0de6-11d0-a285-00aa003049e2", "accountExpires", Kind::AttributeOf(ACCOUNT_RESTRICTIONS);
    /// adminCount.
    ADMIN_COUNT = "bf967918-0de6-11d0-a285-00aa003049e2", "adminCount", Kind::Attribute;
    /// memberOf.
    MEMBER_OF = "bf967991-0de6-11d0-a285-00aa003049e2", "memberOf", Kind::AttributeOf(GROUP_MEMBERSHIP);
    /// member.
    MEMBER = "bf9679c0-0de6-11d0-a285-00aa003049e2", "member", Kind::AttributeOf(GROUP_MEMBERSHIP);
    /// tokenGroups.
    TOKEN_GROUPS = "b7c69e6d-2cc7-11d2-854e-00a0c983f608", "tokenGroups", Kind::AttributeOf(REMOTE_ACCESS);
    /// msDS-ResultantPSO.
    RESULTANT_PSO = "b77ea093-88d0-4780-9a98-911f8e8b1dca", "msDS-ResultantPSO", Kind::Attribute;
    /// msDS-PSOApplied.
    PSO_APPLIED = "5e6cf031-bda8-43c8-aca4-8fee4127005b", "msDS-PSOApplied", Kind::Attribute;
    /// mS-DS-ConsistencyGuid.
    CONSISTENCY_GUID = "23773dc2-b63a-11d2-90e1-00c04fd91ab1", "mS-DS-ConsistencyGuid", Kind::Attribute;
    /// proxyAddresses.
    PROXY_ADDRESSES = "bf967a06-0de6-11d0-a285-00aa003049e2", "proxyAddresses", Kind::AttributeOf(PUBLIC_INFORMATION);
    /// mail.
    MAIL = "bf967961-0de6-11d0-a285-00aa003049e2", "mail", Kind::AttributeOf(PUBLIC_INFORMATION);
    /// userPrincipalName.
    USER_PRINCIPAL_NAME = "28630ebb-41d5-11d1-a9c1-0000f80367c1", "userPrincipalName", Kind::AttributeOf(PUBLIC_INFORMATION);
    /// nTSecurityDescriptor.
    NT_SECURITY_DESCRIPTOR = "bf9679e3-0de6-11d0-a285-00aa003049e2", "nTSecurityDescriptor", Kind::Attribute;

    /// Class user.
    USER = "bf967aba-0de6-11d0-a285-00aa003049e2", "user", Kind::Class;
    /// Class inetOrgPerson: derived from user, yet an ACE for user is not inherited as effective (measured on Samba 4.17.12).
    INET_ORG_PERSON = "4828cc14-1437-45bc-9b07-ad6f015e5f28", "inetOrgPerson", Kind::Class;
    /// Class computer.
    COMPUTER = "bf967a86-0de6-11d0-a285-00aa003049e2", "computer", Kind::Class;
    /// Class group.
    GROUP = "bf967a9c-0de6-11d0-a285-00aa003049e2", "group", Kind::Class;
    /// Class organizationalUnit.
    ORGANIZATIONAL_UNIT = "bf967aa5-0de6-11d0-a285-00aa003049e2", "organizationalUnit", Kind::Class;
    /// Class domainDNS.
    DOMAIN_DNS = "19195a5b-6da0-11d0-afd3-00c04fd930c9", "domainDNS", Kind::Class;
    /// Class contact.
    CONTACT = "5cb41ed0-0e4c-11d0-a286-00aa003049e2", "contact", Kind::Class;
    /// Class msDS-GroupManagedServiceAccount.
    GROUP_MANAGED_SERVICE_ACCOUNT = "7b8b558a-93a5-4af7-adca-c017e67f1057", "msDS-GroupManagedServiceAccount", Kind::Class;
    /// Class msDS-ManagedServiceAccount.
    MANAGED_SERVICE_ACCOUNT = "ce206244-5827-4a86-ba1c-1c0c386c1b64", "msDS-ManagedServiceAccount", Kind::Class;
    /// Class msDS-PasswordSettings.
    PASSWORD_SETTINGS = "3bcd9db8-f84b-451c-952f-6c52b81f9ec6", "msDS-PasswordSettings", Kind::Class;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_first_three_fields_are_little_endian_on_the_wire() {
        assert_eq!(&USER.to_wire()[..8], [0xba, 0x7a, 0x96, 0xbf, 0xe6, 0x0d, 0xd0, 0x11]);
        assert_eq!(USER.to_string(), "bf967aba-0de6-11d0-a285-00aa003049e2");
        assert_eq!("BF967ABA-0DE6-11D0-A285-00AA003049E2".parse(), Ok(USER));
    }

    #[test]
    fn every_constant_is_another_guid_and_knows_its_name() {
        let guids: HashSet<_> = KNOWN.iter().map(|(guid, _, _)| guid).collect();
        assert_eq!(guids.len(), KNOWN.len());
        assert_eq!(PWD_LAST_SET.name(), Some("pwdLastSet"));
        assert_eq!(PWD_LAST_SET.kind(), Some(Kind::AttributeOf(ACCOUNT_RESTRICTIONS)));
        assert_eq!(Guid::from_wire([0; 16]).name(), None);
    }

    proptest! {
        #[test]
        fn a_guid_survives_its_text_and_other_text_is_refused(bytes: [u8; 16], text in "\\PC{0,40}") {
            let guid = Guid::from_wire(bytes);
            prop_assert_eq!(guid.to_string().parse(), Ok(guid));
            if let Ok(guid) = text.parse::<Guid>() {
                prop_assert_eq!(guid.to_string(), text.to_lowercase());
            }
        }
    }
}
