//! `halo-duchy computation-control-server`.

use clap::Args;

use super::CliError;
use super::blobs::BlobOptions;
use super::options::{
    AsyncControlOptions, ClientOptions, DuchyInfoOptions, DuchyOptions, InternalApiOptions, ListenOptions,
    PortOptions,
};
use super::process::{self, Process};
use crate::config::load_principals;
use crate::identity::{Authenticate, Identities};
use crate::serve::routes;
use crate::serve::routes_control;
use crate::service::AdvanceLimits;
use crate::tls::TlsFiles;

/// The flags of the computation control server.
#[derive(Args, Clone, Debug)]
pub(super) struct ControlCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    duchy_info: DuchyInfoOptions,
    #[command(flatten)]
    port: PortOptions,
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    internal_api: InternalApiOptions,
    #[command(flatten)]
    async_control: AsyncControlOptions,
    #[command(flatten)]
    blobs: BlobOptions,
    #[command(flatten)]
    limits: AdvanceOptions,
    #[command(flatten)]
    client: ClientOptions,
}

/// What other duchies may hand over.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct AdvanceOptions {
    /// Most bytes that another duchy may hand over for one stage.
    #[arg(long, value_name = "BYTES", default_value_t = AdvanceLimits::default().max_bytes,
        value_parser = clap::value_parser!(u64).range(1..))]
    max_advance_bytes: u64,
}

impl AdvanceOptions {
    pub(super) fn limits(self) -> AdvanceLimits {
        AdvanceLimits { max_bytes: self.max_advance_bytes, ..AdvanceLimits::default() }
    }
}

impl ControlCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::server(&self.listen, &self.client).of(&self.duchy.duchy_name).run(self.serve())
    }

    async fn serve(&self) -> Result<(), CliError> {
        let duchy = &self.duchy.duchy_name;
        let tls = self.tls.load()?;
        let directory = self.duchy_info.load(&self.duchy)?;
        let identities = Identities::new(load_principals(&directory, None)?);
        let reloader = self.client.reloader().tls(&self.tls, &tls).principals(
            duchy,
            &self.duchy_info.duchy_info_config,
            None,
            &identities,
        );
        let routes = routes_control(
            duchy,
            self.internal_api.channel(&tls)?,
            self.async_control.channel(&tls)?,
            &self.blobs.open(&self.duchy)?,
            self.limits.limits(),
        );
        let authenticate = Authenticate::new(identities);
        let names = routes::CONTROL;
        process::serve(names, self.port.port, &self.listen, tls, authenticate, routes, reloader).await
    }
}
