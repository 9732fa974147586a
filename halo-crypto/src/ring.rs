//! [`RingModulus`]: arithmetic on vectors of integers modulo a public number, where additive shares live.

mod residue;

pub use self::residue::Residue;
use self::residue::sealed::Residue as _;
use crate::backend::{Instructions, Task};

/// A public modulus in `2..=2^30`, the range in which upstream's generator of uniform values is defined.
///
/// Elements are held in any [`Residue`] that is wide enough; what an operation gives in a narrower one means nothing.
///
/// ```
/// use halo_crypto::ring::RingModulus;
///
/// let modulus = RingModulus::new(127)?;
/// let mut sums = [120u8, 3, 0];
/// modulus.add(&mut sums, &[10, 4, 126])?;
/// assert_eq!(sums, [3, 7, 126]);
/// # Ok::<(), halo_crypto::ring::RingError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingModulus {
    modulus: u32,
    /// 2^64 divided by the modulus and rounded down, but less than that if the quotient is an integer.
    reciprocal: u64,
}

impl RingModulus {
    /// The largest modulus.
    pub const MAX: u32 = 1 << 30;

    /// Checks `modulus`.
    ///
    /// # Errors
    /// [`RingError::Modulus`] if it is less than 2 or more than [`RingModulus::MAX`].
    pub const fn new(modulus: u32) -> Result<Self, RingError> {
        if modulus < 2 || modulus > Self::MAX {
            return Err(RingError::Modulus(modulus));
        }
        Ok(Self { modulus, reciprocal: u64::MAX / modulus as u64 })
    }

    /// The modulus itself.
    pub const fn get(self) -> u32 {
        self.modulus
    }

    /// Whether `T` holds the elements.
    pub const fn fits<T: Residue>(self) -> bool {
        self.modulus <= T::LARGEST_MODULUS
    }

    /// Whether the modulus is a prime, so that no product of values other than 0 is 0.
    pub fn is_prime(self) -> bool {
        (2..)
            .take_while(|divisor| divisor * divisor <= self.modulus)
            .all(|divisor| !self.modulus.is_multiple_of(divisor))
    }

    /// `(x + y) mod m` of values below the modulus, in constant time. Of others the result means nothing.
    #[must_use]
    #[inline(always)]
    pub fn sum<T: Residue>(self, x: T, y: T) -> T {
        let modulus = T::narrow(self.modulus);
        x.subtract(y.complement(modulus), modulus)
    }

    /// `(x − y) mod m` of values below the modulus, in constant time. Of others the result means nothing.
    #[must_use]
    #[inline(always)]
    pub fn difference<T: Residue>(self, x: T, y: T) -> T {
        x.subtract(y, T::narrow(self.modulus))
    }

    /// `x · y mod m` of values below the modulus, in constant time. Of others the result means nothing.
    #[must_use]
    #[inline(always)]
    pub fn product<T: Residue>(self, x: T, y: T) -> T {
        const NARROW: u32 = 1 << 16;
        let product = u64::from(x.widen()) * u64::from(y.widen());
        // Barrett's reduction. The reciprocal is too small by at most 1 and the product is below the power of two that
        // it is scaled by, so the quotient is too small by at most 1.
        let quotient = if T::LARGEST_MODULUS <= NARROW {
            (product * (self.reciprocal >> 32)) >> 32
        } else {
            ((u128::from(product) * u128::from(self.reciprocal)) >> 64) as u64
        };
        let remainder = (product - quotient * u64::from(self.modulus)) as u32;
        // Below twice the modulus: it is subtracted, and added back if it was too much.
        T::narrow(remainder.subtract(self.modulus, self.modulus))
    }

    /// Checks that every value is below the modulus. The position of the first that is not may show in the time.
    ///
    /// # Errors
    /// [`RingError::Value`] naming that position, but not the value.
    pub fn check<T: Residue>(self, values: &[T]) -> Result<(), RingError> {
        let outside = |value: &T| value.widen() >= self.modulus;
        // Without a way out, so that it is done many at a time.
        if !values.iter().fold(false, |any, value| any | outside(value)) {
            return Ok(());
        }
        match values.iter().position(outside) {
            Some(index) => Err(RingError::Value { index, modulus: self.modulus }),
            None => Ok(()),
        }
    }

    /// [`RingModulus::sum`] of every value of `left` and the one of `right`, to `left`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sums<T: Residue>(self, left: &mut [T], right: &[T]) {
        combine(left, right, move |x, y| self.sum(x, y));
    }

    /// [`RingModulus::difference`] of every value of `left` and the one of `right`, to `left`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn differences<T: Residue>(self, left: &mut [T], right: &[T]) {
        combine(left, right, move |x, y| self.difference(x, y));
    }

    /// [`RingModulus::product`] of every value of `left` and the one of `right`, to `left`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn products<T: Residue>(self, left: &mut [T], right: &[T]) {
        combine(left, right, move |x, y| self.product(x, y));
    }

    /// `left[i] = (left[i] + right[i]) mod m`, in constant time.
    ///
    /// # Errors
    /// [`RingError`] if the lengths differ or a value is not below the modulus; `left` is then as it was.
    pub fn add<T: Residue>(self, left: &mut [T], right: &[T]) -> Result<(), RingError> {
        self.check_both(left, right)?;
        self.sums(left, right);
        Ok(())
    }

    /// `left[i] = (left[i] − right[i]) mod m`, in constant time.
    ///
    /// # Errors
    /// As [`RingModulus::add`].
    pub fn sub<T: Residue>(self, left: &mut [T], right: &[T]) -> Result<(), RingError> {
        self.check_both(left, right)?;
        self.differences(left, right);
        Ok(())
    }

    /// `left[i] = left[i] · right[i] mod m`, in constant time.
    ///
    /// # Errors
    /// As [`RingModulus::add`].
    pub fn mul<T: Residue>(self, left: &mut [T], right: &[T]) -> Result<(), RingError> {
        self.check_both(left, right)?;
        self.products(left, right);
        Ok(())
    }

    fn check_both<T: Residue>(self, left: &[T], right: &[T]) -> Result<(), RingError> {
        if left.len() != right.len() {
            return Err(RingError::Lengths { left: left.len(), right: right.len() });
        }
        self.check(left)?;
        self.check(right)
    }
}

/// The operation is to have its modulus by value: through a reference, compilers read it anew for every vector.
fn combine<T: Residue>(left: &mut [T], right: &[T], operation: impl Fn(T, T) -> T) {
    assert_eq!(left.len(), right.len(), "as many values on both sides");
    Instructions::active().run(Combination { left, right, operation });
}

struct Combination<'a, T, F> {
    left: &'a mut [T],
    right: &'a [T],
    operation: F,
}

impl<T: Residue, F: Fn(T, T) -> T> Task for Combination<'_, T, F> {
    #[inline(always)]
    fn run(self) {
        for (left, right) in self.left.iter_mut().zip(self.right) {
            *left = (self.operation)(*left, *right);
        }
    }
}

/// Vectors that are not of this ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The modulus is out of range.
    #[error("the modulus {0} is not in 2..={max}", max = RingModulus::MAX)]
    Modulus(u32),
    /// Two vectors that belong together have different lengths.
    #[error("vectors of {left} and {right} values do not go together")]
    Lengths {
        /// Values of the one.
        left: usize,
        /// Values of the other.
        right: usize,
    },
    /// A value is not reduced.
    #[error("value {index} is not below the modulus {modulus}")]
    Value {
        /// Its position, counted from 0.
        index: usize,
        /// The modulus.
        modulus: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vectors(moduli: impl Strategy<Value = u32>) -> impl Strategy<Value = (u32, Vec<(u32, u32)>)> {
        moduli.prop_flat_map(|modulus| {
            let element = || prop_oneof![0..modulus, Just(modulus - 1), Just(0)];
            (Just(modulus), prop::collection::vec((element(), element()), 0..20))
        })
    }

    fn agrees_with_wide_arithmetic<T: Residue + core::fmt::Debug>(
        modulus: u32,
        pairs: &[(u32, u32)],
    ) -> Result<(), TestCaseError> {
        let ring = RingModulus::new(modulus).expect("in range");
        prop_assert!(ring.fits::<T>());
        let (left, right): (Vec<T>, Vec<T>) =
            pairs.iter().map(|(x, y)| (T::narrow(*x), T::narrow(*y))).unzip();
        let (mut sum, mut difference, mut product) = (left.clone(), left.clone(), left.clone());
        prop_assert_eq!(ring.add(&mut sum, &right), Ok(()));
        prop_assert_eq!(ring.sub(&mut difference, &right), Ok(()));
        prop_assert_eq!(ring.mul(&mut product, &right), Ok(()));
        let m = u64::from(modulus);
        for (i, (x, y)) in pairs.iter().map(|(x, y)| (u64::from(*x), u64::from(*y))).enumerate() {
            prop_assert_eq!(u64::from(sum[i].widen()), (x + y) % m);
            prop_assert_eq!(u64::from(difference[i].widen()), (x + m - y) % m);
            prop_assert_eq!(u64::from(product[i].widen()), x * y % m);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn bytes_agree((modulus, pairs) in vectors(2..=u8::LARGEST_MODULUS)) {
            agrees_with_wide_arithmetic::<u8>(modulus, &pairs)?;
        }

        #[test]
        fn half_words_agree((modulus, pairs) in vectors(prop_oneof![2..=u16::LARGEST_MODULUS, Just(1 << 16)])) {
            agrees_with_wide_arithmetic::<u16>(modulus, &pairs)?;
        }

        #[test]
        fn words_agree(
            (modulus, pairs) in vectors(prop_oneof![2..=RingModulus::MAX, 2..20u32, Just(RingModulus::MAX)])
        ) {
            agrees_with_wide_arithmetic::<u32>(modulus, &pairs)?;
        }
    }

    #[test]
    fn all_bytes_of_the_widest_ring_of_bytes_agree() {
        let ring = RingModulus::new(256).expect("in range");
        for x in 0..=255u8 {
            for y in 0..=255u8 {
                assert_eq!(ring.sum(x, y), x.wrapping_add(y));
                assert_eq!(ring.difference(x, y), x.wrapping_sub(y));
                assert_eq!(ring.product(x, y), x.wrapping_mul(y));
            }
        }
    }

    #[test]
    fn primes_are_told_from_others() {
        let ring = |modulus| RingModulus::new(modulus).expect("in range");
        let primes = (2..60).filter(|modulus| ring(*modulus).is_prime());
        assert!(primes.eq([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]));
        assert!(ring((1 << 30) - 35).is_prime());
        assert!(!ring(32_749 * 32_749).is_prime());
    }

    #[test]
    fn what_is_not_of_the_ring_is_refused() {
        for modulus in [0, 1, RingModulus::MAX + 1, u32::MAX] {
            assert_eq!(RingModulus::new(modulus), Err(RingError::Modulus(modulus)));
        }
        let ring = RingModulus::new(127).expect("in range");
        let mut left = [1u32, 2, 126];
        assert_eq!(ring.add(&mut left, &[0, 0]), Err(RingError::Lengths { left: 3, right: 2 }));
        assert_eq!(ring.sub(&mut left, &[0, 127, 0]), Err(RingError::Value { index: 1, modulus: 127 }));
        assert_eq!(left, [1, 2, 126]);
        assert_eq!(ring.mul(&mut [0, 0, u32::MAX], &left), Err(RingError::Value { index: 2, modulus: 127 }));
    }
}
