//! The mill: claims work, and takes a computation through one stage (upstream's `duchy/mill/MillBase.kt`).
//!
//! Work is held as a lease that is extended for as long as it takes (`lease`); a mill that loses it stops computing
//! and writes nothing more. The stage itself is a step of the protocol's state machine (`work`), whose effects are
//! carried out in the order that [`halo_protocols::computation`] lays down (`effects`). What a protocol is told so that
//! it works on a stage is the only thing that differs among them (`milled`). What goes wrong is sorted by whether
//! trying again can help ([`MillError`]).

mod effects;
mod error;
mod failure;
mod idle;
mod lease;
mod lost;
mod milled;
mod noise;
mod observer;
mod seeds;
mod slot;
mod statistics;
mod work;

pub use error::MillError;
pub(crate) use failure::stage_attempt;
pub(crate) use idle::Idle;
pub use observer::{Silent, StageEvent, StageObserver, StageReport};
pub(crate) use statistics::PROGRESS_STATISTICS;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halo_protocols::llv2::NoisePolicy;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Status;

use crate::blob::BlobStore;
use crate::computation_secrets::ComputationSecrets;
use crate::config::{DuchyDirectory, ProtocolsSetup};
use crate::consent::SigningIdentity;
use crate::fail_point::{self, Side};
use crate::internal_api::InternalApi;
use crate::live::Live;
use crate::party_certificates::PartyCertificates;
use crate::peer::Peers;
use crate::private_key_store::PrivateKeyStore;
use crate::proto::internal::ComputationToken;
use crate::protocol_stages::Protocol;
use crate::seeds::SeedSource;
use crate::shutdown::Shutdown;
use crate::system_api::SystemApi;
use crate::telemetry::cpu::{self, PoolMeter};
use crate::telemetry::instruments::CLAIMS;
use crate::tls::TlsIdentity;
use slot::Slot;
use work::Work;

/// How a mill works.
#[derive(Clone, Debug)]
pub struct MillOptions {
    /// The owner of its leases, and what log entries call it.
    pub id: String,
    /// How long a lease lasts unless it is extended. Only a crash makes anybody wait so long.
    pub lock_duration: Duration,
    /// Computations worked on at once. One that waits for a peer does not count.
    pub concurrency: usize,
    /// Threads of the kernels, shared by all computations.
    pub parallelism: usize,
    /// Attempts at one stage that may fail before the computation does. Those that were interrupted, as by an eviction,
    /// do not count, up to nine times as many.
    pub max_attempts: i32,
    /// The unit of the pause before another attempt: 2^attempt of them and up to as many again, at most 600.
    pub retry_unit: Duration,
    /// How long to wait for a peer to reach the stage in which it awaits our data.
    pub peer_patience: Duration,
    /// The pause between two looks for computations that wait for a message that is lost.
    pub lost_message_interval: Duration,
    /// The pause between two looks for work when there is none. It doubles from look to look.
    pub polling_delay: Duration,
    /// The longest such pause. News of work end it.
    pub max_polling_delay: Duration,
    /// The largest blob read.
    pub max_blob_bytes: u64,
    /// Whether to work on computations without noise.
    pub noise_policy: NoisePolicy,
}

/// For how long a job looks for lost messages.
const JOB_LOOK: Duration = Duration::from_secs(30);

impl Default for MillOptions {
    fn default() -> Self {
        Self {
            id: "mill".to_owned(),
            lock_duration: Duration::from_secs(5 * 60),
            concurrency: 1,
            parallelism: 1,
            max_attempts: 10,
            retry_unit: Duration::from_secs(1),
            peer_patience: Duration::from_secs(15 * 60),
            lost_message_interval: Duration::from_secs(5 * 60),
            polling_delay: Duration::from_secs(2),
            max_polling_delay: Duration::from_secs(30),
            max_blob_bytes: halo_protocols::kernel::MAXIMUM_MESSAGE_BYTES,
            noise_policy: NoisePolicy::Required,
        }
    }
}

/// How a duchy signs, and whom it believes.
#[derive(Clone, Debug)]
pub struct Consent {
    /// The duchy's consent-signaling key.
    pub own: Live<SigningIdentity>,
    /// The known duchies.
    pub directory: Live<DuchyDirectory>,
    /// Has the roots of their certificates.
    pub tls: TlsIdentity,
}

/// What a mill computes.
#[derive(Clone, Debug)]
pub enum Specialty {
    /// Liquid Legions v2, with frequencies or without.
    LiquidLegions,
    /// The honest-majority share shuffle.
    ShareShuffle(Box<ShareShuffleParts>),
}

/// What a mill needs for share shuffles beyond what it needs for sketches.
#[derive(Clone, Debug)]
pub struct ShareShuffleParts {
    /// The duchy's roles: rows do not name the aggregator.
    pub setup: Live<ProtocolsSetup>,
    /// The private keys by which seeds are opened. An aggregator is sent none.
    pub private_keys: Option<PrivateKeyStore>,
    /// The certificates of the data providers that signed them.
    pub certificates: PartyCertificates,
}

impl Specialty {
    /// The protocols that the mill works on.
    pub const fn protocols(&self) -> &'static [Protocol] {
        match self {
            Self::LiquidLegions => &[Protocol::LiquidLegionsV2, Protocol::ReachOnlyLiquidLegionsV2],
            Self::ShareShuffle(_) => &[Protocol::HonestMajorityShareShuffle],
        }
    }

    /// The duchy's roles, as far as this mill needs them.
    fn setup(&self) -> Arc<ProtocolsSetup> {
        match self {
            Self::LiquidLegions => Arc::default(),
            Self::ShareShuffle(parts) => parts.setup.current(),
        }
    }
}

/// What a mill works with.
#[derive(Clone, Debug)]
pub struct MillParts {
    /// The duchy.
    pub duchy: String,
    /// What the mill computes.
    pub specialty: Specialty,
    /// Its internal API.
    pub internal: InternalApi,
    /// The Kingdom.
    pub kingdom: SystemApi,
    /// The other duchies.
    pub peers: Peers,
    /// The duchy's blobs.
    pub blobs: BlobStore,
    /// How it keeps the secrets of computations.
    pub secrets: ComputationSecrets,
    /// Its signing key and whom it believes.
    pub consent: Consent,
    /// Where seeds come from.
    pub seeds: SeedSource,
    /// Who watches.
    pub observer: Arc<dyn StageObserver>,
}

/// Why a mill did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MillStartError {
    /// The threads for the kernels cannot be made.
    #[error("cannot start {threads} threads")]
    Threads {
        /// How many were wanted.
        threads: usize,
        /// Why.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
}

/// A mill. Clones share the threads.
#[derive(Clone, Debug)]
pub struct Mill {
    inner: Arc<Inner>,
}

struct Inner {
    parts: MillParts,
    options: MillOptions,
    pool: Arc<rayon::ThreadPool>,
    /// The processor time of the pool's threads.
    meter: Arc<PoolMeter>,
    slots: Arc<Semaphore>,
    /// Counts claims.
    turn: AtomicUsize,
    used_seeds: noise::UsedSeeds,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mill").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Mill {
    /// A mill with threads of its own.
    ///
    /// # Errors
    /// [`MillStartError::Threads`].
    pub fn new(parts: MillParts, options: MillOptions) -> Result<Self, MillStartError> {
        let threads = options.parallelism.max(1);
        let meter = Arc::new(PoolMeter::default());
        let counted = Arc::clone(&meter);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("kernel-{index}"))
            .start_handler(move |_| counted.add(cpu::this_thread()))
            .build()
            .map_err(|source| MillStartError::Threads { threads, source })?;
        let slots = Arc::new(Semaphore::new(options.concurrency.max(1)));
        let pool = Arc::new(pool);
        let (turn, used_seeds) = (AtomicUsize::default(), noise::UsedSeeds::default());
        Ok(Self { inner: Arc::new(Inner { parts, options, pool, meter, slots, turn, used_seeds }) })
    }

    /// Claims and does work until told to stop; then the work in progress is given back.
    pub async fn run(&self, shutdown: Shutdown) {
        let protocols = self.inner.parts.specialty.protocols();
        let mut working = JoinSet::new();
        working.spawn(lost::watch(Arc::clone(&self.inner), shutdown.clone()));
        let Inner { parts, options, .. } = &*self.inner;
        let mut idle = Idle::new(options.polling_delay, options.max_polling_delay);
        while !shutdown.is_requested() {
            let Some(slot) = shutdown.unless_requested(Slot::take(&self.inner.slots)).await else { break };
            // Those that have ended are collected; a panic in one has been printed, and its lease will run out.
            while working.try_join_next().is_some() {}
            match self.claim(protocols).await {
                Ok(Some(token)) => {
                    idle.over();
                    working.spawn(Work::new(Arc::clone(&self.inner), token, slot).run(shutdown.clone()));
                    continue;
                }
                Ok(None) => drop(slot),
                Err(status) => {
                    tracing::warn!(%status, "no work could be claimed");
                    // The news that there is some has been heard, and will not come again.
                    idle.over();
                }
            }
            shutdown.unless_requested(idle.wait(&parts.internal)).await;
        }
        while working.join_next().await.is_some() {}
    }

    /// Does work that was claimed in this mill's name, then claims more of its protocol until nothing is left: what a
    /// job does. A claim that is no longer the mill's is left alone.
    ///
    /// # Errors
    /// If the duchy's internal API does not answer.
    pub async fn run_job(&self, claimed: ClaimedWork, shutdown: Shutdown) -> Result<(), Status> {
        let Inner { parts, options, .. } = &*self.inner;
        let token = parts.internal.find(&claimed.computation).await?;
        let ours = token.filter(|token| token.version == claimed.version && token.lock_owner == options.id);
        match ours {
            Some(token) => self.work_on(token, &shutdown).await,
            None => {
                tracing::warn!(computation = claimed.computation, "the claim is no longer this mill's");
            }
        }
        while !shutdown.is_requested() {
            let Some(token) = self.claim(&[claimed.protocol]).await? else { break };
            self.work_on(token, &shutdown).await;
        }
        // Nobody else looks where all mills are jobs. Until it ends, a job takes the place of one that has work to do: where
        // there is much to look at, or peers do not answer, others look at the rest.
        let look = tokio::time::timeout(JOB_LOOK, self.inner.look());
        match shutdown.unless_requested(look).await {
            Some(Ok(looked)) => looked,
            Some(Err(_)) | None => Ok(()),
        }
    }

    async fn work_on(&self, token: ComputationToken, shutdown: &Shutdown) {
        let slot = Slot::take(&self.inner.slots).await;
        Work::new(Arc::clone(&self.inner), token, slot).run(shutdown.clone()).await;
    }

    /// Claims work of one of `protocols`, each of which is asked for first in its turn, so that none starves the others.
    /// Not to be cancelled: a claim whose reply is not heard is nobody's until it runs out.
    async fn claim(&self, protocols: &[Protocol]) -> Result<Option<ComputationToken>, Status> {
        let Inner { parts, options, turn, .. } = &*self.inner;
        let first = turn.fetch_add(1, Ordering::Relaxed);
        for index in 0..protocols.len() {
            let Some(protocol) = protocols.get((first + index) % protocols.len()) else { continue };
            let claimed = parts.internal.claim(*protocol, &options.id, options.lock_duration).await;
            let result = match &claimed {
                Ok(Some(_)) => "work",
                Ok(None) => "none",
                Err(_) => "error",
            };
            CLAIMS.add(1, [protocol.type_name(), result]);
            if let Some(token) = claimed? {
                fail_point::pass(Side::After, "claim", fail_point::stage_of(Some(&token)));
                return Ok(Some(token));
            }
        }
        Ok(None)
    }
}

/// Work that a scheduler claimed for this mill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedWork {
    /// The protocol of the computation.
    pub protocol: Protocol,
    /// The global id of the computation.
    pub computation: String,
    /// Its version when it was claimed.
    pub version: i64,
}
