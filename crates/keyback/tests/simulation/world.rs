//! Everything that takes part: a server with its store, an agent with its journal, the relay between them, the domain
//! controllers, and people. Nothing moves until the scheduler says so, and each step comes to rest before the next.
//!
//! Why that can be had again: all of it runs on one thread; tokio's time stands still until it is advanced (a blocking
//! task that never ends keeps it from advancing by itself); one thread writes journals, first come first served; the
//! ids, codes and waits come from the seed. Only SQLite has threads of its own, and a step is over when they are.

use crate::model_dc::{BASE, CONNECTOR, CONNECTOR_PASSWORD, Domain, OU};
use crate::relay::{Answered, Post};
use anyhow::{Context as _, Result};
use keyback_ad::simulation::Simulation;
use keyback_ad::{Connector, DcAddress, Directory, DirectoryConfig, Limits};
use keyback_agent::simulation::Broken;
use keyback_agent::{
    Agent, AgentKeys, AgentParts, Caps, Journal, MailConfig, Mailer, PasswordFilter, ProofPolicy,
    UnsealingKey, Vault,
};
use keyback_core::heartbeat::{ASK_IS_GOOD, Ask, Bytes32};
use keyback_core::job::{JobState, Operation};
use keyback_core::keys::{SealingKey, SigningKey};
use keyback_core::message::{VERSION, peek_header};
use keyback_core::{Clock, CorrelationId, JobId, TicketHash, Timestamp, UserName};
use keyback_server::jobs::{self, AgentPin, Jobs, Sealer, ServerKeys};
use keyback_store::{Job, Store};
use keyback_testkit::clock::ManualClock;
use keyback_testkit::random::Random;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use zeroize::Zeroizing;

/// Agents of a domain that has several.
pub const AGENTS: usize = 2;
/// Domain controllers of the domain.
pub const DCS: usize = 2;
/// Users of the domain.
pub const USERS: u8 = 2;
/// 2026-11-24T07:00:00Z.
pub const START: Timestamp = Timestamp::from_micros(1_795_503_600_000_000);

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Switches {
    pub compare_and_swap: bool,
    pub journal: bool,
    pub fence: bool,
    pub turns: bool,
}

impl Switches {
    /// As it ships.
    pub const ALL_ON: Self = Self { compare_and_swap: true, journal: true, fence: true, turns: true };
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

/// An agent, while it runs, and what stops it in mid-step as SIGSTOP would.
pub struct AgentProcess {
    agent: Option<Agent>,
    pub stopped: Arc<Stop>,
}

#[derive(Default)]
pub struct Stop {
    is_stopped: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub fn set(&self, stopped: bool) {
        self.is_stopped.store(stopped, Ordering::Relaxed);
        if !stopped {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// Remembers to wake whoever asks, where it is stopped.
    fn holds(&self, context: &Context<'_>) -> bool {
        let stopped = self.is_stopped();
        if stopped {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            wakers.push(context.waker().clone());
        }
        stopped
    }
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
    /// One, or all of them.
    pub agents: Vec<AgentProcess>,
    handling: Vec<(usize, JoinHandle<()>)>,
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

fn server_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32]).expect("a seed")
}

fn unsealing(agent: usize) -> UnsealingKey {
    UnsealingKey::from_bytes(&[[3; 32], [5; 32]][agent])
}

fn signing(agent: usize) -> SigningKey {
    SigningKey::from_seed(&[[2; 32], [6; 32]][agent]).expect("a seed")
}

fn sealing(agent: usize) -> SealingKey {
    SealingKey::from_bytes(*unsealing(agent).public_bytes()).expect("a key")
}

fn sealer(agents: usize) -> Sealer {
    let mut pins = (0..agents)
        .map(|agent| AgentPin { sealing: sealing(agent), verifying: signing(agent).verifying_key() });
    let agents = pins.next().into_iter().collect();
    Sealer::of(ServerKeys { signing: server_key(), next: None, agents, stand_ins: pins.collect() })
}

fn limits() -> jobs::Limits {
    jobs::Limits { turn: Duration::from_secs(40), ..jobs::Limits::default() }
}

/// The server asks after an agent's state.
fn beat(agent: usize, now: Timestamp) -> Vec<u8> {
    let server = server_key();
    let ask = Ask {
        version: VERSION,
        nonce: Bytes32(keyback_core::ids::random()),
        not_before: now,
        not_after: now.plus(ASK_IS_GOOD),
        sender: server.verifying_key().id(),
        recipient: sealing(agent).id(),
        seen: Vec::new(),
        successor: None,
    };
    ask.sign(&server)
}

/// Whether the agent did not wait for this record: what became of a write that had been begun.
fn is_lazy(line: &str, journal: &str) -> bool {
    let job = |line: &str, kind: &str| {
        let record: serde_json::Value = serde_json::from_str(line.split('\t').next()?).ok()?;
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
    pub async fn new(seed: u64, switches: Switches, agents: usize) -> Result<Self> {
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
            sealer(agents),
            Arc::clone(&server_clock) as Arc<dyn Clock>,
            limits(),
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
            agents: Vec::new(),
            handling: Vec::new(),
            polls: Arc::default(),
            mails: Arc::default(),
            people,
            known: BTreeMap::new(),
            passwords: 0,
        };
        for number in 0..agents {
            let agent = Some(world.start_agent(number, agents)?);
            world.agents.push(AgentProcess { agent, stopped: Arc::default() });
        }
        Ok(world)
    }

    fn journal(&self, agent: usize) -> PathBuf {
        self.folder.path().join(format!("journal-{agent}"))
    }

    fn start_agent(&self, number: usize, of: usize) -> Result<Agent> {
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
        let keys = AgentKeys::new(unsealing(number), signing(number), server_key().verifying_key())?;
        let peers = (0..of).filter(|peer| *peer != number).map(|peer| signing(peer).verifying_key());
        let keys = keys.beside(peers.collect());
        let parts = AgentParts {
            directory: directory(&self.domain, DCS, self.switches.compare_and_swap)?,
            connector: UserName::parse(CONNECTOR).context("a name")?,
            scope: vec![OU],
            protected_groups: Vec::new(),
            journal: Journal::open(&self.journal(number), self.agent_clock.now())?,
            caps: Caps { user_day: 100, agent_hour: 100, ou_hour: 100, burst: 100 },
            passwords: PasswordFilter::default(),
            proof: ProofPolicy::default(),
            vault: Vault::new([&[9; 32]]),
            mailer: mailer.simulated(postman),
            clock: Arc::clone(&self.agent_clock) as Arc<dyn Clock>,
            write_limit: Limits::default().write,
        };
        let Switches { journal, fence, turns, .. } = self.switches;
        let broken = Broken { journal: !journal, fence: !fence, turns: !turns };
        Ok(Agent::broken(parts, keys, broken))
    }

    /// Gives a message to the agent that it was sealed to; its answer will lie in the post.
    pub fn hand_over(&mut self, letter: usize, bytes: Vec<u8>) {
        let recipient = peek_header(&self.post.letters()[letter].bytes).expect("a message").recipient;
        let number = (0..self.agents.len()).find(|agent| sealing(*agent).id() == recipient);
        let number = number.expect("sealed to an agent");
        let Some(agent) = self.agents[number].agent.clone() else { return };
        self.post.letters()[letter].delivered += 1;
        let (post, polls) = (self.post.clone(), Arc::clone(&self.polls));
        let (clock, stopped) = (Arc::clone(&self.agent_clock), Arc::clone(&self.agents[number].stopped));
        let mut work = Box::pin(async move {
            // Without it the agent writes nothing; that it may be missing is not played.
            agent.handle(&beat(number, clock.now())).await;
            let bytes = agent.handle(&bytes).await;
            post.answers().push(Answered { letter, bytes });
        });
        self.handling.retain(|(_, task)| !task.is_finished());
        let task = tokio::spawn(poll_fn(move |context| {
            if stopped.holds(context) {
                return Poll::Pending;
            }
            polls.fetch_add(1, Ordering::Relaxed);
            work.as_mut().poll(context)
        }));
        self.handling.push((number, task));
    }

    /// How many messages are worked on.
    pub fn handled(&self) -> usize {
        let at_work = |(agent, task): &&(usize, JoinHandle<()>)| {
            !task.is_finished() && !self.agents[*agent].stopped.is_stopped()
        };
        self.handling.iter().filter(at_work).count()
    }

    /// Ends an agent where it stands, and starts another one on its journal. With `power_cut`, records that it did not
    /// wait for are lost.
    pub async fn kill_agent(&mut self, number: usize, power_cut: bool) -> Result<()> {
        for (_, task) in self.handling.extract_if(.., |(agent, _)| *agent == number) {
            task.abort();
        }
        self.agents[number] = AgentProcess { agent: None, stopped: Arc::default() };
        self.rest().await;
        if power_cut {
            let text = std::fs::read_to_string(self.journal(number))?;
            let mut lines: Vec<&str> = text.lines().collect();
            while lines.last().is_some_and(|last| is_lazy(last, &text)) {
                lines.pop();
            }
            let half = "{\"ended\":{\"job_id\":\"";
            std::fs::write(
                self.journal(number),
                lines.iter().flat_map(|line| [line, "\n"]).chain([half]).collect::<String>(),
            )?;
        }
        self.agents[number].agent = Some(self.start_agent(number, self.agents.len())?);
        Ok(())
    }

    /// Ends the server where it stands, and starts another one on its store.
    pub async fn kill_server(&mut self) -> Result<()> {
        self.server += 1;
        self.store.close().await;
        self.store = Store::open(&self.folder.path().join("keyback.db")).await?;
        self.jobs = Jobs::new(
            self.store.clone(),
            self.post.relay(self.server),
            sealer(self.agents.len()),
            Arc::clone(&self.server_clock) as Arc<dyn Clock>,
            limits(),
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
