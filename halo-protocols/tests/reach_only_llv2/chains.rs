//! Whole computations with our kernels: from recorded sketches and keys to the recorded reach, starting afresh and from
//! the middle of upstream's computation, and the same people in the other group.

use std::sync::Arc;

use halo_crypto::parallel::{CHUNK, Executor};
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::data_provider::reach_only_sketch;
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::any_sketch::crypto::{EncryptSketchRequest, EncryptSketchResponse};
use halo_protocols::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorRequest, CompleteReachOnlyExecutionPhaseRequest,
};
use halo_protocols::sketch::Layout;
use prost::Message;

use crate::CASES;
use crate::case::Case;
use crate::measurement::context;
use crate::run::{Blob, Run};

fn cases() -> impl Iterator<Item = Case> {
    CASES.into_iter().map(Case::load)
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
        let people = provider.impressions.iter().map(|(vid, _)| *vid);
        requisitions[provider.duchy].extend(run.encrypt(&case.sketch_parameters(), people));
    }
    requisitions
}

#[test]
fn plain_sketches_equal_the_recorded_ones() {
    for case in cases() {
        for (provider, stage) in case.data_providers().into_iter().zip(case.stages_of("EncryptSketch")) {
            let request = EncryptSketchRequest::decode(stage.request.as_slice()).unwrap();
            let mut recorded = request.sketch.unwrap().registers;
            recorded.sort_by_key(|register| register.index);
            let people = provider.impressions.iter().map(|(vid, _)| *vid);
            let ours = reach_only_sketch(&case.sketch_parameters(), people);
            assert_eq!(ours.registers, recorded, "{}", case.name);
        }
    }
}

#[test]
fn recorded_sketches_end_in_the_recorded_reach() {
    for case in cases().filter(|case| !case.has_noise()) {
        let run = Run::<P256>::with_keys(case.measurement(), case.key_pairs(), context(1));
        let reach = run.complete(&recorded_requisitions(&case)).unwrap();
        assert_eq!(reach, case.expected_reach("reach_without_noise"), "{}", case.name);
        assert_eq!(reach, case.expected_reach("final_reach"), "{}", case.name);
    }
}

#[test]
fn recorded_people_end_in_the_recorded_reach_on_ristretto255() {
    for case in cases() {
        let mut measurement = case.measurement();
        measurement.noise = None;
        let run = Run::<Ristretto255>::new(measurement, case.key_pairs().len() as u8, context(2));
        let reach = run.complete(&fresh_requisitions(&case, &run)).unwrap();
        assert_eq!(reach, case.expected_reach("reach_without_noise"), "{}", case.name);
    }
}

/// The setup phase alone draws noise, so from any later request on the reach is exact.
#[test]
fn our_stages_take_over_from_any_stage_of_upstream() {
    for case in cases() {
        let run = Run::<P256>::with_keys(case.measurement(), case.key_pairs(), context(4));
        let mut taken_over = 0;
        for stage in case.stages() {
            let reach = match stage.method.as_str() {
                "CompleteReachOnlyExecutionPhase" => {
                    let request =
                        CompleteReachOnlyExecutionPhaseRequest::decode(stage.request.as_slice()).unwrap();
                    let blob = Blob {
                        registers: request.combined_register_vector.clone(),
                        excessive_noise: request.serialized_excessive_noise_ciphertext.clone(),
                    };
                    run.at_aggregator(run.execution(blob, case.position(&stage.actor)).unwrap())
                }
                "CompleteReachOnlyExecutionPhaseAtAggregator" => {
                    let request =
                        CompleteReachOnlyExecutionPhaseAtAggregatorRequest::decode(stage.request.as_slice())
                            .unwrap();
                    run.at_aggregator(Blob {
                        registers: request.combined_register_vector.clone(),
                        excessive_noise: request.serialized_excessive_noise_ciphertext.clone(),
                    })
                }
                _ => continue,
            };
            assert_eq!(reach.unwrap(), case.expected_reach("final_reach"), "{} {}", case.name, stage.method);
            taken_over += 1;
        }
        assert_eq!(taken_over, case.key_pairs().len(), "{}", case.name);
    }
}

#[test]
fn noisy_results_are_as_far_off_as_noise_allows() {
    for case in cases().filter(Case::has_noise) {
        let measurement = case.measurement();
        let noise = measurement.noise.unwrap();
        let duchies = case.key_pairs().len();
        let run = Run::<Ristretto255>::new(measurement, duchies as u8, context(3));
        let reach = run.complete(&fresh_requisitions(&case, &run)).unwrap();
        // No duchy's component is further than its offset from the mean, and all other noise is taken off exactly; a
        // register is more than a person in a sketch this full.
        let registers = noise.distribution(noise.reach, duchies, 1).offset() as usize * duchies;
        let without = case.expected_reach("reach_without_noise");
        let allowed = (registers as f64 * 3.0 / f64::from(run.measurement.width)) as i64;
        println!("{}: reach {reach} with noise, {without} without, ±{allowed}", case.name);
        assert!((reach - without).abs() <= allowed, "{}: {reach}", case.name);
    }
}

/// What noise adds besides reach noise is subtracted to the last id: with an ε for which reach noise is always at its
/// mean, the result is exact.
#[test]
fn all_noise_but_that_of_reach_is_taken_off_exactly() {
    for case in cases().filter(Case::has_noise) {
        let mut measurement = case.measurement();
        let noise = measurement.noise.as_mut().unwrap();
        noise.reach.epsilon = 400.0;
        let duchies = case.key_pairs().len() as u8;
        for seed in 10..13 {
            let run = Run::<Ristretto255>::new(measurement.clone(), duchies, context(seed));
            let reach = run.complete(&fresh_requisitions(&case, &run)).unwrap();
            assert_eq!(reach, case.expected_reach("reach_without_noise"), "{}, seed {seed}", case.name);
        }
    }
}

/// The same request with the same seed gives the same bytes, at any number of threads.
#[test]
fn messages_depend_on_the_seed_and_not_on_threads() {
    let case = Case::load("rollv2_3duchies_geometric");
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    let messages = |context: KernelContext| {
        let run = Run::<Ristretto255>::new(case.measurement(), 3, context);
        let mut requisitions = fresh_requisitions(&case, &run);
        requisitions[2].extend(run.encrypt(&case.sketch_parameters(), 10_000..13_000));
        let setup = run.setup(&requisitions).unwrap();
        let length = Layout::REACH_ONLY_REGISTER.length::<Ristretto255>();
        assert!(setup.registers.len() > CHUNK * length);
        (setup.clone(), run.execution(setup, 0).unwrap())
    };
    let serial = messages(context(5));
    assert!(serial == messages(KernelContext::new(Executor::on(pool), StreamSeed::new([5; 32]))));
    assert!(serial != messages(context(6)));
}
