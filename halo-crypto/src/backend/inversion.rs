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

/// The order in which vectors are pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

impl Order {
    pub(super) const fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// A factor of the products, in either form.
pub(super) trait Denominator<V> {
    /// `*out = product·self`
    fn multiply(&self, product: &V, out: &mut V);

    /// `product = product·self`
    fn multiply_assign(&self, product: &mut V);
}

/// A vector as denominators.
pub(super) struct Reduced<'a, V: Vector>(pub(super) &'a V);

impl<V: Vector> Denominator<V> for Reduced<'_, V> {
    #[inline(always)]
    fn multiply(&self, product: &V, out: &mut V) {
        product.mul_to(self.0, out);
    }

    #[inline(always)]
    fn multiply_assign(&self, product: &mut V) {
        product.mul_assign(self.0);
    }
}

/// Sums or differences as denominators.
pub(super) struct Loose<'a, V: Vector>(pub(super) &'a V::Loose);

impl<V: Vector> Denominator<V> for Loose<'_, V> {
    #[inline(always)]
    fn multiply(&self, product: &V, out: &mut V) {
        product.mul_loose_to(self.0, out);
    }

    #[inline(always)]
    fn multiply_assign(&self, product: &mut V) {
        product.mul_loose_assign(self.0);
    }
}

/// The products by which the denominators of a batch are inverted together.
///
/// A round is: [`push`](Self::push) for every vector, [`invert`](Self::invert), then [`pop`](Self::pop) of the same
/// denominators for every vector in the opposite order. While vectors are popped, the denominators of the next round may
/// be pushed into their places, in that order.
pub(super) struct Denominators<V: Vector> {
    /// The products of the denominators pushed so far: those of vectors 0 to `i - 1` at `i` if they come in ascending
    /// order, those of vectors from `i` on if they come in descending order.
    products: Vec<V>,
    /// For each vector where its denominators are zero.
    zeros: Vec<V::Mask>,
    /// The inverse of the product of those denominators of the last round that were not popped yet, times the
    /// round's factor.
    inverse: V,
}

impl<V: Vector> Denominators<V> {
    /// Room for `count` vectors.
    #[inline(always)]
    pub(super) fn new(count: usize) -> Self {
        let one = V::one();
        Self { products: vec![one; count + 1], zeros: vec![V::Mask::default(); count], inverse: one }
    }

    /// Begins a round of pushes from vector 0 on.
    #[inline(always)]
    pub(super) fn start(&mut self) {
        self.products[0] = V::one();
    }

    /// The product before the vector is pushed, and where the one after it goes.
    #[inline(always)]
    fn before_and_after(&mut self, index: usize, order: Order) -> (&mut V, &mut V) {
        let (lower, upper) = self.products.split_at_mut(index + 1);
        match order {
            Order::Ascending => (&mut lower[index], &mut upper[0]),
            Order::Descending => (&mut upper[0], &mut lower[index]),
        }
    }

    /// Enters denominators in ascending order, one in the place of zero. The product before is not zero, so the product
    /// after is where the denominator is, and where only.
    #[inline(always)]
    pub(super) fn push(&mut self, index: usize, denominators: &V::Loose) {
        let (before, after) = self.before_and_after(index, Order::Ascending);
        let product = before.mul_loose(denominators);
        let is_zero = product.is_zero();
        V::select(is_zero, before, &product).copy_to(after);
        self.zeros[index] = is_zero;
    }

    /// `*out =` the inverses of the vector's denominators, which are those that were pushed, times the factor of the round.
    #[inline(always)]
    pub(super) fn pop(&mut self, index: usize, denominators: &V::Loose, out: &mut V) {
        self.inverse.mul_to(&self.products[index], out);
        let rest = self.inverse.mul_loose(denominators);
        V::select(self.zeros[index], &self.inverse, &rest).copy_to(&mut self.inverse);
    }

    /// Enters denominators that the caller has proven not to be zero. A zero makes all inverses of its lane wrong.
    #[inline(always)]
    pub(super) fn push_nonzero(&mut self, index: usize, order: Order, denominators: &impl Denominator<V>) {
        let (before, after) = self.before_and_after(index, order);
        denominators.multiply(before, after);
    }

    /// As [`pop`](Self::pop), for denominators that came by [`push_nonzero`](Self::push_nonzero) in the order.
    #[inline(always)]
    pub(super) fn pop_nonzero(
        &mut self,
        index: usize,
        order: Order,
        denominators: &impl Denominator<V>,
        out: &mut V,
    ) {
        let before = if order == Order::Ascending { index } else { index + 1 };
        self.inverse.mul_to(&self.products[before], out);
        denominators.multiply_assign(&mut self.inverse);
    }

    /// Ends a round of `count` pushes in the order, and begins one in the opposite order. Should a proof have failed, the
    /// lanes without a zero are right all the same. Each inverse will come multiplied by `factor`, which this way costs one
    /// multiplication for all of them.
    #[inline(always)]
    pub(super) fn invert(&mut self, count: usize, order: Order, factor: &FieldElement) {
        let last = if order == Order::Ascending { count } else { 0 };
        let mut elements = self.products[last].elements();
        for element in &mut elements[..V::LANES] {
            let zero = element.is_zero();
            if cfg!(test) {
                assert!(!bool::from(zero.choice()), "a denominator is zero that was proven not to be");
            }
            *element = FieldElement::select(zero, &FieldElement::ONE, element);
        }
        invert_all(&mut elements[..V::LANES], factor);
        self.inverse = V::load(&elements[..V::LANES]);
        elements.zeroize();
        self.products[last] = V::one();
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
        self.inverse.zeroize();
    }
}
