//! halo-duchy-shell
pub mod hybrid_encryption;
pub mod identity;
pub mod proto;
