//! What the queries ask, and what their answers mean.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::client::{Query, Read};
use super::rows::SpannerRows;
use super::tables::row;
use super::value::{Cell, Cells};
use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::columns::{dependency, ended_for, stage};
use crate::store::rows::{Candidate, Key, OpenAttempt, ReadRows, RequisitionRow};
use crate::store::tables::{Row, Table};
use crate::store::unknown::Unknown;
use crate::store::{Claim, Computation, Ended, Expired, Listing, Queue, StageBlob, Stat, StoreError, rules};

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

/// The computations that can be claimed, now or later: the index has no others, and the rest of the table is not looked
/// at. The emulator wants to be told that the query asks for no others, which it does not see.
macro_rules! queued {
    () => {
        "Computations@{FORCE_INDEX=ComputationsByLockExpirationTime,
                       spanner_emulator.disable_query_null_filtered_index_check=true}"
    };
}

/// The computations in some stages, of several protocols ([`with_stages`]). Alone, the pairs would be looked for in all
/// of the index.
macro_rules! in_stages {
    () => {
        "FROM Computations@{FORCE_INDEX=ComputationsByStage}
         WHERE Protocol IN UNNEST(@protocols) AND ComputationStage IN UNNEST(@stages)
           AND FORMAT('%d/%d', Protocol, ComputationStage) IN UNNEST(@pairs)"
    };
}

const CANDIDATES: &str = concat!(
    "
    SELECT ComputationId, UpdateTime
    FROM ",
    queued!(),
    "
    WHERE Protocol = @protocol AND LockExpirationTime IS NOT NULL AND LockExpirationTime <= @now
      AND UpdateTime IS NOT NULL AND ComputationStage IN UNNEST(@claimable)
    ORDER BY IF(ComputationStage IN UNNEST(@prioritized), 0, 1), CreationTime, LockExpirationTime, UpdateTime,
             ComputationId
    LIMIT @limit"
);

#[async_trait]
impl<R: Read> ReadRows for SpannerRows<R> {
    async fn computation(&mut self, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
        let query = by_key(&format!("{COMPUTATION} WHERE c."), key, "");
        let rows = self.query(query).await?;
        rows.into_iter().next().map(computation).transpose()
    }

    async fn exists(&mut self, key: Key<'_>) -> Result<bool, StoreError> {
        let query = by_key("SELECT 1 FROM Computations WHERE ", key, " LIMIT 1");
        Ok(!self.query(query).await?.is_empty())
    }

    async fn find_requisitions(
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

    async fn open_attempts(&mut self, local_id: i64) -> Result<Vec<OpenAttempt>, StoreError> {
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

    async fn candidates(
        &mut self,
        claim: &Claim,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        let of_protocol = |stage: &ProtocolStage| stage.protocol() == claim.protocol;
        let query = Query::new(CANDIDATES)
            .with("protocol", claim.protocol.number())
            .with("now", now)
            .with("claimable", numbers(rules::claimable(claim.protocol)))
            .with("prioritized", numbers(claim.prioritized.iter().copied().filter(of_protocol)))
            .with("limit", i64::from(limit));
        let candidate = |mut cells: Cells| -> Result<Candidate, StoreError> {
            let local_id = cells.take("computation id")?;
            Ok(Candidate { local_id, version: cells.take::<Timestamp>("update time")?.millis() })
        };
        self.query(query).await?.into_iter().map(candidate).collect()
    }

    async fn blob_paths(&mut self, local_id: i64) -> Result<Vec<String>, StoreError> {
        let query = Query::new(
            "SELECT PathToBlob FROM ComputationBlobReferences WHERE ComputationId = @id AND PathToBlob IS NOT NULL
             UNION DISTINCT
             SELECT PathToBlob FROM Requisitions WHERE ComputationId = @id AND PathToBlob IS NOT NULL",
        );
        column(self.query(query.with("id", local_id)).await?, "path")
    }

    async fn expired(&mut self, expired: &Expired) -> Result<Vec<Ended>, StoreError> {
        let query = Query::new(concat!(
            "SELECT ComputationId, GlobalComputationId, ComputationDetails ",
            in_stages!(),
            " AND UpdateTime <= @updated AND ComputationId > @after
                 ORDER BY ComputationId LIMIT @limit"
        ))
        .with("after", expired.after)
        .with("updated", expired.updated_before)
        .with("limit", i64::from(expired.limit));
        let query = with_stages(query, &expired.stages);
        let ended = |mut cells: Cells| -> Result<Ended, StoreError> {
            Ok(Ended {
                local_id: cells.take("computation id")?,
                global_id: cells.take("global id")?,
                reason: ended_for(&Zeroizing::new(cells.take::<Vec<u8>>("computation details")?)),
            })
        };
        self.query(query).await?.into_iter().map(ended).collect()
    }

    async fn is_empty(&mut self) -> Result<bool, StoreError> {
        Ok(self.query(Query::new("SELECT 1 FROM Computations LIMIT 1")).await?.is_empty())
    }

    async fn queue(&mut self, protocol: Protocol) -> Result<Queue, StoreError> {
        let query = Query::new(concat!(
            "SELECT COUNT(*), MIN(UpdateTime) FROM ",
            queued!(),
            " WHERE Protocol = @protocol AND LockExpirationTime IS NOT NULL AND UpdateTime IS NOT NULL
                AND ComputationStage IN UNNEST(@claimable)"
        ))
        .with("protocol", protocol.number())
        .with("claimable", numbers(rules::claimable(protocol)));
        let missing = StoreError::Corrupt { what: "queue", source: None };
        let mut cells = self.query(query).await?.pop().ok_or(missing)?;
        let depth: i64 = cells.take("queue depth")?;
        let oldest = cells.take("update time")?;
        Ok(Queue { depth: u32::try_from(depth).unwrap_or(u32::MAX), oldest })
    }

    async fn ids_in_stages(&mut self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        let query = Query::new(concat!(
            "SELECT GlobalComputationId ",
            in_stages!(),
            " ORDER BY CreationTime, ComputationId"
        ));
        column(self.query(with_stages(query, stages)).await?, "global id")
    }

    async fn page(&mut self, listing: &Listing) -> Result<Vec<i64>, StoreError> {
        let query = Query::new(&format!(
            "SELECT ComputationId {}
               AND (CreationTime IS NULL OR CreationTime <= @created)
               AND UpdateTime BETWEEN @since AND @before
             ORDER BY {} LIMIT @limit OFFSET @offset",
            in_stages!(),
            listing.order.columns()
        ))
        // Upstream's oldest computations have no time of creation.
        .with("created", listing.created_before)
        .with("since", listing.updated_since)
        .with("before", listing.updated_before)
        .with("limit", i64::from(listing.limit))
        .with("offset", i64::from(listing.offset));
        let query = with_stages(query, &listing.stages);
        column(self.query(query).await?, "computation id")
    }

    async fn rows_of(&mut self, table: &'static Table, local_ids: &[i64]) -> Result<Vec<Row>, StoreError> {
        let query = Query::new(&format!(
            "SELECT {} FROM {} WHERE ComputationId IN UNNEST(@ids) ORDER BY {}",
            table.column_list(),
            table.name,
            table.key_list(),
        ));
        let rows = self.query(query.with("ids", local_ids.to_vec())).await?;
        rows.into_iter().map(|cells| row(table, cells)).collect()
    }

    async fn attempt_exists(&mut self, stat: &Stat) -> Result<bool, StoreError> {
        let query = Query::new(
            "SELECT 1 FROM ComputationStageAttempts
             WHERE ComputationId = @id AND ComputationStage = @stage AND Attempt = @attempt",
        )
        .with("id", stat.local_id)
        .with("stage", stat.stage.number())
        .with("attempt", stat.attempt);
        Ok(!self.query(query).await?.is_empty())
    }

    async fn continuation_token(&mut self) -> Result<Option<String>, StoreError> {
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
    let mut unknown = Unknown::default();
    Ok(Computation {
        local_id,
        global_id,
        stage: stage(protocol, number)?,
        attempt: next_attempt - 1,
        version,
        details: unknown.details(&details)?,
        stage_details: unknown.stage_details(&stage_details)?,
        lock_owner: cells.take("lock owner")?,
        lock_expiration: cells.take("lock expiration")?,
        blobs: nested(&mut cells, "blobs", blob)?,
        requisitions: nested(&mut cells, "requisitions", |cells| requisition(cells, &mut unknown))?,
        unknown,
    })
}

fn nested<T>(
    cells: &mut Cells,
    what: &'static str,
    one: impl FnMut(Cells) -> Result<T, StoreError>,
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

fn requisition(mut cells: Cells, unknown: &mut Unknown) -> Result<RequisitionMetadata, StoreError> {
    let key = requisition_key(&mut cells)?;
    let path: Option<String> = cells.take("path")?;
    let details: Vec<u8> = cells.take("requisition details")?;
    Ok(RequisitionMetadata {
        path: path.unwrap_or_default(),
        details: Some(unknown.requisition(&key, &details)?),
        external_key: Some(key),
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

/// Stages of several protocols, for `in_stages!`.
fn with_stages(query: Query, stages: &[ProtocolStage]) -> Query {
    let protocol = |stage: &ProtocolStage| i64::from(Protocol::number(stage.protocol()));
    let pair = |stage: &ProtocolStage| format!("{}/{}", protocol(stage), stage.number());
    query
        .with("protocols", stages.iter().map(protocol).collect::<Vec<_>>())
        .with("stages", numbers(stages.iter().copied()))
        .with("pairs", stages.iter().map(pair).collect::<Vec<_>>())
}
