-- The tables and indexes that an upstream duchy has, so that its database is taken over where it lies: what exists by
-- its name stays, once it is seen to be what it should. Upstream's Liquibase keeps its books in tables of its own
-- (databasechangelog, databasechangeloglock), which nothing here reads or writes.
--
-- Times are in UTC. Details are messages in bytes. The JSON columns, upstream's copy of them for debugging, are not null
-- there, so they stay, and hold nothing: the details hold key material.

-- A table that is there by one of these names may be somebody else's, or of an upstream that this program does not know.
-- It is refused if a column is missing or of another type, or if there is another one that wants a value. Other columns
-- that came and went upstream (RandomSeed, PublicApiVersion) are in nobody's way.
DO $$
DECLARE
  found text;
BEGIN
  WITH Shape (TableName, ColumnName, TypeName) AS (VALUES
    ('computations', 'computationid', 'bigint'),
    ('computations', 'protocol', 'integer'),
    ('computations', 'computationstage', 'integer'),
    ('computations', 'updatetime', 'timestamp without time zone'),
    ('computations', 'globalcomputationid', 'text'),
    ('computations', 'lockowner', 'text'),
    ('computations', 'lockexpirationtime', 'timestamp without time zone'),
    ('computations', 'computationdetails', 'bytea'),
    ('computations', 'computationdetailsjson', 'jsonb'),
    ('computations', 'creationtime', 'timestamp without time zone'),
    ('requisitions', 'computationid', 'bigint'),
    ('requisitions', 'requisitionid', 'bigint'),
    ('requisitions', 'externalrequisitionid', 'text'),
    ('requisitions', 'requisitionfingerprint', 'bytea'),
    ('requisitions', 'pathtoblob', 'text'),
    ('requisitions', 'requisitiondetails', 'bytea'),
    ('requisitions', 'requisitiondetailsjson', 'jsonb'),
    ('requisitions', 'creationtime', 'timestamp without time zone'),
    ('requisitions', 'updatetime', 'timestamp without time zone'),
    ('computationstages', 'computationid', 'bigint'),
    ('computationstages', 'computationstage', 'integer'),
    ('computationstages', 'creationtime', 'timestamp without time zone'),
    ('computationstages', 'nextattempt', 'bigint'),
    ('computationstages', 'endtime', 'timestamp without time zone'),
    ('computationstages', 'previousstage', 'integer'),
    ('computationstages', 'followingstage', 'integer'),
    ('computationstages', 'details', 'bytea'),
    ('computationstages', 'detailsjson', 'jsonb'),
    ('computationblobreferences', 'computationid', 'bigint'),
    ('computationblobreferences', 'computationstage', 'integer'),
    ('computationblobreferences', 'blobid', 'bigint'),
    ('computationblobreferences', 'pathtoblob', 'text'),
    ('computationblobreferences', 'dependencytype', 'integer'),
    ('computationstageattempts', 'computationid', 'bigint'),
    ('computationstageattempts', 'computationstage', 'integer'),
    ('computationstageattempts', 'attempt', 'integer'),
    ('computationstageattempts', 'begintime', 'timestamp without time zone'),
    ('computationstageattempts', 'endtime', 'timestamp without time zone'),
    ('computationstageattempts', 'details', 'bytea'),
    ('computationstageattempts', 'detailsjson', 'jsonb'),
    ('computationstats', 'computationid', 'bigint'),
    ('computationstats', 'computationstage', 'integer'),
    ('computationstats', 'attempt', 'integer'),
    ('computationstats', 'metricname', 'text'),
    ('computationstats', 'creationtime', 'timestamp without time zone'),
    ('computationstats', 'metricvalue', 'bigint'),
    ('heraldcontinuationtokens', 'presence', 'boolean'),
    ('heraldcontinuationtokens', 'continuationtoken', 'text'),
    ('heraldcontinuationtokens', 'updatetime', 'timestamp without time zone')
  ), Expected AS (
    SELECT * FROM Shape WHERE to_regclass(TableName) IS NOT NULL
  ), Present AS (
    SELECT Named.TableName, Columns.attname AS ColumnName, format_type(Columns.atttypid, NULL) AS TypeName,
           Columns.attnotnull AND NOT Columns.atthasdef AS IsNeeded
    FROM (SELECT DISTINCT TableName FROM Expected) AS Named
    JOIN pg_attribute AS Columns ON Columns.attrelid = to_regclass(Named.TableName)
    WHERE Columns.attnum > 0 AND NOT Columns.attisdropped
  )
  SELECT string_agg(format('%s.%s', TableName, ColumnName), ', ' ORDER BY TableName, ColumnName) INTO found
  FROM Expected FULL JOIN Present USING (TableName, ColumnName)
  WHERE Expected.TypeName IS DISTINCT FROM Present.TypeName
    AND (Expected.TypeName IS NOT NULL OR Present.IsNeeded);
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'these columns are not as in a database of a duchy: %', found;
  END IF;
END
$$;

CREATE TABLE IF NOT EXISTS Computations (
  ComputationId           bigint NOT NULL PRIMARY KEY,
  Protocol                integer NOT NULL,
  ComputationStage        integer NOT NULL,
  -- Also the version of the computation: whole milliseconds, strictly increasing.
  UpdateTime              timestamp NOT NULL,
  GlobalComputationId     text NOT NULL,
  LockOwner               text,
  -- Null: nobody can claim it. With an owner: the end of the lease. Without: when it can be claimed.
  LockExpirationTime      timestamp,
  ComputationDetails      bytea NOT NULL,
  ComputationDetailsJSON  jsonb NOT NULL,
  CreationTime            timestamp NOT NULL
);

CREATE INDEX IF NOT EXISTS ComputationsByLockExpirationTime
  ON Computations (Protocol, LockExpirationTime, UpdateTime)
  INCLUDE (ComputationStage, GlobalComputationId)
  WHERE LockExpirationTime IS NOT NULL;

CREATE INDEX IF NOT EXISTS ComputationsByLockOwner ON Computations (LockOwner);

CREATE UNIQUE INDEX IF NOT EXISTS ComputationsByGlobalId ON Computations (GlobalComputationId);

CREATE TABLE IF NOT EXISTS Requisitions (
  ComputationId           bigint NOT NULL REFERENCES Computations ON DELETE CASCADE,
  RequisitionId           bigint NOT NULL,
  ExternalRequisitionId   text NOT NULL,
  RequisitionFingerprint  bytea NOT NULL,
  PathToBlob              text,
  RequisitionDetails      bytea NOT NULL,
  RequisitionDetailsJSON  jsonb NOT NULL,
  CreationTime            timestamp NOT NULL,
  UpdateTime              timestamp NOT NULL,
  PRIMARY KEY (ComputationId, RequisitionId)
);

CREATE UNIQUE INDEX IF NOT EXISTS RequisitionsByExternalId
  ON Requisitions (ExternalRequisitionId, RequisitionFingerprint);

CREATE TABLE IF NOT EXISTS ComputationStages (
  ComputationId     bigint NOT NULL REFERENCES Computations ON DELETE CASCADE,
  ComputationStage  integer NOT NULL,
  CreationTime      timestamp NOT NULL,
  NextAttempt       bigint NOT NULL,
  EndTime           timestamp,
  PreviousStage     integer,
  FollowingStage    integer,
  Details           bytea NOT NULL,
  DetailsJSON       jsonb NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage)
);

CREATE TABLE IF NOT EXISTS ComputationBlobReferences (
  ComputationId     bigint NOT NULL,
  ComputationStage  integer NOT NULL,
  BlobId            bigint NOT NULL,
  PathToBlob        text,
  -- 1 input, 2 output, 3 pass-through.
  DependencyType    integer NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, BlobId),
  FOREIGN KEY (ComputationId, ComputationStage) REFERENCES ComputationStages ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS ComputationStageAttempts (
  ComputationId     bigint NOT NULL,
  ComputationStage  integer NOT NULL,
  Attempt           integer NOT NULL,
  BeginTime         timestamp NOT NULL,
  EndTime           timestamp,
  Details           bytea,
  DetailsJSON       jsonb,
  PRIMARY KEY (ComputationId, ComputationStage, Attempt),
  FOREIGN KEY (ComputationId, ComputationStage) REFERENCES ComputationStages ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS ComputationStats (
  ComputationId     bigint NOT NULL,
  ComputationStage  integer NOT NULL,
  Attempt           integer NOT NULL,
  MetricName        text NOT NULL,
  CreationTime      timestamp NOT NULL,
  MetricValue       bigint NOT NULL,
  PRIMARY KEY (ComputationId, ComputationStage, Attempt, MetricName),
  FOREIGN KEY (ComputationId, ComputationStage, Attempt) REFERENCES ComputationStageAttempts ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS HeraldContinuationTokens (
  Presence           boolean NOT NULL PRIMARY KEY,
  ContinuationToken  text NOT NULL,
  UpdateTime         timestamp NOT NULL,
  CONSTRAINT presence_set CHECK (Presence)
);
