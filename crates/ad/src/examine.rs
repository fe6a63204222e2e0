//! All that decides whether a reset of one user will succeed, read in few questions.
//!
//! Decides what is asked, in which order and of which domain controller; leaves the judging to the agent's doctor. Uses a
//! connection of its own, so that the token is as new as the question. Independent questions go out together: sign-in,
//! rootDSE, name and kind of the domain controller, then everything else at once.

mod cache;
mod everyone;
mod ground;
mod membership;
mod reach;
mod session;
mod shared;
mod subject;

pub use everyone::{EVERYONE, PAGES, Passed, Visitor, Wanted};
pub use ground::{Connector as ConnectorAccount, Ground};
pub use reach::DcState;
pub use subject::{Account, Container, Found, Holder, Subject, Tombstone};

use crate::directory::Directory;
use crate::error::DirectoryError;
use keyback_core::{Clock, UserName};
use reach::Dialled;
use session::Session;
use std::time::Duration;
use subject::Seen;
use tokio::time::Instant;

/// What was seen on the way to one user.
#[derive(Debug, Clone)]
pub struct Examination {
    /// Every domain controller, in the order of the configuration.
    pub dcs: Vec<DcState>,
    /// The connector account, as it signs in.
    pub connector: String,
    /// What holds for every user. `None`: no domain controller served.
    pub ground: Option<Ground>,
    /// Whom the name means.
    pub found: Option<Found>,
    /// Questions that were asked of the one that served.
    pub questions: u32,
    /// How long it took.
    pub took: Duration,
}

impl Directory {
    /// Reads everything about the user whom `name` means, from the first domain controller that serves and can be written
    /// to. Changes nothing.
    pub async fn examine(&self, name: &UserName, clock: &dyn Clock) -> Examination {
        let started = Instant::now();
        let mut reach = reach::Reach::start(&self.inner);
        let (mut ground, mut found, mut questions) = (None, None, 0);
        while let Some((index, dialled)) = reach.next().await {
            let Dialled { connection, certificate } = dialled;
            let session = Session::new(&self.inner, index, connection);
            let read = examine_on(&session, name, clock).await;
            questions += session.questions();
            let state = reach.state(index);
            state.certificate = certificate;
            match read {
                Ok((read_ground, who)) => {
                    state.read_only = read_ground.read_only;
                    let writable = read_ground.read_only != Some(true);
                    if ground.is_none() || writable {
                        ground = Some(read_ground);
                        found = Some(who);
                    }
                    if writable {
                        break;
                    }
                }
                Err(error) => {
                    // A wrong connector password is wrong everywhere, and each try counts towards its lockout.
                    let everywhere =
                        matches!(error, DirectoryError::BindRefused { .. }) && !may_differ(&error);
                    state.error = Some(error);
                    if everywhere {
                        break;
                    }
                }
            }
        }
        Examination {
            dcs: reach.finish(started).await,
            connector: self.inner.connector.name.clone(),
            ground,
            found,
            questions,
            took: started.elapsed(),
        }
    }
}

/// Whether another domain controller may let the connector in.
fn may_differ(error: &DirectoryError) -> bool {
    use keyback_codes::{Cause, Explain};
    error.cause() == Cause::DcReadOnly
}

async fn examine_on(
    session: &Session<'_>,
    name: &UserName,
    clock: &dyn Clock,
) -> Result<(Ground, Found), DirectoryError> {
    session.sign_in().await?;
    let root = session.read_root(clock).await?;
    let (read_only, seen) = tokio::join!(session.read_kind(&root), session.find(&root, name.as_str()));
    let read_only = read_only?;
    let (ground, found) = match seen? {
        Seen::Nobody => {
            let (ground, tombstones) =
                tokio::join!(session.read_ground(&root, &[]), session.find_deleted(&root, name));
            (ground?.0, Found::Nobody { tombstones: tombstones? })
        }
        Seen::Several(holders) => (session.read_ground(&root, &[]).await?.0, Found::Several(holders)),
        Seen::One(glimpse) => {
            let above = glimpse.containers(&root.base);
            let (entry, ground, holders, pso) = tokio::join!(
                session.read_subject(&glimpse),
                session.read_ground(&root, &above),
                session.find_holders(&root, &glimpse),
                session.read_pso(glimpse.pso.as_deref()),
            );
            let (ground, containers) = ground?;
            let found = match entry? {
                Some(entry) => session.subject(&entry, &glimpse, &ground, containers, holders?, pso?)?,
                None => Found::Nobody { tombstones: Vec::new() }, // deleted between two questions
            };
            (ground, found)
        }
    };
    Ok((Ground { read_only, ..ground }, found))
}
