//! Where a blob is: the path that is recorded, and the key of the object behind it.
//!
//! The digest of a stream is known at its end, the key of an object at its beginning, and no object store moves an
//! object in one step. So the digest is part of the recorded path alone: the key is the path without it.

use object_store::path::Path;

use super::{BlobError, Content, PRIVATE_KEYS, Place};
use crate::platform;

/// Bytes of the random number that makes a key unlike all others.
const RANDOM_BYTES: usize = 16;

/// A recorded path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// As recorded.
    pub(super) path: String,
    /// The object's key.
    pub(super) key: Path,
    /// What was written; `None` if the path does not tell, as upstream's do not.
    pub(super) content: Option<Content>,
}

impl Location {
    /// Takes a recorded path apart. Upstream's are recorded without their prefix (docs/blobs.md#keys-and-paths).
    pub(super) fn parse(path: &str) -> Result<Self, BlobError> {
        let key = Path::parse(path).map_err(|source| BlobError::BadPath { path: path.to_owned(), source })?;
        let parts: Vec<&str> = path.split('/').collect();
        let content = Content::in_path(path);
        let key = match parts[..] {
            // No computation of the Kingdom has this for its id.
            [PRIVATE_KEYS, _] => key,
            [_, _] => Path::from_iter(["requisitions"]).parts().chain(key.parts()).collect(),
            [_, stage, _] if is_stage_name(stage) => {
                Path::from_iter(["computations"]).parts().chain(key.parts()).collect()
            }
            [ref folder @ .., last] if content.is_some() => {
                let random = last.rsplit('-').next().unwrap_or_default();
                let folder = folder.join("/");
                Path::parse(format!("{folder}/{random}"))
                    .map_err(|source| BlobError::BadPath { path: path.to_owned(), source })?
            }
            _ => key,
        };
        Ok(Self { path: path.to_owned(), key, content })
    }

    /// The path to record of an object under `key` with this content.
    pub(super) fn path(key: &Path, content: Content) -> String {
        match key.as_ref().rsplit_once('/') {
            Some((folder, random)) => format!("{folder}/{content}-{random}"),
            None => format!("{content}-{key}"),
        }
    }
}

/// Upstream's names of stages, and nothing of ours in that place.
fn is_stage_name(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// A key for a new object of `duchy` that no other object has: its last part is random.
pub(super) fn new_key(duchy: &str, place: Place<'_>) -> Result<Path, getrandom::Error> {
    let mut random = [0; RANDOM_BYTES];
    platform::fill(&mut random)?;
    let folder = match place {
        Place::Stage { computation, stage, attempt } => {
            Path::from_iter([duchy, "computations", computation, stage, &attempt.to_string()])
        }
        Place::Requisition { computation, requisition } => {
            Path::from_iter([duchy, "requisitions", computation, requisition])
        }
    };
    Ok(folder.join(hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_back_to_its_key() -> Result<(), BlobError> {
        let content = Content::of(b"registers");
        for place in [
            Place::Stage { computation: "c1", stage: "SETUP_PHASE", attempt: 2 },
            Place::Requisition { computation: "../../up", requisition: "a/b" },
        ] {
            let key = new_key("duchy-a", place)?;
            let location = Location::parse(&Location::path(&key, content))?;
            assert_eq!((location.key, location.content), (key, Some(content)));
        }
        Ok(())
    }

    #[test]
    fn keys_are_never_the_same() -> Result<(), BlobError> {
        let place = Place::Stage { computation: "c1", stage: "SETUP_PHASE", attempt: 2 };
        assert_ne!(new_key("a", place)?, new_key("a", place)?);
        Ok(())
    }

    #[test]
    fn upstreams_paths_get_their_prefix() -> Result<(), BlobError> {
        for (path, key) in [
            ("c1/SETUP_PHASE/0", "computations/c1/SETUP_PHASE/0"),
            ("c1/r1", "requisitions/c1/r1"),
            ("tink-private-key/-7", "tink-private-key/-7"),
            ("worker1/tink-private-key/-7", "worker1/tink-private-key/-7"),
            ("computations/c1/SETUP_PHASE/0", "computations/c1/SETUP_PHASE/0"),
        ] {
            let location = Location::parse(path)?;
            assert_eq!((location.key.as_ref(), location.content), (key, None));
        }
        Ok(())
    }

    #[test]
    fn a_path_out_of_its_folder_is_refused() {
        for path in ["a/../../b", "..", "a//b"] {
            assert!(matches!(Location::parse(path), Err(BlobError::BadPath { .. })), "{path}");
        }
    }
}
