//! What people prove themselves with: registered, used and removed, as a person does it, against a real directory.

mod support;

use anyhow::{Context, Result, ensure};
use keyback_testkit::browser::{Browser, Page};
use keyback_testkit::lab::{Lab, SEEDED_PASSWORD, Samba, TestUser};
use keyback_testkit::phone::Phone;
use keyback_testkit::walk::{Mailbox, end_of, job_of, prove};
use std::time::Duration;
use support::Keyback;

/// How long a mail is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// Through the name, the mailed code and the password; the page of methods.
fn sign_in(keyback: &mut Keyback, browser: &mut Browser, user: &TestUser) -> Result<Page> {
    let page = prove(browser, "register", &user.sam, &user.mail, &mut keyback.sink)?;
    let page = browser.submit(&page.form()?.fill("current", SEEDED_PASSWORD)?)?;
    ensure!(page.path == "/register/methods", "{} {}", page.path, page.words());
    Ok(page)
}

/// The key that the page of an app shows, and the page.
fn open_app_page(browser: &mut Browser) -> Result<(Phone, Page)> {
    let page = browser.open("/register/app")?;
    let form = page.form_to("/register/app")?;
    let seed = String::from_utf8(form.fields.get("seed").context("a seed")?.clone())?;
    Ok((Phone::new(&seed)?, page))
}

fn add_app(browser: &mut Browser) -> Result<Phone> {
    let (phone, page) = open_app_page(browser)?;
    let form = page.form_to("/register/app")?.fill("code", phone.code(0)?)?.fill("name", "Ada's <phone>")?;
    let page = browser.submit(&form)?;
    ensure!(page.words().contains("Added."), "{}", page.words());
    ensure!(page.words().contains("Ada's <phone>"), "{}", page.words());
    Ok(phone)
}

fn make_sheet(browser: &mut Browser) -> Result<Vec<String>> {
    let form = browser.open("/register/methods")?.form_to("/register/sheet")?;
    let page = browser.submit(&form)?;
    let text = page.text();
    let codes: Vec<String> = text
        .split("<li><code>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</code>").map(|(code, _)| code.to_owned()))
        .collect();
    ensure!(codes.len() == 10, "{}", page.words());
    ensure!(page.header("cache-control") == Some("no-store"));
    Ok(codes)
}

/// Names the user with the second button; the page that wants a code of something held.
fn begin_held(browser: &mut Browser, operation: &str, user: &str) -> Result<Page> {
    let mut form = browser.open(&format!("/{operation}"))?.form()?.fill("user", user)?;
    form.action = format!("/{operation}?by=app");
    browser.submit(&form)
}

fn type_code(browser: &mut Browser, page: &Page, code: &str) -> Result<Page> {
    browser.submit(&page.form()?.fill("code", code)?)
}

fn set_password(browser: &mut Browser, page: &Page, new: &str) -> Result<Page> {
    let answer = browser.submit_only(&page.form()?.fill("new", new)?.fill("repeat", new)?)?;
    end_of(browser, &job_of(&answer)?)
}

#[test]
fn an_app_is_registered_and_resets_a_password_and_each_code_counts_once() -> Result<()> {
    for samba in Samba::ALL {
        let lab = Lab::shared(samba)?;
        let mut keyback = Keyback::start(&lab)?;
        let user = lab.add_user("app")?;
        let mut browser = keyback.browser()?;
        sign_in(&mut keyback, &mut browser, &user)?;

        let (phone, page) = open_app_page(&mut browser)?;
        ensure!(
            page.text().contains("<svg") && !page.text().contains("style="),
            "a picture under the strict policy"
        );
        let form = page.form_to("/register/app")?.fill("code", phone.code(-405)?)?;
        let late = browser.submit(&form)?;
        assert_eq!(late.status, 422);
        assert!(late.words().contains("The clock of your phone is 7 minutes behind"), "{}", late.words());
        assert_eq!(keyback.outcome_for(&user.sam)?["cause"], "proof.clock_off");
        let wrong = browser.submit(&late.form_to("/register/app")?.fill("code", "12345")?)?;
        assert!(wrong.words().contains("The app shows 6 digits"), "{}", wrong.words());
        let phone = add_app(&mut browser)?;

        let mut browser = keyback.browser()?;
        let page = begin_held(&mut browser, "reset", &user.sam)?;
        let late = type_code(&mut browser, &page, &phone.code(915)?)?;
        assert!(late.words().contains("minutes ahead"), "{}", late.words());
        let code = phone.code(30)?;
        let page = type_code(&mut browser, &late, &code)?;
        ensure!(page.path == "/reset/password", "{} {}", page.path, page.words());
        let end = set_password(&mut browser, &page, "Held-Pass-1!")?;
        assert!(end.words().contains("works now"), "{}", end.words());
        assert!(lab.kinit(&user.sam, "Held-Pass-1!")?);

        let mut other = keyback.browser()?;
        let page = begin_held(&mut other, "reset", &user.sam)?;
        let again = type_code(&mut other, &page, &code)?;
        assert!(again.words().contains("used already"), "{}", again.words());
        assert_eq!(keyback.outcome_for(&user.sam)?["cause"], "proof.code_used");
        // Nor after a crash, nor with an older copy of the store.
        keyback.kill()?;
        keyback.serve(&[])?;
        let again = type_code(&mut other, &again, &code)?;
        assert!(again.words().contains("used already"), "{}", again.words());
        assert!(!keyback.log().contains(&code), "a code stands in the log");
        let (status, _) = keyback.json(&["audit", "verify"])?;
        assert_eq!(status, 0);
    }
    Ok(())
}

#[test]
fn recovery_codes_are_shown_once_and_count_once_and_a_new_sheet_ends_the_old() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("sheet")?;
    let mut browser = keyback.browser()?;
    sign_in(&mut keyback, &mut browser, &user)?;
    let old = make_sheet(&mut browser)?;
    let sheet = make_sheet(&mut browser)?;
    assert!(!browser.open("/register/methods")?.text().contains(&sheet[0]), "shown once");
    // Whoever has something must use it: the mailed code alone does not open the page of methods any more.
    let mut stranger = keyback.browser()?;
    let page = prove_half(&mut keyback, &mut stranger, &user)?;
    assert!(page.words().contains("This needs one more"), "{}", page.words());
    assert_eq!(stranger.open("/register/password")?.path, "/register/code");
    let page = type_code(&mut stranger, &page, &sheet[9].to_uppercase())?;
    assert_eq!(page.path, "/register/password", "{}", page.words());

    let mut browser = keyback.browser()?;
    let page = begin_held(&mut browser, "reset", &user.upn)?;
    let page = type_code(&mut browser, &page, &old[0])?;
    assert!(page.words().contains("That code is not right"), "{}", page.words());
    let page = type_code(&mut browser, &page, &sheet[0])?;
    let end = set_password(&mut browser, &page, "Sheet-Pass-1!")?;
    assert!(end.words().contains("works now"), "{}", end.words());
    let mut browser = keyback.browser()?;
    let page = begin_held(&mut browser, "unlock", &user.upn)?;
    let page = type_code(&mut browser, &page, &sheet[0])?;
    assert!(page.words().contains("used already"), "{}", page.words());
    let page = type_code(&mut browser, &page, &sheet[1].replace('-', ""))?;
    assert_eq!(page.path, "/unlock/confirm", "{}", page.words());
    for file in support::files(&keyback.folder)? {
        let bytes = std::fs::read(&file)?;
        for code in &sheet {
            let plain = code.replace('-', "");
            let found = [code.as_str(), &plain]
                .iter()
                .any(|code| bytes.windows(code.len()).any(|part| part == code.as_bytes()));
            assert!(!found, "a recovery code lies in {}", file.display());
        }
    }
    Ok(())
}

/// Names the user and types the mailed code; the page that comes then.
fn prove_half(keyback: &mut Keyback, browser: &mut Browser, user: &TestUser) -> Result<Page> {
    while keyback.sink.take_code(&user.mail)?.is_some() {}
    let ask = browser.open("/register")?;
    let page = browser.submit(&ask.form()?.fill("user", &user.sam)?)?;
    let code = mailed_code(keyback, user)?;
    type_code(browser, &page, &code)
}

#[test]
fn a_removed_method_counts_no_more_and_a_tested_code_is_used_up() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("gone")?;
    let mut browser = keyback.browser()?;
    sign_in(&mut keyback, &mut browser, &user)?;
    let phone = add_app(&mut browser)?;
    let tested = |browser: &mut Browser, code: &str| -> Result<String> {
        let form = browser.open("/register/methods")?.form_to("/register/test")?.fill("code", code)?;
        Ok(browser.submit(&form)?.words())
    };
    let code = phone.code(30)?;
    assert!(tested(&mut browser, &code)?.contains("That code was right."));
    assert!(tested(&mut browser, &code)?.contains("used already"));
    assert!(tested(&mut browser, "12345678")?.contains("That is not such a code."));

    // Somebody keeps the store as it was.
    keyback.terminate()?;
    let store = keyback.folder.join("keyback.db");
    std::fs::copy(&store, keyback.folder.join("kept"))?;
    keyback.serve(&[])?;
    let form = browser.open("/register/methods")?.form_to("/register/remove")?;
    let page = browser.submit(&form)?;
    assert!(page.words().contains("Removed."), "{}", page.words());
    assert!(!page.words().contains("Ada's <phone>"), "{}", page.words());
    keyback.terminate()?;
    std::fs::copy(keyback.folder.join("kept"), &store)?;
    for left in ["keyback.db-wal", "keyback.db-shm"] {
        let _ = std::fs::remove_file(keyback.folder.join(left));
    }
    keyback.serve(&[])?;
    let mut other = keyback.browser()?;
    let page = begin_held(&mut other, "reset", &user.sam)?;
    let page = type_code(&mut other, &page, &phone.code(0)?)?;
    assert!(page.words().contains("That code is not right"), "{}", page.words());
    Ok(())
}

#[test]
fn the_password_is_tried_after_another_proof_only_and_never_up_to_a_lockout() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("spray")?;
    let counted = || lab.attribute(&user.dn, "badPwdCount").map(Option::unwrap_or_default);
    // Without a proof there is no page that takes a password.
    let mut browser = keyback.browser()?;
    assert_eq!(browser.open("/register/password")?.path, "/register");
    let page = prove(&mut browser, "register", &user.sam, &user.mail, &mut keyback.sink)?;
    let form = page.form()?.fill("current", "Not-The-Password-1!")?;
    let mut said = Vec::new();
    let mut form = form;
    for _ in 0..5 {
        let page = browser.submit(&form)?;
        said.push(page.words().contains("That is not your password"));
        let Ok(next) = page.form() else { break };
        form = next.fill("current", "Not-The-Password-1!")?;
    }
    assert_eq!(said, [true, true, true, false, false]);
    assert_eq!(counted()?, "3");
    assert_eq!(lab.bind(&user.upn, SEEDED_PASSWORD)?, Ok(()), "the account is not locked");
    let row = keyback.outcome_for(&user.sam)?;
    assert_eq!(row["activityDisplayName"], "User started security info registration", "{row}");
    assert_eq!(row["cause"], "proof.password_tries", "{row}");
    Ok(())
}

#[test]
fn whoever_is_not_there_sees_what_somebody_without_an_app_sees() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = Keyback::start(&lab)?;
    let user = lab.add_user("none")?;
    let mut seen = Vec::new();
    for name in [user.sam.as_str(), "nobody-of-that-name"] {
        let mut browser = keyback.browser()?;
        let page = begin_held(&mut browser, "reset", name)?;
        let wrong = type_code(&mut browser, &page, "123456")?;
        let sheet = type_code(&mut browser, &wrong, "abcd-efgh-ijkm-npqr")?;
        let words = |page: &Page| page.words().split("quote this number").next().map(str::to_owned);
        seen.push((words(&page), wrong.status, words(&wrong), sheet.status, words(&sheet)));
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}

/// A keyback whose agent has this section.
fn with_proof(lab: &Lab, section: &str) -> Result<Keyback> {
    let mut keyback = Keyback::init(lab)?;
    keyback.edit(|text| text.replace("[agent.mail]", &format!("{section}\n\n[agent.mail]")))?;
    keyback.serve(&[])?;
    Ok(keyback)
}

fn mailed_code(keyback: &Keyback, user: &TestUser) -> Result<String> {
    let mail = keyback.sink.wait_for(&user.mail, LIMIT, |mail| mail.code().is_some());
    keyback.runtime.block_on(mail)?.code().context("a code")
}

#[test]
fn where_two_ways_are_needed_one_is_not_enough_in_either_order() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = with_proof(&lab, "[agent.proof]\nneeded = 2")?;
    let user = lab.add_user("two")?;
    let mut browser = keyback.browser()?;
    sign_in(&mut keyback, &mut browser, &user)?;
    let phone = add_app(&mut browser)?;
    let sheet = make_sheet(&mut browser)?;

    let mut browser = keyback.browser()?;
    while keyback.sink.take_code(&user.mail)?.is_some() {}
    let ask = browser.open("/reset")?;
    let page = browser.submit(&ask.form()?.fill("user", &user.sam)?)?;
    let code = mailed_code(&keyback, &user)?;
    let page = type_code(&mut browser, &page, &code)?;
    assert!(page.words().contains("This needs one more"), "{}", page.words());
    assert_eq!(browser.open("/reset/password")?.path, "/reset/code", "one is not enough");
    let again = type_code(&mut browser, &page, &code)?;
    assert!(again.path == "/reset/code", "the same once more is not another: {}", again.path);
    let page = type_code(&mut browser, &again, &phone.code(30)?)?;
    assert_eq!(page.path, "/reset/password", "{}", page.words());
    let end = set_password(&mut browser, &page, "Two-Ways-Pass-1!")?;
    assert!(end.words().contains("works now"), "{}", end.words());

    while keyback.sink.take_code(&user.mail)?.is_some() {}
    let mut browser = keyback.browser()?;
    let page = begin_held(&mut browser, "unlock", &user.sam)?;
    assert!(keyback.sink.take_code(&user.mail)?.is_none(), "no mail was wanted yet");
    let page = type_code(&mut browser, &page, &sheet[0])?;
    assert!(page.words().contains("This needs one more"), "{}", page.words());
    let page = type_code(&mut browser, &page, &mailed_code(&keyback, &user)?)?;
    assert_eq!(page.path, "/unlock/confirm", "{}", page.words());
    Ok(())
}

#[test]
fn a_way_that_is_not_accepted_is_answered_like_a_wrong_code_and_named_to_the_administrator() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = with_proof(&lab, "[agent.proof]\nmethods = [\"totp\", \"recovery\"]")?;
    let user = lab.add_user("way")?;
    let mut browser = keyback.browser()?;
    let ask = browser.open("/reset")?;
    let page = browser.submit(&ask.form()?.fill("user", &user.sam)?)?;
    assert!(page.words().contains("If this account can be helped here"), "{}", page.words());
    let row = keyback.outcome_for(&user.sam)?;
    assert_eq!(row["cause"], "proof.way_not_allowed", "{row}");
    let page = type_code(&mut browser, &page, "12345678")?;
    assert!(page.words().contains("That code is not right"), "{}", page.words());
    let (status, document) = keyback.json(&["check"])?;
    assert_eq!(status, 0, "{document}");
    keyback.edit(|text| text.replace("methods = [\"totp\"", "needed = 3\nmethods = [\"totp\""))?;
    let refused = keyback.command(&["check"])?;
    assert!(!refused.status.success());
    Ok(())
}

#[test]
fn what_is_added_beside_something_counts_later_and_each_change_is_mailed() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let mut keyback = Keyback::start(&lab)?;
    let user = lab.add_user("freeze")?;
    let mut browser = keyback.browser()?;
    sign_in(&mut keyback, &mut browser, &user)?;
    let phone = add_app(&mut browser)?;
    let told = |what: &str| {
        let mail = keyback.sink.wait_for(&user.mail, LIMIT, |mail| mail.text().contains(what));
        keyback.runtime.block_on(mail).map(|mail| mail.text())
    };
    let mail = told("An authenticator app was added")?;
    assert!(!mail.contains("code:"), "{mail}");

    let mut browser = keyback.browser()?;
    let page = begin_held(&mut browser, "register", &user.sam)?;
    let page = type_code(&mut browser, &page, &phone.code(30)?)?;
    let page = browser.submit(&page.form()?.fill("current", SEEDED_PASSWORD)?)?;
    assert_eq!(page.path, "/register/methods", "{}", page.words());
    let sheet = make_sheet(&mut browser)?;
    told("Recovery codes were made")?;
    assert!(browser.open("/register/methods")?.words().contains("New. Counts from:"));
    let mut other = keyback.browser()?;
    let page = begin_held(&mut other, "reset", &user.sam)?;
    let page = type_code(&mut other, &page, &sheet[0])?;
    assert!(page.words().contains("you added this only lately"), "{}", page.words());
    assert_eq!(keyback.outcome_for(&user.sam)?["cause"], "proof.method_frozen");
    let form = browser.open("/register/methods")?.form_to("/register/remove")?;
    browser.submit(&form)?;
    told("was removed")?;
    Ok(())
}

#[test]
fn an_administrator_brings_tokens_all_of_them_or_none() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = with_proof(&lab, "[agent.proof]\nfreeze_hours = 0")?;
    let user = lab.add_user("token")?;
    let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXQ";
    let file = keyback.folder.join("tokens.csv");
    let import = |lines: &str, more: &[&str]| -> Result<(i32, serde_json::Value)> {
        std::fs::write(&file, format!("user,method,value\n{lines}"))?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        keyback.json(&[&["person", "import", &file.display().to_string()], more].concat())
    };
    let good = format!("{},totp,{key}\n", user.sam);
    let bad = format!("{good}nobody-of-that-name,totp,{key}\noutsider,totp,{key}\n{},totp,JBSW\n", user.sam);
    let (status, report) = import(&bad, &[])?;
    assert_eq!((status, report["imported"].as_u64()), (1, Some(0)), "{report}");
    let lines: Vec<_> =
        report["problems"].as_array().context("problems")?.iter().map(|one| &one["line"]).collect();
    assert_eq!(lines, [3, 4, 5], "{report}");
    assert!(!report.to_string().contains(key));
    assert_eq!(import(&good, &["--check"])?.1["imported"], 0);
    let mut browser = keyback.browser()?;
    let phone = Phone::new(key)?;
    let page = begin_held(&mut browser, "reset", &user.sam)?;
    let page = type_code(&mut browser, &page, &phone.code(0)?)?;
    assert!(page.words().contains("That code is not right"), "nothing was done: {}", page.words());

    let (status, report) = import(&good, &[])?;
    assert_eq!(
        (status, report["imported"].as_u64(), &report["not_told"]),
        (0, Some(1), &serde_json::json!([]))
    );
    let mail = keyback.sink.wait_for(&user.mail, LIMIT, |mail| mail.text().contains("registered a token"));
    keyback.runtime.block_on(mail)?;
    let page = type_code(&mut browser, &page, &phone.code(0)?)?;
    assert_eq!(page.path, "/reset/password", "{}", page.words());
    let rows = keyback.json(&["audit", "list"])?.1;
    let imported = |row: &&serde_json::Value| row["activityDisplayName"] == "Admin registered security info";
    assert_eq!(rows.as_array().context("rows")?.iter().filter(imported).count(), 1);
    assert_eq!(keyback.json(&["audit", "verify"])?.0, 0);
    Ok(())
}

#[test]
fn a_pass_lets_somebody_in_once_who_has_nothing_else() -> Result<()> {
    let lab = Lab::shared(Samba::V4_24)?;
    let keyback = Keyback::start(&lab)?;
    let user = lab.add_user("pass")?;
    assert_eq!(keyback.command(&["pass", "create", "outsider"])?.status.code(), Some(1), "out of scope");
    let (status, document) = keyback.json(&["pass", "create", &user.sam])?;
    assert_eq!((status, &document["told"]), (0, &serde_json::json!(true)), "{document}");
    let pass = document["pass"].as_str().context("a pass")?;
    let mail = keyback.sink.wait_for(&user.mail, LIMIT, |mail| mail.text().contains("made a pass"));
    let mail = keyback.runtime.block_on(mail)?;
    assert!(!mail.text().contains(pass));
    let mut browser = keyback.browser()?;
    let page = begin_held(&mut browser, "reset", &user.sam)?;
    let page = type_code(&mut browser, &page, pass)?;
    assert_eq!(page.path, "/reset/password", "{}", page.words());
    let end = set_password(&mut browser, &page, "Passed-In-1!")?;
    assert!(end.words().contains("works now"), "{}", end.words());
    let mut again = keyback.browser()?;
    let page = begin_held(&mut again, "reset", &user.sam)?;
    let page = type_code(&mut again, &page, pass)?;
    assert!(page.words().contains("That code is not right"), "{}", page.words());
    Ok(())
}
