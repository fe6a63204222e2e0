//! Store, relay, agent and domain controllers under one scheduler, which loses, repeats, reorders, delays and alters
//! messages, kills either side, breaks lines to domain controllers, and sets clocks forward and back. After each step
//! the promises P1 to P3 of the threat model are looked at. A seed decides everything: `KEYBACK_SIM_SEED=n` plays that
//! one again and prints what happened; `KEYBACK_SIM_SEEDS=n` says how many are played, `KEYBACK_SIM_FIRST=n` from where.

mod likeness;
mod model_dc;
mod people;
mod promises;
mod relay;
mod scenes;
mod schedule;
mod world;

use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::runtime::Builder;
use world::Switches;

/// Played where nothing else is said; `./test` says 10,000.
const SEEDS: u64 = 500;
/// A broken build is caught within so many.
const TO_CATCH: u64 = 2_000;

/// What a seed came to.
struct Played {
    broken: Option<String>,
    log: Vec<String>,
    ends: Vec<String>,
}

/// One thread, time that stands still until it is advanced, and one writer of journals.
fn in_a_world<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .event_interval(u32::MAX) // a task that yields goes on when no other one can
        .event_interval(u32::MAX) // a task that yields comes after all that can run, not after so many steps
        .max_blocking_threads(2) // one never ends, and the other is the only one that writes journals
        .build()?;
    let (over, holds) = std::sync::mpsc::channel::<()>();
    let done = runtime.block_on(async {
        tokio::task::spawn_blocking(move || holds.recv());
        work.await
    });
    drop(over);
    done
}

fn play(seed: u64, switches: Switches) -> Played {
    let played = in_a_world(async {
        let (broken, world) = schedule::play(seed, switches).await?;
        world.store.close().await;
        let end = |known: &world::Known| {
            let kind = known.name.split(' ').next().unwrap_or_default();
            let cause = known.state.failure().map_or("", |failure| failure.cause.id());
            format!("{kind} {} {cause}", known.state.name())
        };
        Ok(Played { broken, ends: world.known.values().map(end).collect(), log: world.log })
    });
    played.unwrap_or_else(|error| panic!("seed {seed}: the simulation itself: {error:?}"))
}

/// Plays the seeds on as many threads as there are cores, until one breaks a promise.
fn play_all(
    seeds: std::ops::Range<u64>,
    switches: Switches,
) -> (Option<(u64, Played)>, BTreeMap<String, u64>) {
    let next = AtomicU64::new(seeds.start);
    let (found, ends) = (Mutex::new(None::<(u64, Played)>), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while found.lock().expect("no panic").is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let played = play(seed, switches);
                    let mut ends = ends.lock().expect("no panic");
                    for end in &played.ends {
                        *ends.entry(end.clone()).or_insert(0) += 1;
                    }
                    if played.broken.is_some() {
                        let mut found = found.lock().expect("no panic");
                        if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *found = Some((seed, played));
                        }
                    }
                }
            });
        }
    });
    (found.into_inner().expect("no panic"), ends.into_inner().expect("no panic"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Fault: messages, lines, clocks, kills and other people, as a seed decides => P1 to P3 hold after every step
#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("KEYBACK_SIM_SEED") {
        let played = play(seed, Switches::ALL_ON);
        println!("{}", played.log.join("\n"));
        assert_eq!(played.broken, None, "seed {seed}");
        return;
    }
    let started = Instant::now();
    let seeds = number("KEYBACK_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("KEYBACK_SIM_FIRST").unwrap_or(0);
    let (found, ends) = play_all(first..first + seeds, Switches::ALL_ON);
    println!("{seeds} seeds in {:.1} s", started.elapsed().as_secs_f64());
    for (end, times) in &ends {
        println!("{times:6} {end}");
    }
    if let Some((seed, played)) = found {
        panic!(
            "{}\n{}\nagain: KEYBACK_SIM_SEED={seed}",
            played.log.join("\n"),
            played.broken.unwrap_or_default()
        );
    }
    for end in [
        "reset succeeded ",
        "change succeeded ",
        "reset refused policy.length",
        "reset exhausted outcome.unknown",
    ] {
        assert!(ends.contains_key(end), "no job came to {end:?}: the seeds show too little");
    }
}

#[test]
fn a_seed_is_played_the_same_way_again() {
    for seed in 0..60 {
        let (first, second) = (play(seed, Switches::ALL_ON), play(seed, Switches::ALL_ON));
        assert!(first.log.len() > 10, "seed {seed} does nothing");
        let differs = first.log.iter().zip(&second.log).position(|(one, other)| one != other);
        let at = differs.unwrap_or_else(|| first.log.len().min(second.log.len()));
        assert!(
            first.log == second.log,
            "seed {seed}, after {:#?}\nonce {:#?}\nthen {:#?}",
            &first.log[..at],
            first.log.get(at),
            second.log.get(at)
        );
    }
}

/// Fault: keyback without its compare-and-swap, its journal, its fence or its turns of several agents => the simulation notices each
#[test]
fn every_broken_build_is_caught() {
    let on = Switches::ALL_ON;
    for (name, switches) in [
        ("compare-and-swap", Switches { compare_and_swap: false, ..on }),
        ("journal", Switches { journal: false, ..on }),
        ("fence", Switches { fence: false, ..on }),
        ("turns", Switches { turns: false, ..on }),
    ] {
        let (found, _) = play_all(0..TO_CATCH, switches);
        let (seed, played) =
            found.unwrap_or_else(|| panic!("without its {name} keyback passes {TO_CATCH} seeds"));
        println!("without its {name}: seed {seed}, {}", played.broken.unwrap_or_default());
        assert_eq!(play(seed, on).broken, None, "seed {seed} is broken with everything on, too");
    }
}
