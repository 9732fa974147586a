//! `halo-duchy computations-cleaner`.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::CliError;
use super::options::ClientOptions;
use super::process::{Process, shutdown_on_signal};
use crate::cleaner::{Cleaner, CleanerOptions};
use crate::client::{CallPolicy, channel};
use crate::config::{parse_duration, parse_positive_duration};
use crate::internal_api::InternalApi;
use crate::proto::internal::computation_details::CompletedReason;
use crate::tls::TlsFiles;

/// The flags of the computations cleaner.
#[derive(Args, Clone, Debug)]
pub(super) struct CleanerCommand {
    #[command(flatten)]
    tls: TlsFiles,
    /// The duchy's internal API server.
    #[arg(long, value_name = "HOST:PORT")]
    computations_service_target: String,
    /// Name to expect in its certificate.
    #[arg(long, value_name = "HOST")]
    computations_service_cert_host: String,
    /// How long a call to it may take. One that deletes computations is made again if that is too short; one that
    /// sweeps blobs may take longer as long as it tells of progress.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_positive_duration)]
    rpc_deadline_duration: Duration,
    #[command(flatten)]
    retention: RetentionOptions,
    /// Delete nothing: only log how much would be.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    dry_run: bool,
    #[command(flatten)]
    client: ClientOptions,
}

/// How long what is over is kept.
#[derive(Args, Clone, Debug)]
pub(super) struct RetentionOptions {
    /// How long computations are kept after their end, with what data providers sent for them.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = parse_positive_duration)]
    computations_time_to_live: Duration,
    /// Forget only computations that ended so (several with commas); the others are kept. Default: all.
    #[arg(long, value_name = "STATE", value_enum, value_delimiter = ',')]
    computations_end_states: Vec<EndState>,
    #[command(flatten)]
    pub intermediate: IntermediateOptions,
    /// How long blobs are kept that no computation refers to. More than the longest upload takes: its blob is written
    /// before anything refers to it.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_positive_duration)]
    orphan_ttl: Duration,
}

/// How a computation ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EndState {
    Succeeded,
    Failed,
    Canceled,
}

impl From<EndState> for CompletedReason {
    fn from(state: EndState) -> Self {
        match state {
            EndState::Succeeded => Self::Succeeded,
            EndState::Failed => Self::Failed,
            EndState::Canceled => Self::Canceled,
        }
    }
}

/// How long what stages computed is kept.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct IntermediateOptions {
    /// How long blobs of stages are kept after the end of their computation. Zero: they go with its end; otherwise the
    /// next cleaning after that deletes them.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub intermediate_ttl: Duration,
}

impl RetentionOptions {
    /// The options of the library, with calls that may take `deadline`.
    pub(super) fn options(&self, deadline: Duration, dry_run: bool) -> CleanerOptions {
        CleanerOptions {
            time_to_live: self.computations_time_to_live,
            end_states: self.computations_end_states.iter().map(|state| (*state).into()).collect(),
            intermediate_ttl: self.intermediate.intermediate_ttl,
            orphan_ttl: self.orphan_ttl,
            deadline,
            dry_run,
        }
    }
}

impl CleanerCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::daemon(&self.client).run(self.clean())
    }

    async fn clean(&self) -> Result<(), CliError> {
        let shutdown = shutdown_on_signal()?;
        let deadline = self.rpc_deadline_duration;
        let host = Some(self.computations_service_cert_host.as_str());
        let channel = channel(&self.tls.load()?, &self.computations_service_target, host)?;
        let internal = InternalApi::new(channel, CallPolicy::with_deadline(deadline));
        let cleaner = Cleaner::new(internal, self.retention.options(deadline, self.dry_run));
        match shutdown.unless_requested(cleaner.clean()).await {
            // What it has done stays done, and the next one goes on.
            None => Ok(()),
            Some(Ok(_)) => Ok(()),
            Some(Err(status)) => Err(CliError::InternalApi(Box::new(status))),
        }
    }
}
