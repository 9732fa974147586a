//! [`KernelError`]: why a request is refused.

use halo_crypto::elgamal::{
    CombineKeysError, DecodeCiphertextReason, KeyPairError, PublicKeyError, RelatedKeysError,
};
use halo_crypto::noise::NoiseParametersError;
use halo_crypto::parallel::Cancelled;

use crate::estimate::EstimateError;
use crate::hmss::ShareShuffleError;

/// Why a kernel refuses a request. All but [`KernelError::Cancelled`] are permanent: the same request is refused
/// again.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The work was cancelled through its control.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The request names a group that is not supported, or another than it was computed in.
    #[error("curve id {curve_id} is not supported here")]
    UnsupportedCurve {
        /// The id found.
        curve_id: i64,
    },
    /// A parallelism that is not positive.
    #[error("parallelism {0} is not greater than zero")]
    Parallelism(i32),
    /// A field that the method needs is not set.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number that the method cannot work with.
    #[error("{field} is {found}, expected {expected}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The value found.
        found: i64,
        /// What was expected.
        expected: &'static str,
    },
    /// A public key that is not usable.
    #[error("{field}: {reason}")]
    PublicKey {
        /// The field that holds it.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        reason: PublicKeyError,
    },
    /// A key pair whose halves do not belong together.
    #[error("{field}: {reason}")]
    KeyPair {
        /// The field that holds it.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        reason: KeyPairError,
    },
    /// Public keys whose generators differ.
    #[error("the generator of public key {0} is not that of the first")]
    GeneratorsDiffer(usize),
    /// Public keys that have no sum to encrypt under.
    #[error(transparent)]
    CombineKeys(#[from] CombineKeysError),
    /// Public keys of which one is made from another.
    #[error(transparent)]
    RelatedKeys(#[from] RelatedKeysError),
    /// A vector that does not consist of whole records.
    #[error("{field}: {length} bytes are not divisible into records of {record_length}")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The length of one record.
        record_length: usize,
    },
    /// Bytes of a vector that encode no ciphertext.
    #[error("{field}, record {record}, ciphertext {column} of it: {reason}")]
    Ciphertext {
        /// The field.
        field: &'static str,
        /// Which record, counted from 0.
        record: usize,
        /// Which of the record's ciphertexts, counted from 0.
        column: usize,
        /// What is wrong with it.
        #[source]
        reason: DecodeCiphertextReason,
    },
    /// A computed point is the identity, which has no encoding: the record was crafted, or keys do not fit.
    #[error("{field}, record {record}: a result is the identity, which has no encoding")]
    Identity {
        /// The field with the record that led to it.
        field: &'static str,
        /// Which record, counted from 0.
        record: usize,
    },
    /// The noise parameters do not define any noise.
    #[error("{field}: {reason}")]
    Noise {
        /// The field that holds them.
        field: &'static str,
        /// What is wrong with them.
        #[source]
        reason: NoiseParametersError,
    },
    /// The answer would hold more than a message may.
    #[error("{records} {what} do not fit a message of {limit} bytes")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many records.
        records: u64,
        /// The most bytes they may take.
        limit: u64,
    },
    /// A matrix that does not consist of whole rows.
    #[error("{cells} cells are not divisible into rows of maximum_frequency - 1 = {row}")]
    MatrixShape {
        /// Cells in the matrix.
        cells: usize,
        /// Cells that a row has.
        row: usize,
    },
    /// There is nothing that a distribution could be relative to.
    #[error("there is neither actual data nor effective noise in the request")]
    NothingCounted,
    /// No reach can be estimated.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// A field that must hold exactly one ciphertext holds something else.
    #[error("{field}: {length} bytes are not one ciphertext of {expected}")]
    NotOneCiphertext {
        /// The field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The length of a ciphertext.
        expected: usize,
    },
    /// The excessive noise ciphertext that reached the aggregator cannot be one ciphertext.
    #[error("the excessive noise ciphertext has {length} bytes, a ciphertext has {expected}")]
    ExcessiveNoiseLength {
        /// Its length.
        length: usize,
        /// The length of a ciphertext.
        expected: usize,
    },
    /// The excessive noise ciphertext opens to no number that the parameters allow.
    #[error("the excessive noise ciphertext opens to no number from 0 to {maximum}")]
    ExcessiveNoiseUnknown {
        /// The largest number possible.
        maximum: u64,
    },
    /// Shares, or the ring that they live in, are refused.
    #[error(transparent)]
    ShareShuffle(#[from] ShareShuffleError),
    /// A register of a plain sketch does not fit the sketch's configuration.
    #[error("register {register} has {found} values, the configuration {expected}")]
    ValueCount {
        /// Which register, counted from 0.
        register: usize,
        /// Values it has.
        found: usize,
        /// Values that the configuration has.
        expected: usize,
    },
    /// A value of a plain sketch that cannot be encrypted.
    #[error("register {register}, value {value}: {reason}")]
    Value {
        /// Which register, counted from 0.
        register: usize,
        /// Which of its values, counted from 0.
        value: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A status as gRPC numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// The request is wrong.
    InvalidArgument = 3,
    /// What the request leads to cannot be expressed.
    Internal = 13,
}

impl KernelError {
    /// The same error with its record numbered as in the whole field, where a selection of records was worked on.
    #[must_use]
    pub(crate) fn renumbered(mut self, number: impl Fn(usize) -> usize) -> Self {
        if let Self::Ciphertext { record, .. } | Self::Identity { record, .. } = &mut self {
            *record = number(*record);
        }
        self
    }

    /// Whether what is wrong is in the message that a stage reads, and so with whoever sent that.
    pub(crate) const fn is_of_message(&self) -> bool {
        matches!(
            self,
            Self::Length { .. }
                | Self::Ciphertext { .. }
                | Self::MatrixShape { .. }
                | Self::NotOneCiphertext { .. }
                | Self::ExcessiveNoiseLength { .. }
        )
    }

    /// The status upstream answers in this case, or should.
    pub const fn status(&self) -> Code {
        match self {
            Self::Cancelled(_) => Code::Cancelled,
            Self::ShareShuffle(error) => error.status(),
            Self::UnsupportedCurve { .. }
            | Self::Parallelism(_)
            | Self::Missing(_)
            | Self::OutOfRange { .. }
            | Self::PublicKey { .. }
            | Self::KeyPair { .. }
            | Self::GeneratorsDiffer(_)
            | Self::CombineKeys(CombineKeysError::NoKeys)
            | Self::RelatedKeys(_)
            | Self::Length { .. }
            | Self::Ciphertext { .. }
            | Self::Noise { .. }
            | Self::TooLarge { .. }
            | Self::MatrixShape { .. }
            | Self::NotOneCiphertext { .. }
            | Self::NothingCounted
            | Self::Estimate(_)
            | Self::Value { .. } => Code::InvalidArgument,
            Self::CombineKeys(_)
            | Self::Identity { .. }
            | Self::ExcessiveNoiseLength { .. }
            | Self::ExcessiveNoiseUnknown { .. }
            | Self::ValueCount { .. } => Code::Internal,
        }
    }
}
