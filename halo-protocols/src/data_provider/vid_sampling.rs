//! [`VidSamplingInterval`]: which virtual people a measurement looks at.

/// An interval of the hash values of virtual person ids, which lie in [0, 1].
///
/// All data providers must choose the same people, so the arithmetic is that of upstream's `sampling/VidSampler.java`
/// to the bit: 32-bit floats, with the one subtraction in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VidSamplingInterval {
    start: f32,
    end: f32,
}

/// An interval that no measurement by sketches may have.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("start {start}, width {width}: the start must be in [0, 1), the width in (0, 1]")]
pub struct IntervalError {
    /// The start given.
    pub start: f32,
    /// The width given.
    pub width: f32,
}

/// Keeps sampling independent of the fingerprints that place a person in a sketch.
const SALT: i64 = 1_414_214;

/// The hash value keeps this many bits of the fingerprint.
const HASH_BITS: u32 = 23;

impl VidSamplingInterval {
    /// The interval `[start, start + width)`; what lies beyond 1 wraps around to 0.
    ///
    /// # Errors
    /// [`IntervalError`] unless 0 ≤ start < 1 and 0 < width ≤ 1.
    pub fn new(start: f32, width: f32) -> Result<Self, IntervalError> {
        if (0.0..1.0).contains(&start) && width > 0.0 && width <= 1.0 {
            Ok(Self { start, end: start + width })
        } else {
            Err(IntervalError { start, width })
        }
    }

    /// Whether this virtual person is measured.
    ///
    /// The largest hash value is 1.0 itself, which even `[0, 1)` leaves out.
    pub fn contains(&self, vid: i64) -> bool {
        let hash = hash(vid);
        self.start <= hash && hash < self.end || f64::from(hash) < f64::from(self.end) - 1.0
    }
}

fn hash(vid: i64) -> f32 {
    const LARGEST: u64 = (1 << HASH_BITS) - 1;
    let fingerprint = farmhash::fingerprint64(&vid.wrapping_add(SALT).to_le_bytes());
    (1.0 / LARGEST as f64) as f32 * (fingerprint & LARGEST) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_equal_upstream() {
        for (vid, expected) in [(1, 0.68455_f32), (2, 0.86937), (3, 0.06482)] {
            assert!((hash(vid) - expected).abs() < 1e-5, "{vid}: {}", hash(vid));
        }
    }

    #[test]
    fn intervals_choose_their_share_and_wrap_around() -> Result<(), IntervalError> {
        let kept = |start, width| -> Result<Vec<i64>, IntervalError> {
            let interval = VidSamplingInterval::new(start, width)?;
            Ok((0..10_000).filter(|vid| interval.contains(*vid)).collect())
        };
        assert_eq!(kept(0.0, 1.0)?.len(), 10_000);
        // Five standard deviations of a binomial share are below 0.025 here.
        for (start, width) in [(0.0, 0.3), (0.5, 0.25), (0.9, 0.4)] {
            let share = kept(start, width)?.len() as f32 / 10_000.0;
            assert!((share - width).abs() < 0.025, "[{start}, +{width}): {share}");
        }
        let mut parts = [kept(0.9, 0.1)?, kept(0.0, 0.3)?].concat();
        parts.sort_unstable();
        let wrapped = kept(0.9, 0.4)?;
        // The two ends 0.9 + 0.4 − 1 and 0.3 differ by a rounding error.
        assert!(parts.iter().filter(|vid| !wrapped.contains(vid)).count() <= 1);
        Ok(())
    }

    #[test]
    fn refuses_what_is_no_interval() {
        for (start, width) in
            [(-0.1, 0.5), (1.0, 0.5), (0.0, 0.0), (0.0, 1.1), (f32::NAN, 0.5), (0.0, f32::NAN)]
        {
            assert!(VidSamplingInterval::new(start, width).is_err(), "{start} {width}");
        }
    }
}
