//! The seams of the simulation (`crates/keyback/tests/simulation`): a domain controller made of memory, and a build
//! that is broken on purpose. Behind a feature that no shipped binary has.

use crate::config::{ConfigError, DirectoryConfig, Limits};
use crate::connection::Connection;
use crate::directory::{Dc, Directory};
use crate::error::DirectoryError;
use std::io;
use std::sync::Arc;
use tokio::io::DuplexStream;

/// What takes the place of resolving, TCP and TLS.
pub trait Dial: Send + Sync {
    /// A line to the domain controller that the configuration calls `dc`.
    fn dial(&self, dc: &str) -> io::Result<DuplexStream>;
}

/// What is not as it is in a shipped binary.
pub struct Simulation {
    /// The lines.
    pub dial: Arc<dyn Dial>,
    /// `false`: a write is not bound to what was read before it. The simulation has to notice.
    pub compare_and_swap: bool,
}

impl Simulation {
    pub(crate) fn dial(&self, dc: &Dc, limits: &Limits) -> Result<Connection, DirectoryError> {
        let line = self.dial.dial(&dc.name);
        let line =
            line.map_err(|error| DirectoryError::Connect { dc: dc.name.clone(), reason: error.to_string() })?;
        Ok(Connection::over(line, limits))
    }
}

impl Directory {
    /// As [`Directory::new`], over lines made of memory. Doctor reaches nobody.
    pub fn simulated(config: DirectoryConfig, simulation: Simulation) -> Result<Self, ConfigError> {
        let mut directory = Self::new(config)?;
        if let Some(inner) = Arc::get_mut(&mut directory.inner) {
            inner.simulation = Some(simulation);
        }
        Ok(directory)
    }
}
