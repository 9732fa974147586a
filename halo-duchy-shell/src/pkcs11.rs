//! Private keys in a hardware security module or another token that speaks PKCS #11: they sign, seal and open there, and
//! never come into this process's memory.
//!
//! A [`Pkcs11Uri`] names a key, and the library through which its token is reached. [`SigningKey`] signs, for consent
//! signaling and for TLS; [`SealingKey`] encrypts other keys. Both find a token again that went away and came back, and
//! log in again; meanwhile they fail with errors that say so ([`Pkcs11Error::is_transient`]).
//!
//! Calls block until the token has answered. On the threads of a tokio runtime that has several, its other tasks go on.

mod error;
#[cfg(feature = "pkcs11")]
mod key;
#[cfg(feature = "pkcs11")]
mod module;
#[cfg(feature = "pkcs11")]
mod pin;
#[cfg(feature = "pkcs11")]
mod sealing;
#[cfg(feature = "pkcs11")]
mod signing;
#[cfg(feature = "pkcs11")]
mod tls;
#[cfg(not(feature = "pkcs11"))]
mod unavailable;
mod uri;

use std::sync::atomic::{AtomicBool, Ordering};

pub use error::Pkcs11Error;
#[cfg(feature = "pkcs11")]
pub use sealing::SealingKey;
#[cfg(feature = "pkcs11")]
pub use signing::SigningKey;
#[cfg(not(feature = "pkcs11"))]
pub use unavailable::{SealingKey, SigningKey};
pub use uri::{Pkcs11Uri, UriError};

/// The longest plaintext that a [`SealingKey`] takes, in bytes: it is for keys.
pub const MAXIMUM_PLAINTEXT_BYTES: usize = 64 << 10;

/// Whether this program can load no libraries.
static IS_STATIC: AtomicBool = AtomicBool::new(false);

/// Has every key be refused, with advice: for a program that is linked statically and cannot load a library. The program
/// tells, because a library does not know how it is linked.
pub fn refuse_all() {
    IS_STATIC.store(true, Ordering::Relaxed);
}

/// Whether a library can be loaded.
///
/// # Errors
/// [`Pkcs11Error::Static`].
fn check_program() -> Result<(), Pkcs11Error> {
    if IS_STATIC.load(Ordering::Relaxed) { Err(Pkcs11Error::Static) } else { Ok(()) }
}

#[cfg(all(test, feature = "pkcs11"))]
mod tests;
