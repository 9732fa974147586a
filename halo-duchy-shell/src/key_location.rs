//! Where a private key is: in a file, or in a token.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use crate::pkcs11::{Pkcs11Uri, UriError};

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// In a file.
    File(PathBuf),
    /// In a token.
    Token(Box<Pkcs11Uri>),
}

impl KeyLocation {
    /// The file, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Token(_) => None,
        }
    }

    /// What two flags say, of which clap sees to it that exactly one is given.
    ///
    /// # Errors
    /// If the URI is refused.
    pub(crate) fn of_flags(
        file: Option<&PathBuf>,
        uri: Option<&Result<Pkcs11Uri, UriError>>,
    ) -> Result<Self, UriError> {
        match (file, uri) {
            (Some(file), _) => Ok(Self::File(file.clone())),
            (None, Some(uri)) => uri.clone().map(|uri| Self::Token(Box::new(uri))),
            (None, None) => Ok(Self::File(PathBuf::new())),
        }
    }
}

impl From<PathBuf> for KeyLocation {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// What clap makes of a flag's value: never refused there, since clap repeats what it refuses, and that may be a PIN.
#[allow(clippy::unnecessary_wraps, reason = "clap asks for it")]
pub(crate) fn key_uri(text: &str) -> Result<Result<Pkcs11Uri, UriError>, Infallible> {
    Ok(text.parse())
}
