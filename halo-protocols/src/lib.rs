//! halo-protocols
pub mod llv2;
pub mod proto;
pub mod role;

pub use role::Role;
