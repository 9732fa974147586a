//! The data provider's side: from an event log to an encrypted sketch, or to a frequency vector, which
//! [`generate_secret_shares`](crate::hmss::generate_secret_shares) splits.
//!
//! ```
//! use halo_protocols::data_provider::{SketchParameters, VidSamplingInterval, plain_sketch, virtual_person_id};
//!
//! let log = ["alice", "bob", "alice"];
//! let sampled = VidSamplingInterval::new(0.0, 1.0)?;
//! let impressions = log.iter().map(|id| virtual_person_id(id)).filter(|vid| sampled.contains(*vid));
//! let parameters =
//!     SketchParameters { decay_rate: 12.0, size: 100_000, sampling_indicator_size: 10_000_000, salt: None };
//! let sketch = plain_sketch(&parameters, impressions.map(|vid| (vid, 1)));
//! assert_eq!(sketch.registers.len(), 2);
//! # Ok::<(), halo_protocols::data_provider::IntervalError>(())
//! ```

mod encrypt_sketch;
mod fingerprint;
mod frequency_vector;
mod plain_sketch;
mod vid_index_map;
mod vid_sampling;

pub use encrypt_sketch::encrypt_sketch;
pub use fingerprint::virtual_person_id;
pub use frequency_vector::{FrequencyVectorBuilder, FrequencyVectorError};
pub use plain_sketch::{SketchParameters, SketchParametersError, plain_sketch, reach_only_sketch};
pub use vid_index_map::{PopulationError, SampledPositions, VidIndexMap};
pub use vid_sampling::{IntervalError, VidSamplingInterval};
