//! [`Point`]: a point of the curve `y² = x³ - 3x + b`, affine and flat.

use subtle::{Choice, ConstantTimeEq};
use zeroize::DefaultIsZeroes;

use super::field::FieldElement;
use super::mask::Mask;

/// The coefficient `b` of the curve.
pub(super) const B: FieldElement = FieldElement::from_words([
    0x3bce_3c3e_27d2_604b,
    0x651d_06b0_cc53_b0f6,
    0xb3eb_bd55_7698_86bc,
    0x5ac6_35d8_aa3a_93e7,
]);

/// The coefficient of `-x`.
pub(super) const THREE: FieldElement = FieldElement::from_words([3, 0, 0, 0]);

/// A point of P-256, affine; the identity is (0, 0).
///
/// Invariant: on the curve or the identity. No point has `y = 0`, for that would be a point of order two and the
/// order is an odd prime: so `y` alone tells the identity, and `2y` is never zero for another point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Point {
    pub(super) x: FieldElement,
    pub(super) y: FieldElement,
}

impl DefaultIsZeroes for Point {}

/// `x³ - 3x + b`, which is `y²` if `x` belongs to a point.
fn curve_equation(x: &FieldElement) -> FieldElement {
    x.square().sub(&THREE).mul(x).add(&B)
}

impl Point {
    pub(crate) const IDENTITY: Self = Self { x: FieldElement::ZERO, y: FieldElement::ZERO };
    pub(crate) const GENERATOR: Self = Self {
        x: FieldElement::from_words([
            0xf4a1_3945_d898_c296,
            0x7703_7d81_2deb_33a0,
            0xf8bc_e6e5_63a4_40f2,
            0x6b17_d1f2_e12c_4247,
        ]),
        y: FieldElement::from_words([
            0xcbb6_4068_37bf_51f5,
            0x2bce_3357_6b31_5ece,
            0x8ee7_eb4a_7c0f_9e16,
            0x4fe3_42e2_fe1a_7f9b,
        ]),
    };

    /// The point with these coordinates, if there is one. They are public.
    pub(crate) fn from_coordinates(x: FieldElement, y: FieldElement) -> Option<Self> {
        bool::from(y.square().ct_eq(&curve_equation(&x))).then_some(Self { x, y })
    }

    pub(crate) fn x(&self) -> FieldElement {
        self.x
    }

    pub(crate) fn y(&self) -> FieldElement {
        self.y
    }

    #[inline(always)]
    pub(crate) fn is_identity(&self) -> Mask {
        self.y.is_zero()
    }

    #[inline(always)]
    pub(crate) fn negate(&self) -> Self {
        Self { x: self.x, y: self.y.negate() }
    }
}

impl ConstantTimeEq for Point {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.x.ct_eq(&other.x) & self.y.ct_eq(&other.y)
    }
}
