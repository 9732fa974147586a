//! `halo-duchy audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CliError;
use crate::audit::{Expected, FileSummary, Hash, verify};

/// What can be done with audit logs.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that audit logs are as they were written, and tell how far they go.
    Verify(VerifyCommand),
}

/// The files to check, and what is known of them.
#[derive(Args, Clone, Debug)]
pub(super) struct VerifyCommand {
    /// Audit logs. Those of one process come in their order, the oldest first; each goes on with the one before it, or
    /// begins anew.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Hash of a record that must be there, as was noted down when it was the last: the log has not been cut off before
    /// it. May be repeated.
    #[arg(long, value_name = "HASH")]
    expect_hash: Vec<Hash>,
    /// Hash of the last record before the first file, where older files are not kept.
    #[arg(long, value_name = "HASH")]
    after_hash: Option<Hash>,
}

impl AuditCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        let Self::Verify(VerifyCommand { files, expect_hash, after_hash }) = self;
        let expected = Expected { after: *after_hash, hashes: expect_hash.clone() };
        for summary in verify(files, &expected)? {
            println!("{}", shown(&summary));
        }
        Ok(())
    }
}

fn shown(summary: &FileSummary) -> String {
    let FileSummary { path, records, first, last, torn, head } = summary;
    let path = path.display();
    if *records == 0 {
        return format!("{path}: no records");
    }
    let torn = match torn {
        0 => String::new(),
        torn => format!(", {torn} lines cut off by crashes"),
    };
    format!("{path}: {records} records from {first} to {last}{torn}, last hash {head}")
}
