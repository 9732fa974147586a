//! What mills have done of late.

use std::collections::BTreeMap;
use std::time::Duration;

use halo_protocols::llv2::StageKind;

use super::text::between;
use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::protocol_stages::ProtocolStage;
use crate::store::{Listing, Order, Store, StoreError};

/// The computations looked at, those that changed last.
const MOST: u32 = 500;

/// The attempts at a stage that ended within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Those that did the stage.
    pub(super) succeeded: u32,
    /// Those that did not.
    pub(super) failed: u32,
    /// How long those took that did.
    pub(super) spent: Duration,
}

impl Tally {
    /// How long an attempt took that did the stage, on average.
    pub(super) fn mean(&self) -> Duration {
        self.spent.checked_div(self.succeeded).unwrap_or_default()
    }
}

/// The attempts at stages of mills that have ended since, by protocol and stage; and whether all were looked at.
pub(super) async fn since(
    store: &dyn Store,
    since: Timestamp,
) -> Result<(Vec<(ProtocolStage, Tally)>, bool), StoreError> {
    let listing =
        Listing { updated_since: since, order: Order::LastChangedFirst, limit: MOST, ..Listing::default() };
    let records = store.list(&listing).await?;
    let all = records.len() < MOST as usize;
    let mut tallies: BTreeMap<(i32, i32), (ProtocolStage, Tally)> = BTreeMap::new();
    let stages = records.iter().flat_map(|record| &record.stages);
    for stage in stages.filter(|record| record.stage.kind() == StageKind::Compute) {
        for attempt in &stage.attempts {
            let Some(ended) = attempt.ended.filter(|ended| *ended >= since) else { continue };
            let key = (stage.stage.protocol().number(), stage.stage.number());
            let (_, tally) = tallies.entry(key).or_insert((stage.stage, Tally::default()));
            if attempt.reason == EndReason::Succeeded {
                tally.succeeded += 1;
                tally.spent += between(attempt.begun, ended);
            } else {
                tally.failed += 1;
            }
        }
    }
    Ok((tallies.into_values().collect(), all))
}
