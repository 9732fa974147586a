-- For lists of the computations in some stages, and of those that ended long ago.

CREATE INDEX IF NOT EXISTS ComputationsByStage
  ON Computations (Protocol, ComputationStage, UpdateTime, ComputationId);
