//! Three duchies and their Kingdom, and measurements by all protocols at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_duchy_shell::data_provider::Outcome;
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::kingdom::fault::Fault;
use halo_duchy_shell::measurement_consumer::{MeasuredResult, MeasurementError, MeasurementRequest, Metric};
use halo_duchy_shell::mill::Silent;
use halo_duchy_shell::proto::api::DifferentialPrivacyParams;
use halo_duchy_shell::proto::api::measurement_spec::VidSamplingInterval;
use halo_duchy_shell::proto::system::computation::State;
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::trial::{Surroundings, Trial, TrialConfig};
use halo_protocols::llv2::NoisePolicy;
use tempfile::TempDir;

pub const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];

/// How long measurements may take under a fault, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(240);
const GLANCE: Duration = Duration::from_millis(20);

/// People 1..=15 at one data provider, 11..=25 at the other.
const PEOPLE: i64 = 25;

pub struct World {
    pub trial: Trial,
    requests: AtomicU64,
    _folder: TempDir,
}

fn protocols() -> [Protocol; 3] {
    let sketch = LiquidLegionsSettings {
        decay_rate: 2.0,
        sketch_size: 100,
        noise_mechanism: NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    };
    let workers = ["worker1", "worker2"].map(str::to_owned);
    let share_shuffle = ShareShuffleSettings {
        noise_mechanism: NoiseMechanism::None,
        ..ShareShuffleSettings::of(workers, "aggregator".to_owned())
    };
    [
        Protocol::LiquidLegionsV2(sketch.clone()),
        Protocol::ReachOnlyLiquidLegionsV2(sketch),
        Protocol::HonestMajorityShareShuffle(share_shuffle),
    ]
}

impl World {
    pub async fn start() -> Self {
        Self::start_in(&Surroundings::default(), |_| ()).await
    }

    /// In unusual surroundings, with a changed configuration.
    pub async fn start_in(surroundings: &Surroundings, change: impl FnOnce(&mut TrialConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [protocol, ..] = protocols();
        let mut config = TrialConfig {
            blobs: None,
            store: None,
            directory: folder.path().to_owned(),
            duchies: DUCHIES.map(str::to_owned).into(),
            data_providers: vec![
                ("news".to_owned(), (1..=15).collect()),
                ("video".to_owned(), (11..=PEOPLE).collect()),
            ],
            protocol,
            noise_policy: NoisePolicy::AllowNone,
            seed: None,
            sketch_salt: None,
            population: Some(1..=2 * PEOPLE),
            parallelism: 1,
            observer: Arc::new(Silent),
        };
        change(&mut config);
        let trial = Trial::start_in(surroundings, config).await.expect("everyone starts");
        Self { trial, requests: AtomicU64::new(0), _folder: folder }
    }

    pub async fn stop(self) {
        self.trial.stop().await.expect("everyone stops");
    }

    /// Asks for a measurement by each protocol; their names.
    pub async fn create(&self) -> Vec<String> {
        let mut names = Vec::new();
        for protocol in protocols() {
            let request_id = self.requests.fetch_add(1, Ordering::Relaxed).to_string();
            let consumer = "measurementConsumers/mc";
            self.trial.kingdom.plan_measurement(consumer, &request_id, protocol).expect("a sound plan");
            let request = MeasurementRequest {
                data_providers: self.trial.recipients.clone(),
                metric: Metric::Reach,
                reach_privacy: DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 },
                vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
                reference_id: "a test".to_owned(),
                request_id,
            };
            let created = self.trial.consumer.create(request, &mut UnwrapErr(SysRng)).await;
            names.push(created.expect("the Kingdom takes it"));
        }
        names
    }

    /// What came of measurements.
    pub async fn results(&self, names: &[String]) -> Vec<Result<MeasuredResult, MeasurementError>> {
        let results = names.iter().map(|name| self.trial.consumer.result(name, GLANCE));
        futures::future::join_all(results).await
    }

    /// Data providers that deal with what waits for them until the future is dropped. One that is refused tries again.
    async fn fulfill(&self) {
        loop {
            for provider in &self.trial.data_providers {
                match provider.fulfill_waiting().await {
                    Ok(outcomes) => outcomes.iter().for_each(|outcome| {
                        if let Outcome::Waits { requisition, error } = outcome {
                            eprintln!("{requisition} is tried again: {error}");
                        }
                    }),
                    Err(error) => eprintln!("a data provider asks again: {error}"),
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Injects `faults`, has measurements by all protocols made, and sees that they have the right results.
    pub async fn measure_under(&self, what: &str, faults: Vec<Fault>) {
        self.inject(faults);
        for (result, protocol) in self.measure(what).await.into_iter().zip(protocols()) {
            let result = result.unwrap_or_else(|error| panic!("{what}: {protocol:?}: {error}"));
            // A sketch of 100 registers may have a few people in one.
            assert!((result.reach - PEOPLE).abs() <= 8, "{what}: {protocol:?}: {result:?}");
        }
        self.end();
    }

    /// Has measurements by all protocols made; what came of them.
    pub async fn measure(&self, what: &str) -> Vec<Result<MeasuredResult, MeasurementError>> {
        let names = self.create().await;
        let measured = async {
            tokio::select! {
                results = self.results(&names) => results,
                () = self.fulfill() => Vec::new(),
            }
        };
        let measured = tokio::time::timeout(PATIENCE, measured).await;
        measured.unwrap_or_else(|_| panic!("{what}: {}", self.states()))
    }

    /// Injects `faults`, asks for measurements by all protocols, and sees that they wait for `absent` alone until they
    /// are cancelled for their age.
    pub async fn stall_under(&self, faults: Vec<Fault>, absent: &str) {
        self.inject(faults);
        let names = self.create().await;
        let only_absent = |computation: &String| {
            let found = self.trial.kingdom.computation(computation).expect("it is there");
            let missing = found.computation_participants.iter().filter(|participant| {
                found.state() == State::PendingRequisitionParams && participant.requisition_params.is_none()
            });
            missing.map(|participant| participant.name.clone()).collect::<Vec<_>>()
        };
        let suffix = format!("/participants/{absent}");
        let waiting = async {
            loop {
                let missing: Vec<_> =
                    self.trial.kingdom.computations().iter().flat_map(only_absent).collect();
                if missing.len() == names.len() && missing.iter().all(|name| name.ends_with(&suffix)) {
                    return;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{}", self.states()));
        let expired = self.trial.kingdom.expire_measurements(Duration::ZERO).expect("no database");
        assert_eq!(expired.len(), names.len());
        for result in self.results(&names).await {
            assert!(matches!(result, Err(MeasurementError::Cancelled)), "{result:?}");
        }
        self.end();
    }

    /// Injects `faults`, asks for measurements by all protocols, and gives the reasons why they fail.
    pub async fn fail_under(&self, faults: Vec<Fault>) -> Vec<String> {
        self.inject(faults);
        let names = self.create().await;
        let results = tokio::time::timeout(PATIENCE, self.results(&names)).await;
        let results = results.unwrap_or_else(|_| panic!("{}", self.states()));
        let reasons = results.into_iter().map(|result| match result {
            Err(MeasurementError::Failed { message, .. }) => message,
            other => panic!("{other:?}"),
        });
        let reasons = reasons.collect();
        self.end();
        reasons
    }

    fn inject(&self, faults: Vec<Fault>) {
        for fault in faults {
            self.trial.kingdom.inject(fault).expect("a fault that can happen");
        }
    }

    fn end(&self) {
        self.trial.kingdom.clear_faults(None).expect("no database");
        assert_eq!(self.trial.kingdom.violations(), []);
    }

    /// How far the computations are, to tell why one hangs.
    fn states(&self) -> String {
        let kingdom = &self.trial.kingdom;
        let computations = kingdom.computations().into_iter().filter_map(|name| kingdom.computation(&name));
        let states = computations.map(|found| {
            let log = kingdom.log_entries(&found.name);
            let log = log.iter().map(|(duchy, entry)| format!("\n  {duchy}: {}", entry.log_message));
            format!("\n{} {:?}{}", found.name, found.state(), log.collect::<String>())
        });
        states.collect()
    }
}
