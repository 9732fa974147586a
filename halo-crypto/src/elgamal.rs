//! ElGamal encryption of group elements under a key that the duchies hold in parts.
//!
//! A ciphertext of `M` under the public key `y = x·G` is `(u, e) = (r·G, M + r·y)` for a fresh nonce `r` (ElGamal
//! 1985, written additively). The public keys of several parties add up to a composite key; each party then takes
//! off its own layer with `e − x·u`, and after the last one `e` is the message (upstream's
//! `common/crypto/protocol_cryptor.cc`).
//!
//! All work is done on batches: [`Ciphertexts`] keeps the halves of many ciphertexts in two slices that the
//! [`Group`](crate::Group)'s operations take whole, and [`EncryptionKey`] prepares a public key once for all the
//! fresh encryptions of a request.
//!
//! ```
//! use halo_crypto::elgamal::{Ciphertexts, EncryptionKey, KeyPair, combine_public_keys};
//! use halo_crypto::group::{Group, Ristretto255};
//! # use rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1); // A test's source: real keys come from the system's.
//!
//! let (alice, bob) = (KeyPair::<Ristretto255>::random(&mut rng), KeyPair::random(&mut rng));
//! let key = EncryptionKey::new(combine_public_keys(&[alice.public, bob.public])?);
//! let messages = [Ristretto255::hash_one(b"one"), Ristretto255::hash_one(b"two")];
//!
//! let mut ciphertexts = key.encrypt(&messages, &mut rng);
//! ciphertexts.partial_decrypt(&alice.secret);
//! assert_eq!(ciphertexts.decrypt(&bob.secret), messages);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ciphertext;
mod encryption_key;
mod equality_test;
mod key;

pub use ciphertext::{
    Ciphertext, CiphertextHalf, Ciphertexts, Column, DecodeCiphertextError, DecodeCiphertextReason,
    EncodeCiphertextError,
};
pub use encryption_key::EncryptionKey;
pub use equality_test::Constant;
pub use key::{
    CombineKeysError, KeyPair, KeyPairError, PublicKey, PublicKeyError, RelatedKeysError, SecretKey,
    check_unrelated, combine_public_keys,
};

#[cfg(test)]
mod tests;
