//! The store against a real SQLite file.

use crate::{Effects, Job, NewFlow, NewJob, Store, Submitted};
use keyback_codes::Cause;
use keyback_core::audit::{Activity, AuditEvent, AuditResult, Phase};
use keyback_core::job::{JobEvent, JobState, Kind, Operation};
use keyback_core::outcome::Outcome;
use keyback_core::{
    CorrelationId, Failure, JobId, ObjectGuid, Person, PlainTicket, SourceAnchor, Timestamp, UserName,
};
use std::time::Duration;

type Tested = Result<(), Box<dyn std::error::Error>>;

const NOW: Timestamp = Timestamp::from_micros(1_795_503_600_000_000);

struct Lab {
    _folder: tempfile::TempDir,
    store: Store,
    ticket: PlainTicket,
    flow: CorrelationId,
    code_job: JobId,
}

fn guid() -> ObjectGuid {
    ObjectGuid::from_wire([7; 16])
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

fn job(seed: u8, flow: CorrelationId, kind: Kind, whom: Option<ObjectGuid>) -> NewJob {
    let id = JobId::from_random([seed; 16]);
    NewJob {
        id,
        kind,
        operation: Operation::Reset,
        message: b"sealed".to_vec(),
        state: JobState::Running { attempt: 1, lease_until: NOW.plus(Duration::from_secs(60)) },
        deadline: NOW.plus(Duration::from_secs(300)),
        intent: AuditEvent::intent(NOW, flow, id, Activity::Reset, "ada".to_owned(), whom, None),
    }
}

async fn begin(seed: u8) -> Result<Lab, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("a folder %41 ü.db")).await?;
    let (ticket, flow, code_job) = add_flow(&store, seed).await?;
    Ok(Lab { _folder: folder, store, ticket, flow, code_job })
}

async fn add_flow(
    store: &Store,
    seed: u8,
) -> Result<(PlainTicket, CorrelationId, JobId), Box<dyn std::error::Error>> {
    let (ticket, flow) = (PlainTicket::mint(), CorrelationId::from_random([seed; 16]));
    let code = job(seed, flow, Kind::Verify, None);
    let new = NewFlow {
        correlation_id: flow,
        ticket_hash: ticket.hash(),
        operation: Operation::Reset,
        user_name: UserName::parse("ada")?,
        source: None,
        created_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(1200)),
    };
    store.begin_flow(&new, &code).await?;
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
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&lab.store.writer).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&lab.store.writer).await?;
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    Ok(())
}

#[tokio::test]
async fn a_flow_is_found_by_its_ticket_until_its_time_is_over() -> Tested {
    let lab = begin(1).await?;
    let flow = lab.store.find_flow(lab.ticket.hash(), NOW).await?.ok_or("no flow")?;
    assert_eq!((flow.correlation_id, flow.challenge, flow.proof_until), (lab.flow, None, None));
    let later = NOW.plus(Duration::from_secs(1200));
    assert_eq!(lab.store.find_flow(lab.ticket.hash(), later).await?, None);
    assert_eq!(lab.store.find_flow(PlainTicket::mint().hash(), NOW).await?, None);
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
    let effects =
        Effects { code_sent: Some((&challenge, &person)), code_accepted: Some(NOW), ..Effects::default() };
    assert!(lab.store.save(&job, &next, effects).await?);
    let flow = lab.store.find_flow(lab.ticket.hash(), NOW).await?.ok_or("no flow")?;
    assert_eq!(flow.object_guid, Some(guid()));
    assert_eq!(flow.mail_hint.as_deref(), Some("a•••@ad.example"));
    assert_eq!(flow.proof_until, Some(NOW));
    Ok(())
}

#[tokio::test]
async fn one_user_has_one_open_job_and_a_flow_one_job_until_it_is_refused() -> Tested {
    let lab = begin(1).await?;
    let (_, other_flow, _) = add_flow(&lab.store, 2).await?;
    let first = job(11, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&first).await?, Submitted::Created);
    let again = job(12, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&again).await?, Submitted::Already(first.id));
    let other = job(13, other_flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&other).await?, Submitted::Joined(first.id));
    let read = load(&lab.store, first.id).await?;
    let next = read.state.clone().on(refused(), NOW)?;
    assert!(lab.store.save(&read, &next, Effects::default()).await?);
    let another_password = job(14, lab.flow, Kind::Reset, Some(guid()));
    assert_eq!(lab.store.submit(&another_password).await?, Submitted::Created);
    assert_eq!(lab.store.list_jobs(10).await?.len(), 4);
    Ok(())
}

#[tokio::test]
async fn what_is_due_comes_back_oldest_first_and_orphans_are_those_that_run() -> Tested {
    let lab = begin(1).await?;
    assert!(lab.store.due_jobs(NOW, 10).await?.is_empty());
    let later = NOW.plus(Duration::from_secs(60));
    assert_eq!(lab.store.due_jobs(later, 10).await?.len(), 1);
    assert_eq!(lab.store.next_due().await?, Some(later));
    assert_eq!(lab.store.orphaned_jobs().await?.len(), 1);
    let job = load(&lab.store, lab.code_job).await?;
    lab.store.save(&job, &JobState::Doubtful { ready_at: NOW, attempt: 1 }, Effects::default()).await?;
    assert!(lab.store.orphaned_jobs().await?.is_empty());
    assert_eq!(lab.store.due_jobs(NOW, 10).await?.len(), 1);
    Ok(())
}
