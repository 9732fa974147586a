//! Encrypted sketches as bytes: records of ciphertexts, one after the other, without any header.

mod blinded_id;
pub(crate) mod constants;
mod layout;
pub(crate) mod random_point;
mod register_noise;
pub(crate) mod same_key_aggregation;
pub(crate) mod sort;
mod tuple_noise;

pub(crate) use blinded_id::open_ids;
pub use layout::Layout;
pub use register_noise::RegisterNoise;
pub use tuple_noise::TupleNoise;
