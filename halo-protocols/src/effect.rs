//! [`Effect`]: all that a computation can ask of its host.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::duchy_id::DuchyId;
use crate::llv2;

/// Bytes that are kept, sent, or both. Cheap to clone; printed as their length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<Vec<u8>>);

impl Payload {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without a copy if this is their only holder.
    pub fn into_bytes(self) -> Vec<u8> {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| shared.as_ref().clone())
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// What the host must do. `M` names the payloads that the protocol's duchies send one another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Effect<M = llv2::Message> {
    /// Sign this serialised public ElGamal key and publish it at the Kingdom (unless that has been done).
    PublishKey {
        /// A serialised `ElGamalPublicKey` of the public API.
        el_gamal_public_key: Vec<u8>,
    },
    /// Publish this at the Kingdom (unless that has been done): the key under which data providers encrypt seeds to
    /// this duchy, signed by it; or, of a duchy that is sent none, that it takes part without a key.
    PublishEncryptionKey {
        /// A serialised `EncryptionPublicKey` of the public API.
        encryption_public_key: Option<Vec<u8>>,
    },
    /// Tell the Kingdom that this duchy is ready (unless that has been done).
    ConfirmParticipation,
    /// Keep the stage's output before anything else happens; hand it back if the stage is repeated.
    Keep(Payload),
    /// Send the stage's output to another duchy. A repetition sends exactly these bytes again.
    Send {
        /// The receiver.
        to: DuchyId,
        /// What it is.
        message: M,
        /// Its bytes. Those of the step's [`Effect::Keep`] if it has one, otherwise a function of what the host stores.
        payload: Payload,
    },
    /// Sign the result, encrypt it to the measurement consumer, and hand it to the Kingdom.
    ReportResult(MeasurementResult),
    /// Tell the Kingdom that this duchy cannot go on. The computation fails for everyone.
    FailParticipation {
        /// For people; holds no secret and no data of a data provider.
        reason: String,
    },
}

/// What a computation found.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementResult {
    /// Estimated number of distinct people.
    pub reach: i64,
    /// Share of the reached people per frequency `1..=maximum_frequency`, where the last stands for itself and all
    /// above; frequencies without people are absent. `None` if only reach was asked for.
    pub frequency: Option<BTreeMap<i64, f64>>,
    /// How many registers the frequency vectors had, where the protocol works on such vectors.
    pub frequency_vector_size: Option<i64>,
}
