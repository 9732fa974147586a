//! Whether secrets show in the time that an operation takes, statistically: `cargo run --release -p halo-benches --example
//! timing [SECONDS]`, five for each operation if nothing is said, after a thousand samples that tell the usual time.
//!
//! Two kinds of inputs take turns in random order, and Welch's t tells how sure their means differ (the method of
//! Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?", 2017): beyond ±4.5 something shows, if it is
//! so each time; other work on the machine can cause it too. What follows secrets for certain is
//! `halo-crypto/tests/constant_time`. Noise is drawn by rejection, which takes time that varies by design; what matters is
//! whether the time tells the value, so there the two kinds are small and large draws.

use std::hint::black_box;
use std::time::{Duration, Instant};

use halo_benches::{choose_backend, rng};
use halo_crypto::noise::{DistributedNoise, NoiseMechanism, NoiseParameters, PrivacyParameters};
use halo_crypto::{Group, P256, Ristretto255};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

/// An operation: on a batch, with the points of its other operand, by secrets of the kind.
type Operation<'a, G> = &'a dyn Fn(&mut [<G as Group>::Point], &[<G as Group>::Point], usize);
/// Told of which kind a sample was, and how long it took.
type Tell<'a> = &'a mut dyn FnMut(bool, Duration);

/// Points of a batch.
const COUNT: usize = 32;
/// Samples that tell the usual time, and count for nothing else.
const CALIBRATION: usize = 1000;
/// What Welch's t seldom exceeds by chance.
const SUSPICIOUS: f64 = 4.5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |argument| argument.parse())?;
    let budget = Duration::from_secs(seconds);
    choose_backend()?;
    println!("{:<66} {:>10} {:>8}", "operation: inputs compared", "samples", "t");
    group::<P256>(budget);
    group::<Ristretto255>(budget);
    for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
        let privacy = PrivacyParameters { epsilon: 0.1, delta: 1e-9 };
        let noise =
            DistributedNoise::new(mechanism, &NoiseParameters { privacy, contributors: 3, sensitivity: 2 })?;
        let mut rng = rng();
        compare(&format!("{mechanism:?}: draws below and above the offset"), budget, &mut |_, time| {
            let started = Instant::now();
            let drawn = black_box(noise.sample(&mut rng));
            time(drawn > noise.offset(), started.elapsed());
        });
    }
    Ok(())
}

fn group<G: Group>(budget: Duration) {
    let mut rng = rng();
    let mut random = || G::random_scalar(&mut rng);
    let scalars: [Vec<G::Scalar>; 2] =
        [vec![G::Scalar::from(1); COUNT], (0..COUNT).map(|_| random()).collect()];
    let factors: Vec<_> = (0..COUNT).map(|_| random()).collect();
    let points = G::fixed_base_multiples(G::fixed_generator(), &factors);
    // All of them the same point, and so equal or opposite wherever two meet.
    let kinds = [vec![points[0]; COUNT], points];
    let (mut batch, mut right) = (kinds[1].clone(), kinds[1].clone());
    let mut check = |name: &str, run: Operation<'_, G>| {
        compare(&format!("{} {name}", G::NAME), budget, &mut |kind, time| {
            // In the same places for both kinds, and twice: the first run brings caches to the same state.
            for last in [false, true] {
                batch.copy_from_slice(&kinds[1]);
                right.copy_from_slice(&kinds[1 - kind]);
                right.copy_from_slice(&kinds[kind]);
                let started = Instant::now();
                run(black_box(&mut batch), black_box(&right), kind);
                if last {
                    time(kind == 1, started.elapsed());
                }
            }
        });
    };
    check("scale: by 1 and by a random secret", &|batch, _, kind| G::scale(batch, &scalars[kind][0]));
    check("scale_each: by 1 and by random secrets", &|batch, _, kind| G::scale_each(batch, &scalars[kind]));
    check("multiples of a fixed base: by 1 and by random secrets", &|batch, _, kind| {
        G::add_fixed_base_multiples(batch, G::fixed_generator(), &scalars[kind]);
    });
    check("double_scale: by 1 and by a random secret", &|batch, right, kind| {
        G::double_scale(batch, &scalars[kind][0], right, &scalars[kind][1]);
    });
    check("add: one point and different ones", &|batch, right, _| G::add(batch, right));
}

/// Runs samples of both kinds until the usual time is known, and then until `budget` is used up. `sample` is told which kind
/// is wanted, and tells of which kind the one that it timed was.
fn compare(name: &str, budget: Duration, sample: &mut dyn FnMut(usize, Tell<'_>)) {
    let mut order: ChaCha20Rng = rng();
    let mut moments = [Moments::default(), Moments::default()];
    // Interruptions say nothing about secrets: what is far above the usual time is left out, for both kinds alike.
    let mut usual: Vec<Duration> = Vec::new();
    let mut limit = Duration::MAX;
    let mut started = Instant::now();
    while usual.len() < CALIBRATION || started.elapsed() < budget {
        let wanted = (order.next_u32() & 1) as usize;
        sample(wanted, &mut |kind, time| {
            if usual.len() < CALIBRATION {
                usual.push(time);
                if usual.len() == CALIBRATION {
                    usual.sort_unstable();
                    limit = usual[CALIBRATION * 9 / 10];
                    started = Instant::now();
                }
            } else if time <= limit {
                moments[usize::from(kind)].add(time.as_secs_f64());
            }
        });
    }
    let t = Moments::welch(&moments);
    let samples = moments[0].count + moments[1].count;
    let verdict = if t.abs() > SUSPICIOUS { "  shows" } else { "" };
    println!("{name:<66} {samples:>10} {t:>8.2}{verdict}");
}

/// Mean and variance of a stream of numbers (Welford's method).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let difference = value - self.mean;
        self.mean += difference / self.count;
        self.squares += difference * (value - self.mean);
    }

    fn welch([one, other]: &[Self; 2]) -> f64 {
        let error = |of: &Self| of.squares / (of.count - 1.0) / of.count;
        (one.mean - other.mean) / (error(one) + error(other)).sqrt()
    }
}
