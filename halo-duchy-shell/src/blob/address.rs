//! Where blobs are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use object_store::path::Path;

/// A store of blobs: `file:DIR`, `s3://BUCKET[/PREFIX][?region=REGION&endpoint=URL]` or
/// `gs://BUCKET[/PREFIX][?endpoint=URL]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobAddress {
    /// Files under a directory.
    File(PathBuf),
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    S3(Bucket),
    /// A bucket of Google Cloud Storage.
    Gcs(Bucket),
}

/// A bucket and what of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What all keys begin with; may be empty.
    pub prefix: Path,
    /// Its region; `None` for the one of the environment. S3 only.
    pub region: Option<String>,
    /// Where its service is, if not at the cloud's own address: `http://` or `https://`, host and port.
    pub endpoint: Option<String>,
}

/// Text that names no store of blobs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It begins like no address.
    #[error("not of the form file:DIR, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX: {0}")]
    Form(String),
    /// The name of the bucket is none.
    #[error("bucket {0:?}: 3 to 222 lower-case letters, digits, and . _ -")]
    Bucket(String),
    /// The prefix is no part of a key.
    #[error("prefix {0:?} is not a path without empty parts, . and ..")]
    Prefix(String),
    /// What follows the question mark is not known for this kind of store, or has no value.
    #[error("`{0}` is not a parameter of this store")]
    Parameter(String),
    /// The endpoint is no URL of a server.
    #[error("endpoint {0:?} is not http://HOST:PORT or https://HOST:PORT")]
    Endpoint(String),
}

impl Bucket {
    /// A whole bucket at the cloud's own address.
    ///
    /// # Errors
    /// [`AddressError::Bucket`].
    pub fn new(name: &str) -> Result<Self, AddressError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if !(3..=222).contains(&name.len()) || !name.chars().all(allowed) {
            return Err(AddressError::Bucket(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), prefix: Path::default(), region: None, endpoint: None })
    }

    /// The same bucket at another address.
    ///
    /// # Errors
    /// [`AddressError::Endpoint`].
    pub fn with_endpoint(self, endpoint: &str) -> Result<Self, AddressError> {
        let server = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        match server.map(|server| server.trim_end_matches('/')) {
            Some(server) if !server.is_empty() && server.chars().all(plain) => {
                Ok(Self { endpoint: Some(endpoint.trim_end_matches('/').to_owned()), ..self })
            }
            _ => Err(AddressError::Endpoint(endpoint.to_owned())),
        }
    }

    fn parse(text: &str, parameters: &[&str]) -> Result<Self, AddressError> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut bucket = Self::new(name)?;
        bucket.prefix = Path::parse(prefix).map_err(|_| AddressError::Prefix(prefix.to_owned()))?;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some((name, value)) if parameters.contains(&name) && !value.is_empty() => match name {
                    "endpoint" => bucket = bucket.with_endpoint(value)?,
                    _ => bucket.region = Some(value.to_owned()),
                },
                _ => return Err(AddressError::Parameter(parameter.to_owned())),
            }
        }
        Ok(bucket)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.prefix.is_root() {
            write!(f, "/{}", self.prefix)?;
        }
        let mut separator = '?';
        for (name, value) in [("region", &self.region), ("endpoint", &self.endpoint)] {
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = '&';
            }
        }
        Ok(())
    }
}

impl FromStr for BlobAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(directory) = text.strip_prefix("file:").filter(|directory| !directory.is_empty()) {
            // `file:///data` is `/data`: there is no host to name.
            return match directory.strip_prefix("//") {
                None => Ok(Self::File(directory.into())),
                Some(absolute) if absolute.starts_with('/') => Ok(Self::File(absolute.into())),
                Some(_) => Err(AddressError::Form(text.to_owned())),
            };
        }
        if let Some(bucket) = text.strip_prefix("s3://") {
            return Bucket::parse(bucket, &["region", "endpoint"]).map(Self::S3);
        }
        if let Some(bucket) = text.strip_prefix("gs://") {
            return Bucket::parse(bucket, &["endpoint"]).map(Self::Gcs);
        }
        Err(AddressError::Form(text.to_owned()))
    }
}

impl fmt::Display for BlobAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(directory) => write!(f, "file:{}", directory.display()),
            Self::S3(bucket) => write!(f, "s3://{bucket}"),
            Self::Gcs(bucket) => write!(f, "gs://{bucket}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() -> Result<(), AddressError> {
        for text in [
            "file:/var/lib/duchy/blobs",
            "file:blobs",
            "s3://bucket1",
            "s3://halo.duchy-1/a/b?region=eu-west-1&endpoint=http://127.0.0.1:9000",
            "s3://bucket1?endpoint=https://minio.example:9000",
            "gs://halo_duchy/worker1",
            "gs://bucket1?endpoint=http://[::1]:4443",
        ] {
            assert_eq!(text.parse::<BlobAddress>()?.to_string(), text);
        }
        assert_eq!("file:///data".parse(), Ok(BlobAddress::File("/data".into())));
        let slash: BlobAddress = "s3://bucket1/a/?endpoint=http://h:1/".parse()?;
        assert_eq!(slash.to_string(), "s3://bucket1/a?endpoint=http://h:1");
        Ok(())
    }

    #[test]
    fn anything_else_is_refused() {
        let refusal = |text: &str| match text.parse::<BlobAddress>() {
            Ok(address) => panic!("{text}: {address:?}"),
            Err(error) => error,
        };
        for text in ["", "file:", "file://host/data", "/data", "http://bucket1", "s3:bucket1"] {
            assert!(matches!(refusal(text), AddressError::Form(_)), "{text}");
        }
        for text in ["s3://", "s3://ab", "gs://Bucket", "s3://buck et"] {
            assert!(matches!(refusal(text), AddressError::Bucket(_)), "{text}");
        }
        for text in ["s3://bucket1/a//b", "gs://bucket1/../b"] {
            assert!(matches!(refusal(text), AddressError::Prefix(_)), "{text}");
        }
        for text in
            ["s3://bucket1?regio=x", "s3://bucket1?region=", "s3://bucket1?region", "gs://bucket1?region=x"]
        {
            assert!(matches!(refusal(text), AddressError::Parameter(_)), "{text}");
        }
        for text in [
            "s3://bucket1?endpoint=minio:9000",
            "gs://bucket1?endpoint=http://",
            "s3://bucket1?endpoint=http://a/b",
        ] {
            assert!(matches!(refusal(text), AddressError::Endpoint(_)), "{text}");
        }
    }
}
