//! Reading and writing rows; no rules.

use prost::Message;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::proto::internal::computation_stage_attempt_details::EndReason;
use crate::proto::internal::{
    ComputationDetails, ComputationStageAttemptDetails, ExternalRequisitionKey, RequisitionMetadata,
};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{BlobDependency, Computation, StageBlob, StoreError};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => Self::corrupt("row")(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

const COMPUTATION: &str = "
    SELECT ComputationId, GlobalComputationId, Protocol, ComputationStage, NextAttempt, UpdateTime,
           ComputationDetails, Details, LockOwner, LockExpirationTime
    FROM Computations JOIN ComputationStages USING (ComputationId, ComputationStage)";

pub(super) fn by_local_id(connection: &Connection, local_id: i64) -> Result<Computation, StoreError> {
    let found = read(connection, &format!("{COMPUTATION} WHERE ComputationId = ?1"), [local_id])?;
    found.ok_or_else(|| StoreError::NotFound { kind: "local", id: local_id.to_string() })
}

pub(super) fn by_global_id(connection: &Connection, id: &str) -> Result<Computation, StoreError> {
    let found = read(connection, &format!("{COMPUTATION} WHERE GlobalComputationId = ?1"), [id])?;
    found.ok_or_else(|| StoreError::NotFound { kind: "global", id: id.to_owned() })
}

/// The computation and the position of a requisition, if there is one with this key.
pub(super) fn find_requisition(
    connection: &Connection,
    key: &ExternalRequisitionKey,
) -> Result<Option<(i64, i64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT ComputationId, RequisitionId FROM Requisitions
         WHERE ExternalRequisitionId = ?1 AND RequisitionFingerprint = ?2",
    )?;
    let key = params![key.external_requisition_id, key.requisition_fingerprint];
    Ok(statement.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn read(connection: &Connection, sql: &str, key: impl Params) -> Result<Option<Computation>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut computation = computation(row)?;
    computation.blobs = blobs(connection, computation.local_id, computation.stage)?;
    computation.requisitions = requisitions(connection, computation.local_id)?;
    Ok(Some(computation))
}

fn computation(row: &Row<'_>) -> Result<Computation, StoreError> {
    let stage_number = row.get("ComputationStage")?;
    let stage = Protocol::try_from(row.get::<_, i32>("Protocol")?)
        .and_then(|protocol| protocol.stage(stage_number))
        .map_err(|error| StoreError::corrupt("stage")(error.into()))?;
    let details = Zeroizing::new(row.get::<_, Vec<u8>>("ComputationDetails")?);
    let stage_details: Vec<u8> = row.get("Details")?;
    Ok(Computation {
        local_id: row.get("ComputationId")?,
        global_id: row.get("GlobalComputationId")?,
        stage,
        attempt: row.get::<_, i32>("NextAttempt")? - 1,
        version: row.get("UpdateTime")?,
        details: decode("computation details", &details)?,
        stage_details: decode("stage details", &stage_details)?,
        blobs: Vec::new(),
        requisitions: Vec::new(),
        lock_owner: row.get("LockOwner")?,
        lock_expiration: row.get::<_, Option<i64>>("LockExpirationTime")?.map(Timestamp::from_millis),
    })
}

fn blobs(connection: &Connection, local_id: i64, stage: ProtocolStage) -> Result<Vec<StageBlob>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT BlobId, DependencyType, PathToBlob FROM ComputationBlobReferences
         WHERE ComputationId = ?1 AND ComputationStage = ?2 ORDER BY BlobId",
    )?;
    let mut rows = statement.query((local_id, stage.number()))?;
    let mut blobs = Vec::new();
    while let Some(row) = rows.next()? {
        let dependency = dependency(row.get(1)?)?;
        blobs.push(StageBlob { id: row.get(0)?, dependency, path: row.get(2)? });
    }
    Ok(blobs)
}

fn requisitions(connection: &Connection, local_id: i64) -> Result<Vec<RequisitionMetadata>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT ExternalRequisitionId, RequisitionFingerprint, PathToBlob, RequisitionDetails
         FROM Requisitions WHERE ComputationId = ?1 ORDER BY ExternalRequisitionId, RequisitionFingerprint",
    )?;
    let mut rows = statement.query([local_id])?;
    let mut requisitions = Vec::new();
    while let Some(row) = rows.next()? {
        let details: Vec<u8> = row.get(3)?;
        requisitions.push(RequisitionMetadata {
            external_key: Some(ExternalRequisitionKey {
                external_requisition_id: row.get(0)?,
                requisition_fingerprint: row.get(1)?,
            }),
            path: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            details: Some(decode("requisition details", &details)?),
        });
    }
    Ok(requisitions)
}

/// Writes the computation's own row: stage, version, lease and details.
pub(super) fn update(connection: &Connection, computation: &Computation) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE Computations SET ComputationStage = ?2, UpdateTime = ?3, LockOwner = ?4,
                LockExpirationTime = ?5, ComputationDetails = ?6
         WHERE ComputationId = ?1",
    )?;
    statement.execute(params![
        computation.local_id,
        computation.stage.number(),
        computation.version,
        computation.lock_owner,
        computation.lock_expiration.map(Timestamp::millis),
        &*encode(&computation.details),
    ])?;
    Ok(())
}

/// Opens a stage, entered from `previous`.
pub(super) fn insert_stage(
    connection: &Connection,
    computation: &Computation,
    previous: Option<ProtocolStage>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Computation { local_id, stage, attempt, stage_details, blobs, .. } = computation;
    connection
        .prepare_cached(
            "INSERT INTO ComputationStages
                (ComputationId, ComputationStage, CreationTime, NextAttempt, PreviousStage, Details)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            local_id,
            stage.number(),
            now.millis(),
            attempt + 1,
            previous.map(ProtocolStage::number),
            stage_details.encode_to_vec(),
        ])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO ComputationBlobReferences
            (ComputationId, ComputationStage, BlobId, DependencyType, PathToBlob)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for blob in blobs {
        let dependency = dependency_number(blob.dependency);
        insert.execute(params![local_id, stage.number(), blob.id, dependency, blob.path])?;
    }
    Ok(())
}

/// Opens the attempt that `computation.attempt` numbers.
pub(super) fn insert_attempt(
    connection: &Connection,
    computation: &Computation,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Computation { local_id, stage, attempt, .. } = computation;
    connection
        .prepare_cached(
            "INSERT INTO ComputationStageAttempts (ComputationId, ComputationStage, Attempt, BeginTime, Details)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![local_id, stage.number(), attempt, now.millis(), attempt_details(EndReason::Unspecified)])?;
    Ok(())
}

/// Closes one attempt of the current stage, unless it is closed.
pub(super) fn end_attempt(
    connection: &Connection,
    computation: &Computation,
    attempt: i32,
    reason: EndReason,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Computation { local_id, stage, .. } = computation;
    connection
        .prepare_cached(
            "UPDATE ComputationStageAttempts SET EndTime = ?4, Details = ?5
             WHERE ComputationId = ?1 AND ComputationStage = ?2 AND Attempt = ?3 AND EndTime IS NULL",
        )?
        .execute(params![local_id, stage.number(), attempt, now.millis(), attempt_details(reason)])?;
    Ok(())
}

/// Closes all attempts of all stages that are still open.
pub(super) fn end_all_attempts(
    connection: &Connection,
    local_id: i64,
    reason: EndReason,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE ComputationStageAttempts SET EndTime = ?2, Details = ?3
             WHERE ComputationId = ?1 AND EndTime IS NULL",
        )?
        .execute(params![local_id, now.millis(), attempt_details(reason)])?;
    Ok(())
}

/// Closes the current stage, left for `following`.
pub(super) fn end_stage(
    connection: &Connection,
    computation: &Computation,
    following: ProtocolStage,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Computation { local_id, stage, .. } = computation;
    connection
        .prepare_cached(
            "UPDATE ComputationStages SET EndTime = ?3, FollowingStage = ?4
             WHERE ComputationId = ?1 AND ComputationStage = ?2",
        )?
        .execute((local_id, stage.number(), now.millis(), following.number()))?;
    Ok(())
}

pub(super) fn decode<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|error| StoreError::corrupt(what)(error.into()))
}

/// The details hold key material: the copy made for the database is wiped.
pub(super) fn encode(details: &ComputationDetails) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(details.encode_to_vec())
}

/// A list of stages as an SQL parameter.
pub(super) fn numbers(stages: impl Iterator<Item = ProtocolStage>) -> String {
    let numbers: Vec<_> = stages.map(|stage| stage.number().to_string()).collect();
    format!("[{}]", numbers.join(","))
}

fn attempt_details(reason: EndReason) -> Vec<u8> {
    ComputationStageAttemptDetails { reason_ended: reason as i32 }.encode_to_vec()
}

fn dependency(number: i32) -> Result<BlobDependency, StoreError> {
    match number {
        1 => Ok(BlobDependency::Input),
        2 => Ok(BlobDependency::Output),
        3 => Ok(BlobDependency::PassThrough),
        _ => Err(StoreError::Corrupt { what: "blob dependency", source: None }),
    }
}

const fn dependency_number(dependency: BlobDependency) -> i32 {
    match dependency {
        BlobDependency::Input => 1,
        BlobDependency::Output => 2,
        BlobDependency::PassThrough => 3,
    }
}
