//! Everything that takes part: a server with its store, an agent with its journal, the relay between them, the domain
//! controllers, and people. Nothing moves until the scheduler says so, and each step comes to rest before the next.
//!
//! Why that can be had again: all of it runs on one thread; tokio's time stands still until it is advanced (a blocking
//! task that never ends keeps it from advancing by itself); one thread writes journals, first come first served; the
//! ids, codes and waits come from the seed. Only SQLite has threads of its own, and a step is over when they are.

use crate::model_dc::{BASE, CONNECTOR, CONNECTOR_PASSWORD, Domain, OU};
use crate::relay::{Answered, Post};
use anyhow::{Context, Result};
use keyback_ad::simulation::Simulation;
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::simulation::Broken;
use keyback_agent::{
    Agent, AgentKeys, AgentParts, Caps, Journal, MailConfig, Mailer, PasswordFilter, UnsealingKey,
};
use keyback_core::heartbeat::{ASK_IS_GOOD, Ask, Bytes32};
use keyback_core::job::{JobState, Operation};
use keyback_core::keys::{SealingKey, SigningKey};
use keyback_core::message::VERSION;
use keyback_core::{Clock, CorrelationId, JobId, TicketHash, Timestamp, UserName};
use keyback_server::jobs::{self, Jobs, Sealer};
use keyback_store::{Job, Store};
use keyback_testkit::clock::ManualClock;
use keyback_testkit::random::Random;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use zeroize::Zeroizing;

/// Domain controllers of the domain.
pub const DCS: usize = 2;
/// Users of the domain.
pub const USERS: u8 = 2;
/// 2026-11-24T07:00:00Z.
pub const START: Timestamp = Timestamp::from_micros(1_795_503_600_000_000);

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    pub compare_and_swap: bool,
    pub journal: bool,
    pub fence: bool,
}

impl Switches {
    /// As it ships.
    pub const ALL_ON: Self = Self { compare_and_swap: true, journal: true, fence: true };
}

/// Somebody who has lost a password, or wants another one.
pub struct Person {
    pub user: u8,
    pub operation: Operation,
    pub ticket: Option<TicketHash>,
    pub checking: bool,
    /// Flows that were begun, and passwords that were submitted.
    pub flows: u32,
    pub submitted: u32,
}

impl Person {
    pub const fn new(user: u8, operation: Operation) -> Self {
        Self { user, operation, ticket: None, checking: false, flows: 0, submitted: 0 }
    }
}

/// What the scheduler knows of a job.
pub struct Known {
    pub name: String,
    /// What it is to set; each job's is its own, so that what a domain controller did can be told apart.
    pub password: Option<String>,
    pub correlation_id: CorrelationId,
    pub state: JobState,
    /// Something stood in its way.
    pub disturbed: bool,
    /// An answer about it did not come back as it was given.
    pub unheard: bool,
}

pub struct World {
    pub random: Random,
    pub log: Vec<String>,
    pub switches: Switches,
    folder: tempfile::TempDir,
    pub server_clock: Arc<ManualClock>,
    pub agent_clock: Arc<ManualClock>,
    dc_clock: Arc<ManualClock>,
    pub domain: Domain,
    pub post: Post,
    /// Counts up when the server is killed.
    pub server: u32,
    pub store: Store,
    pub jobs: Jobs,
    changes: broadcast::Receiver<Arc<Job>>,
    agent: Option<Agent>,
    handling: Vec<JoinHandle<()>>,
    polls: Arc<AtomicU64>,
    pub mails: Arc<Mutex<Vec<(String, String)>>>,
    pub people: Vec<Person>,
    pub known: BTreeMap<JobId, Known>,
    pub passwords: u32,
}

/// An empty store, as the migrations leave it.
static TEMPLATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    std::thread::spawn(|| -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("template.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let store = Store::open(&path).await?;
            store.close().await;
            anyhow::Ok(())
        })?;
        Ok(std::fs::read(&path)?)
    })
    .join()
    .expect("no panic")
    .expect("an empty store")
});

/// For the agent's configuration; nothing is encrypted here.
static CA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["dc.ad.example".to_owned()]).expect("a certificate");
    made.cert.pem().into_bytes()
});

/// Memory that looks like a disk, where there is one.
fn folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? })
}

fn sealer() -> Result<Sealer> {
    let unsealing = UnsealingKey::from_bytes(&[3; 32]);
    let sealing = SealingKey::from_bytes(*unsealing.public_bytes())?;
    Ok(Sealer::new(
        SigningKey::from_seed(&[1; 32])?,
        sealing,
        SigningKey::from_seed(&[2; 32])?.verifying_key(),
    ))
}

/// Whether the agent did not wait for this record: what became of a write that had been begun.
fn is_lazy(line: &str, journal: &str) -> bool {
    let job = |line: &str, kind: &str| {
        let record: serde_json::Value = serde_json::from_str(line).ok()?;
        record[kind]["job_id"].as_str().map(str::to_owned)
    };
    let begun = |id: String| journal.lines().any(|other| job(other, "begun") == Some(id.clone()));
    let head = line.starts_with("{\"audit_head\"");
    head || job(line, "not_done").is_some() || job(line, "ended").is_some_and(begun)
}

/// The agent's way to the domain.
pub fn directory(domain: &Domain, dcs: usize, compare_and_swap: bool) -> Result<Directory> {
    let dcs = (0..dcs).map(|dc| Ok(format!("ldaps://{}", Domain::name(dc)).parse::<DcAddress>()?));
    let config = DirectoryConfig {
        dcs: dcs.collect::<Result<_>>()?,
        ca_pem: CA.clone(),
        connector: Connector::new(CONNECTOR.to_owned(), Zeroizing::new(CONNECTOR_PASSWORD.to_owned()))?,
        base: Some(BASE.to_owned()),
        limits: Limits::default(),
    };
    Ok(Directory::simulated(config, Simulation { dial: Arc::new(domain.clone()), compare_and_swap })?)
}

impl World {
    pub async fn new(seed: u64, switches: Switches) -> Result<Self> {
        let mut random = Random::seeded(seed);
        keyback_core::simulation::seed(random.bits());
        let clock = || Arc::new(ManualClock::at(START));
        let (server_clock, agent_clock, dc_clock) = (clock(), clock(), clock());
        let domain = Domain::new(DCS, USERS, Arc::clone(&dc_clock), random.bits(), random.percent(50));
        let folder = folder()?;
        std::fs::write(folder.path().join("keyback.db"), &*TEMPLATE)?;
        let store = Store::open(&folder.path().join("keyback.db")).await?;
        let post = Post::default();
        let jobs = Jobs::new(
            store.clone(),
            post.relay(0),
            sealer()?,
            Arc::clone(&server_clock) as Arc<dyn Clock>,
            jobs::Limits::default(),
        );
        let people = (0..=random.below(3)).map(|_| {
            let user = 1 + u8::try_from(random.below(usize::from(USERS))).unwrap_or(0);
            Person::new(user, *random.pick(&[Operation::Reset, Operation::Reset, Operation::Change]))
        });
        let people = people.collect();
        let mut world = Self {
            random,
            log: Vec::new(),
            switches,
            folder,
            server_clock,
            agent_clock,
            dc_clock,
            domain,
            post,
            server: 0,
            store,
            changes: jobs.changes(),
            jobs,
            agent: None,
            handling: Vec::new(),
            polls: Arc::default(),
            mails: Arc::default(),
            people,
            known: BTreeMap::new(),
            passwords: 0,
        };
        world.start_agent()?;
        Ok(world)
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn start_agent(&mut self) -> Result<()> {
        let mails = Arc::clone(&self.mails);
        let mailer = Mailer::new(MailConfig {
            gateway: "smtp://127.0.0.1:9".to_owned(),
            credentials: None,
            from: "help@example.org".to_owned(),
            organisation: "Example".to_owned(),
        })?;
        let postman = Arc::new(move |to: &str, subject: &str| {
            let mail = (to.to_owned(), subject.to_owned());
            mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        });
        let keys = AgentKeys::new(
            UnsealingKey::from_bytes(&[3; 32]),
            SigningKey::from_seed(&[2; 32])?,
            SigningKey::from_seed(&[1; 32])?.verifying_key(),
        )?;
        let parts = AgentParts {
            directory: directory(&self.domain, DCS, self.switches.compare_and_swap)?,
            connector: UserName::parse(CONNECTOR).context("a name")?,
            scope: vec![OU],
            protected_groups: Vec::new(),
            journal: Journal::open(&self.journal(), self.agent_clock.now())?,
            caps: Caps { user_day: 100, agent_hour: 100, ou_hour: 100, burst: 100 },
            passwords: PasswordFilter::default(),
            mailer: mailer.simulated(postman),
            clock: Arc::clone(&self.agent_clock) as Arc<dyn Clock>,
            write_limit: Limits::default().write,
        };
        let broken = Broken { journal: !self.switches.journal, fence: !self.switches.fence };
        self.agent = Some(Agent::broken(parts, keys, broken));
        Ok(())
    }

    /// Gives a message to the agent, whose answer will lie in the post.
    pub fn hand_over(&mut self, letter: usize, bytes: Vec<u8>) {
        let Some(agent) = self.agent.clone() else { return };
        self.post.letters()[letter].delivered += 1;
        let (post, polls) = (self.post.clone(), Arc::clone(&self.polls));
        let beat = self.beat();
        let mut work = Box::pin(async move {
            // Without it the agent writes nothing; that it may be missing is not played.
            agent.handle(&beat).await;
            let bytes = agent.handle(&bytes).await;
            post.answers().push(Answered { letter, bytes });
        });
        self.handling.retain(|task| !task.is_finished());
        self.handling.push(tokio::spawn(poll_fn(move |context| {
            polls.fetch_add(1, Ordering::Relaxed);
            work.as_mut().poll(context)
        })));
    }

    /// The server asks after the agent's state.
    fn beat(&self) -> Vec<u8> {
        let server = SigningKey::from_seed(&[1; 32]).expect("a seed");
        let agent =
            SealingKey::from_bytes(*UnsealingKey::from_bytes(&[3; 32]).public_bytes()).expect("a key");
        let now = self.agent_clock.now();
        let ask = Ask {
            version: VERSION,
            nonce: Bytes32(keyback_core::ids::random()),
            not_before: now,
            not_after: now.plus(ASK_IS_GOOD),
            sender: server.verifying_key().id(),
            recipient: agent.id(),
            seen: Vec::new(),
            successor: None,
        };
        ask.sign(&server)
    }

    /// How many messages the agent works on.
    pub fn handled(&self) -> usize {
        self.handling.iter().filter(|task| !task.is_finished()).count()
    }

    /// Ends the agent where it stands, and starts another one on its journal. With `power_cut`, records that it did not
    /// wait for are lost.
    pub async fn kill_agent(&mut self, power_cut: bool) -> Result<()> {
        for task in self.handling.drain(..) {
            task.abort();
        }
        self.agent = None;
        self.rest().await;
        if power_cut {
            let text = std::fs::read_to_string(self.journal())?;
            let mut lines: Vec<&str> = text.lines().collect();
            while lines.last().is_some_and(|last| is_lazy(last, &text)) {
                lines.pop();
            }
            let half = "{\"ended\":{\"job_id\":\"";
            std::fs::write(
                self.journal(),
                lines.iter().flat_map(|line| [line, "\n"]).chain([half]).collect::<String>(),
            )?;
        }
        self.start_agent()
    }

    /// Ends the server where it stands, and starts another one on its store.
    pub async fn kill_server(&mut self) -> Result<()> {
        self.server += 1;
        self.store.close().await;
        self.store = Store::open(&self.folder.path().join("keyback.db")).await?;
        self.jobs = Jobs::new(
            self.store.clone(),
            self.post.relay(self.server),
            sealer()?,
            Arc::clone(&self.server_clock) as Arc<dyn Clock>,
            jobs::Limits::default(),
        );
        self.changes = self.jobs.changes();
        self.jobs.take_up_orphans().await?;
        Ok(())
    }

    /// Time goes on, for everybody.
    pub async fn wait(&self, by: Duration) {
        for clock in [&self.server_clock, &self.agent_clock, &self.dc_clock] {
            clock.advance(by);
        }
        tokio::time::advance(by).await;
    }

    /// Until nothing can go on by itself.
    pub async fn rest(&self) {
        let mut polls = None;
        loop {
            yield_now().await; // everything that can run has run
            let _ = spawn_blocking(|| ()).await; // what was given to the journal before is written
            yield_now().await;
            if self.jobs.in_flight() != self.post.open(self.server) {
                // SQLite works on a thread of its own.
                let _ = spawn_blocking(|| std::thread::sleep(Duration::from_micros(30))).await;
                continue;
            }
            let now = self.polls.load(Ordering::Relaxed);
            if polls == Some(now) {
                return;
            }
            polls = Some(now);
        }
    }

    /// Jobs that have moved since the last call.
    pub async fn moved(&mut self) -> Result<Vec<Job>> {
        let mut moved = Vec::new();
        loop {
            match self.changes.try_recv() {
                Ok(job) => moved.push(Job::clone(&job)),
                Err(broadcast::error::TryRecvError::Lagged(_)) => moved = self.store.list_jobs(1000).await?,
                Err(_) => return Ok(moved),
            }
        }
    }

    /// Everything open has something in its way.
    pub fn disturb(&mut self) {
        for known in self.known.values_mut().filter(|known| known.state.finished_at().is_none()) {
            known.disturbed = true;
        }
    }

    /// As the log calls it.
    pub fn name_of(&self, job: JobId) -> String {
        self.known.get(&job).map_or_else(|| "a new job".to_owned(), |known| known.name.clone())
    }
}
