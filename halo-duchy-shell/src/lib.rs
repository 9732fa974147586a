//! halo-duchy-shell
pub mod blob;
pub mod client;
pub mod clock;
pub mod config;
pub mod consent;
pub mod continuation_token;
pub mod events;
pub mod hybrid_encryption;
pub mod identity;
pub mod pki;
pub mod proto;
pub mod protocol_stages;
pub mod server;
pub mod store;
pub mod tls;
pub mod x509;
