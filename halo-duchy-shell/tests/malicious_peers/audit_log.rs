//! The audit log of this process, which all duchies here write.

use std::path::PathBuf;
use std::sync::OnceLock;

use halo_duchy_shell::audit::{self, AuditLog};
use serde::Deserialize;

/// What a record says of a refusal.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct Record {
    pub event: String,
    pub principal: String,
    pub computation: String,
    pub reason: String,
}

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Has the process keep a log, from the first call on.
pub fn keep() {
    FILE.get_or_init(|| {
        let file = tempfile::tempdir().expect("a folder").keep().join("audit.log");
        audit::install(AuditLog::open(&file, "test", "").expect("a new log")).expect("the only one");
        file
    });
}

/// The refusals in a computation.
pub fn refusals(computation: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(FILE.get().expect("it is kept")).expect("readable");
    let records = text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a record"));
    let refusals = ["payload.refused", "payload.changed", "consent.refused", "caller.refused"];
    records.filter(|record| record.computation == computation && refusals.contains(&&*record.event)).collect()
}
