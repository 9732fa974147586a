-- Tables and columns are upstream's (Spanner and PostgreSQL), so that one description serves all backends. Times are
-- milliseconds since 1970. Upstream's JSON columns, a debugging copy of the details, are left out: the details hold
-- key material.

CREATE TABLE Computations (
  ComputationId        INTEGER PRIMARY KEY,
  Protocol             INTEGER NOT NULL,
  ComputationStage     INTEGER NOT NULL,
  CreationTime         INTEGER NOT NULL,
  -- Also the version of the computation: strictly increasing.
  UpdateTime           INTEGER NOT NULL,
  GlobalComputationId  TEXT NOT NULL,
  LockOwner            TEXT,
  -- Null: nobody can claim it. With an owner: the end of the lease. Without: when it can be claimed.
  LockExpirationTime   INTEGER,
  ComputationDetails   BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX ComputationsByGlobalId ON Computations (GlobalComputationId);

CREATE INDEX ComputationsByLockExpirationTime
  ON Computations (Protocol, LockExpirationTime, UpdateTime, ComputationStage)
  WHERE LockExpirationTime IS NOT NULL;

CREATE TABLE Requisitions (
  ComputationId           INTEGER NOT NULL REFERENCES Computations ON DELETE CASCADE,
  RequisitionId           INTEGER NOT NULL,
  ExternalRequisitionId   TEXT NOT NULL,
  RequisitionFingerprint  BLOB NOT NULL,
  CreationTime            INTEGER NOT NULL,
  UpdateTime              INTEGER NOT NULL,
  PathToBlob              TEXT,
  RequisitionDetails      BLOB NOT NULL,
  PRIMARY KEY (ComputationId, RequisitionId)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX RequisitionsByExternalId
  ON Requisitions (ExternalRequisitionId, RequisitionFingerprint);

CREATE TABLE ComputationStages (
  ComputationId     INTEGER NOT NULL REFERENCES Computations ON DELETE CASCADE,
  ComputationStage  INTEGER NOT NULL,
  CreationTime      INTEGER NOT NULL,
  NextAttempt       INTEGER NOT NULL,
  EndTime           INTEGER,
  PreviousStage     INTEGER,
  FollowingStage    INTEGER,
  Details           BLOB NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage)
) STRICT, WITHOUT ROWID;

CREATE TABLE ComputationBlobReferences (
  ComputationId     INTEGER NOT NULL,
  ComputationStage  INTEGER NOT NULL,
  BlobId            INTEGER NOT NULL,
  PathToBlob        TEXT,
  -- 1 input, 2 output, 3 pass-through.
  DependencyType    INTEGER NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, BlobId),
  FOREIGN KEY (ComputationId, ComputationStage) REFERENCES ComputationStages ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE ComputationStageAttempts (
  ComputationId     INTEGER NOT NULL,
  ComputationStage  INTEGER NOT NULL,
  Attempt           INTEGER NOT NULL,
  BeginTime         INTEGER NOT NULL,
  EndTime           INTEGER,
  Details           BLOB NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, Attempt),
  FOREIGN KEY (ComputationId, ComputationStage) REFERENCES ComputationStages ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE ComputationStats (
  ComputationId     INTEGER NOT NULL,
  ComputationStage  INTEGER NOT NULL,
  Attempt           INTEGER NOT NULL,
  MetricName        TEXT NOT NULL,
  CreateTime        INTEGER NOT NULL,
  MetricValue       INTEGER NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, Attempt, MetricName),
  FOREIGN KEY (ComputationId, ComputationStage, Attempt) REFERENCES ComputationStageAttempts ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE HeraldContinuationTokens (
  Presence           INTEGER PRIMARY KEY CHECK (Presence = 1),
  ContinuationToken  TEXT NOT NULL,
  UpdateTime         INTEGER NOT NULL
) STRICT;
