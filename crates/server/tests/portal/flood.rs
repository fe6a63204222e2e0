//! A flood of sign-in attempts, and whether an answer's time tells a name that is there from one that is not. Small here;
//! `./bench door` runs the same at full length and prints the figures.

#![expect(clippy::print_stdout, reason = "the long runs are a bench, which prints its figures")]
#![expect(clippy::cast_precision_loss, reason = "samples are thousands")]

use crate::Tested;
use crate::agent::CODE;
use crate::live::serve;
use crate::site::{NEW, Site, form};
use axum::http::StatusCode;
use keyback_server::web::Limits;
use keyback_server::{DoorLimits, Tries};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// Requests to `/reset` on one kept connection, through the proxy.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn connect(to: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.9:0".parse()?)?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The status, once the whole answer is there.
    async fn ask(&mut self, user: &str, from: &str) -> Result<u16, Box<dyn Error>> {
        let body = form(&[("user", user.as_bytes())]);
        let request = format!(
            "POST /reset HTTP/1.1\r\nHost: reset.example.org\r\nX-Forwarded-For: {from}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err("hung up".into());
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse()?;
            }
            if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = rest.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok(status)
    }
}

/// KiB of this process in memory.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// One person, from the name to the new password.
async fn is_helped(site: &Site, number: usize) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let mut person = site.browser_at(&format!("192.0.2.{number}"));
    let asked = person.post("/reset", &[("user", "alice")]).await?;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.body);
    let page = person.get("/reset/code").await?;
    let number = page.body.split("quote this number:<br><code>").nth(1).and_then(|rest| rest.get(..36));
    let flow = number.ok_or("no number")?.parse()?;
    // Her mail is there when the agent has ended its job.
    while site.jobs.store().list_flow_jobs(flow).await?.iter().any(|job| job.state.finished_at().is_none()) {
        tokio::task::yield_now().await;
    }
    let typed = person.send_form("/reset/code", &[("code", CODE)]).await?;
    assert_eq!(typed.location(), "/reset/password", "{}", typed.body);
    person.get("/reset/password").await?;
    let done = person.send_form("/reset/password", &[("new", NEW), ("repeat", NEW)]).await?;
    assert_eq!(done.status, StatusCode::ACCEPTED, "{}", done.body);
    let job = done.location();
    while !person.get(&job).await?.body.contains("Your new password works now.") {
        tokio::task::yield_now().await;
    }
    Ok(began.elapsed())
}

/// So many attempts, on sixteen connections: nine of ten from twenty networks, the others each from one of its own. After
/// each tenth of them one person is helped.
async fn flood(attempts: usize) -> Tested {
    // In the full run the default; a shorter one has to spend it as well.
    let source = u32::try_from(attempts / 333)?;
    let limits = DoorLimits::default();
    let asks = Tries { source, ..limits.asks };
    let site = Arc::new(Site::in_memory(DoorLimits { asks, ..limits }).await?);
    let served =
        serve(&site, None, Limits { proxies: vec!["127.0.0.9".parse()?], ..Limits::default() }).await?;
    let (next, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new([const { AtomicUsize::new(0) }; 4]));
    let began = Instant::now();
    let mut lines = Vec::new();
    for _ in 0..16 {
        let mut line = Line::connect(served.address).await?;
        let (next, answers) = (next.clone(), answers.clone());
        lines.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= attempts {
                    return;
                }
                let from = match number % 10 {
                    0 => format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255),
                    _ => format!("203.0.113.{}", number % 20),
                };
                let place = match line.ask(&format!("name{number}"), &from).await.unwrap() {
                    303 => 0,
                    429 => 1,
                    503 => 2,
                    _ => 3,
                };
                answers[place].fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let (mut memory, mut helped) = (Vec::new(), Vec::new());
    for tenth in 1..=10 {
        while next.load(Ordering::Relaxed) < attempts * tenth / 10 {
            tokio::task::yield_now().await;
        }
        helped.push(is_helped(&site, tenth - 1).await?);
        memory.push(resident()?);
    }
    for line in lines {
        line.await?;
    }
    let took = began.elapsed();
    let [let_in, refused, busy, others] = [0, 1, 2, 3].map(|place| answers[place].load(Ordering::Relaxed));
    let grown = memory[9].saturating_sub(memory[0]);
    helped.sort_unstable();
    println!(
        "flood: {attempts} attempts in {:.1} s: {let_in} begun, {refused} refused (429), {busy} busy (503)",
        took.as_secs_f64()
    );
    println!(
        "flood: memory after each tenth (client included), MiB: {:?}",
        memory.iter().map(|kib| kib / 1024).collect::<Vec<_>>()
    );
    println!("flood: memory grew by {grown} KiB from the first tenth to the last; bar 16384");
    println!(
        "flood: 10 of 10 people helped meanwhile, median {} ms, slowest {} ms",
        helped[5].as_millis(),
        helped[9].as_millis()
    );
    assert_eq!((others, let_in + refused + busy), (0, attempts));
    assert!(refused * 2 > attempts, "most of it is turned away: {refused}");
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB: {memory:?}");
    Ok(())
}

/// Fault: a flood of sign-in attempts => turned away, memory flat, people helped meanwhile
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_attempts_is_turned_away_memory_stays_flat_and_people_are_helped() -> Tested {
    flood(2_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: ./bench door runs it"]
async fn bench_door_flood() -> Tested {
    flood(100_000).await
}

const MANY: Tries = Tries { name_from_source: 1_000_000, name: 1_000_000, source: 1_000_000 };

/// Microseconds that each answer took, for the name that is there and for the one that is not, in turns that a coin
/// decides.
async fn time_names(each: usize) -> Result<[Vec<f64>; 2], Box<dyn Error>> {
    let site = Site::in_memory(DoorLimits { asks: MANY, codes: MANY, ..DoorLimits::default() }).await?;
    let served =
        serve(&site, None, Limits { proxies: vec!["127.0.0.9".parse()?], ..Limits::default() }).await?;
    let mut line = Line::connect(served.address).await?;
    let mut times = [Vec::with_capacity(each), Vec::with_capacity(each)];
    let mut ended = site.jobs.changes();
    while times.iter().any(|times| times.len() < each) {
        let [coin] = keyback_core::ids::random::<1>();
        let which = usize::from(coin & 1);
        // Of one length, so that the request itself is the same for both.
        let name = ["alice", "bobby"][which];
        let began = Instant::now();
        assert_eq!(line.ask(name, "192.0.2.1").await?, 303);
        let took = began.elapsed();
        if times[which].len() < each {
            times[which].push(took.as_secs_f64() * 1e6);
        }
        // The job runs after the answer; the next answer must not be measured beside it.
        while ended.recv().await?.state.finished_at().is_none() {}
    }
    Ok(times)
}

/// The Kolmogorov-Smirnov statistic of two samples: the widest distance between their distribution functions.
fn distance(samples: &[Vec<f64>; 2]) -> f64 {
    let [mut one, mut other] = samples.clone();
    one.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    let share =
        |sorted: &[f64], at: f64| sorted.partition_point(|time| *time <= at) as f64 / sorted.len() as f64;
    one.iter().chain(&other).map(|at| (share(&one, *at) - share(&other, *at)).abs()).fold(0.0, f64::max)
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[test]
fn the_distance_is_nought_for_the_same_and_one_for_strangers() {
    let rising: Vec<f64> = (0..100).map(f64::from).collect();
    let above: Vec<f64> = (200..300).map(f64::from).collect();
    assert!(distance(&[rising.clone(), rising.clone()]) < 1e-9);
    assert!((distance(&[rising.clone(), above]) - 1.0).abs() < 1e-9);
    let half: Vec<f64> = (50..150).map(f64::from).collect();
    assert!((distance(&[rising, half]) - 0.5).abs() < 0.02);
}

#[tokio::test]
async fn a_name_that_is_there_takes_no_longer_than_one_that_is_not() -> Tested {
    let times = time_names(40).await?;
    let [known, unknown] = [0, 1].map(|which| median(&times[which]));
    // The machine may be busy with other tests: this finds a fault of milliseconds; `./bench door` one of microseconds.
    assert!((known - unknown).abs() < 1500.0_f64.max(unknown * 0.5), "{known} against {unknown} µs");
    Ok(())
}

#[tokio::test]
#[ignore = "wants a quiet machine: ./bench door runs it"]
async fn bench_door_names() -> Tested {
    const EACH: usize = 2000;
    let times = time_names(EACH).await?;
    // Kolmogorov-Smirnov, alpha = 0.001: c = sqrt(-ln(alpha / 2) / 2) = 1.949.
    let bar = 1.949 * (2.0 / EACH as f64).sqrt();
    let distance = distance(&times);
    let [known, unknown] = [0, 1].map(|which| median(&times[which]));
    println!(
        "names: {EACH} requests each, median {known:.0} µs for one that is there, {unknown:.0} µs for one that is not"
    );
    println!("names: Kolmogorov-Smirnov D = {distance:.4}; bar {bar:.4} (alpha 0.001)");
    assert!(distance < bar);
    Ok(())
}

/// Fault: an agent that takes longer for a user who is there => the answer does not show it
#[tokio::test]
async fn a_wrong_code_takes_the_same_time_where_the_agent_has_more_to_do_for_a_user_who_is_there() -> Tested {
    let wrong_code = Duration::from_secs(2);
    let site = Site::exactly(DoorLimits { wrong_code, ..DoorLimits::default() }).await?;
    // As an agent that keeps the try on its disk, where there is a challenge to keep it for.
    site.agent.slow_known(wrong_code / 2);
    let mut shortest = [Duration::MAX; 2];
    for which in [0, 1] {
        let mut browser = site.asked("reset", ["alice", "bobby"][which]).await?;
        browser.get("/reset/code").await?;
        site.clock.pass(Duration::from_mins(1)); // nobody has the mail at once
        for _ in 0..2 {
            let began = Instant::now();
            let answer = browser.send_form("/reset/code", &[("code", "00000000")]).await?;
            shortest[which] = shortest[which].min(began.elapsed());
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
    }
    // The machine may be busy: the shortest of each.
    let [known, unknown] = shortest;
    assert!(unknown >= wrong_code, "{unknown:?}");
    assert!(known.abs_diff(unknown) < wrong_code / 4, "{known:?} against {unknown:?}");
    Ok(())
}
