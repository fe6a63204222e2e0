//! Key files: which side reads which, and making new ones.

use crate::config::{Agent, ConfigError, Server, read_secret};
use crate::output::{Trouble, USAGE};
use keyback_agent::{AgentKeys, UnsealingKey};
use keyback_core::audit::Keys;
use keyback_core::keys::{Purpose, SealingKey, SigningKey, VerifyingKey, read_key_file, write_key_file};
use keyback_server::Sealer;
use std::io::{self, Write};
use std::path::Path;
use zeroize::Zeroizing;

fn public(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { what, path: path.to_owned(), source })
}

fn unusable(path: &Path) -> impl Fn(keyback_core::keys::KeyError) -> Trouble + '_ {
    move |error| Trouble {
        text: format!("{}: {error}", path.display()),
        fix: "Point the configuration at the right key file, or make new keys with `keyback init`."
            .to_owned(),
        ..Trouble::of(USAGE, &error)
    }
}

/// The server's signing key.
pub fn server_signing(server: &Server) -> Result<SigningKey, Trouble> {
    let text = read_secret("server's signing key", &server.signing_key_file)?;
    let [seed] = read_key_file(Purpose::ServerSigning, &text).map_err(unusable(&server.signing_key_file))?;
    SigningKey::from_seed(&seed).map_err(unusable(&server.signing_key_file))
}

/// Whose signatures count in the audit chain.
pub fn audit_keys(server: &Server) -> Result<Keys, Trouble> {
    let pinned = public("agent's public key", &server.agent_key_file)?;
    let [_, verifying] =
        read_key_file(Purpose::AgentPublic, &pinned).map_err(unusable(&server.agent_key_file))?;
    let agents = vec![VerifyingKey::from_bytes(*verifying)];
    Ok(Keys { server: server_signing(server)?.verifying_key(), agents })
}

/// The server's key, and what it has pinned of the agent.
pub fn sealer(server: &Server) -> Result<Sealer, Trouble> {
    let signing = server_signing(server)?;
    let pinned = public("agent's public key", &server.agent_key_file)?;
    let [sealing, verifying] =
        read_key_file(Purpose::AgentPublic, &pinned).map_err(unusable(&server.agent_key_file))?;
    let sealing = SealingKey::from_bytes(*sealing).map_err(unusable(&server.agent_key_file))?;
    Ok(Sealer::new(signing, sealing, VerifyingKey::from_bytes(*verifying)))
}

/// The agent's keys, and what it has pinned of the server.
pub fn agent_keys(agent: &Agent) -> Result<AgentKeys, Trouble> {
    let text = read_secret("agent's unsealing key", &agent.unsealing_key_file)?;
    let [unsealing] =
        read_key_file(Purpose::AgentUnsealing, &text).map_err(unusable(&agent.unsealing_key_file))?;
    let text = read_secret("agent's signing key", &agent.signing_key_file)?;
    let [seed] = read_key_file(Purpose::AgentSigning, &text).map_err(unusable(&agent.signing_key_file))?;
    let pinned = public("server's public key", &agent.server_key_file)?;
    let [server] = read_key_file(Purpose::ServerPublic, &pinned).map_err(unusable(&agent.server_key_file))?;
    let signing = SigningKey::from_seed(&seed).map_err(unusable(&agent.signing_key_file))?;
    let keys =
        AgentKeys::new(UnsealingKey::from_bytes(&unsealing), signing, VerifyingKey::from_bytes(*server));
    keys.map_err(unusable(&agent.unsealing_key_file))
}

/// Writes a file that only its owner may read. One that is there is left alone: `false`.
pub fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes new keys for both sides in `folder`, under the names of the example. None of the files may be there yet.
pub fn make(folder: &Path) -> io::Result<()> {
    let (server, agent, unsealing) =
        (SigningKey::new_seed(), SigningKey::new_seed(), UnsealingKey::new_bytes());
    let verifying = |seed: &Zeroizing<[u8; 32]>| {
        SigningKey::from_seed(seed).map(|key| *key.verifying_key().as_bytes()).map_err(io::Error::other)
    };
    let (server_public, agent_public) = (verifying(&server)?, verifying(&agent)?);
    let sealing = *UnsealingKey::from_bytes(&unsealing).public_bytes();
    let files: [(&str, Purpose, Vec<&[u8]>); 5] = [
        ("server-signing.key", Purpose::ServerSigning, vec![server.as_slice()]),
        ("server-public.key", Purpose::ServerPublic, vec![&server_public]),
        ("agent-unsealing.key", Purpose::AgentUnsealing, vec![unsealing.as_slice()]),
        ("agent-signing.key", Purpose::AgentSigning, vec![agent.as_slice()]),
        ("agent-public.key", Purpose::AgentPublic, vec![&sealing, &agent_public]),
    ];
    for (name, purpose, keys) in files {
        let path = folder.join(name);
        if !write_new(&path, &write_key_file(purpose, &keys))? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already", path.display()),
            ));
        }
    }
    Ok(())
}
