//! Faults as messages of the Kingdom's own service, in which form they are also kept.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tonic::Code;

use super::{Fault, FaultKind};
use crate::clock::Timestamp;
use crate::kingdom::error::KingdomError;
use crate::kingdom::saved::message;
use crate::proto::dev_kingdom::{self, fault};
use crate::proto::system::computation::State as ComputationState;

impl From<&Fault> for dev_kingdom::Fault {
    fn from(fault: &Fault) -> Self {
        Self {
            // Whoever shows it knows its number.
            id: 0,
            method: fault.method.clone().unwrap_or_default(),
            caller: fault.caller.clone().unwrap_or_default(),
            calls: fault.calls.unwrap_or_default(),
            end_time: fault.end_time.map(Into::into),
            kind: Some(fault.kind.into()),
        }
    }
}

impl From<FaultKind> for fault::Kind {
    fn from(kind: FaultKind) -> Self {
        let number = |code: Code| i32::from(code).unsigned_abs();
        match kind {
            FaultKind::Refuse(code) => Self::Refuse(fault::Refuse { code: number(code) }),
            FaultKind::LoseAnswer(code) => Self::LoseAnswer(fault::LoseAnswer { code: number(code) }),
            FaultKind::Delay(duration) => {
                // A delay that no message can hold never ends either.
                Self::Delay(fault::Delay { duration: duration.try_into().ok() })
            }
            FaultKind::CutStream { items, code } => {
                Self::CutStream(fault::CutStream { items, code: number(code) })
            }
            FaultKind::RepeatItems => Self::RepeatItems(fault::RepeatItems {}),
            FaultKind::ReverseItems => Self::ReverseItems(fault::ReverseItems {}),
            FaultKind::WrongState(state) => Self::WrongState(fault::WrongState { state: state.into() }),
            FaultKind::StaleTokens => Self::StaleTokens(fault::StaleTokens {}),
        }
    }
}

impl TryFrom<dev_kingdom::Fault> for Fault {
    type Error = KingdomError;

    fn try_from(message: dev_kingdom::Fault) -> Result<Self, KingdomError> {
        let end_time = message.end_time.as_ref().map(Timestamp::try_from).transpose();
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let fault = Self {
            kind: message.kind.ok_or_else(|| KingdomError::invalid("fault.kind", "missing"))?.try_into()?,
            method: given(message.method),
            caller: given(message.caller),
            calls: Some(message.calls).filter(|calls| *calls > 0),
            end_time: end_time.map_err(|error| KingdomError::invalid("fault.end_time", error.to_string()))?,
        };
        fault.check()?;
        Ok(fault)
    }
}

impl TryFrom<fault::Kind> for FaultKind {
    type Error = KingdomError;

    fn try_from(kind: fault::Kind) -> Result<Self, KingdomError> {
        Ok(match kind {
            fault::Kind::Refuse(fault::Refuse { code }) => Self::Refuse(status_code(code)?),
            fault::Kind::LoseAnswer(fault::LoseAnswer { code }) => Self::LoseAnswer(status_code(code)?),
            fault::Kind::Delay(fault::Delay { duration }) => {
                let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
                let missing = || KingdomError::invalid("fault.delay.duration", "missing or negative");
                Self::Delay(duration.ok_or_else(missing)?)
            }
            fault::Kind::CutStream(fault::CutStream { items, code }) => {
                Self::CutStream { items, code: status_code(code)? }
            }
            fault::Kind::RepeatItems(fault::RepeatItems {}) => Self::RepeatItems,
            fault::Kind::ReverseItems(fault::ReverseItems {}) => Self::ReverseItems,
            fault::Kind::WrongState(fault::WrongState { state }) => match ComputationState::try_from(state) {
                Ok(ComputationState::Unspecified) | Err(_) => {
                    return Err(KingdomError::invalid("fault.wrong_state.state", state.to_string()));
                }
                Ok(state) => Self::WrongState(state),
            },
            fault::Kind::StaleTokens(fault::StaleTokens {}) => Self::StaleTokens,
        })
    }
}

fn status_code(number: u32) -> Result<Code, KingdomError> {
    // Code makes UNKNOWN of every number that is none of its own.
    let code = i32::try_from(number).map(Code::from_i32).unwrap_or(Code::Unknown);
    if i32::from(code).unsigned_abs() == number {
        Ok(code)
    } else {
        Err(KingdomError::invalid("fault.code", format!("{number} is no status code")))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        message::serialize(&dev_kingdom::Fault::from(self), serializer)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let message: dev_kingdom::Fault = message::deserialize(deserializer)?;
        Self::try_from(message).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_being_written() {
        for kind in [
            FaultKind::Refuse(Code::Aborted),
            FaultKind::LoseAnswer(Code::Unavailable),
            FaultKind::Delay(Duration::from_millis(1500)),
            FaultKind::CutStream { items: 3, code: Code::Ok },
            FaultKind::RepeatItems,
            FaultKind::ReverseItems,
            FaultKind::WrongState(ComputationState::PendingComputation),
            FaultKind::StaleTokens,
        ] {
            let fault = Fault { end_time: Some(Timestamp::from_millis(1234)), ..Fault::new(kind).times(2) };
            let fault = fault.of("StreamActiveComputations").by("duchies/worker1");
            let text = serde_json::to_string(&fault).expect("text");
            assert_eq!(serde_json::from_str::<Fault>(&text).expect("read"), fault);
        }
    }

    #[test]
    fn messages_that_are_no_fault_are_refused() {
        let kinds = [
            None,
            Some(fault::Kind::Refuse(fault::Refuse { code: 99 })),
            Some(fault::Kind::Delay(fault::Delay { duration: None })),
            Some(fault::Kind::WrongState(fault::WrongState { state: 0 })),
        ];
        for kind in kinds {
            let message = dev_kingdom::Fault { kind, ..Default::default() };
            assert!(Fault::try_from(message.clone()).is_err(), "{message:?}");
        }
    }
}
