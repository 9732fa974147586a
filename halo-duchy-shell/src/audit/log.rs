//! Writing the log.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::provoked::Provoked;
use super::record::{self, Hash, LONGEST_LINE, Record, Writer};
use super::{Entry, Event, Outcome};
use crate::clock::Timestamp;
use crate::platform;

/// How long a record may be in the system's memory alone: a crash of the machine, not of the process, loses it.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no audit log, or a record is not in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file cannot be opened or read.
    #[error("the audit log {path} cannot be opened")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process writes to the file.
    #[error("the audit log {0} is another process's: each has a file of its own")]
    Locked(PathBuf),
    /// The end of the file is no record of an audit log.
    #[error(
        "the last line of the audit log {0} is not as it was written; see what `halo-duchy audit verify` says, and move \
         the file away"
    )]
    Altered(PathBuf),
    /// The file that was put in place of the log is not empty.
    #[error("{0}, which has come to be in the place of the audit log, is not empty")]
    NotEmpty(PathBuf),
    /// A record cannot be written.
    #[error("the audit log {path} cannot be written")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An earlier record was written in part and cannot be taken back.
    #[error("the audit log {0} ends in a part of a record")]
    Broken(PathBuf),
    /// A record cannot be expressed.
    #[error("a record of the audit log")]
    Record(#[from] serde_json::Error),
    /// The process has an audit log.
    #[error("the process has an audit log already")]
    Installed,
}

/// An audit log that is being written. Clones write to the same.
#[derive(Clone)]
pub struct AuditLog(Arc<Mutex<State>>);

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditLog").field(&self.state().path).finish()
    }
}

struct State {
    path: PathBuf,
    file: Arc<File>,
    writer: Writer,
    /// Bytes of whole records in the file.
    length: u64,
    next: u64,
    last: Hash,
    /// Whether there is something that is not on the disk yet.
    dirty: bool,
    /// Whether a part of a record is at the end and cannot be removed.
    broken: bool,
    /// Records that could not be written since the last that could.
    lost: u64,
    provoked: Provoked,
}

impl AuditLog {
    /// Goes on with the log at `path`, or begins it. The records are of the process `process` of `duchy`, which may be
    /// empty.
    ///
    /// # Errors
    /// If another process has the file, if it cannot be used, or if its last line was altered. A last line that a crash
    /// cut off is no error: it stays, and the first record says so.
    pub fn open(path: &Path, process: &str, duchy: &str) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Open { path: path.to_owned(), source };
        let file = open(path)?;
        let length = file.metadata().map_err(failed)?.len();
        let tail = Tail::read(&file, length).map_err(failed)?;
        let Some(Tail { last, unfinished }) = tail else { return Err(AuditError::Altered(path.to_owned())) };
        let (next, hash) = last.map_or((0, Hash::default()), |record| (record.seq + 1, record.hash));
        let mut state = State {
            path: path.to_owned(),
            file: Arc::new(file),
            writer: Writer { process: process.to_owned(), duchy: duchy.to_owned() },
            length,
            next,
            last: hash,
            dirty: false,
            broken: false,
            lost: 0,
            provoked: Provoked::new(Instant::now()),
        };
        match unfinished {
            Unfinished::Nothing => {}
            Unfinished::LineEnd => state.write(b"\n")?,
            Unfinished::Line(torn) => {
                let entry = Entry::new(Event::LogTorn, Outcome::Failed)
                    .detail("bytes", torn.len())
                    .detail("sha256", Hash::of(&torn).to_string());
                state.append(&entry, "\n")?;
            }
        }
        state.append(&Entry::new(Event::LogOpened, Outcome::Done), "")?;
        state.file.sync_data().map_err(failed)?;
        tracing::info!(path = %path.display(), records = state.next, head = %state.last, "the audit log is kept");
        let log = Self(Arc::new(Mutex::new(state)));
        let weak = Arc::downgrade(&log.0);
        let syncing = std::thread::Builder::new().name("audit-sync".to_owned());
        syncing.spawn(move || keep_synced(&weak)).map_err(failed)?;
        Ok(log)
    }

    /// Records `entry`. It has been handed to the operating system when this returns.
    ///
    /// # Errors
    /// If it cannot be written; the log is as it was.
    pub fn append(&self, entry: Entry) -> Result<(), AuditError> {
        let mut state = self.state();
        if entry.event.is_provoked() && !state.provoked.admits(&entry.principal, Instant::now()) {
            return Ok(());
        }
        state.catch_up().and_then(|()| state.append(&entry, "")).inspect_err(|_| state.lost += 1)
    }

    /// Writes a last record, and everything to the disk.
    ///
    /// # Errors
    /// If that fails.
    pub fn close(&self) -> Result<(), AuditError> {
        self.append(Entry::new(Event::LogClosed, Outcome::Done))?;
        let state = self.state();
        tracing::info!(records = state.next, head = %state.last, "the audit log is ended");
        state.file.sync_data().map_err(|source| AuditError::Write { path: state.path.clone(), source })
    }

    /// The digest of the last record.
    pub fn head(&self) -> Hash {
        self.state().last
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic in between leaves is sound: the state changes once the record is written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells what is not in the log, before the next record.
    fn catch_up(&mut self) -> Result<(), AuditError> {
        if self.lost > 0 {
            let entry = Entry::new(Event::LogLost, Outcome::Failed).detail("records", self.lost);
            self.append(&entry, "")?;
            self.lost = 0;
        }
        while let Some((by, records)) = self.provoked.left_out() {
            let entry =
                Entry::new(Event::LogLimited, Outcome::Done).principal(&by).detail("records", records);
            self.append(&entry, "")?;
            self.provoked.told(&by);
        }
        Ok(())
    }

    /// Writes a record after `before`.
    fn append(&mut self, entry: &Entry, before: &str) -> Result<(), AuditError> {
        self.follow_rotation()?;
        let time = prost_types::Timestamp::from(Timestamp::from(platform::time())).to_string();
        let (line, hash) = record::line(&self.writer, self.next, time, entry, self.last)?;
        self.write([before, &line].concat().as_bytes())?;
        (self.next, self.last) = (self.next + 1, hash);
        Ok(())
    }

    /// Writes all of `bytes` or nothing.
    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        if self.broken {
            return Err(AuditError::Broken(self.path.clone()));
        }
        if let Err(source) = (&*self.file).write_all(bytes) {
            self.broken = self.file.set_len(self.length).is_err();
            return Err(AuditError::Write { path: self.path.clone(), source });
        }
        self.length += bytes.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// If the file has been moved away, goes on in a new one at the same place.
    fn follow_rotation(&mut self) -> Result<(), AuditError> {
        let failed = |source| AuditError::Open { path: self.path.clone(), source };
        let ours = self.file.metadata().map_err(failed)?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = open(&self.path)?;
        if file.metadata().map_err(failed)?.len() > 0 {
            return Err(AuditError::NotEmpty(self.path.clone()));
        }
        self.file.sync_data().map_err(failed)?;
        (self.file, self.length, self.broken) = (Arc::new(file), 0, false);
        Ok(())
    }
}

/// Opens the file at `path` for this process alone.
fn open(path: &Path) -> Result<File, AuditError> {
    let failed = |source| AuditError::Open { path: path.to_owned(), source };
    let file =
        OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Writes what is new to the disk, until the log is gone.
fn keep_synced(log: &Weak<Mutex<State>>) {
    loop {
        std::thread::sleep(SYNC_INTERVAL);
        let Some(log) = log.upgrade() else { return };
        let file = {
            let mut state = log.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut state.dirty).then(|| Arc::clone(&state.file))
        };
        // Without the lock: nobody waits for the disk.
        if let Some(file) = file
            && let Err(error) = file.sync_data()
        {
            tracing::error!(%error, "the audit log is not on the disk");
        }
    }
}

/// The end of a log that an earlier process left: its last whole record, and what comes after it.
struct Tail {
    last: Option<Record>,
    unfinished: Unfinished,
}

/// What a crash left after the last whole line.
enum Unfinished {
    Nothing,
    /// A record that only lacks the end of its line; it is the last one.
    LineEnd,
    /// A part of a record.
    Line(Vec<u8>),
}

impl Tail {
    /// `None` if the last whole line is not as it was written.
    fn read(file: &File, length: u64) -> io::Result<Option<Self>> {
        // Room for the end of one line and the whole of another.
        let start = length.saturating_sub(2 * LONGEST_LINE as u64);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, start)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (lines, rest) = bytes.split_at(whole);
        if !rest.is_empty()
            && let Some(record) = Record::parse(rest)
        {
            return Ok(Some(Self { last: Some(record), unfinished: Unfinished::LineEnd }));
        }
        let last = match lines.strip_suffix(b"\n") {
            None if start > 0 => return Ok(None),
            None => None,
            Some(lines) => {
                let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
                match Record::parse(line) {
                    Some(record) => Some(record),
                    None => return Ok(None),
                }
            }
        };
        let unfinished = if rest.is_empty() { Unfinished::Nothing } else { Unfinished::Line(rest.to_vec()) };
        Ok(Some(Self { last, unfinished }))
    }
}
