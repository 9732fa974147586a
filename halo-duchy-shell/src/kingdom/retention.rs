//! How measurements end by age, and are forgotten: what upstream's Kingdom does by jobs (`PendingMeasurementsCancellation`,
//! `CompletedMeasurementsDeletion`), this one when it is told to.

use std::time::Duration;

use super::Kingdom;
use super::error::KingdomError;
use super::not_found;
use super::resource_name::ExternalId;
use super::state::{Measurement, State, is_terminal};
use crate::proto::system::computation::State as ComputationState;

impl Kingdom {
    /// Cancels the measurements that were created longer than `time_to_live` ago and are not over; their names.
    ///
    /// # Errors
    /// If that cannot be saved.
    pub fn expire_measurements(&self, time_to_live: Duration) -> Result<Vec<String>, KingdomError> {
        self.change(|state| {
            let limit = state.tick().before(time_to_live);
            let expired = |found: &Measurement| !is_terminal(found.state) && found.create_time < limit;
            let expired = state.measurements_that(expired);
            for (id, _) in &expired {
                state.cancel(*id)?;
            }
            Ok(expired.into_iter().map(|(_, name)| name).collect())
        })
    }

    /// Forgets the measurements that ended longer than `time_to_live` ago, with what was logged about them; their names.
    /// What invariants were broken is remembered.
    ///
    /// # Errors
    /// If that cannot be saved.
    pub fn purge_measurements(&self, time_to_live: Duration) -> Result<Vec<String>, KingdomError> {
        self.change(|state| {
            let limit = state.tick().before(time_to_live);
            let ended = |found: &Measurement| is_terminal(found.state) && found.update_time < limit;
            let ended = state.measurements_that(ended);
            for (id, _) in &ended {
                let records = &mut state.records;
                records.measurements.remove(id);
                records.requests.remove_if(|_, computation| computation == id);
                records.log_entries.remove_if(|(computation, _), _| computation == id);
                state.forgeries.remove(id);
            }
            Ok(ended.into_iter().map(|(_, name)| name).collect())
        })
    }
}

impl State {
    fn measurements_that(&self, wanted: impl Fn(&Measurement) -> bool) -> Vec<(ExternalId, String)> {
        let found = self.records.measurements.iter().filter(|(_, measurement)| wanted(measurement));
        found.map(|(id, measurement)| (*id, measurement.name())).collect()
    }

    /// Cancels a measurement.
    pub(super) fn cancel(&mut self, computation: ExternalId) -> Result<(), KingdomError> {
        let time = self.tick();
        let absent = || not_found("measurement", computation.to_string());
        let found = self.records.measurements.get(&computation).ok_or_else(absent)?.state;
        if is_terminal(found) {
            return Err(KingdomError::ComputationState { computation, state: found });
        }
        let measurement = self.records.measurements.get_mut(&computation).ok_or_else(absent)?;
        measurement.withdraw_requisitions(time);
        measurement.advance(ComputationState::Cancelled, time);
        Ok(())
    }
}
