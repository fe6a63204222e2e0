//! `keyback serve` and `keyback agent`: wiring the parts, and ending them in order.

use crate::config::{Agent as AgentSection, Config, ConfigError, Server as ServerSection};
use crate::output::{self, BLIND, Trouble, USAGE};
use crate::{audit, keyfiles, relay, tend};
use keyback_ad::Sid;
use keyback_agent::{Agent, AgentParts, Journal, MailConfig, Mailer};
use keyback_core::relay::Relay;
use keyback_core::{Clock, SystemClock, UserName};
use keyback_server::agents::Agents;
use keyback_server::portal::{self, PortalConfig};
use keyback_server::{Jobs, Limits, Sealer, web};
use keyback_store::Store;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long jobs in flight may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KEYBACK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    // ldap3_proto logs the raw bytes of what it cannot decode; they may hold a password.
    let filter = filter.add_directive("ldap3_proto=off".parse().unwrap_or_default());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { builder.init() } else { builder.json().flatten_event(true).init() }
}

/// The store of the server's section.
pub async fn open_store(config: &Config) -> Result<Store, Trouble> {
    Ok(Store::open(&config.server()?.store).await?)
}

/// The agent's way to people.
pub fn mailer(section: &AgentSection, organisation: &str) -> Result<Mailer, Trouble> {
    let credentials = match (&section.mail.user, &section.mail.password_file) {
        (Some(user), Some(file)) => Some((user.clone(), crate::config::read_secret("mail password", file)?)),
        _ => None,
    };
    let mailer = Mailer::new(MailConfig {
        gateway: section.mail.gateway.clone(),
        credentials,
        from: section.mail.from.clone(),
        organisation: organisation.to_owned(),
    });
    mailer.map_err(|error| Trouble::of(USAGE, &error))
}

fn build_agent(section: &AgentSection, organisation: &str) -> Result<Agent, Trouble> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let value = |key, problem: String, remedy: &str| ConfigError::Value {
        path: "keyback.toml".into(),
        key,
        problem,
        remedy: remedy.to_owned(),
    };
    let protected_groups = section.protected_groups.iter().map(|sid| {
        sid.parse::<Sid>().map_err(|error| {
            value("agent.protected_groups", format!("{sid:?}: {error}"), "Write SIDs: S-1-5-21-…-1105.")
        })
    });
    let mailer = mailer(section, organisation)?;
    let parts = AgentParts {
        directory: section.directory()?,
        connector: UserName::parse(&section.connector)
            .map_err(|error| value("agent.connector", error.to_string(), "Write its userPrincipalName."))?,
        scope: section.scope.clone(),
        protected_groups: protected_groups.collect::<Result<_, ConfigError>>()?,
        journal: Journal::open(&section.journal, clock.now()).map_err(|error| Trouble::of(BLIND, &error))?,
        caps: section.caps.numbers(),
        passwords: section.passwords()?,
        proof: section.proof.policy()?,
        vault: keyfiles::vault(section)?,
        mailer,
        clock,
        write_limit: AgentSection::write_limit(),
    };
    Ok(Agent::new(parts, keyfiles::agent_keys(section)?))
}

/// Ends when the process is told to: SIGTERM, or Ctrl-C.
async fn told_to_stop() -> Result<(), Trouble> {
    let failed = |error: std::io::Error| Trouble::internal(format!("signals cannot be caught: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    Ok(())
}

async fn listen(section: &ServerSection) -> Result<TcpListener, Trouble> {
    TcpListener::bind(section.listen).await.map_err(|error| Trouble {
        exit: BLIND,
        ..Trouble::usage(
            format!("{} cannot be listened on: {error}", section.listen),
            "Choose another `server.listen`, or end the program that uses it.",
        )
    })
}

/// `keyback serve`.
pub async fn serve(config: &Config, without_agent: bool) -> Result<ExitCode, Trouble> {
    let section = config.server()?;
    let stop = CancellationToken::new();
    let keyring = keyfiles::ServerKeyring::new(section);
    let sealer = Sealer::of(keyfiles::server_keys(section)?);
    let tls = match (&section.tls_cert_file, &section.tls_key_file) {
        (Some(cert), Some(key)) => {
            Some(web::tls_from_files(cert, key).map_err(|error| Trouble::of(USAGE, &error))?)
        }
        _ => None,
    };
    let mut agent = None;
    let relay: Arc<dyn Relay> = if without_agent {
        let socket = config.relay.socket.as_ref().ok_or(ConfigError::Missing("relay"))?;
        let listening = relay::Socket::listen(socket, stop.clone()).await.map_err(|error| Trouble {
            exit: BLIND,
            ..Trouble::usage(
                format!("the relay {} cannot be listened on: {error}", socket.display()),
                "Choose another `relay.socket`, in a folder that this user may write to.",
            )
        });
        Arc::new(listening?)
    } else {
        let built = build_agent(config.agent()?, &config.organisation.name)?;
        agent = Some(built.clone());
        Arc::new(relay::InProcess(built))
    };
    let store = Store::open(&section.store).await?;
    let limits = Limits {
        deadline: Duration::from_secs(section.job_deadline_seconds),
        turn: Duration::from_secs(u64::from(section.job_turn_seconds.get())),
        door: section.limits.door(),
        ..Limits::default()
    };
    let agents = Agents::new(
        store.clone(),
        Arc::clone(&relay),
        sealer.clone(),
        Arc::new(SystemClock),
        Box::new(keyring),
    );
    let jobs = Jobs::new(store.clone(), relay, sealer, Arc::new(SystemClock), limits);
    let listener = listen(section).await?;
    start_log();
    let router = portal::router(
        jobs.clone(),
        PortalConfig {
            public_url: section.public_url.clone(),
            organisation: config.organisation.name.clone(),
            help: config.organisation.help.clone(),
            trusted_proxies: section.trusted_proxies.clone(),
        },
    );
    let tending = agent.clone().map(|agent| {
        let section = config.agent.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            if let Some(section) = section {
                tend::tend(section, agent, stop).await;
            }
        })
    });
    // Before the first job: an agent that was not asked writes nothing.
    if let Err(error) = agents.beat().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the agent was not heard");
    }
    let asking = tokio::spawn({
        let stop = stop.clone();
        async move { agents.run(stop).await }
    });
    let engine = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.run().await }
    });
    let pruning = tokio::spawn(audit::keep_pruning(
        store.clone(),
        config.audit,
        keyfiles::server_signing(section)?,
        stop.clone(),
    ));
    let web_limits = section.limits.web(&section.trusted_proxies);
    let pages = tokio::spawn(web::serve(listener, tls, router, web_limits, stop.clone()));
    tracing::info!(listen = %section.listen, public_url = %section.public_url, "keyback is ready");
    output::note(&format!("keyback: ready at {}", section.public_url));
    told_to_stop().await?;
    tracing::info!("stopping: no new requests, finishing jobs in flight");
    stop.cancel();
    jobs.stop(GRACE).await;
    if let Some(agent) = agent {
        agent.stop(Duration::from_secs(2)).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        if let Some(tending) = tending {
            let _ = tending.await;
        }
        (asking.await, engine.await, pages.await, pruning.await)
    })
    .await;
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// `keyback agent`.
pub async fn agent(config: &Config) -> Result<ExitCode, Trouble> {
    let socket = config.relay.socket.as_ref().ok_or(ConfigError::Missing("relay"))?;
    let section = config.agent()?;
    let agent = build_agent(section, &config.organisation.name)?;
    start_log();
    let stop = CancellationToken::new();
    let tending = tokio::spawn(tend::tend(section.clone(), agent.clone(), stop.clone()));
    let dialling = tokio::spawn({
        let (socket, agent, stop) = (socket.clone(), agent.clone(), stop.clone());
        async move { relay::dial(&socket, agent, stop).await }
    });
    told_to_stop().await?;
    stop.cancel();
    agent.stop(GRACE).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), async { (dialling.await, tending.await) }).await;
    Ok(ExitCode::SUCCESS)
}
