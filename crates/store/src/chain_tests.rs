//! The audit chain in a real SQLite file: what plain SQL can do to it, and what `audit verify` says then.

use crate::tests::open_door;
use crate::{AuditSpan, Effects, Erased, NewFlow, NewJob, Pruned, Store};
use keyback_codes::Cause;
use keyback_core::audit::{
    Activity, AuditEvent, Broken, ChainHash, Fault, Head, Keys, Link, Step, Verified, Verifier,
};
use keyback_core::job::{JobEvent, JobState, Kind, Operation};
use keyback_core::keys::SigningKey;
use keyback_core::message::Reply;
use keyback_core::outcome::Outcome;
use keyback_core::statement::Said;
use keyback_core::{
    CorrelationId, Done, Evidence, Failure, JobId, ObjectGuid, Person, PlainTicket, SourceAnchor, Timestamp,
    UserName,
};
use sqlx::Row;
use std::path::PathBuf;
use std::time::Duration;

type Tested = Result<(), Box<dyn std::error::Error>>;
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const NOW: Timestamp = Timestamp::from_micros(1_795_503_600_000_000);
const DAY: Duration = Duration::from_hours(24);

struct Chain {
    folder: tempfile::TempDir,
    store: Store,
    seen: Option<Head>,
}

fn agent() -> SigningKey {
    SigningKey::from_seed(&[2; 32]).expect("a key")
}

fn server() -> SigningKey {
    SigningKey::from_seed(&[1; 32]).expect("a key")
}

fn keys() -> Keys {
    Keys { servers: vec![server().verifying_key()], agents: vec![agent().verifying_key()] }
}

fn guid(of: u8) -> ObjectGuid {
    ObjectGuid::from_wire([of; 16])
}

fn done() -> Outcome {
    Outcome::Done(Done {
        dc: "dc1.ad.example".to_owned(),
        key_version: Some((2, 3)),
        history_enforced: true,
        compare_and_swap: true,
        settled: false,
        remarks: vec![],
    })
}

fn refused() -> Outcome {
    let mut failure = Failure::of(Cause::PolicyHistory);
    failure.evidence.push(Evidence::new("pwdHistoryLength", "24", "CN=Ada Lovelace,DC=ad,DC=example"));
    Outcome::Refused(failure)
}

impl Chain {
    async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(&folder.path().join("keyback.db")).await?;
        Ok(Self { folder, store, seen: None })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keyback.db")
    }

    /// One user's job from its intent to its outcome: two rows. The agent signs, unless it never answered.
    async fn job(&mut self, seed: u8, whom: u8, at: Timestamp, outcome: Option<Outcome>) -> Result<JobId> {
        let (id, flow) = (JobId::from_random([seed; 16]), CorrelationId::from_random([seed; 16]));
        let name = format!("user{whom}");
        let source = Some(format!("192.0.2.{whom}"));
        let given = self.store.audit_head();
        let state =
            JobState::Running { attempt: 1, lease_until: at.plus(Duration::from_secs(60)), in_doubt: false };
        let intent =
            AuditEvent::intent(at, flow, id, Activity::Reset, name.clone(), Some(guid(whom)), source.clone());
        let new = NewJob {
            id,
            kind: Kind::Verify,
            operation: Operation::Reset,
            message: b"sealed".to_vec(),
            state: state.clone(),
            deadline: at.plus(Duration::from_secs(300)),
            intent: intent.clone(),
        };
        let flow = NewFlow {
            correlation_id: flow,
            ticket_hash: PlainTicket::mint().hash_for(b""),
            form_token: "token".to_owned(),
            operation: Operation::Reset,
            user_name: UserName::parse(&name)?,
            held: false,
            source,
            created_at: at,
            expires_at: at.plus(Duration::from_secs(1200)),
        };
        assert_eq!(self.store.begin_flow(&flow, &new, &open_door()).await?, Ok(()));
        let said = outcome.as_ref().map(|outcome| self.sign(id, outcome.clone(), at, given)).transpose()?;
        let event = match &outcome {
            Some(outcome) => JobEvent::Answered { outcome: outcome.clone(), again_at: at },
            None => JobEvent::LeaseExpired,
        };
        let mut next = state.on(event, at)?;
        if outcome.is_none() {
            next = next.on(JobEvent::DeadlinePassed { last: None }, at)?;
        }
        let done = outcome.as_ref().and_then(|outcome| match outcome {
            Outcome::Done(done) => Some(done),
            Outcome::CodeSent { .. }
            | Outcome::CodeAccepted { .. }
            | Outcome::MoreProof { .. }
            | Outcome::SignedIn { .. }
            | Outcome::Kept { .. }
            | Outcome::Tested { .. }
            | Outcome::Removed { .. }
            | Outcome::Refused(_)
            | Outcome::Retry(_)
            | Outcome::Unknown(_) => None,
        });
        let row = intent.ended(at, done, next.failure());
        let person = Person {
            object_guid: guid(whom),
            source_anchor: SourceAnchor::from_wire([whom; 16]),
            user_principal_name: format!("{name}@ad.example"),
            sam_account_name: name,
            display_name: format!("Display Name {whom}"),
            mail_hint: "u•••@ad.example".to_owned(),
        };
        let effects = Effects {
            outcome: Some(&row),
            said: said.as_ref(),
            done,
            code_sent: Some(("challenge", &person)),
            ..Effects::default()
        };
        let job = self.store.find_job(id).await?.ok_or("the job is gone")?;
        assert!(self.store.save(&job, &next, effects).await?);
        Ok(id)
    }

    /// As the agent does it: it remembers the highest head that it was given.
    fn sign(&mut self, id: JobId, outcome: Outcome, at: Timestamp, given: Head) -> Result<Said> {
        if given.number > self.seen.map_or(0, |seen| seen.number) {
            self.seen = Some(given);
        }
        let bytes = Reply::new(id, "request".to_owned(), outcome, at, self.seen).sign(&agent());
        Ok(Reply::parse(&bytes, &agent().verifying_key(), id, "request")?.1)
    }

    /// Twelve rows: six jobs of three people, one of them without an answer.
    async fn of_twelve() -> Result<Self> {
        let mut chain = Self::new().await?;
        for seed in 1..=6 {
            let outcome = match seed {
                2 | 5 => Some(refused()),
                3 => None,
                _ => Some(done()),
            };
            chain.job(seed, seed % 3, NOW, outcome).await?;
        }
        Ok(chain)
    }

    async fn sql(&self, statements: &str) -> Tested {
        for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
            sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
                .execute(&mut *self.store.writer().await?)
                .await?;
        }
        Ok(())
    }

    async fn verify_with(&self, keys: Keys, seen: Option<Head>) -> Result<Result<Verified, Broken>> {
        let checkpoint = self.store.audit_checkpoint().await?;
        let mut verifier = match Verifier::new(keys, checkpoint.as_ref()) {
            Ok(verifier) => verifier,
            Err(broken) => return Ok(Err(broken)),
        };
        for (link, clear) in self.store.read_links(0, 1000).await? {
            match verifier.push(&link, clear.as_ref()) {
                Step::Holds => {}
                Step::Broken(broken) => return Ok(Err(broken)),
                Step::LookBehind => {
                    let following = self.store.read_links(link.number, 1000).await?;
                    let following: Vec<Link> = following.into_iter().map(|(link, _)| link).collect();
                    return Ok(Err(verifier.diagnose(&link, &following)));
                }
            }
        }
        Ok(verifier.finish(seen))
    }

    async fn verify(&self) -> Result<Result<Verified, Broken>> {
        self.verify_with(keys(), self.seen).await
    }

    /// Computes every hash from row `from` on anew, as somebody would who knows how.
    async fn rehash(&self, from: i64) -> Tested {
        let links = self.store.read_links(0, 1000).await?;
        let mut head = Head::NONE;
        for (link, _) in links {
            let number = link.number;
            let link = if number >= from { link.after(head) } else { link };
            sqlx::query("UPDATE audit SET previous = $1, hash = $2 WHERE number = $3")
                .bind(link.previous.as_bytes().as_slice())
                .bind(link.hash.as_bytes().as_slice())
                .bind(number)
                .execute(&mut *self.store.writer().await?)
                .await?;
            head = Head { number, hash: link.hash };
        }
        Ok(())
    }
}

fn named(found: Result<Verified, Broken>) -> (i64, i64, Fault) {
    match found {
        Ok(verified) => panic!("found whole: {verified:?}"),
        Err(broken) => (broken.number, broken.until, broken.fault),
    }
}

const SHIFT_UP: &str = "UPDATE audit SET number = -number WHERE number >= 6; UPDATE audit SET number = 1 - number WHERE number < 0";
const SHIFT_DOWN: &str =
    "DELETE FROM audit WHERE number = 6; UPDATE audit SET number = number - 1 WHERE number > 6";

#[tokio::test]
async fn a_chain_that_nobody_touched_is_whole() -> Tested {
    let chain = Chain::of_twelve().await?;
    let verified = chain.verify().await??;
    assert_eq!((verified.rows, verified.countersigned, verified.erased), (12, 5, 0));
    assert_eq!((verified.from, verified.head.number, verified.vouched), (0, 12, 10));
    assert_eq!(verified.head, chain.store.audit_head());
    let rows = chain.store.list_audit(None, 100).await?;
    let refusal = rows[3].personal.as_ref().and_then(keyback_core::audit::Personal::failure);
    assert_eq!(
        refusal.map(|failure| failure.evidence.len()),
        Some(1),
        "evidence is read from the agent's reply"
    );
    Ok(())
}

/// Fault: a row of the audit trail is altered, removed, inserted or moved => named at that row
#[tokio::test]
async fn what_sql_does_to_one_row_is_named_at_that_row() -> Tested {
    let set = |column: &str, value: &str| format!("UPDATE audit SET {column} = {value} WHERE number = 6");
    let insert = "INSERT INTO audit SELECT 6, at, correlation_id, job_id, event, personal, NULL, NULL, previous, hash, NULL, NULL FROM audit WHERE number = 5";
    let swap = "UPDATE audit SET number = -6 WHERE number = 6; UPDATE audit SET number = 6 WHERE number = 8; UPDATE audit SET number = 8 WHERE number = -6";
    let cases: Vec<(String, (i64, i64, Fault))> = vec![
        (set("at", "at + 1"), (6, 6, Fault::Altered)),
        (set("correlation_id", "'x'"), (6, 6, Fault::Altered)),
        (set("job_id", "'x'"), (6, 6, Fault::Altered)),
        (set("event", "replace(event, 'failure', 'success')"), (6, 6, Fault::Altered)),
        (set("personal", "randomblob(32)"), (6, 6, Fault::Altered)),
        (set("personal", "randomblob(3)"), (6, 6, Fault::Altered)),
        (set("said", "'{}'"), (6, 6, Fault::Altered)),
        (set("signature", "randomblob(64)"), (6, 6, Fault::Altered)),
        (set("previous", "randomblob(32)"), (6, 6, Fault::Altered)),
        (set("hash", "randomblob(32)"), (6, 6, Fault::Altered)),
        (
            "UPDATE audit SET clear = replace(clear, 'user', 'loser') WHERE number = 6".to_owned(),
            (6, 6, Fault::Altered),
        ),
        ("UPDATE audit SET salt = randomblob(32) WHERE number = 6".to_owned(), (6, 6, Fault::Altered)),
        ("DELETE FROM audit WHERE number = 6".to_owned(), (6, 6, Fault::Removed)),
        ("DELETE FROM audit WHERE number IN (6, 7)".to_owned(), (6, 7, Fault::Removed)),
        ("DELETE FROM audit WHERE number = 1".to_owned(), (1, 1, Fault::Removed)),
        (SHIFT_DOWN.to_owned(), (6, 6, Fault::Removed)),
        (format!("{SHIFT_UP}; {insert}"), (6, 6, Fault::Inserted)),
        (swap.to_owned(), (6, 6, Fault::Reordered)),
        ("DELETE FROM audit WHERE number > 9".to_owned(), (10, 10, Fault::Behind)),
    ];
    for (statements, expected) in cases {
        let chain = Chain::of_twelve().await?;
        chain.sql(&statements).await?;
        assert_eq!(named(chain.verify().await?), expected, "{statements}");
    }
    Ok(())
}

/// Fault: the past is rewritten with hashes that fit => found by what the agent signed
#[tokio::test]
async fn whoever_knows_how_to_hash_is_found_by_what_the_agent_signed() -> Tested {
    // A row that fits behind row 5 and is fully hashed; the rows behind it are the old ones.
    let chain = Chain::of_twelve().await?;
    chain.sql(SHIFT_UP).await?;
    chain.sql("INSERT INTO audit SELECT 6, at, correlation_id, job_id, event, personal, NULL, NULL, hash, hash, NULL, NULL FROM audit WHERE number = 5").await?;
    let links = chain.store.read_links(4, 2).await?;
    let (before, inserted) = (links[0].0.clone(), links[1].0.clone());
    let inserted = inserted.after(before.head());
    sqlx::query("UPDATE audit SET hash = $1, previous = $2 WHERE number = 6")
        .bind(inserted.hash.as_bytes().as_slice())
        .bind(inserted.previous.as_bytes().as_slice())
        .execute(&mut *chain.store.writer().await?)
        .await?;
    assert_eq!(named(chain.verify().await?), (6, 6, Fault::Inserted));

    // One row and its own hash.
    let chain = Chain::of_twelve().await?;
    chain.sql("UPDATE audit SET at = at + 1 WHERE number = 11").await?;
    let (link, _) = chain.store.read_links(10, 1).await?.remove(0);
    sqlx::query("UPDATE audit SET hash = $1 WHERE number = 11")
        .bind(link.hash_at(11).as_bytes().as_slice())
        .execute(&mut *chain.store.writer().await?)
        .await?;
    assert_eq!(named(chain.verify().await?), (11, 11, Fault::Altered));

    // Everything from a row on: the agent had seen rows 2, 6, 8 and 10.
    for (altered, expected) in
        [(6, (3, 6, Fault::Altered)), (7, (7, 8, Fault::Altered)), (1, (1, 2, Fault::Altered))]
    {
        let chain = Chain::of_twelve().await?;
        chain.sql(&format!("UPDATE audit SET at = at + 1 WHERE number = {altered}")).await?;
        chain.rehash(altered).await?;
        assert_eq!(named(chain.verify().await?), expected, "row {altered}");
    }
    Ok(())
}

/// Fault: an outcome in the audit trail is forged, or carries another's signature => named
#[tokio::test]
async fn an_outcome_that_the_agent_did_not_sign_is_named() -> Tested {
    let to_success = "UPDATE audit SET event = replace(replace(replace(event, '\"failure\"', '\"success\"'), \
         ',\"code\":\"AADSTS120004\"', ''), ',\"cause\":\"policy.history\"', '') WHERE number = 4";
    let other_row = "UPDATE audit SET said = (SELECT said FROM audit WHERE number = 2), \
         signature = (SELECT signature FROM audit WHERE number = 2) WHERE number = 8";
    for (statements, from, row) in [
        (to_success, 4, 4),
        (other_row, 8, 8),
        ("UPDATE audit SET said = NULL, signature = NULL WHERE number = 2", 2, 2),
        ("UPDATE audit SET said = NULL WHERE number = 2", 2, 2),
        ("UPDATE audit SET said = replace(said, 'dc1', 'dc2') WHERE number = 2", 2, 2),
        ("UPDATE audit SET signature = randomblob(64) WHERE number = 2", 2, 2),
        ("UPDATE audit SET event = replace(event, '[2,3]', '[2,4]') WHERE number = 2", 2, 2),
    ] {
        let chain = Chain::of_twelve().await?;
        chain.sql(statements).await?;
        chain.rehash(from).await?;
        assert_eq!(named(chain.verify().await?), (row, row, Fault::Signature), "{statements}");
    }
    // Evidence is covered too, though it is not in the chain.
    let chain = Chain::of_twelve().await?;
    let (link, clear) = chain.store.read_links(3, 1).await?.remove(0);
    let clear = clear.ok_or("no personal side")?;
    let forged = clear.text.replace("24", "25");
    assert_ne!(forged, clear.text);
    let commitment = keyback_core::audit::commit(&clear.salt, &forged);
    sqlx::query("UPDATE audit SET clear = $1 WHERE number = $2")
        .bind(forged)
        .bind(link.number)
        .execute(&mut *chain.store.writer().await?)
        .await?;
    sqlx::query("UPDATE audit SET personal = $1 WHERE number = 4")
        .bind(commitment.as_bytes().as_slice())
        .execute(&mut *chain.store.writer().await?)
        .await?;
    chain.rehash(4).await?;
    assert_eq!(named(chain.verify().await?), (4, 4, Fault::Signature));
    // Another agent's key vouches for nothing, and a key that was in use before for what it signed.
    let chain = Chain::of_twelve().await?;
    let other = SigningKey::from_seed(&[9; 32])?.verifying_key();
    let strangers = Keys { agents: vec![other], ..keys() };
    assert_eq!(named(chain.verify_with(strangers, None).await?), (2, 2, Fault::Signature));
    let rotated = Keys { agents: vec![other, agent().verifying_key()], ..keys() };
    assert!(chain.verify_with(rotated, None).await?.is_ok());
    Ok(())
}

/// Fault: the store is restored from an old copy => the agent's journal tells, and its next signature
#[tokio::test]
async fn an_old_copy_of_the_store_is_found_out_by_the_next_signature() -> Tested {
    let mut chain = Chain::of_twelve().await?;
    chain.sql("DELETE FROM audit WHERE number > 6").await?;
    assert!(chain.verify_with(keys(), None).await?.is_ok(), "the file alone does not show it");
    assert_eq!(named(chain.verify().await?), (7, 10, Fault::Behind), "the agent's journal does");
    chain.store.close().await;
    chain.store = Store::open(&chain.path()).await?;
    chain.job(7, 1, NOW, Some(done())).await?;
    assert_eq!(named(chain.verify_with(keys(), None).await?), (8, 8, Fault::Behind));
    Ok(())
}

#[tokio::test]
async fn erasing_a_person_leaves_no_trace_of_them_and_the_chain_whole() -> Tested {
    let mut chain = Chain::of_twelve().await?;
    // The same person under a name that found nobody, and somebody whose name only begins alike.
    chain.job(8, 11, NOW, Some(done())).await?;
    let before = chain.store.list_audit(None, 100).await?;
    let erased = chain.store.erase_person(guid(1), NOW).await?;
    assert_eq!(erased, Erased { rows: 4, jobs: 2, open_jobs: 0 });
    let verified = chain.verify().await??;
    assert_eq!((verified.rows, verified.erased), (15, 5), "four rows, and the one that says so");
    let after = chain.store.list_audit(None, 100).await?;
    for (old, new) in before.iter().zip(&after) {
        let theirs = old.personal.as_ref().is_some_and(|personal| personal.object_guid == Some(guid(1)));
        assert_eq!(new.personal.is_none(), theirs);
        assert_eq!((new.hash, &new.facts, new.countersigned), (old.hash, &old.facts, old.countersigned));
    }
    let last = after.last().ok_or("no row")?;
    assert_eq!((last.facts.activity, last.facts.rows, last.job_id), (Activity::Erased, Some(4), None));
    for entry in std::fs::read_dir(chain.folder.path())? {
        let bytes = std::fs::read(entry?.path())?;
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds("user1\"") && !holds("Display Name 1,") && !holds("user1@ad.example"));
        assert!(!holds(&guid(1).to_string()) && !holds("192.0.2.1\""));
    }
    assert_eq!(chain.store.erase_person(guid(1), NOW).await?.rows, 0, "once is enough");
    Ok(())
}

#[tokio::test]
async fn a_row_never_erased_and_one_whose_salt_is_gone_say_the_same_of_a_name() -> Tested {
    let mut chain = Chain::new().await?;
    chain.job(1, 1, NOW, Some(done())).await?;
    chain.job(2, 1, NOW, Some(done())).await?;
    let links = chain.store.read_links(0, 10).await?;
    let commitments: std::collections::HashSet<ChainHash> =
        links.iter().map(|(link, _)| link.personal).collect();
    assert_eq!(commitments.len(), 4, "one person's rows cannot be told to be one person's");
    Ok(())
}

/// Fault: the checkpoint of a pruned audit trail is altered or removed => named
#[tokio::test]
async fn pruning_leaves_a_checkpoint_from_which_the_rest_verifies() -> Tested {
    let mut chain = Chain::new().await?;
    for day in 0..6_u8 {
        chain.job(day + 1, day + 1, NOW.plus(DAY * u32::from(day)), Some(done())).await?;
    }
    let now = NOW.plus(DAY * 6);
    // Older than three days: rows 1 to 6. Names go after one day: rows 7 to 10 lose theirs too.
    let pruned = chain.store.prune_audit(NOW.plus(DAY * 3), NOW.plus(DAY * 5), now, &server()).await?;
    assert_eq!(pruned, Pruned { rows: 6, personal: 4, jobs: 5 });
    let verified = chain.verify().await??;
    assert_eq!((verified.rows, verified.from, verified.erased), (6, 6, 4));
    let again = chain.store.prune_audit(NOW.plus(DAY * 3), NOW.plus(DAY * 5), now, &server()).await?;
    assert_eq!(again, Pruned::default());
    // It goes on behind the checkpoint.
    chain.job(9, 9, now, Some(done())).await?;
    assert_eq!(chain.verify().await??.head.number, 14);
    let rows = chain.store.read_audit(AuditSpan { after: 0, since: Some(now), until: None }, 100).await?;
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [13, 14]);
    // The checkpoint is as hard to forge as the rows.
    for (statement, fault) in [
        ("UPDATE audit_checkpoint SET hash = randomblob(32)", (6, 6, Fault::Signature)),
        ("UPDATE audit_checkpoint SET number = 8", (8, 8, Fault::Signature)),
        ("UPDATE audit_checkpoint SET at = at + 1", (6, 6, Fault::Signature)),
        ("DELETE FROM audit_checkpoint", (1, 6, Fault::Removed)),
        ("DELETE FROM audit WHERE number = 7", (7, 7, Fault::Removed)),
    ] {
        let mut copy = Chain::new().await?;
        for day in 0..6_u8 {
            copy.job(day + 1, day + 1, NOW.plus(DAY * u32::from(day)), Some(done())).await?;
        }
        copy.store.prune_audit(NOW.plus(DAY * 3), NOW.plus(DAY * 3), now, &server()).await?;
        copy.sql(statement).await?;
        assert_eq!(named(copy.verify().await?), fault, "{statement}");
    }
    let strangers = Keys { servers: vec![agent().verifying_key()], ..keys() };
    assert_eq!(named(chain.verify_with(strangers, None).await?), (6, 6, Fault::Signature));
    Ok(())
}

#[tokio::test]
async fn what_the_agent_has_not_countersigned_is_not_pruned() -> Tested {
    let mut chain = Chain::new().await?;
    chain.job(1, 1, NOW, Some(done())).await?;
    chain.job(2, 2, NOW, None).await?;
    let late = NOW.plus(DAY * 1000);
    assert_eq!(chain.store.prune_audit(late, late, late, &server()).await?.rows, 0);
    chain.job(3, 3, NOW, Some(done())).await?;
    assert_eq!(chain.store.prune_audit(late, late, late, &server()).await?.rows, 4);
    assert_eq!(chain.verify().await??.rows, 2);
    Ok(())
}

#[tokio::test]
async fn a_store_of_the_old_form_is_chained_when_it_is_opened() -> Tested {
    sqlx::any::install_default_drivers();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("keyback.db");
    let old = sqlx::AnyPool::connect(&format!("sqlite://{}?mode=rwc", path.display())).await?;
    sqlx::migrate!("migrations/sqlite").run_to(1, &old).await?;
    let flow = CorrelationId::from_random([7; 16]);
    let intent = AuditEvent::intent(
        NOW,
        flow,
        JobId::from_random([7; 16]),
        Activity::Reset,
        "ada".to_owned(),
        Some(guid(7)),
        Some("192.0.2.7".to_owned()),
    );
    let failure = Failure::of(Cause::PolicyHistory).seen("pwdHistoryLength", "24", "CN=Ada,DC=ad");
    let (failed, succeeded) =
        (intent.clone().ended(NOW, None, Some(&failure)), intent.clone().ended(NOW, None, None));
    for event in [&intent, &failed, &succeeded] {
        sqlx::query("INSERT INTO audit (at, correlation_id, job_id, event) VALUES ($1, $2, $3, $4)")
            .bind(event.at.as_micros())
            .bind(event.correlation_id.to_string())
            .bind(event.job_id.to_string())
            .bind(serde_json::to_string(event)?)
            .execute(&old)
            .await?;
    }
    old.close().await;
    let mut chain = Chain { store: Store::open(&path).await?, folder, seen: None };
    for _ in 0..2 {
        let rows = chain.store.list_audit(Some(flow), 10).await?;
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(rows.iter().all(|row| row.facts.legacy && !row.countersigned));
        let person = rows[1].personal.as_ref().ok_or("nobody")?;
        assert_eq!((person.user_name.as_str(), person.object_guid), ("ada", Some(guid(7))));
        assert_eq!(person.failure(), Some(failure.clone()));
        assert_eq!(chain.store.audit_head().number, 3);
        let left: i64 = sqlx::query("SELECT COUNT(*) FROM audit_unchained")
            .fetch_one(&mut *chain.store.writer().await?)
            .await?
            .try_get(0)?;
        assert_eq!(left, 0);
        chain.store.close().await;
        chain.store = Store::open(&path).await?;
    }
    chain.job(1, 1, NOW, Some(done())).await?;
    assert_eq!(chain.verify().await??.rows, 5);
    // A new row cannot pass for an old one.
    chain.sql("UPDATE audit SET said = NULL, signature = NULL, event = replace(event, '}}', '},\"legacy\":true}') WHERE number = 5").await?;
    chain.rehash(5).await?;
    let found = named(chain.verify().await?);
    assert_eq!(found, (5, 5, Fault::Inserted));
    Ok(())
}
