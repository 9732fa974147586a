//! Points nobody else has: hashes of fresh random numbers, written in decimal as upstream does.

use halo_crypto::Group;
use rand_core::CryptoRng;

/// `count` independent points, each the hash of `prefix` and a fresh random number.
pub(crate) fn random_points<G: Group>(prefix: &str, count: usize, rng: &mut impl CryptoRng) -> Vec<G::Point> {
    let messages: Vec<String> = (0..count)
        .map(|_| {
            let number = G::scalar_to_bytes(&G::random_scalar(rng));
            format!("{prefix}{}", decimal(number.expose()))
        })
        .collect();
    let mut points = vec![G::identity(); count];
    G::hash_to_group(&messages, &mut points);
    points
}

/// A big-endian number in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    const BASE: u64 = 1_000_000_000;
    // Least significant first, nine decimal digits each.
    let mut digits: Vec<u64> = Vec::new();
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for digit in &mut digits {
            let value = *digit * 256 + carry;
            *digit = value % BASE;
            carry = value / BASE;
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    let Some((first, rest)) = digits.split_last() else { return "0".to_owned() };
    rest.iter().rev().fold(first.to_string(), |text, digit| format!("{text}{digit:09}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        assert_eq!(decimal(&[]), "0");
        assert_eq!(decimal(&[0, 0]), "0");
        assert_eq!(decimal(&[255]), "255");
        assert_eq!(decimal(&1_000_000_000_u64.to_be_bytes()), "1000000000");
        assert_eq!(decimal(&u64::MAX.to_be_bytes()), u64::MAX.to_string());
        assert_eq!(decimal(&u128::MAX.to_be_bytes()), u128::MAX.to_string());
    }
}
