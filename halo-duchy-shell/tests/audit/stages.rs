//! A stage draws its noise once: an attempt that follows a crash computes the same bytes, and one that follows the
//! commit sends what was kept.

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_crypto::{Group, P256};
use halo_duchy_shell::seeds::SeedSource;
use halo_protocols::kernel::KernelContext;
use halo_protocols::liquid_legions::{Event, RingComputation, StageInputs};
use halo_protocols::llv2::{Parameters, State};
use halo_protocols::proto::duchy::{DifferentialPrivacyParams, NoiseMechanism};
use halo_protocols::proto::protocol::liquid_legions_v2_noise_config::ReachNoiseConfig;
use halo_protocols::proto::protocol::{LiquidLegionsSketchParameters, LiquidLegionsV2NoiseConfig};
use halo_protocols::testing::{Cluster, Fulfilment};
use halo_protocols::{Computation as _, Effect, NoiseMissing, StageNoise};

fn parameters(noise: bool) -> Parameters {
    let privacy = Some(DifferentialPrivacyParams { epsilon: 4.0, delta: 0.02 });
    Parameters {
        curve_id: P256::CURVE_ID,
        maximum_frequency: 3,
        sketch: LiquidLegionsSketchParameters { decay_rate: 12.0, size: 100_000 },
        vid_sampling_width: 1.0,
        noise: noise.then_some(LiquidLegionsV2NoiseConfig {
            reach_noise_config: Some(ReachNoiseConfig {
                blind_histogram_noise: privacy,
                noise_for_publisher_noise: privacy,
                global_reach_dp_noise: privacy,
            }),
            frequency_noise_config: privacy,
            noise_mechanism: NoiseMechanism::Geometric as i32,
        }),
    }
}

/// A worker about to add its noise.
fn worker(noise: bool) -> State {
    let nothing = |duchy| Fulfilment { duchy, data: Vec::new() };
    let mut cluster = Cluster::new(&parameters(noise), 3, 2, [7; 32]).expect("sound parameters");
    cluster.confirm_all(&[nothing(0), nothing(2)]).expect("everyone confirms");
    cluster.step(0, Event::Start).expect("it waits");
    cluster.state(0).clone()
}

/// What the stage keeps, and what it sends.
fn attempt(state: &State, seed: StreamSeed, kept: Option<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
    let inputs = StageInputs { requisitions: vec![], messages: vec![], kept };
    let context = KernelContext::new(Executor::serial(), seed);
    let step = state.clone().step(Event::Compute(inputs), &context).expect("a stage");
    let (mut kept, mut sent) = (Vec::new(), Vec::new());
    for effect in step.effects {
        match effect {
            Effect::Keep(payload) => kept = payload.into_bytes(),
            Effect::Send { payload, .. } => sent = payload.into_bytes(),
            other => panic!("{other:?}"),
        }
    }
    (kept, sent)
}

/// The seed that a mill has for an attempt.
fn seed(state: &State) -> StreamSeed {
    let secret = state.local_secret_key().expect("a key");
    SeedSource::OperatingSystem.of_stage(secret, "worker0", "c", "SETUP_PHASE")
}

#[test]
fn an_attempt_after_a_crash_computes_the_same_bytes() {
    let state = worker(true);
    let first = attempt(&state, seed(&state), None);
    assert_eq!(first.0, first.1);
    assert!(!first.0.is_empty());
    assert_eq!(attempt(&state, seed(&state), None), first);
    // The seeds decide: others give other noise.
    let another = SeedSource::OperatingSystem.seed("worker0", "c", "SETUP_PHASE").expect("randomness");
    assert_ne!(attempt(&state, another, None), first);
}

#[test]
fn an_attempt_after_the_commit_sends_what_was_kept() {
    let state = worker(true);
    let (kept, _) = attempt(&state, seed(&state), None);
    // Whatever else has changed: another process, another seed.
    let another = SeedSource::OperatingSystem.seed("worker0", "c", "SETUP_PHASE").expect("randomness");
    assert_eq!(attempt(&state, another, Some(kept.clone())), (kept.clone(), kept));
}

#[test]
fn the_account_of_noise_is_what_the_kernel_adds() {
    let state = worker(true);
    let StageNoise::Added(account) = state.stage_noise().expect("sound parameters") else {
        panic!("a setup phase adds noise")
    };
    let (kept, _) = attempt(&state, seed(&state), None);
    let bytes = account.records * account.record_bytes;
    assert_eq!(kept.len() as u64, bytes);
    assert_eq!(account.check((0, 0), bytes), Ok(()));
    let short = account.check((0, 0), bytes - account.record_bytes);
    assert!(matches!(short, Err(NoiseMissing::Short { .. })), "{short:?}");
    let purposes: Vec<_> = account.components.iter().map(|component| component.purpose).collect();
    assert_eq!(purposes, ["blinded histogram noise", "publisher noise", "reach noise"]);
    assert!(account.components.iter().all(|component| component.contributors == 3));
    assert_eq!(
        account.components.iter().map(|component| component.sensitivity).collect::<Vec<_>>(),
        [2, 2, 1]
    );
}

#[test]
fn a_computation_without_noise_says_so_in_every_stage() {
    assert_eq!(worker(false).stage_noise().expect("sound parameters"), StageNoise::Disabled);
    let new = Cluster::new(&parameters(false), 3, 2, [7; 32]).expect("sound parameters");
    assert_eq!(new.state(0).stage_noise().expect("sound parameters"), StageNoise::Disabled);
    let noised = Cluster::new(&parameters(true), 3, 2, [7; 32]).expect("sound parameters");
    assert_eq!(noised.state(0).stage_noise().expect("sound parameters"), StageNoise::NotHere);
}
