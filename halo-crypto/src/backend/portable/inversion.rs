//! [`Denominators`]: the inverses of a batch for the price of one inversion and three multiplications each.
//!
//! This is Montgomery's trick: the product of all denominators is inverted, and walking back through the
//! products that led there gives each inverse. Lanes must not be able to spoil each other, so a zero is replaced by
//! one on its way in.

use zeroize::Zeroize;

use super::field::FieldElement;
use super::mask::Mask;

/// The denominators of a batch, and the products by which they are inverted together.
///
/// A round is: [`push`](Self::push) for every lane, [`invert`](Self::invert), then [`pop`](Self::pop) for every lane
/// in the opposite order. While lanes are popped, the denominators of the next round may be pushed into them.
pub(super) struct Denominators {
    /// For each lane its denominator, not zero, and the product of those pushed before it.
    lanes: Vec<(FieldElement, FieldElement)>,
    /// The product of all denominators pushed in this round.
    product: FieldElement,
    /// The inverse of the product of those denominators of the last round that were not popped yet, times the
    /// round's factor.
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

    /// Ends a round of pushes. Each inverse will come multiplied by `factor`, which this way costs one
    /// multiplication for all of them.
    pub(super) fn invert(&mut self, factor: &FieldElement) {
        self.inverse = self.product.invert().mul(factor);
        self.product = FieldElement::ONE;
    }

    /// The inverse of the lane's denominator, times the factor of the round.
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
