//! The checks before anything is encrypted: who asks, what for, and who will be able to read it.

use halo_crypto::parallel::Executor;
use halo_protocols::data_provider::{SketchParameters, VidSamplingInterval};
use halo_protocols::kernel::{self, KernelContext};
use halo_protocols::proto::any_sketch::crypto::{CombineElGamalPublicKeysRequest, ElGamalPublicKey};
use prost::Message;

use super::{DataProvider, DataProviderError};
use crate::consent;
use crate::hybrid_encryption::PublicKeyset;
use crate::identity::Caller;
use crate::kingdom::resource_name::{CertificateName, single};
use crate::proto::api;
use crate::proto::api::measurement_spec::MeasurementType;
use crate::proto::api::protocol_config::{self, protocol};
use crate::proto::api::requisition::{DuchyEntry, duchy_entry};
use crate::proto::api::requisition_spec::RequisitionType;
use crate::proto::api::{
    EncryptionPublicKey, MeasurementSpec, ProtocolConfig, Requisition, RequisitionSpec, SignedMessage,
};
use crate::x509;

/// A checked requisition: what to send, and for whom to encrypt it.
pub(super) struct Order {
    pub(super) nonce: u64,
    pub(super) data: DataOrder,
    pub(super) protocol_config: ProtocolConfig,
}

/// What to send.
pub(super) enum DataOrder {
    Sketch(SketchOrder),
    Shares(ShareOrder),
}

/// An encrypted sketch.
pub(super) struct SketchOrder {
    pub(super) sampled: VidSamplingInterval,
    pub(super) sketch: SketchParameters,
    pub(super) metric: Metric,
    pub(super) curve_id: i64,
    /// The sum of the duchies' keys.
    pub(super) key: ElGamalPublicKey,
}

/// What a sketch tells of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    /// That it was reached.
    ReachOnly,
    /// How often it was reached; larger counts are as good as the maximum.
    Frequency { maximum: i32 },
}

/// Shares of a frequency vector.
#[derive(Clone)]
pub(super) struct ShareOrder {
    /// Start and width of the sampled interval of positions.
    pub(super) interval: (f32, f32),
    /// Larger counts are as good as this one.
    pub(super) maximum_frequency: u32,
    pub(super) ring_modulus: u32,
    /// The duchy that gets the vector.
    pub(super) worker: String,
    /// The key of the duchy that gets the seed.
    pub(super) peer_key: PublicKeyset,
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
        let data = self.data_order(&protocol_config, &spec, &requisition.duchies).await?;
        Ok(Order { nonce: requisition_spec.nonce, data, protocol_config })
    }

    /// What the first protocol that this client speaks asks for.
    async fn data_order(
        &self,
        config: &ProtocolConfig,
        spec: &MeasurementSpec,
        duchies: &[DuchyEntry],
    ) -> Result<DataOrder, DataProviderError> {
        let maximum_frequency = maximum_frequency(spec)?;
        let interval = spec.vid_sampling_interval.unwrap_or_default();
        // Also where positions are sampled: what is no interval of ids is none of positions.
        let sampled = VidSamplingInterval::new(interval.start, interval.width)?;
        for protocol in &config.protocols {
            return match &protocol.protocol {
                Some(protocol::Protocol::LiquidLegionsV2(config)) => {
                    let metric = Metric::Frequency { maximum: maximum_frequency };
                    let curve_id = config.elliptic_curve_id.into();
                    let sketch = sketch_parameters(config)?;
                    let key = self.combined_key(duchies, curve_id, liquid_legions_key).await?;
                    Ok(DataOrder::Sketch(SketchOrder { sampled, sketch, metric, curve_id, key }))
                }
                Some(protocol::Protocol::ReachOnlyLiquidLegionsV2(config)) => {
                    if !matches!(spec.measurement_type, Some(MeasurementType::Reach(_))) {
                        return Err(DataProviderError::MeasurementType);
                    }
                    let curve_id = config.elliptic_curve_id.into();
                    let sketch = reach_only_parameters(config)?;
                    let key = self.combined_key(duchies, curve_id, reach_only_key).await?;
                    let metric = Metric::ReachOnly;
                    Ok(DataOrder::Sketch(SketchOrder { sampled, sketch, metric, curve_id, key }))
                }
                Some(protocol::Protocol::HonestMajorityShareShuffle(config)) => {
                    let (worker, peer_key) = self.workers(duchies).await?;
                    Ok(DataOrder::Shares(ShareOrder {
                        interval: (interval.start, interval.width),
                        maximum_frequency: maximum_frequency.cast_unsigned(),
                        ring_modulus: u32::try_from(config.ring_modulus).map_err(|_| {
                            let value = config.ring_modulus.into();
                            DataProviderError::OutOfRange { field: "ring_modulus", value }
                        })?,
                        worker,
                        peer_key,
                    }))
                }
                _ => continue,
            };
        }
        Err(DataProviderError::Protocol)
    }

    /// The duchy that is to get the vector, which shows no key, and the verified key of the other one, which is to get
    /// the seed.
    async fn workers(&self, duchies: &[DuchyEntry]) -> Result<(String, PublicKeyset), DataProviderError> {
        let malformed = || DataProviderError::Malformed("duchy entry");
        let mut keyed = Vec::new();
        let mut keyless = Vec::new();
        for entry in duchies {
            let duchy = single(&entry.key, "duchies").ok_or_else(malformed)?;
            let value = entry.value.as_ref().ok_or_else(malformed)?;
            match &value.protocol {
                Some(duchy_entry::value::Protocol::HonestMajorityShareShuffle(entry)) => {
                    match &entry.public_key {
                        Some(key) => keyed.push((duchy, &value.duchy_certificate, key)),
                        None => keyless.push(duchy),
                    }
                }
                _ => return Err(DataProviderError::Protocol),
            }
        }
        let (&[worker], &[(peer, certificate, signed)]) = (&keyless[..], &keyed[..]) else {
            return Err(DataProviderError::Workers { duchies: duchies.len(), keys: keyed.len() });
        };
        if worker == peer {
            return Err(DataProviderError::Workers { duchies: 1, keys: 1 });
        }
        let certificate = self.certificates.get(certificate, &Caller::Duchy(peer.to_owned())).await?;
        let key = verified(&certificate, signed, &format!("the key of duchy {peer}"))?;
        let key = decode::<EncryptionPublicKey>(key, "duchy's key")?;
        let key = consent::public_keyset(&key)
            .map_err(|source| DataProviderError::DuchyKey { duchy: peer.to_owned(), source })?;
        Ok((worker.to_owned(), key))
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
        key_in: KeyIn,
    ) -> Result<ElGamalPublicKey, DataProviderError> {
        let mut keys = Vec::with_capacity(duchies.len());
        for entry in duchies {
            keys.push(self.duchy_key(entry, key_in).await?);
        }
        let request = CombineElGamalPublicKeysRequest { curve_id, el_gamal_keys: keys };
        // The sum of keys draws nothing.
        let context = KernelContext::new(Executor::serial(), self.seed.derive(b"combine keys"));
        let combined = kernel::compute(&request, &context).map_err(DataProviderError::Keys)?;
        combined.el_gamal_keys.ok_or(DataProviderError::Malformed("duchies' keys"))
    }

    async fn duchy_key(
        &self,
        entry: &DuchyEntry,
        key_in: KeyIn,
    ) -> Result<ElGamalPublicKey, DataProviderError> {
        let malformed = || DataProviderError::Malformed("duchy entry");
        let duchy = single(&entry.key, "duchies").ok_or_else(malformed)?;
        let value = entry.value.as_ref().ok_or_else(malformed)?;
        let protocol = value.protocol.as_ref().and_then(key_in).ok_or(DataProviderError::Protocol)?;
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

/// Finds the ElGamal key of one protocol in a duchy's entry.
type KeyIn = fn(&duchy_entry::value::Protocol) -> Option<&duchy_entry::LiquidLegionsV2>;

fn liquid_legions_key(entry: &duchy_entry::value::Protocol) -> Option<&duchy_entry::LiquidLegionsV2> {
    match entry {
        duchy_entry::value::Protocol::LiquidLegionsV2(key) => Some(key),
        _ => None,
    }
}

fn reach_only_key(entry: &duchy_entry::value::Protocol) -> Option<&duchy_entry::LiquidLegionsV2> {
    match entry {
        duchy_entry::value::Protocol::ReachOnlyLiquidLegionsV2(key) => Some(key),
        _ => None,
    }
}

fn sketch_parameters(
    protocol: &protocol_config::LiquidLegionsV2,
) -> Result<SketchParameters, DataProviderError> {
    let params = protocol.sketch_params.ok_or(DataProviderError::Malformed("sketch params"))?;
    let field = "sketch_params.sampling_indicator_size";
    let sampling_indicator_size = positive(field, params.sampling_indicator_size)?;
    checked_parameters(params.decay_rate, params.max_size, sampling_indicator_size)
}

fn reach_only_parameters(
    protocol: &protocol_config::ReachOnlyLiquidLegionsV2,
) -> Result<SketchParameters, DataProviderError> {
    let params = protocol.sketch_params.ok_or(DataProviderError::Malformed("sketch params"))?;
    // Its registers have no indicators.
    checked_parameters(params.decay_rate, params.max_size, 1)
}

fn checked_parameters(
    decay_rate: f64,
    size: i64,
    sampling_indicator_size: i64,
) -> Result<SketchParameters, DataProviderError> {
    let size = positive("sketch_params.max_size", size)?;
    let parameters = SketchParameters { decay_rate, size, sampling_indicator_size, salt: None };
    parameters.validate()?;
    Ok(parameters)
}

fn positive(field: &'static str, value: i64) -> Result<i64, DataProviderError> {
    let in_range = (1..=i64::from(u32::MAX)).contains(&value);
    if in_range { Ok(value) } else { Err(DataProviderError::OutOfRange { field, value }) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::api::requisition::refusal::Justification;

    /// With each of these the sketch would have everybody in one register.
    #[test]
    fn decay_rates_that_give_no_distribution_are_refused() {
        for decay_rate in [0.0, -12.0, 710.0, f64::NAN, f64::INFINITY] {
            let error = checked_parameters(decay_rate, 100_000, 1).expect_err("no distribution");
            assert!(error.to_string().contains("decay rate"), "{error}");
            assert_eq!(error.justification(), Some(Justification::SpecInvalid));
        }
        assert!(checked_parameters(5.6, 100_000, 1).is_ok());
    }
}
