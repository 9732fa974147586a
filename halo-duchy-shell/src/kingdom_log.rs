//! What the Kingdom is told of a computation's progress.
//!
//! Log entries are a courtesy: no operation waits for them. They go through a bounded queue that drops the oldest when
//! the Kingdom does not keep up (upstream sends them in line, so a slow Kingdom slows every write).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::Instrument as _;

use crate::client::Channel;
use crate::clock::Clock;
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::proto::system::{ComputationLogEntry, CreateComputationLogEntryRequest, StageAttempt};
use crate::store::Computation;
use crate::telemetry::context::join_computation;
use crate::telemetry::instruments::KINGDOM_LOG_ENTRIES_DROPPED;

/// How long the Kingdom may take for one entry.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The writing end of the queue.
#[derive(Clone, Debug)]
pub struct KingdomLog {
    queue: Arc<Queue>,
    duchy: String,
    clock: Arc<dyn Clock>,
}

/// The reading end of the queue.
#[derive(Debug)]
pub struct KingdomLogSender(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    entries: Mutex<VecDeque<CreateComputationLogEntryRequest>>,
    capacity: usize,
    dropped: AtomicU64,
    filled: Notify,
}

impl KingdomLog {
    /// A queue of at most `capacity` entries about what `duchy` does.
    pub fn new(duchy: impl Into<String>, clock: Arc<dyn Clock>, capacity: usize) -> (Self, KingdomLogSender) {
        let queue = Arc::new(Queue {
            entries: Mutex::default(),
            capacity,
            dropped: AtomicU64::new(0),
            filled: Notify::new(),
        });
        (Self { queue: Arc::clone(&queue), duchy: duchy.into(), clock }, KingdomLogSender(queue))
    }

    /// Queues an entry: `reference` is the process that works on the computation, if one does.
    pub fn record(&self, computation: &Computation, reference: Option<&str>, what: &str) {
        let Computation { global_id, stage, attempt, .. } = computation;
        let entry = ComputationLogEntry {
            participant_child_reference_id: reference.unwrap_or_default().to_owned(),
            log_message: format!("Computation {global_id} {what} {}, attempt {attempt}.", stage.name()),
            stage_attempt: Some(StageAttempt {
                stage: stage.number(),
                stage_name: stage.name().to_owned(),
                stage_start_time: Some(self.clock.now().into()),
                attempt_number: i64::from(*attempt),
            }),
            ..Default::default()
        };
        self.queue.push(CreateComputationLogEntryRequest {
            parent: format!("computations/{global_id}/participants/{}", self.duchy),
            computation_log_entry: Some(entry),
        });
    }

    /// How many entries were dropped because the Kingdom did not keep up.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }
}

impl Queue {
    fn push(&self, entry: CreateComputationLogEntryRequest) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity {
            entries.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
            KINGDOM_LOG_ENTRIES_DROPPED.add(1, [""; 0]);
        }
        entries.push_back(entry);
        self.filled.notify_one();
    }

    fn pop(&self) -> Option<CreateComputationLogEntryRequest> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl KingdomLogSender {
    /// The next entry, oldest first.
    pub async fn next(&mut self) -> CreateComputationLogEntryRequest {
        loop {
            if let Some(entry) = self.0.pop() {
                return entry;
            }
            self.0.filled.notified().await;
        }
    }

    /// Sends entries to the Kingdom until dropped. An entry that the Kingdom does not take is logged and forgotten.
    pub async fn run(mut self, mut kingdom: ComputationLogEntriesClient<Channel>) {
        loop {
            let entry = self.next().await;
            let parent = entry.parent.clone();
            let computation = parent.split('/').nth(1).unwrap_or_default();
            let span = tracing::info_span!(parent: None, "log entry", computation_id = computation);
            join_computation(&span, computation);
            let mut request = tonic::Request::new(entry);
            request.set_timeout(TIMEOUT);
            if let Err(status) = kingdom.create_computation_log_entry(request).instrument(span).await {
                tracing::debug!(%parent, code = ?status.code(), "the Kingdom did not take a log entry");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::protocol_stages::Protocol;

    fn computation(global_id: &str) -> Computation {
        Computation {
            local_id: 1,
            global_id: global_id.into(),
            stage: Protocol::LiquidLegionsV2.initial_stage(),
            attempt: 2,
            version: 0,
            details: Default::default(),
            stage_details: Default::default(),
            blobs: Vec::new(),
            requisitions: Vec::new(),
            lock_owner: None,
            lock_expiration: None,
            unknown: Default::default(),
        }
    }

    #[tokio::test]
    async fn the_oldest_entry_goes_when_the_queue_is_full() {
        let (log, mut sender) = KingdomLog::new("worker1", Arc::new(ManualClock::default()), 2);
        for id in ["a", "b", "c"] {
            log.record(&computation(id), Some("mill-1"), "is claimed in");
        }
        assert_eq!(log.dropped(), 1);
        let entry = sender.next().await;
        assert_eq!(entry.parent, "computations/b/participants/worker1");
        let entry = entry.computation_log_entry.expect("an entry");
        assert_eq!(entry.participant_child_reference_id, "mill-1");
        assert_eq!(entry.log_message, "Computation b is claimed in INITIALIZATION_PHASE, attempt 2.");
        assert_eq!(entry.stage_attempt.expect("an attempt").attempt_number, 2);
        assert_eq!(sender.next().await.parent, "computations/c/participants/worker1");
        assert!(tokio::time::timeout(Duration::from_millis(20), sender.next()).await.is_err());
    }
}
