//! All rows of a database, read in one snapshot, or written in as many transactions as they need.

use super::client::{Change, Database, Query, Read, SpannerError, Update};
use super::migrations::{close_for_import, open_after_import};
use super::rows::NO_COPY;
use super::value::{Cells, Value};
use crate::clock::Timestamp;
use crate::store::contention::until_done;
use crate::store::tables::{Cell, Column, Kind, ROOTS, Row, Sink, Source, Table, tables};
use crate::store::transfer::TransferError;
use crate::store::{Contention, StoreError};

/// The most rows that one transaction writes: a commit may change 80,000 cells, those of indexes included.
const BATCH_ROWS: usize = 1_000;
/// About how many bytes of text and details one transaction writes.
const BATCH_BYTES: usize = 1 << 20;

impl From<SpannerError> for TransferError {
    fn from(error: SpannerError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<Contention> for TransferError {
    fn from(error: Contention) -> Self {
        StoreError::from(error).into()
    }
}

/// Gives all rows to `sink`.
pub(super) async fn export(database: &Database, sink: &mut dyn Sink) -> Result<(), TransferError> {
    let mut snapshot = database.snapshot().await?;
    for table in tables() {
        let sql = format!("SELECT {} FROM {} ORDER BY {}", table.column_list(), table.name, table.key_list());
        snapshot.for_each(Query::new(&sql), |cells| sink.take(table, row(table, cells)?)).await?;
    }
    Ok(())
}

/// Writes all rows of `source` into a database that has none. Until the last one is written no process opens it.
pub(super) async fn import(database: &Database, source: &mut dyn Source) -> Result<(), TransferError> {
    until_done(|| begin(database)).await?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some((table, row)) = source.next()? {
        bytes += row.iter().map(size).sum::<usize>();
        rows.push((table, row));
        if rows.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
            write(database, &rows).await?;
            rows.clear();
            bytes = 0;
        }
    }
    write(database, &rows).await?;
    Ok(until_done(|| commit(database, vec![open_after_import()])).await?)
}

/// Closes the database to all others, if it has no rows. `None` if Spanner gave the transaction up.
async fn begin(database: &Database) -> Result<Option<()>, TransferError> {
    let mut transaction = database.begin().await?;
    match is_empty(&mut transaction).await {
        Ok(true) => Ok(transaction.commit(vec![close_for_import()]).await?),
        Ok(false) => {
            transaction.roll_back().await;
            Err(TransferError::NotEmpty)
        }
        Err(error) if error.is_aborted() => Ok(None),
        Err(error) => {
            transaction.roll_back().await;
            Err(error.into())
        }
    }
}

async fn is_empty(transaction: &mut Update) -> Result<bool, SpannerError> {
    for root in ROOTS {
        if !transaction.query(Query::new(&format!("SELECT 1 FROM {root} LIMIT 1"))).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn write(database: &Database, rows: &[(&'static Table, Row)]) -> Result<(), TransferError> {
    let Some((table, _)) = rows.last() else { return Ok(()) };
    let changes = || rows.iter().map(|(table, row)| insert(table, row)).collect();
    until_done(|| commit(database, changes()))
        .await
        .map_err(|source| TransferError::Refused { table: table.name, source: source.into() })
}

/// `None` if Spanner gave the transaction up.
async fn commit(database: &Database, changes: Vec<Change>) -> Result<Option<()>, SpannerError> {
    database.begin().await?.commit(changes).await
}

fn insert(table: &'static Table, row: &Row) -> Change {
    let cells = row.iter().map(|cell| match cell {
        Cell::Null => Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Int(value) => (*value).into(),
        Cell::Time(value) => (*value).into(),
        Cell::Text(text) => text.as_str().into(),
        Cell::Bytes(bytes) => bytes[..].into(),
    });
    let copy = table.copy.map(|name| (name, NO_COPY.into()));
    let columns = table.columns.iter().map(|column| column.name).zip(cells).chain(copy);
    Change::insert(table.name, columns.collect())
}

pub(super) fn row(table: &Table, mut cells: Cells) -> Result<Row, StoreError> {
    table.columns.iter().map(|column| cell(column, &mut cells)).collect()
}

fn cell(column: &Column, cells: &mut Cells) -> Result<Cell, StoreError> {
    let what = column.name;
    let cell = match column.kind {
        Kind::Bool => cells.take::<Option<bool>>(what)?.map(Cell::Bool),
        Kind::Int => cells.take::<Option<i64>>(what)?.map(Cell::Int),
        Kind::Time => cells.take::<Option<Timestamp>>(what)?.map(Cell::Time),
        Kind::Text => cells.take::<Option<String>>(what)?.map(Cell::Text),
        Kind::Bytes => cells.take::<Option<Vec<u8>>>(what)?.map(|bytes| Cell::Bytes(bytes.into())),
    };
    column.moved(cell.unwrap_or(Cell::Null)).ok_or(StoreError::Corrupt { what, source: None })
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
        Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Time(_) => size_of::<i64>(),
    }
}
