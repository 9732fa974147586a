//! Why a key in a token cannot be used.

use std::path::PathBuf;

/// Why a key in a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11Error {
    /// This program was built without it.
    #[error("this program was built without the feature pkcs11: keys have to be in files")]
    NotBuilt,
    /// This program cannot load libraries.
    #[error(
        "this program is linked statically and cannot load the library of a token: keys have to be in files, or the \
         program built without `-C target-feature=+crt-static`"
    )]
    Static,
    /// The library cannot be loaded, or does not begin.
    #[error("the PKCS #11 library {path}: {reason}")]
    Library {
        /// Its file.
        path: PathBuf,
        /// What the system or the library says.
        reason: String,
    },
    /// The PIN cannot be read.
    #[error("the PIN in {path}: {reason}")]
    Pin {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The token does not take the PIN. It is not asked again before the file has another.
    #[error("the token does not take the PIN in {path}: {reason}")]
    PinRefused {
        /// The file of the PIN.
        path: PathBuf,
        /// What the token says.
        reason: String,
    },
    /// No token, or more than one, is the one named.
    #[error("{uri}: {found} tokens are it")]
    Token {
        /// What was looked for.
        uri: String,
        /// How many were found.
        found: usize,
    },
    /// The token has no such key.
    #[error("{0}: the token has no such key of the kind that is needed, or does not show it to this user")]
    NoKey(String),
    /// The token has several such keys, and nothing says which is meant.
    #[error("{uri}: the token has {found} such keys; give its id")]
    SeveralKeys {
        /// What was looked for.
        uri: String,
        /// How many were found.
        found: usize,
    },
    /// The token has such keys, and none is the certificate's.
    #[error("{uri}: none of the token's {found} such keys is that of the certificate")]
    OtherKey {
        /// What was looked for.
        uri: String,
        /// How many were found.
        found: usize,
    },
    /// The key is not one that can do what it is to do.
    #[error("{uri}: {why}")]
    Unsuitable {
        /// Which key.
        uri: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is to be sealed is longer than [`MAXIMUM_PLAINTEXT_BYTES`](super::MAXIMUM_PLAINTEXT_BYTES).
    #[error("{0} bytes are more than a token is given to seal")]
    Length(usize),
    /// What is to be opened was not sealed by this key, or not with this associated data, or was altered.
    #[error("not sealed by this key, or altered")]
    Open,
    /// The operating system gives no randomness.
    #[error("no randomness")]
    Randomness(#[from] getrandom::Error),
    /// The token does not do it.
    #[error("{uri}: the token says {reason}")]
    Refused {
        /// Which key.
        uri: String,
        /// What the token says.
        reason: String,
    },
    /// The token is away, or in trouble.
    #[error("{uri}: the token does not answer as it should: {reason}")]
    Away {
        /// Which key.
        uri: String,
        /// What the library says.
        reason: String,
    },
}

impl Pkcs11Error {
    /// Whether trying again later may help: a token that went away may come back.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Token { found: 0, .. } => true,
            Self::NotBuilt
            | Self::Static
            | Self::Library { .. }
            | Self::Pin { .. }
            | Self::PinRefused { .. }
            | Self::Token { .. }
            | Self::NoKey(_)
            | Self::SeveralKeys { .. }
            | Self::OtherKey { .. }
            | Self::Unsuitable { .. }
            | Self::Length(_)
            | Self::Open
            | Self::Randomness(_)
            | Self::Refused { .. } => false,
        }
    }
}
