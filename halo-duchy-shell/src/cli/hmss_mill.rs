//! `halo-duchy hmss-mill`.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::fulfillment::PrincipalMapOptions;
use super::mill::{MillProcess, Workshop};
use super::options::KingdomPublicOptions;
use super::process::Process;
use crate::config::{ProtocolsSetup, load_principals};
use crate::identity::Identities;
use crate::live::Live;
use crate::mill::{ShareShuffleParts, Specialty};
use crate::party_certificates::PartyCertificates;
use crate::reload::Reloader;

/// The flags of a mill for the honest-majority share shuffle.
#[derive(Args, Clone, Debug)]
pub(super) struct HmssMillCommand {
    #[command(flatten)]
    mill: MillProcess,
    #[command(flatten)]
    kingdom_public: KingdomPublicOptions,
    #[command(flatten)]
    principals: PrincipalMapOptions,
    /// The duchy's roles: a ProtocolsSetupConfig in protobuf text.
    #[arg(long, value_name = "FILE")]
    protocols_setup_config: PathBuf,
}

impl HmssMillCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::daemon(&self.mill.client).of(&self.mill.duchy.duchy_name).run(self.work())
    }

    pub(super) async fn work(&self) -> Result<(), CliError> {
        self.mill.work(|workshop, reloader| self.specialty(workshop, reloader)).await
    }

    fn specialty(&self, workshop: &Workshop, reloader: Reloader) -> Result<(Specialty, Reloader), CliError> {
        let Workshop { tls, directory, blobs, keys } = workshop;
        let duchy = &self.mill.duchy.duchy_name;
        let duchies = &self.mill.duchy_info.duchy_info_config;
        let map = Some(self.principals.authority_key_identifier_to_principal_map_file.as_path());
        let identities = Identities::new(load_principals(directory, map)?);
        let setup = ProtocolsSetup::load(&self.protocols_setup_config, duchy, directory)?;
        let private_keys = keys.private_keys(Some(blobs), &setup)?;
        let setup = Live::new(setup);
        let reloader = reloader.principals(duchy, duchies, map, &identities).setup(
            duchy,
            &self.protocols_setup_config,
            duchies,
            &setup,
        );
        let kingdom = self.kingdom_public.channel(tls)?;
        let certificates = PartyCertificates::new(kingdom, tls.clone(), identities);
        let parts = ShareShuffleParts { setup, private_keys, certificates };
        Ok((Specialty::ShareShuffle(Box::new(parts)), reloader))
    }
}
