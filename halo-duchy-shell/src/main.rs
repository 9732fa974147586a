//! The duchy's processes and its tools: see [`halo_duchy_shell::cli`].

use std::process::ExitCode;

use halo_duchy_shell::cli::Cli;

fn main() -> ExitCode {
    match Cli::from_arguments().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("halo-duchy: {}", error.report());
            error.exit_code()
        }
    }
}
