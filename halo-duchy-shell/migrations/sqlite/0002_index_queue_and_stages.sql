-- The queue in the order in which it is claimed, oldest first, as on PostgreSQL: a claim reads its first entries, and no
-- more. It takes the place of the index by the end of the lease, of which a claim read all that there is to claim.

DROP INDEX ComputationsByLockExpirationTime;

CREATE INDEX ComputationsByCreationTime
  ON Computations (Protocol, CreationTime, LockExpirationTime, UpdateTime, ComputationId, ComputationStage)
  WHERE LockExpirationTime IS NOT NULL;

-- For lists of the computations in some stages, and of those that ended long ago.

CREATE INDEX ComputationsByStage
  ON Computations (Protocol, ComputationStage, UpdateTime, ComputationId);
