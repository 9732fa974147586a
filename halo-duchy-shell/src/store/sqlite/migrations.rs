//! The schema, in steps that are each a transaction.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::store::migrations::{self, MigrationError, Schema, Step, check, missing};

/// Name and text of each step, in order; the number is the position, from 1.
const MIGRATIONS: [(&str, &str); 2] = [
    ("create_computations", include_str!("../../../migrations/sqlite/0001_create_computations.sql")),
    ("index_queue_and_stages", include_str!("../../../migrations/sqlite/0002_index_queue_and_stages.sql")),
];

/// The schema of a database, which is not changed.
pub(super) fn schema(connection: &Connection) -> Result<Schema, MigrationError> {
    let found = || {
        let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'SchemaMigrations'";
        if connection.prepare(table)?.exists([])? { version(connection) } else { Ok(0) }
    };
    let found = found().map_err(|error: rusqlite::Error| MigrationError::Version(error.into()))?;
    Ok(migrations::schema(&MIGRATIONS, found))
}

/// Applies the steps that the database lacks, each in a transaction of its own. Processes that start together wait for
/// one another.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), MigrationError> {
    for step in missing(&MIGRATIONS, 0)? {
        take(connection, step).map_err(|source| step.failed(source))?;
    }
    check(&MIGRATIONS, version(connection).map_err(|error| MigrationError::Version(error.into()))?)
}

/// Takes a step that the database lacks.
fn take(connection: &mut Connection, step: Step) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS SchemaMigrations (Version INTEGER PRIMARY KEY, Name TEXT NOT NULL) STRICT",
    )?;
    if version(&transaction)? < step.version {
        transaction.execute_batch(step.sql)?;
        let taken = "INSERT INTO SchemaMigrations (Version, Name) VALUES (?1, ?2)";
        transaction.execute(taken, (step.version, step.name))?;
    }
    transaction.commit()
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let last = "SELECT Version FROM SchemaMigrations ORDER BY Version DESC LIMIT 1";
    Ok(connection.query_row(last, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrate(&mut connection).expect("first");
        migrate(&mut connection).expect("second");
        assert_eq!(version(&connection).expect("version"), MIGRATIONS.len() as i64);
    }

    #[test]
    fn a_newer_database_is_refused() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrate(&mut connection).expect("first");
        connection.execute("INSERT INTO SchemaMigrations VALUES (99, 'later')", []).expect("insert");
        assert!(matches!(migrate(&mut connection), Err(MigrationError::Newer { found: 99, .. })));
    }
}
