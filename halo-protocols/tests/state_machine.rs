//! The Liquid Legions v2 state machine, driven by hand and by the cluster in memory.

use std::collections::BTreeMap;

use halo_crypto::elgamal::{Ciphertexts, EncryptionKey, PublicKey, combine_public_keys};
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::estimate::LiquidLegions;
use halo_protocols::kernel::{KernelContext, MAXIMUM_MESSAGE_BYTES};
use halo_protocols::llv2::key_set::{KeySetError, Participant};
use halo_protocols::llv2::{
    Event, Evidence, Message, NoisePolicy, Outcome, Parameters, Retry, Setting, SettingError, Stage,
    StageInputs, State, StepError,
};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, ElGamalPublicKey, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};
use halo_protocols::testing::{Cluster, ClusterError, Fulfilment};
use halo_protocols::{Computation, DuchyId, Effect, Role};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn parameters<G: Group>(maximum_frequency: i32, noise: Option<NoiseMechanism>) -> Parameters {
    let privacy = Some(DifferentialPrivacyParams { epsilon: 4.0, delta: 0.02 });
    Parameters {
        curve_id: G::CURVE_ID,
        maximum_frequency,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        vid_sampling_width: 1.0,
        noise: noise.map(|mechanism| LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            frequency_noise_config: privacy,
            noise_mechanism: mechanism as i32,
        }),
    }
}

fn setting(role: Role, parameters: Parameters) -> Setting {
    Setting {
        computation: "c".into(),
        duchy: DuchyId::from("aggregator"),
        role,
        duchy_count: 3,
        requisition_count: 2,
        parameters,
    }
}

/// Registers of the people in `people`: id, key and count are those of a person seen once.
fn registers<G: Group>(keys: &[ElGamalPublicKey], people: std::ops::Range<u32>) -> Vec<u8> {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| PublicKey::<G>::from_fields(&key.generator, &key.element).expect("a published key"))
        .collect();
    let key = EncryptionKey::new(combine_public_keys(&keys).expect("keys that add up"));
    let mut rng = ChaCha20Rng::seed_from_u64(people.start.into());
    let points: Vec<G::Point> = people
        .flat_map(|person| {
            [
                G::hash_one(format!("{person}").as_bytes()),
                G::hash_one(format!("key of {person}").as_bytes()),
                G::hash_one(b"unit_ec_point"),
            ]
        })
        .collect();
    let registers: Ciphertexts<G> = key.encrypt(&points, &mut rng);
    registers.encode().expect("no message is the identity")
}

/// 40 people, half of them seen by both data providers.
fn fulfilments<G: Group>(cluster: &Cluster, duchies: usize) -> Vec<Fulfilment> {
    let keys = cluster.published_keys();
    vec![
        Fulfilment { duchy: 0, data: registers::<G>(&keys, 0..30) },
        Fulfilment { duchy: duchies - 1, data: registers::<G>(&keys, 10..40) },
    ]
}

/// What 40 registers stand for: some people share one.
fn estimate_of_40_registers() -> i64 {
    let sketch = LiquidLegions::new(12.0, 100_000).expect("a possible sketch");
    sketch.reach(40, 1.0).expect("a sketch with room")
}

fn run<G: Group>(duchies: usize, maximum_frequency: i32) -> TestResult {
    let cluster = Cluster::new(&parameters::<G>(maximum_frequency, None), duchies, 2, [7; 32])?;
    let fulfilments = fulfilments::<G>(&cluster, duchies);
    let result = cluster.run(&fulfilments)?;
    assert_eq!(result.reach, estimate_of_40_registers(), "{duchies} duchies");
    let expected = (maximum_frequency > 1).then(|| BTreeMap::from([(1, 0.5), (2, 0.5)]));
    assert_eq!(result.frequency, expected, "{duchies} duchies");
    Ok(())
}

#[test]
fn two_to_five_duchies_agree_with_counting_on_p256() -> TestResult {
    (2..=5).try_for_each(|duchies| run::<P256>(duchies, 3))
}

#[test]
fn two_to_five_duchies_agree_with_counting_on_ristretto255() -> TestResult {
    (2..=5).try_for_each(|duchies| run::<Ristretto255>(duchies, 3))
}

#[test]
fn maximum_frequency_one_ends_with_the_reach() -> TestResult {
    run::<P256>(3, 1)?;
    run::<Ristretto255>(2, 1)
}

#[test]
fn a_noised_run_stays_near_and_repeats_with_its_seed() -> TestResult {
    let run = |mechanism, seed| {
        let cluster = Cluster::new(&parameters::<P256>(3, Some(mechanism)), 3, 2, [seed; 32])?;
        let fulfilments = fulfilments::<P256>(&cluster, 3);
        cluster.run(&fulfilments)
    };
    for mechanism in [NoiseMechanism::Geometric, NoiseMechanism::DiscreteGaussian] {
        let result = run(mechanism, 1)?;
        assert_eq!(result, run(mechanism, 1)?);
        // ε = 4, δ = 0.02: components are at most 4 away from their mean, and there are three.
        assert!((result.reach - 40).abs() <= 13, "{result:?}");
    }
    Ok(())
}

#[test]
fn altered_and_truncated_payloads_are_named_errors() -> TestResult {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 3] = [
        ("a point off the curve", |payload| payload[1..33].fill(0xff)),
        ("an unknown prefix", |payload| payload[33] = 0x05),
        ("a register cut short", |payload| payload.truncate(payload.len() - 1)),
    ];
    for message in Message::ALL {
        for (what, change) in changes {
            let cluster = Cluster::new(&parameters::<P256>(3, None), 3, 2, [3; 32])?;
            let fulfilments = fulfilments::<P256>(&cluster, 3);
            let refused = cluster
                .intercepted_by(Box::new(move |delivery| {
                    // A duchy without requisitions sends nothing in its setup phase.
                    if delivery.message == message && !delivery.payload.is_empty() {
                        change(&mut delivery.payload);
                    }
                }))
                .run(&fulfilments);
            match refused {
                Err(ClusterError::Step { source: source @ StepError::Kernel { .. }, .. }) => {
                    assert_eq!(source.retry(), Retry::Permanent);
                }
                other => panic!("{what} in {message:?}: {other:?}"),
            }
        }
    }
    Ok(())
}

#[test]
fn kept_output_is_sent_again_not_computed_again() -> TestResult {
    let mut cluster = Cluster::new(&parameters::<P256>(3, None), 2, 1, [5; 32])?;
    let keys = cluster.published_keys();
    let data = registers::<P256>(&keys, 0..5);
    // Drive the worker alone, by hand, up to its setup phase.
    let State::WaitRequisitionsAndKeySet(_) = cluster.state(0) else { panic!("{:?}", cluster.state(0)) };
    cluster.confirm_all(&[Fulfilment { duchy: 0, data: data.clone() }])?;
    cluster.step(0, Event::Start)?;
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([9; 32]));
    let inputs = StageInputs { requisitions: vec![data], ..StageInputs::default() };
    let first = cluster.state(0).clone().step(Event::Compute(inputs), &context)?;
    let Some(Effect::Keep(kept)) = first.effects.first() else { panic!("{:?}", first.effects) };
    let again = StageInputs { kept: Some(kept.as_bytes().to_vec()), ..StageInputs::default() };
    let second = cluster.state(0).clone().step(Event::Compute(again), &context)?;
    assert_eq!(first.effects, second.effects);
    assert_eq!(first.next, second.next);
    Ok(())
}

#[test]
fn an_event_out_of_place_is_refused_and_named() -> TestResult {
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([0; 32]));
    let new = || State::new(setting(Role::Aggregator, parameters::<P256>(2, None)));
    for event in [
        Event::Start,
        Event::Confirm(Evidence::default()),
        Event::Compute(StageInputs::default()),
        Event::PeerMessage { from: DuchyId::from("worker0"), message: Message::SetupPhaseInput },
        Event::KeySetPublished { aggregator: DuchyId::from("aggregator"), participants: Vec::new() },
    ] {
        let name = event.name();
        match new().step(event, &context) {
            Err(StepError::Unexpected { stage: Stage::InitializationPhase, event, .. }) => {
                assert_eq!(event, name);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let stopped = new().step(Event::Stop(Outcome::Cancelled), &context)?;
    let State::Complete(_, Outcome::Cancelled) = stopped.next else { panic!("{:?}", stopped.next) };
    // What has ended stays as it ended.
    let again = stopped.next.step(Event::Stop(Outcome::Failed), &context)?;
    let State::Complete(_, Outcome::Cancelled) = again.next else { panic!("{:?}", again.next) };
    Ok(())
}

/// Found by the fuzz target `step_events`: such a key was taken in, into a state that could not be stored.
#[test]
fn a_published_key_that_is_none_is_refused_with_its_owner() -> TestResult {
    let context = KernelContext::new(Executor::serial(), StreamSeed::new([0; 32]));
    let state = State::new(setting(Role::Aggregator, parameters::<P256>(2, None)));
    let own = state.setting().duchy.clone();
    let waiting = state.step(Event::Initialize, &context)?;
    let Some(Effect::PublishKey { el_gamal_public_key }) = waiting.effects.first().cloned() else {
        panic!("{:?}", waiting.effects)
    };
    let participant = |duchy: &DuchyId, el_gamal_public_key| Participant {
        duchy: duchy.clone(),
        el_gamal_public_key,
        signature: Vec::new(),
        signature_algorithm_oid: String::new(),
        certificate_der: Vec::new(),
    };
    let other = DuchyId::from("worker0");
    let published = |aggregator: &DuchyId, key_of_worker0| Event::KeySetPublished {
        aggregator: aggregator.clone(),
        participants: vec![
            participant(&DuchyId::from("worker1"), el_gamal_public_key.clone()),
            participant(&other, key_of_worker0),
            participant(&own, el_gamal_public_key.clone()),
        ],
    };
    // Found by the same target: with another aggregator than its role says, a duchy would send to itself.
    let refused = waiting.next.clone().step(published(&other, el_gamal_public_key.clone()), &context);
    assert!(matches!(refused, Err(StepError::KeySet(KeySetError::Role(_)))), "{refused:?}");
    let refused = waiting.next.step(published(&own, vec![0x18]), &context);
    let Err(error @ StepError::KeySet(KeySetError::Unreadable(_))) = refused else { panic!("{refused:?}") };
    assert_eq!(error.culprit(), Some(&other));
    Ok(())
}

#[test]
fn messages_are_taken_only_from_whom_they_are_due() -> TestResult {
    let mut cluster = Cluster::new(&parameters::<P256>(2, None), 3, 1, [2; 32])?;
    let data = registers::<P256>(&cluster.published_keys(), 0..3);
    cluster.confirm_all(&[Fulfilment { duchy: 0, data }])?;
    let aggregator = 2;
    let from = |id: &str, message| Event::PeerMessage { from: DuchyId::from(id), message };
    let refused = cluster.step(aggregator, from("stranger", Message::SetupPhaseInput));
    let Err(ClusterError::Step { source, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(source.culprit(), Some(&DuchyId::from("stranger")));
    let refused = cluster.step(aggregator, from("worker0", Message::ExecutionPhaseTwoInput));
    let Err(ClusterError::Step { source: StepError::MessageMismatch { found, .. }, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(found, Message::ExecutionPhaseTwoInput);
    // The same sender twice counts once.
    cluster.step(aggregator, from("worker0", Message::SetupPhaseInput))?;
    cluster.step(aggregator, from("worker0", Message::SetupPhaseInput))?;
    assert_eq!(cluster.state(aggregator).stage(), Stage::WaitSetupPhaseInputs);
    cluster.step(aggregator, from("worker1", Message::SetupPhaseInput))?;
    assert_eq!(cluster.state(aggregator).stage(), Stage::SetupPhase);
    Ok(())
}

#[test]
fn what_speaks_against_consent_fails_the_participation_with_every_reason() -> TestResult {
    let mut cluster = Cluster::new(&parameters::<P256>(2, None), 2, 1, [4; 32])?;
    cluster.gather_all()?;
    let evidence = Evidence {
        nonce_hashes: vec![vec![0; 32]],
        requisitions: vec![halo_protocols::llv2::RequisitionEvidence {
            requisition: "r1".into(),
            nonce: Some(5),
            fulfilled_here: true,
            data_present: false,
        }],
        refused_signatures: vec!["worker0: the signature does not verify".into()],
    };
    let refused = cluster.step(0, Event::Confirm(evidence));
    let Err(ClusterError::Failed { reason, .. }) = refused else { panic!("{refused:?}") };
    for part in ["r1: its nonce is not one", "its data is not here", "does not verify"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(cluster.state(0).stage(), Stage::Complete);
    Ok(())
}

#[test]
fn settings_that_cannot_be_computed_are_refused_at_creation() {
    let valid = || setting(Role::Aggregator, parameters::<P256>(10, Some(NoiseMechanism::DiscreteGaussian)));
    let check = |setting: &Setting| setting.validate(NoisePolicy::Required, MAXIMUM_MESSAGE_BYTES);
    assert_eq!(check(&valid()), Ok(()));
    let changed = |change: fn(&mut Setting)| {
        let mut setting = valid();
        change(&mut setting);
        check(&setting)
    };
    let noise = |setting: &mut Setting, epsilon, delta| {
        if let Some(noise) = &mut setting.parameters.noise {
            noise.frequency_noise_config = Some(DifferentialPrivacyParams { epsilon, delta });
        }
    };
    assert_eq!(changed(|setting| setting.parameters.curve_id = 714), Err(SettingError::Curve(714)));
    assert_eq!(changed(|setting| setting.duchy_count = 1), Err(SettingError::DuchyCount(1)));
    assert_eq!(changed(|setting| setting.requisition_count = 0), Err(SettingError::RequisitionCount(0)));
    assert_eq!(
        changed(|setting| setting.parameters.maximum_frequency = 0),
        Err(SettingError::MaximumFrequency(0))
    );
    assert!(matches!(
        changed(|setting| setting.parameters.sketch.decay_rate = f64::NAN),
        Err(SettingError::Sketch { .. })
    ));
    assert!(matches!(
        changed(|setting| setting.parameters.vid_sampling_width = f32::NAN),
        Err(SettingError::VidSamplingWidth(_))
    ));
    assert_eq!(changed(|setting| setting.parameters.noise = None), Err(SettingError::NoiseMissing));
    // A library has no flags.
    assert!(!SettingError::NoiseMissing.to_string().contains("--"));
    let mut without = valid();
    without.parameters.noise = None;
    assert_eq!(without.validate(NoisePolicy::AllowNone, MAXIMUM_MESSAGE_BYTES), Ok(()));
    for (epsilon, delta) in [(0.0, 0.1), (1e-6, 0.1), (f64::NAN, 0.1), (1.0, 0.0), (1.0, f64::INFINITY)] {
        let mut setting = valid();
        noise(&mut setting, epsilon, delta);
        assert!(matches!(check(&setting), Err(SettingError::Privacy { .. })), "{epsilon} {delta}");
    }
    // The number of demanded records is named.
    let mut greedy = valid();
    noise(&mut greedy, 1e-5, 1e-12);
    match check(&greedy) {
        Err(SettingError::TooMuchNoise { what: "flag-count tuples", demanded, limit }) => {
            assert!(demanded > limit, "{demanded} {limit}");
        }
        other => panic!("{other:?}"),
    }
    // Tuples that fit, of frequencies that make a matrix that does not.
    let mut wide = valid();
    wide.parameters.maximum_frequency = 10_000;
    match check(&wide) {
        Err(SettingError::TooMuchNoise { what: "matrix cells", demanded, limit }) => {
            assert!(demanded > limit, "{demanded} {limit}");
        }
        other => panic!("{other:?}"),
    }
}
