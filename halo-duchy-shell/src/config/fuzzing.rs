//! What `fuzz/` reads configuration files with, and nobody else: no part of the interface.

pub use super::textproto::{parse, print};

/// The full names of the messages that configuration files hold: `DuchyCertConfig`, `AuthorityKeyToPrincipalMap` and
/// `ProtocolsSetupConfig`.
pub const MESSAGES: [&str; 3] = [super::DUCHY_CERT_CONFIG, super::PRINCIPAL_MAP, super::PROTOCOLS_SETUP];
