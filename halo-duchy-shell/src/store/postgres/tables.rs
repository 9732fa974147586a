//! All rows of a database, read in one snapshot, or written in one transaction.

use std::sync::LazyLock;

use futures::TryStreamExt;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Client, IsolationLevel, Row};
use zeroize::Zeroizing;

use super::error::PostgresError;
use super::value::{Cells, Secret, Time};
use crate::store::StoreError;
use crate::store::tables::{self, Cell, Column, Kind, ROOTS, Sink, Source, Table, tables};
use crate::store::transfer::TransferError;

/// Moving everything takes as long as it takes.
const WITHOUT_LIMIT: &str = "SET LOCAL statement_timeout = 0";

impl From<tokio_postgres::Error> for TransferError {
    fn from(error: tokio_postgres::Error) -> Self {
        StoreError::from(PostgresError::from(error)).into()
    }
}

/// Gives all rows to `sink`.
pub(super) async fn export(client: &mut Client, sink: &mut dyn Sink) -> Result<(), TransferError> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let snapshot = snapshot.start().await?;
    snapshot.batch_execute(WITHOUT_LIMIT).await?;
    for table in tables() {
        let rows = snapshot.query_raw(&select(table, ""), std::iter::empty::<i64>()).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            sink.take(table, cells(table, &row)?)?;
        }
    }
    Ok(())
}

/// Writes all rows of `source` into a database that has none, or none of them.
pub(super) async fn import(client: &mut Client, source: &mut dyn Source) -> Result<(), TransferError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(WITHOUT_LIMIT).await?;
    for root in ROOTS {
        // Nobody else writes any before this transaction ends.
        transaction.batch_execute(&format!("LOCK TABLE {root} IN EXCLUSIVE MODE")).await?;
        if !transaction.query(&format!("SELECT 1 FROM {root} LIMIT 1"), &[]).await?.is_empty() {
            return Err(TransferError::NotEmpty);
        }
    }
    let mut insert = None;
    while let Some((table, row)) = source.next()? {
        let statement = match &insert {
            Some((of, statement)) if *of == table => statement,
            _ => &insert.insert((table, transaction.prepare(&insert_into(table)).await?)).1,
        };
        let parameters: Vec<_> =
            table.columns.iter().zip(row).map(|(column, cell)| parameter(column.kind, cell)).collect();
        let parameters: Vec<_> = parameters.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect();
        let inserted = transaction.execute(statement, &parameters).await;
        inserted.map_err(|error| TransferError::Refused {
            table: table.name,
            source: PostgresError::from(error).into(),
        })?;
    }
    Ok(transaction.commit().await?)
}

/// The name of the column here.
fn name(table: &Table, column: &Column) -> &'static str {
    match (table.name, column.name) {
        ("ComputationStats", "CreateTime") => "CreationTime",
        (_, name) => name,
    }
}

/// Asks for the rows of a table that belong to the computations `$1`, by key.
pub(super) fn of_computations(table: &Table) -> &'static str {
    static QUERIES: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
        let query = |table: &Table| (table.name, select(table, " WHERE ComputationId = ANY($1)"));
        tables().map(query).collect()
    });
    QUERIES.iter().find(|(name, _)| *name == table.name).map_or("", |(_, query)| query)
}

/// Numbers in one size, text by its bytes, and details that upstream may leave out as the message that is empty.
fn select(table: &Table, condition: &str) -> String {
    let column = |column| {
        let name = name(table, column);
        match column.kind {
            Kind::Int => format!("{name}::bigint"),
            Kind::Bytes => format!("COALESCE({name}, '')"),
            Kind::Bool | Kind::Time | Kind::Text => name.to_owned(),
        }
    };
    let order = |column: &Column| match column.kind {
        Kind::Text => format!("{} COLLATE \"C\"", column.name),
        _ => column.name.to_owned(),
    };
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    let order: Vec<_> = table.key().iter().map(order).collect();
    format!("SELECT {} FROM {}{condition} ORDER BY {}", columns.join(", "), table.name, order.join(", "))
}

fn insert_into(table: &Table) -> String {
    let mut names: Vec<_> = table.columns.iter().map(|column| name(table, column)).collect();
    let mut values: Vec<_> = (1..)
        .zip(table.columns)
        .map(|(place, column)| match column.kind {
            Kind::Bool => format!("${place}::boolean"),
            Kind::Int => format!("${place}::bigint"),
            Kind::Time => format!("${place}::timestamp"),
            Kind::Text => format!("${place}::text"),
            Kind::Bytes => format!("${place}::bytea"),
        })
        .collect();
    if let Some(copy) = table.copy {
        names.push(copy);
        values.push("'{}'".to_owned());
    }
    format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), values.join(", "))
}

fn parameter(kind: Kind, cell: Cell) -> Box<dyn ToSql + Sync + Send> {
    match cell {
        Cell::Bool(value) => Box::new(value),
        Cell::Int(value) => Box::new(value),
        Cell::Time(value) => Box::new(Time(value)),
        Cell::Text(text) => Box::new(text),
        Cell::Bytes(bytes) => Box::new(Secret(bytes)),
        Cell::Null => match kind {
            Kind::Bool => Box::new(None::<bool>),
            Kind::Int => Box::new(None::<i64>),
            Kind::Time => Box::new(None::<Time>),
            Kind::Text => Box::new(None::<String>),
            Kind::Bytes => Box::new(None::<Secret>),
        },
    }
}

pub(super) fn cells(table: &Table, row: &Row) -> Result<tables::Row, StoreError> {
    let mut cells = Cells::new(row);
    table.columns.iter().map(|column| cell(column, &mut cells)).collect()
}

fn cell(column: &Column, cells: &mut Cells<'_>) -> Result<Cell, StoreError> {
    let what = column.name;
    let cell = match column.kind {
        Kind::Bool => taken(cells, what, Cell::Bool),
        Kind::Int => taken(cells, what, Cell::Int),
        Kind::Time => taken(cells, what, |Time(time)| Cell::Time(time)),
        Kind::Text => taken(cells, what, Cell::Text),
        Kind::Bytes => taken(cells, what, |bytes| Cell::Bytes(Zeroizing::new(bytes))),
    }?;
    column.moved(cell).ok_or(StoreError::Corrupt { what, source: None })
}

fn taken<T: FromSqlOwned>(
    cells: &mut Cells<'_>,
    what: &'static str,
    cell: impl FnOnce(T) -> Cell,
) -> Result<Cell, StoreError> {
    Ok(cells.take::<Option<T>>(what)?.map_or(Cell::Null, cell))
}
