//! `[server.limits]`: how often somebody may try, and what one client may cost.

use keyback_server::{DoorLimits, Tries, web};
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;

/// Every key may be left out; `keyback.example.toml` shows what holds then.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerLimits {
    /// Codes asked for one name, from one network, in a window.
    pub asks_per_name_and_source: u32,
    /// The same from everywhere.
    pub asks_per_name: u32,
    /// Codes asked for from one network.
    pub asks_per_source: u32,
    /// Codes typed for one name, from one network.
    pub codes_per_name_and_source: u32,
    /// The same from everywhere.
    pub codes_per_name: u32,
    /// Codes typed from one network.
    pub codes_per_source: u32,
    /// Tries are forgotten after this.
    pub window_minutes: u64,
    /// After the last free try; doubles.
    pub first_wait_seconds: u64,
    /// No wait is longer.
    pub longest_wait_minutes: u64,
    /// Jobs open at once.
    pub open_jobs: u32,
    /// Connections at once.
    pub connections: usize,
    /// The same from one network.
    pub connections_per_source: usize,
    /// For the TLS handshake.
    pub handshake_seconds: u64,
    /// For a request's header, and between two requests.
    pub header_seconds: u64,
    /// For a client that reads nothing of its answer.
    pub stall_seconds: u64,
}

impl Default for ServerLimits {
    fn default() -> Self {
        let (door, web) = (DoorLimits::default(), web::Limits::default());
        Self {
            asks_per_name_and_source: door.asks.name_from_source,
            asks_per_name: door.asks.name,
            asks_per_source: door.asks.source,
            codes_per_name_and_source: door.codes.name_from_source,
            codes_per_name: door.codes.name,
            codes_per_source: door.codes.source,
            window_minutes: door.window.as_secs() / 60,
            first_wait_seconds: door.first_wait.as_secs(),
            longest_wait_minutes: door.longest_wait.as_secs() / 60,
            open_jobs: door.open_jobs,
            connections: web.connections,
            connections_per_source: web.connections_per_source,
            handshake_seconds: web.handshake.as_secs(),
            header_seconds: web.header.as_secs(),
            stall_seconds: web.stall.as_secs(),
        }
    }
}

impl ServerLimits {
    /// The first key whose value would let nobody in.
    pub fn zero(&self) -> Option<&'static str> {
        let values = [
            ("server.limits.asks_per_name_and_source", u64::from(self.asks_per_name_and_source)),
            ("server.limits.asks_per_name", u64::from(self.asks_per_name)),
            ("server.limits.asks_per_source", u64::from(self.asks_per_source)),
            ("server.limits.codes_per_name_and_source", u64::from(self.codes_per_name_and_source)),
            ("server.limits.codes_per_name", u64::from(self.codes_per_name)),
            ("server.limits.codes_per_source", u64::from(self.codes_per_source)),
            ("server.limits.window_minutes", self.window_minutes),
            ("server.limits.first_wait_seconds", self.first_wait_seconds),
            ("server.limits.longest_wait_minutes", self.longest_wait_minutes),
            ("server.limits.open_jobs", u64::from(self.open_jobs)),
            ("server.limits.connections", self.connections as u64),
            ("server.limits.connections_per_source", self.connections_per_source as u64),
            ("server.limits.handshake_seconds", self.handshake_seconds),
            ("server.limits.header_seconds", self.header_seconds),
            ("server.limits.stall_seconds", self.stall_seconds),
        ];
        values.into_iter().find(|(_, value)| *value == 0).map(|(key, _)| key)
    }

    /// For the engine.
    pub fn door(&self) -> DoorLimits {
        DoorLimits {
            asks: Tries {
                name_from_source: self.asks_per_name_and_source,
                name: self.asks_per_name,
                source: self.asks_per_source,
            },
            codes: Tries {
                name_from_source: self.codes_per_name_and_source,
                name: self.codes_per_name,
                source: self.codes_per_source,
            },
            window: Duration::from_mins(self.window_minutes),
            first_wait: Duration::from_secs(self.first_wait_seconds),
            longest_wait: Duration::from_mins(self.longest_wait_minutes),
            open_jobs: self.open_jobs,
            ..DoorLimits::default()
        }
    }

    /// For the listener.
    pub fn web(&self, proxies: &[IpAddr]) -> web::Limits {
        web::Limits {
            connections: self.connections,
            connections_per_source: self.connections_per_source,
            proxies: proxies.to_vec(),
            handshake: Duration::from_secs(self.handshake_seconds),
            header: Duration::from_secs(self.header_seconds),
            stall: Duration::from_secs(self.stall_seconds),
            ..web::Limits::default()
        }
    }
}
