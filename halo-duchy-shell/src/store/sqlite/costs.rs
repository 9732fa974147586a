//! What operations cost on SQLite, as SQLite itself tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rusqlite::StatementStatus::VmStep;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::worker::Worker;
use super::{SqliteStore, create};
use crate::clock::Clock;
use crate::store::tests::costs::{Cost, Meter};

/// How long a process waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Durability {
    /// As in production.
    Full,
    /// Not at all: for filling a file.
    None,
}

#[derive(Debug, Default)]
struct Counts {
    transactions: AtomicU64,
    statements: AtomicU64,
    rows: AtomicU64,
    steps: AtomicU64,
}

/// A store that counts what it does.
#[derive(Debug)]
pub(in crate::store) struct SqliteMeter(Arc<Counts>);

/// A store in the file at `path`, which is created if need be, and what counts its work.
pub(in crate::store) fn open(
    path: &Path,
    clock: Arc<dyn Clock>,
    durability: Durability,
) -> (SqliteStore, SqliteMeter) {
    let mut connection = create(path).expect("a database");
    if durability == Durability::None {
        connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    }
    let counts = Arc::new(Counts::default());
    let told = Arc::clone(&counts);
    let mut before = 0;
    let trace = move |event: TraceEvent<'_>| match event {
        // What a statement sets off, deletion of what belongs to a row, is told as a comment.
        TraceEvent::Stmt(statement, text) if !text.starts_with("--") => {
            before = statement.get_status(VmStep);
            match text.split(' ').next() {
                Some("BEGIN") => told.transactions.fetch_add(1, Ordering::Relaxed),
                Some("COMMIT" | "ROLLBACK") => 0,
                _ => told.statements.fetch_add(1, Ordering::Relaxed),
            };
        }
        TraceEvent::Row(_) => drop(told.rows.fetch_add(1, Ordering::Relaxed)),
        TraceEvent::Profile(statement, _) => {
            let steps = statement.get_status(VmStep) - before;
            told.steps.fetch_add(u64::try_from(steps).unwrap_or_default(), Ordering::Relaxed);
        }
        _ => {}
    };
    connection.trace_v2(TraceEventCodes::all(), Some(trace)).expect("a trace");
    let worker = Worker::start(connection).expect("a thread");
    (SqliteStore { worker, clock }, SqliteMeter(counts))
}

#[async_trait]
impl Meter for SqliteMeter {
    async fn read(&self) -> Cost {
        let Counts { transactions, statements, rows, steps } = &*self.0;
        let [transactions, statements, rows, steps] =
            [transactions, statements, rows, steps].map(|count| count.load(Ordering::Relaxed));
        Cost { transactions, statements, rows, steps }
    }
}
