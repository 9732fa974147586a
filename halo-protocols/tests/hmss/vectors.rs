//! Every recorded request, answered by our kernels and compared with the recorded response.
//!
//! The manifest's `check` says how:
//! - `random`: both the recorded shares and ours add up to the vector; with the recorded seed, ours are the recorded.
//! - `vector`: the shuffled vector is the recorded one, register by register.
//! - `structure`: put back in order, our vector equals the recorded one except in this worker's own noise; opened with
//!   the other worker's recorded vector, that noise has the form it must have.
//! - `value`: the result is the recorded one, exactly.

use halo_crypto::prg::PrngSeed;
use halo_crypto::secret_sharing::split_with_seed;
use halo_protocols::hmss::{MeasurementKind, generate_secret_shares};
use halo_protocols::proto::frequency_count::{SecretShare, SecretShareGeneratorRequest};
use halo_protocols::proto::protocol::{
    CompleteAggregationPhaseRequest, CompleteAggregationPhaseResponse, CompleteShufflePhaseRequest,
    CompleteShufflePhaseResponse,
};

use crate::case::{CASES, Case};
use crate::recorded::assert_all_recorded;
use crate::run::{add, aggregate, context, origins, parameters, recombined, ring, shuffle};

#[test]
fn every_recorded_computation_is_listed() {
    assert_all_recorded("hmss_", &CASES);
}

#[test]
fn shares_add_up_and_equal_the_recorded_ones() {
    for case in Case::all() {
        for stage in case.stages_of("GenerateSecretShares") {
            assert_eq!(stage.check, "random");
            let request: SecretShareGeneratorRequest = stage.request();
            let recorded: SecretShare = stage.response();
            assert_eq!(recombined(&recorded, case.modulus()), request.data, "{} {}", case.name, stage.actor);

            let seed = recorded.share_seed.as_ref().unwrap();
            let seed = PrngSeed::from_parts(&seed.key, &seed.iv).unwrap();
            let again = split_with_seed(&request.data, ring(request.ring_modulus), seed).unwrap();
            assert_eq!(again.vector.expose(), &recorded.share_vector, "{} {}", case.name, stage.actor);

            let ours = generate_secret_shares(&request, &context(1)).unwrap();
            assert_eq!(recombined(&ours, case.modulus()), request.data);
            let other = generate_secret_shares(&request, &context(2)).unwrap();
            assert_ne!(ours.share_seed, other.share_seed);
        }
    }
}

#[test]
fn shuffled_vectors_equal_the_recorded_ones() {
    let mut exact = 0;
    for case in Case::all() {
        for stage in case.stages_of("ShufflePhase") {
            let request: CompleteShufflePhaseRequest = stage.request();
            let recorded: CompleteShufflePhaseResponse = stage.response();
            let ours = shuffle(case.kind(), &request, &context(1)).unwrap();
            let length = case.expected("shuffled_vector_length") as usize;
            assert_eq!(ours.combined_frequency_vector.len(), length, "{} {}", case.name, stage.actor);
            match stage.check.as_str() {
                "vector" => {
                    assert_eq!(ours.combined_frequency_vector, recorded.combined_frequency_vector);
                    exact += 1;
                }
                "structure" => check_own_noise_alone_differs(
                    &case,
                    &request,
                    [&ours.combined_frequency_vector, &recorded.combined_frequency_vector],
                ),
                other => panic!("check {other}"),
            }
        }
    }
    assert_eq!(exact, 12);
}

fn check_own_noise_alone_differs(case: &Case, request: &CompleteShufflePhaseRequest, vectors: [&[u32]; 2]) {
    let parameters = parameters(case.kind(), request);
    let (registers, noise) = (parameters.register_count(), parameters.noise_length() as usize);
    let own_start = registers + (request.order - 1) as usize * noise;
    let own = own_start..own_start + noise;
    let origins = origins(&parameters, &request.common_random_seed);
    for (position, origin) in origins.iter().enumerate() {
        if !own.contains(origin) {
            assert_eq!(vectors[0][position], vectors[1][position], "{} register {origin}", case.name);
        }
    }
    assert_ne!(vectors[0], vectors[1], "{}: our noise is as random as upstream's", case.name);
}

#[test]
fn opened_noise_has_its_form() {
    for case in Case::all().filter(Case::has_noise) {
        let stages = case.stages_of("ShufflePhase");
        let [first, second] = [0, 1].map(|index| {
            let request: CompleteShufflePhaseRequest = stages[index].request();
            let ours = shuffle(case.kind(), &request, &context(1 + index as u8)).unwrap();
            let recorded: CompleteShufflePhaseResponse = stages[index].response();
            (request, ours.combined_frequency_vector, recorded.combined_frequency_vector)
        });
        let parameters = parameters(case.kind(), &first.0);
        let origins = origins(&parameters, &first.0.common_random_seed);
        for (left, right) in
            [(&first.2, &second.2), (&first.1, &second.2), (&first.2, &second.1), (&first.1, &second.1)]
        {
            let sum = add(case.modulus(), left, right);
            let mut ordered = vec![0; sum.len()];
            for (value, origin) in sum.into_iter().zip(&origins) {
                ordered[*origin] = value;
            }
            let noise = parameters.noise_length() as usize;
            for own in ordered[parameters.register_count()..].chunks_exact(noise) {
                check_form(case.kind(), own, parameters.maximum_combined_frequency(), case.modulus());
            }
        }
    }
}

/// For frequencies ascending values, then sentinels; for reach alone values other than 0, then zeros.
fn check_form(kind: MeasurementKind, noise: &[u32], maximum: u32, modulus: u32) {
    match kind {
        MeasurementKind::ReachAndFrequency => {
            assert!(noise.is_sorted());
            assert!(noise.iter().all(|value| *value <= maximum || *value == modulus - 1));
            assert!((0..=maximum).all(|value| noise.contains(&value)), "every kind is drawn, {noise:?}");
        }
        MeasurementKind::ReachOnly => {
            let drawn = noise.iter().take_while(|value| **value != 0).count();
            assert!(drawn > 0 && drawn < noise.len());
            assert!(noise[drawn..].iter().all(|value| *value == 0));
        }
    }
}

#[test]
fn results_equal_the_recorded_ones() {
    for case in Case::all() {
        let stages = case.stages_of("AggregationPhase");
        assert_eq!(stages.len(), 1);
        assert_eq!(stages[0].check, "value");
        let request: CompleteAggregationPhaseRequest = stages[0].request();
        let recorded: CompleteAggregationPhaseResponse = stages[0].response();
        let ours = aggregate(case.kind(), &request).unwrap();
        assert_eq!(ours.reach, recorded.reach, "{}", case.name);
        assert_eq!(ours.frequency_distribution, recorded.frequency_distribution, "{}", case.name);
        assert_eq!(ours.reach, case.expected("final_reach"), "{}", case.name);
        let expected = case.expected_distribution("final_frequency_distribution");
        assert_eq!(ours.frequency_distribution, expected, "{}", case.name);
    }
}

#[test]
fn common_seeds_are_what_the_workers_make_of_theirs() {
    for case in Case::all() {
        let [first, second, common] = ["first_worker", "second_worker", "common_xor"]
            .map(|of| PrngSeed::from_bytes(&case.random_seed(of)).unwrap());
        assert_eq!(first.xor(&second), common);
        for stage in case.stages_of("ShufflePhase") {
            let request: CompleteShufflePhaseRequest = stage.request();
            assert_eq!(request.common_random_seed, common.as_bytes());
        }
    }
}
