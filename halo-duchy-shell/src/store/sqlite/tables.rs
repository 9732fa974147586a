//! All rows of a file, read in one state of it, or written in one transaction.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::tables::{Cell, Kind, ROOTS, Row, Sink, Source, Table, tables};
use crate::store::transfer::TransferError;

impl From<rusqlite::Error> for TransferError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Gives all rows to `sink`, as one transaction sees them.
pub(super) fn export(connection: &mut Connection, sink: &mut dyn Sink) -> Result<(), TransferError> {
    let transaction = connection.transaction()?;
    for table in tables() {
        let sql = format!("SELECT {} FROM {} ORDER BY {}", table.column_list(), table.name, table.key_list());
        let mut statement = transaction.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sink.take(table, cells(table, row)?)?;
        }
    }
    Ok(())
}

/// Rows on their way from one store in memory to another.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Copied(std::collections::VecDeque<(&'static Table, Row)>);

#[cfg(test)]
impl Sink for Copied {
    fn take(&mut self, table: &'static Table, row: Row) -> Result<(), TransferError> {
        self.0.push_back((table, row));
        Ok(())
    }
}

#[cfg(test)]
impl Source for Copied {
    fn next(&mut self) -> Result<Option<(&'static Table, Row)>, TransferError> {
        Ok(self.0.pop_front())
    }
}

/// The rows of a table that belong to some computations, by key.
pub(super) fn of_computations(
    connection: &Connection,
    table: &Table,
    local_ids: &[i64],
) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM {} WHERE ComputationId IN (SELECT value FROM json_each(?1)) ORDER BY {}",
        table.column_list(),
        table.name,
        table.key_list(),
    ))?;
    let ids: Vec<_> = local_ids.iter().map(ToString::to_string).collect();
    let mut rows = statement.query([format!("[{}]", ids.join(","))])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(cells(table, row)?);
    }
    Ok(found)
}

fn cells(table: &Table, row: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
    let cells = table.columns.iter().enumerate().map(|(index, column)| {
        let cell = cell(column.kind, row.get_ref(index)?).and_then(|cell| column.moved(cell));
        cell.ok_or(StoreError::Corrupt { what: column.name, source: None })
    });
    cells.collect()
}

/// Writes all rows of `source` into a database that has none, or none of them.
pub(super) fn import(connection: &mut Connection, source: &mut dyn Source) -> Result<(), TransferError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for root in ROOTS {
        let mut any = transaction.prepare(&format!("SELECT 1 FROM {root}"))?;
        if any.exists([])? {
            return Err(TransferError::NotEmpty);
        }
    }
    while let Some((table, row)) = source.next()? {
        let mut statement = transaction.prepare_cached(&insert(table))?;
        let inserted = statement.execute(params_from_iter(&row));
        inserted.map_err(|source| TransferError::Refused { table: table.name, source: source.into() })?;
    }
    transaction.commit()?;
    Ok(())
}

fn insert(table: &Table) -> String {
    let places = vec!["?"; table.columns.len()].join(", ");
    format!("INSERT INTO {} ({}) VALUES ({places})", table.name, table.column_list())
}

/// `None` if the value is of another kind.
fn cell(kind: Kind, value: ValueRef<'_>) -> Option<Cell> {
    match (kind, value) {
        (_, ValueRef::Null) => Some(Cell::Null),
        (Kind::Bool, ValueRef::Integer(value)) => Some(Cell::Bool(value != 0)),
        (Kind::Int, ValueRef::Integer(value)) => Some(Cell::Int(value)),
        (Kind::Time, ValueRef::Integer(value)) => Some(Cell::Time(Timestamp::from_millis(value))),
        (Kind::Text, ValueRef::Text(text)) => String::from_utf8(text.into()).ok().map(Cell::Text),
        (Kind::Bytes, ValueRef::Blob(bytes)) => Some(Cell::Bytes(Zeroizing::new(bytes.into()))),
        _ => None,
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Bool(value) => ValueRef::Integer((*value).into()),
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Time(value) => ValueRef::Integer(value.millis()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
