//! Each page as it stands. Ids and tokens are redacted by filters that check their form.

use crate::Tested;
use crate::agent::CODE;
use crate::site::{NEW, Site};
use keyback_codes::Cause;

fn redacted() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", "[id]");
    settings.add_filter("name=\"token\" value=\"[A-Za-z0-9_-]{22}\"", "name=\"token\" value=\"[token]\"");
    settings.add_filter("\\?v=[0-9a-f]{16}\"", "?v=[version]\"");
    settings
}

macro_rules! page {
    ($name:literal, $answer:expr) => {
        let answer = $answer;
        assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
        let text = format!("{}\n\n{}", answer.status, answer.body);
        redacted().bind(|| insta::assert_snapshot!($name, text));
    };
}

#[tokio::test]
async fn first_pages() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    page!("home", browser.get("/").await?);
    page!("ask_reset", browser.get("/reset").await?);
    page!("ask_change", browser.get("/change").await?);
    page!("ask_unlock", browser.get("/unlock").await?);
    page!("ask_wrong", browser.post("/reset", &[("user", "a\nb")]).await?);
    page!("not_found", browser.get("/nowhere").await?);
    page!("timed_out", browser.post("/reset/code", &[("token", "x"), ("code", CODE)]).await?);
    Ok(())
}

#[tokio::test]
async fn code_pages() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.asked("reset", "alice").await?;
    page!("code", browser.get("/reset/code").await?);
    page!("code_wrong", browser.send_form("/reset/code", &[("code", "00000000")]).await?);
    for _ in 0..3 {
        browser.send_form("/reset/code", &[("code", "00000000")]).await?;
    }
    page!("code_too_many", browser.send_form("/reset/code", &[("code", "00000000")]).await?);
    let mut browser = site.asked("reset", "alice").await?;
    browser.get("/reset/code").await?;
    site.agent.hold();
    page!("code_checking", browser.send_form("/reset/code", &[("code", CODE)]).await?);
    Ok(())
}

#[tokio::test]
async fn last_pages() -> Tested {
    let site = Site::new().await?;
    let mut reset = site.proven("reset").await?;
    page!("password_reset", reset.get("/reset/password").await?);
    page!("password_wrong", reset.send_form("/reset/password", &[("new", "x"), ("repeat", "y")]).await?);
    let mut change = site.proven("change").await?;
    page!("password_change", change.get("/change/password").await?);
    let mut unlock = site.proven("unlock").await?;
    page!("unlock_confirm", unlock.get("/unlock/confirm").await?);

    site.agent.hold();
    let begun = reset.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    let job = begun.location();
    page!("job_running", begun);
    site.agent.permits.add_permits(1000);
    site.settled().await;
    page!("job_succeeded", reset.get(&job).await?);
    site.agent.refuse(Some(Cause::PolicyHistory));
    let fields = [("current", "x"), ("new", NEW), ("repeat", NEW)];
    let job = change.send_form("/change/password", &fields).await?.location();
    site.settled().await;
    page!("job_refused", change.get(&job).await?);
    Ok(())
}
