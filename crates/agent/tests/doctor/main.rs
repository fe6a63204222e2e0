//! Doctor against real domain controllers, broken and healthy.

mod breaks;
mod everyone;
mod healthy;
mod hostile;
mod others;
mod reach;
mod support;
