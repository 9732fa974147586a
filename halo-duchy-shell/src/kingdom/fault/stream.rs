//! What faults do to a stream of computations.

use tonic::{Code, Status};

use super::{FaultKind, STREAM};
use crate::kingdom::Kingdom;
use crate::kingdom::error::KingdomError;
use crate::proto::system::StreamActiveComputationsResponse as Item;

/// The faults of one stream. They happen to what it finds at once, so that they can begin while it is open.
#[derive(Clone, Debug, Default)]
pub struct StreamFaults {
    /// Items until the stream ends with a status.
    cut: Option<(u32, Code)>,
}

impl StreamFaults {
    /// What becomes of items that a stream of `duchy` found at once; `stale_token` is from before the first change.
    pub fn distort(
        &mut self,
        kingdom: &Kingdom,
        duchy: &str,
        mut items: Vec<Item>,
        stale_token: &str,
    ) -> Result<Vec<Item>, KingdomError> {
        if items.is_empty() {
            return Ok(items);
        }
        for kind in kingdom.take_faults(STREAM, &format!("duchies/{duchy}"), true)? {
            match kind {
                FaultKind::CutStream { items, code } => self.cut = Some((items, code)),
                FaultKind::RepeatItems => {
                    items = items.into_iter().flat_map(|item| [item.clone(), item]).collect();
                }
                FaultKind::ReverseItems => items.reverse(),
                FaultKind::WrongState(state) => {
                    items.iter_mut().flat_map(|item| &mut item.computation).for_each(|computation| {
                        computation.set_state(state);
                    });
                }
                FaultKind::StaleTokens => {
                    items.iter_mut().for_each(|item| stale_token.clone_into(&mut item.continuation_token));
                }
                // These happen to the call.
                FaultKind::Refuse(_) | FaultKind::LoseAnswer(_) | FaultKind::Delay(_) => {}
            }
        }
        Ok(items)
    }

    /// An item was sent.
    pub fn count(&mut self) {
        if let Some((left, _)) = &mut self.cut {
            *left = left.saturating_sub(1);
        }
    }

    /// The status that the stream ends with now, if it does.
    pub fn end(&self) -> Option<Status> {
        let (_, code) = self.cut.filter(|(left, _)| *left == 0)?;
        Some(Status::new(code, "the Kingdom was told to cut the stream here"))
    }
}
