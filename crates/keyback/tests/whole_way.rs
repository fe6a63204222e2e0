//! A person at the pages, a real domain controller at the other end.

mod support;

use anyhow::{Context, Result};
use keyback_testkit::lab::{Lab, SEEDED_PASSWORD, Samba};
use keyback_testkit::walk::{end_of, job_of, prove, reset};
use serde_json::json;
use support::Keyback;

#[test]
fn a_reset_a_change_and_an_unlock_reach_the_directory_on_both_versions() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut keyback = Keyback::start(&lab)?;
        let user = lab.add_user("way")?;
        let version = lab.key_version(&user)?;

        let mut browser = keyback.browser()?;
        let page = reset(&mut browser, &user.sam, &user.mail, "Reset-Pass-1!", &mut keyback.sink)?;
        assert!(page.words().contains("works now"), "{}", page.words());
        assert!(lab.kinit(&user.sam, "Reset-Pass-1!")? && !lab.kinit(&user.sam, SEEDED_PASSWORD)?);
        assert_eq!(lab.key_version(&user)?, version + 1);
        let job = keyback.ended(&job_of(&page)?)?;
        assert_eq!(job["state"], "succeeded");
        assert_eq!(job["done"]["key_version"], serde_json::json!([version, version + 1]));
        assert_eq!(job["done"]["history_enforced"], samba == Samba::V4_24);
        assert_eq!(job["dc"], lab.fqdn());

        let mut browser = keyback.browser()?;
        let form = prove(&mut browser, "change", &user.upn, &user.mail, &mut keyback.sink)?.form()?;
        let form = form
            .fill("current", "Reset-Pass-1!")?
            .fill("new", "Change-Pass-2!")?
            .fill("repeat", "Change-Pass-2!")?;
        let answer = browser.submit_only(&form)?;
        let page = end_of(&mut browser, &job_of(&answer)?)?;
        assert!(page.words().contains("works now"), "{}", page.words());
        assert!(lab.kinit(&user.sam, "Change-Pass-2!")?);

        for _ in 0..6 {
            assert!(lab.bind(&user.upn, "wrong")?.is_err());
        }
        assert_eq!(
            lab.bind(&user.upn, "Change-Pass-2!")?,
            Err("775".to_owned()),
            "the account should be locked"
        );
        let mut browser = keyback.browser()?;
        let confirm = prove(&mut browser, "unlock", &user.mail, &user.mail, &mut keyback.sink)?;
        let answer = browser.submit_only(&confirm.form()?)?;
        end_of(&mut browser, &job_of(&answer)?)?;
        assert_eq!(lab.bind(&user.upn, "Change-Pass-2!")?, Ok(()));
    }
    Ok(())
}

#[test]
fn a_wrong_current_password_is_named_and_costs_one_count() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("cur")?;
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "change", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    let form =
        form.fill("current", "not-it-1A")?.fill("new", "Change-Pass-2!")?.fill("repeat", "Change-Pass-2!")?;
    let answer = browser.submit_only(&form)?;
    let page = end_of(&mut browser, &job_of(&answer)?)?;
    assert!(page.words().contains("AADSTS120000"), "{}", page.words());
    assert_eq!(lab.attribute(&user.dn, "badPwdCount")?.as_deref(), Some("1"));
    Ok(())
}

#[test]
fn history_holds_on_a_reset_where_the_dc_offers_hints_and_the_record_says_where_it_does_not() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut keyback = Keyback::start(&lab)?;
        let user = lab.add_user("his")?;
        let mut browser = keyback.browser()?;
        let page = reset(&mut browser, &user.sam, &user.mail, SEEDED_PASSWORD, &mut keyback.sink)?;
        let job = keyback.ended(&job_of(&page)?)?;
        if samba == Samba::V4_24 {
            assert_eq!(
                (job["state"].as_str(), job["code"].as_str()),
                (Some("refused"), Some("AADSTS120004"))
            );
            assert_eq!(job["cause"], "policy.history");
            assert!(page.words().contains("AADSTS120004"), "{}", page.words());
            // The proof still holds: another password may be tried without another code.
            let form = browser
                .open("/reset/password")?
                .form()?
                .fill("new", "Quite-New-1!")?
                .fill("repeat", "Quite-New-1!")?;
            let answer = browser.submit_only(&form)?;
            assert!(end_of(&mut browser, &job_of(&answer)?)?.words().contains("works now"));
        } else {
            assert_eq!(job["state"], "succeeded");
            assert_eq!(job["done"]["history_enforced"], false);
            assert_eq!(job["done"]["remarks"], serde_json::json!(["policy.hints_unsupported"]));
        }
    }
    Ok(())
}

#[test]
fn whoever_may_not_is_refused_behind_the_same_page_and_the_audit_trail_names_the_cause() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = Keyback::start(&lab)?;
    let mut pages = Vec::new();
    for (user, cause) in [
        ("nobody-here", "target.not_found"),
        ("outsider", "target.out_of_scope"),
        ("p-admin", "rights.protected_object"),
        ("Administrator", "target.out_of_scope"),
        ("shared@ad.example", "target.duplicate_upn"),
        ("s-nomail", "target.no_mail"),
        ("*)(objectClass=*", "target.not_found"),
        ("CN=ada,OU=Sales,OU=Staff,DC=ad,DC=example\\", "target.not_found"),
        ("a\\,da\\2a", "target.not_found"),
    ] {
        let mut browser = keyback.browser()?;
        let form = browser.open("/reset")?.form()?.fill("user", user)?;
        let page = browser.submit(&form)?;
        assert_eq!(page.status, 200, "{user}");
        let outcome = keyback.outcome_for(user)?;
        assert_eq!(outcome["cause"], cause, "{user}: {outcome}");
        pages.push(page.words());
        // Whatever is typed as the code is wrong, as it would be for anybody.
        let form = browser.open("/reset/code")?.form()?.fill("code", "12345678")?;
        assert_eq!(browser.submit(&form)?.status, 422, "{user}");
    }
    let known = lab.add_user("same")?;
    let mut browser = keyback.browser()?;
    let form = browser.open("/reset")?.form()?.fill("user", &known.sam)?;
    pages.push(browser.submit(&form)?.words());
    let without_id = |words: &str| {
        let words: Vec<_> = words.split(' ').filter(|word| word.matches('-').count() != 4).collect();
        words.join(" ")
    };
    let first = without_id(&pages[0]);
    assert!(pages.iter().all(|page| without_id(page) == first), "{pages:#?}");
    Ok(())
}

/// The same answer, four causes: the job names the one that holds, and what proves it. With the text cut to its code, as
/// on Windows.
#[test]
fn a_refused_job_carries_the_verdict_of_what_was_read_at_the_time() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut keyback = Keyback::init(&lab)?;
        keyback.serve_with(&[], &[("KEYBACK_BARE", "1")])?;
        for (cause, password) in [
            ("rights.deny_ace", "Quite-New-1!"),
            ("rights.reset_missing", "Quite-New-1!"),
            ("policy.length", "Ab1!"),
            ("policy.complexity", "onlysmallletters"),
        ] {
            let user = lab.add_user("why")?;
            let broken =
                if cause.starts_with("rights.") { Some(lab.break_(cause, Some(&user))?) } else { None };
            let mut browser = keyback.browser()?;
            let page = reset(&mut browser, &user.sam, &user.mail, password, &mut keyback.sink)?;
            let id = job_of(&page)?;
            let job = keyback.ended(&id)?;
            assert_eq!(job["state"], "refused", "{samba:?} {cause}: {job}");
            assert_eq!(job["cause"], cause, "{samba:?}: {job}");
            assert_eq!(job["verdicts"][0]["cause"], cause);
            assert_eq!(job["verdicts"][0]["state"], "confirmed");
            assert_eq!(job["code"], job["verdicts"][0]["code"]);
            assert!(page.words().contains(job["code"].as_str().unwrap_or("?")), "{}", page.words());
            // What proves it stands beside the failure, and in the audit trail.
            let proof = &job["failure"]["evidence"];
            assert!(proof.as_array().is_some_and(|facts| !facts.is_empty()), "{job}");
            let (_, trail) = keyback.json(&["audit", "list"])?;
            let row = trail.as_array().and_then(|rows| rows.last()).context("no audit rows")?;
            assert_eq!((&row["cause"], &row["failure"]["evidence"]), (&json!(cause), proof));
            if let Some(broken) = broken {
                broken.mend()?;
            }
            // Mended since, but the job says what was.
            let (exit, then) = keyback.json(&["doctor", "--job", &id])?;
            assert_eq!((exit, &then["verdicts"]), (1, &job["verdicts"]));
            let (exit, now) = keyback.json(&["doctor", "--job", &id, "--again"])?;
            let still: Vec<_> = now["verdicts"].as_array().into_iter().flatten().collect();
            assert!(still.iter().all(|verdict| verdict["state"] != "confirmed"), "{now}");
            // Which rule a password broke that is gone cannot be told any more.
            assert_eq!(exit, if cause.starts_with("policy.") { 3 } else { 0 }, "{now}");
        }
    }
    Ok(())
}

/// Fault: logs, store, files, pages and mails are searched for secrets after resets => none
#[test]
fn a_marker_password_is_in_no_log_table_file_page_or_mail() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("trip")?;
    let (first, second) = ("Marker-Zq7-First!", "Marker-Zq7-Second!");
    let mut browser = keyback.browser()?;
    let mut seen = vec![reset(&mut browser, &user.sam, &user.mail, first, &mut keyback.sink)?.body];
    let mut browser = keyback.browser()?;
    let form = prove(&mut browser, "change", &user.sam, &user.mail, &mut keyback.sink)?.form()?;
    // A refusal first: the server's words must not carry it either.
    let refused =
        form.clone().fill("current", first)?.fill("new", second)?.fill("repeat", "Marker-Zq7-Other!")?;
    seen.push(browser.submit_only(&refused)?.body);
    let form = form.fill("current", first)?.fill("new", second)?.fill("repeat", second)?;
    let answer = browser.submit_only(&form)?;
    let job = job_of(&answer)?;
    seen.push(answer.body);
    seen.push(end_of(&mut browser, &job)?.body);
    seen.push(serde_json::to_vec(&keyback.ended(&job)?)?);
    keyback.terminate()?;
    seen.extend(keyback.sink.mails().into_iter().map(|mail| mail.raw.into_bytes()));
    let mut looked_at = 0;
    for path in support::files(&keyback.folder)? {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        assert_eq!(marker_in(&bytes), None, "{}", path.display());
        looked_at += 1;
    }
    for bytes in seen {
        assert_eq!(marker_in(&bytes), None, "{}", String::from_utf8_lossy(&bytes));
    }
    assert!(looked_at >= 8, "the folder holds the store, the journal, the keys and the log");
    assert!(marker_in(b"x Marker-Zq7 y").is_some(), "the search itself finds one");
    Ok(())
}

/// The form in which the marker stands in the bytes, if it does.
fn marker_in(bytes: &[u8]) -> Option<&'static str> {
    keyback_testkit::tripwire::find("Marker-Zq7", bytes)
}
