//! [`RingModulus`]: arithmetic on vectors of integers modulo a public number, where additive shares live.

/// A public modulus in `2..=2^30`, the range in which upstream's generator of uniform values is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingModulus(u32);

impl RingModulus {
    /// The largest modulus.
    pub const MAX: u32 = 1 << 30;

    /// Checks `modulus`.
    ///
    /// # Errors
    /// [`RingError::Modulus`] if it is less than 2 or more than [`RingModulus::MAX`].
    pub const fn new(modulus: u32) -> Result<Self, RingError> {
        if modulus < 2 || modulus > Self::MAX { Err(RingError::Modulus(modulus)) } else { Ok(Self(modulus)) }
    }

    /// The modulus itself.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the modulus is a prime, so that no product of values other than 0 is 0.
    pub fn is_prime(self) -> bool {
        (2..).take_while(|divisor| divisor * divisor <= self.0).all(|divisor| !self.0.is_multiple_of(divisor))
    }

    /// `(x + y) mod m` of values below the modulus, in constant time. Of others the result means nothing.
    #[must_use]
    pub const fn sum(self, x: u32, y: u32) -> u32 {
        self.reduce_once(x.wrapping_add(y))
    }

    /// `(x − y) mod m` of values below the modulus, in constant time. Of others the result means nothing.
    #[must_use]
    pub const fn difference(self, x: u32, y: u32) -> u32 {
        self.reduce_once(x.wrapping_add(self.0).wrapping_sub(y))
    }

    /// `x · y mod m`. How long a division takes depends on its operands on some processors.
    #[must_use]
    pub const fn product(self, x: u32, y: u32) -> u32 {
        (x as u64 * y as u64 % self.0 as u64) as u32
    }

    /// Checks that every value is below the modulus. The position of the first that is not may show in the time.
    ///
    /// # Errors
    /// [`RingError::Value`] naming that position, but not the value.
    pub fn check(self, values: &[u32]) -> Result<(), RingError> {
        match values.iter().position(|value| *value >= self.0) {
            Some(index) => Err(RingError::Value { index, modulus: self.0 }),
            None => Ok(()),
        }
    }

    /// `left[i] = (left[i] + right[i]) mod m`, in constant time.
    ///
    /// # Errors
    /// [`RingError`] if the lengths differ or a value is not below the modulus; `left` is then as it was.
    pub fn add(self, left: &mut [u32], right: &[u32]) -> Result<(), RingError> {
        self.combine(left, right, |x, y| self.sum(x, y))
    }

    /// `left[i] = (left[i] − right[i]) mod m`, in constant time.
    ///
    /// # Errors
    /// As [`RingModulus::add`].
    pub fn sub(self, left: &mut [u32], right: &[u32]) -> Result<(), RingError> {
        self.combine(left, right, |x, y| self.difference(x, y))
    }

    /// `left[i] = left[i] · right[i] mod m`, as [`RingModulus::product`].
    ///
    /// # Errors
    /// As [`RingModulus::add`].
    pub fn mul(self, left: &mut [u32], right: &[u32]) -> Result<(), RingError> {
        self.combine(left, right, |x, y| self.product(x, y))
    }

    fn combine(
        self,
        left: &mut [u32],
        right: &[u32],
        operation: impl Fn(u32, u32) -> u32,
    ) -> Result<(), RingError> {
        if left.len() != right.len() {
            return Err(RingError::Lengths { left: left.len(), right: right.len() });
        }
        self.check(left)?;
        self.check(right)?;
        for (left, right) in left.iter_mut().zip(right) {
            *left = operation(*left, *right);
        }
        Ok(())
    }

    /// `value mod m` for a value below 2m, which is at most 2^31.
    const fn reduce_once(self, value: u32) -> u32 {
        let difference = value.wrapping_sub(self.0);
        // The top bit is set if and only if the subtraction wrapped; then the modulus is added back.
        let mask = 0u32.wrapping_sub(difference >> 31);
        difference.wrapping_add(self.0 & mask)
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

    fn vectors() -> impl Strategy<Value = (u32, Vec<(u32, u32)>)> {
        prop_oneof![2..=RingModulus::MAX, 2..20u32, Just(RingModulus::MAX)]
            .prop_flat_map(|modulus| (Just(modulus), prop::collection::vec((0..modulus, 0..modulus), 0..20)))
    }

    proptest! {
        #[test]
        fn agrees_with_wide_arithmetic((modulus, pairs) in vectors()) {
            let ring = RingModulus::new(modulus).expect("in range");
            let (left, right): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
            let (mut sum, mut difference, mut product) = (left.clone(), left.clone(), left.clone());
            prop_assert_eq!(ring.add(&mut sum, &right), Ok(()));
            prop_assert_eq!(ring.sub(&mut difference, &right), Ok(()));
            prop_assert_eq!(ring.mul(&mut product, &right), Ok(()));
            let m = u64::from(modulus);
            for (i, (x, y)) in pairs.iter().map(|(x, y)| (u64::from(*x), u64::from(*y))).enumerate() {
                prop_assert_eq!(u64::from(sum[i]), (x + y) % m);
                prop_assert_eq!(u64::from(difference[i]), (x + m - y) % m);
                prop_assert_eq!(u64::from(product[i]), x * y % m);
            }
        }
    }

    #[test]
    fn primes_are_told_from_others() {
        let primes = (2..60).filter(|modulus| RingModulus(*modulus).is_prime());
        assert!(primes.eq([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]));
        assert!(RingModulus((1 << 30) - 35).is_prime());
        assert!(!RingModulus(32_749 * 32_749).is_prime());
    }

    #[test]
    fn what_is_not_of_the_ring_is_refused() {
        for modulus in [0, 1, RingModulus::MAX + 1, u32::MAX] {
            assert_eq!(RingModulus::new(modulus), Err(RingError::Modulus(modulus)));
        }
        let ring = RingModulus::new(127).expect("in range");
        let mut left = [1, 2, 126];
        assert_eq!(ring.add(&mut left, &[0, 0]), Err(RingError::Lengths { left: 3, right: 2 }));
        assert_eq!(ring.sub(&mut left, &[0, 127, 0]), Err(RingError::Value { index: 1, modulus: 127 }));
        assert_eq!(left, [1, 2, 126]);
        assert_eq!(ring.mul(&mut [0, 0, u32::MAX], &left), Err(RingError::Value { index: 2, modulus: 127 }));
    }
}
