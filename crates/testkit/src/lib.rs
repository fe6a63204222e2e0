//! What tests, the demo and the benches use, and nothing else does: the lab, a mail sink, a browser without
//! JavaScript, and faults.

pub mod browser;
pub mod clock;
pub mod dump;
pub mod hostile;
pub mod lab;
pub mod mail;
pub mod memory;
pub mod phone;
pub mod proxy;
pub mod random;
pub mod tripwire;
pub mod walk;
