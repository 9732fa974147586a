//! The public API's `Requisitions`: what a data provider is asked for, and its refusals.

use tonic::{Request, Response, Status};

use super::error::KingdomError;
use super::resource_name::{ExternalId, RequisitionName, single};
use super::state::{RequisitionState, State};
use super::{Kingdom, convert, not_found};
use crate::identity::{Caller, caller};
use crate::proto::api::measurement::{Failure, failure::Reason};
use crate::proto::api::requisition::{Refusal, refusal::Justification};
use crate::proto::api::requisitions_server::Requisitions;
use crate::proto::api::{
    ListRequisitionsRequest, ListRequisitionsResponse, RefuseRequisitionRequest, Requisition,
};
use crate::proto::system::computation::State as ComputationState;

const DEFAULT_PAGE_SIZE: usize = 50;
const MAXIMUM_PAGE_SIZE: usize = 500;

#[tonic::async_trait]
impl Requisitions for Kingdom {
    async fn list_requisitions(
        &self,
        request: Request<ListRequisitionsRequest>,
    ) -> Result<Response<ListRequisitionsResponse>, Status> {
        let parent = &request.get_ref().parent;
        let data_provider = single(parent, "dataProviders")
            .ok_or_else(|| KingdomError::name("parent", "data provider", parent))?;
        check_data_provider(&request, data_provider)?;
        Ok(Response::new(list(&self.state(), data_provider, request.get_ref())?))
    }

    async fn refuse_requisition(
        &self,
        request: Request<RefuseRequisitionRequest>,
    ) -> Result<Response<Requisition>, Status> {
        let name = &request.get_ref().name;
        let key =
            RequisitionName::parse(name).ok_or_else(|| KingdomError::name("name", "requisition", name))?;
        check_data_provider(&request, &key.data_provider)?;
        let RefuseRequisitionRequest { refusal, etag, .. } = request.into_inner();
        let refusal = refusal
            .filter(|refusal| refusal.justification() != Justification::Unspecified)
            .ok_or_else(|| KingdomError::invalid("refusal.justification", "missing"))?;
        Ok(Response::new(self.change(|state| refuse(state, &key, refusal, &etag))?))
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn check_data_provider<T>(request: &Request<T>, data_provider: &str) -> Result<(), Status> {
    match caller(request)? {
        Caller::DataProvider(name) if single(name, "dataProviders") == Some(data_provider) => Ok(()),
        _ => Err(KingdomError::NotOwner("the requisitions").into()),
    }
}

/// Requisitions in order of id; a page token is the last id of the page before.
fn list(
    state: &State,
    data_provider: &str,
    request: &ListRequisitionsRequest,
) -> Result<ListRequisitionsResponse, KingdomError> {
    let page_size = match usize::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE_SIZE,
        Ok(size) => size.min(MAXIMUM_PAGE_SIZE),
        Err(_) => return Err(KingdomError::invalid("page_size", "negative")),
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => {
            Some(ExternalId::parse(token).ok_or_else(|| KingdomError::invalid("page_token", "not a token"))?)
        }
    };
    let filter = request.filter.clone().unwrap_or_default();
    let mut found: Vec<(ExternalId, Requisition)> = Vec::new();
    for measurement in state.records.measurements.values() {
        for (id, requisition) in &measurement.requisitions {
            if requisition.data_provider != data_provider
                || requisition.state == RequisitionState::PendingParams
                || after.is_some_and(|after| *id <= after)
            {
                continue;
            }
            let message = convert::requisition(measurement, *id, requisition);
            let wanted = |wanted: &[i32], state: i32| wanted.is_empty() || wanted.contains(&state);
            if wanted(&filter.states, message.state)
                && wanted(&filter.measurement_states, message.measurement_state)
            {
                found.push((*id, message));
            }
        }
    }
    found.sort_unstable_by_key(|(id, _)| *id);
    let more = found.len() > page_size;
    found.truncate(page_size);
    let last = found.last().filter(|_| more);
    Ok(ListRequisitionsResponse {
        next_page_token: last.map(|(id, _)| id.to_string()).unwrap_or_default(),
        requisitions: found.into_iter().map(|(_, requisition)| requisition).collect(),
    })
}

fn refuse(
    state: &mut State,
    key: &RequisitionName,
    refusal: Refusal,
    etag: &str,
) -> Result<Requisition, KingdomError> {
    let absent = || not_found("requisition", key.to_string());
    let (computation, measurement) = state
        .records
        .measurements
        .iter()
        .find(|(_, measurement)| {
            let requisition = measurement.requisitions.get(&key.requisition);
            requisition.is_some_and(|found| found.data_provider == key.data_provider)
        })
        .ok_or_else(absent)?;
    let computation = *computation;
    let requisition = measurement.requisitions.get(&key.requisition).ok_or_else(absent)?;
    requisition.check_etag(etag)?;
    if requisition.state != RequisitionState::Unfulfilled {
        let (requisition, state) = (key.requisition, requisition.state);
        return Err(KingdomError::RequisitionState { requisition, state });
    }
    if measurement.state != ComputationState::PendingRequisitionFulfillment {
        return Err(KingdomError::ComputationState { computation, state: measurement.state });
    }

    let time = state.tick();
    let measurement = state.records.measurements.get_mut(&computation).ok_or_else(absent)?;
    if let Some(requisition) = measurement.requisitions.get_mut(&key.requisition) {
        requisition.state = RequisitionState::Refused;
        requisition.update_time = time;
        requisition.refusal = Some(refusal);
    }
    measurement.withdraw_requisitions(time);
    measurement.failure = Some(Failure {
        reason: Reason::RequisitionRefused.into(),
        message: format!("ID of refused Requisition: {}", key.requisition),
    });
    measurement.advance(ComputationState::Failed, time);
    let measurement = state.records.measurements.get(&computation).ok_or_else(absent)?;
    let requisition = measurement.requisitions.get(&key.requisition).ok_or_else(absent)?;
    Ok(convert::requisition(measurement, key.requisition, requisition))
}
