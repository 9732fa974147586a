//! What can go wrong with a blob.

use std::path::PathBuf;

use object_store::path::Path;

use super::Content;

/// Why a blob cannot be written, read or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The text is no path of a blob.
    #[error("{path:?} is not a blob path")]
    BadPath {
        /// The text.
        path: String,
        /// Why.
        source: object_store::path::Error,
    },
    /// There is no such blob.
    #[error("blob {path} does not exist")]
    NotFound {
        /// Its path.
        path: String,
    },
    /// The blob is larger than the caller allows.
    #[error("the blob is larger than {limit} bytes")]
    TooLarge {
        /// The most allowed.
        limit: u64,
    },
    /// More or fewer bytes are there than were written.
    #[error("blob {path} has {found} bytes instead of {expected}")]
    WrongLength {
        /// Its path.
        path: String,
        /// Bytes written.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// What was read is not what was written.
    #[error("blob {path} holds {found} instead of {expected}")]
    Corrupt {
        /// Its path.
        path: String,
        /// What was written.
        expected: Content,
        /// What was read.
        found: Content,
    },
    /// The storage fails, or cannot be reached.
    #[error("cannot {operation} blob {path}")]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// Its path or key.
        path: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// The operating system gives no random numbers.
    #[error("no randomness for a blob key")]
    Randomness(#[from] getrandom::Error),
    /// A store cannot be opened as its address says.
    #[error("cannot open the blob store {address}")]
    Open {
        /// Its address.
        address: String,
        /// Why.
        source: object_store::Error,
    },
    /// This program was built without the store's kind.
    #[error("{address}: this program was built without the feature `{feature}`")]
    NotBuilt {
        /// The store's address.
        address: String,
        /// The cargo feature that is off.
        feature: &'static str,
    },
    /// The directory of a store of files cannot be made or searched.
    #[error("cannot use the directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl BlobError {
    /// Whether trying again later may help. A failure of the storage may always pass, also a refusal: credentials are
    /// renewed and permissions corrected while a computation waits.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Storage { .. } | Self::Randomness(_) => true,
            Self::BadPath { .. }
            | Self::NotFound { .. }
            | Self::TooLarge { .. }
            | Self::WrongLength { .. }
            | Self::Corrupt { .. }
            | Self::Open { .. }
            | Self::NotBuilt { .. }
            | Self::Directory { .. } => false,
        }
    }

    pub(super) fn storage(operation: &'static str, path: &str) -> impl FnOnce(object_store::Error) -> Self {
        let path = path.to_owned();
        move |source| match source {
            object_store::Error::NotFound { .. } => Self::NotFound { path },
            source => Self::Storage { operation, path, source },
        }
    }

    /// As [`BlobError::storage`], of an object by its key.
    pub(super) fn object(operation: &'static str, key: &Path) -> impl FnOnce(object_store::Error) -> Self {
        Self::storage(operation, key.as_ref())
    }
}
