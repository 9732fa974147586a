//! The thread that owns the connection: SQLite blocks, and a connection serves one transaction at a time.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;

use futures::FutureExt;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::rows::SqliteRows;
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::backend::Work;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// When a transaction takes the write lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// Never: it reads.
    Deferred,
    /// When it begins: it waits for other processes then, and never fails halfway because another one wrote in between.
    Immediate,
}

/// A handle to the thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Worker(Owner);

/// Who owns the connection.
#[derive(Clone)]
enum Owner {
    Thread(mpsc::Sender<Job>),
    /// Nobody: every caller blocks for the length of its transaction.
    #[cfg(any(test, feature = "fuzzing"))]
    Shared(Arc<std::sync::Mutex<Connection>>),
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(mut connection: Connection) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new().name("sqlite".into()).spawn(move || {
            for job in jobs {
                job(&mut connection);
            }
        })?;
        Ok(Self(Owner::Thread(sender)))
    }

    /// Runs transactions on the threads of their callers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn on_callers(connection: Connection) -> Self {
        Self(Owner::Shared(Arc::new(connection.into())))
    }

    /// Gives the connection of a store in memory to `work`.
    #[cfg(test)]
    pub(super) fn with_connection<T>(&self, work: impl FnOnce(&mut Connection) -> T) -> T {
        match &self.0 {
            Owner::Shared(connection) => work(&mut connection.lock().expect("no panic")),
            Owner::Thread(_) => unreachable!("the store is in a file"),
        }
    }

    /// Runs `work` in a transaction and commits it if it succeeds.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        begin: Begin,
        clock: Arc<dyn Clock>,
        work: impl Work<T>,
    ) -> Result<T, StoreError> {
        #[allow(clippy::infallible_destructuring_match, reason = "there is another in tests")]
        let thread = match &self.0 {
            Owner::Thread(thread) => thread,
            #[cfg(any(test, feature = "fuzzing"))]
            Owner::Shared(connection) => {
                let mut connection = connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                return run(&mut connection, begin, &*clock, work);
            }
        };
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            // Nobody waits for it any more: what a caller has given up it may do again, and a lease would be nobody's.
            if reply.is_closed() {
                return;
            }
            // A caller that has gone away does not want to know.
            let _ = reply.send(run(connection, begin, &*clock, work));
        };
        thread.send(Box::new(job)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn run<T>(
    connection: &mut Connection,
    begin: Begin,
    clock: &dyn Clock,
    work: impl Work<T>,
) -> Result<T, StoreError> {
    connection.execute_batch(match begin {
        Begin::Deferred => "BEGIN DEFERRED",
        Begin::Immediate => "BEGIN IMMEDIATE",
    })?;
    // The time is read once the write lock is held: transactions get their times in the order they commit.
    let done = work(&mut SqliteRows::new(connection), clock.now()).now_or_never();
    let committed = done
        .unwrap_or_else(|| Err(StoreError::Unavailable("a transaction waited for something else".into())))
        .and_then(|value| {
            connection.execute_batch("COMMIT")?;
            Ok(value)
        });
    if committed.is_err() && !connection.is_autocommit() {
        // If this fails too, the next transaction says so.
        let _ = connection.execute_batch("ROLLBACK");
    }
    committed
}

fn gone() -> StoreError {
    StoreError::Unavailable("the database thread has ended".into())
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::sqlite::migrations::migrate;

    /// Held up, the thread must not do afterwards what all its callers have given up: a claim among it would be nobody's.
    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_done() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrate(&mut connection).expect("tables");
        let worker = Worker::start(connection).expect("a thread");
        let (release, held) = mpsc::channel::<()>();
        let hold = move |_: &mut Connection| held.recv().expect("released");
        let Owner::Thread(thread) = &worker.0 else { panic!("no thread") };
        thread.send(Box::new(hold)).expect("it runs");

        let done = Arc::new(AtomicBool::new(false));
        let given_up = Arc::clone(&done);
        {
            let mut waiting =
                std::pin::pin!(worker.transact(Begin::Deferred, Arc::new(SystemClock), move |_, _| {
                    given_up.store(true, Ordering::SeqCst);
                    async { Ok(()) }.boxed()
                }));
            assert!(matches!(futures::poll!(&mut waiting), Poll::Pending));
        }
        release.send(()).expect("it is held");
        let answer =
            worker.transact(Begin::Deferred, Arc::new(SystemClock), |_, _| async { Ok(7) }.boxed()).await;
        assert_eq!(answer.expect("an answer"), 7);
        assert!(!done.load(Ordering::SeqCst));
    }
}
