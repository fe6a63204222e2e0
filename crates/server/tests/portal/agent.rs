//! An agent that opens seals like the real one and answers from a script. It knows one user, alice, by three names.

use hpke::{Deserializable, Kem as _, OpModeR, Serializable};
use keyback_codes::Cause;
use keyback_core::keys::{Aead, Kdf, Kem, SealingKey, SigningKey, VerifyingKey};
use keyback_core::message::{Body, Reply, SignedRequest, seal_info};
use keyback_core::methods::{SEALED, SealedBytes};
use keyback_core::outcome::Outcome;
use keyback_core::relay::{Answer, Relay, RelayError};
use keyback_core::{
    ChallengeId, Done, Failure, MethodId, ObjectGuid, PasswordRules, Person, SealedMethod, SourceAnchor,
    Timestamp, Way,
};
use keyback_server::Sealer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The code that every mail would carry.
pub const CODE: &str = "12345678";
/// How long the agent says that a proof holds; far beyond every test's clock.
const LATE: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);

/// Alice's password, where she has to type it.
pub const PASSWORD: &str = "Alices-Own-1!";
/// What her app shows.
pub const APP_CODE: &str = "123456";

fn kept(id: MethodId, way: Way) -> Outcome {
    let sealed = SealedBytes::new(vec![1; SEALED]).unwrap();
    Outcome::Kept { method: SealedMethod { id, way, sealed }, usable_at: Timestamp::from_micros(0) }
}

pub fn challenge() -> ChallengeId {
    ChallengeId::from_random([5; 16])
}

type PrivateKey = <Kem as hpke::Kem>::PrivateKey;

pub struct Agent {
    unsealing: PrivateKey,
    signing: SigningKey,
    server: VerifyingKey,
    /// What was asked, in words; passwords as they arrived.
    pub asked: Mutex<Vec<String>>,
    /// What the right code is answered with.
    pub rules: Mutex<Option<PasswordRules>>,
    /// What writes come to, instead of being done.
    pub refuse: Mutex<Option<Cause>>,
    /// The same for codes asked for, and as something to try again.
    pub retry_codes: Mutex<Option<Cause>>,
    /// A code for a challenge that is there takes so many milliseconds longer.
    slow_known: AtomicU64,
    /// Nobody takes messages.
    pub offline: AtomicBool,
    /// Each answer takes one permit.
    pub permits: Semaphore,
}

fn keys() -> (PrivateKey, [u8; 32]) {
    let (private, public) = Kem::derive_keypair(&[3; 32]);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&public.to_bytes());
    (private, bytes)
}

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// What the server has pinned of this agent.
pub fn sealer() -> Sealer {
    Sealer::new(signing(1), SealingKey::from_bytes(keys().1).unwrap(), signing(2).verifying_key())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    pub fn new() -> Self {
        Self {
            unsealing: keys().0,
            signing: signing(2),
            server: signing(1).verifying_key(),
            asked: Mutex::default(),
            refuse: Mutex::default(),
            rules: Mutex::default(),
            retry_codes: Mutex::default(),
            slow_known: AtomicU64::new(0),
            offline: AtomicBool::new(false),
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }

    pub fn refuse(&self, cause: Option<Cause>) {
        *lock(&self.refuse) = cause;
    }

    pub fn rules(&self, rules: PasswordRules) {
        *lock(&self.rules) = Some(rules);
    }

    pub fn retry_codes(&self, cause: Option<Cause>) {
        *lock(&self.retry_codes) = cause;
    }

    pub fn slow_known(&self, by: Duration) {
        self.slow_known.store(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub fn hold(&self) {
        self.permits.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn open(&self, request: &SignedRequest<'_>) -> Body {
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(request.encapsulated).unwrap();
        let info = seal_info(request.header.kind, self.signing.verifying_key().id());
        let plain = hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &self.unsealing,
            &encapsulated,
            &info,
            request.sealed,
            request.aad,
        );
        Body::decode(request.header.kind, &plain.unwrap()).unwrap()
    }

    fn outcome(&self, body: &Body) -> Outcome {
        let write = |id: &ChallengeId| match *lock(&self.refuse) {
            Some(cause) => {
                Outcome::Refused(Failure::of(cause).seen("memberOf", "EVIDENCE", "CN=Secret,DC=ad"))
            }
            None if *id == challenge() => Outcome::Done(Done {
                dc: "dc1.ad.example".to_owned(),
                key_version: Some((1, 2)),
                history_enforced: false,
                compare_and_swap: true,
                settled: false,
                remarks: vec![Cause::PolicyHintsUnsupported],
            }),
            None => Outcome::Refused(Failure::of(Cause::ProofExpired)),
        };
        let (said, outcome) = match body {
            Body::AskCode { user, .. } => (format!("ask {user}"), self.ask(user.as_str())),
            Body::CheckCode { challenge: id, code, .. } => {
                let right = *id == challenge() && code.expose() == CODE;
                let outcome = if right {
                    Outcome::CodeAccepted {
                        challenge: *id,
                        expires_at: LATE,
                        rules: lock(&self.rules).clone(),
                        voucher: None,
                        renewed: None,
                    }
                } else {
                    Outcome::Refused(Failure::of(Cause::ProofWrongCode))
                };
                (format!("check {}", code.expose()), outcome)
            }
            Body::Reset { challenge, new } => (format!("reset {}", new.expose()), write(challenge)),
            Body::Change { challenge, current, new } => {
                (format!("change {} {}", current.expose(), new.expose()), write(challenge))
            }
            Body::Unlock { challenge } => ("unlock".to_owned(), write(challenge)),
            Body::CheckPassword { challenge, current } => {
                let outcome = if current.expose() == PASSWORD {
                    Outcome::SignedIn { challenge: *challenge, expires_at: LATE }
                } else {
                    Outcome::Refused(Failure::of(Cause::TargetWrongPassword))
                };
                (format!("sign in {}", current.expose()), outcome)
            }
            Body::AddTotp { method, code, .. } => {
                let outcome = match code.expose() {
                    APP_CODE => kept(*method, Way::Totp),
                    "700000" => {
                        Outcome::Refused(Failure::of(Cause::ProofClockOff).seen("clock", "-420", "phone"))
                    }
                    _ => Outcome::Refused(Failure::of(Cause::ProofWrongCode)),
                };
                ("add app".to_owned(), outcome)
            }
            Body::AddRecovery { method, codes, .. } => {
                (format!("add sheet {}", codes.len()), kept(*method, Way::Recovery))
            }
            Body::TestMethod { code, .. } => {
                (format!("test {}", code.expose()), Outcome::Refused(Failure::of(Cause::ProofCodeUsed)))
            }
            Body::RemoveMethod { method, .. } => ("remove".to_owned(), Outcome::Removed { method: *method }),
        };
        lock(&self.asked).push(said);
        outcome
    }

    fn ask(&self, user: &str) -> Outcome {
        if let Some(cause) = *lock(&self.retry_codes) {
            return Outcome::Retry(Failure::of(cause));
        }
        if !["alice", "alice@mail.example", "alice@ad.example"].contains(&user.to_lowercase().as_str()) {
            return Outcome::Refused(Failure::of(Cause::TargetNotFound));
        }
        let person = Person {
            object_guid: ObjectGuid::from_wire([7; 16]),
            source_anchor: SourceAnchor::from_wire([7; 16]),
            user_principal_name: "alice@ad.example".to_owned(),
            sam_account_name: "alice".to_owned(),
            display_name: "Alice Example".to_owned(),
            mail_hint: "a•••@mail.example".to_owned(),
        };
        Outcome::CodeSent { challenge: challenge(), person, expires_at: LATE }
    }
}

impl Relay for Agent {
    fn request(&self, request: Vec<u8>, _limit: Duration) -> Answer<'_> {
        Box::pin(async move {
            if self.offline.load(Ordering::Relaxed) {
                return Err(RelayError::NotTaken);
            }
            self.permits.acquire().await.unwrap().forget();
            let request = SignedRequest::parse(&request, &self.server).unwrap();
            let body = self.open(&request);
            if matches!(&body, Body::CheckCode { challenge: id, .. } if *id == challenge()) {
                tokio::time::sleep(Duration::from_millis(self.slow_known.load(Ordering::Relaxed))).await;
            }
            let outcome = self.outcome(&body);
            let now = request.header.not_before;
            let reply = Reply::new(request.header.job_id, request.digest, outcome, now, request.header.head);
            Ok(reply.sign(&self.signing))
        })
    }
}
