//! The portal, with a scripted agent behind the relay: what a browser is told, and what becomes of it.

#![expect(clippy::unwrap_used, reason = "clippy knows test functions, but not what they call")]

mod agent;
mod door;
mod faults;
mod flood;
mod flow;
mod guards;
mod live;
mod pages;
mod passwords;
mod reference;
mod register;
mod site;
mod slow;

/// What a test returns.
type Tested = Result<(), Box<dyn std::error::Error>>;
