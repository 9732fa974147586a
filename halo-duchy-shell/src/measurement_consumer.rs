//! A measurement consumer: asks for a measurement, waits, and opens the result.
//!
//! It alone chooses the nonces by which data providers later show that they consented: their hashes go into the
//! signed measurement spec, each nonce into the requisition spec that only its data provider can read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prost::Message;
use prost_types::Any;
use rand_core::CryptoRng;
use serde::Serialize;
use tonic::Status;

use crate::client::{CallPolicy, Channel};
use crate::consent::{self, ConsentError, Signer};
use crate::hybrid_encryption::{HybridEncryptionError, PrivateKeyset, PublicKeyset};
use crate::identity::Caller;
use crate::kingdom::resource_name::CertificateName;
use crate::party_certificates::{PartyCertificateError, PartyCertificates};
use crate::proto::api::measurement::failure::Reason;
use crate::proto::api::measurement::{DataProviderEntry, State, data_provider_entry};
use crate::proto::api::measurement_spec::{MeasurementType, Reach, ReachAndFrequency, VidSamplingInterval};
use crate::proto::api::measurements_client::MeasurementsClient;
use crate::proto::api::{
    CreateMeasurementRequest, DifferentialPrivacyParams, EncryptedMessage, EncryptionPublicKey,
    GetMeasurementRequest, Measurement, MeasurementSpec, RequisitionSpec, encryption_public_key,
    requisition_spec,
};
use crate::x509;

#[cfg(test)]
mod tests;

pub(crate) const TYPE_PREFIX: &str = "type.googleapis.com/wfa.measurement.api.v2alpha.";

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasurementError {
    /// The Kingdom refused a call or was not reached.
    #[error("{call}: {status}")]
    Kingdom {
        /// The call.
        call: &'static str,
        /// The answer.
        status: Status,
    },
    /// Our own spec could not be signed.
    #[error("cannot sign")]
    Sign(#[source] ConsentError),
    /// A requisition spec could not be encrypted for its data provider.
    #[error("cannot encrypt for {data_provider}: {source}")]
    Encrypt {
        /// The data provider.
        data_provider: String,
        /// Why.
        source: HybridEncryptionError,
    },
    /// The measurement failed.
    #[error("the measurement failed ({}): {message}", .reason.as_str_name())]
    Failed {
        /// Whose doing it was.
        reason: Reason,
        /// What the Kingdom tells about it.
        message: String,
    },
    /// The measurement was cancelled.
    #[error("the measurement was cancelled")]
    Cancelled,
    /// The Kingdom says the measurement succeeded but gives no result, or one of nobody we know.
    #[error("no usable result: {0}")]
    NoResult(&'static str),
    /// The aggregator's certificate cannot be relied on.
    #[error(transparent)]
    Certificate(#[from] PartyCertificateError),
    /// The result cannot be decrypted or its signature is not the aggregator's.
    #[error("the result is not to be believed")]
    Result(#[source] ConsentError),
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct MeasurementRequest {
    /// Whose data.
    pub data_providers: Vec<Recipient>,
    /// What about it.
    pub metric: Metric,
    /// Privacy budget of the reach.
    pub reach_privacy: DifferentialPrivacyParams,
    /// The part of all virtual people that is looked at.
    pub vid_sampling_interval: VidSamplingInterval,
    /// A name for people.
    pub reference_id: String,
    /// A request with the id of an earlier one gives the earlier one's measurement. May be empty.
    pub request_id: String,
}

/// What is to be measured about people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// How many there are.
    Reach,
    /// How many there are and how often they were reached.
    ReachAndFrequency {
        /// Privacy budget of the frequencies.
        frequency_privacy: DifferentialPrivacyParams,
        /// This and larger frequencies are one; above 1.
        maximum_frequency: i32,
    },
}

/// A data provider to be asked.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// `dataProviders/{id}`.
    pub name: String,
    /// The name of its certificate.
    pub certificate: String,
    /// What its requisition specs are encrypted for.
    pub public_key: PublicKeyset,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredResult {
    /// Estimated people reached.
    pub reach: i64,
    /// Estimated share of them by frequency; empty if only reach was asked for.
    pub frequency: BTreeMap<i64, f64>,
    /// The certificate that signed for it.
    pub aggregator_certificate: String,
}

/// How far a measurement has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Data providers have still to hand in their data.
    AwaitingRequisitions,
    /// The duchies compute.
    Computing,
    /// There is a result.
    Done(MeasuredResult),
}

/// A measurement consumer.
pub struct MeasurementConsumer {
    name: String,
    certificate: String,
    signer: Signer,
    keyset: PrivateKeyset,
    client: MeasurementsClient<Channel>,
    certificates: PartyCertificates,
    policy: CallPolicy,
}

impl fmt::Debug for MeasurementConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasurementConsumer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MeasurementConsumer {
    /// The consumer that owns `certificate` (`measurementConsumers/{id}/certificates/{id}`) with its key in `signer`,
    /// and decrypts results by `keyset`. `kingdom` leads to the Kingdom's public API.
    ///
    /// # Errors
    /// [`MeasurementError::NoResult`] if `certificate` is not such a name.
    pub fn new(
        certificate: &str,
        signer: Signer,
        keyset: PrivateKeyset,
        kingdom: Channel,
        certificates: PartyCertificates,
    ) -> Result<Self, MeasurementError> {
        let name = CertificateName::parse(certificate)
            .ok_or(MeasurementError::NoResult("our certificate has no certificate's name"))?;
        Ok(Self {
            name: name.owner,
            certificate: certificate.to_owned(),
            signer,
            keyset,
            client: MeasurementsClient::new(kingdom),
            certificates,
            policy: CallPolicy::default(),
        })
    }

    /// Asks for a measurement and returns its name. Nonces and encryption draw from `rng`.
    ///
    /// # Errors
    /// If the Kingdom refuses it, or something cannot be signed or encrypted.
    pub async fn create(
        &self,
        request: MeasurementRequest,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<String, MeasurementError> {
        let request = CreateMeasurementRequest {
            parent: self.name.clone(),
            request_id: request.request_id.clone(),
            measurement: Some(self.measurement(request, rng)?),
        };
        let created = self.policy.unary(|| {
            let (mut client, request) = (self.client.clone(), request.clone());
            async move { client.create_measurement(request).await }
        });
        let created = created.await.map_err(|status| kingdom("CreateMeasurement", status))?;
        Ok(created.name)
    }

    /// Looks at a measurement every `pause` until it is over. There is no time limit: put one around it.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn result(&self, name: &str, pause: Duration) -> Result<MeasuredResult, MeasurementError> {
        loop {
            match self.look(name).await? {
                Progress::Done(result) => return Ok(result),
                Progress::AwaitingRequisitions | Progress::Computing => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Looks at a measurement once, and opens its result if there is one.
    ///
    /// # Errors
    /// If the Kingdom does not give it, it failed or was cancelled, or the result is not to be believed.
    pub async fn look(&self, name: &str) -> Result<Progress, MeasurementError> {
        let request = GetMeasurementRequest { name: name.to_owned() };
        let measurement = self.policy.unary(|| {
            let (mut client, request) = (self.client.clone(), request.clone());
            async move { client.get_measurement(request).await }
        });
        let measurement = measurement.await.map_err(|status| kingdom("GetMeasurement", status))?;
        match measurement.state() {
            State::Succeeded => Ok(Progress::Done(self.open(measurement).await?)),
            State::Cancelled => Err(MeasurementError::Cancelled),
            State::Failed => {
                let failure = measurement.failure.unwrap_or_default();
                let reason = failure.reason();
                Err(MeasurementError::Failed { reason, message: failure.message })
            }
            State::AwaitingRequisitionFulfillment => Ok(Progress::AwaitingRequisitions),
            State::Unspecified | State::Computing => Ok(Progress::Computing),
        }
    }

    fn measurement(
        &self,
        request: MeasurementRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<Measurement, MeasurementError> {
        let public_key = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset.into(),
            data: self.keyset.public().to_bytes(),
        };
        let public_key = any("EncryptionPublicKey", &public_key);
        let nonces: Vec<u64> = request.data_providers.iter().map(|_| nonzero(rng)).collect();
        let spec = MeasurementSpec {
            measurement_public_key: Some(public_key.clone()),
            nonce_hashes: nonces.iter().map(|nonce| consent::nonce_hash(*nonce).to_vec()).collect(),
            vid_sampling_interval: Some(request.vid_sampling_interval),
            measurement_type: Some(measurement_type(request.metric, request.reach_privacy)),
            ..MeasurementSpec::default()
        };
        let signed = self.signer.sign_message("MeasurementSpec", &spec).map_err(MeasurementError::Sign)?;
        let recipients = request.data_providers.into_iter().zip(nonces);
        let entries =
            recipients.map(|(recipient, nonce)| self.data_provider_entry(recipient, nonce, &public_key, rng));
        Ok(Measurement {
            measurement_consumer_certificate: self.certificate.clone(),
            measurement_spec: Some(signed),
            data_providers: entries.collect::<Result<_, _>>()?,
            measurement_reference_id: request.reference_id,
            ..Measurement::default()
        })
    }

    fn data_provider_entry(
        &self,
        recipient: Recipient,
        nonce: u64,
        measurement_public_key: &Any,
        rng: &mut impl CryptoRng,
    ) -> Result<DataProviderEntry, MeasurementError> {
        let spec = RequisitionSpec {
            nonce,
            measurement_public_key: Some(measurement_public_key.clone()),
            // No event group: all events.
            requisition_type: Some(requisition_spec::RequisitionType::Events(Default::default())),
            ..RequisitionSpec::default()
        };
        let signed = self.signer.sign_message("RequisitionSpec", &spec).map_err(MeasurementError::Sign)?;
        let Recipient { name, certificate, public_key } = recipient;
        let ciphertext = public_key
            .encrypt(&signed.encode_to_vec(), rng)
            .map_err(|source| MeasurementError::Encrypt { data_provider: name.clone(), source })?;
        let public_key = EncryptionPublicKey {
            format: encryption_public_key::Format::TinkKeyset.into(),
            data: public_key.to_bytes(),
        };
        Ok(DataProviderEntry {
            key: name,
            value: Some(data_provider_entry::Value {
                data_provider_certificate: certificate,
                nonce_hash: consent::nonce_hash(nonce).to_vec(),
                encrypted_requisition_spec: Some(EncryptedMessage {
                    ciphertext,
                    type_url: format!("{TYPE_PREFIX}SignedMessage"),
                }),
                data_provider_public_key: Some(any("EncryptionPublicKey", &public_key)),
            }),
        })
    }

    async fn open(&self, measurement: Measurement) -> Result<MeasuredResult, MeasurementError> {
        let output =
            measurement.results.into_iter().next().ok_or(MeasurementError::NoResult("none was given"))?;
        let owner = CertificateName::parse(&output.certificate);
        let duchy = owner.as_ref().and_then(CertificateName::duchy);
        let duchy = duchy.ok_or(MeasurementError::NoResult("no duchy signed for it"))?;
        let der = self.certificates.get(&output.certificate, &Caller::Duchy(duchy.to_owned())).await?;
        let certificate =
            x509::parse(&der).map_err(|error| MeasurementError::Result(ConsentError::Certificate(error)))?;
        let ciphertext = output.encrypted_result.unwrap_or_default().ciphertext;
        let result = consent::open_result(&ciphertext, &self.keyset, &certificate);
        let result = result.map_err(MeasurementError::Result)?;
        let reach = result.reach.ok_or(MeasurementError::NoResult("it has no reach"))?;
        let spec = measurement.measurement_spec.as_ref().map(consent::signed_bytes).unwrap_or_default();
        let asked = MeasurementSpec::decode(spec)
            .map_err(|_| MeasurementError::NoResult("the measurement has no spec"))?;
        let frequency = result.frequency.map(|frequency| frequency.relative_frequency_distribution);
        let frequency = match asked.measurement_type {
            Some(MeasurementType::ReachAndFrequency(_)) => {
                frequency.ok_or(MeasurementError::NoResult("it has no frequency"))?
            }
            _ => frequency.unwrap_or_default(),
        };
        Ok(MeasuredResult { reach: reach.value, frequency, aggregator_certificate: output.certificate })
    }
}

fn kingdom(call: &'static str, status: Status) -> MeasurementError {
    MeasurementError::Kingdom { call, status }
}

fn measurement_type(metric: Metric, reach_privacy: DifferentialPrivacyParams) -> MeasurementType {
    match metric {
        Metric::Reach => MeasurementType::Reach(Reach { privacy_params: Some(reach_privacy) }),
        Metric::ReachAndFrequency { frequency_privacy, maximum_frequency } => {
            MeasurementType::ReachAndFrequency(ReachAndFrequency {
                reach_privacy_params: Some(reach_privacy),
                frequency_privacy_params: Some(frequency_privacy),
                maximum_frequency,
            })
        }
    }
}

/// A nonce of 0 would be taken for a missing one.
fn nonzero(rng: &mut impl CryptoRng) -> u64 {
    loop {
        let nonce = rng.next_u64();
        if nonce != 0 {
            return nonce;
        }
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("{TYPE_PREFIX}{name}"), value: message.encode_to_vec() }
}
