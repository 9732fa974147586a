//! Which computations to show.

use super::State;
use crate::clock::Timestamp;
use crate::protocol_stages::ProtocolStage;
use crate::store::{Listing, Order, Record, Store, StoreError};

/// How many are read at once.
const PAGE: u32 = 200;
/// How many are read at most for one answer.
const MOST_READ: u32 = 20_000;

/// Which computations to show.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only those in one of these states.
    pub states: Vec<State>,
    /// Only those in one of these stages.
    pub stages: Vec<ProtocolStage>,
    /// Only those created at this time or before.
    pub created_before: Timestamp,
    /// In which order.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
    /// After so many.
    pub skip: usize,
}

/// The computations found.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// In the order asked for.
    pub records: Vec<Record>,
    /// Whether there may be more.
    pub more: bool,
}

impl Default for Selection {
    /// The first hundred, the oldest first.
    fn default() -> Self {
        let Listing { stages, created_before, order, .. } = Listing::default();
        Self { states: State::ALL.to_vec(), stages, created_before, order, limit: 100, skip: 0 }
    }
}

impl Selection {
    /// Looks for them at `now`, among the first 20,000 in the stages asked for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, store: &dyn Store, now: Timestamp) -> Result<Selected, StoreError> {
        let mut found = self.search(store, now).await?;
        // What mills have measured is read of few: of those at work, whose progress it tells.
        let at_work = found.records.iter_mut().filter(|record| State::of(record, now) == State::Running);
        for record in at_work {
            match store.record(&record.global_id).await {
                Ok(whole) => *record = whole,
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn search(&self, store: &dyn Store, now: Timestamp) -> Result<Selected, StoreError> {
        let possible = |stage: &ProtocolStage| self.states.iter().any(|state| state.occurs_in(*stage));
        let stages = self.stages.iter().copied().filter(possible).collect();
        let mut listing = Listing {
            stages,
            created_before: self.created_before,
            order: self.order,
            limit: PAGE,
            ..Listing::default()
        };
        let mut found = Selected::default();
        let mut skipped = 0;
        while listing.offset < MOST_READ {
            let page = store.list(&listing).await?;
            let last = page.len() < PAGE as usize;
            for record in page.into_iter().filter(|record| self.states.contains(&State::of(record, now))) {
                if skipped < self.skip {
                    skipped += 1;
                } else if found.records.len() < self.limit {
                    found.records.push(record);
                } else {
                    found.more = true;
                    return Ok(found);
                }
            }
            if last {
                return Ok(found);
            }
            listing.offset += PAGE;
        }
        found.more = true;
        Ok(found)
    }
}
