//! The schema, as numbered steps that are never edited once released.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::store::schema::Schema;

/// Name and text of each step, in order; the number is the position, from 1.
const MIGRATIONS: [(&str, &str); 1] =
    [("create_computations", include_str!("../../../migrations/sqlite/0001_create_computations.sql"))];

/// Why a database cannot be brought to the schema of this program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A newer program has migrated the database.
    #[error("the database has schema version {found}, this program knows {known}")]
    Newer {
        /// The version of the database.
        found: i64,
        /// The last version known.
        known: i64,
    },
    /// A step failed; the database is as it was before it.
    #[error("schema version {version} ({name}) failed")]
    Step {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The version could not be read.
    #[error("cannot read the schema version")]
    Version(#[source] rusqlite::Error),
}

/// The schema of a database, which is not changed.
pub(super) fn schema(connection: &Connection) -> Result<Schema, MigrationError> {
    let found = || {
        let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'SchemaMigrations'";
        if connection.prepare(table)?.exists([])? { version(connection) } else { Ok(0) }
    };
    Ok(Schema::of(found().map_err(MigrationError::Version)?, MIGRATIONS.map(|(name, _)| name)))
}

/// Applies the steps that the database lacks, each in a transaction of its own. Processes that start together wait for
/// one another.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), MigrationError> {
    for (version, (name, sql)) in (1..).zip(MIGRATIONS) {
        step(connection, version, sql, name).map_err(|source| MigrationError::Step {
            version,
            name,
            source,
        })?;
    }
    let found = version(connection).map_err(MigrationError::Version)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(MigrationError::Newer { found, known });
    }
    Ok(())
}

fn step(connection: &mut Connection, number: i64, sql: &str, name: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS SchemaMigrations (Version INTEGER PRIMARY KEY, Name TEXT NOT NULL) STRICT",
    )?;
    if version(&transaction)? >= number {
        return transaction.commit();
    }
    transaction.execute_batch(sql)?;
    transaction.execute("INSERT INTO SchemaMigrations (Version, Name) VALUES (?1, ?2)", (number, name))?;
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
