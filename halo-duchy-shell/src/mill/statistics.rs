//! What a stage attempt cost: rows for the duchy's database, whose names operators query, and metrics
//! (docs/metrics.md).

use std::time::Duration;

use halo_crypto::parallel::Progress;
use halo_protocols::hmss;

use super::MillError;
use crate::internal_api::InternalApi;
use crate::proto::internal::ComputationToken;
use crate::protocol_stages::ProtocolStage;
use crate::telemetry::instruments::{
    ERRORS, LOCK_LOST, PEER_NOT_READY_SECONDS, STAGE_ATTEMPTS, STAGE_CRYPTO_CPU_TIME, STAGE_CRYPTO_TIME,
    STAGE_TIME, STAGE_TRANSMISSION_TIME,
};
use crate::telemetry::memory::Memory;

/// Measurements of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// From the claim to the end of the stage.
    pub(super) stage: Duration,
    /// In the protocol's step.
    pub(super) crypto: Duration,
    /// Of processors for it.
    pub(super) crypto_cpu: Duration,
    /// Handing data to a peer, waiting included.
    pub(super) transmission: Duration,
    /// The part of it for which the peer did not await the data.
    pub(super) waiting: Duration,
    /// Bytes handed to a peer.
    pub(super) sent_bytes: u64,
    /// Registers, tuples or cells in them.
    pub(super) registers: u64,
}

/// The names of the rows that say how far the kernel of an attempt is.
pub(crate) const PROGRESS_STATISTICS: [&str; 3] =
    ["progress_step", "progress_done_records", "progress_total_records"];

/// Records how far the kernel of the attempt that `token` names is. A courtesy, as all of these rows.
pub(super) async fn record_progress(progress: Progress, internal: &InternalApi, token: &ComputationToken) {
    let values = [progress.step, progress.done, progress.total];
    let rows = PROGRESS_STATISTICS.into_iter().zip(values.map(saturated)).collect();
    record(rows, internal, token).await;
}

async fn record(rows: Vec<(&'static str, i64)>, internal: &InternalApi, token: &ComputationToken) {
    for (name, value) in rows {
        if let Err(status) = internal.record_stat(token, name, value).await {
            tracing::debug!(%status, name, "a statistic is not recorded");
            return;
        }
    }
}

fn saturated(value: u64) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

impl Statistics {
    fn rows(&self, memory: Memory) -> Vec<(&'static str, i64)> {
        let millis = |duration: Duration| duration.as_millis().try_into().unwrap_or(i64::MAX);
        let free = memory.limit.zip(memory.resident).map(|(limit, resident)| limit.saturating_sub(resident));
        let memory = [
            ("current_runtime_memory_maximum", memory.limit),
            ("current_runtime_memory_total", memory.resident),
            ("current_runtime_memory_free", free),
            ("peak_rss_bytes", memory.peak),
        ];
        let mut rows = vec![
            ("stage_wall_clock_duration_ms", millis(self.stage)),
            ("crypto_wall_clock_duration_ms", millis(self.crypto)),
            ("crypto_cpu_duration_ms", millis(self.crypto_cpu)),
            ("data_transmission_rpc_wall_clock_duration_ms", millis(self.transmission)),
            ("bytes_of_data_in_rpc", saturated(self.sent_bytes)),
        ];
        rows.extend(memory.into_iter().filter_map(|(name, value)| Some((name, saturated(value?)))));
        rows
    }

    /// Records the measurements of the attempt that `token` names. They are a courtesy: failures are logged.
    pub(super) async fn record(&self, internal: &InternalApi, token: &ComputationToken) {
        record(self.rows(Memory::now()), internal, token).await;
    }

    /// Counts the attempt at `stage`, which ended in an error or not, in the metrics.
    pub(super) fn count(&self, stage: ProtocolStage, error: Option<&MillError>) {
        let attributes = [stage.protocol().type_name(), stage.name()];
        let [kind, name] = attributes;
        let label = match error {
            None => {
                STAGE_TIME.record(self.stage.as_secs_f64(), attributes);
                if stage == hmss::Stage::ShufflePhase.into() {
                    STAGE_TRANSMISSION_TIME.record(self.transmission.as_secs_f64(), attributes);
                }
                "succeeded"
            }
            Some(error) => {
                match error {
                    MillError::Transient { what, .. } => ERRORS.add(1, ["transient", what]),
                    MillError::PeerNotReady { .. } => ERRORS.add(1, ["transient", "awaiting a peer"]),
                    MillError::Permanent { what, .. } => ERRORS.add(1, ["permanent", what]),
                    MillError::LostLock(_) => LOCK_LOST.add(1, attributes),
                    MillError::Stopped => {}
                }
                error.label()
            }
        };
        // Also of attempts that failed later on: what was computed was computed.
        if self.crypto > Duration::ZERO {
            STAGE_CRYPTO_TIME.record(self.crypto.as_secs_f64(), attributes);
            STAGE_CRYPTO_CPU_TIME.record(self.crypto_cpu.as_secs_f64(), attributes);
        }
        if self.waiting > Duration::ZERO {
            PEER_NOT_READY_SECONDS.record(self.waiting.as_secs_f64(), attributes);
        }
        STAGE_ATTEMPTS.add(1, [kind, name, label]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_upstreams_names_and_units() {
        let statistics = Statistics {
            stage: Duration::from_millis(1500),
            crypto: Duration::from_micros(1_200_900),
            crypto_cpu: Duration::from_secs(3),
            transmission: Duration::from_millis(7),
            waiting: Duration::from_millis(6),
            sent_bytes: 99,
            registers: 1,
        };
        let memory = Memory { limit: Some(1000), resident: Some(300), peak: Some(u64::MAX) };
        let rows = statistics.rows(memory);
        let expected = [
            ("stage_wall_clock_duration_ms", 1500),
            ("crypto_wall_clock_duration_ms", 1200),
            ("crypto_cpu_duration_ms", 3000),
            ("data_transmission_rpc_wall_clock_duration_ms", 7),
            ("bytes_of_data_in_rpc", 99),
            ("current_runtime_memory_maximum", 1000),
            ("current_runtime_memory_total", 300),
            ("current_runtime_memory_free", 700),
            ("peak_rss_bytes", i64::MAX),
        ];
        assert_eq!(rows, expected);
        // What is not known is not recorded.
        assert_eq!(statistics.rows(Memory::default()), expected[..5]);
    }
}
