//! What the shell adds to the library: whole measurements by three duchies with databases and blobs in files, on loopback
//! ports over mutual TLS, and for each stage of each duchy what its mill needs beyond the protocol's step. That is reading
//! blobs, hashing, writing and syncing them, the database, and handing the data to a peer, who does the same with it.
//!
//! At 10^5 registers, 10^4 with `--quick`, 10^6 with the feature `large`. All duchies share the machine, so what one
//! computes delays what another hands on.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_benches::results::{Measurement, Recorder};
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::measurement_consumer::{MeasurementRequest, Metric};
use halo_duchy_shell::mill::{StageEvent, StageObserver, StageReport};
use halo_duchy_shell::proto::api::DifferentialPrivacyParams;
use halo_duchy_shell::proto::api::measurement_spec::VidSamplingInterval;
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::trial::{Trial, TrialConfig};
use halo_protocols::llv2::NoisePolicy;

type AnyError = Box<dyn std::error::Error>;

const REGISTERS: u32 = if cfg!(feature = "large") { 1_000_000 } else { 100_000 };
const REGISTERS_QUICK: u32 = 10_000;

/// Longer than any measurement takes.
const PATIENCE: Duration = Duration::from_secs(3600);

const PRIVACY: DifferentialPrivacyParams = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };

/// A stage that a mill has finished.
#[derive(Clone, Debug)]
struct Stage {
    name: String,
    sent_bytes: u64,
    computing: Duration,
    elapsed: Duration,
    /// Whether the peer was not ready for the data, so that the mill waited.
    waited: bool,
}

/// Hears of stages.
#[derive(Debug, Default)]
struct Watch {
    seen: Mutex<(Vec<StageReport>, Vec<Stage>)>,
}

impl StageObserver for Watch {
    fn observe(&self, report: StageReport) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (waiting, stages) = &mut *seen;
        let same = |other: &StageReport| other.duchy == report.duchy && other.stage == report.stage;
        match report.event {
            StageEvent::Waiting { .. } => waiting.push(report),
            StageEvent::Finished { sent_bytes, computing, elapsed, .. } => stages.push(Stage {
                name: format!("{} {}", report.duchy, report.stage),
                sent_bytes,
                computing,
                elapsed,
                waited: waiting.iter().any(same),
            }),
            StageEvent::Interrupted { reason } | StageEvent::Failed { reason } => {
                eprintln!("{} {}: {reason}", report.duchy, report.stage);
            }
            _ => {}
        }
    }
}

fn main() -> Result<(), AnyError> {
    halo_benches::choose_backend()?;
    let (options, filters): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let quick = options.iter().any(|option| option == "--quick");
    let registers = if quick { REGISTERS_QUICK } else { REGISTERS };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut recorder = Recorder::create(Path::new(env!("CARGO_TARGET_TMPDIR")), "overhead")?;
    let sketch = LiquidLegionsSettings {
        // Flat enough that few people share a register; the rate must be above 1.
        decay_rate: 2.0,
        sketch_size: 10 * registers,
        noise_mechanism: NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    };
    let workers = ["worker1", "worker2"].map(str::to_owned);
    let shares = ShareShuffleSettings {
        noise_mechanism: NoiseMechanism::None,
        ..ShareShuffleSettings::of(workers, "aggregator".to_owned())
    };
    for (name, goal, protocol) in [
        ("LLv2", "at most 5 %", Protocol::LiquidLegionsV2(sketch.clone())),
        ("RO-LLv2", "at most 5 %", Protocol::ReachOnlyLiquidLegionsV2(sketch)),
        ("HMSS", "at most 50 ms a stage", Protocol::HonestMajorityShareShuffle(shares)),
    ] {
        if filters.is_empty() || filters.iter().any(|filter| filter == name) {
            let stages = runtime.block_on(measure(protocol, i64::from(registers)))?;
            print(name, goal, registers, &stages);
            record(&mut recorder, name, registers as usize, &stages)?;
        }
    }
    Ok(())
}

/// Every stage of a measurement of `people` people, all at one data provider.
async fn measure(protocol: Protocol, people: i64) -> Result<Vec<Stage>, AnyError> {
    let folder = tempfile::tempdir()?;
    let watch = Arc::new(Watch::default());
    let reach_only = matches!(protocol, Protocol::ReachOnlyLiquidLegionsV2(_));
    let trial = Trial::start(TrialConfig {
        directory: folder.path().to_owned(),
        blobs: None,
        store: None,
        duchies: ["aggregator", "worker1", "worker2"].map(str::to_owned).into(),
        data_providers: vec![("publisher".to_owned(), (1..=people).collect())],
        protocol,
        noise_policy: NoisePolicy::AllowNone,
        seed: None,
        sketch_salt: None,
        population: Some(1..=people),
        parallelism: 1,
        observer: watch.clone(),
    })
    .await?;
    let metric = match reach_only {
        true => Metric::Reach,
        false => Metric::ReachAndFrequency { frequency_privacy: PRIVACY, maximum_frequency: 10 },
    };
    let request = MeasurementRequest {
        data_providers: trial.recipients.clone(),
        metric,
        reach_privacy: PRIVACY,
        vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
        reference_id: "a benchmark".to_owned(),
        request_id: String::new(),
    };
    let measuring = async {
        let name = trial.consumer.create(request, &mut UnwrapErr(SysRng)).await?;
        // A measurement that fails does not wait for its data provider.
        tokio::select! {
            result = trial.consumer.result(&name, Duration::from_millis(50)) => result.map(drop)?,
            fulfilled = async {
                trial.fulfill(1).await?;
                trial.consumer.result(&name, Duration::from_millis(50)).await?;
                Ok::<_, AnyError>(())
            } => fulfilled?,
        }
        Ok::<_, AnyError>(())
    };
    tokio::time::timeout(PATIENCE, measuring).await??;
    trial.stop().await?;
    let seen = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(seen.1.clone())
}

fn print(protocol: &str, goal: &str, registers: u32, stages: &[Stage]) {
    println!("\n{protocol}, {registers} registers; goal: {goal}");
    println!(
        "{:<58}{:>12}{:>14}{:>13}{:>13}{:>10}",
        "stage", "MB sent", "library ms", "shell ms", "overhead ms", "of it"
    );
    for stage in stages.iter().chain([&total(stages)]) {
        let (library, shell) = (stage.computing.as_secs_f64() * 1e3, stage.elapsed.as_secs_f64() * 1e3);
        println!(
            "{:<58}{:>12.1}{library:>14.1}{shell:>13.1}{:>13.1}{:>9.1}%{}",
            stage.name,
            stage.sent_bytes as f64 * 1e-6,
            shell - library,
            (shell - library) / library * 100.0,
            if stage.waited { "  (waited for the peer)" } else { "" }
        );
    }
}

/// All stages that did not wait for a peer.
fn total(stages: &[Stage]) -> Stage {
    let counted = || stages.iter().filter(|stage| !stage.waited);
    Stage {
        name: "all that did not wait for a peer".to_owned(),
        sent_bytes: counted().map(|stage| stage.sent_bytes).sum(),
        computing: counted().map(|stage| stage.computing).sum(),
        elapsed: counted().map(|stage| stage.elapsed).sum(),
        waited: false,
    }
}

fn record(recorder: &mut Recorder, protocol: &str, records: usize, stages: &[Stage]) -> Result<(), AnyError> {
    let nanoseconds = |duration: Duration| duration.as_secs_f64() * 1e9 / records as f64;
    for stage in stages.iter().filter(|stage| !stage.waited).chain([&total(stages)]) {
        recorder.add(&Measurement {
            work: format!("{protocol}: {}", stage.name),
            records,
            nanoseconds: nanoseconds(stage.elapsed),
            peer: "the library: the same step alone".to_owned(),
            peer_nanoseconds: nanoseconds(stage.computing),
            ..recorder.measurement()
        })?;
    }
    Ok(())
}
