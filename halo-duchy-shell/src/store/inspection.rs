//! What is kept of computations, for people: also what no process of a duchy asks for, such as the attempts at stages that
//! are over. It is read from the rows as `tables` describes them, so that it is written once for all databases.

use std::collections::BTreeMap;
use std::vec::IntoIter;

use prost::Message;

use super::columns::{decode, dependency, stage};
use super::rows::{Key, Rows};
use super::tables::{self, Cell, Table};
use super::{StageBlob, StoreError, lifecycle};
use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{ComputationDetails, ComputationStageAttemptDetails, RequisitionDetails};
use crate::protocol_stages::{Protocol, ProtocolStage};

/// Which computations to list, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only those in these stages.
    pub stages: Vec<ProtocolStage>,
    /// Only those created at this time or before.
    pub created_before: Timestamp,
    /// Only those that last changed at this time or before.
    pub updated_before: Timestamp,
    /// Only those that last changed at this time or after.
    pub updated_since: Timestamp,
    /// In which order.
    pub order: Order,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By creation.
    #[default]
    OldestFirst,
    /// By creation, backwards.
    NewestFirst,
    /// By the last change.
    LongestUnchangedFirst,
    /// By the last change, backwards.
    LastChangedFirst,
}

/// A computation with its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The id within this duchy.
    pub local_id: i64,
    /// The id that all parties use.
    pub global_id: String,
    /// The stage it is in.
    pub stage: ProtocolStage,
    /// When it was created; 1970 if nobody remembers.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Who has claimed it.
    pub lock_owner: Option<String>,
    /// When the claim ends, or from when on it can be claimed; `None` if nobody can claim it.
    pub lock_expiration: Option<Timestamp>,
    /// What the protocol keeps over all stages, key material included.
    pub details: ComputationDetails,
    /// The stages that it has entered, by time.
    pub stages: Vec<StageRecord>,
    /// The requisitions, by external id.
    pub requisitions: Vec<RequisitionRecord>,
}

/// A stage that a computation has entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRecord {
    /// Which one.
    pub stage: ProtocolStage,
    /// When it was entered.
    pub entered: Timestamp,
    /// When it was left.
    pub left: Option<Timestamp>,
    /// Its blobs, by id.
    pub blobs: Vec<StageBlob>,
    /// The attempts at it, by number.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub number: i32,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// By what it ended; unspecified if it has not.
    pub reason: EndReason,
    /// Why it did not succeed; empty if it did, or if nobody said.
    pub error: String,
    /// What was measured, by name.
    pub stats: BTreeMap<String, i64>,
}

/// A requisition of a computation.
#[derive(Clone, Debug, PartialEq)]
pub struct RequisitionRecord {
    /// The external id.
    pub id: String,
    /// When it last changed; 1970 if nobody remembers.
    pub updated: Timestamp,
    /// Where its data is, if that has come to this duchy.
    pub path: Option<String>,
    /// The duchy that its data goes to, if that is said.
    pub fulfilling_duchy: Option<String>,
}

impl Default for Listing {
    /// All computations.
    fn default() -> Self {
        Self {
            stages: Protocol::ALL.into_iter().flat_map(Protocol::stages).collect(),
            created_before: Timestamp::from_millis(i64::MAX),
            updated_before: Timestamp::from_millis(i64::MAX),
            updated_since: Timestamp::from_millis(i64::MIN),
            order: Order::default(),
            limit: 100,
            offset: 0,
        }
    }
}

impl Order {
    /// The columns to sort by.
    pub(super) const fn columns(self) -> &'static str {
        match self {
            Self::OldestFirst => "CreationTime, ComputationId",
            Self::NewestFirst => "CreationTime DESC, ComputationId DESC",
            Self::LongestUnchangedFirst => "UpdateTime, ComputationId",
            Self::LastChangedFirst => "UpdateTime DESC, ComputationId DESC",
        }
    }
}

impl Record {
    /// The stage that it is in, as entered.
    pub fn current(&self) -> Option<&StageRecord> {
        self.stages.iter().find(|record| record.stage == self.stage)
    }

    /// The last error, with the stage and the number of the attempt that it ended.
    pub fn last_error(&self) -> Option<(ProtocolStage, i32, &str)> {
        let attempts = self
            .stages
            .iter()
            .flat_map(|record| record.attempts.iter().map(move |attempt| (record.stage, attempt)));
        let failed = attempts.filter(|(_, attempt)| !attempt.error.is_empty());
        let last = failed.max_by_key(|(_, attempt)| (attempt.ended, attempt.begun, attempt.number));
        last.map(|(stage, attempt)| (stage, attempt.number, attempt.error.as_str()))
    }
}

pub(super) async fn list(rows: &mut dyn Rows, listing: Listing) -> Result<Vec<Record>, StoreError> {
    let ids = rows.page(&listing).await?;
    let mut found =
        Found::read(rows, &ids, &[tables::COMPUTATIONS, tables::STAGES, tables::ATTEMPTS]).await?;
    Ok(ids.iter().filter_map(|id| found.records.remove(id)).collect())
}

pub(super) async fn record(rows: &mut dyn Rows, global_id: String) -> Result<Record, StoreError> {
    let local_id = lifecycle::computation(rows, Key::Global(&global_id)).await?.local_id;
    let all = [
        tables::COMPUTATIONS,
        tables::STAGES,
        tables::BLOBS,
        tables::ATTEMPTS,
        tables::STATS,
        tables::REQUISITIONS,
    ];
    let mut found = Found::read(rows, &[local_id], &all).await?;
    found.records.remove(&local_id).ok_or(StoreError::NotFound { kind: "global", id: global_id })
}

/// Records by local id, as far as they have been read.
struct Found {
    records: BTreeMap<i64, Record>,
}

impl Found {
    /// Reads these tables in turn, those first that others' rows belong to.
    async fn read(rows: &mut dyn Rows, ids: &[i64], tables: &[&'static Table]) -> Result<Self, StoreError> {
        let mut found = Self { records: BTreeMap::new() };
        for &table in tables {
            for row in rows.rows_of(table, ids).await? {
                found.take(table, Cells(row.into_iter()))?;
            }
        }
        for record in found.records.values_mut() {
            record.stages.sort_by_key(|stage| (stage.entered, stage.stage.number()));
            record.requisitions.sort_by(|a, b| a.id.cmp(&b.id));
        }
        Ok(found)
    }

    fn take(&mut self, table: &'static Table, mut cells: Cells) -> Result<(), StoreError> {
        let id = cells.int("computation id")?;
        if table == tables::COMPUTATIONS {
            self.records.insert(id, computation(id, cells)?);
            return Ok(());
        }
        // What belongs to no computation is of one that this program does not know.
        let Some(record) = self.records.get_mut(&id) else { return Ok(()) };
        if table == tables::REQUISITIONS {
            record.requisitions.push(requisition(cells)?);
            return Ok(());
        }
        let number = cells.small("stage")?;
        if table == tables::STAGES {
            let stage = record.stage.protocol().stage(number);
            let stage = stage.map_err(|error| StoreError::corrupt("stage")(error.into()))?;
            record.stages.push(entered(stage, cells)?);
            return Ok(());
        }
        let Some(stage) = record.stages.iter_mut().find(|record| record.stage.number() == number) else {
            return Ok(());
        };
        if table == tables::BLOBS {
            let id = cells.int("blob id")?;
            let dependency = dependency(cells.small("blob dependency")?)?;
            stage.blobs.push(StageBlob { id, dependency, path: cells.optional_text("path")? });
            return Ok(());
        }
        let number = cells.small("attempt")?;
        if table == tables::ATTEMPTS {
            stage.attempts.push(attempt(number, cells)?);
        } else if let Some(attempt) = stage.attempts.iter_mut().find(|attempt| attempt.number == number) {
            let name = cells.text("metric name")?;
            cells.time("time")?;
            attempt.stats.insert(name, cells.int("metric value")?);
        }
        Ok(())
    }
}

fn computation(local_id: i64, mut cells: Cells) -> Result<Record, StoreError> {
    let (protocol, number) = (cells.small("protocol")?, cells.small("stage")?);
    Ok(Record {
        local_id,
        stage: stage(protocol, number)?,
        created: cells.time("creation time")?,
        updated: cells.time("update time")?,
        global_id: cells.text("global id")?,
        lock_owner: cells.optional_text("lock owner")?,
        lock_expiration: cells.optional_time("lock expiration")?,
        details: cells.message("computation details")?,
        stages: Vec::new(),
        requisitions: Vec::new(),
    })
}

fn requisition(mut cells: Cells) -> Result<RequisitionRecord, StoreError> {
    cells.int("requisition id")?;
    let id = cells.text("external requisition id")?;
    cells.bytes("requisition fingerprint")?;
    cells.time("creation time")?;
    let updated = cells.time("update time")?;
    let path = cells.optional_text("path")?.filter(|path| !path.is_empty());
    let details: RequisitionDetails = cells.message("requisition details")?;
    let duchy = details.external_fulfilling_duchy_id;
    Ok(RequisitionRecord {
        id,
        updated,
        path,
        fulfilling_duchy: Some(duchy).filter(|duchy| !duchy.is_empty()),
    })
}

fn entered(stage: ProtocolStage, mut cells: Cells) -> Result<StageRecord, StoreError> {
    let entered = cells.time("creation time")?;
    cells.int("next attempt")?;
    let left = cells.optional_time("end time")?;
    Ok(StageRecord { stage, entered, left, blobs: Vec::new(), attempts: Vec::new() })
}

fn attempt(number: i32, mut cells: Cells) -> Result<AttemptRecord, StoreError> {
    let (begun, ended) = (cells.time("begin time")?, cells.optional_time("end time")?);
    let details: ComputationStageAttemptDetails = cells.message("attempt details")?;
    let reason = details.reason_ended();
    Ok(AttemptRecord { number, begun, ended, reason, error: details.error_message, stats: BTreeMap::new() })
}

/// The cells of a row, taken in order.
struct Cells(IntoIter<Cell>);

impl Cells {
    fn take<T>(&mut self, what: &'static str, read: impl FnOnce(Cell) -> Option<T>) -> Result<T, StoreError> {
        self.0.next().and_then(read).ok_or(StoreError::Corrupt { what, source: None })
    }

    fn int(&mut self, what: &'static str) -> Result<i64, StoreError> {
        self.take(what, |cell| if let Cell::Int(value) = cell { Some(value) } else { None })
    }

    /// The number of an enum or of an attempt.
    fn small(&mut self, what: &'static str) -> Result<i32, StoreError> {
        self.int(what)?.try_into().map_err(|_| StoreError::Corrupt { what, source: None })
    }

    fn time(&mut self, what: &'static str) -> Result<Timestamp, StoreError> {
        self.optional_time(what)?.ok_or(StoreError::Corrupt { what, source: None })
    }

    fn optional_time(&mut self, what: &'static str) -> Result<Option<Timestamp>, StoreError> {
        self.take(what, |cell| match cell {
            Cell::Time(time) => Some(Some(time)),
            Cell::Null => Some(None),
            _ => None,
        })
    }

    fn text(&mut self, what: &'static str) -> Result<String, StoreError> {
        self.optional_text(what)?.ok_or(StoreError::Corrupt { what, source: None })
    }

    fn optional_text(&mut self, what: &'static str) -> Result<Option<String>, StoreError> {
        self.take(what, |cell| match cell {
            Cell::Text(text) => Some(Some(text)),
            Cell::Null => Some(None),
            _ => None,
        })
    }

    fn bytes(&mut self, what: &'static str) -> Result<zeroize::Zeroizing<Vec<u8>>, StoreError> {
        self.take(what, |cell| if let Cell::Bytes(bytes) = cell { Some(bytes) } else { None })
    }

    fn message<M: Message + Default>(&mut self, what: &'static str) -> Result<M, StoreError> {
        decode(what, &self.bytes(what)?)
    }
}
