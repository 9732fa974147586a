//! What a duchy's part of a store holds, and removing it.

use std::collections::HashSet;
use std::path::{Path as FilePath, PathBuf};
use std::time::SystemTime;

use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::location::Location;
use super::retry::retried;
use super::{BlobError, BlobStore, PRIVATE_KEYS, measured};
use crate::clock::Timestamp;

/// An object of the duchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    key: Path,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written, by the store's clock; for a large object of S3, when writing began.
    pub modified: Timestamp,
    /// What it belongs to.
    pub owner: Owner,
}

/// What an object belongs to, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A stage of the computation with this global id.
    Stage(String),
    /// A requisition of the computation with this global id.
    Requisition(String),
    /// It is the private key with this id.
    PrivateKey(String),
    /// It is not of our making.
    Unknown,
}

impl Owner {
    fn of(key: &Path) -> Self {
        let parts: Vec<_> = key.as_ref().split('/').collect();
        match parts[..] {
            [_, "computations", computation, _stage, _attempt, _random] => {
                Self::Stage(computation.to_owned())
            }
            [_, "requisitions", computation, _requisition, _random] => {
                Self::Requisition(computation.to_owned())
            }
            [_, PRIVATE_KEYS, id] => Self::PrivateKey(id.to_owned()),
            _ => Self::Unknown,
        }
    }
}

impl StoredObject {
    fn new(found: ObjectMeta) -> Self {
        Self {
            owner: Owner::of(&found.location),
            key: found.location,
            bytes: found.size,
            modified: Timestamp::from_millis(found.last_modified.timestamp_millis()),
        }
    }

    /// Its key.
    pub fn key(&self) -> &str {
        self.key.as_ref()
    }
}

impl BlobStore {
    /// All objects of the duchy, in the store's order.
    pub fn list(&self) -> impl Stream<Item = Result<StoredObject, BlobError>> + Send + 'static {
        self.list_under(Path::from_iter([self.duchy.as_str()]))
    }

    fn list_under(
        &self,
        folder: Path,
    ) -> impl Stream<Item = Result<StoredObject, BlobError>> + Send + 'static {
        let listed = self.objects.list(Some(&folder));
        listed.map(move |found| {
            found.map(StoredObject::new).map_err(BlobError::object("list the objects of", &folder))
        })
    }

    /// The key of the object behind a recorded path.
    ///
    /// # Errors
    /// [`BlobError::BadPath`].
    pub fn key_of(&self, path: &str) -> Result<String, BlobError> {
        Ok(Location::parse(path)?.key.to_string())
    }

    /// Deletes a blob; one that does not exist counts as deleted.
    ///
    /// # Errors
    /// [`BlobError::BadPath`], [`BlobError::Storage`].
    pub async fn delete(&self, path: &str) -> Result<(), BlobError> {
        let Location { path, key, .. } = Location::parse(path)?;
        let deleted = measured("delete", async {
            match retried(|| self.objects.delete(&key)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(BlobError::storage("delete", &path)(error)),
            }
        });
        deleted.await
    }

    /// Deletes objects, as far as it can, in as few requests as the store allows; tells which it has deleted.
    pub async fn delete_objects(&self, objects: &[StoredObject]) -> Vec<StoredObject> {
        let keys: Vec<_> = objects.iter().map(|object| Ok(object.key.clone())).collect();
        let mut deleted = self.objects.delete_stream(futures::stream::iter(keys).boxed());
        let mut gone = HashSet::new();
        while let Some(result) = deleted.next().await {
            match result {
                Ok(key) => drop(gone.insert(key.to_string())),
                // Somebody else was quicker, and counts it.
                Err(Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%error, "a blob cannot be deleted"),
            }
        }
        objects.iter().filter(|object| gone.contains(object.key())).cloned().collect()
    }

    /// Deletes all blobs of the stages of a computation, whether anybody recorded them or not; their number.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub async fn delete_stages(&self, computation: &str) -> Result<usize, BlobError> {
        let folder = Path::from_iter([self.duchy.as_str(), "computations", computation]);
        let deleted = measured("delete", async {
            let objects: Vec<_> = self.list_under(folder).try_collect().await?;
            Ok(self.delete_objects(&objects).await.len())
        });
        deleted.await
    }

    /// Deletes what writers of files left behind when their process was killed, if it is older than `since`; how much
    /// that was. Other stores have a life cycle for it (docs/blobs.md).
    ///
    /// # Errors
    /// [`BlobError::Directory`].
    pub async fn delete_unfinished_files(&self, since: Timestamp, force: bool) -> Result<usize, BlobError> {
        let Some(root) = &self.files else { return Ok(0) };
        let folder = root.join(&self.duchy);
        let searched = tokio::task::spawn_blocking(move || unfinished_files(&folder, since, force)).await;
        // Only a runtime that is going down does not search.
        searched.unwrap_or(Ok(0))
    }
}

/// Files that `object_store` writes to before it gives them their name: the name, `#` and a number.
fn is_unfinished(path: &FilePath) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn unfinished_files(folder: &FilePath, since: Timestamp, force: bool) -> Result<usize, BlobError> {
    let mut found = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| BlobError::Directory { path: folder.clone(), source };
        let entries = match folder.read_dir() {
            // Nothing has been written yet, or a folder that became empty is gone.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // One that is gone meanwhile has been finished.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let modified = Timestamp::from(metadata.modified().unwrap_or(SystemTime::now()));
            if is_unfinished(&entry.path()) && modified < since {
                found += usize::from(!force || std::fs::remove_file(entry.path()).is_ok());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_whose_they_are() {
        for (key, owner) in [
            ("d/computations/c1/SETUP_PHASE/2/00ff", Owner::Stage("c1".into())),
            ("d/requisitions/c1/r1/00ff", Owner::Requisition("c1".into())),
            ("d/tink-private-key/-7", Owner::PrivateKey("-7".into())),
            ("d/computations/c1/SETUP_PHASE/2", Owner::Unknown),
            ("d/notes.txt", Owner::Unknown),
        ] {
            assert_eq!(Owner::of(&Path::from(key)), owner);
        }
    }

    #[test]
    fn unfinished_files_are_known_by_their_names() {
        for (name, unfinished) in [("00ff#1", true), ("00ff", false), ("a#b", false), ("a#", false)] {
            assert_eq!(is_unfinished(FilePath::new(name)), unfinished, "{name}");
        }
    }
}
