//! The journal against a real file.

use super::*;
use keyback_core::{Failure, SourceAnchor};
use std::time::Duration;

type Tested = Result<(), Box<dyn std::error::Error>>;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

fn challenge(seed: u8) -> Challenge {
    Challenge {
        id: ChallengeId::from_random([seed; 16]),
        job_id: JobId::from_random([seed; 16]),
        at: NOW,
        expires_at: NOW,
        operation: Operation::Reset,
        person: Person {
            object_guid: ObjectGuid::from_wire([9; 16]),
            source_anchor: SourceAnchor::from_wire([9; 16]),
            user_principal_name: "ada@ad.example".to_owned(),
            sam_account_name: "ada".to_owned(),
            display_name: "Ada".to_owned(),
            mail_hint: "a•••@ad.example".to_owned(),
        },
        code_hash: [0; 32],
        held: false,
        rule: None,
        stood: None,
    }
}

fn pin() -> Pin {
    Pin { dc: "dc1".to_owned(), key_version: Some(3), pwd_last_set: None }
}

fn begin(job_id: JobId, at: Timestamp, user: u8, challenge: ChallengeId) -> Begin {
    let object_guid = ObjectGuid::from_wire([user; 16]);
    Begin { job_id, at, object_guid, challenge, pin: pin(), ous: vec![ObjectGuid::from_wire([200; 16])] }
}

async fn begun(journal: &Journal, begin: Begin) -> Result<(), String> {
    journal.begun(begin, Caps::default()).await.map_err(|error| format!("{error:?}"))
}

fn number(number: u8) -> JobId {
    JobId::from_random([number; 16])
}

async fn refused(journal: &Journal, begin: Begin, caps: Caps) -> Result<Failure, JournalError> {
    match journal.begun(begin, caps).await {
        Ok(()) => panic!("it was begun"),
        Err(not) => not.refusal(),
    }
}

#[tokio::test]
async fn caps_hold_after_opening_again_and_with_a_clock_that_was_put_back() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let id = challenge(1).id;
    {
        let journal = Journal::open(&path, NOW)?;
        for seed in 1..=3 {
            begun(&journal, begin(number(seed), NOW, 1, id)).await?;
            journal.ended(number(seed), NOW, Outcome::Unknown(Failure::of(Cause::DcUnreachable))).await?;
        }
    }
    // Thrice: what was compacted once is read once more.
    for opened_at in [NOW, NOW.plus(3 * KEPT), Timestamp::from_micros(0)] {
        let journal = Journal::open(&path, opened_at)?;
        let failure = refused(&journal, begin(number(4), NOW, 1, id), Caps::default()).await?;
        assert_eq!(failure.cause, Cause::AgentCapUser);
        let ends = failure.evidence.iter().find(|seen| seen.attribute == "cap ends").ok_or("no end")?;
        assert_eq!(ends.value, NOW.plus(crate::caps::DAY).to_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_by_the_directory_gives_the_count_back() -> Tested {
    let folder = tempfile::tempdir()?;
    let journal = Journal::open(&folder.path().join("journal"), NOW)?;
    for seed in 1..=10 {
        begun(&journal, begin(number(seed), NOW, 1, challenge(1).id)).await?;
        if seed % 2 == 0 {
            journal.not_done(number(seed), NOW).await?;
        } else {
            let outcome = Outcome::Refused(Failure::of(Cause::PolicyHistory));
            journal.ended(number(seed), NOW, outcome).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_burst_stops_the_agent_across_restarts_until_it_is_resumed() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let caps = Caps { agent_hour: 1, burst: 2, ..Caps::default() };
    let id = challenge(1).id;
    {
        let journal = Journal::open(&path, NOW)?;
        begun(&journal, begin(number(1), NOW, 1, id)).await?;
        for (seed, stops) in [(2, false), (3, false), (3, false), (4, true), (5, false)] {
            let failure = refused(&journal, begin(number(seed), NOW, seed, id), caps).await?;
            journal.ended(number(seed), NOW, Outcome::Refused(failure)).await?;
            assert_eq!(journal.stop_after_a_burst(NOW, caps).await?, stops, "{seed}");
        }
        assert_eq!(journal.state(), AgentState::Stopped { at: NOW, refused: 3 });
    }
    let much_later = NOW.plus(KEPT);
    for _ in 0..2 {
        let journal = Journal::open(&path, much_later)?;
        let failure = refused(&journal, begin(number(6), much_later, 6, id), caps).await?;
        assert_eq!(failure.cause, Cause::AgentStopped);
        assert!(!journal.confirm(NOW).await?, "another order");
    }
    assert!(Journal::open(&path, NOW)?.resume(NOW).await?);
    let journal = Journal::open(&path, NOW)?;
    begun(&journal, begin(number(7), NOW, 7, id)).await?;
    assert_eq!(journal.state(), AgentState::Running);
    assert!(!journal.stop_after_a_burst(NOW, caps).await?, "what was looked at does not count again");
    Ok(())
}

#[tokio::test]
async fn an_older_copy_of_the_journal_and_a_new_one_are_known_and_put_in_quarantine() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let id = challenge(1).id;
    let (old, seen) = {
        let journal = Journal::open(&path, NOW)?;
        begun(&journal, begin(number(1), NOW, 1, id)).await?;
        let old = std::fs::read(&path)?;
        begun(&journal, begin(number(2), NOW, 2, id)).await?;
        (old, journal.durable_head())
    };
    let journal = Journal::open(&path, NOW)?;
    assert_eq!(journal.durable_head(), seen, "opening is no record");
    assert!(!journal.compare(&[seen], NOW).await?);
    begun(&journal, begin(number(3), NOW, 3, id)).await?;
    assert!(!journal.compare(&[seen], NOW).await?, "further on");
    // Restored, and grown to the same length along another way.
    std::fs::write(&path, &old)?;
    let journal = Journal::open(&path, NOW)?;
    begun(&journal, begin(number(4), NOW, 4, id)).await?;
    assert_eq!(journal.durable_head().sequence, seen.sequence);
    assert!(journal.compare(&[seen], NOW).await?);
    // Restored, and seen so.
    for bytes in [old, Vec::new()] {
        std::fs::write(&path, &bytes)?;
        let journal = Journal::open(&path, NOW)?;
        assert!(!journal.compare(&[], NOW).await?, "nobody has seen another");
        assert!(journal.compare(&[seen], NOW).await? && !journal.compare(&[seen], NOW).await?);
        let failure = refused(&journal, begin(number(5), NOW, 5, id), Caps::default()).await?;
        assert_eq!(failure.cause, Cause::AgentQuarantined);
        let journal = Journal::open(&path, NOW)?;
        assert!(matches!(journal.state(), AgentState::Quarantined { .. }));
        assert!(!journal.resume(NOW).await? && journal.confirm(NOW).await?);
        assert!(journal.durable_head().sequence > seen.sequence);
        begun(&journal, begin(number(5), NOW, 5, id)).await?;
        assert!(
            !Journal::open(&path, NOW)?
                .compare(&[Head { journal: journal.durable_head().journal, ..seen }], NOW)
                .await?
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_power_cut_may_take_is_not_told() -> Tested {
    let folder = tempfile::tempdir()?;
    let journal = Journal::open(&folder.path().join("journal"), NOW)?;
    begun(&journal, begin(number(1), NOW, 1, challenge(1).id)).await?;
    let told = journal.durable_head();
    journal.not_done(number(1), NOW).await?;
    assert_eq!(journal.durable_head(), told);
    Ok(())
}

proptest::proptest! {
    /// A journal cut or altered anywhere is read or refused, and never panics.
    #[test]
    fn hostile_journals_are_refused_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("journal");
        std::fs::write(&path, bytes)?;
        let _ = Journal::open(&path, NOW);
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let (minted, job) = (challenge(1), JobId::from_random([2; 16]));
    {
        let journal = Journal::open(&path, NOW)?;
        journal.minted(minted.clone()).await?;
        journal.tried(minted.id, NOW, None).await?;
        journal.tried(minted.id, NOW, Some(NOW)).await?;
        begun(&journal, begin(job, NOW, 9, minted.id)).await?;
    }
    let journal = Journal::open(&path, NOW)?;
    let state = journal.challenge(minted.id).ok_or("the challenge is gone")?;
    assert_eq!((state.wrong, state.proof_until, state.used_by), (1, Some(NOW), vec![job]));
    assert_eq!(journal.job(job), Some(JobRecord::Begun { at: NOW, pin: pin(), asked: false }));
    journal.asked(job, NOW).await?;
    let journal = Journal::open(&path, NOW)?;
    assert_eq!(journal.job(job), Some(JobRecord::Begun { at: NOW, pin: pin(), asked: true }));
    assert_eq!(journal.codes_since(minted.person.object_guid, NOW, false), 1);
    Ok(())
}

/// Fault: a crash cuts the journal's last line short => dropped; damage elsewhere stops the agent
#[tokio::test]
async fn a_line_cut_short_by_a_crash_is_dropped_and_damage_elsewhere_is_refused() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let job = JobId::from_random([2; 16]);
    let journal = Journal::open(&path, NOW)?;
    journal.ended(job, NOW, Outcome::Refused(Failure::of(Cause::PolicyHistory))).await?;
    let whole = std::fs::read(&path)?;
    std::fs::write(&path, [whole.as_slice(), b"{\"ended\":{\"job"].concat())?;
    assert!(Journal::open(&path, NOW)?.job(job).is_some());
    std::fs::write(&path, [b"{\"ended\":\n".as_slice(), &whole].concat())?;
    assert!(matches!(Journal::open(&path, NOW), Err(JournalError::Damaged { line: 1, .. })));
    Ok(())
}

#[tokio::test]
async fn after_a_day_only_what_is_open_is_kept() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let (ended, open) = (JobId::from_random([2; 16]), JobId::from_random([3; 16]));
    let journal = Journal::open(&path, NOW)?;
    journal.ended(ended, NOW, Outcome::Refused(Failure::of(Cause::PolicyHistory))).await?;
    begun(&journal, begin(open, NOW, 1, challenge(1).id)).await?;
    let later = challenge(5);
    journal.minted(Challenge { at: NOW.plus(KEPT), ..later }).await?;
    let journal = Journal::open(&path, NOW.plus(KEPT))?;
    assert_eq!(journal.job(ended), None);
    assert!(journal.job(open).is_some());
    Ok(())
}

#[tokio::test]
async fn asking_again_for_the_same_job_makes_the_first_code_worthless() -> Tested {
    let folder = tempfile::tempdir()?;
    let journal = Journal::open(&folder.path().join("journal"), NOW)?;
    let first = challenge(1);
    let second = Challenge { id: ChallengeId::from_random([7; 16]), ..first.clone() };
    journal.minted(first.clone()).await?;
    journal.minted(second.clone()).await?;
    assert!(journal.challenge(first.id).is_none() && journal.challenge(second.id).is_some());
    Ok(())
}

/// Fault: each byte of the journal is altered on the disk => the line is named, and the agent does not start
#[tokio::test]
async fn an_altered_byte_is_noticed_wherever_it_stands() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    {
        let journal = Journal::open(&path, NOW)?;
        journal.minted(challenge(1)).await?;
        begun(&journal, begin(number(1), NOW, 1, challenge(1).id)).await?;
        journal.ended(number(1), NOW, Outcome::Refused(Failure::of(Cause::PolicyHistory))).await?;
    }
    let written = std::fs::read(&path)?;
    let ends: Vec<usize> =
        written.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    assert_eq!(ends.len(), 4);
    for at in 0..written.len() - 1 {
        let mut altered = written.clone();
        altered[at] ^= 1 << (at % 8);
        std::fs::write(&path, &altered)?;
        let line = 1 + ends.iter().filter(|end| **end < at).count();
        match Journal::open(&path, NOW) {
            Err(JournalError::Damaged { line: named, .. }) => assert_eq!(named, line, "byte {at}"),
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(format!("byte {at}, line {line}: taken").into()),
        }
    }
    std::fs::write(&path, &written)?;
    assert!(matches!(Journal::open(&path, NOW)?.job(number(1)), Some(JobRecord::Ended { .. })));
    Ok(())
}

#[tokio::test]
async fn a_journal_from_before_there_were_tags_is_read() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    {
        let journal = Journal::open(&path, NOW)?;
        begun(&journal, begin(number(1), NOW, 1, challenge(1).id)).await?;
    }
    let text = std::fs::read_to_string(&path)?;
    let untagged: String =
        text.lines().filter_map(|line| line.split('\t').next()).map(|line| format!("{line}\n")).collect();
    assert_ne!(untagged, text);
    std::fs::write(&path, untagged)?;
    assert!(matches!(Journal::open(&path, NOW)?.job(number(1)), Some(JobRecord::Begun { .. })));
    Ok(())
}

#[tokio::test]
async fn what_was_used_once_and_what_was_removed_is_remembered_for_good_and_steps_for_a_day() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal");
    let journal = Journal::open(&path, NOW)?;
    let minted = challenge(1);
    journal.minted(minted.clone()).await?;
    let (app, sheet) = (MethodId::from_random([1; 16]), MethodId::from_random([2; 16]));
    let job = |seed: u8| JobId::from_random([seed; 16]);
    let spent = |method, what, seed| Some(Spent { method, what, job_id: job(seed) });
    let until = Some(NOW.plus(Duration::from_secs(60)));
    journal.tried_held(minted.id, NOW, None, None).await?;
    journal.tried_held(minted.id, NOW, until, spent(app, Once::Step(100), 1)).await?;
    journal.given(minted.id, NOW, Way::Recovery, spent(sheet, Once::Place(3), 2)).await?;
    journal.method_gone(app, NOW).await?;
    journal.password_tried(job(3), NOW, minted.person.object_guid).await?;
    for (at, remembers) in [(NOW, true), (NOW.plus(Duration::from_hours(25)), false)] {
        let journal = Journal::open(&path, NOW)?;
        // So that time has passed: the newest record says how much.
        journal.asked(job(9), at).await?;
        drop(journal);
        let journal = Journal::open(&path, at)?;
        assert_eq!(
            journal.spent_by(sheet, Once::Place(3)),
            Some(job(2)),
            "a sheet lies in a drawer for years"
        );
        assert_eq!(journal.spent_by(sheet, Once::Place(4)), None);
        assert!(journal.is_gone(app) && !journal.is_gone(sheet));
        assert_eq!(journal.spent_by(app, Once::Step(99)).is_some(), remembers, "a step before the used one");
        assert_eq!(journal.spent_by(app, Once::Step(101)), None);
        assert_eq!(journal.held_wrong(minted.person.object_guid), u32::from(remembers));
        let tries = journal.passwords_since(minted.person.object_guid, NOW, job(3));
        assert_eq!(tries, (usize::from(remembers), remembers));
        let state = journal.challenge(minted.id);
        assert_eq!(
            state.map(|state| (state.proof_until, state.given)),
            remembers.then(|| (until, vec![Way::Recovery]))
        );
    }
    Ok(())
}
