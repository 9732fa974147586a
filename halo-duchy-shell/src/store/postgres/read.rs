//! What the queries ask, and what their answers mean.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::rows::PostgresRows;
use super::tables::{cells, of_computations};
use super::transaction::{Access, Query, query};
use super::value::{Cells, Time};
use crate::clock::Timestamp;
use crate::proto::internal::{ExternalRequisitionKey, RequisitionMetadata};
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::columns::{dependency, ended_for, stage};
use crate::store::rows::{Candidate, Key, OpenAttempt, ReadRows, RequisitionRow};
use crate::store::tables::{self, Table};
use crate::store::unknown::Unknown;
use crate::store::{
    Claim, Computation, Ended, Expired, Listing, Order, Queue, StageBlob, Stat, StoreError, rules,
};

/// Text is ordered by its bytes, whatever the database's language.
macro_rules! by_requisition {
    () => {
        "ORDER BY ExternalRequisitionId COLLATE \"C\", RequisitionFingerprint"
    };
}

/// One query for a whole computation: each is a round trip.
macro_rules! computation {
    ($key:literal) => {
        concat!(
            "SELECT c.ComputationId, c.GlobalComputationId, c.Protocol, c.ComputationStage, s.NextAttempt, c.UpdateTime,
                    c.ComputationDetails, s.Details, c.LockOwner, c.LockExpirationTime,
                    b.Ids, b.Dependencies, b.Paths, r.Ids, r.Fingerprints, r.Paths, r.Details
             FROM Computations AS c
             JOIN ComputationStages AS s ON s.ComputationId = c.ComputationId AND s.ComputationStage = c.ComputationStage
             CROSS JOIN LATERAL (
               SELECT COALESCE(array_agg(BlobId ORDER BY BlobId), '{}') AS Ids,
                      COALESCE(array_agg(DependencyType ORDER BY BlobId), '{}') AS Dependencies,
                      COALESCE(array_agg(PathToBlob ORDER BY BlobId), '{}') AS Paths
               FROM ComputationBlobReferences
               WHERE ComputationId = c.ComputationId AND ComputationStage = c.ComputationStage
             ) AS b
             CROSS JOIN LATERAL (
               SELECT COALESCE(array_agg(ExternalRequisitionId ", by_requisition!(), "), '{}') AS Ids,
                      COALESCE(array_agg(RequisitionFingerprint ", by_requisition!(), "), '{}') AS Fingerprints,
                      COALESCE(array_agg(PathToBlob ", by_requisition!(), "), '{}') AS Paths,
                      COALESCE(array_agg(RequisitionDetails ", by_requisition!(), "), '{}') AS Details
               FROM Requisitions WHERE ComputationId = c.ComputationId
             ) AS r
             WHERE c.",
            $key,
            " = $1"
        )
    };
}

/// The computations that can be claimed, most urgent first, as the index `ComputationsByCreationTime` has them.
macro_rules! candidates {
    ($lock:literal) => {
        concat!(
            "SELECT ComputationId, UpdateTime FROM Computations
             WHERE Protocol = $1 AND LockExpirationTime <= $2 AND ComputationStage = ANY($3)
             ORDER BY CreationTime, LockExpirationTime, UpdateTime, ComputationId
             LIMIT $4",
            $lock
        )
    };
}

/// A page of a listing.
macro_rules! page {
    ($order:literal) => {
        concat!(
            "SELECT ComputationId FROM Computations
             WHERE (Protocol, ComputationStage) IN (SELECT * FROM unnest($1::integer[], $2::integer[]))
               AND CreationTime <= $3 AND UpdateTime BETWEEN $4 AND $5
             ORDER BY ",
            $order,
            " LIMIT $6 OFFSET $7"
        )
    };
}

#[async_trait]
impl ReadRows for PostgresRows {
    async fn computation(&mut self, key: Key<'_>) -> Result<Option<Computation>, StoreError> {
        let read = by_key(key, computation!("ComputationId"), computation!("GlobalComputationId"));
        let mut queries = vec![read];
        // Whoever waits for the lock must not look around before: it would mix the row of now with others of then. A
        // claim has the lock already.
        if self.access == Access::Update {
            let lock = by_key(
                key,
                "SELECT FROM Computations WHERE ComputationId = $1 FOR UPDATE",
                "SELECT FROM Computations WHERE GlobalComputationId = $1 FOR UPDATE",
            );
            queries.insert(0, lock);
        }
        let rows = self.query_all(queries).await?.pop().unwrap_or_default();
        rows.first().map(computation).transpose()
    }

    async fn exists(&mut self, key: Key<'_>) -> Result<bool, StoreError> {
        let query = by_key(
            key,
            "SELECT FROM Computations WHERE ComputationId = $1",
            "SELECT FROM Computations WHERE GlobalComputationId = $1",
        );
        Ok(!self.query(query).await?.is_empty())
    }

    async fn find_requisitions(
        &mut self,
        keys: &[ExternalRequisitionKey],
    ) -> Result<Vec<RequisitionRow>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = keys.iter().map(|key| key.external_requisition_id.clone()).collect();
        let fingerprints: Vec<_> = keys.iter().map(|key| key.requisition_fingerprint.clone()).collect();
        let rows = self.query(query!(
            "SELECT ExternalRequisitionId, RequisitionFingerprint, ComputationId, RequisitionId FROM Requisitions
             WHERE (ExternalRequisitionId, RequisitionFingerprint) IN (SELECT * FROM unnest($1::text[], $2::bytea[]))",
            ids,
            fingerprints,
        ));
        let row = |row: &Row| -> Result<RequisitionRow, StoreError> {
            let mut cells = Cells::new(row);
            let external_requisition_id = cells.take("external requisition id")?;
            let requisition_fingerprint = cells.take("requisition fingerprint")?;
            Ok(RequisitionRow {
                key: ExternalRequisitionKey { external_requisition_id, requisition_fingerprint },
                local_id: cells.take("computation id")?,
                position: cells.take("requisition id")?,
            })
        };
        rows.await?.iter().map(row).collect()
    }

    async fn open_attempts(&mut self, local_id: i64) -> Result<Vec<OpenAttempt>, StoreError> {
        let rows = self.query(query!(
            "SELECT ComputationStage, Attempt FROM ComputationStageAttempts
             WHERE ComputationId = $1 AND EndTime IS NULL",
            local_id,
        ));
        let attempt = |row: &Row| -> Result<OpenAttempt, StoreError> {
            let mut cells = Cells::new(row);
            Ok(OpenAttempt { stage: cells.take("stage")?, attempt: cells.take("attempt")? })
        };
        rows.await?.iter().map(attempt).collect()
    }

    /// Prioritized stages first, so that the index gives each of the two parts in its order.
    async fn candidates(
        &mut self,
        claim: &Claim,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Candidate>, StoreError> {
        const FREE: &str = candidates!(" FOR UPDATE SKIP LOCKED");
        const LOCKED: &str = candidates!(" FOR UPDATE");
        const UNLOCKED: &str = candidates!("");
        let by_urgency = rules::by_urgency(claim);
        // Only if there is nothing that nobody else has locked, wait: what others have may yet be there to claim.
        let passes: &[&'static str] =
            if self.access == Access::Claim { &[FREE, LOCKED] } else { &[UNLOCKED] };
        let mut found = Vec::new();
        for &sql in passes {
            for stages in &by_urgency {
                let left = i64::from(limit) - found.len() as i64;
                if stages.is_empty() || left <= 0 {
                    continue;
                }
                let rows = self
                    .query(query!(sql, claim.protocol.number(), Time(now), numbers(stages), left))
                    .await?;
                for row in &rows {
                    found.push(candidate(row)?);
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    async fn blob_paths(&mut self, local_id: i64) -> Result<Vec<String>, StoreError> {
        let rows = self.query(query!(
            "SELECT PathToBlob FROM ComputationBlobReferences WHERE ComputationId = $1 AND PathToBlob IS NOT NULL
             UNION
             SELECT PathToBlob FROM Requisitions WHERE ComputationId = $1 AND PathToBlob IS NOT NULL",
            local_id,
        ));
        texts(&rows.await?, "path")
    }

    async fn expired(&mut self, expired: &Expired) -> Result<Vec<Ended>, StoreError> {
        let (protocols, stages) = pairs(&expired.stages);
        let rows = self.query(query!(
            "SELECT ComputationId, GlobalComputationId, ComputationDetails FROM Computations
             WHERE ComputationId > $1 AND UpdateTime <= $2
               AND (Protocol, ComputationStage) IN (SELECT * FROM unnest($3::integer[], $4::integer[]))
             ORDER BY ComputationId LIMIT $5",
            expired.after,
            Time(expired.updated_before),
            protocols,
            stages,
            i64::from(expired.limit),
        ));
        let ended = |row: &Row| -> Result<Ended, StoreError> {
            let mut cells = Cells::new(row);
            Ok(Ended {
                local_id: cells.take("computation id")?,
                global_id: cells.take("global id")?,
                reason: ended_for(cells.take("computation details")?),
            })
        };
        rows.await?.iter().map(ended).collect()
    }

    async fn is_empty(&mut self) -> Result<bool, StoreError> {
        Ok(self.query(query!("SELECT FROM Computations LIMIT 1")).await?.is_empty())
    }

    async fn queue(&mut self, protocol: Protocol) -> Result<Queue, StoreError> {
        let stages: Vec<_> = rules::claimable(protocol).collect();
        let rows = self.query(query!(
            "SELECT count(*), min(UpdateTime) FROM Computations
             WHERE Protocol = $1 AND LockExpirationTime IS NOT NULL AND ComputationStage = ANY($2)",
            protocol.number(),
            numbers(&stages),
        ));
        let rows = rows.await?;
        let row = rows.first().ok_or(StoreError::Corrupt { what: "queue", source: None })?;
        let mut cells = Cells::new(row);
        let depth: i64 = cells.take("queue depth")?;
        let oldest = cells.take::<Option<Time>>("update time")?.map(|time| time.0);
        Ok(Queue { depth: u32::try_from(depth).unwrap_or(u32::MAX), oldest })
    }

    async fn ids_in_stages(&mut self, stages: &[ProtocolStage]) -> Result<Vec<String>, StoreError> {
        let (protocols, stages) = pairs(stages);
        let rows = self.query(query!(
            "SELECT GlobalComputationId FROM Computations
             WHERE (Protocol, ComputationStage) IN (SELECT * FROM unnest($1::integer[], $2::integer[]))
             ORDER BY CreationTime, ComputationId",
            protocols,
            stages,
        ));
        texts(&rows.await?, "global id")
    }

    async fn page(&mut self, listing: &Listing) -> Result<Vec<i64>, StoreError> {
        let sql = match listing.order {
            Order::OldestFirst => page!("CreationTime, ComputationId"),
            Order::NewestFirst => page!("CreationTime DESC, ComputationId DESC"),
            Order::LongestUnchangedFirst => page!("UpdateTime, ComputationId"),
            Order::LastChangedFirst => page!("UpdateTime DESC, ComputationId DESC"),
        };
        let (protocols, stages) = pairs(&listing.stages);
        let rows = self.query(query!(
            sql,
            protocols,
            stages,
            Time(listing.created_before),
            Time(listing.updated_since),
            Time(listing.updated_before),
            i64::from(listing.limit),
            i64::from(listing.offset),
        ));
        rows.await?.iter().map(|row| Cells::new(row).take("computation id")).collect()
    }

    async fn rows_of(
        &mut self,
        table: &'static Table,
        local_ids: &[i64],
    ) -> Result<Vec<tables::Row>, StoreError> {
        let rows = self.query(query!(of_computations(table), local_ids.to_vec())).await?;
        rows.iter().map(|row| cells(table, row)).collect()
    }

    async fn attempt_exists(&mut self, stat: &Stat) -> Result<bool, StoreError> {
        let rows = self.query(query!(
            "SELECT FROM ComputationStageAttempts
             WHERE ComputationId = $1 AND ComputationStage = $2 AND Attempt = $3",
            stat.local_id,
            stat.stage.number(),
            stat.attempt,
        ));
        Ok(!rows.await?.is_empty())
    }

    async fn continuation_token(&mut self) -> Result<Option<String>, StoreError> {
        let mut queries =
            vec![query!("SELECT ContinuationToken FROM HeraldContinuationTokens WHERE Presence")];
        // There may be no row to lock yet. Others may still read.
        if self.access == Access::Update {
            queries.insert(0, query!("LOCK TABLE HeraldContinuationTokens IN SHARE ROW EXCLUSIVE MODE"));
        }
        let rows = self.query_all(queries).await?.pop().unwrap_or_default();
        Ok(texts(&rows, "continuation token")?.pop())
    }
}

/// One of two statements, by which key is given.
fn by_key(key: Key<'_>, local: &'static str, global: &'static str) -> Query {
    match key {
        Key::Local(id) => query!(local, id),
        Key::Global(id) => query!(global, id.to_owned()),
    }
}

fn computation(row: &Row) -> Result<Computation, StoreError> {
    let mut cells = Cells::new(row);
    let local_id = cells.take("computation id")?;
    let global_id = cells.take("global id")?;
    let (protocol, number) = (cells.take("protocol")?, cells.take("stage")?);
    let next_attempt: i64 = cells.take("next attempt")?;
    let attempt = i32::try_from(next_attempt - 1);
    let version = cells.take::<Time>("update time")?.0.millis();
    let mut unknown = Unknown::default();
    Ok(Computation {
        local_id,
        global_id,
        stage: stage(protocol, number)?,
        attempt: attempt.map_err(|error| StoreError::corrupt("next attempt")(error.into()))?,
        version,
        details: unknown.details(cells.take("computation details")?)?,
        stage_details: unknown.stage_details(cells.take("stage details")?)?,
        lock_owner: cells.take("lock owner")?,
        lock_expiration: cells.take::<Option<Time>>("lock expiration")?.map(|time| time.0),
        blobs: blobs(&mut cells)?,
        requisitions: requisitions(&mut cells, &mut unknown)?,
        unknown,
    })
}

fn blobs(cells: &mut Cells<'_>) -> Result<Vec<StageBlob>, StoreError> {
    let ids: Vec<i64> = cells.take("blob ids")?;
    let dependencies: Vec<i32> = cells.take("blob dependencies")?;
    let paths: Vec<Option<String>> = cells.take("paths")?;
    let blobs = ids.into_iter().zip(dependencies).zip(paths);
    blobs.map(|((id, number), path)| Ok(StageBlob { id, dependency: dependency(number)?, path })).collect()
}

fn requisitions(
    cells: &mut Cells<'_>,
    unknown: &mut Unknown,
) -> Result<Vec<RequisitionMetadata>, StoreError> {
    let ids: Vec<String> = cells.take("external requisition ids")?;
    let fingerprints: Vec<Vec<u8>> = cells.take("requisition fingerprints")?;
    let paths: Vec<Option<String>> = cells.take("paths")?;
    let details: Vec<&[u8]> = cells.take("requisition details")?;
    let keys = ids.into_iter().zip(fingerprints).map(|(external_requisition_id, requisition_fingerprint)| {
        ExternalRequisitionKey { external_requisition_id, requisition_fingerprint }
    });
    let requisition = |((key, path), details): ((_, Option<String>), &[u8])| {
        Ok(RequisitionMetadata {
            path: path.unwrap_or_default(),
            details: Some(unknown.requisition(&key, details)?),
            external_key: Some(key),
        })
    };
    keys.zip(paths).zip(details).map(requisition).collect()
}

fn candidate(row: &Row) -> Result<Candidate, StoreError> {
    let mut cells = Cells::new(row);
    let local_id = cells.take("computation id")?;
    Ok(Candidate { local_id, version: cells.take::<Time>("update time")?.0.millis() })
}

/// Rows of one text each.
fn texts(rows: &[Row], what: &'static str) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| Cells::new(row).take(what)).collect()
}

fn numbers(stages: &[ProtocolStage]) -> Vec<i32> {
    stages.iter().map(|stage| stage.number()).collect()
}

/// Stages of several protocols.
fn pairs(stages: &[ProtocolStage]) -> (Vec<i32>, Vec<i32>) {
    (stages.iter().map(|stage| Protocol::number(stage.protocol())).collect(), numbers(stages))
}
