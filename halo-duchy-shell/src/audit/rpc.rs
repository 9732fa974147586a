//! What is recorded of RPCs that a server refuses.

use std::sync::{Arc, OnceLock};

use tonic::Code;

use super::{Entry, Event, Outcome};
use crate::proto::{api, system};

tokio::task_local! {
    /// The RPC that is being served.
    static CALL: AuditedCall;
}

/// An RPC that is being served, and what is found out about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditedCall(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    principal: OnceLock<String>,
    computation: OnceLock<String>,
}

/// Tells who makes the RPC that is being served.
pub(crate) fn name_principal(principal: impl FnOnce() -> String) {
    // Where no RPC is served nobody asks; of two tellers the first is right.
    drop(CALL.try_with(|call| call.0.principal.set(principal())));
}

/// Tells which computation the RPC that is being served is about.
pub(crate) fn name_computation(computation: &str) {
    drop(CALL.try_with(|call| call.0.computation.set(computation.to_owned())));
}

impl AuditedCall {
    /// Does `work` as a part of this RPC.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        CALL.sync_scope(self.clone(), work)
    }

    /// Has `work` be a part of this RPC.
    pub(crate) fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CALL.scope(self.clone(), work)
    }

    /// Records the end of the RPC, if it was refused for a reason that matters.
    pub(crate) fn ended(&self, (service, method): (&str, &str), code: Code, message: &str) {
        let Some(event) = refusal(service, method, code) else { return };
        let fact = |fact: &OnceLock<String>| fact.get().cloned().unwrap_or_default();
        Entry::new(event, Outcome::Refused)
            .principal(&fact(&self.0.principal))
            .computation(&fact(&self.0.computation))
            .reason(message)
            .detail("rpc", format!("{service}/{method}"))
            .detail("status", crate::telemetry::rpc::code_name(code))
            .record();
    }
}

/// The event that the end of an RPC with `code` is, if it is one.
pub(super) fn refusal(service: &str, method: &str, code: Code) -> Option<Event> {
    use Code::{
        AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, PermissionDenied,
        ResourceExhausted, Unauthenticated,
    };
    let advance =
        (service, method) == (system::computation_control_server::SERVICE_NAME, "AdvanceComputation");
    let fulfill = service == api::requisition_fulfillment_server::SERVICE_NAME;
    match code {
        Unauthenticated => Some(Event::CallerUnknown),
        PermissionDenied => Some(Event::CallerRefused),
        AlreadyExists if advance => Some(Event::PayloadChanged),
        InvalidArgument | FailedPrecondition | NotFound | OutOfRange | ResourceExhausted if advance => {
            Some(Event::PayloadRefused)
        }
        InvalidArgument | FailedPrecondition | NotFound | OutOfRange | ResourceExhausted if fulfill => {
            Some(Event::RequisitionRefused)
        }
        _ => None,
    }
}
