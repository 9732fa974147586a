//! Reach from the number of non-empty registers of a Liquid Legions sketch.
//!
//! People fall into registers with exponentially decreasing probability; the expected number of non-empty
//! registers as a function of reach is known in closed form and is inverted by bisection, exactly as upstream's
//! `estimation/estimators.cc` does it: integers are truncated in the same places, so that two aggregators report
//! the same number.

use super::exponential_integral::exponential_integral;

/// The shape of a Liquid Legions sketch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiquidLegions {
    decay_rate: f64,
    size: u64,
}

/// Why no reach can be estimated.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EstimateError {
    /// The decay rate is not a number above one.
    #[error("the decay rate {0} is not above 1")]
    DecayRate(f64),
    /// As many registers are non-empty as the sketch has, or more.
    #[error("{active} non-empty registers in a sketch of {size}: there must be fewer")]
    Full {
        /// Non-empty registers.
        active: u64,
        /// Registers of the sketch.
        size: i64,
    },
    /// The sampling interval is empty or wider than all ids.
    #[error("the sampling interval's width {0} is not in (0, 1]")]
    Width(f32),
    /// The estimate exceeds what a 64-bit integer holds.
    #[error("the estimate does not fit a 64-bit integer")]
    Overflow,
}

impl LiquidLegions {
    /// A sketch with this decay rate (above 1) and number of registers.
    ///
    /// # Errors
    /// [`EstimateError::DecayRate`]; [`EstimateError::Full`] if there is no register at all.
    pub fn new(decay_rate: f64, size: i64) -> Result<Self, EstimateError> {
        if !(decay_rate > 1.0 && decay_rate.is_finite()) {
            return Err(EstimateError::DecayRate(decay_rate));
        }
        match u64::try_from(size) {
            Ok(positive) if positive > 0 => Ok(Self { decay_rate, size: positive }),
            _ => Err(EstimateError::Full { active: 0, size }),
        }
    }

    /// How fast the probability of a register falls along the sketch.
    pub const fn decay_rate(&self) -> f64 {
        self.decay_rate
    }

    /// How many registers the sketch has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How many people leave `active` registers non-empty, if only those were inserted whose id falls into an
    /// interval of this width.
    ///
    /// No active register means one person here, as upstream has it.
    ///
    /// # Errors
    /// [`EstimateError`] if `active` is not below the sketch's size, `width` not in (0, 1], or the result too large.
    ///
    /// ```
    /// let sketch = halo_protocols::estimate::LiquidLegions::new(12.0, 100_000)?;
    /// assert_eq!(sketch.reach(1_000, 1.0)?, 1032);
    /// # Ok::<(), halo_protocols::estimate::EstimateError>(())
    /// ```
    pub fn reach(&self, active: u64, width: f32) -> Result<i64, EstimateError> {
        if active >= self.size {
            return Err(EstimateError::Full { active, size: i64::try_from(self.size).unwrap_or(i64::MAX) });
        }
        if !(width > 0.0 && width <= 1.0) {
            return Err(EstimateError::Width(width));
        }
        let reach = self.people_for(active)? as f64 / f64::from(width);
        // 2^63 is the first double that is too large.
        if reach < 9_223_372_036_854_775_808.0 { Ok(reach as i64) } else { Err(EstimateError::Overflow) }
    }

    /// The expected number of non-empty registers once `people` are inserted, truncated.
    fn expected_active(&self, people: u64) -> u64 {
        if people == 0 {
            return 0;
        }
        let (decay, size) = (self.decay_rate, self.size as f64);
        let t = people as f64 / size;
        let scale = decay.exp() - 1.0;
        let negative = -exponential_integral(-decay * t / scale);
        let positive = exponential_integral(-decay * decay.exp() * t / scale);
        ((1.0 - (negative + positive) / decay) * size) as u64
    }

    /// The inverse of [`LiquidLegions::expected_active`], by doubling and bisection.
    fn people_for(&self, target: u64) -> Result<u64, EstimateError> {
        let (mut low, mut high) = (0_u64, 1_u64);
        while self.expected_active(high) < target {
            low = high;
            high = high.checked_mul(2).ok_or(EstimateError::Overflow)?;
        }
        let mut middle = low.midpoint(high);
        while high > low {
            if self.expected_active(middle) > target {
                high = middle.saturating_sub(1);
            } else {
                low = middle + 1;
            }
            middle = low.midpoint(high);
        }
        Ok(middle)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::{double, integer, rows};

    #[test]
    fn equals_upstream() -> Result<(), EstimateError> {
        let table = rows("estimators", "liquid_legions");
        assert!(!table.is_empty());
        for row in table {
            let sketch = LiquidLegions::new(double(&row["decay_rate"]), integer(&row["size"]))?;
            let reach = sketch
                .reach(integer(&row["non_empty_registers"]), double(&row["sampling_rate_float32"]) as f32)?;
            assert_eq!(reach, integer::<i64>(&row["reach"]), "{row}");
        }
        Ok(())
    }

    #[test]
    fn refuses_what_has_no_estimate() {
        let sketch = LiquidLegions { decay_rate: 12.0, size: 100 };
        assert_eq!(LiquidLegions::new(1.0, 100), Err(EstimateError::DecayRate(1.0)));
        assert!(matches!(LiquidLegions::new(f64::NAN, 100), Err(EstimateError::DecayRate(_))));
        assert_eq!(LiquidLegions::new(12.0, 0), Err(EstimateError::Full { active: 0, size: 0 }));
        assert_eq!(sketch.reach(100, 1.0), Err(EstimateError::Full { active: 100, size: 100 }));
        assert_eq!(sketch.reach(1, 0.0), Err(EstimateError::Width(0.0)));
        assert_eq!(sketch.reach(1, 1.5), Err(EstimateError::Width(1.5)));
        assert!(matches!(sketch.reach(1, f32::NAN), Err(EstimateError::Width(_))));
    }

    proptest! {
        #[test]
        fn any_parameters_end(decay in any::<f64>(), size in any::<i64>(), active in any::<u64>(), width in any::<f32>()) {
            if let Ok(sketch) = LiquidLegions::new(decay, size) {
                let _ = sketch.reach(active, width);
                let _ = sketch.reach(active % sketch.size, 1.0);
            }
        }

        #[test]
        fn more_registers_mean_more_people(active in 0_u64..99_000) {
            let sketch = LiquidLegions { decay_rate: 12.0, size: 100_000 };
            prop_assert!(sketch.reach(active, 1.0)? <= sketch.reach(active + 1, 1.0)?);
        }
    }
}
