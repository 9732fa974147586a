//! A whole store as a stream of JSON lines, for moving a duchy from one database to another.
//!
//! The first line says what it is, `{"format":"halo-duchy store","version":1}`. Then comes a line for each row,
//! `{"table":"Computations","row":{"ComputationId":7,…}}`: tables as `tables` orders them, rows
//! by key, all as one transaction saw them. Times are in milliseconds since 1970, bytes (messages among them) in base64,
//! numbers whole and of up to 64 bits. The last line, `{"rows":1,"sha256":"…"}`, has the number of rows and the SHA-256
//! digest of all bytes before it. Two stores with the same rows have the same stream.
//!
//! # Security
//! The stream holds what the store holds: where mills have no key encryption key, key material in the clear.

use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::tables::{Cell, Column, Kind, Null, Row, Sink, Source, Table};
use super::{OpenError, StoreAddress, StoreError};
use crate::clock::Timestamp;

const FORMAT: &str = "halo-duchy store";
const VERSION: u64 = 1;
/// How the last line begins, and no other.
const LAST: &[u8] = b"{\"rows\":";
/// The longest line that is read, in bytes: three times what fits a column of Spanner.
const LONGEST_LINE: u64 = 32 << 20;

/// What was in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// How many rows.
    pub rows: u64,
    /// The SHA-256 digest of all lines but the last, in hexadecimal.
    pub sha256: String,
}

/// Why a store cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream cannot be read.
    #[error("cannot read the stream")]
    Read(#[source] std::io::Error),
    /// The stream cannot be written.
    #[error("cannot write the stream")]
    Write(#[source] std::io::Error),
    /// The store has rows already.
    #[error("the store is not empty: name a new database")]
    NotEmpty,
    /// The stream is something else.
    #[error("the stream does not begin as an export of a store does")]
    Format,
    /// The stream is of another version of the format.
    #[error("the stream is of version {found} of its format, this program knows {VERSION}")]
    Version {
        /// The version found.
        found: u64,
    },
    /// A line is not as it should be.
    #[error("line {line} of the stream {why}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The stream has no last line.
    #[error("the stream ends after {rows} rows without saying that it ends: the rest is missing")]
    Truncated {
        /// The rows before.
        rows: u64,
    },
    /// The stream is not as it was written.
    #[error("the stream has been altered: its last line tells of {expected:?}, it has {found:?}")]
    Altered {
        /// What the last line says.
        expected: Summary,
        /// What there is.
        found: Summary,
    },
    /// The database does not take a row.
    #[error("the database refuses a row of {table}")]
    Refused {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Writes all that a store holds, as one transaction sees it.
///
/// # Errors
/// [`TransferError`].
pub async fn export(
    address: &StoreAddress,
    output: impl Write + Send + 'static,
) -> Result<Summary, TransferError> {
    address.export(Writer::start(output)?).await?.finish()
}

/// Reads what [`export`] wrote into a store that has no rows yet; an SQLite file is created if need be, another database
/// must have the schema of this program. The whole stream is checked before anything is written, and so read twice.
///
/// # Errors
/// [`TransferError`]. Nothing is written then, unless the store failed halfway: a database that cannot take all rows in
/// one transaction stays closed to every process.
pub async fn import(
    address: &StoreAddress,
    input: impl Read + Seek + Send + 'static,
) -> Result<Summary, TransferError> {
    let checking = tokio::task::spawn_blocking(move || {
        let mut reader = Reader::start(input)?;
        while reader.next()?.is_some() {}
        reader.restart()
    });
    let reader = checking.await.map_err(|error| StoreError::Unavailable(error.into()))??;
    Ok(address.import(reader).await?.summary())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    format: &'a str,
    version: u64,
}

/// Writes lines.
struct Writer<W: Write> {
    output: BufWriter<W>,
    line: Zeroizing<Vec<u8>>,
    digest: Sha256,
    rows: u64,
}

impl<W: Write> Writer<W> {
    fn start(output: W) -> Result<Self, TransferError> {
        let output = BufWriter::new(output);
        let mut writer = Self { output, line: Zeroizing::default(), digest: Sha256::new(), rows: 0 };
        writer.line(&Header { format: FORMAT, version: VERSION })?;
        Ok(writer)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), TransferError> {
        self.line.clear();
        serde_json::to_writer(&mut *self.line, line).map_err(|error| TransferError::Write(error.into()))?;
        self.line.push(b'\n');
        self.digest.update(&*self.line);
        self.output.write_all(&self.line).map_err(TransferError::Write)
    }

    fn finish(mut self) -> Result<Summary, TransferError> {
        let summary = summary(self.rows, self.digest.clone());
        self.line(&summary)?;
        self.output.flush().map_err(TransferError::Write)?;
        Ok(summary)
    }
}

fn summary(rows: u64, digest: Sha256) -> Summary {
    Summary { rows, sha256: hex::encode(digest.finalize()) }
}

impl<W: Write + Send> Sink for Writer<W> {
    fn take(&mut self, table: &'static Table, row: Row) -> Result<(), TransferError> {
        self.rows += 1;
        self.line(&RowLine { table: table.name, row: Cells { table, row: &row } })
    }
}

#[derive(Serialize)]
struct RowLine<'a> {
    table: &'static str,
    row: Cells<'a>,
}

struct Cells<'a> {
    table: &'static Table,
    row: &'a [Cell],
}

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for (column, cell) in self.table.columns.iter().zip(self.row) {
            map.serialize_entry(column.name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Time(value) => serializer.serialize_i64(value.millis()),
            Self::Text(text) => serializer.serialize_str(text),
            // Into the line itself, which is wiped, by no other text.
            Self::Bytes(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

/// Reads lines, and checks that they are all there, as they were written.
struct Reader<R> {
    input: BufReader<R>,
    line: Zeroizing<Vec<u8>>,
    /// The number of the line last read, from 1.
    number: u64,
    digest: Sha256,
    rows: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLine {
    table: String,
    row: Map<String, Value>,
}

impl<R: Read + Seek> Reader<R> {
    fn start(input: R) -> Result<Self, TransferError> {
        let mut reader = Self {
            input: BufReader::new(input),
            line: Zeroizing::default(),
            number: 0,
            digest: Sha256::new(),
            rows: 0,
        };
        if !reader.read_line()? {
            return Err(TransferError::Format);
        }
        let header: Header<'_> = serde_json::from_slice(&reader.line).map_err(|_| TransferError::Format)?;
        match (header.format, header.version) {
            (FORMAT, VERSION) => {}
            (FORMAT, found) => return Err(TransferError::Version { found }),
            _ => return Err(TransferError::Format),
        }
        reader.digest.update(&*reader.line);
        Ok(reader)
    }

    /// The same stream again, from its start.
    fn restart(self) -> Result<Self, TransferError> {
        let mut input = self.input.into_inner();
        input.rewind().map_err(TransferError::Read)?;
        Self::start(input)
    }

    /// Reads the next line, with its end; `false` if there is none, or only a part of one.
    fn read_line(&mut self) -> Result<bool, TransferError> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut self.line);
        let read = read.map_err(TransferError::Read)?;
        if read as u64 == LONGEST_LINE && !self.line.ends_with(b"\n") {
            return Err(self.wrong(format!("is longer than {LONGEST_LINE} bytes")));
        }
        Ok(self.line.ends_with(b"\n"))
    }

    fn wrong(&self, why: impl Into<String>) -> TransferError {
        TransferError::Line { line: self.number, why: why.into() }
    }

    fn last(&mut self) -> Result<(), TransferError> {
        let expected: Summary = serde_json::from_slice(&self.line)
            .map_err(|error| self.wrong(format!("is no last line: {error}")))?;
        let found = self.summary();
        if found != expected {
            return Err(TransferError::Altered { expected, found });
        }
        if self.read_line()? || !self.line.is_empty() {
            return Err(self.wrong("follows the last one"));
        }
        Ok(())
    }

    fn row(&self) -> Result<(&'static Table, Row), TransferError> {
        let ReadLine { table, mut row } = serde_json::from_slice(&self.line)
            .map_err(|error| self.wrong(format!("is no row of a table: {error}")))?;
        let table =
            Table::named(&table).ok_or_else(|| self.wrong(format!("is of no known table: {table:?}")))?;
        let cells = table.columns.iter().map(|column| {
            let value = row.remove(column.name);
            let value = value.ok_or_else(|| self.wrong(format!("has no {}", column.name)))?;
            cell(column, value).ok_or_else(|| self.wrong(format!("has a bad {}", column.name)))
        });
        let cells = cells.collect::<Result<_, _>>()?;
        match row.keys().next() {
            Some(name) => Err(self.wrong(format!("has a column that {} has not: {name:?}", table.name))),
            None => Ok((table, cells)),
        }
    }
}

impl<R> Reader<R> {
    /// Of what has been read.
    fn summary(&self) -> Summary {
        summary(self.rows, self.digest.clone())
    }
}

impl<R: Read + Seek + Send> Source for Reader<R> {
    fn next(&mut self) -> Result<Option<(&'static Table, Row)>, TransferError> {
        if !self.read_line()? {
            return Err(TransferError::Truncated { rows: self.rows });
        }
        if self.line.starts_with(LAST) {
            return self.last().map(|()| None);
        }
        let row = self.row()?;
        self.digest.update(&*self.line);
        self.rows += 1;
        Ok(Some(row))
    }
}

/// `None` if the column does not have such values.
fn cell(column: &Column, value: Value) -> Option<Cell> {
    Some(match (column.kind, value) {
        (_, Value::Null) if column.null == Null::Nothing => Cell::Null,
        (Kind::Bool, Value::Bool(value)) => Cell::Bool(value),
        (Kind::Int, Value::Number(value)) => Cell::Int(value.as_i64()?),
        (Kind::Time, Value::Number(value)) => Cell::Time(Timestamp::from_millis(value.as_i64()?)),
        (Kind::Text, Value::String(text)) => Cell::Text(text),
        (Kind::Bytes, Value::String(text)) => {
            Cell::Bytes(Zeroizing::new(STANDARD.decode(&*Zeroizing::new(text)).ok()?))
        }
        _ => return None,
    })
}

/// Reads a whole stream as [`import`] does before it writes anything, and writes its rows anew.
///
/// # Errors
/// As of [`import`].
#[cfg(feature = "fuzzing")]
pub fn rewrite(stream: &[u8]) -> Result<(Summary, Vec<u8>), TransferError> {
    let mut reader = Reader::start(std::io::Cursor::new(stream))?;
    let mut written = Vec::new();
    let mut writer = Writer::start(&mut written)?;
    while let Some((table, row)) = reader.next()? {
        writer.take(table, row)?;
    }
    writer.finish()?;
    Ok((reader.summary(), written))
}
