//! Names of key encryption keys, those in key management services as Tink has them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::file::FileKeyError;
use super::token::TokenKey;
use super::{FileKey, SharedKey};
use crate::cloud::CloudError;
use crate::pkcs11::{Pkcs11Error, Pkcs11Uri, UriError};

/// A key encryption key: `file:PATH`, `pkcs11:…`, `gcp-kms://projects/…/cryptoKeys/KEY` or `aws-kms://arn:…:key/ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyUri {
    /// A Tink keyset of AES-GCM keys in a file, in the clear.
    File(PathBuf),
    /// An AES-256 key in a token.
    Token(Box<Pkcs11Uri>),
    /// A symmetric key of Google's Cloud Key Management Service, by its resource name.
    GcpKms(String),
    /// A symmetric key of AWS Key Management Service, by its ARN.
    AwsKms(KeyArn),
}

/// The ARN of a key of AWS Key Management Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyArn {
    /// The whole ARN.
    arn: String,
    /// The region in it.
    region: String,
}

/// Text that names no key encryption key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyUriError {
    /// It begins like no kind of key.
    #[error("not of the form file:PATH, pkcs11:…, gcp-kms://projects/… or aws-kms://arn:…: {0}")]
    Form(String),
    /// The file has no name.
    #[error("file: lacks the path of a Tink keyset")]
    Path,
    /// The file is on another machine.
    #[error("{0:?} names a host: a keyset is read from a path of this machine, file:/PATH")]
    Host(String),
    /// It names no key in a token.
    #[error(transparent)]
    Token(#[from] UriError),
    /// It is no name of a key of Cloud KMS.
    #[error(
        "{0:?} is not projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY; a version is not named: the \
         primary one encrypts, and any opens"
    )]
    GcpKms(String),
    /// It is no ARN of a key of AWS KMS.
    #[error(
        "{0:?} is not arn:PARTITION:kms:REGION:ACCOUNT:key/ID; an alias is no name for a key that must open again"
    )]
    AwsKms(String),
}

/// Why a key encryption key is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenKeyError {
    /// The file has none.
    #[error("{0}")]
    File(PathBuf, #[source] FileKeyError),
    /// The token does not have it.
    #[error("the key encryption key in a token")]
    Token(#[source] Pkcs11Error),
    /// The service cannot be called.
    #[error("{0}: {1}")]
    Service(KeyUri, #[source] CloudError),
    /// The program is built without what calls the service.
    #[error("{0}: this program was built without the feature `{1}`")]
    Feature(KeyUri, &'static str),
}

/// A key encryption key and, where it is in a file, what puts another in its place.
#[derive(Clone, Debug)]
pub struct OpenedKey {
    /// The key.
    pub key: SharedKey,
    /// The file that it is in.
    pub file: Option<(PathBuf, FileKey)>,
}

impl KeyUri {
    /// The key. A service is not asked for anything yet.
    ///
    /// # Errors
    /// [`OpenKeyError`].
    pub fn open(&self) -> Result<OpenedKey, OpenKeyError> {
        match self {
            Self::File(path) => {
                let key = FileKey::load(path).map_err(|error| OpenKeyError::File(path.clone(), error))?;
                Ok(OpenedKey { key: Arc::new(key.clone()), file: Some((path.clone(), key)) })
            }
            Self::Token(uri) => {
                let key = TokenKey::open(uri).map_err(OpenKeyError::Token)?;
                Ok(OpenedKey { key: Arc::new(key), file: None })
            }
            #[cfg(feature = "gcp-kms")]
            Self::GcpKms(name) => {
                let key = super::gcp_kms::GcpKmsKey::from_environment(&self.to_string(), name);
                let key = key.map_err(|error| OpenKeyError::Service(self.clone(), error))?;
                Ok(OpenedKey { key: Arc::new(key), file: None })
            }
            #[cfg(feature = "aws-kms")]
            Self::AwsKms(arn) => {
                let key = super::aws_kms::AwsKmsKey::from_environment(&self.to_string(), arn);
                let key = key.map_err(|error| OpenKeyError::Service(self.clone(), error))?;
                Ok(OpenedKey { key: Arc::new(key), file: None })
            }
            #[cfg(not(feature = "gcp-kms"))]
            Self::GcpKms(_) => Err(OpenKeyError::Feature(self.clone(), "gcp-kms")),
            #[cfg(not(feature = "aws-kms"))]
            Self::AwsKms(_) => Err(OpenKeyError::Feature(self.clone(), "aws-kms")),
        }
    }
}

impl KeyArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// The region that the key is in.
    pub fn region(&self) -> &str {
        &self.region
    }

    fn parse(arn: &str) -> Option<Self> {
        let [name, partition, service, region, account, key] = arn.splitn(6, ':').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let id = key.strip_prefix("key/")?;
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        // Keys of many regions have ids in upper case hexadecimal too.
        let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let is_arn = name == "arn" && service == "kms" && is_id;
        (is_arn && [partition, region, account].into_iter().all(word))
            .then(|| Self { arn: arn.to_owned(), region: region.to_owned() })
    }
}

/// Whether it is `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
fn is_crypto_key(name: &str) -> bool {
    let parts: Vec<_> = name.split('/').collect();
    let [projects, project, locations, location, rings, ring, keys, key] = parts[..] else { return false };
    let named = |part: &str| {
        // Projects of old have the name of a domain before their own, with a colon.
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    [projects, locations, rings, keys] == ["projects", "locations", "keyRings", "cryptoKeys"]
        && [project, location, ring, key].into_iter().all(named)
}

impl FromStr for KeyUri {
    type Err = KeyUriError;

    fn from_str(text: &str) -> Result<Self, KeyUriError> {
        if let Some(path) = text.strip_prefix("file:") {
            // RFC 8089 writes an absolute path after an empty host. More slashes than one begin the same path.
            return match path.strip_prefix("//") {
                Some(path) if path.starts_with('/') => {
                    Ok(Self::File(format!("/{}", path.trim_start_matches('/')).into()))
                }
                Some(_) => Err(KeyUriError::Host(text.to_owned())),
                None if path.is_empty() => Err(KeyUriError::Path),
                None => Ok(Self::File(path.into())),
            };
        }
        if text.starts_with("pkcs11:") {
            return Ok(Self::Token(Box::new(text.parse()?)));
        }
        if let Some(name) = text.strip_prefix("gcp-kms://") {
            return match is_crypto_key(name) {
                true => Ok(Self::GcpKms(name.to_owned())),
                false => Err(KeyUriError::GcpKms(name.to_owned())),
            };
        }
        match text.strip_prefix("aws-kms://") {
            Some(arn) => {
                KeyArn::parse(arn).map(Self::AwsKms).ok_or_else(|| KeyUriError::AwsKms(arn.to_owned()))
            }
            None => Err(KeyUriError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Token(uri) => uri.fmt(f),
            Self::GcpKms(name) => write!(f, "gcp-kms://{name}"),
            Self::AwsKms(arn) => write!(f, "aws-kms://{}", arn.arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_has_a_uri_of_its_own() {
        for uri in [
            "file:keys/kek.tink",
            "file:/etc/kek.tink",
            "gcp-kms://projects/halo/locations/europe-west1/keyRings/duchy/cryptoKeys/kek",
            "aws-kms://arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "aws-kms://arn:aws-us-gov:kms:us-gov-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        ] {
            assert_eq!(uri.parse::<KeyUri>().expect("a key").to_string(), uri);
        }
        // What it is called has nothing of the library and the PIN.
        let token = "pkcs11:token=duchy;object=kek?module-path=/usr/lib/hsm.so&pin-source=file:/run/pin";
        assert_eq!(token.parse::<KeyUri>().expect("a key").to_string(), "pkcs11:token=duchy;object=kek");
        for uri in ["file:///etc/kek.tink", "file:////etc/kek.tink", "file://///etc/kek.tink"] {
            assert_eq!(uri.parse(), Ok(KeyUri::File("/etc/kek.tink".into())), "{uri}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused_with_advice() {
        let refused = |uri: &str| uri.parse::<KeyUri>().expect_err(uri).to_string();
        for uri in ["", "kek.tink", "azure-kms://x", "gcp-kms:projects/p"] {
            assert!(refused(uri).starts_with("not of the form file:PATH"), "{uri}");
        }
        assert!(refused("file:").contains("path"));
        for uri in ["file://", "file://host", "file://host/etc/kek.tink"] {
            assert!(refused(uri).contains("names a host"), "{uri}");
        }
        let pin = refused("pkcs11:token=duchy;object=kek?module-path=/lib/hsm.so&pin-value=271828");
        assert!(pin.contains("pin-source") && !pin.contains("271828"), "{pin}");
        for name in [
            "",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k?x",
            "projects/p/locations/l/keyRings/r/cryptoKeys/../k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        ] {
            assert!(refused(&format!("gcp-kms://{name}")).contains("a version is not named"), "{name}");
        }
        for arn in [
            "",
            "arn:aws:kms:us-west-2:111122223333:alias/duchy",
            "arn:aws:s3:us-west-2:111122223333:key/1234",
            "arn:aws:kms::111122223333:key/1234",
            "arn:aws:kms:us-west-2.example.com/:111122223333:key/1234",
            "arn:aws:kms:us-west-2:111122223333:key/12/34",
        ] {
            assert!(refused(&format!("aws-kms://{arn}")).contains("arn:PARTITION:kms"), "{arn}");
        }
    }
}
