use halo_crypto::Secret;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed};
use halo_protocols::hmss::{
    AggregationInputs, Effect, Event, Parameters, Role, SeedShare, Setting, ShuffleInputs, State,
    VectorShare, Worker, WorkerKeys, secret_seeds,
};
use halo_protocols::kernel::KernelContext;
use halo_protocols::proto::duchy::EncryptionKeyPair;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::{
    AggregationPhaseInput, ShufflePhaseInput,
};
use halo_protocols::{Computation, Step};
use prost::Message;

const MODULUS: u32 = 127;
const MAXIMUM_MESSAGE_BYTES: u64 = 1 << 14;

/// Any bytes as what a duchy of the share shuffle reads from outside: a data provider's share and the other worker's
/// message, an opened seed, or the workers' shares at the aggregator.
///
/// The first byte chooses which, and how many registers the data provider says there are; the second is the length of
/// the first message, the rest is the second. What is accepted has as many registers as was said, all in the ring.
pub fn requisition_shares(data: &[u8]) {
    let [choice, length, messages @ ..] = data else { return };
    let (first, second) = messages.split_at(usize::from(*length).min(messages.len()));
    let register_count = i64::from(choice / 3);
    match choice % 3 {
        0 => shuffle(register_count, first, second.to_vec(), None),
        1 => shuffle(register_count, first, peer_message(register_count), Some(second)),
        _ => aggregate(first, second),
    }
}

/// One requisition is fulfilled here, and one at the other worker.
fn shuffle(register_count: i64, vector: &[u8], peer_message: Vec<u8>, seed: Option<&[u8]>) {
    let seed = Secret::new(seed.map_or_else(|| vec![3; 48], <[u8]>::to_vec));
    let sent = secret_seeds(&"worker2".into(), &peer_message).unwrap_or_default();
    let inputs = ShuffleInputs {
        requisitions: vec!["here".to_owned(), "there".to_owned()],
        vectors: vec![VectorShare {
            requisition: "here".to_owned(),
            register_count,
            frequency_vector: vector.to_vec(),
        }],
        peer_message,
        // What the host could open.
        seeds: sent
            .into_iter()
            .take(1)
            .map(|sent| SeedShare { requisition: sent.requisition_id, seed: seed.clone() })
            .collect(),
        kept: None,
    };
    let keys = WorkerKeys {
        random_seed: PrngSeed::from_bytes(&[1; 48]).expect("a seed has 48 bytes"),
        encryption_key_pair: EncryptionKeyPair::default(),
    };
    let state = State::ShufflePhase(Worker { setting: setting(Role::FirstNonAggregator), keys });
    let Some(Step { next, effects }) = step(state, Event::Shuffle(inputs)) else { return };
    assert!(matches!(next, State::Complete(..)));
    let [Effect::Keep(kept), Effect::Send { payload, .. }] = effects.as_slice() else {
        panic!("a worker keeps its share and sends it: {effects:?}")
    };
    assert_eq!(kept, payload);
    let share = AggregationPhaseInput::decode(payload.as_bytes()).expect("our own message");
    assert_eq!(share.combined_frequency_vectors.len() as i64, register_count);
    assert!(share.combined_frequency_vectors.iter().all(|value| *value < MODULUS));
}

fn aggregate(first: &[u8], second: &[u8]) {
    let inputs = AggregationInputs { messages: vec![first.to_vec(), second.to_vec()] };
    let state = State::AggregationPhase(setting(Role::Aggregator));
    let Some(Step { effects, .. }) = step(state, Event::Aggregate(inputs)) else { return };
    let share = AggregationPhaseInput::decode(first).expect("it was accepted");
    for effect in effects {
        if let Effect::ReportResult(result) = effect {
            assert_eq!(result.frequency_vector_size, Some(share.register_count));
            assert!((0..=share.combined_frequency_vectors.len() as i64).contains(&result.reach));
        }
    }
}

fn step(state: State, event: Event) -> Option<Step<State>> {
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([7; 32]))
        .with_maximum_message_bytes(MAXIMUM_MESSAGE_BYTES);
    match state.step(event, &context) {
        Ok(step) => Some(step),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn setting(role: Role) -> Setting {
    Setting {
        computation: "computation".to_owned(),
        duchy: if role == Role::Aggregator { "aggregator" } else { "worker1" }.into(),
        role,
        non_aggregators: ["worker1".into(), "worker2".into()],
        aggregator: "aggregator".into(),
        requisition_count: 2,
        parameters: Parameters {
            maximum_frequency: 3,
            ring_modulus: MODULUS as i32,
            vid_sampling_width: 1.0,
            noise: None,
        },
    }
}

/// What an honest worker passes on.
pub(crate) fn peer_message(register_count: i64) -> Vec<u8> {
    let seed = SecretSeed {
        requisition_id: "there".to_owned(),
        secret_seed_ciphertext: vec![1],
        register_count,
        data_provider_certificate: String::new(),
    };
    ShufflePhaseInput { peer_random_seed: vec![2; 48], secret_seeds: vec![seed] }.encode_to_vec()
}
