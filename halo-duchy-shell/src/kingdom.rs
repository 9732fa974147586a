//! A development Kingdom: what duchies, data providers and measurement consumers need of the party in the middle, to
//! try measurements with (docs/development-kingdom.md).
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
//! Beyond upstream it watches the duchies: see [`Violation`]; it can be told to misbehave: see [`fault`]; and a service of
//! its own says how measurements are computed, what became of them, and more (`proto/halo/dev/kingdom/v1`).
//!
//! [`Kingdom::new`] keeps its state in memory, [`Kingdom::open`] in a file, from which it goes on after the end of the
//! process. Whoever embeds it must put [`identity::Authenticate`](crate::identity::Authenticate) in front of
//! [`Kingdom::routes`], or, where nobody can lie, [`plaintext::believe`].

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha20Rng;
use tonic::service::Routes;
use zeroize::Zeroizing;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::hybrid_encryption::PrivateKeyset;
use crate::proto::api::certificates_server::CertificatesServer;
use crate::proto::api::measurements_server::MeasurementsServer;
use crate::proto::api::requisitions_server::RequisitionsServer as PublicRequisitionsServer;
use crate::proto::api::{Certificate, certificate::RevocationState};
use crate::proto::dev_kingdom::dev_kingdom_server::DevKingdomServer;
use crate::proto::system::computation_log_entries_server::ComputationLogEntriesServer;
use crate::proto::system::computation_participants_server::ComputationParticipantsServer;
use crate::proto::system::computations_server::ComputationsServer;
use crate::proto::system::requisitions_server::RequisitionsServer;
use crate::proto::system::{Computation, ComputationLogEntry};

mod admin;
mod certificates;
mod computations;
pub mod config;
pub mod config_file;
mod convert;
mod database;
mod error;
pub mod fault;
mod log_entries;
mod measurement_request;
mod measurements;
mod participants;
pub mod plaintext;
mod protocol;
mod public_requisitions;
mod requisitions;
pub mod resource_name;
mod result_check;
mod retention;
mod saved;
mod state;
mod tracked;
mod violation;

#[cfg(test)]
mod tests;

pub use config::KingdomConfig;
pub use database::DatabaseError;
pub use error::KingdomError;
pub use state::RequisitionState;
pub use violation::Violation;

use config::Protocol;
use database::Database;
use fault::FaultLayer;
use resource_name::{CertificateName, ComputationName, MeasurementName, single};
use state::{KnownCertificate, Records, State};

/// The shortest secret that [`Kingdom::register_secret`] takes: a shorter one would be found by chance.
pub const SHORTEST_SECRET: usize = 8;

/// A development Kingdom. Clones are the same Kingdom.
#[derive(Clone)]
pub struct Kingdom {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Locked after the state.
    database: Option<Mutex<Database>>,
    /// How many there were.
    changes: Changes<u64>,
}

impl Kingdom {
    /// A Kingdom without measurements, which forgets everything with the end of the process. Ids are drawn from `rng`.
    pub fn new(config: KingdomConfig, clock: Arc<dyn Clock>, rng: ChaCha20Rng) -> Self {
        Self::with(config, clock, rng, Records::default(), None)
    }

    /// The Kingdom whose state is in the SQLite file at `path`, which is created if need be: certificates, measurements
    /// and all about them, violations and faults. Secrets, keys of results and forgeries have to be told again. Faults
    /// are cleared if the configuration does not allow them.
    ///
    /// # Errors
    /// [`DatabaseError`]; a state that this program would not have written is refused.
    pub fn open(
        path: &Path,
        config: KingdomConfig,
        clock: Arc<dyn Clock>,
        rng: ChaCha20Rng,
    ) -> Result<Self, DatabaseError> {
        let (database, mut records) = Database::open(path)?;
        if !config.allow_faults && !records.faults.is_empty() {
            tracing::warn!(faults = records.faults.len(), "faults are not allowed any more and are cleared");
            records.faults.remove_if(|_, _| true);
        }
        Ok(Self::with(config, clock, rng, records, Some(Mutex::new(database))))
    }

    fn with(
        config: KingdomConfig,
        clock: Arc<dyn Clock>,
        rng: ChaCha20Rng,
        records: Records,
        database: Option<Mutex<Database>>,
    ) -> Self {
        let state = State {
            config,
            records,
            forgeries: Default::default(),
            secrets: Vec::new(),
            result_keys: Default::default(),
            rng,
            clock,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), database, changes: Changes::new(0) }) }
    }

    /// All its services: the system API, the public API and its own.
    pub fn routes(&self) -> Routes {
        let routes = Routes::new(ComputationsServer::new(self.clone()))
            .add_service(ComputationParticipantsServer::new(self.clone()))
            .add_service(ComputationLogEntriesServer::new(self.clone()))
            .add_service(RequisitionsServer::new(self.clone()))
            .add_service(MeasurementsServer::new(self.clone()))
            .add_service(PublicRequisitionsServer::new(self.clone()))
            .add_service(CertificatesServer::new(self.clone()))
            .add_service(DevKingdomServer::new(self.clone()));
        routes.into_axum_router().layer(FaultLayer(self.clone())).into()
    }

    /// Has the measurement that `consumer` (`measurementConsumers/{id}`) is going to create with this request id computed
    /// by `protocol`, in place of the first of the configuration that can. A second plan replaces the first.
    ///
    /// # Errors
    /// If the consumer's name or the request id is malformed, a duchy of the protocol is not of this Kingdom, the
    /// measurement exists already, or the plan cannot be saved.
    pub fn plan_measurement(
        &self,
        consumer: &str,
        request_id: &str,
        protocol: Protocol,
    ) -> Result<(), KingdomError> {
        let owner = single(consumer, "measurementConsumers");
        let owner = owner.ok_or_else(|| KingdomError::name("parent", "measurement consumer", consumer))?;
        if request_id.is_empty() {
            return Err(KingdomError::invalid("request_id", "missing"));
        }
        let key = (owner.to_owned(), request_id.to_owned());
        self.update(|state| {
            let duchies = &state.config.duchies;
            if let Some(stranger) = protocol.named_duchies().into_iter().find(|id| !duchies.contains_key(*id))
            {
                return Err(KingdomError::invalid(
                    "protocol",
                    format!("{stranger} is no duchy of this Kingdom"),
                ));
            }
            if state.records.requests.contains_key(&key) {
                return Err(KingdomError::MeasurementExists { request_id: key.1 });
            }
            state.records.plans.insert(key, protocol);
            Ok(())
        })
    }

    /// Makes a certificate known, in place of one with the same name.
    ///
    /// # Errors
    /// If `name` is not `{duchies|dataProviders|measurementConsumers}/{id}/certificates/{id}`, or it cannot be saved.
    pub fn register_certificate(&self, name: &str, x509_der: Vec<u8>) -> Result<(), KingdomError> {
        let name = certificate_name("name", name)?.to_string();
        self.update(|state| {
            let known = state.records.certificates.get(&name);
            // One that was revoked before a restart stays so.
            if known.is_none_or(|known| known.certificate.x509_der != x509_der) {
                let certificate = Certificate { name: name.clone(), x509_der, ..Certificate::default() };
                state.records.certificates.insert(name, KnownCertificate { certificate });
            }
            Ok(())
        })
    }

    /// Revokes a certificate: nothing new may rest on it.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be saved.
    pub fn revoke_certificate(&self, name: &str) -> Result<(), KingdomError> {
        self.update(|state| {
            let known = state.records.certificates.get_mut(name);
            let known = known.ok_or_else(|| not_found("certificate", name))?;
            known.certificate.set_revocation_state(RevocationState::Revoked);
            Ok(())
        })
    }

    /// Has results for `consumer` (`measurementConsumers/{id}`) looked into that are to be decrypted by `keyset`.
    pub fn register_result_key(&self, consumer: &str, keyset: PrivateKeyset) {
        self.state().result_keys.entry(consumer.to_owned()).or_default().push(keyset);
    }

    /// Watches for `secret` (at least [`SHORTEST_SECRET`] bytes, else it is ignored) in what duchies write: as bytes,
    /// as a list of numbers, in hexadecimal and in base64.
    pub fn register_secret(&self, secret: &[u8]) {
        if secret.len() >= SHORTEST_SECRET {
            self.state().secrets.push(Zeroizing::new(secret.to_owned()));
        }
    }

    /// Ends a measurement for its measurement consumer.
    ///
    /// # Errors
    /// If there is no such measurement, it is over, or that cannot be saved.
    pub fn cancel_measurement(&self, name: &str) -> Result<(), KingdomError> {
        self.change(|state| {
            let computation = measurement_computation(state, name)?;
            state.cancel(computation)
        })
    }

    /// The names of the computations, oldest name first.
    pub fn computations(&self) -> Vec<String> {
        self.state().records.measurements.keys().map(|id| ComputationName(*id).to_string()).collect()
    }

    /// A computation as duchies see it.
    pub fn computation(&self, name: &str) -> Option<Computation> {
        let ComputationName(id) = ComputationName::parse(name)?;
        let state = self.state();
        state.records.measurements.get(&id).map(|measurement| convert::computation(&state, id, measurement))
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
        let id = found.filter(|id| state.records.measurements.contains_key(id));
        let id = id.ok_or_else(|| not_found("computation", computation))?;
        state.forgeries.insert(id, Box::new(forgery));
        Ok(())
    }

    /// What duchies logged about a computation, oldest first, each with the duchy's id.
    pub fn log_entries(&self, computation: &str) -> Vec<(String, ComputationLogEntry)> {
        let Some(ComputationName(id)) = ComputationName::parse(computation) else { return Vec::new() };
        let state = self.state();
        let logged = state.records.log_entries_of(id);
        logged.map(|(_, logged)| (logged.duchy.clone(), logged.entry.clone())).collect()
    }

    /// Every invariant that a duchy broke, oldest first.
    pub fn violations(&self) -> Vec<Violation> {
        self.state().records.violations.values().cloned().collect()
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

    /// Runs a change and saves what it did, also if it failed: broken invariants are known by then. What cannot be saved
    /// did not happen.
    fn update<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, KingdomError>,
    ) -> Result<T, KingdomError> {
        let mut state = self.state();
        let changed = change(&mut state);
        if let Some(database) = &self.shared.database {
            let saved = database.lock().unwrap_or_else(PoisonError::into_inner).save(&state.records);
            if let Err(error) = saved {
                tracing::error!(%error, "a change cannot be saved");
                state.records.roll_back();
                return Err(KingdomError::NotSaved(error.to_string()));
            }
        }
        state.records.commit();
        changed
    }

    /// Runs a change of computations, saves it, and wakes the streams if it succeeded.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, KingdomError>,
    ) -> Result<T, KingdomError> {
        let changed = self.update(change)?;
        self.shared.changes.update(|count| *count += 1);
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
    let mut measurements = state.records.measurements.iter();
    measurements
        .find(|(_, measurement)| measurement.id == key.measurement && measurement.consumer == key.consumer)
        .map(|(computation, _)| *computation)
        .ok_or_else(|| not_found("measurement", name))
}
