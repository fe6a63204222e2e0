//! Every cause that `lab/break` makes: broken, it is named first; mended, nothing is named and the reset succeeds.

use crate::support::*;
use anyhow::{Context, Result, ensure};
use keyback_core::NewPassword;
use keyback_core::diagnosis::State;
use keyback_testkit::lab::{Breakage, Hits, Lab, SEEDED_PASSWORD, Samba};

/// Causes that make a domain controller refuse a reset, so that its answer is there to be explained.
fn is_refused(cause: &str) -> bool {
    cause.starts_with("policy.")
        || matches!(
            cause,
            "rights.reset_missing" | "rights.deny_ace" | "rights.inheritance_off" | "rights.protected_object"
        )
}

/// Only a domain controller's refusal shows these.
fn needs_a_refusal(cause: &str) -> bool {
    matches!(cause, "policy.history" | "policy.filter_or_unknown" | "policy.contains_name")
}

/// Without an answer to explain, with Samba's, and with the same cut to its code, as Windows sends it: the same
/// first verdict. Samba's text may name a second one.
async fn is_named(lab: &Lab, breakage: &str, user: &str, candidate: &NewPassword) -> Result<()> {
    let cause = breakage.split(':').next().unwrap_or(breakage);
    let (directory, setting) = (directory(lab)?, setting(lab)?);
    let mut views = Vec::new();
    if !needs_a_refusal(cause) {
        views.push(("nothing observed", None));
    }
    if is_refused(cause) {
        let refused = reset(&directory, user, candidate).await?.err().context("it was not refused")?;
        let reply = refused.1.context("no answer")?;
        views.extend([("Samba's answer", Some(observed(reply.clone()))), ("bare", Some(bare(&reply)))]);
    }
    for (view, observed) in &views {
        let diagnosis = doctor(&directory, &setting, user, Some(candidate), observed.as_ref()).await?;
        check_form(&diagnosis)?;
        ensure!(diagnosis.round_trips <= 12, "{view}: {} questions", diagnosis.round_trips);
        let verdicts = verdicts(&diagnosis);
        let text_is_cut = *view == "bare" || std::env::var_os("KEYBACK_BARE").is_some();
        if text_is_cut && cause == "policy.history" {
            // The code says that some rule was broken; nobody can read a history. A filter may have refused as well.
            let expected =
                [("policy.filter_or_unknown", State::Confirmed), ("policy.history", State::Unknown)];
            ensure!(verdicts == expected, "{view}: {verdicts:?}");
            continue;
        }
        ensure!(verdicts.first() == Some(&(cause, State::Confirmed)), "{view}: {verdicts:?}");
    }
    Ok(())
}

/// A breakage in force.
struct Broken {
    breakage: String,
    user: String,
    /// One that is refused.
    password: String,
}

impl Broken {
    fn make(lab: &Lab, breakage: &str) -> Result<Self> {
        let user = lab.add_user_in("OU=Sales,OU=Staff", "b", SEEDED_PASSWORD, "")?.sam;
        let password = lab.break_it(breakage, &user)?;
        let old = if breakage == "policy.history" { SEEDED_PASSWORD } else { "Brand-New-Pass-77!" };
        let password = password.unwrap_or_else(|| old.to_owned());
        Ok(Self { breakage: breakage.to_owned(), user, password })
    }

    async fn is_named(&self, lab: &Lab) -> Result<()> {
        is_named(lab, &self.breakage, &self.user, &password(&self.password)?).await
    }
}

/// What hits one user is broken for as many users at once, so that none must be mistaken for another's; what hits
/// everybody, one after the other.
async fn all_of(samba: Samba) -> Result<()> {
    let lab = Lab::private(samba, &[])?;
    let known = Lab::breakages()?;
    let shows = |breakage: &&Breakage| !breakage.only_4_24 || samba == Samba::V4_24;
    let of = |hits| known.iter().filter(shows).filter(move |breakage| breakage.hits == Some(hits));
    let mut rounds = vec![of(Hits::User).map(|breakage| breakage.cause.as_str()).collect()];
    rounds.extend(of(Hits::Domain).map(|breakage| vec![breakage.cause.as_str()]));
    let mut failed = Vec::new();
    for round in rounds {
        let broken = round.iter().map(|breakage| Broken::make(&lab, breakage)).collect::<Result<Vec<_>>>()?;
        for broken in &broken {
            let named = broken.is_named(&lab).await;
            failed.extend(named.err().map(|error| format!("{}: {error:#}", broken.breakage)));
        }
        lab.mend()?;
        for (number, broken) in broken.iter().enumerate() {
            let new = format!("Quite-Fine-{number:03}-Xy!");
            let mended = is_healthy_and_reset(&lab, &broken.user, &new).await;
            failed.extend(mended.err().map(|error| format!("{}, mended: {error:#}", broken.breakage)));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

#[tokio::test]
async fn every_cause_is_named_first_and_gone_when_mended_on_samba_4_24() -> Result<()> {
    all_of(Samba::V4_24).await
}

#[tokio::test]
async fn every_cause_is_named_first_and_gone_when_mended_on_samba_4_17() -> Result<()> {
    all_of(Samba::Host).await
}

/// Two faults of one user, the first to mend first.
#[tokio::test]
async fn of_two_faults_both_are_named_in_the_order_to_mend_them() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let setting = setting(&lab)?;
    let short = password("Short-Pass9!")?;
    for (first, second) in [
        ("rights.deny_ace", "target.locked"),
        ("rights.inheritance_off:former", "target.disabled"),
        ("rights.reset_missing", "policy.length"),
        ("rights.protected_object", "target.locked"),
        ("target.out_of_scope", "target.disabled"),
        ("target.disabled", "policy.min_age"),
        ("target.locked", "policy.length"),
        ("target.duplicate_upn", "rights.deny_ace"),
        ("target.duplicate_anchor", "target.expired"),
        ("rights.unlock_attribute_missing", "policy.pso_unreadable"),
        ("rights.cannot_change", "target.locked"),
        ("dc.clock_skew", "rights.deny_ace"),
    ] {
        lab.break_it(second, "bob")?;
        lab.break_it(first, "bob")?;
        let diagnosis = doctor(&directory(&lab)?, &setting, "bob", Some(&short), None).await?;
        let causes: Vec<_> = verdicts(&diagnosis).into_iter().map(|(cause, _)| cause).collect();
        let first = first.split(':').next().unwrap_or(first);
        let place = |wanted: &str| causes.iter().position(|cause| *cause == wanted);
        ensure!(place(first) == Some(0), "{first} and {second}: {causes:?}");
        ensure!(place(second).is_some(), "{first} and {second}: {causes:?}");
        lab.mend()?;
    }
    Ok(())
}
