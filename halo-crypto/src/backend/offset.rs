//! [`Offset`]: where a sum of products starts, so that no peer can make it meet its addends.
//!
//! A sum `a·P + b·Q` that starts at the identity can meet its own addends on the way, or the identity again, if one base
//! is a small multiple of the other; a peer may have chosen them so. Sums that start at a point `S` and lose its share
//! again at the end do so only if `S` is one of a few combinations of `P` and `Q`. The discrete logarithm of `S` is the
//! digest of all that goes in, the secret scalars and the points. Over a random one, the sum of a
//! pair, of 252 doublings and two additions for each four of them, meets an exceptional case with a probability of less than
//! `2^-246`. Finding a batch of `N` pairs in which one does takes `2^246/N` trials, even if the scalars were known.

use elliptic_curve::PrimeField;
use elliptic_curve::ops::Reduce;
use p256::{FieldBytes, Scalar};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::fixed_base::FixedBase;
use super::point::Point;

/// A point to start at, and what to add in the end.
pub(super) struct Offset {
    /// `S`
    pub(super) start: Point,
    /// `-2^doublings·S`
    pub(super) correction: Point,
}

impl Offset {
    /// For a sum of `left_scalar·left[i] + right_scalar·right[i]` that is doubled `doublings` times on its way.
    pub(super) fn new(
        generator: &FixedBase,
        (left, left_scalar): (&[Point], &Scalar),
        (right, right_scalar): (&[Point], &Scalar),
        doublings: usize,
    ) -> Self {
        let mut digest = Sha256::new_with_prefix(b"halo-crypto: start of a sum of two products");
        for scalar in [left_scalar, right_scalar] {
            digest.update(&Zeroizing::new(<[u8; 32]>::from(scalar.to_repr()))[..]);
        }
        for point in left.iter().chain(right) {
            for word in point.x.montgomery_words() {
                digest.update(word.to_le_bytes());
            }
            // A coordinate and its negative add up to an odd number, so the lowest word tells them apart.
            digest.update(point.y.montgomery_words()[0].to_le_bytes());
        }
        let digest = Zeroizing::new(<[u8; 32]>::from(digest.finalize()));
        let start = Zeroizing::new(<Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*digest)));
        let shifted = (0..doublings).fold(start.clone(), |shifted, _| Zeroizing::new(shifted.double()));
        let mut points = [Point::IDENTITY; 2];
        super::add_fixed_base_multiples(&mut points, generator, &Zeroizing::new([*start, -*shifted])[..]);
        let [start, correction] = points;
        points.zeroize();
        Self { start, correction }
    }
}

impl Drop for Offset {
    fn drop(&mut self) {
        self.start.zeroize();
        self.correction.zeroize();
    }
}
