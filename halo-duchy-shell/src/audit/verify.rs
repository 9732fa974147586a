//! Reading a log back: is it what was written?

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::record::{Hash, LONGEST_LINE, Record};

/// What is known of a log from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The digest of the record that comes before the first one, where older files are not at hand.
    pub after: Option<Hash>,
    /// Digests of records that must be there: the log has not been cut off before them.
    pub hashes: Vec<Hash>,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// The file.
    pub path: PathBuf,
    /// How many records.
    pub records: u64,
    /// The time of the first, in RFC 3339; empty if there is none.
    pub first: String,
    /// The time of the last.
    pub last: String,
    /// Lines that crashes cut off, each followed by a record that says so.
    pub torn: u64,
    /// The digest of the last record.
    pub head: Hash,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not what was written: its digest is another.
    Altered,
    /// It has no end: the file was cut off, or its writer crashed and has not been started again.
    Torn,
    /// It is longer than any record.
    TooLong,
    /// Its number does not follow that of the record before it.
    Sequence {
        /// The number that must come.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// It names another digest than that of the record before it.
    Chain,
    /// It is the first, but not the beginning of a log, and what comes before it is not known.
    NoBeginning(u64),
    /// The noise that it tells of was drawn from a seed that another stage's noise was drawn from.
    ReusedSeed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered => f.write_str("altered: it is not as it was written"),
            Self::Torn => f.write_str("torn: the line has no end"),
            Self::TooLong => f.write_str("longer than any record"),
            Self::Sequence { expected, found } => {
                write!(
                    f,
                    "record {found} is where record {expected} must be: records were removed or reordered"
                )
            }
            Self::Chain => f.write_str("it does not belong to the record before it"),
            Self::NoBeginning(found) => {
                write!(
                    f,
                    "record {found} is the first: those before it were removed, or are in a file not given"
                )
            }
            Self::ReusedSeed => f.write_str("its noise is from a seed that was used before"),
        }
    }
}

/// Why a log is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{path}, line {line}: {fault}")]
    Line {
        /// In which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// A record that must be there is not.
    #[error("no record has the hash {0}: the log was cut off before it, or is another")]
    Missing(Hash),
}

/// Checks the logs in `paths`, in order: a file goes on with the log of the one before it, as after a rotation, or
/// begins one.
///
/// # Errors
/// The first fault.
pub fn verify(paths: &[PathBuf], expected: &Expected) -> Result<Vec<FileSummary>, VerifyError> {
    let mut check = Check::new(expected);
    let summaries = paths.iter().map(|path| check.file(path)).collect::<Result<_, _>>()?;
    check.end()?;
    Ok(summaries)
}

/// As [`verify`], of one log that is at hand.
///
/// # Errors
/// The first fault.
#[cfg(feature = "fuzzing")]
pub fn verify_bytes(log: &[u8], expected: &Expected) -> Result<FileSummary, VerifyError> {
    let mut check = Check::new(expected);
    let summary = check.log(Path::new("log"), log)?;
    check.end()?;
    Ok(summary)
}

/// What the next record must go on from.
#[derive(Clone, Copy)]
struct Chain {
    last: Hash,
    /// `None` if any number may come.
    next: Option<u64>,
}

struct Check {
    chain: Option<Chain>,
    missing: Vec<Hash>,
    /// What each seed of noise was used for: duchy, computation and stage.
    seeds: BTreeMap<String, [String; 3]>,
}

/// A line that is no record.
struct TornLine {
    number: u64,
    bytes: usize,
    hash: Hash,
}

impl Check {
    fn new(expected: &Expected) -> Self {
        Self {
            chain: expected.after.map(|last| Chain { last, next: None }),
            missing: expected.hashes.clone(),
            seeds: BTreeMap::new(),
        }
    }

    /// At the end, when every record that must be there has been met.
    fn end(self) -> Result<(), VerifyError> {
        self.missing.first().map_or(Ok(()), |hash| Err(VerifyError::Missing(*hash)))
    }

    fn file(&mut self, path: &Path) -> Result<FileSummary, VerifyError> {
        let file = File::open(path).map_err(|source| VerifyError::Read { path: path.to_owned(), source })?;
        self.log(path, BufReader::new(file))
    }

    /// What is in the log at `path`, whose content is read from `reader`.
    fn log(&mut self, path: &Path, mut reader: impl BufRead) -> Result<FileSummary, VerifyError> {
        let unreadable = |source| VerifyError::Read { path: path.to_owned(), source };
        let wrong = |line, fault| VerifyError::Line { path: path.to_owned(), line, fault };
        let mut summary = FileSummary {
            path: path.to_owned(),
            records: 0,
            first: String::new(),
            last: String::new(),
            torn: 0,
            head: self.chain.map_or_else(Hash::default, |chain| chain.last),
        };
        let mut torn: Option<TornLine> = None;
        for number in 1.. {
            let mut line = Vec::new();
            let read = reader.by_ref().take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line);
            if read.map_err(unreadable)? == 0 {
                break;
            }
            let Some(text) = line.strip_suffix(b"\n") else {
                let fault = if line.len() > LONGEST_LINE { Fault::TooLong } else { Fault::Torn };
                return Err(wrong(number, fault));
            };
            let record = Record::parse(text);
            match (torn.take(), record) {
                (None, None) => torn = Some(TornLine { number, bytes: text.len(), hash: Hash::of(text) }),
                (Some(earlier), None) => return Err(wrong(earlier.number, Fault::Altered)),
                (earlier, Some(record)) => {
                    if let Some(earlier) = earlier {
                        if !admits(&record, &earlier) {
                            return Err(wrong(earlier.number, Fault::Altered));
                        }
                        summary.torn += 1;
                    }
                    self.record(&record, summary.records == 0).map_err(|fault| wrong(number, fault))?;
                    if summary.records == 0 {
                        summary.first.clone_from(&record.time);
                    }
                    summary.records += 1;
                    summary.head = record.hash;
                    summary.last = record.time;
                }
            }
        }
        match torn {
            Some(torn) => Err(wrong(torn.number, Fault::Altered)),
            None => Ok(summary),
        }
    }

    fn record(&mut self, record: &Record, first: bool) -> Result<(), Fault> {
        let begins = record.seq == 0 && record.prev == Hash::default();
        match self.chain {
            // Another process's log.
            _ if first && begins => {}
            None => return Err(Fault::NoBeginning(record.seq)),
            Some(chain) => {
                if let Some(expected) = chain.next.filter(|next| *next != record.seq) {
                    return Err(Fault::Sequence { expected, found: record.seq });
                }
                if record.prev != chain.last {
                    return Err(Fault::Chain);
                }
            }
        }
        self.chain = Some(Chain { last: record.hash, next: Some(record.seq + 1) });
        self.missing.retain(|hash| *hash != record.hash);
        self.seed(record)
    }

    /// Checks that the noise of two stages is not of one seed. A stage that is repeated has the seed that it had.
    fn seed(&mut self, record: &Record) -> Result<(), Fault> {
        let text = |name: &str| record.details.get(name).and_then(|value| value.as_str());
        let (Some(seed), Some(stage), "noise.added") = (text("seed"), text("stage"), record.event.as_str())
        else {
            return Ok(());
        };
        let used = [&record.duchy, &record.computation, stage].map(str::to_owned);
        match self.seeds.insert(seed.to_owned(), used.clone()) {
            Some(before) if before != used => Err(Fault::ReusedSeed),
            _ => Ok(()),
        }
    }
}

/// Whether `record` says that the line before it was cut off.
fn admits(record: &Record, torn: &TornLine) -> bool {
    record.event == "log.torn"
        && record.details.get("bytes").and_then(|bytes| bytes.as_u64()) == Some(torn.bytes as u64)
        && record.details.get("sha256").and_then(|hash| hash.as_str()) == Some(torn.hash.to_string().as_str())
}
