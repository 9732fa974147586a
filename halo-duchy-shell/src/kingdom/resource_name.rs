//! Names of the Kingdom's resources. Ids become segments of blob keys and of URLs, so only
//! `[A-Za-z0-9_-]+` passes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_core::Rng;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An id that the Kingdom gives: base64url of eight big-endian bytes, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(u64);

impl ExternalId {
    /// A random positive id.
    pub fn random(rng: &mut dyn Rng) -> Self {
        Self((rng.next_u64() >> 1).max(1))
    }

    /// The number the name encodes.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The id with this number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Reads an id as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl Serialize for ExternalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExternalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no id")))
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

/// `computations/{computation}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputationName(pub ExternalId);

/// `computations/{computation}/participants/{duchy}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantName {
    /// The computation.
    pub computation: ExternalId,
    /// The duchy's id.
    pub duchy: String,
}

/// `computations/{computation}/requisitions/{requisition}`: a requisition as duchies call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputationRequisitionName {
    /// The computation.
    pub computation: ExternalId,
    /// The requisition.
    pub requisition: ExternalId,
}

/// `measurementConsumers/{consumer}/measurements/{measurement}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasurementName {
    /// The measurement consumer's id.
    pub consumer: String,
    /// The measurement.
    pub measurement: ExternalId,
}

/// `dataProviders/{data provider}/requisitions/{requisition}`: a requisition as its data provider calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequisitionName {
    /// The data provider's id.
    pub data_provider: String,
    /// The requisition.
    pub requisition: ExternalId,
}

/// `{collection}/{owner}/certificates/{certificate}`, the collection being `duchies`, `dataProviders` or
/// `measurementConsumers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName {
    /// `duchies/{id}`, `dataProviders/{id}` or `measurementConsumers/{id}`.
    pub owner: String,
    /// The certificate's id.
    pub certificate: String,
}

/// The longest id, in bytes. The Kingdom makes ids of 11; a duchy's is the name that its operator gave it.
const MAXIMUM_ID_BYTES: usize = 256;

/// Whether `text` may be an id.
pub fn is_id(text: &str) -> bool {
    (1..=MAXIMUM_ID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The ids of a name with the given collections, or none if it is another name.
fn ids<'a, const N: usize>(name: &'a str, collections: [&str; N]) -> Option<[&'a str; N]> {
    let mut segments = name.split('/');
    let mut ids = [""; N];
    for (collection, id) in collections.into_iter().zip(&mut ids) {
        if segments.next()? != collection {
            return None;
        }
        *id = segments.next().filter(|id| is_id(id))?;
    }
    segments.next().is_none().then_some(ids)
}

/// The id of `{collection}/{id}`.
pub fn single<'a>(name: &'a str, collection: &str) -> Option<&'a str> {
    let [id] = ids(name, [collection])?;
    Some(id)
}

impl ComputationName {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        ExternalId::parse(single(name, "computations")?).map(Self)
    }
}

impl ParticipantName {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let [computation, duchy] = ids(name, ["computations", "participants"])?;
        Some(Self { computation: ExternalId::parse(computation)?, duchy: duchy.to_owned() })
    }
}

impl ComputationRequisitionName {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let [computation, requisition] = ids(name, ["computations", "requisitions"])?;
        Some(Self {
            computation: ExternalId::parse(computation)?,
            requisition: ExternalId::parse(requisition)?,
        })
    }
}

impl MeasurementName {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let [consumer, measurement] = ids(name, ["measurementConsumers", "measurements"])?;
        Some(Self { consumer: consumer.to_owned(), measurement: ExternalId::parse(measurement)? })
    }
}

impl RequisitionName {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let [data_provider, requisition] = ids(name, ["dataProviders", "requisitions"])?;
        Some(Self { data_provider: data_provider.to_owned(), requisition: ExternalId::parse(requisition)? })
    }
}

impl CertificateName {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        ["duchies", "dataProviders", "measurementConsumers"].into_iter().find_map(|collection| {
            let [owner, certificate] = ids(name, [collection, "certificates"])?;
            Some(Self { owner: format!("{collection}/{owner}"), certificate: certificate.to_owned() })
        })
    }

    /// The owner's id, if it is a duchy.
    pub fn duchy(&self) -> Option<&str> {
        single(&self.owner, "duchies")
    }
}

impl fmt::Display for ComputationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "computations/{}", self.0)
    }
}

impl fmt::Display for ParticipantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "computations/{}/participants/{}", self.computation, self.duchy)
    }
}

impl fmt::Display for ComputationRequisitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "computations/{}/requisitions/{}", self.computation, self.requisition)
    }
}

impl fmt::Display for MeasurementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "measurementConsumers/{}/measurements/{}", self.consumer, self.measurement)
    }
}

impl fmt::Display for RequisitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dataProviders/{}/requisitions/{}", self.data_provider, self.requisition)
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/certificates/{}", self.owner, self.certificate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_as_upstream_writes_them() {
        let id = ExternalId::from_number(1);
        assert_eq!(id.to_string(), "AAAAAAAAAAE");
        let name = ParticipantName { computation: id, duchy: "worker1".into() };
        assert_eq!(name.to_string(), "computations/AAAAAAAAAAE/participants/worker1");
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "computations",
            "computations/",
            "computations/AAAAAAAAAAE/",
            "computations/AAAAAAAAAAE=",
            "computations/AAAAAAAAAAF",
            "computations/AAAA",
            "measurements/AAAAAAAAAAE",
            "computations/AAAAAAAAAAE/participants/worker1",
        ] {
            assert_eq!(ComputationName::parse(name), None, "{name}");
        }
        for duchy in ["", "..", "a/b", "wörker", "a b"] {
            let name = format!("computations/AAAAAAAAAAE/participants/{duchy}");
            assert_eq!(ParticipantName::parse(&name), None, "{name}");
        }
        assert_eq!(CertificateName::parse("kingdoms/1/certificates/2"), None);
    }

    proptest! {
        #[test]
        fn names_survive_the_round_trip(a: u64, b: u64, id in "[A-Za-z0-9_-]{1,9}") {
            let (a, b) = (ExternalId(a), ExternalId(b));
            let participant = ParticipantName { computation: a, duchy: id.clone() };
            prop_assert_eq!(ParticipantName::parse(&participant.to_string()), Some(participant));
            let requisition = ComputationRequisitionName { computation: a, requisition: b };
            prop_assert_eq!(ComputationRequisitionName::parse(&requisition.to_string()), Some(requisition));
            let requisition = RequisitionName { data_provider: id.clone(), requisition: b };
            prop_assert_eq!(RequisitionName::parse(&requisition.to_string()), Some(requisition));
            let measurement = MeasurementName { consumer: id.clone(), measurement: b };
            prop_assert_eq!(MeasurementName::parse(&measurement.to_string()), Some(measurement));
            let certificate = CertificateName { owner: format!("duchies/{id}"), certificate: id };
            prop_assert_eq!(CertificateName::parse(&certificate.to_string()), Some(certificate));
        }
    }
}
