//! `halo-duchy herald`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::CliError;
use super::blobs::BlobStoreOptions;
use super::key_encryption::KeyEncryptionOptions;
use super::options::{
    ClientOptions, DuchyInfoOptions, DuchyOptions, InternalApiOptions, KingdomOptions, NoiseOptions,
};
use super::process::{Process, shutdown_on_signal};
use crate::client::CallPolicy;
use crate::config::{ProtocolsSetup, parse_duration, parse_positive_duration};
use crate::herald::{Herald, HeraldOptions, HeraldParts};
use crate::internal_api::InternalApi;
use crate::live::Live;
use crate::proto::system::computation::State;
use crate::seeds::SeedSource;
use crate::system_api::SystemApi;
use crate::tls::TlsFiles;

/// The flags of the herald.
#[derive(Args, Clone, Debug)]
pub(super) struct HeraldCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    duchy_info: DuchyInfoOptions,
    #[command(flatten)]
    internal_api: InternalApiOptions,
    #[command(flatten)]
    kingdom: KingdomOptions,
    #[command(flatten)]
    herald: HeraldWorkOptions,
    /// Private keys are written there.
    #[command(flatten)]
    blobs: BlobStoreOptions,
    #[command(flatten)]
    key_encryption: KeyEncryptionOptions,
    #[command(flatten)]
    client: ClientOptions,
}

/// How a herald works, in a process of its own or not.
#[derive(Args, Clone, Debug)]
pub(super) struct HeraldWorkOptions {
    /// The duchy's roles: a ProtocolsSetupConfig in protobuf text.
    #[arg(long, value_name = "FILE")]
    pub protocols_setup_config: PathBuf,
    /// State at the Kingdom in which a computation and its blobs are deleted here at once. May be repeated.
    #[arg(long, value_name = "STATE", value_enum)]
    deletable_computation_state: Vec<TerminalState>,
    /// Computations that the herald works on at once.
    #[arg(long, value_name = "N", default_value = "5")]
    herald_concurrency: NonZeroUsize,
    /// Failures of the Kingdom's stream of computations in a row, at least, before the herald gives up.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    herald_stream_attempts: u32,
    /// How long the stream must have failed, at least, before the herald gives up. 0s: as soon as it has so often.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    herald_stream_patience: Duration,
    /// Tries of what the Kingdom says about one computation, if the error may be final.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    herald_item_attempts: u32,
    /// How long the herald waits for a computation to reach the stage that the Kingdom's state asks for, or for servers to
    /// answer.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_positive_duration)]
    herald_stage_patience: Duration,
    #[command(flatten)]
    noise: NoiseOptions,
}

/// The states in which a computation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum TerminalState {
    Succeeded,
    Failed,
    Cancelled,
}

impl HeraldWorkOptions {
    /// The options of the library.
    pub(super) fn options(&self) -> HeraldOptions {
        let deletable_states: BTreeSet<i32> = self
            .deletable_computation_state
            .iter()
            .map(|state| match state {
                TerminalState::Succeeded => State::Succeeded as i32,
                TerminalState::Failed => State::Failed as i32,
                TerminalState::Cancelled => State::Cancelled as i32,
            })
            .collect();
        HeraldOptions {
            concurrency: self.herald_concurrency.get(),
            stream_attempts: self.herald_stream_attempts,
            stream_patience: self.herald_stream_patience,
            item_attempts: self.herald_item_attempts,
            stage_patience: self.herald_stage_patience,
            noise_policy: self.noise.policy(),
            deletable_states,
            ..HeraldOptions::default()
        }
    }
}

impl HeraldCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::daemon(&self.client).of(&self.duchy.duchy_name).run(self.follow())
    }

    async fn follow(&self) -> Result<(), CliError> {
        let shutdown = shutdown_on_signal()?;
        let duchy = &self.duchy.duchy_name;
        let tls = self.tls.load()?;
        let directory = self.duchy_info.load(&self.duchy)?;
        let source = &self.herald.protocols_setup_config;
        let setup = ProtocolsSetup::load(source, duchy, &directory)?;
        let blobs = self.blobs.open(&self.duchy)?;
        let keys = self.key_encryption.open().await?;
        let private_keys = keys.private_keys(blobs.as_ref(), &setup)?;
        let setup = Live::new(setup);
        let reloader = self.client.reloader().tls(&self.tls, &tls);
        let reloader = reloader.setup(duchy, source, &self.duchy_info.duchy_info_config, &setup);
        let reloader = keys.watched_by(reloader);
        tokio::spawn(reloader.run(shutdown.clone()));
        let parts = HeraldParts {
            id: format!("{duchy}-herald"),
            duchy: duchy.clone(),
            setup,
            kingdom: SystemApi::new(duchy, self.kingdom.channel(&tls)?, CallPolicy::default()),
            internal: InternalApi::new(self.internal_api.channel(&tls)?, self.internal_api.policy()),
            private_keys,
            secrets: keys.secrets(),
            seeds: SeedSource::OperatingSystem,
        };
        Ok(Herald::new(parts, self.herald.options())?.run(shutdown).await?)
    }
}
