//! The command line of `halo-duchy`: one subcommand for each process of a duchy, with the flags, units and defaults of
//! upstream's (docs/flags.md), and those of the tools around it.
//!
//! A subcommand is a struct of flags that becomes the options of the library, one file each; flags that several share
//! are in `options`. What upstream's processes have as constants are flags here, with upstream's value as default. Where
//! upstream chooses databases and blob storage by image, ours take `--store` and `--blobs`, beside upstream's own flags.
//!
//! Exit status: 0 after an orderly end (SIGTERM and SIGINT included), 1 after a failure, which one line on standard
//! error explains, 2 if the command line is refused. Logs go to standard error, as `RUST_LOG` says.

mod admin;
mod async_control;
mod audit;
mod blobs;
mod cleaner;
mod computations;
mod control;
mod edp;
mod error;
mod fulfillment;
mod herald;
mod hmss_mill;
mod internal_api;
mod key_encryption;
mod kingdom;
mod llv2_mill;
mod measurement;
mod mill;
mod options;
mod postgres;
mod process;
#[cfg(feature = "kubernetes")]
mod scheduler;
mod serve;
mod store;
mod upstream;

#[cfg(test)]
mod tests;

pub use error::CliError;

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use halo_crypto::Backend;

use crate::demo::args::DemoArgs;
use crate::demo::report::html::Page;
use crate::pki::{Pki, PkiSpec};
use crate::proto::DESCRIPTORS;
use process::Process;

/// A duchy of the Halo system for measuring audiences privately.
#[derive(Debug, Parser)]
#[command(name = "halo-duchy", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all processes of one duchy in one: its servers, its herald and its mills.
    Serve(Box<serve::ServeCommand>),
    /// Follow the Kingdom's computations: create them here, start them, and fail what cannot be.
    Herald(herald::HeraldCommand),
    /// Compute the stages of Liquid Legions v2, with frequencies or without.
    #[command(name = "llv2-mill")]
    Llv2Mill(Box<llv2_mill::Llv2MillCommand>),
    /// Compute the stages of the honest-majority share shuffle.
    HmssMill(Box<hmss_mill::HmssMillCommand>),
    /// Run mills as Kubernetes Jobs, as there is work for them.
    #[cfg(feature = "kubernetes")]
    MillJobScheduler(Box<scheduler::SchedulerCommand>),
    /// Serve the duchy's computations to its own processes.
    InternalApiServer(Box<internal_api::InternalApiCommand>),
    /// Serve the duchy's computation control server: record what arrived from other duchies.
    AsyncComputationControlServer(async_control::AsyncControlCommand),
    /// Serve other duchies: take the data they hand over.
    ComputationControlServer(control::ControlCommand),
    /// Serve data providers: take the data they fulfil requisitions with.
    RequisitionFulfillmentServer(fulfillment::FulfillmentCommand),
    /// Delete what a duchy no longer needs: computations that ended long ago, intermediate blobs, blobs that nothing
    /// refers to.
    ComputationsCleaner(cleaner::CleanerCommand),
    /// Look at a duchy's computations, and get those going again, or end them, that are stuck.
    #[command(subcommand)]
    Computations(computations::ComputationsCommand),
    /// Look after a duchy's database: its schema, and what is in it.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Look into audit logs.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Run a Kingdom for development, for parties whose keys `pki` made; or look at one and tell it what to do.
    Kingdom(Box<kingdom::KingdomCommand>),
    /// Answer requisitions, as a data provider.
    #[command(subcommand)]
    Edp(edp::EdpCommand),
    /// Ask for measurements and get their results, as a measurement consumer.
    #[command(subcommand)]
    Measurement(measurement::MeasurementCommand),
    /// Make the keys, certificates and configuration of every party of a trial.
    Pki {
        /// Folder to write to. Nothing in it is overwritten.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        spec: PkiSpec,
    },
    /// Run a whole measurement on this machine.
    Demo(DemoArgs),
    /// Print a script that completes this program's command lines in a shell.
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write the manual pages of this program and its subcommands.
    Man {
        /// Folder to write to, which must exist. Pages of the same names are overwritten.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Write the interfaces as a serialised FileDescriptorSet.
    Descriptors {
        /// File to write.
        #[arg(value_name = "OUT.binpb")]
        out: PathBuf,
    },
}

impl Cli {
    /// The command line of this process. Upstream's flags without effect are taken with a warning on standard error;
    /// a malformed command line ends the process with clap's message.
    ///
    /// # Errors
    /// [`CliError::Flag`] for a flag of upstream's that needs another one here.
    #[allow(clippy::result_large_err, reason = "once, at the start of a process")]
    pub fn from_arguments() -> Result<Self, CliError> {
        let (arguments, warnings) = upstream::screen(std::env::args_os())?;
        for warning in warnings {
            eprintln!("halo-duchy: warning: {warning}");
        }
        Ok(Self::parse_from(arguments))
    }

    /// Does what the command line says; a server or daemon returns once it is told to stop. The variable
    /// `HALO_BACKEND` may name the [`Backend`] that computes in place of the fastest available one.
    ///
    /// # Errors
    /// [`CliError`].
    pub fn run(self) -> Result<(), CliError> {
        if let Ok(name) = std::env::var("HALO_BACKEND") {
            name.parse::<Backend>()?.force()?;
        }
        match self.command {
            Command::Serve(command) => command.run(),
            Command::Herald(command) => command.run(),
            Command::Llv2Mill(command) => command.run(),
            Command::HmssMill(command) => command.run(),
            #[cfg(feature = "kubernetes")]
            Command::MillJobScheduler(command) => command.run(),
            Command::InternalApiServer(command) => command.run(),
            Command::AsyncComputationControlServer(command) => command.run(),
            Command::ComputationControlServer(command) => command.run(),
            Command::RequisitionFulfillmentServer(command) => command.run(),
            Command::ComputationsCleaner(command) => command.run(),
            Command::Computations(command) => command.run(),
            Command::Store(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Kingdom(command) => command.run(),
            Command::Edp(command) => command.run(),
            Command::Measurement(command) => command.run(),
            Command::Pki { out, spec } => Ok(Pki::create(&spec, &out).map(drop)?),
            Command::Demo(args) => demo(&args),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "halo-duchy", &mut std::io::stdout());
                Ok(())
            }
            Command::Man { folder } => clap_mangen::generate_to(Self::command(), &folder)
                .map_err(|source| CliError::Write { path: folder, source }),
            Command::Descriptors { out } => {
                std::fs::write(&out, DESCRIPTORS).map_err(|source| CliError::Write { path: out, source })
            }
        }
    }
}

fn demo(args: &DemoArgs) -> Result<(), CliError> {
    let report = Process::tool().run(async { Ok(crate::demo::run(args).await?) })?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    match &args.report {
        Some(path) => std::fs::write(path, Page(&report).to_string())
            .map_err(|source| CliError::Write { path: path.clone(), source }),
        None => Ok(()),
    }
}
