//! `keyback job`: jobs as the administrator sees them, with cause and evidence.

use crate::output::{self, FOUND, Trouble, plain};
use keyback_core::job::JobState;
use keyback_core::{Failure, JobId};
use keyback_store::{Attempt, Job, Store};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

fn verdicts(failure: Option<&Failure>) -> Vec<Value> {
    let Some(failure) = failure else { return Vec::new() };
    let fix = failure.cause.fix();
    let commands: Vec<Value> =
        fix.command.map(|line| json!({ "shell": "sh", "line": line })).into_iter().collect();
    vec![json!({
        "cause": failure.cause,
        // Read off the domain controller's answer; the doctor's probes can confirm it.
        "state": "possible",
        "code": failure.code,
        "summary": failure.cause.summary(),
        "because": [],
        "fix": { "text": fix.text, "commands": commands, "automatic": false },
    })]
}

/// The shape of `job show --json`.
pub fn as_json(job: &Job, attempts: &[Attempt]) -> Value {
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
        "verdicts": verdicts(failure),
    })
}

/// `job list`.
pub async fn list(store: &Store, limit: u32, as_document: bool) -> Result<ExitCode, Trouble> {
    let jobs = store.list_jobs(limit).await?;
    if as_document {
        let mut listed = Vec::with_capacity(jobs.len());
        for job in &jobs {
            listed.push(as_json(job, &store.list_attempts(job.id).await?));
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

fn describe(job: &Job, attempts: &[Attempt]) -> String {
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
        let fix = failure.cause.fix();
        line("Fix", fix.text);
        if let Some(command) = fix.command {
            line("", command);
        }
        line("More", &format!("keyback explain {} {}", failure.code, failure.cause));
    }
    for Attempt { number, at, failure } in attempts {
        line(&format!("Attempt {number}"), &format!("{at}  {} {}", failure.code, failure.cause));
    }
    text.trim_end().to_owned()
}

async fn load(store: &Store, id: JobId) -> Result<Job, Trouble> {
    store.find_job(id).await?.ok_or_else(|| Trouble {
        exit: FOUND,
        ..Trouble::usage(format!("there is no job {id} in this store"), "See `keyback job list`.")
    })
}

async fn print(store: &Store, job: &Job, as_document: bool) -> Result<ExitCode, Trouble> {
    let attempts = store.list_attempts(job.id).await?;
    if as_document {
        output::say_json(&as_json(job, &attempts))?;
    } else {
        output::say(&describe(job, &attempts));
    }
    Ok(if job.state.failure().is_some() { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// `job show`.
pub async fn show(store: &Store, id: JobId, as_document: bool) -> Result<ExitCode, Trouble> {
    print(store, &load(store, id).await?, as_document).await
}

/// `job wait`: the server works in another process, so the store is asked again and again.
pub async fn wait(store: &Store, id: JobId, seconds: u64, as_document: bool) -> Result<ExitCode, Trouble> {
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let job = load(store, id).await?;
        if job.state.finished_at().is_some() {
            return print(store, &job, as_document).await;
        }
        if tokio::time::Instant::now() >= until {
            print(store, &job, as_document).await?;
            output::note("keyback: the job is still open");
            return Ok(ExitCode::from(FOUND));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
