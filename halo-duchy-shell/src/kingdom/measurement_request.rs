//! Checks a measurement that somebody wants, before anything is kept of it.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::Any;

use super::certificate_name;
use super::config::Protocol;
use super::error::KingdomError;
use super::resource_name::{CertificateName, single};
use crate::proto::api::measurement::DataProviderEntry;
use crate::proto::api::measurement_spec::{MeasurementType, VidSamplingInterval};
use crate::proto::api::{
    DifferentialPrivacyParams, EncryptedMessage, Measurement, MeasurementSpec, SignedMessage,
};

/// The largest serialised measurement spec, in bytes.
pub const MAXIMUM_SPEC_BYTES: usize = 1 << 20;

/// The most data providers of a measurement.
pub const MAXIMUM_DATA_PROVIDERS: usize = 1000;

const NONCE_HASH_BYTES: usize = 32;

/// A request that passed.
pub struct MeasurementRequest {
    pub consumer_certificate: CertificateName,
    pub reference_id: String,
    pub signed_spec: SignedMessage,
    pub spec_bytes: Vec<u8>,
    pub spec: MeasurementSpec,
    pub data_providers: Vec<DataProviderRequest>,
}

/// What one data provider is to be asked.
pub struct DataProviderRequest {
    pub data_provider: String,
    pub certificate: CertificateName,
    pub public_key: Option<Any>,
    pub encrypted_spec: EncryptedMessage,
    pub nonce_hash: Vec<u8>,
}

impl MeasurementRequest {
    /// Checks what `consumer` (a measurement consumer's id) asks for.
    pub fn check(measurement: Measurement, consumer: &str) -> Result<Self, KingdomError> {
        let field = "measurement.measurement_consumer_certificate";
        let consumer_certificate = certificate_name(field, &measurement.measurement_consumer_certificate)?;
        if single(&consumer_certificate.owner, "measurementConsumers") != Some(consumer) {
            return Err(KingdomError::invalid(field, "belongs to another"));
        }
        let missing = || KingdomError::invalid("measurement.measurement_spec", "missing");
        let signed_spec = measurement.measurement_spec.ok_or_else(missing)?;
        let spec_bytes = signed_bytes(&signed_spec)?;
        let spec =
            MeasurementSpec::decode(spec_bytes.as_slice()).map_err(|_| invalid_spec("not a message"))?;
        check_spec(&spec)?;

        let entries = measurement.data_providers;
        if entries.is_empty() || entries.len() > MAXIMUM_DATA_PROVIDERS {
            let problem = format!("{} entries, expected 1 to {MAXIMUM_DATA_PROVIDERS}", entries.len());
            return Err(KingdomError::invalid("measurement.data_providers", problem));
        }
        let data_providers =
            entries.into_iter().map(DataProviderRequest::check).collect::<Result<Vec<_>, _>>()?;
        check_entries(&data_providers, &spec)?;
        Ok(Self {
            consumer_certificate,
            reference_id: measurement.measurement_reference_id,
            signed_spec,
            spec_bytes,
            spec,
            data_providers,
        })
    }

    /// The first of `protocols` that can measure what is asked for.
    pub fn protocol<'a>(&self, protocols: &'a [Protocol]) -> Result<&'a Protocol, KingdomError> {
        let asked = self.spec.measurement_type.as_ref();
        let found = asked.and_then(|asked| protocols.iter().find(|protocol| protocol.measures(asked)));
        found.ok_or_else(|| {
            invalid_spec("no protocol of this Kingdom measures that; are they for reach only?")
        })
    }
}

impl DataProviderRequest {
    fn check(entry: DataProviderEntry) -> Result<Self, KingdomError> {
        let field = "measurement.data_providers";
        let data_provider = single(&entry.key, "dataProviders")
            .ok_or_else(|| KingdomError::name(field, "data provider", &entry.key))?
            .to_owned();
        let value = entry.value.ok_or_else(|| KingdomError::invalid(field, "an entry has no value"))?;
        let certificate = certificate_name(field, &value.data_provider_certificate)?;
        if certificate.owner != entry.key {
            let problem = format!("the certificate of {} belongs to another", entry.key);
            return Err(KingdomError::invalid(field, problem));
        }
        let encrypted_spec = value.encrypted_requisition_spec.unwrap_or_default();
        if encrypted_spec.ciphertext.is_empty() || encrypted_spec.ciphertext.len() > MAXIMUM_SPEC_BYTES {
            let found = encrypted_spec.ciphertext.len();
            let problem = format!("the requisition spec of {} has {found} bytes", entry.key);
            return Err(KingdomError::invalid(field, problem));
        }
        if value.nonce_hash.len() != NONCE_HASH_BYTES {
            let found = value.nonce_hash.len();
            let problem =
                format!("the nonce hash of {} has {found} bytes, not {NONCE_HASH_BYTES}", entry.key);
            return Err(KingdomError::invalid(field, problem));
        }
        let public_key = value.data_provider_public_key;
        Ok(Self { data_provider, certificate, public_key, encrypted_spec, nonce_hash: value.nonce_hash })
    }
}

/// Entries are of different data providers, and their nonces are those the spec names.
fn check_entries(entries: &[DataProviderRequest], spec: &MeasurementSpec) -> Result<(), KingdomError> {
    let distinct: BTreeSet<_> = entries.iter().map(|entry| &entry.data_provider).collect();
    if distinct.len() != entries.len() {
        return Err(KingdomError::invalid("measurement.data_providers", "a data provider comes twice"));
    }
    let hashes: BTreeSet<_> = entries.iter().map(|entry| &entry.nonce_hash).collect();
    let named: BTreeSet<_> = spec.nonce_hashes.iter().collect();
    if hashes.len() != entries.len() || spec.nonce_hashes.len() != entries.len() || hashes != named {
        return Err(invalid_spec("nonce_hashes are not those of the data providers, each once"));
    }
    Ok(())
}

fn signed_bytes(spec: &SignedMessage) -> Result<Vec<u8>, KingdomError> {
    if spec.signature.is_empty() {
        return Err(invalid_spec("not signed"));
    }
    let bytes = spec.message.as_ref().map_or(&spec.data, |message| &message.value);
    if bytes.len() > MAXIMUM_SPEC_BYTES {
        return Err(invalid_spec(format!("{} bytes, at most {MAXIMUM_SPEC_BYTES} are allowed", bytes.len())));
    }
    Ok(bytes.clone())
}

fn check_spec(spec: &MeasurementSpec) -> Result<(), KingdomError> {
    if spec.measurement_public_key.is_none() && spec.serialized_measurement_public_key.is_empty() {
        return Err(invalid_spec("no measurement_public_key"));
    }
    match &spec.measurement_type {
        Some(MeasurementType::ReachAndFrequency(reach_and_frequency)) => {
            check_privacy(reach_and_frequency.reach_privacy_params.as_ref())?;
            check_privacy(reach_and_frequency.frequency_privacy_params.as_ref())?;
            if reach_and_frequency.maximum_frequency <= 1 {
                let found = reach_and_frequency.maximum_frequency;
                return Err(invalid_spec(format!("maximum_frequency is {found}, expected more than 1")));
            }
        }
        Some(MeasurementType::Reach(reach)) => check_privacy(reach.privacy_params.as_ref())?,
        Some(_) => return Err(invalid_spec("only reach, and reach and frequency, are measured")),
        None => return Err(invalid_spec("no measurement_type")),
    }
    let VidSamplingInterval { start, width } = spec.vid_sampling_interval.unwrap_or_default();
    // An interval that ends above 1 goes on at 0. Written so that NaN is refused.
    if !((0.0..1.0).contains(&start) && width > 0.0 && width <= 1.0) {
        return Err(invalid_spec(format!(
            "vid_sampling_interval starts at {start} (expected 0 to 1) and is {width} wide (expected above 0 to 1)"
        )));
    }
    Ok(())
}

fn check_privacy(params: Option<&DifferentialPrivacyParams>) -> Result<(), KingdomError> {
    let &DifferentialPrivacyParams { epsilon, delta } =
        params.ok_or_else(|| invalid_spec("no privacy params"))?;
    if epsilon > 0.0 && epsilon.is_finite() && (0.0..1.0).contains(&delta) {
        Ok(())
    } else {
        Err(invalid_spec(format!(
            "privacy params are epsilon {epsilon} (expected above 0), delta {delta} (expected 0 to 1)"
        )))
    }
}

fn invalid_spec(problem: impl Into<String>) -> KingdomError {
    KingdomError::invalid("measurement.measurement_spec", problem)
}
