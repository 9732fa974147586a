//! What the stages of a share shuffle hold in memory for a register, measured against the tables of
//! `docs/protocols/hmss.md` and `halo_protocols::hmss`.
//!
//! A file of its own, because allocations are counted for a whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use halo_crypto::Secret;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed};
use halo_protocols::hmss::{
    AggregationInputs, Effect, Event, Parameters, Role, SeedShare, Setting, ShuffleInputs, State,
    VectorShare, Worker, WorkerKeys, complete_reach_and_frequency_shuffle_phase, generate_secret_shares,
};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::{EncryptionKeyPair, NoiseMechanism};
use halo_protocols::proto::frequency_count::{FrequencyVector, SecretShareGeneratorRequest};
use halo_protocols::proto::protocol::complete_shuffle_phase_request::frequency_vector_share::{
    ShareData, ShareType,
};
use halo_protocols::proto::protocol::complete_shuffle_phase_request::{
    FrequencyVectorShare, NonAggregatorOrder,
};
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::{
    AggregationPhaseInput, ShufflePhaseInput,
};
use halo_protocols::proto::protocol::{CompleteShufflePhaseRequest, ShareShuffleFrequencyVectorParams};
use halo_protocols::{Computation, DuchyId};
use peak_alloc::PeakAlloc;
use prost::Message;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const REGISTERS: usize = 1_000_000;
const MODULUS: u32 = 127;
/// Blocks, messages without vectors, and everything else that does not grow with the vectors.
const SCRATCH: usize = 256 << 10;

fn context(seed: u8) -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::new([seed; 32]))
}

/// The result of `work`, and how many bytes more than now are held at once while it runs.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let result = work();
    (result, ALLOCATED.peak_usage() - before)
}

#[track_caller]
fn assert_holds(what: &str, bytes: usize, per_register: usize) {
    println!("{what}: {:.2} bytes a register, {per_register} allowed", bytes as f64 / REGISTERS as f64);
    assert!(bytes <= per_register * REGISTERS + SCRATCH, "{what}: {bytes} bytes");
}

fn setting(role: Role, maximum_frequency: i32) -> Setting {
    let [first, second, aggregator] = ["worker1", "worker2", "aggregator"].map(DuchyId::from);
    let mut setting = Setting {
        computation: "c".into(),
        duchy: first.clone(),
        role,
        non_aggregators: [first, second],
        aggregator,
        requisition_count: 3,
        parameters: Parameters {
            maximum_frequency,
            ring_modulus: MODULUS as i32,
            vid_sampling_width: 1.0,
            noise: None,
        },
    };
    setting.duchy = setting.duchy_as(role).clone();
    setting
}

/// A vector that all three data providers have: the first shares it with the vector at worker `FIRST`, the others with
/// the seed there.
struct Shares {
    vectors: Vec<Vec<u32>>,
    seeds: Vec<Vec<u8>>,
}

fn shared(maximum_frequency: u32) -> Shares {
    let mut shares = Shares { vectors: Vec::new(), seeds: Vec::new() };
    for provider in 0..3 {
        let data = (0..REGISTERS as u32).map(|register| register % (maximum_frequency + 1)).collect();
        let request = SecretShareGeneratorRequest { ring_modulus: MODULUS, data };
        let (response, held) = measured(|| generate_secret_shares(&request, &context(provider)).unwrap());
        // Beside the 4 bytes of the request.
        assert_holds("shares of one data provider", held, 4);
        let seed = response.share_seed.as_ref().unwrap();
        shares.seeds.push([seed.key.as_slice(), &seed.iv].concat());
        shares.vectors.push(response.share_vector);
    }
    shares
}

/// What a worker is told that has the vectors of some data providers and the seeds of the others.
fn inputs(shares: &Shares, has_vector: impl Fn(usize) -> bool, peer_seed: u8) -> ShuffleInputs {
    let name = |provider: usize| format!("requisition{provider}");
    let seeds: Vec<usize> = (0..3).filter(|provider| !has_vector(*provider)).collect();
    let secret_seeds = seeds.iter().map(|provider| SecretSeed {
        requisition_id: name(*provider),
        register_count: REGISTERS as i64,
        ..SecretSeed::default()
    });
    ShuffleInputs {
        requisitions: (0..3).map(name).collect(),
        vectors: (0..3)
            .filter(|provider| has_vector(*provider))
            .map(|provider| VectorShare {
                requisition: name(provider),
                register_count: REGISTERS as i64,
                frequency_vector: FrequencyVector { data: shares.vectors[provider].clone() }.encode_to_vec(),
            })
            .collect(),
        peer_message: ShufflePhaseInput {
            peer_random_seed: vec![peer_seed; 48],
            secret_seeds: secret_seeds.collect(),
        }
        .encode_to_vec(),
        seeds: seeds
            .iter()
            .map(|provider| SeedShare {
                requisition: name(*provider),
                seed: Secret::new(shares.seeds[*provider].clone()),
            })
            .collect(),
        kept: None,
    }
}

/// A worker's message to the aggregator.
fn shuffled(role: Role, maximum_frequency: i32, inputs: ShuffleInputs, own_seed: u8) -> Vec<u8> {
    let worker = Worker {
        setting: setting(role, maximum_frequency),
        keys: WorkerKeys {
            random_seed: PrngSeed::from_bytes(&[own_seed; 48]).unwrap(),
            encryption_key_pair: EncryptionKeyPair::default(),
        },
    };
    let step = State::ShufflePhase(worker).step(Event::Shuffle(inputs), &context(9)).unwrap();
    step.effects
        .into_iter()
        .find_map(|effect| match effect {
            Effect::Keep(payload) => Some(payload.into_bytes()),
            _ => None,
        })
        .unwrap()
}

/// The same stage from upstream's message.
fn from_messages(shares: &Shares) {
    let data = |provider: usize| ShareType::Data(ShareData { values: shares.vectors[provider].clone() });
    let seed = |provider: usize| ShareType::Seed(shares.seeds[provider].clone());
    let request = CompleteShufflePhaseRequest {
        frequency_vector_params: Some(ShareShuffleFrequencyVectorParams {
            register_count: REGISTERS as i64,
            maximum_combined_frequency: 9,
            ring_modulus: MODULUS as i32,
        }),
        common_random_seed: vec![3; 48],
        order: NonAggregatorOrder::First.into(),
        noise_mechanism: NoiseMechanism::None.into(),
        frequency_vector_shares: [data(0), seed(1), data(2)]
            .map(|share| FrequencyVectorShare { share_type: Some(share) })
            .to_vec(),
        ..CompleteShufflePhaseRequest::default()
    };
    let (response, held) =
        measured(|| complete_reach_and_frequency_shuffle_phase(&request, &context(9)).unwrap());
    assert_eq!(response.combined_frequency_vector.len(), REGISTERS);
    assert_holds("shuffle phase from messages, beside the request", held, 1 + 4);
}

/// For reach alone any value may come of any register: in a large ring all of them are different.
fn reach_alone_in_a_large_ring() {
    const LARGE_PRIME: u32 = 1_073_741_789;
    let share = |factor: u64| AggregationPhaseInput {
        combined_frequency_vectors: (0..REGISTERS as u64)
            .map(|register| (register * factor % u64::from(LARGE_PRIME)) as u32)
            .collect(),
        register_count: REGISTERS as i64,
    };
    let messages = [1, 1_000_003].map(|factor| share(factor).encode_to_vec()).to_vec();
    let given: usize = messages.iter().map(Vec::len).sum();
    let mut setting = setting(Role::Aggregator, 1);
    setting.parameters.ring_modulus = LARGE_PRIME as i32;
    let event = Event::Aggregate(AggregationInputs { messages });
    let state = State::AggregationPhase(setting);
    let (result, held) = measured(|| state.step(event, &context(9)).unwrap().effects);
    let [Effect::ReportResult(result)] = result.as_slice() else { panic!("{result:?}") };
    assert_eq!(result.reach as usize, REGISTERS - 1);
    assert!(held <= SCRATCH, "{held} bytes beside {given} of messages");
}

#[test]
fn a_stage_holds_for_a_register_what_is_documented() {
    reach_alone_in_a_large_ring();
    from_messages(&shared(3));
    for maximum_frequency in [3, 1] {
        let shares = shared(maximum_frequency as u32);
        let mut messages = Vec::new();
        for (role, own, peer, vectors) in
            [(Role::FirstNonAggregator, 1, 2, 1), (Role::SecondNonAggregator, 2, 1, 2)]
        {
            let has_vector = |provider: usize| (provider == 0) == (vectors == 1);
            let before = ALLOCATED.current_usage();
            let inputs = inputs(&shares, has_vector, peer);
            let given = ALLOCATED.current_usage() - before;
            let (message, held) = measured(|| shuffled(role, maximum_frequency, inputs, own));
            // The serialised vectors, a byte a register each, and the sums, which become the serialised answer.
            let what = format!("shuffle phase to {maximum_frequency}, {vectors} of 3 shares vectors");
            assert_holds(&what, given + held, vectors + 1);
            messages.push(message);
        }
        let given: usize = messages.iter().map(Vec::len).sum();
        let state = State::AggregationPhase(setting(Role::Aggregator, maximum_frequency));
        let event = Event::Aggregate(AggregationInputs { messages });
        let (result, held) = measured(|| state.step(event, &context(9)).unwrap().effects);
        let [Effect::ReportResult(result)] = result.as_slice() else { panic!("{result:?}") };
        let expected = REGISTERS - REGISTERS.div_ceil(maximum_frequency as usize + 1);
        assert_eq!(result.reach as usize, expected);
        assert_holds(&format!("aggregation phase to {maximum_frequency}"), given + held, 2);
    }
}
