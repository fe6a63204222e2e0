//! The one binary: commands, configuration, wiring. The only place where server and agent meet.

mod audit;
mod check;
mod cli;
mod config;
mod doctor;
mod explain;
mod init;
mod job;
mod key;
mod keyfiles;
mod limits;
mod output;
mod page;
mod person;
mod proofs;
mod relay;
mod scan;
mod serve;
mod tend;

use clap::Parser;
use cli::{AgentCommand, Cli, Command, JobCommand, KeyCommand, PassCommand, PersonCommand};
use output::Trouble;
use std::process::ExitCode;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: a web server's and a TLS library's buffers held passwords, and are not ours to wipe.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

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
        Command::Agent { config, command } => {
            let config = config.load()?;
            match command {
                None => serve::agent(&config).await,
                Some(AgentCommand::Resume { json }) => {
                    tend::order(config.agent()?, tend::Order::Resume, json).await
                }
                Some(AgentCommand::Confirm { json }) => {
                    tend::order(config.agent()?, tend::Order::Confirm, json).await
                }
            }
        }
        Command::Key { config, command } => {
            let config = config.load()?;
            match command {
                KeyCommand::List { json } => key::list(&config, json),
                KeyCommand::Rotate { json } => key::rotate(&config, json),
                KeyCommand::Revoke { id, json } => key::revoke(&config, id, json),
                KeyCommand::Enrol { code_file: None, json } => key::make_code(&config, json).await,
                KeyCommand::Enrol { code_file: Some(file), json } => key::enrol(&config, &file, json).await,
            }
        }
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
        Command::Person { config, command: PersonCommand::Import { file, check, json } } => {
            person::import(&config.load()?, &file, check, json).await
        }
        Command::Pass { config, command: PassCommand::Create { user, hours, json } } => {
            person::create_pass(&config.load()?, &user, hours, json).await
        }
        Command::Audit { config, command } => audit::run(&config.load()?, command).await,
    }
}
