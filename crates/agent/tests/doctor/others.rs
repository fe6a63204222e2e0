//! Causes that are no state of one domain controller, so that `lab/break` cannot make them: a read-only one, a name that
//! leads nowhere. And connectors that may read nothing.

use crate::support::*;
use anyhow::{Result, ensure};
use keyback_ad::DcAddress;
use keyback_codes::Cause;
use keyback_core::diagnosis::State;
use keyback_testkit::dump::{Dump, differences};
use keyback_testkit::lab::{Lab, Samba};

async fn ways_to_a_domain_controller(samba: Samba) -> Result<()> {
    let lab = Lab::private(samba, &[])?;
    let read_only = Lab::private(samba, &["--join", lab.env("AD_DIR"), "--rodc", "--host", "dcro"])?;
    let directory =
        |dcs| directory_trusting(&[&lab, &read_only], &lab, dcs, "svc-keyback", lab.connector().1);
    let nowhere: DcAddress = "ldaps://no-such-dc.invalid".parse()?;
    let (setting, new) = (setting(&lab)?, password("Quite-Fine-001-Xy!")?);
    let before = Dump::of(&lab)?;
    for (dc, cause) in [(nowhere.clone(), "dc.name_resolution"), (address(&read_only)?, "dc.read_only")] {
        let diagnosis = doctor(&directory(vec![dc])?, &setting, "bob", Some(&new), None).await?;
        check_form(&diagnosis)?;
        ensure!(verdicts(&diagnosis) == [(cause, State::Confirmed)], "{:?}", verdicts(&diagnosis));
    }
    // Mended by listing one that can be written to, be it the last.
    let mended = directory(vec![nowhere, address(&read_only)?, address(&lab)?])?;
    let diagnosis = doctor(&mended, &setting, "bob", Some(&new), None).await?;
    ensure!(diagnosis.is_healthy(), "{:?}", verdicts(&diagnosis));
    ensure!(diagnosis.dc.as_deref() == Some(lab.fqdn()), "{:?}", diagnosis.dc);
    let differ = differences(&before, &Dump::of(&lab)?);
    ensure!(differ.is_empty(), "doctor changed something: {}", differ.join("\n"));
    // The first attempt finds out that the read-only one is no good, as that of a job does.
    let first = reset(&mended, "bob", &new).await?;
    let refused = first.as_ref().err().map(|(cause, _)| *cause);
    ensure!(refused.is_none_or(|cause| cause == Cause::DcReadOnly), "{first:?}");
    let done = if refused.is_some() { reset(&mended, "bob", &new).await? } else { first };
    ensure!(done.is_ok(), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_read_only_dc_and_a_name_that_leads_nowhere_are_named_on_samba_4_24() -> Result<()> {
    ways_to_a_domain_controller(Samba::V4_24).await
}

#[tokio::test]
async fn a_read_only_dc_and_a_name_that_leads_nowhere_are_named_on_samba_4_17() -> Result<()> {
    ways_to_a_domain_controller(Samba::Host).await
}

/// Step by step: it may not read a user, not list an OU, not read anything at all.
#[tokio::test]
async fn a_connector_that_may_read_nothing_gets_a_clear_answer_and_nothing_is_changed() -> Result<()> {
    let no_rights = [
        ("rights.reset_missing", State::Confirmed),
        ("rights.unlock_attribute_missing", State::Confirmed),
        ("rights.pwdlastset_missing", State::Confirmed),
        ("rights.protected_object", State::Unknown),
    ];
    let nobody: &[_] = &[("target.not_found", State::Confirmed)];
    let several: &[_] = &[("target.duplicate_upn", State::Confirmed)];
    for samba in Samba::ALL {
        let lab = Lab::private(samba, &[])?;
        let (directory, setting) = (directory_as(&lab, "svc-norights")?, setting(&lab)?);
        // Explicit, since every object is born with an ACE that lets everybody read it.
        for (places, rights, of_one, of_two) in [
            (["Staff/Sales"].as_slice(), "RP", no_rights.as_slice(), several),
            (&["Staff/Sales"], "LC", nobody, several),
            (&["Staff/Sales", "Staff", "Service", lab.base_dn()], "LCRPLORC", nobody, nobody),
        ] {
            for place in places {
                lab.seed(&format!("ace {place} '(D;CI;{rights};;;{{svc-norights}})'\n"))?;
            }
            let before = Dump::of(&lab)?;
            for (name, expected) in
                [("bob", of_one), ("shared@ad.example", of_two), ("nobody-at-all", nobody)]
            {
                let diagnosis = doctor(&directory, &setting, name, None, None).await?;
                check_form(&diagnosis)?;
                let said = verdicts(&diagnosis);
                ensure!(said == *expected, "{samba:?}, {rights} denied at {places:?}, {name}: {said:?}");
            }
            let differ = differences(&before, &Dump::of(&lab)?);
            ensure!(differ.is_empty(), "doctor changed something: {}", differ.join("\n"));
        }
    }
    Ok(())
}
