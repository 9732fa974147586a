//! What is in a duchy's database, read past the duchy.

use std::path::Path;

use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

fn open(database: &Path) -> Connection {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let connection = connection.expect("the duchy's database");
    connection.busy_timeout(std::time::Duration::from_secs(30)).expect("a timeout");
    connection
}

/// Copies the database as it is now, past whoever has it open.
pub fn copy(database: &Path, to: &Path) {
    // SQLite does not write over anything.
    let _ = std::fs::remove_file(to);
    let to = to.to_str().expect("UTF-8");
    open(database).execute("VACUUM INTO ?1", [to]).expect("a copy");
}

/// Computations that have not ended.
pub fn unfinished(database: &Path) -> i64 {
    let ended = Protocol::ALL.map(|protocol| {
        format!(
            "(Protocol = {} AND ComputationStage = {})",
            protocol.number(),
            protocol.terminal_stage().number()
        )
    });
    let query = format!("SELECT COUNT(*) FROM Computations WHERE NOT ({})", ended.join(" OR "));
    open(database).query_row(&query, [], |row| row.get(0)).expect("a count")
}

/// Computations that some mill may claim, now or later.
pub fn claimable(database: &Path) -> i64 {
    let query = "SELECT COUNT(*) FROM Computations WHERE LockExpirationTime IS NOT NULL";
    open(database).query_row(query, [], |row| row.get(0)).expect("a count")
}

/// The most attempts that any stage of any computation has taken.
pub fn most_attempts(database: &Path) -> i64 {
    let query = "SELECT MAX(Attempt) FROM ComputationStageAttempts";
    open(database).query_row(query, [], |row| row.get(0)).expect("a number")
}

/// Attempts at a stage of this name, of all computations together.
pub fn attempts(database: &Path, stage: &str) -> i64 {
    let numbers = |protocol: Protocol| protocol.stages().filter(|known| known.name() == stage);
    let of_stage = |stage: ProtocolStage| {
        let (protocol, stage) = (stage.protocol().number(), stage.number());
        format!("(Protocol = {protocol} AND ComputationStageAttempts.ComputationStage = {stage})")
    };
    let stages: Vec<_> = Protocol::ALL.into_iter().flat_map(numbers).map(of_stage).collect();
    let join = "ComputationStageAttempts JOIN Computations USING (ComputationId)";
    let query = format!("SELECT COUNT(*) FROM {join} WHERE {}", stages.join(" OR "));
    open(database).query_row(&query, [], |row| row.get(0)).expect("a count")
}

/// All that a duchy remembers of computations, but for how long their attempts took.
pub fn all(database: &Path) -> Vec<(String, Vec<Vec<Value>>)> {
    const TABLES: [&str; 5] = [
        "Computations",
        "Requisitions",
        "ComputationStages",
        "ComputationBlobReferences",
        "ComputationStageAttempts",
    ];
    let connection = open(database);
    let rows = |table: &&str| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("a table");
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
        let rows: Result<Vec<Vec<Value>>, _> = rows.expect("rows").collect();
        ((*table).to_owned(), rows.expect("rows"))
    };
    TABLES.iter().map(rows).collect()
}
