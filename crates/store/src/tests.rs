//! The store against a real SQLite file.

use crate::{
    BudgetKey, Checked, Counted, Door, Effects, Job, NewCheck, NewFlow, NewJob, Rate, Spend, Store,
    Submitted, TurnedAway,
};
use keyback_codes::Cause;
use keyback_core::audit::{Activity, AuditEvent, AuditResult, Phase};
use keyback_core::job::{JobEvent, JobState, Kind, Operation};
use keyback_core::outcome::Outcome;
use keyback_core::{
    CorrelationId, Failure, JobId, ObjectGuid, PasswordRules, Person, PlainTicket, SourceAnchor, Timestamp,
    UserName,
};
use std::time::Duration;

pub(crate) type Tested = Result<(), Box<dyn std::error::Error>>;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_503_600_000_000);
const LATE: Timestamp = Timestamp::from_micros(i64::MAX);

const RATE: Rate = Rate {
    tries: 2,
    window: Duration::from_hours(1),
    first_wait: Duration::from_mins(1),
    longest_wait: Duration::from_mins(15),
};
/// A name that would break an address made of it.
const FILE: &str = "a folder %41 ü.db";
const HOME: BudgetKey = BudgetKey([0; 32]);

/// One budget for each, by the number of its key.
fn door(budgets: &[(u8, Counted)]) -> Door {
    let spend = |(number, counted): &(u8, Counted)| Spend {
        key: BudgetKey([*number; 32]),
        counted: *counted,
        rate: RATE,
        spares_home: *counted == Counted::Name,
    };
    Door { spends: budgets.iter().map(spend).collect(), home: HOME, open_jobs: 10_000 }
}

pub(crate) fn open_door() -> Door {
    door(&[])
}

pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) ticket: PlainTicket,
    pub(crate) flow: CorrelationId,
    code_job: JobId,
}

impl Lab {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(FILE)
    }
}

pub(crate) fn person_guid(number: u8) -> ObjectGuid {
    ObjectGuid::from_wire([number; 16])
}

fn guid() -> ObjectGuid {
    person_guid(7)
}

fn person() -> Person {
    Person {
        object_guid: guid(),
        source_anchor: SourceAnchor::from_wire([7; 16]),
        user_principal_name: "ada@ad.example".to_owned(),
        sam_account_name: "ada".to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        mail_hint: "a•••@ad.example".to_owned(),
    }
}

pub(crate) fn job(seed: u8, flow: CorrelationId, kind: Kind, whom: Option<ObjectGuid>) -> NewJob {
    let id = JobId::from_random([seed; 16]);
    NewJob {
        id,
        kind,
        operation: Operation::Reset,
        message: b"sealed".to_vec(),
        state: JobState::Running {
            attempt: 1,
            lease_until: NOW.plus(Duration::from_secs(60)),
            in_doubt: false,
        },
        deadline: NOW.plus(Duration::from_secs(300)),
        intent: AuditEvent::intent(NOW, flow, id, Activity::Reset, "ada".to_owned(), whom, None),
    }
}

pub(crate) async fn begin(seed: u8) -> Result<Lab, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join(FILE)).await?;
    let (ticket, flow, code_job) = add_flow(&store, seed).await?;
    Ok(Lab { folder, store, ticket, flow, code_job })
}

fn new_flow(flow: CorrelationId) -> Result<NewFlow, Box<dyn std::error::Error>> {
    Ok(NewFlow {
        correlation_id: flow,
        ticket_hash: PlainTicket::mint().hash_for(b""),
        form_token: "token".to_owned(),
        operation: Operation::Reset,
        user_name: UserName::parse("ada")?,
        held: false,
        source: None,
        created_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(1200)),
    })
}

pub(crate) async fn add_flow(
    store: &Store,
    seed: u8,
) -> Result<(PlainTicket, CorrelationId, JobId), Box<dyn std::error::Error>> {
    let (ticket, flow) = (PlainTicket::mint(), CorrelationId::from_random([seed; 16]));
    let code = job(seed, flow, Kind::Verify, None);
    let new = NewFlow { ticket_hash: ticket.hash_for(b""), ..new_flow(flow)? };
    assert_eq!(store.begin_flow(&new, &code, &open_door()).await?, Ok(()));
    Ok((ticket, flow, code.id))
}

async fn load(store: &Store, id: JobId) -> Result<Job, Box<dyn std::error::Error>> {
    Ok(store.find_job(id).await?.ok_or("the job is gone")?)
}

fn refused() -> JobEvent {
    JobEvent::Answered { outcome: Outcome::Refused(Failure::of(Cause::PolicyHistory)), again_at: NOW }
}

#[tokio::test]
async fn the_bundled_sqlite_is_new_enough_and_the_file_is_durable() -> Tested {
    let lab = begin(1).await?;
    let version: Vec<u32> =
        lab.store.version().await?.split('.').filter_map(|part| part.parse().ok()).collect();
    assert!(version >= vec![3, 51, 3], "{version:?}: WAL needs at least 3.51.3");
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *lab.store.writer().await?).await?;
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *lab.store.writer().await?).await?;
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    Ok(())
}

#[tokio::test]
async fn a_flow_is_found_by_its_ticket_until_its_time_is_over() -> Tested {
    let lab = begin(1).await?;
    let flow = lab.store.find_flow(lab.ticket.hash_for(b""), NOW).await?.ok_or("no flow")?;
    assert_eq!((flow.correlation_id, flow.challenge, flow.proof_until), (lab.flow, None, None));
    let later = NOW.plus(Duration::from_secs(1200));
    assert_eq!(lab.store.find_flow(lab.ticket.hash_for(b""), later).await?, None);
    assert_eq!(lab.store.find_flow(PlainTicket::mint().hash_for(b""), NOW).await?, None);
    assert_eq!(lab.store.forget_flows(later).await?, 1);
    Ok(())
}

#[tokio::test]
async fn an_end_is_kept_with_its_audit_row_and_without_the_sealed_message() -> Tested {
    let lab = begin(1).await?;
    let job = load(&lab.store, lab.code_job).await?;
    assert!(job.message.is_some());
    let next = job.state.clone().on(refused(), NOW)?;
    let failure = Failure::of(Cause::PolicyHistory);
    let outcome = AuditEvent::intent(NOW, lab.flow, job.id, Activity::Reset, "ada".to_owned(), None, None)
        .ended(NOW, None, next.failure());
    let effects = || Effects { failure: Some((1, &failure)), outcome: Some(&outcome), ..Effects::default() };
    assert!(lab.store.save(&job, &next, effects()).await?);
    assert!(!lab.store.save(&job, &next, effects()).await?, "the state is not the one that was read");
    let ended = load(&lab.store, job.id).await?;
    assert_eq!((ended.message, ended.state), (None, next));
    assert_eq!(lab.store.list_attempts(job.id).await?.len(), 1);
    let trail = lab.store.list_audit(Some(lab.flow), 10).await?;
    let phases: Vec<_> = trail.iter().map(|row| (row.facts.phase, row.facts.result)).collect();
    assert_eq!(phases, [(Phase::Intent, AuditResult::Pending), (Phase::Outcome, AuditResult::Failure)]);
    assert!(lab.store.list_audit(Some(CorrelationId::from_random([9; 16])), 10).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_mailed_code_and_a_right_one_are_kept_in_the_flow_and_the_person_is_known() -> Tested {
    let lab = begin(1).await?;
    let job = load(&lab.store, lab.code_job).await?;
    let next = JobState::Succeeded { at: NOW };
    let challenge = lab.flow.to_string();
    let person = person();
    let rules =
        PasswordRules { min_length: Some(12), names: vec!["ada".to_owned()], ..PasswordRules::default() };
    let effects = Effects {
        code_sent: Some((&challenge, &person)),
        code_accepted: Some((NOW, Some(&rules))),
        ..Effects::default()
    };
    assert!(lab.store.save(&job, &next, effects).await?);
    let flow = lab.store.find_flow(lab.ticket.hash_for(b""), NOW).await?.ok_or("no flow")?;
    assert_eq!(flow.object_guid, Some(guid()));
    assert_eq!(flow.mail_hint.as_deref(), Some("a•••@ad.example"));
    assert_eq!((flow.proof_until, flow.rules), (Some(NOW), Some(rules)));
    Ok(())
}

#[tokio::test]
async fn one_user_has_one_open_job_and_a_flow_one_job_until_it_is_refused() -> Tested {
    let lab = begin(1).await?;
    let (_, other_flow, _) = add_flow(&lab.store, 2).await?;
    let first = job(11, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&first, 500).await?, Submitted::Created);
    let again = job(12, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&again, 500).await?, Submitted::Already(first.id));
    let other = job(13, other_flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&other, 500).await?, Submitted::Joined(first.id));
    let read = load(&lab.store, first.id).await?;
    let next = read.state.clone().on(refused(), NOW)?;
    assert!(lab.store.save(&read, &next, Effects::default()).await?);
    let another_password = job(14, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&another_password, 500).await?, Submitted::Created);
    assert_eq!(lab.store.list_jobs(10).await?.len(), 4);
    Ok(())
}

#[tokio::test]
async fn what_is_due_comes_back_oldest_first_and_orphans_are_those_that_run() -> Tested {
    let lab = begin(1).await?;
    assert!(lab.store.due_jobs(NOW, LATE, 10).await?.is_empty());
    let later = NOW.plus(Duration::from_secs(60));
    assert_eq!(lab.store.due_jobs(later, LATE, 10).await?.len(), 1);
    assert_eq!(lab.store.next_due().await?, Some(later));
    assert_eq!(lab.store.orphaned_jobs().await?.len(), 1);
    let job = load(&lab.store, lab.code_job).await?;
    lab.store.save(&job, &JobState::Doubtful { ready_at: NOW, attempt: 1 }, Effects::default()).await?;
    assert!(lab.store.orphaned_jobs().await?.is_empty());
    assert_eq!(lab.store.due_jobs(NOW, LATE, 10).await?.len(), 1);
    let earlier = Timestamp::from_micros(NOW.as_micros() - 3_600_000_000);
    assert!(lab.store.due_jobs(earlier, LATE, 10).await?.is_empty());
    let set_back = lab.store.due_jobs(earlier, earlier.plus(Duration::from_mins(2)), 10).await?;
    assert_eq!(set_back.len(), 1, "put off before the clock was set back");
    Ok(())
}

fn check(seed: u8, lab: &Lab, ticket: &PlainTicket, next: &PlainTicket) -> NewCheck {
    let mut job = job(seed, lab.flow, Kind::Verify, None);
    job.intent.activity = Activity::CodeChecked;
    NewCheck { job, ticket: ticket.hash_for(b""), next_ticket: next.hash_for(b""), tries: 5, method: None }
}

#[tokio::test]
async fn a_spent_budget_turns_away_counts_nothing_and_survives_a_restart() -> Tested {
    let lab = begin(1).await?;
    let asks = door(&[(1, Counted::Source), (2, Counted::Name)]);
    for seed in [2, 3] {
        let flow = CorrelationId::from_random([seed; 16]);
        let begun =
            lab.store.begin_flow(&new_flow(flow)?, &job(seed, flow, Kind::Verify, None), &asks).await?;
        assert_eq!(begun, Ok(()));
    }
    let path = lab.folder.path().join(FILE);
    lab.store.close().await;
    let store = Store::open(&path).await?;
    let wait = Duration::from_mins(1);
    for (one, other, counted) in [(1, 9, Counted::Source), (9, 2, Counted::Name)] {
        let budgets = door(&[(one, Counted::Source), (other, Counted::Name)]);
        let turned_away = TurnedAway::TooMany { counted, wait };
        let flow = CorrelationId::from_random([4; 16]);
        let begun = store.begin_flow(&new_flow(flow)?, &job(4, flow, Kind::Verify, None), &budgets).await?;
        assert_eq!(begun, Err(turned_away));
        assert_eq!(store.find_spent_budget(&budgets, NOW).await?, Some(turned_away));
    }
    assert!(
        store.find_spent_budget(&door(&[(9, Counted::Name)]), NOW).await?.is_none(),
        "nothing was counted"
    );
    assert_eq!(store.list_jobs(10).await?.len(), 3, "and nothing begun");
    assert_eq!(store.find_spent_budget(&asks, NOW.plus(wait)).await?, None);
    assert_eq!(store.forget_budgets(NOW.plus(Duration::from_hours(2))).await?, 2);
    Ok(())
}

#[tokio::test]
async fn of_many_codes_at_once_one_is_checked_and_a_flow_has_five() -> Tested {
    let lab = begin(1).await?;
    let mut ticket = PlainTicket::mint();
    let stranger = check(90, &lab, &ticket, &PlainTicket::mint());
    assert_eq!(lab.store.add_check(&stranger, &open_door()).await?, Checked::FlowSpent, "not its ticket");
    let first = PlainTicket::mint();
    assert_eq!(
        lab.store.add_check(&check(10, &lab, &lab.ticket, &first), &open_door()).await?,
        Checked::Begun
    );
    for old in [&lab.ticket, &first] {
        let again = check(11, &lab, old, &PlainTicket::mint());
        assert_eq!(lab.store.add_check(&again, &open_door()).await?, Checked::UnderWay);
    }
    ticket = first;
    for number in 10..15 {
        let read = load(&lab.store, JobId::from_random([number; 16])).await?;
        let next = read.state.clone().on(refused(), NOW)?;
        assert!(lab.store.save(&read, &next, Effects::default()).await?);
        let next_ticket = PlainTicket::mint();
        let came = lab.store.add_check(&check(number + 1, &lab, &ticket, &next_ticket), &open_door()).await?;
        assert_eq!(came, if number == 14 { Checked::FlowSpent } else { Checked::Begun }, "{number}");
        ticket = next_ticket;
    }
    Ok(())
}

#[tokio::test]
async fn the_right_code_leaves_only_the_ticket_that_was_handed_out_for_it() -> Tested {
    let lab = begin(1).await?;
    let next_ticket = PlainTicket::mint();
    let new = check(10, &lab, &lab.ticket, &next_ticket);
    assert_eq!(lab.store.add_check(&new, &open_door()).await?, Checked::Begun);
    for either in [&lab.ticket, &next_ticket] {
        assert!(
            lab.store
                .find_flow(either.hash_for(b""), NOW)
                .await?
                .is_some_and(|flow| flow.proof_until.is_none())
        );
    }
    let read = load(&lab.store, new.job.id).await?;
    let effects = Effects { code_accepted: Some((NOW, None)), home: Some(HOME), ..Effects::default() };
    assert!(lab.store.save(&read, &JobState::Succeeded { at: NOW }, effects).await?);
    assert_eq!(
        lab.store.find_flow(lab.ticket.hash_for(b""), NOW).await?,
        None,
        "whoever knew it before knows nothing"
    );
    assert!(
        lab.store
            .find_flow(next_ticket.hash_for(b""), NOW)
            .await?
            .is_some_and(|flow| flow.proof_until.is_some())
    );
    // And the network is a home: a name that is attacked from elsewhere is not shut there.
    let names = door(&[(2, Counted::Name)]);
    for seed in 20..25 {
        let flow = CorrelationId::from_random([seed; 16]);
        let begun =
            lab.store.begin_flow(&new_flow(flow)?, &job(seed, flow, Kind::Verify, None), &names).await?;
        assert_eq!(begun, Ok(()));
    }
    Ok(())
}

#[tokio::test]
async fn the_persons_budget_is_told_to_the_engine_only_when_no_other_is_spent() -> Tested {
    let lab = begin(1).await?;
    let both = door(&[(1, Counted::Name), (2, Counted::Person)]);
    let spent = door(&[(2, Counted::Person)]);
    for seed in [20, 21] {
        let flow = CorrelationId::from_random([seed; 16]);
        let begun =
            lab.store.begin_flow(&new_flow(flow)?, &job(seed, flow, Kind::Verify, None), &spent).await?;
        assert_eq!(begun, Ok(()));
    }
    let new = check(10, &lab, &lab.ticket, &PlainTicket::mint());
    assert_eq!(lab.store.add_check(&new, &both).await?, Checked::PersonSpent);
    let told = door(&[(2, Counted::Name), (2, Counted::Person)]);
    assert!(matches!(
        lab.store.add_check(&new, &told).await?,
        Checked::TurnedAway(TurnedAway::TooMany { counted: Counted::Name, .. })
    ));
    assert_eq!(lab.store.add_check(&new, &door(&[(1, Counted::Name)])).await?, Checked::Begun);
    Ok(())
}

#[tokio::test]
async fn more_than_so_many_open_jobs_turn_everybody_away() -> Tested {
    let lab = begin(1).await?;
    let full = Door { open_jobs: 1, ..open_door() };
    let flow = CorrelationId::from_random([2; 16]);
    let begun = lab.store.begin_flow(&new_flow(flow)?, &job(2, flow, Kind::Verify, None), &full).await?;
    assert_eq!(begun, Err(TurnedAway::Busy));
    let reset = job(11, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&reset, full.open_jobs).await?, Submitted::Busy);
    assert_eq!(lab.store.submit(&reset, 2).await?, Submitted::Created);
    Ok(())
}
