//! The arithmetic below [`P256`](crate::P256): which implementation does it, and the types they share.
//!
//! A backend works on whole slices. Points and field elements have one form in memory for all of them, so that
//! a backend may convert on its way in and out and leave rare operations to another. The suite asks [`Backend`],
//! whose methods each choose once per call.

use p256::Scalar;
use subtle::Choice;

pub(crate) use self::portable::field::FieldElement;
pub use self::portable::fixed_base::FixedBase;
pub use self::portable::point::Point;

mod portable;

/// An implementation of the batch operations. See [`Group`](crate::Group) for what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Plain Rust, for any processor.
    Portable,
}

impl Backend {
    /// The backend for this processor.
    pub(crate) const fn active() -> Self {
        Self::Portable
    }

    pub(crate) fn add(self, left: &mut [Point], right: impl Fn(usize) -> Point) {
        match self {
            Self::Portable => portable::add(left, right),
        }
    }

    pub(crate) fn scale(self, points: &mut [Point], scalar: &Scalar) {
        match self {
            Self::Portable => portable::scale(points, scalar),
        }
    }

    pub(crate) fn scale_each(self, points: &mut [Point], scalars: &[Scalar]) {
        match self {
            Self::Portable => portable::scale_each(points, scalars),
        }
    }

    pub(crate) fn double_scale(
        self,
        left: &mut [Point],
        left_scalar: &Scalar,
        right: &[Point],
        right_scalar: &Scalar,
    ) {
        match self {
            Self::Portable => portable::double_scale(left, left_scalar, right, right_scalar),
        }
    }

    pub(crate) fn add_fixed_base_multiples(self, points: &mut [Point], base: &FixedBase, scalars: &[Scalar]) {
        match self {
            Self::Portable => portable::add_fixed_base_multiples(points, base, scalars),
        }
    }

    /// For each pair of an `x` and whether `y` is odd, which are public: the point, if there is one.
    pub(crate) fn decompress(self, candidates: &[(FieldElement, Choice)], out: &mut [Option<Point>]) {
        match self {
            Self::Portable => portable::decompress(candidates, out),
        }
    }
}
