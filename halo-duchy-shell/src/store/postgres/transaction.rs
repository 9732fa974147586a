//! Transactions, and what is asked in them.

use futures::future::try_join_all;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::error::PostgresError;
use super::pool::{Connections, Pooled};

/// A value that a statement is given.
pub(super) type Parameter = Box<dyn ToSql + Sync + Send>;

/// A statement with its parameters `$1`, `$2` and so on.
pub(super) struct Query {
    sql: &'static str,
    parameters: Vec<Parameter>,
}

/// `query!(SQL, PARAMETER, ...)`
macro_rules! query {
    ($sql:expr $(, $parameter:expr)* $(,)?) => {
        Query::new($sql, vec![$(Box::new($parameter)),*])
    };
}
pub(super) use query;

impl Query {
    /// See [`query!`].
    pub(super) fn new(sql: &'static str, parameters: Vec<Parameter>) -> Self {
        Self { sql, parameters }
    }
}

/// What a transaction may do, and what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It reads one state of the database.
    Snapshot,
    /// It looks at one computation, whose row it locks, and changes it.
    Update,
    /// It takes a computation from the queue, whose rows it locks.
    Claim,
}

impl Access {
    const fn begin(self) -> &'static str {
        match self {
            Self::Snapshot => "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            // Each statement sees what was committed before it: also what was committed while it waited for the lock
            // that comes first.
            Self::Update | Self::Claim => "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
        }
    }
}

/// A transaction on a connection of its own. Dropped before it is told to end, it takes the connection along, and the
/// server rolls it back.
pub(super) struct Transaction(Pooled);

impl Transaction {
    /// Begins one. Connections that were lost while nobody used them are replaced.
    pub(super) async fn begin(pool: &Connections, access: Access) -> Result<Self, PostgresError> {
        let mut others = pool.status().max_size;
        loop {
            let mut connection = pool.get().await?;
            connection.in_transaction = true;
            match connection.client.batch_execute(access.begin()).await {
                Ok(()) => return Ok(Self(connection)),
                Err(error) => {
                    let error = PostgresError::from(error);
                    if others == 0 || !error.is_lost_connection() {
                        return Err(error);
                    }
                    others -= 1;
                }
            }
        }
    }

    /// Asks, and waits for the whole answer.
    pub(super) async fn query(&mut self, query: Query) -> Result<Vec<Row>, PostgresError> {
        Ok(self.query_all(vec![query]).await?.pop().unwrap_or_default())
    }

    /// Asks one after the other without waiting for the answers in between: all in the time of one. The first error is
    /// returned; after it the server does nothing more in this transaction.
    pub(super) async fn query_all(&mut self, queries: Vec<Query>) -> Result<Vec<Vec<Row>>, PostgresError> {
        let mut prepared = Vec::with_capacity(queries.len());
        for query in &queries {
            prepared.push(self.prepare(query.sql).await?);
        }
        let client = &self.0.client;
        // Each is sent when it is first polled, which is in this order.
        let answers = prepared.iter().zip(&queries).map(async |(statement, query)| {
            let parameters: Vec<_> =
                query.parameters.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
            client.query(statement, &parameters).await
        });
        Ok(try_join_all(answers).await?)
    }

    async fn prepare(&mut self, sql: &'static str) -> Result<Statement, PostgresError> {
        if let Some(statement) = self.0.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.0.client.prepare(sql).await?;
        self.0.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Makes the changes, and keeps them.
    pub(super) async fn commit(mut self, changes: Vec<Query>) -> Result<(), PostgresError> {
        match self.query_all(changes).await {
            Ok(_) => self.end("COMMIT").await,
            Err(error) => {
                // After another error, it may be the connection that is of no use.
                if error.is_aborted() {
                    self.roll_back().await;
                }
                Err(error)
            }
        }
    }

    /// Changes nothing, and lets others have what was locked.
    pub(super) async fn roll_back(self) {
        // If this fails, the connection is not used again, and the server rolls back when it is gone.
        let _ = self.end("ROLLBACK").await;
    }

    async fn end(mut self, how: &'static str) -> Result<(), PostgresError> {
        let ended = self.0.client.batch_execute(how).await;
        // If the server says anything, the transaction is over, be it refused.
        self.0.in_transaction = ended.as_ref().is_err_and(|error| error.as_db_error().is_none());
        Ok(ended?)
    }
}
