//! The schema, in steps that are each a transaction. Processes that migrate at the same time wait for one another.

use tokio_postgres::{Client, GenericClient, IsolationLevel};

use super::error::PostgresError;
use crate::store::migrations::{self, MigrationError, Schema, Step};

/// Name and text of each step, in order; the number is the position, from 1.
const MIGRATIONS: [(&str, &str); 3] = [
    ("take_upstreams_shape", include_str!("../../../migrations/postgres/0001_take_upstreams_shape.sql")),
    ("add_claim_order", include_str!("../../../migrations/postgres/0002_add_claim_order.sql")),
    ("index_stages", include_str!("../../../migrations/postgres/0003_index_stages.sql")),
];

/// A step takes as long as it takes. The lock, "halo" in ASCII, is on no table: it is for those who migrate only.
const BEFORE_A_STEP: &str = "
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = 0;
    SELECT pg_advisory_xact_lock(1751215215);
    CREATE TABLE IF NOT EXISTS SchemaMigrations (Version bigint PRIMARY KEY, Name text NOT NULL);";

/// The schema of a database.
pub(super) async fn schema(client: &Client) -> Result<Schema, MigrationError> {
    Ok(migrations::schema(&MIGRATIONS, found(client).await?))
}

/// Refuses a database of another version.
pub(super) async fn check(client: &Client) -> Result<(), MigrationError> {
    migrations::check(&MIGRATIONS, found(client).await?)
}

/// Takes the steps that the database lacks.
pub(super) async fn migrate(client: &mut Client) -> Result<(), MigrationError> {
    for step in migrations::missing(&MIGRATIONS, found(client).await?)? {
        take(client, step).await.map_err(|source| step.failed(source))?;
    }
    Ok(())
}

/// Takes a step, unless another process has.
async fn take(client: &mut Client, step: Step) -> Result<(), PostgresError> {
    let begin = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let transaction = begin.start().await?;
    transaction.batch_execute(BEFORE_A_STEP).await?;
    if version(&transaction).await? < step.version {
        transaction.batch_execute(step.sql).await?;
        let taken = "INSERT INTO SchemaMigrations (Version, Name) VALUES ($1, $2)";
        transaction.execute(taken, &[&step.version, &step.name]).await?;
    }
    Ok(transaction.commit().await?)
}

async fn found(client: &Client) -> Result<i64, MigrationError> {
    version(client).await.map_err(|error| MigrationError::Version(error.into()))
}

/// The last step taken; 0 in a database that this program has never seen.
async fn version(client: &impl GenericClient) -> Result<i64, PostgresError> {
    let seen = client.query_one("SELECT to_regclass('SchemaMigrations') IS NOT NULL", &[]).await?;
    if !seen.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let last = client.query_one("SELECT COALESCE(max(Version), 0) FROM SchemaMigrations", &[]).await?;
    Ok(last.try_get(0)?)
}
