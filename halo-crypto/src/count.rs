//! Counts as group elements: `v` is `v·U`, where `U` is the hash of a fixed string.
//!
//! Multiples of `U` add up under encryption, and the plaintext of a small one is found by comparing
//! (upstream's `common/crypto/encryption_utility_helper.cc`).

use crate::group::Group;

/// The string that hashes to the element for "one".
pub const UNIT_POINT_MESSAGE: &[u8] = b"unit_ec_point";

/// The element `U` that stands for a count of one.
pub fn unit_point<G: Group>() -> G::Point {
    G::hash_one(UNIT_POINT_MESSAGE)
}

/// The elements of the counts `1..=maximum`, in order.
pub fn count_points<G: Group>(maximum: u32) -> Vec<G::Point> {
    let unit = unit_point::<G>();
    let mut points = Vec::new();
    let mut sum = [G::identity()];
    for _ in 0..maximum {
        G::add_point(&mut sum, &unit);
        points.push(sum[0]);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Ristretto255;

    #[test]
    fn counts_are_multiples_of_the_unit() {
        let points = count_points::<Ristretto255>(20);
        let mut expected = [unit_point::<Ristretto255>(); 20];
        let counts: Vec<_> = (1..=20u64).map(<Ristretto255 as Group>::Scalar::from).collect();
        Ristretto255::scale_each(&mut expected, &counts);
        assert_eq!(points, expected);
        assert!(count_points::<Ristretto255>(0).is_empty());
    }
}
