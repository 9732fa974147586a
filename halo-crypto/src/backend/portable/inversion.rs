//! Inversion: of one element, and of a whole batch for the price of one inversion and three multiplications each.
//!
//! The batch is Montgomery's trick: the product of all denominators is inverted, and walking back through the
//! products that led there gives each inverse. Lanes must not be able to spoil each other, so a zero is replaced by
//! one on its way in.

use zeroize::Zeroize;

use super::field::FieldElement;
use super::mask::Mask;

impl FieldElement {
    /// `1/self`; zero for zero.
    pub(super) fn invert(&self) -> Self {
        // p - 2 = ((2^32 - 1)·2^32 + 1)·2^192 + (2^94 - 1)·2^2 + 1, by Fermat.
        let square = |base: &Self, count: usize| (0..count).fold(*base, |power, _| power.square());
        let ones_2 = square(self, 1).mul(self);
        let ones_4 = square(&ones_2, 2).mul(&ones_2);
        let ones_8 = square(&ones_4, 4).mul(&ones_4);
        let ones_16 = square(&ones_8, 8).mul(&ones_8);
        let ones_32 = square(&ones_16, 16).mul(&ones_16);
        let power = square(&ones_32, 32).mul(self);
        let power = square(&power, 128).mul(&ones_32);
        let power = square(&power, 32).mul(&ones_32);
        let power = square(&power, 16).mul(&ones_16);
        let power = square(&power, 8).mul(&ones_8);
        let power = square(&power, 4).mul(&ones_4);
        let power = square(&power, 2).mul(&ones_2);
        square(&power, 2).mul(self)
    }
}

/// The denominators of a batch, and the products by which they are inverted together.
///
/// A round is: [`push`](Self::push) for every lane, [`invert`](Self::invert), then [`pop`](Self::pop) for every lane
/// in the opposite order. While lanes are popped, the denominators of the next round may be pushed into them.
pub(super) struct Denominators {
    /// For each lane its denominator, not zero, and the product of those pushed before it.
    lanes: Vec<(FieldElement, FieldElement)>,
    /// The product of all denominators pushed in this round.
    product: FieldElement,
    /// The inverse of the product of those denominators of the last round that were not popped yet.
    inverse: FieldElement,
}

impl Denominators {
    pub(super) fn new(lanes: usize) -> Self {
        let lane = (FieldElement::ONE, FieldElement::ONE);
        Self { lanes: vec![lane; lanes], product: FieldElement::ONE, inverse: FieldElement::ONE }
    }

    /// Enters a lane's denominator, or one in the place of zero.
    #[inline(always)]
    pub(super) fn push(&mut self, lane: usize, denominator: &FieldElement, is_zero: Mask) {
        let denominator = FieldElement::select(is_zero, &FieldElement::ONE, denominator);
        self.lanes[lane] = (denominator, self.product);
        self.product = self.product.mul(&denominator);
    }

    /// Ends a round of pushes.
    pub(super) fn invert(&mut self) {
        self.inverse = self.product.invert();
        self.product = FieldElement::ONE;
    }

    /// The inverse of the lane's denominator.
    #[inline(always)]
    pub(super) fn pop(&mut self, lane: usize) -> FieldElement {
        let (denominator, product) = &self.lanes[lane];
        let inverse = self.inverse.mul(product);
        self.inverse = self.inverse.mul(denominator);
        inverse
    }
}

impl Drop for Denominators {
    fn drop(&mut self) {
        for (denominator, product) in &mut self.lanes {
            denominator.zeroize();
            product.zeroize();
        }
        self.product.zeroize();
        self.inverse.zeroize();
    }
}
