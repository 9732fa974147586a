//! What each of a duchy's servers serves.

use std::sync::Arc;
use std::time::Duration;

use tonic::service::Routes;

use super::ServeError;
use crate::blob::BlobStore;
use crate::client::Channel;
use crate::kingdom_log::KingdomLog;
use crate::proto::api::requisition_fulfillment_server::RequisitionFulfillmentServer;
use crate::proto::internal::async_computation_control_server::AsyncComputationControlServer;
use crate::proto::internal::computation_stats_server::ComputationStatsServer;
use crate::proto::internal::computations_server::ComputationsServer;
use crate::proto::internal::continuation_tokens_server::ContinuationTokensServer;
use crate::proto::system::computation_control_server::ComputationControlServer;
use crate::proto::{DESCRIPTORS, api, internal, system};
use crate::service::{
    AdvanceLimits, AsyncComputationControlService, ComputationControlService, ComputationStatsService,
    ComputationsService, ContinuationTokensService, FulfillmentLimits, RequisitionFulfillmentService, queue,
};
use crate::store::Store;

/// A server of a duchy by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerNames {
    /// What logs call it.
    pub server: &'static str,
    /// What its health service calls the services that it serves.
    pub services: &'static [&'static str],
}

/// The internal API server.
pub const INTERNAL_API: ServerNames = ServerNames {
    server: "internal API",
    services: &[
        internal::computations_server::SERVICE_NAME,
        internal::computation_stats_server::SERVICE_NAME,
        internal::continuation_tokens_server::SERVICE_NAME,
    ],
};
/// The asynchronous control server.
pub const ASYNC_CONTROL: ServerNames = ServerNames {
    server: "async computation control",
    services: &[internal::async_computation_control_server::SERVICE_NAME],
};
/// The control server.
pub const CONTROL: ServerNames = ServerNames {
    server: "computation control",
    services: &[system::computation_control_server::SERVICE_NAME],
};
/// The fulfillment server.
pub const FULFILLMENT: ServerNames = ServerNames {
    server: "requisition fulfillment",
    services: &[api::requisition_fulfillment_server::SERVICE_NAME],
};

/// The internal API, over the store. Blobs of stages are kept for `intermediate_ttl` after the end of a computation.
pub fn routes_internal_api(
    duchy: &str,
    store: &Arc<dyn Store>,
    blobs: &BlobStore,
    kingdom_log: Option<KingdomLog>,
    intermediate_ttl: Duration,
) -> Routes {
    queue::watch(store);
    let computations = ComputationsService::new(Arc::clone(store), blobs.clone(), duchy, kingdom_log)
        .keeping_intermediate(intermediate_ttl);
    Routes::new(ComputationsServer::new(computations))
        .add_service(ComputationStatsServer::new(ComputationStatsService::new(Arc::clone(store), duchy)))
        .add_service(ContinuationTokensServer::new(ContinuationTokensService::new(Arc::clone(store), duchy)))
}

/// The asynchronous control service, over the internal API.
pub fn routes_async_control(duchy: &str, internal_api: Channel, max_attempts: u32) -> Routes {
    let service = AsyncComputationControlService::new(internal_api, duchy, max_attempts);
    Routes::new(AsyncComputationControlServer::new(service))
}

/// The control service, over the internal API and the asynchronous control service.
pub fn routes_control(
    duchy: &str,
    internal_api: Channel,
    async_control: Channel,
    blobs: &BlobStore,
    limits: AdvanceLimits,
) -> Routes {
    let service = ComputationControlService::new(internal_api, async_control, blobs.clone(), duchy, limits);
    Routes::new(ComputationControlServer::new(service))
}

/// Requisition fulfillment, over the internal API and the Kingdom.
pub fn routes_fulfillment(
    duchy: &str,
    internal_api: Channel,
    kingdom: Channel,
    blobs: &BlobStore,
    limits: FulfillmentLimits,
) -> Routes {
    let service = RequisitionFulfillmentService::new(internal_api, kingdom, blobs.clone(), duchy, limits);
    Routes::new(RequisitionFulfillmentServer::new(service))
}

/// Adds server reflection, as upstream's servers have it.
///
/// # Errors
/// [`ServeError::Reflection`] if our own descriptors cannot be read.
pub fn with_reflection(routes: Routes) -> Result<Routes, ServeError> {
    let builder =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let malformed = |error: tonic_reflection::server::Error| ServeError::Reflection(error.into());
    // Older clients, grpcurl's releases among them, know v1alpha only.
    let v1 = builder().build_v1().map_err(malformed)?;
    let v1alpha = builder().build_v1alpha().map_err(malformed)?;
    Ok(routes.add_service(v1).add_service(v1alpha))
}
