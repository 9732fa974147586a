//! What every process does around its work: logs, threads, and an orderly end when asked for one.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tracing::Level;

use super::CliError;
use super::options::{ClientOptions, ListenOptions};
use crate::identity::Authenticate;
use crate::reload::Reloader;
use crate::serve::routes::ServerNames;
use crate::serve::{ServeError, listen, run_server, with_reflection};
use crate::server::{Server, serve_health};
use crate::shutdown::{self, Shutdown};
use crate::telemetry::instruments::THREAD_POOL_SIZE;
use crate::telemetry::rpc::THREAD_POOL;
use crate::telemetry::{LogFormat, Logs, Telemetry};
use crate::tls::TlsIdentity;

/// How a process runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    logs: Logs,
    threads: Option<usize>,
    /// Whether its threads serve RPCs.
    serves: bool,
    /// How long what is still running may take when the work has ended.
    linger: Duration,
}

impl Process {
    /// A daemon that calls others.
    pub(super) fn daemon(client: &ClientOptions) -> Self {
        Self {
            logs: Logs {
                level: Level::INFO,
                verbose_grpc: client.debug_verbose_grpc_client_logging,
                format: client.log_format,
            },
            threads: None,
            serves: false,
            linger: client.channel_shutdown_timeout,
        }
    }

    /// A process that serves, and calls others.
    pub(super) fn server(listen: &ListenOptions, client: &ClientOptions) -> Self {
        let daemon = Self::daemon(client);
        let verbose_grpc = daemon.logs.verbose_grpc || listen.debug_verbose_grpc_server_logging;
        Self {
            logs: Logs { verbose_grpc, ..daemon.logs },
            threads: listen.grpc_thread_pool_size.map(|threads| usize::from(threads.get())),
            serves: true,
            ..daemon
        }
    }

    /// A tool whose result people read: only warnings are logged.
    pub(super) fn tool() -> Self {
        let logs = Logs { level: Level::WARN, verbose_grpc: false, format: LogFormat::default() };
        Self { logs, threads: None, serves: false, linger: Duration::ZERO }
    }

    /// Runs `work` to its end.
    ///
    /// # Errors
    /// What `work` gives; [`CliError::Process`]; [`CliError::Telemetry`] for a malformed environment variable.
    pub(super) fn run<T>(self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = self.threads {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build().map_err(CliError::Process)?;
        let telemetry = {
            let _context = runtime.enter();
            Telemetry::start(&self.logs, &service_name())?
        };
        let workers = i64::try_from(runtime.metrics().num_workers()).unwrap_or(i64::MAX);
        if self.serves {
            THREAD_POOL_SIZE.add(workers, [THREAD_POOL]);
        }
        let done = runtime.block_on(work);
        // However the work ended, what it measured is exported, which needs the runtime.
        if self.serves {
            THREAD_POOL_SIZE.add(-workers, [THREAD_POOL]);
        }
        drop(telemetry);
        runtime.shutdown_timeout(self.linger);
        done
    }
}

/// The program and its subcommand, such as `halo-duchy-herald`.
fn service_name() -> String {
    let subcommand = std::env::args().nth(1).unwrap_or_default();
    format!("halo-duchy-{subcommand}")
}

/// The word to stop, given by SIGTERM or SIGINT.
///
/// # Errors
/// [`CliError::Process`] if the system does not tell of signals.
pub(super) fn shutdown_on_signal() -> Result<Shutdown, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Process)?;
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        trigger.fire();
    });
    Ok(shutdown)
}

/// Serves `routes`, which are those of `names`, and the health service, with the files in force that `reloader` knows, until asked to stop, or until one of them fails.
///
/// # Errors
/// The first failure.
pub(super) async fn serve(
    names: ServerNames,
    port: u16,
    options: &ListenOptions,
    tls: TlsIdentity,
    authenticate: Authenticate,
    routes: Routes,
    reloader: Reloader,
) -> Result<(), CliError> {
    let asked = shutdown_on_signal()?;
    let listener = listen(options.address(port)).await?;
    let server = Server { tls, authenticate, limits: options.limits() };
    let routes = with_reflection(routes)?;
    let (stop, shutdown) = shutdown::channel();
    tokio::spawn(reloader.run(shutdown.clone()));
    let mut serving = JoinSet::new();
    serving.spawn(run_server(names.server, server, listener, routes, shutdown.clone()));
    let health = options.address(options.health_port);
    serving.spawn(async move {
        let served = serve_health(health, names.services, async move { shutdown.requested().await }).await;
        served.map_err(|source| ServeError::Transport { server: "health", source })
    });
    let ended = tokio::select! {
        () = asked.requested() => Ok(()),
        ended = serving.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error.into()),
            _ => Err(CliError::Ended),
        },
    };
    stop.fire();
    while let Some(served) = serving.join_next().await {
        if let Ok(Err(error)) = served {
            ended?;
            return Err(error.into());
        }
    }
    ended
}
