//! Event logs: who was shown what by whom, as the data providers of a trial hold them.
//!
//! A log is CSV, plain or gzip, with a header naming the columns `event_time`, `publisher` and `id` in any order (more
//! columns are ignored). Every publisher becomes a data provider. An `id` is any string; [`virtual_person_id`] gives the
//! virtual person it stands for, the VID.
//!
//! The log also knows the [`Truth`]: reach and frequency by plain counting, to compare an estimate with.
//!
//! ```
//! use halo_duchy_shell::events::EventLog;
//!
//! let log = "publisher,id,event_time\nnews,ann,2026-01-01\nnews,ann,2026-01-02\nvideo,bob,2026-01-03\n";
//! let log = EventLog::from_reader("example", log.as_bytes())?;
//! let truth = log.truth(10, |_vid| true);
//! assert_eq!((truth.reach, truth.frequency[&1], truth.frequency[&2]), (2, 0.5, 0.5));
//! # Ok::<(), halo_duchy_shell::events::EventLogError>(())
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Take};
use std::ops::RangeInclusive;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use flate2::bufread::MultiGzDecoder;
use halo_protocols::data_provider::virtual_person_id;
use prost_types::Timestamp;

#[cfg(test)]
mod tests;

/// A virtual person's id, as upstream's data providers have it.
pub type Vid = i64;

/// The largest log read, in uncompressed bytes: what a log of unknown origin may make us hold.
pub const MAXIMUM_BYTES: u64 = 1 << 32;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
const COLUMNS: [&str; 3] = ["event_time", "publisher", "id"];
const EVENT_TIME: usize = 0;
const PUBLISHER: usize = 1;
const ID: usize = 2;

const BUNDLED: &[u8] = include_bytes!("../data/nyc-departures-2013-w1.csv.gz");

/// Why an event log was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// The file cannot be opened.
    #[error("{file}: cannot open")]
    Open {
        /// The log.
        file: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The bytes cannot be read, or are broken gzip.
    #[error("{file}: cannot read after line {line}")]
    Read {
        /// The log.
        file: String,
        /// The last line read, 1 being the header; 0 before it.
        line: u64,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// There is more than [`MAXIMUM_BYTES`].
    #[error("{file}: more than {limit} bytes (uncompressed)")]
    TooLong {
        /// The log.
        file: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The header lacks a column.
    #[error(
        "{file}:1: no column {column:?} in the header {found:?}; event_time, publisher and id are needed"
    )]
    MissingColumn {
        /// The log.
        file: String,
        /// The column's name.
        column: &'static str,
        /// The columns there are.
        found: Vec<String>,
    },
    /// The header has a column twice.
    #[error("{file}:1: column {column:?} is both column {first} and column {second}")]
    DuplicateColumn {
        /// The log.
        file: String,
        /// The column's name.
        column: &'static str,
        /// Number of the first, from 1.
        first: usize,
        /// Number of the second, from 1.
        second: usize,
    },
    /// A line has more or fewer fields than the header.
    #[error("{file}:{line}: {found} fields, but the header has {expected}")]
    FieldCount {
        /// The log.
        file: String,
        /// The line its record starts at, the header being 1.
        line: u64,
        /// Fields of the header.
        expected: usize,
        /// Fields of the line.
        found: usize,
    },
    /// A field cannot be used.
    #[error("{file}:{line}: column {number} ({column}): {problem}")]
    Field {
        /// The log.
        file: String,
        /// The line its record starts at, the header being 1.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// The column's number, from 1.
        number: usize,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// There is a header and nothing else.
    #[error("{file}: no events")]
    NoEvents {
        /// The log.
        file: String,
    },
}

/// What can be wrong with one field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldProblem {
    /// The bytes are not text.
    #[error("not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// A data provider must have a name.
    #[error("empty")]
    Empty,
    /// Neither a date nor a date and time.
    #[error("{0:?} is not a time; write 2013-01-01T05:15:00Z")]
    NotATime(String),
}

/// The impressions of every publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog {
    publishers: BTreeMap<String, Vec<Vid>>,
}

/// Reach and frequency by counting.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Impressions counted.
    pub impressions: u64,
    /// Distinct persons over all publishers.
    pub reach: u64,
    /// The share of [`Self::reach`] seen 1, 2, … times, the last meaning "or more". All zero if there is no reach.
    pub frequency: BTreeMap<u32, f64>,
}

impl EventLog {
    /// The log that comes with this crate (`halo-duchy-shell/data/README.md`).
    ///
    /// # Errors
    /// As [`Self::from_reader`].
    pub fn bundled() -> Result<Self, EventLogError> {
        Self::from_reader("nyc-departures-2013-w1.csv.gz", BUNDLED)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Self::from_reader`], or if the file cannot be opened.
    pub fn read(path: &Path) -> Result<Self, EventLogError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::from_reader(&name, file),
            Err(source) => Err(EventLogError::Open { file: name, source }),
        }
    }

    /// Reads a log, gzip or not (its first bytes tell). `name` is what errors call it.
    ///
    /// # Errors
    /// If the log is not as the module says; the error tells file, line and column.
    pub fn from_reader(name: &str, reader: impl Read) -> Result<Self, EventLogError> {
        let failed = |source| EventLogError::Read { file: name.to_owned(), line: 0, source };
        let (magic, reader) = peek(reader, GZIP_MAGIC.len()).map_err(failed)?;
        if magic == GZIP_MAGIC {
            parse(name, MultiGzDecoder::new(BufReader::new(reader)).take(MAXIMUM_BYTES))
        } else {
            parse(name, reader.take(MAXIMUM_BYTES))
        }
    }

    /// The same log with its people numbered from `first` on, in the order of their ids: a share shuffle needs a
    /// population whose ids are dense and below 2^31.
    #[must_use]
    pub fn numbered(&self, first: Vid) -> Self {
        let people: BTreeSet<Vid> = self.publishers.values().flatten().copied().collect();
        let numbers: HashMap<Vid, Vid> = people.into_iter().zip(first..).collect();
        let number = |vid: &Vid| numbers.get(vid).copied().unwrap_or_default();
        let publishers = self.publishers.iter();
        Self {
            publishers: publishers
                .map(|(name, vids)| (name.clone(), vids.iter().map(number).collect()))
                .collect(),
        }
    }

    /// A population for the log [numbered](Self::numbered) from `first` on: twice as many people as it has, so that a
    /// noised reach has room above.
    pub fn population(&self, first: Vid) -> RangeInclusive<Vid> {
        let people: BTreeSet<Vid> = self.publishers.values().flatten().copied().collect();
        let people = i64::try_from(people.len()).unwrap_or(i64::MAX);
        first..=first.saturating_add(people.saturating_mul(2).saturating_sub(1))
    }

    /// The publishers in order of name, each with the VID of every impression in the order of the log.
    pub fn publishers(&self) -> impl Iterator<Item = (&str, &[Vid])> {
        self.publishers.iter().map(|(name, vids)| (name.as_str(), vids.as_slice()))
    }

    /// Impressions of all publishers.
    pub fn len(&self) -> usize {
        self.publishers.values().map(Vec::len).sum()
    }

    /// Whether there are none. A log that was read has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the persons for whom `sampled` is true, with frequencies of `maximum_frequency` and more as one
    /// (0 is taken as 1).
    pub fn truth(&self, maximum_frequency: u32, sampled: impl Fn(Vid) -> bool) -> Truth {
        let maximum_frequency = maximum_frequency.max(1);
        let mut counts = HashMap::<Vid, u64>::new();
        for vid in self.publishers.values().flatten().copied().filter(|vid| sampled(*vid)) {
            *counts.entry(vid).or_default() += 1;
        }
        let mut persons: BTreeMap<u32, u64> =
            (1..=maximum_frequency).map(|frequency| (frequency, 0)).collect();
        for count in counts.values() {
            let frequency = u32::try_from(*count).unwrap_or(u32::MAX).min(maximum_frequency);
            *persons.entry(frequency).or_default() += 1;
        }
        let reach = counts.len() as u64;
        let share = |persons: u64| if reach == 0 { 0.0 } else { persons as f64 / reach as f64 };
        Truth {
            impressions: counts.values().sum(),
            reach,
            frequency: persons.into_iter().map(|(frequency, persons)| (frequency, share(persons))).collect(),
        }
    }
}

/// The first `length` bytes, and a reader that still gives them.
fn peek<R: Read>(mut reader: R, length: usize) -> io::Result<(Vec<u8>, impl Read + use<R>)> {
    let mut head = Vec::new();
    reader.by_ref().take(length as u64).read_to_end(&mut head)?;
    Ok((head.clone(), io::Cursor::new(head).chain(reader)))
}

fn parse(file: &str, mut reader: Take<impl Read>) -> Result<EventLog, EventLogError> {
    let mut head = Vec::new();
    let read = reader.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head);
    read.map_err(|source| EventLogError::Read { file: file.to_owned(), line: 0, source })?;
    if head == BYTE_ORDER_MARK {
        head.clear();
    }
    let reader = io::Cursor::new(head).chain(reader);
    // Field counts are checked here, where the error can name the line and both counts.
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
    let mut record = ByteRecord::new();
    let mut last_line = 0;
    let mut read = |record: &mut ByteRecord| match reader.read_byte_record(record) {
        Ok(_) if reader.get_ref().get_ref().1.limit() == 0 => {
            Err(EventLogError::TooLong { file: file.to_owned(), limit: MAXIMUM_BYTES })
        }
        Ok(more) => {
            last_line = record.position().map_or(last_line, csv::Position::line);
            Ok(more.then_some(last_line))
        }
        Err(error) => Err(EventLogError::Read {
            file: file.to_owned(),
            line: last_line,
            source: io::Error::from(error),
        }),
    };

    read(&mut record)?;
    let columns = Columns::find(file, &record)?;
    let mut publishers = BTreeMap::<String, Vec<Vid>>::new();
    while let Some(line) = read(&mut record)? {
        if record.len() != columns.count {
            let (expected, found) = (columns.count, record.len());
            return Err(EventLogError::FieldCount { file: file.to_owned(), line, expected, found });
        }
        let publisher = columns.publisher(&record).map_err(|error| error.at(file, line))?;
        columns.event_time(&record).map_err(|error| error.at(file, line))?;
        let vid = virtual_person_id(columns.text(&record, ID).map_err(|error| error.at(file, line))?);
        match publishers.get_mut(publisher) {
            Some(vids) => vids.push(vid),
            None => {
                publishers.insert(publisher.to_owned(), vec![vid]);
            }
        }
    }
    if publishers.is_empty() {
        return Err(EventLogError::NoEvents { file: file.to_owned() });
    }
    Ok(EventLog { publishers })
}

/// Where the header puts the columns.
struct Columns {
    index: [usize; COLUMNS.len()],
    count: usize,
}

struct FieldError {
    column: &'static str,
    index: usize,
    problem: FieldProblem,
}

impl FieldError {
    fn at(self, file: &str, line: u64) -> EventLogError {
        EventLogError::Field {
            file: file.to_owned(),
            line,
            column: self.column,
            number: self.index + 1,
            problem: self.problem,
        }
    }
}

impl Columns {
    fn find(file: &str, header: &ByteRecord) -> Result<Self, EventLogError> {
        let mut index = [0; COLUMNS.len()];
        for (column, index) in COLUMNS.into_iter().zip(&mut index) {
            let mut at =
                header.iter().enumerate().filter(|(_, name)| *name == column.as_bytes()).map(|(at, _)| at);
            *index = at.next().ok_or_else(|| EventLogError::MissingColumn {
                file: file.to_owned(),
                column,
                // A header of something that is no log may be long: enough to recognise it is enough.
                found: header.iter().take(20).map(abridged).collect(),
            })?;
            if let Some(second) = at.next() {
                let (first, second) = (*index + 1, second + 1);
                return Err(EventLogError::DuplicateColumn { file: file.to_owned(), column, first, second });
            }
        }
        Ok(Self { index, count: header.len() })
    }

    fn text<'a>(&self, record: &'a ByteRecord, column: usize) -> Result<&'a str, FieldError> {
        let field = record.get(self.index[column]).unwrap_or_default();
        std::str::from_utf8(field)
            .map_err(|error| self.error(column, FieldProblem::NotUtf8(error.valid_up_to())))
    }

    fn publisher<'a>(&self, record: &'a ByteRecord) -> Result<&'a str, FieldError> {
        match self.text(record, PUBLISHER)? {
            "" => Err(self.error(PUBLISHER, FieldProblem::Empty)),
            publisher => Ok(publisher),
        }
    }

    /// Nothing depends on the time yet, but a line whose fields are shifted shows here.
    fn event_time(&self, record: &ByteRecord) -> Result<Timestamp, FieldError> {
        let text = self.text(record, EVENT_TIME)?;
        text.parse().map_err(|_| self.error(EVENT_TIME, FieldProblem::NotATime(abridged(text.as_bytes()))))
    }

    fn error(&self, column: usize, problem: FieldProblem) -> FieldError {
        FieldError { column: COLUMNS[column], index: self.index[column], problem }
    }
}

/// At most the first 40 characters, for an error message.
fn abridged(field: &[u8]) -> String {
    String::from_utf8_lossy(&field[..field.len().min(160)]).chars().take(40).collect()
}
