//! Ways in which the Kingdom can be made to misbehave, to see what duchies make of it
//! (docs/development-kingdom.md#faults).

mod layer;
mod message;
mod stream;

use std::time::Duration;

use tonic::Code;

use super::Kingdom;
use super::error::KingdomError;
use super::state::{Records, State};
use crate::clock::Timestamp;
use crate::proto::system::computation::State as ComputationState;

pub(super) use layer::FaultLayer;
pub(super) use stream::StreamFaults;

/// The RPCs that faults happen to: the system and the public API.
pub const METHODS: [&str; 14] = [
    "ConfirmComputationParticipant",
    "CreateComputationLogEntry",
    "CreateMeasurement",
    "FailComputationParticipant",
    "FulfillRequisition",
    "GetCertificate",
    "GetComputation",
    "GetComputationParticipant",
    "GetMeasurement",
    "ListRequisitions",
    "RefuseRequisition",
    "SetComputationResult",
    "SetParticipantRequisitionParams",
    STREAM,
];

const STREAM: &str = "StreamActiveComputations";

/// A misbehaviour, and when it happens: to calls of `method` by `caller`, until there were `calls` of them or it is
/// `end_time`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// One of [`METHODS`]; all of them if none.
    pub method: Option<String>,
    /// Who calls: `duchies/{id}`, `dataProviders/{id}` or `measurementConsumers/{id}`; everybody if none.
    pub caller: Option<String>,
    /// How many calls it still happens to, at least 1; if none, there is no such limit. In streams, how many times that
    /// one finds computations to tell of.
    pub calls: Option<u32>,
    /// When it ends by itself, if ever.
    pub end_time: Option<Timestamp>,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// It is answered with a status in place of doing what it asks.
    Refuse(Code),
    /// What it asks is done, and the answer is a status, as if the answer had got lost.
    LoseAnswer(Code),
    /// Nobody looks at it for so long.
    Delay(Duration),
    /// A stream of computations ends with a status after so many more items.
    CutStream {
        /// The items before the end.
        items: u32,
        /// The status.
        code: Code,
    },
    /// Every item of a stream comes twice.
    RepeatItems,
    /// The items that a stream finds at once come in the opposite order, each with its own continuation token.
    ReverseItems,
    /// A stream tells another state than a computation's.
    WrongState(ComputationState),
    /// The continuation tokens of a stream are from before the first change.
    StaleTokens,
}

impl FaultKind {
    /// Whether it is about the items of a stream, not about a call.
    const fn is_of_stream(self) -> bool {
        match self {
            Self::Refuse(_) | Self::LoseAnswer(_) | Self::Delay(_) => false,
            Self::CutStream { .. }
            | Self::RepeatItems
            | Self::ReverseItems
            | Self::WrongState(_)
            | Self::StaleTokens => true,
        }
    }
}

impl Fault {
    /// A fault that happens to every call, until it is cleared.
    pub const fn new(kind: FaultKind) -> Self {
        Self { kind, method: None, caller: None, calls: None, end_time: None }
    }

    /// The same, for calls of `method` only.
    pub fn of(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// The same, for calls by `caller` only.
    pub fn by(self, caller: &str) -> Self {
        Self { caller: Some(caller.to_owned()), ..self }
    }

    /// The same, for the next `calls` only.
    pub fn times(self, calls: u32) -> Self {
        Self { calls: Some(calls), ..self }
    }

    fn check(&self) -> Result<(), KingdomError> {
        let method = self.method.as_deref();
        if let Some(method) = method.filter(|method| !METHODS.contains(method)) {
            let problem = format!("{method:?}, expected none or one of {}", METHODS.join(", "));
            return Err(KingdomError::invalid("fault.method", problem));
        }
        if self.kind.is_of_stream() && method.is_some_and(|method| method != STREAM) {
            return Err(KingdomError::invalid("fault.method", format!("only {STREAM} has items")));
        }
        if self.calls == Some(0) {
            return Err(KingdomError::invalid("fault.calls", "0"));
        }
        if let FaultKind::Refuse(Code::Ok) | FaultKind::LoseAnswer(Code::Ok) = self.kind {
            return Err(KingdomError::invalid("fault.code", "OK is no fault"));
        }
        Ok(())
    }

    fn happens_to(&self, method: &str, caller: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.caller.as_deref().is_none_or(|wanted| wanted == caller)
    }
}

impl Kingdom {
    /// Makes the Kingdom misbehave from now on; the number of the fault.
    ///
    /// # Errors
    /// If the fault cannot happen to its method or to any call, or it cannot be saved.
    pub fn inject(&self, fault: Fault) -> Result<u64, KingdomError> {
        fault.check()?;
        tracing::warn!(?fault, "the Kingdom will misbehave");
        self.update(|state| Ok(state.records.faults.push(fault)))
    }

    /// The faults that are still to happen, by number.
    pub fn faults(&self) -> Vec<(u64, Fault)> {
        let state = self.state();
        let now = state.clock.now();
        let faults = state.records.faults.iter().filter(|(_, fault)| !fault.has_ended(now));
        faults.map(|(id, fault)| (*id, fault.clone())).collect()
    }

    /// Ends the faults of these numbers, or all; how many there were.
    ///
    /// # Errors
    /// If that cannot be saved.
    pub fn clear_faults(&self, ids: Option<&[u64]>) -> Result<usize, KingdomError> {
        self.update(|state| {
            let faults = &mut state.records.faults;
            let before = faults.len();
            faults.remove_if(|id, _| ids.is_none_or(|ids| ids.contains(id)));
            Ok(before - faults.len())
        })
    }

    /// What is to happen to a call, in this order, or to what a stream found; it counts as having happened.
    fn take_faults(
        &self,
        method: &str,
        caller: &str,
        of_stream: bool,
    ) -> Result<Vec<FaultKind>, KingdomError> {
        if self.state().records.faults.is_empty() {
            return Ok(Vec::new());
        }
        self.update(|state: &mut State| {
            let now = state.clock.now();
            state.records.faults.remove_if(|_, fault| fault.has_ended(now));
            Ok(state.records.take_faults(method, caller, of_stream))
        })
    }
}

impl Fault {
    fn has_ended(&self, now: Timestamp) -> bool {
        self.end_time.is_some_and(|end| end <= now)
    }
}

impl Records {
    fn take_faults(&mut self, method: &str, caller: &str, of_stream: bool) -> Vec<FaultKind> {
        let found = self
            .faults
            .iter()
            .filter(|(_, fault)| fault.kind.is_of_stream() == of_stream && fault.happens_to(method, caller));
        let mut taken = Vec::new();
        for (id, kind) in found.map(|(id, fault)| (*id, fault.kind)).collect::<Vec<_>>() {
            taken.push(kind);
            let calls = self.faults.get(&id).and_then(|fault| fault.calls);
            match calls.map(|calls| calls.saturating_sub(1)) {
                None => {}
                Some(0) => drop(self.faults.remove(&id)),
                left => {
                    if let Some(fault) = self.faults.get_mut(&id) {
                        fault.calls = left;
                    }
                }
            }
            // A call has one answer.
            if let FaultKind::Refuse(_) | FaultKind::LoseAnswer(_) = kind {
                break;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_in_their_order() {
        let mut records = Records::default();
        let refuse = |code| Fault::new(FaultKind::Refuse(code));
        records.faults.push(Fault::new(FaultKind::Delay(Duration::ZERO)).times(2));
        records.faults.push(refuse(Code::Aborted).of("GetComputation").times(1));
        records.faults.push(refuse(Code::Internal).by("duchies/worker1"));
        records.faults.push(Fault::new(FaultKind::RepeatItems));
        let mut take = |method, caller| records.take_faults(method, caller, false);
        let delay = FaultKind::Delay(Duration::ZERO);
        assert_eq!(take("GetComputation", "duchies/worker1"), [delay, FaultKind::Refuse(Code::Aborted)]);
        assert_eq!(take("GetComputation", "duchies/worker1"), [delay, FaultKind::Refuse(Code::Internal)]);
        assert_eq!(take("GetComputation", "duchies/worker1"), [FaultKind::Refuse(Code::Internal)]);
        assert_eq!(take("GetComputation", "duchies/worker2"), []);
        assert_eq!(records.take_faults(STREAM, "duchies/worker2", true), [FaultKind::RepeatItems]);
    }

    #[test]
    fn faults_that_cannot_happen_are_refused() {
        for (fault, problem) in [
            (Fault::new(FaultKind::Refuse(Code::Aborted)).of("Nothing"), "fault.method"),
            (Fault::new(FaultKind::RepeatItems).of("GetComputation"), "has items"),
            (Fault::new(FaultKind::Refuse(Code::Aborted)).times(0), "fault.calls"),
            (Fault::new(FaultKind::LoseAnswer(Code::Ok)), "OK is no fault"),
        ] {
            let refused = fault.check().expect_err(problem).to_string();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
