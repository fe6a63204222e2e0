//! The access check against the DC itself: random descriptors and tokens, real operations, the same answers.
//!
//! `KEYBACK_ACL_CASES` is how many cases (150), `KEYBACK_ACL_SEED` repeats a run whose seed was printed.

#![expect(clippy::print_stdout, reason = "seed and figures are there to be read and given again")]

use crate::stage::*;
use crate::support::*;
use anyhow::{Context, Result, ensure};
use keyback_ad::descriptor::{
    Ace, Decision, Domains, Effect, Question, Reason, SecurityDescriptor, Server, Token,
};
use keyback_ad::guid::{self, Guid, Kind};
use keyback_ad::{Sid, User};
use keyback_testkit::lab::{Account, Found, Lab, Rejected, Samba};
use keyback_testkit::random::Random;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

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
                Operation::Change if done => (set, subject.password) = (set + 1, change.clone()),
                Operation::Reset if done => (set, subject.password) = (set + 1, reset.clone()),
                Operation::Change
                | Operation::Reset
                | Operation::PwdLastSet
                | Operation::LockoutTime
                | Operation::Dacl => {}
            }
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
        let text =
            |aces: &mut dyn Iterator<Item = &Ace>| aces.map(|ace| ace.to_sddl(None)).collect::<String>();
        wrong.push(format!(
            "not on the child: {}; not from the container: {foreign:?}\n  the container's own: {}",
            text(&mut lost.iter().map(|lost| lost.ace)),
            text(&mut container.aces().map(|own| own.ace).filter(|ace| !ace.is_inherited()))
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
        assert_eq!(token, Token::of_root_dse(own));
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
                    let shown = String::from_utf8_lossy(found.first().with_context(|| name.to_owned())?.value("displayName")?).into_owned();
                    // Samba writes some names as Windows has them for programs.
                    let plain = name.replace("Replicating Directory", "DS Replication Get").replace("Reset Password", "User Force Change Password");
                    let plain = if name == "Change Password" { "User Change Password" } else { &plain };
                    assert!(shown == name || shown == plain, "{guid} is {shown}, not {name}");
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

    async fn a_condition_is_judged_by_4_24_and_skipped_by_4_17(lab, samba) {
        let user = lab.add_user("condition")?;
        let (name, password) = lab.connector();
        let connector = directory(&lab)?.find_user(&crate::support::name(name)?).await?.sid;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // [MS-DTYP] 2.4.4.17: "artx", a composite of one SID, Member_of, padding.
        let member_of = |sid: &str| -> Result<String> {
            let sid = sid.parse::<Sid>()?.encode();
            let length = |extra: usize| -> Result<[u8; 4]> { Ok(u32::try_from(sid.len() + extra)?.to_le_bytes()) };
            let mut bytes = [&b"artx\x50"[..], &length(5)?, b"\x51", &length(0)?, &sid, b"\x89"].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            Ok(hex(&bytes))
        };
        let (holds, fails) = (member_of("S-1-5-11")?, member_of("S-1-5-32-550")?);
        let allow = format!("(A;;WP;;;{connector})");
        let judges = samba == Samba::V4_24;
        for (aces, done) in [
            (format!("(XA;;WP;;;{connector};#{holds})"), judges),
            (format!("(XA;;WP;;;{connector};#{fails})"), false),
            (format!("(XD;;WP;;;{connector};#{holds}){allow}"), !judges),
            (format!("(XD;;WP;;;{connector};#{fails}){allow}"), true),
            (format!("(XD;;WP;;;{connector}){allow}"), !judges),
        ] {
            let descriptor = SecurityDescriptor::from_sddl(&format!("D:P{aces}"), None)?;
            lab.modify(&write_descriptor(&user.dn, 4, &descriptor)?)?;
            // 4.17 keeps the ACE and drops its condition.
            assert_eq!(read_descriptor(&lab, &user.dn)?.dacl == descriptor.dacl, judges || !aces.contains('#'), "{aces}");
            let unlock = format!("dn: {}\nchangetype: modify\nreplace: lockoutTime\nlockoutTime: 0\n", user.dn);
            let rejected = lab.try_modify(Account { name, password }, &unlock)?;
            assert_eq!(rejected.is_empty(), done, "{aces}");
            let token = Token::of_root_dse(root_dse_token(&lab, Account { name, password })?);
            let decision = descriptor.check(&token, None, &Question::write_lockout_time(guid::USER), Server::Samba);
            assert!(!decision.is_certain() || decision.granted == done, "{aces}");
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
