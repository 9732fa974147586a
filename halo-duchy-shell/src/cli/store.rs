//! `halo-duchy store`.

use std::fs::File;
use std::io::{self, IsTerminal, Seek};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use tempfile::NamedTempFile;

use super::CliError;
use super::options::StoreOptions;
use super::process::Process;
use crate::store::transfer::{Summary, TransferError, export, import};
use crate::store::{Schema, StoreAddress};

/// What can be done to a whole store.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Bring the schema of a database up to date, be it empty, ours or upstream's.
    Migrate {
        #[command(flatten)]
        store: Box<StoreOptions>,
        /// Only show what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all that a database holds, in one state of it, as JSON lines. It holds keys in the clear.
    Export {
        #[command(flatten)]
        store: Box<StoreOptions>,
        /// File to write, which must not exist and will be readable to its owner only. Default: standard output, which
        /// must not be a terminal.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read what `export` wrote into a database without computations, of any kind.
    Import {
        #[command(flatten)]
        store: Box<StoreOptions>,
        /// File to read. Default: standard input, which is kept in a temporary file without a name meanwhile.
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
    },
}

impl StoreCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::tool().run(async {
            match self {
                Self::Migrate { store, dry_run } => migrate(&store.address().await?, *dry_run).await,
                Self::Export { store, output } => export_to(&store.address().await?, output.as_deref()).await,
                Self::Import { store, input } => {
                    let summary = import(&store.address().await?, stream(input.as_deref())?).await?;
                    println!("{}", told("imported", &summary));
                    Ok(())
                }
            }
        })
    }
}

async fn migrate(address: &StoreAddress, dry_run: bool) -> Result<(), CliError> {
    let Schema { found, known, missing } = address.schema().await?;
    if missing.is_empty() && found == known {
        println!("{address} has schema version {found}, which is this program's");
        return Ok(());
    }
    if !dry_run || found > known {
        // A newer one is refused.
        address.migrate().await?;
    }
    let done = if dry_run { "would be migrated" } else { "is migrated" };
    println!("{address} {done} from schema version {found} to {known}: {}", missing.join(", "));
    Ok(())
}

async fn export_to(address: &StoreAddress, output: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = output else {
        if io::stdout().is_terminal() {
            return Err(CliError::flag(
                "--output",
                "keys are not shown on a terminal: name a file, or use a pipe",
            ));
        }
        let summary = export(address, io::stdout()).await?;
        eprintln!("{}", told("exported", &summary));
        return Ok(());
    };
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    // It has its name once it is whole.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder).map_err(failed)?;
    let summary = export(address, file.reopen().map_err(failed)?).await?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    println!("{}", told("exported", &summary));
    Ok(())
}

fn told(done: &str, summary: &Summary) -> String {
    format!("{done} {} rows, SHA-256 {}", summary.rows, summary.sha256)
}

/// What is to be read, in a file: it is read twice.
fn stream(input: Option<&Path>) -> Result<File, CliError> {
    let mut source: Box<dyn io::Read> = match input {
        None => Box::new(io::stdin()),
        Some(path) => {
            let opened = File::open(path).and_then(|file| Ok((file.metadata()?.is_file(), file)));
            match opened.map_err(|source| CliError::Read { path: path.to_owned(), source })? {
                (true, file) => return Ok(file),
                (false, pipe) => Box::new(pipe),
            }
        }
    };
    let mut copy = || {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut source, &mut file)?;
        file.rewind()?;
        Ok(file)
    };
    Ok(copy().map_err(TransferError::Read)?)
}
