//! What each fuzz target does with its input, as a plain function: the targets in `fuzz_targets/` and the test that
//! replays the seeds call the same code.
//!
//! A target panics exactly if a promise is broken: a decoder that panics, a value that does not survive its own
//! encoding, a batch that disagrees with its elements, memory beyond what the input's length explains.

mod audit_log;
mod certificates;
mod config_files;
mod console;
mod decode_ciphertexts;
mod decode_point;
mod event_log;
mod fulfillments;
mod keysets;
mod memory;
mod messages;
mod names;
mod plain_sketch;
mod requisition_shares;
pub mod seeds;
mod services;
mod signatures;
mod stage_kernels;
mod step_events;
mod store_import;

pub use audit_log::audit_log;
pub use certificates::certificates;
pub use config_files::config_files;
pub use console::console;
pub use decode_ciphertexts::decode_ciphertexts;
pub use decode_point::decode_point;
pub use event_log::event_log;
pub use fulfillments::fulfillments;
pub use keysets::keysets;
pub use messages::messages;
pub use names::names;
pub use plain_sketch::plain_sketch;
pub use requisition_shares::requisition_shares;
pub use services::services;
pub use signatures::signatures;
pub use stage_kernels::{METHODS, stage_kernels};
pub use step_events::step_events;
pub use store_import::store_import;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 18] = [
    ("decode_point", decode_point),
    ("decode_ciphertexts", decode_ciphertexts),
    ("stage_kernels", stage_kernels),
    ("step_events", step_events),
    ("plain_sketch", plain_sketch),
    ("requisition_shares", requisition_shares),
    ("certificates", certificates),
    ("signatures", signatures),
    ("keysets", keysets),
    ("config_files", config_files),
    ("event_log", event_log),
    ("fulfillments", fulfillments),
    ("names", names),
    ("messages", messages),
    ("services", services),
    ("store_import", store_import),
    ("audit_log", audit_log),
    ("console", console),
];
