//! Questions on one connection, counted.

use crate::connection::{Answer, Broken, Connection};
use crate::directory::{Dc, Inner};
use crate::error::{DirectoryError, Step};
use crate::wire::Match;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::LdapOp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// [MS-ADTS] 3.1.1.3.4.1.11: owner, group and DACL. With the SACL, or without the control, an account without the right
/// to audit gets no descriptor at all (measured on Samba 4.17.12).
pub(super) fn descriptors() -> LdapControl {
    LdapControl::Unknown {
        oid: "1.2.840.113556.1.4.801".to_owned(),
        criticality: true,
        value: Some(vec![0x30, 3, 2, 1, 7]),
    }
}

/// [MS-ADTS] 3.1.1.3.4.1.14: show what was deleted.
pub(super) fn show_deleted() -> LdapControl {
    LdapControl::Unknown { oid: "1.2.840.113556.1.4.417".to_owned(), criticality: true, value: None }
}

/// One connection to one domain controller, for one examination.
pub(super) struct Session<'a> {
    pub(super) inner: &'a Inner,
    pub(super) dc: Arc<Dc>,
    connection: Connection,
    questions: AtomicU32,
}

impl<'a> Session<'a> {
    pub(super) fn new(inner: &'a Inner, index: usize, connection: Connection) -> Self {
        Self { inner, dc: Arc::clone(&inner.dcs[index]), connection, questions: AtomicU32::new(0) }
    }

    pub(super) fn questions(&self) -> u32 {
        self.questions.load(Ordering::Relaxed)
    }

    pub(super) async fn sign_in(&self) -> Result<(), DirectoryError> {
        self.inner.may_bind()?;
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.inner.bind(&self.dc, &self.connection).await
    }

    /// Asks, and gives the answer whatever its result code is, unless the domain controller is busy.
    pub(super) async fn ask(
        &self,
        step: Step,
        op: LdapOp,
        controls: Vec<LdapControl>,
    ) -> Result<Answer, DirectoryError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.judge(step, self.connection.ask(op, controls, self.inner.limits.read).await)
    }

    pub(super) async fn ask_matching(
        &self,
        search: LdapOp,
        filter: Match,
        controls: Vec<LdapControl>,
    ) -> Result<Answer, DirectoryError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let asked = self.connection.ask_matching(search, filter, controls, self.inner.limits.read).await;
        self.judge(Step::Read, asked)
    }

    /// A search that may take longer than others; by `filter` where there is one, else by its own.
    pub(super) async fn ask_patiently(
        &self,
        search: LdapOp,
        filter: Option<Match>,
        controls: Vec<LdapControl>,
        limit: Duration,
    ) -> Result<Answer, DirectoryError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let asked = match filter {
            Some(filter) => self.connection.ask_matching(search, filter, controls, limit).await,
            None => self.connection.ask(search, controls, limit).await,
        };
        self.judge(Step::Read, asked)
    }

    fn judge(&self, step: Step, asked: Result<Answer, Broken>) -> Result<Answer, DirectoryError> {
        let answer = asked.map_err(|broken| broken.at(&self.dc.name, step))?;
        match answer.reply.result {
            51 | 52 => Err(DirectoryError::Busy { dc: self.dc.name.clone(), step, reply: answer.reply }),
            _ => Ok(answer),
        }
    }

    pub(super) fn refused(&self, answer: Answer) -> DirectoryError {
        DirectoryError::Refused { dc: self.dc.name.clone(), step: Step::Read, reply: answer.reply }
    }
}
