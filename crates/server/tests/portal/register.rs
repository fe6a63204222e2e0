//! `/register`: what a person sees and what the agent is asked.

use crate::Tested;
use crate::agent::{APP_CODE, CODE, PASSWORD};
use crate::site::{Browser, Site};
use axum::http::StatusCode;
use std::error::Error;

async fn signed_in(site: &Site) -> Result<Browser, Box<dyn Error>> {
    let mut browser = site.proven("register").await?;
    let answer = browser.send_form("/register/password", &[("current", PASSWORD)]).await?;
    assert_eq!((answer.status, answer.location().as_str()), (StatusCode::SEE_OTHER, "/register/methods"));
    Ok(browser)
}

fn value_of(name: &str, body: &str) -> String {
    let (_, rest) = body.split_once(&format!("name=\"{name}\" value=\"")).expect("a field");
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_app_is_added_named_and_removed() -> Tested {
    let site = Site::new().await?;
    let mut browser = signed_in(&site).await?;
    let empty = browser.get("/register/methods").await?;
    assert!(empty.body.contains("You have none yet") && empty.body.contains("a•••@mail.example"));
    let page = browser.get("/register/app").await?;
    assert!(page.body.len() < 40_000, "{} bytes", page.body.len());
    let seed = value_of("seed", &page.body);
    assert_ne!(seed, value_of("seed", &browser.get("/register/app").await?.body), "a new one each time");
    assert!(page.body.contains("<svg") && !page.body.contains("style="), "a picture under the strict policy");
    for (code, name, said) in [
        ("12345", "My phone", "The app shows 6 digits"),
        ("111111", "My phone", "That is not the code of this key"),
        ("700000", "My phone", "The clock of your phone is 7 minutes behind"),
        (APP_CODE, "a\nb", "Give it a name"),
    ] {
        let fields = [("seed", seed.as_str()), ("code", code), ("name", name)];
        let answer = browser.send_form("/register/app", &fields).await?;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{code}");
        assert!(answer.body.contains(said), "{}", answer.body);
        assert_eq!(value_of("seed", &answer.body), seed, "the app has this key already");
    }
    let short = [("seed", "JBSWY3DP"), ("code", APP_CODE), ("name", "x")];
    assert_eq!(browser.send_form("/register/app", &short).await?.status, StatusCode::BAD_REQUEST);
    let fields = [("seed", seed.as_str()), ("code", APP_CODE), ("name", "<Anna’s phone>")];
    let answer = browser.send_form("/register/app", &fields).await?;
    assert_eq!(answer.location(), "/register/methods?added");
    let list = browser.get("/register/methods?added").await?;
    assert!(list.body.contains("&#60;Anna’s phone&#62;") && list.body.contains("Added."), "{}", list.body);
    let used = browser.send_form("/register/test", &[("code", APP_CODE)]).await?;
    assert!(used.body.contains("used already"), "{}", used.body);

    let id = value_of("method", &list.body);
    let strange = [("method", "01234567-89ab-4cde-8f01-23456789abcd")];
    assert_eq!(browser.send_form("/register/remove", &strange).await?.location(), "/register/methods");
    let answer = browser.send_form("/register/remove", &[("method", &id)]).await?;
    assert_eq!(answer.location(), "/register/methods?removed");
    assert!(browser.get("/register/methods").await?.body.contains("You have none yet"));
    let asked = site.agent.asked();
    assert_eq!(asked.iter().filter(|asked| *asked == "remove").count(), 1, "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_sheet_is_shown_once_and_takes_the_place_of_the_one_before() -> Tested {
    let site = Site::new().await?;
    let mut browser = signed_in(&site).await?;
    for _ in 0..2 {
        browser.get("/register/methods").await?;
        let sheet = browser.send_form("/register/sheet", &[]).await?;
        assert_eq!((sheet.status, sheet.body.matches("<li><code>").count()), (StatusCode::OK, 10));
        assert_eq!(sheet.header("cache-control"), "no-store");
    }
    let list = browser.get("/register/methods").await?;
    assert_eq!(list.body.matches("name=\"method\"").count(), 1, "{}", list.body);
    assert!(list.body.contains("Make new recovery codes") && !list.body.contains("<li><code>"));
    Ok(())
}

#[tokio::test]
async fn nobody_comes_here_without_the_code_and_the_password() -> Tested {
    let site = Site::new().await?;
    let mut stranger = site.browser();
    for path in ["/register/methods", "/register/app", "/register/password"] {
        assert_eq!(stranger.get(path).await?.location(), "/register", "{path}");
    }
    // A flow for another purpose is no way in; nor is one without the password.
    let mut other = site.proven("reset").await?;
    assert_eq!(other.get("/register/methods").await?.location(), "/register");
    let mut proven = site.proven("register").await?;
    assert_eq!(proven.get("/register/methods").await?.location(), "/register");
    for path in ["/register/app", "/register/sheet", "/register/test", "/register/remove"] {
        let answer = proven.send_form(path, &[]).await?;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    proven.get("/register/password").await?;
    let wrong = proven.send_form("/register/password", &[("current", "Not-It-1!")]).await?;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.body.contains("That is not your password"), "{}", wrong.body);
    let asked = site.agent.asked();
    assert!(!asked.iter().any(|asked| asked.starts_with("add") || asked == "remove"), "{asked:?}");
    // A form of another site has no token.
    let mut browser = signed_in(&site).await?;
    let forged = browser.post("/register/sheet", &[("token", "x")]).await?;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    Ok(())
}

#[tokio::test]
async fn who_has_an_app_is_asked_for_its_code_and_nobody_else_is_told_apart() -> Tested {
    let site = Site::new().await?;
    let mut seen = Vec::new();
    for name in ["alice", "nobody"] {
        let mut browser = site.browser();
        browser.get("/reset").await?;
        let asked = browser.post("/reset?by=app", &[("user", name)]).await?;
        assert_eq!(asked.location(), "/reset/code");
        let page = browser.get("/reset/code").await?;
        assert!(page.body.contains("authenticator app"), "{}", page.body);
        // A mailed code is none here, and costs no try.
        let mailed = browser.send_form("/reset/code", &[("code", CODE)]).await?;
        assert!(mailed.body.contains("That is not such a code"), "{}", mailed.body);
        let wrong = browser.send_form("/reset/code", &[("code", "111111")]).await?;
        assert!(wrong.body.contains("That code is not right"), "{}", wrong.body);
        seen.push((page.body.len(), wrong.status, wrong.body.len()));
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}
