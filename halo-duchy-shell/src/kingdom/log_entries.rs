//! The system API's `ComputationLogEntries`: what duchies tell about their work.

use tonic::{Request, Response, Status};

use super::error::KingdomError;
use super::resource_name::{ExternalId, ParticipantName};
use super::state::{LogEntry, State};
use super::{Kingdom, not_found};
use crate::identity::calling_duchy;
use crate::proto::system::computation_log_entries_server::ComputationLogEntries;
use crate::proto::system::computation_log_entry::error_details;
use crate::proto::system::{ComputationLogEntry, CreateComputationLogEntryRequest};

#[tonic::async_trait]
impl ComputationLogEntries for Kingdom {
    async fn create_computation_log_entry(
        &self,
        request: Request<CreateComputationLogEntryRequest>,
    ) -> Result<Response<ComputationLogEntry>, Status> {
        let caller = calling_duchy(&request)?.to_owned();
        let CreateComputationLogEntryRequest { parent, computation_log_entry } = request.into_inner();
        let key = ParticipantName::parse(&parent)
            .ok_or_else(|| KingdomError::name("parent", "participant", &parent))?;
        let missing = || KingdomError::invalid("computation_log_entry", "missing");
        let entry = computation_log_entry.ok_or_else(missing)?;
        if key.duchy != caller {
            return Err(KingdomError::NotOwner("the computation participant").into());
        }
        if let Some(details) = &entry.error_details
            && details.r#type() != error_details::Type::Transient
        {
            return Err(
                KingdomError::invalid("computation_log_entry.error_details.type", "not TRANSIENT").into()
            );
        }
        // A log entry is no change of a computation: the streams stay asleep.
        Ok(Response::new(self.update(|state| create(state, key, entry))?))
    }
}

fn create(
    state: &mut State,
    key: ParticipantName,
    mut entry: ComputationLogEntry,
) -> Result<ComputationLogEntry, KingdomError> {
    let measurement = state.records.measurements.get(&key.computation);
    if measurement.is_none_or(|found| !found.participants.contains_key(&key.duchy)) {
        return Err(not_found("computation participant", key.to_string()));
    }
    entry.name = format!("{key}/logEntries/{}", ExternalId::random(&mut state.rng));
    state.check_text(key.computation, &key.duchy, &entry.log_message);
    let last =
        state.records.log_entries_of(key.computation).next_back().map_or(0, |((_, number), _)| *number);
    let logged = LogEntry { duchy: key.duchy, entry: entry.clone() };
    state.records.log_entries.insert((key.computation, last.saturating_add(1)), logged);
    Ok(entry)
}
