//! [`Ristretto255`]: the second suite, the prime-order group of RFC 9496 over `curve25519-dalek`.

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::{RISTRETTO_BASEPOINT_POINT, RISTRETTO_BASEPOINT_TABLE};
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoBasepointTable};
use curve25519_dalek::traits::{Identity, IsIdentity, MultiscalarMul};
use elliptic_curve::Field;
use sha2::Sha512;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use super::{DecodePointError, DecodePointReason, Group, IdentityError, ScalarError};
use crate::Secret;

/// The ristretto255 group of RFC 9496: 32-byte points, of which every element has exactly one encoding.
///
/// Upstream has no such suite. A computation runs on it only if all its parties are ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ristretto255;

/// Bytes of an encoded point and of a scalar.
const LENGTH: usize = 32;

/// The field's modulus 2^255 − 19, little-endian.
const MODULUS: [u8; LENGTH] = {
    let mut modulus = [0xff; LENGTH];
    modulus[0] = 0xed;
    modulus[LENGTH - 1] = 0x7f;
    modulus
};

impl Group for Ristretto255 {
    const NAME: &'static str = "ristretto255";
    const CURVE_ID: i64 = 25519;
    const POINT_LENGTH: usize = LENGTH;

    type Scalar = Scalar;
    type Point = RistrettoPoint;
    type FixedBase = RistrettoBasepointTable;

    fn generator() -> RistrettoPoint {
        RISTRETTO_BASEPOINT_POINT
    }

    fn identity() -> RistrettoPoint {
        RistrettoPoint::identity()
    }

    fn is_identity(point: &RistrettoPoint) -> Choice {
        point.ct_eq(&RistrettoPoint::identity())
    }

    fn fixed_generator() -> &'static RistrettoBasepointTable {
        RISTRETTO_BASEPOINT_TABLE
    }

    fn fixed_base(point: &RistrettoPoint) -> RistrettoBasepointTable {
        RistrettoBasepointTable::create(point)
    }

    fn scalar_from_bytes(bytes: &[u8]) -> Result<Scalar, ScalarError> {
        let leading = bytes.len().saturating_sub(LENGTH);
        let (excess, value) = bytes.split_at(leading);
        if excess.iter().fold(0, |any, byte| any | byte) != 0 {
            return Err(ScalarError);
        }
        let mut little_endian = Zeroizing::new([0; LENGTH]);
        for (out, byte) in little_endian.iter_mut().zip(value.iter().rev()) {
            *out = *byte;
        }
        Option::<Scalar>::from(Scalar::from_canonical_bytes(*little_endian))
            .filter(|scalar| !bool::from(scalar.is_zero()))
            .ok_or(ScalarError)
    }

    fn scalar_to_bytes(scalar: &Scalar) -> Secret<Vec<u8>> {
        let mut bytes = scalar.to_bytes();
        bytes.reverse();
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        let out = Secret::new(bytes[leading..].to_vec());
        bytes.zeroize();
        out
    }

    fn decode(bytes: &[u8], out: &mut [RistrettoPoint]) -> Result<(), DecodePointError> {
        let (encodings, rest) = bytes.as_chunks::<LENGTH>();
        assert!(rest.is_empty() && encodings.len() == out.len(), "as many encodings as points");
        for (index, (encoding, point)) in encodings.iter().zip(out).enumerate() {
            *point = CompressedRistretto(*encoding)
                .decompress()
                .ok_or_else(|| refusal(encoding))
                .and_then(
                    |point| {
                        if point.is_identity() { Err(DecodePointReason::Identity) } else { Ok(point) }
                    },
                )
                .map_err(|reason| DecodePointError { index, reason })?;
        }
        Ok(())
    }

    fn decode_key(bytes: &[u8]) -> Result<RistrettoPoint, DecodePointError> {
        Self::decode_one(bytes)
    }

    fn encode(points: &[RistrettoPoint], out: &mut [u8]) -> Result<(), IdentityError> {
        let (encodings, rest) = out.as_chunks_mut::<LENGTH>();
        assert!(rest.is_empty() && encodings.len() == points.len(), "as many encodings as points");
        // `double_and_compress_batch` shares one inversion but encodes the doubles, and halving a point costs a
        // multiplication, far more than it saves.
        for (index, (point, encoding)) in points.iter().zip(encodings).enumerate() {
            *encoding = point.compress().to_bytes();
            if *encoding == [0; LENGTH] {
                return Err(IdentityError { index });
            }
        }
        Ok(())
    }

    fn add(left: &mut [RistrettoPoint], right: &[RistrettoPoint]) {
        assert_eq!(left.len(), right.len(), "as many right points as left");
        for (left, right) in left.iter_mut().zip(right) {
            *left += right;
        }
    }

    fn sub(left: &mut [RistrettoPoint], right: &[RistrettoPoint]) {
        assert_eq!(left.len(), right.len(), "as many right points as left");
        for (left, right) in left.iter_mut().zip(right) {
            *left -= right;
        }
    }

    fn add_point(points: &mut [RistrettoPoint], addend: &RistrettoPoint) {
        for point in points {
            *point += addend;
        }
    }

    fn negate(points: &mut [RistrettoPoint]) {
        for point in points {
            *point = -*point;
        }
    }

    fn scale(points: &mut [RistrettoPoint], scalar: &Scalar) {
        for point in points {
            *point *= scalar;
        }
    }

    fn scale_each(points: &mut [RistrettoPoint], scalars: &[Scalar]) {
        assert_eq!(points.len(), scalars.len(), "as many scalars as points");
        for (point, scalar) in points.iter_mut().zip(scalars) {
            *point *= scalar;
        }
    }

    fn double_scale(
        left: &mut [RistrettoPoint],
        left_scalar: &Scalar,
        right: &[RistrettoPoint],
        right_scalar: &Scalar,
    ) {
        assert_eq!(left.len(), right.len(), "as many right points as left");
        for (left, right) in left.iter_mut().zip(right) {
            *left = RistrettoPoint::multiscalar_mul([left_scalar, right_scalar], [&*left, right]);
        }
    }

    fn add_fixed_base_multiples(
        points: &mut [RistrettoPoint],
        base: &RistrettoBasepointTable,
        scalars: &[Scalar],
    ) {
        assert_eq!(points.len(), scalars.len(), "as many scalars as points");
        for (point, scalar) in points.iter_mut().zip(scalars) {
            *point += base * scalar;
        }
    }

    /// The one-way map of RFC 9496, section 4.3.4, on the SHA-512 digest of each message. It gives the identity
    /// with probability about 2^−252, less than that of guessing a key, so that case is not looked for.
    fn hash_to_group<M: AsRef<[u8]>>(messages: &[M], out: &mut [RistrettoPoint]) {
        assert_eq!(messages.len(), out.len(), "as many points as messages");
        for (message, point) in messages.iter().zip(out) {
            *point = RistrettoPoint::hash_from_bytes::<Sha512>(message.as_ref());
        }
    }
}

/// Why an encoding that did not decompress is none: it is the little-endian encoding of a field element that is
/// even ("non-negative") and below the modulus, or it is not canonical.
fn refusal(encoding: &[u8; LENGTH]) -> DecodePointReason {
    let reduced = encoding.iter().rev().lt(MODULUS.iter().rev());
    let negative = encoding[0] & 1 == 1;
    if reduced && !negative { DecodePointReason::NotOnCurve } else { DecodePointReason::NotCanonical }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: &str) -> Result<RistrettoPoint, DecodePointReason> {
        let bytes = hex::decode(encoding).expect("a hex literal");
        Ristretto255::decode_one(&bytes).map_err(|error| error.reason)
    }

    #[test]
    fn satisfies_the_group_laws() {
        crate::testing::group_laws::<Ristretto255>(1);
    }

    /// RFC 9496, appendix A.1: the first multiples of the generator.
    #[test]
    fn multiples_of_the_generator() {
        for (multiple, encoding) in [
            (1u64, "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"),
            (2, "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"),
            (3, "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259"),
        ] {
            let mut points = [Ristretto255::generator()];
            Ristretto255::scale(&mut points, &Scalar::from(multiple));
            let bytes = Ristretto255::encode_one(&points[0]).expect("not the identity");
            assert_eq!(hex::encode(bytes), encoding);
            assert_eq!(decode(encoding), Ok(points[0]));
        }
    }

    /// RFC 9496, appendix A.2, one of each kind of bad encoding.
    #[test]
    fn bad_encodings_are_refused() {
        for (encoding, reason) in [
            // Not below the modulus.
            (
                "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                DecodePointReason::NotCanonical,
            ),
            (
                "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                DecodePointReason::NotCanonical,
            ),
            (
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                DecodePointReason::NotCanonical,
            ),
            // Negative.
            (
                "0100000000000000000000000000000000000000000000000000000000000000",
                DecodePointReason::NotCanonical,
            ),
            (
                "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
                DecodePointReason::NotCanonical,
            ),
            // Not a square.
            (
                "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
                DecodePointReason::NotOnCurve,
            ),
            ("0000000000000000000000000000000000000000000000000000000000000000", DecodePointReason::Identity),
            ("00", DecodePointReason::Length(1)),
        ] {
            assert_eq!(decode(encoding), Err(reason), "{encoding}");
        }
    }

    #[test]
    fn an_error_names_the_point() {
        let mut bytes =
            Ristretto255::encode_one(&Ristretto255::generator()).expect("not the identity").repeat(4);
        bytes[2 * LENGTH..3 * LENGTH].fill(0);
        let mut out = [Ristretto255::identity(); 4];
        let error = DecodePointError { index: 2, reason: DecodePointReason::Identity };
        assert_eq!(Ristretto255::decode(&bytes, &mut out), Err(error));

        out[1] = Ristretto255::identity();
        out[0] = Ristretto255::generator();
        assert_eq!(Ristretto255::encode(&out, &mut bytes), Err(IdentityError { index: 1 }));
    }

    /// RFC 9496, appendix A.3 hashes with SHA-512 too.
    #[test]
    fn the_hash_is_that_of_the_rfc() {
        let message = b"Ristretto is traditionally a short shot of espresso coffee";
        let bytes = Ristretto255::encode_one(&Ristretto255::hash_one(message)).expect("not the identity");
        assert_eq!(hex::encode(bytes), "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46");
    }

    #[test]
    fn scalars_are_big_endian_without_leading_zeros() {
        let bytes = [0, 0, 1, 2];
        let scalar = Ristretto255::scalar_from_bytes(&bytes).expect("in range");
        assert_eq!(scalar, Scalar::from(0x0102u64));
        assert_eq!(Ristretto255::scalar_to_bytes(&scalar).expose(), &[1, 2]);
        assert!(Ristretto255::scalar_to_bytes(&Scalar::ZERO).expose().is_empty());

        let long = [[0; 40].as_slice(), &bytes].concat();
        assert_eq!(Ristretto255::scalar_from_bytes(&long), Ok(scalar));
        let order = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";
        for refused in ["", "00", order, &format!("01{}", "00".repeat(32))] {
            let bytes = hex::decode(refused).expect("a hex literal");
            assert_eq!(Ristretto255::scalar_from_bytes(&bytes), Err(ScalarError), "{refused}");
        }
    }
}
