//! The methods by kind of measurement, and computations made of them.

use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed, UniformGenerator};
use halo_crypto::ring::RingModulus;
use halo_crypto::secret_sharing::expand;
use halo_protocols::hmss::{
    FrequencyVectorParameters, MeasurementKind, Noise, Parameters,
    complete_reach_and_frequency_aggregation_phase, complete_reach_and_frequency_shuffle_phase,
    complete_reach_only_aggregation_phase, complete_reach_only_shuffle_phase,
};
use halo_protocols::kernel::{KernelContext, KernelError};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::frequency_count::SecretShare;
use halo_protocols::proto::protocol::{
    CompleteAggregationPhaseRequest, CompleteAggregationPhaseResponse, CompleteShufflePhaseRequest,
    CompleteShufflePhaseResponse,
};
use halo_protocols::testing::hmss::Fulfilment;

pub fn context(seed: u8) -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::new([seed; 32]))
}

pub fn shuffle(
    kind: MeasurementKind,
    request: &CompleteShufflePhaseRequest,
    context: &KernelContext,
) -> Result<CompleteShufflePhaseResponse, KernelError> {
    match kind {
        MeasurementKind::ReachAndFrequency => complete_reach_and_frequency_shuffle_phase(request, context),
        MeasurementKind::ReachOnly => complete_reach_only_shuffle_phase(request, context),
    }
}

pub fn aggregate(
    kind: MeasurementKind,
    request: &CompleteAggregationPhaseRequest,
) -> Result<CompleteAggregationPhaseResponse, KernelError> {
    match kind {
        MeasurementKind::ReachAndFrequency => {
            complete_reach_and_frequency_aggregation_phase(request, &context(0))
        }
        MeasurementKind::ReachOnly => complete_reach_only_aggregation_phase(request, &context(0)),
    }
}

pub fn parameters(kind: MeasurementKind, request: &CompleteShufflePhaseRequest) -> FrequencyVectorParameters {
    FrequencyVectorParameters::new(
        kind,
        request.frequency_vector_params.as_ref().unwrap(),
        request.noise_mechanism,
        request.reach_dp_params.as_ref(),
        request.frequency_dp_params.as_ref(),
    )
    .unwrap()
}

pub fn ring(modulus: u32) -> RingModulus {
    RingModulus::new(modulus).unwrap()
}

pub fn add(modulus: u32, left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut sum = left.to_vec();
    ring(modulus).add(&mut sum, right).unwrap();
    sum
}

/// What both shares of a vector add up to.
pub fn recombined(shares: &SecretShare, modulus: u32) -> Vec<u32> {
    let seed = shares.share_seed.as_ref().unwrap();
    let seed = PrngSeed::from_parts(&seed.key, &seed.iv).unwrap();
    let expanded = expand(&seed, shares.share_vector.len(), ring(modulus)).unwrap();
    add(modulus, &shares.share_vector, expanded.expose())
}

/// Where each register of a shuffled vector came from.
pub fn origins(parameters: &FrequencyVectorParameters, common_seed: &[u8]) -> Vec<usize> {
    let mut generator = UniformGenerator::new(&PrngSeed::from_bytes(common_seed).unwrap());
    let (registers, noise) = (parameters.register_count(), parameters.noise_length() as usize);
    if parameters.kind() == MeasurementKind::ReachOnly {
        generator.uniform_nonzero(registers, parameters.modulus()).unwrap();
    }
    if noise > 0 {
        generator.uniform(noise, parameters.modulus()).unwrap();
        generator.uniform(noise, parameters.modulus()).unwrap();
    }
    let mut origins: Vec<usize> = (0..registers + 2 * noise).collect();
    halo_crypto::shuffle(&mut origins, &generator.seed(), &Executor::serial()).unwrap();
    origins
}

/// A privacy guarantee that needs little noise.
pub const PRIVACY: DifferentialPrivacyParams = DifferentialPrivacyParams { epsilon: 4.0, delta: 0.02 };

pub fn machine_parameters(maximum_frequency: i32, mechanism: Option<NoiseMechanism>) -> Parameters {
    Parameters {
        maximum_frequency,
        ring_modulus: 127,
        vid_sampling_width: 1.0,
        noise: mechanism.map(|mechanism| Noise {
            mechanism: mechanism as i32,
            reach: PRIVACY,
            frequency: (maximum_frequency > 1).then_some(PRIVACY),
        }),
    }
}

/// The vectors, shared by a data provider each and handed to the workers in turn.
pub fn fulfilments(vectors: &[Vec<u32>], seed: u8) -> Vec<Fulfilment> {
    let fulfil = |(index, vector): (usize, &Vec<u32>)| {
        let context = context(seed.wrapping_add(index as u8));
        Fulfilment::new(format!("requisition{index}"), index % 2, vector.clone(), 127, &context).unwrap()
    };
    vectors.iter().enumerate().map(fulfil).collect()
}
