//! Which domain controller is asked, over which connection.
//!
//! We stay with the one that serves, because another one may not know yet what was just written (replication between
//! two Samba 4.17 took 0.7 to 2.4 s). One that failed is tried last for a while, so that a hung one does not cost its
//! time-out for every job. Two connections are kept to each: Samba works on one request of a connection at a time, so a
//! read would wait behind another's write.

use crate::config::{ConfigError, Connector, DcAddress, DirectoryConfig, Limits};
use crate::connection::{Answer, Broken, Connection, How, RootDse};
use crate::dn::Dn;
use crate::error::{DirectoryError, Step};
use crate::tls::Trust;
use keyback_codes::{Cause, Explain};
use keyback_core::ServerReply;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::LdapOp;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

/// How long a domain controller that failed is tried last.
const REST: Duration = Duration::from_secs(30);
/// A connection is not used for longer: its token is as old as its bind, and a firewall forgets idle ones.
const MAX_AGE: Duration = Duration::from_mins(10);
/// After a wrong connector password nobody asks again for this long; doubled up to [`MAX_WAIT`]. Three tries in thirty
/// minutes stay below every sensible lockout threshold.
const FIRST_WAIT: Duration = Duration::from_mins(5);
const MAX_WAIT: Duration = Duration::from_mins(30);

/// The directory: one or several domain controllers of one domain, asked as the connector account. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dcs: Vec<Arc<Dc>>,
    /// Index of the one that served last.
    current: AtomicUsize,
    pub(crate) trust: Trust,
    pub(crate) connector: Connector,
    pub(crate) base: Option<Dn>,
    pub(crate) limits: Limits,
    refused: Mutex<Option<RefusedBind>>,
    pub(crate) netbios_name: OnceCell<String>,
    #[cfg(feature = "simulation")]
    pub(crate) simulation: Option<crate::simulation::Simulation>,
}

struct RefusedBind {
    error: DirectoryError,
    until: Instant,
    wait: Duration,
}

/// One domain controller.
pub(crate) struct Dc {
    pub(crate) address: DcAddress,
    /// As the configuration names it.
    pub(crate) name: String,
    reads: Slot,
    writes: Slot,
    /// One write at a time, first come first served: more at once gain nothing on the domain controller.
    pub(crate) writer: Semaphore,
    failed_at: Mutex<Option<Instant>>,
    read_only: AtomicBool,
}

/// A connection that has signed in.
pub(crate) struct Serving {
    pub(crate) connection: Connection,
    pub(crate) facts: RootDse,
}

/// What a connection is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Reads,
    Writes,
}

/// Place for one kept connection. Whoever finds it empty opens a new one while the others wait for it.
#[derive(Default)]
struct Slot {
    held: tokio::sync::Mutex<Option<Arc<Serving>>>,
    /// How many attempts failed, and how the last one did.
    failures: Mutex<(u64, Option<DirectoryError>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Directory {
    /// Checks the configuration; dials nobody yet.
    pub fn new(config: DirectoryConfig) -> Result<Self, ConfigError> {
        let DirectoryConfig { dcs, ca_pem, connector, base, limits } = config;
        if dcs.is_empty() {
            return Err(ConfigError::NoDc);
        }
        let mut names = HashSet::new();
        if let Some(twice) =
            dcs.iter().map(ToString::to_string).find(|name| !names.insert(name.to_lowercase()))
        {
            return Err(ConfigError::TwiceListed { dc: twice });
        }
        let trust = Trust::new(&ca_pem).map_err(|bad| ConfigError::CaFile { bad: bad.0 })?;
        let base = base.map(|base| Dn::parse(&base).map_err(|_| ConfigError::Base { base })).transpose()?;
        let dcs = dcs.into_iter().map(|address| Arc::new(Dc::new(address))).collect();
        Ok(Self { inner: Arc::new(Inner::new(dcs, trust, connector, base, limits)) })
    }

    /// The same domain controllers, asked as `account`, which may lie anywhere in the domain.
    #[must_use]
    pub fn signed_in_as(&self, account: Connector) -> Self {
        let dcs = self.dcs().cloned().map(|address| Arc::new(Dc::new(address))).collect();
        let Inner { trust, limits, .. } = &*self.inner;
        Self { inner: Arc::new(Inner::new(dcs, trust.clone(), account, None, *limits)) }
    }

    /// The domain controllers, as the configuration lists them.
    pub fn dcs(&self) -> impl Iterator<Item = &DcAddress> {
        self.inner.dcs.iter().map(|dc| &dc.address)
    }
}

impl Inner {
    fn new(dcs: Vec<Arc<Dc>>, trust: Trust, connector: Connector, base: Option<Dn>, limits: Limits) -> Self {
        Self {
            dcs,
            current: AtomicUsize::new(0),
            trust,
            connector,
            base,
            limits,
            refused: Mutex::new(None),
            netbios_name: OnceCell::new(),
            #[cfg(feature = "simulation")]
            simulation: None,
        }
    }

    /// Begins to ask the domain controllers, the most promising first.
    pub(crate) fn round(&self, purpose: Use) -> Round<'_> {
        let current = self.current.load(Ordering::Relaxed);
        let mut order: Vec<usize> = (0..self.dcs.len()).collect();
        order.sort_by_key(|&index| {
            let dc = &self.dcs[index];
            let unfit = purpose == Use::Writes && dc.read_only.load(Ordering::Relaxed);
            (unfit, dc.rests(), index != current, index)
        });
        Round { inner: self, order: order.into_iter(), asked: None, tried: Vec::new() }
    }

    /// The one that the configuration calls `name`.
    pub(crate) fn listed(&self, name: &str) -> Result<Arc<Dc>, DirectoryError> {
        let found = self.dcs.iter().find(|dc| dc.name.eq_ignore_ascii_case(name));
        found.cloned().ok_or_else(|| DirectoryError::NotListed { dc: name.to_owned() })
    }

    /// The kept connection, or a new one in its place.
    pub(crate) async fn connection(&self, dc: &Dc, purpose: Use) -> Result<Arc<Serving>, DirectoryError> {
        let slot = match purpose {
            Use::Reads => &dc.reads,
            Use::Writes => &dc.writes,
        };
        let failures_before = lock(&slot.failures).0;
        let mut held = slot.held.lock().await;
        if let Some(serving) = held.as_ref().filter(|serving| dc.still_good(&serving.connection)) {
            return Ok(Arc::clone(serving));
        }
        *held = None;
        if let (count, Some(error)) = &*lock(&slot.failures)
            && *count != failures_before
        {
            return Err(error.clone()); // somebody tried while we waited; their failure is ours
        }
        match self.open(dc).await {
            Ok(serving) => Ok(Arc::clone(held.insert(Arc::new(serving)))),
            Err(error) => {
                let mut failures = lock(&slot.failures);
                *failures = (failures.0.wrapping_add(1), Some(error.clone()));
                Err(error)
            }
        }
    }

    /// A new connection, signed in as the connector account.
    async fn open(&self, dc: &Dc) -> Result<Serving, DirectoryError> {
        self.may_bind()?;
        let connection = self.dial(dc).await?;
        self.bind(dc, &connection).await?;
        let facts = connection.read_root_dse(&dc.name, &self.limits).await?;
        tracing::debug!(dc = %dc.name, policy_hints = facts.policy_hints.is_some(), "connected");
        Ok(Serving { connection, facts })
    }

    /// A new connection that has not signed in.
    pub(crate) async fn dial(&self, dc: &Dc) -> Result<Connection, DirectoryError> {
        #[cfg(feature = "simulation")]
        if let Some(simulation) = &self.simulation {
            return simulation.dial(dc, &self.limits);
        }
        Connection::dial(&dc.address, &self.trust, &self.limits).await
    }

    /// Signs in as the connector account.
    pub(crate) async fn bind(&self, dc: &Dc, connection: &Connection) -> Result<(), DirectoryError> {
        let reply = connection.bind(&self.connector.name, self.connector.password(), &self.limits).await;
        let reply = reply.map_err(|broken| broken.at(&dc.name, Step::Bind))?;
        match reply.result {
            0 => {
                *lock(&self.refused) = None;
                Ok(())
            }
            51 | 52 => Err(DirectoryError::Busy { dc: dc.name.clone(), step: Step::Bind, reply }),
            _ => Err(self.remember(dc, reply)),
        }
    }

    fn remember(&self, dc: &Dc, reply: ServerReply) -> DirectoryError {
        let reply = crate::reply::withhold(reply, &[self.connector.password()]);
        let wrong_password = reply.bind_data == Some(0x52e);
        let connector = self.connector.name.clone();
        let error = DirectoryError::BindRefused { dc: dc.name.clone(), connector, reply, remembered: false };
        if wrong_password {
            let mut refused = lock(&self.refused);
            let wait = refused.as_ref().map_or(FIRST_WAIT, |before| (before.wait * 2).min(MAX_WAIT));
            *refused = Some(RefusedBind { error: error.clone(), until: Instant::now() + wait, wait });
        }
        error
    }

    /// Keeps a wrong password in our configuration from locking the connector account.
    pub(crate) fn may_bind(&self) -> Result<(), DirectoryError> {
        match &*lock(&self.refused) {
            Some(RefusedBind {
                error: DirectoryError::BindRefused { dc, connector, reply, .. },
                until,
                ..
            }) if Instant::now() < *until => {
                let (dc, connector, reply) = (dc.clone(), connector.clone(), reply.clone());
                Err(DirectoryError::BindRefused { dc, connector, reply, remembered: true })
            }
            _ => Ok(()),
        }
    }

    /// Reads. A kept connection may have died unnoticed, so a read is repeated once on a new one.
    pub(crate) async fn read(&self, dc: &Dc, op: LdapOp) -> Result<Answer, DirectoryError> {
        self.read_with(dc, |_| op.clone(), &[]).await
    }

    /// Reads what depends on what the domain controller says of itself.
    pub(crate) async fn read_with(
        &self,
        dc: &Dc,
        op: impl Fn(&RootDse) -> LdapOp,
        controls: &[LdapControl],
    ) -> Result<Answer, DirectoryError> {
        let mut again = true;
        loop {
            let serving = self.connection(dc, Use::Reads).await?;
            let asked = serving.connection.ask(op(&serving.facts), controls.to_vec(), self.limits.read).await;
            match asked {
                Ok(answer) if answer.reply.result == 1 && again => {
                    dc.drop_connection(Use::Reads, &serving).await;
                }
                Ok(answer) if matches!(answer.reply.result, 51 | 52) => {
                    return Err(DirectoryError::Busy {
                        dc: dc.name.clone(),
                        step: Step::Read,
                        reply: answer.reply,
                    });
                }
                Ok(answer) => return Ok(answer),
                Err(Broken { how: How::Closed(_), .. }) if again => {}
                Err(broken) => return Err(broken.at(&dc.name, Step::Read)),
            }
            again = false;
        }
    }
}

impl Dc {
    fn new(address: DcAddress) -> Self {
        Self {
            name: address.to_string(),
            address,
            reads: Slot::default(),
            writes: Slot::default(),
            writer: Semaphore::new(1),
            failed_at: Mutex::new(None),
            read_only: AtomicBool::new(false),
        }
    }

    fn rests(&self) -> bool {
        lock(&self.failed_at).is_some_and(|at| at.elapsed() < REST)
    }

    /// A connection from before the last failure may hang like the one that failed.
    fn still_good(&self, connection: &Connection) -> bool {
        let since_failure = lock(&self.failed_at).is_none_or(|at| at < connection.opened_at);
        !connection.is_broken() && connection.opened_at.elapsed() < MAX_AGE && since_failure
    }

    /// It answers a write by pointing elsewhere: the next write tries it last.
    pub(crate) fn is_read_only(&self) {
        self.read_only.store(true, Ordering::Relaxed);
    }

    /// Makes the next one who needs a connection open a new one, unless somebody already has.
    pub(crate) async fn drop_connection(&self, purpose: Use, serving: &Arc<Serving>) {
        let slot = match purpose {
            Use::Reads => &self.reads,
            Use::Writes => &self.writes,
        };
        let mut held = slot.held.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, serving)) {
            *held = None;
        }
    }
}

/// One pass over the domain controllers, until one serves.
pub(crate) struct Round<'a> {
    inner: &'a Inner,
    order: std::vec::IntoIter<usize>,
    asked: Option<usize>,
    tried: Vec<DirectoryError>,
}

impl Round<'_> {
    pub(crate) fn next(&mut self) -> Option<Arc<Dc>> {
        self.asked = self.order.next();
        self.asked.map(|index| Arc::clone(&self.inner.dcs[index]))
    }

    /// The one that was asked last answered.
    pub(crate) fn served(&self) {
        if let Some(index) = self.asked {
            self.inner.current.store(index, Ordering::Relaxed);
            *lock(&self.inner.dcs[index].failed_at) = None;
        }
    }

    /// The one that was asked last did not serve.
    /// # Errors
    /// Gives the error back where another domain controller would say the same.
    pub(crate) fn failed(&mut self, error: DirectoryError) -> Result<(), DirectoryError> {
        if error.cause() == Cause::DcReadOnly {
            self.note(error);
            return Ok(());
        }
        match error {
            DirectoryError::BindRefused { .. }
            | DirectoryError::Refused { .. }
            | DirectoryError::NotListed { .. }
            | DirectoryError::NoneServes { .. } => Err(error),
            DirectoryError::Resolve { .. }
            | DirectoryError::Connect { .. }
            | DirectoryError::TimedOut { .. }
            | DirectoryError::Closed { .. }
            | DirectoryError::TlsUntrusted { .. }
            | DirectoryError::TlsExpired { .. }
            | DirectoryError::TlsName { .. }
            | DirectoryError::Handshake { .. }
            | DirectoryError::Busy { .. }
            | DirectoryError::Protocol { .. } => {
                self.note(error);
                Ok(())
            }
        }
    }

    fn note(&mut self, error: DirectoryError) {
        tracing::warn!(dc = error.dc(), step = %error.step(), error = %error, "domain controller did not serve");
        if let Some(index) = self.asked {
            *lock(&self.inner.dcs[index].failed_at) = Some(Instant::now());
        }
        self.tried.push(error);
    }

    /// Nobody is left to ask.
    pub(crate) fn none_serves(mut self) -> DirectoryError {
        match self.tried.len() {
            1 => self.tried.remove(0),
            _ => DirectoryError::NoneServes { tried: self.tried },
        }
    }
}
