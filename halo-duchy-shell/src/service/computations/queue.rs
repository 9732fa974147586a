//! How much work waits, for the metrics.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::protocol_stages::Protocol;
use crate::store::Store;
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
            match store.queue(protocol).await {
                Ok(queue) => {
                    let age = queue.oldest.map_or(0, |oldest| SystemClock.now().millis() - oldest.millis());
                    QUEUE_DEPTH.set(queue.depth.into(), [protocol.type_name()]);
                    QUEUE_OLDEST_AGE.set(age.max(0) as f64 / 1000.0, [protocol.type_name()]);
                }
                Err(error) => {
                    tracing::warn!(%error, protocol = protocol.type_name(), "the queue cannot be measured")
                }
            }
        }
    }
}
