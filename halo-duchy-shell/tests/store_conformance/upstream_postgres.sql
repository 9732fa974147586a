-- A database as an upstream duchy and its Liquibase leave it, before and after a change that they took back later:
-- `-- then` separates the two.

CREATE TABLE Computations (
  ComputationId bigint NOT NULL,
  Protocol integer NOT NULL,
  ComputationStage integer NOT NULL,
  UpdateTime timestamp NOT NULL,
  GlobalComputationId text NOT NULL,
  LockOwner text,
  LockExpirationTime timestamp,
  ComputationDetails bytea NOT NULL,
  ComputationDetailsJSON jsonb NOT NULL,
  CreationTime timestamp NOT NULL,
  PRIMARY KEY (ComputationId)
);
CREATE INDEX ComputationsByLockExpirationTime
  ON Computations (Protocol, LockExpirationTime ASC, UpdateTime ASC)
  INCLUDE (ComputationStage, GlobalComputationId)
  WHERE LockExpirationTime IS NOT NULL;
CREATE INDEX ComputationsByLockOwner ON Computations (LockOwner);
CREATE UNIQUE INDEX ComputationsByGlobalId ON Computations (GlobalComputationId);
CREATE TABLE Requisitions (
  ComputationId bigint NOT NULL,
  RequisitionId bigint NOT NULL,
  ExternalRequisitionId text NOT NULL,
  RequisitionFingerprint bytea NOT NULL,
  PathToBlob text,
  RequisitionDetails bytea NOT NULL,
  RequisitionDetailsJSON jsonb NOT NULL,
  CreationTime timestamp NOT NULL,
  UpdateTime timestamp NOT NULL,
  PRIMARY KEY (ComputationId, RequisitionId),
  FOREIGN KEY (ComputationId) REFERENCES Computations (ComputationId) ON DELETE CASCADE
);
CREATE UNIQUE INDEX RequisitionsByExternalId ON Requisitions (ExternalRequisitionId, RequisitionFingerprint);
CREATE TABLE ComputationStages (
  ComputationId bigint NOT NULL,
  ComputationStage integer NOT NULL,
  CreationTime timestamp NOT NULL,
  NextAttempt bigint NOT NULL,
  EndTime timestamp,
  PreviousStage integer,
  FollowingStage integer,
  Details bytea NOT NULL,
  DetailsJSON jsonb NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage),
  FOREIGN KEY (ComputationId) REFERENCES Computations (ComputationId) ON DELETE CASCADE
);
CREATE TABLE ComputationBlobReferences (
  ComputationId bigint NOT NULL,
  ComputationStage integer NOT NULL,
  BlobId bigint NOT NULL,
  PathToBlob text,
  DependencyType integer NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, BlobId),
  FOREIGN KEY (ComputationId, ComputationStage)
    REFERENCES ComputationStages (ComputationId, ComputationStage) ON DELETE CASCADE
);
CREATE TABLE ComputationStageAttempts (
  ComputationId bigint NOT NULL,
  ComputationStage integer NOT NULL,
  Attempt integer NOT NULL,
  BeginTime timestamp NOT NULL,
  EndTime timestamp,
  Details bytea,
  DetailsJSON jsonb,
  PRIMARY KEY (ComputationId, ComputationStage, Attempt),
  FOREIGN KEY (ComputationId, ComputationStage)
    REFERENCES ComputationStages (ComputationId, ComputationStage) ON DELETE CASCADE
);
CREATE TABLE ComputationStats (
  ComputationId bigint NOT NULL,
  ComputationStage integer NOT NULL,
  Attempt integer NOT NULL,
  MetricName text NOT NULL,
  CreationTime timestamp NOT NULL,
  MetricValue bigint NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, Attempt, MetricName),
  FOREIGN KEY (ComputationId, ComputationStage, Attempt)
    REFERENCES ComputationStageAttempts (ComputationId, ComputationStage, Attempt) ON DELETE CASCADE
);
CREATE TABLE HeraldContinuationTokens (
  Presence bool NOT NULL,
  ContinuationToken text NOT NULL,
  UpdateTime timestamp NOT NULL,
  CONSTRAINT presence_set CHECK (Presence),
  PRIMARY KEY (Presence)
);
CREATE TABLE databasechangelog (
  id varchar(255) NOT NULL,
  author varchar(255) NOT NULL,
  filename varchar(255) NOT NULL,
  dateexecuted timestamp NOT NULL,
  orderexecuted integer NOT NULL,
  exectype varchar(10) NOT NULL,
  md5sum varchar(35)
);
CREATE TABLE databasechangeloglock (
  id integer PRIMARY KEY,
  locked boolean NOT NULL,
  lockgranted timestamp,
  lockedby varchar(255)
);
INSERT INTO databasechangelog VALUES
  ('create-duchy-schema', 'upstream', 'create-duchy-schema.sql', '2025-01-02 03:04:05', 1, 'EXECUTED', '9:0123');
INSERT INTO databasechangeloglock VALUES (1, FALSE, NULL, NULL);
-- then
ALTER TABLE Requisitions ADD COLUMN RandomSeed bytea;
INSERT INTO databasechangelog VALUES
  ('2', 'upstream', 'add-requisition-random-seed.sql', '2025-01-02 03:04:06', 2, 'EXECUTED', '9:4567');
