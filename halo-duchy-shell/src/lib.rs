//! halo-duchy-shell
pub mod proto;
