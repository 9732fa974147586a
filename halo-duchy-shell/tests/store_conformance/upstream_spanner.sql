-- A database as an upstream duchy leaves it, before and after its own last change to it: `-- then` separates the two.

CREATE TABLE Computations (
  ComputationId INT64 NOT NULL,
  Protocol INT64 NOT NULL,
  ComputationStage INT64 NOT NULL,
  UpdateTime TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  GlobalComputationId STRING(MAX) NOT NULL,
  LockOwner STRING(MAX),
  LockExpirationTime TIMESTAMP,
  ComputationDetails BYTES(MAX) NOT NULL,
  ComputationDetailsJSON STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId);
CREATE NULL_FILTERED INDEX ComputationsByLockExpirationTime
  ON Computations (Protocol, LockExpirationTime ASC, UpdateTime ASC)
  STORING (ComputationStage, GlobalComputationId);
CREATE INDEX ComputationsByLockOwner ON Computations (LockOwner);
CREATE UNIQUE INDEX ComputationsByGlobalId ON Computations (GlobalComputationId);
CREATE TABLE Requisitions (
  ComputationId INT64 NOT NULL,
  RequisitionId INT64 NOT NULL,
  ExternalRequisitionId STRING(MAX) NOT NULL,
  RequisitionFingerprint BYTES(32) NOT NULL,
  PathToBlob STRING(MAX),
  RequisitionDetails BYTES(MAX) NOT NULL,
  RequisitionDetailsJSON STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId, RequisitionId),
  INTERLEAVE IN PARENT Computations ON DELETE CASCADE;
CREATE UNIQUE INDEX RequisitionsByExternalId ON Requisitions (ExternalRequisitionId, RequisitionFingerprint);
CREATE TABLE ComputationStages (
  ComputationId INT64 NOT NULL,
  ComputationStage INT64 NOT NULL,
  CreationTime TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  NextAttempt INT64 NOT NULL,
  EndTime TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  PreviousStage INT64,
  FollowingStage INT64,
  Details BYTES(MAX) NOT NULL,
  DetailsJSON STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage),
  INTERLEAVE IN PARENT Computations ON DELETE CASCADE;
CREATE TABLE ComputationBlobReferences (
  ComputationId INT64 NOT NULL,
  ComputationStage INT64 NOT NULL,
  BlobId INT64 NOT NULL,
  PathToBlob STRING(MAX),
  DependencyType INT64 NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage, BlobId),
  INTERLEAVE IN PARENT ComputationStages ON DELETE CASCADE;
CREATE TABLE ComputationStageAttempts (
  ComputationId INT64 NOT NULL,
  ComputationStage INT64 NOT NULL,
  Attempt INT64 NOT NULL,
  BeginTime TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  EndTime TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  Details BYTES(MAX) NOT NULL,
  DetailsJSON STRING(MAX) NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage, Attempt),
  INTERLEAVE IN PARENT ComputationStages ON DELETE CASCADE;
CREATE TABLE ComputationStats (
  ComputationId INT64 NOT NULL,
  ComputationStage INT64 NOT NULL,
  Attempt INT64 NOT NULL,
  MetricName STRING(MAX) NOT NULL,
  CreateTime TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  MetricValue INT64 NOT NULL,
) PRIMARY KEY (ComputationId, ComputationStage, Attempt, MetricName),
  INTERLEAVE IN PARENT ComputationStageAttempts ON DELETE CASCADE;
CREATE TABLE HeraldContinuationTokens (
  Presence BOOL NOT NULL,
  ContinuationToken STRING(MAX) NOT NULL,
  UpdateTime TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true),
  CONSTRAINT presence_set CHECK(Presence),
) PRIMARY KEY (Presence);
-- then
ALTER TABLE Computations ADD COLUMN CreationTime TIMESTAMP OPTIONS (allow_commit_timestamp = true);
