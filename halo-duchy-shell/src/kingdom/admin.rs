//! The Kingdom's own service, `DevKingdom`: what upstream's Kingdom has no RPC for, for the holder of the Kingdom's own
//! certificate (`proto/halo/dev/kingdom/v1`).

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::error::KingdomError;
use super::fault::Fault;
use super::resource_name::{ComputationName, ExternalId, MeasurementName};
use super::state::{Measurement, State};
use super::{Kingdom, convert, measurement_computation, not_found};
use crate::identity::{Caller, caller};
use crate::proto::dev_kingdom::dev_kingdom_server::DevKingdom;
use crate::proto::dev_kingdom::{
    self, CancelMeasurementRequest, ClearFaultsRequest, ClearFaultsResponse, DescribeMeasurementRequest,
    ExpireMeasurementsRequest, ExpireMeasurementsResponse, InjectFaultRequest, ListFaultsRequest,
    ListFaultsResponse, ListMeasurementsRequest, ListMeasurementsResponse, ListViolationsRequest,
    ListViolationsResponse, MeasurementDescription, MeasurementSummary, PlanMeasurementRequest,
    PlanMeasurementResponse, PurgeMeasurementsRequest, PurgeMeasurementsResponse,
};

#[tonic::async_trait]
impl DevKingdom for Kingdom {
    async fn plan_measurement(
        &self,
        request: Request<PlanMeasurementRequest>,
    ) -> Result<Response<PlanMeasurementResponse>, Status> {
        let PlanMeasurementRequest { parent, request_id, protocol } = own(request)?;
        let missing = || KingdomError::invalid("protocol", "missing");
        self.plan_measurement(&parent, &request_id, protocol.ok_or_else(missing)?.try_into()?)?;
        Ok(Response::new(PlanMeasurementResponse {}))
    }

    async fn list_measurements(
        &self,
        request: Request<ListMeasurementsRequest>,
    ) -> Result<Response<ListMeasurementsResponse>, Status> {
        let ListMeasurementsRequest { states } = own(request)?;
        let state = self.state();
        let mut found: Vec<_> = state.records.measurements.iter().collect();
        found.retain(|(_, measurement)| states.is_empty() || states.contains(&measurement.state.into()));
        found.sort_by_key(|(_, measurement)| measurement.create_time);
        let measurements = found.into_iter().map(|(id, measurement)| summary(*id, measurement)).collect();
        Ok(Response::new(ListMeasurementsResponse { measurements }))
    }

    async fn describe_measurement(
        &self,
        request: Request<DescribeMeasurementRequest>,
    ) -> Result<Response<MeasurementDescription>, Status> {
        let name = own(request)?.name;
        let state = self.state();
        let id = either_name(&state, &name)?;
        let measurement = state.records.measurements.get(&id);
        let measurement = measurement.ok_or_else(|| not_found("measurement", name))?;
        let violations = state.records.violations.values();
        Ok(Response::new(MeasurementDescription {
            summary: Some(summary(id, measurement)),
            protocol: Some((&measurement.protocol).into()),
            measurement: Some(convert::measurement(measurement)),
            computation: Some(convert::computation(&state, id, measurement)),
            log_entries: state.records.log_entries_of(id).map(|(_, logged)| logged.entry.clone()).collect(),
            violations: violations
                .filter(|violation| violation.computation() == id)
                .map(ToString::to_string)
                .collect(),
        }))
    }

    async fn cancel_measurement(
        &self,
        request: Request<CancelMeasurementRequest>,
    ) -> Result<Response<MeasurementSummary>, Status> {
        let name = own(request)?.name;
        let id = either_name(&self.state(), &name)?;
        let cancelled = self.change(|state| {
            state.cancel(id)?;
            let measurement = state.records.measurements.get(&id);
            Ok(summary(id, measurement.ok_or_else(|| not_found("measurement", name))?))
        });
        Ok(Response::new(cancelled?))
    }

    async fn expire_measurements(
        &self,
        request: Request<ExpireMeasurementsRequest>,
    ) -> Result<Response<ExpireMeasurementsResponse>, Status> {
        let time_to_live = duration("time_to_live", own(request)?.time_to_live)?;
        Ok(Response::new(ExpireMeasurementsResponse {
            measurements: Self::expire_measurements(self, time_to_live)?,
        }))
    }

    async fn purge_measurements(
        &self,
        request: Request<PurgeMeasurementsRequest>,
    ) -> Result<Response<PurgeMeasurementsResponse>, Status> {
        let time_to_live = duration("time_to_live", own(request)?.time_to_live)?;
        Ok(Response::new(PurgeMeasurementsResponse {
            measurements: Self::purge_measurements(self, time_to_live)?,
        }))
    }

    async fn list_violations(
        &self,
        request: Request<ListViolationsRequest>,
    ) -> Result<Response<ListViolationsResponse>, Status> {
        own(request)?;
        let violations = self.violations().iter().map(ToString::to_string).collect();
        Ok(Response::new(ListViolationsResponse { violations }))
    }

    async fn inject_fault(
        &self,
        request: Request<InjectFaultRequest>,
    ) -> Result<Response<dev_kingdom::Fault>, Status> {
        let InjectFaultRequest { fault, duration: lasting } = own(request)?;
        if !self.state().config.allow_faults {
            return Err(KingdomError::FaultsForbidden.into());
        }
        let missing = || KingdomError::invalid("fault", "missing");
        let mut fault = Fault::try_from(fault.ok_or_else(missing)?)?;
        if lasting.is_some() {
            fault.end_time = Some(self.state().clock.now() + duration("duration", lasting)?);
        }
        let id = self.inject(fault.clone())?;
        Ok(Response::new(dev_kingdom::Fault { id, ..(&fault).into() }))
    }

    async fn list_faults(
        &self,
        request: Request<ListFaultsRequest>,
    ) -> Result<Response<ListFaultsResponse>, Status> {
        own(request)?;
        let faults = self.faults();
        let faults = faults.iter().map(|(id, fault)| dev_kingdom::Fault { id: *id, ..fault.into() });
        Ok(Response::new(ListFaultsResponse { faults: faults.collect() }))
    }

    async fn clear_faults(
        &self,
        request: Request<ClearFaultsRequest>,
    ) -> Result<Response<ClearFaultsResponse>, Status> {
        let ids = own(request)?.ids;
        let cleared = Self::clear_faults(self, Some(ids.as_slice()).filter(|ids| !ids.is_empty()))?;
        Ok(Response::new(ClearFaultsResponse { cleared: u32::try_from(cleared).unwrap_or(u32::MAX) }))
    }
}

/// What is asked, if it is asked with the Kingdom's own certificate.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn own<T>(request: Request<T>) -> Result<T, Status> {
    match caller(&request)? {
        Caller::Kingdom => Ok(request.into_inner()),
        _ => Err(Status::permission_denied("only the Kingdom itself may call this")),
    }
}

fn duration(field: &'static str, given: Option<prost_types::Duration>) -> Result<Duration, KingdomError> {
    let duration = given.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| KingdomError::invalid(field, "missing or negative"))
}

/// The computation that `name` is of, or of whose measurement.
fn either_name(state: &State, name: &str) -> Result<ExternalId, KingdomError> {
    match ComputationName::parse(name) {
        Some(ComputationName(id)) => Ok(id),
        None => measurement_computation(state, name),
    }
}

fn summary(id: ExternalId, measurement: &Measurement) -> MeasurementSummary {
    MeasurementSummary {
        measurement: measurement.name(),
        computation: ComputationName(id).to_string(),
        state: measurement.state.into(),
        protocol: measurement.protocol.name().to_owned(),
        create_time: Some(measurement.create_time.into()),
        update_time: Some(measurement.update_time.into()),
        reference_id: measurement.reference_id.clone(),
    }
}

impl Measurement {
    /// Its resource name.
    pub(super) fn name(&self) -> String {
        MeasurementName { consumer: self.consumer.clone(), measurement: self.id }.to_string()
    }
}
