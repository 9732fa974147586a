//! The noise of each worker is distributed as it should be, seen from outside: both workers shuffle with many seeds, what
//! they send is added up and put back in order, and the numbers of each kind are compared with the exact distribution
//! (see [`draws`](crate::draws) for the significance).

use halo_protocols::hmss::MeasurementKind;
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::complete_shuffle_phase_request::frequency_vector_share::{
    ShareData, ShareType,
};
use halo_protocols::proto::protocol::complete_shuffle_phase_request::{
    FrequencyVectorShare, NonAggregatorOrder,
};
use halo_protocols::proto::protocol::{CompleteShufflePhaseRequest, ShareShuffleFrequencyVectorParams};

use halo_crypto::noise::{DistributedNoise, NoiseParameters, PrivacyParameters};
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;

use crate::draws::{Draws, probabilities};
use crate::run::{add, origins, parameters, shuffle};

const RUNS: u32 = 300;
const MODULUS: u32 = 127;
const MAXIMUM_COMBINED_FREQUENCY: u32 = 3;
/// Both noises are upstream's of blinded histograms, of two contributors.
const SENSITIVITY: u32 = 2;
const WORKERS: u8 = 2;

/// Little noise, so that many draws are cheap, but several values of each.
fn privacy(mechanism: NoiseMechanism) -> DifferentialPrivacyParams {
    match mechanism {
        NoiseMechanism::Geometric => DifferentialPrivacyParams { epsilon: 1.5, delta: 0.9 },
        _ => DifferentialPrivacyParams { epsilon: 2.0, delta: 0.5 },
    }
}

/// One worker's request for a vector of a single register.
fn request(
    kind: MeasurementKind,
    mechanism: NoiseMechanism,
    order: NonAggregatorOrder,
    run: u32,
) -> CompleteShufflePhaseRequest {
    let mut common_random_seed = vec![7; 48];
    common_random_seed[..4].copy_from_slice(&run.to_be_bytes());
    let privacy = Some(privacy(mechanism));
    let share = ShareType::Data(ShareData { values: vec![0] });
    CompleteShufflePhaseRequest {
        frequency_vector_params: Some(ShareShuffleFrequencyVectorParams {
            register_count: 1,
            maximum_combined_frequency: MAXIMUM_COMBINED_FREQUENCY as i32,
            ring_modulus: MODULUS as i32,
        }),
        common_random_seed,
        order: order.into(),
        reach_dp_params: privacy,
        frequency_dp_params: privacy.filter(|_| kind == MeasurementKind::ReachAndFrequency),
        noise_mechanism: mechanism.into(),
        frequency_vector_shares: vec![FrequencyVectorShare { share_type: Some(share) }],
    }
}

/// The noise registers of the first worker and those of the second, as they were drawn.
fn opened(kind: MeasurementKind, mechanism: NoiseMechanism, run: u32) -> [Vec<u32>; 2] {
    let orders = [NonAggregatorOrder::First, NonAggregatorOrder::Second];
    let requests = orders.map(|order| request(kind, mechanism, order, run));
    let [first, second] = [0, 1].map(|worker: usize| {
        let mut seed = [worker as u8; 32];
        seed[..4].copy_from_slice(&run.to_be_bytes());
        let context = KernelContext::new(Executor::serial(), StreamSeed::new(seed));
        shuffle(kind, &requests[worker], &context).unwrap().combined_frequency_vector
    });
    let parameters = parameters(kind, &requests[0]);
    let origins = origins(&parameters, &requests[0].common_random_seed);
    let mut ordered = vec![0; origins.len()];
    for (value, origin) in add(MODULUS, &first, &second).into_iter().zip(origins) {
        ordered[origin] = value;
    }
    let (first, second) = ordered[parameters.register_count()..].split_at(parameters.noise_length() as usize);
    [first.to_vec(), second.to_vec()]
}

fn offset(mechanism: NoiseMechanism) -> u32 {
    let DifferentialPrivacyParams { epsilon, delta } = privacy(mechanism);
    let parameters = NoiseParameters {
        privacy: PrivacyParameters { epsilon, delta },
        contributors: WORKERS.into(),
        sensitivity: SENSITIVITY,
    };
    let mechanism = match mechanism {
        NoiseMechanism::Geometric => halo_crypto::noise::NoiseMechanism::Geometric,
        _ => halo_crypto::noise::NoiseMechanism::DiscreteGaussian,
    };
    DistributedNoise::new(mechanism, &parameters).unwrap().offset()
}

fn exact(mechanism: NoiseMechanism) -> Vec<f64> {
    let DifferentialPrivacyParams { epsilon, delta } = privacy(mechanism);
    probabilities(mechanism, epsilon, delta, WORKERS, SENSITIVITY, offset(mechanism))
}

/// Each worker's number of registers of each kind: for frequencies how many hold 0, 1, 2, …, for reach alone how many are
/// not 0.
fn noise_is_exact(mechanism: NoiseMechanism) {
    let kinds = MAXIMUM_COMBINED_FREQUENCY as usize + 1;
    let new = || Draws::new(offset(mechanism));
    let mut of_values = [vec![new(); kinds], vec![new(); kinds]];
    let mut of_reach_alone = [new(), new()];
    for run in 0..RUNS {
        let opened_values = opened(MeasurementKind::ReachAndFrequency, mechanism, run);
        for (draws, noise) in of_values.iter_mut().zip(opened_values) {
            for (value, draws) in (0..).zip(draws) {
                draws.add(noise.iter().filter(|register| **register == value).count());
            }
        }
        let opened_reach = opened(MeasurementKind::ReachOnly, mechanism, run);
        for (draws, noise) in of_reach_alone.iter_mut().zip(opened_reach) {
            draws.add(noise.iter().filter(|register| **register != 0).count());
        }
    }
    let exact = exact(mechanism);
    for (worker, (of_values, of_reach_alone)) in of_values.iter().zip(&of_reach_alone).enumerate() {
        for (value, draws) in of_values.iter().enumerate() {
            draws.check(&format!("worker {worker}, registers that hold {value}"), &exact);
        }
        of_reach_alone.check(&format!("worker {worker}, reach alone"), &exact);
    }
}

#[test]
fn geometric_noise_is_exact() {
    noise_is_exact(NoiseMechanism::Geometric);
}

#[test]
fn gaussian_noise_is_exact() {
    noise_is_exact(NoiseMechanism::DiscreteGaussian);
}
