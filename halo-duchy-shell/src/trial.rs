//! A whole measurement on one machine: a development Kingdom, duchies, data providers and a measurement consumer, each
//! with a certificate of its own, on loopback ports over mutual TLS. For the demo and for tests.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use halo_protocols::data_provider::VidIndexMap;
use halo_protocols::llv2::NoisePolicy;
use rand_chacha::ChaCha20Rng;
use tokio::task::JoinHandle;

use crate::blob::{BlobAddress, BlobStore};
use crate::client::{Channel, channel};
use crate::clock::{Clock, SystemClock};
use crate::computation_secrets::ComputationSecrets;
use crate::config::{DuchyDirectory, ProtocolsSetup, load_principals};
use crate::consent::{ConsentError, Signer, SigningIdentity};
use crate::data_provider::{Connections, DataProvider, Fulfilled, Outcome, ShareShuffleSide};
use crate::events::Vid;
use crate::herald::HeraldOptions;
use crate::hybrid_encryption::{PrivateKeyset, Scheme};
use crate::identity::{Authenticate, Identities};
use crate::key_encryption::{FileKey, SharedKey};
use crate::kingdom::config::{Protocol, StreamSettings};
use crate::kingdom::{Kingdom, KingdomConfig};
use crate::live::Live;
use crate::measurement_consumer::{MeasurementConsumer, Recipient};
use crate::mill::{Consent, MillOptions, StageObserver};
use crate::party_certificates::PartyCertificates;
use crate::pki::{KINGDOM, Pki, PkiSpec};
use crate::private_key_store::PrivateKeyStore;
use crate::seeds::SeedSource;
use crate::serve::{
    Addresses, BoundDuchy, DuchyConfig, INTERNAL_CERT_HOST, KingdomTargets, Limits, RunningDuchy, ServeError,
    Target, listen, make_directory, run_server,
};
use crate::server::{Server, ServerLimits};
use crate::service::AdvanceLimits;
use crate::shutdown::{self, Trigger};
use crate::store::StoreAddress;

mod error;

pub use error::TrialError;

/// What to try.
#[derive(Clone, Debug)]
pub struct TrialConfig {
    /// Where certificates, databases and blobs are put. Certificates must not exist yet.
    pub directory: PathBuf,
    /// Where blobs are put instead, those of all duchies. They are left there.
    pub blobs: Option<BlobAddress>,
    /// The ids of the duchies; the first aggregates.
    pub duchies: Vec<String>,
    /// The ids of the data providers, with their impressions.
    pub data_providers: Vec<(String, Vec<Vid>)>,
    /// The database beside which each duchy has its own ([`StoreAddress::of_duchy`]). `None` for files in `directory`.
    pub store: Option<StoreAddress>,
    /// How to compute.
    pub protocol: Protocol,
    /// Whether computations may go without noise.
    pub noise_policy: NoisePolicy,
    /// Where every random choice comes from, to repeat a trial. `None` for the operating system.
    pub seed: Option<StreamSeed>,
    /// The salt of the data providers' sketches.
    pub sketch_salt: Option<u64>,
    /// The ids of all people there are. Data providers need it for share shuffles, which they refuse without.
    pub population: Option<RangeInclusive<Vid>>,
    /// Threads of each duchy's kernels.
    pub parallelism: usize,
    /// Who watches the duchies.
    pub observer: Arc<dyn StageObserver>,
}

/// What surrounds the duchies of a trial: what tests put something in between of.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Duchies that the others seek at the target given here instead of their own control server.
    pub control_targets: BTreeMap<String, String>,
    /// Tells the duchies' databases the time.
    pub clock: Arc<dyn Clock>,
    /// How long the lease of a mill lasts unless it is extended.
    pub lock_duration: Duration,
    /// What duchies take from one another.
    pub advance: AdvanceLimits,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            control_targets: BTreeMap::new(),
            clock: Arc::new(SystemClock),
            lock_duration: MillOptions::default().lock_duration,
            advance: AdvanceLimits::default(),
        }
    }
}

/// A trial under way.
pub struct Trial {
    /// The certificates of everyone.
    pub pki: Pki,
    /// The Kingdom.
    pub kingdom: Kingdom,
    /// Where the Kingdom is.
    pub kingdom_target: Target,
    /// The duchies by id.
    pub duchies: BTreeMap<String, RunningDuchy>,
    /// The data providers, in the order of the configuration. The first hands its data to the first duchy, and so on.
    pub data_providers: Vec<DataProvider>,
    /// Whom to ask, in the same order.
    pub recipients: Vec<Recipient>,
    /// The measurement consumer.
    pub consumer: MeasurementConsumer,
    stop_kingdom: Trigger,
    serving_kingdom: JoinHandle<()>,
}

/// The name of the only certificate of `owner` (`duchies/{id}` and so on) in a trial.
pub fn certificate_name(owner: &str) -> String {
    format!("{owner}/certificates/1")
}

impl Trial {
    /// Starts everyone.
    ///
    /// # Errors
    /// The first part that does not start.
    pub async fn start(config: TrialConfig) -> Result<Self, TrialError> {
        Self::start_in(&Surroundings::default(), config).await
    }

    /// As [`Self::start`], in unusual surroundings.
    ///
    /// # Errors
    /// The first part that does not start.
    pub async fn start_in(surroundings: &Surroundings, config: TrialConfig) -> Result<Self, TrialError> {
        let spec = PkiSpec {
            duchies: config.duchies.clone(),
            data_providers: config.data_providers.iter().map(|(id, _)| id.clone()).collect(),
            ..PkiSpec::default()
        };
        let pki = Pki::create(&spec, &config.directory.join("pki"))?;
        let base = Base::new(&config, &spec, pki)?;

        let (stop_kingdom, shutdown) = shutdown::channel();
        let (kingdom, listener) = base.kingdom(&config).await?;
        let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let kingdom_target = Target { address, cert_host: Some(INTERNAL_CERT_HOST.to_owned()) };
        let server = Server {
            tls: base.pki.tls(KINGDOM).load()?,
            authenticate: Authenticate::new(base.identities.clone()),
            limits: ServerLimits { grace: Duration::from_secs(1), ..ServerLimits::default() },
        };
        let serving_kingdom =
            tokio::spawn(run_server("Kingdom", server, listener, kingdom.routes(), shutdown));

        let mut bound = BTreeMap::new();
        for duchy in &config.duchies {
            bound.insert(duchy.clone(), base.bind_duchy(&config, surroundings, duchy).await?);
        }
        let (data_providers, recipients) = base.data_providers(&config, &kingdom_target, &bound)?;
        let consumer = base.consumer(&spec, &kingdom_target)?;
        let duchies = start_duchies(bound, &kingdom_target, &surroundings.control_targets)?;
        Ok(Self {
            pki: base.pki,
            kingdom,
            kingdom_target,
            duchies,
            data_providers,
            recipients,
            consumer,
            stop_kingdom,
            serving_kingdom,
        })
    }

    /// Has every data provider fulfil the requisitions waiting for it, once each has `measurements` of them, and tells
    /// what was sent.
    ///
    /// # Errors
    /// The first requisition that was refused or has to wait, or the first data provider that hears of none.
    pub async fn fulfill(&self, measurements: usize) -> Result<Vec<Fulfilled>, TrialError> {
        let mut sent = Vec::new();
        for provider in &self.data_providers {
            // Requisitions come to be once every duchy has published its key.
            while provider.waiting().await?.len() < measurements {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for outcome in provider.fulfill_waiting().await? {
                match outcome {
                    Outcome::Fulfilled(fulfilled) => sent.push(fulfilled),
                    Outcome::Refused { requisition, error } | Outcome::Waits { requisition, error } => {
                        return Err(TrialError::NotFulfilled { requisition, source: Box::new(error) });
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Stops everyone.
    ///
    /// # Errors
    /// The first failure of a part.
    pub async fn stop(self) -> Result<(), TrialError> {
        let duchies = futures::future::join_all(self.duchies.into_values().map(RunningDuchy::stop)).await;
        self.stop_kingdom.fire();
        // A task that panicked has said so.
        let _ = self.serving_kingdom.await;
        Ok(duchies.into_iter().collect::<Result<(), _>>()?)
    }
}

fn start_duchies(
    bound: BTreeMap<String, BoundDuchy>,
    kingdom: &Target,
    detours: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, RunningDuchy>, ServeError> {
    let mut targets: BTreeMap<_, _> =
        bound.iter().map(|(duchy, bound)| (duchy.clone(), bound.addresses().control.to_string())).collect();
    targets.extend(detours.clone());
    let kingdom = KingdomTargets { system: kingdom.clone(), public: kingdom.clone() };
    let started = bound.into_iter().map(|(duchy, bound)| {
        let mut peers = targets.clone();
        peers.remove(&duchy);
        Ok((duchy, bound.start(&kingdom, &peers)?))
    });
    started.collect()
}

/// What the parts of a trial have in common.
struct Base {
    pki: Pki,
    directory: DuchyDirectory,
    identities: Identities,
    /// The owners of certificates with their names in the infrastructure.
    owners: Vec<(String, String)>,
    seed: StreamSeed,
    reproducible: bool,
}

impl Base {
    fn new(config: &TrialConfig, spec: &PkiSpec, pki: Pki) -> Result<Self, TrialError> {
        let directory = DuchyDirectory::load(&pki.duchy_cert_config())?;
        let principals = load_principals(&directory, Some(&pki.principal_map()))?;
        let consumer = &spec.measurement_consumer;
        let owner = |kind: &str, id: &String| (format!("{kind}/{id}"), id.clone());
        let owners = spec
            .duchies
            .iter()
            .map(|id| owner("duchies", id))
            .chain(spec.data_providers.iter().map(|id| owner("dataProviders", id)))
            .chain([owner("measurementConsumers", consumer)])
            .collect();
        Ok(Self {
            pki,
            directory,
            identities: Identities::new(principals),
            owners,
            seed: match &config.seed {
                Some(seed) => seed.clone(),
                None => SeedSource::OperatingSystem.seed("trial", "", "")?,
            },
            reproducible: config.seed.is_some(),
        })
    }

    async fn kingdom(&self, config: &TrialConfig) -> Result<(Kingdom, tokio::net::TcpListener), TrialError> {
        let kingdom = Kingdom::new(
            KingdomConfig {
                stream: StreamSettings { throttle: Duration::ZERO, ..StreamSettings::default() },
                allow_faults: true,
                ..KingdomConfig::new(config.duchies.iter().cloned(), vec![config.protocol.clone()])
            },
            Arc::new(SystemClock),
            self.rng("kingdom"),
        );
        for (owner, party) in &self.owners {
            let certificate = read(&self.pki.consent_certificate(party))?;
            kingdom.register_certificate(&certificate_name(owner), certificate)?;
            let key = self.pki.encryption_private(party, Scheme::Hpke);
            if key.exists() {
                kingdom.register_result_key(owner, PrivateKeyset::parse(&read(&key)?)?);
            }
        }
        Ok((kingdom, listen(Addresses::loopback().control).await?))
    }

    async fn bind_duchy(
        &self,
        config: &TrialConfig,
        surroundings: &Surroundings,
        duchy: &str,
    ) -> Result<BoundDuchy, TrialError> {
        let tls = self.pki.tls(duchy).load()?;
        let home = config.directory.join(duchy);
        make_directory(&home)?;
        let address = match &config.store {
            Some(beside) => beside.of_duchy(duchy)?,
            None => StoreAddress::Sqlite(home.join("computations.sqlite")),
        };
        if let Some(directory) = address.directory() {
            make_directory(directory)?;
        }
        let opened = async {
            address.set_up().await?;
            address.open(Arc::clone(&surroundings.clock)).await
        };
        let store = opened
            .await
            .map_err(|source| TrialError::Store { duchy: duchy.to_owned(), source: Box::new(source) })?;
        let blobs = config.blobs.clone().unwrap_or_else(|| BlobAddress::File(home.join("blobs")));
        let blobs = BlobStore::open(&blobs, duchy)?;
        let key: SharedKey = Arc::new(FileKey::load(&self.pki.key_encryption_key(duchy))?);
        let seeds = if self.reproducible {
            SeedSource::Reproducible(self.seed.derive(b"duchies"))
        } else {
            SeedSource::OperatingSystem
        };
        let duchy_config = DuchyConfig {
            duchy: duchy.to_owned(),
            identities: self.identities.clone(),
            setup: ProtocolsSetup::load(&self.pki.protocols_setup(duchy), duchy, &self.directory)?.into(),
            consent: Consent {
                own: Live::new(SigningIdentity {
                    signer: self.signer(duchy)?,
                    certificate_name: certificate_name(&format!("duchies/{duchy}")),
                }),
                directory: self.directory.clone().into(),
                tls: tls.clone(),
            },
            tls,
            private_keys: Some(PrivateKeyStore::new(blobs.clone(), Arc::clone(&key))),
            secrets: ComputationSecrets::sealed_by(key),
            store,
            blobs,
            addresses: Addresses::loopback(),
            limits: Limits {
                server: ServerLimits { grace: Duration::from_secs(1), ..ServerLimits::default() },
                advance: surroundings.advance,
                ..Limits::default()
            },
            herald: HeraldOptions {
                noise_policy: config.noise_policy,
                stage_poll: Duration::from_millis(20),
                ..HeraldOptions::default()
            },
            mill: MillOptions {
                id: format!("{duchy}-mill"),
                lock_duration: surroundings.lock_duration,
                parallelism: config.parallelism,
                polling_delay: Duration::from_millis(50),
                retry_unit: Duration::from_millis(200),
                noise_policy: config.noise_policy,
                ..MillOptions::default()
            },
            peer: Default::default(),
            intermediate_ttl: Duration::ZERO,
            // A trial's database is new: to a cleaner the blobs that earlier ones left would be orphans.
            cleaning: None,
            seeds,
            observer: Arc::clone(&config.observer),
        };
        Ok(duchy_config.bind().await?)
    }

    fn data_providers(
        &self,
        config: &TrialConfig,
        kingdom: &Target,
        duchies: &BTreeMap<String, BoundDuchy>,
    ) -> Result<(Vec<DataProvider>, Vec<Recipient>), TrialError> {
        let mut providers = Vec::new();
        let mut recipients = Vec::new();
        let population = config.population.clone().map(VidIndexMap::new).transpose()?.map(Arc::new);
        for (index, (id, impressions)) in config.data_providers.iter().enumerate() {
            let name = format!("dataProviders/{id}");
            let chosen = config.duchies.get(index % config.duchies.len().max(1));
            let duchy = chosen.and_then(|id| duchies.get(id)).ok_or(TrialError::NoDuchies)?;
            let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut self.rng(&name));
            recipients.push(Recipient {
                certificate: certificate_name(&name),
                public_key: keyset.public(),
                name: name.clone(),
            });
            let (to_kingdom, certificates) = self.to_kingdom(id, kingdom)?;
            let fulfillment = duchy.addresses().fulfillment.to_string();
            let connections = Connections {
                kingdom: to_kingdom,
                duchy: channel(&self.pki.tls(id).load()?, &fulfillment, Some(INTERNAL_CERT_HOST))?,
                certificates,
            };
            let seed = self.seed.derive(name.as_bytes());
            let impressions = impressions.iter().copied();
            let executor = Executor::serial();
            let provider = DataProvider::new(&name, impressions, keyset, connections, executor, seed);
            let side =
                population.as_ref().map(|people| self.share_shuffle(id, people, duchies)).transpose()?;
            providers.push(provider.with_sketch_salt(config.sketch_salt).with_share_shuffle(side));
        }
        Ok((providers, recipients))
    }

    /// What the data provider `id` needs for share shuffles.
    fn share_shuffle(
        &self,
        id: &str,
        population: &Arc<VidIndexMap>,
        duchies: &BTreeMap<String, BoundDuchy>,
    ) -> Result<ShareShuffleSide, TrialError> {
        let tls = self.pki.tls(id).load()?;
        let worker = |(duchy, bound): (&String, &BoundDuchy)| {
            let target = bound.addresses().fulfillment.to_string();
            Ok::<_, TrialError>((duchy.clone(), channel(&tls, &target, Some(INTERNAL_CERT_HOST))?))
        };
        Ok(ShareShuffleSide {
            population: Arc::clone(population),
            signer: self.signer(id)?,
            certificate: certificate_name(&format!("dataProviders/{id}")),
            workers: duchies.iter().map(worker).collect::<Result<_, _>>()?,
        })
    }

    fn consumer(&self, spec: &PkiSpec, kingdom: &Target) -> Result<MeasurementConsumer, TrialError> {
        let id = &spec.measurement_consumer;
        let (to_kingdom, certificates) = self.to_kingdom(id, kingdom)?;
        let keyset = PrivateKeyset::parse(&read(&self.pki.encryption_private(id, Scheme::Hpke))?)?;
        let certificate = certificate_name(&format!("measurementConsumers/{id}"));
        Ok(MeasurementConsumer::new(&certificate, self.signer(id)?, keyset, to_kingdom, certificates)?)
    }

    fn to_kingdom(&self, party: &str, kingdom: &Target) -> Result<(Channel, PartyCertificates), TrialError> {
        let tls = self.pki.tls(party).load()?;
        let to_kingdom = channel(&tls, &kingdom.address, kingdom.cert_host.as_deref())?;
        let certificates = PartyCertificates::new(to_kingdom.clone(), tls, self.identities.clone());
        Ok((to_kingdom, certificates))
    }

    fn signer(&self, party: &str) -> Result<Signer, ConsentError> {
        Signer::load(&self.pki.consent_certificate(party), &self.pki.consent_private_key(party))
    }

    fn rng(&self, purpose: &str) -> ChaCha20Rng {
        self.seed.stream(purpose, 0)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrialError> {
    std::fs::read(path).map_err(|source| TrialError::Read { path: path.to_owned(), source })
}
