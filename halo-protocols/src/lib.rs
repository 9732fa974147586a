//! halo-protocols
pub mod proto;
