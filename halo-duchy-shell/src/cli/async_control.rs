//! `halo-duchy async-computation-control-server`.

use clap::Args;

use super::CliError;
use super::options::{
    ClientOptions, DuchyInfoOptions, DuchyOptions, InternalApiOptions, ListenOptions, PortOptions,
};
use super::process::{self, Process};
use crate::config::load_principals;
use crate::identity::{Authenticate, Caller, Identities};
use crate::serve::routes;
use crate::serve::routes_async_control;
use crate::tls::TlsFiles;

/// The flags of the asynchronous control server.
#[derive(Args, Clone, Debug)]
pub(super) struct AsyncControlCommand {
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
    /// How often a change of a computation is begun anew because another came first.
    #[arg(long, value_name = "N", default_value_t = i32::MAX as u32,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_advance_attempts: u32,
    #[command(flatten)]
    client: ClientOptions,
}

impl AsyncControlCommand {
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
        let routes = routes_async_control(duchy, self.internal_api.channel(&tls)?, self.max_advance_attempts);
        let authenticate = Authenticate::only(identities, Caller::Duchy(duchy.clone()));
        let names = routes::ASYNC_CONTROL;
        process::serve(names, self.port.port, &self.listen, tls, authenticate, routes, reloader).await
    }
}
