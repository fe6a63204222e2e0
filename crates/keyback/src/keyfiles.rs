//! Key files: which side reads which, making new ones, and writing others in their place.
//!
//! A file of a side's own keys holds the one in use and, while it rotates, the next one after it. A file of pinned keys
//! holds the newest first and, while they rotate, the one before.

use crate::config::{Agent, ConfigError, Server, read_secret};
use crate::output::{Trouble, USAGE};
use keyback_agent::{AgentKeys, Generation, UnsealingKey, Vault};
use keyback_core::KeyId;
use keyback_core::audit::Keys;
use keyback_core::heartbeat::{AgentPublic, Bytes32};
use keyback_core::keys::{KeyError, Purpose, SigningKey, VerifyingKey, read_key_list, write_key_file};
use keyback_server::agents::Keyring;
use keyback_server::{AgentPin, ServerKeys};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// The bytes of one key.
pub type Key = Zeroizing<[u8; 32]>;

fn unusable(path: &Path) -> impl Fn(KeyError) -> Trouble + '_ {
    move |error| Trouble {
        text: format!("{}: {error}", path.display()),
        fix: "Point the configuration at the right key file, or make new keys with `keyback init`."
            .to_owned(),
        ..Trouble::of(USAGE, &error)
    }
}

/// The keys of a file that only its owner may read.
pub fn secret_keys(what: &'static str, purpose: Purpose, path: &Path) -> Result<Vec<Key>, Trouble> {
    let keys = read_key_list(purpose, &read_secret(what, path)?).map_err(unusable(path))?;
    match keys.len() {
        1 | 2 => Ok(keys),
        _ => Err(unusable(path)(KeyError::Damaged { expected: purpose.word() })),
    }
}

/// The keys that are pinned in a file; none where there is no file.
pub fn pinned_keys(what: &'static str, purpose: Purpose, path: &Path) -> Result<Vec<[u8; 32]>, Trouble> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| ConfigError::Read { what, path: path.to_owned(), source })?,
    };
    let keys = read_key_list(purpose, &text).map_err(unusable(path))?;
    Ok(keys.iter().map(|key| **key).collect())
}

/// What the server has pinned of its agent, the newest first.
pub fn pinned_agents(server: &Server) -> Result<Vec<AgentPin>, Trouble> {
    agent_pins(&server.agent_key_file)
}

/// Agents that are pinned in files of their own, one each.
pub fn other_agents(paths: &[PathBuf]) -> Result<Vec<AgentPin>, Trouble> {
    // A file without a key: it was revoked.
    let one = |path: &PathBuf| agent_pins(path).map(|pins| pins.into_iter().next()).transpose();
    paths.iter().filter_map(one).collect()
}

/// Gives up the agent with this key, where one of the files has it. Whether one had.
pub fn revoke_other(paths: &[PathBuf], id: KeyId) -> Result<Option<AgentPin>, Trouble> {
    for path in paths {
        let pin = agent_pins(path)?.into_iter().next();
        let pin = pin.filter(|pin| pin.verifying.id() == id || pin.sealing.id() == id);
        if let Some(pin) = pin {
            replace(path, Purpose::AgentPublic, &[]).map_err(|error| Trouble::internal(error.to_string()))?;
            return Ok(Some(pin));
        }
    }
    Ok(None)
}

fn agent_pins(path: &Path) -> Result<Vec<AgentPin>, Trouble> {
    let keys = pinned_keys("agent's public key", Purpose::AgentPublic, path)?;
    let (pairs, rest) = keys.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(unusable(path)(KeyError::Damaged { expected: Purpose::AgentPublic.word() }));
    }
    let pin = |[sealing, verifying]: &[[u8; 32]; 2]| {
        AgentPin::of(&AgentPublic { sealing: Bytes32(*sealing), verifying: Bytes32(*verifying) })
    };
    pairs.iter().map(pin).collect::<Result<_, _>>().map_err(unusable(path))
}

/// The server's keys, and what it has pinned of the agent.
pub fn server_keys(server: &Server) -> Result<ServerKeys, Trouble> {
    let path = &server.signing_key_file;
    let own = secret_keys("server's signing key", Purpose::ServerSigning, path)?;
    let mut own = own.iter().map(|seed| SigningKey::from_seed(seed).map_err(unusable(path)));
    let damaged = || unusable(path)(KeyError::Damaged { expected: Purpose::ServerSigning.word() });
    let signing = own.next().ok_or_else(damaged)??;
    let stand_ins = other_agents(&server.stand_in_key_files)?;
    Ok(ServerKeys { signing, next: own.next().transpose()?, agents: pinned_agents(server)?, stand_ins })
}

/// The server's signing key in use.
pub fn server_signing(server: &Server) -> Result<SigningKey, Trouble> {
    Ok(server_keys(server)?.signing)
}

/// Where the verifying keys are kept that count no more for anything but the audit chain.
pub fn past(server: &Server) -> PathBuf {
    server.agent_key_file.with_added_extension("past")
}

/// Whose signatures count in the audit chain: of the keys in use and of those before.
pub fn audit_keys(server: &Server) -> Result<Keys, Trouble> {
    let keys = server_keys(server)?;
    let mut agents: Vec<VerifyingKey> =
        keys.agents.iter().chain(&keys.stand_ins).map(|pin| pin.verifying).collect();
    let mut servers = vec![keys.signing.verifying_key()];
    for (side, key) in past_keys(server)? {
        match side {
            Purpose::AgentPublic => agents.push(key),
            Purpose::ServerPublic => servers.push(key),
            Purpose::AgentSigning | Purpose::AgentUnsealing | Purpose::ServerSigning | Purpose::Methods => {}
        }
    }
    Ok(Keys { servers, agents })
}

/// The keys that were revoked or have rotated, the oldest first.
pub fn past_keys(server: &Server) -> Result<Vec<(Purpose, VerifyingKey)>, Trouble> {
    let path = past(server);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| ConfigError::Read {
            what: "list of past keys",
            path: path.clone(),
            source,
        })?,
    };
    let one = |line: &str| {
        let damaged = || unusable(&path)(KeyError::Damaged { expected: "past keys" });
        let (side, key) = line.split_once(' ').ok_or_else(damaged)?;
        let key = Bytes32::try_from(key.to_owned()).map_err(unusable(&path))?;
        let side = match side {
            "agent" => Purpose::AgentPublic,
            "server" => Purpose::ServerPublic,
            _ => return Err(damaged()),
        };
        Ok((side, VerifyingKey::from_bytes(key.0)))
    };
    text.lines().map(one).collect()
}

/// Keeps a verifying key for the audit chain alone.
pub fn retire(server: &Server, side: &str, key: &VerifyingKey) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(past(server))?;
    writeln!(file, "{side} {}", String::from(Bytes32(*key.as_bytes())))?;
    file.sync_all()
}

/// The agent's own seeds by generation, the one in use first. The unsealing file is written first when keys rotate and when
/// the old ones go, so a crash between the two files is seen by their lengths.
pub fn own_seeds(agent: &Agent) -> Result<Vec<(Key, Key)>, Trouble> {
    let unsealing = secret_keys("agent's unsealing key", Purpose::AgentUnsealing, &agent.unsealing_key_file)?;
    let mut signing = secret_keys("agent's signing key", Purpose::AgentSigning, &agent.signing_key_file)?;
    if signing.len() > unsealing.len() {
        signing.remove(0);
    }
    Ok(unsealing.into_iter().zip(signing).collect())
}

/// The agent's keys, and what it has pinned of the server.
pub fn agent_keys(agent: &Agent) -> Result<AgentKeys, Trouble> {
    let mut own = Vec::new();
    for (unsealing, seed) in own_seeds(agent)?.iter().rev() {
        let signing = SigningKey::from_seed(seed).map_err(unusable(&agent.signing_key_file))?;
        let generation = Generation::new(UnsealingKey::from_bytes(unsealing), signing);
        own.push(generation.map_err(unusable(&agent.unsealing_key_file))?);
    }
    let servers = pinned_keys("server's public key", Purpose::ServerPublic, &agent.server_key_file)?;
    let servers = servers.into_iter().map(VerifyingKey::from_bytes).collect();
    let peers = other_agents(&agent.peer_key_files)?.into_iter().map(|pin| pin.verifying).collect();
    let keys = AgentKeys::rotating(own, servers).map_err(unusable(&agent.unsealing_key_file))?;
    Ok(keys.beside(peers))
}

/// What opens people's methods. Made where there is none yet: every agent of a domain needs the same one.
pub fn vault(agent: &Agent) -> Result<Vault, Trouble> {
    let path = agent.methods_key_file();
    let new = write_key_file(Purpose::Methods, &[UnsealingKey::new_bytes().as_slice()]);
    write_new(&path, &new).map_err(|source| ConfigError::Read {
        what: "key for methods",
        path: path.clone(),
        source,
    })?;
    let keys = read_key_list(Purpose::Methods, &read_secret("key for methods", &path)?);
    let keys = keys.map_err(unusable(&path))?;
    if keys.is_empty() {
        return Err(unusable(&path)(KeyError::Damaged { expected: Purpose::Methods.word() }));
    }
    Ok(Vault::new(keys.iter().map(|key| &**key)))
}

/// Writes a file that only its owner may read. One that is there is left alone: `false`.
pub fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    // Whole or not at all: another process that starts with this one must not read half of it.
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::hard_link(&new, path)
    });
    let removed = std::fs::remove_file(&new);
    match written {
        Ok(()) => removed.map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => Ok(false),
        Err(error) => Err(error),
    }
}

fn create(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Puts keys in the place of those in the file, in one step. What is replaced is overwritten with zeros, which a disk that
/// writes elsewhere each time may still keep.
pub fn replace(path: &Path, purpose: Purpose, keys: &[&[u8]]) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = create(&new)?;
    file.write_all(write_key_file(purpose, keys).as_bytes())?;
    file.sync_all()?;
    let old = std::fs::OpenOptions::new().write(true).open(path);
    std::fs::rename(&new, path)?;
    if let Ok(mut old) = old {
        let length = usize::try_from(old.metadata()?.len()).unwrap_or(0);
        old.write_all(&vec![0; length])?;
        old.sync_all()?;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// Pins these servers' keys, the newest first.
pub fn pin_servers(agent: &Agent, servers: &[VerifyingKey]) -> io::Result<()> {
    let keys: Vec<&[u8]> = servers.iter().map(|key| key.as_bytes().as_slice()).collect();
    replace(&agent.server_key_file, Purpose::ServerPublic, &keys)
}

/// Pins these agents' keys, the newest first.
pub fn pin_agents(server: &Server, agents: &[AgentPublic]) -> io::Result<()> {
    for before in pinned_agents(server).map_err(|trouble| io::Error::other(trouble.text))? {
        if !agents.contains(&before.public()) {
            retire(server, "agent", &before.verifying)?;
        }
    }
    let keys = agents.iter().flat_map(|agent| [agent.sealing.0.as_slice(), agent.verifying.0.as_slice()]);
    replace(&server.agent_key_file, Purpose::AgentPublic, &keys.collect::<Vec<_>>())
}

/// The agent's own seeds, the one in use first.
pub fn write_own(agent: &Agent, own: &[(Key, Key)]) -> io::Result<()> {
    let of = |pick: fn(&(Key, Key)) -> &Key| own.iter().map(|pair| pick(pair).as_slice()).collect::<Vec<_>>();
    replace(&agent.unsealing_key_file, Purpose::AgentUnsealing, &of(|pair| &pair.0))?;
    replace(&agent.signing_key_file, Purpose::AgentSigning, &of(|pair| &pair.1))
}

/// Tells when files were written by somebody else.
pub struct Stamp {
    paths: Vec<PathBuf>,
    last: Mutex<Vec<Option<(std::time::SystemTime, u64)>>>,
}

impl Stamp {
    /// Of files as they are now.
    pub fn of(paths: Vec<PathBuf>) -> Self {
        let stamp = Self { paths, last: Mutex::default() };
        stamp.changed();
        stamp
    }

    /// Whether one of them is another than when this was asked last.
    pub fn changed(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let look = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.ino()))
        };
        let now: Vec<_> = self.paths.iter().map(look).collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *last != now;
        *last = now;
        changed
    }
}

/// The server's key files.
pub struct ServerKeyring {
    server: Server,
    stamp: Stamp,
}

impl ServerKeyring {
    /// Of the server's section.
    pub fn new(server: &Server) -> Self {
        let mut files = vec![server.signing_key_file.clone(), server.agent_key_file.clone()];
        files.extend(server.stand_in_key_files.iter().cloned());
        let stamp = Stamp::of(files);
        Self { server: server.clone(), stamp }
    }

    fn read(&self) -> io::Result<ServerKeys> {
        self.stamp.changed();
        server_keys(&self.server).map_err(|trouble| io::Error::other(trouble.text))
    }
}

impl Keyring for ServerKeyring {
    fn changed(&self) -> io::Result<Option<ServerKeys>> {
        if self.stamp.changed() { self.read().map(Some) } else { Ok(None) }
    }

    fn pin(&self, agents: &[AgentPublic]) -> io::Result<ServerKeys> {
        pin_agents(&self.server, agents)?;
        self.read()
    }

    fn promote(&self) -> io::Result<ServerKeys> {
        let path = &self.server.signing_key_file;
        let own = secret_keys("server's signing key", Purpose::ServerSigning, path)
            .map_err(|trouble| io::Error::other(trouble.text))?;
        if let [old, next] = own.as_slice() {
            let old = SigningKey::from_seed(old).map_err(io::Error::other)?;
            retire(&self.server, "server", &old.verifying_key())?;
            replace(path, Purpose::ServerSigning, &[next.as_slice()])?;
        }
        self.read()
    }
}

/// Makes new keys for both sides in `folder`, under the names of the example. None of the files may be there yet.
pub fn make(folder: &Path) -> io::Result<()> {
    let (server, agent, unsealing) =
        (SigningKey::new_seed(), SigningKey::new_seed(), UnsealingKey::new_bytes());
    let verifying = |seed: &Key| {
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
