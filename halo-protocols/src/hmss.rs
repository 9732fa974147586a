//! Honest-majority share shuffle: reach and frequency of a union of frequency vectors, each shared between two workers.
//!
//! Secure against any one of the three duchies.
//!
//! - [`State`] is a computation at one duchy: events move it from stage to stage, and each step says what the duchy
//!   must do ([`crate::computation`]).
//! - The `complete_*` functions and [`generate_secret_shares`] are the kernels under upstream's names, on upstream's
//!   messages; a state calls what they call, and so may anybody.
//!
//! The seeds that data providers encrypt to a worker are opened by the host: keys, certificates and signatures are not
//! this crate's business.
//!
//! # Memory
//! Registers are held as narrow as the ring allows (1 byte for a modulus up to 256, 2 up to 65,536, else 4), shares
//! are added up as they are read, and what seeds expand to is never held as a whole. With `w` for that width, a stage
//! holds per register:
//!
//! | stage | holds, in bytes per register |
//! | --- | --- |
//! | shares of one data provider | 4 for the vector, 4 for its share |
//! | shuffle phase, from messages | `w`, and 4 for the answer; the request has 4 per vector share |
//! | shuffle phase, in a [computation](crate::computation) | the serialised vector shares, 1 each for a modulus up to 128, and `w`, which is the serialised answer then; for a larger modulus that comes on top |
//! | aggregation phase | nothing of its own, only what its two inputs take: 4 each from messages, 1 each serialised |
//!
//! Noise adds 2·L registers, where L is [`FrequencyVectorParameters::noise_length`].

mod aggregation_phase;
mod details;
mod error;
mod event;
mod message;
mod noise;
mod packed;
mod parameters;
mod registers;
mod requisition_shares;
mod role;
mod secret_shares;
mod setting;
mod share;
mod shuffle_phase;
pub mod stage;
mod state;
mod step;

pub use aggregation_phase::{
    complete_reach_and_frequency_aggregation_phase, complete_reach_only_aggregation_phase,
};
pub use details::{DetailsError, Surroundings};
pub use error::ShareShuffleError;
pub use event::{
    AggregationInputs, Event, Evidence, Outcome, SeedShare, SetupInputs, ShuffleInputs, VectorShare,
};
pub use message::{Message, UnknownMessage};
pub use parameters::{FrequencyVectorParameters, MeasurementKind};
pub use requisition_shares::RequisitionError;
pub use role::{Role, UnknownRole};
pub use secret_shares::generate_secret_shares;
pub use setting::{Noise, NoisePolicy, Parameters, Setting, SettingError};
pub use shuffle_phase::{complete_reach_and_frequency_shuffle_phase, complete_reach_only_shuffle_phase};
pub use stage::{AfterTransition, Stage, StageKind};
pub use state::{Collecting, Created, State, Worker, WorkerKeys};
pub use step::{Effect, Retry, StepError, secret_seeds};
