//! Between generated messages and the protocol's own types: what the Kingdom and the database say, as settings, events
//! and states of `halo-protocols`, and back. Nothing here decides what a protocol does.

mod announced;
mod hosted;
mod kingdom;
mod result;
mod ring;
mod share_shuffle;
mod token;

pub use announced::Announced;
pub use hosted::{Hosted, SignedKey};
pub use kingdom::{computation_id, duchy_of, key_set_published, requisition_entries};
pub use ring::{MessageOf, RingProtocol};
pub use share_shuffle::{known_evidence, secret_seeds, seed_details, share_shuffle_details};
pub use token::{evidence, measurement_spec, own_requisition_paths, own_requisitions, requisition_id};

use halo_protocols::liquid_legions::key_set::KeySetError;
use halo_protocols::liquid_legions::{self, SettingError};
use halo_protocols::{hmss, llv2, reach_only_llv2};
use prost::Message as _;

use crate::proto::api::MeasurementSpec;
use crate::protocol_stages::ProtocolError;

/// The largest measurement spec that is looked at, in bytes.
pub const MAXIMUM_SPEC_BYTES: usize = 1 << 20;

/// Why a message says nothing that the protocol can work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A resource name is not of the form expected.
    #[error("`{name}` is not of the form {form}")]
    Name {
        /// The name found.
        name: String,
        /// The form expected.
        form: &'static str,
    },
    /// A part of a message is absent.
    #[error("the computation has no {0}")]
    Missing(&'static str),
    /// The measurement spec is larger than any honest one.
    #[error("the measurement spec has {0} bytes, at most {MAXIMUM_SPEC_BYTES} are accepted")]
    SpecTooLarge(usize),
    /// The measurement spec cannot be read.
    #[error("the measurement spec does not parse")]
    Spec(#[source] prost::DecodeError),
    /// The key for the result cannot be read.
    #[error("the measurement consumer's public key does not parse")]
    PublicKey(#[source] prost::DecodeError),
    /// The key for the result is of a kind that is not known.
    #[error("the measurement consumer's public key is a {0}")]
    PublicKeyType(String),
    /// The protocol is not one that this duchy runs.
    #[error("protocol {0} is not supported by this duchy")]
    Protocol(&'static str),
    /// The measurement cannot be computed by the protocol.
    #[error("a measurement of {0} cannot be computed by this protocol")]
    MeasurementType(&'static str),
    /// Reach and frequency need frequencies to tell apart.
    #[error("maximum frequency {0} is not above 1")]
    MaximumFrequency(i32),
    /// A duchy takes part that has no part in the protocol by this duchy's setup.
    #[error("duchy {0} takes part, which has no part in this protocol here")]
    Participant(String),
    /// The computation is without noise, and this duchy takes part in none of that kind.
    #[error(
        "the computation asks for no noise; this duchy was not started with --insecure-dev-allow-no-noise"
    )]
    NoiseMissing,
    /// The parameters of a Liquid Legions protocol are refused.
    #[error(transparent)]
    Setting(SettingError),
    /// The parameters of a share shuffle are refused.
    #[error(transparent)]
    ShareShuffleSetting(hmss::SettingError),
    /// A participant has not published its key.
    #[error("duchy {0} has published no key for this protocol")]
    KeyMissing(String),
    /// The stored stage or details are of another protocol.
    #[error(transparent)]
    Stored(#[from] ProtocolError),
    /// The stored details lack what the stage of Liquid Legions v2 needs.
    #[error(transparent)]
    Details(#[from] liquid_legions::DetailsError<llv2::Stage>),
    /// The stored details lack what the stage of reach-only Liquid Legions v2 needs.
    #[error(transparent)]
    ReachOnlyDetails(#[from] liquid_legions::DetailsError<reach_only_llv2::Stage>),
    /// The stored details lack what the stage of a share shuffle needs.
    #[error(transparent)]
    ShareShuffleDetails(#[from] hmss::DetailsError),
    /// A stored key cannot be read.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

impl From<SettingError> for ConvertError {
    fn from(error: SettingError) -> Self {
        match error {
            SettingError::NoiseMissing => Self::NoiseMissing,
            other => Self::Setting(other),
        }
    }
}

impl From<hmss::SettingError> for ConvertError {
    fn from(error: hmss::SettingError) -> Self {
        match error {
            hmss::SettingError::NoiseMissing => Self::NoiseMissing,
            other => Self::ShareShuffleSetting(other),
        }
    }
}

/// Reads a measurement spec.
fn parse_spec(bytes: &[u8]) -> Result<MeasurementSpec, ConvertError> {
    if bytes.len() > MAXIMUM_SPEC_BYTES {
        return Err(ConvertError::SpecTooLarge(bytes.len()));
    }
    MeasurementSpec::decode(bytes).map_err(ConvertError::Spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The libraries have no flags; an operator who reads the reason wants to know which one it is.
    #[test]
    fn a_refusal_for_lack_of_noise_names_the_flag() {
        let flag = "--insecure-dev-allow-no-noise";
        let missing = [
            ConvertError::from(SettingError::NoiseMissing),
            ConvertError::from(hmss::SettingError::NoiseMissing),
        ];
        for error in missing {
            assert!(error.to_string().contains(flag), "{error}");
        }
        let others = [
            ConvertError::from(SettingError::DuchyCount(1)),
            ConvertError::from(hmss::SettingError::NoRequisitions),
        ];
        for error in others {
            assert!(!error.to_string().contains(flag), "{error}");
        }
    }
}
