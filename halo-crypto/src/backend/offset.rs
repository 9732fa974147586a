//! [`Offset`]: where a sum of products starts, so that no peer can make it meet its addends.
//!
//! A sum `a·P + b·Q` that starts at the identity can meet its own addends on the way, or the identity again, if one base
//! is a small multiple of the other; a peer may have chosen them so. Sums that start at a point `S` and lose its share
//! again at the end do so only if `S` is one of a few combinations of `P` and `Q`. The discrete logarithm of `S` is the
//! digest of all that goes in, the secret scalars and the points. Over a random one, a sum of [`DOUBLINGS`] doublings
//! and two additions a window meets an exceptional case with a probability of less than `2^-246`; finding points with
//! another outcome takes as many trials, even if the scalars were known.

use elliptic_curve::PrimeField;
use elliptic_curve::ops::Reduce;
use p256::{FieldBytes, Scalar};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

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
            digest.update(*Zeroizing::new(<[u8; 32]>::from(scalar.to_repr())));
        }
        // The coordinate tells a point from all but its negative, which only doubles the trials of a peer.
        for point in left.iter().chain(right) {
            for word in point.x.montgomery_words() {
                digest.update(word.to_le_bytes());
            }
        }
        let start = Zeroizing::new(<Scalar as Reduce<FieldBytes>>::reduce(&digest.finalize()));
        let shifted = (0..doublings).fold(start.clone(), |shifted, _| Zeroizing::new(shifted.double()));
        let mut points = [Point::IDENTITY; 2];
        super::add_fixed_base_multiples(&mut points, generator, &Zeroizing::new([*start, -*shifted])[..]);
        let [start, correction] = points;
        Self { start, correction }
    }
}
