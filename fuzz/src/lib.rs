//! What each fuzz target does with its input, as a plain function: the targets in `fuzz_targets/` and the test that
//! replays the seeds call the same code.
//!
//! A target panics exactly if a promise is broken: a decoder that panics, a value that does not survive its own
//! encoding, a batch that disagrees with its elements.

mod decode_ciphertexts;
mod decode_point;
mod plain_sketch;
mod requisition_shares;
pub mod seeds;
mod stage_kernels;
mod step_events;

pub use decode_ciphertexts::decode_ciphertexts;
pub use decode_point::decode_point;
pub use plain_sketch::plain_sketch;
pub use requisition_shares::requisition_shares;
pub use stage_kernels::{METHODS, stage_kernels};
pub use step_events::step_events;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("decode_point", decode_point),
    ("decode_ciphertexts", decode_ciphertexts),
    ("stage_kernels", stage_kernels),
    ("step_events", step_events),
    ("plain_sketch", plain_sketch),
    ("requisition_shares", requisition_shares),
];
