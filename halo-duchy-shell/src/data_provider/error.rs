//! Why a requisition was not fulfilled, and whether to say so to the Kingdom.

use halo_protocols::data_provider::{FrequencyVectorError, IntervalError, SketchParametersError};
use halo_protocols::kernel::KernelError;
use tonic::Status;

use crate::consent::ConsentError;
use crate::hybrid_encryption::HybridEncryptionError;
use crate::party_certificates::PartyCertificateError;
use crate::proto::api::requisition::refusal::Justification;
use crate::x509::CertificateError;

/// Why a requisition was not fulfilled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataProviderError {
    /// The Kingdom refused a call or was not reached.
    #[error("{call}: {status}")]
    Kingdom {
        /// The call.
        call: &'static str,
        /// The answer.
        status: Status,
    },
    /// The duchy did not take the data.
    #[error("FulfillRequisition: {0}")]
    Duchy(#[source] Status),
    /// A part of the requisition is missing or no message.
    #[error("the requisition's {0} is missing or malformed")]
    Malformed(&'static str),
    /// A certificate is not to be relied on.
    #[error(transparent)]
    Certificate(#[from] PartyCertificateError),
    /// A signature does not verify.
    #[error("the signature of {what}: {source}")]
    Signature {
        /// What was signed.
        what: String,
        /// Why it does not verify.
        source: CertificateError,
    },
    /// The requisition spec is not encrypted for us.
    #[error("the requisition spec: {0}")]
    Decrypt(#[source] HybridEncryptionError),
    /// The nonce is 0, or the measurement's spec does not list its hash.
    #[error("the requisition spec's nonce is not one that the measurement spec lists")]
    Nonce,
    /// The two specs name different keys for the result.
    #[error("the requisition spec and the measurement spec name different keys for the result")]
    OtherResultKey,
    /// Only a part of the events is asked for, which this client cannot tell apart.
    #[error("only unfiltered events can be given")]
    Filtered,
    /// What is asked for is neither reach nor reach and frequency.
    #[error("only reach, and reach and frequency, can be measured")]
    MeasurementType,
    /// A number in the specs is out of its range.
    #[error("{field} is {value}")]
    OutOfRange {
        /// Which number.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The VID sampling interval is no interval.
    #[error("the VID sampling interval: {0}")]
    Interval(#[from] IntervalError),
    /// The requisition asks for a frequency vector that cannot be.
    #[error("the frequency vector: {0}")]
    FrequencyVector(#[from] FrequencyVectorError),
    /// The shape of sketches is none.
    #[error("sketch params: {0}")]
    SketchParameters(#[from] SketchParametersError),
    /// The measurement is to be computed with a protocol this client does not speak.
    #[error("the requisition's protocol, or that of its duchies' keys, is not supported")]
    Protocol,
    /// The measurement is to be computed by a share shuffle, for which this client lacks the population, its own signing
    /// key and the workers.
    #[error("this data provider is not set up for share shuffles")]
    NoShareShuffle,
    /// It must be clear which worker gets the vector and which the seed.
    #[error("{keys} of {duchies} duchies have a key, expected one of two")]
    Workers {
        /// Duchies named.
        duchies: usize,
        /// Those with a key.
        keys: usize,
    },
    /// This client does not know where a duchy is.
    #[error("no fulfillment server of duchy {0} is known")]
    UnknownDuchy(String),
    /// The key of a duchy is signed, but nothing can be encrypted for it.
    #[error("the key of duchy {duchy}: {source}")]
    DuchyKey {
        /// Whose key.
        duchy: String,
        /// Why.
        source: ConsentError,
    },
    /// The frequency vector cannot be split into shares.
    #[error("the frequency vector: {0}")]
    Shares(#[source] KernelError),
    /// The seed cannot be signed or encrypted.
    #[error("the seed: {0}")]
    Seed(#[source] ConsentError),
    /// The duchies' keys do not combine.
    #[error("the duchies' keys: {0}")]
    Keys(#[source] KernelError),
    /// The sketch cannot be encrypted.
    #[error("the sketch: {0}")]
    Sketch(#[source] KernelError),
    /// The worker that encrypts ended without an answer.
    #[error("the encryption was interrupted")]
    Interrupted,
}

impl DataProviderError {
    /// How to refuse a requisition for this reason; none if it may be fulfilled later.
    pub fn justification(&self) -> Option<Justification> {
        match self {
            Self::Kingdom { .. }
            | Self::Duchy(_)
            | Self::UnknownDuchy(_)
            | Self::Interrupted
            | Self::Certificate(PartyCertificateError::Kingdom { .. }) => None,
            Self::Certificate(_)
            | Self::Signature { .. }
            | Self::Decrypt(_)
            | Self::Nonce
            | Self::OtherResultKey
            | Self::Workers { .. }
            | Self::DuchyKey { .. }
            | Self::Keys(_) => Some(Justification::ConsentSignalInvalid),
            Self::Malformed(_)
            | Self::OutOfRange { .. }
            | Self::Interval(_)
            | Self::FrequencyVector(_)
            | Self::SketchParameters(_) => Some(Justification::SpecInvalid),
            Self::Filtered
            | Self::MeasurementType
            | Self::Protocol
            | Self::NoShareShuffle
            | Self::Sketch(_)
            | Self::Shares(_)
            | Self::Seed(_) => Some(Justification::Unfulfillable),
        }
    }
}
