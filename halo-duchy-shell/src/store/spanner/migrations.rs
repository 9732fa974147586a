//! The schema. Spanner changes it outside transactions. So every statement of a step can be run again, the number of a
//! step is recorded after it, and processes that migrate at the same time do the same.

use super::address::SpannerAddress;
use super::client::{Change, Database, Query, Read, SpannerError, change_schema};
use crate::store::StoreError;
use crate::store::contention::until_done;
use crate::store::migrations::{self, MigrationError, Schema, Step};

/// Name and text of each step, in order; the number is the position, from 1.
const MIGRATIONS: [(&str, &str); 3] = [
    ("take_upstreams_shape", include_str!("../../../migrations/spanner/0001_take_upstreams_shape.sql")),
    ("add_requisition_times", include_str!("../../../migrations/spanner/0002_add_requisition_times.sql")),
    ("index_stages", include_str!("../../../migrations/spanner/0003_index_stages.sql")),
];

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS SchemaMigrations (
  Version INT64 NOT NULL,
  Name STRING(MAX) NOT NULL,
) PRIMARY KEY (Version)";

/// The version of a database while its rows are imported, which takes several transactions. Every program refuses it.
const IMPORTING: i64 = i64::MAX;

/// The schema of a database.
pub(super) async fn schema(database: &Database) -> Result<Schema, MigrationError> {
    Ok(migrations::schema(&MIGRATIONS, found(database).await?))
}

/// Refuses a database of another version.
pub(super) async fn check(database: &Database) -> Result<(), MigrationError> {
    migrations::check(&MIGRATIONS, found(database).await?)
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
    for step in migrations::missing(&MIGRATIONS, found(database).await?)? {
        let taken = async {
            let first = std::iter::once(VERSIONS.to_owned());
            change_schema(address, emulator, first.chain(statements(step.sql)).collect()).await?;
            record(database, step).await
        };
        taken.await.map_err(|source| step.failed(source))?;
    }
    Ok(())
}

async fn record(database: &Database, step: Step) -> Result<(), SpannerError> {
    until_done(async || {
        let columns = vec![("Version", step.version.into()), ("Name", step.name.into())];
        let change = Change::insert_or_update("SchemaMigrations", columns);
        database.begin().await?.commit(vec![change]).await
    })
    .await
}

/// The last step taken, of a database into which nothing is being imported.
async fn found(database: &Database) -> Result<i64, MigrationError> {
    match version(database).await? {
        IMPORTING => Err(MigrationError::Unfinished),
        found => Ok(found),
    }
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
