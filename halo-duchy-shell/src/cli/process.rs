//! What every process does around its work: logs, threads, and an orderly end when asked for one.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use super::CliError;
use super::options::{ClientOptions, ListenOptions};
use crate::identity::Authenticate;
use crate::reload::Reloader;
use crate::serve::{ServeError, listen, run_server, with_reflection};
use crate::server::{Server, serve_health};
use crate::shutdown::{self, Shutdown};
use crate::tls::TlsIdentity;

/// The crates that tell about gRPC on the level `DEBUG`. They name frames and calls, never what is in them.
const GRPC_CRATES: [&str; 3] = ["tonic", "h2", "tower"];

/// How a process runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// The level logged unless `RUST_LOG` says otherwise.
    level: Level,
    verbose_grpc: bool,
    threads: Option<usize>,
    /// How long what is still running may take when the work has ended.
    linger: Duration,
}

impl Process {
    /// A daemon that calls others.
    pub(super) fn daemon(client: &ClientOptions) -> Self {
        Self {
            level: Level::INFO,
            verbose_grpc: client.debug_verbose_grpc_client_logging,
            threads: None,
            linger: client.channel_shutdown_timeout,
        }
    }

    /// A process that serves, and calls others.
    pub(super) fn server(listen: &ListenOptions, client: &ClientOptions) -> Self {
        let daemon = Self::daemon(client);
        Self {
            verbose_grpc: daemon.verbose_grpc || listen.debug_verbose_grpc_server_logging,
            threads: listen.grpc_thread_pool_size.map(|threads| usize::from(threads.get())),
            ..daemon
        }
    }

    /// A tool whose result people read: only warnings are logged.
    pub(super) fn tool() -> Self {
        Self { level: Level::WARN, verbose_grpc: false, threads: None, linger: Duration::ZERO }
    }

    /// Runs `work` to its end.
    ///
    /// # Errors
    /// What `work` gives; [`CliError::Process`]; [`CliError::Flag`] for a malformed `RUST_LOG`.
    pub(super) fn run<T>(self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.log()?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = self.threads {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build().map_err(CliError::Process)?;
        let done = runtime.block_on(work);
        runtime.shutdown_timeout(self.linger);
        done
    }

    fn log(self) -> Result<(), CliError> {
        let mut filter = EnvFilter::builder()
            .with_default_directive(self.level.into())
            .from_env()
            .map_err(|error| CliError::flag("RUST_LOG", error.to_string()))?;
        if self.verbose_grpc {
            let debug = |name: &str| format!("{name}=debug").parse::<Directive>();
            filter = GRPC_CRATES.iter().flat_map(|name| debug(name)).fold(filter, EnvFilter::add_directive);
        }
        let ansi = io::stderr().is_terminal();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).init();
        Ok(())
    }
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

/// Serves `routes` and the health service, with the files in force that `reloader` knows, until asked to stop, or until one of them fails.
///
/// # Errors
/// The first failure.
pub(super) async fn serve(
    name: &'static str,
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
    serving.spawn(run_server(name, server, listener, routes, shutdown.clone()));
    let health = options.address(options.health_port);
    serving.spawn(async move {
        let served = serve_health(health, async move { shutdown.requested().await }).await;
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
