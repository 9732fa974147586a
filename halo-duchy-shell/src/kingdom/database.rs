//! What the Kingdom remembers, in an SQLite file: every change is a transaction, and is written before it is answered.
//!
//! A change that was answered survives the end of the process, also a sudden one. It is handed to the operating system,
//! not forced to the disk: a power failure may lose the last ones.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::resource_name::ExternalId;
use super::state::{Measurement, Records, RequisitionState, UpdateTime};
use super::tracked::Tracked;
use crate::proto::api::MeasurementSpec;
use crate::proto::system::computation::State as ComputationState;

/// The version of the tables and of what is in them.
const VERSION: i64 = 1;

const CREATE: &str = "
    CREATE TABLE Records (
        Kind TEXT NOT NULL,
        Key TEXT NOT NULL,
        Value TEXT NOT NULL,
        PRIMARY KEY (Kind, Key)
    ) STRICT, WITHOUT ROWID;
";

/// The record of when anything last changed.
const LAST_UPDATE: &str = "last_update";

/// Why a Kingdom's database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// SQLite refuses it. Another Kingdom may have it open.
    #[error("cannot open the Kingdom's database")]
    Sqlite(#[from] rusqlite::Error),
    /// It is of another version of this program, or no Kingdom's.
    #[error("the database has version {found}, a Kingdom's has {VERSION}")]
    Version {
        /// What was found.
        found: i64,
    },
    /// A record cannot be read.
    #[error("{kind} {key}")]
    Malformed {
        /// What it is.
        kind: &'static str,
        /// Whose.
        key: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A record contradicts itself or another.
    #[error("{kind} {key}: {problem}")]
    Contradiction {
        /// What it is.
        kind: &'static str,
        /// Whose.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The file, which only one process uses.
#[derive(Debug)]
pub struct Database(Connection);

impl Database {
    /// Opens the file at `path`, creates it if need be, and reads what is in it.
    pub fn open(path: &Path) -> Result<(Self, Records), DatabaseError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match transaction.pragma_query_value(None, "user_version", |row| row.get(0))? {
            0 => {
                transaction.execute_batch(CREATE)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            found => return Err(DatabaseError::Version { found }),
        }
        let records = read(&transaction)?;
        transaction.commit()?;
        Ok((Self(connection), records))
    }

    /// Writes what changed in `records`, all of it or nothing.
    pub fn save(&mut self, records: &Records) -> Result<(), rusqlite::Error> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Records {
            measurements,
            requests,
            plans,
            certificates,
            log_entries,
            violations,
            faults,
            last_update,
        } = records;
        write(&transaction, Kind::MEASUREMENT, measurements)?;
        write(&transaction, Kind::REQUEST, requests)?;
        write(&transaction, Kind::PLAN, plans)?;
        write(&transaction, Kind::CERTIFICATE, certificates)?;
        write(&transaction, Kind::LOG_ENTRY, log_entries)?;
        write(&transaction, Kind::VIOLATION, violations)?;
        write(&transaction, Kind::FAULT, faults)?;
        put(&transaction, LAST_UPDATE, "", last_update)?;
        transaction.commit()
    }
}

/// What records are of, as the database calls it.
struct Kind;

impl Kind {
    const MEASUREMENT: &str = "measurement";
    const REQUEST: &str = "request";
    const PLAN: &str = "plan";
    const CERTIFICATE: &str = "certificate";
    const LOG_ENTRY: &str = "log_entry";
    const VIOLATION: &str = "violation";
    const FAULT: &str = "fault";
}

fn write<K, V>(
    transaction: &Transaction<'_>,
    kind: &'static str,
    records: &Tracked<K, V>,
) -> Result<(), rusqlite::Error>
where
    K: Ord + Clone + Serialize,
    V: Clone + Serialize,
{
    for (key, value) in records.changes() {
        let key = text(key)?;
        match value {
            Some(value) => put(transaction, kind, &key, value)?,
            None => {
                let delete = "DELETE FROM Records WHERE Kind = ?1 AND Key = ?2";
                transaction.prepare_cached(delete)?.execute((kind, key))?;
            }
        }
    }
    Ok(())
}

fn put(
    transaction: &Transaction<'_>,
    kind: &str,
    key: &str,
    value: &impl Serialize,
) -> Result<(), rusqlite::Error> {
    let put = "INSERT OR REPLACE INTO Records (Kind, Key, Value) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(put)?.execute((kind, key, text(value)?)).map(drop)
}

fn text(value: &impl Serialize) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn read(transaction: &Transaction<'_>) -> Result<Records, DatabaseError> {
    let last_update = "SELECT Value FROM Records WHERE Kind = ?1";
    let last_update: Option<String> =
        transaction.query_row(last_update, [LAST_UPDATE], |row| row.get(0)).optional()?;
    let records = Records {
        measurements: read_kind(transaction, Kind::MEASUREMENT)?,
        requests: read_kind(transaction, Kind::REQUEST)?,
        plans: read_kind(transaction, Kind::PLAN)?,
        certificates: read_kind(transaction, Kind::CERTIFICATE)?,
        log_entries: read_kind(transaction, Kind::LOG_ENTRY)?,
        violations: read_kind(transaction, Kind::VIOLATION)?,
        faults: read_kind(transaction, Kind::FAULT)?,
        last_update: match last_update {
            Some(text) => parse(LAST_UPDATE, &text, &text)?,
            None => UpdateTime::default(),
        },
    };
    check(&records)?;
    Ok(records)
}

fn read_kind<K, V>(transaction: &Transaction<'_>, kind: &'static str) -> Result<Tracked<K, V>, DatabaseError>
where
    K: Ord + Clone + DeserializeOwned,
    V: Clone + DeserializeOwned,
{
    let mut select = transaction.prepare("SELECT Key, Value FROM Records WHERE Kind = ?1")?;
    let mut rows = select.query([kind])?;
    let mut records = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
        records.insert(parse(kind, &key, &key)?, parse(kind, &key, &value)?);
    }
    Ok(Tracked::saved(records))
}

fn parse<T: DeserializeOwned>(kind: &'static str, key: &str, text: &str) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(|source| {
        let key = key.to_owned();
        DatabaseError::Malformed { kind, key, source }
    })
}

/// Refuses what the Kingdom never writes.
fn check(records: &Records) -> Result<(), DatabaseError> {
    for (id, measurement) in records.measurements.iter() {
        check_measurement(measurement, records.last_update).map_err(|problem| {
            let (kind, key) = (Kind::MEASUREMENT, id.to_string());
            DatabaseError::Contradiction { kind, key, problem }
        })?;
    }
    let known = |id: &ExternalId| records.measurements.contains_key(id);
    let references = (records.requests.iter().map(|(key, id)| (Kind::REQUEST, format!("{key:?}"), id)))
        .chain(records.log_entries.keys().map(|(id, number)| (Kind::LOG_ENTRY, number.to_string(), id)));
    for (kind, key, id) in references {
        if !known(id) {
            let problem = "its measurement is not there";
            return Err(DatabaseError::Contradiction { kind, key, problem });
        }
    }
    Ok(())
}

fn check_measurement(measurement: &Measurement, last_update: UpdateTime) -> Result<(), &'static str> {
    let Measurement { participants, requisitions, .. } = measurement;
    let spec: Result<MeasurementSpec, _> = prost::Message::decode(measurement.spec_bytes.as_slice());
    if spec.as_ref() != Ok(&measurement.spec) {
        return Err("its spec is not the one in the signed bytes");
    }
    if participants.is_empty() || requisitions.is_empty() {
        return Err("nobody takes part");
    }
    if measurement.result.is_some() != (measurement.state == ComputationState::Succeeded) {
        return Err("its state does not go with its result");
    }
    let times = requisitions.values().map(|requisition| requisition.update_time);
    let mut times = times.chain(participants.values().map(|participant| participant.update_time));
    if measurement.update_time > last_update || times.any(|time| time > last_update) {
        return Err("it changed after the last change");
    }
    for requisition in requisitions.values() {
        let fulfilling = requisition.fulfilling_duchy.as_ref();
        if fulfilling.is_some_and(|duchy| !participants.contains_key(duchy)) {
            return Err("a requisition is fulfilled at a duchy that takes no part");
        }
        if requisition.nonce.is_some() != (requisition.state == RequisitionState::Fulfilled) {
            return Err("the state of a requisition does not go with its nonce");
        }
    }
    Ok(())
}

impl Records {
    /// What is there now counts as saved.
    pub(super) fn commit(&mut self) {
        self.measurements.commit();
        self.requests.commit();
        self.plans.commit();
        self.certificates.commit();
        self.log_entries.commit();
        self.violations.commit();
        self.faults.commit();
    }

    /// Goes back to what was saved. The time goes on: it only ever rises.
    pub(super) fn roll_back(&mut self) {
        self.measurements.roll_back();
        self.requests.roll_back();
        self.plans.roll_back();
        self.certificates.roll_back();
        self.log_entries.roll_back();
        self.violations.roll_back();
        self.faults.roll_back();
    }
}

#[cfg(test)]
impl Database {
    /// Runs any SQL.
    pub fn execute(&self, sql: &str) {
        self.0.execute_batch(sql).expect("sound SQL");
    }
}
