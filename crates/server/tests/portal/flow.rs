//! From the first page to the last.

use crate::Tested;
use crate::agent::CODE;
use crate::site::{NEW, Site, form};
use axum::body::Body;
use axum::http::StatusCode;
use keyback_codes::Cause;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn a_reset_goes_from_the_name_to_the_new_password() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    for path in ["/", "/reset"] {
        assert_eq!(browser.get(path).await?.status, StatusCode::OK);
    }
    let mut browser = site.proven("reset").await?;
    let page = browser.get("/reset/password").await?;
    assert!(
        page.body.contains("a•••@mail.example"),
        "who has proved to be alice may read her masked address"
    );
    let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("content-location"), answer.location());
    assert!(answer.body.contains("We are setting your password"));
    site.settled().await;
    let ended = browser.get(&answer.location()).await?;
    assert!(ended.body.contains("Your new password works now."), "{}", ended.body);
    assert_eq!(site.agent.asked(), ["ask alice", &format!("check {CODE}"), &format!("reset {NEW}")]);
    Ok(())
}

#[tokio::test]
async fn a_change_sends_the_current_password_too() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("change").await?;
    let fields = [("current", "old one"), ("new", NEW), ("repeat", NEW)];
    let answer = browser.send_form("/change/password", &fields).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    site.settled().await;
    assert!(browser.get(&answer.location()).await?.body.contains("Your new password works now."));
    assert_eq!(site.agent.asked().last(), Some(&format!("change old one {NEW}")));
    Ok(())
}

#[tokio::test]
async fn an_unlock_is_one_button_after_the_code() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("unlock").await?;
    let answer = browser.send_form("/unlock/confirm", &[]).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    site.settled().await;
    assert!(browser.get(&answer.location()).await?.body.contains("Your account is unlocked."));
    let (_, json) = browser.get_json(&answer.location()).await?;
    assert_eq!(json["operation"], "unlock");
    assert_eq!(json["state"], "succeeded");
    Ok(())
}

/// Fault: a form is sent twice => one job
#[tokio::test]
async fn sending_the_form_again_joins_the_same_job() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    let fields = [("new", NEW), ("repeat", NEW)];
    let first = browser.send_form("/reset/password", &fields).await?;
    let second = browser.send_form("/reset/password", &fields).await?;
    assert_eq!((second.status, second.location()), (StatusCode::ACCEPTED, first.location()));
    site.settled().await;
    let third = browser.send_form("/reset/password", &[("new", "another"), ("repeat", "another")]).await?;
    assert_eq!((third.status, third.location()), (StatusCode::ACCEPTED, first.location()));
    assert!(third.body.contains("Your new password works now."));
    for path in ["/reset/code", "/reset/password"] {
        let answer = browser.get(path).await?;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, first.location()), "{path}");
    }
    assert_eq!(site.count("reset").await, 1);
    Ok(())
}

/// Fault: two requests for one user at once => one job
#[tokio::test]
async fn two_requests_for_one_user_share_the_open_job_and_the_second_is_told_so() -> Tested {
    let site = Site::new().await?;
    let (mut one, mut two) = (site.proven("reset").await?, site.proven("reset").await?);
    site.agent.hold();
    let first = one.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    let second =
        two.send_form("/reset/password", &[("new", "other-One-9"), ("repeat", "other-One-9")]).await?;
    assert_eq!(second.location(), first.location());
    site.agent.permits.add_permits(1);
    site.settled().await;
    assert!(one.get(&first.location()).await?.body.contains("Sign in to Windows with it."));
    assert!(two.get(&first.location()).await?.body.contains("use the one from the other request"));
    Ok(())
}

#[tokio::test]
async fn a_wrong_code_can_be_typed_again_and_after_five_the_flow_is_over() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.asked("reset", "alice").await?;
    browser.get("/reset/code").await?;
    let bad = browser.send_form("/reset/code", &[("code", "1234")]).await?;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(bad.alert(), "The code has 8 digits. Type it as it stands in the mail.");
    for _ in 0..4 {
        let wrong = browser.send_form("/reset/code", &[("code", "00000000")]).await?;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(wrong.alert().starts_with("That code is not right"), "{}", wrong.alert());
    }
    let last = browser.send_form("/reset/code", &[("code", "00000000")]).await?;
    assert!(last.alert().starts_with("Too many codes were wrong."), "{}", last.alert());
    let late = browser.send_form("/reset/code", &[("code", CODE)]).await?;
    assert!(late.alert().starts_with("Too many codes were wrong."), "the right code comes too late");
    assert_eq!(site.agent.asked().len(), 6, "what cannot be a code, and what comes too late, is not asked");
    Ok(())
}

#[tokio::test]
async fn a_known_and_an_unknown_user_read_the_same_bytes() -> Tested {
    let site = Site::new().await?;
    let mut seen: Vec<Vec<(u16, String)>> = Vec::new();
    for user in ["alice", "nobody"] {
        let mut browser = site.browser();
        let mut answers = vec![browser.post("/reset", &[("user", user)]).await?];
        site.settled().await;
        answers.push(browser.get("/reset/code").await?);
        for _ in 0..6 {
            answers.push(browser.send_form("/reset/code", &[("code", "99999999")]).await?);
        }
        answers.push(browser.get("/reset/code").await?);
        answers.push(browser.get("/reset/password").await?);
        // What differs from one flow to the next, whoever it is for.
        let correlation_id = answers[1]
            .body
            .split("quote this number:<br><code>")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        let (token, id) =
            (browser.token.clone().ok_or("no form")?, correlation_id.ok_or("no number")?.to_owned());
        let ticket = |text: &str| match text.split_once("__Host-keyback=") {
            Some((before, rest)) => format!("{before}__Host-keyback=COOKIE{}", &rest[43..]),
            None => text.to_owned(),
        };
        seen.push(
            answers
                .iter()
                .map(|answer| {
                    let mut headers: Vec<_> = answer
                        .headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                        .collect();
                    headers.sort();
                    let text = format!("{}\n\n{}", headers.join("\n"), answer.body);
                    let text = text.replace(&token, "TOKEN").replace(&id, "ID");
                    (answer.status.as_u16(), ticket(&text))
                })
                .collect(),
        );
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}

/// Fault: the mail gateway is down => nobody learns who exists
#[tokio::test]
async fn an_unreachable_directory_is_named_to_everybody_and_an_unreachable_mail_gateway_to_nobody() -> Tested
{
    let site = Site::new().await?;
    site.agent.retry_codes(Some(Cause::DcUnreachable));
    let mut browser = site.asked("reset", "alice").await?;
    let page = browser.get("/reset/code").await?;
    assert!(page.body.contains("Your organisation&#39;s directory does not answer yet"), "{}", page.body);
    assert!(page.body.contains("another 5 minutes"), "{}", page.body);
    site.agent.retry_codes(Some(Cause::MailUnreachable));
    let mut browser = site.asked("reset", "alice").await?;
    let page = browser.get("/reset/code").await?;
    assert!(page.body.contains("If this account can be helped here"), "only a user who is there gets mail");
    Ok(())
}

#[tokio::test]
async fn the_code_page_says_when_the_directory_could_not_be_reached_in_time() -> Tested {
    let site = Site::new().await?;
    site.agent.offline.store(true, Ordering::Relaxed);
    let mut browser = site.asked("reset", "alice").await?;
    site.clock.pass(Duration::from_secs(301));
    let jobs = site.jobs.clone();
    let engine = tokio::spawn(async move { jobs.run().await });
    let ended = async {
        while !browser.get("/reset/code").await?.body.contains("AADSTS120013") {
            tokio::task::yield_now().await;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await??;
    site.jobs.stop(Duration::from_secs(1)).await;
    engine.await?;
    Ok(())
}

/// The mail is sent before the agent says so: a quick person's form may arrive between the two.
#[tokio::test]
async fn the_right_code_is_taken_though_its_form_was_sent_before_the_agents_answer() -> Tested {
    let site = Arc::new(Site::new().await?);
    site.agent.hold();
    let mut browser = site.browser();
    browser.post("/reset", &[("user", "alice")]).await?;
    browser.get("/reset/code").await?;
    let typed =
        form(&[("token", browser.token.clone().unwrap_or_default().as_bytes()), ("code", CODE.as_bytes())]);
    let agent = Arc::clone(&site);
    let body = futures_util::stream::once(async move {
        agent.agent.permits.add_permits(1);
        agent.settled().await;
        agent.agent.permits.add_permits(1);
        Ok::<_, std::io::Error>(typed)
    });
    let request = browser.form_request("/reset/code", Body::from_stream(body))?;
    let answer = browser.send(request).await?;
    assert_eq!((answer.status, answer.location().as_str()), (StatusCode::SEE_OTHER, "/reset/password"));
    Ok(())
}

#[tokio::test]
async fn a_code_that_is_still_being_checked_lets_the_page_look_again() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.asked("reset", "alice").await?;
    browser.get("/reset/code").await?;
    site.agent.hold();
    let waiting = browser.send_form("/reset/code", &[("code", CODE)]).await?;
    assert_eq!(waiting.status, StatusCode::OK);
    assert!(waiting.body.contains("We are checking your code"));
    assert!(waiting.body.contains("<noscript><meta http-equiv=\"refresh\" content=\"2; url=/reset/code\">"));
    let again = browser.send_form("/reset/code", &[("code", CODE)]).await?;
    assert!(again.body.contains("We are checking your code"), "a second press is not a second try");
    site.agent.permits.add_permits(1);
    site.settled().await;
    let answer = browser.get("/reset/code").await?;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/reset/password".to_owned()));
    assert_eq!(site.agent.asked().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_told_in_plain_words_with_code_and_number_and_without_evidence() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    site.agent.refuse(Some(Cause::RightsProtectedObject));
    let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    site.settled().await;
    let page = browser.get(&answer.location()).await?.body;
    let (_, json) = browser.get_json(&answer.location()).await?;
    assert!(page.contains("only an administrator can mend the reason"));
    assert!(page.contains("AADSTS120015"));
    assert!(page.contains(json["correlation_id"].as_str().ok_or("no number")?));
    for hidden in ["EVIDENCE", "CN=", "dc1", "rights.", "memberOf"] {
        assert!(!page.contains(hidden) && !json.to_string().contains(hidden), "{hidden}");
    }
    Ok(())
}

#[tokio::test]
async fn after_a_refused_password_another_can_be_tried() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    site.agent.refuse(Some(Cause::PolicyHistory));
    let first = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    site.settled().await;
    let page = browser.get(&first.location()).await?;
    assert!(
        page.body.contains("AADSTS120004") && page.body.contains("href=\"/reset/password\""),
        "{}",
        page.body
    );
    site.agent.refuse(None);
    assert_eq!(browser.get("/reset/password").await?.status, StatusCode::OK);
    let second =
        browser.send_form("/reset/password", &[("new", "next-One-44"), ("repeat", "next-One-44")]).await?;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    assert_ne!(second.location(), first.location());
    site.settled().await;
    assert!(browser.get(&second.location()).await?.body.contains("Your new password works now."));
    Ok(())
}

#[tokio::test]
async fn an_expired_flow_starts_again() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    site.clock.pass(Duration::from_mins(20));
    let answer = browser.get("/reset/password").await?;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/reset".to_owned()));
    let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("This page has timed out."));
    assert_eq!(site.count("reset").await, 0);
    Ok(())
}

#[tokio::test]
async fn the_end_can_be_read_when_the_flow_would_be_over() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    site.clock.pass(Duration::from_mins(19));
    let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    site.settled().await;
    site.clock.pass(Duration::from_mins(5));
    assert_eq!(browser.get(&answer.location()).await?.status, StatusCode::OK);
    Ok(())
}
