//! [`EncryptionKey`]: a public key prepared for the fresh encryptions of a whole request.

use core::fmt;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Ciphertext, Ciphertexts, PublicKey};
use crate::group::Group;

/// A public key with its table of multiples.
///
/// The table takes a while to prepare and makes each encryption cheaper, so a request builds it once and its chunks
/// share it.
pub struct EncryptionKey<G: Group> {
    public: PublicKey<G>,
    base: G::FixedBase,
}

impl<G: Group> EncryptionKey<G> {
    /// Prepares `public`.
    pub fn new(public: PublicKey<G>) -> Self {
        Self { base: G::fixed_base(public.point()), public }
    }

    /// The key that was prepared.
    pub fn public(&self) -> &PublicKey<G> {
        &self.public
    }

    /// Encrypts each message, the identity included, with a nonce of its own: `(r·G, M + r·y)`.
    pub fn encrypt<R: CryptoRng + ?Sized>(&self, messages: &[G::Point], rng: &mut R) -> Ciphertexts<G> {
        let mut ciphertexts = Ciphertexts::of_messages(messages);
        self.re_randomize(&mut ciphertexts, rng);
        ciphertexts
    }

    /// Encrypts one message.
    pub fn encrypt_one<R: CryptoRng + ?Sized>(&self, message: &G::Point, rng: &mut R) -> Ciphertext<G> {
        self.encrypt(core::slice::from_ref(message), rng).get(0)
    }

    /// Encrypts the identity `count` times.
    pub fn encrypt_identity<R: CryptoRng + ?Sized>(&self, count: usize, rng: &mut R) -> Ciphertexts<G> {
        self.encrypt(&vec![G::identity(); count], rng)
    }

    /// Adds a fresh encryption of the identity to each ciphertext, so that none can be recognised.
    ///
    /// The ciphertexts must be under this key.
    pub fn re_randomize<R: CryptoRng + ?Sized>(&self, ciphertexts: &mut Ciphertexts<G>, rng: &mut R) {
        self.add_identities(ciphertexts, &random_scalars::<G, R>(ciphertexts.len(), rng));
    }

    /// Adds `(r·G, r·y)` with the given nonces, which must not be used twice.
    pub(super) fn add_identities(&self, ciphertexts: &mut Ciphertexts<G>, nonces: &[G::Scalar]) {
        let (u, e) = ciphertexts.halves_mut();
        G::add_fixed_base_multiples(u, G::fixed_generator(), nonces);
        G::add_fixed_base_multiples(e, &self.base, nonces);
    }
}

impl<G: Group> fmt::Debug for EncryptionKey<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncryptionKey").field(&self.public).finish()
    }
}

/// `count` fresh secrets from `[1, order)`, wiped when dropped.
pub(super) fn random_scalars<G: Group, R: CryptoRng + ?Sized>(
    count: usize,
    rng: &mut R,
) -> Zeroizing<Vec<G::Scalar>> {
    Zeroizing::new((0..count).map(|_| G::random_scalar(rng)).collect())
}
