//! What the stages of Liquid Legions hold in memory: at most one and a half times their request and their response,
//! beyond the scratch space of a chunk, which does not grow with the sketch.
//!
//! A file of its own, because allocations are counted for a whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use halo_crypto::parallel::{CHUNK, Executor};
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256};
use halo_protocols::kernel::{self, Kernel, KernelContext, combine_el_gamal_public_keys};
use halo_protocols::proto::any_sketch::crypto::{
    CombineElGamalPublicKeysRequest, ElGamalPublicKey, EncryptSketchRequest,
};
use halo_protocols::proto::any_sketch::sketch::Register;
use halo_protocols::proto::any_sketch::sketch_config::ValueSpec;
use halo_protocols::proto::any_sketch::sketch_config::value_spec::Aggregator;
use halo_protocols::proto::any_sketch::{Sketch, SketchConfig};
use halo_protocols::proto::duchy::{self, DifferentialPrivacyParams, ElGamalKeyPair, NoiseMechanism};
use halo_protocols::proto::protocol::*;
use peak_alloc::PeakAlloc;
use prost::Message;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const CURVE_ID: i64 = P256::CURVE_ID;

/// What a stage held at once, its messages among it, and the messages alone.
struct Held {
    stage: &'static str,
    peak: usize,
    messages: usize,
}

/// Answers requests and notes what that took.
struct Stages {
    context: KernelContext,
    held: Vec<Held>,
}

impl Stages {
    fn answer<K: Kernel + Message + Default>(&mut self, request: K) -> K::Response {
        let bytes = request.encode_to_vec();
        drop(request);
        let before = ALLOCATED.current_usage();
        let request = K::decode(bytes.as_slice()).unwrap();
        // What a plain sketch takes in memory is more than its encoding.
        let input = ALLOCATED.current_usage() - before;
        ALLOCATED.reset_peak_usage();
        let response = kernel::compute(&request, &self.context).unwrap();
        let peak = ALLOCATED.peak_usage() - before;
        self.held.push(Held { stage: K::METHOD, peak, messages: input + response.encoded_len() });
        response
    }
}

/// All stages of two duchies for a sketch of `count` registers, and noise of as many.
fn computation(count: usize) -> Vec<Held> {
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([3; 32]));
    let keys = [1, 2].map(|duchy| {
        let context = KernelContext::new(Executor::serial(), StreamSeed::new([duchy; 32]));
        let request = CompleteInitializationPhaseRequest { curve_id: CURVE_ID };
        kernel::compute(&request, &context).unwrap().el_gamal_key_pair.unwrap()
    });
    let public = |pair: &ElGamalKeyPair| {
        let key = pair.public_key.clone().unwrap();
        ElGamalPublicKey { generator: key.generator, element: key.element }
    };
    let el_gamal_keys = keys.iter().map(public).collect();
    let combined = combine_el_gamal_public_keys::<P256>(
        &CombineElGamalPublicKeysRequest { curve_id: CURVE_ID, el_gamal_keys },
        &context,
    );
    let composite = combined.unwrap().el_gamal_keys.unwrap();
    let composite_key = Some(duchy::ElGamalPublicKey {
        generator: composite.generator.clone(),
        element: composite.element.clone(),
    });
    let [local, last] = keys.map(Some);
    let mut stages = Stages { context, held: Vec::new() };

    let value = |aggregator: Aggregator| ValueSpec { aggregator: aggregator.into(), ..ValueSpec::default() };
    let config = SketchConfig {
        values: vec![value(Aggregator::Unique), value(Aggregator::Sum)],
        ..SketchConfig::default()
    };
    let registers =
        (0..count as i64).map(|index| Register { index, values: vec![index + 1, index % 3 + 1] }).collect();
    let encrypted = stages.answer(EncryptSketchRequest {
        sketch: Some(Sketch { config: Some(config), registers }),
        el_gamal_keys: Some(composite),
        curve_id: CURVE_ID,
        maximum_value: 3,
        ..EncryptSketchRequest::default()
    });
    let dp_params = Some(DifferentialPrivacyParams { epsilon: 100.0 / count as f64, delta: 1e-9 });
    stages.answer(CompleteSetupPhaseRequest {
        requisition_register_vector: encrypted.encrypted_sketch.clone(),
        maximum_frequency: 3,
        noise_parameters: Some(RegisterNoiseGenerationParameters {
            composite_el_gamal_public_key: composite_key.clone(),
            curve_id: CURVE_ID,
            contributors_count: 2,
            total_sketches_count: 1,
            dp_params: Some(ReachNoiseDifferentialPrivacyParams {
                blind_histogram: dp_params,
                noise_for_publisher_noise: dp_params,
                global_reach_dp_noise: dp_params,
            }),
        }),
        noise_mechanism: NoiseMechanism::Geometric.into(),
        parallelism: 1,
        ..CompleteSetupPhaseRequest::default()
    });
    let blinded = stages.answer(CompleteExecutionPhaseOneRequest {
        combined_register_vector: encrypted.encrypted_sketch,
        local_el_gamal_key_pair: local.clone(),
        composite_el_gamal_public_key: composite_key.clone(),
        curve_id: CURVE_ID,
        parallelism: 1,
    });
    let merged = stages.answer(CompleteExecutionPhaseOneAtAggregatorRequest {
        combined_register_vector: blinded.combined_register_vector,
        local_el_gamal_key_pair: last.clone(),
        composite_el_gamal_public_key: composite_key.clone(),
        curve_id: CURVE_ID,
        total_sketches_count: 1,
        parallelism: 1,
        ..CompleteExecutionPhaseOneAtAggregatorRequest::default()
    });
    let peeled = stages.answer(CompleteExecutionPhaseTwoRequest {
        flag_count_tuples: merged.flag_count_tuples,
        local_el_gamal_key_pair: local.clone(),
        composite_el_gamal_public_key: composite_key.clone(),
        partial_composite_el_gamal_public_key: last.as_ref().unwrap().public_key.clone(),
        curve_id: CURVE_ID,
        parallelism: 1,
        ..CompleteExecutionPhaseTwoRequest::default()
    });
    let tests = stages.answer(CompleteExecutionPhaseTwoAtAggregatorRequest {
        flag_count_tuples: peeled.flag_count_tuples,
        local_el_gamal_key_pair: last.clone(),
        composite_el_gamal_public_key: composite_key,
        curve_id: CURVE_ID,
        maximum_frequency: 3,
        sketch_parameters: Some(LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 }),
        vid_sampling_interval_width: 1.0,
        ..CompleteExecutionPhaseTwoAtAggregatorRequest::default()
    });
    let matrix = stages.answer(CompleteExecutionPhaseThreeRequest {
        same_key_aggregator_matrix: tests.same_key_aggregator_matrix,
        local_el_gamal_key_pair: local,
        curve_id: CURVE_ID,
        parallelism: 1,
    });
    stages.answer(CompleteExecutionPhaseThreeAtAggregatorRequest {
        same_key_aggregator_matrix: matrix.same_key_aggregator_matrix,
        local_el_gamal_key_pair: last,
        curve_id: CURVE_ID,
        maximum_frequency: 3,
        ..CompleteExecutionPhaseThreeAtAggregatorRequest::default()
    });
    stages.held
}

#[test]
fn a_stage_holds_its_messages_and_half_as_much_again() {
    /// Bytes that a chunk and the tables of keys may take.
    const SCRATCH: usize = 4 << 20;
    let small = computation(CHUNK);
    let large = computation(3 * CHUNK);
    for (small, large) in small.iter().zip(&large) {
        let grown = (large.peak - small.peak) as f64 / (large.messages - small.messages) as f64;
        println!("{}: {} bytes, {grown:.2} per byte of messages", large.stage, large.peak);
        assert!(grown <= 1.5, "{}: {grown} bytes per byte of messages", large.stage);
        assert!(large.peak <= large.messages * 3 / 2 + SCRATCH, "{}: {} bytes", large.stage, large.peak);
    }

    // Only with many records is sorting what takes most: a key of 16 bytes for each.
    let length = halo_protocols::sketch::Layout::REGISTER.length::<P256>();
    let mut records: Vec<u8> =
        (0..50_000 * length as u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    halo_protocols::sketch::Layout::REGISTER.sort::<P256>(&mut records, &Executor::serial());
    assert!(records.chunks_exact(length).is_sorted());
    let keys = ALLOCATED.peak_usage() - before;
    assert!(keys <= 50_000 * 16 + 1024, "{keys} bytes to sort 50,000 records");
}
