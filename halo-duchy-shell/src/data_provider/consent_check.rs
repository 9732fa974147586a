//! The checks before anything is encrypted: who asks, what for, and who will be able to read it.

use halo_crypto::parallel::Executor;
use halo_protocols::data_provider::{SketchParameters, VidSamplingInterval};
use halo_protocols::kernel::{self, KernelContext};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, ElGamalPublicKey};
use prost::Message;

use super::{DataProvider, DataProviderError};
use crate::consent;
use crate::identity::Caller;
use crate::kingdom::resource_name::{CertificateName, single};
use crate::proto::api;
use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::api::protocol_config::{self, protocol};
use crate::proto::api::requisition::{DuchyEntry, duchy_entry};
use crate::proto::api::requisition_spec::RequisitionType;
use crate::proto::api::{MeasurementSpec, ProtocolConfig, Requisition, RequisitionSpec, SignedMessage};
use crate::x509;

/// A checked requisition: what to send, and for whom to encrypt it.
pub(super) struct Order {
    pub(super) nonce: u64,
    pub(super) sampled: VidSamplingInterval,
    pub(super) sketch: SketchParameters,
    /// Larger counts are as good as this one.
    pub(super) maximum_frequency: i32,
    pub(super) curve_id: i64,
    /// The sum of the duchies' keys.
    pub(super) key: ElGamalPublicKey,
    pub(super) protocol_config: ProtocolConfig,
}

impl DataProvider {
    pub(super) async fn check(&self, requisition: &Requisition) -> Result<Order, DataProviderError> {
        let consumer = self.consumer_certificate(requisition).await?;
        let signed = requisition.measurement_spec.as_ref();
        let signed = signed.ok_or(DataProviderError::Malformed("measurement spec"))?;
        let spec = verified(&consumer, signed, "the measurement spec")?;
        let spec = decode::<MeasurementSpec>(spec, "measurement spec")?;
        let requisition_spec = self.requisition_spec(requisition, &consumer)?;
        check_specs(&spec, &requisition_spec)?;

        let protocol_config = requisition.protocol_config.clone().unwrap_or_default();
        let protocol = liquid_legions(&protocol_config)?;
        let curve_id = i64::from(protocol.elliptic_curve_id);
        let interval = spec.vid_sampling_interval.unwrap_or_default();
        Ok(Order {
            nonce: requisition_spec.nonce,
            sampled: VidSamplingInterval::new(interval.start, interval.width)?,
            sketch: sketch_parameters(protocol)?,
            maximum_frequency: maximum_frequency(&spec)?,
            curve_id,
            key: self.combined_key(&requisition.duchies, curve_id).await?,
            protocol_config,
        })
    }

    /// The certificate of the measurement consumer that the measurement is named after.
    async fn consumer_certificate(&self, requisition: &Requisition) -> Result<Vec<u8>, DataProviderError> {
        let name = &requisition.measurement_consumer_certificate;
        let owner = CertificateName::parse(name).map(|name| name.owner).unwrap_or_default();
        if single(&owner, "measurementConsumers").is_none() {
            return Err(DataProviderError::Malformed("measurement consumer certificate"));
        }
        Ok(self.certificates.get(name, &Caller::MeasurementConsumer(owner)).await?)
    }

    fn requisition_spec(
        &self,
        requisition: &Requisition,
        consumer: &[u8],
    ) -> Result<RequisitionSpec, DataProviderError> {
        let encrypted = requisition.encrypted_requisition_spec.as_ref();
        let encrypted = encrypted.ok_or(DataProviderError::Malformed("encrypted requisition spec"))?;
        let plaintext = self.keyset.decrypt(&encrypted.ciphertext).map_err(DataProviderError::Decrypt)?;
        let signed = decode::<SignedMessage>(&plaintext, "requisition spec")?;
        decode(verified(consumer, &signed, "the requisition spec")?, "requisition spec")
    }

    /// The sum of the keys that the duchies signed.
    async fn combined_key(
        &self,
        duchies: &[DuchyEntry],
        curve_id: i64,
    ) -> Result<ElGamalPublicKey, DataProviderError> {
        let mut keys = Vec::with_capacity(duchies.len());
        for entry in duchies {
            keys.push(self.duchy_key(entry).await?);
        }
        let request = CombineElGamalPublicKeysRequest { curve_id, el_gamal_keys: keys };
        // The sum of keys draws nothing.
        let context = KernelContext::new(Executor::serial(), self.seed.derive(b"combine keys"));
        let combined = kernel::compute(&request, &context).map_err(DataProviderError::Keys)?;
        combined.el_gamal_keys.ok_or(DataProviderError::Malformed("duchies' keys"))
    }

    async fn duchy_key(&self, entry: &DuchyEntry) -> Result<ElGamalPublicKey, DataProviderError> {
        let malformed = || DataProviderError::Malformed("duchy entry");
        let duchy = single(&entry.key, "duchies").ok_or_else(malformed)?;
        let value = entry.value.as_ref().ok_or_else(malformed)?;
        let Some(duchy_entry::value::Protocol::LiquidLegionsV2(protocol)) = &value.protocol else {
            return Err(DataProviderError::Protocol);
        };
        let signed = protocol.el_gamal_public_key.as_ref().ok_or_else(malformed)?;
        let owner = Caller::Duchy(duchy.to_owned());
        let certificate = self.certificates.get(&value.duchy_certificate, &owner).await?;
        let key = verified(&certificate, signed, &format!("the key of duchy {duchy}"))?;
        let api::ElGamalPublicKey { generator, element, .. } = decode(key, "duchy's key")?;
        Ok(ElGamalPublicKey { generator, element })
    }
}

fn verified<'a>(
    certificate: &[u8],
    message: &'a SignedMessage,
    what: &str,
) -> Result<&'a [u8], DataProviderError> {
    let refused = |source| DataProviderError::Signature { what: what.to_owned(), source };
    let certificate = x509::parse(certificate).map_err(refused)?;
    consent::verify_message(&certificate, message).map_err(refused)
}

fn decode<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, DataProviderError> {
    M::decode(bytes).map_err(|_| DataProviderError::Malformed(what))
}

/// The measurement consumer meant this requisition for this measurement.
fn check_specs(spec: &MeasurementSpec, requisition_spec: &RequisitionSpec) -> Result<(), DataProviderError> {
    let hash = consent::nonce_hash(requisition_spec.nonce);
    if requisition_spec.nonce == 0 || !spec.nonce_hashes.iter().any(|listed| *listed == hash) {
        return Err(DataProviderError::Nonce);
    }
    let key = spec.measurement_public_key.as_ref().map(|key| &key.value);
    if key.is_none() || key != requisition_spec.measurement_public_key.as_ref().map(|key| &key.value) {
        return Err(DataProviderError::OtherResultKey);
    }
    let whole = match &requisition_spec.requisition_type {
        Some(RequisitionType::Events(events)) => events.event_groups.is_empty(),
        Some(RequisitionType::Population(_)) => false,
        None => true,
    };
    if whole && requisition_spec.event_groups.is_empty() { Ok(()) } else { Err(DataProviderError::Filtered) }
}

fn liquid_legions(config: &ProtocolConfig) -> Result<&protocol_config::LiquidLegionsV2, DataProviderError> {
    let protocol = config.protocols.iter().find_map(|protocol| match &protocol.protocol {
        Some(protocol::Protocol::LiquidLegionsV2(config)) => Some(config),
        _ => None,
    });
    protocol.ok_or(DataProviderError::Protocol)
}

fn sketch_parameters(
    protocol: &protocol_config::LiquidLegionsV2,
) -> Result<SketchParameters, DataProviderError> {
    let params = protocol.sketch_params.ok_or(DataProviderError::Malformed("sketch params"))?;
    let positive = |field, value: i64| {
        let in_range = (1..=i64::from(u32::MAX)).contains(&value);
        if in_range { Ok(value) } else { Err(DataProviderError::OutOfRange { field, value }) }
    };
    if !(params.decay_rate > 0.0 && params.decay_rate.is_finite()) {
        return Err(DataProviderError::Malformed("decay rate"));
    }
    Ok(SketchParameters {
        decay_rate: params.decay_rate,
        size: positive("sketch_params.max_size", params.max_size)?,
        sampling_indicator_size: positive(
            "sketch_params.sampling_indicator_size",
            params.sampling_indicator_size,
        )?,
        salt: None,
    })
}

fn maximum_frequency(spec: &MeasurementSpec) -> Result<i32, DataProviderError> {
    match &spec.measurement_type {
        Some(MeasurementType::Reach(_)) => Ok(1),
        Some(MeasurementType::ReachAndFrequency(spec)) if spec.maximum_frequency > 0 => {
            Ok(spec.maximum_frequency)
        }
        Some(MeasurementType::ReachAndFrequency(spec)) => Err(DataProviderError::OutOfRange {
            field: "maximum_frequency",
            value: spec.maximum_frequency.into(),
        }),
        _ => Err(DataProviderError::MeasurementType),
    }
}
