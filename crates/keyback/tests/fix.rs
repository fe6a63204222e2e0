//! `keyback doctor --fix` and `--undo` against directories that are broken for one reason each.

mod support;

use anyhow::{Context, Result, ensure};
use keyback_testkit::lab::{Account, Lab, Samba};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use support::KEYBACK;
use support::alone::StandAlone;

/// Every breakage that `--fix` mends.
const MENDABLE: [&str; 18] = [
    "rights.reset_missing",
    "rights.reset_missing:ou",
    "rights.deny_ace",
    "rights.deny_ace:everyone",
    "rights.deny_ace:group",
    "rights.deny_ace:ou",
    "rights.inheritance_off",
    "rights.inheritance_off:ou",
    "rights.inheritance_off:former",
    "rights.unlock_attribute_missing",
    "rights.unlock_attribute_missing:ou",
    "rights.pwdlastset_missing",
    "rights.pwdlastset_missing:ou",
    "rights.cannot_change",
    "policy.pso_unreadable",
    "target.locked",
    "connector.locked",
    "connector.disabled",
];

/// DN to whatever `--fix` may touch, of every object of the domain.
type Directory = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// Whole descriptors, SACL too, as Administrator.
fn directory(lab: &Lab) -> Result<Directory> {
    let whole = "!1.2.840.113556.1.4.801=::MAMCAQ8=";
    let attributes = ["nTSecurityDescriptor", "lockoutTime", "adminCount", "userAccountControl"];
    let options = [&["-E", whole, "(objectClass=*)"][..], &attributes[..]].concat();
    let found = lab.search(lab.administrator(), lab.base_dn(), &options)?;
    ensure!(found.len() > 100, "{} objects", found.len());
    let mut all = Directory::new();
    for object in found {
        let values = all.entry(object.dn.clone()).or_default();
        for attribute in attributes {
            values.extend(object.values(attribute).map(|value| (attribute.to_owned(), value.to_vec())));
        }
    }
    Ok(all)
}

/// What differs, by DN.
fn differences(one: &Directory, other: &Directory) -> Vec<String> {
    let all: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    all.into_iter().filter(|dn| one.get(*dn) != other.get(*dn)).cloned().collect()
}

/// The flags that name Administrator for the changes.
fn as_administrator(lab: &Lab, alone: &StandAlone) -> Result<Vec<String>> {
    let account = lab.administrator();
    let password = alone.secret("fixer", account.password)?;
    Ok(["--fix-as", account.name, "--fix-password-file", &password].map(str::to_owned).to_vec())
}

/// A run of `doctor` with these flags and then those of Administrator.
fn fixing(lab: &Lab, alone: &StandAlone, flags: &[&str]) -> Result<(i32, Value)> {
    let fixer = as_administrator(lab, alone)?;
    let fixer: Vec<&str> = fixer.iter().map(String::as_str).collect();
    alone.json(&[flags, &fixer].concat())
}

fn causes(diagnosis: &Value) -> Vec<&str> {
    let verdicts = diagnosis["verdicts"].as_array().map(Vec::as_slice).unwrap_or_default();
    verdicts.iter().filter_map(|verdict| verdict["cause"].as_str()).collect()
}

fn file(alone: &StandAlone, name: &str) -> String {
    alone.folder.path().join(name).display().to_string()
}

fn mended_and_undone(lab: &Lab, breakage: &str, number: usize) -> Result<()> {
    let cause = breakage.split(':').next().unwrap_or(breakage);
    let user = lab.add_user_in("OU=Sales,OU=Staff", "f", "Start-Pass1!", "")?.sam;
    let user = user.as_str();
    lab.break_it(breakage, user)?;
    let broken = directory(lab)?;
    let alone = StandAlone::new(lab, "svc-keyback")?;
    let scope = ["--scope".to_owned(), format!("OU=Staff,{}", lab.base_dn())];
    let alone = StandAlone { flags: [alone.flags.clone(), scope.to_vec()].concat(), ..alone };
    let undo = file(&alone, &format!("undo-{number}.json"));
    let (exit, report) = fixing(lab, &alone, &[user, "--fix", "--yes", "--undo-file", &undo])?;
    ensure!(causes(&report["before"]).first() == Some(&cause), "{:?}", causes(&report["before"]));
    ensure!(exit == 0 && report["outcome"] == "mended", "{exit} {report:#}");
    ensure!(causes(&report["after"]).is_empty(), "{report}");
    ensure!(std::fs::metadata(&undo)?.permissions().mode() & 0o777 == 0o600, "the undo file is open");
    let dn = report["after"]["user"]["dn"].as_str().context("no DN")?;
    let (name, password) = lab.connector();
    let connector = Account { name, password };
    let rejected = lab.reset(connector, dn, &format!("Quite-Fine-And-Long-{number:03}-Xy!"), false)?;
    ensure!(rejected.is_none(), "the reset was refused: {rejected:?}");
    let mended = directory(lab)?;
    ensure!(!differences(&broken, &mended).is_empty(), "nothing was changed");

    let (exit, report) = fixing(lab, &alone, &["--undo", &undo, "--yes"])?;
    ensure!(exit == 0 && report["outcome"] == "undone", "{exit} {report:#}");
    let objects = report["objects"].as_array().context("no objects")?;
    ensure!(objects.iter().all(|object| object["byte_for_byte"] == true), "{report:#}");
    let undone = directory(lab)?;
    ensure!(undone == broken, "not as before: {:?}", differences(&broken, &undone));
    let (exit, report) = fixing(lab, &alone, &["--undo", &undo, "--yes"])?;
    ensure!(exit == 0 && report["outcome"] == "nothing_to_undo", "{exit} {report:#}");
    ensure!(directory(lab)? == broken, "the second undo changed something");
    lab.mend()
}

fn all_of(samba: Samba) -> Result<()> {
    let lab = Lab::private(samba, &[])?;
    let mut failed = Vec::new();
    for (number, breakage) in MENDABLE.into_iter().enumerate() {
        if let Err(error) = mended_and_undone(&lab, breakage, number) {
            failed.push(format!("{breakage}: {error:#}"));
            if let Err(error) = lab.mend() {
                failed.push(format!("{breakage}, mending: {error:#}"));
                break;
            }
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

#[test]
fn every_cause_is_mended_and_undone_on_samba_4_24() -> Result<()> {
    all_of(Samba::V4_24)
}

#[test]
fn every_cause_is_mended_and_undone_on_samba_4_17() -> Result<()> {
    all_of(Samba::Host)
}

/// Types an answer on a terminal.
fn on_a_terminal(lab: &Lab, alone: &StandAlone, answer: &str, more: &[&str]) -> Result<(i32, String)> {
    let flags = [alone.flags.clone(), as_administrator(lab, alone)?].concat();
    let words = flags.iter().map(String::as_str).chain(more.iter().copied());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{KEYBACK} doctor {}", line.join(" ")), "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut typed = child.stdin.take().context("no standard input")?;
    std::io::Write::write_all(&mut typed, format!("{answer}\n").as_bytes())?;
    let output = child.wait_with_output()?;
    drop(typed);
    Ok((output.status.code().context("a signal")?, String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn nothing_is_changed_without_consent_or_by_who_may_not_or_over_an_old_undo_file() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    lab.break_it("rights.deny_ace", "bob")?;
    let broken = directory(&lab)?;
    let undo = file(&alone, "undo.json");
    let unchanged = |what: &str| {
        ensure!(directory(&lab)? == broken, "{what}: something was changed");
        ensure!(!std::path::Path::new(&undo).exists(), "{what}: an undo file was written");
        Ok(())
    };
    let fix = ["bob", "--fix", "--undo-file", &undo];

    let (exit, page) = on_a_terminal(&lab, &alone, "no", &fix)?;
    ensure!(exit == 1 && page.contains("it was not agreed to"), "{exit} {page}");
    ensure!(page.contains("- (OD;;CR;00299570-246d-11d0-a768-00aa006e0529;;DU)"), "{page}");
    unchanged("declined")?;

    let (exit, report) = fixing(&lab, &alone, &fix)?;
    ensure!(exit == 1 && report["outcome"] == "shown" && report["why"].as_str().is_some(), "{report}");
    let change = &report["changes"][0];
    for (side, has) in [("before", true), ("after", false)] {
        let sddl = change["values"][0][side].as_str().context("no SDDL")?;
        ensure!(sddl.starts_with("D:") && sddl.contains("(OD;;CR;00299570-") == has, "{side} {sddl}");
    }
    let shells: Vec<&str> = change["commands"]
        .as_array()
        .context("commands")?
        .iter()
        .filter_map(|c| c["shell"].as_str())
        .collect();
    ensure!(shells == ["sh", "powershell"], "{shells:?}");
    unchanged("without a terminal")?;

    let (exit, report) = alone.json(&fix)?;
    ensure!(exit == 1 && report["outcome"] == "shown", "{exit} {report}");
    ensure!(report["changes"][0]["values"][0]["before"].is_string(), "{report}");
    unchanged("without an account")?;

    let password = alone.secret("norights", lab.connector().1)?;
    let weak = ["--fix-as", "svc-norights@ad.example", "--fix-password-file", &password, "--yes"];
    let (exit, report) = alone.json(&[&fix[..], &weak].concat())?;
    ensure!(exit == 1 && report["outcome"] == "shown", "{exit} {report}");
    let why = report["why"].as_str().context("why")?;
    ensure!(why.contains("WRITE_DAC") && why.contains("CN=bob"), "{why}");
    unchanged("without the right")?;

    let wrong = alone.secret("wrong", "Not-The-Password")?;
    let wrong = ["--fix-as", "svc-norights@ad.example", "--fix-password-file", &wrong, "--yes"];
    let (exit, out, err) = alone.run(&[&fix[..], &wrong].concat())?;
    ensure!(exit == 3 && out.is_empty() | !out.contains("Not-The"), "{exit} {err}");
    ensure!(!err.contains("Not-The-Password"), "{err}");
    unchanged("wrong password")?;

    std::fs::write(&undo, "mine")?;
    let fixer = as_administrator(&lab, &alone)?;
    let fixer: Vec<&str> = fixer.iter().map(String::as_str).collect();
    let (exit, _, err) = alone.run(&[&fix[..], &fixer, &["--yes"]].concat())?;
    ensure!(exit == 2 && err.contains("cannot be written"), "{exit} {err}");
    ensure!(std::fs::read_to_string(&undo)? == "mine" && directory(&lab)? == broken);
    std::fs::remove_file(&undo)?;

    let (exit, page) = on_a_terminal(&lab, &alone, "yes", &fix)?;
    ensure!(exit == 0 && page.contains("AFTER THE CHANGE") && page.contains("Nothing is wrong"), "{page}");
    let (exit, page) = on_a_terminal(&lab, &alone, "no", &["--undo", &undo])?;
    ensure!(exit == 1 && page.contains("+ (OD;;CR;00299570-"), "{exit} {page}");
    ensure!(directory(&lab)? != broken, "undone without consent");
    let (exit, page) = on_a_terminal(&lab, &alone, "yes", &["--undo", &undo])?;
    ensure!(exit == 0 && page.contains("byte for byte"), "{exit} {page}");
    ensure!(directory(&lab)? == broken, "not as before");
    Ok(())
}

#[test]
fn what_is_an_administrator_s_decision_is_refused_with_the_reason() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    for (breakage, word) in [
        ("rights.protected_object", "Domain Admins"),
        ("rights.protected_object:nested", "AdminSDHolder"),
        ("target.disabled", "decision"),
        ("target.expired", "decision"),
        ("target.out_of_scope", "scope"),
        ("target.duplicate_anchor", "administrator"),
        ("connector.password_expired", "by hand"),
    ] {
        lab.break_it(breakage, "bob")?;
        let broken = directory(&lab)?;
        let alone = StandAlone::new(&lab, "svc-keyback")?;
        let undo = file(&alone, "undo.json");
        let scope = format!("OU=Staff,{}", lab.base_dn());
        let flags = ["bob", "--fix", "--yes", "--undo-file", &undo, "--scope", &scope];
        let (exit, report) = fixing(&lab, &alone, &flags)?;
        let blind = breakage.starts_with("connector.");
        ensure!(exit == if blind { 3 } else { 1 }, "{breakage}: {exit}");
        ensure!(report["outcome"] == "refused", "{breakage}: {report:#}");
        let cause = breakage.split(':').next().unwrap_or(breakage);
        let refused = report["refused"].as_array().context("refused")?;
        let refused =
            refused.iter().find(|refused| refused["cause"] == cause).context("the cause is not refused")?;
        ensure!(refused["why"].as_str().is_some_and(|why| why.contains(word)), "{breakage}: {refused}");
        ensure!(directory(&lab)? == broken && !std::path::Path::new(&undo).exists(), "{breakage}");
        lab.mend()?;
    }
    Ok(())
}

#[test]
fn an_undo_file_is_good_for_its_own_domain_and_object_only() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let alone = StandAlone::new(&lab, "svc-keyback")?;
    lab.break_it("rights.inheritance_off:former", "bob")?;
    let undo = file(&alone, "undo.json");
    ensure!(fixing(&lab, &alone, &["bob", "--fix", "--yes", "--undo-file", &undo])?.0 == 0, "not mended");
    let mended = directory(&lab)?;
    let usage = |alone: &StandAlone, lab: &Lab, file: &str, word: &str| {
        let fixer = as_administrator(lab, alone)?;
        let fixer: Vec<&str> = fixer.iter().map(String::as_str).collect();
        let (exit, out, err) = alone.run(&[&["--undo", file, "--yes"][..], &fixer].concat())?;
        ensure!(exit == 2 && out.is_empty() && err.contains(word), "{exit} {out} {err}");
        Ok(())
    };

    let text = std::fs::read_to_string(&undo)?;
    let edited = alone.secret("edited.json", &text.replace("adminCount", "lockoutTime"))?;
    usage(&alone, &lab, &edited, "checksum")?;
    let cut = alone.secret("cut.json", text.get(..text.len() / 2).context("short")?)?;
    usage(&alone, &lab, &cut, "no undo file")?;
    usage(&alone, &lab, "/nonexistent", "cannot be read")?;
    // The same names, another domain: its SID differs.
    let other = Lab::shared(Samba::Host)?;
    usage(&StandAlone::new(&other, "svc-keyback")?, &other, &undo, "is about")?;
    ensure!(directory(&lab)? == mended, "something was changed");

    let bob = dn_of_bob(&alone)?;
    lab.modify(&format!("dn: {bob}\nchangetype: modify\nadd: adminCount\nadminCount: 7\n"))?;
    let changed = directory(&lab)?;
    let (exit, report) = fixing(&lab, &alone, &["--undo", &undo, "--yes"])?;
    ensure!(exit == 1 && report["outcome"] == "changed_since", "{exit} {report:#}");
    let values = report["objects"][0]["values"].as_array().context("values")?;
    ensure!(
        values.iter().any(|value| value["attribute"] == "adminCount" && value["after"] == "7"),
        "{report:#}"
    );
    ensure!(directory(&lab)? == changed, "something was changed");
    Ok(())
}

fn dn_of_bob(alone: &StandAlone) -> Result<String> {
    let (_, document) = alone.json(&["bob"])?;
    Ok(document["user"]["dn"].as_str().context("no DN")?.to_owned())
}
