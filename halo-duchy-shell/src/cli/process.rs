//! What every process does around its work: logs, threads, and an orderly end when asked for one.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tracing::Level;

use super::CliError;
use super::options::{ClientOptions, ListenOptions};
use crate::audit::{self, AuditLog};
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
#[derive(Clone, Debug)]
pub(super) struct Process {
    logs: Logs,
    threads: Option<usize>,
    /// Whether its threads serve RPCs.
    serves: bool,
    /// How long what is still running may take when the work has ended.
    linger: Duration,
    /// The duchy that it is a part of; empty if it is of none.
    duchy: String,
    audit: Audit,
}

/// Whether a process keeps an audit log.
#[derive(Clone, Debug)]
enum Audit {
    /// It is none that could.
    Tool,
    /// It does not, and says so.
    Off,
    /// In this file.
    File(PathBuf),
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
            duchy: String::new(),
            audit: client.audit_log.clone().map_or(Audit::Off, Audit::File),
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
        Self {
            logs,
            threads: None,
            serves: false,
            linger: Duration::ZERO,
            duchy: String::new(),
            audit: Audit::Tool,
        }
    }

    /// The same, as a part of `duchy`.
    pub(super) fn of(self, duchy: &str) -> Self {
        Self { duchy: duchy.to_owned(), ..self }
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
        self.audit.begin(&self.duchy)?;
        let done = runtime.block_on(work);
        audit::close();
        // However the work ended, what it measured is exported, which needs the runtime.
        if self.serves {
            THREAD_POOL_SIZE.add(-workers, [THREAD_POOL]);
        }
        drop(telemetry);
        runtime.shutdown_timeout(self.linger);
        done
    }
}

impl Audit {
    /// Makes the log that of the process, before it does anything.
    fn begin(&self, duchy: &str) -> Result<(), CliError> {
        match self {
            Self::Tool => Ok(()),
            Self::Off => {
                tracing::info!("no audit log is kept: --audit-log is not given");
                Ok(())
            }
            Self::File(path) => Ok(audit::install(AuditLog::open(path, &subcommand(), duchy)?)?),
        }
    }
}

/// The subcommand, such as `herald`.
fn subcommand() -> String {
    std::env::args().nth(1).unwrap_or_default()
}

/// The program and its subcommand, such as `halo-duchy-herald`.
fn service_name() -> String {
    format!("halo-duchy-{}", subcommand())
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
    let server = Server { tls, authenticate, limits: options.limits() };
    let routes = with_reflection(routes)?;
    serve_by(names, port, options, reloader, move |listener, shutdown| async move {
        run_server(names.server, server, listener, routes, shutdown).await;
        Ok(())
    })
    .await
}

/// As [`serve`], with a server of the caller's that is given what it listens on and when it stops.
///
/// # Errors
/// The first failure.
pub(super) async fn serve_by<Serving>(
    names: ServerNames,
    port: u16,
    options: &ListenOptions,
    reloader: Reloader,
    server: impl FnOnce(TcpListener, Shutdown) -> Serving,
) -> Result<(), CliError>
where
    Serving: Future<Output = Result<(), ServeError>> + Send + 'static,
{
    let asked = shutdown_on_signal()?;
    let listener = listen(options.address(port)).await?;
    let (stop, shutdown) = shutdown::channel();
    tokio::spawn(reloader.run(shutdown.clone()));
    let mut serving = JoinSet::new();
    serving.spawn(server(listener, shutdown.clone()));
    let health = listen(options.address(options.health_port)).await?;
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
