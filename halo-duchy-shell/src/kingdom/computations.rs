//! The system API's `Computations`: which computations a duchy has work in, and their results.

use std::collections::VecDeque;
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream::{self, Stream};
use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::error::KingdomError;
use super::fault::StreamFaults;
use super::resource_name::{ComputationName, ExternalId};
use super::state::{Measurement, MeasurementResult, State, UpdateTime, is_terminal};
use super::{Kingdom, Violation, certificate_name, convert, not_found, result_check};
use crate::identity::calling_duchy;
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computations_server::Computations;
use crate::proto::system::{
    Computation, GetComputationRequest, SetComputationResultRequest,
    StreamActiveComputationsContinuationToken, StreamActiveComputationsRequest,
    StreamActiveComputationsResponse,
};

type ComputationStream = Pin<Box<dyn Stream<Item = Result<StreamActiveComputationsResponse, Status>> + Send>>;

/// The last computation a stream has given: the next ones changed later, or then and have a larger id.
type Position = (UpdateTime, ExternalId);

#[tonic::async_trait]
impl Computations for Kingdom {
    async fn get_computation(
        &self,
        request: Request<GetComputationRequest>,
    ) -> Result<Response<Computation>, Status> {
        let duchy = calling_duchy(&request)?;
        let name = &request.get_ref().name;
        computation_name("name", name)?;
        let computation = self.shown(duchy, name);
        Ok(Response::new(computation.ok_or_else(|| not_found("computation", name).unknown())?))
    }

    async fn set_computation_result(
        &self,
        request: Request<SetComputationResultRequest>,
    ) -> Result<Response<Computation>, Status> {
        let duchy = calling_duchy(&request)?.to_owned();
        let request = request.into_inner();
        let id = computation_name("name", &request.name)?;
        if request.public_api_version.is_empty() {
            return Err(KingdomError::invalid("public_api_version", "missing").into());
        }
        let certificate = certificate_name("aggregator_certificate", &request.aggregator_certificate)?;
        match certificate.duchy() {
            Some(owner) if owner == duchy => {}
            Some(_) => return Err(KingdomError::NotOwner("the aggregator certificate").into()),
            None => {
                let name = &request.aggregator_certificate;
                let error = KingdomError::name("aggregator_certificate", "duchy's certificate", name);
                return Err(error.into());
            }
        }
        let computation = self.change(|state| {
            state.valid_certificate(&certificate)?;
            set_result(state, id, duchy, request)
        });
        Ok(Response::new(computation.map_err(|error| error.unknown())?))
    }

    type StreamActiveComputationsStream = ComputationStream;

    async fn stream_active_computations(
        &self,
        request: Request<StreamActiveComputationsRequest>,
    ) -> Result<Response<ComputationStream>, Status> {
        let duchy = calling_duchy(&request)?.to_owned();
        let position = parse_token(&request.get_ref().continuation_token)?;
        Ok(Response::new(Box::pin(self.active_computations(duchy, position))))
    }
}

fn computation_name(field: &'static str, name: &str) -> Result<ExternalId, KingdomError> {
    let parsed = ComputationName::parse(name).map(|ComputationName(id)| id);
    parsed.ok_or_else(|| KingdomError::name(field, "computation", name))
}

/// Upstream takes a result in any state; the violation tells that none was due.
fn set_result(
    state: &mut State,
    id: ExternalId,
    duchy: String,
    request: SetComputationResultRequest,
) -> Result<Computation, KingdomError> {
    let time = state.tick();
    let name = || ComputationName(id).to_string();
    let absent = || not_found("computation", name());
    let measurement = state.records.measurements.get(&id).ok_or_else(absent)?;
    if let Some(result) = &measurement.result {
        // Whoever lost the answer brings the same again.
        if !result_check::is_repetition(state, measurement, result, &request) {
            state.report(Violation::SecondResult { computation: id, duchy });
        }
        return Err(KingdomError::ResultExists(id));
    }
    let found = measurement.state;
    if let Some(violation) = result_check::violation(state, id, measurement, &duchy, &request) {
        state.report(violation);
    }
    if found != ComputationState::PendingComputation {
        state.report(Violation::UnexpectedResult { computation: id, duchy, state: found });
    }
    let measurement = state.records.measurements.get_mut(&id).ok_or_else(absent)?;
    measurement.result = Some(MeasurementResult {
        aggregator_certificate: request.aggregator_certificate,
        encrypted_result: request.encrypted_result,
    });
    measurement.advance(ComputationState::Succeeded, time);
    let measurement = state.records.measurements.get(&id).ok_or_else(absent)?;
    Ok(convert::computation(state, id, measurement))
}

impl Kingdom {
    fn active_computations(
        &self,
        duchy: String,
        position: Option<Position>,
    ) -> impl Stream<Item = Result<StreamActiveComputationsResponse, Status>> + Send + use<> {
        let settings = self.state().config.stream;
        let deadline = Instant::now() + settings.timeout;
        let walk = Walk {
            kingdom: self.clone(),
            duchy,
            position,
            found: VecDeque::new(),
            faults: StreamFaults::default(),
            cut: false,
        };
        stream::unfold(walk, move |mut walk| async move {
            loop {
                if walk.cut {
                    return None;
                }
                if let Some(status) = walk.faults.end() {
                    walk.cut = true;
                    return Some((Err(status), walk));
                }
                if let Some(response) = walk.found.pop_front() {
                    walk.faults.count();
                    return Some((Ok(response), walk));
                }
                if Instant::now() >= deadline {
                    return None;
                }
                // Seen before looking: a change during the look wakes the wait below.
                let seen = walk.kingdom.shared.changes.value();
                let looked = Instant::now();
                if let Err(error) = walk.look(settings.limit) {
                    walk.cut = true;
                    return Some((Err(error.into()), walk));
                }
                if walk.found.is_empty() {
                    let wait = async {
                        walk.kingdom.shared.changes.wait_for(|count| count != seen).await;
                        tokio::time::sleep_until(looked + settings.throttle).await;
                    };
                    // Reaching the deadline is how a stream normally ends.
                    let _ = tokio::time::timeout_at(deadline, wait).await;
                }
            }
        })
    }
}

struct Walk {
    kingdom: Kingdom,
    duchy: String,
    position: Option<Position>,
    found: VecDeque<StreamActiveComputationsResponse>,
    faults: StreamFaults,
    /// Whether the stream has ended before its time.
    cut: bool,
}

impl Walk {
    /// Finds the next `limit` computations of the duchy that changed after the position.
    fn look(&mut self, limit: usize) -> Result<(), KingdomError> {
        let found = self.changed(limit);
        let start = token((UpdateTime::default(), ExternalId::from_number(0)));
        self.found.extend(self.faults.distort(&self.kingdom, &self.duchy, found, &start)?);
        Ok(())
    }

    fn changed(&mut self, limit: usize) -> Vec<StreamActiveComputationsResponse> {
        let state = self.kingdom.state();
        let mut next: Vec<(Position, &Measurement)> = state
            .records
            .measurements
            .iter()
            .map(|(id, measurement)| ((measurement.update_time, *id), measurement))
            .filter(|(position, measurement)| {
                self.position.is_none_or(|last| *position > last)
                    && is_streamed(measurement.state)
                    && measurement.participants.contains_key(&self.duchy)
            })
            .collect();
        next.sort_unstable_by_key(|(position, _)| *position);
        next.truncate(limit.max(1));
        let mut found = Vec::new();
        for (position, measurement) in next {
            self.position = Some(position);
            let mut computation = convert::computation(&state, position.1, measurement);
            state.forge(&self.duchy, &mut computation);
            found.push(StreamActiveComputationsResponse {
                computation: Some(computation),
                continuation_token: token(position),
            });
        }
        found
    }
}

/// While data providers are at work there is nothing for a duchy to do.
fn is_streamed(state: ComputationState) -> bool {
    is_terminal(state)
        || matches!(
            state,
            ComputationState::PendingRequisitionParams
                | ComputationState::PendingParticipantConfirmation
                | ComputationState::PendingComputation
        )
}

fn token((time, id): Position) -> String {
    let token = StreamActiveComputationsContinuationToken {
        last_seen_update_time: Some(time.into()),
        last_seen_external_computation_id: id.number(),
    };
    URL_SAFE_NO_PAD.encode(token.encode_to_vec())
}

/// Reads a token; the empty one stands for the beginning.
fn parse_token(text: &str) -> Result<Option<Position>, KingdomError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || KingdomError::invalid("continuation_token", "not a token of this stream");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let token = StreamActiveComputationsContinuationToken::decode(bytes.as_slice()).map_err(|_| invalid())?;
    let time = token.last_seen_update_time.unwrap_or_default();
    let time = UpdateTime::from_timestamp(&time).ok_or_else(invalid)?;
    Ok(Some((time, ExternalId::from_number(token.last_seen_external_computation_id))))
}
