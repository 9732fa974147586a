//! How much work waits, for the metrics.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halo_protocols::llv2::StageKind;

use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::telemetry::instruments::{QUEUE_DEPTH, QUEUE_OLDEST_AGE};

/// Looks at the store as often as metrics are exported, if they are, for as long as the store is in use.
pub(crate) fn watch(store: &Arc<dyn Store>) {
    if let Some(interval) = telemetry::metrics_interval() {
        tokio::spawn(look_again_and_again(Arc::downgrade(store), interval));
    }
}

async fn look_again_and_again(store: Weak<dyn Store>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        for protocol in Protocol::ALL {
            match look(&*store, protocol).await {
                Ok((depth, age)) => {
                    QUEUE_DEPTH.set(depth as f64, [protocol.type_name()]);
                    QUEUE_OLDEST_AGE.set(age.as_secs_f64(), [protocol.type_name()]);
                }
                Err(error) => {
                    tracing::warn!(%error, protocol = protocol.type_name(), "the queue cannot be measured")
                }
            }
        }
    }
}

/// The computations in stages that mills work on, and how long ago the oldest of them changed.
async fn look(store: &dyn Store, protocol: Protocol) -> Result<(usize, Duration), StoreError> {
    let stages: Vec<ProtocolStage> =
        protocol.stages().filter(|stage| stage.kind() == StageKind::Compute).collect();
    let ids = store.ids_in_stages(&stages).await?;
    let Some(oldest) = ids.first() else { return Ok((0, Duration::ZERO)) };
    match store.get(oldest).await {
        Ok(oldest) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let changed = Duration::from_millis(u64::try_from(oldest.version).unwrap_or_default());
            Ok((ids.len(), now.saturating_sub(changed)))
        }
        // It was deleted in between.
        Err(StoreError::NotFound { .. }) => Ok((ids.len() - 1, Duration::ZERO)),
        Err(error) => Err(error),
    }
}
