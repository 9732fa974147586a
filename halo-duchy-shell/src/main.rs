//! The duchy's processes and its tools: see [`halo_duchy_shell::cli`].

use std::process::ExitCode;

use halo_duchy_shell::cli::Cli;
use halo_duchy_shell::pkcs11;

fn main() -> ExitCode {
    if cfg!(target_feature = "crt-static") {
        pkcs11::refuse_all();
    }
    match Cli::from_arguments().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("halo-duchy: {}", error.report());
            error.exit_code()
        }
    }
}
