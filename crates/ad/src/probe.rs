//! Every domain controller in turn, step by step: what `keyback check` shows.
//!
//! Uses connections of its own and signs in even after a refused bind: it is asked for by a person, once.

use crate::connection::{Connection, base_search, connect, resolve, shake_hands};
use crate::directory::{Dc, Directory, Inner};
use crate::error::{DirectoryError, Step};
use crate::tls::Certificate;
use keyback_core::Clock;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// One step, and how it went.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// How long it took.
    pub took: Duration,
    /// What went wrong. Later steps were then not tried.
    pub error: Option<DirectoryError>,
}

/// What one domain controller showed. `None` where it was not reached or not shown.
#[derive(Debug, Clone)]
pub struct DcReport {
    /// As the configuration names it.
    pub dc: String,
    /// What was tried, up to the first error.
    pub steps: Vec<StepReport>,
    /// Where the name leads.
    pub addresses: Vec<SocketAddr>,
    /// The certificate that was accepted; one that was refused is in the error.
    pub certificate: Option<Certificate>,
    /// What it calls itself.
    pub dns_host_name: Option<String>,
    /// Samba names its vendor, Windows does not.
    pub vendor: Option<String>,
    /// The domain.
    pub base: Option<String>,
    /// Whether a reset can obey history and minimum age.
    pub policy_hints: Option<bool>,
    /// Seconds by which its clock is ahead of ours; negative when it is behind. Exact to a second.
    pub clock_ahead: Option<i64>,
    /// Whether it is a read-only domain controller.
    pub read_only: Option<bool>,
}

impl DcReport {
    /// The step that failed.
    pub fn error(&self) -> Option<&DirectoryError> {
        self.steps.iter().find_map(|step| step.error.as_ref())
    }

    async fn step<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Option<T> {
        let started = Instant::now();
        let outcome = work.await;
        let took = started.elapsed();
        let (done, error) = match outcome {
            Ok(done) => (Some(done), None),
            Err(error) => (None, Some(error)),
        };
        self.steps.push(StepReport { step, took, error });
        done
    }
}

impl Directory {
    /// Tries every domain controller, all at the same time.
    pub async fn probe(&self, clock: &dyn Clock) -> Vec<DcReport> {
        let probes = self.inner.dcs.iter().map(|dc| self.inner.probe(dc, clock));
        futures_util::future::join_all(probes).await
    }
}

impl Inner {
    async fn probe(&self, dc: &Dc, clock: &dyn Clock) -> DcReport {
        let mut report = DcReport {
            dc: dc.name.clone(),
            steps: Vec::new(),
            addresses: Vec::new(),
            certificate: None,
            dns_host_name: None,
            vendor: None,
            base: None,
            policy_hints: None,
            clock_ahead: None,
            read_only: None,
        };
        // The outcome is in the report, whichever step it ended at.
        let _ = self.probe_steps(dc, clock, &mut report).await;
        report
    }

    async fn probe_steps(&self, dc: &Dc, clock: &dyn Clock, report: &mut DcReport) -> Option<()> {
        let limits = &self.limits;
        let addresses = report.step(Step::Resolve, resolve(&dc.address, limits)).await?;
        report.addresses.clone_from(&addresses);
        let stream = report.step(Step::Connect, connect(&dc.address, &addresses, limits)).await?;
        let handshake = shake_hands(&dc.address, stream, &self.trust, limits);
        let (stream, certificate) = report.step(Step::Tls, handshake).await?;
        report.certificate = certificate;
        let connection = Connection::over(stream, limits);
        report.step(Step::Bind, self.bind(dc, &connection)).await?;
        let facts = report.step(Step::RootDse, connection.read_root_dse(&dc.name, limits)).await?;
        let behind = |at: keyback_core::Timestamp| at.as_micros().saturating_sub(clock.now().as_micros());
        report.clock_ahead = facts.current_time.map(|at| behind(at).div_euclid(1_000_000));
        report.policy_hints = Some(facts.policy_hints.is_some());
        report.dns_host_name = facts.dns_host_name;
        report.vendor = facts.vendor;
        report.base = Some(facts.base.as_str().to_owned());
        // Samba's RODC does not announce the capability that Windows' does; this attribute both have.
        let service = facts.ds_service_name?;
        let read = async {
            let asked = connection.ask(base_search(&service, &["msDS-isRODC"]), Vec::new(), limits.read);
            asked.await.map_err(|broken| broken.at(&dc.name, Step::Read))
        };
        let answer = report.step(Step::Read, read).await?;
        report.read_only = answer.entries.first().map(|entry| entry.text("msDS-isRODC") == Some("TRUE"));
        Some(())
    }
}
