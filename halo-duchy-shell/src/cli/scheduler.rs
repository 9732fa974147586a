//! `halo-duchy mill-job-scheduler`.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::CliError;
use super::options::{ClientOptions, DuchyOptions, InternalApiOptions};
use super::process::{Process, shutdown_on_signal};
use crate::config::parse_positive_duration;
use crate::internal_api::InternalApi;
use crate::scheduler::{HistoryLimits, MillJobOptions, Scheduler, SchedulerOptions, connect};
use crate::tls::TlsFiles;

/// The flags of the mill job scheduler.
#[derive(Args, Clone, Debug)]
pub(super) struct SchedulerCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    internal_api: InternalApiOptions,
    /// Name of the scheduler's own Deployment, which owns the Jobs, and of the Lease by which one scheduler leads. The
    /// namespace is the Pod's own.
    #[arg(long, value_name = "NAME")]
    deployment_name: String,
    /// PodTemplate of mills for Liquid Legions v2: its first container runs `llv2-mill`.
    #[arg(long, value_name = "NAME")]
    llv2_pod_template_name: String,
    /// Jobs at once for Liquid Legions v2, with frequencies or without.
    #[arg(long, value_name = "N", default_value = "1")]
    llv2_maximum_concurrency: NonZeroUsize,
    /// How long the claim lasts that such a Job begins with. Its mill extends it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_positive_duration)]
    llv2_work_lock_duration: Duration,
    /// PodTemplate of mills for share shuffles: its first container runs `hmss-mill`.
    #[arg(long, value_name = "NAME")]
    hmss_pod_template_name: String,
    /// Jobs at once for share shuffles.
    #[arg(long, value_name = "N", default_value = "1")]
    hmss_maximum_concurrency: NonZeroUsize,
    /// How long the claim lasts that such a Job begins with. Its mill extends it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_positive_duration)]
    hmss_work_lock_duration: Duration,
    /// Ended Jobs of each type of mill that are kept if they ended well.
    #[arg(long, value_name = "N", default_value_t = 3)]
    successful_jobs_history_limit: usize,
    /// Ended Jobs of each type of mill that are kept if they failed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    failed_jobs_history_limit: usize,
    /// How long an ended Job is kept at most, whatever the limits (`ttlSecondsAfterFinished`).
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_positive_duration)]
    job_time_to_live: Duration,
    /// How long a Job may run (`activeDeadlineSeconds`). Its mill then gives its work back.
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_positive_duration)]
    job_active_deadline: Duration,
    /// For how long a failed Job holds others of its type of mill back. Each further one in a row does twice as long.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_positive_duration)]
    failed_job_delay: Duration,
    /// The longest such time.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_positive_duration)]
    max_failed_job_delay: Duration,
    /// Pause between two looks for Jobs and work. It doubles from look to look while there are neither.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_positive_duration)]
    polling_delay: Duration,
    /// The longest such pause. It ends when the internal API server tells of work.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_positive_duration)]
    max_polling_delay: Duration,
    /// How long a scheduler that died without a word keeps others from leading.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_positive_duration)]
    leader_lease_duration: Duration,
    /// Name of this scheduler in the Lease, with something behind it that makes it unique.
    #[arg(long, value_name = "ID", env = "HOSTNAME", default_value = "mill-job-scheduler")]
    scheduler_id: String,
    #[command(flatten)]
    client: ClientOptions,
}

impl SchedulerCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::daemon(&self.client).of(&self.duchy.duchy_name).run(self.schedule())
    }

    async fn schedule(&self) -> Result<(), CliError> {
        let shutdown = shutdown_on_signal()?;
        let tls = self.tls.load()?;
        tokio::spawn(self.client.reloader().tls(&self.tls, &tls).run(shutdown.clone()));
        let internal = InternalApi::new(self.internal_api.channel(&tls)?, self.internal_api.policy());
        let cluster = connect().await?;
        let scheduler = Scheduler::new(cluster, self.deployment_name.clone(), internal, self.options()?)?;
        Ok(scheduler.run(shutdown).await?)
    }

    fn options(&self) -> Result<SchedulerOptions, CliError> {
        let mill = |template: &str, concurrency: NonZeroUsize, work_lock_duration| MillJobOptions {
            pod_template: template.to_owned(),
            maximum_concurrency: concurrency.get(),
            work_lock_duration,
        };
        Ok(SchedulerOptions {
            duchy: self.duchy.duchy_name.clone(),
            // A Pod's name stays when its container starts again; a lease of the one before is not ours.
            identity: format!("{}_{:08x}", self.scheduler_id, getrandom::u32()?),
            mills: [
                mill(
                    &self.llv2_pod_template_name,
                    self.llv2_maximum_concurrency,
                    self.llv2_work_lock_duration,
                ),
                mill(
                    &self.hmss_pod_template_name,
                    self.hmss_maximum_concurrency,
                    self.hmss_work_lock_duration,
                ),
            ],
            history: HistoryLimits {
                successful: self.successful_jobs_history_limit,
                failed: self.failed_jobs_history_limit,
            },
            job_time_to_live: self.job_time_to_live,
            job_active_deadline: self.job_active_deadline,
            failed_job_delay: self.failed_job_delay,
            max_failed_job_delay: self.max_failed_job_delay,
            polling_delay: self.polling_delay,
            max_polling_delay: self.max_polling_delay,
            leader_lease_duration: self.leader_lease_duration,
        })
    }
}
