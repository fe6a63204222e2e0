//! Which crate may use which: the arrows of the design. One that is not listed here does not compile into main.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may use of ours at run time.
const ARROWS: &[(&str, &[&str])] = &[
    ("keyback-codes", &[]),
    ("keyback-core", &["keyback-codes"]),
    ("keyback-ad", &["keyback-core", "keyback-codes"]),
    ("keyback-store", &["keyback-core", "keyback-codes"]),
    ("keyback-server", &["keyback-core", "keyback-codes", "keyback-store"]),
    ("keyback-agent", &["keyback-core", "keyback-codes", "keyback-ad"]),
    (
        "keyback",
        &["keyback-core", "keyback-codes", "keyback-ad", "keyback-store", "keyback-server", "keyback-agent"],
    ),
    ("keyback-testkit", &["keyback-core"]),
];

/// Who alone may use a library, because it is the boundary.
const ALONE: &[(&str, &[&str])] = &[
    ("sqlx", &["keyback-store"]),
    ("ldap3_proto", &["keyback-ad"]),
    ("lettre", &["keyback-agent"]),
    ("axum", &["keyback-server", "keyback-testkit"]),
];

fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>, Box<dyn std::error::Error>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().ok_or("no packages")? {
        let name = package["name"].as_str().ok_or("no name")?.to_owned();
        let used = package["dependencies"].as_array().ok_or("no dependencies")?.iter();
        let at_run_time = used.filter(|dependency| dependency["kind"].is_null());
        found.insert(
            name,
            at_run_time.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect(),
        );
    }
    Ok(found)
}

#[test]
fn crates_use_each_other_along_the_listed_arrows_only() -> Result<(), Box<dyn std::error::Error>> {
    let found = dependencies()?;
    let listed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    for (name, allowed) in ARROWS {
        let ours: BTreeSet<&str> =
            found[*name].iter().map(String::as_str).filter(|used| used.starts_with("keyback")).collect();
        let strange: Vec<_> = ours.iter().filter(|used| !allowed.contains(*used)).collect();
        assert!(strange.is_empty(), "{name} -> {strange:?} is not an arrow of the design");
    }
    Ok(())
}

#[test]
fn sql_ldap_mail_and_http_each_have_one_home() -> Result<(), Box<dyn std::error::Error>> {
    let found = dependencies()?;
    for (library, homes) in ALONE {
        for (name, used) in &found {
            assert!(!used.contains(*library) || homes.contains(&name.as_str()), "{name} uses {library}");
        }
    }
    Ok(())
}

/// Our crates and tokio as `cargo tree` lists them over these edges, each with its features.
fn features(edges: &str) -> Result<String, Box<dyn std::error::Error>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--package", "keyback", "--edges", edges, "--prefix", "none", "--format", "{p} {f}"])
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The path after the name may have any words in it.
    let text = String::from_utf8(output.stdout)?;
    let ours = text.lines().filter(|line| line.starts_with("keyback") || line.starts_with("tokio v"));
    Ok(ours
        .filter_map(|line| line.rsplit_once([')', ' ']).map(|(_, features)| features))
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn the_seams_of_the_simulation_are_not_in_the_shipped_binary() -> Result<(), Box<dyn std::error::Error>> {
    let (shipped, tested) = (features("normal,build")?, features("normal,dev")?);
    for feature in ["simulation", "test-util"] {
        assert!(!shipped.contains(feature), "{feature} would be shipped: {shipped}");
        assert!(tested.contains(feature), "{feature} is looked for where it cannot be found: {tested}");
    }
    Ok(())
}
