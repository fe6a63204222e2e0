//! The domain controllers of the simulation answer as a real one does: the same questions to both, the same answers.

use crate::model_dc::{Domain, guid};
use crate::world::{START, directory as model_directory};
use anyhow::{Context, Result};
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits, WriteError};
use keyback_codes::Explain;
use keyback_core::{CurrentPassword, Done, NewPassword, ObjectGuid};
use keyback_testkit::clock::ManualClock;
use keyback_testkit::lab::{Lab, Samba};
use std::sync::Arc;
use zeroize::Zeroizing;

fn new(text: &str) -> Result<NewPassword> {
    Ok(NewPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

fn current(text: &str) -> Result<CurrentPassword> {
    Ok(CurrentPassword::parse(Zeroizing::new(text.as_bytes().to_vec()))?)
}

fn said(answer: Result<Done, WriteError>) -> String {
    match answer {
        Ok(Done { history_enforced, compare_and_swap, remarks, key_version, .. }) => {
            let ahead = key_version.map(|(before, after)| after - before);
            format!(
                "done, history {history_enforced}, compared {compare_and_swap}, {ahead:?} ahead, {remarks:?}"
            )
        }
        Err(error) => format!("{} {:?}", error.cause(), error.verdict()),
    }
}

/// Key version, pwdLastSet, bad-password count.
type Facts = (i64, i64, u32);

/// What a domain controller answers to all that a job may ask, and what that does to the user.
async fn questions(
    directory: &Directory,
    user: ObjectGuid,
    first: &str,
    facts: impl Fn() -> Result<Facts>,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut last = facts()?;
    let mut note = |what: &str, answer: String| -> Result<()> {
        let now = facts()?;
        let moved = if now.1 == last.1 { "pwdLastSet stays" } else { "pwdLastSet moves" };
        lines.push(format!("{what}: {answer}; {} set, {moved}, {} bad", now.0 - last.0, now.2));
        last = now;
        Ok(())
    };
    let old = directory.begin_write(user).await?;
    note("reset", said(old.reset(&new("Like-One-1!")?, false).await))?;
    note("stale reset", said(old.reset(&new("Like-Two-1!")?, false).await))?;
    note("stale and short", said(old.reset(&new("Ab1!")?, false).await))?;
    note("stale and used", said(old.reset(&new("Like-One-1!")?, false).await))?;
    let write = directory.begin_write(user).await?;
    note("short", said(write.reset(&new("Ab1!")?, false).await))?;
    note("used", said(write.reset(&new(first)?, false).await))?;
    note("wrong change", said(write.change(&current("Wrong-Pass1!")?, &new("Like-Three-1!")?).await))?;
    note("stale wrong change", said(old.change(&current("Wrong-Pass1!")?, &new("Like-Three-1!")?).await))?;
    note("short change", said(write.change(&current("Like-One-1!")?, &new("Ab1!")?).await))?;
    note("change", said(write.change(&current("Like-One-1!")?, &new("Like-Three-1!")?).await))?;
    note("change again", said(write.change(&current("Like-One-1!")?, &new("Like-Three-1!")?).await))?;
    for (what, pin, password) in [
        ("ours", write.pin(), "Like-Three-1!"),
        ("not ours", write.pin(), "Like-Four-1!"),
        ("two since", old.pin(), "Like-Three-1!"),
        ("nothing since", directory.begin_write(user).await?.pin(), "Like-Five-1!"),
    ] {
        let settled = directory.settle(user, pin, Some(&new(password)?)).await?;
        let text = format!("{settled:?}");
        note(what, text.split('(').next().unwrap_or_default().to_owned())?;
    }
    let locked = directory.load_user(user).await?.lockout_time.is_some_and(|at| !at.is_zero());
    note("unlock", format!("{} {locked}", said(write.unlock().await)))?;
    Ok(lines)
}

#[test]
fn the_simulated_dc_answers_as_samba_4_24() -> Result<()> {
    compare(Samba::V4_24, true)
}

#[test]
fn the_simulated_dc_without_policy_hints_answers_as_samba_4_17() -> Result<()> {
    compare(Samba::Host, false)
}

fn compare(samba: Samba, hints: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lab = Lab::shared(samba)?;
    let user = lab.add_user("like")?;
    let (name, password) = lab.connector();
    let dc: DcAddress = format!("ldaps://{}", lab.fqdn()).parse()?;
    let real = Directory::new(DirectoryConfig {
        dcs: vec![dc.at(lab.ip())],
        ca_pem: std::fs::read(lab.ca_file())?,
        connector: Connector::new(name.to_owned(), Zeroizing::new(password.to_owned()))?,
        base: None,
        limits: Limits::default(),
    })?;
    let number = |attribute: &str| -> Result<i64> {
        lab.attribute(&user.dn, attribute)?.map_or(Ok(0), |value| value.parse().context("a number"))
    };
    let facts = || {
        Ok((
            lab.key_version(&user)?,
            number("pwdLastSet")?,
            u32::try_from(number("badPwdCount")?).context("a count")?,
        ))
    };
    let real = runtime.block_on(questions(&real, user.guid, &user.password, facts))?;
    let modelled = runtime.block_on(async {
        let domain = Domain::new(1, 1, Arc::new(ManualClock::at(START)), 1, hints);
        let directory = model_directory(&domain, 1, true)?;
        let first = domain.password(1);
        questions(&directory, guid(1), &first, || Ok(domain.facts(1))).await
    })?;
    assert_eq!(modelled, real);
    Ok(())
}
