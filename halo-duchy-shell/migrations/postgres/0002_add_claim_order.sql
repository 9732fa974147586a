-- The queue in the order in which it is claimed, oldest first: a claim reads its first entries, and no more.

CREATE INDEX IF NOT EXISTS ComputationsByCreationTime
  ON Computations (Protocol, CreationTime, LockExpirationTime, UpdateTime, ComputationId)
  INCLUDE (ComputationStage)
  WHERE LockExpirationTime IS NOT NULL;
