//! What the two Liquid Legions protocols, [`llv2`](crate::llv2) and [`reach_only_llv2`](crate::reach_only_llv2), have in
//! common: setting, keys, the ring of duchies, and the phases up to the first registers.

mod details;
mod event;
pub mod key_set;
mod opening;
mod ring_computation;
mod setting;
mod state;
mod step_error;

pub use details::{DetailsError, Surroundings};
pub use event::{Event, Evidence, Outcome, RequisitionEvidence, StageInputs};
pub use ring_computation::{RingComputation, RingStage};
pub use setting::{NoisePolicy, Parameters, Setting, SettingError};
pub use state::{Collecting, Confirmed, Created, Gathered, Keyed};
pub use step_error::{Retry, StepError};

pub(crate) use details::{Row, stored_participants};
pub(crate) use opening::{
    Opening, Stepped, aggregator, collect, confirm, finished, gather, initialize, joined, keep_and_send,
    moved, next_in_ring, only_message, previous_in_ring, receive, refused, require_messages, setup_sender,
    stopped, unexpected,
};
pub(crate) use state::Known;
