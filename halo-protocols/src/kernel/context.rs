//! [`KernelContext`]: where a kernel runs, and where its randomness comes from.

use halo_crypto::Group;
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;
use sha2::{Digest, Sha256};

use super::KernelError;

/// The longest vector that a kernel emits unless told otherwise: what fits one of upstream's messages.
pub const MAXIMUM_MESSAGE_BYTES: u64 = i32::MAX as u64;

/// What a kernel is handed besides its request.
///
/// Every random choice is a function of the seed, the method, the request and a position in it. The same request
/// with the same seed therefore gives the same bytes at any number of threads, and another request shares no
/// randomness with it.
///
/// # Security
/// A seed belongs to one computation at one duchy (or data provider). Two duchies, or two computations of one duchy, must
/// never use the same: equal requests would then be answered with equal secrets. Stages of one computation may.
///
/// It is random, or derived from a secret of that computation which only this duchy has, such as its
/// [secret key](crate::liquid_legions::RingComputation::local_secret_key). With a random one a repeated attempt draws
/// other noise, so its output must be kept before it is sent; with a derived one it draws the same.
#[derive(Clone, Debug)]
pub struct KernelContext {
    executor: Executor,
    seed: StreamSeed,
    maximum_message_bytes: u64,
}

impl KernelContext {
    /// Runs on `executor` with random choices derived from `seed`.
    pub const fn new(executor: Executor, seed: StreamSeed) -> Self {
        Self { executor, seed, maximum_message_bytes: MAXIMUM_MESSAGE_BYTES }
    }

    /// The same context with another bound on the vectors that kernels emit.
    #[must_use]
    pub const fn with_maximum_message_bytes(mut self, bytes: u64) -> Self {
        self.maximum_message_bytes = bytes;
        self
    }

    /// Where the work runs, and how it is cancelled and watched.
    pub const fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The `parallelism` to state in requests: how many threads work at once.
    pub fn parallelism(&self) -> i32 {
        i32::try_from(self.executor.threads()).unwrap_or(i32::MAX)
    }

    /// The seed of all random streams for one request to `method` in the group `G`; `inputs` are all its fields.
    pub(crate) fn streams<G: Group>(&self, method: &str, inputs: &[&[u8]]) -> StreamSeed {
        let mut digest = Sha256::new();
        for input in [method.as_bytes(), G::NAME.as_bytes()].iter().chain(inputs) {
            digest.update((input.len() as u64).to_be_bytes());
            digest.update(input);
        }
        self.seed.derive(&digest.finalize())
    }

    /// The seed of all random streams for one request of a method without a group; `digest` is that of the method's
    /// name and what its request says.
    pub(crate) fn derive(&self, digest: &[u8]) -> StreamSeed {
        self.seed.derive(digest)
    }

    /// Checks that `records` of `record_length` bytes may be emitted, before anything is allocated for them.
    pub(crate) fn require_room(
        &self,
        what: &'static str,
        records: u64,
        record_length: usize,
    ) -> Result<usize, KernelError> {
        let too_large = || KernelError::TooLarge { what, records, limit: self.maximum_message_bytes };
        let bytes = records.checked_mul(record_length as u64).ok_or_else(too_large)?;
        if bytes > self.maximum_message_bytes {
            return Err(too_large());
        }
        usize::try_from(bytes).map_err(|_| too_large())
    }
}
