//! halo-duchy-shell
pub mod identity;
pub mod proto;
