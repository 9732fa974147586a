//! The servers of a duchy in one process.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::routes::{
    self, ServerNames, routes_async_control, routes_control, routes_fulfillment, routes_internal_api,
    with_reflection,
};
use super::{Channels, DuchyConfig, Listeners, ServeError, Tasks, listen};
use crate::clock::SystemClock;
use crate::identity::{Authenticate, Caller};
use crate::kingdom_log::KingdomLog;
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::server::{Server, serve_health};
use crate::shutdown::Shutdown;

/// Log entries for the Kingdom that may wait to be sent.
pub(crate) const KINGDOM_LOG_CAPACITY: usize = 1024;

/// Begins to serve, until told to stop.
pub(super) fn start(
    config: &DuchyConfig,
    listeners: Listeners,
    health: Option<SocketAddr>,
    channels: &Channels,
    shutdown: &Shutdown,
) -> Result<Tasks, ServeError> {
    let mut tasks = JoinSet::new();
    let (kingdom_log, sender) =
        KingdomLog::new(config.duchy.clone(), Arc::new(SystemClock), KINGDOM_LOG_CAPACITY);
    let log_entries = ComputationLogEntriesClient::new(channels.kingdom.clone());
    let stop = shutdown.clone();
    tasks.spawn(async move {
        stop.unless_requested(sender.run(log_entries)).await;
        Ok(())
    });
    for (names, listener, authenticate, routes) in served(config, listeners, channels, kingdom_log) {
        let server = Server { tls: config.tls.clone(), authenticate, limits: config.limits.server };
        let routes = with_reflection(routes)?;
        let stop = shutdown.clone();
        tasks.spawn(async move {
            run_server(names.server, server, listener, routes, stop).await;
            Ok(())
        });
    }
    if let Some(address) = health {
        tasks.spawn(run_health(address, shutdown.clone()));
    }
    Ok(tasks)
}

/// Each server: its names, where it listens, who may call, what there is to call.
fn served(
    config: &DuchyConfig,
    listeners: Listeners,
    channels: &Channels,
    kingdom_log: KingdomLog,
) -> [(ServerNames, TcpListener, Authenticate, Routes); 4] {
    let duchy = &config.duchy[..];
    let own = Authenticate::only(config.identities.clone(), Caller::Duchy(duchy.to_owned()));
    let anyone = Authenticate::new(config.identities.clone());
    let internal_api =
        routes_internal_api(duchy, &config.store, &config.blobs, Some(kingdom_log), config.intermediate_ttl);
    let async_control = routes_async_control(duchy, channels.internal_api.clone(), u32::MAX);
    let control = routes_control(
        duchy,
        channels.internal_api.clone(),
        channels.async_control.clone(),
        &config.blobs,
        config.limits.advance,
    );
    let fulfillment = routes_fulfillment(
        duchy,
        channels.internal_api.clone(),
        channels.kingdom.clone(),
        &config.blobs,
        config.limits.fulfillment,
    );
    [
        (routes::INTERNAL_API, listeners.internal_api, own.clone(), internal_api),
        (routes::ASYNC_CONTROL, listeners.async_control, own, async_control),
        (routes::CONTROL, listeners.control, anyone.clone(), control),
        (routes::FULFILLMENT, listeners.fulfillment, anyone, fulfillment),
    ]
}

/// Serves until told to stop.
pub async fn run_server(
    name: &'static str,
    server: Server,
    listener: TcpListener,
    routes: Routes,
    shutdown: Shutdown,
) {
    tracing::info!(server = name, address = ?listener.local_addr().ok(), "serving");
    server.serve(listener, routes, async move { shutdown.requested().await }).await;
}

/// The health of all servers, until told to stop.
async fn run_health(address: SocketAddr, shutdown: Shutdown) -> Result<(), ServeError> {
    let services = [routes::INTERNAL_API, routes::ASYNC_CONTROL, routes::CONTROL, routes::FULFILLMENT];
    let services = services.map(|names| names.services).concat();
    let listener = listen(address).await?;
    let served = serve_health(listener, &services, async move { shutdown.requested().await }).await;
    served.map_err(|source| ServeError::Transport { server: "health", source })
}
