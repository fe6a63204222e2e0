//! What must hold whatever happens: P1 to P3 of the threat model, against what the domain controllers really did.

use crate::world::{Known, World};
use anyhow::Result;
use keyback_codes::Cause;
use keyback_core::JobId;
use keyback_core::audit::Phase;
use keyback_core::job::JobState;
use keyback_store::Job;

/// After each step: every job that moved, and every promise about passwords. The promise that is broken.
pub async fn after_a_step(world: &mut World, moved: Vec<Job>) -> Result<Option<String>> {
    for job in moved {
        if let Some(broken) = take_note(world, &job) {
            return Ok(Some(broken));
        }
        if job.state.finished_at().is_some()
            && let Some(broken) = ended_well(world, job.id).await?
        {
            return Ok(Some(broken));
        }
    }
    Ok(passwords(world))
}

/// A job moved: never away from its end.
fn take_note(world: &mut World, job: &Job) -> Option<String> {
    let name = world.name_of(job.id);
    let text = match (&job.state, job.state.failure()) {
        (state, Some(failure)) => format!("  {name} is {}: {}", state.name(), failure.cause),
        (state, None) => format!("  {name} is {}", state.name()),
    };
    world.log.push(text);
    let known = world.known.get_mut(&job.id)?;
    if known.state.finished_at().is_some() && known.state != job.state {
        return Some(format!("P1: {name} had ended and moved on"));
    }
    known.state = job.state.clone();
    None
}

/// How the store keeps an end: a code, a cause and evidence, an intent before an outcome, no sealed message.
async fn ended_well(world: &World, id: JobId) -> Result<Option<String>> {
    let Some(known) = world.known.get(&id) else {
        return Ok(Some("P1: a job that nobody asked for".to_owned()));
    };
    let Some(job) = world.store.find_job(id).await? else {
        return Ok(Some(format!("P1: {} is gone", known.name)));
    };
    let rows = world.store.list_audit(Some(known.correlation_id), 1000).await?;
    let phases: Vec<Phase> =
        rows.iter().filter(|row| row.job_id == Some(id)).map(|row| row.facts.phase).collect();
    let broken = if job.message.is_some() {
        "P6: its sealed message is kept after its end"
    } else if job.state != known.state {
        "P1: the store says otherwise than the engine"
    } else if phases != [Phase::Intent, Phase::Outcome] {
        "P5: it has not one intent and then one outcome"
    } else if known.password.is_some()
        && matches!(job.state, JobState::Succeeded { .. })
        && job.done.is_none()
    {
        "P2: it succeeded without evidence"
    } else {
        return Ok(None);
    };
    Ok(Some(format!("{broken}: {} {:?}", known.name, job.state)))
}

/// What became of each password, against what became of its job.
fn passwords(world: &World) -> Option<String> {
    if world.domain.anybody_locked() {
        return Some("P3: somebody is locked out".to_owned());
    }
    world.known.values().find_map(|known| {
        let broken = is_broken(world, known)?;
        Some(format!("{broken}: {} with {:?}, {:?}", known.name, known.password, known.state))
    })
}

fn is_broken(world: &World, known: &Known) -> Option<&'static str> {
    if let JobState::Exhausted { .. } = known.state
        && !known.disturbed
    {
        return Some("P1: it ran out of time although nothing stood in its way");
    }
    if known.state.failure().is_some_and(|failure| failure.cause == Cause::Unspecified) {
        return Some("P1: it was refused for good, and the domain controller was only busy");
    }
    let password = known.password.as_deref()?;
    let (set, counted) = (world.domain.times_set(password), world.domain.times_counted(password));
    if set > 1 {
        return Some("P2: one job set its password twice");
    }
    if counted > 1 {
        return Some("P3: one job cost two bad-password counts");
    }
    // One of several agents that was outrun cannot tell whether by another one with this very job.
    let outrun = world.agents.len() > 1 && known.disturbed;
    let unknown = known.unheard || outrun || world.domain.is_doubtful(password);
    match &known.state {
        JobState::Succeeded { .. } if set == 0 => Some("P1: it succeeded, and nothing was set"),
        JobState::Refused { .. } if set == 1 => Some("P1: it was refused, and the password was set"),
        JobState::Exhausted { last, .. } if last.cause == Cause::OutcomeUnknown => {
            (!unknown).then_some("P1: its outcome is called unknown, and every answer came")
        }
        JobState::Exhausted { .. } if set == 1 => Some("P1: it ran out of time, and the password was set"),
        JobState::Succeeded { .. }
        | JobState::Refused { .. }
        | JobState::Exhausted { .. }
        | JobState::Queued { .. }
        | JobState::Running { .. }
        | JobState::Doubtful { .. } => None,
    }
}

/// When everything has worked for long enough: every job of the store has ended, and well.
pub async fn at_the_end(world: &World) -> Result<Option<String>> {
    let jobs = world.store.list_jobs(1000).await?;
    if jobs.len() != world.known.len() {
        return Ok(Some(format!(
            "P1: {} jobs were asked for, the store has {}",
            world.known.len(),
            jobs.len()
        )));
    }
    for job in jobs {
        let name = world.name_of(job.id);
        if job.state.finished_at().is_none() {
            return Ok(Some(format!("P1: {name} does not end: {:?}", job.state)));
        }
        if let Some(broken) = ended_well(world, job.id).await? {
            return Ok(Some(broken));
        }
    }
    Ok(passwords(world))
}
