//! Whole measurements: a Kingdom, three duchies with their databases and blobs, data providers and a measurement
//! consumer, each with its own certificate, over mutual TLS on loopback ports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::measurement_consumer::{MeasuredResult, MeasurementError, MeasurementRequest, Metric};
use halo_duchy_shell::mill::Silent;
use halo_duchy_shell::proto::api::DifferentialPrivacyParams;
use halo_duchy_shell::proto::api::measurement_spec::VidSamplingInterval;
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::trial::{Trial, TrialConfig};
use halo_protocols::llv2::NoisePolicy;
use tempfile::TempDir;

const SKETCH_SIZE: u32 = 400;

/// There are so many people.
const POPULATION: i64 = 120;

/// People 1..=30 at the first data provider, 21..=50 at the second, twice each: 50 people, 10 of them at both.
fn impressions() -> Vec<(String, Vec<i64>)> {
    let twice = |people: std::ops::RangeInclusive<i64>| people.flat_map(|person| [person; 2]).collect();
    vec![("news".to_owned(), (1..=30).collect()), ("video".to_owned(), twice(21..=50))]
}

fn sketch(noise_mechanism: NoiseMechanism) -> LiquidLegionsSettings {
    LiquidLegionsSettings {
        decay_rate: 2.0,
        sketch_size: SKETCH_SIZE,
        noise_mechanism,
        ..LiquidLegionsSettings::default()
    }
}

fn share_shuffle(noise_mechanism: NoiseMechanism) -> ShareShuffleSettings {
    let workers = ["worker1", "worker2"].map(str::to_owned);
    ShareShuffleSettings { noise_mechanism, ..ShareShuffleSettings::of(workers, "aggregator".to_owned()) }
}

/// All three protocols, with this noise.
fn protocols(noise: NoiseMechanism) -> [Protocol; 3] {
    [
        Protocol::LiquidLegionsV2(sketch(noise)),
        Protocol::ReachOnlyLiquidLegionsV2(sketch(noise)),
        Protocol::HonestMajorityShareShuffle(share_shuffle(noise)),
    ]
}

async fn start(folder: &TempDir, protocol: Protocol, noise_policy: NoisePolicy) -> Trial {
    start_with(folder, protocol, noise_policy, impressions()).await
}

async fn start_with(
    folder: &TempDir,
    protocol: Protocol,
    noise_policy: NoisePolicy,
    data_providers: Vec<(String, Vec<i64>)>,
) -> Trial {
    let config = TrialConfig {
        directory: folder.path().to_owned(),
        blobs: None,
        store: None,
        duchies: ["aggregator", "worker1", "worker2"].map(str::to_owned).into(),
        data_providers,
        protocol,
        noise_policy,
        seed: None,
        sketch_salt: None,
        population: Some(1..=POPULATION),
        parallelism: 1,
        observer: Arc::new(Silent),
    };
    Trial::start(config).await.expect("everyone starts")
}

fn request(trial: &Trial, metric: Metric) -> MeasurementRequest {
    MeasurementRequest {
        data_providers: trial.recipients.clone(),
        metric,
        reach_privacy: DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 },
        vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
        reference_id: "a test".to_owned(),
        request_id: String::new(),
    }
}

fn reach_and_frequency() -> Metric {
    let frequency_privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
    Metric::ReachAndFrequency { frequency_privacy, maximum_frequency: 5 }
}

/// Asks, has the data providers answer, and waits for the result.
async fn measure(trial: &Trial, metric: Metric) -> Result<MeasuredResult, MeasurementError> {
    let measuring = async {
        let name = trial.consumer.create(request(trial, metric), &mut UnwrapErr(SysRng)).await?;
        trial.fulfill(1).await.expect("the data providers fulfil");
        trial.consumer.result(&name, Duration::from_millis(50)).await
    };
    tokio::time::timeout(Duration::from_secs(120), measuring).await.expect("the measurement ends")
}

/// The files of the duchies' blobs, by their paths under the directory of each.
fn blobs(folder: &TempDir) -> Vec<String> {
    let mut files = Vec::new();
    for duchy in ["aggregator", "worker1", "worker2"] {
        let root = folder.path().join(duchy).join("blobs").join(duchy);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            // A folder goes with its last file.
            let Ok(entries) = folder.read_dir() else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(&root).expect("under the root");
                    files.push(path.to_string_lossy().into_owned());
                }
            }
        }
    }
    files
}

/// Once the duchies have closed their books, what data providers sent is left, and nothing that stages computed, nor
/// private keys.
async fn nothing_intermediate_stays(folder: &TempDir) {
    let gone = async {
        while !blobs(folder).iter().all(|path| path.starts_with("requisitions/")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), gone).await.is_err() {
        panic!("these stay: {:?}", blobs(folder));
    }
    assert!(!blobs(folder).is_empty(), "what data providers sent is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_duchies_count_people_and_how_often_they_were_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let protocol = Protocol::LiquidLegionsV2(sketch(NoiseMechanism::None));
    let trial = start(&folder, protocol, NoisePolicy::AllowNone).await;
    let result = measure(&trial, reach_and_frequency()).await.expect("a result");
    assert!((40..=60).contains(&result.reach), "{result:?}");
    // 20 people once, 20 twice, 10 three times.
    for (frequency, share) in [(1, 0.4), (2, 0.4), (3, 0.2)] {
        let found = result.frequency.get(&frequency).copied().unwrap_or_default();
        assert!((found - share).abs() < 0.12, "{result:?}");
    }
    assert_eq!(trial.kingdom.violations(), []);
    nothing_intermediate_stays(&folder).await;
    trial.stop().await.expect("everyone stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_duchies_count_people_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let protocol = Protocol::ReachOnlyLiquidLegionsV2(sketch(NoiseMechanism::None));
    let trial = start(&folder, protocol, NoisePolicy::AllowNone).await;
    let result = measure(&trial, Metric::Reach).await.expect("a result");
    assert!((40..=60).contains(&result.reach) && result.frequency.is_empty(), "{result:?}");
    assert_eq!(trial.kingdom.violations(), []);
    nothing_intermediate_stays(&folder).await;
    trial.stop().await.expect("everyone stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_and_an_aggregator_count_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let protocol = Protocol::HonestMajorityShareShuffle(share_shuffle(NoiseMechanism::None));
    let trial = start(&folder, protocol, NoisePolicy::AllowNone).await;
    let result = measure(&trial, reach_and_frequency()).await.expect("a result");
    assert_eq!(result.reach, 50);
    assert_eq!(result.frequency, BTreeMap::from([(1, 0.4), (2, 0.4), (3, 0.2)]));
    assert_eq!(trial.kingdom.violations(), []);
    nothing_intermediate_stays(&folder).await;
    trial.stop().await.expect("everyone stops");
}

/// As docs/threat-model.md says: without noise Liquid Legions have a reach of one over the width of the interval, a share
/// shuffle has none; and there is nothing to take shares of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_is_all_empty_is_measured() {
    for (protocol, reach) in protocols(NoiseMechanism::None).into_iter().zip([1, 1, 0]) {
        let (folder, shown) = (tempfile::tempdir().expect("a folder"), format!("{protocol:?}"));
        let reach_only = matches!(protocol, Protocol::ReachOnlyLiquidLegionsV2(_));
        let nobody = ["news", "video"].map(|provider| (provider.to_owned(), Vec::new()));
        let trial = start_with(&folder, protocol, NoisePolicy::AllowNone, nobody.into()).await;
        let result = measure(&trial, Metric::Reach).await.expect("a result");
        assert_eq!((result.reach, result.frequency), (reach, BTreeMap::new()), "{shown}");
        if !reach_only {
            let error = measure(&trial, reach_and_frequency()).await.expect_err("no result");
            let MeasurementError::Failed { message, .. } = &error else { panic!("{shown}: {error}") };
            assert!(message.contains("neither actual data nor effective noise"), "{shown}: {message}");
        }
        assert_eq!(trial.kingdom.violations(), []);
        nothing_intermediate_stays(&folder).await;
        trial.stop().await.expect("everyone stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measurements_at_the_same_time_do_not_disturb_one_another() {
    let protocol = Protocol::HonestMajorityShareShuffle(share_shuffle(NoiseMechanism::None));
    at_the_same_time(protocol).await;
    at_the_same_time(Protocol::LiquidLegionsV2(sketch(NoiseMechanism::None))).await;
}

async fn at_the_same_time(protocol: Protocol) {
    let folder = tempfile::tempdir().expect("a folder");
    let trial = start(&folder, protocol, NoisePolicy::AllowNone).await;
    let mut names = Vec::new();
    for metric in [reach_and_frequency(), Metric::Reach] {
        let created = trial.consumer.create(request(&trial, metric), &mut UnwrapErr(SysRng)).await;
        names.push(created.expect("the Kingdom takes it"));
    }
    let measuring = async {
        trial.fulfill(names.len()).await.expect("the data providers fulfil");
        let pause = Duration::from_millis(50);
        tokio::join!(trial.consumer.result(&names[0], pause), trial.consumer.result(&names[1], pause))
    };
    let (both, reach) = tokio::time::timeout(Duration::from_secs(120), measuring).await.expect("an end");
    let (both, reach) = (both.expect("a result"), reach.expect("a result"));
    assert_eq!(both.reach, reach.reach);
    assert!(!both.frequency.is_empty() && reach.frequency.is_empty());
    assert!(trial.kingdom.violations().is_empty(), "{:?}", trial.kingdom.violations());
    trial.stop().await.expect("everyone stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_production_duchy_refuses_to_compute_without_noise() {
    for protocol in protocols(NoiseMechanism::None) {
        let folder = tempfile::tempdir().expect("a folder");
        let shown = format!("{protocol:?}");
        let trial = start(&folder, protocol, NoisePolicy::Required).await;
        let name = trial.consumer.create(request(&trial, Metric::Reach), &mut UnwrapErr(SysRng)).await;
        let name = name.expect("the Kingdom takes it");
        let result = trial.consumer.result(&name, Duration::from_millis(50));
        let result =
            tokio::time::timeout(Duration::from_secs(60), result).await.expect("the measurement ends");
        let reason = result.expect_err("no result").to_string();
        assert!(reason.contains("--insecure-dev-allow-no-noise"), "{shown}: {reason}");
        trial.stop().await.expect("everyone stops");
    }
}
