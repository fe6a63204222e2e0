//! The job engine: seals what a person asked for, offers it to an agent, keeps what came of it.
//!
//! What may happen to a job is decided by `keyback_core::job`; how often and how long to try, here.

mod door;
mod seal;
mod turns;

pub use door::{DoorLimits, Tries};
pub use seal::{AgentPin, Sealer, ServerKeys};

use keyback_codes::{Cause, Explain};
use keyback_core::audit::{Activity, AuditEvent};
use keyback_core::diagnosis::Diagnosis;
use keyback_core::job::{JobEvent, JobState, Operation};
use keyback_core::message::{self, Body, Header, MessageError, Reply};
use keyback_core::methods::{Bundle, MOST_METHODS, SEALED};
use keyback_core::outcome::Outcome;
use keyback_core::relay::{Relay, RelayError};
use keyback_core::secrets;
use keyback_core::statement::Said;
use keyback_core::turn;
use keyback_core::{
    ChallengeId, Clock, CorrelationId, Failure, JobId, PlainCode, TicketHash, Timestamp, TypedCode, UserName,
    ids,
};
use keyback_store::{
    Checked, Counted, Effects, Flow, Job, Method, MethodChange, NewCheck, NewFlow, NewJob, NewMethod, Store,
    StoreError, Submitted, TurnedAway,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A job that is not done by then ends; at most five minutes, the longest a message is valid.
    pub deadline: Duration,
    /// How long an agent's answer is waited for; longer than all its own limits on one attempt together.
    pub lease: Duration,
    /// How long a flow's ticket is good.
    pub flow: Duration,
    /// How long one of several agents has a job before the next one gets it.
    pub turn: Duration,
    /// The first wait before trying again; it doubles with each attempt.
    pub retry: Duration,
    /// How often somebody may try, and how much may be open.
    pub door: DoorLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_mins(5),
            lease: Duration::from_mins(1),
            flow: Duration::from_mins(20),
            turn: Duration::from_mins(1),
            retry: Duration::from_secs(1),
            door: DoorLimits::default(),
        }
    }
}

/// No more jobs than this are with agents at once.
const AT_ONCE: usize = 64;
/// And no more that ask for a code: whoever has one does not stand behind a crowd that wants one.
const ASKS_AT_ONCE: usize = 48;
/// Wrong codes before a person must start again: the agent's own limit for one challenge.
pub(crate) const CODES_A_FLOW: u32 = 5;
/// However often it was tried, the next time is not later than this.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Why a job could not be begun. Nothing was.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The job, its flow and its intent could not be kept.
    #[error("the job could not be kept")]
    Store(#[from] StoreError),
    /// The message could not be made.
    #[error("the message to the agent could not be made")]
    Message(#[from] MessageError),
    /// Too many tries, or too much to do.
    #[error("turned away at the door")]
    TurnedAway(TurnedAway),
}

/// What came of a code that somebody typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeCheck {
    /// This job checks it.
    Begun(JobId),
    /// Another one is being checked.
    UnderWay,
    /// The flow has had its tries.
    FlowSpent,
}

/// The ticket that came with a code, and the one that is handed out for it.
#[derive(Debug, Clone, Copy)]
pub struct Tickets {
    /// The one that came.
    pub presented: TicketHash,
    /// The one that takes its place.
    pub next: TicketHash,
}

impl Explain for JobsError {
    fn cause(&self) -> Cause {
        match self {
            Self::Store(error) => error.cause(),
            Self::Message(error) => error.cause(),
            Self::TurnedAway(TurnedAway::TooMany { .. }) => Cause::ProofTooMany,
            Self::TurnedAway(TurnedAway::Busy) => Cause::ServerBusy,
        }
    }
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Engine>);

struct Engine {
    store: Store,
    relay: Arc<dyn Relay>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    limits: Limits,
    changed: broadcast::Sender<Arc<Job>>,
    due: Notify,
    places: Arc<Semaphore>,
    ask_places: Arc<Semaphore>,
    /// What is with an agent, as it was kept.
    offered: Mutex<HashMap<JobId, Arc<Job>>>,
    running: TaskTracker,
    stop: CancellationToken,
}

impl Jobs {
    /// An engine that does nothing until [`Jobs::run`].
    pub fn new(
        store: Store,
        relay: Arc<dyn Relay>,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        Self(Arc::new(Engine {
            store,
            relay,
            sealer,
            clock,
            limits,
            changed: broadcast::channel(1024).0,
            due: Notify::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            ask_places: Arc::new(Semaphore::new(ASKS_AT_ONCE)),
            offered: Mutex::default(),
            running: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// How often somebody may try.
    pub(crate) fn door(&self) -> &DoorLimits {
        &self.0.limits.door
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// How many jobs are with an agent, or their answers being kept.
    pub fn in_flight(&self) -> usize {
        self.0.running.len()
    }

    /// Each job whose state has changed, as it was kept. A slow listener misses some and must read the job again.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Job>> {
        self.0.changed.subscribe()
    }

    /// Begins a flow: somebody named a user and wants a code, or has one (`held`). Costs the same whether there is such a user or not, for
    /// the directory is asked afterwards.
    pub async fn ask_code(
        &self,
        ticket_hash: TicketHash,
        operation: Operation,
        user_name: UserName,
        held: bool,
        source: Option<String>,
    ) -> Result<CorrelationId, JobsError> {
        let now = self.now();
        let door = self.door().ask(user_name.as_str(), source.as_deref());
        if let Some(turned_away) = self.0.store.find_spent_budget(&door, now).await? {
            return Err(JobsError::TurnedAway(turned_away));
        }
        let correlation_id = CorrelationId::from_random(ids::random());
        let flow = NewFlow {
            correlation_id,
            ticket_hash,
            form_token: secrets::form_token(),
            operation,
            user_name: user_name.clone(),
            held,
            source: source.clone(),
            created_at: now,
            expires_at: now.plus(self.0.limits.flow),
        };
        let (job, sealed) = self.new_job(Asked {
            correlation_id,
            operation,
            body: Body::AskCode { user: user_name.clone(), held },
            activity: Activity::CodeRequested,
            user_name: user_name.to_string(),
            flow: None,
            source,
        })?;
        self.0.store.begin_flow(&flow, &job, &door).await?.map_err(JobsError::TurnedAway)?;
        self.offer_now(sealed);
        Ok(correlation_id)
    }

    /// Has the agent check a code that somebody typed. A flow without a challenge is checked too: the answer must cost
    /// the same for a user who is not there. So is one whose user's own budget is spent: to refuse that try aloud would
    /// say that two names are one user's. Its challenge is nobody's.
    pub async fn check_code(
        &self,
        flow: &Flow,
        code: TypedCode,
        source: Option<String>,
        tickets: Tickets,
    ) -> Result<CodeCheck, JobsError> {
        let mut door = self.door().code(flow, source.as_deref());
        let is_spent = match self.0.store.find_spent_budget(&door, self.now()).await? {
            None => false,
            Some(TurnedAway::TooMany { counted: Counted::Person, .. }) => true,
            Some(turned_away) => return Err(JobsError::TurnedAway(turned_away)),
        };
        let mut challenge = flow.challenge.filter(|_| !is_spent);
        // What the agent has to have for more than the code from a mail; as much of it for whoever has nothing.
        let needs_methods = !matches!(code, TypedCode::Mailed(_)) || flow.operation == Operation::Register;
        let methods = if needs_methods { self.methods_of(flow).await? } else { Vec::new() };
        let mut code = Some(code);
        loop {
            let nobodys = || ChallengeId::from_random(ids::random());
            if challenge.is_none() {
                door.spends.retain(|spend| spend.counted != Counted::Person);
            }
            let body = Body::CheckCode {
                challenge: challenge.unwrap_or_else(nobodys),
                code: code.take().unwrap_or_else(|| TypedCode::Mailed(PlainCode::mint(ids::random()))),
                methods: needs_methods.then(|| bundle(&methods)),
            };
            let (job, sealed) = self.new_job(Asked::of(flow, body, Activity::CodeChecked, source.clone()))?;
            let id = job.id;
            let check = NewCheck {
                job,
                ticket: tickets.presented,
                next_ticket: tickets.next,
                tries: CODES_A_FLOW,
                method: None,
            };
            match self.0.store.add_check(&check, &door).await? {
                Checked::Begun => {
                    self.offer_now(sealed);
                    return Ok(CodeCheck::Begun(id));
                }
                Checked::UnderWay => return Ok(CodeCheck::UnderWay),
                Checked::FlowSpent => return Ok(CodeCheck::FlowSpent),
                Checked::TurnedAway(turned_away) => return Err(JobsError::TurnedAway(turned_away)),
                // Spent since the look above, by another flow. Not asked about again: the loop ends.
                Checked::PersonSpent => challenge = None,
            }
        }
    }

    /// What whoever the flow is about has registered.
    pub async fn methods_of(&self, flow: &Flow) -> Result<Vec<Method>, StoreError> {
        match flow.object_guid {
            Some(guid) => self.0.store.list_methods(guid).await,
            None => Ok(Vec::new()),
        }
    }

    /// Has the agent do a step of a flow by somebody who has proved who they are: look at their password, or at their
    /// methods. `method`: what it is asked to keep.
    pub async fn step(
        &self,
        flow: &Flow,
        (body, activity): (Body, Activity),
        method: Option<NewMethod>,
        source: Option<String>,
        tickets: Tickets,
    ) -> Result<CodeCheck, JobsError> {
        // One budget with the codes: a password that is wrong, or a code that is, costs a try.
        let door = self.door().code(flow, source.as_deref());
        let (job, sealed) = self.new_job(Asked::of(flow, body, activity, source))?;
        let id = job.id;
        let Tickets { presented, next } = tickets;
        let check = NewCheck { job, ticket: presented, next_ticket: next, tries: CODES_A_FLOW, method };
        match self.0.store.add_check(&check, &door).await? {
            Checked::Begun => {
                self.offer_now(sealed);
                Ok(CodeCheck::Begun(id))
            }
            Checked::UnderWay => Ok(CodeCheck::UnderWay),
            Checked::FlowSpent => Ok(CodeCheck::FlowSpent),
            Checked::TurnedAway(turned_away) => Err(JobsError::TurnedAway(turned_away)),
            Checked::PersonSpent => Err(JobsError::TurnedAway(TurnedAway::TooMany {
                counted: Counted::Person,
                wait: self.door().first_wait,
            })),
        }
    }

    /// Submits what the flow was all about. The caller has seen that the flow's proof holds; the agent will look again.
    pub async fn submit(&self, flow: &Flow, body: Body, source: Option<String>) -> Result<JobId, JobsError> {
        let activity = match flow.operation {
            Operation::Reset => Activity::Reset,
            Operation::Change => Activity::Change,
            Operation::Unlock => Activity::Unlock,
            // It has no such end.
            Operation::Register => Activity::SignedIn,
        };
        let (job, sealed) = self.new_job(Asked::of(flow, body, activity, source))?;
        match self.0.store.submit(&job, self.door().reserved()).await? {
            Submitted::Created => {
                self.offer_now(sealed);
                Ok(job.id)
            }
            Submitted::Joined(open) | Submitted::Already(open) => Ok(open),
            Submitted::Busy => Err(JobsError::TurnedAway(TurnedAway::Busy)),
        }
    }

    /// The job as it stands. The store is not asked while an agent has it.
    pub async fn find_job(&self, id: JobId) -> Result<Option<Arc<Job>>, StoreError> {
        let offered = self.offered().get(&id).cloned();
        match offered {
            Some(job) => Ok(Some(job)),
            None => Ok(self.0.store.find_job(id).await?.map(Arc::new)),
        }
    }

    /// The job, as soon as it has ended or `limit` is over.
    pub async fn wait(&self, id: JobId, limit: Duration) -> Result<Option<Job>, StoreError> {
        let mut changes = self.changes();
        let ended = async {
            loop {
                match self.0.store.find_job(id).await? {
                    Some(job) if job.state.finished_at().is_none() => {}
                    ended => return Ok(ended),
                }
                while let Ok(changed) = changes.recv().await {
                    if changed.id == id {
                        break;
                    }
                }
            }
        };
        match tokio::time::timeout(limit, ended).await {
            Ok(job) => job,
            Err(_) => self.0.store.find_job(id).await,
        }
    }

    /// Takes up what an earlier process left, then offers what is due until [`Jobs::stop`].
    pub async fn run(&self) {
        let engine = &self.0;
        if let Err(error) = self.take_up_orphans().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "jobs of an earlier run could not be taken up"
            );
        }
        let mut housekeeping = tokio::time::interval(Duration::from_mins(1));
        while !engine.stop.is_cancelled() {
            let wait = match self.offer_due().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "open jobs could not be read");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = engine.stop.cancelled() => {}
                () = engine.due.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = housekeeping.tick() => {
                    if let Err(error) = self.forget_what_is_over().await {
                        tracing::error!(error = &error as &dyn std::error::Error, "what is over could not be forgotten");
                    }
                }
            }
        }
    }

    /// Takes no more jobs, and waits for those that are with an agent, at most `limit`. What is left stays open.
    pub async fn stop(&self, limit: Duration) {
        self.0.stop.cancel();
        self.0.running.close();
        if tokio::time::timeout(limit, self.0.running.wait()).await.is_err() {
            tracing::warn!(
                jobs = self.0.running.len(),
                "stopped with jobs in flight; they are taken up at the next start"
            );
        }
    }

    async fn forget_what_is_over(&self) -> Result<(), StoreError> {
        self.0.store.forget_flows(self.now()).await?;
        self.0.store.forget_budgets(self.now()).await?;
        let ago = |hours: i64| Timestamp::from_micros(self.now().as_micros() - hours * 3_600_000_000);
        self.0.store.forget_unkept_methods(ago(1), ago(24 * 7 + 1)).await?;
        Ok(())
    }

    /// Ends the leases of jobs that an earlier process had offered.
    pub async fn take_up_orphans(&self) -> Result<(), StoreError> {
        for job in self.0.store.orphaned_jobs().await? {
            tracing::info!(job.id = %job.id, correlation_id = %job.correlation_id, "taking up a job of an earlier run");
            self.keep(&job, JobEvent::LeaseExpired, Effects::default()).await?;
        }
        Ok(())
    }

    /// Offers every job that is due; how long until the next one is.
    pub async fn offer_due(&self) -> Result<Duration, StoreError> {
        let now = self.now();
        // Nothing is put off for longer: what seems to be was put off before the clock was set back.
        let farthest = now.plus(self.0.limits.lease.max(LONGEST_WAIT) * 2);
        for job in self.0.store.due_jobs(now, farthest, 256).await? {
            if matches!(job.state, JobState::Running { .. }) {
                self.keep(&job, JobEvent::LeaseExpired, Effects::default()).await?;
                self.0.due.notify_one();
            } else if now > job.deadline {
                self.give_up(&job).await?;
            } else {
                let lease_until = now.plus(self.lease(turns::next_offer(&job, now).as_ref(), now));
                if let Some(job) =
                    self.keep(&job, JobEvent::Offered { lease_until }, Effects::default()).await?
                {
                    self.offer_now(job);
                }
            }
        }
        let next = self.0.store.next_due().await?.map_or(Duration::from_mins(1), |due| due.since(now));
        Ok(next.clamp(Duration::from_millis(10), Duration::from_mins(1)))
    }

    async fn give_up(&self, job: &Job) -> Result<(), StoreError> {
        // The last attempt says what stood in the way.
        let last = self.0.store.list_attempts(job.id).await?.pop().map(|attempt| attempt.failure);
        self.keep(job, JobEvent::DeadlinePassed { last }, Effects::default()).await?;
        Ok(())
    }

    /// Moves the job and keeps it, with the audit row that belongs to an end. `None`: somebody else was faster.
    async fn keep(
        &self,
        job: &Job,
        event: JobEvent,
        mut effects: Effects<'_>,
    ) -> Result<Option<Job>, StoreError> {
        let now = self.now();
        let next = match job.state.clone().on(event, now) {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(job.id = %job.id, %error, "left as it was");
                return Ok(None);
            }
        };
        let row = next.finished_at().map(|at| {
            let intent = AuditEvent::intent(
                at,
                job.correlation_id,
                job.id,
                job.activity,
                job.user_name.clone(),
                effects.code_sent.map(|(_, person)| person.object_guid).or(job.object_guid),
                job.source.clone(),
            );
            intent.ended(at, effects.done, next.failure())
        });
        effects.outcome = row.as_ref();
        if effects.code_accepted.is_some() {
            effects.home = job.source.is_some().then(|| door::home(job.source.as_deref()));
        }
        let effects_done = effects.done.cloned();
        if !self.0.store.save(job, &next, effects).await? {
            return Ok(None);
        }
        let over = next.finished_at().is_some();
        let job = Job {
            message: if over { None } else { job.message.clone() },
            done: effects_done.or_else(|| job.done.clone()),
            state: next,
            ..job.clone()
        };
        if let Some(at) = job.state.finished_at() {
            let failure = job.state.failure();
            tracing::info!(
                job.id = %job.id,
                correlation_id = %job.correlation_id,
                kind = %job.kind,
                state = job.state.name(),
                code = failure.map(|failure| tracing::field::display(failure.code)),
                cause = failure.map(|failure| failure.cause.id()),
                duration_ms = u64::try_from(at.since(job.created_at).as_millis()).unwrap_or(u64::MAX),
                "job ended"
            );
        }
        // Before it is told: who begins to listen after that must not find what was.
        self.offered().remove(&job.id);
        // Nobody listening is fine.
        let _ = self.0.changed.send(Arc::new(job.clone()));
        Ok(Some(job))
    }

    fn new_job(&self, asked: Asked) -> Result<(NewJob, Job), MessageError> {
        let engine = &self.0;
        let now = self.now();
        let id = JobId::from_random(ids::random());
        let deadline = now.plus(engine.limits.deadline);
        let kind = asked.body.kind();
        let object_guid = asked.flow.as_ref().and_then(|flow| flow.object_guid);
        let (agent, voucher, source_anchor) =
            asked.flow.map_or((None, None, None), |flow| (flow.agent, flow.voucher, flow.source_anchor));
        let mut to = engine.sealer.recipients(agent);
        // Whoever is there finds the person and mails a code. From then on it is the agent that mailed it, and those who
        // believe what it vouches for.
        if !matches!(asked.body, Body::AskCode { .. }) && voucher.is_none() {
            to.truncate(1);
        }
        let first = to.first().ok_or(MessageError::NoAgent)?;
        let header = Header {
            version: message::VERSION,
            suite: message::SUITE,
            kind,
            job_id: id,
            object_guid,
            source_anchor,
            operation: asked.operation,
            not_before: now,
            not_after: deadline,
            correlation_id: asked.correlation_id,
            sender: engine.sealer.sender(),
            recipient: first.sealing.id(),
            head: Some(engine.store.audit_head()).filter(|head| head.number > 0),
            turn: None,
        };
        let headers = turns::headers(&header, &to, engine.limits.turn, voucher.as_ref());
        let copies = headers.iter().zip(&to).map(|(header, to)| engine.sealer.seal(header, &asked.body, to));
        let message = turn::bundle(copies.collect::<Result<_, _>>()?);
        // It is offered at once: born running, it costs one commit less.
        let lease_until = now.plus(self.lease(headers.first(), now));
        let state = JobState::Running { attempt: 1, lease_until, in_doubt: false };
        let intent = AuditEvent::intent(
            now,
            asked.correlation_id,
            id,
            asked.activity,
            asked.user_name.clone(),
            object_guid,
            asked.source.clone(),
        );
        let job = Job {
            id,
            correlation_id: asked.correlation_id,
            kind,
            operation: asked.operation,
            user_name: asked.user_name,
            object_guid,
            source: asked.source,
            activity: asked.activity,
            message: Some(message.clone()),
            state: state.clone(),
            deadline,
            created_at: now,
            done: None,
        };
        Ok((NewJob { id, kind, operation: asked.operation, message, state, deadline, intent }, job))
    }

    fn offer_now(&self, job: Job) {
        let (jobs, job) = (self.clone(), Arc::new(job));
        self.offered().insert(job.id, Arc::clone(&job));
        self.0.running.spawn(async move {
            // A closed semaphore would be a bug of ours; the lease then ends and the job is offered again.
            let _ask_place = match job.activity {
                Activity::CodeRequested => jobs.0.ask_places.clone().acquire_owned().await.ok(),
                Activity::CodeChecked
                | Activity::Reset
                | Activity::Change
                | Activity::Unlock
                | Activity::SignedIn
                | Activity::MethodAdded
                | Activity::MethodTested
                | Activity::MethodRemoved
                | Activity::MethodsImported
                | Activity::Erased => None,
            };
            let Ok(_place) = jobs.0.places.clone().acquire_owned().await else { return };
            let offered = jobs.offer(&job).await;
            jobs.offered().remove(&job.id);
            if let Err(error) = offered {
                // Nothing was kept: the lease ends, and the agent's journal remembers what it did.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the outcome of a job could not be kept"
                );
            }
        });
    }

    fn offered(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Job>>> {
        self.0.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn offer(&self, job: &Job) -> Result<(), StoreError> {
        let engine = &self.0;
        let JobState::Running { attempt, .. } = job.state else { return Ok(()) };
        let now = self.now();
        let copy = job.message.as_deref().and_then(|kept| turn::copy_for(kept, attempt, now));
        let Some(message) = copy.map(<[u8]>::to_vec) else { return Ok(()) };
        let header = message::peek_header(&message);
        let digest = keyback_core::message::digest(&message);
        // Sealed to a key that was revoked since: nobody may open it any more.
        let agent = header.as_ref().and_then(|header| engine.sealer.agent_of(header.recipient));
        let answer = match agent {
            Some(_) => engine.relay.request(message, self.lease(header.as_ref(), now)).await,
            None => Err(RelayError::NotTaken),
        };
        let again_at = self.now().plus(wait_after(attempt, engine.limits.retry));
        let mut said = None;
        let (outcome, diagnosis) = match answer {
            Ok(bytes) => match agent
                .ok_or(MessageError::NoAgent)
                .and_then(|agent| Reply::parse(&bytes, &agent, job.id, &digest))
            {
                Ok((reply, agents_word)) => {
                    if let Some(head) =
                        reply.head.filter(|head| head.number > engine.store.audit_head().number)
                    {
                        tracing::error!(%head, "the agent has seen a newer audit chain than this store holds: `keyback audit verify`");
                    }
                    said = Some(agents_word);
                    (reply.outcome, reply.diagnosis)
                }
                // Not the agent's word: it says nothing about what was done.
                Err(error) => {
                    let failure = Failure::of(error.cause()).seen("reply", error.to_string(), "relay");
                    (Outcome::Unknown(failure), None)
                }
            },
            Err(RelayError::NotTaken) => {
                let failure = Failure::of(Cause::AgentOffline);
                let effects = Effects { failure: Some((attempt, &failure)), ..Effects::default() };
                self.keep(job, JobEvent::NotTaken { again_at }, effects).await?;
                engine.due.notify_one();
                return Ok(());
            }
            Err(RelayError::NoAnswer) => (Outcome::Unknown(Failure::of(Cause::AgentHeartbeatStale)), None),
        };
        self.answered(job, Answered { attempt, header, outcome, diagnosis, said, again_at }).await
    }

    /// How long the answer to an offer is waited for: with several agents, until it is the next one's turn.
    fn lease(&self, header: Option<&Header>, now: Timestamp) -> Duration {
        let lease = self.0.limits.lease;
        header
            .filter(|header| header.is_passed_on())
            .map_or(lease, |header| lease.min(header.not_after.since(now)))
    }

    async fn answered(&self, job: &Job, answered: Answered) -> Result<(), StoreError> {
        let Answered { attempt, header, outcome, diagnosis, said, again_at } = answered;
        let event = JobEvent::Answered { outcome: outcome.clone(), again_at };
        let challenge_text = if let Outcome::CodeSent { challenge, .. } = &outcome {
            challenge.to_string()
        } else {
            String::new()
        };
        let effects = || {
            let mut effects =
                Effects { diagnosis: diagnosis.as_ref(), said: said.as_ref(), ..Effects::default() };
            match &outcome {
                Outcome::Done(done) => effects.done = Some(done),
                Outcome::CodeSent { person, .. } => {
                    effects.code_sent = Some((&challenge_text, person));
                    effects.mailed_by = header.as_ref().map(|header| header.recipient);
                }
                Outcome::CodeAccepted { expires_at, rules, voucher, renewed, .. } => {
                    effects.code_accepted = Some((*expires_at, rules.as_ref()));
                    effects.voucher = voucher.as_deref();
                    effects.method = renewed.as_ref().map(MethodChange::Used);
                }
                Outcome::MoreProof { given, renewed, .. } => {
                    effects.given = Some(given);
                    effects.method = renewed.as_ref().map(MethodChange::Used);
                }
                Outcome::SignedIn { expires_at, .. } => effects.signed_in_until = Some(*expires_at),
                Outcome::Kept { method, usable_at } => {
                    effects.method = Some(MethodChange::Kept(method, *usable_at));
                }
                Outcome::Tested { renewed } => effects.method = Some(MethodChange::Used(renewed)),
                Outcome::Removed { method } => effects.method = Some(MethodChange::Removed(*method)),
                Outcome::Refused(failure) | Outcome::Retry(failure) | Outcome::Unknown(failure) => {
                    effects.failure = Some((attempt, failure));
                }
            }
            effects
        };
        let mut kept = self.keep(job, event.clone(), effects()).await?;
        if kept.is_none()
            && !matches!(outcome, Outcome::Retry(_) | Outcome::Unknown(_))
            && let Some(job) = self.0.store.find_job(job.id).await?
            && matches!(job.state, JobState::Running { .. } | JobState::Doubtful { .. })
            && !(header.as_ref().is_some_and(Header::is_passed_on) && matches!(outcome, Outcome::Refused(_)))
        {
            // The lease was over. The agent's last word is true all the same; but what one agent will not do, the next
            // one may be doing.
            kept = self.keep(&job, event, effects()).await?;
        }
        if kept.is_some_and(|job| job.state.due_at().is_some()) {
            self.0.due.notify_one();
        }
        Ok(())
    }
}

/// The methods for the agent, among noise.
pub(crate) fn bundle(methods: &[Method]) -> Bundle {
    let noise = ids::random::<{ SEALED * MOST_METHODS }>();
    Bundle::of(methods.iter().map(|method| &method.sealed), noise.to_vec())
}

/// Doubles with each attempt, and is spread by a fifth so that jobs that failed together do not come back together.
fn wait_after(attempt: u32, first: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let [spread] = ids::random::<1>();
    doubled.mul_f64(0.9 + 0.2 * f64::from(spread) / 255.0)
}

/// What came of an offer.
struct Answered {
    attempt: u32,
    /// Of what was offered.
    header: Option<Header>,
    outcome: Outcome,
    diagnosis: Option<Diagnosis>,
    said: Option<Said>,
    again_at: Timestamp,
}

/// What a new job is made of.
pub(crate) struct Asked {
    pub(crate) correlation_id: CorrelationId,
    pub(crate) operation: Operation,
    pub(crate) body: Body,
    pub(crate) activity: Activity,
    pub(crate) user_name: String,
    pub(crate) flow: Option<Flow>,
    pub(crate) source: Option<String>,
}

impl Asked {
    fn of(flow: &Flow, body: Body, activity: Activity, source: Option<String>) -> Self {
        Self {
            correlation_id: flow.correlation_id,
            operation: flow.operation,
            body,
            activity,
            user_name: flow.user_name.to_string(),
            flow: Some(flow.clone()),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_at_the_longest() {
        for (attempt, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (10, 20.0), (40, 20.0)] {
            let wait = wait_after(attempt, Duration::from_secs(1)).as_secs_f64();
            assert!((seconds * 0.9..=seconds * 1.1).contains(&wait), "attempt {attempt}: {wait} s");
        }
    }
}
