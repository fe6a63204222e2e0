//! What the tests share.

use anyhow::{Context, Result};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Dn, Limits, WriteError};
use keyback_agent::doctor::{Case, Observed, Setting, diagnose};
use keyback_codes::Explain;
use keyback_core::diagnosis::{Diagnosis, State};
use keyback_core::job::Operation;
use keyback_core::{NewPassword, ServerReply, SystemClock, UserName};
use keyback_testkit::lab::Lab;
use zeroize::Zeroizing;

pub fn address(lab: &Lab) -> Result<DcAddress> {
    Ok(format!("ldaps://{}", lab.fqdn()).parse::<DcAddress>()?.at(lab.ip()))
}

pub fn directory_of(lab: &Lab, dcs: Vec<DcAddress>, connector: &str, password: &str) -> Result<Directory> {
    directory_trusting(&[lab], lab, dcs, connector, password)
}

/// Of one domain, whose domain controllers each have a CA of their own.
pub fn directory_trusting(
    labs: &[&Lab],
    lab: &Lab,
    dcs: Vec<DcAddress>,
    connector: &str,
    password: &str,
) -> Result<Directory> {
    let mut ca_pem = Vec::new();
    for lab in labs {
        ca_pem.extend(std::fs::read(lab.ca_file())?);
    }
    let name = format!("{connector}@{}", lab.env("AD_REALM").to_lowercase());
    Ok(Directory::new(DirectoryConfig {
        dcs,
        ca_pem,
        connector: Connector::new(name, Zeroizing::new(password.to_owned()))?,
        base: None,
        limits: Limits::default(),
    })?)
}

pub fn directory_as(lab: &Lab, connector: &str) -> Result<Directory> {
    directory_of(lab, vec![address(lab)?], connector, lab.connector().1)
}

pub fn directory(lab: &Lab) -> Result<Directory> {
    directory_as(lab, "svc-keyback")
}

/// As an agent whose scope is OU=Staff and that mails codes.
pub fn setting(lab: &Lab) -> Result<Setting> {
    let scope = Dn::parse(&format!("OU=Staff,{}", lab.base_dn()))?;
    Ok(Setting { scope: Some(vec![scope]), mails_codes: true, ..Setting::default() })
}

pub fn password(text: &str) -> Result<NewPassword> {
    Ok(NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

/// Doctor's word on one user.
pub async fn doctor(
    directory: &Directory,
    setting: &Setting,
    name: &str,
    candidate: Option<&NewPassword>,
    observed: Option<&Observed>,
) -> Result<Diagnosis> {
    let name = UserName::parse(name)?;
    let case = Case { name: &name, candidate, observed };
    Ok(diagnose(directory, setting, &case, &SystemClock).await)
}

/// The causes with their states, in doctor's order.
pub fn verdicts(diagnosis: &Diagnosis) -> Vec<(&'static str, State)> {
    diagnosis.verdicts.iter().map(|verdict| (verdict.cause.id(), verdict.state)).collect()
}

/// Tries a reset as the agent would. The refusal with its answer, where there was one.
pub async fn reset(
    directory: &Directory,
    name: &str,
    new: &NewPassword,
) -> Result<std::result::Result<(), (keyback_codes::Cause, Option<ServerReply>)>> {
    let user = match directory.find_user(&UserName::parse(name)?).await {
        Ok(user) => user,
        Err(error) => return Ok(Err((error.cause(), None))),
    };
    let write = directory.begin_write(user.guid).await?;
    let sent: std::result::Result<_, WriteError> = write.reset(new, false).await;
    Ok(match sent {
        Ok(_) => Ok(()),
        Err(error) => Err((error.cause(), error.failure().reply)),
    })
}

/// What a refusal shows to whoever explains it.
pub fn observed(reply: ServerReply) -> Observed {
    Observed::new(Operation::Reset, reply)
}

/// The same with its text cut to the code, as a Windows domain controller sends it.
pub fn bare(reply: &ServerReply) -> Observed {
    let text = reply.win32.map(|code| format!("{code:08X}: ")).unwrap_or_default();
    observed(keyback_ad::read_reply(reply.result, &text))
}

/// Whether what is said is fit to be read: names something, proves it and says what to do.
pub fn check_form(diagnosis: &Diagnosis) -> Result<()> {
    for verdict in &diagnosis.verdicts {
        anyhow::ensure!(verdict.summary.ends_with('.'), "{}", verdict.summary);
        anyhow::ensure!(!verdict.fix.text.is_empty() && !verdict.because.is_empty(), "{verdict:?}");
        for id in &verdict.because {
            diagnosis.observation(id).with_context(|| format!("{}: no observation {id}", verdict.cause))?;
        }
    }
    for seen in &diagnosis.observations {
        let same = diagnosis.observations.iter().filter(|other| other.id == seen.id).count();
        anyhow::ensure!(same == 1, "{} stands twice", seen.id);
        anyhow::ensure!(
            seen.needs.is_some() == (seen.outcome == keyback_core::diagnosis::ProbeOutcome::Unknown)
        );
    }
    Ok(())
}

/// No verdict, and the reset succeeds. With a connection of its own: what was learnt of a broken one (it rests, it refused
/// the sign-in) is over.
pub async fn is_healthy_and_reset(lab: &Lab, name: &str, new: &str) -> Result<()> {
    let (directory, new) = (directory(lab)?, password(new)?);
    let diagnosis = doctor(&directory, &setting(lab)?, name, Some(&new), None).await?;
    anyhow::ensure!(diagnosis.is_healthy(), "{name}: {:?}", verdicts(&diagnosis));
    let done = reset(&directory, name, &new).await?;
    anyhow::ensure!(done.is_ok(), "{name}: {done:?}");
    Ok(())
}
