//! What a stage attempt cost, for the duchy's database. Names are upstream's: operators query them
//! (spec services-ops.md §1.2).

use std::time::Duration;

use crate::internal_api::InternalApi;
use crate::proto::internal::ComputationToken;

/// Measurements of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// From the claim to the end of the stage.
    pub(super) stage: Duration,
    /// In the protocol's step.
    pub(super) crypto: Duration,
    /// Handing data to a peer, waiting included.
    pub(super) transmission: Duration,
    /// Bytes handed to a peer.
    pub(super) sent_bytes: u64,
    /// Registers, tuples or cells in them.
    pub(super) registers: u64,
}

impl Statistics {
    fn rows(&self) -> Vec<(&'static str, i64)> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let mut rows = vec![
            ("stage_wall_clock_duration_ms", millis(self.stage)),
            ("crypto_wall_clock_duration_ms", millis(self.crypto)),
            ("data_transmission_rpc_wall_clock_duration_ms", millis(self.transmission)),
            ("bytes_of_data_in_rpc", i64::try_from(self.sent_bytes).unwrap_or(i64::MAX)),
        ];
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (name, field) in [("current_runtime_memory_total", "VmRSS:"), ("peak_rss_bytes", "VmHWM:")] {
            if let Some(bytes) = memory(&status, field) {
                rows.push((name, bytes));
            }
        }
        rows
    }

    /// Records the measurements of the attempt that `token` names. They are a courtesy: failures are logged.
    pub(super) async fn record(&self, internal: &InternalApi, token: &ComputationToken) {
        for (name, value) in self.rows() {
            if let Err(status) = internal.record_stat(token, name, value).await {
                tracing::debug!(%status, name, "a statistic is not recorded");
                return;
            }
        }
    }
}

/// A field of Linux's `/proc/self/status`, in bytes.
fn memory(status: &str, field: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\thalo-duchy\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\n";
        assert_eq!(memory(status, "VmHWM:"), Some(12 * 1024));
        assert_eq!(memory(status, "VmRSS:"), Some(8 * 1024));
        assert_eq!(memory(status, "VmSwap:"), None);
        assert_eq!(memory("VmRSS: many kB", "VmRSS:"), None);
    }

    #[test]
    fn durations_are_in_milliseconds() {
        let statistics = Statistics { stage: Duration::from_millis(1500), ..Statistics::default() };
        assert!(statistics.rows().contains(&("stage_wall_clock_duration_ms", 1500)));
    }
}
