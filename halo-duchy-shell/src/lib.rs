#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// Tests of this crate share files with those in `tests/`, which know it by its name.
#[cfg(test)]
extern crate self as halo_duchy_shell;

pub mod audit;
#[cfg(feature = "aws-secrets")]
pub mod aws_secrets;
pub mod blob;
mod changes;
pub mod cleaner;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cloud;
mod codec;
pub mod computation_secrets;
pub mod config;
pub mod consent;
pub mod console;
pub mod continuation_token;
pub mod convert;
pub mod data_provider;
pub mod demo;
pub mod error;
pub mod events;
mod fail_point;
mod guarded;
pub mod herald;
mod html;
pub mod hybrid_encryption;
pub mod identity;
pub mod internal_api;
pub mod key_encryption;
pub mod key_location;
pub mod kingdom;
pub mod kingdom_log;
pub mod live;
pub mod measurement_consumer;
pub mod mill;
pub mod party_certificates;
pub mod peer;
pub mod pkcs11;
pub mod pki;
mod plain_http;
mod platform;
pub mod private_key_store;
pub mod proto;
pub mod protocol_stages;
pub mod reload;
pub mod retry;
#[cfg(feature = "kubernetes")]
pub mod scheduler;
pub mod seeds;
pub mod serve;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod signature;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod sweep;
pub mod system_api;
pub mod telemetry;
pub mod tls;
pub mod trial;
pub mod x509;
