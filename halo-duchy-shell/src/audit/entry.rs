//! What is recorded.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{AuditError, PROCESS};

/// The longest text that is recorded of a reason or a name, in bytes: others may have a say in it.
const LONGEST_TEXT: usize = 500;

/// What happened. The names are those of the `event` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Event {
    /// A process began to write.
    #[serde(rename = "log.opened")]
    LogOpened,
    /// A process ended in order.
    #[serde(rename = "log.closed")]
    LogClosed,
    /// The line before was cut off by a crash: how long it is, and its digest.
    #[serde(rename = "log.torn")]
    LogTorn,
    /// Records that could not be written, for lack of space for instance.
    #[serde(rename = "log.lost")]
    LogLost,
    /// Records of refused calls that were too many to be written one by one.
    #[serde(rename = "log.limited")]
    LogLimited,
    /// Somebody did not get through the TLS handshake.
    #[serde(rename = "connection.refused")]
    ConnectionRefused,
    /// A caller whose certificate is of no known party.
    #[serde(rename = "caller.unknown")]
    CallerUnknown,
    /// A known party called what it may not.
    #[serde(rename = "caller.refused")]
    CallerRefused,
    /// What a duchy sent is refused: malformed, too large, of another computation, or not to be made sense of.
    #[serde(rename = "payload.refused")]
    PayloadRefused,
    /// A duchy sent something else than it had sent before.
    #[serde(rename = "payload.changed")]
    PayloadChanged,
    /// A data provider's data was taken.
    #[serde(rename = "requisition.fulfilled")]
    RequisitionFulfilled,
    /// A data provider's data is refused.
    #[serde(rename = "requisition.refused")]
    RequisitionRefused,
    /// A signature, an envelope or a consent does not hold.
    #[serde(rename = "consent.refused")]
    ConsentRefused,
    /// A key pair was made.
    #[serde(rename = "key.generated")]
    KeyGenerated,
    /// A private key was used.
    #[serde(rename = "key.used")]
    KeyUsed,
    /// A private key or a certificate was replaced by that in its file.
    #[serde(rename = "key.reloaded")]
    KeyReloaded,
    /// Another configuration file was read again.
    #[serde(rename = "configuration.reloaded")]
    ConfigurationReloaded,
    /// A flag that gives up security is in force.
    #[serde(rename = "insecure.flag")]
    InsecureFlag,
    /// A duchy added its component to the noises of a stage.
    #[serde(rename = "noise.added")]
    NoiseAdded,
    /// A stage that adds less noise than the parameters demand was stopped, or let through for development.
    #[serde(rename = "noise.missing")]
    NoiseMissing,
    /// A result was signed, encrypted to the measurement consumer, and handed to the Kingdom.
    #[serde(rename = "result.sent")]
    ResultSent,
    /// A computation failed because of this duchy.
    #[serde(rename = "computation.failed")]
    ComputationFailed,
    /// A mill lost its claim of work.
    #[serde(rename = "lease.lost")]
    LeaseLost,
}

impl Event {
    /// Whether others can make it happen as often as they like.
    pub(super) const fn is_provoked(self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused
                | Self::CallerUnknown
                | Self::CallerRefused
                | Self::PayloadRefused
                | Self::PayloadChanged
                | Self::RequisitionRefused
        )
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// Somebody was told no.
    Refused,
    /// It did not work.
    Failed,
}

/// One thing that happened.
#[derive(Clone, Debug)]
#[must_use = "it is recorded by `record` or `try_record`"]
pub struct Entry {
    pub(super) event: Event,
    pub(super) outcome: Outcome,
    pub(super) duchy: Option<String>,
    pub(super) principal: String,
    pub(super) computation: String,
    pub(super) reason: String,
    pub(super) details: Map<String, Value>,
}

impl Entry {
    /// That `event` happened, with this outcome.
    pub fn new(event: Event, outcome: Outcome) -> Self {
        Self {
            event,
            outcome,
            duchy: None,
            principal: String::new(),
            computation: String::new(),
            reason: String::new(),
            details: Map::new(),
        }
    }

    /// At which duchy, if that is another than the process's.
    pub fn duchy(self, duchy: &str) -> Self {
        Self { duchy: Some(shortened(duchy)), ..self }
    }

    /// Who it was: `duchies/{id}`, `dataProviders/{id}`, `akid:` and the authority key identifier in hexadecimal, or `ip:`
    /// and an address.
    pub fn principal(self, principal: &str) -> Self {
        Self { principal: shortened(principal), ..self }
    }

    /// The global id of the computation.
    pub fn computation(self, computation: &str) -> Self {
        Self { computation: shortened(computation), ..self }
    }

    /// Why, for people.
    pub fn reason(self, reason: &str) -> Self {
        Self { reason: shortened(reason), ..self }
    }

    /// More that can be told of this event.
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => Value::String(shortened(&text)),
            other => other,
        };
        self.details.insert(name.to_owned(), value);
        self
    }

    /// Records it in the process's log, if there is one. That it cannot is logged, and told in the log once it can.
    pub fn record(self) {
        let event = self.event;
        if let Err(error) = self.try_record() {
            tracing::error!(
                ?event,
                error = &error as &dyn std::error::Error,
                "an event is not in the audit log"
            );
        }
    }

    /// As [`Entry::record`], for what must not go on unrecorded.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn try_record(self) -> Result<(), AuditError> {
        match PROCESS.get() {
            Some(log) => log.append(self),
            None => Ok(()),
        }
    }
}

/// The beginning of a text that others may have made long.
fn shortened(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST_TEXT)])
}
