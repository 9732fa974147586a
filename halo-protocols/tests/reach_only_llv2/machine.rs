//! The state machine, driven by hand and by the cluster in memory (which writes every state to a row and reads it back).

use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::data_provider::{SketchParameters, encrypt_sketch, reach_only_sketch};
use halo_protocols::estimate::LiquidLegions;
use halo_protocols::kernel::{KernelError, MAXIMUM_MESSAGE_BYTES};
use halo_protocols::liquid_legions::{
    NoisePolicy, Outcome, Parameters, Retry, Setting, SettingError, StageInputs,
};
use halo_protocols::proto::any_sketch::crypto::{self, EncryptSketchRequest};
use halo_protocols::proto::duchy::{
    DifferentialPrivacyParams, ElGamalKeyPair, ElGamalPublicKey, NoiseMechanism,
};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{
    CompleteReachOnlyExecutionPhaseAtAggregatorResponse, LiquidLegionsSketchParameters,
    LiquidLegionsV2NoiseConfig,
};
use halo_protocols::reach_only_llv2::{Effect, Event, Message, Stage, State, StepError, UnknownMessage};
use halo_protocols::testing::{ClusterError, Fulfilment, ReachOnlyCluster};
use halo_protocols::{Computation, DuchyId, MeasurementResult, Role};
use proptest::prelude::*;
use prost::Message as _;

use crate::measurement::{combine, context};

const SKETCH: SketchParameters =
    SketchParameters { decay_rate: 12.0, size: 100_000, sampling_indicator_size: 1, salt: None };

fn parameters<G: Group>(noise: Option<NoiseMechanism>) -> Parameters {
    let privacy = Some(DifferentialPrivacyParams { epsilon: 4.0, delta: 0.02 });
    Parameters {
        curve_id: G::CURVE_ID,
        maximum_frequency: 1,
        sketch: LiquidLegionsSketchParameters { decay_rate: SKETCH.decay_rate, size: SKETCH.size },
        vid_sampling_width: 1.0,
        noise: noise.map(|mechanism| LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            frequency_noise_config: None,
            noise_mechanism: mechanism as i32,
        }),
    }
}

/// The encrypted sketch of one data provider.
fn sketch<G: Group>(cluster: &ReachOnlyCluster, people: std::ops::Range<i64>) -> Vec<u8> {
    let pair = |public_key: ElGamalPublicKey| ElGamalKeyPair {
        public_key: Some(public_key),
        secret_key: Vec::new(),
    };
    let keys: Vec<ElGamalKeyPair> = cluster.published_keys().into_iter().map(pair).collect();
    let ElGamalPublicKey { generator, element } = combine::<G>(&keys);
    let request = EncryptSketchRequest {
        sketch: Some(reach_only_sketch(&SKETCH, people.clone())),
        el_gamal_keys: Some(crypto::ElGamalPublicKey { generator, element }),
        curve_id: G::CURVE_ID,
        ..EncryptSketchRequest::default()
    };
    encrypt_sketch::<G>(&request, &context(people.start as u8)).unwrap().encrypted_sketch
}

/// 40 people, half of them seen by both data providers.
fn fulfilments<G: Group>(cluster: &ReachOnlyCluster, duchies: usize) -> Vec<Fulfilment> {
    vec![
        Fulfilment { duchy: 0, data: sketch::<G>(cluster, 0..30) },
        Fulfilment { duchy: duchies - 1, data: sketch::<G>(cluster, 10..40) },
    ]
}

/// What the registers of so many people stand for.
fn estimate(people: i64) -> i64 {
    let registers = reach_only_sketch(&SKETCH, 0..people).registers.len() as u64;
    LiquidLegions::new(SKETCH.decay_rate, SKETCH.size).unwrap().reach(registers, 1.0).unwrap()
}

fn agrees<G: Group>(duchies: usize) {
    let cluster = ReachOnlyCluster::new(&parameters::<G>(None), duchies, 2, [7; 32]).unwrap();
    let fulfilments = fulfilments::<G>(&cluster, duchies);
    let result = cluster.run(&fulfilments).unwrap();
    assert_eq!(
        result,
        MeasurementResult { reach: estimate(40), frequency: None, frequency_vector_size: None },
        "{duchies} duchies"
    );
}

#[test]
fn two_to_five_duchies_agree_with_counting() {
    (2..=5).for_each(agrees::<P256>);
    (2..=5).for_each(agrees::<Ristretto255>);
}

#[test]
fn a_noised_run_stays_near_and_repeats_with_its_seed() {
    let run = |mechanism| {
        let cluster = ReachOnlyCluster::new(&parameters::<P256>(Some(mechanism)), 3, 2, [1; 32]).unwrap();
        let fulfilments = fulfilments::<P256>(&cluster, 3);
        cluster.run(&fulfilments).unwrap()
    };
    for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
        let result = run(mechanism);
        assert_eq!(result, run(mechanism));
        // ε = 4, δ = 0.02: components are at most 4 away from their mean, and there are three.
        assert!((result.reach - estimate(40)).abs() <= 13, "{result:?}");
    }
}

#[test]
fn altered_and_truncated_payloads_are_named_errors() {
    type Expected = fn(&StepError) -> bool;
    let refused: Expected = |error| matches!(error, StepError::Kernel { .. });
    let misshapen: Expected = |error| matches!(error, StepError::MessageLength { ciphertext: 66, .. });
    let changes: [(&str, fn(&mut Vec<u8>), Expected); 5] = [
        (
            "a noise ciphertext off the curve",
            |payload| payload.iter_mut().rev().take(32).for_each(|byte| *byte = 0xff),
            refused,
        ),
        ("an unknown prefix", |payload| payload[0] = 5, refused),
        ("cut short", |payload| payload.truncate(payload.len() - 1), misshapen),
        ("too long", |payload| payload.push(0), misshapen),
        ("empty", Vec::clear, misshapen),
    ];
    for message in Message::ALL {
        for (what, change, expected) in changes {
            let cluster = ReachOnlyCluster::new(&parameters::<P256>(None), 3, 2, [3; 32]).unwrap();
            let fulfilments = fulfilments::<P256>(&cluster, 3);
            let refused = cluster
                .intercepted_by(Box::new(move |delivery| {
                    if delivery.message == message {
                        change(&mut delivery.payload);
                    }
                }))
                .run(&fulfilments);
            match refused {
                Err(ClusterError::Step { source, .. }) => {
                    assert!(expected(&source), "{what} in {message:?}: {source:?}");
                    assert_eq!(source.retry(), Retry::Permanent);
                }
                other => panic!("{what} in {message:?}: {other:?}"),
            }
        }
    }
}

/// Two duchies that have confirmed, and the data of 5 people at the first.
fn confirmed() -> (ReachOnlyCluster, Vec<u8>) {
    let mut cluster = ReachOnlyCluster::new(&parameters::<P256>(None), 2, 1, [5; 32]).unwrap();
    let data = sketch::<P256>(&cluster, 0..5);
    cluster.confirm_all(&[Fulfilment { duchy: 0, data: data.clone() }]).unwrap();
    (cluster, data)
}

fn payload(effects: &[Effect]) -> Vec<u8> {
    match effects {
        [Effect::Keep(kept), Effect::Send { payload, .. }] => {
            assert_eq!(kept, payload, "what is sent is what is kept");
            payload.as_bytes().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn kept_output_is_used_again_not_computed_again() {
    let (mut cluster, data) = confirmed();
    cluster.step(0, Event::Start).unwrap();
    let compute =
        |state: State, inputs: StageInputs, seed| state.step(Event::Compute(inputs), &context(seed)).unwrap();
    let message = |payload: Vec<u8>| StageInputs { messages: vec![payload], ..StageInputs::default() };
    let kept = |payload: Vec<u8>| StageInputs { kept: Some(payload), ..StageInputs::default() };

    let worker = cluster.state(0).clone();
    let inputs = StageInputs { requisitions: vec![data], ..StageInputs::default() };
    let first = compute(worker.clone(), inputs, 1);
    let sent = payload(&first.effects);
    let again = compute(worker, kept(sent.clone()), 2);
    assert_eq!((&first.effects, &first.next), (&again.effects, &again.next));

    let from = |id: &str, message| Event::PeerMessage { from: DuchyId::from(id), message };
    let aggregator = cluster.state(1).clone();
    let aggregator = aggregator.step(from("worker0", Message::SetupPhaseInput), &context(3)).unwrap().next;
    let at_aggregator = compute(aggregator, message(sent), 3);
    let all = payload(&at_aggregator.effects);

    let worker = first.next.step(from("aggregator", Message::ExecutionPhaseInput), &context(4)).unwrap().next;
    let blinded = compute(worker.clone(), message(all), 4);
    assert_eq!(blinded.next.stage(), Stage::Complete);
    let sent = payload(&blinded.effects);
    assert_eq!(compute(worker, kept(sent.clone()), 5).effects, blinded.effects);

    let waiting = at_aggregator.next;
    let aggregator = waiting.step(from("worker0", Message::ExecutionPhaseInput), &context(6)).unwrap().next;
    let result = compute(aggregator.clone(), message(sent), 6);
    let [Effect::Keep(response), Effect::ReportResult(reported)] = result.effects.as_slice() else {
        panic!("{:?}", result.effects)
    };
    assert_eq!(reported.reach, estimate(5));
    assert_eq!(
        CompleteReachOnlyExecutionPhaseAtAggregatorResponse::decode(response.as_bytes()).unwrap().reach,
        reported.reach
    );
    let again = compute(aggregator.clone(), kept(response.as_bytes().to_vec()), 7);
    assert_eq!(again.effects, result.effects);
    // Upstream keeps an empty output once it has reported.
    let upstream = compute(aggregator.clone(), kept(Vec::new()), 8);
    assert_eq!((upstream.effects, upstream.next), (Vec::new(), result.next));
    let unreadable = aggregator.step(Event::Compute(kept(vec![0xff])), &context(9));
    assert!(matches!(unreadable, Err(StepError::KeptOutput(Stage::ExecutionPhase))), "{unreadable:?}");
}

#[test]
fn stages_work_on_as_many_messages_as_they_wait_for() {
    let (mut cluster, _) = confirmed();
    cluster.step(0, Event::Start).unwrap();
    for messages in [1, 2] {
        let inputs = StageInputs { messages: vec![Vec::new(); messages], ..StageInputs::default() };
        let refused = cluster.state(0).clone().step(Event::Compute(inputs), &context(1));
        let Err(StepError::MessageCount { stage: Stage::SetupPhase, expected: 0, found }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(found, messages);
    }
}

#[test]
fn messages_are_taken_only_from_whom_they_are_due() {
    let (mut cluster, _) = confirmed();
    let from = |id: &str, message| Event::PeerMessage { from: DuchyId::from(id), message };
    let refused = cluster.step(1, from("stranger", Message::SetupPhaseInput));
    let Err(ClusterError::Step { source, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(source.culprit(), Some(&DuchyId::from("stranger")));
    let refused = cluster.step(1, from("worker0", Message::ExecutionPhaseInput));
    let Err(ClusterError::Step { source: StepError::MessageMismatch { found, stage, .. }, .. }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((found, stage), (Message::ExecutionPhaseInput, Stage::WaitSetupPhaseInputs));
    cluster.step(1, from("worker0", Message::SetupPhaseInput)).unwrap();
    assert_eq!(cluster.state(1).stage(), Stage::SetupPhase);
    assert_eq!(Message::try_from(3), Err(UnknownMessage(3)));
    assert!(Message::ALL.into_iter().all(|message| Message::try_from(message.number()) == Ok(message)));
}

#[test]
fn an_event_out_of_place_is_refused_and_named() {
    let new = || State::new(setting());
    let out_of_place = [
        Event::Start,
        Event::Compute(StageInputs::default()),
        Event::PeerMessage { from: DuchyId::from("worker0"), message: Message::SetupPhaseInput },
        Event::KeySetPublished { aggregator: DuchyId::from("aggregator"), participants: Vec::new() },
    ];
    for event in out_of_place {
        let name = event.name();
        match new().step(event, &context(0)) {
            Err(StepError::Unexpected { stage: Stage::InitializationPhase, event, .. }) => {
                assert_eq!(event, name);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let stopped = new().step(Event::Stop(Outcome::Cancelled), &context(0)).unwrap();
    let again = stopped.next.step(Event::Stop(Outcome::Failed), &context(0)).unwrap();
    assert_eq!(again.next, State::Complete(setting(), Outcome::Cancelled));
}

fn setting() -> Setting {
    Setting {
        computation: "c".into(),
        duchy: DuchyId::from("aggregator"),
        role: Role::Aggregator,
        duchy_count: 3,
        requisition_count: 2,
        parameters: parameters::<P256>(Some(NoiseMechanism::DiscreteGaussian)),
    }
}

#[test]
fn settings_that_cannot_be_computed_are_refused_at_creation() {
    let check = |change: fn(&mut Setting)| {
        let mut setting = setting();
        change(&mut setting);
        setting.validate_reach_only(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES)
    };
    fn noise(setting: &mut Setting) -> &mut LiquidLegionsV2NoiseConfig {
        setting.parameters.noise.as_mut().unwrap()
    }
    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(
        check(|setting| setting.parameters.maximum_frequency = 2),
        // A measurement of frequencies lacks their noise, too; without that it is the frequencies that are refused.
        Err(SettingError::NoiseIncomplete("frequency noise"))
    );
    assert_eq!(
        check(|setting| {
            setting.parameters.maximum_frequency = 2;
            let privacy = noise(setting).reach_noise_config.unwrap().global_reach_dp_noise;
            noise(setting).frequency_noise_config = privacy;
        }),
        Err(SettingError::NotReachOnly(2))
    );
    assert_eq!(check(|setting| setting.duchy_count = 1), Err(SettingError::DuchyCount(1)));
    assert_eq!(check(|setting| setting.parameters.noise = None), Err(SettingError::NoiseMissing));
    assert_eq!(
        check(|setting| noise(setting).noise_mechanism = NoiseMechanism::None.into()),
        Err(SettingError::NoiseMechanism(NoiseMechanism::None.into()))
    );
    let greedy = check(|setting| {
        let reach = noise(setting).reach_noise_config.as_mut().unwrap();
        reach.blind_histogram_noise = Some(DifferentialPrivacyParams { epsilon: 1e-5, delta: 1e-12 });
    });
    assert!(matches!(greedy, Err(SettingError::TooMuchNoise { what: "registers", .. })), "{greedy:?}");
}

/// Two duchies, of which the first is to blind registers.
fn blinding_worker() -> State {
    let (mut cluster, data) = confirmed();
    cluster.step(0, Event::Start).unwrap();
    let inputs = StageInputs { requisitions: vec![data], ..StageInputs::default() };
    cluster.step(0, Event::Compute(inputs)).unwrap();
    let from = DuchyId::from("aggregator");
    cluster.step(0, Event::PeerMessage { from, message: Message::ExecutionPhaseInput }).unwrap();
    cluster.state(0).clone()
}

#[test]
fn hostile_payloads_are_refused() {
    let worker = blinding_worker();
    let payloads = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        // Of the right length, and with the right prefixes.
        proptest::collection::vec((2_u8..4, any::<[u8; 32]>()), 2..8).prop_map(|points| points
            .into_iter()
            .flat_map(|(prefix, x)| [vec![prefix], x.to_vec()].concat())
            .collect()),
    ];
    proptest!(ProptestConfig::with_cases(200), |(payload in payloads)| {
        let inputs = StageInputs { messages: vec![payload.clone()], ..StageInputs::default() };
        match worker.clone().step(Event::Compute(inputs), &context(1)) {
            Err(StepError::MessageLength { length, message: 0, .. }) => prop_assert_eq!(length, payload.len()),
            Err(StepError::Kernel { source: KernelError::Ciphertext { .. }, .. }) => {}
            // By chance all points are on the curve.
            Ok(_) => prop_assert!(payload.len() <= 8 * 33),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    });
}
