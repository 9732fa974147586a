//! What an operation costs, for whoever works on the backend:
//! `cargo test --release -p halo-crypto --lib p256::tests::speed -- --ignored --nocapture`.

#![expect(clippy::disallowed_methods, reason = "it measures the time")]

use std::hint::black_box;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::oracle::Oracle;
use crate::backend::tests::on_each_backend;
use crate::testing::random_points;
use crate::{Backend, Group, P256};

/// Prints the shortest time of several rounds, divided by `count`.
fn report(name: &str, count: usize, mut operation: impl FnMut()) {
    let round = || {
        let start = Instant::now();
        operation();
        start.elapsed().as_secs_f64()
    };
    let best = std::iter::repeat_with(round).take(9).fold(f64::INFINITY, f64::min);
    println!("{name:>28} {:9.3} µs", best * 1e6 / count as f64);
}

#[test]
#[ignore = "measures, proves nothing"]
fn speed() {
    on_each_backend(operations);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let scalar = P256::random_scalar(&mut rng);
    let mut work = vec![Oracle::hash_one(b"base"); 16];
    report("scale, by the p256 crate", 16, || Oracle::scale(&mut work, &scalar));
}

fn operations() {
    println!("{}", Backend::active());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for count in [1, 16, 128, 512, 4096] {
        println!("{count} points");
        let points = random_points::<P256, _>(count, &mut rng);
        let others = random_points::<P256, _>(count, &mut rng);
        let scalars: Vec<_> = (0..count).map(|_| P256::random_scalar(&mut rng)).collect();
        let [a, b] = [P256::random_scalar(&mut rng), P256::random_scalar(&mut rng)];
        let messages: Vec<String> = (0..count).map(|index| index.to_string()).collect();
        let mut bytes = vec![0; count * P256::POINT_LENGTH];
        let mut work = points.clone();

        let base = P256::fixed_base(&others[0]);

        report("add", count, || P256::add(&mut work, &others));
        report("scale", count, || P256::scale(&mut work, &a));
        report("scale_each", count, || P256::scale_each(&mut work, &scalars));
        report("double_scale", count, || P256::double_scale(&mut work, &a, &others, &b));
        report("add_fixed_base_multiples", count, || {
            P256::add_fixed_base_multiples(&mut work, &base, &scalars);
        });
        report("encode", count, || assert_eq!(P256::encode(&points, &mut bytes), Ok(())));
        report("decode", count, || assert_eq!(P256::decode(&bytes, &mut work), Ok(())));
        report("hash_to_group", count, || P256::hash_to_group(&messages, &mut work));
        report("sum", count, || work[0] = P256::sum(&points));
    }
    report("fixed_base", 1, || drop(black_box(P256::fixed_base(&P256::hash_one(b"base")))));
}
