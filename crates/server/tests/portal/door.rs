//! Budgets, queue and tickets: a guesser is stopped, a flood is turned away, and real people are served.

use crate::Tested;
use crate::agent::CODE;
use crate::site::{Answer, Browser, NEW, Site};
use axum::http::StatusCode;
use keyback_server::{DoorLimits, Tries};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

/// Nothing is refused but what the test is about.
const MANY: Tries = Tries { name_from_source: 1_000_000, name: 1_000_000, source: 1_000_000 };

fn open_door() -> DoorLimits {
    DoorLimits { asks: MANY, codes: MANY, ..DoorLimits::default() }
}

impl Browser {
    async fn ask(&mut self, user: &str) -> Result<Answer, Box<dyn Error>> {
        self.post("/reset", &[("user", user)]).await
    }

    async fn guess(&mut self, code: &str) -> Result<Answer, Box<dyn Error>> {
        self.send_form("/reset/code", &[("code", code)]).await
    }
}

fn checks(site: &Site) -> usize {
    site.agent.asked().iter().filter(|asked| asked.starts_with("check")).count()
}

/// Seconds of Retry-After.
fn wait(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap_or_default()
}

/// Sends one wrong code from each at the same moment.
async fn guess_at_once(browsers: Vec<Browser>) -> Result<BTreeMap<u16, usize>, Box<dyn Error>> {
    let mut answers = BTreeMap::new();
    let tasks: Vec<_> = browsers
        .into_iter()
        .map(|mut browser| tokio::spawn(async move { browser.guess("00000000").await.unwrap().status }))
        .collect();
    for task in tasks {
        *answers.entry(task.await?.as_u16()).or_default() += 1;
    }
    Ok(answers)
}

/// Fault: 200 wrong codes at once in one flow => five are evaluated by the agent
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_200_wrong_codes_at_once_in_one_flow_and_of_all_that_follow_five_are_evaluated() -> Tested {
    let site = Site::in_memory(open_door()).await?;
    let mut browser = site.asked("reset", "alice").await?;
    browser.get("/reset/code").await?;
    let answers = guess_at_once(vec![browser.clone(); 200]).await?;
    assert_eq!(answers.values().sum::<usize>(), 200);
    site.settled().await;
    assert!((1..=5).contains(&checks(&site)), "{} were evaluated", checks(&site));
    for _ in 0..10 {
        browser.get("/reset/code").await?;
        guess_at_once(vec![browser.clone(); 20]).await?;
        site.settled().await;
    }
    assert!(checks(&site) <= 5, "{} were evaluated", checks(&site));
    Ok(())
}

/// Fault: 200 wrong codes at once in 200 flows => no more than the name's limit is evaluated, and waits grow
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_200_wrong_codes_at_once_in_200_flows_no_more_than_the_limit_is_evaluated() -> Tested {
    let codes = Tries { name_from_source: 10, name: 30, source: 600 };
    let site = Site::in_memory(DoorLimits { codes, ..open_door() }).await?;
    let mut browsers = Vec::new();
    for _ in 0..200 {
        let mut browser = site.browser();
        browser.ask("alice").await?;
        browser.get("/reset/code").await?;
        browsers.push(browser);
    }
    site.settled().await;
    let answers = guess_at_once(browsers.clone()).await?;
    site.settled().await;
    assert_eq!(answers.get(&429), Some(&190), "{answers:?}");
    assert_eq!(checks(&site), 10);
    // The right code comes too late as well, and the page says for how long.
    let late = browsers[0].guess(CODE).await?;
    assert_eq!((late.status, wait(&late)), (StatusCode::TOO_MANY_REQUESTS, 60));
    assert!(late.body.contains("There were too many tries for this name."), "{}", late.body);
    assert!(late.body.contains("Nothing was changed. Wait a minute, then try again."), "{}", late.body);
    assert!(late.body.contains("AADSTS120008 · proof.too_many_tries"), "{}", late.body);
    site.clock.pass(Duration::from_mins(1));
    assert_eq!(browsers[1].guess(CODE).await?.location(), "/reset/password");
    let again = browsers[2].guess(CODE).await?;
    assert_eq!((again.status, wait(&again)), (StatusCode::TOO_MANY_REQUESTS, 120), "waits grow");
    Ok(())
}

#[tokio::test]
async fn asking_has_a_limit_for_a_name_whether_it_is_known_or_not_and_says_when_to_come_again() -> Tested {
    let site = Site::new().await?;
    let mut seen = Vec::new();
    for user in ["alice", "nobody"] {
        let mut statuses = Vec::new();
        for spelling in [user, &user.to_uppercase()] {
            for _ in 0..3 {
                statuses.push(site.browser().ask(spelling).await?.status.as_u16());
            }
        }
        let (status, json) = {
            let mut browser = site.browser();
            let refused = browser.ask(user).await?;
            assert!(refused.header("set-cookie").is_empty(), "no ticket for a flow that was not begun");
            (refused.status, (wait(&refused), refused.alert().to_owned(), statuses))
        };
        seen.push((status, json));
    }
    assert_eq!(seen[0], seen[1]);
    let (status, (wait, _, statuses)) = &seen[0];
    assert_eq!((*status, *wait), (StatusCode::TOO_MANY_REQUESTS, 60));
    assert_eq!(statuses, &[303, 303, 303, 303, 303, 429]);
    Ok(())
}

/// Fault: a name guessed at from forty networks => they are shut out; people at a network that is known are not
#[tokio::test]
async fn an_attack_from_elsewhere_shuts_the_guesser_out_and_not_the_person() -> Tested {
    let site = Site::in_memory(DoorLimits::default()).await?;
    // Forty networks take all that alice's name has.
    let mut refused = 0;
    for network in 0..40 {
        for _ in 0..7 {
            let mut guesser = site.browser_at(&format!("203.0.113.{network}"));
            refused += usize::from(guesser.ask("alice").await?.status == StatusCode::TOO_MANY_REQUESTS);
        }
    }
    site.settled().await;
    assert_eq!(refused, 280 - 20);
    // Somebody who proved who they are came from the office; alice sits there too.
    site.clock.pass(Duration::from_hours(2));
    let mut colleague = site.browser_at("192.0.2.1");
    colleague.ask("alice").await?;
    site.settled().await;
    colleague.get("/reset/code").await?;
    assert_eq!(colleague.guess(CODE).await?.location(), "/reset/password");
    for network in 0..40 {
        site.browser_at(&format!("203.0.113.{network}")).ask("alice").await?;
    }
    let stranger = site.browser_at("198.51.100.1").ask("alice").await?;
    assert_eq!(stranger.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(site.browser_at("192.0.2.1").ask("alice").await?.status, StatusCode::SEE_OTHER);
    // From a home, too, one name has its limit, and so has the home.
    for _ in 0..5 {
        site.browser_at("192.0.2.1").ask("alice").await?;
    }
    assert_eq!(site.browser_at("192.0.2.1").ask("alice").await?.status, StatusCode::TOO_MANY_REQUESTS);
    Ok(())
}

#[tokio::test]
async fn a_network_has_a_limit_and_an_ipv6_64_is_one_network() -> Tested {
    let asks = Tries { source: 3, ..MANY };
    let site = Site::behind_proxy(DoorLimits { asks, ..open_door() }).await?;
    for (number, address) in ["2001:db8::1", "2001:db8::2", "2001:db8::3:4"].iter().enumerate() {
        assert_eq!(site.browser_at(address).ask(&format!("u{number}")).await?.status, StatusCode::SEE_OTHER);
    }
    let fourth = site.browser_at("2001:db8::ffff").ask("bob").await?;
    assert_eq!((fourth.status, wait(&fourth)), (StatusCode::TOO_MANY_REQUESTS, 60));
    assert!(fourth.body.contains("Too many tries came from your network."));
    assert_eq!(site.browser_at("2001:db8:0:1::1").ask("bob").await?.status, StatusCode::SEE_OTHER);
    assert_eq!(site.browser_at("192.0.2.1").ask("bob").await?.status, StatusCode::SEE_OTHER);
    Ok(())
}

#[tokio::test]
async fn two_names_of_one_person_share_her_tries_and_nobody_is_told_so() -> Tested {
    let codes = Tries { name_from_source: 4, name: 100, source: 100 };
    let site = Site::with(DoorLimits { codes, ..open_door() }).await?;
    let mut pages = Vec::new();
    // alice@mail.example is alice; bob@mail.example is nobody.
    for (one, other) in [("alice", "alice@mail.example"), ("bob", "bob@mail.example")] {
        for user in [one, other] {
            let mut browser = site.browser();
            browser.ask(user).await?;
            site.settled().await;
            browser.get("/reset/code").await?;
            for _ in 0..4 {
                let answer = browser.guess("00000000").await?;
                pages.push((answer.status, answer.alert().to_owned(), wait(&answer)));
            }
        }
    }
    let (known, unknown) = pages.split_at(8);
    assert_eq!(known, unknown);
    assert!(known.iter().all(|(status, ..)| *status == StatusCode::UNPROCESSABLE_ENTITY));
    // All sixteen went to the agent; the last four of alice's for a challenge that is nobody's: her code would not do.
    let mut browser = site.browser();
    browser.ask("alice@ad.example").await?;
    site.settled().await;
    browser.get("/reset/code").await?;
    let right = browser.guess(CODE).await?;
    assert!(right.alert().starts_with("That code is not right"), "{}", right.alert());
    Ok(())
}

/// Fault: more jobs open than the server takes => 503 and Retry-After; who has a code goes on
#[tokio::test]
async fn when_too_much_is_open_people_are_told_when_to_come_again_and_those_with_a_code_go_on() -> Tested {
    let site = Site::with(DoorLimits { open_jobs: 4, ..open_door() }).await?;
    let mut early = site.asked("reset", "alice").await?;
    early.get("/reset/code").await?;
    site.agent.hold();
    for number in 0..4 {
        assert_eq!(site.browser().ask(&format!("user{number}")).await?.status, StatusCode::SEE_OTHER);
    }
    let late = site.browser().ask("bob").await?;
    assert_eq!((late.status, wait(&late)), (StatusCode::SERVICE_UNAVAILABLE, 30));
    assert!(late.body.contains("Too many people are being helped right now."), "{}", late.body);
    assert!(late.body.contains("AADSTS120021 · server.busy"), "{}", late.body);
    assert!(early.guess(CODE).await?.body.contains("We are checking your code"), "a place is kept");
    assert_eq!(site.count("verify").await, 6);
    Ok(())
}

/// Fault: a planted or overlooked ticket => worthless after the right code
#[tokio::test]
async fn the_right_code_makes_the_ticket_before_it_worthless() -> Tested {
    let site = Site::new().await?;
    let mut victim = site.asked("reset", "alice").await?;
    victim.get("/reset/code").await?;
    // Whoever began the flow, or looked over a shoulder, knows the ticket and the form's token.
    let mut thief = victim.clone();
    let wrong = victim.guess("00000000").await?;
    assert!(wrong.header("set-cookie").starts_with("__Host-keyback="), "a new ticket with each code");
    assert_eq!(victim.guess(CODE).await?.location(), "/reset/password");
    assert_eq!(victim.get("/reset/password").await?.status, StatusCode::OK);
    for path in ["/reset/password", "/reset/code"] {
        let answer = thief.get(path).await?;
        assert_eq!(
            (answer.status, answer.location()),
            (StatusCode::SEE_OTHER, "/reset".to_owned()),
            "{path}"
        );
    }
    let posted = thief.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(posted.status, StatusCode::FORBIDDEN);
    assert_eq!(site.count("reset").await, 0);
    let done = victim.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(done.status, StatusCode::ACCEPTED);
    // Replayed: the same job, and no other.
    let again =
        victim.send_form("/reset/password", &[("new", "Other-9-word"), ("repeat", "Other-9-word")]).await?;
    assert_eq!(again.location(), done.location());
    site.settled().await;
    assert_eq!(site.count("reset").await, 1);
    Ok(())
}

/// Fault: a stolen ticket in another browser => no ticket
#[tokio::test]
async fn a_ticket_in_another_browser_is_no_ticket() -> Tested {
    let site = Site::new().await?;
    let mut owner = site.browser();
    owner.agent = Some("Mozilla/5.0 (owner)");
    owner.ask("alice").await?;
    site.settled().await;
    owner.get("/reset/code").await?;
    owner.guess(CODE).await?;
    assert_eq!(owner.get("/reset/password").await?.status, StatusCode::OK);
    let mut other = owner.clone();
    for agent in [None, Some("curl/8"), Some("Mozilla/5.0 (Owner)")] {
        other.agent = agent;
        let answer = other.get("/reset/password").await?;
        assert_eq!(
            (answer.status, answer.location()),
            (StatusCode::SEE_OTHER, "/reset".to_owned()),
            "{agent:?}"
        );
        let answer = other.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{agent:?}");
    }
    assert_eq!(site.count("reset").await, 0);
    assert_eq!(owner.get("/reset/password").await?.status, StatusCode::OK, "and nothing was spoilt");
    Ok(())
}

#[tokio::test]
async fn the_store_holds_no_ticket() -> Tested {
    let site = Site::new().await?;
    let mut browser = site.asked("reset", "alice").await?;
    let first = browser.cookie.clone().ok_or("no ticket")?;
    browser.get("/reset/code").await?;
    browser.guess(CODE).await?;
    let second = browser.cookie.clone().ok_or("no ticket")?;
    assert_ne!(first, second);
    site.jobs.store().close().await;
    for ending in ["db", "db-wal"] {
        let bytes = std::fs::read(site.database().with_extension(ending)).unwrap_or_default();
        for ticket in [&first, &second] {
            let found = bytes.windows(ticket.len()).any(|part| part == ticket.as_bytes());
            assert!(!found, "in .{ending}");
        }
    }
    Ok(())
}
