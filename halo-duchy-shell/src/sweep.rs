//! Finding and deleting the blobs that nothing needs any more (docs/blobs.md#cleaning-up).
//!
//! A sweep goes through what the store of blobs holds and asks the database about each computation that it meets, so
//! its cost is that of what is there, not of all that ever was. Three kinds of object go: blobs of the stages of a
//! computation that has ended, some time after its end; blobs that no row refers to; private keys that none does. The last
//! two are kept for a while, because a blob is written before its path is recorded.
//!
//! The order of looking makes that safe: an object is seen first, the rows are read afterwards. Were its path recorded
//! still later, its writer would have taken longer than it is kept. Sweeps may run beside one another and may end anywhere.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use halo_protocols::llv2::StageKind;

use crate::blob::{BlobError, BlobStore, Owner, StoredObject};
use crate::clock::{Clock, Timestamp};
use crate::private_key_store::private_key_id;
use crate::proto::internal::{SweepBlobsRequest, SweepBlobsResponse};
use crate::protocol_stages::Protocol;
use crate::store::{Store, StoreError};
use crate::telemetry::instruments::SWEPT;

/// Objects that are looked at together.
const BATCH: usize = 1000;

/// What a sweep deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOptions {
    /// How long the blobs of stages are kept after the end of their computation.
    pub intermediate_ttl: Duration,
    /// How long what nothing refers to is kept after it was written.
    pub orphan_ttl: Duration,
    /// Whether to delete it; otherwise it is only counted.
    pub force: bool,
}

/// What a sweep has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects looked at.
    pub examined: u64,
    /// Blobs of stages of ended computations.
    pub intermediate: u64,
    /// Blobs that no computation refers to, and what unfinished writing left.
    pub orphaned: u64,
    /// Private keys that no computation refers to.
    pub private_keys: u64,
    /// Bytes of all those.
    pub bytes: u64,
    /// Objects that were to be deleted, and are not, or not by this sweep.
    pub kept: u64,
    /// Objects under the duchy's prefix that are not of its making.
    pub unrecognized: u64,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The blobs cannot be listed.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The computations cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sweeps the blobs of a duchy.
#[derive(Clone, Debug)]
pub struct Sweeper {
    /// The computations.
    pub store: Arc<dyn Store>,
    /// The blobs.
    pub blobs: BlobStore,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Why an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Intermediate,
    Orphaned,
    PrivateKey,
}

/// The private keys of computations that have not ended, read once for a sweep.
struct KeysInUse {
    ids: BTreeSet<String>,
    /// What was written later may be of a computation that was not yet there.
    written_before: Timestamp,
}

/// What the database says of a computation.
enum Facts {
    /// It knows none.
    Unknown,
    Known {
        /// When it ended, if it has.
        ended: Option<Timestamp>,
        /// The keys of the objects that its rows refer to.
        recorded: BTreeSet<String>,
    },
}

impl From<SweepOptions> for SweepBlobsRequest {
    fn from(options: SweepOptions) -> Self {
        // One that does not fit is as good as for ever.
        let duration = |ttl: Duration| {
            prost_types::Duration::try_from(ttl)
                .unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
        };
        Self {
            intermediate_ttl: Some(duration(options.intermediate_ttl)),
            orphan_ttl: Some(duration(options.orphan_ttl)),
            force: options.force,
        }
    }
}

impl From<Swept> for SweepBlobsResponse {
    fn from(swept: Swept) -> Self {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            examined: count(swept.examined),
            intermediate: count(swept.intermediate),
            orphaned: count(swept.orphaned),
            private_keys: count(swept.private_keys),
            bytes: count(swept.bytes),
            kept: count(swept.kept),
            unrecognized: count(swept.unrecognized),
        }
    }
}

impl From<SweepBlobsResponse> for Swept {
    fn from(response: SweepBlobsResponse) -> Self {
        let count = |count: i64| u64::try_from(count).unwrap_or_default();
        Self {
            examined: count(response.examined),
            intermediate: count(response.intermediate),
            orphaned: count(response.orphaned),
            private_keys: count(response.private_keys),
            bytes: count(response.bytes),
            kept: count(response.kept),
            unrecognized: count(response.unrecognized),
        }
    }
}

impl Sweeper {
    /// Goes through all objects once. `progress` hears after every batch what there has been so far.
    ///
    /// # Errors
    /// [`SweepError`]; what was deleted before stays deleted.
    pub async fn sweep(
        &self,
        options: SweepOptions,
        mut progress: impl FnMut(Swept),
    ) -> Result<Swept, SweepError> {
        let mut swept = Swept::default();
        let knows = !self.store.is_empty().await?;
        // One that has none may be new beside blobs that are not.
        if !knows {
            tracing::warn!(
                "the database has no computation: no blob is taken for an orphan, in case it is the wrong one"
            );
        }
        let unfinished = self.blobs.delete_unfinished_files(self.ago(options.orphan_ttl), options.force);
        swept.orphaned += unfinished.await? as u64;
        let mut keys = None;
        let mut batches = self.blobs.list().try_chunks(BATCH).boxed();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| error.1)?;
            self.sweep_batch(&batch, options, knows, &mut keys, &mut swept).await?;
            progress(swept);
        }
        Ok(swept)
    }

    fn ago(&self, age: Duration) -> Timestamp {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.clock.now().millis().saturating_sub(age))
    }

    async fn sweep_batch(
        &self,
        batch: &[StoredObject],
        options: SweepOptions,
        knows: bool,
        keys: &mut Option<KeysInUse>,
        swept: &mut Swept,
    ) -> Result<(), SweepError> {
        let (ended_before, written_before) =
            (self.ago(options.intermediate_ttl), self.ago(options.orphan_ttl));
        let mut facts = HashMap::new();
        let mut going: Vec<(StoredObject, Reason)> = Vec::new();
        for object in batch {
            swept.examined += 1;
            let old = object.modified <= written_before;
            let reason = match &object.owner {
                Owner::Unknown => {
                    swept.unrecognized += 1;
                    None
                }
                Owner::PrivateKey(id) => {
                    let keys = match &mut *keys {
                        Some(keys) => keys,
                        none if old => none.insert(self.keys_in_use(written_before).await?),
                        _ => continue,
                    };
                    // The rows were read before this object was seen: as if it had been seen then.
                    let old = object.modified <= keys.written_before;
                    (old && !keys.ids.contains(id)).then_some(Reason::PrivateKey)
                }
                Owner::Stage(computation) | Owner::Requisition(computation) => {
                    if !facts.contains_key(computation) {
                        facts.insert(computation.clone(), self.facts(computation).await?);
                    }
                    let is_stage = matches!(object.owner, Owner::Stage(_));
                    match facts.get(computation) {
                        Some(Facts::Known { ended: Some(ended), .. })
                            if is_stage && *ended <= ended_before =>
                        {
                            Some(Reason::Intermediate)
                        }
                        Some(Facts::Known { recorded, .. }) if recorded.contains(object.key()) => None,
                        _ => old.then_some(Reason::Orphaned),
                    }
                }
            };
            match reason {
                None => {}
                Some(_) if !knows => swept.kept += 1,
                Some(reason) => going.push((object.clone(), reason)),
            }
        }
        self.delete(going, options.force, swept).await;
        Ok(())
    }

    async fn delete(&self, going: Vec<(StoredObject, Reason)>, force: bool, swept: &mut Swept) {
        for (reason, count, label) in [
            (Reason::Intermediate, &mut swept.intermediate, "intermediate"),
            (Reason::Orphaned, &mut swept.orphaned, "orphaned"),
            (Reason::PrivateKey, &mut swept.private_keys, "private_key"),
        ] {
            let going = going.iter().filter(|(_, why)| *why == reason);
            let mut objects: Vec<_> = going.map(|(object, _)| object.clone()).collect();
            let wanted = objects.len();
            if force && wanted > 0 {
                objects = self.blobs.delete_objects(&objects).await;
                SWEPT.add(objects.len() as u64, [label]);
            }
            *count += objects.len() as u64;
            swept.bytes += objects.iter().map(|object| object.bytes).sum::<u64>();
            swept.kept += (wanted - objects.len()) as u64;
        }
    }

    async fn facts(&self, global_id: &str) -> Result<Facts, SweepError> {
        let computation = match self.store.get(global_id).await {
            Ok(computation) => computation,
            Err(StoreError::NotFound { .. }) => return Ok(Facts::Unknown),
            Err(error) => return Err(error.into()),
        };
        let terminal = computation.stage.kind() == StageKind::Terminal;
        let mut recorded = BTreeSet::new();
        for path in self.store.blob_paths(computation.local_id).await? {
            // A path that is none leads to no object.
            recorded.extend(self.blobs.key_of(&path));
        }
        let ended = terminal.then(|| Timestamp::from_millis(computation.version));
        Ok(Facts::Known { ended, recorded })
    }

    /// `written_before`: up to when what no computation refers to may go.
    async fn keys_in_use(&self, written_before: Timestamp) -> Result<KeysInUse, SweepError> {
        let stages = Protocol::HonestMajorityShareShuffle.stages();
        let working: Vec<_> = stages.filter(|stage| stage.kind() != StageKind::Terminal).collect();
        let mut ids = BTreeSet::new();
        for global_id in self.store.ids_in_stages(&working).await? {
            match self.store.get(&global_id).await {
                Ok(computation) => ids.extend(private_key_id(&computation.details).map(str::to_owned)),
                // It has been deleted since it was listed.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(KeysInUse { ids, written_before })
    }
}
