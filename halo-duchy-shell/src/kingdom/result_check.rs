//! Whether a result is what its measurement consumer asked for. The real Kingdom cannot tell; this one may be told the
//! keys.

use super::Violation;
use super::resource_name::ExternalId;
use super::state::{self, Measurement, State};
use crate::consent::{self, ConsentError};
use crate::hybrid_encryption::PrivateKeyset;
use crate::proto::api::measurement::Result as MeasurementResult;
use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::api::{EncryptionPublicKey, MeasurementSpec};
use crate::proto::system::SetComputationResultRequest;
use crate::x509;

/// What is wrong with the result that `duchy` sets, if the Kingdom was told the key that it should be encrypted for.
pub fn violation(
    state: &State,
    computation: ExternalId,
    measurement: &Measurement,
    duchy: &str,
    request: &SetComputationResultRequest,
) -> Option<Violation> {
    let keyset = result_key(state, measurement)?;
    let known = state.records.certificates.get(&request.aggregator_certificate)?;
    let duchy = duchy.to_owned();
    let Ok(certificate) = x509::parse(&known.certificate.x509_der) else {
        return Some(Violation::ResultNotSigned { computation, duchy });
    };
    match consent::open_result(&request.encrypted_result, keyset, &certificate) {
        Ok(result) if is_of_type(&result, &measurement.spec) => None,
        Ok(_) | Err(ConsentError::MalformedResult) => Some(Violation::ResultType { computation, duchy }),
        Err(ConsentError::Encryption(_)) => Some(Violation::ResultNotDecrypted { computation, duchy }),
        Err(_) => Some(Violation::ResultNotSigned { computation, duchy }),
    }
}

/// Whether the result that is set is the one that is there: the same bytes or, if the Kingdom was told the key, the same
/// inside, which a duchy encrypts anew when it was stopped in between.
pub fn is_repetition(
    state: &State,
    measurement: &Measurement,
    known: &state::MeasurementResult,
    request: &SetComputationResultRequest,
) -> bool {
    let open = |encrypted: &[u8], certificate: &str| {
        let keyset = result_key(state, measurement)?;
        let known = state.records.certificates.get(certificate)?;
        let certificate = x509::parse(&known.certificate.x509_der).ok()?;
        consent::open_result(encrypted, keyset, &certificate).ok()
    };
    known.encrypted_result == request.encrypted_result
        || open(&known.encrypted_result, &known.aggregator_certificate).is_some_and(|result| {
            open(&request.encrypted_result, &request.aggregator_certificate) == Some(result)
        })
}

/// The key that the measurement's spec names.
fn result_key<'a>(state: &'a State, measurement: &Measurement) -> Option<&'a PrivateKeyset> {
    let keys = state.result_keys.get(&format!("measurementConsumers/{}", measurement.consumer))?;
    let named = measurement.spec.measurement_public_key.as_ref()?;
    let named: EncryptionPublicKey = prost::Message::decode(named.value.as_slice()).ok()?;
    let named = consent::public_keyset(&named).ok()?;
    keys.iter().find(|keyset| keyset.public() == named)
}

fn is_of_type(result: &MeasurementResult, spec: &MeasurementSpec) -> bool {
    let has_frequency = match &spec.measurement_type {
        Some(MeasurementType::ReachAndFrequency(_)) => true,
        Some(MeasurementType::Reach(_)) => false,
        _ => return false,
    };
    result.reach.is_some() && result.frequency.is_some() == has_frequency
}
