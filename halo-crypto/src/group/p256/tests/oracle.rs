//! [`Oracle`]: the same group in the simplest way over the p256 crate, which our own arithmetic must agree with.

use elliptic_curve::sec1::{FromSec1Point, ToSec1Point};
use elliptic_curve::{Field, PrimeField};
use num_bigint::BigUint;
use p256::{AffinePoint, FieldBytes, ProjectivePoint, Sec1Point};
use sha2::{Digest, Sha256};
use subtle::Choice;
use zeroize::Zeroizing;

use crate::Secret;
use crate::group::{DecodePointError, DecodePointReason, Group, IdentityError, ScalarError};

/// The field's modulus, big-endian.
pub(super) const MODULUS: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

/// P-256 by the p256 crate, one point at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oracle;

impl Group for Oracle {
    const NAME: &'static str = "oracle";
    const CURVE_ID: i64 = 415;
    const POINT_LENGTH: usize = 33;

    type Scalar = p256::Scalar;
    type Point = ProjectivePoint;
    type FixedBase = ProjectivePoint;

    fn generator() -> Self::Point {
        ProjectivePoint::GENERATOR
    }

    fn identity() -> Self::Point {
        ProjectivePoint::IDENTITY
    }

    fn is_identity(point: &Self::Point) -> Choice {
        elliptic_curve::Group::is_identity(point)
    }

    fn fixed_generator() -> &'static Self::FixedBase {
        &ProjectivePoint::GENERATOR
    }

    fn fixed_base(point: &Self::Point) -> Self::FixedBase {
        *point
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
        let zeros = repr.iter().take_while(|byte| **byte == 0).count();
        Secret::new(repr[zeros..].to_vec())
    }

    fn decode(bytes: &[u8], out: &mut [Self::Point]) -> Result<(), DecodePointError> {
        assert_eq!(bytes.len(), out.len() * Self::POINT_LENGTH, "one encoding for each point");
        for (index, (bytes, out)) in bytes.chunks_exact(Self::POINT_LENGTH).zip(out).enumerate() {
            *out = decode_sec1(bytes).map_err(|reason| DecodePointError { index, reason })?;
        }
        Ok(())
    }

    fn decode_key(bytes: &[u8]) -> Result<Self::Point, DecodePointError> {
        decode_sec1(bytes).map_err(|reason| DecodePointError { index: 0, reason })
    }

    fn encode(points: &[Self::Point], out: &mut [u8]) -> Result<(), IdentityError> {
        assert_eq!(out.len(), points.len() * Self::POINT_LENGTH, "room for every point");
        for (index, (point, out)) in points.iter().zip(out.chunks_exact_mut(Self::POINT_LENGTH)).enumerate() {
            if Self::is_identity(point).into() {
                return Err(IdentityError { index });
            }
            out.copy_from_slice(point.to_affine().to_sec1_point(true).as_bytes());
        }
        Ok(())
    }

    fn add(left: &mut [Self::Point], right: &[Self::Point]) {
        assert_eq!(left.len(), right.len(), "as many points on both sides");
        for (left, right) in left.iter_mut().zip(right) {
            *left += right;
        }
    }

    fn sub(left: &mut [Self::Point], right: &[Self::Point]) {
        assert_eq!(left.len(), right.len(), "as many points on both sides");
        for (left, right) in left.iter_mut().zip(right) {
            *left -= right;
        }
    }

    fn add_point(points: &mut [Self::Point], addend: &Self::Point) {
        for point in points {
            *point += addend;
        }
    }

    fn negate(points: &mut [Self::Point]) {
        for point in points {
            *point = -*point;
        }
    }

    fn scale(points: &mut [Self::Point], scalar: &Self::Scalar) {
        for point in points {
            *point *= scalar;
        }
    }

    fn scale_each(points: &mut [Self::Point], scalars: &[Self::Scalar]) {
        assert_eq!(points.len(), scalars.len(), "a scalar for each point");
        for (point, scalar) in points.iter_mut().zip(scalars) {
            *point *= scalar;
        }
    }

    fn double_scale(
        left: &mut [Self::Point],
        left_scalar: &Self::Scalar,
        right: &[Self::Point],
        right_scalar: &Self::Scalar,
    ) {
        assert_eq!(left.len(), right.len(), "as many points on both sides");
        for (left, right) in left.iter_mut().zip(right) {
            *left = *left * left_scalar + *right * right_scalar;
        }
    }

    fn add_fixed_base_multiples(
        points: &mut [Self::Point],
        base: &Self::FixedBase,
        scalars: &[Self::Scalar],
    ) {
        assert_eq!(points.len(), scalars.len(), "a scalar for each point");
        for (point, scalar) in points.iter_mut().zip(scalars) {
            *point += *base * scalar;
        }
    }

    fn hash_to_group<M: AsRef<[u8]>>(messages: &[M], out: &mut [Self::Point]) {
        assert_eq!(messages.len(), out.len(), "a point for each message");
        for (message, out) in messages.iter().zip(out) {
            let mut x = random_oracle(message.as_ref());
            *out = loop {
                let mut bytes = [2; 33];
                bytes[1..].copy_from_slice(&x);
                if let Ok(point) = decode_sec1(&bytes) {
                    break point;
                }
                let zeros = x.iter().take_while(|byte| **byte == 0).count();
                x = random_oracle(&x[zeros..]);
            };
        }
    }
}

/// `SHA256(1 ‖ m) ‖ SHA256(2 ‖ m)` as a big-endian integer modulo the field's modulus.
fn random_oracle(message: &[u8]) -> [u8; 32] {
    let mut digests = [0; 64];
    for (counter, digest) in [1u8, 2].iter().zip(digests.chunks_exact_mut(32)) {
        digest.copy_from_slice(&Sha256::new().chain_update([*counter]).chain_update(message).finalize());
    }
    let reduced = (BigUint::from_bytes_be(&digests) % BigUint::from_bytes_be(&MODULUS)).to_bytes_be();
    let mut x = [0; 32];
    x[32 - reduced.len()..].copy_from_slice(&reduced);
    x
}

/// Decodes a compressed or uncompressed SEC1 point other than the identity.
fn decode_sec1(bytes: &[u8]) -> Result<ProjectivePoint, DecodePointReason> {
    match (bytes.first(), bytes.len()) {
        (Some(0), 1) => return Err(DecodePointReason::Identity),
        (Some(2 | 3), 33) | (Some(4), 65) => {}
        (Some(prefix), 33 | 65) => return Err(DecodePointReason::Prefix(*prefix)),
        (_, length) => return Err(DecodePointReason::Length(length)),
    }
    if bytes[1..].chunks_exact(32).any(|coordinate| coordinate >= &MODULUS[..]) {
        return Err(DecodePointReason::NotCanonical);
    }
    let encoded = Sec1Point::from_bytes(bytes).map_err(|_| DecodePointReason::NotOnCurve)?;
    let point: Option<AffinePoint> = AffinePoint::from_sec1_point(&encoded).into();
    point.map(ProjectivePoint::from).ok_or(DecodePointReason::NotOnCurve)
}
