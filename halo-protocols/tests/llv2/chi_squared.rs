//! The χ² test for equally frequent values, at a significance of 10⁻⁶: with a fixed seed it passes or fails for good, and
//! a correct program would need a million seeds to fail once.

/// The value that a χ² variable exceeds once in a million times (Wilson and Hilferty's approximation).
pub fn limit(degrees: usize) -> f64 {
    let spread = 2.0 / (9.0 * degrees as f64);
    degrees as f64 * (1.0 - spread + 4.753 * spread.sqrt()).powi(3)
}

/// Checks that values in `0..kinds` are equally frequent.
pub fn assert_uniform(values: impl IntoIterator<Item = usize>, kinds: usize, what: &str) {
    let mut counts = vec![0u32; kinds];
    values.into_iter().for_each(|value| counts[value] += 1);
    let expected = f64::from(counts.iter().sum::<u32>()) / kinds as f64;
    assert!(expected >= 20.0, "{what}: too few values to tell");
    let statistic: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    assert!(statistic < limit(kinds - 1), "{what}: {statistic}");
}

#[test]
fn the_statistic_can_tell() {
    assert!((limit(126) - 216.6).abs() < 0.5);
    let biased = (0..12_700).map(|index| if index % 20 == 0 { 3 } else { index % 127 });
    assert!(std::panic::catch_unwind(|| assert_uniform(biased, 127, "biased")).is_err());
}
