//! [`ShareShuffleError`]: what is wrong with shares and the ring they live in.

use halo_crypto::prg::{DrawError, PrngSeedError};
use halo_crypto::ring::RingError;
use halo_crypto::secret_sharing::SplitError;
use halo_crypto::shuffle::TooManyElements;

use crate::kernel::Code;

/// Why a kernel of the share shuffle refuses a request; part of [`KernelError`](crate::kernel::KernelError).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareShuffleError {
    /// The modulus is none that values can be drawn for.
    #[error("ring_modulus: {0}")]
    Modulus(#[source] RingError),
    /// The ring has no room for all sums and the sentinel above them.
    #[error("ring_modulus {modulus} must be greater than maximum_combined_frequency {maximum} plus one")]
    SmallModulus {
        /// The modulus.
        modulus: u32,
        /// The largest sum of frequencies.
        maximum: u32,
    },
    /// Only in a field does a product of values other than 0 never become 0.
    #[error("ring_modulus {0} is no prime, which counting reach alone needs")]
    CompositeModulus(u32),
    /// Noise parameters are given together with the mechanism that adds none.
    #[error("{0} is set, but noise_mechanism is NONE")]
    UnexpectedNoise(&'static str),
    /// More registers, with those of the noise, than can be shuffled.
    #[error("registers with noise: {0}")]
    TooManyRegisters(#[from] TooManyElements),
    /// More values than a generator gives at once.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The common seed has another length than a seed.
    #[error("common_random_seed: {0}")]
    CommonSeed(#[source] PrngSeedError),
    /// It is not said which of the two workers this is, which decides where its noise goes.
    #[error("the non-aggregator order is neither FIRST (1) nor SECOND (2)")]
    Order,
    /// There is nothing to add up.
    #[error("there are no shares")]
    NoShares,
    /// Another number of shares than there are workers.
    #[error("{0} shares, the two workers send 2")]
    ShareCount(usize),
    /// A share is neither a vector nor a seed.
    #[error("share {0} is neither a vector nor a seed")]
    ShareType(usize),
    /// A share is a seed of another length than a seed has.
    #[error("share {share}: {reason}")]
    ShareSeed {
        /// Which share, counted from 0.
        share: usize,
        /// What is wrong with it.
        #[source]
        reason: PrngSeedError,
    },
    /// A share has another number of values than there are registers.
    #[error("share {share} has {found} values, expected {expected}")]
    ShareLength {
        /// Which share, counted from 0.
        share: usize,
        /// Registers of the vector, noise included where shares have it.
        expected: usize,
        /// Values it has.
        found: usize,
    },
    /// A value of a share is not of the ring.
    #[error("share {share}: {reason}")]
    ShareValue {
        /// Which share, counted from 0.
        share: usize,
        /// Which value of it.
        #[source]
        reason: RingError,
    },
    /// The bytes of a share are no frequency vector.
    #[error("share {0} is no serialised frequency vector")]
    Malformed(usize),
    /// A vector that cannot be split into shares.
    #[error("data: {0}")]
    Split(#[from] SplitError),
    /// A sum that no honest parties arrive at: the shares do not belong together, or somebody has changed one.
    #[error("register {register}: the sum is neither the sentinel {sentinel} nor at most {maximum}")]
    CombinedValue {
        /// Which register of the shuffled vector, counted from 0.
        register: usize,
        /// The largest sum of frequencies.
        maximum: u32,
        /// What filler registers hold.
        sentinel: u32,
    },
}

impl ShareShuffleError {
    /// The status upstream answers in this case, or should.
    pub const fn status(&self) -> Code {
        match self {
            Self::CombinedValue { .. } => Code::Internal,
            Self::Modulus(_)
            | Self::SmallModulus { .. }
            | Self::CompositeModulus(_)
            | Self::UnexpectedNoise(_)
            | Self::TooManyRegisters(_)
            | Self::Draw(_)
            | Self::CommonSeed(_)
            | Self::Order
            | Self::NoShares
            | Self::ShareCount(_)
            | Self::ShareType(_)
            | Self::ShareSeed { .. }
            | Self::ShareLength { .. }
            | Self::ShareValue { .. }
            | Self::Malformed(_)
            | Self::Split(_) => Code::InvalidArgument,
        }
    }

    /// The share that is refused, counted from 0, if it is one.
    pub const fn share(&self) -> Option<usize> {
        match self {
            Self::ShareType(share)
            | Self::ShareSeed { share, .. }
            | Self::ShareLength { share, .. }
            | Self::ShareValue { share, .. }
            | Self::Malformed(share) => Some(*share),
            _ => None,
        }
    }
}
