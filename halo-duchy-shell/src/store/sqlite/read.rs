//! Reading a computation from SQLite.

use rusqlite::{Connection, Params, Row};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::ProtocolStage;
use crate::store::columns::{decode, dependency, stage};
use crate::store::rows::Key;
use crate::store::{Computation, StageBlob, StoreError};

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

pub(super) fn computation(connection: &Connection, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
    match key {
        Key::Local(id) => read(connection, &format!("{COMPUTATION} WHERE ComputationId = ?1"), [id]),
        Key::Global(id) => read(connection, &format!("{COMPUTATION} WHERE GlobalComputationId = ?1"), [id]),
    }
}

fn read(connection: &Connection, sql: &str, key: impl Params) -> Result<Option<Computation>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut computation = from_row(row)?;
    computation.blobs = blobs(connection, computation.local_id, computation.stage)?;
    computation.requisitions = requisitions(connection, computation.local_id)?;
    Ok(Some(computation))
}

fn from_row(row: &Row<'_>) -> Result<Computation, StoreError> {
    let details = Zeroizing::new(row.get::<_, Vec<u8>>("ComputationDetails")?);
    let stage_details: Vec<u8> = row.get("Details")?;
    Ok(Computation {
        local_id: row.get("ComputationId")?,
        global_id: row.get("GlobalComputationId")?,
        stage: stage(row.get("Protocol")?, row.get("ComputationStage")?)?,
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
