//! Against real domain controllers of both Samba versions, and against hostile ones. `KEYBACK_TEST_DC` points the same
//! tests at another domain controller.

mod access;
mod connect;
mod find;
mod hostile;
mod mend;
mod settle;
mod stage;
mod support;
mod write;
