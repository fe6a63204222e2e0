//! The access check against the DC itself: random descriptors and tokens, real operations, the same answers.
//!
//! `KEYBACK_ACL_CASES` is how many cases (150), `KEYBACK_ACL_SEED` repeats a run whose seed was printed.

use crate::support::*;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyback_ad::descriptor::{
    AccessMask, Ace, AceFlags, Acl, Body, Control, Decision, Domains, Effect, Question, Reason,
    SecurityDescriptor, Server, Token,
};
use keyback_ad::guid::{self, Guid, Kind};
use keyback_ad::{Sid, User};
use keyback_testkit::lab::{Account, Found, Lab, Rejected, SEEDED_PASSWORD, Samba};
use keyback_testkit::random::Random;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Users whose descriptors are rewritten in each round, and who tries what on them.
const USERS: usize = 50;
const CONNECTORS: usize = 6;
const GROUPS: usize = 6;

/// LDAP_SERVER_SD_FLAGS_OID: which parts of a descriptor are read or written.
fn sd_flags(flags: u8) -> String {
    format!("1.2.840.113556.1.4.801 true:: {}", STANDARD.encode([0x30, 3, 2, 1, flags]))
}

fn sd_search(flags: u8) -> String {
    format!("!1.2.840.113556.1.4.801=::{}", STANDARD.encode([0x30, 3, 2, 1, flags]))
}

const OWNER_AND_DACL: u8 = 5;
const ALL_BUT_SACL: u8 = 7;

fn write_descriptor(dn: &str, flags: u8, descriptor: &SecurityDescriptor) -> Result<String> {
    let (control, value) = (sd_flags(flags), STANDARD.encode(descriptor.encode()?));
    Ok(format!(
        "dn: {dn}\ncontrol: {control}\nchangetype: modify\nreplace: nTSecurityDescriptor\nnTSecurityDescriptor:: {value}\n\n"
    ))
}

fn decode(found: &Found) -> Result<SecurityDescriptor> {
    let bytes = found.value("nTSecurityDescriptor")?;
    let descriptor = SecurityDescriptor::decode(bytes).with_context(|| found.dn.clone())?;
    assert_eq!(descriptor.encode()?, bytes, "{} does not come back byte for byte", found.dn);
    Ok(descriptor)
}

fn read_descriptor(lab: &Lab, dn: &str) -> Result<SecurityDescriptor> {
    let options = ["-s", "base", "-E", &sd_search(ALL_BUT_SACL), "(objectClass=*)", "nTSecurityDescriptor"];
    decode(lab.search(lab.administrator(), dn, &options)?.first().context("nothing there")?)
}

fn read_sid(lab: &Lab, dn: &str) -> Result<Sid> {
    Ok(Sid::decode(&lab.attribute_bytes(dn, "objectSid")?.context("no objectSid")?)?)
}

/// What a bind of this account gives it, in the server's own words.
fn root_dse_token(lab: &Lab, account: Account<'_>) -> Result<Vec<Sid>> {
    let found = lab.search(account, "", &["-s", "base", "(objectClass=*)", "tokenGroups"])?;
    let found = found.first().context("no rootDSE")?;
    Ok(found.values("tokenGroups").map(Sid::decode).collect::<Result<_, _>>()?)
}

fn quoted(password: &str) -> String {
    STANDARD.encode(format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
}

/// What is tried on each user, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Change,
    Reset,
    PwdLastSet,
    LockoutTime,
    Dacl,
}

impl Operation {
    const ALL: [Self; 5] = [Self::Change, Self::Reset, Self::PwdLastSet, Self::LockoutTime, Self::Dacl];

    fn question(self) -> Question {
        match self {
            Self::Change => Question::change_password(),
            Self::Reset => Question::reset_password(),
            Self::PwdLastSet => Question::write_pwd_last_set(guid::USER),
            Self::LockoutTime => Question::write_lockout_time(guid::USER),
            Self::Dacl => Question::write_dacl(guid::USER),
        }
    }

    /// The operation that a refused LDIF record was.
    fn of(record: &str) -> Option<Self> {
        let first =
            record.lines().find(|line| line.starts_with("replace: ") || line.starts_with("delete: "))?;
        Some(match first {
            "delete: unicodePwd" => Self::Change,
            "replace: unicodePwd" => Self::Reset,
            "replace: pwdLastSet" => Self::PwdLastSet,
            "replace: lockoutTime" => Self::LockoutTime,
            "replace: nTSecurityDescriptor" => Self::Dacl,
            _ => return None,
        })
    }

    /// Whether the DC said that a right is missing; an error when it said something else.
    fn judge(self, rejected: &Rejected) -> Result<()> {
        let right_is_missing = match self {
            Self::Change => rejected.code == 19 && rejected.text.contains("module acl"),
            Self::Reset | Self::PwdLastSet | Self::LockoutTime | Self::Dacl => rejected.code == 50,
        };
        ensure!(right_is_missing, "{self:?}: {}", rejected.text);
        Ok(())
    }
}

struct Subject {
    dn: String,
    sid: Sid,
    password: String,
    key_version: i64,
}

struct Actor {
    name: String,
    sid: Sid,
    password: String,
}

impl Actor {
    fn account(&self) -> Account<'_> {
        Account { name: &self.name, password: &self.password }
    }
}

/// Everybody who takes part, in an organisational unit of their own.
struct Stage<'a> {
    lab: &'a Lab,
    ou: String,
    subjects: Vec<Subject>,
    actors: Vec<Actor>,
    groups: Vec<(String, Sid)>,
    /// SIDs that an ACE may be for.
    pool: Vec<Sid>,
    administrator: Sid,
    passwords: usize,
}

impl<'a> Stage<'a> {
    fn set(lab: &'a Lab, prefix: &str) -> Result<Self> {
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

    fn read_subjects(&self) -> Result<Vec<Found>> {
        let filter = "(&(objectCategory=person)(sAMAccountName=*-*-*))";
        let attributes = ["objectSid", "nTSecurityDescriptor", "msDS-KeyVersionNumber"];
        let flags = sd_search(ALL_BUT_SACL);
        let options = [&["-s", "one", "-E", &flags, filter], &attributes[..]].concat();
        self.lab.search(self.lab.administrator(), &self.ou, &options)
    }

    /// Puts everybody into other groups; a group may lie in one of a higher number.
    fn shuffle_groups(&self, random: &mut Random) -> Result<()> {
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

    fn random_descriptor(&self, random: &mut Random, actor: &Actor) -> SecurityDescriptor {
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
    fn shuffle_container(&self, random: &mut Random) -> Result<()> {
        let aces = (0..random.below(4)).map(|_| {
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

    fn new_password(&mut self) -> String {
        self.passwords += 1;
        format!("Case-{}-Pass!", self.passwords)
    }
}

fn key_version(found: &Found) -> Result<i64> {
    Ok(std::str::from_utf8(found.value("msDS-KeyVersionNumber")?)?.parse()?)
}

/// What came of a run.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    questions: usize,
    granted: usize,
    /// By an owner, or by what only Samba grants.
    owner: usize,
    over_granted: usize,
    denied: usize,
    differences: Vec<String>,
    inheritance: Vec<String>,
}

impl Tally {
    fn count(&mut self, decision: &Decision<'_>) {
        self.questions += 1;
        self.granted += usize::from(decision.granted);
        match decision.reason {
            Reason::Owner => self.owner += 1,
            Reason::OverGranted(_) => self.over_granted += 1,
            Reason::Denied(_) => self.denied += 1,
            Reason::NoDacl | Reason::Allowed(_) | Reason::NotAllowed(_) => {}
        }
    }
}

fn round(stage: &mut Stage<'_>, random: &mut Random, cases: usize, tally: &mut Tally) -> Result<()> {
    let lab = stage.lab;
    stage.shuffle_groups(random)?;
    stage.shuffle_container(random)?;
    let actors: Vec<usize> = (0..cases).map(|_| random.below(CONNECTORS)).collect();
    let mut ldif = String::new();
    for (subject, actor) in actors.iter().enumerate() {
        let descriptor = stage.random_descriptor(random, &stage.actors[*actor]);
        ldif += &write_descriptor(&stage.subjects[subject].dn, OWNER_AND_DACL, &descriptor)?;
    }
    lab.modify(&ldif)?;

    let mut descriptors = BTreeMap::new();
    for found in stage.read_subjects()? {
        descriptors.insert(found.dn.clone(), decode(&found)?);
    }
    let container = read_descriptor(lab, &stage.ou)?;
    let tokens =
        stage.actors.iter().map(|actor| root_dse_token(lab, actor.account()).map(Token::of_root_dse));
    let tokens = tokens.collect::<Result<Vec<_>>>()?;

    let mut scripts = vec![String::new(); CONNECTORS];
    let mut wanted = Vec::new();
    for (index, actor) in actors.iter().enumerate() {
        let (change, reset) = (stage.new_password(), stage.new_password());
        let subject = &stage.subjects[index];
        let descriptor = &descriptors[&subject.dn];
        let dn = &subject.dn;
        scripts[*actor] += &format!(
            "dn: {dn}\nchangetype: modify\ndelete: unicodePwd\nunicodePwd:: {}\n-\nadd: unicodePwd\nunicodePwd:: {}\n\n\
             dn: {dn}\nchangetype: modify\nreplace: unicodePwd\nunicodePwd:: {}\n\n\
             dn: {dn}\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: 0\n\n\
             dn: {dn}\nchangetype: modify\nreplace: lockoutTime\nlockoutTime: 0\n\n{}",
            quoted(&subject.password),
            quoted(&change),
            quoted(&reset),
            write_descriptor(dn, 4, descriptor)?
        );
        wanted.push((change, reset));
    }
    let mut refused = Vec::new();
    for (actor, script) in stage.actors.iter().zip(&scripts).filter(|(_, script)| !script.is_empty()) {
        for rejected in lab.try_modify(actor.account(), script)? {
            let operation = Operation::of(&rejected.record).with_context(|| rejected.record.clone())?;
            operation.judge(&rejected)?;
            let dn = rejected.record.lines().find_map(|line| line.strip_prefix("dn: "));
            refused.push((dn.context("no DN")?.to_owned(), operation));
        }
    }

    let versions: BTreeMap<_, _> = stage
        .read_subjects()?
        .iter()
        .map(|found| Ok((found.dn.clone(), key_version(found)?)))
        .collect::<Result<_>>()?;
    for (index, (actor, (change, reset))) in actors.iter().zip(wanted).enumerate() {
        let domain = stage.actors[0].sid.domain().context("no domain")?;
        let subject = &mut stage.subjects[index];
        let descriptor = &descriptors[&subject.dn];
        let mut set = 0;
        for operation in Operation::ALL {
            let done = !refused.contains(&(subject.dn.clone(), operation));
            let question = operation.question();
            let decision = descriptor.check(&tokens[*actor], Some(&subject.sid), &question, Server::Samba);
            tally.count(&decision);
            if decision.granted != done {
                tally.differences.push(format!(
                    "{operation:?}: the DC {}, the evaluator {:?}\n  {}\n  user {} as {}, in {:?}",
                    if done { "did it" } else { "refused it" },
                    decision.reason,
                    descriptor.to_sddl(Some(Domains::single(&domain))),
                    subject.sid,
                    stage.actors[*actor].sid,
                    tokens[*actor].sids().map(Sid::to_string).collect::<Vec<_>>()
                ));
            }
            match operation {
                Operation::Change if done => subject.password.clone_from(&change),
                Operation::Reset if done => subject.password.clone_from(&reset),
                Operation::Change | Operation::Reset => continue,
                Operation::PwdLastSet | Operation::LockoutTime | Operation::Dacl => continue,
            }
            set += 1;
        }
        // Somebody else's word that the DC did what it did not refuse.
        let version = versions[&subject.dn];
        ensure!(
            version == subject.key_version + set,
            "{}: {set} passwords, key version {version}",
            subject.dn
        );
        subject.key_version = version;
        check_inheritance(&container, descriptor, &mut tally.inheritance);
    }
    tally.cases += cases;
    Ok(())
}

/// What the DC stamped on the user is what we would have.
fn check_inheritance(container: &SecurityDescriptor, child: &SecurityDescriptor, wrong: &mut Vec<String>) {
    if child.is_protected() || child.dacl.is_none() {
        return;
    }
    let owner = child.owner.as_ref();
    let lost = container.not_inherited_by(child, guid::USER);
    let ours: Vec<Ace> = container
        .aces()
        .filter_map(|parent| parent.ace.inherited_by(guid::USER, owner, child.group.as_ref()))
        .collect();
    let effective = child.aces().filter(|held| held.ace.is_inherited() && held.ace.effect() != Effect::None);
    let foreign: Vec<_> =
        effective.filter(|held| !ours.contains(held.ace)).map(|held| held.ace.to_sddl(None)).collect();
    if !lost.is_empty() || !foreign.is_empty() {
        let lost: Vec<_> = lost.iter().map(|lost| lost.ace.to_sddl(None)).collect();
        wrong.push(format!(
            "not on the child: {lost:?}; not from the container: {foreign:?}; {}",
            child.to_sddl(None)
        ));
    }
}

fn variable(name: &str) -> Result<Option<u64>> {
    Ok(std::env::var(name).ok().map(|value| value.parse()).transpose()?)
}

on_both! {
    async fn the_evaluator_says_of_random_descriptors_what_the_dc_does(lab, samba) {
        let cases = usize::try_from(variable("KEYBACK_ACL_CASES")?.unwrap_or(150))?;
        let seed = variable("KEYBACK_ACL_SEED")?.unwrap_or_else(|| RandomState::new().hash_one(samba.name()) % 1_000_000_000);
        println!("KEYBACK_ACL_SEED={seed} KEYBACK_ACL_CASES={cases} on Samba {}", samba.name());
        let mut random = Random::seeded(seed);
        let mut stage = Stage::set(&lab, "acl")?;
        let (mut tally, start) = (Tally::default(), Instant::now());
        while tally.cases < cases {
            let next = USERS.min(cases - tally.cases);
            round(&mut stage, &mut random, next, &mut tally).with_context(|| format!("seed {seed}, after {} cases", tally.cases))?;
        }
        println!(
            "{} cases, {} questions, {} granted ({} to an owner, {} beyond the specification), {} denied, {} differences, {:.1} s",
            tally.cases, tally.questions, tally.granted, tally.owner, tally.over_granted, tally.denied,
            tally.differences.len(), start.elapsed().as_secs_f64()
        );
        for wrong in tally.differences.iter().chain(&tally.inheritance).take(10) {
            println!("{wrong}");
        }
        assert_eq!((tally.differences.len(), tally.inheritance.len()), (0, 0), "seed {seed}");
    }

    async fn a_token_made_from_what_can_be_read_is_the_one_that_the_server_has(lab) {
        let (name, password) = lab.connector();
        let own = root_dse_token(&lab, Account { name, password })?;
        let User { sid, token_groups, primary_group_id, .. } = directory(&lab)?.find_user(&crate::support::name(name)?).await?;
        let token = Token::of_account(&sid, &token_groups.context("no tokenGroups")?, primary_group_id, &own);
        let this_organization: Sid = "S-1-5-15".parse()?;
        let server = Token::of_root_dse(own).with(this_organization.clone());
        assert_eq!(token.with(this_organization), server); // 4.24 has it, 4.17 has not
    }

    async fn the_guids_are_those_of_the_schema(lab) {
        let schema = format!("CN=Schema,CN=Configuration,{}", lab.base_dn());
        let rights = format!("CN=Extended-Rights,CN=Configuration,{}", lab.base_dn());
        let by_name = |name: &str| lab.search(lab.administrator(), &schema, &[&format!("(lDAPDisplayName={name})"), "schemaIDGUID", "attributeSecurityGUID"]);
        let guid_of = |found: &Found, attribute: &str| -> Result<Guid> {
            Ok(Guid::from_wire(found.value(attribute)?.try_into()?))
        };
        for guid in guid::all() {
            let name = guid.name().context("no name")?;
            match guid.kind().context("no kind")? {
                Kind::ControlRight | Kind::PropertySet => {
                    let found = lab.search(lab.administrator(), &rights, &[&format!("(rightsGuid={guid})"), "displayName"])?;
                    let shown = found.first().with_context(|| name.to_owned())?.value("displayName")?;
                    println!("{guid} {name}: {}", String::from_utf8_lossy(shown));
                }
                kind @ (Kind::Class | Kind::Attribute | Kind::AttributeOf(_)) => {
                    let found = by_name(name)?;
                    let found = found.first().with_context(|| name.to_owned())?;
                    assert_eq!(guid_of(found, "schemaIDGUID")?, guid, "{name}");
                    let set = guid_of(found, "attributeSecurityGUID").ok();
                    assert_eq!(set, if let Kind::AttributeOf(set) = kind { Some(set) } else { None }, "{name}");
                }
            }
        }
    }

    async fn control_access_without_a_name_grants_every_write_on_samba(lab) {
        let user = lab.add_user("overgrant")?;
        let (name, password) = lab.connector();
        let connector = directory(&lab)?.find_user(&crate::support::name(name)?).await?.sid;
        for (aces, answer) in [("(OA;;CR;;;", Ok(())), ("(A;;CR;;;", Err(50))] {
            let text = format!("D:P{aces}{connector})");
            let descriptor = SecurityDescriptor::from_sddl(&text, None)?;
            lab.modify(&write_descriptor(&user.dn, 4, &descriptor)?)?;
            let unlock = format!("dn: {}\nchangetype: modify\nreplace: lockoutTime\nlockoutTime: 0\n", user.dn);
            let rejected = lab.try_modify(Account { name, password }, &unlock)?;
            assert_eq!(rejected.first().map_or(Ok(()), |rejected| Err(rejected.code)), answer, "{text}");
        }
    }
}
