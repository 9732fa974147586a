//! What the Kingdom remembers: measurements with their participants and requisitions.
//!
//! A measurement and its computation are one thing with two names: measurement consumers and data providers see the
//! first, duchies the second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prost_types::{Any, Timestamp};
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::config::{KingdomConfig, Protocol};
use super::error::KingdomError;
use super::fault::Fault;
use super::resource_name::{CertificateName, ComputationName, ExternalId};
use super::saved::{bytes, message, number, optional_message};
use super::tracked::Tracked;
use super::violation::Violation;
use crate::clock::Clock;
use crate::hybrid_encryption::PrivateKeyset;
use crate::proto::api::{self, EncryptedMessage, MeasurementSpec, SignedMessage};
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_participant::{Failure, RequisitionParams, State as ParticipantState};
use crate::proto::system::{Computation, ComputationLogEntry, requisition::FulfillmentContext};

/// When something last changed, in microseconds since 1970. No two changes have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct UpdateTime(i64);

impl UpdateTime {
    /// Reads the time in a continuation token.
    pub fn from_timestamp(time: &Timestamp) -> Option<Self> {
        let micros = (0..1_000_000_000).contains(&time.nanos).then_some(i64::from(time.nanos) / 1000)?;
        time.seconds.checked_mul(1_000_000)?.checked_add(micros).map(Self)
    }

    /// The time `duration` earlier.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The etag of a resource that changed then.
    pub fn etag(self) -> String {
        format!("{:x}", self.0)
    }
}

impl From<UpdateTime> for Timestamp {
    fn from(UpdateTime(micros): UpdateTime) -> Self {
        // The remainder is below 10^6: its nanoseconds fit.
        Self { seconds: micros.div_euclid(1_000_000), nanos: micros.rem_euclid(1_000_000) as i32 * 1000 }
    }
}

/// Everything the Kingdom knows.
pub struct State {
    pub config: KingdomConfig,
    /// What outlives the process, if it has a database.
    pub records: Records,
    /// How computations are shown to duchies otherwise than they are.
    pub forgeries: BTreeMap<ExternalId, Forgery>,
    pub secrets: Vec<Zeroizing<Vec<u8>>>,
    /// The keys that measurement consumers decrypt results by, by `measurementConsumers/{id}`.
    pub result_keys: BTreeMap<String, Vec<PrivateKeyset>>,
    pub rng: ChaCha20Rng,
    pub clock: Arc<dyn Clock>,
}

/// What outlives the process.
#[derive(Debug, Default)]
pub struct Records {
    /// By computation.
    pub measurements: Tracked<ExternalId, Measurement>,
    /// Computations by (measurement consumer, request id), so that a repeated request finds the first.
    pub requests: Tracked<(String, String), ExternalId>,
    /// The protocols of requests that are to come, by (measurement consumer, request id).
    pub plans: Tracked<(String, String), Protocol>,
    pub certificates: Tracked<String, KnownCertificate>,
    /// By computation and a number, which rises.
    pub log_entries: Tracked<(ExternalId, u64), LogEntry>,
    pub violations: Tracked<u64, Violation>,
    pub faults: Tracked<u64, Fault>,
    /// When anything last changed.
    pub last_update: UpdateTime,
}

/// A certificate that was registered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KnownCertificate {
    #[serde(with = "message")]
    pub certificate: api::Certificate,
}

/// What a duchy logged.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LogEntry {
    /// The duchy's id.
    pub duchy: String,
    #[serde(with = "message")]
    pub entry: ComputationLogEntry,
}

/// Changes what a duchy, given by its id, is shown.
pub type Forgery = Box<dyn Fn(&str, &mut Computation) + Send>;

/// A measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Measurement {
    pub id: ExternalId,
    /// Id of the measurement consumer.
    pub consumer: String,
    pub consumer_certificate: String,
    /// How it is computed.
    pub protocol: Protocol,
    pub reference_id: String,
    #[serde(with = "message")]
    pub signed_spec: SignedMessage,
    /// The serialised [`MeasurementSpec`] inside.
    #[serde(with = "bytes")]
    pub spec_bytes: Vec<u8>,
    #[serde(with = "message")]
    pub spec: MeasurementSpec,
    #[serde(with = "number")]
    pub state: ComputationState,
    pub create_time: UpdateTime,
    pub update_time: UpdateTime,
    /// By duchy.
    pub participants: BTreeMap<String, Participant>,
    pub requisitions: BTreeMap<ExternalId, Requisition>,
    pub result: Option<MeasurementResult>,
    #[serde(with = "optional_message")]
    pub failure: Option<api::measurement::Failure>,
}

/// A duchy's part in a computation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Participant {
    #[serde(with = "number")]
    pub state: ParticipantState,
    pub update_time: UpdateTime,
    #[serde(with = "optional_message")]
    pub params: Option<RequisitionParams>,
    #[serde(with = "optional_message")]
    pub failure: Option<Failure>,
}

/// What one data provider is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Requisition {
    /// Id of the data provider.
    pub data_provider: String,
    pub data_provider_certificate: String,
    #[serde(with = "optional_message")]
    pub data_provider_public_key: Option<Any>,
    #[serde(with = "message")]
    pub encrypted_spec: EncryptedMessage,
    #[serde(with = "bytes")]
    pub nonce_hash: Vec<u8>,
    pub state: RequisitionState,
    pub update_time: UpdateTime,
    /// Once fulfilled.
    pub nonce: Option<u64>,
    /// In a share shuffle from the beginning, otherwise once fulfilled.
    pub fulfilling_duchy: Option<String>,
    #[serde(with = "optional_message")]
    pub fulfillment_context: Option<FulfillmentContext>,
    #[serde(with = "optional_message")]
    pub refusal: Option<api::requisition::Refusal>,
}

/// The state of a requisition; data providers do not see it before it is `Unfulfilled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum RequisitionState {
    /// The duchies have not yet published the keys to encrypt for.
    PendingParams,
    /// The data provider may act.
    Unfulfilled,
    /// A duchy has the data.
    Fulfilled,
    /// The data provider declined.
    Refused,
    /// The measurement ended without it.
    Withdrawn,
}

/// What the aggregator sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MeasurementResult {
    pub aggregator_certificate: String,
    #[serde(with = "bytes")]
    pub encrypted_result: Vec<u8>,
}

/// Whether a computation in `state` is over.
pub fn is_terminal(state: ComputationState) -> bool {
    matches!(state, ComputationState::Succeeded | ComputationState::Failed | ComputationState::Cancelled)
}

impl Records {
    /// What duchies logged about a computation, oldest first.
    pub fn log_entries_of(
        &self,
        computation: ExternalId,
    ) -> impl DoubleEndedIterator<Item = (&(ExternalId, u64), &LogEntry)> {
        self.log_entries.range((computation, 0)..=(computation, u64::MAX))
    }
}

impl State {
    /// The time of the next change.
    pub fn tick(&mut self) -> UpdateTime {
        let last = &mut self.records.last_update;
        let now = UpdateTime(self.clock.now().millis().saturating_mul(1000));
        *last = now.max(UpdateTime(last.0.saturating_add(1)));
        *last
    }

    /// Makes of a computation what `duchy` is to see.
    pub fn forge(&self, duchy: &str, computation: &mut Computation) {
        let id = ComputationName::parse(&computation.name).map(|ComputationName(id)| id);
        if let Some(forge) = id.and_then(|id| self.forgeries.get(&id)) {
            forge(duchy, computation);
        }
    }

    /// A certificate that may be used now.
    pub fn valid_certificate(&self, name: &CertificateName) -> Result<&api::Certificate, KingdomError> {
        use api::certificate::RevocationState;
        let name = name.to_string();
        let known = self.records.certificates.get(&name);
        known
            .map(|known| &known.certificate)
            .filter(|certificate| certificate.revocation_state() == RevocationState::Unspecified)
            .ok_or(KingdomError::CertificateInvalid(name))
    }

    /// Takes down that an invariant was broken.
    pub fn report(&mut self, violation: Violation) {
        tracing::error!(%violation, "an invariant is broken");
        self.records.violations.push(violation);
    }

    /// Records a text that gives away a secret.
    pub fn check_text(&mut self, computation: ExternalId, duchy: &str, text: &str) {
        if self.secrets.iter().any(|secret| discloses(text, secret)) {
            self.report(Violation::SecretDisclosed { computation, duchy: duchy.to_owned() });
        }
    }
}

/// Whether `text` has `secret` in it: as bytes, in hexadecimal or base64, or as Rust's `Debug` writes bytes.
fn discloses(text: &str, secret: &[u8]) -> bool {
    let raw = text.as_bytes().windows(secret.len()).any(|window| window == secret);
    let listed = Zeroizing::new(format!("{secret:?}"));
    raw || text.to_ascii_lowercase().contains(&*Zeroizing::new(hex::encode(secret)))
        || [&STANDARD, &URL_SAFE_NO_PAD].iter().any(|base64| {
            // Bytes that follow the secret change the last digits.
            let digits = Zeroizing::new(base64.encode(&secret[..secret.len() / 3 * 3]));
            text.contains(&**digits)
        })
        || text.contains(listed.trim_matches(['[', ']']))
}

impl Measurement {
    /// The participant of a duchy.
    pub fn participant(&self, computation: ExternalId, duchy: &str) -> Result<&Participant, KingdomError> {
        self.participants.get(duchy).ok_or_else(|| KingdomError::NotFound {
            resource: "participant",
            name: format!("computations/{computation}/participants/{duchy}"),
        })
    }

    /// Whether every participant is in `state`.
    pub fn all_participants(&self, state: ParticipantState) -> bool {
        self.participants.values().all(|participant| participant.state == state)
    }

    /// Moves the computation on at `time`.
    pub fn advance(&mut self, state: ComputationState, time: UpdateTime) {
        self.state = state;
        self.update_time = time;
    }

    /// Ends every requisition that is neither fulfilled nor refused.
    pub fn withdraw_requisitions(&mut self, time: UpdateTime) {
        for requisition in self.requisitions.values_mut() {
            if matches!(requisition.state, RequisitionState::PendingParams | RequisitionState::Unfulfilled) {
                requisition.state = RequisitionState::Withdrawn;
                requisition.update_time = time;
            }
        }
    }
}

impl Requisition {
    /// Refuses a caller that read an older version; an empty etag always passes.
    pub fn check_etag(&self, etag: &str) -> Result<(), KingdomError> {
        check_etag(etag, self.update_time)
    }
}

impl Participant {
    /// Refuses a caller that read an older version; an empty etag always passes.
    pub fn check_etag(&self, etag: &str) -> Result<(), KingdomError> {
        check_etag(etag, self.update_time)
    }
}

fn check_etag(etag: &str, update_time: UpdateTime) -> Result<(), KingdomError> {
    let current = update_time.etag();
    if etag.is_empty() || etag == current {
        Ok(())
    } else {
        Err(KingdomError::EtagMismatch { found: etag.to_owned(), current })
    }
}
