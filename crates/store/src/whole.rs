//! Transactions that are one text: each statement that is sent by itself costs two changes of thread, and so do `BEGIN` and
//! `COMMIT`.

use crate::Store;
use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use sqlx::{AnyConnection, Executor};
use std::sync::atomic::Ordering;

/// A transaction around statements of which the last changes one row only if all before it did what they should. Where it
/// does not, the text fails before its `COMMIT`.
macro_rules! whole {
    ($($statements:tt)*) => {
        concat!(
            "BEGIN IMMEDIATE; ",
            $($statements)*,
            "; SELECT CASE changes() WHEN 1 THEN '' ELSE json('not as expected') END; COMMIT"
        )
    };
}
pub(crate) use whole;

/// SQLITE_ERROR: a statement failed by itself, and not by the disk or by others.
const FAILED: &str = "1";

impl Store {
    /// Runs a text that [`whole`] made. `false`: not everything was as expected, and nothing was kept; statement by
    /// statement tells what it was.
    pub(crate) async fn run_whole(
        &self,
        writer: &mut AnyConnection,
        text: Query<'_, Any, AnyArguments>,
    ) -> Result<bool, sqlx::Error> {
        self.is_unfinished.store(true, Ordering::Relaxed);
        let ran = text.execute(&mut *writer).await;
        if ran.is_err() {
            self.roll_back(writer).await;
        }
        self.is_unfinished.store(false, Ordering::Relaxed);
        match ran {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(FAILED) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes back what a text left that was not run to its end: its caller was dropped.
    pub(crate) async fn finish_whole(&self, writer: &mut AnyConnection) {
        if self.is_unfinished.load(Ordering::Relaxed) {
            self.roll_back(writer).await;
            self.is_unfinished.store(false, Ordering::Relaxed);
        }
    }

    async fn roll_back(&self, writer: &mut AnyConnection) {
        let _ = writer.execute("ROLLBACK").await; // fails where SQLite has done it already, or the text was run to its end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Submitted;
    use crate::tests::{NOW, Tested, add_flow, begin, job, person_guid};
    use keyback_core::job::Kind;

    #[tokio::test]
    async fn what_a_text_left_that_was_cut_off_is_taken_back() -> Tested {
        let lab = begin(1).await?;
        lab.store.is_unfinished.store(true, Ordering::Relaxed);
        for statement in ["BEGIN IMMEDIATE", "DELETE FROM audit"] {
            lab.store.writers.hold().await?.execute(statement).await?;
        }
        let (_, flow, _) = add_flow(&lab.store, 2).await?;
        for flow in [lab.flow, flow] {
            assert_eq!(lab.store.list_audit(Some(flow), 10).await?.len(), 1);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_text_that_is_not_as_expected_keeps_nothing() -> Tested {
        let lab = begin(1).await?;
        let mut writer = lab.store.writer().await?;
        let text = whole!("DELETE FROM flow; DELETE FROM audit WHERE number > 99");
        assert!(!lab.store.run_whole(&mut writer, sqlx::query(text)).await?);
        drop(writer);
        assert!(lab.store.find_flow(lab.ticket.hash_for(b""), NOW).await?.is_some());
        Ok(())
    }

    #[tokio::test]
    async fn two_stores_on_one_file_write_one_chain() -> Tested {
        let lab = begin(1).await?;
        let other = Store::open(&lab.path()).await?;
        for (seed, store) in [(11, &lab.store), (12, &other), (13, &other), (14, &lab.store)] {
            let (_, flow, _) = add_flow(store, seed).await?;
            let new = job(seed + 20, flow, Kind::Reset, Some(person_guid(seed)));
            assert_eq!(store.submit(&new, 500).await?, Submitted::Created);
        }
        let links = lab.store.read_links(0, 100).await?;
        assert_eq!(links.len(), 9);
        assert!(links.windows(2).all(|pair| pair[1].0.previous == pair[0].0.hash));
        Ok(())
    }
}
