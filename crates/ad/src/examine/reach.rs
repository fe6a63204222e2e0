//! Dialling every domain controller at once, so that a dead one costs little.

use crate::connection::{Connection, connect, resolve, shake_hands};
use crate::directory::Inner;
use crate::error::{DirectoryError, Step};
use crate::tls::Certificate;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// How long one that is listed first is preferred to one that is ready.
const GRACE: Duration = Duration::from_millis(250);
/// How long the others are waited for once one has served, counted from the start.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far one domain controller let us come.
#[derive(Debug, Clone)]
pub struct DcState {
    /// As the configuration names it.
    pub dc: String,
    /// The port.
    pub port: u16,
    /// The name that its certificate must be for.
    pub host: String,
    /// Where the name leads, as far as it was asked.
    pub addresses: Vec<SocketAddr>,
    /// The certificate that was accepted.
    pub certificate: Option<Certificate>,
    /// Why it does not serve.
    pub error: Option<DirectoryError>,
    /// From the first step to TLS. `None`: not finished when the examination was.
    pub took: Option<Duration>,
    /// Whether it is a read-only domain controller; `None` where it was not asked.
    pub read_only: Option<bool>,
}

/// A connection that has shaken hands and not signed in.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) certificate: Option<Certificate>,
}

struct News {
    index: usize,
    addresses: Vec<SocketAddr>,
    took: Duration,
    outcome: Result<Dialled, DirectoryError>,
}

pub(super) struct Reach {
    states: Vec<DcState>,
    news: mpsc::Receiver<News>,
    ready: Vec<(usize, Dialled)>,
    tasks: JoinSet<()>,
}

impl Reach {
    /// Begins to dial all of them.
    pub(super) fn start(inner: &Arc<Inner>) -> Self {
        let (tell, news) = mpsc::channel(inner.dcs.len().max(1));
        let mut tasks = JoinSet::new();
        let mut states = Vec::with_capacity(inner.dcs.len());
        for (index, dc) in inner.dcs.iter().enumerate() {
            let address = &dc.address;
            states.push(DcState {
                dc: dc.name.clone(),
                port: address.port,
                host: address.host.clone(),
                addresses: Vec::new(),
                certificate: None,
                error: None,
                took: None,
                read_only: None,
            });
            #[cfg(feature = "simulation")]
            if inner.simulation.is_some() {
                continue; // doctor has tests of its own; here nobody answers
            }
            let (tell, inner, dc) = (tell.clone(), Arc::clone(inner), Arc::clone(dc));
            tasks.spawn(async move {
                let started = Instant::now();
                let mut addresses = Vec::new();
                let dial = async {
                    addresses = resolve(&dc.address, &inner.limits).await?;
                    let stream = connect(&dc.address, &addresses, &inner.limits).await?;
                    let (stream, certificate) =
                        shake_hands(&dc.address, stream, &inner.trust, &inner.limits).await?;
                    Ok(Dialled { connection: Connection::over(stream, &inner.limits), certificate })
                };
                let outcome = dial.await;
                // Nobody listens when the examination is over.
                let _ = tell.send(News { index, addresses, took: started.elapsed(), outcome }).await;
            });
        }
        Self { states, news, ready: Vec::new(), tasks }
    }

    pub(super) fn state(&mut self, index: usize) -> &mut DcState {
        &mut self.states[index]
    }

    fn hear(&mut self, news: News) {
        let state = &mut self.states[news.index];
        state.addresses = news.addresses;
        state.took = Some(news.took);
        match news.outcome {
            Ok(dialled) => {
                state.certificate.clone_from(&dialled.certificate);
                self.ready.push((news.index, dialled));
            }
            Err(error) => state.error = Some(error),
        }
    }

    /// The next one to try: the first of the list that is ready, once those before it have failed or taken too long.
    pub(super) async fn next(&mut self) -> Option<(usize, Dialled)> {
        let mut deadline: Option<Instant> = None;
        loop {
            self.ready.sort_by_key(|(index, _)| *index);
            if let Some((index, _)) = self.ready.first() {
                let open = |state: &DcState| state.took.is_none();
                if !self.states[..*index].iter().any(open) {
                    return Some(self.ready.remove(0));
                }
                deadline.get_or_insert_with(|| Instant::now() + GRACE);
            }
            let news = match deadline {
                None => self.news.recv().await,
                Some(deadline) => match timeout_at(deadline, self.news.recv()).await {
                    Ok(news) => news,
                    Err(_) => return Some(self.ready.remove(0)),
                },
            };
            match news {
                Some(news) => self.hear(news),
                None if self.ready.is_empty() => return None,
                None => return Some(self.ready.remove(0)),
            }
        }
    }

    /// What became of the others.
    pub(super) async fn finish(mut self, started: Instant) -> Vec<DcState> {
        while self.states.iter().any(|state| state.took.is_none()) {
            let left = PATIENCE.saturating_sub(started.elapsed());
            match timeout(left, self.news.recv()).await {
                Ok(Some(news)) => self.hear(news),
                Ok(None) | Err(_) => break,
            }
        }
        self.tasks.abort_all();
        for state in self.states.iter_mut().filter(|state| state.took.is_none()) {
            state.error = Some(DirectoryError::TimedOut { dc: state.dc.clone(), step: Step::Connect });
        }
        self.states
    }
}
