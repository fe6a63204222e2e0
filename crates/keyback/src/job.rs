//! `keyback job`: jobs as the administrator sees them, with cause and evidence.

use crate::output::{self, FOUND, Trouble, plain};
use keyback_core::diagnosis::Diagnosis;
use keyback_core::job::JobState;
use keyback_core::{Failure, JobId, Timestamp};
use keyback_store::{Attempt, Job, Store};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// What doctor found when the job was refused; without that, what the answer alone says.
fn verdicts(failure: Option<&Failure>, diagnosis: Option<&Diagnosis>) -> Vec<Value> {
    if let Some(diagnosis) = diagnosis {
        return diagnosis.verdicts.iter().map(|verdict| json!(verdict)).collect();
    }
    let Some(failure) = failure else { return Vec::new() };
    let fix = failure.cause.fix();
    let commands: Vec<Value> =
        fix.command.map(|line| json!({ "shell": "sh", "line": line })).into_iter().collect();
    vec![json!({
        "cause": failure.cause,
        "state": "possible",
        "code": failure.code,
        "summary": failure.cause.summary(),
        "because": [],
        "fix": { "text": fix.text, "commands": commands, "automatic": false },
    })]
}

/// All that is kept of one job.
struct Told {
    job: Job,
    attempts: Vec<Attempt>,
    diagnosis: Option<(Timestamp, Diagnosis)>,
}

impl Told {
    async fn of(store: &Store, job: Job) -> Result<Self, Trouble> {
        let attempts = store.list_attempts(job.id).await?;
        let diagnosis = store.find_diagnosis(job.id).await?;
        Ok(Self { job, attempts, diagnosis })
    }
}

/// The shape of `job show --json`.
fn as_json(Told { job, attempts, diagnosis }: &Told) -> Value {
    let failure = job.state.failure();
    let attempts: Vec<Value> = attempts
        .iter()
        .map(|Attempt { number, at, failure }| {
            json!({ "attempt": number, "at": at.to_string(), "code": failure.code, "cause": failure.cause,
                    "dc": failure.dc, "reply": failure.reply, "evidence": failure.evidence })
        })
        .collect();
    json!({
        "id": job.id,
        "correlation_id": job.correlation_id,
        "operation": job.operation,
        "kind": job.kind,
        "user": job.user_name,
        "object_guid": job.object_guid,
        "source": job.source,
        "state": job.state.name(),
        "code": failure.map(|failure| failure.code),
        "cause": failure.map(|failure| failure.cause),
        "created": job.created_at.to_string(),
        "finished": job.state.finished_at().map(|at| at.to_string()),
        "deadline": job.deadline.to_string(),
        "dc": job.done.as_ref().map(|done| done.dc.clone()).or_else(|| failure.and_then(|failure| failure.dc.clone())),
        "done": job.done,
        "failure": failure,
        "attempts": attempts,
        "verdicts": verdicts(failure, diagnosis.as_ref().map(|(_, diagnosis)| diagnosis)),
        "observations": diagnosis.as_ref().map(|(_, diagnosis)| &diagnosis.observations),
        "ruled_out": diagnosis.as_ref().map(|(_, diagnosis)| &diagnosis.ruled_out),
        "diagnosed": diagnosis.as_ref().map(|(at, _)| at.to_string()),
    })
}

/// `job list`.
pub async fn list(store: &Store, limit: u32, as_document: bool) -> Result<ExitCode, Trouble> {
    let jobs = store.list_jobs(limit).await?;
    if as_document {
        let mut listed = Vec::with_capacity(jobs.len());
        for job in jobs {
            listed.push(as_json(&Told::of(store, job).await?));
        }
        output::say_json(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    if jobs.is_empty() {
        output::note("No jobs yet.");
    }
    for job in jobs {
        let end = match &job.state {
            JobState::Refused { why: failure, .. } | JobState::Exhausted { last: failure, .. } => {
                format!("{} {}", failure.code, failure.cause)
            }
            JobState::Queued { .. }
            | JobState::Running { .. }
            | JobState::Doubtful { .. }
            | JobState::Succeeded { .. } => String::new(),
        };
        let (user, kind) = (plain(&job.user_name), job.kind.name());
        let line =
            format!("{}  {}  {kind:<6}  {:<9}  {user:<24}  {end}", job.created_at, job.id, job.state.name());
        output::say(line.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(Told { job, attempts, diagnosis }: &Told) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<18}{}", plain(value)); // a String takes everything
    };
    line("Job", &job.id.to_string());
    line("Correlation ID", &job.correlation_id.to_string());
    line("Operation", &format!("{} ({})", job.operation, job.kind));
    line("User", &job.user_name);
    line("State", job.state.name());
    line("Created", &job.created_at.to_string());
    if let Some(at) = job.state.finished_at() {
        line("Finished", &format!("{at}  (after {} ms)", at.since(job.created_at).as_millis()));
    }
    if let Some(done) = &job.done {
        line("Served by", &done.dc);
        if let Some((before, after)) = done.key_version {
            line("Key version", &format!("{before} -> {after}"));
        }
        line("History", if done.history_enforced { "checked by the DC" } else { "not checked by the DC" });
        line("Compare-and-swap", if done.compare_and_swap { "yes" } else { "no" });
        for remark in &done.remarks {
            line("Remark", &format!("{remark}: {}", remark.summary()));
        }
    }
    if let Some(failure) = job.state.failure() {
        line("Code", &failure.code.to_string());
        line("Cause", &format!("{}: {}", failure.cause, failure.cause.summary()));
        if let Some(dc) = &failure.dc {
            line("Asked", dc);
        }
        if let Some(reply) = &failure.reply {
            line("DC's answer", &format!("{} {}", reply.result, reply.text));
        }
        for seen in &failure.evidence {
            line("Evidence", &format!("{} = {}  ({})", seen.attribute, seen.value, seen.from));
        }
        let verdict = diagnosis.as_ref().and_then(|(_, diagnosis)| diagnosis.verdicts.first());
        if let Some(verdict) = verdict.filter(|verdict| verdict.cause == failure.cause) {
            line("Fix", &verdict.fix.text);
            for command in &verdict.fix.commands {
                line("", &command.line);
            }
        } else {
            let fix = failure.cause.fix();
            line("Fix", fix.text);
            if let Some(command) = fix.command {
                line("", command);
            }
        }
        line("More", &format!("keyback explain {} {}", failure.code, failure.cause));
    }
    for Attempt { number, at, failure } in attempts {
        line(&format!("Attempt {number}"), &format!("{at}  {} {}", failure.code, failure.cause));
    }
    if let Some((at, _)) = diagnosis {
        line("Doctor looked", &format!("{at}: keyback doctor --job {}", job.id));
    }
    text.trim_end().to_owned()
}

/// One job of this store.
pub async fn load(store: &Store, id: JobId) -> Result<Job, Trouble> {
    store.find_job(id).await?.ok_or_else(|| Trouble {
        exit: FOUND,
        ..Trouble::usage(format!("there is no job {id} in this store"), "See `keyback job list`.")
    })
}

async fn print(store: &Store, job: Job, as_document: bool) -> Result<ExitCode, Trouble> {
    let told = Told::of(store, job).await?;
    if as_document {
        output::say_json(&as_json(&told))?;
    } else {
        output::say(&describe(&told));
    }
    Ok(if told.job.state.failure().is_some() { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// `job show`.
pub async fn show(store: &Store, id: JobId, as_document: bool) -> Result<ExitCode, Trouble> {
    print(store, load(store, id).await?, as_document).await
}

/// `job wait`: the server works in another process, so the store is asked again and again.
pub async fn wait(store: &Store, id: JobId, seconds: u64, as_document: bool) -> Result<ExitCode, Trouble> {
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let job = load(store, id).await?;
        if job.state.finished_at().is_some() {
            return print(store, job, as_document).await;
        }
        if tokio::time::Instant::now() >= until {
            print(store, job, as_document).await?;
            output::note("keyback: the job is still open");
            return Ok(ExitCode::from(FOUND));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
