//! What goes wrong around keyback, with the real binary and a real domain controller. `docs/faults.md` lists what is here and in
//! the other tests that carry a `Fault:` line.

mod clock;
mod dc;
mod disk;
mod process;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod two_agents;
