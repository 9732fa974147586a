//! The configuration files of a duchy, as upstream writes them, checked once when a process starts.
//!
//! - `DuchyCertConfig`: the duchies and their roots, a [`DuchyDirectory`].
//! - `AuthorityKeyToPrincipalMap`: everybody else, by the authority of their certificates.
//! - `ProtocolsSetupConfig`: this duchy's roles, a [`ProtocolsSetup`].
//!
//! Upstream takes what it finds; here two entries of one name or key, unknown duchies and roles that contradict the
//! duchy's name are refused.

mod duration;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod setup;
mod textproto;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use duration::{DurationError, parse_duration, parse_positive_duration};
pub use setup::{ProtocolsSetup, ShareShuffleSetup, SketchSetup};
pub use textproto::TextprotoError;
pub(crate) use textproto::{parse as parse_textproto, print as print_textproto};

use crate::identity::{Caller, Principals, PrincipalsError};
use crate::proto::config::{AuthorityKeyToPrincipalMap, DuchyCertConfig};

/// Whether a host, as an address has it, is this machine.
#[cfg(any(
    feature = "aws-kms",
    feature = "aws-secrets",
    feature = "gcp-kms",
    feature = "gcs",
    feature = "postgres",
    feature = "s3"
))]
pub(crate) fn is_this_machine(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

pub(crate) const DUCHY_CERT_CONFIG: &str = "wfa.measurement.config.DuchyCertConfig";
pub(crate) const PRINCIPAL_MAP: &str = "wfa.measurement.config.AuthorityKeyToPrincipalMap";
pub(crate) const PROTOCOLS_SETUP: &str = "wfa.measurement.internal.duchy.config.ProtocolsSetupConfig";

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The text is not such a message.
    #[error(transparent)]
    Textproto(#[from] TextprotoError),
    /// An id or resource name has characters that may not be part of a blob key.
    #[error("`{0}` is not a valid name: ids are made of A-Z, a-z, 0-9, _ and -")]
    MalformedName(String),
    /// A duchy is listed twice, but not for another root.
    #[error("duchy {0} is listed twice; only its root_certificate_skid may differ")]
    DuplicateDuchy(String),
    /// A duchy has no root certificate.
    #[error("duchy {0} has no root_certificate_skid")]
    MissingRoot(String),
    /// Two parties share one authority.
    #[error(transparent)]
    Principals(#[from] PrincipalsError),
    /// A duchy is named that the duchy configuration lacks.
    #[error("{protocol} names the duchy `{duchy}`, which is not in the duchy configuration")]
    UnknownDuchy {
        /// The section of the setup.
        protocol: &'static str,
        /// The duchy named.
        duchy: String,
    },
    /// The role is not one that the named duchies leave to this one.
    #[error("{protocol}: the role of duchy {duchy} is {role}, but the duchies named say otherwise")]
    Role {
        /// The section of the setup.
        protocol: &'static str,
        /// This duchy.
        duchy: String,
        /// The role found.
        role: String,
    },
    /// One duchy has two parts in a protocol whose security needs different duchies.
    #[error("{protocol}: {duchy} is named for two parts")]
    SharedRole {
        /// The section of the setup.
        protocol: &'static str,
        /// The duchy named twice.
        duchy: String,
    },
}

/// Reads a text file.
///
/// # Errors
/// If the system cannot, naming the file.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Whether `id` may be a segment of resource names and blob keys: `[A-Za-z0-9_-]+`.
pub fn is_valid_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn valid_id(id: &str) -> Result<&str, ConfigError> {
    if is_valid_id(id) { Ok(id) } else { Err(ConfigError::MalformedName(id.to_owned())) }
}

/// A duchy of the [`DuchyDirectory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuchyEntry {
    /// The name to expect in the certificate of its computation control server; empty for that of the target.
    pub cert_host: String,
    /// The subject key identifiers of its root certificates: one, or several while its root is replaced.
    pub root_skids: Vec<Vec<u8>>,
}

/// Every known duchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuchyDirectory(BTreeMap<String, DuchyEntry>);

impl DuchyDirectory {
    /// Reads a `DuchyCertConfig` in protobuf text. A duchy that is listed more than once has as many roots, which is our
    /// own addition: to upstream the last one counts.
    ///
    /// # Errors
    /// If it is malformed, or lists a root twice, or a duchy with two hosts.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: DuchyCertConfig = textproto::parse(DUCHY_CERT_CONFIG, text)?;
        let mut duchies: BTreeMap<_, DuchyEntry> = BTreeMap::new();
        for duchy in config.duchies {
            if duchy.root_certificate_skid.is_empty() {
                return Err(ConfigError::MissingRoot(duchy.duchy_id));
            }
            let id = valid_id(&duchy.duchy_id)?.to_owned();
            let (cert_host, root) =
                (duchy.computation_control_service_cert_host, duchy.root_certificate_skid);
            let entry = duchies
                .entry(id)
                .or_insert_with(|| DuchyEntry { cert_host: cert_host.clone(), root_skids: Vec::new() });
            if entry.cert_host != cert_host || entry.root_skids.contains(&root) {
                return Err(ConfigError::DuplicateDuchy(duchy.duchy_id));
            }
            entry.root_skids.push(root);
        }
        let directory = Self(duchies);
        Principals::new(directory.principals())?;
        Ok(directory)
    }

    /// Reads the file at `path`, as [`Self::parse`].
    ///
    /// # Errors
    /// As [`Self::parse`], and if the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?)
    }

    /// The duchy with the id `duchy`.
    pub fn get(&self, duchy: &str) -> Option<&DuchyEntry> {
        self.0.get(duchy)
    }

    /// The duchies in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &DuchyEntry)> {
        self.0.iter().map(|(id, entry)| (id.as_str(), entry))
    }

    /// The authority of each duchy's certificates, with the duchy.
    pub fn principals(&self) -> impl Iterator<Item = (Vec<u8>, Caller)> {
        self.0.iter().flat_map(|(id, entry)| {
            entry.root_skids.iter().map(|root| (root.clone(), Caller::Duchy(id.clone())))
        })
    }
}

/// Reads an `AuthorityKeyToPrincipalMap` in protobuf text: authorities with the data providers
/// (`dataProviders/{id}`), measurement consumers (`measurementConsumers/{id}`) and Kingdom (`kingdom`, which only we
/// write) they stand for. [`Principals::new`] checks that they differ.
///
/// # Errors
/// If it is malformed or names other parties.
pub fn parse_principal_map(text: &str) -> Result<Vec<(Vec<u8>, Caller)>, ConfigError> {
    let map: AuthorityKeyToPrincipalMap = textproto::parse(PRINCIPAL_MAP, text)?;
    let entry = |name: String| match Caller::of_name(&name) {
        Some(Caller::Duchy(_)) | None => Err(ConfigError::MalformedName(name)),
        Some(caller) => Ok(caller),
    };
    map.entries
        .into_iter()
        .map(|item| Ok((item.authority_key_identifier, entry(item.principal_resource_name)?)))
        .collect()
}

/// The principals of a server: the duchies of `directory`, and, for servers that others may call, the entries of the
/// principal map at `map`.
///
/// # Errors
/// If the map cannot be read, or two parties share an authority.
pub fn load_principals(directory: &DuchyDirectory, map: Option<&Path>) -> Result<Principals, ConfigError> {
    let others = map.map(|path| parse_principal_map(&read(path)?)).transpose()?.unwrap_or_default();
    Ok(Principals::new(directory.principals().chain(others))?)
}

#[cfg(test)]
mod tests;
