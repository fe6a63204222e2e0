//! `keyback doctor` as an administrator types it: shapes, exit codes, a page that can be read.

mod support;

use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Lab, Samba};
use serde_json::Value;
use support::Keyback;
use support::alone::StandAlone;

fn causes(document: &Value) -> Vec<&str> {
    let verdicts = document["verdicts"].as_array().map(Vec::as_slice).unwrap_or_default();
    verdicts.iter().filter_map(|verdict| verdict["cause"].as_str()).collect()
}

#[test]
fn what_the_seed_made_wrong_is_named_with_evidence_and_a_fix() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        for (connector, user, expected) in [
            ("svc-keyback", "s-disabled", &["target.disabled"][..]),
            ("svc-keyback", "s-expired", &["target.expired"]),
            ("svc-keyback", "s-must", &[]),
            ("svc-keyback", "s-cannot", &["rights.cannot_change"]),
            ("svc-keyback", "p-admin", &["rights.protected_object"]),
            ("svc-keyback", "p-former", &["rights.inheritance_off"]),
            ("svc-keyback", "twin1", &["target.duplicate_upn"]),
            ("svc-keyback", "f-one", &[]),
            ("svc-keyback", "emil@ad.example", &[]),
            ("svc-resetonly", "emil", &["rights.unlock_attribute_missing", "rights.pwdlastset_missing"]),
            (
                "svc-norights",
                "emil",
                &["rights.reset_missing", "rights.unlock_attribute_missing", "rights.pwdlastset_missing"],
            ),
        ] {
            let (exit, document) = StandAlone::new(&lab, connector)?.json(&[user])?;
            assert_eq!(causes(&document), expected, "{connector} {user}");
            assert_eq!(exit, i32::from(!expected.is_empty()), "{connector} {user}");
            assert!(document["round_trips"].as_u64().is_some_and(|trips| trips <= 12), "{document}");
            for key in ["dn", "objectGUID", "userPrincipalName"] {
                assert!(document["user"][key].is_string(), "{key}: {document}");
            }
            for verdict in document["verdicts"].as_array().context("verdicts")? {
                assert!(verdict["fix"]["text"].as_str().is_some_and(|text| text.len() > 10), "{verdict}");
                assert!(
                    verdict["fix"]["automatic"].is_boolean() && verdict["because"].is_array(),
                    "{verdict}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn an_ace_that_was_cut_off_is_shown_as_text() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let (_, document) = StandAlone::new(&lab, "svc-keyback")?.json(&["p-former"])?;
    let cut = document["observations"].as_array().context("observations")?;
    let cut = cut.iter().find(|seen| seen["id"] == "rights.inheritance").context("no rights.inheritance")?;
    let facts = cut["facts"].as_array().context("facts")?;
    let granted = facts.iter().any(|fact| {
        fact["attribute"] == "nTSecurityDescriptor"
            && fact["from"].as_str().is_some_and(|from| from.starts_with("OU=Staff,"))
            && fact["value"]
                .as_str()
                .is_some_and(|ace| ace.contains(";CR;00299570-246d-11d0-a768-00aa006e0529;"))
    });
    ensure!(granted, "{cut}");
    Ok(())
}

#[test]
fn a_page_fits_eighty_columns_and_says_the_verdict_first() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    let (exit, page, err) = alone.run(&["p-former"])?;
    assert_eq!((exit, err.as_str()), (1, ""), "{page}");
    let place = |text: &str| page.find(text).with_context(|| format!("no {text:?} in:\n{page}"));
    ensure!(place("rights.inheritance_off  confirmed")? < place("WHAT WAS READ")?);
    ensure!(place("to mend")? < place("WHAT WAS READ")?);
    for line in page.lines() {
        let typed = ["$ ", "PS> ", "C:\\> "].iter().any(|prompt| line.trim_start().starts_with(prompt));
        assert!(typed || line.chars().count() <= 80, "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    let (exit, page, _) = alone.run(&["emil"])?;
    assert_eq!(exit, 0);
    assert!(page.contains("Nothing is wrong"), "{page}");
    Ok(())
}

#[test]
fn a_candidate_is_judged_and_never_shown() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let alone = StandAlone::new(&lab, "svc-keyback")?;
        for (user, candidate, expected) in [
            ("emil", "Sh0rt!", "policy.length"),
            ("emil", "onlysmallletters", "policy.complexity"),
            ("f-one", "Thirteen-C-1!", "policy.length"),
        ] {
            let file = alone.secret("candidate", candidate)?;
            let (exit, out, _) = alone.run(&[user, "--json", "--candidate-file", &file])?;
            assert_eq!(exit, 1, "{out}");
            assert!(!out.contains(candidate), "{out}");
            assert_eq!(causes(&serde_json::from_str(&out)?), [expected]);
        }
        let good = alone.secret("candidate", "A-Perfectly-Good-1-For-Both")?;
        for user in ["emil", "f-one"] {
            assert_eq!(alone.json(&[user, "--candidate-file", &good])?.0, 0, "{user}");
        }
    }
    Ok(())
}

#[test]
fn a_refusal_that_is_given_is_explained() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    let good = alone.secret("candidate", "A-Perfectly-Good-1-For-Both")?;
    let bare = "53 0000052D: SvcErr: DSID-031A126C, problem 5003 (WILL_NOT_PERFORM), data 0";
    let (_, document) = alone.json(&["emil", "--candidate-file", &good, "--reply", bare])?;
    assert_eq!(causes(&document), ["policy.filter_or_unknown", "policy.history"]);
    let samba = "53 0000052D: Unwilling to perform - check_password_restrictions: the password was already used (in history)!";
    let (_, document) = alone.json(&["emil", "--candidate-file", &good, "--reply", samba])?;
    assert_eq!(causes(&document), ["policy.history"]);
    let (exit, _, err) = alone.run(&["emil", "--reply", "no code"])?;
    assert_eq!(exit, 2);
    assert!(err.contains("LDAP result code"), "{err}");
    Ok(())
}

#[test]
fn scope_comes_from_the_flags_or_from_the_configuration() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let base = lab.base_dn();
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    let sales = format!("OU=Sales,OU=Staff,{base}");
    let (exit, document) = alone.json(&["emil", "--scope", &sales])?;
    assert_eq!((exit, causes(&document)), (1, vec!["target.out_of_scope"]));
    let keyback = Keyback::init(&lab)?;
    let (exit, document) = keyback.json(&["doctor", "emil"])?;
    assert_eq!((exit, causes(&document)), (0, vec![]));
    let (exit, document) = keyback.json(&["doctor", "s-nomail"])?;
    assert_eq!((exit, causes(&document)), (1, vec!["target.no_mail"]));
    let (exit, document) = keyback.json(&["doctor", "outsider"])?;
    assert_eq!((exit, causes(&document).first()), (1, Some(&"target.out_of_scope")));
    Ok(())
}

#[test]
fn what_could_not_be_looked_at_and_wrong_usage_have_their_own_exit_codes() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let nobody = StandAlone::new(&lab, "nobody-at-all")?;
    let (exit, document) = nobody.json(&["emil"])?;
    assert_eq!((exit, causes(&document)), (3, vec!["connector.bind_failed"]));
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    for usage in [
        &["emil", "--scope", "no DN"][..],
        &["emil", "--candidate-file", "/nonexistent"],
        &["emil", "--base", "no DN"],
        &["emil", "--dc", "ldap://plain"],
        &[""],
        &[],
    ] {
        let (exit, out, err) = alone.run(usage)?;
        assert_eq!((exit, out.as_str()), (2, ""), "{usage:?}: {err}");
    }
    Ok(())
}

#[test]
fn everybody_is_looked_at_and_the_same_is_said_in_every_form() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let alone = StandAlone::new(&lab, "svc-keyback")?;
        let scope = format!("OU=IT,OU=Staff,{}", lab.base_dn());
        let (csv, html) = (alone.folder.path().join("all.csv"), alone.folder.path().join("all.html"));
        let (csv, html) = (csv.display().to_string(), html.display().to_string());
        let (exit, document) = alone.json(&["--all", "--scope", &scope, "--csv", &csv, "--html", &html])?;
        ensure!(exit == 1, "{document}");
        let number = |key: &str| document[key].as_u64().context(key.to_owned());
        ensure!(number("checked")? == number("ready")? + number("not_ready")? + number("unknown")?);
        ensure!(number("checked")? > 2 && document["dc"].is_string() && document["seconds"].is_f64());
        let users = document["users"].as_array().context("users")?;
        ensure!(users.len() as u64 == number("not_ready")? + number("unknown")?);
        let admin =
            users.iter().find(|user| user["dn"].as_str().is_some_and(|dn| dn.starts_with("CN=p-admin,")));
        let admin = admin.context("p-admin is ready")?;
        ensure!(causes(admin) == ["rights.protected_object"], "{admin}");
        let group = document["causes"]
            .as_array()
            .context("causes")?
            .iter()
            .find(|group| group["cause"] == "rights.protected_object" && group["state"] == "confirmed");
        let group = group.context("no group")?;
        for key in ["code", "count", "summary", "examples", "fixes"] {
            ensure!(!group[key].is_null(), "{key}: {group}");
        }
        // The same fault, the same words as for that one alone.
        let (_, one) = alone.json(&[admin["objectGUID"].as_str().context("objectGUID")?])?;
        ensure!(one["verdicts"][0]["summary"] == admin["verdicts"][0]["summary"], "{one} {admin}");
        let rows = std::fs::read_to_string(&csv)?;
        ensure!(
            rows.lines().count() > 1 && rows.contains("\"rights.protected_object\",\"confirmed\""),
            "{rows}"
        );
        let page = std::fs::read_to_string(&html)?;
        ensure!(page.contains("<svg") && page.contains("rights.protected_object"), "{page}");
        for elsewhere in ["src=", "@import", "url(", "<link", "<script"] {
            ensure!(!page.contains(elsewhere), "{elsewhere}");
        }
        let (exit, lines, err) = alone.run(&["--all", "--scope", &scope, "--json-lines"])?;
        let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(exit == 1 && lines.len() == users.len() + 1, "{err}");
        ensure!(lines.last().is_some_and(|sum| sum["checked"] == document["checked"]));
        let (_, text, _) = alone.run(&["--all", "--scope", &scope])?;
        ensure!(text.lines().next().is_some_and(|first| first.contains("users are ready")), "{text}");
        let long = text
            .lines()
            .find(|line| line.chars().count() > 80 && !line.trim_start().starts_with(['$', 'P', 'C']));
        ensure!(long.is_none(), "{long:?}");
    }
    Ok(())
}

#[test]
fn who_cannot_look_at_everybody_says_so() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    let nowhere = format!("OU=Nowhere,{}", lab.base_dn());
    let (exit, document) = alone.json(&["--all", "--scope", &nowhere])?;
    ensure!(exit == 3 && document["incomplete"].is_string() && document["checked"] == 0, "{exit} {document}");
    let (exit, document) = StandAlone::new(&lab, "nobody-there")?.json(&["--all"])?;
    ensure!(exit == 3 && document["dc"].is_null(), "{exit} {document}");
    ensure!(document["way"][0]["cause"] == "connector.bind_failed", "{document}");
    for wrong in [&["--all", "bob"][..], &["bob", "--csv", "x"], &["--all", "--csv", "/nowhere/x"], &[]] {
        ensure!(alone.run(wrong)?.0 == 2, "{wrong:?}");
    }
    Ok(())
}

#[test]
fn one_user_makes_a_page_too() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    for (user, expected) in [("p-former", "rights.inheritance_off"), ("bob", "Nothing is wrong")] {
        let file = alone.folder.path().join(user).display().to_string();
        alone.run(&[user, "--html", &file])?;
        let page = std::fs::read_to_string(&file)?;
        ensure!(page.contains(expected) && page.contains("What was read"), "{page}");
        ensure!(!page.contains("<script") && !page.contains("src="));
    }
    Ok(())
}
