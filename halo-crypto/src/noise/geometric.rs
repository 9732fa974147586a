//! [`DistributedGeometric`]: the difference of two Pólya variables, `n` of which add up to a two-sided geometric one.

use rand_core::CryptoRng;

use super::bernoulli::{Ratio, geometric, uniform_below_u64};
use super::{NoiseParameters, NoiseParametersError, shifted};

/// One party's component `μ + a − b` of two-sided geometric noise with ratio `p = e^(−ε/s)`.
///
/// `a` and `b` are independent draws of the Pólya (negative binomial) distribution with shape `1/n` and parameter
/// `p`, each conditioned on being at most `μ`. The shapes of `n` parties add up to one, and the difference of two
/// geometric variables is the two-sided geometric one (Goryczka and Xiong, "A comprehensive comparison of multiparty
/// secure additions with differential privacy", 2017, section 4).
#[derive(Clone, Debug)]
pub struct DistributedGeometric {
    /// ε/s, so that p = e^(−γ).
    gamma: Ratio,
    contributors: u32,
    offset: u32,
}

impl DistributedGeometric {
    /// The distribution for `parameters`.
    ///
    /// # Errors
    /// As [`DistributedNoise::new`](super::DistributedNoise::new).
    pub fn new(parameters: &NoiseParameters) -> Result<Self, NoiseParametersError> {
        parameters.check()?;
        let offset = parameters.geometric_offset()?;
        let mut gamma = Ratio::from_f64(parameters.privacy.epsilon);
        gamma.denominator *= parameters.sensitivity;
        Ok(Self { gamma, contributors: parameters.contributors, offset })
    }

    /// The mean `μ` of a component, and half of its largest value.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Draws a component, in `0..=2 * offset`.
    ///
    /// The expected number of proposals is about (1−p)^(1/n−1), some fifty for ε = 0.003 and three parties.
    pub fn sample<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u32 {
        let (a, b) = (self.polya(rng), self.polya(rng));
        shifted(self.offset, a < b, a.abs_diff(b))
    }

    /// A Pólya variable conditioned on being at most the offset.
    ///
    /// By rejection from the geometric distribution: the ratio of the probabilities of `k` is proportional to
    /// (1/n)(1/n+1)…(1/n+k−1) / k! = Π (n(i−1)+1)/(n·i), a product of probabilities, each of which is one exact coin.
    fn polya<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> u32 {
        let n = u64::from(self.contributors);
        loop {
            let proposal = geometric(&self.gamma, rng);
            let Some(proposal) = u32::try_from(proposal).ok().filter(|value| *value <= self.offset) else {
                continue;
            };
            // n·i stays below 2^32 · 2^24.
            if (1..=u64::from(proposal)).all(|i| uniform_below_u64(n * i, rng) < n * (i - 1) + 1) {
                return proposal;
            }
        }
    }
}
