//! Strangers, other sites, other hosts, borrowed tickets.

use crate::Tested;
use crate::agent::CODE;
use crate::site::{NEW, Site, URL, form};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use keyback_server::portal::routes;
use std::collections::BTreeSet;

#[tokio::test]
async fn every_route_refuses_a_stranger_or_stands_in_the_list_of_public_ones() -> Tested {
    let public: BTreeSet<&str> = include_str!("../public_routes.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut open = BTreeSet::new();
    let site = Site::new().await?;
    for route in routes() {
        let path = route
            .path
            .replace("{id}", "7f4b5b3e-0000-4000-8000-000000000000")
            .replace("{name}", "style.css")
            .replace("{code}", "aadsts120008");
        for method in route.methods {
            let mut stranger = site.browser();
            let answer = if *method == "POST" {
                let typed =
                    [("user", "alice"), ("token", "x"), ("code", CODE), ("new", NEW), ("repeat", NEW)];
                // A first form has one field; the others have more, and a token that a stranger cannot know.
                let known = if route.path.matches('/').count() == 1 { &typed[..1] } else { &typed[1..2] };
                stranger.post(&path, known).await?
            } else {
                stranger.get(&path).await?
            };
            let refused = match answer.status {
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => true,
                // Sent back to where a stranger begins.
                StatusCode::SEE_OTHER => answer.location().matches('/').count() == 1,
                _ => false,
            };
            if !refused {
                open.insert(format!("{method} {}", route.path));
            }
        }
    }
    assert_eq!(open.iter().map(String::as_str).collect::<BTreeSet<_>>(), public);
    Ok(())
}

#[tokio::test]
async fn the_table_of_routes_names_every_method_that_is_answered() -> Tested {
    let site = Site::new().await?;
    for route in routes() {
        let path =
            route.path.replace("{id}", "x").replace("{name}", "style.css").replace("{code}", "aadsts120008");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let mut browser = site.browser();
            let request = browser.request(method, &path).body(Body::empty())?;
            let answer = browser.send(request).await?;
            let answered = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(answered, route.methods.contains(&method), "{method} {path}: {}", answer.status);
            assert!(answered || !answer.header("allow").is_empty(), "{method} {path}");
        }
    }
    Ok(())
}

/// Fault: somebody else's job page is asked for => no page
#[tokio::test]
async fn a_borrowed_job_page_is_no_page() -> Tested {
    let site = Site::new().await?;
    let mut owner = site.proven("reset").await?;
    let answer = owner.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    site.settled().await;
    let page = answer.location();
    assert_eq!(owner.get(&page).await?.status, StatusCode::OK);
    let number =
        |body: &str| body.split("quote this number:<br><code>").nth(1).map(|rest| rest[..36].to_owned());
    let redacted = |body: String| number(&body).map(|id| body.replace(&id, "ID"));
    let nowhere = site.browser().get("/jobs/7f4b5b3e-0000-4000-8000-000000000000").await?;
    for mut other in [site.browser(), site.proven("reset").await?] {
        for path in [page.clone(), format!("{page}/events")] {
            let answer = other.get(&path).await?;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(redacted(answer.body), redacted(nowhere.body.clone()), "{path}");
        }
    }
    Ok(())
}

/// Fault: a ticket is used for another operation => no use
#[tokio::test]
async fn a_ticket_is_good_for_its_own_operation_only() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("unlock").await?;
    let answer = browser.get("/reset/password").await?;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/reset".to_owned()));
    let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(site.count("reset").await, 0);
    Ok(())
}

#[tokio::test]
async fn without_the_right_code_there_is_no_password_page() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.asked("reset", "alice").await?;
    browser.get("/reset/code").await?;
    let answer = browser.get("/reset/password").await?;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/reset/code".to_owned()));
    let answer = browser.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(site.count("reset").await, 0);
    Ok(())
}

/// Fault: a form comes from another site => nothing is begun
#[tokio::test]
async fn a_form_from_another_site_or_without_its_token_starts_nothing() -> Tested {
    let site = Site::new().await?;
    let browser = site.proven("reset").await?;
    let token = browser.token.clone().ok_or("no form")?;
    let good = form(&[("token", token.as_bytes()), ("new", NEW.as_bytes()), ("repeat", NEW.as_bytes())]);
    let bad = form(&[("token", b"guess"), ("new", NEW.as_bytes()), ("repeat", NEW.as_bytes())]);
    let cases = [
        (&good, "https://evil.test", "cross-site"),
        (&good, "https://www.example.org", "same-site"),
        (&good, "null", "same-origin"),
        (&good, URL, "cross-site"),
        (&good, "http://reset.example.org", "same-origin"),
        (&bad, URL, "same-origin"),
    ];
    for (body, origin, fetch) in cases {
        let mut browser = browser.clone();
        let mut request = browser
            .request("POST", "/reset/password")
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.clone()))?;
        request.headers_mut().insert("sec-fetch-site", fetch.parse()?);
        let answer = browser.send(request).await?;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {fetch}");
        let mut request = browser
            .request("POST", "/reset")
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from("user=alice"))?;
        request.headers_mut().insert("sec-fetch-site", fetch.parse()?);
        let first = browser.send(request).await?;
        let expected = if body == &bad { StatusCode::SEE_OTHER } else { StatusCode::FORBIDDEN };
        assert_eq!(first.status, expected, "{origin} {fetch}");
    }
    assert_eq!(site.count("reset").await, 0);
    Ok(())
}

#[tokio::test]
async fn another_host_gets_no_page_of_ours_and_no_link_to_itself() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    for (host, path, status) in [
        ("evil.test", "/", StatusCode::MISDIRECTED_REQUEST),
        ("evil.test", "/assets/style.css", StatusCode::MISDIRECTED_REQUEST),
        ("reset.example.org.", "/", StatusCode::MISDIRECTED_REQUEST),
        ("reset.example.org:443", "/", StatusCode::OK),
        ("10.0.0.7:8443", "/healthz", StatusCode::OK),
        ("10.0.0.7:8443", "/readyz", StatusCode::OK),
    ] {
        let request = Request::builder().uri(path).header(header::HOST, host).body(Body::empty())?;
        let answer = browser.send(request).await?;
        assert_eq!(answer.status, status, "{host} {path}");
        assert!(!answer.body.contains("evil.test") && !format!("{:?}", answer.headers).contains("evil.test"));
    }
    Ok(())
}

#[tokio::test]
async fn every_answer_carries_the_headers_and_pages_are_not_kept() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    for path in ["/", "/reset", "/nowhere", "/healthz", "/assets/style.css", "/jobs/x"] {
        let answer = browser.get(path).await?;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
        let keep = answer.header("cache-control");
        assert_eq!(keep, if path.starts_with("/assets/") { "no-cache" } else { "no-store" }, "{path}");
        for inline in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!answer.body.contains(inline), "{path}: {inline}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_cookie_is_bound_to_this_host_and_hidden_from_scripts() -> Tested {
    let site = Site::new().await?;
    let answer = site.browser().post("/reset", &[("user", "alice")]).await?;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-keyback="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    Ok(())
}

#[tokio::test]
async fn assets_are_kept_for_good_under_their_version_and_not_sent_twice() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    let home = browser.get("/").await?.body;
    for name in ["style.css", "app.js", "favicon.svg"] {
        let url = home
            .split('"')
            .find(|text| text.starts_with(&format!("/assets/{name}?v=")))
            .ok_or("not linked")?;
        let answer = browser.get(url).await?;
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable", "{name}");
        let mut again = browser.request("GET", url).body(Body::empty())?;
        again.headers_mut().insert(header::IF_NONE_MATCH, answer.header("etag").parse()?);
        assert_eq!(browser.send(again).await?.status, StatusCode::NOT_MODIFIED, "{name}");
    }
    assert_eq!(browser.get("/assets/../Cargo.toml").await?.status, StatusCode::NOT_FOUND);
    Ok(())
}
