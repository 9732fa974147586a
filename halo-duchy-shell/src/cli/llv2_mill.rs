//! `halo-duchy llv2-mill`.

use clap::Args;

use super::CliError;
use super::mill::MillProcess;
use super::process::Process;
use crate::mill::Specialty;

/// The flags of a mill for Liquid Legions v2, with frequencies or without.
#[derive(Args, Clone, Debug)]
pub(super) struct Llv2MillCommand {
    #[command(flatten)]
    mill: MillProcess,
}

impl Llv2MillCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::daemon(&self.mill.client).of(&self.mill.duchy.duchy_name).run(self.work())
    }

    pub(super) async fn work(&self) -> Result<(), CliError> {
        self.mill.work(|_, reloader| Ok((Specialty::LiquidLegions, reloader))).await
    }
}
