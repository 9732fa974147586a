//! ElGamal keys, and composite keys made of several parties'.

use core::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::Secret;
use crate::group::{DecodePointError, Group, ScalarError};

/// A secret key: a scalar `x` other than zero, wiped when dropped.
#[derive(Clone, Debug)]
pub struct SecretKey<G: Group>(Secret<G::Scalar>);

impl<G: Group> SecretKey<G> {
    /// Draws a key.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::new(G::random_scalar(rng)))
    }

    /// Reads a key from big-endian bytes of any length, the form of upstream's key fields.
    ///
    /// # Errors
    /// [`ScalarError`] if the key is zero or not below the group's order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ScalarError> {
        Ok(Self(Secret::new(G::scalar_from_bytes(bytes)?)))
    }

    /// The key as big-endian bytes without leading zeros, the form of upstream's key fields.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        G::scalar_to_bytes(self.scalar())
    }

    /// The public key `x·G`.
    pub fn public_key(&self) -> PublicKey<G> {
        let mut point = [G::identity()];
        G::add_fixed_base_multiples(&mut point, G::fixed_generator(), core::slice::from_ref(self.scalar()));
        PublicKey(point[0])
    }

    /// The key itself.
    pub(crate) fn scalar(&self) -> &G::Scalar {
        self.0.expose()
    }
}

/// A public key: an element other than the identity, of one party or composite.
#[derive(Clone, Copy)]
pub struct PublicKey<G: Group>(G::Point);

impl<G: Group> PublicKey<G> {
    /// Reads a key from its encoding. Other standard encodings than the one we emit are accepted too, as upstream
    /// does in key fields; see [`Group::decode_key`].
    ///
    /// # Errors
    /// [`DecodePointError`] if the bytes encode no element other than the identity.
    pub fn from_bytes(element: &[u8]) -> Result<Self, DecodePointError> {
        G::decode_key(element).map(Self)
    }

    /// Reads a key from the two fields of upstream's `ElGamalPublicKey`.
    ///
    /// Upstream takes any generator; ours must be the group's own, on which a peer has no reason to differ: with a
    /// generator of its choice, it could know relations that the others cannot see.
    ///
    /// # Errors
    /// [`PublicKeyError`] naming the field that is wrong.
    pub fn from_fields(generator: &[u8], element: &[u8]) -> Result<Self, PublicKeyError> {
        let generator = G::decode_key(generator).map_err(PublicKeyError::Generator)?;
        if !bool::from(generator.ct_eq(&G::generator())) {
            return Err(PublicKeyError::OtherGenerator);
        }
        Self::from_bytes(element).map_err(PublicKeyError::Element)
    }

    /// The encoded key, [`Group::POINT_LENGTH`] bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        G::encode_one(&self.0).expect("no constructor accepts the identity")
    }

    /// The encoded generator, which upstream's `ElGamalPublicKey` carries beside the element.
    pub fn generator_bytes() -> Vec<u8> {
        G::encode_one(&G::generator()).expect("a generator is not the identity")
    }

    /// The element `y`.
    pub fn point(&self) -> &G::Point {
        &self.0
    }
}

impl<G: Group> PartialEq for PublicKey<G> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<G: Group> Eq for PublicKey<G> {}

impl<G: Group> fmt::Debug for PublicKey<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", G::NAME)?;
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A public key field that holds no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The generator is no element of the group.
    #[error("the public key's generator: {0}")]
    Generator(#[source] DecodePointError),
    /// The generator is an element, but not the one that the group fixes.
    #[error("the public key's generator is not that of the group")]
    OtherGenerator,
    /// The key is no element of the group.
    #[error("the public key's element: {0}")]
    Element(#[source] DecodePointError),
}

/// A secret key together with its public key.
#[derive(Clone, Debug)]
pub struct KeyPair<G: Group> {
    /// The secret half.
    pub secret: SecretKey<G>,
    /// The public half, `secret · G`.
    pub public: PublicKey<G>,
}

impl<G: Group> KeyPair<G> {
    /// Draws a key pair.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let secret = SecretKey::random(rng);
        Self { public: secret.public_key(), secret }
    }

    /// Joins the two keys of a stored pair.
    ///
    /// # Errors
    /// [`KeyPairError`] if they do not belong together, or `secret` is no key.
    pub fn from_parts(secret: &[u8], public: PublicKey<G>) -> Result<Self, KeyPairError> {
        let secret = SecretKey::from_bytes(secret).map_err(KeyPairError::Secret)?;
        if secret.public_key() != public {
            return Err(KeyPairError::Mismatch);
        }
        Ok(Self { secret, public })
    }
}

/// Bytes that are no key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyPairError {
    /// The secret key is out of range.
    #[error("the secret key: {0}")]
    Secret(#[source] ScalarError),
    /// The public key is that of another secret key.
    #[error("the public key does not belong to the secret key")]
    Mismatch,
}

/// The key under which the holders of all `keys` can only decrypt together: their sum.
///
/// # Errors
/// [`CombineKeysError`] if there are no keys or they cancel out.
pub fn combine_public_keys<G: Group>(keys: &[PublicKey<G>]) -> Result<PublicKey<G>, CombineKeysError> {
    if keys.is_empty() {
        return Err(CombineKeysError::NoKeys);
    }
    let points: Vec<G::Point> = keys.iter().map(|key| key.0).collect();
    let sum = G::sum(&points);
    if bool::from(G::is_identity(&sum)) {
        return Err(CombineKeysError::Identity);
    }
    Ok(PublicKey(sum))
}

/// Public keys that have no composite key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineKeysError {
    /// There are none.
    #[error("there are no public keys to combine")]
    NoKeys,
    /// They add up to the identity, under which nothing is encrypted.
    #[error("the public keys cancel out")]
    Identity,
}

/// Checks that no two keys are equal or each other's negative.
///
/// Honest parties draw such keys with negligible probability. A party that repeats or negates another's key aims
/// at a composite or partial key it knows something about; neither attack is complete without more, but both are
/// cheap to refuse before any data is encrypted.
///
/// # Errors
/// [`RelatedKeysError`] naming the first such pair.
pub fn check_unrelated<G: Group>(keys: &[PublicKey<G>]) -> Result<(), RelatedKeysError> {
    for (second, key) in keys.iter().enumerate() {
        let mut negated = [key.0];
        G::negate(&mut negated);
        let negated = PublicKey::<G>(negated[0]);
        for (first, other) in keys[..second].iter().enumerate() {
            if other == key {
                return Err(RelatedKeysError::Equal { first, second });
            }
            if *other == negated {
                return Err(RelatedKeysError::Opposite { first, second });
            }
        }
    }
    Ok(())
}

/// Two parties' public keys are suspiciously related. The numbers are positions in the list that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelatedKeysError {
    /// Both parties have the same key.
    #[error("public keys {first} and {second} are equal")]
    Equal {
        /// The first of the two.
        first: usize,
        /// The second.
        second: usize,
    },
    /// One key is the negative of the other.
    #[error("public key {second} is the negative of public key {first}")]
    Opposite {
        /// The first of the two.
        first: usize,
        /// The second.
        second: usize,
    },
}
