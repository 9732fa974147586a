//! Rows of a database, for all three protocols: whatever a row holds, it is a state or an error, and a state that was read
//! from one takes any event or refuses it, without a panic.
//!
//! Rows are what a duchy wrote itself, but a database is outside: others can write to it, and upstream's duchies may have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../llv2/edit.rs"]
mod edit;

use std::cell::Cell;

use halo_crypto::parallel::Executor;
use halo_crypto::prg::{PrngSeed, StreamSeed};
use halo_crypto::{Group, P256};
use halo_protocols::hmss;
use halo_protocols::kernel::KernelContext;
use halo_protocols::liquid_legions::{
    Event, Evidence, Outcome, Parameters, RingComputation, StageInputs, Surroundings,
};
use halo_protocols::llv2;
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, EncryptionKeyPair, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{
    LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig, honest_majority_share_shuffle,
};
use halo_protocols::reach_only_llv2;
use halo_protocols::testing::{Fulfilment, RingCluster};
use halo_protocols::{Computation, DuchyId};
use proptest::prelude::*;
use prost::Message;

use edit::{Edit, edits};

/// Broken rows may ask for more than a test should compute.
const MAXIMUM_BYTES: u64 = 20_000;

fn context() -> KernelContext {
    KernelContext::new(Executor::serial(), StreamSeed::new([4; 32])).with_maximum_message_bytes(MAXIMUM_BYTES)
}

/// What may be in a row: that of an honest duchy with a few bytes changed, or anything.
fn damage() -> impl Strategy<Value = Result<Vec<Edit>, Vec<u8>>> {
    prop_oneof![
        9 => edits().prop_map(Ok),
        1 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Err),
    ]
}

/// The row that a damaged one holds, if it can be read at all.
fn damaged<D: Message + Default>(honest: &D, damage: &Result<Vec<Edit>, Vec<u8>>) -> Option<D> {
    let bytes = match damage {
        Ok(edits) => {
            let mut bytes = honest.encode_to_vec();
            edits.iter().for_each(|edit| edit.apply(&mut bytes));
            bytes
        }
        Err(anything) => anything.clone(),
    };
    D::decode(bytes.as_slice()).ok()
}

fn parameters(maximum_frequency: i32) -> Parameters {
    let privacy = Some(DifferentialPrivacyParams { epsilon: 4.0, delta: 0.5 });
    Parameters {
        curve_id: P256::CURVE_ID,
        maximum_frequency,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 1000 },
        vid_sampling_width: 1.0,
        noise: Some(LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            frequency_noise_config: privacy.filter(|_| maximum_frequency > 1),
            noise_mechanism: NoiseMechanism::Geometric.into(),
        }),
    }
}

/// The row of each of three duchies that have all keys.
fn ring_rows<C: RingComputation>(maximum_frequency: i32) -> Vec<(DuchyId, C::Details)> {
    let mut cluster = RingCluster::<C>::new(&parameters(maximum_frequency), 3, 1, [6; 32]).unwrap();
    cluster.confirm_all(&[Fulfilment { duchy: 0, data: Vec::new() }]).unwrap();
    let row = |duchy: usize| {
        let mut details = C::Details::default();
        cluster.state(duchy).write_details(&mut details).unwrap();
        (cluster.state(duchy).setting().duchy.clone(), details)
    };
    (0..3).map(row).collect()
}

/// Everything that a host may tell a duchy of a ring, with data that fits nothing and data that could.
fn ring_events<M: Copy>(messages: &[M]) -> Vec<Event<M>> {
    let point = P256::encode_one(&P256::generator()).unwrap();
    let compute = |requisitions: usize, messages: usize, points: usize| {
        let data = point.repeat(points);
        Event::Compute(StageInputs {
            requisitions: vec![data.clone(); requisitions],
            messages: vec![data; messages],
            kept: None,
        })
    };
    let mut events = vec![
        Event::Initialize,
        Event::Confirm(Evidence::default()),
        Event::Start,
        Event::Compute(StageInputs { kept: Some(vec![3; 40]), ..StageInputs::default() }),
        compute(1, 0, 6),
        compute(1, 2, 6),
        compute(0, 1, 8),
        compute(0, 1, 4),
        Event::Stop(Outcome::Failed),
    ];
    for from in ["worker0", "aggregator", "stranger"] {
        events.extend(
            messages.iter().map(|message| Event::PeerMessage { from: from.into(), message: *message }),
        );
    }
    events
}

fn ring_survives<C: RingComputation>(
    maximum_frequency: i32,
    stages: &[C::Stage],
    messages: &[<C::Stage as halo_protocols::liquid_legions::RingStage>::Message],
) {
    let rows = ring_rows::<C>(maximum_frequency);
    let events = ring_events(messages);
    let (read, refused) = (Cell::new(0), Cell::new(0));
    proptest!(ProptestConfig::with_cases(100), |(duchy in 0..rows.len(), damage in damage())| {
        let (duchy, honest) = &rows[duchy];
        let Some(details) = damaged(honest, &damage) else { return Ok(()) };
        for stage in stages {
            let surroundings = Surroundings {
                computation: "c".into(),
                duchy: duchy.clone(),
                duchy_count: 3,
                requisition_count: 1,
                vid_sampling_width: 1.0,
                received: Vec::new(),
                outcome: None,
            };
            let state = match C::from_details(*stage, &details, surroundings) {
                Ok(state) => state,
                Err(error) => {
                    refused.set(refused.get() + 1);
                    prop_assert!(!error.to_string().is_empty());
                    continue;
                }
            };
            read.set(read.get() + 1);
            let _ = state.write_details(&mut C::Details::default());
            for event in &events {
                if let Err(error) = state.clone().step(event.clone(), &context()) {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    });
    assert!(read.get() > 0 && refused.get() > 0, "{read:?} read, {refused:?} refused");
}

#[test]
fn any_row_of_liquid_legions_is_a_state_or_an_error() {
    ring_survives::<llv2::State>(2, &llv2::Stage::ALL, &llv2::Message::ALL);
}

#[test]
fn any_row_of_reach_only_liquid_legions_is_a_state_or_an_error() {
    ring_survives::<reach_only_llv2::State>(1, &reach_only_llv2::Stage::ALL, &reach_only_llv2::Message::ALL);
}

/// The row of each duchy of a share shuffle.
fn shuffle_rows() -> Vec<(DuchyId, honest_majority_share_shuffle::ComputationDetails)> {
    let [first, second, aggregator] = ["worker1", "worker2", "aggregator"].map(DuchyId::from);
    let privacy = DifferentialPrivacyParams { epsilon: 4.0, delta: 0.02 };
    let row = |role: hmss::Role| {
        let mut setting = hmss::Setting {
            computation: "c".into(),
            duchy: first.clone(),
            role,
            non_aggregators: [first.clone(), second.clone()],
            aggregator: aggregator.clone(),
            requisition_count: 1,
            parameters: hmss::Parameters {
                maximum_frequency: 3,
                ring_modulus: 127,
                vid_sampling_width: 1.0,
                noise: Some(hmss::Noise {
                    mechanism: NoiseMechanism::Geometric.into(),
                    reach: privacy,
                    frequency: Some(privacy),
                }),
            },
        };
        setting.duchy = setting.duchy_as(role).clone();
        let keys = (role != hmss::Role::Aggregator).then(|| hmss::WorkerKeys {
            random_seed: PrngSeed::from_bytes(&[8; 48]).unwrap(),
            encryption_key_pair: EncryptionKeyPair::default(),
        });
        let mut details = Default::default();
        hmss::State::new(setting.clone(), keys).write_details(&mut details);
        (setting.duchy, details)
    };
    hmss::Role::ALL.map(row).to_vec()
}

/// Everything that a host may tell a duchy of a share shuffle.
fn shuffle_events() -> Vec<hmss::Event> {
    let vector = hmss::VectorShare {
        requisition: "r".into(),
        register_count: 3,
        // Field 1, packed: 1, 2, 3.
        frequency_vector: vec![0x0a, 3, 1, 2, 3],
    };
    // Field 1: a seed of 48 bytes.
    let peer_message = [&[0x0a, 48][..], &[9; 48]].concat();
    let share = [&[0x0a, 3, 1, 2, 3][..], &[0x10, 3]].concat();
    let mut events = vec![
        hmss::Event::Initialize,
        hmss::Event::Start,
        hmss::Event::Setup(hmss::SetupInputs::default()),
        hmss::Event::Shuffle(hmss::ShuffleInputs {
            requisitions: vec!["r".into()],
            vectors: vec![vector],
            peer_message,
            ..hmss::ShuffleInputs::default()
        }),
        hmss::Event::Aggregate(hmss::AggregationInputs { messages: vec![share.clone(), share] }),
        hmss::Event::Stop(Outcome::Failed),
    ];
    for from in ["worker1", "worker2", "aggregator", "stranger"] {
        events.extend(
            hmss::Message::ALL.map(|message| hmss::Event::PeerMessage { from: from.into(), message }),
        );
    }
    events
}

#[test]
fn any_row_of_a_share_shuffle_is_a_state_or_an_error() {
    let (rows, events) = (shuffle_rows(), shuffle_events());
    let (read, refused) = (Cell::new(0), Cell::new(0));
    proptest!(ProptestConfig::with_cases(400), |(duchy in 0..rows.len(), damage in damage())| {
        let (duchy, honest) = &rows[duchy];
        let Some(details) = damaged(honest, &damage) else { return Ok(()) };
        for stage in hmss::Stage::ALL {
            let surroundings = hmss::Surroundings {
                computation: "c".into(),
                duchy: duchy.clone(),
                aggregator: "aggregator".into(),
                requisition_count: 1,
                vid_sampling_width: 1.0,
                received: Vec::new(),
                outcome: None,
            };
            let state = match hmss::State::from_details(stage, &details, surroundings) {
                Ok(state) => state,
                Err(error) => {
                    refused.set(refused.get() + 1);
                    prop_assert!(!error.to_string().is_empty());
                    continue;
                }
            };
            read.set(read.get() + 1);
            state.write_details(&mut Default::default());
            for event in &events {
                if let Err(error) = state.clone().step(event.clone(), &context()) {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    });
    assert!(read.get() > 0 && refused.get() > 0, "{read:?} read, {refused:?} refused");
}
