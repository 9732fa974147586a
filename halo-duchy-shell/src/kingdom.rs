//! A development Kingdom: what duchies, data providers and measurement consumers need of the party in the middle, to
//! try measurements with (spec services-ops.md §3).
//!
//! It serves the system API to duchies with upstream's checks, states, etags and status codes, and of the public API
//! what one measurement needs. A Liquid Legions computation lives so:
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> PENDING_REQUISITION_PARAMS: CreateMeasurement
//!     PENDING_REQUISITION_PARAMS --> PENDING_REQUISITION_FULFILLMENT: last duchy sets its key
//!     PENDING_REQUISITION_FULFILLMENT --> PENDING_PARTICIPANT_CONFIRMATION: last requisition fulfilled
//!     PENDING_PARTICIPANT_CONFIRMATION --> PENDING_COMPUTATION: last duchy confirms
//!     PENDING_COMPUTATION --> SUCCEEDED: SetComputationResult
//! ```
//!
//! In a share shuffle duchies are ready as soon as they have set their keys, and PENDING_COMPUTATION follows at once on
//! the last fulfilment; which worker a requisition is fulfilled at is decided when it is created.
//!
//! From any pending state it may go to FAILED (a duchy fails, a data provider refuses) or CANCELLED.
//!
//! Beyond upstream it watches the duchies: see [`Violation`]. The state is in memory only: it ends with the process.
//! Whoever embeds it must put [`identity::Authenticate`](crate::identity::Authenticate) in front of
//! [`Kingdom::routes`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha20Rng;
use tokio::sync::watch;
use tonic::service::Routes;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::proto::api::certificates_server::CertificatesServer;
use crate::proto::api::measurements_server::MeasurementsServer;
use crate::proto::api::requisitions_server::RequisitionsServer as PublicRequisitionsServer;
use crate::proto::api::{Certificate, certificate::RevocationState};
use crate::proto::system::computation::State as ComputationState;
use crate::proto::system::computation_log_entries_server::ComputationLogEntriesServer;
use crate::proto::system::computation_participants_server::ComputationParticipantsServer;
use crate::proto::system::computations_server::ComputationsServer;
use crate::proto::system::requisitions_server::RequisitionsServer;
use crate::proto::system::{Computation, ComputationLogEntry};

mod certificates;
mod computations;
pub mod config;
mod convert;
mod error;
mod log_entries;
mod measurement_request;
mod measurements;
mod participants;
mod public_requisitions;
mod requisitions;
pub mod resource_name;
mod state;
mod violation;

#[cfg(test)]
mod tests;

pub use config::KingdomConfig;
pub use error::KingdomError;
pub use state::RequisitionState;
pub use violation::Violation;

use resource_name::{CertificateName, ComputationName, MeasurementName};
use state::{State, UpdateTime, is_terminal};

/// The shortest secret that [`Kingdom::register_secret`] takes: a shorter one would be found by chance.
pub const SHORTEST_SECRET: usize = 8;

/// A development Kingdom. Clones are the same Kingdom.
#[derive(Clone)]
pub struct Kingdom {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Kingdom {
    /// A Kingdom without measurements. Ids are drawn from `rng`.
    pub fn new(config: KingdomConfig, clock: Arc<dyn Clock>, rng: ChaCha20Rng) -> Self {
        let state = State {
            config,
            measurements: Default::default(),
            requests: Default::default(),
            certificates: Default::default(),
            log_entries: Default::default(),
            forgeries: Default::default(),
            violations: Vec::new(),
            attempts: Default::default(),
            secrets: Vec::new(),
            rng,
            clock,
            last_update: UpdateTime::default(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changes: watch::Sender::new(()) }) }
    }

    /// All its services, the system API and the public API.
    pub fn routes(&self) -> Routes {
        Routes::new(ComputationsServer::new(self.clone()))
            .add_service(ComputationParticipantsServer::new(self.clone()))
            .add_service(ComputationLogEntriesServer::new(self.clone()))
            .add_service(RequisitionsServer::new(self.clone()))
            .add_service(MeasurementsServer::new(self.clone()))
            .add_service(PublicRequisitionsServer::new(self.clone()))
            .add_service(CertificatesServer::new(self.clone()))
    }

    /// Makes a certificate known, in place of one with the same name.
    ///
    /// # Errors
    /// If `name` is not `{duchies|dataProviders|measurementConsumers}/{id}/certificates/{id}`.
    pub fn register_certificate(&self, name: &str, x509_der: Vec<u8>) -> Result<(), KingdomError> {
        let name = certificate_name("name", name)?.to_string();
        let certificate = Certificate { name: name.clone(), x509_der, ..Certificate::default() };
        self.state().certificates.insert(name, certificate);
        Ok(())
    }

    /// Revokes a certificate: nothing new may rest on it.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn revoke_certificate(&self, name: &str) -> Result<(), KingdomError> {
        let mut state = self.state();
        let certificate = state.certificates.get_mut(name);
        certificate
            .ok_or_else(|| not_found("certificate", name))?
            .set_revocation_state(RevocationState::Revoked);
        Ok(())
    }

    /// Watches for `secret` (at least [`SHORTEST_SECRET`] bytes, else it is ignored) in what duchies write, as bytes
    /// and in hexadecimal.
    pub fn register_secret(&self, secret: &[u8]) {
        if secret.len() >= SHORTEST_SECRET {
            self.state().secrets.push(Zeroizing::new(secret.to_owned()));
        }
    }

    /// Ends a measurement for its measurement consumer.
    ///
    /// # Errors
    /// If there is no such measurement or it is over.
    pub fn cancel_measurement(&self, name: &str) -> Result<(), KingdomError> {
        self.change(|state| {
            let computation = measurement_computation(state, name)?;
            let time = state.tick();
            let measurement = state.measurements.get_mut(&computation);
            let measurement = measurement.ok_or_else(|| not_found("measurement", name))?;
            if is_terminal(measurement.state) {
                return Err(KingdomError::ComputationState { computation, state: measurement.state });
            }
            measurement.withdraw_requisitions(time);
            measurement.advance(ComputationState::Cancelled, time);
            Ok(())
        })
    }

    /// The names of the computations, oldest name first.
    pub fn computations(&self) -> Vec<String> {
        self.state().measurements.keys().map(|id| ComputationName(*id).to_string()).collect()
    }

    /// A computation as duchies see it.
    pub fn computation(&self, name: &str) -> Option<Computation> {
        let ComputationName(id) = ComputationName::parse(name)?;
        let state = self.state();
        state.measurements.get(&id).map(|measurement| convert::computation(&state, id, measurement))
    }

    /// Shows a computation to duchies otherwise than it is from now on: a Kingdom that lies, to see what duchies believe.
    /// The forgery is told the id of the duchy that looks.
    ///
    /// # Errors
    /// If there is no such computation.
    pub fn forge(
        &self,
        computation: &str,
        forgery: impl Fn(&str, &mut Computation) + Send + 'static,
    ) -> Result<(), KingdomError> {
        let found = ComputationName::parse(computation).map(|ComputationName(id)| id);
        let mut state = self.state();
        let id = found.filter(|id| state.measurements.contains_key(id));
        let id = id.ok_or_else(|| not_found("computation", computation))?;
        state.forgeries.insert(id, Box::new(forgery));
        Ok(())
    }

    /// What duchies logged about a computation, oldest first, each with the duchy's id.
    pub fn log_entries(&self, computation: &str) -> Vec<(String, ComputationLogEntry)> {
        let id = ComputationName::parse(computation).map(|ComputationName(id)| id);
        id.and_then(|id| self.state().log_entries.get(&id).cloned()).unwrap_or_default()
    }

    /// Every invariant that a duchy broke, oldest first.
    pub fn violations(&self) -> Vec<Violation> {
        self.state().violations.clone()
    }

    /// A computation as `duchy` is shown it.
    fn shown(&self, duchy: &str, name: &str) -> Option<Computation> {
        let mut computation = self.computation(name)?;
        self.state().forge(duchy, &mut computation);
        Some(computation)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change checks first and then writes, so what a panic leaves behind is whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change and wakes the streams if it succeeded.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, KingdomError>,
    ) -> Result<T, KingdomError> {
        let changed = change(&mut self.state())?;
        self.shared.changes.send_replace(());
        Ok(changed)
    }
}

fn not_found(resource: &'static str, name: impl Into<String>) -> KingdomError {
    KingdomError::NotFound { resource, name: name.into() }
}

fn certificate_name(field: &'static str, name: &str) -> Result<CertificateName, KingdomError> {
    CertificateName::parse(name).ok_or_else(|| KingdomError::name(field, "certificate", name))
}

fn measurement_name(field: &'static str, name: &str) -> Result<MeasurementName, KingdomError> {
    MeasurementName::parse(name).ok_or_else(|| KingdomError::name(field, "measurement", name))
}

/// The computation of the measurement called `name`.
fn measurement_computation(state: &State, name: &str) -> Result<resource_name::ExternalId, KingdomError> {
    let key = measurement_name("name", name)?;
    let mut measurements = state.measurements.iter();
    measurements
        .find(|(_, measurement)| measurement.id == key.measurement && measurement.consumer == key.consumer)
        .map(|(computation, _)| *computation)
        .ok_or_else(|| not_found("measurement", name))
}
