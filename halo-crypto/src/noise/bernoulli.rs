//! Exact coins: Bernoulli trials whose probability is a fraction, or e to the power of one.

use num_bigint::BigUint;
use rand_core::CryptoRng;

/// A non-negative fraction. The denominator is not zero.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    pub(super) numerator: BigUint,
    pub(super) denominator: BigUint,
}

impl Ratio {
    pub(super) fn new(numerator: BigUint, denominator: BigUint) -> Self {
        debug_assert!(denominator != BigUint::ZERO, "a fraction has a denominator");
        Self { numerator, denominator }
    }

    pub(super) fn one() -> Self {
        Self::new(1u32.into(), 1u32.into())
    }

    /// The exact value of a positive finite floating-point number, which is an integer times a power of two.
    pub(super) fn from_f64(value: f64) -> Self {
        debug_assert!(value.is_finite() && value > 0.0, "a positive number");
        const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
        let bits = value.to_bits();
        let biased = (bits >> FRACTION_BITS) as i32 & 0x7ff;
        let fraction = bits & ((1 << FRACTION_BITS) - 1);
        // Subnormal numbers have no implicit leading one, and the exponent of the smallest normal ones.
        let mantissa = if biased == 0 { fraction } else { fraction | 1 << FRACTION_BITS };
        let exponent = biased.max(1) - 1023 - FRACTION_BITS as i32 + mantissa.trailing_zeros() as i32;
        let odd = BigUint::from(mantissa >> mantissa.trailing_zeros());
        let power = BigUint::from(1u32) << exponent.unsigned_abs();
        if exponent < 0 { Self::new(odd, power) } else { Self::new(odd * power, 1u32.into()) }
    }
}

/// A uniform value in `0..bound`, for a bound other than zero.
pub(super) fn uniform_below_u64<R: CryptoRng + ?Sized>(bound: u64, rng: &mut R) -> u64 {
    let mask = u64::MAX.checked_shr((bound - 1).leading_zeros()).unwrap_or(0);
    loop {
        let candidate = rng.next_u64() & mask;
        if candidate < bound {
            return candidate;
        }
    }
}

/// A uniform value in `0..bound`, for a bound other than zero.
pub(super) fn uniform_below<R: CryptoRng + ?Sized>(bound: &BigUint, rng: &mut R) -> BigUint {
    if let Ok(small) = u64::try_from(bound) {
        return uniform_below_u64(small, rng).into();
    }
    let bits = bound.bits();
    let mut digits = vec![0u32; bits.div_ceil(32) as usize];
    let excess = 32 * digits.len() as u64 - bits;
    loop {
        digits.fill_with(|| rng.next_u32());
        if let Some(top) = digits.last_mut() {
            *top >>= excess;
        }
        let candidate = BigUint::from_slice(&digits);
        if candidate < *bound {
            return candidate;
        }
    }
}

/// True with probability `probability`, which is at most one.
pub(super) fn bernoulli<R: CryptoRng + ?Sized>(probability: &Ratio, rng: &mut R) -> bool {
    match (u64::try_from(&probability.numerator), u64::try_from(&probability.denominator)) {
        (Ok(numerator), Ok(denominator)) => uniform_below_u64(denominator, rng) < numerator,
        _ => uniform_below(&probability.denominator, rng) < probability.numerator,
    }
}

/// True with probability e^(−γ): Canonne, Kamath and Steinke, Algorithm 1.
pub(super) fn bernoulli_exp<R: CryptoRng + ?Sized>(gamma: &Ratio, rng: &mut R) -> bool {
    let mut rest = gamma.clone();
    while rest.numerator > rest.denominator {
        if !bernoulli_exp_at_most_one(&Ratio::one(), rng) {
            return false;
        }
        rest.numerator -= &rest.denominator;
    }
    bernoulli_exp_at_most_one(&rest, rng)
}

/// [`bernoulli_exp`] for γ in [0, 1]: the first of the trials with probabilities γ/1, γ/2, γ/3, … that fails has an
/// odd number with probability 1 − γ + γ²/2! − … = e^(−γ).
fn bernoulli_exp_at_most_one<R: CryptoRng + ?Sized>(gamma: &Ratio, rng: &mut R) -> bool {
    let mut trial = gamma.clone();
    let mut odd = true;
    while bernoulli(&trial, rng) {
        trial.denominator += &gamma.denominator;
        odd = !odd;
    }
    odd
}

/// The number of trials that succeed, each with probability e^(−γ), before the first that fails: the first part of
/// Canonne, Kamath and Steinke, Algorithm 2, for γ = s/t in lowest or any terms, γ > 0. Saturates at `u64::MAX`.
pub(super) fn geometric<R: CryptoRng + ?Sized>(gamma: &Ratio, rng: &mut R) -> u64 {
    let Ratio { numerator: s, denominator: t } = gamma;
    let remainder = loop {
        let candidate = Ratio::new(uniform_below(t, rng), t.clone());
        if bernoulli_exp_at_most_one(&candidate, rng) {
            break candidate.numerator;
        }
    };
    let one = Ratio::one();
    let mut quotient = 0u64;
    while bernoulli_exp_at_most_one(&one, rng) {
        quotient += 1;
    }
    let fine = remainder + t * quotient;
    u64::try_from(fine / s).unwrap_or(u64::MAX)
}
