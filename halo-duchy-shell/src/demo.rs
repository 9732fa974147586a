//! A whole measurement on this machine: three duchies (or as many as wanted), a data provider for each publisher of an
//! event log and a small Kingdom compute reach and frequency, each seeing only what it would see in production.

mod accuracy;
pub mod args;
mod people;
mod progress;
pub mod report;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_crypto::prg::StreamSeed;
use halo_protocols::data_provider::{FrequencyVectorError, IntervalError, PopulationError};
use halo_protocols::estimate::EstimateError;
use halo_protocols::llv2::NoisePolicy;
use halo_protocols::{hmss, llv2, reach_only_llv2};
use sha2::{Digest, Sha256};

use crate::data_provider::Fulfilled;
use crate::events::{EventLog, EventLogError, Vid};
use crate::measurement_consumer::{MeasuredResult, MeasurementError, MeasurementRequest, Metric};
use crate::proto::api::DifferentialPrivacyParams;
use crate::proto::api::measurement_spec;
use crate::trial::{Trial, TrialConfig, TrialError};
use args::{DemoArgs, Misuse, Noise, Protocol};
use people::People;
use progress::Progress;
use report::{Parameters, Report};

/// The pause between two looks at the measurement.
const GLANCE: Duration = Duration::from_millis(50);

/// Why a demo has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// An option makes no sense beside the protocol.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The event log cannot be used.
    #[error(transparent)]
    Events(#[from] EventLogError),
    /// The sampling interval is empty.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// The same, of a population.
    #[error(transparent)]
    Positions(#[from] FrequencyVectorError),
    /// The sketch cannot be estimated from.
    #[error(transparent)]
    Sketch(#[from] EstimateError),
    /// The people of the log are too many for a population.
    #[error(transparent)]
    Population(#[from] PopulationError),
    /// The working directory cannot be made.
    #[error("cannot make a working directory")]
    WorkDir(#[source] std::io::Error),
    /// Two publishers' names differ only in characters that ids do not have.
    #[error("publishers {0:?} and {1:?} would have the same id")]
    PublisherNames(String, String),
    /// A party did not start, or failed.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The measurement has no result.
    #[error(transparent)]
    Measurement(#[from] MeasurementError),
}

/// Runs a measurement as `args` say. Shows on standard error who is doing what; the caller prints the report.
///
/// # Errors
/// [`DemoError`].
pub async fn run(args: &DemoArgs) -> Result<Report, DemoError> {
    args.check()?;
    let people = People::of(args)?;
    let temporary;
    let directory = match &args.work_dir {
        Some(directory) => directory.clone(),
        None => {
            temporary = tempfile::tempdir().map_err(DemoError::WorkDir)?;
            temporary.path().to_owned()
        }
    };
    let started = Instant::now();
    let duchies = duchy_ids(args.duchies());
    let progress = Arc::new(Progress::new(&duchies));
    let seed = args.seed.map(seed);
    let config = trial_config(args, &people, directory, duchies, seed.clone(), Arc::clone(&progress))?;
    let trial = Trial::start(config).await?;
    let measured = measure(args, &trial, seed).await;
    if measured.is_ok() {
        progress.wait_for(&last_stages(args), Duration::from_secs(5)).await;
    }
    let stopped = trial.stop().await;
    let (stages, mut bytes_sent) = progress.finish();
    let (result, fulfilled) = measured?;
    stopped?;
    for Fulfilled { requisition, bytes, .. } in fulfilled {
        let data_provider = requisition.split('/').nth(1).unwrap_or(&requisition);
        bytes_sent.insert(data_provider.to_owned(), bytes as u64);
    }
    Ok(Report {
        protocol: args.protocol.name(),
        suite: args.suite().map(args::Suite::name),
        noise: args.noise.name(),
        parameters: Parameters::of(args),
        reach: result.reach,
        frequency: result.frequency,
        stages,
        bytes_sent,
        seconds: started.elapsed().as_secs_f64(),
        ..accuracy::expected(args, &people)?
    })
}

/// The stages of which each duchy ends in one.
fn last_stages(args: &DemoArgs) -> Vec<&'static str> {
    match args.protocol {
        Protocol::Llv2 if args.max_frequency() == 1 => vec![llv2::Stage::ExecutionPhaseTwo.name()],
        Protocol::Llv2 => vec![llv2::Stage::ExecutionPhaseThree.name()],
        Protocol::RoLlv2 => vec![reach_only_llv2::Stage::ExecutionPhase.name()],
        Protocol::Hmss => vec![hmss::Stage::ShufflePhase.name(), hmss::Stage::AggregationPhase.name()],
    }
}

/// Creates the measurement, lets the data providers fulfil it, and waits for the result.
async fn measure(
    args: &DemoArgs,
    trial: &Trial,
    seed: Option<StreamSeed>,
) -> Result<(MeasuredResult, Vec<Fulfilled>), DemoError> {
    let request = request(args, trial);
    let name = match seed {
        None => trial.consumer.create(request, &mut UnwrapErr(SysRng)).await?,
        Some(seed) => trial.consumer.create(request, &mut seed.stream("measurement consumer", 0)).await?,
    };
    // A measurement that fails does not wait for its data providers.
    tokio::try_join!(async { Ok(trial.consumer.result(&name, GLANCE).await?) }, async {
        Ok(trial.fulfill(1).await?)
    })
}

/// As many kernel threads as the machine runs at once: the duchies of a demo mostly take turns.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The seed of all random choices that the option stands for.
fn seed(option: u64) -> StreamSeed {
    let digest = Sha256::new().chain_update(b"halo-duchy demo").chain_update(option.to_be_bytes());
    StreamSeed::new(digest.finalize().into())
}

/// The aggregator first.
fn duchy_ids(count: u8) -> Vec<String> {
    std::iter::once("aggregator".to_owned()).chain((1..count).map(|n| format!("worker{n}"))).collect()
}

fn trial_config(
    args: &DemoArgs,
    people: &People,
    directory: PathBuf,
    duchies: Vec<String>,
    seed: Option<StreamSeed>,
    observer: Arc<Progress>,
) -> Result<TrialConfig, DemoError> {
    let data_providers = data_providers(&people.log)?;
    Ok(TrialConfig {
        directory,
        blobs: args.blobs.clone(),
        store: args.store(),
        protocol: settings::protocol(args, &duchies, data_providers.len()),
        duchies,
        data_providers,
        // The Kingdom's noise mechanism is honoured either way: a demo duchy only does not refuse "none".
        noise_policy: match args.noise {
            Noise::None => NoisePolicy::AllowNone,
            Noise::DiscreteGaussian | Noise::Geometric => NoisePolicy::Required,
        },
        // A run with a seed is one of many: each puts people into registers in its own way, so that the sketch's error
        // is drawn anew like the noise.
        sketch_salt: args.seed,
        population: people.population.clone(),
        parallelism: threads(),
        seed,
        observer,
    })
}

/// A data provider for each publisher, with an id that resource names can hold.
fn data_providers(log: &EventLog) -> Result<Vec<(String, Vec<Vid>)>, DemoError> {
    let mut names = BTreeMap::<String, &str>::new();
    let mut providers = Vec::new();
    for (publisher, vids) in log.publishers() {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let id = format!("edp-{}", publisher.chars().map(plain).collect::<String>());
        if let Some(other) = names.insert(id.clone(), publisher) {
            return Err(DemoError::PublisherNames(other.to_owned(), publisher.to_owned()));
        }
        providers.push((id, vids.to_vec()));
    }
    Ok(providers)
}

fn request(args: &DemoArgs, trial: &Trial) -> MeasurementRequest {
    let privacy = DifferentialPrivacyParams { epsilon: args.epsilon, delta: args.delta };
    MeasurementRequest {
        data_providers: trial.recipients.clone(),
        metric: match args.max_frequency() {
            1 => Metric::Reach,
            maximum_frequency => Metric::ReachAndFrequency { frequency_privacy: privacy, maximum_frequency },
        },
        reach_privacy: privacy,
        vid_sampling_interval: measurement_spec::VidSamplingInterval {
            start: args.vid_sampling_start,
            width: args.vid_sampling_width,
        },
        reference_id: "demo".to_owned(),
        request_id: String::new(),
    }
}
