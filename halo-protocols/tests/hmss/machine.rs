//! The state machine, driven by hand and by the cluster in memory.

use std::collections::BTreeMap;

use halo_crypto::prg::PrngSeed;
use halo_protocols::hmss::{
    AggregationInputs, Effect, Event, Evidence, Message, Outcome, Retry, Role, SetupInputs, ShuffleInputs,
    Stage, State, StepError, secret_seeds,
};
use halo_protocols::llv2::RequisitionEvidence;
use halo_protocols::proto::duchy::{EncryptionPublicKey, NoiseMechanism};
use halo_protocols::proto::protocol::honest_majority_share_shuffle::ShufflePhaseInput;
use halo_protocols::testing::hmss::{Cluster, ClusterError, Delivery};
use halo_protocols::{Computation, DuchyId, MeasurementResult};
use prost::Message as _;

use crate::requisitions::{inputs, worker};
use crate::run::{context, fulfilments, machine_parameters};
use crate::settings::setting;

const FIRST: usize = 0;
const SECOND: usize = 1;
const AGGREGATOR: usize = 2;

/// Forty people: thirty seen by the first data provider, thirty by the second, often by the third.
fn vectors(maximum_frequency: u32) -> Vec<Vec<u32>> {
    let vector = |seen: fn(u32) -> u32| (0..50).map(|person| seen(person).min(maximum_frequency)).collect();
    vec![
        vector(|person| u32::from(person < 30)),
        vector(|person| u32::from((10..40).contains(&person))),
        vector(|person| if person < 5 { 9 } else { 0 }),
    ]
}

fn run(
    maximum_frequency: i32,
    mechanism: Option<NoiseMechanism>,
    seed: u8,
) -> Result<MeasurementResult, ClusterError> {
    let vectors = vectors(maximum_frequency as u32);
    let cluster = Cluster::new(&machine_parameters(maximum_frequency, mechanism), vectors.len(), [seed; 32])?;
    cluster.run(&fulfilments(&vectors, seed))
}

#[test]
fn without_noise_a_computation_counts() {
    let result = run(3, None, 7).unwrap();
    // 5 people 1 + 3 times, 5 once and 20 twice among the first 30, 10 once.
    let shares = BTreeMap::from([(1, 15.0 / 40.0), (2, 20.0 / 40.0), (3, 5.0 / 40.0)]);
    let expected = MeasurementResult { reach: 40, frequency: Some(shares), frequency_vector_size: Some(50) };
    assert_eq!(result, expected);
    let expected = MeasurementResult { reach: 40, frequency: None, frequency_vector_size: Some(50) };
    assert_eq!(run(1, None, 8).unwrap(), expected);
}

#[test]
fn reach_stands_for_all_whom_the_interval_samples() {
    let mut parameters = machine_parameters(1, None);
    parameters.vid_sampling_width = 0.3;
    let vectors = vectors(1);
    let result = Cluster::new(&parameters, 3, [1; 32]).unwrap().run(&fulfilments(&vectors, 1)).unwrap();
    assert_eq!(result.reach, (40.0 / f64::from(0.3f32)) as i64);
}

#[test]
fn a_noised_run_stays_near_and_repeats_with_its_seed() {
    for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
        for maximum_frequency in [1, 3] {
            let result = run(maximum_frequency, Some(mechanism), 1).unwrap();
            assert_eq!(result, run(maximum_frequency, Some(mechanism), 1).unwrap());
            // ε = 4, δ = 0.02: components are at most 6 away from their mean, and there are two.
            assert!((result.reach - 40).abs() <= 12, "{result:?}");
        }
    }
}

#[test]
fn keys_are_published_and_the_aggregator_has_none() {
    let published = |state: State| match &state.step(Event::Initialize, &context(0)).unwrap().effects[..] {
        [Effect::PublishEncryptionKey { encryption_public_key }] => encryption_public_key.clone(),
        other => panic!("{other:?}"),
    };
    for role in [Role::FirstNonAggregator, Role::SecondNonAggregator] {
        let keys = worker(role).keys;
        let key = keys.encryption_key_pair.public_key.clone();
        let bytes = published(State::new(setting(role, 2), Some(keys))).unwrap();
        assert_eq!(EncryptionPublicKey::decode(bytes.as_slice()).ok(), key);
        let without = State::new(setting(role, 2), None).step(Event::Initialize, &context(0));
        assert!(matches!(without, Err(StepError::Incomplete { stage: Stage::Initialized, .. })));
    }
    assert_eq!(published(State::new(setting(Role::Aggregator, 2), None)), None);
}

#[test]
fn a_first_worker_that_fell_behind_catches_up() {
    let first = worker(Role::FirstNonAggregator);
    let state = State::new(first.setting, Some(first.keys));
    let step = state.step(Event::Start, &context(0)).unwrap();
    assert_eq!(step.next.stage(), Stage::SetupPhase);
    let second = worker(Role::SecondNonAggregator);
    let state = State::new(second.setting, Some(second.keys));
    assert!(state.step(Event::Start, &context(0)).is_err());
}

#[test]
fn kept_output_is_sent_again_not_computed_again() {
    let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
    let first = state.clone().step(Event::Shuffle(inputs()), &context(1)).unwrap();
    let [Effect::Keep(kept), Effect::Send { to, message, payload }] = &first.effects[..] else {
        panic!("{:?}", first.effects)
    };
    assert_eq!((to.as_str(), *message, payload), ("aggregator", Message::AggregationPhaseInput, kept));
    let again = ShuffleInputs { kept: Some(kept.as_bytes().to_vec()), ..ShuffleInputs::default() };
    let second = state.step(Event::Shuffle(again), &context(2)).unwrap();
    assert_eq!(first.effects, second.effects);
    assert_eq!(first.next, second.next);
}

#[test]
fn setup_repeats_its_bytes() {
    let state = State::SetupPhase(worker(Role::SecondNonAggregator));
    let message = ShufflePhaseInput::decode(inputs().peer_message.as_slice()).unwrap();
    let setup = |reversed: bool| {
        let mut seeds = message.secret_seeds.clone();
        if reversed {
            seeds.reverse();
        }
        let setup = SetupInputs { secret_seeds: seeds, evidence: None };
        state.clone().step(Event::Setup(setup), &context(u8::from(reversed))).unwrap()
    };
    let (first, second) = (setup(false), setup(true));
    assert_eq!(first.effects, second.effects);
    let [Effect::Send { to, message: Message::ShufflePhaseInputTwo, payload }] = &first.effects[..] else {
        panic!("{:?}", first.effects)
    };
    assert_eq!(to.as_str(), "worker1");
    assert_eq!(secret_seeds(to, payload.as_bytes()).unwrap(), message.secret_seeds);
    assert_eq!(first.next.stage(), Stage::ShufflePhase);
}

#[test]
fn an_event_out_of_place_is_refused_and_named() {
    let first = || worker(Role::FirstNonAggregator);
    let states = [
        State::WaitToStart(first()),
        State::WaitOnShuffleInputPhaseTwo(first()),
        State::SetupPhase(first()),
        State::ShufflePhase(first()),
        State::AggregationPhase(setting(Role::Aggregator, 2)),
        State::Complete(setting(Role::Aggregator, 2), Outcome::Succeeded),
    ];
    for state in states {
        let events = [
            (Stage::Initialized, Event::Initialize),
            (Stage::WaitToStart, Event::Start),
            (Stage::SetupPhase, Event::Setup(SetupInputs::default())),
            (Stage::ShufflePhase, Event::Shuffle(ShuffleInputs::default())),
            (Stage::AggregationPhase, Event::Aggregate(AggregationInputs::default())),
        ];
        for (place, event) in events.into_iter().filter(|(place, _)| *place != state.stage()) {
            let name = event.name();
            match state.clone().step(event, &context(0)) {
                Err(StepError::Unexpected { stage, event, .. }) => {
                    assert_eq!((stage, event), (state.stage(), name));
                }
                other => panic!("{name} of {place:?}: {other:?}"),
            }
        }
        let stopped = state.clone().step(Event::Stop(Outcome::Cancelled), &context(0)).unwrap().next;
        match state {
            // What has ended stays as it ended.
            State::Complete(..) => assert_eq!(stopped, state),
            state => assert_eq!(stopped, State::Complete(state.setting().clone(), Outcome::Cancelled)),
        }
    }
}

#[test]
fn messages_are_taken_only_from_whom_they_are_due() {
    let mut cluster = Cluster::new(&machine_parameters(3, None), 2, [2; 32]).unwrap();
    let from = |id: &str, message| Event::PeerMessage { from: DuchyId::from(id), message };
    for stranger in ["worker2", "aggregator", "stranger"] {
        let refused = cluster.step(SECOND, from(stranger, Message::ShufflePhaseInputOne));
        let Err(ClusterError::Step { source, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(source.culprit(), Some(&DuchyId::from(stranger)));
        assert_eq!(source.retry(), Retry::Permanent);
    }
    let refused = cluster.step(SECOND, from("worker1", Message::AggregationPhaseInput));
    let Err(ClusterError::Step { source, .. }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, StepError::MessageMismatch { found: Message::AggregationPhaseInput, .. }));
    assert_eq!(cluster.state(FIRST).stage(), Stage::WaitToStart);
    // The same sender twice counts once.
    for _ in 0..2 {
        cluster.step(AGGREGATOR, from("worker1", Message::AggregationPhaseInput)).unwrap();
        assert_eq!(cluster.state(AGGREGATOR).stage(), Stage::WaitOnAggregationInput);
    }
    cluster.step(AGGREGATOR, from("worker2", Message::AggregationPhaseInput)).unwrap();
    assert_eq!(cluster.state(AGGREGATOR).stage(), Stage::AggregationPhase);
}

/// Runs a computation in which some payload is changed, and returns why it failed.
fn tampered(message: Message, change: impl Fn(&mut Delivery) + 'static) -> (DuchyId, StepError) {
    let vectors = vectors(3);
    let cluster = Cluster::new(&machine_parameters(3, None), vectors.len(), [3; 32]).unwrap();
    let refused = cluster
        .intercepted_by(Box::new(move |delivery| {
            if delivery.message == message {
                change(delivery);
            }
        }))
        .run(&fulfilments(&vectors, 3));
    match refused {
        Err(ClusterError::Step { duchy, source }) => (duchy, *source),
        other => panic!("{other:?}"),
    }
}

#[test]
fn altered_and_truncated_payloads_are_named_errors() {
    for message in Message::ALL {
        let (_, error) = tampered(message, |delivery| {
            delivery.payload.truncate(delivery.payload.len() / 2);
        });
        assert!(error.culprit().is_some(), "{message:?}: {error}");
        let (_, error) = tampered(message, |delivery| delivery.payload.clear());
        assert!(error.culprit().is_some(), "{message:?}: {error}");
    }
    let (duchy, error) = tampered(Message::ShufflePhaseInputOne, |delivery| {
        let mut message = ShufflePhaseInput::decode(delivery.payload.as_slice()).unwrap();
        message.peer_random_seed.pop();
        delivery.payload = message.encode_to_vec();
    });
    assert_eq!((duchy.as_str(), error.culprit()), ("worker2", Some(&DuchyId::from("worker1"))));
    assert!(matches!(error, StepError::PeerSeed { .. }), "{error}");
    // A register more at one worker.
    let (_, error) = tampered(Message::AggregationPhaseInput, |delivery| {
        delivery.payload.extend([0x08, 1]);
    });
    assert!(matches!(&error, StepError::Share { from, .. } if from.as_str() == "worker1"), "{error}");
    // Another count of registers at one of them: its own vector does not have as many, or no vector has.
    for count in [&[51][..], &[0], &[0x80, 0x80, 0x80, 0x80, 0x20]] {
        let (_, error) = tampered(Message::AggregationPhaseInput, move |delivery| {
            if delivery.from.as_str() == "worker2" {
                delivery.payload.push(0x10);
                delivery.payload.extend(count);
            }
        });
        assert_eq!(error.culprit(), Some(&DuchyId::from("worker2")), "{count:?}: {error}");
    }
    // A register more, and said so: either worker may be wrong.
    let (_, error) = tampered(Message::AggregationPhaseInput, |delivery| {
        if delivery.from.as_str() == "worker2" {
            delivery.payload.extend([0x08, 1, 0x10, 51]);
        }
    });
    assert!(matches!(error, StepError::RegisterCounts([50, 51])), "{error}");
    assert_eq!(error.culprit(), None);
}

#[test]
fn a_seed_that_was_exchanged_shows_in_frequencies() {
    let (_, error) = tampered(Message::ShufflePhaseInputOne, |delivery| {
        let mut message = ShufflePhaseInput::decode(delivery.payload.as_slice()).unwrap();
        message.secret_seeds[0].secret_seed_ciphertext[0] ^= 1;
        delivery.payload = message.encode_to_vec();
    });
    assert!(matches!(error, StepError::Kernel { stage: Stage::AggregationPhase, .. }), "{error}");
    assert_eq!(error.retry(), Retry::Permanent);
}

#[test]
fn a_seed_that_comes_back_is_refused() {
    let own = worker(Role::FirstNonAggregator).keys.random_seed;
    let mut echoed = inputs();
    let mut message = ShufflePhaseInput::decode(echoed.peer_message.as_slice()).unwrap();
    message.peer_random_seed = own.as_bytes().to_vec();
    echoed.peer_message = message.encode_to_vec();
    let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
    let error = state.step(Event::Shuffle(echoed), &context(0)).unwrap_err();
    assert!(matches!(&error, StepError::EchoedSeed(from) if from.as_str() == "worker2"), "{error}");
    assert_ne!(own, PrngSeed::from_bytes(&[0; 48]).unwrap());
}

#[test]
fn what_speaks_against_consent_fails_the_participation() {
    let state = State::SetupPhase(worker(Role::FirstNonAggregator));
    let evidence = Evidence {
        nonce_hashes: vec![vec![0; 32]],
        requisitions: vec![RequisitionEvidence {
            requisition: "r1".into(),
            nonce: Some(5),
            fulfilled_here: true,
            data_present: true,
        }],
        refused_signatures: Vec::new(),
    };
    let setup = SetupInputs { secret_seeds: Vec::new(), evidence: Some(evidence) };
    let step = state.step(Event::Setup(setup), &context(0)).unwrap();
    let [Effect::FailParticipation { reason }] = &step.effects[..] else { panic!("{:?}", step.effects) };
    assert!(reason.contains("r1: its nonce is not one"), "{reason}");
    assert!(matches!(step.next, State::Complete(_, Outcome::Failed)));
}

#[test]
fn secrets_are_not_printed() {
    let state = State::ShufflePhase(worker(Role::FirstNonAggregator));
    let shares = inputs();
    let printed = format!("{state:?} {:?}", Event::Shuffle(shares));
    assert!(printed.contains("Secret(..)"));
    let message = ShufflePhaseInput { peer_random_seed: vec![213; 48], secret_seeds: Vec::new() };
    assert!(!format!("{message:?}").contains("213"));
}
