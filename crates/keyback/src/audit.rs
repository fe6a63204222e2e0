//! `keyback audit`: what was about to be done, what came of it, and whether the record is whole.

mod cef;
mod csv;
mod directory_audit;
mod export;
mod retention;
mod row;
mod verify;

pub use export::Format;
pub use retention::keep_pruning;

use crate::cli::AuditCommand;
use crate::config::{Config, ConfigError};
use crate::output::{self, BLIND, Trouble};
use keyback_agent::Journal;
use keyback_core::CorrelationId;
use keyback_core::audit::Head;
use keyback_store::Store;
use std::process::ExitCode;

/// `audit …`.
pub async fn run(config: &Config, command: AuditCommand) -> Result<ExitCode, Trouble> {
    if let AuditCommand::Head { json } = command {
        return say_head(config, json);
    }
    let server = config.server()?;
    if !server.store.exists() {
        return Err(Trouble {
            exit: BLIND,
            ..Trouble::internal(format!("the store {} is not there", server.store.display()))
        });
    }
    let store = Store::open(&server.store).await?;
    let done = match command {
        AuditCommand::List { correlation_id, limit, json } => list(&store, correlation_id, limit, json).await,
        AuditCommand::Verify { head, json } => verify::run(&store, config, head, json).await,
        AuditCommand::Export { format, since, until, out } => {
            export::run(&store, format, since, until, out.as_deref()).await
        }
        AuditCommand::Prune { json } => retention::prune(&store, config, json).await,
        AuditCommand::Erase { guid, json } => retention::erase(&store, guid, json).await,
        AuditCommand::Head { .. } => Ok(ExitCode::SUCCESS),
    };
    store.close().await;
    done
}

async fn list(
    store: &Store,
    of: Option<CorrelationId>,
    limit: u32,
    as_document: bool,
) -> Result<ExitCode, Trouble> {
    let rows = store.list_audit(of, limit).await?;
    if as_document {
        output::say_json(&rows.iter().map(row::as_json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        output::note("No audit rows.");
    }
    rows.iter().for_each(|row| output::say(&row::describe(row)));
    Ok(ExitCode::SUCCESS)
}

/// What this machine's agent has seen of the chain; `None` where it has seen nothing yet.
fn agents_head(config: &Config) -> Result<Option<Head>, Trouble> {
    let journal = &config.agent()?.journal;
    if !journal.exists() {
        return Ok(None);
    }
    Journal::read_audit_head(journal).map_err(|error| Trouble::of(BLIND, &error))
}

fn say_head(config: &Config, json: bool) -> Result<ExitCode, Trouble> {
    let head = agents_head(config).map_err(|trouble| match config.agent() {
        Err(ConfigError::Missing(section)) => ConfigError::Missing(section).into(),
        _ => trouble,
    })?;
    if json {
        output::say_json(&head)?;
    } else {
        match head {
            Some(head) => output::say(&head.to_string()),
            None => output::note("This agent has seen no audit chain yet."),
        }
    }
    Ok(ExitCode::SUCCESS)
}
