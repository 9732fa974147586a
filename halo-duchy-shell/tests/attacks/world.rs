//! A trial with relays between its duchies, and its measurements.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_crypto::prg::StreamSeed;
use halo_duchy_shell::client::{Channel, channel};
use halo_duchy_shell::data_provider::Outcome;
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::measurement_consumer::{MeasuredResult, MeasurementError, MeasurementRequest, Metric};
use halo_duchy_shell::mill::Silent;
use halo_duchy_shell::proto::api::measurement_spec::VidSamplingInterval;
use halo_duchy_shell::proto::api::{DifferentialPrivacyParams, Requisition};
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::service::AdvanceLimits;
use halo_duchy_shell::trial::{Surroundings, Trial, TrialConfig};
use halo_protocols::llv2::NoisePolicy;
use rand_core::Rng;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::{Code, Status};

use crate::relay::{self, Gate, Held};

pub const DUCHIES: [&str; 3] = ["aggregator", "worker1", "worker2"];
/// Each hands its data to the duchy at the same place in [`DUCHIES`].
pub const DATA_PROVIDERS: [&str; 3] = ["news", "video", "radio"];
pub const CONSUMER: &str = "mc";
pub const KINGDOM: &str = "kingdom";
/// Messages between three duchies: the workers' sketches, then three rounds of the ring.
pub const MESSAGES: usize = 2 + 3 * 3;

/// There are so many people.
pub const POPULATION: i64 = 100;

/// The most that a duchy takes of another in one stream.
pub const MAX_ADVANCE_BYTES: u64 = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub trial: Trial,
    gate: Gate,
    folder: TempDir,
    reach_only: bool,
}

/// A measurement under way.
pub struct Measurement {
    name: String,
    /// Of the data providers' requisitions.
    pub nonces: Vec<u64>,
    /// The messages between duchies, which wait for [`World::compute`].
    messages: UnboundedReceiver<Held>,
}

/// A channel to `address` with the certificate of `party`.
pub fn connect(trial: &Trial, party: &str, address: SocketAddr) -> Channel {
    let tls = trial.pki.tls(party).load().expect("own files");
    channel(&tls, &address.to_string(), Some("localhost")).expect("a target")
}

/// Checks that a call was refused, and with which status; its message.
pub fn refused<T>(answer: Result<T, Status>, code: Code, what: &str) -> String {
    let Err(status) = answer else { panic!("{what} is accepted") };
    assert_eq!(status.code(), code, "{what}: {status}");
    status.message().to_owned()
}

/// 50 people, some reached by several data providers.
fn data_providers() -> Vec<(String, Vec<i64>)> {
    let impressions = |people: std::ops::Range<i64>, times| {
        people.flat_map(move |person| std::iter::repeat_n(person, times)).collect()
    };
    let data = [impressions(1..26, 1), impressions(16..41, 2), impressions(36..51, 1)];
    DATA_PROVIDERS.map(str::to_owned).into_iter().zip(data).collect()
}

fn liquid_legions() -> Protocol {
    Protocol::LiquidLegionsV2(LiquidLegionsSettings {
        decay_rate: 2.0,
        sketch_size: 400,
        noise_mechanism: NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    })
}

fn share_shuffle() -> Protocol {
    let [aggregator, first, second] = DUCHIES.map(str::to_owned);
    Protocol::HonestMajorityShareShuffle(ShareShuffleSettings {
        noise_mechanism: NoiseMechanism::None,
        ..ShareShuffleSettings::of([first, second], aggregator)
    })
}

fn config(folder: &TempDir, protocol: Protocol) -> TrialConfig {
    TrialConfig {
        directory: folder.path().to_owned(),
        blobs: None,
        store: None,
        duchies: DUCHIES.map(str::to_owned).into(),
        data_providers: data_providers(),
        protocol,
        noise_policy: NoisePolicy::AllowNone,
        seed: None,
        sketch_salt: None,
        population: Some(1..=POPULATION),
        parallelism: 1,
        observer: Arc::new(Silent),
    }
}

/// What is measured when nobody interferes.
pub async fn undisturbed() -> &'static MeasuredResult {
    static RESULT: OnceCell<MeasuredResult> = OnceCell::const_new();
    RESULT
        .get_or_init(|| async {
            let world = World::start().await;
            let measurement = world.create().await;
            world.fulfill_all().await;
            let result = world.compute(measurement, async |held| drop(held)).await.expect("a result");
            assert!((40..=60).contains(&result.reach), "{result:?}");
            assert!(result.frequency.len() > 1, "{result:?}");
            world.trial.stop().await.expect("everyone stops");
            result
        })
        .await
}

impl World {
    /// A world that measures by Liquid Legions v2.
    pub async fn start() -> Self {
        Self::start_with(liquid_legions()).await
    }

    /// A world that measures by share shuffle.
    pub async fn of_share_shuffles() -> Self {
        Self::start_with(share_shuffle()).await
    }

    pub async fn start_with(protocol: Protocol) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let reach_only = matches!(protocol, Protocol::ReachOnlyLiquidLegionsV2(_));
        let mut listeners = BTreeMap::new();
        for duchy in DUCHIES {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            listeners.insert(duchy.to_owned(), listener);
        }
        let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        let control_targets = listeners.iter().map(|(duchy, listener)| (duchy.clone(), address(listener)));
        let surroundings = Surroundings {
            control_targets: control_targets.collect(),
            advance: AdvanceLimits { max_bytes: MAX_ADVANCE_BYTES, ..AdvanceLimits::default() },
            ..Surroundings::default()
        };
        let trial = Trial::start_in(&surroundings, config(&folder, protocol)).await.expect("everyone starts");
        let gate = relay::start(&trial, listeners);
        Self { trial, gate, folder, reach_only }
    }

    /// Where a duchy keeps its blobs.
    pub fn blobs(&self, duchy: &str) -> PathBuf {
        self.folder.path().join(duchy).join("blobs")
    }

    pub fn channel(&self, party: &str, address: SocketAddr) -> Channel {
        connect(&self.trial, party, address)
    }

    pub fn kingdom(&self) -> SocketAddr {
        self.trial.kingdom_target.address.parse().expect("an address")
    }

    /// The address of every server, with whose it is.
    pub fn servers(&self) -> Vec<(String, SocketAddr)> {
        let mut servers = vec![(KINGDOM.to_owned(), self.kingdom())];
        for (duchy, running) in &self.trial.duchies {
            let addresses = running.addresses();
            servers.extend([
                (format!("{duchy}'s internal API"), addresses.internal_api),
                (format!("{duchy}'s async control"), addresses.async_control),
                (format!("{duchy}'s control"), addresses.control),
                (format!("{duchy}'s fulfillment"), addresses.fulfillment),
            ]);
        }
        servers
    }

    /// The name of the computation under way at the Kingdom.
    pub fn computation(&self) -> String {
        let mut names = self.trial.kingdom.computations();
        assert_eq!(names.len(), 1, "one measurement at a time");
        names.remove(0)
    }

    /// Begins a measurement; messages between duchies are held until [`Self::compute`].
    pub async fn create(&self) -> Measurement {
        let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
        let metric = if self.reach_only {
            Metric::Reach
        } else {
            Metric::ReachAndFrequency { frequency_privacy: privacy, maximum_frequency: 5 }
        };
        let request = MeasurementRequest {
            data_providers: self.trial.recipients.clone(),
            metric,
            reach_privacy: privacy,
            vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
            reference_id: "a test".to_owned(),
            request_id: String::new(),
        };
        let mut rng = StreamSeed::random(&mut UnwrapErr(SysRng)).stream("measurement consumer", 0);
        // The nonces are the first that the measurement consumer draws.
        let mut foretold = rng.clone();
        let nonces = DATA_PROVIDERS.iter().map(|_| foretold.next_u64()).collect();
        let messages = self.gate.hold(self.trial.kingdom.computations());
        let name = self.trial.consumer.create(request, &mut rng).await.expect("a measurement");
        Measurement { name, nonces, messages }
    }

    /// The requisition that waits for a data provider.
    pub async fn requisition(&self, data_provider: usize) -> Requisition {
        let provider = &self.trial.data_providers[data_provider];
        let waiting = async {
            loop {
                if let Some(requisition) = provider.waiting().await.expect("the Kingdom answers").pop() {
                    return requisition;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("a requisition")
    }

    /// Has a data provider do its part.
    pub async fn fulfill(&self, data_provider: usize, requisition: Requisition) {
        let provider = &self.trial.data_providers[data_provider];
        let outcome = provider.fulfill(requisition).await;
        assert!(matches!(outcome, Outcome::Fulfilled(_)), "{outcome:?}");
    }

    pub async fn fulfill_all(&self) {
        for index in 0..DATA_PROVIDERS.len() {
            self.fulfill(index, self.requisition(index).await).await;
        }
    }

    /// Waits for the end while `deal` deals with each message between duchies in turn.
    pub async fn compute(
        &self,
        mut measurement: Measurement,
        mut deal: impl AsyncFnMut(Held),
    ) -> Result<MeasuredResult, MeasurementError> {
        let result = self.trial.consumer.result(&measurement.name, Duration::from_millis(20));
        let mut result = std::pin::pin!(tokio::time::timeout(PATIENCE, result));
        loop {
            let held = tokio::select! {
                result = &mut result => return result.expect("the measurement ends"),
                held = measurement.messages.recv() => held.expect("the relays live as long as the trial"),
            };
            // The result may come while the last message is dealt with, which is then not to be dropped half-way.
            tokio::time::timeout(PATIENCE, deal(held)).await.expect("a message is dealt with");
        }
    }

    /// That `result` is the undisturbed one, and no duchy broke a rule. Stops everyone.
    pub async fn finish(self, result: Result<MeasuredResult, MeasurementError>) {
        assert_eq!(&result.expect("a result"), undisturbed().await);
        assert_eq!(self.trial.kingdom.violations(), []);
        self.trial.stop().await.expect("everyone stops");
    }

    /// Measures while `attack` happens at every moment: before there is data, between requisitions, and while each message
    /// between duchies is on its way.
    pub async fn withstand(self, mut attack: impl AsyncFnMut(&Self)) {
        let measurement = self.create().await;
        for index in 0..DATA_PROVIDERS.len() {
            let requisition = self.requisition(index).await;
            attack(&self).await;
            self.fulfill(index, requisition).await;
        }
        let mut messages = 0;
        let result = self
            .compute(measurement, async |held: Held| {
                messages += 1;
                attack(&self).await;
                held.release().await.expect("an honest message");
            })
            .await;
        assert_eq!(messages, MESSAGES);
        self.finish(result).await;
    }
}
