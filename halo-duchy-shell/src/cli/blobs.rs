//! Where a process finds the duchy's blobs.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::CliError;
use super::options::DuchyOptions;
use crate::blob::BlobStore;
use crate::blob::address::{BlobAddress, Bucket};

/// Where the duchy's blobs are; for a process that may do without.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("blob_store"))]
pub(super) struct BlobStoreOptions {
    /// Store of the duchy's blobs, the same for all its processes; duchies may share one: file:DIR,
    /// s3://BUCKET/PREFIX?region=REGION&endpoint=URL or gs://BUCKET/PREFIX. This or one of the three next flags of a
    /// directory or bucket.
    #[arg(long, value_name = "ADDRESS", group = "blob_store")]
    blobs: Option<BlobAddress>,
    /// Directory of the duchy's blobs. It is created if need be.
    #[arg(long, value_name = "DIR", group = "blob_store")]
    blob_directory: Option<PathBuf>,
    /// Google Cloud Storage bucket of the duchy's blobs.
    #[arg(long, value_name = "BUCKET", group = "blob_store", value_parser = Bucket::new)]
    google_cloud_storage_bucket: Option<Bucket>,
    /// S3 bucket of the duchy's blobs.
    #[arg(long, value_name = "BUCKET", group = "blob_store", value_parser = Bucket::new)]
    s3_storage_bucket: Option<Bucket>,
    /// Project of the Google Cloud Storage bucket. It is not needed: names of buckets are global.
    #[arg(long, value_name = "PROJECT")]
    google_cloud_storage_project: Option<String>,
    /// Region of the S3 bucket. Default: that of the environment, AWS_REGION or AWS_DEFAULT_REGION, or us-east-1.
    #[arg(long, value_name = "REGION")]
    s3_region: Option<String>,
    /// Address of a service that speaks S3's protocol, in place of Amazon's: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
}

/// Where the duchy's blobs are.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("required_blob_store").args(
    ["blobs", "blob_directory", "google_cloud_storage_bucket", "s3_storage_bucket"]).required(true))]
pub(super) struct BlobOptions {
    #[command(flatten)]
    store: BlobStoreOptions,
}

impl BlobStoreOptions {
    /// The store, if one is named.
    pub(super) fn address(&self) -> Result<Option<BlobAddress>, CliError> {
        let (s3, gcs) = (self.s3_storage_bucket.is_some(), self.google_cloud_storage_bucket.is_some());
        for (flag, given, bucket, named) in [
            ("--s3-region", self.s3_region.is_some(), "--s3-storage-bucket", s3),
            ("--s3-endpoint", self.s3_endpoint.is_some(), "--s3-storage-bucket", s3),
            (
                "--google-cloud-storage-project",
                self.google_cloud_storage_project.is_some(),
                "--google-cloud-storage-bucket",
                gcs,
            ),
        ] {
            if given && !named {
                return Err(CliError::flag(flag, format!("goes with {bucket}, which is not given")));
            }
        }
        if let Some(bucket) = &self.s3_storage_bucket {
            let mut bucket = Bucket { region: self.s3_region.clone(), ..bucket.clone() };
            if let Some(endpoint) = &self.s3_endpoint {
                let placed = bucket.with_endpoint(endpoint);
                bucket = placed.map_err(|error| CliError::flag("--s3-endpoint", error.to_string()))?;
            }
            return Ok(Some(BlobAddress::S3(bucket)));
        }
        let bucket = self.google_cloud_storage_bucket.clone().map(BlobAddress::Gcs);
        let directory = self.blob_directory.clone().map(BlobAddress::File);
        Ok(self.blobs.clone().or(directory).or(bucket))
    }

    /// The blobs of `duchy`, if a store is named.
    pub(super) fn open(&self, duchy: &DuchyOptions) -> Result<Option<BlobStore>, CliError> {
        let address = self.address()?;
        Ok(address.map(|address| BlobStore::open(&address, &duchy.duchy_name)).transpose()?)
    }
}

impl BlobOptions {
    /// The blobs of `duchy`.
    pub(super) fn open(&self, duchy: &DuchyOptions) -> Result<BlobStore, CliError> {
        let opened = self.store.open(duchy)?;
        opened.ok_or_else(|| CliError::flag("--blobs", "the duchy's blobs need somewhere to be"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        blobs: BlobOptions,
    }

    fn parse(flags: &[&str]) -> Result<BlobStoreOptions, clap::Error> {
        Cli::try_parse_from([&["process"], flags].concat()).map(|cli| cli.blobs.store)
    }

    #[test]
    fn upstreams_flags_name_what_an_address_names() {
        for (flags, address) in [
            (&["--blob-directory=blobs"][..], "file:blobs"),
            (&["--blobs=gs://bucket1/a"], "gs://bucket1/a"),
            (
                &["--google-cloud-storage-bucket=bucket1", "--google-cloud-storage-project=halo"],
                "gs://bucket1",
            ),
            (&["--s3-storage-bucket=bucket1", "--s3-region=eu-west-1"], "s3://bucket1?region=eu-west-1"),
            (
                &["--s3-storage-bucket=bucket1", "--s3-endpoint=http://localhost:9000"],
                "s3://bucket1?endpoint=http://localhost:9000",
            ),
        ] {
            let named = parse(flags).expect("flags").address().expect("an address").expect("a store");
            assert_eq!(named.to_string(), address);
        }
    }

    #[test]
    fn a_store_is_named_once() {
        for (flags, wrong) in [
            (&[][..], "--blob-directory"),
            (&["--blob-directory=a", "--blobs=file:b"], "cannot be used with"),
            (&["--blobs=ftp://a"], "not of the form"),
            (&["--s3-storage-bucket=A"], "lower-case"),
        ] {
            let refusal = parse(flags).expect_err("refused").to_string();
            assert!(refusal.contains(wrong), "{flags:?}: {refusal}");
        }
        for (flags, wrong) in [
            (["--s3-storage-bucket=bucket1", "--s3-endpoint=minio"], "--s3-endpoint: "),
            (["--blob-directory=a", "--s3-endpoint=http://a:1"], "--s3-endpoint: "),
            (["--blob-directory=a", "--s3-region=eu-west-1"], "--s3-region: "),
            (
                ["--blob-directory=a", "--google-cloud-storage-project=halo"],
                "--google-cloud-storage-project: ",
            ),
        ] {
            let refusal = parse(&flags).expect("flags").address().expect_err("refused").report();
            assert!(refusal.starts_with(wrong), "{flags:?}: {refusal}");
        }
    }
}
