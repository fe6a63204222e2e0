//! `/errors`: the reference as the portal shows it.

use crate::Tested;
use crate::site::Site;
use axum::http::StatusCode;
use keyback_codes::catalogue::Entry;
use keyback_server::reference::slug;

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
    let (status, document) = browser.get_json("/errors/nothing-at-all").await?;
    assert_eq!((status, document.to_string().as_str()), (StatusCode::NOT_FOUND, "[]"));
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
