//! `keyback doctor --job ID`: what was read when that job was refused, and the question to ask where nothing was.

use crate::config::Config;
use crate::output::{Trouble, USAGE};
use crate::{job, serve};
use keyback_agent::doctor::Observed;
use keyback_core::diagnosis::Diagnosis;
use keyback_core::job::Kind;
use keyback_core::{JobId, Timestamp, UserName};

/// What the store knows of a job that matters to doctor.
pub(super) enum Known {
    /// Doctor was there at the time.
    Then(Timestamp, Box<Diagnosis>),
    /// It was not, or is to look again: whom to look at, and the refusal to explain.
    Ask(UserName, Option<Observed>),
}

/// Looks into the store.
pub(super) async fn recall(config: &Config, id: JobId, again: bool) -> Result<Known, Trouble> {
    let store = serve::open_store(config).await?;
    let job = job::load(&store, id).await?;
    if let Some((at, diagnosis)) = store.find_diagnosis(id).await?.filter(|_| !again) {
        return Ok(Known::Then(at, Box::new(diagnosis)));
    }
    let name = job.object_guid.map_or_else(|| job.user_name.clone(), |guid| guid.to_string());
    let name = UserName::parse(&name).map_err(|error| Trouble::of(USAGE, &error))?;
    let reply = job.state.failure().and_then(|failure| failure.reply.clone());
    // What was asked of a verify job is a search, and no answer to that explains a refused write.
    let reply = reply.filter(|_| job.kind != Kind::Verify);
    Ok(Known::Ask(name, reply.map(|reply| Observed::new(job.operation, reply))))
}
