//! Domain controllers made of memory: they answer what keyback asks of them as Samba 4.24 does (`likeness.rs` compares),
//! and the scheduler decides which questions are answered, when, and whether the answer arrives.

#![expect(clippy::wildcard_enum_match_arm, reason = "LDAP has many operations, and few are asked")]

mod answers;

use answers::{ended, result_of};
use futures_util::{SinkExt, StreamExt};
use keyback_ad::simulation::Dial;
use keyback_core::{Clock, ObjectGuid};
use keyback_testkit::clock::ManualClock;
use keyback_testkit::random::Random;
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindResponse, LdapFilter, LdapModify, LdapModifyType, LdapMsg, LdapOp,
    LdapPartialAttribute, LdapResult, LdapResultCode, LdapSearchRequest, LdapSearchResultEntry,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::codec::Framed;

pub const BASE: &str = "DC=ad,DC=example";
pub const CONNECTOR: &str = "svc@ad.example";
pub const CONNECTOR_PASSWORD: &str = "Conn-Pass1!";
const HINTS: &str = "1.2.840.113556.1.4.2239";
const SHORTEST: usize = 7;
/// Wrong passwords before an account is locked.
const THRESHOLD: u32 = 5;
/// More than any request or answer here.
const LINE: usize = 64 * 1024;

/// One user, or the connector, on one domain controller.
#[derive(Debug, Clone)]
struct Account {
    guid: ObjectGuid,
    sam: String,
    rid: u8,
    password: String,
    used: Vec<String>,
    key_version: i64,
    pwd_last_set: i64,
    bad: u32,
    locked: i64,
}

impl Account {
    fn dn(&self) -> String {
        format!("CN={},OU=Staff,{BASE}", self.sam)
    }

    fn upn(&self) -> String {
        format!("{}@ad.example", self.sam)
    }

    fn locks(&self) -> bool {
        self.bad >= THRESHOLD
    }
}

/// A password that was set, or refused and counted: what really happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    pub dc: usize,
    pub user: String,
    pub password: String,
}

/// What a domain controller was asked and has not answered.
struct Question {
    number: u32,
    line: u32,
    dc: usize,
    message: LdapMsg,
}

/// What becomes of a question that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Done and answered.
    Answered,
    /// The line is cut before anything is done.
    Dropped,
    /// Done, and the line is cut before the answer.
    Unanswered,
    /// It lies somewhere on its way. It may arrive when nobody waits any more.
    Late,
    /// Result 51.
    Busy,
}

struct State {
    up: bool,
    accounts: Vec<Account>,
}

/// How many questions in a hundred wait for the scheduler; the others are answered at once.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    pub reads: usize,
    pub binds: usize,
    pub writes: usize,
}

impl Waits {
    /// Every question is answered at once.
    pub const NONE: Self = Self { reads: 0, binds: 0, writes: 0 };
}

struct Inner {
    random: Random,
    waits: Waits,
    /// Whether a reset can obey history, as on Samba 4.24, or cannot, as on 4.17.
    hints: bool,
    clock: Arc<ManualClock>,
    last_tick: i64,
    dcs: Vec<State>,
    lines: BTreeMap<u32, (usize, mpsc::UnboundedSender<Vec<LdapMsg>>)>,
    waiting: Vec<Question>,
    late: Vec<Question>,
    numbers: u32,
    /// Every password that was set.
    set: Vec<Deed>,
    /// Every wrong password that was counted.
    counted: Vec<Deed>,
    /// Passwords of writes whose answer did not get through.
    doubtful: Vec<String>,
    log: Vec<String>,
}

/// The domain. Cheap to clone.
#[derive(Clone)]
pub struct Domain(Arc<Mutex<Inner>>);

/// The connector's objectGUID has number 0, the OU's 100, users count from 1.
pub const fn guid(number: u8) -> ObjectGuid {
    ObjectGuid::from_wire([number, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
}

pub const OU: ObjectGuid = guid(100);

impl Domain {
    /// `users` users named u1, u2… with the password `Start-Pass-u1!`, on every domain controller.
    pub fn new(dcs: usize, users: u8, clock: Arc<ManualClock>, seed: u64, hints: bool) -> Self {
        let account = |number: u8, sam: &str, password: &str| Account {
            guid: guid(number),
            sam: sam.to_owned(),
            rid: number,
            password: password.to_owned(),
            used: vec![password.to_owned()],
            key_version: 2,
            pwd_last_set: 130_000_000_000_000_000 + i64::from(number),
            bad: 0,
            locked: 0,
        };
        let mut accounts = vec![account(0, "svc", CONNECTOR_PASSWORD)];
        for number in 1..=users {
            let sam = format!("u{number}");
            accounts.push(account(number, &sam, &first_password(number)));
        }
        let state = || State { up: true, accounts: accounts.clone() };
        Self(Arc::new(Mutex::new(Inner {
            random: Random::seeded(seed),
            waits: Waits::NONE,
            hints,
            clock,
            last_tick: 0,
            dcs: (0..dcs).map(|_| state()).collect(),
            lines: BTreeMap::new(),
            waiting: Vec::new(),
            late: Vec::new(),
            numbers: 0,
            set: Vec::new(),
            counted: Vec::new(),
            doubtful: Vec::new(),
            log: Vec::new(),
        })))
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn name(dc: usize) -> String {
        format!("dc{dc}.ad.example")
    }

    /// What was said since the last call.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.locked().log)
    }

    pub fn waiting(&self) -> usize {
        self.locked().waiting.len()
    }

    pub fn late(&self) -> usize {
        self.locked().late.len()
    }

    /// How many questions wait from now on.
    pub fn set_waits(&self, waits: Waits) {
        self.locked().waits = waits;
    }

    /// Decides about the `index`th question that waits.
    pub fn decide(&self, index: usize, fate: Fate) {
        let mut inner = self.locked();
        let question = inner.waiting.remove(index);
        inner.decide(question, fate);
    }

    /// The `index`th of those that were on their way arrives now.
    pub fn arrive(&self, index: usize) {
        let mut inner = self.locked();
        let question = inner.late.remove(index);
        let text = question.to_string();
        let answers = inner.execute(question.dc, &question.message);
        inner.log.push(format!("  late {text}: {}", result_of(&answers)));
        inner.send(question.line, answers);
    }

    /// Refuses and cuts every line, or takes them again. What was asked and not answered is lost.
    pub fn set_up(&self, dc: usize, up: bool) {
        let mut inner = self.locked();
        inner.dcs[dc].up = up;
        if !up {
            inner.lines.retain(|_, (of, _)| *of != dc);
            let (lost, kept) =
                std::mem::take(&mut inner.waiting).into_iter().partition(|asked| asked.dc == dc);
            inner.waiting = kept;
            inner.lose(lost);
        }
    }

    pub fn is_up(&self, dc: usize) -> bool {
        self.locked().dcs[dc].up
    }

    /// Somebody else sets a password where it is newest; every domain controller learns of it at once.
    pub fn set_behind_our_back(&self, user: u8, password: &str) {
        let mut inner = self.locked();
        let index = usize::from(user);
        let newest =
            (0..inner.dcs.len()).max_by_key(|dc| inner.dcs[*dc].accounts[index].key_version).unwrap_or(0);
        inner.set_password(newest, index, password);
        let account = inner.dcs[newest].accounts[index].clone();
        inner.learn(index, &account);
    }

    /// Every domain controller learns the newest of every account.
    pub fn replicate(&self) {
        let mut inner = self.locked();
        for index in 0..inner.dcs[0].accounts.len() {
            let accounts = inner.dcs.iter().map(|dc| &dc.accounts[index]);
            let Some(newest) = accounts.max_by_key(|account| (account.key_version, account.pwd_last_set))
            else {
                continue;
            };
            let newest = newest.clone();
            inner.learn(index, &newest);
        }
    }

    /// The password that lets the user in at the first domain controller.
    pub fn password(&self, user: u8) -> String {
        self.locked().dcs[0].accounts[usize::from(user)].password.clone()
    }

    /// Everything that a test may compare.
    pub fn facts(&self, user: u8) -> (i64, i64, u32) {
        let inner = self.locked();
        let account = &inner.dcs[0].accounts[usize::from(user)];
        (account.key_version, account.pwd_last_set, account.bad)
    }

    /// How often `password` was set, by anybody.
    pub fn times_set(&self, password: &str) -> usize {
        self.locked().set.iter().filter(|deed| deed.password == password).count()
    }

    /// How often a wrong password was counted while this one was to be set.
    pub fn times_counted(&self, password: &str) -> usize {
        self.locked().counted.iter().filter(|deed| deed.password == password).count()
    }

    pub fn is_doubtful(&self, password: &str) -> bool {
        self.locked().doubtful.iter().any(|doubtful| doubtful == password)
    }

    pub fn anybody_locked(&self) -> bool {
        self.locked().dcs.iter().any(|dc| dc.accounts.iter().any(Account::locks))
    }
}

pub fn first_password(user: u8) -> String {
    format!("Start-Pass-u{user}!")
}

impl Dial for Domain {
    fn dial(&self, dc: &str) -> io::Result<DuplexStream> {
        let mut inner = self.locked();
        let index = (0..inner.dcs.len()).find(|index| Self::name(*index) == dc);
        let index = index.filter(|index| inner.dcs[*index].up).ok_or(io::ErrorKind::ConnectionRefused)?;
        inner.numbers += 1;
        let line = inner.numbers;
        let (ours, theirs) = tokio::io::duplex(LINE);
        let (answers, outbox) = mpsc::unbounded_channel();
        inner.lines.insert(line, (index, answers));
        tokio::spawn(converse(self.clone(), index, line, ours, outbox));
        Ok(theirs)
    }
}

async fn converse(
    domain: Domain,
    dc: usize,
    line: u32,
    stream: DuplexStream,
    mut outbox: mpsc::UnboundedReceiver<Vec<LdapMsg>>,
) {
    let mut framed = Framed::new(stream, LdapCodec::default());
    loop {
        tokio::select! {
            biased;
            answers = outbox.recv() => {
                let Some(answers) = answers else { break };
                for answer in answers {
                    if framed.send(answer).await.is_err() { break }
                }
            }
            asked = framed.next() => match asked {
                Some(Ok(message)) => domain.locked().heard(dc, line, message),
                Some(Err(_)) | None => break,
            },
        }
    }
    domain.locked().closed(line);
}

impl Inner {
    fn heard(&mut self, dc: usize, line: u32, message: LdapMsg) {
        if matches!(message.op, LdapOp::UnbindRequest) {
            return;
        }
        self.numbers += 1;
        let question = Question { number: self.numbers, line, dc, message };
        let chance = match &question.message.op {
            LdapOp::ModifyRequest(_) => self.waits.writes,
            LdapOp::BindRequest(bind) if bind.dn != CONNECTOR => self.waits.binds,
            _ => self.waits.reads,
        };
        if self.random.percent(chance) {
            self.log.push(format!("  {question} waits"));
            self.waiting.push(question);
        } else {
            self.decide(question, Fate::Answered);
        }
    }

    /// The client hung up: what it asked may have been read before.
    fn closed(&mut self, line: u32) {
        self.lines.remove(&line);
        for question in self.waiting.iter().chain(&self.late).filter(|asked| asked.line == line) {
            self.doubtful.extend(question.password());
        }
    }

    fn decide(&mut self, question: Question, fate: Fate) {
        let text = question.to_string();
        if fate != Fate::Answered || !self.lines.contains_key(&question.line) {
            self.doubtful.extend(question.password());
        }
        match fate {
            Fate::Answered => {
                let answers = self.execute(question.dc, &question.message);
                self.log.push(format!("  {text}: {}", result_of(&answers)));
                self.send(question.line, answers);
            }
            Fate::Busy => {
                self.log.push(format!("  {text}: busy"));
                let busy =
                    ended(&question.message, LdapResultCode::Busy, "Pending requests on this LDAP session");
                self.send(question.line, vec![busy]);
            }
            Fate::Dropped => {
                self.log.push(format!("  {text}: dropped"));
                self.lines.remove(&question.line);
            }
            Fate::Unanswered => {
                let answers = self.execute(question.dc, &question.message);
                self.log.push(format!("  {text}: {} and the answer lost", result_of(&answers)));
                self.lines.remove(&question.line);
            }
            Fate::Late => {
                self.log.push(format!("  {text}: on its way"));
                self.late.push(question);
            }
        }
    }

    fn lose(&mut self, questions: Vec<Question>) {
        for question in questions {
            self.log.push(format!("  {question}: lost"));
            self.doubtful.extend(question.password());
        }
    }

    fn send(&self, line: u32, answers: Vec<LdapMsg>) {
        if let Some((_, outbox)) = self.lines.get(&line) {
            let _ = outbox.send(answers); // hung up meanwhile
        }
    }

    /// Everywhere, but for badPwdCount: each domain controller has its own.
    fn learn(&mut self, index: usize, newest: &Account) {
        for dc in &mut self.dcs {
            let bad = dc.accounts[index].bad;
            dc.accounts[index] = Account { bad, ..newest.clone() };
        }
    }

    fn tick(&mut self) -> i64 {
        let now = (self.clock.now().as_micros() + 11_644_473_600_000_000) * 10;
        self.last_tick = now.max(self.last_tick + 1);
        self.last_tick
    }
}
