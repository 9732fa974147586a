//! What the body of a fulfillment must look like, and what is recorded with it, by the computation's protocol.

use halo_crypto::ring::RingModulus;
use halo_crypto::shuffle::MAX_ELEMENTS;
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use tonic::Status;

use super::header::Header;
use super::registers::{Batch, Registers, RegistersError};
use super::shares::{Shares, SharesError};
use crate::kingdom::resource_name::CertificateName;
use crate::proto::api::fulfill_requisition_request::header::{
    HonestMajorityShareShuffle, Protocol as HeaderProtocol,
};
use crate::proto::api::protocol_config::protocol::Protocol as ConfiguredProtocol;
use crate::proto::internal::computation_details::Protocol as ProtocolDetails;
use crate::proto::internal::requisition_details::RequisitionProtocol;
use crate::proto::internal::requisition_details::requisition_protocol::{
    HonestMajorityShareShuffle as SeedDetails, Protocol as RequisitionDetailsProtocol,
};
use crate::proto::internal::{ComputationToken, RequisitionMetadata};

/// The largest sealed seed, in bytes: 48 bytes with a signature and an encryption take a few hundred, or more with a
/// large RSA key.
const MAXIMUM_SEED_BYTES: usize = 16 << 10;

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// With a sketch.
    #[error(transparent)]
    Registers(#[from] RegistersError),
    /// With a share of a frequency vector.
    #[error(transparent)]
    Shares(#[from] SharesError),
}

/// The check of a body while it arrives.
#[derive(Debug)]
pub enum Body {
    /// An encrypted sketch.
    Sketch(Registers),
    /// A share of a frequency vector.
    Shares(Shares),
}

/// What a computation wants for a requisition.
#[derive(Debug)]
pub struct Expected {
    pub body: Body,
    /// What is recorded beside the body.
    pub details: Option<RequisitionProtocol>,
}

impl Body {
    /// Takes the next bytes. Returns what is due to be checked on another thread.
    ///
    /// # Errors
    /// What is found wrong at once.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<Batch>, BodyError> {
        match self {
            Self::Sketch(registers) => Ok(registers.push(chunk)?),
            Self::Shares(shares) => {
                shares.push(chunk)?;
                Ok(None)
            }
        }
    }

    /// Ends the body. Returns what is still to be checked.
    ///
    /// # Errors
    /// If the body is not whole.
    pub fn finish(self) -> Result<Option<Batch>, BodyError> {
        match self {
            Self::Sketch(registers) => Ok(registers.finish()?),
            Self::Shares(shares) => {
                shares.finish()?;
                Ok(None)
            }
        }
    }
}

impl Expected {
    /// Checks that the header is for the computation's protocol, and has what that needs, at `duchy`.
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    pub fn new(
        token: &ComputationToken,
        requisition: &RequisitionMetadata,
        header: &Header,
        duchy: &str,
    ) -> Result<Self, Status> {
        let details = token.computation_details.as_ref().and_then(|details| details.protocol.as_ref());
        match details {
            Some(ProtocolDetails::LiquidLegionsV2(details)) => {
                let ours = |protocol: &ConfiguredProtocol| {
                    matches!(protocol, ConfiguredProtocol::LiquidLegionsV2(_))
                };
                require_protocol(header, "Liquid Legions v2", ours)?;
                let parameters = details.parameters.as_ref();
                let parameters = parameters.map(|known| (known.elliptic_curve_id, known.sketch_parameters));
                sketch(header, "Liquid Legions v2", parameters.unwrap_or_default(), Registers::of_curve)
            }
            Some(ProtocolDetails::ReachOnlyLiquidLegionsV2(details)) => {
                let name = "reach-only Liquid Legions v2";
                let ours = |protocol: &ConfiguredProtocol| {
                    matches!(protocol, ConfiguredProtocol::ReachOnlyLiquidLegionsV2(_))
                };
                require_protocol(header, name, ours)?;
                let parameters = details.parameters.as_ref();
                let parameters = parameters.map(|known| (known.elliptic_curve_id, known.sketch_parameters));
                sketch(header, name, parameters.unwrap_or_default(), Registers::reach_only_of_curve)
            }
            Some(ProtocolDetails::HonestMajorityShareShuffle(details)) => {
                let ours = |protocol: &ConfiguredProtocol| {
                    matches!(protocol, ConfiguredProtocol::HonestMajorityShareShuffle(_))
                };
                require_protocol(header, "the honest-majority share shuffle", ours)?;
                let modulus = details.parameters.as_ref().map_or(0, |parameters| parameters.ring_modulus);
                shares(requisition, header, modulus, duchy)
            }
            Some(ProtocolDetails::TrusTee(_)) | None => {
                Err(Status::unimplemented("the computation's protocol is not supported here"))
            }
        }
    }
}

/// Checks that the configuration of the data provider, if it sent one, has the computation's protocol.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn require_protocol(
    header: &Header,
    name: &str,
    ours: impl FnMut(&ConfiguredProtocol) -> bool,
) -> Result<(), Status> {
    if header.configured.is_empty() || header.configured.iter().any(ours) {
        Ok(())
    } else {
        Err(Status::invalid_argument(format!("protocol_config does not have {name}")))
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn sketch(
    header: &Header,
    name: &str,
    (curve_id, parameters): (i32, Option<LiquidLegionsSketchParameters>),
    registers: impl FnOnce(i64, u64) -> Option<Registers>,
) -> Result<Expected, Status> {
    if header.protocol.is_some() {
        return Err(Status::invalid_argument(format!("the header is for another protocol than {name}")));
    }
    let size = parameters.and_then(|parameters| u64::try_from(parameters.size).ok()).filter(|size| *size > 0);
    let size = size.ok_or_else(|| Status::internal("the computation has no size of sketches"))?;
    let registers = registers(curve_id.into(), size)
        .ok_or_else(|| Status::internal(format!("the computation's curve {curve_id} is not supported")))?;
    Ok(Expected { body: Body::Sketch(registers), details: None })
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn shares(
    requisition: &RequisitionMetadata,
    header: &Header,
    modulus: i32,
    duchy: &str,
) -> Result<Expected, Status> {
    let invalid = |reason: &str| Err(Status::invalid_argument(reason));
    let HonestMajorityShareShuffle { secret_seed, register_count, data_provider_certificate } =
        match &header.protocol {
            Some(HeaderProtocol::HonestMajorityShareShuffle(protocol)) => protocol,
            Some(_) => {
                return invalid("the header is for another protocol than the honest-majority share shuffle");
            }
            None => return invalid("honest_majority_share_shuffle is missing"),
        };
    let seed = secret_seed.as_ref().map_or(&[][..], |seed| &seed.ciphertext);
    if seed.is_empty() {
        return invalid("honest_majority_share_shuffle.secret_seed is missing");
    }
    if seed.len() > MAXIMUM_SEED_BYTES {
        return Err(Status::invalid_argument(format!(
            "honest_majority_share_shuffle.secret_seed has {} bytes, at most {MAXIMUM_SEED_BYTES} are accepted",
            seed.len()
        )));
    }
    // More cannot be shuffled, so that the measurement would fail when everybody has sent.
    let registers =
        u64::try_from(*register_count).ok().filter(|count| (1..=MAX_ELEMENTS as u64).contains(count));
    let Some(registers) = registers else {
        return Err(Status::invalid_argument(format!(
            "honest_majority_share_shuffle.register_count is {register_count}, expected 1 to {MAX_ELEMENTS}"
        )));
    };
    let certificate = CertificateName::parse(data_provider_certificate);
    if certificate.is_none_or(|certificate| certificate.owner != header.data_provider) {
        return Err(Status::invalid_argument(format!(
            "honest_majority_share_shuffle.data_provider_certificate must be {}/certificates/{{certificate}}",
            header.data_provider
        )));
    }
    // The Kingdom decides at which worker: the other one is to get the seed.
    let fulfilling = requisition.details.as_ref().map_or("", |details| &details.external_fulfilling_duchy_id);
    if fulfilling != duchy {
        return invalid("the requisition is to be fulfilled at another duchy");
    }
    let modulus = u32::try_from(modulus).ok().and_then(|modulus| RingModulus::new(modulus).ok());
    let modulus = modulus.ok_or_else(|| Status::internal("the computation has no ring modulus"))?;
    let details = SeedDetails {
        secret_seed_ciphertext: seed.to_vec(),
        register_count: *register_count,
        data_provider_certificate: data_provider_certificate.clone(),
    };
    Ok(Expected {
        body: Body::Shares(Shares::new(modulus.get(), registers)),
        details: Some(RequisitionProtocol {
            protocol: Some(RequisitionDetailsProtocol::HonestMajorityShareShuffle(details)),
        }),
    })
}

#[cfg(test)]
mod tests;
