//! [`Vector`]: what a backend has to bring, a vector of field elements worked on in step.
//!
//! The algorithms on batches are written once over this trait ([`batch`](super::batch),
//! [`multiplication`](super::multiplication), [`fixed_base`](super::fixed_base), [`roots`](super::roots)). A vector
//! has [`Vector::LANES`] elements: one in plain Rust, four with AVX2, eight with AVX-512 IFMA. Its form is the backend's own. Points between
//! calls are flat [`Point`]s; [`Vector::load`] and [`Vector::store`] convert, once per batch each way.
//!
//! # Bounds
//! A form with spare bits need not be reduced after every addition. Two types keep its bounds: a `Vector` is what a
//! product is and what memory holds, while the result of an addition or subtraction is [`Vector::Loose`] and good
//! for one thing only: as one factor of a product, or to be carried. So a sum of sums does not type-check, and each
//! implementation proves its bounds for the few signatures below rather than for the formulas made of them.
//!
//! # Features of the processor
//! Code of an instruction set must be inlined into a function that enables it, or every vector goes through memory.
//! A backend's entry points enable it (`#[target_feature]`), and everything generic between them and the trait's
//! methods is `#[inline(always)]`, closures excluded, which cannot be. Calls are the long products, and each sweep over
//! a batch, by [`Vector::perform`].
//!
//! # Constant time
//! Every method takes the same time for all values, in every lane.

use core::ops::{BitAnd, BitOr, BitXor, Not};

use zeroize::{DefaultIsZeroes, Zeroizing};

use super::field::FieldElement;
use super::mask::Mask;
use super::point::Point;

/// The largest [`Vector::LANES`].
pub(super) const MAX_LANES: usize = 8;

/// Work on vectors that is large enough to be a call.
pub(crate) trait Task {
    /// Does it. To be inlined.
    fn run(self);
}

/// [`Vector::LANES`] elements of the field. The default is zero in every lane.
pub(super) trait Vector: DefaultIsZeroes {
    /// Elements of a vector, a divisor of [`MAX_LANES`].
    const LANES: usize;
    /// Bits of a window of a fixed base's multiplication, chosen by measurement.
    const FIXED_BASE_WINDOW: usize;

    /// A condition for each lane.
    type Mask: DefaultIsZeroes
        + BitAnd<Output = Self::Mask>
        + BitOr<Output = Self::Mask>
        + BitXor<Output = Self::Mask>
        + Not<Output = Self::Mask>;
    /// Sums and differences, which may exceed the bounds of `Self`.
    type Loose: DefaultIsZeroes;
    /// Points of which every lane may choose its own.
    type Table: Send + Sync;
    /// A point in each lane, in as few words as scanning a table of them can do with.
    type Packed: DefaultIsZeroes + Send + Sync;

    /// Reads up to [`Vector::LANES`] elements; lanes without one are zero.
    fn load(elements: &[FieldElement]) -> Self;

    /// Writes as many lanes, from the first, as there is room for.
    fn store(&self, elements: &mut [FieldElement]);

    /// One in every lane.
    fn one() -> Self;

    /// Conditions, one for each lane.
    fn mask(conditions: &[Mask; MAX_LANES]) -> Self::Mask;

    /// The condition in every lane.
    fn splat_mask(condition: Mask) -> Self::Mask;

    /// The same elements.
    fn loose(&self) -> Self::Loose;

    /// The same elements.
    fn carry(loose: &Self::Loose) -> Self;

    /// `self + other`
    fn add(&self, other: &Self) -> Self::Loose;

    /// `self - other`
    fn sub(&self, other: &Self) -> Self::Loose;

    /// `self - first - second`
    fn sub_two(&self, first: &Self, second: &Self) -> Self;

    /// `self - other`, or `-self - other` where the condition holds.
    fn sub_from_signed(&self, negative: Self::Mask, other: &Self) -> Self::Loose;

    /// `*out = self·other`
    ///
    /// Written in place, as all long results are, for an assignment of so many bytes is a call of `memcpy`.
    fn mul_to(&self, other: &Self, out: &mut Self);

    /// `*out = self·other`
    fn mul_loose_to(&self, other: &Self::Loose, out: &mut Self);

    /// `self = self·other`
    fn mul_assign(&mut self, other: &Self);

    /// `self = self·other`
    fn mul_loose_assign(&mut self, other: &Self::Loose);

    /// `*out = self²`
    fn square_to(&self, out: &mut Self);

    /// `self = self²`
    fn square_assign(&mut self);

    /// `*out = *self` as moves between registers and memory.
    fn copy_to(&self, out: &mut Self);

    /// Where the element is zero.
    fn is_zero(&self) -> Self::Mask;

    /// Where the number below the modulus that the element stands for is odd.
    fn is_odd(&self) -> Self::Mask;

    /// The element where the condition holds, else zero.
    fn keep(&self, condition: Self::Mask) -> Self;

    /// Bitwise or: with [`Vector::keep`] under exclusive conditions, one of several elements.
    fn or(&self, other: &Self) -> Self;

    /// `if_true` where the condition holds, else `if_false`.
    fn select_loose(condition: Self::Mask, if_true: &Self::Loose, if_false: &Self::Loose) -> Self::Loose;

    /// Makes a table of points, which are public. Their number is a power of two, at least eight.
    fn table(points: &[Point]) -> Self::Table;

    /// Sets the points of `out` to those with the indices: that of lane `j` of vector `i` is
    /// `indices[LANES·i + j]`. Every address read is the same for all indices. The signs are left alone.
    fn look_up(table: &Self::Table, indices: &[u8], out: &mut [Signed<Self>]);

    /// Where the bit at the position, which is public and below 64, is set in the lane's word. There are as many words as
    /// lanes.
    fn bit(words: &[u64], position: usize) -> Self::Mask;

    /// Packs points.
    fn pack(point: &Affine<Self>) -> Self::Packed;

    /// Sets `out`, in each lane, to the entry whose number has these bits, the lowest first. All entries are read. In place,
    /// for an assignment of a point is a call of `memcpy`.
    fn choose<const ENTRIES: usize>(
        entries: &[Self::Packed; ENTRIES],
        bits: &[Self::Mask],
        out: &mut Affine<Self>,
    );

    /// Runs a task in a function of its own that enables what the vector's instructions need.
    fn perform(task: impl Task);

    /// `self·other`
    #[inline(always)]
    fn mul(&self, other: &Self) -> Self {
        let mut product = Self::default();
        self.mul_to(other, &mut product);
        product
    }

    /// `self·other`
    #[inline(always)]
    fn mul_loose(&self, other: &Self::Loose) -> Self {
        let mut product = Self::default();
        self.mul_loose_to(other, &mut product);
        product
    }

    /// `self²`
    #[inline(always)]
    fn square(&self) -> Self {
        let mut square = Self::default();
        self.square_to(&mut square);
        square
    }

    /// The element in every lane.
    #[inline(always)]
    fn splat(element: &FieldElement) -> Self {
        Self::load(&[*element; MAX_LANES][..Self::LANES])
    }

    /// `if_true` where the condition holds, else `if_false`.
    #[inline(always)]
    fn select(condition: Self::Mask, if_true: &Self, if_false: &Self) -> Self {
        if_true.keep(condition).or(&if_false.keep(!condition))
    }

    /// The element, or its negative where the condition holds.
    #[inline(always)]
    fn negate_if(&self, condition: Self::Mask) -> Self {
        Self::select(condition, &Self::carry(&Self::default().sub(self)), self)
    }

    /// The lanes one by one.
    #[inline(always)]
    fn elements(&self) -> [FieldElement; MAX_LANES] {
        let mut elements = [FieldElement::ZERO; MAX_LANES];
        self.store(&mut elements[..Self::LANES]);
        elements
    }
}

/// [`Vector::LANES`] points, affine; the identity is (0, 0). See [`Point`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Affine<V> {
    pub(super) x: V,
    pub(super) y: V,
}

impl<V: Vector> DefaultIsZeroes for Affine<V> {}

impl<V: Vector> Affine<V> {
    #[inline(always)]
    pub(super) fn is_identity(&self) -> V::Mask {
        self.y.is_zero()
    }

    /// The point where the condition holds, else the identity.
    #[inline(always)]
    pub(super) fn keep(&self, condition: V::Mask) -> Self {
        Self { x: self.x.keep(condition), y: self.y.keep(condition) }
    }

    /// One of several points, all but one of which were cleared by [`Affine::keep`].
    #[inline(always)]
    pub(super) fn or(&self, other: &Self) -> Self {
        Self { x: self.x.or(&other.x), y: self.y.or(&other.y) }
    }

    /// The point, or its negative where the condition holds.
    #[inline(always)]
    pub(super) fn negate_if(&self, condition: V::Mask) -> Self {
        Self { x: self.x, y: self.y.negate_if(condition) }
    }

    /// Reads up to [`Vector::LANES`] points; lanes without one are the identity.
    #[inline(always)]
    pub(super) fn load(points: &[Point]) -> Self {
        let (mut x, mut y) = ([FieldElement::ZERO; MAX_LANES], [FieldElement::ZERO; MAX_LANES]);
        for ((point, x), y) in points.iter().zip(&mut x).zip(&mut y) {
            (*x, *y) = (point.x, point.y);
        }
        Self { x: V::load(&x[..V::LANES]), y: V::load(&y[..V::LANES]) }
    }

    /// Writes as many points, from the first lane, as there is room for.
    #[inline(always)]
    pub(super) fn store(&self, points: &mut [Point]) {
        let (x, y) = (self.x.elements(), self.y.elements());
        for ((point, x), y) in points.iter_mut().zip(&x).zip(&y) {
            *point = Point { x: *x, y: *y };
        }
    }
}

/// A point, or its negative.
#[derive(Clone, Copy, Default)]
pub(super) struct Signed<V: Vector> {
    pub(super) point: Affine<V>,
    pub(super) negative: V::Mask,
}

impl<V: Vector> DefaultIsZeroes for Signed<V> {}

impl<V: Vector> Signed<V> {
    /// The point with its sign.
    #[inline(always)]
    pub(super) fn affine(&self) -> Affine<V> {
        self.point.negate_if(self.negative)
    }
}

impl<V: Vector> From<Affine<V>> for Signed<V> {
    #[inline(always)]
    fn from(point: Affine<V>) -> Self {
        Self { point, negative: V::Mask::default() }
    }
}

/// Puts the generator in the place of identities, and tells where they were.
#[inline(always)]
pub(super) fn replace_identities<V: Vector>(points: &mut [Affine<V>]) -> Zeroizing<Vec<V::Mask>> {
    let generator = Affine::<V>::load(&[Point::GENERATOR; MAX_LANES][..V::LANES]);
    let mut identities = Zeroizing::new(vec![V::Mask::default(); points.len()]);
    for (point, identity) in points.iter_mut().zip(identities.iter_mut()) {
        *identity = point.is_identity();
        *point = generator.keep(*identity).or(&point.keep(!*identity));
    }
    identities
}

/// A copy of a batch in the backend's form, wiped when dropped.
pub(super) type Lanes<V> = Zeroizing<Vec<Affine<V>>>;

/// Reads a batch.
#[inline(always)]
pub(super) fn load<V: Vector>(points: &[Point]) -> Lanes<V> {
    let mut lanes = Zeroizing::new(Vec::with_capacity(points.len().div_ceil(V::LANES)));
    for points in points.chunks(V::LANES) {
        lanes.push(Affine::load(points));
    }
    lanes
}

/// Writes a batch.
#[inline(always)]
pub(super) fn store<V: Vector>(lanes: &[Affine<V>], points: &mut [Point]) {
    for (lanes, points) in lanes.iter().zip(points.chunks_mut(V::LANES)) {
        lanes.store(points);
    }
}
