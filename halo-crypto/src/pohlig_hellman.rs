//! The Pohlig–Hellman cipher in a group: multiplication by a secret key.
//!
//! It is deterministic and commutative, so registers whose ids were blinded by every duchy, in any order, can be
//! compared without being opened (Pohlig and Hellman 1978; upstream's `crypto/ec_commutative_cipher.cc`). Equal
//! messages give equal ciphertexts: that is its purpose here, and the reason to use each key for one computation only.

use elliptic_curve::Field;
use rand_core::CryptoRng;

use crate::Secret;
use crate::group::{Group, ScalarError};

/// A key of the cipher: a scalar other than zero.
///
/// # Security
/// A mill draws a fresh key for each request, blinds all registers of that request with it, and never stores it.
#[derive(Clone, Debug)]
pub struct BlindingKey<G: Group>(Secret<G::Scalar>);

impl<G: Group> BlindingKey<G> {
    /// Draws a key.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::new(G::random_scalar(rng)))
    }

    /// Reads a key from big-endian bytes of any length.
    ///
    /// # Errors
    /// [`ScalarError`] if the key is zero or not below the group's order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ScalarError> {
        Ok(Self(Secret::new(G::scalar_from_bytes(bytes)?)))
    }

    /// `points[i] = key · points[i]`
    pub fn encrypt(&self, points: &mut [G::Point]) {
        G::scale(points, self.scalar());
    }

    /// `points[i] = key⁻¹ · points[i]`
    pub fn decrypt(&self, points: &mut [G::Point]) {
        self.inverse().encrypt(points);
    }

    /// The key that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        // There is one, for no constructor accepts zero; that is not asked, as it would be a branch on the key.
        Self(Secret::new(self.scalar().invert().unwrap_or(G::Scalar::ZERO)))
    }

    /// The key itself.
    pub(crate) fn scalar(&self) -> &G::Scalar {
        self.0.expose()
    }
}
