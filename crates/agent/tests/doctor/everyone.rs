//! Everybody in one pass: the same word on each as doctor has when asked for that one alone.

use crate::healthy::ODD;
use crate::support::*;
use anyhow::{Context, Result, ensure};
use keyback_ad::DirectoryError;
use keyback_agent::doctor::{Audience, Census, Setting, diagnose_everyone};
use keyback_codes::Cause;
use keyback_core::diagnosis::{Patient, State, Verdict};
use keyback_core::{ObjectGuid, SystemClock, UserName};
use keyback_testkit::lab::{Hits, Lab, Samba};
use std::collections::{BTreeMap, BTreeSet};

type Said = Vec<(Cause, State, String)>;

/// Remembers all of it.
#[derive(Default)]
struct Listener {
    said: BTreeMap<ObjectGuid, Said>,
    told: u64,
    again: BTreeSet<ObjectGuid>,
    names: u64,
}

impl Audience for Listener {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn names(&mut self, people: u64) {
        self.names = people;
    }

    fn user(&mut self, user: Patient, verdicts: Vec<Verdict>, again: bool) {
        if let Some(guid) = user.object_guid {
            self.said.insert(guid, said(verdicts));
            if again {
                self.again.insert(guid);
            }
        }
        self.told += u64::from(!again);
    }
}

fn said(verdicts: Vec<Verdict>) -> Said {
    verdicts.into_iter().map(|verdict| (verdict.cause, verdict.state, verdict.summary)).collect()
}

async fn everyone(lab: &Lab, connector: &str, setting: &Setting) -> Result<(Listener, Census)> {
    let mut listener = Listener::default();
    let directory = directory_as(lab, connector)?;
    let all = UserName::parse("everybody")?;
    let census = diagnose_everyone(&directory, setting, &all, &SystemClock, &mut listener).await;
    Ok((listener, census))
}

fn everybody_in(lab: &Lab, base: &str) -> Result<Vec<(ObjectGuid, String)>> {
    let filter = "(&(objectCategory=person)(objectClass=user))";
    let found = lab.search(lab.administrator(), base, &["-s", "sub", filter, "objectGUID"])?;
    let guids = found.iter().map(|found| {
        let guid: [u8; 16] = found.value("objectGUID")?.try_into().context("16 bytes")?;
        Ok((ObjectGuid::from_wire(guid), found.dn.clone()))
    });
    guids.collect()
}

async fn agree(lab: &Lab, connector: &str, setting: &Setting, base: &str) -> Result<()> {
    let (listener, census) = everyone(lab, connector, setting).await?;
    ensure!(census.passed.error.is_none() && !census.passed.too_many_shared, "{:?}", census.passed);
    let directory = directory_as(lab, connector)?;
    let people = everybody_in(lab, base)?;
    let mut failed = Vec::new();
    let mut healthy = 0;
    for (guid, dn) in &people {
        let alone = doctor(&directory, setting, &guid.to_string(), None, None).await?;
        let unseen = alone.verdicts.iter().any(|verdict| verdict.cause == Cause::TargetNotFound);
        healthy += usize::from(alone.is_healthy());
        let alone = said(alone.verdicts);
        match listener.said.get(guid) {
            Some(together) if *together == alone => {}
            None if unseen => {}
            together => failed.push(format!("{dn}\n  alone    {alone:?}\n  together {together:?}")),
        }
    }
    ensure!(failed.is_empty(), "{connector}: {} of {}\n{}", failed.len(), people.len(), failed.join("\n"));
    ensure!(
        usize::try_from(listener.told)? <= people.len() && people.len() > 60,
        "{} {}",
        listener.told,
        people.len()
    );
    ensure!(connector != "svc-keyback" || healthy > 20, "only {healthy} are healthy");
    Ok(())
}

async fn one_pass_says_what_doctor_says_alone(samba: Samba) -> Result<()> {
    let lab = Lab::private(samba, &[])?;
    lab.seed(ODD)?;
    for breakage in Lab::breakages()? {
        let fits = !breakage.only_4_24 || samba == Samba::V4_24;
        if breakage.hits == Some(Hits::User) && fits {
            let user = lab.add_user_in("OU=Sales,OU=Staff", "b", "Start-Pass1!", "")?;
            lab.break_it(&breakage.cause, &user.sam)?;
        }
    }
    // Protected by a group of the configuration, and by a group in it.
    lab.seed("group e-inner ou=Service members=grace\ngroup e-outer ou=Service members=e-inner,ada\n")?;
    let staff = setting(&lab)?;
    let whole = Setting { scope: None, mails_codes: false, ..setting(&lab)? };
    let outer = lab.attribute_bytes(&format!("CN=e-outer,OU=Service,{}", lab.base_dn()), "objectSid")?;
    let outer = keyback_ad::Sid::decode(&outer.context("no SID")?)?;
    let careful = Setting { protected_groups: vec![outer], ..staff.clone() };
    let base = lab.base_dn().to_owned();
    for connector in ["svc-keyback", "svc-resetonly", "svc-norights"] {
        agree(&lab, connector, &whole, &base).await?;
        agree(&lab, connector, &staff, &format!("OU=Staff,{base}")).await?;
    }
    agree(&lab, "svc-keyback", &careful, &format!("OU=Staff,{base}")).await?;
    lab.break_it("rights.reset_missing:ou", "bob")?;
    agree(&lab, "svc-keyback", &staff, &format!("OU=Staff,{base}")).await
}

#[tokio::test]
async fn one_pass_says_what_doctor_says_alone_on_samba_4_24() -> Result<()> {
    one_pass_says_what_doctor_says_alone(Samba::V4_24).await
}

#[tokio::test]
async fn one_pass_says_what_doctor_says_alone_on_samba_4_17() -> Result<()> {
    one_pass_says_what_doctor_says_alone(Samba::Host).await
}

#[tokio::test]
async fn an_ou_that_is_not_there_is_an_error_and_not_an_empty_scope() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let nowhere = keyback_ad::Dn::parse(&format!("OU=Nowhere,{}", lab.base_dn()))?;
    let setting = Setting { scope: Some(vec![nowhere]), ..Setting::default() };
    let (listener, census) = everyone(&lab, "svc-keyback", &setting).await?;
    let refused =
        matches!(&census.passed.error, Some(DirectoryError::Refused { reply, .. }) if reply.result == 32);
    ensure!(refused && listener.told == 0 && listener.names > 0, "{:?}", census.passed.error);
    Ok(())
}
