//! MinIO, which speaks S3's protocol: one for a test process, with one bucket.

#[allow(clippy::duplicate_mod, reason = "each server of the tests brings what runs its script")]
mod script;

use script::Script;

/// The only bucket.
pub const BUCKET: &str = "halo-test";
/// Throw-away values, which minio.sh sets.
pub const ACCESS_KEY_ID: &str = "testtest";
/// As [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "testtest123";

/// A running MinIO, which ends with the process.
pub struct Minio(Script);

impl Minio {
    /// Starts one; without MinIO on the machine, `None`, told to `.ci/run`.
    pub fn start() -> Option<Self> {
        Script::start("minio.sh", &[BUCKET], "minio").map(Self)
    }

    /// Where it listens: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.0.address
    }
}
