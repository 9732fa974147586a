//! The exponential integral for negative arguments, as upstream's C++ library computes it.
//!
//! The estimate is truncated to an integer, so the last bits matter: this is libstdc++'s `std::expint`, with the
//! same three ranges and the same stopping rule.

/// Euler's constant γ.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// No series below needs more terms; a bound only so that no argument can make one endless.
const MAXIMUM_TERMS: u32 = 10_000;

/// Ei(x) for x < 0; NaN elsewhere.
pub(super) fn exponential_integral(x: f64) -> f64 {
    let z = -x;
    if z < 1.0 {
        -power_series(z)
    } else if z < 100.0 {
        -continued_fraction(z)
    } else {
        // libstdc++ means to add an asymptotic series here, but an unsigned negation makes it end at once.
        -((-z).exp() / z)
    }
}

/// E1(z) for 0 < z < 1: −γ − ln z − Σ (−z)^i / (i·i!), positive and negative terms summed apart.
fn power_series(z: f64) -> f64 {
    let mut term = 1.0;
    let mut positive = 0.0;
    let mut negative = 0.0;
    for i in 1..MAXIMUM_TERMS {
        let i = f64::from(i);
        term *= -z / i;
        if term.abs() < f64::EPSILON {
            break;
        }
        if term >= 0.0 {
            positive += term / i;
        } else {
            negative += term / i;
        }
    }
    -positive - negative - EULER_GAMMA - z.ln()
}

/// E1(z) for 1 ≤ z < 100 by the modified Lentz method.
fn continued_fraction(z: f64) -> f64 {
    let mut b = z + 1.0;
    let mut c = 1.0 / f64::MIN_POSITIVE;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..MAXIMUM_TERMS {
        let i = f64::from(i);
        let a = -i * i;
        b += 2.0;
        d = 1.0 / (a * d + b);
        c = b + a / c;
        let step = c * d;
        h *= step;
        if (step - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    h * (-z).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{double, rows};

    #[test]
    fn equals_upstream_to_the_last_bits() {
        let table = rows("estimators", "exponential_integral_libstdcxx");
        assert!(!table.is_empty());
        for row in table {
            let (x, expected) = (double(&row["x"]), double(&row["expint"]));
            let found = exponential_integral(x);
            assert!(
                (found - expected).abs() <= 4.0 * f64::EPSILON * expected.abs(),
                "Ei({x}) = {found}, not {expected}"
            );
        }
    }

    #[test]
    fn no_argument_is_endless() {
        for x in [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5.0, -f64::MIN_POSITIVE] {
            let _ = exponential_integral(x);
        }
    }
}
