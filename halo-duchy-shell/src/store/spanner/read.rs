//! What the queries ask, and what their answers mean.

use super::client::{Query, Read};
use super::rows::SpannerRows;
use super::value::{Cell, Cells};
use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::columns::{decode, dependency, stage};
use crate::store::rows::{Candidate, Key, OpenAttempt, RequisitionRow};
use crate::store::{Claim, Computation, Expired, StageBlob, Stat, StoreError, rules};
use zeroize::Zeroizing;

/// One query for a whole computation: each is a round trip.
const COMPUTATION: &str = "
    SELECT c.ComputationId, c.GlobalComputationId, c.Protocol, c.ComputationStage, s.NextAttempt, c.UpdateTime,
           c.ComputationDetails, s.Details, c.LockOwner, c.LockExpirationTime,
           ARRAY(SELECT AS STRUCT b.BlobId, b.DependencyType, b.PathToBlob
                 FROM ComputationBlobReferences AS b
                 WHERE b.ComputationId = c.ComputationId AND b.ComputationStage = c.ComputationStage
                 ORDER BY b.BlobId),
           ARRAY(SELECT AS STRUCT r.ExternalRequisitionId, r.RequisitionFingerprint, r.PathToBlob,
                                  r.RequisitionDetails
                 FROM Requisitions AS r
                 WHERE r.ComputationId = c.ComputationId
                 ORDER BY r.ExternalRequisitionId, r.RequisitionFingerprint)
    FROM Computations AS c
    JOIN ComputationStages AS s ON s.ComputationId = c.ComputationId AND s.ComputationStage = c.ComputationStage";

/// The index is of the computations that can be claimed, now or later: the rest of the table is not looked at. The
/// emulator wants to be told that the query asks for no others, which it does not see.
const CANDIDATES: &str = "
    SELECT ComputationId, UpdateTime
    FROM Computations@{FORCE_INDEX=ComputationsByLockExpirationTime,
                       spanner_emulator.disable_query_null_filtered_index_check=true}
    WHERE Protocol = @protocol AND LockExpirationTime IS NOT NULL AND LockExpirationTime <= @now
      AND UpdateTime IS NOT NULL AND ComputationStage IN UNNEST(@claimable)
    ORDER BY IF(ComputationStage IN UNNEST(@prioritized), 0, 1), CreationTime, LockExpirationTime, UpdateTime,
             ComputationId
    LIMIT @limit";

impl<R: Read> SpannerRows<R> {
    pub(super) async fn read_computation(&mut self, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
        let query = by_key(&format!("{COMPUTATION} WHERE c."), key, "");
        let rows = self.query(query).await?;
        rows.into_iter().next().map(computation).transpose()
    }

    pub(super) async fn read_exists(&mut self, key: Key<'_>) -> Result<bool, StoreError> {
        let query = by_key("SELECT 1 FROM Computations WHERE ", key, " LIMIT 1");
        Ok(!self.query(query).await?.is_empty())
    }

    pub(super) async fn read_requisition_rows(
        &mut self,
        keys: &[ExternalRequisitionKey],
    ) -> Result<Vec<RequisitionRow>, StoreError> {
        let ids: Vec<_> = keys.iter().map(|key| key.external_requisition_id.clone()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query::new(
            "SELECT ExternalRequisitionId, RequisitionFingerprint, ComputationId, RequisitionId
             FROM Requisitions@{FORCE_INDEX=RequisitionsByExternalId}
             WHERE ExternalRequisitionId IN UNNEST(@ids)",
        );
        let rows = self.query(query.with("ids", ids)).await?;
        let row = |mut cells: Cells| -> Result<RequisitionRow, StoreError> {
            Ok(RequisitionRow {
                key: requisition_key(&mut cells)?,
                local_id: cells.take("computation id")?,
                position: cells.take("requisition id")?,
            })
        };
        let mut found = rows.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
        found.retain(|row| keys.contains(&row.key));
        Ok(found)
    }

    pub(super) async fn read_open_attempts(&mut self, local_id: i64) -> Result<Vec<OpenAttempt>, StoreError> {
        let query = Query::new(
            "SELECT ComputationStage, Attempt FROM ComputationStageAttempts
             WHERE ComputationId = @id AND EndTime IS NULL",
        );
        let rows = self.query(query.with("id", local_id)).await?;
        let attempt = |mut cells: Cells| -> Result<OpenAttempt, StoreError> {
            Ok(OpenAttempt { stage: cells.take("stage")?, attempt: cells.take("attempt")? })
        };
        rows.into_iter().map(attempt).collect()
    }

    pub(super) async fn read_candidates(
        &mut self,
        claim: &Claim,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        let query = Query::new(CANDIDATES)
            .with("protocol", claim.protocol.number())
            .with("now", now)
            .with("claimable", numbers(rules::claimable(claim.protocol)))
            .with("prioritized", numbers(rules::prioritized(claim)))
            .with("limit", i64::from(limit));
        let candidate = |mut cells: Cells| -> Result<Candidate, StoreError> {
            let local_id = cells.take("computation id")?;
            Ok(Candidate { local_id, version: cells.take::<Timestamp>("update time")?.millis() })
        };
        self.query(query).await?.into_iter().map(candidate).collect()
    }

    pub(super) async fn read_blob_paths(&mut self, local_id: i64) -> Result<Vec<String>, StoreError> {
        let query = Query::new(
            "SELECT PathToBlob FROM ComputationBlobReferences WHERE ComputationId = @id AND PathToBlob IS NOT NULL
             UNION DISTINCT
             SELECT PathToBlob FROM Requisitions WHERE ComputationId = @id AND PathToBlob IS NOT NULL",
        );
        column(self.query(query.with("id", local_id)).await?, "path")
    }

    pub(super) async fn read_expired(&mut self, expired: &Expired) -> Result<Vec<(i64, String)>, StoreError> {
        let query = Query::new(
            "SELECT ComputationId, GlobalComputationId FROM Computations
             WHERE ComputationId > @after AND UpdateTime <= @updated
               AND FORMAT('%d/%d', Protocol, ComputationStage) IN UNNEST(@stages)
             ORDER BY ComputationId LIMIT @limit",
        )
        .with("after", expired.after)
        .with("updated", expired.updated_before)
        .with("stages", pairs(&expired.stages))
        .with("limit", i64::from(expired.limit));
        let ids = |mut cells: Cells| -> Result<(i64, String), StoreError> {
            Ok((cells.take("computation id")?, cells.take("global id")?))
        };
        self.query(query).await?.into_iter().map(ids).collect()
    }

    pub(super) async fn read_ids_in_stages(
        &mut self,
        stages: &[ProtocolStage],
    ) -> Result<Vec<String>, StoreError> {
        let query = Query::new(
            "SELECT GlobalComputationId FROM Computations
             WHERE FORMAT('%d/%d', Protocol, ComputationStage) IN UNNEST(@stages)
             ORDER BY CreationTime, ComputationId",
        );
        column(self.query(query.with("stages", pairs(stages))).await?, "global id")
    }

    pub(super) async fn read_attempt_exists(&mut self, stat: &Stat) -> Result<bool, StoreError> {
        let query = Query::new(
            "SELECT 1 FROM ComputationStageAttempts
             WHERE ComputationId = @id AND ComputationStage = @stage AND Attempt = @attempt",
        )
        .with("id", stat.local_id)
        .with("stage", stat.stage.number())
        .with("attempt", stat.attempt);
        Ok(!self.query(query).await?.is_empty())
    }

    pub(super) async fn read_continuation_token(&mut self) -> Result<Option<String>, StoreError> {
        let query = Query::new("SELECT ContinuationToken FROM HeraldContinuationTokens WHERE Presence");
        Ok(column(self.query(query).await?, "continuation token")?.pop())
    }
}

/// `before` and `after` around the condition that finds a computation.
fn by_key(before: &str, key: Key<'_>, after: &str) -> Query {
    match key {
        Key::Local(id) => Query::new(&format!("{before}ComputationId = @key{after}")).with("key", id),
        Key::Global(id) => Query::new(&format!("{before}GlobalComputationId = @key{after}")).with("key", id),
    }
}

fn computation(mut cells: Cells) -> Result<Computation, StoreError> {
    let local_id = cells.take("computation id")?;
    let global_id = cells.take("global id")?;
    let (protocol, number) = (cells.take("protocol")?, cells.take("stage")?);
    let next_attempt: i32 = cells.take("next attempt")?;
    let version = cells.take::<Timestamp>("update time")?.millis();
    let details = Zeroizing::new(cells.take::<Vec<u8>>("computation details")?);
    let stage_details = cells.take::<Vec<u8>>("stage details")?;
    Ok(Computation {
        local_id,
        global_id,
        stage: stage(protocol, number)?,
        attempt: next_attempt - 1,
        version,
        details: decode("computation details", &details)?,
        stage_details: decode("stage details", &stage_details)?,
        lock_owner: cells.take("lock owner")?,
        lock_expiration: cells.take("lock expiration")?,
        blobs: nested(&mut cells, "blobs", blob)?,
        requisitions: nested(&mut cells, "requisitions", requisition)?,
    })
}

fn nested<T>(
    cells: &mut Cells,
    what: &'static str,
    one: impl Fn(Cells) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    cells.take::<Vec<Cells>>(what)?.into_iter().map(one).collect()
}

fn blob(mut cells: Cells) -> Result<StageBlob, StoreError> {
    Ok(StageBlob {
        id: cells.take("blob id")?,
        dependency: dependency(cells.take("blob dependency")?)?,
        path: cells.take("path")?,
    })
}

fn requisition(mut cells: Cells) -> Result<RequisitionMetadata, StoreError> {
    let external_key = Some(requisition_key(&mut cells)?);
    let path: Option<String> = cells.take("path")?;
    let details: Vec<u8> = cells.take("requisition details")?;
    Ok(RequisitionMetadata {
        external_key,
        path: path.unwrap_or_default(),
        details: Some(decode("requisition details", &details)?),
    })
}

fn requisition_key(cells: &mut Cells) -> Result<ExternalRequisitionKey, StoreError> {
    Ok(ExternalRequisitionKey {
        external_requisition_id: cells.take("external requisition id")?,
        requisition_fingerprint: cells.take("requisition fingerprint")?,
    })
}

/// Rows of one cell.
fn column<T: Cell>(rows: Vec<Cells>, what: &'static str) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(|mut cells| cells.take(what)).collect()
}

fn numbers(stages: impl Iterator<Item = ProtocolStage>) -> Vec<i64> {
    stages.map(|stage| stage.number().into()).collect()
}

/// Stages of several protocols.
fn pairs(stages: &[ProtocolStage]) -> Vec<String> {
    let pair = |stage: &ProtocolStage| format!("{}/{}", Protocol::number(stage.protocol()), stage.number());
    stages.iter().map(pair).collect()
}
