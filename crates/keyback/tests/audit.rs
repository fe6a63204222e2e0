//! The audit chain as an administrator meets it: after real resets, and after somebody wrote into the file.

mod support;

use anyhow::{Context, Result};
use keyback_testkit::lab::{Lab, SEEDED_PASSWORD, Samba};
use keyback_testkit::walk::{job_of, reset};
use serde_json::Value;
use support::Keyback;

/// Exit code and document of `audit verify`.
fn verify(keyback: &Keyback, more: &[&str]) -> Result<(i32, Value)> {
    keyback.json(&[&["audit", "verify"], more].concat())
}

/// Puts bytes of the same length in place of others, wherever they stand in the store.
fn forge(keyback: &Keyback, old: &str, new: &str) -> Result<usize> {
    assert_eq!(old.len(), new.len());
    let path = keyback.folder.join("keyback.db");
    let mut bytes = std::fs::read(&path)?;
    let places: Vec<usize> = bytes
        .windows(old.len())
        .enumerate()
        .filter(|(_, at)| *at == old.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in &places {
        bytes[*at..at + old.len()].copy_from_slice(new.as_bytes());
    }
    std::fs::write(&path, bytes)?;
    Ok(places.len())
}

#[test]
fn a_reset_and_a_refusal_are_chained_signed_exported_and_erased_and_a_forged_word_is_named() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let (user, other) = (lab.add_user("aud")?, lab.add_user("aux")?);
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &user.sam, &user.mail, "Chained-Pass-1!", &mut keyback.sink)?;
    assert_eq!(keyback.ended(&job_of(&page)?)?["state"], "succeeded");
    let mut browser = keyback.browser()?;
    let page = reset(&mut browser, &other.sam, &other.mail, SEEDED_PASSWORD, &mut keyback.sink)?;
    assert_eq!(keyback.ended(&job_of(&page)?)?["cause"], "policy.history");

    let (exit, found) = verify(&keyback, &[])?;
    assert_eq!((exit, &found["whole"]), (0, &Value::Bool(true)), "{found}");
    let rows = found["rows"].as_u64().context("rows")?;
    assert_eq!(
        (found["countersigned"].as_u64(), found["compared_with_agent"].as_bool()),
        (Some(rows / 2), Some(true))
    );
    let head = String::from_utf8(keyback.command(&["audit", "head"])?.stdout)?;
    assert_eq!(verify(&keyback, &["--head", head.trim()])?.0, 0);
    let (_, ahead) = head.trim().split_once(':').context("a head")?;
    let (exit, found) = verify(&keyback, &["--head", &format!("{}:{ahead}", rows + 5)])?;
    assert_eq!((exit, &found["broken"]["fault"]), (1, &Value::from("behind")), "{found}");

    let export = |format: &str| -> Result<String> {
        let output = keyback.command(&["audit", "export", "--format", format, "--since", "1h"])?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let lines = usize::try_from(rows)?;
    assert_eq!((export("jsonl")?.lines().count(), export("csv")?.lines().count()), (lines, lines + 1));
    assert_eq!(export("cef")?.lines().count(), lines);
    let graph: Value = serde_json::from_str(&export("directory-audit")?)?;
    let resets: Vec<&Value> = graph["value"]
        .as_array()
        .context("value")?
        .iter()
        .filter(|row| row["activityDisplayName"] == "Reset password (self-service)")
        .collect();
    assert_eq!(resets.iter().map(|row| &row["result"]).collect::<Vec<_>>(), ["success", "failure"]);
    assert_eq!(resets[0]["targetResources"][0]["id"], user.guid.to_string());
    let file = keyback.folder.join("export.csv");
    let out = file.display().to_string();
    assert!(keyback.command(&["audit", "export", "--format", "csv", "--out", &out])?.status.success());
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions()) & 0o777,
        0o600
    );

    let (exit, erased) = keyback.json(&["audit", "erase", &user.guid.to_string()])?;
    assert_eq!((exit, erased["rows"].as_u64()), (0, Some(6)), "{erased}");
    assert_eq!(verify(&keyback, &[])?.0, 0);
    assert!(!export("jsonl")?.contains(&user.sam) && export("jsonl")?.contains(&other.sam));

    keyback.terminate()?;
    assert!(forge(&keyback, "\"result\":\"failure\"", "\"result\":\"success\"")? > 0);
    let (exit, found) = verify(&keyback, &[])?;
    assert_eq!((exit, &found["broken"]["fault"]), (1, &Value::from("altered")), "{found}");
    assert_eq!(found["broken"]["number"].as_u64(), Some(rows), "the refusal is the last row: {found}");
    let text = String::from_utf8(keyback.command(&["audit", "verify"])?.stdout)?;
    assert!(text.contains(&format!("row {rows}: altered")), "{text}");

    std::fs::remove_file(keyback.folder.join("keyback.db"))?;
    assert_eq!(
        keyback.command(&["audit", "verify"])?.status.code(),
        Some(3),
        "nothing to look at is not whole"
    );
    Ok(())
}
