//! When the store fails: nothing is half done, and the page says so.

use crate::Tested;
use crate::agent::CODE;
use crate::site::{NEW, Site};
use axum::http::StatusCode;
use sqlx::{ConnectOptions, Connection};

/// Breaks or mends the database from outside, as a full disk would.
async fn sql(site: &Site, statement: &'static str) -> Result<(), sqlx::Error> {
    let address = format!("sqlite://{}", site.database().display());
    sqlx::any::install_default_drivers();
    let options: sqlx::any::AnyConnectOptions = address.parse()?;
    let mut connection = options.connect().await?;
    sqlx::query(statement).execute(&mut connection).await?;
    connection.close().await
}

const NO_INTENT: &str =
    "CREATE TRIGGER fault BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";

/// Fault: no room for the audit intent => nothing is sent; the same form works later
#[tokio::test]
async fn without_room_for_the_intent_no_password_is_sent_and_the_same_form_works_later() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    sql(&site, NO_INTENT).await?;
    let fields = [("new", NEW), ("repeat", NEW)];
    let answer = browser.send_form("/reset/password", &fields).await?;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("Nothing was changed."));
    assert!(answer.body.contains("AADSTS120021 · store.unavailable"));
    assert_eq!(site.count("reset").await, 0);
    assert_eq!(site.agent.asked().len(), 2, "the agent heard nothing of it");
    sql(&site, "DROP TRIGGER fault").await?;
    let answer = browser.send_form("/reset/password", &fields).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "the proof was not used up");
    site.settled().await;
    assert!(browser.get(&answer.location()).await?.body.contains("Your new password works now."));
    Ok(())
}

/// Fault: no room for a flow => nothing is begun
#[tokio::test]
async fn without_room_no_flow_and_no_check_is_begun() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.asked("reset", "alice").await?;
    browser.get("/reset/code").await?;
    sql(&site, NO_INTENT).await?;
    let first = site.browser().post("/reset", &[("user", "alice")]).await?;
    assert_eq!(first.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(first.header("set-cookie"), "", "no ticket for a flow that is not there");
    let check = browser.send_form("/reset/code", &[("code", CODE)]).await?;
    assert_eq!(check.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.count("verify").await, 1);
    Ok(())
}

/// Fault: the store fails while it serves => pages say so, /readyz is 503
#[tokio::test]
async fn a_store_that_is_gone_is_told_on_pages_and_to_the_load_balancer() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.proven("reset").await?;
    let (status, json) = browser.get_json("/readyz").await?;
    assert_eq!((status, &json["ready"]), (StatusCode::OK, &true.into()));
    site.jobs.store().close().await;
    let (status, json) = browser.get_json("/readyz").await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json["cause"], "store.unavailable");
    assert_eq!(browser.get("/healthz").await?.status, StatusCode::OK);
    assert_eq!(browser.get("/").await?.status, StatusCode::OK);
    let page = browser.get("/reset/password").await?;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.body.contains("store.unavailable"));
    let (status, json) = browser.get_json("/jobs/7f4b5b3e-0000-4000-8000-000000000000").await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json["code"], "AADSTS120021");
    Ok(())
}
