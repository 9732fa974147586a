//! What the Kingdom remembers: measurements with their participants and requisitions.
//!
//! A measurement and its computation are one thing with two names: measurement consumers and data providers see the
//! first, duchies the second.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::{Any, Timestamp};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::config::KingdomConfig;
use super::error::KingdomError;
use super::resource_name::{CertificateName, ComputationName, ExternalId};
use super::violation::Violation;
use crate::clock::Clock;
use crate::proto::api::{self, EncryptedMessage, MeasurementSpec, SignedMessage};
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_participant::{Failure, RequisitionParams, State as ParticipantState};
use crate::proto::system::{Computation, ComputationLogEntry, StageAttempt, requisition::FulfillmentContext};

/// When something last changed, in microseconds since 1970. No two changes have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpdateTime(i64);

impl UpdateTime {
    /// Reads the time in a continuation token.
    pub fn from_timestamp(time: &Timestamp) -> Option<Self> {
        let micros = (0..1_000_000_000).contains(&time.nanos).then_some(i64::from(time.nanos) / 1000)?;
        time.seconds.checked_mul(1_000_000)?.checked_add(micros).map(Self)
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
    /// By computation.
    pub measurements: BTreeMap<ExternalId, Measurement>,
    /// Computations by (measurement consumer, request id), so that a repeated request finds the first.
    pub requests: BTreeMap<(String, String), ExternalId>,
    pub certificates: BTreeMap<String, api::Certificate>,
    pub log_entries: BTreeMap<ExternalId, Vec<(String, ComputationLogEntry)>>,
    /// How computations are shown to duchies otherwise than they are.
    pub forgeries: BTreeMap<ExternalId, Forgery>,
    pub violations: Vec<Violation>,
    /// The latest attempt seen, by computation, duchy and stage.
    pub attempts: BTreeMap<(ExternalId, String, i32), i64>,
    pub secrets: Vec<Zeroizing<Vec<u8>>>,
    pub rng: ChaCha20Rng,
    pub clock: Arc<dyn Clock>,
    pub last_update: UpdateTime,
}

/// Changes what a duchy, given by its id, is shown.
pub type Forgery = Box<dyn Fn(&str, &mut Computation) + Send>;

/// A measurement.
pub struct Measurement {
    pub id: ExternalId,
    /// Id of the measurement consumer.
    pub consumer: String,
    pub consumer_certificate: String,
    pub reference_id: String,
    pub signed_spec: SignedMessage,
    /// The serialised [`MeasurementSpec`] inside.
    pub spec_bytes: Vec<u8>,
    pub spec: MeasurementSpec,
    pub state: ComputationState,
    pub create_time: UpdateTime,
    pub update_time: UpdateTime,
    /// By duchy.
    pub participants: BTreeMap<String, Participant>,
    pub requisitions: BTreeMap<ExternalId, Requisition>,
    pub result: Option<MeasurementResult>,
    pub failure: Option<api::measurement::Failure>,
}

/// A duchy's part in a computation.
pub struct Participant {
    pub state: ParticipantState,
    pub update_time: UpdateTime,
    pub params: Option<RequisitionParams>,
    pub failure: Option<Failure>,
}

/// What one data provider is asked for.
pub struct Requisition {
    /// Id of the data provider.
    pub data_provider: String,
    pub data_provider_certificate: String,
    pub data_provider_public_key: Option<Any>,
    pub encrypted_spec: EncryptedMessage,
    pub nonce_hash: Vec<u8>,
    pub state: RequisitionState,
    pub update_time: UpdateTime,
    /// Once fulfilled.
    pub nonce: Option<u64>,
    /// In a share shuffle from the beginning, otherwise once fulfilled.
    pub fulfilling_duchy: Option<String>,
    pub fulfillment_context: Option<FulfillmentContext>,
    pub refusal: Option<api::requisition::Refusal>,
}

/// The state of a requisition; data providers do not see it before it is `Unfulfilled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct MeasurementResult {
    pub aggregator_certificate: String,
    pub encrypted_result: Vec<u8>,
}

/// Whether a computation in `state` is over.
pub fn is_terminal(state: ComputationState) -> bool {
    matches!(state, ComputationState::Succeeded | ComputationState::Failed | ComputationState::Cancelled)
}

impl State {
    /// The time of the next change.
    pub fn tick(&mut self) -> UpdateTime {
        let now = UpdateTime(self.clock.now().millis().saturating_mul(1000));
        self.last_update = now.max(UpdateTime(self.last_update.0.saturating_add(1)));
        self.last_update
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
        let certificate = self.certificates.get(&name);
        certificate
            .filter(|certificate| certificate.revocation_state() == RevocationState::Unspecified)
            .ok_or(KingdomError::CertificateInvalid(name))
    }

    /// Records what an attempt's number says about the claims of a duchy. Attempt 0 is that a stage was entered: no claim,
    /// and the entry about the first one may overtake it.
    pub fn check_attempt(&mut self, computation: ExternalId, duchy: &str, attempt: Option<&StageAttempt>) {
        let Some(&StageAttempt { stage, attempt_number: found, .. }) = attempt else { return };
        if found == 0 {
            return;
        }
        let last = self.attempts.entry((computation, duchy.to_owned(), stage)).or_insert(found);
        if found < *last {
            let (duchy, last) = (duchy.to_owned(), *last);
            self.violations.push(Violation::AttemptDecreased { computation, duchy, stage, last, found });
        } else {
            *last = found;
        }
    }

    /// Records a text that gives away a secret.
    pub fn check_text(&mut self, computation: ExternalId, duchy: &str, text: &str) {
        let discloses = |secret: &Zeroizing<Vec<u8>>| {
            let raw = text.as_bytes().windows(secret.len()).any(|window| window == secret.as_slice());
            raw || text.to_ascii_lowercase().contains(&hex::encode(secret.as_slice()))
        };
        if self.secrets.iter().any(discloses) {
            self.violations.push(Violation::SecretDisclosed { computation, duchy: duchy.to_owned() });
        }
    }
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
