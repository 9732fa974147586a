use arbitrary::{Arbitrary, Unstructured};
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256, Ristretto255};
use halo_protocols::kernel::KernelContext;
use halo_protocols::llv2::key_set::{Participant, PublishedKey};
use halo_protocols::llv2::{
    Event, Evidence, Message, Outcome, Parameters, RequisitionEvidence, Setting, Stage, StageInputs, State,
};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2::ComputationDetails;
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};
use halo_protocols::{Computation, DuchyId, Effect, Role, Step};
use prost::Message as _;

const DUCHIES: [&str; 3] = ["worker1", "worker2", "aggregator"];
/// Steps of one input: a whole computation takes a dozen.
const MAXIMUM_STEPS: usize = 24;
const MAXIMUM_MESSAGE_BYTES: u64 = 1 << 14;

/// Any sequence of events, mostly plausible ones, told to one duchy of three.
///
/// An accepted event leads to the same stage, its successor or the end; what is sent is what is kept; the setting
/// never changes; every state can be written to a row.
pub fn step_events(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(curve) = u8::arbitrary(&mut bytes) else { return };
    // Running out of bytes ends the sequence.
    let _ = if curve % 2 == 0 { in_suite::<P256>(&mut bytes) } else { in_suite::<Ristretto255>(&mut bytes) };
}

fn in_suite<G: Group>(bytes: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut state = State::new(setting::<G>(bytes)?);
    for step in 0..MAXIMUM_STEPS {
        if bytes.is_empty() {
            break;
        }
        let context = KernelContext::new(Executor::serial(), StreamSeed::new([step as u8; 32]))
            .with_maximum_message_bytes(MAXIMUM_MESSAGE_BYTES);
        let event = event::<G>(&state, bytes)?;
        let before = state.clone();
        match before.clone().step(event, &context) {
            Ok(stepped) => {
                check(&before, &stepped);
                state = stepped.next;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    Ok(())
}

fn check(before: &State, Step { next, effects }: &Step<State>) {
    let (from, to, role) = (before.stage(), next.stage(), before.setting().role);
    assert!(
        to == from || Some(to) == from.next(role) || to == Stage::Complete,
        "{} became {} as {role:?}",
        from.name(),
        to.name()
    );
    assert!(from != Stage::Complete || next == before, "a computation that has ended goes on");
    assert_eq!(next.setting(), before.setting());
    next.write_details(&mut ComputationDetails::default()).expect("every state can be stored");
    let kept: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Keep(payload) => Some(payload),
            _ => None,
        })
        .collect();
    for effect in effects {
        if let Effect::Send { to, payload, .. } = effect {
            assert!(kept.contains(&payload), "what is sent was not kept");
            assert_ne!(*to, next.setting().duchy, "a duchy sends to itself");
        }
    }
}

fn setting<G: Group>(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Setting> {
    let duchy = *bytes.choose(&DUCHIES)?;
    let noise = DifferentialPrivacyParams { epsilon: 50.0, delta: 0.5 };
    Ok(Setting {
        computation: "computation".to_owned(),
        duchy: duchy.into(),
        role: if duchy == "aggregator" { Role::Aggregator } else { Role::NonAggregator },
        duchy_count: DUCHIES.len(),
        requisition_count: 1,
        parameters: Parameters {
            curve_id: G::CURVE_ID,
            maximum_frequency: bytes.int_in_range(1..=4)?,
            sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 1_000 },
            vid_sampling_width: 1.0,
            noise: bool::arbitrary(bytes)?.then(|| LiquidLegionsV2NoiseConfig {
                reach_noise_config: Some(ReachNoiseConfig {
                    blind_histogram_noise: Some(noise),
                    noise_for_publisher_noise: Some(noise),
                    global_reach_dp_noise: Some(noise),
                }),
                frequency_noise_config: Some(noise),
                noise_mechanism: NoiseMechanism::DiscreteGaussian.into(),
            }),
        },
    })
}

fn event<G: Group>(state: &State, bytes: &mut Unstructured<'_>) -> arbitrary::Result<Event> {
    Ok(match bytes.int_in_range(0..=9)? {
        // The event that is due; the others come at any time.
        0..=3 => match state.stage() {
            Stage::InitializationPhase => Event::Initialize,
            Stage::WaitRequisitionsAndKeySet => key_set::<G>(state, bytes)?,
            Stage::ConfirmationPhase => Event::Confirm(evidence(bytes)?),
            Stage::WaitToStart => Event::Start,
            stage if stage.number() % 2 == 1 => peer_message(bytes)?,
            _ => Event::Compute(inputs::<G>(bytes)?),
        },
        4 => Event::Initialize,
        5 => key_set::<G>(state, bytes)?,
        6 => Event::Confirm(evidence(bytes)?),
        7 => Event::Compute(inputs::<G>(bytes)?),
        8 => peer_message(bytes)?,
        _ => Event::Stop(*bytes.choose(&[Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled])?),
    })
}

fn peer_message(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Event> {
    Ok(Event::PeerMessage { from: duchy(bytes)?, message: *bytes.choose(&Message::ALL)? })
}

fn duchy(bytes: &mut Unstructured<'_>) -> arbitrary::Result<DuchyId> {
    Ok(if bytes.ratio(9, 10)? { *bytes.choose(&DUCHIES)? } else { "stranger" }.into())
}

/// A key set of the three duchies; now and then with a foreign duchy or arbitrary bytes for a key.
fn key_set<G: Group>(state: &State, bytes: &mut Unstructured<'_>) -> arbitrary::Result<Event> {
    let own = match state {
        State::WaitRequisitionsAndKeySet(keyed) => keyed.local_key.public_key.clone(),
        _ => None,
    };
    let damaged = bytes.ratio(1, 8)?;
    let mut participants = Vec::new();
    for (index, name) in DUCHIES.into_iter().enumerate() {
        let published = match &own {
            Some(key) if state.setting().duchy == name.into() => PublishedKey {
                elliptic_curve_id: 0,
                generator: key.generator.clone(),
                element: key.element.clone(),
            },
            _ => PublishedKey {
                elliptic_curve_id: 0,
                generator: points::<G>(&[0]),
                element: points::<G>(&[index as u8 + 4]),
            },
        };
        participants.push(Participant {
            duchy: if damaged { duchy(bytes)? } else { name.into() },
            el_gamal_public_key: if damaged && bool::arbitrary(bytes)? {
                Vec::arbitrary(bytes)?
            } else {
                published.encode_to_vec()
            },
            signature: Vec::new(),
            signature_algorithm_oid: String::new(),
            certificate_der: Vec::new(),
        });
    }
    Ok(Event::KeySetPublished {
        aggregator: if damaged { duchy(bytes)? } else { "aggregator".into() },
        participants,
    })
}

fn evidence(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Evidence> {
    let nonce = 7;
    let good = bytes.ratio(7, 8)?;
    Ok(Evidence {
        nonce_hashes: vec![halo_protocols::consent::nonce_hash(nonce).to_vec()],
        requisitions: vec![RequisitionEvidence {
            requisition: "requisition".to_owned(),
            nonce: if good { Some(nonce) } else { Option::arbitrary(bytes)? },
            fulfilled_here: good || bool::arbitrary(bytes)?,
            data_present: good || bool::arbitrary(bytes)?,
        }],
        refused_signatures: Vec::new(),
    })
}

fn inputs<G: Group>(bytes: &mut Unstructured<'_>) -> arbitrary::Result<StageInputs> {
    let mut messages = Vec::new();
    for _ in 0..bytes.int_in_range(0..=2)? {
        messages.push(payload::<G>(bytes)?);
    }
    let requisitions = if bool::arbitrary(bytes)? { vec![payload::<G>(bytes)?] } else { Vec::new() };
    let kept = if bytes.ratio(1, 8)? { Some(Vec::arbitrary(bytes)?) } else { None };
    Ok(StageInputs { requisitions, messages, kept })
}

/// Arbitrary bytes, or points that decode: whole registers (6 points each) or tuples (8).
fn payload<G: Group>(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    if bytes.ratio(1, 8)? {
        return Vec::arbitrary(bytes);
    }
    let count = *bytes.choose(&[0_usize, 2, 6, 8, 12, 24])?;
    let mut which = vec![0; count];
    bytes.fill_buffer(&mut which)?;
    Ok(points::<G>(&which))
}

/// Small multiples of the generator, so that equal and opposite points are likely.
fn points<G: Group>(which: &[u8]) -> Vec<u8> {
    let scalars: Vec<G::Scalar> = which.iter().map(|byte| G::Scalar::from(u64::from(byte % 8) + 1)).collect();
    let points = G::fixed_base_multiples(G::fixed_generator(), &scalars);
    let mut encoded = vec![0; which.len() * G::POINT_LENGTH];
    G::encode(&points, &mut encoded).expect("small multiples of the generator are not the identity");
    encoded
}
