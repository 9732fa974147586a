//! The checks of a mill's confirmation, and those of a worker of share shuffles, each with something that fails only
//! this check: what the duchies are told of the computation is forged in this one thing.
//!
//! All computations are under way at once at three duchies on loopback. The forged ones end at the Kingdom with the reason;
//! the honest one among them measures what is there. The checks of a fulfilment, which refuse the call and leave the
//! computation alone, have theirs in `attacks` and `requisition_fulfillment`.

mod certificates;
mod forgeries;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_crypto::prg::StreamSeed;
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::measurement_consumer::{MeasuredResult, MeasurementError, MeasurementRequest, Metric};
use halo_duchy_shell::mill::Silent;
use halo_duchy_shell::pki::Pki;
use halo_duchy_shell::proto::api::DifferentialPrivacyParams;
use halo_duchy_shell::proto::api::measurement::failure::Reason;
use halo_duchy_shell::proto::api::measurement_spec::VidSamplingInterval;
use halo_duchy_shell::proto::system::Computation;
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::trial::{Trial, TrialConfig};
use halo_protocols::llv2::NoisePolicy;
use tempfile::TempDir;

use crate::forgeries::{FORGED, Forgery};

const PATIENCE: Duration = Duration::from_secs(120);

fn sketch() -> LiquidLegionsSettings {
    LiquidLegionsSettings {
        decay_rate: 2.0,
        sketch_size: 200,
        noise_mechanism: NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    }
}

fn share_shuffle() -> ShareShuffleSettings {
    let workers = ["worker1", "worker2"].map(str::to_owned);
    ShareShuffleSettings {
        noise_mechanism: NoiseMechanism::None,
        ..ShareShuffleSettings::of(workers, "aggregator".to_owned())
    }
}

async fn start(folder: &TempDir, protocol: Protocol) -> Trial {
    let config = TrialConfig {
        directory: folder.path().to_owned(),
        blobs: None,
        store: None,
        duchies: ["aggregator", "worker1", "worker2"].map(str::to_owned).into(),
        data_providers: vec![
            ("news".to_owned(), (1..16).collect()),
            ("video".to_owned(), (11..26).collect()),
            ("radio".to_owned(), (21..31).collect()),
        ],
        protocol,
        noise_policy: NoisePolicy::AllowNone,
        seed: None,
        sketch_salt: None,
        population: Some(1..=60),
        parallelism: 1,
        observer: Arc::new(Silent),
    };
    Trial::start(config).await.expect("everyone starts")
}

/// A measurement and the computation that it is to duchies.
struct Measurement {
    name: String,
    computation: String,
}

async fn create(trial: &Trial, metric: Metric) -> Measurement {
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    let request = MeasurementRequest {
        data_providers: trial.recipients.clone(),
        metric,
        reach_privacy: privacy,
        vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
        reference_id: "a test".to_owned(),
        request_id: String::new(),
    };
    let earlier: BTreeSet<_> = trial.kingdom.computations().into_iter().collect();
    let mut rng = StreamSeed::random(&mut UnwrapErr(SysRng)).stream("measurement consumer", 0);
    let name = trial.consumer.create(request, &mut rng).await.expect("a measurement");
    let mut now = trial.kingdom.computations();
    now.retain(|computation| !earlier.contains(computation));
    let computation = now.pop().expect("a new computation");
    Measurement { name, computation }
}

async fn result(trial: &Trial, measurement: &Measurement) -> Result<MeasuredResult, MeasurementError> {
    let result = trial.consumer.result(&measurement.name, Duration::from_millis(20));
    tokio::time::timeout(PATIENCE, result).await.expect("the measurement ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_forgery_fails_its_own_computation_with_the_reason() {
    let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    let metric = Metric::ReachAndFrequency { frequency_privacy: privacy, maximum_frequency: 3 };
    withstand(Protocol::LiquidLegionsV2(sketch()), metric, forgeries::all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reach_only_computations_check_the_same() {
    let protocol = Protocol::ReachOnlyLiquidLegionsV2(sketch());
    withstand(protocol, Metric::Reach, forgeries::of_nonces_and_signatures).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_share_shuffle_look_at_nonces() {
    let protocol = Protocol::HonestMajorityShareShuffle(share_shuffle());
    withstand(protocol, Metric::Reach, |_| forgeries::of_nonces()).await;
}

async fn withstand(protocol: Protocol, metric: Metric, forgeries: impl Fn(&Pki) -> Vec<Forgery>) {
    let folder = tempfile::tempdir().expect("a folder");
    let trial = start(&folder, protocol).await;
    let honest = create(&trial, metric).await;
    let mut forged = Vec::new();
    for forgery in forgeries(&trial.pki) {
        let measurement = create(&trial, metric).await;
        let Forgery { what, reason, apply } = forgery;
        let forge = move |duchy: &str, computation: &mut Computation| {
            if duchy != FORGED {
                apply(computation);
            }
        };
        trial.kingdom.forge(&measurement.computation, forge).expect("just created");
        forged.push((what, reason, measurement));
    }
    trial.fulfill(forged.len() + 1).await.expect("data providers see nothing of it");

    for (what, expected, measurement) in &forged {
        let Err(MeasurementError::Failed { reason, message }) = result(&trial, measurement).await else {
            panic!("{what} is believed")
        };
        assert_eq!(reason, Reason::ComputationParticipantFailed, "{what}");
        assert!(message.contains(expected), "{what}: {message}");
    }
    let honest = result(&trial, &honest).await.expect("an honest computation");
    assert!((25..=35).contains(&honest.reach), "{honest:?}");
    assert_eq!(trial.kingdom.violations(), []);
    trial.stop().await.expect("everyone stops");
}
