//! The generator, the shuffle and the shares against upstream's tables, value for value.

use halo_crypto::parallel::Executor;
use halo_crypto::prg::{DrawError, PrngSeed, PrngSeedError, UniformGenerator};
use halo_crypto::ring::{RingError, RingModulus};
use halo_crypto::secret_sharing::{SplitError, expand, split, split_with_seed};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("a table")
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hexadecimal digits")
}

fn integer(value: &Value) -> u32 {
    value.as_u64().and_then(|value| value.try_into().ok()).expect("a small integer")
}

fn integers(value: &Value) -> Vec<u32> {
    rows(value).iter().map(integer).collect()
}

fn seed(key: &Value, iv: &Value) -> PrngSeed {
    PrngSeed::from_parts(&bytes(key), &bytes(iv)).expect("a whole seed")
}

fn modulus(value: &Value) -> RingModulus {
    RingModulus::new(integer(value)).expect("in range")
}

#[test]
fn key_streams() {
    let table = parse(include_str!("vectors/prng.json"));
    let rows = rows(&table["bytes"]);
    assert_eq!(rows.len(), 54);
    for row in rows {
        let mut generator = UniformGenerator::new(&seed(&row["key"], &row["iv"]));
        let whole = [row.clone()];
        for call in row.get("successive_calls").and_then(Value::as_array).map_or(&whole[..], Vec::as_slice) {
            let mut out = vec![0xaa; integer(&call["length"]) as usize];
            generator.fill_bytes(&mut out);
            assert_eq!(out, bytes(&call["bytes"]), "{row}");
        }
    }
}

#[test]
fn uniform_values() {
    let table = parse(include_str!("vectors/prng.json"));
    for (kind, count) in [("uniform", 81), ("uniform_non_zero", 24)] {
        let rows = rows(&table[kind]);
        assert_eq!(rows.len(), count);
        for row in rows {
            let mut generator = UniformGenerator::new(&seed(&row["key"], &row["iv"]));
            let (size, modulus) = (integer(&row["size"]) as usize, modulus(&row["modulus"]));
            let values = match kind {
                "uniform" => generator.uniform(size, modulus),
                _ => generator.uniform_nonzero(size, modulus),
            };
            assert_eq!(values.expect("few values").expose(), &integers(&row["values"]), "{row}");
            assert_eq!(generator.seed().as_bytes().as_slice(), bytes(&row["next_48_bytes"]), "{row}");
        }
    }
}

#[test]
fn shuffles() {
    let table = parse(include_str!("vectors/shuffle.json"));
    assert_eq!(rows(&table).len(), 9);
    for row in rows(&table) {
        let mut elements: Vec<u32> = (0..integer(&row["size"])).collect();
        halo_crypto::shuffle(&mut elements, &seed(&row["key"], &row["iv"]), &Executor::serial())
            .expect("few elements");
        assert_eq!(elements, integers(&row["shuffled_identity"]), "{row}");
    }
}

#[test]
fn shares() {
    let table = parse(include_str!("vectors/secret_shares.json"));
    assert_eq!(rows(&table).len(), 7);
    for row in rows(&table) {
        let (data, modulus) = (integers(&row["data"]), modulus(&row["ring_modulus"]));
        let seed = seed(&row["seed_key"], &row["seed_iv"]);
        let expanded = expand(&seed, data.len(), modulus).expect("few values");
        assert_eq!(expanded.expose(), &integers(&row["share_from_seed"]));
        let shares = split_with_seed(&data, modulus, seed).expect("values of the ring");
        assert_eq!(shares.vector.expose(), &integers(&row["share_vector"]));
    }
}

#[test]
fn a_batch_does_not_depend_on_the_buffer() {
    // More than one buffer of each size of value, and a modulus that rejects nearly half.
    for (modulus, size) in [(129, 30_000), (32_769, 20_000), ((1 << 23) + 1, 10_000), ((1 << 29) + 1, 10_000)]
    {
        let ring = RingModulus::new(modulus).expect("in range");
        let seed = PrngSeed::from_bytes(&[3; PrngSeed::LENGTH]).expect("a whole seed");
        let values = expand(&seed, size, ring).expect("few values").expose().clone();
        assert_eq!((values.len(), ring.check(&values)), (size, Ok(())));

        let value_bytes = 4 - (modulus.leading_zeros() / 8) as usize;
        let mask = modulus.next_power_of_two() - 1;
        let mut stream = vec![0; 5 * size * value_bytes];
        UniformGenerator::new(&seed).fill_bytes(&mut stream);
        let expected = stream
            .chunks(value_bytes)
            .map(|bytes| bytes.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)) & mask)
            .filter(|value| *value < modulus);
        // The first batch is enough for nearly all of them; what follows it starts after the surplus.
        let checked = size - size / 10;
        assert!(values[..checked].iter().copied().eq(expected.take(checked)), "{modulus}");
    }
}

#[test]
fn what_upstream_cannot_draw_is_refused() {
    let [small, large] = [127, 1 << 30].map(|modulus| RingModulus::new(modulus).expect("in range"));
    let mut generator = UniformGenerator::new(&PrngSeed::from_bytes(&[0; 48]).expect("a whole seed"));
    for (size, modulus) in [(1 << 31, small), (1 << 29, large), (usize::MAX, small), (usize::MAX, large)] {
        assert_eq!(generator.uniform(size, modulus).err(), Some(DrawError { size }));
        assert_eq!(generator.uniform_nonzero(size, modulus).err(), Some(DrawError { size }));
    }
    assert!(generator.uniform(0, small).expect("nothing").expose().is_empty());
}

#[test]
fn bad_seeds_are_refused() {
    for length in [0, 32, 47, 49] {
        let refused = PrngSeed::from_bytes(&vec![0; length]).err();
        assert_eq!(refused, Some(PrngSeedError { what: "seed", length }));
    }
    assert_eq!(PrngSeed::from_parts(&[0; 31], &[0; 17]).map_err(|error| error.what), Err("key"));
    let iv = PrngSeed::from_parts(&[0; 32], &[0; 17]).map_err(|error| error.what);
    assert_eq!(iv, Err("initial counter block"));
}

#[test]
fn seeds_and_shares_are_not_printed() {
    let shares = split_with_seed(&[5], RingModulus::new(127).expect("in range"), {
        PrngSeed::from_bytes(&[9; 48]).expect("a whole seed")
    })
    .expect("a value of the ring");
    assert_eq!(format!("{shares:?}"), "Shares { seed: PrngSeed(Secret(..)), vector: Secret(..) }");
}

#[test]
fn vectors_that_cannot_be_shared_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let ring = RingModulus::new(11).expect("in range");
    assert_eq!(split(&[], ring, &mut rng).err(), Some(SplitError::Empty));
    let error = SplitError::Values(RingError::Value { index: 2, modulus: 11 });
    assert_eq!(split(&[0, 10, 11], ring, &mut rng).err(), Some(error));
}

proptest! {
    #[test]
    fn shares_add_up(
        (modulus, values) in (2..=RingModulus::MAX)
            .prop_flat_map(|modulus| (Just(modulus), prop::collection::vec(0..modulus, 1..100))),
        seed in any::<u64>(),
    ) {
        let ring = RingModulus::new(modulus).expect("in range");
        let shares = split(&values, ring, &mut ChaCha20Rng::seed_from_u64(seed)).expect("values of the ring");
        let mut sum = expand(&shares.seed, values.len(), ring).expect("few values").expose().clone();
        prop_assert_eq!(ring.add(&mut sum, shares.vector.expose()), Ok(()));
        prop_assert_eq!(sum, values);
    }

    #[test]
    fn common_seeds_are_symmetric(left in any::<[u8; 32]>(), right in any::<[u8; 32]>(), iv in any::<[u8; 16]>()) {
        let [left, right] = [left, right].map(|key| PrngSeed::from_parts(&key, &iv).expect("a whole seed"));
        prop_assert_eq!(left.xor(&right), right.xor(&left));
        prop_assert_eq!(left.xor(&right).xor(&right), left);
    }
}
