//! What operations cost on PostgreSQL, as the server's statistics tell.

use async_trait::async_trait;
use tokio_postgres::Client;

use super::PostgresStore;
use crate::store::tests::costs::{Cost, Meter};

/// Statements of one database, without those that begin and end transactions and those that ask for statistics.
const STATEMENTS: &str = "
    SELECT COALESCE(sum(calls) FILTER (WHERE query LIKE 'START TRANSACTION%'), 0)::bigint,
           COALESCE(sum(calls) FILTER (
             WHERE query NOT LIKE 'START TRANSACTION%' AND query NOT IN ('COMMIT', 'ROLLBACK')
               AND query NOT LIKE 'SET %' AND query NOT LIKE '%pg_stat%'), 0)::bigint
    FROM pg_stat_statements JOIN pg_database AS d ON d.oid = dbid WHERE d.datname = current_database()";

/// Rows that were looked at, in tables and in indexes.
const ROWS: &str = "
    SELECT ((SELECT sum(seq_tup_read) FROM pg_stat_user_tables) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes))
           ::bigint";

/// The statistics of a database on which one store works, by one connection.
#[derive(Debug)]
pub(in crate::store) struct PostgresMeter {
    store: PostgresStore,
    client: Client,
}

impl PostgresMeter {
    /// `client` is another connection to the same database. `None` if the server does not count statements, or cannot be
    /// asked for what it has counted (it can from version 15 on).
    pub(in crate::store) async fn new(store: PostgresStore, client: Client) -> Option<Self> {
        let counts = "SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'
                             AND to_regproc('pg_stat_force_next_flush') IS NOT NULL";
        if !client.query_one(counts, &[]).await.expect("settings").get::<_, bool>(0) {
            return None;
        }
        client
            .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            .await
            .expect("an extension");
        Some(Self { store, client })
    }
}

#[async_trait]
impl Meter for PostgresMeter {
    async fn read(&self) -> Cost {
        // A session tells what it has read from time to time; the only one of the store is asked to do so now.
        let connection = self.store.pool.get().await.expect("a connection");
        connection.client.batch_execute("SELECT pg_stat_force_next_flush()").await.expect("statistics");
        drop(connection);
        let statements = self.client.query_one(STATEMENTS, &[]).await.expect("statistics");
        let rows = self.client.query_one(ROWS, &[]).await.expect("statistics");
        let count = |number: i64| u64::try_from(number).expect("a count");
        Cost {
            transactions: count(statements.get(0)),
            statements: count(statements.get(1)),
            rows: count(rows.get(0)),
            steps: 0,
        }
    }
}
