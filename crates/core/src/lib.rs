//! keyback's vocabulary: ids, secrets, the clock, job states, what is recorded, and the messages between server and agent.
//!
//! Decides what these things are and which of them are legal. Does no I/O and asks no clock: time and randomness
//! come in as parameters.

pub mod audit;
pub mod clock;
pub mod diagnosis;
pub mod enrolment;
pub mod heartbeat;
pub mod ids;
pub mod job;
pub mod keys;
pub mod message;
pub mod methods;
pub mod outcome;
pub mod relay;
pub mod rules;
pub mod secrets;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod statement;
pub mod turn;

pub use clock::{Clock, SystemClock, Timestamp};
pub use ids::{
    ChallengeId, CorrelationId, JobId, JournalId, KeyId, MethodId, ObjectGuid, SourceAnchor, UserName,
};
pub use keys::VerifyingKey;
pub use methods::{SealedMethod, Way};
pub use outcome::{Done, Evidence, Failure, Person, ServerReply};
pub use rules::PasswordRules;
pub use secrets::{
    CurrentPassword, NewPassword, PlainCode, PlainTicket, RecoveryCode, TicketHash, TotpCode, TotpSeed,
    TypedCode,
};
