//! Honest-majority share shuffle: reach and frequency of a union of frequency vectors, each shared between two workers.
//!
//! Secure against any one of the three duchies. The stage kernels have upstream's names and take its messages.
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
//! | shuffle phase, in a [computation](crate::computation) | `w`, the serialised vector shares, and the serialised answer: 1 each for a modulus up to 128 |
//! | aggregation phase | nothing of its own, only what its two inputs take: 4 each from messages, 1 each serialised |
//!
//! Noise adds 2·L registers, where L is [`FrequencyVectorParameters::noise_length`].

mod aggregation_phase;
mod error;
mod noise;
#[cfg_attr(not(test), expect(dead_code, reason = "the state machine will read shares where they lie"))]
mod packed;
mod parameters;
mod registers;
mod secret_shares;
mod share;
mod shuffle_phase;

pub use aggregation_phase::{
    complete_reach_and_frequency_aggregation_phase, complete_reach_only_aggregation_phase,
};
pub use error::ShareShuffleError;
pub use parameters::{FrequencyVectorParameters, MeasurementKind};
pub use secret_shares::generate_secret_shares;
pub use shuffle_phase::{complete_reach_and_frequency_shuffle_phase, complete_reach_only_shuffle_phase};
