//! Whole computations: from recorded vectors to the recorded results, by our stages alone and mixed with upstream's;
//! and of any vectors, against plain counting.

use std::collections::BTreeMap;

use halo_crypto::noise::{DistributedNoise, NoiseMechanism as Mechanism, NoiseParameters, PrivacyParameters};
use halo_crypto::prg::PrngSeed;
use halo_protocols::hmss::{MeasurementKind, generate_secret_shares};
use halo_protocols::proto::duchy::NoiseMechanism;
use halo_protocols::proto::frequency_count::SecretShareGeneratorRequest;
use halo_protocols::proto::protocol::complete_aggregation_phase_request::ShareData as ShuffledShare;
use halo_protocols::proto::protocol::complete_shuffle_phase_request::frequency_vector_share::{
    ShareData, ShareType,
};
use halo_protocols::proto::protocol::complete_shuffle_phase_request::{
    FrequencyVectorShare, NonAggregatorOrder,
};
use halo_protocols::proto::protocol::{
    CompleteAggregationPhaseRequest, CompleteAggregationPhaseResponse, CompleteShufflePhaseRequest,
    CompleteShufflePhaseResponse, ShareShuffleFrequencyVectorParams,
};
use proptest::prelude::*;

use crate::case::Case;
use crate::run::{aggregate, context, shuffle};

/// Upstream's recorded requests and responses of the workers, and ours to the same requests.
fn shuffled(case: &Case) -> [[Vec<u32>; 2]; 2] {
    let stages = case.stages_of("ShufflePhase");
    [0, 1].map(|index| {
        let request: CompleteShufflePhaseRequest = stages[index].request();
        let recorded: CompleteShufflePhaseResponse = stages[index].response();
        let ours = shuffle(case.kind(), &request, &context(5 + index as u8)).unwrap();
        [recorded.combined_frequency_vector, ours.combined_frequency_vector]
    })
}

fn aggregated(case: &Case, shares: [&Vec<u32>; 2]) -> CompleteAggregationPhaseResponse {
    let mut request: CompleteAggregationPhaseRequest = case.stages_of("AggregationPhase")[0].request();
    request.frequency_vector_shares =
        shares.map(|share| ShuffledShare { share_vector: share.clone() }).to_vec();
    aggregate(case.kind(), &request).unwrap()
}

#[test]
fn our_stages_and_upstreams_can_be_mixed() {
    for case in Case::all() {
        let [first, second] = shuffled(&case);
        for (left, right) in [(0, 1), (1, 0), (1, 1)] {
            let result = aggregated(&case, [&first[left], &second[right]]);
            if case.has_noise() {
                check_near(&case, &result);
            } else {
                assert_eq!(result.reach, case.expected("reach_without_noise"), "{}", case.name);
                let expected = case.expected_distribution("frequency_distribution_without_noise");
                assert_eq!(result.frequency_distribution, expected, "{}", case.name);
            }
        }
    }
}

/// No worker's component is further than its offset from its mean.
fn check_near(case: &Case, result: &CompleteAggregationPhaseResponse) {
    let request: CompleteShufflePhaseRequest = case.stages_of("ShufflePhase")[0].request();
    let mechanism = match request.noise_mechanism() {
        NoiseMechanism::Geometric => Mechanism::Geometric,
        NoiseMechanism::DiscreteGaussian => Mechanism::DiscreteGaussian,
        other => panic!("{other:?}"),
    };
    let offset = |privacy: halo_protocols::proto::duchy::DifferentialPrivacyParams| {
        let privacy = PrivacyParameters { epsilon: privacy.epsilon, delta: privacy.delta };
        let parameters = NoiseParameters { privacy, contributors: 2, sensitivity: 2 };
        i64::from(DistributedNoise::new(mechanism, &parameters).unwrap().offset())
    };
    let reach_bound = 2 * offset(request.reach_dp_params.unwrap());
    let registers = case.expected("true_non_zero_registers");
    let error = (result.reach as f64 * case.width()).round() as i64 - registers;
    assert!(error.abs() <= reach_bound + 1, "{}: {error} is more than {reach_bound}", case.name);
    if case.kind() == MeasurementKind::ReachAndFrequency {
        let total: f64 = result.frequency_distribution.values().sum();
        assert!((total - 1.0).abs() < 1e-9, "{}", case.name);
        // A bucket is off by its own noise, the last by everybody's; the total by that of reach.
        let frequency_bound = 2 * offset(request.frequency_dp_params.unwrap());
        let bound = (frequency_bound * i64::from(case.maximum_frequency()) + 2 * reach_bound) as f64;
        let exact = case.expected_distribution("frequency_distribution_without_noise");
        for (frequency, share) in exact {
            let found = result.frequency_distribution.get(&frequency).copied().unwrap_or(0.0);
            let error = (found - share).abs() * registers as f64;
            assert!(error <= bound, "{}: frequency {frequency} off by {error}", case.name);
        }
    }
}

/// A computation of the given vectors without noise, each handed out as a pair of shares, alternately.
fn computed(
    kind: MeasurementKind,
    vectors: &[Vec<u32>],
    maximum_frequency: u32,
    modulus: u32,
    seed: u8,
) -> CompleteAggregationPhaseResponse {
    let params = ShareShuffleFrequencyVectorParams {
        register_count: vectors[0].len() as i64,
        maximum_combined_frequency: maximum_frequency as i32 * vectors.len() as i32,
        ring_modulus: modulus as i32,
    };
    let mut shares = [Vec::new(), Vec::new()];
    for (index, data) in vectors.iter().enumerate() {
        let request = SecretShareGeneratorRequest { ring_modulus: modulus, data: data.clone() };
        let shared = generate_secret_shares(&request, &context(seed.wrapping_add(index as u8))).unwrap();
        let prng = shared.share_seed.as_ref().unwrap();
        let prng = PrngSeed::from_parts(&prng.key, &prng.iv).unwrap();
        shares[index % 2].push(ShareType::Data(ShareData { values: shared.share_vector }));
        shares[1 - index % 2].push(ShareType::Seed(prng.as_bytes().to_vec()));
    }
    let orders = [NonAggregatorOrder::First, NonAggregatorOrder::Second];
    let frequency_vector_shares = std::iter::zip(orders, shares).map(|(order, shares)| {
        let request = CompleteShufflePhaseRequest {
            frequency_vector_params: Some(params),
            common_random_seed: vec![seed; 48],
            order: order as i32,
            reach_dp_params: None,
            frequency_dp_params: None,
            noise_mechanism: NoiseMechanism::None as i32,
            frequency_vector_shares: shares
                .into_iter()
                .map(|share| FrequencyVectorShare { share_type: Some(share) })
                .collect(),
        };
        let response = shuffle(kind, &request, &context(seed)).unwrap();
        ShuffledShare { share_vector: response.combined_frequency_vector }
    });
    let request = CompleteAggregationPhaseRequest {
        frequency_vector_params: Some(params),
        maximum_frequency: maximum_frequency as i32,
        frequency_vector_shares: frequency_vector_shares.collect(),
        vid_sampling_interval_width: 1.0,
        reach_dp_params: None,
        frequency_dp_params: None,
        noise_mechanism: NoiseMechanism::None as i32,
    };
    aggregate(kind, &request).unwrap()
}

/// Vectors of equal length whose values are at most the maximum frequency; at least one value is not 0.
fn vectors(maximum_frequency: u32) -> impl Strategy<Value = Vec<Vec<u32>>> {
    (1..50usize, 1..5usize)
        .prop_flat_map(move |(registers, providers)| {
            let vector = prop::collection::vec(0..=maximum_frequency, registers);
            prop::collection::vec(vector, providers)
        })
        .prop_map(|mut vectors| {
            vectors[0][0] = 1;
            vectors
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn without_noise_the_result_is_the_plain_count(
        vectors in vectors(5),
        modulus in prop_oneof![Just(127u32), 22..200u32, 257..1000u32, Just(70_001)],
        seed in any::<u8>(),
    ) {
        let result = computed(MeasurementKind::ReachAndFrequency, &vectors, 5, modulus, seed);
        let sums = (0..vectors[0].len()).map(|register| vectors.iter().map(|vector| vector[register]).sum::<u32>());
        let sums: Vec<u32> = sums.filter(|sum| *sum > 0).collect();
        let mut counts = BTreeMap::<i64, u64>::new();
        for sum in &sums {
            *counts.entry(i64::from(*sum.min(&5))).or_default() += 1;
        }
        let shares: BTreeMap<_, _> =
            counts.into_iter().map(|(value, count)| (value, count as f64 / sums.len() as f64)).collect();
        prop_assert_eq!(result.reach, sums.len() as i64);
        prop_assert_eq!(result.frequency_distribution, shares);
    }

    #[test]
    fn without_noise_reach_alone_is_the_plain_count(
        vectors in vectors(1),
        modulus in prop_oneof![Just(127u32), Just(7), Just(257), Just(65_537), Just(1_073_741_789)],
        seed in any::<u8>(),
    ) {
        let result = computed(MeasurementKind::ReachOnly, &vectors, 1, modulus, seed);
        let reached = |register: &usize| vectors.iter().any(|vector| vector[*register] > 0);
        prop_assert_eq!(result.reach, (0..vectors[0].len()).filter(reached).count() as i64);
        prop_assert!(result.frequency_distribution.is_empty());
    }
}
