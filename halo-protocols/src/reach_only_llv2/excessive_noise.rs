//! The excessive noise ciphertext: how many ids of blinded-histogram noise there are, as `v·U` under encryption
//! (docs/protocols/ro-llv2.md#setup).

use std::collections::HashMap;

use halo_crypto::Group;
use halo_crypto::count::unit_point;
use halo_crypto::elgamal::{Ciphertext, Ciphertexts, EncryptionKey};
use rand_core::CryptoRng;

use crate::kernel::KernelError;
use crate::sketch::Layout;

pub(super) const FIELD: &str = "serialized_excessive_noise_ciphertext";

const LAYOUT: Layout = Layout::of_width(1);

/// Encrypts `v·U`.
pub(super) fn encrypt<G: Group>(v: u64, key: &EncryptionKey<G>, rng: &mut impl CryptoRng) -> Ciphertext<G> {
    key.encrypt_one(&multiple::<G>(v), rng)
}

/// Adds up ciphertexts: one, and those in `others`.
pub(super) fn sum<G: Group>(own: Ciphertext<G>, others: &[u8]) -> Result<Ciphertexts<G>, KernelError> {
    LAYOUT.count::<G>(FIELD, others)?;
    let mut addends = LAYOUT.decode::<G>(FIELD, 0, others, LAYOUT.column(0))?;
    addends.extend([own]);
    Ok(std::iter::once(addends.sum()).collect())
}

/// Reads the one ciphertext that `bytes` must be.
pub(super) fn decode<G: Group>(bytes: &[u8]) -> Result<Ciphertexts<G>, KernelError> {
    let expected = Ciphertext::<G>::LENGTH;
    if bytes.len() != expected {
        return Err(KernelError::NotOneCiphertext { field: FIELD, length: bytes.len(), expected });
    }
    LAYOUT.decode(FIELD, 0, bytes, LAYOUT.column(0))
}

/// The bytes of one ciphertext.
pub(super) fn encode<G: Group>(ciphertext: &Ciphertexts<G>) -> Result<Vec<u8>, KernelError> {
    let mut bytes = vec![0; LAYOUT.length::<G>()];
    LAYOUT.encode::<G>(FIELD, 0, ciphertext, &mut bytes, LAYOUT.column(0))?;
    Ok(bytes)
}

/// The number `v` in `0..=maximum` with `v·U = point`, if there is one: with a table of √maximum multiples of `U`, in
/// as many steps ("baby step, giant step").
///
/// The table is looked up by `point`: `v` is what the aggregator is to learn, and no secret from it.
pub(super) fn logarithm<G: Group>(point: &G::Point, maximum: u32) -> Option<u64> {
    let width = u64::from(maximum).isqrt() + 1;
    let mut baby_steps = multiples::<G>(unit_point::<G>(), width);
    let mut encoded = vec![0; baby_steps.len() * G::POINT_LENGTH];
    // No baby step is the identity, which is 0·U and has no encoding: there are far fewer than the group has elements.
    G::encode(&baby_steps, &mut encoded).ok()?;
    let small: HashMap<&[u8], u64> = encoded.chunks_exact(G::POINT_LENGTH).zip(1..).collect();
    let giant_step = baby_steps.pop()?;

    let mut remaining = vec![*point; width as usize];
    let mut taken_off = multiples::<G>(giant_step, width);
    taken_off.rotate_right(1);
    taken_off[0] = G::identity();
    G::sub(&mut remaining, &taken_off);
    // After `steps` giant steps the rest is at most `width`·U, or 0 at the very beginning.
    (0..width)
        .zip(remaining)
        .find_map(|(steps, rest)| {
            let rest = if G::is_identity(&rest).into() {
                0
            } else {
                *small.get(G::encode_one(&rest).ok()?.as_slice())?
            };
            Some(steps * width + rest)
        })
        .filter(|v| *v <= u64::from(maximum))
}

/// `v·U`
fn multiple<G: Group>(v: u64) -> G::Point {
    let mut point = [unit_point::<G>()];
    G::scale(&mut point, &G::Scalar::from(v));
    point[0]
}

/// `1·point … count·point`
fn multiples<G: Group>(point: G::Point, count: u64) -> Vec<G::Point> {
    let mut sum = [G::identity()];
    (0..count)
        .map(|_| {
            G::add_point(&mut sum, &point);
            sum[0]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use halo_crypto::{P256, Ristretto255};
    use proptest::prelude::*;

    use super::*;

    fn found<G: Group>(v: u64, maximum: u32) -> Option<u64> {
        logarithm::<G>(&multiple::<G>(v), maximum)
    }

    #[test]
    fn every_number_up_to_the_maximum_is_found_and_no_other() {
        for maximum in 0..40 {
            for v in 0..50 {
                let expected = (v <= u64::from(maximum)).then_some(v);
                assert_eq!(found::<Ristretto255>(v, maximum), expected, "{v} of {maximum}");
            }
        }
        assert_eq!(logarithm::<P256>(&P256::generator(), 1_000), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn large_numbers_are_found(v in 0_u64..2_000_000) {
            prop_assert_eq!(found::<P256>(v, 2_000_000), Some(v));
            prop_assert_eq!(found::<P256>(v, u32::try_from(v)?), Some(v));
            prop_assert_eq!(found::<Ristretto255>(v + 2_000_001, 2_000_000), None);
        }
    }
}
