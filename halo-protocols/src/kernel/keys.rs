//! The keys of a request.
//!
//! Upstream takes an empty key field for "make one up" and then computes garbage; here every key that a method
//! uses must be there, and be for the group's generator.

use halo_crypto::elgamal::{EncryptionKey, KeyPair, PublicKey};
use halo_crypto::{Group, Secret};
use zeroize::Zeroizing;

use super::{KernelContext, KernelError};
use crate::proto::duchy::{ElGamalKeyPair, ElGamalPublicKey};

/// Reads a public key.
pub(crate) fn public_key<G: Group>(
    field: &'static str,
    key: Option<&ElGamalPublicKey>,
) -> Result<PublicKey<G>, KernelError> {
    let key = key.ok_or(KernelError::Missing(field))?;
    PublicKey::from_fields(&key.generator, &key.element)
        .map_err(|reason| KernelError::PublicKey { field, reason })
}

/// Reads a public key and prepares it for many encryptions.
pub(crate) fn encryption_key<G: Group>(
    field: &'static str,
    key: Option<&ElGamalPublicKey>,
) -> Result<EncryptionKey<G>, KernelError> {
    public_key(field, key).map(EncryptionKey::new)
}

/// Reads this duchy's key pair.
pub(crate) fn local_key_pair<G: Group>(pair: Option<&ElGamalKeyPair>) -> Result<KeyPair<G>, KernelError> {
    let field = "local_el_gamal_key_pair";
    let pair = pair.ok_or(KernelError::Missing(field))?;
    let public = public_key(field, pair.public_key.as_ref())?;
    let secret = reduced::<G>(&pair.secret_key);
    KeyPair::from_parts(secret.expose(), public).map_err(|reason| KernelError::KeyPair { field, reason })
}

/// A big-endian number of any length modulo the group's order, as big-endian bytes. Upstream takes secret keys that
/// are not reduced.
fn reduced<G: Group>(bytes: &[u8]) -> Secret<Vec<u8>> {
    let base = G::Scalar::from(256);
    let mut value = Zeroizing::new(G::Scalar::from(0));
    for byte in bytes {
        *value = *value * base + G::Scalar::from(u64::from(*byte));
    }
    G::scalar_to_bytes(&value)
}

/// Makes the key pair that answers a request to `method`, a function of the context's seed.
pub(crate) fn fresh_key_pair<G: Group>(method: &str, context: &KernelContext) -> ElGamalKeyPair {
    let pair = KeyPair::<G>::random(&mut context.streams::<G>(method, &[]).stream("key pair", 0));
    ElGamalKeyPair {
        secret_key: pair.secret.to_bytes().expose().clone(),
        public_key: Some(public_key_message(&pair.public)),
    }
}

/// A public key as messages carry it.
fn public_key_message<G: Group>(key: &PublicKey<G>) -> ElGamalPublicKey {
    ElGamalPublicKey { generator: PublicKey::<G>::generator_bytes(), element: key.to_bytes() }
}
