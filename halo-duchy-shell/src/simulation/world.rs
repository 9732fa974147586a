//! Everybody in one run: the Kingdom, the duchies' processes, the data providers and the measurement consumer, all of
//! them as they are in production but for what is below them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::checker::Remembered;
use super::keys::{CONSUMER, DATA_PROVIDERS, DUCHIES, KEYS};
use super::machine::{DuchyClock, Machine, Process, locked, weather};
use super::network::{KINGDOM, Link};
use super::plain;
use super::plan::{Fault, Kind, Measured, Plan, stream};
use super::records::{WatchedKey, WatchedObjects, WatchedStore};
use crate::blob::BlobStore;
use crate::client::{CallPolicy, Channel};
use crate::clock::SystemClock;
use crate::computation_secrets::ComputationSecrets;
use crate::consent::SigningIdentity;
use crate::data_provider::{Connections, DataProvider, Outcome as Sent, ShareShuffleSide};
use crate::herald::{Herald, HeraldOptions, HeraldParts};
use crate::hybrid_encryption::{PrivateKeyset, Scheme};
use crate::identity::Caller;
use crate::internal_api::InternalApi;
use crate::key_encryption::SharedKey;
use crate::kingdom::{Kingdom, KingdomConfig};
use crate::live::Live;
use crate::measurement_consumer::{
    MeasuredResult, MeasurementConsumer, MeasurementError, MeasurementRequest, Metric, Progress, Recipient,
};
use crate::mill::{Consent, Mill, MillOptions, MillParts, ShareShuffleParts, Silent, Specialty};
use crate::party_certificates::PartyCertificates;
use crate::peer::{PeerOptions, Peers};
use crate::private_key_store::PrivateKeyStore;
use crate::proto::api::DifferentialPrivacyParams;
use crate::proto::api::measurement_spec::VidSamplingInterval;
use crate::proto::system::computation::State;
use crate::seeds::SeedSource;
use crate::serve::{routes_async_control, routes_control, routes_fulfillment, routes_internal_api};
use crate::service::{AdvanceLimits, FulfillmentLimits};
use crate::shutdown;
use crate::store::{SqliteStore, Store};
use crate::system_api::SystemApi;
use crate::trial::certificate_name;

/// After so long a measurement that has not come to an end is lost.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// How long duchies may take to close their books after the last measurement has ended.
const EPILOGUE: Duration = Duration::from_secs(2 * 3600);

/// How long a process is down at most.
const LONGEST_DOWNTIME: Duration = Duration::from_secs(30);

/// How a measurement ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// With the right result.
    Right,
    /// With another one.
    Wrong(String),
    /// Without a result, and the Kingdom knows why.
    Failed(String),
    /// Not at all.
    Lost,
}

/// Between two copies of databases.
const BACKUP_INTERVAL: Duration = Duration::from_secs(20);

/// After so long the Kingdom cancels a measurement, where duchies forget.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// Between two looks of the Kingdom for such.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// What a duchy keeps when its processes die.
struct Kept {
    database: Mutex<SqliteStore>,
    clock: Arc<DuchyClock>,
    objects: Arc<dyn ObjectStore>,
}

/// Puts something between the duchies and what they keep, or keeps it from them.
pub trait Flaw: Send + Sync {
    /// In front of a store.
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }

    /// In front of blobs.
    fn objects(&self, objects: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        objects
    }

    /// Whether a process is ever started.
    fn starts(&self, _process: &str) -> bool {
        true
    }
}

/// Everything works as it should.
pub struct Flawless;

impl Flaw for Flawless {}

/// The three duchies and what is around them.
pub struct World {
    machine: Machine,
    flaw: &'static dyn Flaw,
    kingdom: Kingdom,
    kept: BTreeMap<&'static str, Kept>,
    /// The duchies' processes, as last started.
    running: Mutex<BTreeMap<String, Process>>,
    /// How often each process was started.
    starts: Mutex<BTreeMap<String, u32>>,
}

impl World {
    /// Runs `plan` to its end; how each measurement ended.
    pub async fn run(plan: Plan, flaw: &'static dyn Flaw) -> (Machine, Vec<Ending>) {
        let (deaths, mut dead) = mpsc::unbounded_channel();
        let machine = Machine::new(plan, deaths);
        let world = Arc::new(Self::new(&machine, flaw));
        world.start_kingdom();
        for process in world.processes().iter().filter(|process| flaw.starts(process)) {
            world.start(process);
        }
        let clocks = world.kept.values().map(|kept| Arc::clone(&kept.clock)).collect();
        tokio::spawn(weather(machine.clone(), clocks));
        if machine.plan().rate(Fault::Restore) > 0.0 {
            tokio::spawn(world.clone().restore());
        }
        let restarting = Arc::clone(&world);
        tokio::spawn(async move {
            while let Some(process) = dead.recv().await {
                let (world, downtime) =
                    (Arc::clone(&restarting), restarting.machine.moment(LONGEST_DOWNTIME));
                tokio::spawn(async move {
                    sleep(downtime).await;
                    world.start(&process);
                });
            }
        });
        let providers = world.data_providers();
        let recipients = providers.iter().map(|(_, recipient)| recipient.clone()).collect::<Vec<_>>();
        for (provider, _) in providers {
            tokio::spawn(world.clone().provide(provider));
        }
        let consumer = Arc::new(world.consumer());
        let measured = machine.plan().measured.clone();
        let measuring = measured.into_iter().enumerate().map(|(index, measured)| {
            let (world, consumer, recipients) = (world.clone(), consumer.clone(), recipients.clone());
            tokio::spawn(async move { world.measure(&consumer, index, measured, recipients).await })
        });
        let mut endings = Vec::new();
        for measuring in measuring.collect::<Vec<_>>() {
            endings.push(measuring.await.unwrap_or_else(|error| Ending::Wrong(error.to_string())));
        }
        if !endings.contains(&Ending::Lost) {
            world.close().await;
        }
        for violation in world.kingdom.violations() {
            machine.checker().broken(format!("the Kingdom saw that {violation}"));
        }
        if machine.overran() {
            machine.checker().broken("somebody runs in circles".to_owned());
        }
        (machine, endings)
    }

    fn new(machine: &Machine, flaw: &'static dyn Flaw) -> Self {
        let kept = DUCHIES.map(|duchy| {
            let clock = Arc::new(DuchyClock::default());
            let database = SqliteStore::in_memory(clock.clone()).expect("a database").into();
            let objects = flaw.objects(Arc::new(InMemory::new()));
            (duchy, Kept { database, clock, objects })
        });
        let kingdom = Kingdom::new(
            KingdomConfig::new(DUCHIES.map(str::to_owned), vec![plain::protocol(Kind::Llv2)]),
            Arc::new(SystemClock),
            stream(machine.plan().seed, 3),
        );
        let (kept, running, starts) = (kept.into(), Mutex::default(), Mutex::default());
        Self { machine: machine.clone(), flaw, kingdom, kept, running, starts }
    }

    fn start_kingdom(&self) {
        for (owner, certificate) in &KEYS.certificates {
            let registered = self.kingdom.register_certificate(&certificate_name(owner), certificate.clone());
            registered.expect("a certificate");
        }
        let consumer = format!("measurementConsumers/{CONSUMER}");
        self.kingdom.register_result_key(&consumer, KEYS.consumer_keyset());
        let process = Process::start(&self.machine, KINGDOM, false);
        self.machine.listen(KINGDOM.to_owned(), &process, self.kingdom.routes());
    }

    /// The duchies' processes.
    fn processes(&self) -> Vec<String> {
        let plan = self.machine.plan();
        let shuffles = plan.measured.iter().any(|measured| measured.kind == Kind::ShareShuffle);
        let sketches = plan.measured.iter().any(|measured| measured.kind != Kind::ShareShuffle);
        let mut roles: Vec<String> = ["api", "control", "fulfillment", "herald"].map(str::to_owned).into();
        for mill in 0..plan.mills {
            roles.extend(sketches.then(|| format!("mill{mill}")));
            roles.extend(shuffles.then(|| format!("hmss-mill{mill}")));
        }
        DUCHIES.iter().flat_map(|duchy| roles.iter().map(move |role| format!("{duchy}/{role}"))).collect()
    }

    /// Starts a process, for the first time or again.
    fn start(self: &Arc<Self>, name: &str) {
        let (duchy, role) = name.split_once('/').unwrap_or_default();
        let Some((&duchy, kept)) = self.kept.get_key_value(duchy) else { return };
        let process = Process::start(&self.machine, name, true);
        let starts = {
            let mut starts = locked(&self.starts);
            let starts = starts.entry(name.to_owned()).or_default();
            *starts += 1;
            *starts
        };
        locked(&self.running).insert(name.to_owned(), process.clone());
        self.machine.note(format_args!("{name} starts"));
        let duchy = Duchy { world: self, name: duchy, kept, process };
        match role {
            "api" => duchy.start_api(),
            "control" => duchy.start_control(),
            "fulfillment" => duchy.start_fulfillment(),
            "herald" => duchy.start_herald(),
            _ => duchy.start_mill(role, starts),
        }
    }

    /// Copies a duchy's database from time to time, and puts an earlier copy back: its processes are stopped for that. Blobs
    /// and everybody else stay as they are.
    async fn restore(self: Arc<Self>) {
        let mut backups: BTreeMap<&str, Vec<(SqliteStore, Remembered)>> = BTreeMap::new();
        while !self.machine.is_quiet() {
            sleep(self.machine.moment(BACKUP_INTERVAL)).await;
            let duchy = DUCHIES[self.machine.below(DUCHIES.len() as u64) as usize];
            let backups = backups.entry(duchy).or_default();
            let database = &self.kept[duchy].database;
            let copy = locked(database).copy().expect("a copy");
            backups.push((copy, self.machine.checker().remember(duchy)));
            if !self.machine.strikes(Fault::Restore) {
                continue;
            }
            let (backup, remembered) = &backups[self.machine.below(backups.len() as u64) as usize];
            self.machine.note(format_args!("{duchy} is restored"));
            let running = locked(&self.running).clone();
            for (_, process) in running.iter().filter(|(name, _)| name.starts_with(&format!("{duchy}/"))) {
                process.die();
            }
            self.machine.checker().restored(duchy, remembered.clone());
            *locked(database) = backup.copy().expect("a copy");
        }
        // What a duchy has never heard of nobody can tell it while the Kingdom waits for data: there, it is given up.
        loop {
            sleep(EXPIRY_INTERVAL).await;
            let expired = self.kingdom.expire_measurements(TIME_TO_LIVE).expect("the Kingdom can cancel");
            if !expired.is_empty() {
                // Named, since the loop would hold the checker.
                let forgotten = self.machine.checker().open_at(&DUCHIES);
                for id in forgotten {
                    self.machine.checker().broken(format!("{id} waits at every duchy"));
                }
            }
        }
    }

    /// Waits until the duchies have closed their books too.
    async fn close(&self) {
        let begun = tokio::time::Instant::now();
        while !self.machine.checker().unfinished().is_empty() {
            if begun.elapsed() > EPILOGUE {
                let unfinished = self.machine.checker().unfinished();
                self.machine.checker().broken(format!("still open in the end: {}", unfinished.join("; ")));
                return;
            }
            sleep(Duration::from_secs(5)).await;
        }
    }

    fn certificates(&self, party: &str, kingdom: &Channel) -> PartyCertificates {
        PartyCertificates::new(kingdom.clone(), KEYS.tls(party), KEYS.identities.clone())
    }

    fn data_providers(&self) -> Vec<(DataProvider, Recipient)> {
        let plan = self.machine.plan();
        let providers = plan.impressions.iter().zip(DATA_PROVIDERS).enumerate();
        let providers = providers.map(|(index, (people, id))| {
            let name = format!("dataProviders/{id}");
            let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut stream(plan.seed, 10 + index as u64));
            let recipient = Recipient {
                certificate: certificate_name(&name),
                public_key: keyset.public(),
                name: name.clone(),
            };
            let process = Process::start(&self.machine, id, false);
            let link = |to: String| Link::new(&process, Caller::DataProvider(name.clone()), to);
            let kingdom = Channel::from(link(KINGDOM.to_owned()).perfect());
            let fulfillment = |duchy: &str| Channel::from(link(format!("{duchy}/fulfillment")));
            let connections = Connections {
                certificates: self.certificates(id, &kingdom),
                duchy: fulfillment(DUCHIES[index % DUCHIES.len()]),
                kingdom,
            };
            let impressions = people.iter().flat_map(|(vid, count)| vec![*vid; *count as usize]);
            let seed = StreamSeed::new([7; 32]).derive(&plan.seed.to_be_bytes()).derive(name.as_bytes());
            let provider =
                DataProvider::new(&name, impressions, keyset, connections, Executor::serial(), seed);
            let side = ShareShuffleSide {
                population: Arc::clone(&KEYS.population),
                signer: KEYS.signer(id),
                certificate: certificate_name(&name),
                workers: DUCHIES.iter().map(|duchy| ((*duchy).to_owned(), fulfillment(duchy))).collect(),
            };
            (provider.with_share_shuffle(Some(side)), recipient)
        });
        providers.collect()
    }

    /// Deals with requisitions as they come.
    async fn provide(self: Arc<Self>, provider: DataProvider) {
        loop {
            match provider.fulfill_waiting().await {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        match outcome {
                            Sent::Fulfilled(_) => {}
                            Sent::Refused { requisition, error } => {
                                self.machine.note(format_args!("{requisition} is refused: {error}"));
                            }
                            Sent::Waits { requisition, error } => {
                                self.machine.note(format_args!("{requisition} has to wait: {error}"));
                            }
                        }
                    }
                }
                Err(error) => self.machine.note(format_args!("a data provider hears nothing: {error}")),
            }
            sleep(Duration::from_secs(10)).await;
        }
    }

    fn consumer(&self) -> MeasurementConsumer {
        let owner = format!("measurementConsumers/{CONSUMER}");
        let process = Process::start(&self.machine, CONSUMER, false);
        let link = Link::new(&process, Caller::MeasurementConsumer(owner.clone()), KINGDOM).perfect();
        let kingdom = Channel::from(link);
        let certificates = self.certificates(CONSUMER, &kingdom);
        let (certificate, keyset) = (certificate_name(&owner), KEYS.consumer_keyset());
        MeasurementConsumer::new(&certificate, KEYS.signer(CONSUMER), keyset, kingdom, certificates)
            .expect("a consumer")
    }

    /// Makes one measurement.
    async fn measure(
        &self,
        consumer: &MeasurementConsumer,
        index: usize,
        measured: Measured,
        recipients: Vec<Recipient>,
    ) -> Ending {
        sleep(measured.after).await;
        let privacy = DifferentialPrivacyParams { epsilon: 1.0, delta: 1e-5 };
        let metric = match measured.frequency {
            true => Metric::ReachAndFrequency {
                frequency_privacy: privacy,
                maximum_frequency: plain::MAXIMUM_FREQUENCY,
            },
            false => Metric::Reach,
        };
        let request_id = format!("measurement-{index}");
        let owner = format!("measurementConsumers/{CONSUMER}");
        let planned = self.kingdom.plan_measurement(&owner, &request_id, plain::protocol(measured.kind));
        planned.expect("the Kingdom can plan it");
        let request = MeasurementRequest {
            data_providers: recipients,
            metric,
            reach_privacy: privacy,
            vid_sampling_interval: VidSamplingInterval { start: 0.0, width: 1.0 },
            reference_id: request_id.clone(),
            request_id,
        };
        let rng = &mut stream(self.machine.plan().seed, 100 + index as u64);
        let name = consumer.create(request, rng).await.expect("the Kingdom takes it");
        let ended = async {
            loop {
                match consumer.look(&name).await {
                    Ok(Progress::Done(found)) => return self.judge(measured, &found),
                    Ok(_) => sleep(Duration::from_secs(10)).await,
                    Err(MeasurementError::Failed { message, .. }) if !message.is_empty() => {
                        return Ending::Failed(message);
                    }
                    Err(MeasurementError::Cancelled) => return Ending::Failed("given up".to_owned()),
                    Err(error) => return Ending::Wrong(error.to_string()),
                }
            }
        };
        let ending = tokio::time::timeout(PATIENCE, ended).await.unwrap_or(Ending::Lost);
        self.machine.note(format_args!("measurement {index} ends: {ending:?}"));
        ending
    }

    fn judge(&self, measured: Measured, found: &MeasuredResult) -> Ending {
        let (reach, frequency) = plain::result(measured, &self.machine.plan().impressions);
        let same = found.frequency.len() == frequency.len()
            && found
                .frequency
                .iter()
                .zip(&frequency)
                .all(|((k, share), (known, expected))| k == known && (share - expected).abs() < 1e-9);
        if found.reach == reach && same {
            return Ending::Right;
        }
        Ending::Wrong(format!("{measured:?}: {found:?}, not {reach} and {frequency:?}"))
    }
}

/// A process of a duchy that starts.
struct Duchy<'w> {
    world: &'w World,
    name: &'static str,
    kept: &'w Kept,
    process: Process,
}

impl Duchy<'_> {
    fn link(&self, to: impl Into<String>) -> Channel {
        Link::new(&self.process, Caller::Duchy(self.name.to_owned()), to).into()
    }

    fn own(&self, server: &str) -> Channel {
        self.link(format!("{}/{server}", self.name))
    }

    fn blobs(&self) -> BlobStore {
        let objects =
            WatchedObjects { objects: Arc::clone(&self.kept.objects), process: self.process.clone() };
        BlobStore::new(Arc::new(objects), self.name)
    }

    fn key_encryption_key(&self) -> SharedKey {
        let (key, process) = (KEYS.key_encryption_key(self.name), self.process.clone());
        Arc::new(WatchedKey { key, process })
    }

    fn private_keys(&self) -> Option<PrivateKeyStore> {
        Some(PrivateKeyStore::new(self.blobs(), self.key_encryption_key()))
    }

    fn secrets(&self) -> ComputationSecrets {
        ComputationSecrets::sealed_by(self.key_encryption_key())
    }

    fn internal(&self) -> InternalApi {
        InternalApi::new(self.own("internal"), CallPolicy::default())
    }

    fn kingdom(&self) -> SystemApi {
        SystemApi::new(self.name, self.link(KINGDOM), CallPolicy::default())
    }

    fn listen(&self, server: &str, routes: tonic::service::Routes) {
        self.world.machine.listen(format!("{}/{server}", self.name), &self.process, routes);
    }

    fn start_api(&self) {
        let store: Arc<dyn Store> = Arc::new(WatchedStore {
            store: self.world.flaw.store(Arc::new(locked(&self.kept.database).clone())),
            duchy: self.name.to_owned(),
            clock: self.kept.clock.clone(),
            process: self.process.clone(),
        });
        let routes = routes_internal_api(self.name, &store, &self.blobs(), None, Duration::ZERO);
        self.listen("internal", routes);
        self.listen("async", routes_async_control(self.name, self.own("internal"), u32::MAX));
    }

    fn start_control(&self) {
        let (internal, bookkeeping) = (self.own("internal"), self.own("async"));
        let limits = AdvanceLimits::default();
        self.listen("control", routes_control(self.name, internal, bookkeeping, &self.blobs(), limits));
    }

    fn start_fulfillment(&self) {
        let (internal, kingdom) = (self.own("internal"), self.link(KINGDOM));
        let limits = FulfillmentLimits::default();
        self.listen("fulfillment", routes_fulfillment(self.name, internal, kingdom, &self.blobs(), limits));
    }

    fn start_herald(self) {
        let parts = HeraldParts {
            id: self.process.name().to_owned(),
            duchy: self.name.to_owned(),
            setup: KEYS.setups[self.name].clone().into(),
            kingdom: self.kingdom(),
            internal: self.internal(),
            private_keys: self.private_keys(),
            secrets: self.secrets(),
            seeds: SeedSource::OperatingSystem,
        };
        let forgotten = [State::Succeeded, State::Failed, State::Cancelled].map(|state| state as i32);
        let options = HeraldOptions {
            noise_policy: self.world.machine.plan().noise_policy,
            deletable_states: if self.world.machine.plan().forget { forgotten.into() } else { [].into() },
            ..HeraldOptions::default()
        };
        let herald = Herald::new(parts, options).expect("a herald");
        let process = self.process.clone();
        self.process.spawn(async move {
            let (_running, shutdown) = shutdown::channel();
            if let Err(error) = herald.run(shutdown).await {
                process.machine().note(format_args!("{} gives up: {error}", process.name()));
            }
            // It ends as a process does that gives up, and is started again.
            process.die();
        });
    }

    fn start_mill(self, role: &str, starts: u32) {
        let kingdom = self.link(KINGDOM);
        let specialty = if role.starts_with("hmss") {
            Specialty::ShareShuffle(Box::new(ShareShuffleParts {
                setup: KEYS.setups[self.name].clone().into(),
                private_keys: self.private_keys(),
                certificates: self.world.certificates(self.name, &kingdom),
            }))
        } else {
            Specialty::LiquidLegions
        };
        let peers = DUCHIES.iter().filter(|duchy| **duchy != self.name);
        let peers = peers.map(|duchy| ((*duchy).to_owned(), self.link(format!("{duchy}/control"))));
        let parts = MillParts {
            duchy: self.name.to_owned(),
            specialty,
            internal: self.internal(),
            kingdom: self.kingdom(),
            peers: Peers::over(peers, PeerOptions::default()),
            blobs: self.blobs(),
            secrets: self.secrets(),
            consent: Consent {
                own: Live::new(SigningIdentity {
                    signer: KEYS.signer(self.name),
                    certificate_name: certificate_name(&format!("duchies/{}", self.name)),
                }),
                directory: KEYS.directory.clone().into(),
                tls: KEYS.tls(self.name),
            },
            seeds: SeedSource::OperatingSystem,
            observer: Arc::new(Silent),
        };
        let plan = self.world.machine.plan();
        let id = match plan.mills_keep_names {
            true => self.process.name().to_owned(),
            false => format!("{}-{starts}", self.process.name()),
        };
        let (lock_duration, noise_policy) = (plan.lock, plan.noise_policy);
        let options = MillOptions { id, lock_duration, noise_policy, ..MillOptions::default() };
        let mill = Mill::new(parts, options).expect("a mill");
        self.process.spawn(async move {
            let (_running, shutdown) = shutdown::channel();
            mill.run(shutdown).await;
        });
    }
}
