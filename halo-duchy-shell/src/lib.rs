//! halo-duchy-shell
pub mod clock;
pub mod config;
pub mod continuation_token;
pub mod events;
pub mod hybrid_encryption;
pub mod identity;
pub mod proto;
pub mod protocol_stages;
pub mod store;
