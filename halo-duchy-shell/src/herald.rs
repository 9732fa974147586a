//! The herald: what the Kingdom says about computations, as steps of the local ones (upstream's
//! `duchy/herald/Herald.kt`).
//!
//! It follows the Kingdom's stream of active computations. Each item is worked on by a task of its own, a few at a
//! time ([`HeraldOptions::concurrency`]); the position in the stream is remembered only up to the first item that is
//! not done (`progress`), so each item is worked on at least once and every action can be repeated.
//!
//! A Kingdom that is away for a while is waited for (`outage`).
//!
//! A computation whose local stage is not there yet is waited for without taking part in the concurrency. One that
//! cannot be worked on is failed at the Kingdom with the reason; the others go on.

mod creation;
mod ended;
mod item;
mod outage;
mod progress;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use halo_protocols::llv2::NoisePolicy;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use crate::computation_secrets::ComputationSecrets;
use crate::config::ProtocolsSetup;
use crate::internal_api::InternalApi;
use crate::live::Live;
use crate::platform;
use crate::private_key_store::PrivateKeyStore;
use crate::proto::system::StreamActiveComputationsResponse;
use crate::proto::system::computation::State;
use crate::seeds::SeedSource;
use crate::shutdown::Shutdown;
use crate::system_api::SystemApi;
use crate::telemetry::instruments::HERALD_LAST_CONTACT;
use outage::Outage;
use progress::Progress;

/// Items whose outcome is open: more are not read from the stream, so that memory is bounded.
const OPEN_ITEMS: usize = 1024;

/// How a herald works.
#[derive(Clone, Debug)]
pub struct HeraldOptions {
    /// Items worked on at once.
    pub concurrency: usize,
    /// Failures in a row to open or read the stream, at least, before the herald gives up.
    pub stream_attempts: u32,
    /// For how long the stream must have failed, at least, before the herald gives up.
    pub stream_patience: Duration,
    /// The pause after the first of the failures; later ones grow.
    pub stream_pause: Duration,
    /// Tries of one item whose error may be the answer. While errors are transient it is tried for as long as a stage is
    /// waited for.
    pub item_attempts: u32,
    /// How long to wait for a local computation to reach the stage that the Kingdom's state asks for.
    pub stage_patience: Duration,
    /// The first pause between looks at a local stage; later ones grow.
    pub stage_poll: Duration,
    /// The least time between two openings of the stream.
    pub stream_floor: Duration,
    /// How long a stream may stay open. The Kingdom ends it after ten minutes.
    pub stream_deadline: Duration,
    /// Whether computations may go without noise.
    pub noise_policy: NoisePolicy,
    /// Kingdom states in which the local computation and its blobs are deleted at once; terminal ones only.
    pub deletable_states: BTreeSet<i32>,
}

impl Default for HeraldOptions {
    fn default() -> Self {
        Self {
            concurrency: 5,
            stream_attempts: 5,
            stream_patience: Duration::from_secs(15 * 60),
            stream_pause: Duration::from_millis(500),
            item_attempts: 3,
            stage_patience: Duration::from_secs(15 * 60),
            stage_poll: Duration::from_millis(100),
            stream_floor: Duration::from_secs(1),
            stream_deadline: Duration::from_secs(11 * 60),
            noise_policy: NoisePolicy::Required,
            deletable_states: BTreeSet::new(),
        }
    }
}

/// Why a herald did not start or gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeraldError {
    /// A state in which computations go on cannot be one in which they are deleted.
    #[error("computations in state {0} are not over and cannot be deleted")]
    NotTerminal(i32),
    /// The duchy's internal API does not tell where the herald was.
    #[error("the position in the Kingdom's stream cannot be read")]
    Position(#[source] Status),
    /// A worker of share shuffles makes key pairs, whose private keys must go somewhere.
    #[error(
        "the duchy is a worker of share shuffles, but there is no key to encrypt private keys under \
         (--key-encryption-key-file)"
    )]
    NoPrivateKeyStore,
    /// The Kingdom's stream failed too often and for too long, or in a way that does not pass.
    #[error("the Kingdom's stream of computations failed")]
    Stream(#[source] Status),
}

/// A duchy's herald.
#[derive(Clone, Debug)]
pub struct Herald {
    inner: Arc<Inner>,
}

/// What a herald works with.
#[derive(Clone, Debug)]
pub struct HeraldParts {
    /// What log entries call the herald.
    pub id: String,
    /// The duchy.
    pub duchy: String,
    /// Its roles.
    pub setup: Live<ProtocolsSetup>,
    /// The Kingdom.
    pub kingdom: SystemApi,
    /// The duchy's internal API.
    pub internal: InternalApi,
    /// Where the private keys of a worker of share shuffles go.
    pub private_keys: Option<PrivateKeyStore>,
    /// How it keeps the secrets of computations.
    pub secrets: ComputationSecrets,
    /// Where a worker's seeds and keys come from.
    pub seeds: SeedSource,
}

#[derive(Debug)]
struct Inner {
    parts: HeraldParts,
    options: HeraldOptions,
    permits: Arc<Semaphore>,
    ended: ended::Ended,
}

impl Herald {
    /// A herald.
    ///
    /// # Errors
    /// [`HeraldError::NotTerminal`], [`HeraldError::NoPrivateKeyStore`].
    pub fn new(parts: HeraldParts, options: HeraldOptions) -> Result<Self, HeraldError> {
        let terminal = [State::Succeeded as i32, State::Failed as i32, State::Cancelled as i32];
        if let Some(state) = options.deletable_states.iter().find(|state| !terminal.contains(state)) {
            return Err(HeraldError::NotTerminal(*state));
        }
        if parts.private_keys.is_none() && parts.setup.current().is_share_shuffle_worker() {
            return Err(HeraldError::NoPrivateKeyStore);
        }
        let permits = Arc::new(Semaphore::new(options.concurrency.max(1)));
        Ok(Self { inner: Arc::new(Inner { parts, options, permits, ended: ended::Ended::default() }) })
    }

    /// Follows the stream until told to stop. Items in progress are left to the next herald: nothing is half done that
    /// cannot be done again.
    ///
    /// # Errors
    /// [`HeraldError::Position`], [`HeraldError::Stream`].
    pub async fn run(&self, shutdown: Shutdown) -> Result<(), HeraldError> {
        shutdown.unless_requested(self.follow()).await.unwrap_or(Ok(()))
    }

    async fn follow(&self) -> Result<(), HeraldError> {
        let Inner { parts: HeraldParts { kingdom, internal, .. }, options, .. } = &*self.inner;
        let position = internal.continuation_token().await.map_err(HeraldError::Position)?;
        let mut progress = Progress::new(position, internal.clone());
        let mut outage = Outage::default();
        let mut open = JoinSet::new();
        loop {
            let opened = Instant::now();
            let deadline = options.stream_deadline;
            let read = match kingdom.stream_active_computations(progress.position(), deadline).await {
                Ok(stream) => {
                    tracing::info!("following the Kingdom's computations");
                    self.read(stream, opened + deadline, &mut progress, &mut outage, &mut open).await
                }
                Err(status) => Err(status),
            };
            match read {
                Ok(()) => hear(&mut outage),
                Err(status) => {
                    let may_pass = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
                    let pause = may_pass.then(|| outage.fail(options, opened, Instant::now())).flatten();
                    let Some(pause) = pause else { return Err(HeraldError::Stream(status)) };
                    let failures = outage.failures();
                    tracing::warn!(%status, failures, ?pause, "the Kingdom's stream broke, opening it again");
                    tokio::time::sleep(pause).await;
                }
            }
            tokio::time::sleep_until(opened + options.stream_floor).await;
        }
    }

    /// Begins the items of one stream until it ends, or should have ended: gRPC holds nobody to the deadline of a stream
    /// that has begun, so that one whose Kingdom hangs would be silent for good. What is still `open` then goes on, and is
    /// not begun again when the next stream brings it.
    async fn read(
        &self,
        mut stream: Streaming<StreamActiveComputationsResponse>,
        deadline: Instant,
        progress: &mut Progress,
        outage: &mut Outage,
        open: &mut JoinSet<()>,
    ) -> Result<(), Status> {
        loop {
            while open.len() >= OPEN_ITEMS {
                drop(open.join_next().await);
            }
            // Finished tasks are collected as they end; a panic in one has been printed and concerns only its item.
            while open.try_join_next().is_some() {}
            let overdue = |_| Err(Status::deadline_exceeded("the Kingdom does not end its stream"));
            match tokio::time::timeout_at(deadline, stream.message()).await.unwrap_or_else(overdue) {
                Ok(Some(item)) => {
                    hear(outage);
                    let name = item.computation.as_ref().map_or("", |computation| &computation.name);
                    let Some(done) = progress.begin(name, item.continuation_token) else { continue };
                    let inner = Arc::clone(&self.inner);
                    let Some(computation) = item.computation else {
                        done.report();
                        continue;
                    };
                    // Begun in the order of the stream: tasks would come to it in any.
                    let permit = Arc::clone(&inner.permits).acquire_owned().await.ok();
                    open.spawn(async move {
                        inner.process(computation, permit).await;
                        done.report();
                    });
                }
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    }
}

/// Takes in that the Kingdom's stream has told something, or has ended in order.
fn hear(outage: &mut Outage) {
    outage.end();
    let now = platform::time().duration_since(UNIX_EPOCH).unwrap_or_default();
    HERALD_LAST_CONTACT.set(now.as_secs_f64(), [""; 0]);
}
