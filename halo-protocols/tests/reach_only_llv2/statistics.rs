//! Each noise of the setup phase is distributed as it should be, seen from outside: the phase is run with many seeds on an
//! empty sketch, what it emits is opened, and the numbers of each kind are compared with the exact distribution (see
//! [`draws`](crate::draws) for the significance).

use std::collections::BTreeMap;

use halo_crypto::count::count_points;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, Ristretto255};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use halo_protocols::sketch::Layout;

use crate::draws::{Draws, probabilities};
use crate::measurement::{Measurement, Noise, context};
use crate::opening::{Opener, Plaintext, hash, plaintext};
use crate::run::Run;

type G = Ristretto255;

const RUNS: u32 = 150;
const DUCHIES: u8 = 3;
const SKETCHES: u32 = 2;

fn noise_is_exact(mechanism: NoiseMechanism) {
    let noise = Noise::little(mechanism);
    let measurement = Measurement {
        maximum_frequency: 1,
        total_sketches_count: SKETCHES as i32,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        width: 1.0,
        noise: Some(noise),
    };
    let mut run = Run::<G>::new(measurement, DUCHIES, context(0));
    let opener = Opener::<G>::new(&run.pairs);
    let offset =
        |privacy, sensitivity| noise.distribution(privacy, usize::from(DUCHIES), sensitivity).offset();
    let offsets =
        [offset(noise.blind_histogram, 2), offset(noise.publisher, SKETCHES), offset(noise.reach, 1)];
    let [blind, publisher, reach] = offsets;
    let mut blind_draws = [Draws::new(blind), Draws::new(blind)];
    let (mut publisher_draws, mut reach_draws) = (Draws::new(publisher), Draws::new(reach));

    let id = Layout::REACH_ONLY_REGISTER.column(0);
    let numbers: Vec<Plaintext> = std::iter::once(G::identity())
        .chain(count_points::<G>(2 * SKETCHES * blind))
        .map(|point| plaintext::<G>(&point))
        .collect();
    for seed in 0..RUNS {
        let mut bytes = [mechanism as u8; 32];
        bytes[..4].copy_from_slice(&seed.to_be_bytes());
        run.context = KernelContext::new(Executor::serial(), StreamSeed::new(bytes));
        let blob = run.setup_at_aggregator(Vec::new(), Vec::new()).unwrap();
        let mut groups = BTreeMap::<Plaintext, usize>::new();
        for id in opener.column(&blob.registers, id) {
            *groups.entry(id).or_default() += 1;
        }
        // One more than was drawn.
        publisher_draws.add(groups.remove(&hash::<G>("publisher_noise_register_id")).unwrap() - 1);
        groups.remove(&hash::<G>("padding_noise_register_id")).unwrap();
        // Ids of the blinded histogram's first bucket look like those of reach noise, but there is word of their number.
        let excessive = opener.column(&blob.excessive_noise, id).remove(0);
        let blinded = numbers.iter().position(|number| *number == excessive).unwrap();
        let twice = groups.values().filter(|size| **size == 2).count();
        blind_draws[0].add(blinded - twice);
        blind_draws[1].add(twice);
        reach_draws.add(groups.len() - blinded);
    }
    let exact = |privacy: DifferentialPrivacyParams, sensitivity, offset| {
        probabilities(mechanism, privacy.epsilon, privacy.delta, DUCHIES, sensitivity, offset)
    };
    for (bucket, draws) in blind_draws.iter().enumerate() {
        let what = format!("blinded histogram, bucket {}", bucket + 1);
        draws.check(&what, &exact(noise.blind_histogram, 2, blind));
    }
    publisher_draws.check("publisher", &exact(noise.publisher, SKETCHES, publisher));
    reach_draws.check("reach", &exact(noise.reach, 1, reach));
}

#[test]
fn geometric_noise_is_exact() {
    noise_is_exact(NoiseMechanism::Geometric);
}

#[test]
fn gaussian_noise_is_exact() {
    noise_is_exact(NoiseMechanism::DiscreteGaussian);
}
