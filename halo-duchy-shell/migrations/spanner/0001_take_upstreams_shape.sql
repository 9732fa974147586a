-- The tables and indexes that an upstream duchy has, so that its database is taken over where it lies: whatever exists
-- stays. Details are messages in bytes. The JSON columns, upstream's copy of them for debugging, are not null there, so
-- they stay, and hold nothing: the details hold key material.

CREATE TABLE IF NOT EXISTS Computations (
  ComputationId           INT64 NOT NULL,
  Protocol                INT64 NOT NULL,
  ComputationStage        INT64 NOT NULL,
  -- Also the version of the computation: whole milliseconds, strictly increasing.
  UpdateTime              TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  GlobalComputationId     STRING(MAX) NOT NULL,
  LockOwner               STRING(MAX),
  -- Null: nobody can claim it. With an owner: the end of the lease. Without: when it can be claimed.
  LockExpirationTime      TIMESTAMP,
  ComputationDetails      BYTES(MAX) NOT NULL,
  ComputationDetailsJSON  STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId);

-- Upstream added this column later, so the computations before that have no time: they are the oldest.
ALTER TABLE Computations ADD COLUMN IF NOT EXISTS
  CreationTime TIMESTAMP OPTIONS (allow_commit_timestamp = true);

CREATE NULL_FILTERED INDEX IF NOT EXISTS ComputationsByLockExpirationTime
  ON Computations (Protocol, LockExpirationTime, UpdateTime)
  STORING (ComputationStage, GlobalComputationId);

CREATE INDEX IF NOT EXISTS ComputationsByLockOwner ON Computations (LockOwner);

CREATE UNIQUE INDEX IF NOT EXISTS ComputationsByGlobalId ON Computations (GlobalComputationId);

CREATE TABLE IF NOT EXISTS Requisitions (
  ComputationId           INT64 NOT NULL,
  RequisitionId           INT64 NOT NULL,
  ExternalRequisitionId   STRING(MAX) NOT NULL,
  RequisitionFingerprint  BYTES(32) NOT NULL,
  PathToBlob              STRING(MAX),
  RequisitionDetails      BYTES(MAX) NOT NULL,
  RequisitionDetailsJSON  STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId, RequisitionId),
  INTERLEAVE IN PARENT Computations ON DELETE CASCADE;

CREATE UNIQUE INDEX IF NOT EXISTS RequisitionsByExternalId
  ON Requisitions (ExternalRequisitionId, RequisitionFingerprint);

CREATE TABLE IF NOT EXISTS ComputationStages (
  ComputationId     INT64 NOT NULL,
  ComputationStage  INT64 NOT NULL,
  CreationTime      TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  NextAttempt       INT64 NOT NULL,
  EndTime           TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  PreviousStage     INT64,
  FollowingStage    INT64,
  Details           BYTES(MAX) NOT NULL,
  DetailsJSON       STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage),
  INTERLEAVE IN PARENT Computations ON DELETE CASCADE;

CREATE TABLE IF NOT EXISTS ComputationBlobReferences (
  ComputationId     INT64 NOT NULL,
  ComputationStage  INT64 NOT NULL,
  BlobId            INT64 NOT NULL,
  PathToBlob        STRING(MAX),
  -- 1 input, 2 output, 3 pass-through.
  DependencyType    INT64 NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage, BlobId),
  INTERLEAVE IN PARENT ComputationStages ON DELETE CASCADE;

CREATE TABLE IF NOT EXISTS ComputationStageAttempts (
  ComputationId     INT64 NOT NULL,
  ComputationStage  INT64 NOT NULL,
  Attempt           INT64 NOT NULL,
  BeginTime         TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  EndTime           TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  Details           BYTES(MAX) NOT NULL,
  DetailsJSON       STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage, Attempt),
  INTERLEAVE IN PARENT ComputationStages ON DELETE CASCADE;

CREATE TABLE IF NOT EXISTS ComputationStats (
  ComputationId     INT64 NOT NULL,
  ComputationStage  INT64 NOT NULL,
  Attempt           INT64 NOT NULL,
  MetricName        STRING(MAX) NOT NULL,
  CreateTime        TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  MetricValue       INT64 NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage, Attempt, MetricName),
  INTERLEAVE IN PARENT ComputationStageAttempts ON DELETE CASCADE;

CREATE TABLE IF NOT EXISTS HeraldContinuationTokens (
  Presence           BOOL NOT NULL,
  ContinuationToken  STRING(MAX) NOT NULL,
  UpdateTime         TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT presence_set CHECK (Presence),
) PRIMARY KEY (Presence);
