//! Whole computations with our kernels: from recorded sketches and keys to the recorded results, starting afresh and
//! from the middle of upstream's computation, and the same people in the other group.

use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::data_provider::plain_sketch;
use halo_protocols::proto::any_sketch::crypto::{EncryptSketchRequest, EncryptSketchResponse};
use halo_protocols::proto::protocol::{
    CompleteExecutionPhaseOneAtAggregatorRequest, CompleteExecutionPhaseOneRequest,
    CompleteExecutionPhaseThreeAtAggregatorRequest, CompleteExecutionPhaseThreeRequest,
    CompleteExecutionPhaseTwoAtAggregatorRequest, CompleteExecutionPhaseTwoRequest,
};
use prost::Message;

use crate::case::Case;
use crate::run::{Outcome, Run, context};

fn expected(case: &Case, kind: &str) -> Outcome {
    let reach_only = case.measurement().maximum_frequency == 1;
    let distribution = match (reach_only, kind) {
        (true, _) => Vec::new(),
        (false, "final") => case.expected_distribution("final_frequency_distribution"),
        (false, _) => case.expected_distribution("frequency_distribution_without_noise"),
    };
    let reach = if kind == "final" { "final_reach" } else { "reach_without_noise" };
    Outcome { reach: case.expected_reach(reach), distribution }
}

/// The recorded sketches, joined for each duchy in ring order.
fn recorded_requisitions(case: &Case) -> Vec<Vec<u8>> {
    let mut requisitions = vec![Vec::new(); case.key_pairs().len()];
    for (provider, stage) in case.data_providers().iter().zip(case.stages_of("EncryptSketch")) {
        let response = EncryptSketchResponse::decode(stage.response.as_slice()).unwrap();
        requisitions[provider.duchy].extend(response.encrypted_sketch);
    }
    requisitions
}

/// The same people's sketches, built and encrypted by us.
fn fresh_requisitions<G: Group>(case: &Case, run: &Run<G>) -> Vec<Vec<u8>> {
    let mut requisitions = vec![Vec::new(); run.pairs.len()];
    for provider in case.data_providers() {
        let sketch = plain_sketch(&case.sketch_parameters(), provider.impressions);
        requisitions[provider.duchy].extend(run.encrypt(sketch));
    }
    requisitions
}

#[test]
fn plain_sketches_equal_the_recorded_ones() {
    for case in Case::all() {
        for (provider, stage) in case.data_providers().into_iter().zip(case.stages_of("EncryptSketch")) {
            let request = EncryptSketchRequest::decode(stage.request.as_slice()).unwrap();
            let mut recorded = request.sketch.unwrap().registers;
            recorded.sort_by_key(|register| register.index);
            let ours = plain_sketch(&case.sketch_parameters(), provider.impressions);
            assert_eq!(ours.registers, recorded, "{}", case.name);
        }
    }
}

#[test]
fn recorded_sketches_end_in_the_recorded_result() {
    for case in Case::all().filter(|case| !case.has_noise()) {
        let run = Run::<P256>::with_keys(case.measurement(), case.key_pairs(), context(1));
        let outcome = run.complete(&recorded_requisitions(&case)).unwrap();
        assert_eq!(outcome, expected(&case, "without_noise"), "{}", case.name);
        assert_eq!(outcome, expected(&case, "final"), "{}", case.name);
    }
}

#[test]
fn recorded_people_end_in_the_recorded_result_on_ristretto255() {
    for case in Case::all() {
        let mut measurement = case.measurement();
        measurement.noise = None;
        let run = Run::<Ristretto255>::new(measurement, case.key_pairs().len() as u8, context(2));
        let outcome = run.complete(&fresh_requisitions(&case, &run)).unwrap();
        assert_eq!(outcome, expected(&case, "without_noise"), "{}", case.name);
    }
}

#[test]
fn noisy_results_are_as_far_off_as_noise_allows() {
    for case in Case::all().filter(Case::has_noise) {
        let measurement = case.measurement();
        let noise = measurement.noise.unwrap();
        let duchies = case.key_pairs().len();
        let run = Run::<Ristretto255>::new(measurement, duchies as u8, context(3));
        let outcome = run.complete(&fresh_requisitions(&case, &run)).unwrap();
        // No duchy's component is further than its offset from the mean; a person less is several less in reach.
        // One more register may remain of publisher noise, and one of padding, at each duchy.
        let offset = noise.distribution(noise.reach, duchies, 1).offset() as i64;
        let registers = (offset + 2) * duchies as i64;
        let without = expected(&case, "without_noise").reach;
        let per_register = 2.0 * (1.0 / f64::from(run.measurement.width));
        let allowed = (registers as f64 * per_register) as i64;
        println!("{}: reach {} with noise, {without} without, ±{allowed}", case.name, outcome.reach);
        assert!((outcome.reach - without).abs() <= allowed, "{}: {outcome:?}", case.name);
        if run.measurement.maximum_frequency > 1 {
            let total: f64 = outcome.distribution.iter().map(|(_, share)| share).sum();
            assert!((total - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn our_stages_take_over_from_any_stage_of_upstream() {
    for case in Case::all() {
        let run = Run::<P256>::with_keys(case.measurement(), case.key_pairs(), context(4));
        let result = expected(&case, "final");
        let exact = !case.has_noise() || run.measurement.maximum_frequency == 1;
        let finish = |from: &str, matrix: Vec<u8>, position: usize, reach: i64| {
            if run.measurement.maximum_frequency == 1 {
                return assert_eq!(reach, result.reach, "{} from {from}", case.name);
            }
            let matrix = run.phase_three(matrix, position).unwrap();
            let outcome = Outcome { reach, distribution: run.phase_three_at_aggregator(matrix).unwrap() };
            assert_eq!(outcome, result, "{} from {from}", case.name);
        };
        let from_tuples = |from: &str, tuples: Vec<u8>| {
            let (reach, matrix) = run.phase_two_at_aggregator(tuples).unwrap();
            finish(from, matrix, 0, reach);
        };
        for stage in case.stages() {
            let (position, from) = (case.position_or_zero(&stage.actor), stage.method.as_str());
            let request = stage.request.as_slice();
            // Our noise is other noise: before phase two at the aggregator, only computations without any that is drawn
            // after setup end in the recorded numbers.
            match from {
                "CompleteExecutionPhaseOne" if exact => {
                    let request = CompleteExecutionPhaseOneRequest::decode(request).unwrap();
                    let registers = run.phase_one(request.combined_register_vector, position).unwrap();
                    let tuples = run.phase_one_at_aggregator(registers).unwrap();
                    from_tuples(from, run.phase_two(tuples, 0).unwrap());
                }
                "CompleteExecutionPhaseOneAtAggregator" if exact => {
                    let request = CompleteExecutionPhaseOneAtAggregatorRequest::decode(request).unwrap();
                    let tuples = run.phase_one_at_aggregator(request.combined_register_vector).unwrap();
                    from_tuples(from, run.phase_two(tuples, 0).unwrap());
                }
                "CompleteExecutionPhaseTwo" if exact => {
                    let request = CompleteExecutionPhaseTwoRequest::decode(request).unwrap();
                    from_tuples(from, run.phase_two(request.flag_count_tuples, position).unwrap());
                }
                "CompleteExecutionPhaseTwoAtAggregator" => {
                    let request = CompleteExecutionPhaseTwoAtAggregatorRequest::decode(request).unwrap();
                    from_tuples(from, request.flag_count_tuples);
                }
                "CompleteExecutionPhaseThree" => {
                    let request = CompleteExecutionPhaseThreeRequest::decode(request).unwrap();
                    finish(from, request.same_key_aggregator_matrix, position, result.reach);
                }
                "CompleteExecutionPhaseThreeAtAggregator" => {
                    let request = CompleteExecutionPhaseThreeAtAggregatorRequest::decode(request).unwrap();
                    finish(from, request.same_key_aggregator_matrix, run.pairs.len() - 1, result.reach);
                }
                _ => {}
            }
        }
    }
}
