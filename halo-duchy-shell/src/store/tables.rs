//! The tables as every database has them, for those who move whole stores: one description of all that a duchy keeps.

use zeroize::Zeroizing;

use super::transfer::TransferError;
use crate::clock::Timestamp;

/// A table: its rows belong to rows of tables before it in [`TABLES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name in every database.
    pub(super) name: &'static str,
    /// All of its columns, those of the key first.
    pub(super) columns: &'static [Column],
    /// How many columns are the key.
    pub(super) key: usize,
    /// Upstream's copy of the details for debugging, where a database has that column. It is not moved: it must not hold
    /// what the details hold.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "spanner")),
        allow(dead_code, reason = "SQLite has no such column")
    )]
    pub(super) copy: Option<&'static str>,
}

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) null: Null,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    /// A point in time, in whole milliseconds: what is below does not count.
    Time,
    Text,
    Bytes,
}

/// What it means that a cell is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Null {
    /// It never is.
    Never,
    /// There is nothing.
    Nothing,
    /// The row is older than the column, which upstream added: the time is taken to be 1970.
    Old,
}

/// What a row holds in one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Time(Timestamp),
    Text(String),
    /// Perhaps with keys in it, so it is wiped.
    Bytes(Zeroizing<Vec<u8>>),
}

/// A row: a cell for each column of its table.
pub(super) type Row = Vec<Cell>;

/// Takes rows, those of a table in the order of its key, the tables in the order of [`TABLES`].
pub(super) trait Sink: Send {
    fn take(&mut self, table: &'static Table, row: Row) -> Result<(), TransferError>;
}

/// Gives rows in the same order; `None` after the last.
pub(super) trait Source: Send {
    fn next(&mut self) -> Result<Option<(&'static Table, Row)>, TransferError>;
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, null: Null::Never }
}

const fn nullable(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, null: Null::Nothing }
}

/// A time that rows of before have not.
const fn added_time(name: &'static str) -> Column {
    Column { name, kind: Kind::Time, null: Null::Old }
}

/// All tables of a duchy, parents before children.
pub(super) const TABLES: [Table; 7] = [
    Table {
        name: "Computations",
        columns: &[
            column("ComputationId", Kind::Int),
            column("Protocol", Kind::Int),
            column("ComputationStage", Kind::Int),
            added_time("CreationTime"),
            column("UpdateTime", Kind::Time),
            column("GlobalComputationId", Kind::Text),
            nullable("LockOwner", Kind::Text),
            nullable("LockExpirationTime", Kind::Time),
            column("ComputationDetails", Kind::Bytes),
        ],
        key: 1,
        copy: Some("ComputationDetailsJSON"),
    },
    Table {
        name: "Requisitions",
        columns: &[
            column("ComputationId", Kind::Int),
            column("RequisitionId", Kind::Int),
            column("ExternalRequisitionId", Kind::Text),
            column("RequisitionFingerprint", Kind::Bytes),
            added_time("CreationTime"),
            added_time("UpdateTime"),
            nullable("PathToBlob", Kind::Text),
            column("RequisitionDetails", Kind::Bytes),
        ],
        key: 2,
        copy: Some("RequisitionDetailsJSON"),
    },
    Table {
        name: "ComputationStages",
        columns: &[
            column("ComputationId", Kind::Int),
            column("ComputationStage", Kind::Int),
            column("CreationTime", Kind::Time),
            column("NextAttempt", Kind::Int),
            nullable("EndTime", Kind::Time),
            nullable("PreviousStage", Kind::Int),
            nullable("FollowingStage", Kind::Int),
            column("Details", Kind::Bytes),
        ],
        key: 2,
        copy: Some("DetailsJSON"),
    },
    Table {
        name: "ComputationBlobReferences",
        columns: &[
            column("ComputationId", Kind::Int),
            column("ComputationStage", Kind::Int),
            column("BlobId", Kind::Int),
            column("DependencyType", Kind::Int),
            nullable("PathToBlob", Kind::Text),
        ],
        key: 3,
        copy: None,
    },
    Table {
        name: "ComputationStageAttempts",
        columns: &[
            column("ComputationId", Kind::Int),
            column("ComputationStage", Kind::Int),
            column("Attempt", Kind::Int),
            column("BeginTime", Kind::Time),
            nullable("EndTime", Kind::Time),
            column("Details", Kind::Bytes),
        ],
        key: 3,
        copy: Some("DetailsJSON"),
    },
    Table {
        name: "ComputationStats",
        columns: &[
            column("ComputationId", Kind::Int),
            column("ComputationStage", Kind::Int),
            column("Attempt", Kind::Int),
            column("MetricName", Kind::Text),
            column("CreateTime", Kind::Time),
            column("MetricValue", Kind::Int),
        ],
        key: 4,
        copy: None,
    },
    Table {
        name: "HeraldContinuationTokens",
        columns: &[
            column("Presence", Kind::Bool),
            column("ContinuationToken", Kind::Text),
            column("UpdateTime", Kind::Time),
        ],
        key: 1,
        copy: None,
    },
];

/// The tables that other tables' rows belong to, directly or not, and the one that stands alone: a store without rows in
/// these has none.
pub(super) const ROOTS: [&str; 2] = ["Computations", "HeraldContinuationTokens"];

/// The computations themselves.
pub(super) const COMPUTATIONS: &Table = &ALL[0];
/// Their requisitions.
pub(super) const REQUISITIONS: &Table = &ALL[1];
/// The stages that they have entered.
pub(super) const STAGES: &Table = &ALL[2];
/// What those read and write.
pub(super) const BLOBS: &Table = &ALL[3];
/// The attempts at them.
pub(super) const ATTEMPTS: &Table = &ALL[4];
/// What was measured of those.
pub(super) const STATS: &Table = &ALL[5];

const ALL: &[Table] = &TABLES;

impl Table {
    /// The table of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|table| table.name == name)
    }

    /// The names of its columns, separated by commas, for a query.
    pub(super) fn column_list(&self) -> String {
        list(self.columns)
    }

    /// The names of the key's columns, separated by commas, for a query.
    pub(super) fn key_list(&self) -> String {
        list(self.key())
    }

    /// The columns of its key.
    pub(super) fn key(&self) -> &'static [Column] {
        self.columns.get(..self.key).unwrap_or_default()
    }
}

fn list(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// All tables, in order.
pub(super) fn tables() -> impl Iterator<Item = &'static Table> {
    ALL.iter()
}

impl Column {
    /// The cell as it is moved: one that is null because the row is old has a time. `None` if it must not be null.
    pub(super) fn moved(&self, cell: Cell) -> Option<Cell> {
        match (cell, self.null) {
            (Cell::Null, Null::Never) => None,
            (Cell::Null, Null::Old) => Some(Cell::Time(Timestamp::default())),
            (cell, _) => Some(cell),
        }
    }
}
