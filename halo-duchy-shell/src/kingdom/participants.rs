//! The system API's `ComputationParticipants`: how a duchy takes part, publishes its keys, confirms, or fails.

use tonic::{Request, Response, Status};

use super::config::Protocol;
use super::error::KingdomError;
use super::resource_name::{ExternalId, ParticipantName};
use super::state::{Measurement, Participant, RequisitionState, State, UpdateTime, is_terminal};
use super::{Kingdom, Violation, certificate_name, convert, not_found};
use crate::identity::calling_duchy;
use crate::proto::api::measurement::{Failure as MeasurementFailure, failure::Reason};
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_participant::requisition_params::Protocol as ParamsProtocol;
use crate::proto::system::computation_participant::{RequisitionParams, State as ParticipantState};
use crate::proto::system::computation_participants_server::ComputationParticipants;
use crate::proto::system::{
    ComputationParticipant, ConfirmComputationParticipantRequest, FailComputationParticipantRequest,
    GetComputationParticipantRequest, SetParticipantRequisitionParamsRequest,
};

#[tonic::async_trait]
impl ComputationParticipants for Kingdom {
    async fn get_computation_participant(
        &self,
        request: Request<GetComputationParticipantRequest>,
    ) -> Result<Response<ComputationParticipant>, Status> {
        let key = own_participant(&request, &request.get_ref().name)?;
        Ok(Response::new(participant_message(&self.state(), &key)?))
    }

    async fn set_participant_requisition_params(
        &self,
        request: Request<SetParticipantRequisitionParamsRequest>,
    ) -> Result<Response<ComputationParticipant>, Status> {
        let key = own_participant(&request, &request.get_ref().name)?;
        let SetParticipantRequisitionParamsRequest { requisition_params, etag, .. } = request.into_inner();
        let missing = || KingdomError::invalid("requisition_params", "missing");
        let params = requisition_params.ok_or_else(missing)?;
        let set = self.change(|state| {
            set_params(state, &key, params, &etag)?;
            participant_message(state, &key)
        });
        Ok(Response::new(set?))
    }

    async fn confirm_computation_participant(
        &self,
        request: Request<ConfirmComputationParticipantRequest>,
    ) -> Result<Response<ComputationParticipant>, Status> {
        let key = own_participant(&request, &request.get_ref().name)?;
        let confirmed = self.change(|state| {
            confirm(state, &key, &request.get_ref().etag)?;
            participant_message(state, &key)
        });
        Ok(Response::new(confirmed?))
    }

    async fn fail_computation_participant(
        &self,
        request: Request<FailComputationParticipantRequest>,
    ) -> Result<Response<ComputationParticipant>, Status> {
        let key = own_participant(&request, &request.get_ref().name)?;
        let failed = self.change(|state| {
            fail(state, &key, request.into_inner())?;
            participant_message(state, &key)
        });
        Ok(Response::new(failed?))
    }
}

/// The participant `name`, if it is the caller's.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn own_participant<T>(request: &Request<T>, name: &str) -> Result<ParticipantName, Status> {
    let caller = calling_duchy(request)?;
    let key = ParticipantName::parse(name).ok_or_else(|| KingdomError::name("name", "participant", name))?;
    if key.duchy == caller {
        Ok(key)
    } else {
        Err(KingdomError::NotOwner("the computation participant").into())
    }
}

fn participant_message(state: &State, key: &ParticipantName) -> Result<ComputationParticipant, KingdomError> {
    let participant = measurement(state, key)?.participant(key.computation, &key.duchy)?;
    Ok(convert::computation_participant(state, key.computation, &key.duchy, participant))
}

fn measurement<'a>(state: &'a State, key: &ParticipantName) -> Result<&'a Measurement, KingdomError> {
    let measurement = state.records.measurements.get(&key.computation);
    measurement.ok_or_else(|| not_found("computation participant", key.to_string()))
}

/// Where a participant and its computation are.
struct Found {
    computation: ComputationState,
    participant: ParticipantState,
}

/// The states of a participant and its computation, if `etag` is up to date.
fn find(state: &State, key: &ParticipantName, etag: &str) -> Result<Found, KingdomError> {
    let measurement = measurement(state, key)?;
    let participant = measurement.participant(key.computation, &key.duchy)?;
    participant.check_etag(etag)?;
    Ok(Found { computation: measurement.state, participant: participant.state })
}

impl Found {
    fn expect(
        &self,
        key: &ParticipantName,
        computation: ComputationState,
        participant: ParticipantState,
    ) -> Result<(), KingdomError> {
        if self.computation != computation {
            return Err(KingdomError::ComputationState {
                computation: key.computation,
                state: self.computation,
            });
        }
        if self.participant != participant {
            let (computation, duchy) = (key.computation, key.duchy.clone());
            return Err(KingdomError::ParticipantState { computation, duchy, state: self.participant });
        }
        Ok(())
    }
}

fn set_params(
    state: &mut State,
    key: &ParticipantName,
    params: RequisitionParams,
    etag: &str,
) -> Result<(), KingdomError> {
    let certificate = certificate_name("requisition_params.duchy_certificate", &params.duchy_certificate)?;
    if certificate.duchy() != Some(key.duchy.as_str()) {
        return Err(KingdomError::invalid(
            "requisition_params.duchy_certificate",
            "belongs to another than the computation participant",
        ));
    }
    check_protocol(&measurement(state, key)?.protocol, &key.duchy, &params)?;
    state.valid_certificate(&certificate)?;
    let found = find(state, key, etag)?;
    watch_params(state, key, &params);
    found.expect(key, ComputationState::PendingRequisitionParams, ParticipantState::Created)?;

    let set = match &measurement(state, key)?.protocol {
        Protocol::LiquidLegionsV2(_) | Protocol::ReachOnlyLiquidLegionsV2(_) => {
            ParticipantState::RequisitionParamsSet
        }
        // There is nothing to confirm: no key depends on another.
        Protocol::HonestMajorityShareShuffle(_) => ParticipantState::Ready,
    };
    let time = state.tick();
    update(state, key, time, |participant| {
        participant.state = set;
        participant.params = Some(params);
    });
    let Some(measurement) = state.records.measurements.get_mut(&key.computation) else { return Ok(()) };
    if measurement.all_participants(set) {
        measurement.advance(ComputationState::PendingRequisitionFulfillment, time);
        for requisition in measurement.requisitions.values_mut() {
            requisition.state = RequisitionState::Unfulfilled;
            requisition.update_time = time;
        }
    }
    Ok(())
}

fn check_protocol(protocol: &Protocol, duchy: &str, params: &RequisitionParams) -> Result<(), KingdomError> {
    match (protocol, &params.protocol) {
        (Protocol::LiquidLegionsV2(_), Some(ParamsProtocol::LiquidLegionsV2(_)))
        | (Protocol::ReachOnlyLiquidLegionsV2(_), Some(ParamsProtocol::ReachOnlyLiquidLegionsV2(_))) => {
            Ok(())
        }
        (
            Protocol::HonestMajorityShareShuffle(settings),
            Some(ParamsProtocol::HonestMajorityShareShuffle(key)),
        ) => {
            // Data providers encrypt for the workers only.
            if key.tink_public_key.is_empty() == (settings.aggregator == duchy) {
                Ok(())
            } else {
                let problem = "a worker must have a tink_public_key, the aggregator must have none";
                Err(KingdomError::invalid("requisition_params.honest_majority_share_shuffle", problem))
            }
        }
        (_, None) => Err(KingdomError::invalid("requisition_params.protocol", "missing")),
        _ => Err(KingdomError::invalid("requisition_params.protocol", "not the computation's")),
    }
}

/// A retry brings the same keys again. Other keys would let ciphertexts under two keys meet.
fn watch_params(state: &mut State, key: &ParticipantName, params: &RequisitionParams) {
    let participant =
        state.records.measurements.get(&key.computation).and_then(|found| found.participants.get(&key.duchy));
    let set = participant.and_then(|participant| participant.params.as_ref());
    if set.is_some_and(|set| set.protocol != params.protocol) {
        let (computation, duchy) = (key.computation, key.duchy.clone());
        state.report(Violation::ParamsChanged { computation, duchy });
    }
}

fn confirm(state: &mut State, key: &ParticipantName, etag: &str) -> Result<(), KingdomError> {
    let found = find(state, key, etag)?;
    watch_confirmation(state, key.computation, &key.duchy, found.computation);
    let expected = ComputationState::PendingParticipantConfirmation;
    found.expect(key, expected, ParticipantState::RequisitionParamsSet)?;

    let time = state.tick();
    update(state, key, time, |participant| participant.state = ParticipantState::Ready);
    let Some(measurement) = state.records.measurements.get_mut(&key.computation) else { return Ok(()) };
    if measurement.all_participants(ParticipantState::Ready) {
        measurement.advance(ComputationState::PendingComputation, time);
    }
    Ok(())
}

fn watch_confirmation(state: &mut State, computation: ExternalId, duchy: &str, found: ComputationState) {
    if matches!(
        found,
        ComputationState::PendingRequisitionParams | ComputationState::PendingRequisitionFulfillment
    ) {
        state.report(Violation::ConfirmedEarly { computation, duchy: duchy.to_owned() });
    }
}

fn fail(
    state: &mut State,
    key: &ParticipantName,
    request: FailComputationParticipantRequest,
) -> Result<(), KingdomError> {
    let found = find(state, key, &request.etag)?;
    let failure = request.failure.unwrap_or_default();
    state.check_text(key.computation, &key.duchy, &failure.error_message);
    if is_terminal(found.computation) {
        return Err(KingdomError::ComputationState {
            computation: key.computation,
            state: found.computation,
        });
    }

    let time = state.tick();
    let message = format!("computation participant {} failed: {}", key.duchy, failure.error_message);
    update(state, key, time, |participant| {
        participant.state = ParticipantState::Failed;
        participant.failure = Some(failure);
    });
    let Some(measurement) = state.records.measurements.get_mut(&key.computation) else { return Ok(()) };
    measurement.withdraw_requisitions(time);
    measurement.failure =
        Some(MeasurementFailure { reason: Reason::ComputationParticipantFailed.into(), message });
    measurement.advance(ComputationState::Failed, time);
    Ok(())
}

fn update(state: &mut State, key: &ParticipantName, time: UpdateTime, change: impl FnOnce(&mut Participant)) {
    let measurement = state.records.measurements.get_mut(&key.computation);
    if let Some(participant) = measurement.and_then(|found| found.participants.get_mut(&key.duchy)) {
        change(participant);
        participant.update_time = time;
    }
}
