//! The system API's `Requisitions`: a duchy reports that it has a data provider's data.

use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use super::config::Protocol;
use super::error::KingdomError;
use super::resource_name::ComputationRequisitionName;
use super::state::{RequisitionState, State};
use super::{Kingdom, Violation, convert, not_found};
use crate::identity::calling_duchy;
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::requisitions_server::Requisitions;
use crate::proto::system::{FulfillRequisitionRequest, Requisition};

#[tonic::async_trait]
impl Requisitions for Kingdom {
    async fn fulfill_requisition(
        &self,
        request: Request<FulfillRequisitionRequest>,
    ) -> Result<Response<Requisition>, Status> {
        let duchy = calling_duchy(&request)?.to_owned();
        let request = request.into_inner();
        let key = ComputationRequisitionName::parse(&request.name)
            .ok_or_else(|| KingdomError::name("name", "requisition", &request.name))?;
        if request.nonce == 0 {
            return Err(KingdomError::invalid("nonce", "missing").into());
        }
        Ok(Response::new(self.change(|state| fulfill(state, &key, duchy, request))?))
    }
}

fn fulfill(
    state: &mut State,
    key: &ComputationRequisitionName,
    duchy: String,
    request: FulfillRequisitionRequest,
) -> Result<Requisition, KingdomError> {
    let computation = key.computation;
    let absent = || not_found("requisition", key.to_string());
    let measurement = state.records.measurements.get(&computation).ok_or_else(absent)?;
    // Upstream answers a duchy of another computation as if there were no such requisition.
    measurement.participants.get(&duchy).ok_or_else(absent)?;
    let requisition = measurement.requisitions.get(&key.requisition).ok_or_else(absent)?;
    requisition.check_etag(&request.etag)?;
    if requisition.state != RequisitionState::Unfulfilled {
        let (requisition, state) = (key.requisition, requisition.state);
        return Err(KingdomError::RequisitionState { requisition, state });
    }
    if measurement.state != ComputationState::PendingRequisitionFulfillment {
        return Err(KingdomError::ComputationState { computation, state: measurement.state });
    }
    let wrong_nonce = Sha256::digest(request.nonce.to_be_bytes()).as_slice() != requisition.nonce_hash;
    let elsewhere = requisition.fulfilling_duchy.as_ref().is_some_and(|assigned| *assigned != duchy);
    // Without a confirmation phase the duchies begin at once.
    let next = match measurement.protocol {
        Protocol::LiquidLegionsV2(_) | Protocol::ReachOnlyLiquidLegionsV2(_) => {
            ComputationState::PendingParticipantConfirmation
        }
        Protocol::HonestMajorityShareShuffle(_) => ComputationState::PendingComputation,
    };
    if wrong_nonce {
        let (requisition, duchy) = (key.requisition, duchy.clone());
        state.report(Violation::WrongNonce { computation, requisition, duchy });
    }
    if elsewhere {
        let (requisition, duchy) = (key.requisition, duchy.clone());
        state.report(Violation::FulfilledElsewhere { computation, requisition, duchy });
    }
    let time = state.tick();
    let measurement = state.records.measurements.get_mut(&computation).ok_or_else(absent)?;
    let requisition = measurement.requisitions.get_mut(&key.requisition).ok_or_else(absent)?;
    requisition.state = RequisitionState::Fulfilled;
    requisition.update_time = time;
    requisition.nonce = Some(request.nonce);
    requisition.fulfilling_duchy = Some(duchy);
    requisition.fulfillment_context = request.fulfillment_context;
    let message = convert::computation_requisition(computation, key.requisition, requisition);
    if measurement.requisitions.values().all(|found| found.state == RequisitionState::Fulfilled) {
        measurement.advance(next, time);
    }
    Ok(message)
}
