//! The one binary: commands, configuration, wiring. The only place where server and agent meet.

mod audit;
mod check;
mod cli;
mod config;
mod doctor;
mod explain;
mod init;
mod job;
mod keyfiles;
mod output;
mod page;
mod relay;
mod scan;
mod serve;

use clap::Parser;
use cli::{Cli, Command, JobCommand};
use output::Trouble;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Every TLS client and server of ours uses ring; a second installation would be a bug and is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::report(&Trouble::internal(format!("no threads to run on: {error}"))),
    };
    match runtime.block_on(run(Cli::parse())) {
        Ok(code) => code,
        Err(trouble) => output::report(&trouble),
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Trouble> {
    match cli.command {
        Command::Serve { config, without_agent } => serve::serve(&config.load()?, without_agent).await,
        Command::Agent { config } => serve::agent(&config.load()?).await,
        Command::Init(options) => init::run(options).await,
        Command::Check { config, json } => check::run(&config, json).await,
        Command::Doctor(options) => doctor::run(*options).await,
        Command::Explain { site: Some(folder), base_url, .. } => {
            explain::write_site(&folder, base_url.as_deref())
        }
        Command::Explain { codes, json, .. } => explain::run(&codes, json),
        Command::Scan(options) => scan::run(&options),
        Command::Job { config, command } => {
            let store = serve::open_store(&config.load()?).await?;
            match command {
                JobCommand::List { json, limit } => job::list(&store, limit, json).await,
                JobCommand::Show { id, json } => job::show(&store, id, json).await,
                JobCommand::Wait { id, json, seconds } => job::wait(&store, id, seconds, json).await,
            }
        }
        Command::Audit { config, command } => audit::run(&config.load()?, command).await,
    }
}
