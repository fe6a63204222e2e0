//! `/errors`: the reference as the portal shows it.

use crate::Tested;
use crate::site::Site;
use axum::body::Body;
use axum::http::{StatusCode, header};
use keyback_codes::catalogue::Entry;
use keyback_server::reference::{Place, entry_page, slug};
use std::collections::BTreeSet;

#[tokio::test]
async fn every_code_has_a_page_that_is_short_and_loads_nothing_foreign() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    for entry in Entry::all() {
        let answer = browser.get(&format!("/errors/{}", slug(entry))).await?;
        assert_eq!(answer.status, StatusCode::OK, "{}", slug(entry));
        assert!(answer.body.len() < 40_000, "{}: {} bytes", slug(entry), answer.body.len());
        assert!(
            answer.body.contains("<h2>What to do</h2>")
                && answer.body.contains("<h2>What can be behind it</h2>"),
            "{}",
            slug(entry)
        );
        for loaded in ["src=\"http", "href=\"//", "@import"] {
            assert!(!answer.body.contains(loaded), "{}: {loaded}", slug(entry));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_page_says_what_confirms_what_rules_out_and_what_mends() -> Tested {
    let site = Site::new().await?;
    let answer = site.browser().get("/errors/aadsts120015").await?;
    for part in [
        "AADSTS120015",
        "PasswordChangeADAdminActionRequired",
        "Confirmed by",
        "Ruled out by",
        "rights.deny_ace",
        "dsacls",
        "rel=\"canonical\"",
        "application/ld+json",
        "KB 817433",
    ] {
        assert!(answer.body.contains(part), "{part} is missing");
    }
    Ok(())
}

#[tokio::test]
async fn other_spellings_lead_to_the_one_address_and_the_unknown_gets_a_guess() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    for (asked, canonical) in [
        ("powerbi-aadsts120008", "aadsts120008"),
        ("AADSTS120008", "aadsts120008"),
        ("120008", "aadsts120008"),
        ("0x52d", "win32-0000052d"),
        ("33004", "writeback-event-33004"),
        ("rights.deny_ace", "keyback-rights.deny_ace"),
    ] {
        let answer = browser.get(&format!("/errors/{asked}")).await?;
        assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT, "{asked}");
        assert_eq!(answer.location(), format!("/errors/{canonical}"), "{asked}");
    }
    let several = browser.get("/errors/50").await?;
    assert!(several.status == StatusCode::OK || several.status == StatusCode::PERMANENT_REDIRECT);
    let unknown = browser.get("/errors/aadsts999999").await?;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(
        unknown.body.contains("A guess") && unknown.body.contains("Not in the catalogue"),
        "{}",
        unknown.body
    );
    let hostile = browser.get("/errors/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await?;
    assert!(!hostile.body.contains("<script>alert"), "{}", hostile.body);
    Ok(())
}

#[tokio::test]
async fn a_program_gets_the_shape_of_explain() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    let (status, document) = browser.get_json("/errors/win32-0000052d").await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(document[0]["code"], "0000052D");
    assert!(document[0]["causes"][0]["confirm"].is_string() && document[0]["statements"].is_array());
    let (status, document) = browser.get_json("/errors/aadsts999999").await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(document[0]["guess"], true);
    assert_eq!(document[0]["family"], "aadsts");
    let (status, document) = browser.get_json("/errors/52e").await?;
    assert_eq!((status, document[0]["family"].as_str()), (StatusCode::OK, Some("ad-bind")));
    assert!(document.as_array().is_some_and(|all| all.len() > 1), "every family that has the spelling");
    for accept in ["application/json", "text/html"] {
        for path in ["/errors/aadsts120008", "/errors/120008", "/errors/52e", "/errors/nothing-at-all"] {
            let mut request = browser.request("GET", path).body(Body::empty())?;
            request.headers_mut().insert(header::ACCEPT, accept.parse()?);
            let answer = browser.send(request).await?;
            assert_eq!(answer.header("vary"), "accept", "{accept} {path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_list_is_searched_and_filtered_without_javascript() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    let front = browser.get("/errors").await?;
    assert!(
        front.body.contains("/errors/aadsts120008") && front.body.contains("family=ldap"),
        "{}",
        front.body
    );
    let found = browser.get("/errors?q=reset+password").await?;
    assert!(found.body.contains("/errors/ad-right-00299570"), "{}", found.body);
    let filtered = browser.get("/errors?q=&category=rights&severity=medium").await?;
    assert!(
        filtered.body.contains("/errors/aadsts120015") && !filtered.body.contains("/errors/aadsts50126\""),
        "{}",
        filtered.body
    );
    let nothing = browser.get("/errors?q=zzzzzz").await?;
    assert!(nothing.body.contains("Nothing fits"), "{}", nothing.body);
    let hostile = browser.get("/errors?q=%22%3E%3Cimg%20src%3Dx%3E").await?;
    assert!(!hostile.body.contains("<img"), "{}", hostile.body);
    for page in [&front, &found, &filtered] {
        assert!(page.body.len() < 60 * 1024, "{} bytes", page.body.len());
    }
    Ok(())
}

/// What is wrong with a page's tags, if anything: each is closed where it must be, ids are not used twice, and what
/// points at an id finds it.
fn faults(html: &str) -> Vec<String> {
    const VOID: [&str; 4] = ["meta", "link", "input", "path"];
    let (mut open, mut faults, mut ids, mut wanted) = (Vec::new(), Vec::new(), BTreeSet::new(), Vec::new());
    let mut rest = html.trim_start_matches("<!doctype html>");
    while let Some(start) = rest.find('<') {
        if rest[..start].contains('>') {
            faults.push(format!("a bare > in {:?}", &rest[..start]));
        }
        let end = rest[start..].find('>').map_or(rest.len(), |end| start + end);
        let tag = &rest[start + 1..end];
        rest = &rest[(end + 1).min(rest.len())..];
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop();
            if last != Some(name) {
                faults.push(format!("</{name}> ends {last:?}"));
            }
            continue;
        }
        if tag.matches('"').count() % 2 == 1 {
            faults.push(format!("an odd quote in <{tag}>"));
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        for (attribute, found) in [(" id=\"", true), (" for=\"", false), (" href=\"#", false)] {
            let Some(value) = tag.split_once(attribute).and_then(|(_, rest)| rest.split('"').next()) else {
                continue;
            };
            if !found {
                wanted.push(value.to_owned());
            } else if !ids.insert(value.to_owned()) {
                faults.push(format!("id {value} twice"));
            }
        }
        if name == "script" {
            rest = rest.split_once("</script>").map_or("", |(_, rest)| rest);
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    faults.extend(open.iter().map(|name| format!("<{name}> is never closed")));
    faults.extend(wanted.into_iter().filter(|id| !ids.contains(id)).map(|id| format!("nothing is #{id}")));
    if html.matches("<h1").count() != 1 || html.matches("<main").count() != 1 {
        faults.push("not one heading and one main part".to_owned());
    }
    faults
}

#[tokio::test]
async fn every_page_is_well_formed() -> Tested {
    let folder = Place::Folder { base_url: None, whole_links: false };
    for entry in Entry::all() {
        let html = entry_page(&folder, entry)?;
        assert_eq!(faults(&html), Vec::<String>::new(), "{}", slug(entry));
        let (_, data) = html.split_once("<script type=\"application/ld+json\">").ok_or("no data")?;
        let data: serde_json::Value =
            serde_json::from_str(data.split("</script>").next().unwrap_or_default())?;
        assert_eq!(data["about"]["termCode"], entry.quoted());
    }
    let site = Site::new().await?;
    let mut browser = site.browser();
    for path in [
        "/errors",
        "/errors?family=aadsts",
        "/errors?family=aadsts&page=3",
        "/errors?severity=medium",
        "/errors?q=nothing+of+the+kind",
        "/errors?q=%22%3E%3Cb%3E%26",
        "/errors/52e",
        "/errors/aadsts999999",
        "/errors/%3Cb%3E%22%26",
        "/errors/aadsts120015",
    ] {
        let answer = browser.get(path).await?;
        assert_eq!(faults(&answer.body), Vec::<String>::new(), "{path}");
        assert!(answer.body.len() < 46 * 1024, "{path}: {} bytes and 15 KiB of assets", answer.body.len());
    }
    Ok(())
}

#[tokio::test]
async fn lists_come_in_pages_and_a_pasted_error_is_read() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    let mut listed = BTreeSet::new();
    for page in 1..=3 {
        let answer = browser.get(&format!("/errors?family=aadsts&page={page}")).await?;
        assert_eq!(answer.status, StatusCode::OK);
        let links = answer.body.split("<li><a href=\"/errors/").skip(1);
        listed.extend(links.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
    }
    assert_eq!(listed.len(), Entry::all().iter().filter(|entry| entry.family == "aadsts").count());
    assert_eq!(browser.get("/errors?family=aadsts&page=4").await?.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/errors?family=nobody").await?.status, StatusCode::NOT_FOUND);
    let pasted = "/errors?q=ldap_modify%3A+Server+is+unwilling+to+perform+%2853%29+additional+info%3A+0000052D%3A+SvcErr";
    let answer = browser.get(pasted).await?;
    for link in ["/errors/ldap-53\"", "/errors/win32-0000052d\""] {
        assert!(answer.body.contains(link), "{link}: {}", answer.body);
    }
    let both = browser.get("/errors?family=ldap&severity=medium").await?;
    assert!(
        both.body.contains("/errors/ldap-") && !both.body.contains("<li><a href=\"/errors/aadsts"),
        "{}",
        both.body
    );
    Ok(())
}

/// The page as somebody reads it who sees no tags.
fn as_text(html: &str) -> String {
    let main =
        html.split_once("<main").and_then(|(_, rest)| rest.split_once('>')).map_or("", |(_, rest)| rest);
    let main = main.split("</main>").next().unwrap_or_default();
    let mut text = String::new();
    for part in main.split('<') {
        let (tag, said) = part.split_once('>').unwrap_or(("", part));
        if ["h1", "h2", "li", "p", "dt", "dd", "pre", "/ol", "/ul"]
            .contains(&tag.split(' ').next().unwrap_or_default())
        {
            text.push('\n');
        }
        text.push_str(said);
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n").replace("&#39;", "'").replace("&#38;", "&").replace("&#34;", "\"")
}

#[tokio::test]
async fn one_page_and_its_document_as_they_stand() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.browser();
    insta::assert_snapshot!("reference_page", as_text(&browser.get("/errors/ad-bind-775").await?.body));
    let (_, document) = browser.get_json("/errors/ad-bind-775").await?;
    insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!("reference_document", document) });
    let unknown = browser.get("/errors/PaswordChangeOnPremComplexity").await?;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    insta::assert_snapshot!("reference_unknown", as_text(&unknown.body));
    Ok(())
}
