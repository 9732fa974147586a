//! The schema, as numbered steps that are never edited once released.
//!
//! Spanner changes its schema outside transactions. So every statement of a step can be run again, the number of a step
//! is recorded after it, and processes that migrate at the same time do the same.

use super::address::SpannerAddress;
use super::client::{Change, Database, Query, Read, SpannerError, change_schema};
use super::until_done;
use crate::store::StoreError;
use crate::store::schema::Schema;

/// Name and text of each step, in order; the number is the position, from 1.
const MIGRATIONS: [(&str, &str); 2] = [
    ("take_upstreams_shape", include_str!("../../../migrations/spanner/0001_take_upstreams_shape.sql")),
    ("add_requisition_times", include_str!("../../../migrations/spanner/0002_add_requisition_times.sql")),
];

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS SchemaMigrations (
  Version INT64 NOT NULL,
  Name STRING(MAX) NOT NULL,
) PRIMARY KEY (Version)";

/// The version of a database while its rows are imported, which takes several transactions. Every program refuses it.
const IMPORTING: i64 = i64::MAX;

/// Why a database does not have the schema of this program.
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
    /// The database has to be migrated first.
    #[error("the database has schema version {found}, this program needs {known}: migrate it first")]
    Older {
        /// The version of the database.
        found: i64,
        /// The last version known.
        known: i64,
    },
    /// An import into the database has not ended, or never will.
    #[error(
        "an import into the database is under way or broke off: if none is under way, make the database anew"
    )]
    Unfinished,
    /// A step failed; some of its statements may have been done.
    #[error("schema version {version} ({name}) failed")]
    Step {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: SpannerError,
    },
    /// The version could not be read.
    #[error("cannot read the schema version")]
    Version(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The schema of a database.
pub(super) async fn schema(database: &Database) -> Result<Schema, MigrationError> {
    let found = version(database).await?;
    if found == IMPORTING {
        return Err(MigrationError::Unfinished);
    }
    Ok(Schema::of(found, MIGRATIONS.map(|(name, _)| name)))
}

/// Refuses a database of another version.
pub(super) async fn check(database: &Database) -> Result<(), MigrationError> {
    let Schema { found, known, .. } = schema(database).await?;
    match found {
        _ if found > known => Err(MigrationError::Newer { found, known }),
        _ if found < known => Err(MigrationError::Older { found, known }),
        _ => Ok(()),
    }
}

/// Keeps every process from opening the database. The commit fails if an import is under way already.
pub(super) fn close_for_import() -> Change {
    Change::insert("SchemaMigrations", vec![("Version", IMPORTING.into()), ("Name", "importing".into())])
}

/// Lets processes open the database again.
pub(super) fn open_after_import() -> Change {
    Change::delete("SchemaMigrations", vec![IMPORTING.into()])
}

/// Takes the steps that the database lacks.
pub(super) async fn migrate(
    database: &Database,
    address: &SpannerAddress,
    emulator: Option<&str>,
) -> Result<(), MigrationError> {
    let Schema { found, known, .. } = schema(database).await?;
    if found > known {
        return Err(MigrationError::Newer { found, known });
    }
    for (version, (name, sql)) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let step = async {
            let first = std::iter::once(VERSIONS.to_owned());
            change_schema(address, emulator, first.chain(statements(sql)).collect()).await?;
            record(database, version, name).await
        };
        step.await.map_err(|source| MigrationError::Step { version, name, source })?;
    }
    Ok(())
}

async fn record(database: &Database, version: i64, name: &str) -> Result<(), SpannerError> {
    until_done(async || {
        let columns = vec![("Version", version.into()), ("Name", name.into())];
        let change = Change::insert_or_update("SchemaMigrations", columns);
        database.begin().await?.commit(vec![change]).await
    })
    .await
}

/// The last step taken; 0 in a database that this program has never seen.
async fn version(database: &Database) -> Result<i64, MigrationError> {
    let read = async || -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
        let mut snapshot = database.snapshot().await?;
        let tables = "SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = 'SchemaMigrations'";
        if number(snapshot.query(Query::new(tables)).await?)? == 0 {
            return Ok(0);
        }
        let last = "SELECT IFNULL(MAX(Version), 0) FROM SchemaMigrations";
        Ok(number(snapshot.query(Query::new(last)).await?)?)
    };
    read().await.map_err(MigrationError::Version)
}

fn number(rows: Vec<super::value::Cells>) -> Result<i64, StoreError> {
    let missing = StoreError::Corrupt { what: "schema version", source: None };
    rows.into_iter().next().ok_or(missing)?.take("schema version")
}

/// The statements of a step. Spanner takes them one by one, without comments.
fn statements(sql: &str) -> impl Iterator<Item = String> {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let statements: Vec<_> = text.split(';').map(|one| one.trim().to_owned()).collect();
    statements.into_iter().filter(|one| !one.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_can_be_run_again() {
        for (name, sql) in MIGRATIONS {
            assert!(statements(sql).count() > 0, "{name}");
            for statement in statements(sql) {
                assert!(statement.contains("IF NOT EXISTS"), "{name}: {statement}");
            }
        }
    }

    #[test]
    fn comments_and_separators_are_left_out() {
        let text =
            "-- One; two.\nCREATE TABLE A (\n  -- Of a row.\n  X INT64,\n);\n\nCREATE INDEX B ON A (X);\n";
        let found: Vec<_> = statements(text).collect();
        assert_eq!(found, ["CREATE TABLE A (\n  X INT64,\n)", "CREATE INDEX B ON A (X)"]);
    }
}
