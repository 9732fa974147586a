//! [`P256`]: NIST P-256 with the encodings, key formats and hash to curve of the upstream C++ libraries.
//!
//! A point is encoded as 33 bytes of compressed SEC1: `02` or `03` by the parity of `y`, then `x` big-endian. Messages
//! are hashed to points by trying `x` until one is on the curve (`GetPointByHashingToCurveSha256` upstream), and
//! scalars in keys are big-endian without leading zeros.

use std::sync::OnceLock;

use elliptic_curve::{Field, PrimeField};
use p256::FieldBytes;
use sha2::{Digest, Sha256};
use subtle::Choice;
use zeroize::Zeroizing;

use super::{DecodePointError, DecodePointReason, Group, IdentityError, ScalarError};
use crate::Secret;
use crate::backend::{self, Backend, FieldElement};
pub use crate::backend::{FixedBase, Point};

/// Encodings decoded in one go, which bounds the space they take.
const CHUNK: usize = 128;

/// NIST P-256, the group of the deployed protocols.
///
/// ```
/// use halo_crypto::{Group, P256};
///
/// let mut points = [P256::hash_one(b"a"), P256::hash_one(b"b")];
/// let key = P256::scalar_from_bytes(&[7])?;
/// P256::scale(&mut points, &key);
/// assert_eq!(P256::encode_one(&points[0])?.len(), P256::POINT_LENGTH);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct P256;

impl Group for P256 {
    const NAME: &'static str = "p256";
    const CURVE_ID: i64 = 415;
    const POINT_LENGTH: usize = 33;

    type Scalar = p256::Scalar;
    type Point = Point;
    type FixedBase = FixedBase;

    fn generator() -> Point {
        Point::GENERATOR
    }

    fn identity() -> Point {
        Point::IDENTITY
    }

    fn is_identity(point: &Point) -> Choice {
        point.is_identity().choice()
    }

    fn fixed_generator() -> &'static FixedBase {
        static GENERATOR: OnceLock<FixedBase> = OnceLock::new();
        GENERATOR.get_or_init(|| Backend::active().fixed_base(&Point::GENERATOR))
    }

    fn fixed_base(point: &Point) -> FixedBase {
        Backend::active().fixed_base(point)
    }

    fn scalar_from_bytes(bytes: &[u8]) -> Result<Self::Scalar, ScalarError> {
        let (excess, low) = bytes.split_at(bytes.len().saturating_sub(32));
        if excess.iter().any(|byte| *byte != 0) {
            return Err(ScalarError);
        }
        let mut repr = Zeroizing::new([0u8; 32]);
        repr[32 - low.len()..].copy_from_slice(low);
        let scalar: Option<p256::Scalar> = p256::Scalar::from_repr(FieldBytes::from(*repr)).into();
        scalar.filter(|scalar| !bool::from(scalar.is_zero())).ok_or(ScalarError)
    }

    fn scalar_to_bytes(scalar: &Self::Scalar) -> Secret<Vec<u8>> {
        let repr = Zeroizing::new(<[u8; 32]>::from(scalar.to_repr()));
        Secret::new(without_leading_zeros(&*repr).to_vec())
    }

    fn decode(bytes: &[u8], out: &mut [Point]) -> Result<(), DecodePointError> {
        assert_eq!(bytes.len(), out.len() * Self::POINT_LENGTH, "one encoding for each point");
        let mut candidates = Vec::with_capacity(CHUNK.min(out.len()));
        let mut decompressed = [None; CHUNK];
        let chunks = bytes.chunks(CHUNK * Self::POINT_LENGTH).zip(out.chunks_mut(CHUNK));
        for (chunk, (bytes, out)) in chunks.enumerate() {
            candidates.clear();
            // An encoding that cannot be read ends the chunk; one before it may still be off the curve.
            let mut failure = None;
            for bytes in bytes.chunks_exact(Self::POINT_LENGTH) {
                match parse_compressed(bytes) {
                    Ok(candidate) => candidates.push(candidate),
                    Err(reason) => {
                        failure = Some((candidates.len(), reason));
                        break;
                    }
                }
            }
            Backend::active().decompress(&candidates, &mut decompressed);
            for (index, (point, out)) in decompressed[..candidates.len()].iter().zip(out).enumerate() {
                match point {
                    Some(point) => *out = *point,
                    None => {
                        failure = Some((index, DecodePointReason::NotOnCurve));
                        break;
                    }
                }
            }
            if let Some((index, reason)) = failure {
                return Err(DecodePointError { index: chunk * CHUNK + index, reason });
            }
        }
        Ok(())
    }

    fn decode_key(bytes: &[u8]) -> Result<Point, DecodePointError> {
        let error = |reason| DecodePointError { index: 0, reason };
        match (bytes, bytes.len()) {
            ([4, coordinates @ ..], 65) => {
                let (x, y) = coordinates.split_at(32);
                let (x, y) = (parse_coordinate(x).map_err(error)?, parse_coordinate(y).map_err(error)?);
                Point::from_coordinates(x, y).ok_or(error(DecodePointReason::NotOnCurve))
            }
            ([prefix, ..], 65) => Err(error(DecodePointReason::Prefix(*prefix))),
            ([0], _) => Err(error(DecodePointReason::Identity)),
            _ => Self::decode_one(bytes),
        }
    }

    fn encode(points: &[Point], out: &mut [u8]) -> Result<(), IdentityError> {
        assert_eq!(out.len(), points.len() * Self::POINT_LENGTH, "room for every point");
        for (index, (point, out)) in points.iter().zip(out.chunks_exact_mut(Self::POINT_LENGTH)).enumerate() {
            if Self::is_identity(point).into() {
                return Err(IdentityError { index });
            }
            out[0] = 2 | point.y().is_odd().unwrap_u8();
            out[1..].copy_from_slice(&point.x().to_bytes());
        }
        Ok(())
    }

    fn add(left: &mut [Point], right: &[Point]) {
        assert_eq!(left.len(), right.len(), "as many points on both sides");
        Backend::active().add(left, |index| right[index]);
    }

    fn sub(left: &mut [Point], right: &[Point]) {
        assert_eq!(left.len(), right.len(), "as many points on both sides");
        Backend::active().add(left, |index| right[index].negate());
    }

    fn add_point(points: &mut [Point], addend: &Point) {
        Backend::active().add(points, |_| *addend);
    }

    fn negate(points: &mut [Point]) {
        for point in points {
            *point = point.negate();
        }
    }

    fn scale(points: &mut [Point], scalar: &Self::Scalar) {
        Backend::active().scale(points, scalar);
    }

    fn scale_each(points: &mut [Point], scalars: &[Self::Scalar]) {
        assert_eq!(points.len(), scalars.len(), "a scalar for each point");
        Backend::active().scale_each(points, scalars);
    }

    fn multiples(points: &[Point], scalars: &[Self::Scalar]) -> Vec<Point> {
        assert!(scalars.len().is_multiple_of(points.len()), "as many scalars for each point");
        if scalars.len() == points.len() {
            let mut multiples = points.to_vec();
            Self::scale_each(&mut multiples, scalars);
            return multiples;
        }
        let mut multiples = vec![Point::IDENTITY; scalars.len()];
        if !scalars.is_empty() {
            Backend::active().several_multiples(points, scalars, &mut multiples);
        }
        multiples
    }

    fn double_scale(
        left: &mut [Point],
        left_scalar: &Self::Scalar,
        right: &[Point],
        right_scalar: &Self::Scalar,
    ) {
        assert_eq!(left.len(), right.len(), "as many points on both sides");
        let generator = Self::fixed_generator();
        Backend::active().double_scale(left, left_scalar, right, right_scalar, generator);
    }

    fn add_fixed_base_multiples(points: &mut [Point], base: &FixedBase, scalars: &[Self::Scalar]) {
        assert_eq!(points.len(), scalars.len(), "a scalar for each point");
        backend::add_fixed_base_multiples(points, base, scalars);
    }

    fn hash_to_group<M: AsRef<[u8]>>(messages: &[M], out: &mut [Point]) {
        assert_eq!(messages.len(), out.len(), "a point for each message");
        let mut decompressed = [None; CHUNK];
        for (messages, out) in messages.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
            // Which messages have no point yet, and the coordinate to try next.
            let mut pending: Vec<usize> = (0..messages.len()).collect();
            let mut candidates: Vec<(FieldElement, Choice)> =
                messages.iter().map(|message| (random_oracle(message.as_ref()), Choice::from(0))).collect();
            while !pending.is_empty() {
                Backend::active().decompress(&candidates, &mut decompressed);
                let tried = core::mem::take(&mut pending).into_iter().zip(core::mem::take(&mut candidates));
                for ((index, (x, even)), point) in tried.zip(&decompressed) {
                    match point {
                        Some(point) => out[index] = *point,
                        None => {
                            pending.push(index);
                            candidates.push((random_oracle(without_leading_zeros(&x.to_bytes())), even));
                        }
                    }
                }
            }
        }
    }

    fn sum(points: &[Point]) -> Point {
        let mut sums = points.to_vec();
        // Halves are added until one point is left, so that each step is a batch.
        while sums.len() > 1 {
            let half = sums.len().div_ceil(2);
            let (left, right) = sums.split_at_mut(half);
            Self::add(&mut left[..right.len()], right);
            sums.truncate(half);
        }
        sums.first().copied().unwrap_or(Point::IDENTITY)
    }
}

/// `SHA256(1 ‖ m) ‖ SHA256(2 ‖ m)` as a big-endian integer modulo the field's modulus.
fn random_oracle(message: &[u8]) -> FieldElement {
    let digest = |counter: u8| Sha256::new().chain_update([counter]).chain_update(message).finalize().into();
    FieldElement::from_wide_bytes(&digest(1), &digest(2))
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

/// Reads a prefix `02` or `03` and a coordinate: `x`, and whether `y` is odd.
fn parse_compressed(bytes: &[u8]) -> Result<(FieldElement, Choice), DecodePointReason> {
    match bytes {
        [prefix @ (2 | 3), x @ ..] => Ok((parse_coordinate(x)?, Choice::from(prefix & 1))),
        [prefix, ..] => Err(DecodePointReason::Prefix(*prefix)),
        [] => Err(DecodePointReason::Length(0)),
    }
}

fn parse_coordinate(bytes: &[u8]) -> Result<FieldElement, DecodePointReason> {
    let bytes = bytes.try_into().map_err(|_| DecodePointReason::Length(bytes.len()))?;
    FieldElement::from_bytes(bytes).ok_or(DecodePointReason::NotCanonical)
}

#[cfg(test)]
mod tests;
