//! The commands, as an administrator types them: good and bad input, exit codes, shapes.

mod support;

use anyhow::{Context, Result};
use keyback_testkit::lab::{Lab, Samba};
use std::process::Command;
use support::{Dc, KEYBACK, Keyback};

/// What is done to a good configuration.
type Edit = fn(String) -> String;

fn keyback(arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = Command::new(KEYBACK).args(arguments).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
}

/// The causes that `check` finds, with its exit code.
fn causes(keyback: &Keyback) -> Result<(i32, Vec<String>)> {
    let (exit, document) = keyback.json(&["check"])?;
    let findings = document["findings"].as_array().context("findings")?;
    let bad = findings.iter().filter(|finding| finding["ok"] == false);
    let bad: Vec<_> = bad
        .map(|finding| {
            assert!(finding["fix"].as_str().is_some_and(|fix| fix.len() > 10), "{finding}");
            assert!(finding["code"].as_str().is_some_and(|code| code.starts_with("AADSTS")), "{finding}");
            finding["cause"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(document["healthy"], bad.is_empty());
    Ok((exit, bad))
}

#[test]
fn a_good_set_up_is_healthy_on_both_versions() -> Result<()> {
    for samba in Samba::ALL {
        let keyback = Keyback::init(&Lab::shared(samba)?)?;
        assert_eq!(causes(&keyback)?, (0, vec![]));
        let output = keyback.command(&["check"])?;
        let text = String::from_utf8(output.stdout)?;
        assert!(text.lines().skip(1).all(|line| line.starts_with("ok")), "{text}");
    }
    Ok(())
}

#[test]
fn lists_of_passwords_are_told_with_their_sizes_or_with_what_is_wrong_and_doctor_judges_by_them() -> Result<()>
{
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = Keyback::init(&lab)?;
    let place = |name: &str| keyback.folder.join(name);
    let section =
        "[agent.passwords]\nblocklist_file = \"terms\"\nbreached_hashes = \"hashes\"\n\n[agent.mail]";
    keyback.edit(|text| text.replace("[agent.mail]", section))?;
    let found = || -> Result<String> {
        let (_, document) = keyback.json(&["check"])?;
        let findings = document["findings"].as_array().context("findings")?.iter();
        let mut passwords = findings.filter(|finding| finding["check"] == "passwords");
        Ok(passwords.next().context("no finding")?["detail"].as_str().unwrap_or_default().to_owned())
    };
    let lines = ["A", "B"].map(|digit| format!("{}:7\r\n", digit.repeat(40)));
    let unsorted = lines.iter().rev().cloned().collect::<String>();
    for (terms, hashes, told) in [
        (None, lines.concat(), "terms cannot be read"),
        (Some(&b"marmot\nmar\n"[..]), lines.concat(), "line 2 of"),
        (Some(b"marmot\n\xff\n"), lines.concat(), "line 2 of"),
        (Some(b"marmot\n"), unsorted, "is not sorted by hash"),
        (Some(b"marmot\n"), "marmot:7\n".to_owned(), "does not consist of lines HASH:COUNT"),
    ] {
        if let Some(terms) = terms {
            std::fs::write(place("terms"), terms)?;
        }
        std::fs::write(place("hashes"), hashes)?;
        assert!(found()?.contains(told), "{told}: {}", found()?);
        assert_eq!(causes(&keyback)?, (2, vec!["config.invalid".to_owned()]), "{told}");
    }
    std::fs::write(place("hashes"), lines.concat())?;
    let sizes = found()?;
    assert!(sizes.contains("terms on the blocklist: 1;") && sizes.contains("88 bytes"), "{sizes}");
    let candidate = place("candidate");
    std::fs::write(&candidate, "M4rm0t!7")?;
    std::fs::set_permissions(&candidate, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let candidate = candidate.display().to_string();
    let (exit, diagnosis) = keyback.json(&["doctor", "ada", "--candidate-file", &candidate])?;
    assert_eq!((exit, &diagnosis["verdicts"][0]["cause"]), (1, &"policy.banned".into()), "{diagnosis}");
    assert!(!diagnosis.to_string().to_lowercase().contains("rm0t"), "{diagnosis}");
    Ok(())
}

/// Fault: a certificate is missing, expired, untrusted or wrongly named => each its own cause
#[test]
fn each_fault_of_a_certificate_has_its_own_cause() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let other = Lab::shared(Samba::Host)?;
    let good = Keyback::init(&lab)?;
    let ca = lab.ca_file().display().to_string();

    let wrong_name = Keyback::init(&lab)?;
    wrong_name.use_dcs(&[Dc { host: "dc9.elsewhere.example".to_owned(), address: lab.ldaps() }])?;
    assert_eq!(causes(&wrong_name)?, (3, vec!["dc.tls_name_mismatch".to_owned()]));

    good.edit(|text| text.replace(&ca, &other.ca_file().display().to_string()))?;
    assert_eq!(causes(&good)?, (3, vec!["dc.tls_untrusted".to_owned()]));

    let missing = Keyback::init(&lab)?;
    missing.edit(|text| text.replace(&ca, "nowhere.pem"))?;
    assert_eq!(causes(&missing)?.0, 2);

    let no_certificate = Keyback::init(&lab)?;
    std::fs::write(no_certificate.folder.join("empty.pem"), "not a certificate")?;
    no_certificate.edit(|text| text.replace(&ca, "empty.pem"))?;
    assert_eq!(causes(&no_certificate)?.0, 2);

    let expired = Lab::private(Samba::V4_24, &["--expired-tls"])?;
    let keyback = Keyback::init(&lab)?;
    keyback.use_dcs(&[Dc::of(&expired)])?;
    keyback.edit(|text| text.replace(&ca, &expired.ca_file().display().to_string()))?;
    assert_eq!(causes(&keyback)?, (3, vec!["dc.tls_expired".to_owned()]));
    Ok(())
}

#[test]
fn a_connector_with_a_wrong_password_and_a_dc_that_is_not_there_are_told_apart() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = Keyback::init(&lab)?;
    std::fs::write(keyback.folder.join("connector.password"), "wrong\n")?;
    assert_eq!(causes(&keyback)?, (3, vec!["connector.bind_failed".to_owned()]));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?; // closed again at once
    let keyback = Keyback::init(&lab)?;
    keyback.use_dcs(&[Dc::of_at(&lab, nobody)])?;
    assert_eq!(causes(&keyback)?, (3, vec!["dc.unreachable".to_owned()]));
    Ok(())
}

#[test]
fn bad_configurations_are_refused_with_cause_and_fix_before_anything_is_done() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let edits: [(&str, Edit, &str); 6] = [
        ("an unknown key", |text| text.replace("[server]\n", "[server]\nlisten_on = 1\n"), "listen_on"),
        (
            "a wrong type",
            |text| text.replace("[server]\n", "[server]\njob_deadline_seconds = \"x\"\n"),
            "job_deadline_seconds",
        ),
        ("clear text", |text| text.replace("http://127.", "http://reset.example.org."), "public_url"),
        ("ldap://", |text| text.replace("ldaps://", "ldap://"), "ldaps://"),
        ("no scope", |text| text.split("scope = [").next().unwrap_or_default().to_owned(), "agent"),
        (
            "another key file",
            |text| text.replace("\"server-signing.key\"", "\"agent-signing.key\""),
            "server-signing",
        ),
    ];
    for (what, edit, named) in edits {
        let keyback = Keyback::init(&lab)?;
        keyback.edit(edit)?;
        let output = keyback.command(&["serve"])?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{what}: {told}");
        assert!(
            told.contains(named) && told.contains("cause: config.invalid") && told.contains("fix: "),
            "{what}: {told}"
        );
    }
    let (exit, _, told) = keyback(&["serve", "--config", "/nowhere/keyback.toml"])?;
    assert_eq!(exit, 2);
    assert!(told.contains("keyback init --config"), "{told}");
    Ok(())
}

#[test]
fn a_secret_that_others_can_read_stops_the_start() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let keyback = Keyback::init(&Lab::shared(Samba::V4_24)?)?;
    let key = keyback.folder.join("agent-unsealing.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
    let told = String::from_utf8(keyback.command(&["serve"])?.stderr)?;
    assert!(told.contains("chmod 600"), "{told}");
    Ok(())
}

#[test]
fn init_leaves_what_is_there_alone_and_says_what_is_missing() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let there = Keyback::init(&lab)?;
    let before = std::fs::read(there.config())?;
    let (exit, _, told) = keyback(&["init", "--yes", "--config", &there.config().display().to_string()])?;
    assert_eq!((exit, told.contains("left alone")), (2, true), "{told}");
    assert_eq!(std::fs::read(there.config())?, before);
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("keyback.toml").display().to_string();
    let (exit, _, told) = keyback(&["init", "--yes", "--config", &config])?;
    assert_eq!((exit, told.contains("--dc")), (2, true), "{told}");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[test]
fn an_unknown_job_is_a_finding_and_wrong_usage_is_usage() -> Result<()> {
    let keyback_ = Keyback::init(&Lab::shared(Samba::V4_24)?)?;
    let output = keyback_.command(&["job", "show", "00000000-0000-4000-8000-000000000000"])?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(keyback(&["job", "show", "not-an-id"])?.0, 2);
    assert_eq!(keyback(&["frobnicate"])?.0, 2);
    let (exit, out, _) = keyback(&["--version"])?;
    assert_eq!((exit, out.trim()), (0, concat!("keyback ", env!("CARGO_PKG_VERSION"))));
    Ok(())
}
