//! What a browser or a client may ask.
//!
//! Sees people and their sealed wishes; holds no directory credential and no key that opens a seal.

pub mod agents;
pub mod jobs;
pub mod portal;
pub mod reference;
pub mod web;

pub use jobs::{AgentPin, DoorLimits, Jobs, JobsError, Limits, Sealer, ServerKeys, Tries};
