//! [`Denominators`]: the inverses of a batch for the price of one inversion and three multiplications each.
//!
//! This is Montgomery's trick: the product of all denominators is inverted, and walking back through the
//! products that led there gives each inverse. Every lane of a vector has a product of its own; those few are
//! brought together in the same way before the inversion. Points must not be able to spoil each other, so a zero that
//! [`push`](Denominators::push) meets is replaced by one on its way in. By
//! [`push_nonzero`](Denominators::push_nonzero) only those come that are proven not to be zero.

use zeroize::Zeroize;

use super::field::FieldElement;
use super::vector::Vector;

/// The products by which the denominators of a batch are inverted together.
///
/// A round is: [`push`](Self::push) for every vector, [`invert`](Self::invert), then [`pop`](Self::pop) of the same
/// denominators for every vector in the opposite order. While vectors are popped, the denominators of the next round may
/// be pushed into their places.
pub(super) struct Denominators<V: Vector> {
    /// For each vector the product of the denominators pushed before it.
    products: Vec<V>,
    /// For each vector where its denominators are zero.
    zeros: Vec<V::Mask>,
    /// The product of all denominators pushed in this round.
    product: V,
    /// The inverse of the product of those denominators of the last round that were not popped yet, times the
    /// round's factor.
    inverse: V,
}

impl<V: Vector> Denominators<V> {
    /// Room for `count` vectors.
    #[inline(always)]
    pub(super) fn new(count: usize) -> Self {
        let one = V::one();
        let zeros = vec![V::Mask::default(); count];
        Self { products: vec![one; count], zeros, product: one, inverse: one }
    }

    /// Enters denominators, one in the place of zero. The product before is not zero, so the product after is where
    /// the denominator is, and where only.
    #[inline(always)]
    pub(super) fn push(&mut self, index: usize, denominators: &V::Loose) {
        let product = self.product.mul_loose(denominators);
        let is_zero = product.is_zero();
        self.zeros[index] = is_zero;
        self.product.copy_to(&mut self.products[index]);
        self.product = V::select(is_zero, &self.product, &product);
    }

    /// The inverses of the vector's denominators, which are those that were pushed, times the factor of the round.
    #[inline(always)]
    pub(super) fn pop(&mut self, index: usize, denominators: &V::Loose) -> V {
        let inverse = self.inverse.mul(&self.products[index]);
        let rest = self.inverse.mul_loose(denominators);
        self.inverse = V::select(self.zeros[index], &self.inverse, &rest);
        inverse
    }

    /// Enters denominators that the caller has proven not to be zero. A zero makes all inverses of its lane wrong.
    #[inline(always)]
    pub(super) fn push_nonzero(&mut self, index: usize, denominators: &V::Loose) {
        self.product.copy_to(&mut self.products[index]);
        self.product.mul_assign(denominators);
    }

    /// As [`pop`](Self::pop), for denominators that came by [`push_nonzero`](Self::push_nonzero).
    #[inline(always)]
    pub(super) fn pop_nonzero(&mut self, index: usize, denominators: &V::Loose) -> V {
        let inverse = self.inverse.mul(&self.products[index]);
        self.inverse.mul_assign(denominators);
        inverse
    }

    /// Ends a round of pushes. Should a proof have failed, the lanes without a zero are right all the same. Each inverse will come multiplied by `factor`, which this way costs one
    /// multiplication for all of them.
    #[inline(always)]
    pub(super) fn invert(&mut self, factor: &FieldElement) {
        let mut elements = self.product.elements();
        for element in &mut elements[..V::LANES] {
            let zero = element.is_zero();
            debug_assert!(!bool::from(zero.choice()), "a denominator is zero that was proven not to be");
            *element = FieldElement::select(zero, &FieldElement::ONE, element);
        }
        invert_all(&mut elements[..V::LANES], factor);
        self.inverse = V::load(&elements[..V::LANES]);
        elements.zeroize();
        self.product = V::one();
    }
}

/// `elements[i] = factor/elements[i]`, for elements of which none is zero.
#[inline(never)]
fn invert_all(elements: &mut [FieldElement], factor: &FieldElement) {
    let mut product = FieldElement::ONE;
    // In place of each element the product of those before it, its own value kept aside.
    let mut values = [FieldElement::ONE; super::vector::MAX_LANES];
    for (element, value) in elements.iter_mut().zip(&mut values) {
        *value = *element;
        *element = product;
        product = product.mul(value);
    }
    let mut inverse = product.invert().mul(factor);
    for (element, value) in elements.iter_mut().zip(&values).rev() {
        *element = element.mul(&inverse);
        inverse = inverse.mul(value);
    }
    values.zeroize();
    product.zeroize();
    inverse.zeroize();
}

impl<V: Vector> Drop for Denominators<V> {
    fn drop(&mut self) {
        self.products.zeroize();
        self.zeros.zeroize();
        self.product.zeroize();
        self.inverse.zeroize();
    }
}
