//! The public API's `Measurements`: what a measurement consumer asks for and gets.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};

use super::config::Protocol;
use super::error::KingdomError;
use super::measurement_request::{DataProviderRequest, MeasurementRequest};
use super::resource_name::{ExternalId, single};
use super::state::{Measurement, Participant, Requisition, RequisitionState, State, UpdateTime};
use super::{Kingdom, convert, measurement_computation, measurement_name, not_found};
use crate::identity::{Caller, caller};
use crate::proto::api;
use crate::proto::api::measurements_server::Measurements;
use crate::proto::api::{CreateMeasurementRequest, GetMeasurementRequest};
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_participant::State as ParticipantState;

#[tonic::async_trait]
impl Measurements for Kingdom {
    async fn create_measurement(
        &self,
        request: Request<CreateMeasurementRequest>,
    ) -> Result<Response<api::Measurement>, Status> {
        let parent = &request.get_ref().parent;
        let consumer = single(parent, "measurementConsumers")
            .ok_or_else(|| KingdomError::name("parent", "measurement consumer", parent))?
            .to_owned();
        check_consumer(&request, &consumer)?;
        let CreateMeasurementRequest { measurement, request_id, .. } = request.into_inner();
        let missing = || KingdomError::invalid("measurement", "missing");
        let measurement = measurement.ok_or_else(missing)?;
        let created = self.change(|state| {
            let key = (consumer.clone(), request_id);
            if let Some(computation) = state.records.requests.get(&key) {
                return message(state, *computation);
            }
            let request = MeasurementRequest::check(measurement, &consumer)?;
            let planned = state.records.plans.get(&key).map(std::slice::from_ref);
            let protocol = request.protocol(planned.unwrap_or(&state.config.protocols))?.clone();
            let computation = create(state, consumer, protocol, request)?;
            if !key.1.is_empty() {
                state.records.plans.remove(&key);
                state.records.requests.insert(key, computation);
            }
            message(state, computation)
        });
        Ok(Response::new(created?))
    }

    async fn get_measurement(
        &self,
        request: Request<GetMeasurementRequest>,
    ) -> Result<Response<api::Measurement>, Status> {
        let name = &request.get_ref().name;
        check_consumer(&request, &measurement_name("name", name)?.consumer)?;
        let state = self.state();
        Ok(Response::new(message(&state, measurement_computation(&state, name)?)?))
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn check_consumer<T>(request: &Request<T>, consumer: &str) -> Result<(), Status> {
    match caller(request)? {
        Caller::MeasurementConsumer(name) if single(name, "measurementConsumers") == Some(consumer) => Ok(()),
        _ => Err(KingdomError::NotOwner("the measurement").into()),
    }
}

fn message(state: &State, computation: ExternalId) -> Result<api::Measurement, KingdomError> {
    let measurement = state.records.measurements.get(&computation);
    let measurement = measurement.ok_or_else(|| not_found("measurement", computation.to_string()))?;
    Ok(convert::measurement(measurement))
}

fn create(
    state: &mut State,
    consumer: String,
    protocol: Protocol,
    request: MeasurementRequest,
) -> Result<ExternalId, KingdomError> {
    state.valid_certificate(&request.consumer_certificate)?;
    for entry in &request.data_providers {
        state.valid_certificate(&entry.certificate)?;
    }
    let duchies = state.config.participants(&protocol, state.clock.now())?;
    let time = state.tick();
    let participants = duchies.into_iter().map(|duchy| (duchy, participant(time))).collect();
    let mut requisitions = BTreeMap::new();
    for entry in request.data_providers {
        let id = ExternalId::random(&mut state.rng);
        let fulfilling_duchy = match &protocol {
            Protocol::LiquidLegionsV2(_) | Protocol::ReachOnlyLiquidLegionsV2(_) => None,
            Protocol::HonestMajorityShareShuffle(settings) => {
                let [first, second] = &settings.workers;
                Some(if id.number().is_multiple_of(2) { first.clone() } else { second.clone() })
            }
        };
        requisitions.insert(id, requisition(entry, fulfilling_duchy, time));
    }
    let computation = ExternalId::random(&mut state.rng);
    let measurement = Measurement {
        id: ExternalId::random(&mut state.rng),
        consumer,
        consumer_certificate: request.consumer_certificate.to_string(),
        protocol,
        reference_id: request.reference_id,
        signed_spec: request.signed_spec,
        spec_bytes: request.spec_bytes,
        spec: request.spec,
        state: ComputationState::PendingRequisitionParams,
        create_time: time,
        update_time: time,
        participants,
        requisitions,
        result: None,
        failure: None,
    };
    state.records.measurements.insert(computation, measurement);
    Ok(computation)
}

fn participant(update_time: UpdateTime) -> Participant {
    Participant { state: ParticipantState::Created, update_time, params: None, failure: None }
}

fn requisition(
    entry: DataProviderRequest,
    fulfilling_duchy: Option<String>,
    update_time: UpdateTime,
) -> Requisition {
    Requisition {
        data_provider: entry.data_provider,
        data_provider_certificate: entry.certificate.to_string(),
        data_provider_public_key: entry.public_key,
        encrypted_spec: entry.encrypted_spec,
        nonce_hash: entry.nonce_hash,
        state: RequisitionState::PendingParams,
        update_time,
        nonce: None,
        fulfilling_duchy,
        fulfillment_context: None,
        refusal: None,
    }
}
