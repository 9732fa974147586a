//! `halo-duchy requisition-fulfillment-server`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use super::blobs::BlobOptions;
use super::options::{
    ClientOptions, DuchyOptions, InternalApiOptions, KingdomOptions, ListenOptions, PortOptions,
};
use super::process::{self, Process};
use crate::config::{self, ConfigError, parse_principal_map};
use crate::identity::{Authenticate, Identities, Principals};
use crate::serve::routes;
use crate::serve::routes_fulfillment;
use crate::service::FulfillmentLimits;
use crate::tls::TlsFiles;

/// The flags of the requisition fulfillment server.
#[derive(Args, Clone, Debug)]
pub(super) struct FulfillmentCommand {
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    principals: PrincipalMapOptions,
    #[command(flatten)]
    port: PortOptions,
    #[command(flatten)]
    listen: ListenOptions,
    #[command(flatten)]
    internal_api: InternalApiOptions,
    #[command(flatten)]
    kingdom: KingdomOptions,
    #[command(flatten)]
    blobs: BlobOptions,
    #[command(flatten)]
    limits: RequisitionOptions,
    #[command(flatten)]
    client: ClientOptions,
}

/// Who the data providers are.
#[derive(Args, Clone, Debug)]
pub(super) struct PrincipalMapOptions {
    /// The data providers by their root certificates: an AuthorityKeyToPrincipalMap in protobuf text.
    #[arg(long, value_name = "FILE")]
    pub authority_key_identifier_to_principal_map_file: PathBuf,
}

/// What data providers may hand over.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct RequisitionOptions {
    /// Most bytes of the data for one requisition.
    #[arg(long, value_name = "BYTES", default_value_t = FulfillmentLimits::default().bytes,
        value_parser = clap::value_parser!(u64).range(1..))]
    max_requisition_bytes: u64,
}

impl RequisitionOptions {
    pub(super) fn limits(self) -> FulfillmentLimits {
        FulfillmentLimits { bytes: self.max_requisition_bytes, ..FulfillmentLimits::default() }
    }
}

/// The principals of the map alone: other duchies have no business here.
fn load_others(map: &Path) -> Result<Principals, ConfigError> {
    Ok(Principals::new(parse_principal_map(&config::read(map)?)?)?)
}

impl FulfillmentCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::server(&self.listen, &self.client).of(&self.duchy.duchy_name).run(self.serve())
    }

    async fn serve(&self) -> Result<(), CliError> {
        let tls = self.tls.load()?;
        let map = self.principals.authority_key_identifier_to_principal_map_file.clone();
        let identities = Identities::new(load_others(&map)?);
        let reloader = self.client.reloader().tls(&self.tls, &tls);
        let (others, reloaded) = (map.clone(), identities.clone());
        let reloader = reloader.watch("the principals", [&map], move || {
            load_others(&others).map(|principals| reloaded.replace(principals))
        });
        let routes = routes_fulfillment(
            &self.duchy.duchy_name,
            self.internal_api.channel(&tls)?,
            self.kingdom.channel(&tls)?,
            &self.blobs.open(&self.duchy)?,
            self.limits.limits(),
        );
        let authenticate = Authenticate::new(identities);
        let names = routes::FULFILLMENT;
        process::serve(names, self.port.port, &self.listen, tls, authenticate, routes, reloader).await
    }
}
