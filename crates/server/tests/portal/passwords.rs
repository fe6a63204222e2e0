//! What cannot be a password gets its own sentence, and no job.

use crate::Tested;
use crate::site::{NEW, Site, form};
use axum::http::StatusCode;
use keyback_codes::Cause;
use keyback_core::{PasswordRules, Timestamp};

#[tokio::test]
async fn each_text_that_cannot_be_a_password_has_its_own_sentence_and_no_job() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    let token = browser.token.clone().ok_or("no form")?;
    let long = vec![b'x'; 257];
    let cases: [(&[u8], &str); 8] = [
        (b"", "Type a password."),
        (&long, "at most 256 characters"),
        (b"with\0nul", "invisible control character"),
        (b"with\nline", "invisible control character"),
        ("with\u{7f}".as_bytes(), "invisible control character"),
        ("cafe\u{301}-Monday-7".as_bytes(), "separate accents"),
        (b"\xed\xa0\x80lone-surrogate", "not a character"),
        (b"\xff\xfe", "not a character"),
    ];
    for (typed, sentence) in cases {
        let fields: [(&str, &[u8]); 3] = [("token", token.as_bytes()), ("new", typed), ("repeat", typed)];
        let answer = browser.post_raw("/reset/password", form(&fields)).await?;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed:?}");
        assert!(answer.alert().contains(sentence), "{typed:?}: {}", answer.alert());
        assert!(answer.body.contains("AADSTS120002 · input.password"), "{typed:?}");
        assert!(answer.body.contains("aria-describedby=\"wrong\" aria-invalid=\"true\""), "{typed:?}");
    }
    assert_eq!(site.count("reset").await, 0);
    Ok(())
}

#[tokio::test]
async fn a_password_of_256_characters_is_taken_as_it_was_typed() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    let typed = "\u{1f511}".repeat(256);
    let answer = browser.send_form("/reset/password", &[("new", &typed), ("repeat", &typed)]).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    site.settled().await;
    assert_eq!(site.agent.asked().last(), Some(&format!("reset {typed}")));
    Ok(())
}

#[tokio::test]
async fn two_different_new_passwords_and_an_empty_current_one_are_told() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("change").await?;
    let other = [("current", "old"), ("new", NEW), ("repeat", "typo")];
    let answer = browser.send_form("/change/password", &other).await?;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.alert().contains("not the same"));
    let empty = [("current", ""), ("new", NEW), ("repeat", NEW)];
    let answer = browser.send_form("/change/password", &empty).await?;
    assert_eq!(answer.alert(), "Type a password.");
    assert_eq!(site.count("change").await, 0);
    Ok(())
}

#[tokio::test]
async fn no_page_holds_a_password_that_was_typed() -> Tested {
    const MARKER: &str = "mArKeR-73-pAsSwOrD";
    let site = Site::new().await?;
    let mut browser = site.proven("change").await?;
    let mut answers = vec![];
    for fields in [
        [("current", MARKER), ("new", MARKER), ("repeat", "x")],
        [("current", ""), ("new", MARKER), ("repeat", MARKER)],
        [("current", MARKER), ("new", "a\nb"), ("repeat", MARKER)],
        [("current", MARKER), ("new", MARKER), ("repeat", MARKER)],
    ] {
        answers.push(browser.send_form("/change/password", &fields).await?);
    }
    let extra = [("current", MARKER), ("new", MARKER), ("repeat", MARKER), ("more", MARKER)];
    answers.push(browser.send_form("/change/password", &extra).await?);
    site.settled().await;
    let job = answers[3].location();
    answers.push(browser.get(&job).await?);
    for answer in answers {
        let headers = format!("{:?}", answer.headers);
        assert!(
            !answer.body.contains(MARKER) && !headers.contains(MARKER),
            "{} {}",
            answer.status,
            answer.body
        );
    }
    assert_eq!(site.agent.asked().last(), Some(&format!("change {MARKER} {MARKER}")), "it did arrive");
    Ok(())
}

#[tokio::test]
async fn unknown_and_repeated_and_missing_fields_are_refused_and_start_nothing() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    let token = browser.token.clone().ok_or("no form")?;
    for body in [
        format!("token={token}&new=a&repeat=a&user=bob"),
        format!("token={token}&new=a&new=b&repeat=b"),
        format!("token={token}&new=a"),
        format!("token={token}&new=%&repeat=%"),
        String::new(),
    ] {
        let answer = browser.post_raw("/reset/password", body.clone()).await?;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.body.contains("AADSTS120021 · input.form"), "{body}");
    }
    let answer = browser.post_raw("/reset", format!("user={}", "x".repeat(20_000))).await?;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(site.count("reset").await, 0);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_a_user_name_is_told_before_anything_is_begun() -> Tested {
    let site = Site::new().await?;
    for typed in [&b"   "[..], b"a\0b", b"\xff", &[b'x'; 257]] {
        let answer = site.browser().post_raw("/reset", form(&[("user", typed)])).await?;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.body.contains("AADSTS120011 · input.name"));
    }
    let answer = site.browser().post("/reset", &[("user", "\"><script>\nalert(1)</script>")]).await?;
    assert!(!answer.body.contains("<script>\n"), "{}", answer.body);
    assert_eq!(site.count("verify").await, 0);
    Ok(())
}

fn rules() -> PasswordRules {
    PasswordRules {
        min_length: Some(12),
        complexity: Some(true),
        history: Some(24),
        min_age_seconds: Some(86_400),
        names: vec!["alice".to_owned(), "<ex\"ample>".to_owned()],
        blocklist: true,
        breached: true,
        too_young_until: None,
    }
}

#[tokio::test]
async fn whoever_has_proved_who_they_are_reads_their_rules_before_they_type_and_nobody_else_does() -> Tested {
    let site = Site::new().await?;
    site.agent.rules(rules());
    let mut browser = site.proven("reset").await?;
    let page = browser.get("/reset/password").await?;
    for text in [
        "At least 12 characters",
        "data-rule=\"length\" data-value=\"12\"",
        "data-rule=\"kinds\"",
        "None of your last 24 passwords",
        "again after 1 day",
        "common words",
        "became known elsewhere",
        "aria-describedby=\"rules\"",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert!(page.body.contains("“alice”") && !page.body.contains("<ex"), "escaped: {}", page.body);
    assert!(!page.body.contains("id=\"young\""));
    // What is wrong is told first, the rules after it.
    let answer = browser.send_form("/reset/password", &[("new", ""), ("repeat", "")]).await?;
    assert!(
        answer.body.contains("aria-describedby=\"wrong rules\" aria-invalid=\"true\""),
        "{}",
        answer.body
    );

    let mut stranger = site.browser();
    stranger.post("/reset", &[("user", "alice")]).await?;
    for path in ["/reset/code", "/reset/password"] {
        let page = stranger.get(path).await?;
        assert!(
            !page.body.contains("24 passwords") && !page.body.contains("“alice”"),
            "{path}: {}",
            page.body
        );
    }
    Ok(())
}

#[tokio::test]
async fn rules_that_could_not_be_read_are_not_made_up_and_an_unlock_has_none() -> Tested {
    let site = Site::new().await?;
    site.agent.rules(PasswordRules::default());
    let mut browser = site.proven("change").await?;
    let page = browser.get("/change/password").await?;
    assert!(page.body.contains("judges the password when you send it"), "{}", page.body);
    assert!(!page.body.contains("data-rule"));
    let mut browser = site.proven("unlock").await?;
    let page = browser.get("/unlock/confirm").await?;
    assert!(!page.body.contains("id=\"rules\"") && !page.body.contains("password.js"), "{}", page.body);
    Ok(())
}

#[tokio::test]
async fn a_minimum_age_that_is_not_over_is_told_with_the_moment_it_ends_before_anything_is_typed() -> Tested {
    let site = Site::new().await?;
    // Far beyond the test's clock: 2096-10-02T07:06:40Z.
    let until = Timestamp::from_micros(4_000_000_000_000_000);
    site.agent.rules(PasswordRules { too_young_until: Some(until), ..rules() });
    let mut browser = site.proven("change").await?;
    let page = browser.get("/change/password").await?;
    assert!(
        page.body.contains("<time datetime=\"2096-10-02T07:07Z\">2096-10-02, 07:07 UTC</time>"),
        "{}",
        page.body
    );
    Ok(())
}

#[tokio::test]
async fn a_password_that_is_not_worth_having_is_told_in_plain_words_and_another_may_be_tried() -> Tested {
    let site = Site::new().await?;
    for (cause, title) in [
        (Cause::PolicyBanned, "This password is too easy to guess."),
        (Cause::PolicyBreached, "This password is known to attackers."),
        (Cause::PolicyContainsName, "The password contains your name."),
    ] {
        site.agent.refuse(Some(cause));
        let mut browser = site.proven("reset").await?;
        let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
        site.settled().await;
        let page = browser.get(&answer.location()).await?;
        assert!(
            page.body.contains(title) && page.body.contains("Try another password"),
            "{cause}: {}",
            page.body
        );
        site.agent.refuse(None);
        let again = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{cause}: {}", again.body);
        site.settled().await;
    }
    Ok(())
}
