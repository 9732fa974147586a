//! [`Group`]: what a protocol may assume of the group its ciphertexts live in.
//!
//! The duchies do the same operation to millions of elements, nearly always with the same secret, so the
//! interface is the batch: every operation takes slices and may share inversions, tables and recodings among
//! their elements. A suite with a faster backend changes nothing above this trait.

use core::fmt::Debug;

use elliptic_curve::PrimeField;
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

mod p256;
mod ristretto255;

pub use self::p256::P256;
pub use self::ristretto255::Ristretto255;

/// A group of prime order with batch operations.
///
/// Implementations are zero-sized suites such as `P256` and `Ristretto255`.
///
/// # Security
/// Every operation runs in constant time with respect to scalars and to the values of the points, except where
/// the name says `vartime` or the documentation says that the time may depend on an input.
///
/// # Lengths
/// Operations over two slices require equal lengths, and output slices the length that is stated. A caller that
/// breaks this has a bug, so they panic; lengths of bytes that come from outside are checked before, by the
/// protocols' decoders.
pub trait Group: Copy + Clone + Debug + Default + Eq + Send + Sync + 'static {
    /// The suite's name, as options and messages spell it.
    const NAME: &'static str;
    /// The id by which parameters name the group (`elliptic_curve_id` upstream).
    const CURVE_ID: i64;
    /// Bytes of one encoded point.
    const POINT_LENGTH: usize;

    /// An integer modulo the group's order.
    type Scalar: PrimeField + ConstantTimeEq + Zeroize;
    /// One element, decoded. Small and flat, so that a slice of them is a batch.
    type Point: Copy + Clone + Debug + Default + Send + Sync + ConstantTimeEq + Zeroize + 'static;
    /// A point prepared for many multiplications by fresh scalars.
    type FixedBase: Send + Sync;

    /// The fixed generator of the group.
    fn generator() -> Self::Point;

    /// The neutral element. It has no encoding.
    fn identity() -> Self::Point;

    /// Whether `point` is the neutral element.
    fn is_identity(point: &Self::Point) -> Choice;

    /// The generator, prepared once for the life of the process.
    fn fixed_generator() -> &'static Self::FixedBase;

    /// Prepares `point` for [`Group::add_fixed_base_multiples`]. The point is public.
    fn fixed_base(point: &Self::Point) -> Self::FixedBase;

    /// A scalar drawn uniformly from `1..order`.
    fn random_scalar<R: CryptoRng + ?Sized>(rng: &mut R) -> Self::Scalar {
        loop {
            let scalar = <Self::Scalar as elliptic_curve::Field>::random(rng);
            if !bool::from(elliptic_curve::Field::is_zero(&scalar)) {
                return scalar;
            }
        }
    }

    /// Reads a scalar from big-endian bytes of any length, as upstream's key fields hold it.
    ///
    /// # Errors
    /// [`ScalarError`] if the value is zero or not below the order.
    fn scalar_from_bytes(bytes: &[u8]) -> Result<Self::Scalar, ScalarError>;

    /// A scalar as big-endian bytes without leading zeros; zero is the empty string.
    fn scalar_to_bytes(scalar: &Self::Scalar) -> crate::Secret<Vec<u8>>;

    /// Decodes `bytes`, a concatenation of `out.len()` encodings of [`Group::POINT_LENGTH`] bytes.
    ///
    /// # Errors
    /// [`DecodePointError`] naming the first encoding that is not that of an element other than the identity.
    fn decode(bytes: &[u8], out: &mut [Self::Point]) -> Result<(), DecodePointError>;

    /// Decodes one point of a key field, where a container does not fix the length and other standard encodings
    /// of the same element are accepted too (uncompressed SEC1 for P-256).
    ///
    /// # Errors
    /// [`DecodePointError`] with index 0.
    fn decode_key(bytes: &[u8]) -> Result<Self::Point, DecodePointError>;

    /// Encodes `points` into `out`, which is `points.len() * POINT_LENGTH` bytes long.
    ///
    /// # Errors
    /// [`IdentityError`] naming the first point that is the identity, which has no encoding.
    fn encode(points: &[Self::Point], out: &mut [u8]) -> Result<(), IdentityError>;

    /// `left[i] += right[i]`
    fn add(left: &mut [Self::Point], right: &[Self::Point]);

    /// `left[i] -= right[i]`
    fn sub(left: &mut [Self::Point], right: &[Self::Point]);

    /// `points[i] += addend`
    fn add_point(points: &mut [Self::Point], addend: &Self::Point);

    /// `points[i] = -points[i]`
    fn negate(points: &mut [Self::Point]);

    /// `points[i] = scalar · points[i]`, one secret for the whole batch.
    fn scale(points: &mut [Self::Point], scalar: &Self::Scalar);

    /// `points[i] = scalars[i] · points[i]`, a secret for each point.
    fn scale_each(points: &mut [Self::Point], scalars: &[Self::Scalar]);

    /// `left[i] = left_scalar · left[i] + right_scalar · right[i]`, two secrets for the whole batch.
    fn double_scale(
        left: &mut [Self::Point],
        left_scalar: &Self::Scalar,
        right: &[Self::Point],
        right_scalar: &Self::Scalar,
    );

    /// `points[i] += scalars[i] · base`, a secret for each point.
    fn add_fixed_base_multiples(points: &mut [Self::Point], base: &Self::FixedBase, scalars: &[Self::Scalar]);

    /// Hashes each message to an element other than the identity.
    ///
    /// The time that it takes may depend on the messages ([`P256`] tries and increments). Where they are neither public nor
    /// fresh random, such as ids at a data provider, nobody else may be able to measure it.
    fn hash_to_group<M: AsRef<[u8]>>(messages: &[M], out: &mut [Self::Point]);

    /// Several multiples of each point, by a secret of its own each: `scalars[j·n + i] · points[i]` for the `n`
    /// points and every `j`, in the order of the scalars.
    ///
    /// The multiples of one point may share its doublings and tables.
    fn multiples(points: &[Self::Point], scalars: &[Self::Scalar]) -> Vec<Self::Point> {
        assert!(scalars.len().is_multiple_of(points.len()), "as many scalars for each point");
        let mut multiples: Vec<Self::Point> = points.iter().copied().cycle().take(scalars.len()).collect();
        Self::scale_each(&mut multiples, scalars);
        multiples
    }

    /// `scalars[i] · base`
    fn fixed_base_multiples(base: &Self::FixedBase, scalars: &[Self::Scalar]) -> Vec<Self::Point> {
        let mut points = vec![Self::identity(); scalars.len()];
        Self::add_fixed_base_multiples(&mut points, base, scalars);
        points
    }

    /// The sum of `points`; the identity if there are none.
    fn sum(points: &[Self::Point]) -> Self::Point {
        let mut total = [Self::identity()];
        for point in points {
            Self::add(&mut total, core::slice::from_ref(point));
        }
        total[0]
    }

    /// Hashes one message; see [`Group::hash_to_group`].
    fn hash_one(message: &[u8]) -> Self::Point {
        let mut out = [Self::identity()];
        Self::hash_to_group(&[message], &mut out);
        out[0]
    }

    /// Decodes one point; see [`Group::decode`].
    ///
    /// # Errors
    /// As [`Group::decode`]; also if `bytes` is not [`Group::POINT_LENGTH`] long.
    fn decode_one(bytes: &[u8]) -> Result<Self::Point, DecodePointError> {
        if bytes.len() != Self::POINT_LENGTH {
            return Err(DecodePointError { index: 0, reason: DecodePointReason::Length(bytes.len()) });
        }
        let mut out = [Self::identity()];
        Self::decode(bytes, &mut out)?;
        Ok(out[0])
    }

    /// Encodes one point; see [`Group::encode`].
    ///
    /// # Errors
    /// As [`Group::encode`].
    fn encode_one(point: &Self::Point) -> Result<Vec<u8>, IdentityError> {
        let mut out = vec![0; Self::POINT_LENGTH];
        Self::encode(core::slice::from_ref(point), &mut out)?;
        Ok(out)
    }
}

/// Bytes that encode no element, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("point {index}: {reason}")]
pub struct DecodePointError {
    /// Which encoding of the batch it is, counted from 0.
    pub index: usize,
    /// What is wrong with it.
    pub reason: DecodePointReason,
}

/// Why bytes encode no element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodePointReason {
    /// An encoding has another length.
    #[error("an encoding has another length than {0} bytes")]
    Length(usize),
    /// The first byte names no known form.
    #[error("the prefix {0:#04x} is not that of an encoded point")]
    Prefix(u8),
    /// The coordinate is not below the field's modulus.
    #[error("the coordinate is not below the field's modulus")]
    NotCanonical,
    /// No point of the group has this coordinate.
    #[error("no element has this encoding")]
    NotOnCurve,
    /// The neutral element, which has no place on the wire.
    #[error("the identity is not accepted")]
    Identity,
}

/// The identity turned up where a point was to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("point {index} is the identity, which has no encoding")]
pub struct IdentityError {
    /// Which point of the batch it is, counted from 0.
    pub index: usize,
}

/// Bytes that are no usable secret scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scalar is not in [1, order)")]
pub struct ScalarError;
