//! Every cause that `lab/break` makes shows as it should on both Sambas, and `lab/mend` puts back what was there.
//!
//! What the DC answers is asked with `ldap-utils` and `openssl`. The whole domain is read before and after: each object,
//! deleted ones too, with its descriptor. Each test has a DC of its own, because causes hit the connector, the OUs or the DC.

use anyhow::{Context, Result, bail, ensure};
use keyback_codes::Cause;
use keyback_testkit::dump::{Dump, differences};
use keyback_testkit::lab::{Account, Broken, Hits, Lab, Rejected, SEEDED_PASSWORD, Samba, TestUser};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Command, Stdio};

const NEW_PASSWORD: &str = "Another-Pass-0042!";
/// What the connector's three writes answer.
struct Answers<'a> {
    lab: &'a Lab,
    user: &'a TestUser,
    samba: Samba,
}

impl Answers<'_> {
    fn connector(&self) -> Account<'_> {
        let (name, password) = self.lab.connector();
        Account { name, password }
    }

    fn dn(&self) -> String {
        let guid = self.user.guid.to_string();
        format!("<GUID={guid}>")
    }

    fn reset(&self, password: &str) -> Result<Option<Rejected>> {
        self.lab.reset(self.connector(), &self.dn(), password, self.samba == Samba::V4_24)
    }

    fn write(&self, attribute: &str) -> Result<Option<Rejected>> {
        let dn = self.dn();
        let ldif = format!("dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: 0\n");
        Ok(self.lab.try_modify(self.connector(), &ldif)?.pop())
    }

    /// Reset, lockoutTime and pwdLastSet, in this order, each with the code it should have.
    fn codes(&self, reset: u32, lockout: u32, pwd_last_set: u32) -> Result<()> {
        let code = |rejected: Option<Rejected>| rejected.map_or(0, |rejected| rejected.code);
        let got = (
            code(self.write("lockoutTime")?),
            code(self.write("pwdLastSet")?),
            code(self.reset(NEW_PASSWORD)?),
        );
        ensure!(got == (lockout, pwd_last_set, reset), "lockoutTime, pwdLastSet, reset: {got:?}");
        Ok(())
    }

    /// The policy refuses this password with this text, as far as this Samba gives one.
    fn refuses(&self, password: &str, text: &str) -> Result<()> {
        let code = if self.samba == Samba::V4_24 { 53 } else { 19 };
        let rejected = self.reset(password)?.context("the reset was accepted")?;
        ensure!(rejected.code == code && rejected.text.contains("0000052D"), "{rejected:?}");
        ensure!(rejected.text.contains(text), "{rejected:?}");
        Ok(())
    }

    fn accepts(&self, password: &str) -> Result<()> {
        let rejected = self.reset(password)?;
        ensure!(rejected.is_none(), "{rejected:?}");
        Ok(())
    }

    fn signs_in(&self, expected: std::result::Result<(), &str>) -> Result<()> {
        let got = self.lab.bind(&self.user.upn, SEEDED_PASSWORD)?;
        ensure!(got == expected.map_err(str::to_owned), "bind: {got:?}");
        Ok(())
    }

    fn seen_by_connector(&self, filter: &str) -> Result<usize> {
        Ok(self.lab.search(self.connector(), self.lab.base_dn(), &[filter, "cn"])?.len())
    }

    fn changes_own_password(&self) -> Result<Option<Rejected>> {
        let value = |password: &str| {
            use base64::Engine;
            let quoted: Vec<u8> =
                format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
            base64::engine::general_purpose::STANDARD.encode(quoted)
        };
        let (old, new) = (value(SEEDED_PASSWORD), value(NEW_PASSWORD));
        let ldif = format!(
            "dn: {}\nchangetype: modify\ndelete: unicodePwd\nunicodePwd:: {old}\n-\nadd: unicodePwd\nunicodePwd:: {new}\n",
            self.user.dn
        );
        let account = Account { name: &self.user.upn, password: SEEDED_PASSWORD };
        Ok(self.lab.try_modify(account, &ldif)?.pop())
    }
}

fn user_shows(answers: &Answers<'_>, cause: &str, broken: &Broken<'_>) -> Result<()> {
    let (lab, user) = (answers.lab, answers.user);
    let password = broken.password.as_deref().unwrap_or(NEW_PASSWORD);
    match cause {
        "rights.reset_missing" | "rights.reset_missing:ou" => {
            answers.codes(50, 0, 0)?;
            let text = answers.reset(NEW_PASSWORD)?.context("no answer")?.text;
            ensure!(text.contains("error in module acl: insufficient access rights"), "{text}");
            Ok(())
        }
        "rights.unlock_attribute_missing" | "rights.unlock_attribute_missing:ou" => answers.codes(0, 50, 0),
        "rights.pwdlastset_missing" | "rights.pwdlastset_missing:ou" => answers.codes(0, 0, 50),
        "rights.deny_ace" | "rights.deny_ace:everyone" | "rights.deny_ace:group" | "rights.deny_ace:ou" => {
            answers.codes(50, 0, 0)
        }
        "rights.inheritance_off" | "rights.inheritance_off:ou" => answers.codes(50, 50, 50),
        "rights.inheritance_off:former" => {
            ensure!(lab.attribute(&user.dn, "adminCount")?.as_deref() == Some("1"));
            ensure!(lab.attribute(&user.dn, "memberOf")?.is_none());
            answers.codes(50, 50, 50)
        }
        "rights.protected_object" | "rights.protected_object:nested" => {
            ensure!(lab.attribute(&user.dn, "adminCount")?.as_deref() == Some("1"));
            ensure!(lab.attribute(&user.dn, "memberOf")?.is_some());
            answers.codes(50, 50, 50)
        }
        "rights.cannot_change" => {
            let rejected = answers.changes_own_password()?.context("the change was accepted")?;
            ensure!(rejected.code == 19 && rejected.text.contains("error in module acl"), "{rejected:?}");
            answers.accepts(NEW_PASSWORD)
        }
        "policy.length" => answers.refuses(password, "the password is too short"),
        "policy.pso_unreadable" => {
            ensure!(answers.seen_by_connector(&format!("(cn=Only {})", user.sam))? == 0);
            answers.refuses(password, "the password is too short")
        }
        "policy.complexity" => answers.refuses(password, "does not meet the complexity criteria"),
        "policy.contains_name" | "policy.filter_or_unknown" => {
            answers.refuses(password, "does not meet the complexity criteria")?;
            if cause == "policy.contains_name" { answers.accepts(NEW_PASSWORD) } else { Ok(()) }
        }
        "policy.history" if answers.samba == Samba::V4_24 => {
            answers.refuses(SEEDED_PASSWORD, "the password was already used")
        }
        "policy.min_age" if answers.samba == Samba::V4_24 => {
            answers.refuses(password, "password is too young to change")
        }
        "policy.history" | "policy.min_age" => answers.accepts(SEEDED_PASSWORD),
        _ => target_shows(answers, cause),
    }
}

fn target_shows(answers: &Answers<'_>, cause: &str) -> Result<()> {
    let (lab, user) = (answers.lab, answers.user);
    match cause {
        "target.disabled" => answers.signs_in(Err("533")),
        "target.locked" => {
            answers.signs_in(Err("775"))?;
            answers.accepts(NEW_PASSWORD)?;
            ensure!(lab.bind(&user.upn, NEW_PASSWORD)? == Err("775".to_owned()), "a reset alone unlocked it");
            Ok(())
        }
        "target.expired" => answers.signs_in(Err("701")),
        "target.not_found" => {
            ensure!(answers.seen_by_connector(&format!("(sAMAccountName={})", user.sam))? == 0);
            // who knows the GUID or the DN may still write: hiding hinders searches only
            answers.codes(0, 0, 0)
        }
        "target.out_of_scope" => {
            let found = lab.search(
                lab.administrator(),
                lab.base_dn(),
                &[&format!("(sAMAccountName={})", user.sam), "cn"],
            )?;
            ensure!(found.first().context("it is gone")?.dn.contains("OU=Outside"));
            answers.codes(50, 50, 50)
        }
        "target.deleted" => {
            ensure!(answers.seen_by_connector(&format!("(sAMAccountName={})", user.sam))? == 0);
            let deleted = ["-E", "!1.2.840.113556.1.4.417", &format!("(sAMAccountName={})", user.sam), "cn"];
            ensure!(lab.search(answers.connector(), lab.base_dn(), &deleted)?.len() == 1);
            answers.codes(32, 32, 32)
        }
        "target.duplicate_anchor" => {
            let bytes = lab.attribute_bytes(&user.dn, "objectGUID")?.context("no objectGUID")?;
            let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
            ensure!(answers.seen_by_connector(&format!("(mS-DS-ConsistencyGuid={escaped})"))? == 1);
            Ok(())
        }
        "target.duplicate_proxy_address" => {
            let filter = format!("(proxyAddresses=smtp:shared-{}@*)", user.sam);
            ensure!(answers.seen_by_connector(&filter)? == 2);
            Ok(())
        }
        "target.duplicate_upn" => {
            ensure!(answers.seen_by_connector(&format!("(userPrincipalName={})", user.upn))? == 2);
            Ok(())
        }
        "target.duplicate_upn:mail" => {
            let filter = format!("(|(userPrincipalName={0})(&(!(userPrincipalName=*))(mail={0})))", user.upn);
            ensure!(answers.seen_by_connector(&filter)? == 2);
            Ok(())
        }
        "target.reserved_characters" => {
            ensure!(answers.seen_by_connector(&format!("(userPrincipalName={}%&co@*)", user.sam))? == 1);
            Ok(())
        }
        "target.no_mail" => {
            ensure!(lab.attribute(&user.dn, "mail")?.is_none());
            Ok(())
        }
        _ => bail!("this test does not know {cause}"),
    }
}

/// What `openssl s_client` says of the certificate; `None` when nothing comes within three seconds.
fn tls(lab: &Lab) -> Result<Option<String>> {
    let mut command = Command::new("timeout");
    command.args(["3", "openssl", "s_client", "-connect", &lab.ldaps().to_string()]);
    command.args(["-verify_hostname", lab.fqdn(), "-CAfile"]).arg(lab.ca_file()).stdin(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = text.lines().rev().find(|line| line.trim_start().starts_with("Verify return code"));
    Ok(verdict.map(|line| line.trim().to_owned()))
}

/// The DC's clock, in seconds within a day, so that only differences of some minutes may be compared.
fn clock(lab: &Lab) -> Result<i64> {
    let time = lab.attribute("", "currentTime")?.context("no currentTime")?;
    let part =
        |from: usize| time.get(from..from + 2).context("no time").and_then(|two| Ok(two.parse::<i64>()?));
    Ok(part(8)? * 3600 + part(10)? * 60 + part(12)?)
}

fn domain_shows(lab: &Lab, cause: &str, clock_before: i64) -> Result<()> {
    let (name, password) = lab.connector();
    let data = |expected: &str| {
        let got = lab.bind(name, password)?;
        ensure!(got == Err(expected.to_owned()), "bind: {got:?}");
        Ok(())
    };
    let certificate = |expected: &str| {
        let got = tls(lab)?.context("no TLS")?;
        ensure!(got.contains(expected), "{got}");
        Ok(())
    };
    match cause {
        "connector.bind_failed" => data("52e"),
        "connector.disabled" => data("533"),
        "connector.locked" => data("775"),
        "connector.password_expired" => data("532"),
        "dc.unreachable" => {
            ensure!(TcpStream::connect(lab.ldaps()).is_err());
            Ok(())
        }
        "dc.unreachable:frozen" => {
            TcpStream::connect(lab.ldaps())?;
            ensure!(tls(lab)?.is_none());
            Ok(())
        }
        "dc.tls_untrusted" => certificate("unable to verify the first certificate"),
        "dc.tls_expired" => certificate("certificate has expired"),
        "dc.tls_name_mismatch" => certificate("ostname mismatch"),
        "dc.clock_skew" => {
            let ahead = (clock(lab)? - clock_before).rem_euclid(86400);
            ensure!((590..660).contains(&ahead), "{ahead} s ahead");
            Ok(())
        }
        _ => bail!("this test does not know {cause}"),
    }
}

fn make_each(samba: Samba, wanted: Hits) -> Result<()> {
    let lab = Lab::private(samba, &[])?;
    for breakage in Lab::breakages()?.into_iter().filter(|breakage| breakage.hits == Some(wanted)) {
        let cause = breakage.cause.as_str();
        let user = lab.add_user("break")?;
        let answers = Answers { lab: &lab, user: &user, samba };
        let (before, clock_before) = (Dump::of(&lab)?, clock(&lab)?);
        let one_user = wanted == Hits::User || cause.starts_with("rights.") || cause.starts_with("policy.");
        let broken = lab.break_(cause, one_user.then_some(&user))?;
        // what shows the cause also writes, where that is allowed; so the bytes are compared in a second round
        let shows = if one_user {
            user_shows(&answers, cause, &broken)
        } else {
            domain_shows(&lab, cause, clock_before)
        };
        shows.with_context(|| format!("{cause} on {samba:?}"))?;
        broken.mend().with_context(|| format!("{cause} on {samba:?}"))?;
        answers.accepts("Mended-Pass-0043!").with_context(|| format!("{cause} mended on {samba:?}"))?;
        ensure!(lab.kinit(&user.sam, "Mended-Pass-0043!")?, "{cause} mended on {samba:?}: no ticket");

        let untouched = lab.add_user("break")?;
        let before_second = Dump::of(&lab)?;
        ensure!(before.objects() + 1 == before_second.objects(), "{cause} on {samba:?} leaves an object");
        let broken = lab.break_(cause, one_user.then_some(&untouched))?;
        drop(lab.break_(cause, one_user.then_some(&untouched))); // breaking twice is one breakage
        broken.mend()?;
        let differ = differences(&before_second, &Dump::of(&lab)?);
        ensure!(differ.is_empty(), "{cause} on {samba:?}: {}", differ.join("\n"));
    }
    Ok(())
}

#[test]
fn each_cause_of_a_user_shows_on_samba_4_24_and_is_mended_to_the_byte() -> Result<()> {
    make_each(Samba::V4_24, Hits::User)
}

#[test]
fn each_cause_of_a_user_shows_on_samba_4_17_and_is_mended_to_the_byte() -> Result<()> {
    make_each(Samba::Host, Hits::User)
}

#[test]
fn each_cause_of_a_domain_shows_on_samba_4_24_and_is_mended_to_the_byte() -> Result<()> {
    make_each(Samba::V4_24, Hits::Domain)
}

#[test]
fn each_cause_of_a_domain_shows_on_samba_4_17_and_is_mended_to_the_byte() -> Result<()> {
    make_each(Samba::Host, Hits::Domain)
}

#[test]
fn faults_of_one_user_may_be_mended_in_any_order() -> Result<()> {
    let lab = Lab::private(Samba::V4_24, &[])?;
    let (user, other) = (lab.add_user("break")?, lab.add_user("break")?);
    let before = Dump::of(&lab)?;
    let answers = Answers { lab: &lab, user: &user, samba: Samba::V4_24 };
    let reset = lab.break_("rights.reset_missing", Some(&user))?;
    let lockout = lab.break_("rights.unlock_attribute_missing", Some(&user))?;
    let others = lab.break_("rights.reset_missing", Some(&other))?;
    let length = lab.break_("policy.length", Some(&user))?;
    let complexity = lab.break_("policy.complexity", Some(&user))?;
    let deny = lab.break_("rights.deny_ace", Some(&user))?;
    answers.codes(50, 50, 0)?;
    reset.mend()?;
    answers.codes(50, 50, 0)?;
    deny.mend()?;
    answers.refuses("Short-Pass9!", "too short")?;
    length.mend()?;
    answers.refuses("onlysmalllettersandnothingelse", "complexity")?;
    ensure!(answers.write("lockoutTime")?.context("accepted")?.code == 50);
    let theirs = Answers { lab: &lab, user: &other, samba: Samba::V4_24 };
    ensure!(theirs.reset(NEW_PASSWORD)?.context("accepted")?.code == 50);
    lockout.mend()?;
    drop((complexity, others));
    let ours = |line: &String| !line.contains(&user.sam); // its pwdLastSet was written to on purpose
    let differ: Vec<_> = differences(&before, &Dump::of(&lab)?).into_iter().filter(ours).collect();
    ensure!(differ.is_empty(), "{}", differ.join("\n"));
    answers.accepts("Short-Pass9!")
}

#[test]
fn a_read_only_dc_refers_to_a_writable_one() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::private(samba, &[])?;
        let user = lab.add_user("break")?;
        let join = ["--join", lab.env("AD_DIR"), "--rodc", "--host", "dcro"];
        let read_only = Lab::private(samba, &join)?;
        let (name, password) = read_only.connector();
        let rejected = read_only.reset(Account { name, password }, &user.dn, NEW_PASSWORD, false)?;
        let rejected = rejected.context("a read-only DC took a reset")?;
        ensure!(rejected.code == 10 && rejected.text.contains("0000202B: Referral error"), "{rejected:?}");
    }
    Ok(())
}

#[test]
fn every_cause_is_listed_and_a_wrong_word_gets_one_sentence() -> Result<()> {
    let listed: BTreeSet<String> = Lab::breakages()?.into_iter().map(|breakage| breakage.cause).collect();
    let missing: Vec<_> = Cause::ALL.iter().filter(|cause| !listed.contains(cause.id())).collect();
    ensure!(missing.is_empty(), "lab/break --list lacks {missing:?}");
    let unknown = listed.iter().filter(|cause| {
        let id = cause.split(':').next().unwrap_or_default();
        Cause::try_from(id.to_owned()).is_err()
    });
    ensure!(unknown.count() == 0);
    let lab = Lab::shared(Samba::V4_24)?;
    for (words, sentence) in [
        (["rights.nonsense", "ada"], "there is no cause rights.nonsense (see lab/break --list)"),
        (["rights.deny_ace", "nobody"], "there is no user nobody"),
        (["dc.busy", "ada"], "dc.busy cannot be shown by the lab"),
    ] {
        let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut command = Command::new(format!("{project}/lab/break"));
        let output = command.args(words).args(["--dir", lab.env("AD_DIR")]).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(2) && said.lines().count() == 1, "{said}");
        ensure!(said.contains(sentence), "{said}");
    }
    Ok(())
}
