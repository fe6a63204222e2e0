//! Who takes part in the random access checks, and what their descriptors are.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyback_ad::Sid;
use keyback_ad::descriptor::{AccessMask, Ace, AceFlags, Acl, Body, Control, SecurityDescriptor};
use keyback_ad::guid;
use keyback_testkit::lab::{Account, Found, Lab, SEEDED_PASSWORD};
use keyback_testkit::random::Random;

/// Users whose descriptors are rewritten in each round, and who tries what on them.
pub const USERS: usize = 50;
pub const CONNECTORS: usize = 6;
const GROUPS: usize = 6;

/// LDAP_SERVER_SD_FLAGS_OID: which parts of a descriptor are read or written.
fn sd_flags(flags: u8) -> String {
    format!("1.2.840.113556.1.4.801 true:: {}", STANDARD.encode([0x30, 3, 2, 1, flags]))
}

fn sd_search(flags: u8) -> String {
    format!("!1.2.840.113556.1.4.801=::{}", STANDARD.encode([0x30, 3, 2, 1, flags]))
}

pub const OWNER_AND_DACL: u8 = 5;
pub const ALL_BUT_SACL: u8 = 7;

pub fn write_descriptor(dn: &str, flags: u8, descriptor: &SecurityDescriptor) -> Result<String> {
    let (control, value) = (sd_flags(flags), STANDARD.encode(descriptor.encode()?));
    Ok(format!(
        "dn: {dn}\ncontrol: {control}\nchangetype: modify\nreplace: nTSecurityDescriptor\nnTSecurityDescriptor:: {value}\n\n"
    ))
}

pub fn decode(found: &Found) -> Result<SecurityDescriptor> {
    let bytes = found.value("nTSecurityDescriptor")?;
    let descriptor = SecurityDescriptor::decode(bytes).with_context(|| found.dn.clone())?;
    assert_eq!(descriptor.encode()?, bytes, "{} does not come back byte for byte", found.dn);
    Ok(descriptor)
}

pub fn read_descriptor(lab: &Lab, dn: &str) -> Result<SecurityDescriptor> {
    let options = ["-s", "base", "-E", &sd_search(ALL_BUT_SACL), "(objectClass=*)", "nTSecurityDescriptor"];
    decode(lab.search(lab.administrator(), dn, &options)?.first().context("nothing there")?)
}

pub fn read_sid(lab: &Lab, dn: &str) -> Result<Sid> {
    Ok(Sid::decode(&lab.attribute_bytes(dn, "objectSid")?.context("no objectSid")?)?)
}

/// What a bind of this account gives it, in the server's own words.
pub fn root_dse_token(lab: &Lab, account: Account<'_>) -> Result<Vec<Sid>> {
    let found = lab.search(account, "", &["-s", "base", "(objectClass=*)", "tokenGroups"])?;
    let found = found.first().context("no rootDSE")?;
    Ok(found.values("tokenGroups").map(Sid::decode).collect::<Result<_, _>>()?)
}

pub fn quoted(password: &str) -> String {
    STANDARD.encode(format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
}

pub struct Subject {
    pub dn: String,
    pub sid: Sid,
    pub password: String,
    pub key_version: i64,
}

pub struct Actor {
    pub name: String,
    pub sid: Sid,
    pub password: String,
}

impl Actor {
    pub fn account(&self) -> Account<'_> {
        Account { name: &self.name, password: &self.password }
    }
}

/// Everybody who takes part, in an organisational unit of their own.
pub struct Stage<'a> {
    pub lab: &'a Lab,
    pub ou: String,
    pub subjects: Vec<Subject>,
    pub actors: Vec<Actor>,
    groups: Vec<(String, Sid)>,
    /// SIDs that an ACE may be for.
    pool: Vec<Sid>,
    administrator: Sid,
    passwords: usize,
}

impl<'a> Stage<'a> {
    pub fn set(lab: &'a Lab, prefix: &str) -> Result<Self> {
        // Its name comes from a user's, which is unique.
        let first = lab.add_user_in("OU=Outside", prefix, SEEDED_PASSWORD, "")?;
        let name = format!("OU={},OU=Outside", first.sam);
        let ou = format!("{name},{}", lab.base_dn());
        let mut ldif = format!("dn: {ou}\nchangetype: add\nobjectClass: organizationalUnit\n\n");
        for number in 0..USERS {
            let sam = format!("{}-{number}", first.sam);
            ldif += &format!(
                "dn: CN={sam},{ou}\nchangetype: add\nobjectClass: user\nsAMAccountName: {sam}\nuserAccountControl: 512\nunicodePwd:: {}\n\n",
                quoted(SEEDED_PASSWORD)
            );
        }
        for number in 0..GROUPS {
            let sam = format!("{}-g{number}", first.sam);
            ldif +=
                &format!("dn: CN={sam},{ou}\nchangetype: add\nobjectClass: group\nsAMAccountName: {sam}\n\n");
        }
        lab.modify(&ldif)?;
        let actors = (0..CONNECTORS).map(|_| {
            let user = lab.add_user_in(&name, prefix, SEEDED_PASSWORD, "")?;
            Ok(Actor { sid: read_sid(lab, &user.dn)?, name: user.dn, password: user.password })
        });
        let actors = actors.collect::<Result<Vec<_>>>()?;
        let by_name = |dn: String| Ok((read_sid(lab, &dn)?, dn));
        let groups = (0..GROUPS).map(|number| by_name(format!("CN={}-g{number},{ou}", first.sam)));
        let groups: Vec<_> = groups.map(|group| group.map(|(sid, dn)| (dn, sid))).collect::<Result<_>>()?;
        let administrator = read_sid(lab, lab.env("AD_ADMIN_DN"))?;
        let mut stage = Self {
            lab,
            ou,
            subjects: Vec::new(),
            actors,
            groups,
            pool: Vec::new(),
            administrator,
            passwords: 0,
        };
        for found in stage.read_subjects()? {
            stage.subjects.push(Subject {
                sid: Sid::decode(found.value("objectSid")?)?,
                key_version: key_version(&found)?,
                dn: found.dn,
                password: SEEDED_PASSWORD.to_owned(),
            });
        }
        ensure!(stage.subjects.len() == USERS, "not all users are there");
        let domain = stage.actors[0].sid.domain().context("no domain")?;
        let well_known = [
            "S-1-1-0",
            "S-1-5-11",
            "S-1-5-2",
            "S-1-5-10",
            "S-1-5-7",
            "S-1-5-15",
            "S-1-5-32-545",
            "S-1-5-32-554",
            "S-1-5-32-544",
            "S-1-3-0",
            "S-1-3-4",
        ];
        let well_known = well_known.into_iter().map(str::parse).collect::<Result<Vec<Sid>, _>>()?;
        let own = stage.actors.iter().map(|actor| actor.sid.clone());
        let groups = stage.groups.iter().map(|(_, sid)| sid.clone());
        stage.pool = own
            .chain(groups)
            .chain([512, 513, 515].map(|rid| domain.with_rid(rid)))
            .chain(well_known)
            .collect();
        Ok(stage)
    }

    pub fn read_subjects(&self) -> Result<Vec<Found>> {
        let filter = "(&(objectCategory=person)(sAMAccountName=*-*-*))";
        let attributes = ["objectSid", "nTSecurityDescriptor", "msDS-KeyVersionNumber"];
        let flags = sd_search(ALL_BUT_SACL);
        let options = [&["-s", "one", "-E", &flags, filter], &attributes[..]].concat();
        self.lab.search(self.lab.administrator(), &self.ou, &options)
    }

    /// Puts everybody into other groups; a group may lie in one of a higher number.
    pub fn shuffle_groups(&self, random: &mut Random) -> Result<()> {
        let mut ldif = String::new();
        for (number, (dn, _)) in self.groups.iter().enumerate() {
            let lower = self.groups[..number].iter().map(|(dn, _)| dn);
            let candidates = self.actors.iter().map(|actor| &actor.name).chain(lower);
            let members: Vec<_> = candidates.filter(|_| random.percent(25)).collect();
            ldif += &format!("dn: {dn}\nchangetype: modify\nreplace: member\n");
            members.iter().for_each(|member| ldif += &format!("member: {member}\n"));
            ldif += "\n";
        }
        self.lab.modify(&ldif)
    }

    fn random_ace(&self, random: &mut Random, actor: &Actor) -> Ace {
        // Often somebody whom the actor is, else most cases would be decided by nothing.
        let sid = if random.percent(40) { actor.sid.clone() } else { random.pick(&self.pool).clone() };
        let single = ["CR", "CR", "CR", "WP", "WP", "WP", "RP", "WD", "RC", "SW", "GA", "GW", "GX", "SD"];
        let several =
            ["WPCR", "RPWP", "RPWPCR", "CRWD", "WPWD", "LCRPLORC", "CCDCLCSWRPWPDTLOCRSDRCWDWO", "CCDC"];
        let letters = if random.percent(70) { *random.pick(&single) } else { *random.pick(&several) };
        let mask = Ace::from_sddl(&format!("(A;;{letters};;;WD)"), None).expect("rights");
        let mask = mask.rights().expect("rights").mask;
        let names = [
            guid::RESET_PASSWORD,
            guid::RESET_PASSWORD,
            guid::CHANGE_PASSWORD,
            guid::PWD_LAST_SET,
            guid::LOCKOUT_TIME,
            guid::ACCOUNT_RESTRICTIONS,
            guid::USER,
            guid::INET_ORG_PERSON,
            guid::GENERAL_INFORMATION,
            guid::UNICODE_PWD,
            guid::NT_SECURITY_DESCRIPTOR,
        ];
        let name = random.percent(55).then(|| *random.pick(&names));
        let mut ace =
            if random.percent(35) { Ace::deny(mask, name, sid) } else { Ace::allow(mask, name, sid) };
        if random.percent(15) {
            // An object ACE that names nothing, or only for whom it is inherited.
            let class = *random.pick(&[guid::USER, guid::COMPUTER, guid::INET_ORG_PERSON]);
            ace = ace.for_descendants(Some(class));
            if let (Body::Rights(rights), true) = (&mut ace.body, random.percent(50)) {
                rights.inherited_object_type = None;
            }
            ace.flags = AceFlags::default();
        }
        let flags = [
            AceFlags::CONTAINER_INHERIT,
            AceFlags::CONTAINER_INHERIT | AceFlags::INHERIT_ONLY,
            AceFlags::INHERIT_ONLY,
            AceFlags::CONTAINER_INHERIT | AceFlags::NO_PROPAGATE,
        ];
        if random.percent(15) {
            ace.flags = *random.pick(&flags);
        }
        ace
    }

    pub fn random_descriptor(&self, random: &mut Random, actor: &Actor) -> SecurityDescriptor {
        let count = if random.percent(4) { 0 } else { 1 + random.below(9) };
        let aces = (0..count).map(|_| self.random_ace(random, actor));
        // A DACL is for Administrator too, who has to read the object again.
        let read = Ace::allow(AccessMask::ALL, None, self.administrator.clone());
        let mut descriptor = SecurityDescriptor::of_dacl(Acl::new([read].into_iter().chain(aces).collect()));
        if random.percent(60) {
            descriptor.control = descriptor.control | Control::DACL_PROTECTED;
        }
        if random.percent(2) {
            descriptor.dacl = None; // a NULL DACL
        }
        let domain_admins = &self.pool[self.actors.len() + self.groups.len()];
        let owner = if random.percent(25) { &actor.sid } else { domain_admins };
        descriptor.owner = Some(if random.percent(15) { random.pick(&self.pool) } else { owner }.clone());
        descriptor
    }

    /// What every user's container passes down.
    pub fn shuffle_container(&self, random: &mut Random) -> Result<()> {
        let aces = (0..random.below(9)).map(|_| {
            let actor = random.pick(&self.actors);
            let mut ace = self.random_ace(random, actor);
            let flags = [
                AceFlags::INHERIT_ONLY,
                AceFlags::INHERIT_ONLY | AceFlags::NO_PROPAGATE,
                AceFlags::INHERIT_ONLY | AceFlags::OBJECT_INHERIT,
            ];
            ace.flags = *random.pick(&flags) | AceFlags::CONTAINER_INHERIT;
            ace
        });
        let descriptor = SecurityDescriptor::of_dacl(Acl::new(aces.collect()));
        self.lab.modify(&write_descriptor(&self.ou, 4, &descriptor)?)
    }

    pub fn new_password(&mut self) -> String {
        self.passwords += 1;
        format!("Case-{}-Pass!", self.passwords)
    }
}

pub fn key_version(found: &Found) -> Result<i64> {
    Ok(std::str::from_utf8(found.value("msDS-KeyVersionNumber")?)?.parse()?)
}
