//! The duchy's processes and its tools, one subcommand each.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use halo_duchy_shell::pki::{Pki, PkiSpec};

#[derive(Parser)]
#[command(
    name = "halo-duchy",
    version,
    about = "A duchy of the Halo system for measuring audiences privately"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole measurement on this machine.
    Demo(halo_duchy_shell::demo::args::DemoArgs),

    /// Make the keys, certificates and configuration of every party of a trial.
    Pki {
        /// The folder to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        spec: PkiSpec,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("halo-duchy: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Demo(args) => {
            let runtime = tokio::runtime::Runtime::new()?;
            let report = runtime.block_on(halo_duchy_shell::demo::run(&args))?;
            if args.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                println!("{report}");
            }
        }
        Command::Pki { out, spec } => {
            Pki::create(&spec, &out)?;
        }
    }
    Ok(())
}
