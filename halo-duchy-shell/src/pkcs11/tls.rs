//! Keys of tokens in handshakes.

use std::sync::Arc;

use rustls::sign::Signer;
use rustls::{OtherError, SignatureScheme};

use super::SigningKey;
use super::signing::Scheme;
use crate::signature::KeyKind;

/// A token's key, as rustls asks for one.
#[derive(Debug)]
pub(super) struct TlsKey(pub(super) Arc<SigningKey>);

/// The same, for one handshake.
#[derive(Debug)]
struct TlsSigner(Arc<SigningKey>, SignatureScheme);

impl TlsKey {
    fn scheme(&self) -> SignatureScheme {
        match self.0.kind() {
            KeyKind::Rsa => SignatureScheme::RSA_PSS_SHA256,
            _ => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }
}

impl rustls::sign::SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.scheme();
        offered
            .contains(&scheme)
            .then(|| -> Box<dyn Signer> { Box::new(TlsSigner(Arc::clone(&self.0), scheme)) })
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        match self.0.kind() {
            KeyKind::Rsa => rustls::SignatureAlgorithm::RSA,
            _ => rustls::SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for TlsSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let scheme = match self.0.kind() {
            KeyKind::Rsa => Scheme::RsaPss,
            _ => Scheme::Ecdsa,
        };
        self.0.sign_by(scheme, message).map_err(|error| {
            tracing::error!(%error, "the TLS key does not sign");
            rustls::Error::Other(OtherError(Arc::new(error)))
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}
