//! `keyback key`: which keys there are, new ones in their place, enrolment, and giving one up.

use crate::config::{Agent, Config, ConfigError, Server, read_secret};
use crate::keyfiles;
use crate::output::{self, BLIND, Trouble, note};
use crate::relay;
use keyback_agent::UnsealingKey;
use keyback_codes::Cause;
use keyback_core::enrolment::{
    Accept, CODE_IS_GOOD, EnrolmentKey, Invite, Offer, PINNED, PlainEnrolmentCode, REFUSED, WANTED,
};
use keyback_core::heartbeat::Bytes32;
use keyback_core::keys::{Purpose, SigningKey, VerifyingKey, write_key_file};
use keyback_core::{Clock, KeyId, SystemClock, Timestamp};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// After this, `keyback check` suggests new keys.
pub const ROTATE_AFTER: Duration = Duration::from_hours(24 * 30);
/// How long an agent that enrols waits for its server.
const PATIENCE: Duration = Duration::from_mins(2);

/// One key, as it is listed.
#[derive(Serialize)]
pub struct Listed {
    /// `server` or `agent`: on whose side it lies.
    side: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// `in use`, `next`, `pinned`, `pinned before`; `past`, revoked or rotated: it counts for the audit trail alone.
    state: &'static str,
    /// Its id: of the public key.
    id: KeyId,
    /// When its file was written.
    written: Option<String>,
    /// Days since.
    days: Option<u64>,
}

/// When a file was written.
fn written(path: &Path) -> Option<Timestamp> {
    let at = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?))
}

fn listed(side: &'static str, purpose: Purpose, state: &'static str, id: KeyId, path: &Path) -> Listed {
    let at = written(path);
    let days = at.map(|at| SystemClock.now().since(at).as_secs() / 86_400);
    Listed { side, purpose: purpose.word(), state, id, written: at.map(|at| at.to_string()), days }
}

fn verifying(seed: &[u8; 32], path: &Path) -> Result<KeyId, Trouble> {
    let key = SigningKey::from_seed(seed)
        .map_err(|error| Trouble::usage(format!("{}: {error}", path.display()), "Make new keys."))?;
    Ok(key.verifying_key().id())
}

/// Every key that the configuration names.
pub fn all(config: &Config) -> Result<Vec<Listed>, Trouble> {
    let mut keys = Vec::new();
    let own = |index: usize| if index == 0 { "in use" } else { "next" };
    let pinned = |index: usize| if index == 0 { "pinned" } else { "pinned before" };
    if let Some(server) = &config.server {
        let path = &server.signing_key_file;
        let seeds = keyfiles::secret_keys("server's signing key", Purpose::ServerSigning, path)?;
        for (index, seed) in seeds.iter().enumerate() {
            keys.push(listed("server", Purpose::ServerSigning, own(index), verifying(seed, path)?, path));
        }
        for (index, pin) in keyfiles::pinned_agents(server)?.iter().enumerate() {
            let path = &server.agent_key_file;
            let id = pin.verifying.id();
            keys.push(listed("server", Purpose::AgentPublic, pinned(index), id, path));
        }
        list_others(&mut keys, "server", &server.stand_in_key_files)?;
        for (purpose, key) in keyfiles::past_keys(server)? {
            keys.push(listed("server", purpose, "past", key.id(), &keyfiles::past(server)));
        }
    }
    if let Some(agent) = &config.agent {
        for (index, (unsealing, seed)) in keyfiles::own_seeds(agent)?.iter().enumerate() {
            let sealing = KeyId::of(UnsealingKey::from_bytes(unsealing).public_bytes());
            let path = &agent.unsealing_key_file;
            keys.push(listed("agent", Purpose::AgentUnsealing, own(index), sealing, path));
            let path = &agent.signing_key_file;
            keys.push(listed("agent", Purpose::AgentSigning, own(index), verifying(seed, path)?, path));
        }
        let path = &agent.server_key_file;
        let servers = keyfiles::pinned_keys("server's public key", Purpose::ServerPublic, path)?;
        for (index, key) in servers.iter().enumerate() {
            keys.push(listed("agent", Purpose::ServerPublic, pinned(index), KeyId::of(key), path));
        }
        list_others(&mut keys, "agent", &agent.peer_key_files)?;
    }
    Ok(keys)
}

/// What one side has pinned of further agents.
fn list_others(keys: &mut Vec<Listed>, side: &'static str, paths: &[PathBuf]) -> Result<(), Trouble> {
    for path in paths {
        for pin in keyfiles::other_agents(std::slice::from_ref(path))? {
            keys.push(listed(side, Purpose::AgentPublic, "pinned", pin.verifying.id(), path));
        }
    }
    Ok(())
}

impl Listed {
    /// Whether `keyback check` suggests a new one.
    pub fn is_old(&self) -> bool {
        self.state == "in use" && self.days.is_some_and(|days| days >= ROTATE_AFTER.as_secs() / 86_400)
    }

    /// For `keyback check`.
    pub fn describe(&self) -> String {
        format!("{} {} ({} days)", self.purpose, self.id, self.days.unwrap_or(0))
    }
}

/// `keyback key list`.
pub fn list(config: &Config, as_document: bool) -> Result<ExitCode, Trouble> {
    let keys = all(config)?;
    if as_document {
        output::say_json(&keys)?;
        return Ok(ExitCode::SUCCESS);
    }
    for key in keys {
        let days = key.days.map_or_else(String::new, |days| format!("{days} days"));
        output::say(
            format!("{:<7}{:<17}{:<15}{}  {days}", key.side, key.purpose, key.state, key.id).trim_end(),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn unwritten(error: &std::io::Error) -> Trouble {
    Trouble::usage(
        format!("the key files cannot be written: {error}"),
        "Run this as the user that owns them.",
    )
}

fn still_rotating(side: &str) -> Trouble {
    Trouble::usage(
        format!("the {side}'s last rotation is not over: the keys before are still needed"),
        "Wait until `keyback key list` shows no `next` key: ten minutes after the other side was heard.",
    )
}

/// `keyback key rotate`: makes the next keys. The processes that run do the rest.
pub fn rotate(config: &Config, as_document: bool) -> Result<ExitCode, Trouble> {
    if let Some(server) = &config.server {
        let path = &server.signing_key_file;
        let own = keyfiles::secret_keys("server's signing key", Purpose::ServerSigning, path)?;
        let [current] = own.as_slice() else { return Err(still_rotating("server")) };
        let next = SigningKey::new_seed();
        keyfiles::replace(path, Purpose::ServerSigning, &[current.as_slice(), next.as_slice()])
            .map_err(|error| unwritten(&error))?;
    }
    if let Some(agent) = &config.agent {
        let mut own = keyfiles::own_seeds(agent)?;
        if own.len() > 1 {
            return Err(still_rotating("agent"));
        }
        own.push((UnsealingKey::new_bytes(), SigningKey::new_seed()));
        keyfiles::write_own(agent, &own).map_err(|error| unwritten(&error))?;
    }
    if !as_document {
        note("New keys are made. Each side hands its own to the other, signed by the key in use;");
        note("the old ones are destroyed when no open job needs them any more.");
    }
    list(config, as_document)
}

/// `keyback key revoke`: nothing signed by this key counts any more, and nothing is sealed to it.
pub fn revoke(config: &Config, id: KeyId, as_document: bool) -> Result<ExitCode, Trouble> {
    let mut revoked = false;
    if let Some(server) = &config.server {
        let agents = keyfiles::pinned_agents(server)?;
        let kept: Vec<_> = agents
            .iter()
            .map(keyback_server::AgentPin::public)
            .filter(|agent| agent.agent() != id && agent.recipient() != id)
            .collect();
        if kept.len() < agents.len() {
            keyfiles::pin_agents(server, &kept).map_err(|error| unwritten(&error))?;
            revoked = true;
        }
        if let Some(pin) = keyfiles::revoke_other(&server.stand_in_key_files, id)? {
            keyfiles::retire(server, "agent", &pin.verifying).map_err(|error| unwritten(&error))?;
            revoked = true;
        }
    }
    if let Some(agent) = &config.agent {
        let path = &agent.server_key_file;
        let servers = keyfiles::pinned_keys("server's public key", Purpose::ServerPublic, path)?;
        let kept: Vec<_> =
            servers.iter().map(|key| VerifyingKey::from_bytes(*key)).filter(|key| key.id() != id).collect();
        if kept.len() < servers.len() {
            keyfiles::pin_servers(agent, &kept).map_err(|error| unwritten(&error))?;
            revoked = true;
        }
        revoked |= keyfiles::revoke_other(&agent.peer_key_files, id)?.is_some();
    }
    if !revoked {
        return Err(Trouble::usage(
            format!("no key {id} is pinned here"),
            "See `keyback key list`. A side's own key is given up on the other side, or by `keyback key rotate`.",
        ));
    }
    list(config, as_document)
}

/// `keyback key enrol` on the server: makes a code.
pub async fn make_code(config: &Config, as_document: bool) -> Result<ExitCode, Trouble> {
    let server: &Server = config.server()?;
    let keys = keyfiles::server_keys(server)?;
    let store = keyback_store::Store::open(&server.store).await?;
    let code = PlainEnrolmentCode::mint();
    let now = SystemClock.now();
    let until = now.plus(CODE_IS_GOOD);
    let id = keys.signing.verifying_key().id();
    store.add_enrolment(&code.hash(), id, now, until).await?;
    store.close().await;
    if as_document {
        let (code, until) = (code.expose(), until.to_string());
        output::say_json(&serde_json::json!({ "code": *code, "until": until, "server": id }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::say(&code.expose());
    note(&format!(
        "Good for one agent until {until}. Carry it to the agent's host by another way than the relay:"
    ));
    note("    keyback key enrol --code-file FILE");
    Ok(ExitCode::SUCCESS)
}

fn refused() -> Trouble {
    Trouble {
        exit: BLIND,
        text: "the server refused the enrolment, or somebody on the way altered it".to_owned(),
        cause: Cause::KeyEnrolment,
        fix: Cause::KeyEnrolment.fix().text.to_owned(),
    }
}

/// `keyback key enrol --code-file`, on the agent's host: shows the server this agent's keys, and pins the server's.
pub async fn enrol(config: &Config, code_file: &Path, as_document: bool) -> Result<ExitCode, Trouble> {
    let agent: &Agent = config.agent()?;
    let socket = config.relay.socket.as_ref().ok_or(ConfigError::Missing("relay"))?;
    let typed = read_secret("enrolment code", code_file)?;
    let code = PlainEnrolmentCode::parse(&typed)
        .ok_or_else(|| {
            Trouble::usage("the file holds no enrolment code", "It has 20 letters and digits: K7QF-… .")
        })?
        .hash();
    let missing = |path: &Path, purpose, key: &[u8]| {
        keyfiles::write_new(path, &write_key_file(purpose, &[key])).map_err(|error| unwritten(&error))
    };
    missing(&agent.unsealing_key_file, Purpose::AgentUnsealing, UnsealingKey::new_bytes().as_slice())?;
    missing(&agent.signing_key_file, Purpose::AgentSigning, SigningKey::new_seed().as_slice())?;
    let keys = keyfiles::agent_keys(agent)?;
    let own = keys.own().first().ok_or_else(refused)?.public();
    let mut applicant = Applicant { code, own, server: None };
    let talk = relay::converse(socket, |message| applicant.answer(message));
    let server = match tokio::time::timeout(PATIENCE, talk).await {
        Ok(Ok(Verdict::Pinned(server))) => server,
        Ok(Err(error)) => {
            return Err(Trouble {
                exit: BLIND,
                cause: Cause::RelayUnreachable,
                ..Trouble::usage(
                    format!("the relay {}: {error}", socket.display()),
                    "Start the server with `keyback serve --without-agent` first.",
                )
            });
        }
        Ok(Ok(Verdict::Refused)) | Err(_) => return Err(refused()),
    };
    let server = VerifyingKey::from_bytes(server.0);
    keyfiles::pin_servers(agent, &[server]).map_err(|error| unwritten(&error))?;
    if as_document {
        output::say_json(&serde_json::json!({ "agent": own.agent(), "server": server.id() }))?;
    } else {
        output::say(&format!("Enrolled: agent {}, server {}.", own.agent(), server.id()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent's part of an enrolment.
struct Applicant {
    code: EnrolmentKey,
    own: keyback_core::heartbeat::AgentPublic,
    /// Whose invitation was answered.
    server: Option<Bytes32>,
}

/// How an enrolment ended.
enum Verdict {
    /// Both sides know the code: this is the server's key.
    Pinned(Bytes32),
    /// One of them does not.
    Refused,
}

impl Applicant {
    /// What to answer, and how it ended.
    fn answer(&mut self, message: &[u8]) -> (Vec<u8>, Option<Verdict>) {
        if message == REFUSED {
            return (WANTED.to_vec(), Some(Verdict::Refused));
        }
        if let Ok(invite) = Invite::parse(message) {
            self.server = Some(invite.server);
            return (Offer::new(self.own, &invite.server, &self.code).to_bytes(), None);
        }
        match (Accept::parse(message), self.server) {
            (Ok(accept), Some(server)) if accept.fits(&server, &self.own, &self.code) => {
                (PINNED.to_vec(), Some(Verdict::Pinned(server)))
            }
            // Not by one who knows the code: the keys on the way are not those that were sent.
            (Ok(_), _) => (WANTED.to_vec(), Some(Verdict::Refused)),
            (Err(_), _) => (WANTED.to_vec(), None),
        }
    }
}
