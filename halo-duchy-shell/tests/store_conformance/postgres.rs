//! The PostgreSQL backend on a real server, and what only concerns PostgreSQL.

#[path = "../servers/postgres.rs"]
mod server;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use halo_duchy_shell::clock::{Clock, ManualClock};
use halo_duchy_shell::proto::internal::{
    ComputationStageAttemptDetails, ComputationStageDetails, RequisitionDetails,
};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::store::postgres::{OpenError, PostgresAddress, PostgresError};
use halo_duchy_shell::store::{MigrationError, PostgresStore, Store, StoreAddress, StoreError};
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;
use server::{PASSWORD, Server};
use tokio_postgres::Client;

use crate::Harness;
use crate::fixture::{
    LOCK, claim_by, details, key, new_computation, requisition, stage, start_of_time, step,
};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;

static SERVER: LazyLock<Option<Server>> = LazyLock::new(Server::start);

/// Gives up statements and commits at random, as a server does that is asked for more order than there is.
const FAULTS: &str = "
    CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF random() < 0.1 THEN
        RAISE EXCEPTION 'given up' USING ERRCODE = CASE WHEN random() < 0.5 THEN '40001' ELSE '40P01' END;
      END IF;
      RETURN NULL;
    END $$;
    DO $$
    DECLARE
      name text;
    BEGIN
      FOREACH name IN ARRAY ARRAY['Computations', 'Requisitions', 'ComputationStages', 'HeraldContinuationTokens'] LOOP
        EXECUTE format('CREATE TRIGGER give_up AFTER INSERT OR UPDATE OR DELETE ON %s EXECUTE FUNCTION give_up()', name);
        EXECUTE format('CREATE CONSTRAINT TRIGGER give_up_at_the_end AFTER INSERT OR UPDATE ON %s
                        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION give_up()', name);
      END LOOP;
    END $$;";

/// An empty store on the server, if there is one.
pub async fn open() -> Option<Harness> {
    let server = SERVER.as_ref()?;
    Some(opened(&migrated(server).await).await)
}

/// An empty store in a database that gives up transactions at random.
pub async fn open_with_faults() -> Option<Harness> {
    let server = SERVER.as_ref()?;
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    server.client(&database).await.batch_execute(FAULTS).await.expect("the triggers");
    Some(Harness { faulty: true, ..opened(&address).await })
}

/// An empty store on the server, by its address.
pub async fn address() -> Option<StoreAddress> {
    Some(StoreAddress::Postgres(Box::new(migrated(SERVER.as_ref()?).await)))
}

/// The address of a database with the schema of this program.
async fn migrated(server: &Server) -> PostgresAddress {
    let address = server.address(&server.database().await);
    PostgresStore::migrate(&address).await.expect("an empty database is migrated");
    address
}

/// Two handles on a database.
async fn opened(address: &PostgresAddress) -> Harness {
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let (store, other) = (handle(address, &clock).await, handle(address, &clock).await);
    Harness { store, other, clock, faulty: false, folder: tempfile::tempdir().expect("a directory") }
}

async fn handle(address: &PostgresAddress, clock: &Arc<ManualClock>) -> Arc<dyn Store> {
    Arc::new(open_at(address, clock).await.expect("a database"))
}

async fn open_at(address: &PostgresAddress, clock: &Arc<ManualClock>) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(address, Arc::clone(clock) as Arc<dyn Clock>).await
}

/// Why an address is of no use, or a panic.
async fn refused(address: &PostgresAddress) -> PostgresError {
    match PostgresStore::migrate(address).await {
        Err(OpenError::Connect { source, .. }) => source,
        other => panic!("{address} is opened: {other:?}"),
    }
}

/// Columns, indexes and constraints, but for Liquibase's tables and what upstream has taken back.
async fn schema(client: &Client) -> Vec<String> {
    let rows = client.query(
        "SELECT format('%s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull) AS line
         FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
           AND a.attname <> 'randomseed' AND c.relname NOT LIKE 'databasechangelog%'
         UNION
         SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'databasechangelog%'
         UNION
         SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'databasechangelog%'
         ORDER BY line",
        &[],
    );
    rows.await.expect("the schema").iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_version_is_refused() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let older = open_at(&address, &clock).await;
    assert!(matches!(older, Err(OpenError::Migration(MigrationError::Older { found: 0, .. }))), "{older:?}");
    PostgresStore::migrate(&address).await.expect("migrate");
    open_at(&address, &clock).await.expect("the schema of this program");
    PostgresStore::migrate(&address).await.expect("migrating again changes nothing");
    let later = "INSERT INTO SchemaMigrations VALUES (99, 'later')";
    server.client(&database).await.batch_execute(later).await.expect("a row");
    let newer = open_at(&address, &clock).await;
    assert!(matches!(newer, Err(OpenError::Migration(MigrationError::Newer { found: 99, .. }))), "{newer:?}");
    let migrated = PostgresStore::migrate(&address).await;
    assert!(
        matches!(migrated, Err(OpenError::Migration(MigrationError::Newer { found: 99, .. }))),
        "{migrated:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_migrate_at_the_same_time() {
    let Some(server) = &*SERVER else { return };
    let address = server.address(&server.database().await);
    let migrations = (0..4).map(|_| {
        let address = address.clone();
        tokio::spawn(async move { PostgresStore::migrate(&address).await })
    });
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.expect("a task").expect("migrate");
    }
    opened(&address).await.create("c1", NON_AGGREGATOR).await;
}

/// A computation in SETUP_PHASE, taken by a mill that will not come back, as upstream writes it.
async fn write_upstreams_computation(client: &Client) {
    const ID: i64 = 0x0123_4567_89ab_cdef;
    const SETUP: Stage = Stage::SetupPhase;
    let number = |stage| crate::fixture::stage(stage).number();
    let (begun, lost) = ("'2025-11-24 03:01:20.123456'", "'2025-11-24 03:01:19.5'");
    let json = r#"'{"copy": "for debugging"}'"#;
    let details = details(NON_AGGREGATOR).encode_to_vec();
    let insert = async |rows: String, values: &[&(dyn tokio_postgres::types::ToSql + Sync)]| {
        client.execute(&format!("INSERT INTO {rows}"), values).await.expect("a row");
    };
    insert(
        format!("Computations VALUES ($1, $2, $3, {begun}, 'c1', 'lost-mill', {lost}, $4, {json}, {begun})"),
        &[&ID, &Protocol::LiquidLegionsV2.number(), &number(SETUP), &details],
    )
    .await;
    insert(
        format!("ComputationStages VALUES ($1, $2, {begun}, 2, NULL, $3, NULL, $4, {json})"),
        &[
            &ID,
            &number(SETUP),
            &number(Stage::WaitToStart),
            &ComputationStageDetails::default().encode_to_vec(),
        ],
    )
    .await;
    insert(
        format!("ComputationStageAttempts VALUES ($1, $2, 1, {begun}, NULL, $3, {json})"),
        &[&ID, &number(SETUP), &ComputationStageAttemptDetails::default().encode_to_vec()],
    )
    .await;
    insert("ComputationBlobReferences VALUES ($1, $2, 0, NULL, 2)".into(), &[&ID, &number(SETUP)]).await;
    for (position, id) in [(0_i64, "c1/2"), (1, "c1/1")] {
        insert(
            format!("Requisitions VALUES ($1, $2, $3, $4, NULL, $5, {json}, {begun}, {begun})"),
            &[
                &ID,
                &position,
                &id,
                &key(id).requisition_fingerprint,
                &RequisitionDetails::default().encode_to_vec(),
            ],
        )
        .await;
    }
    insert("HeraldContinuationTokens VALUES (TRUE, 'CgIIAQ', now())".into(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_database_is_taken_over_where_it_lies() {
    let Some(server) = &*SERVER else { return };
    let fresh = server.database().await;
    PostgresStore::migrate(&server.address(&fresh)).await.expect("migrate");
    let ours = schema(&server.client(&fresh).await).await;
    let text = include_str!("upstream_postgres.sql");
    for parts in [1, 2] {
        let database = server.database().await;
        let (address, client) = (server.address(&database), server.client(&database).await);
        let sql = text.split("\n-- then\n").take(parts).collect::<Vec<_>>().join("\n");
        client.batch_execute(&sql).await.expect("upstream's schema");
        write_upstreams_computation(&client).await;
        let books = async || {
            let books = "SELECT (SELECT json_agg(l) FROM databasechangelog AS l)::text
                             || (SELECT json_agg(l) FROM databasechangeloglock AS l)::text";
            client.query_one(books, &[]).await.expect("Liquibase's books").get::<_, String>(0)
        };
        let before = books().await;
        PostgresStore::migrate(&address).await.expect("migrate");
        assert_eq!(schema(&client).await, ours);
        assert_eq!(books().await, before);

        let h = opened(&address).await;
        let found = h.store.get("c1").await.expect("get");
        assert_eq!(found.stage, stage(Stage::SetupPhase));
        assert_eq!(found.version, 1_763_953_280_123, "what is below a millisecond does not count");
        assert_eq!(found.attempt, 1);
        let keys = found.requisitions.iter().filter_map(|one| one.external_key.clone());
        assert_eq!(keys.collect::<Vec<_>>(), [key("c1/1"), key("c1/2")]);
        assert!(h.store.continuation_token().await.expect("a token").is_some());
        h.clock.advance(LOCK);
        h.create("c2", NON_AGGREGATOR).await;
        let claimed = h.store.claim(claim_by("mill")).await.expect("claim").expect("work");
        assert_eq!(claimed.local_id, found.local_id, "the oldest");
        assert_eq!((claimed.attempt, claimed.lock_owner.as_deref()), (2, Some("mill")));
        assert!(claimed.version > found.version);
        let recorded = h.store.record_output(&claimed.guard(), 0, "c1/blob").await.expect("record");
        let next = stage(Stage::WaitExecutionPhaseOneInputs);
        h.store.advance(&recorded.guard(), step(&recorded, next)).await.expect("advance");
        assert!(h.store.delete(found.local_id).await.expect("delete"), "with all that belongs to it");
        assert_eq!(books().await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_tables_are_not_taken_over() {
    let Some(server) = &*SERVER else { return };
    let upstreams = include_str!("upstream_postgres.sql");
    let changes = [
        ("CREATE TABLE Requisitions (Id bigint)", "requisitions.computationid"),
        (
            &*format!("{upstreams}; ALTER TABLE ComputationStages DROP COLUMN FollowingStage"),
            "computationstages.followingstage",
        ),
        (
            &*format!("{upstreams}; ALTER TABLE Computations ALTER COLUMN UpdateTime TYPE timestamptz"),
            "computations.updatetime",
        ),
        (
            &*format!("{upstreams}; ALTER TABLE Requisitions ADD COLUMN Later text NOT NULL"),
            "requisitions.later",
        ),
    ];
    for (sql, column) in changes {
        let database = server.database().await;
        let client = server.client(&database).await;
        client.batch_execute(sql).await.expect("tables");
        let before = schema(&client).await;
        let refused = PostgresStore::migrate(&server.address(&database)).await;
        let Err(OpenError::Migration(error @ MigrationError::Step { version: 1, .. })) = refused else {
            panic!("{column}: {refused:?}");
        };
        let reason = error.source().expect("a reason").to_string();
        assert!(reason.contains(column), "{reason}");
        assert_eq!(schema(&client).await, before, "nothing has changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requisitions_are_in_the_order_of_their_bytes() {
    let Some(h) = open().await else { return };
    let mut new = new_computation("c1", NON_AGGREGATOR);
    // In English, `b` comes before `C` and `é` before `z`.
    new.requisitions = ["é", "b", "z", "C"].map(requisition).into();
    let created = h.store.create(new).await.expect("create");
    h.assert_unchanged(&created).await;
    let ids = created.requisitions.iter().filter_map(|one| one.external_key.as_ref());
    assert_eq!(ids.map(|key| &*key.external_requisition_id).collect::<Vec<_>>(), ["C", "b", "z", "é"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_locked_for_a_moment_is_still_found() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    let h = opened(&address).await;
    for id in ["c1", "c2"] {
        h.create(id, NON_AGGREGATOR).await;
        h.clock.advance(Duration::from_secs(1));
    }
    let mut client = server.client(&database).await;
    let other = client.transaction().await.expect("a transaction");
    let lock = "SELECT FROM Computations WHERE GlobalComputationId = 'c1' FOR UPDATE";
    other.batch_execute(lock).await.expect("the row");
    assert_eq!(h.claim("mill").await.expect("work").global_id, "c2", "what nobody has locked comes first");
    let store = Arc::clone(&h.store);
    let waiting = tokio::spawn(async move { store.claim(claim_by("mill")).await });
    // It has to wait for the other transaction, as PostgreSQL says.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1";
    let watcher = server.client("postgres").await;
    while watcher.query_one(waits, &[&database]).await.expect("activity").get::<_, i64>(0) == 0 {
        assert!(!waiting.is_finished(), "it did not wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    other.commit().await.expect("commit");
    assert_eq!(waiting.await.expect("a task").expect("claim").expect("work").global_id, "c1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_reads_what_it_takes_and_not_the_queue() {
    const CLAIMS: i64 = 5;
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    let h = opened(&address).await;
    h.create("c0", NON_AGGREGATOR).await;
    let client = server.client(&database).await;
    let queue = "INSERT INTO Computations
                   SELECT n, Protocol, ComputationStage, UpdateTime, 'c' || n, NULL, LockExpirationTime,
                          ComputationDetails, '{}', CreationTime + n * interval '1 second'
                   FROM Computations, generate_series(1, 2000) AS n;
                 INSERT INTO ComputationStages
                   SELECT n, ComputationStage, CreationTime, NextAttempt, NULL, NULL, NULL, Details, '{}'
                   FROM ComputationStages, generate_series(1, 2000) AS n;
                 ANALYZE";
    client.batch_execute(queue).await.expect("a queue");
    for n in 0..CLAIMS {
        assert_eq!(h.claim("mill").await.expect("work").global_id, format!("c{n}"));
    }
    // A session tells what it has read when it ends.
    drop(h);
    let uses = "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes
                WHERE indexrelname = 'computationsbycreationtime'";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let row = client.query_one(uses, &[]).await.expect("statistics");
        if row.get::<_, i64>(0) >= CLAIMS {
            // Rows of the claims before may still be there as they were.
            let read: i64 = row.get(1);
            assert!(read <= CLAIMS * CLAIMS, "{read} rows read");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the index is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_no_locks() {
    let Some(server) = &*SERVER else { return };
    // One connection: whatever is left of a caller would be in the way of all others.
    let address = migrated(server).await;
    let address: PostgresAddress = format!("{address}&connections=1").parse().expect("an address");
    let h = opened(&address).await;
    for n in 0..30 {
        let store = Arc::clone(&h.store);
        let new = new_computation(&format!("c{n}"), RoleInComputation::Aggregator);
        let caller = tokio::spawn(async move {
            let created = store.create(new).await;
            store.get(&created.expect("create").global_id).await
        });
        tokio::time::sleep(Duration::from_micros(300 * n)).await;
        caller.abort();
    }
    let created =
        tokio::time::timeout(Duration::from_secs(10), h.create("last", RoleInComputation::Aggregator));
    assert_eq!(created.await.expect("nobody is in the way").global_id, "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_go_on_after_the_server_has_crashed() {
    let Some(mut server) = Server::start() else { return };
    let address = migrated(&server).await;
    let h = opened(&address).await;
    let created = h.create("c1", NON_AGGREGATOR).await;
    for store in [&h.store, &h.other] {
        let reads = (0..8).map(|_| store.get("c1"));
        futures::future::try_join_all(reads).await.expect("eight connections");
    }
    server.restart();
    h.assert_unchanged(&created).await;
    let claimed = h.claim("mill").await.expect("work");

    // Again, in the middle of work: an operation may fail, and then work goes on.
    let restart = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let (mut kept, mut kept_since) = (0, 0);
    let work = async {
        while kept_since < 50 {
            match h.store.create(new_computation(&format!("n{kept}"), NON_AGGREGATOR)).await {
                Ok(_) | Err(StoreError::AlreadyExists(_)) => {
                    kept += 1;
                    kept_since += u32::from(restart.is_finished());
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("work goes on");
    let server = restart.await.expect("a restart");
    for n in 0..kept {
        h.store.get(&format!("n{n}")).await.expect("what was created is there");
    }
    let next = stage(Stage::WaitRequisitionsAndKeySet);
    let advanced = h.store.advance(&claimed.guard(), step(&claimed, next)).await.expect("advance");
    h.assert_unchanged(&advanced).await;

    server.stop();
    let read = h.store.get("c1").await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let written = h.store.delete(advanced.local_id).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_not_opened() {
    let Some(server) = &*SERVER else { return };
    let error = refused(&server.address("nobodys")).await;
    assert!(matches!(&error, PostgresError::Refused { code, .. } if code == "3D000"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_who_its_certificate_says() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let credentials = format!("duchy:{PASSWORD}");
    let address = |authority: &std::path::Path| {
        server.tcp_address(&credentials, &database, &format!("?sslrootcert={}", authority.display()))
    };
    let trusted = address(&server.authority());
    PostgresStore::migrate(&trusted).await.expect("migrate");
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let store = open_at(&trusted, &clock).await.expect("open");
    store.create(new_computation("c1", NON_AGGREGATOR)).await.expect("create");
    let encrypted =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = $1 AND ssl";
    let encrypted = server.client("postgres").await.query_one(encrypted, &[&database]).await;
    assert_eq!(encrypted.expect("connections").get::<_, i64>(0), 1);

    let stranger = refused(&address(&server.other_authority())).await;
    assert!(matches!(stranger, PostgresError::Connection(_)), "{stranger:?}");
    let another_name = trusted.to_string().replace("duchy@localhost", &format!("{credentials}@127.0.0.1"));
    let another_name = refused(&another_name.parse().expect("an address")).await;
    assert!(matches!(another_name, PostgresError::Connection(_)), "{another_name:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_a_server_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 8];
        stream.read_exact(&mut request).expect("the wish for TLS");
        stream.write_all(b"N").expect("no");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the end");
        (request, rest)
    });
    let text = format!("postgres://duchy:{PASSWORD}@127.0.0.1:{port}/d?sslmode=verify-full");
    let error = refused(&text.parse().expect("an address")).await;
    assert!(matches!(error, PostgresError::Connection(_)), "{error:?}");
    let (request, rest) = server.join().expect("the server");
    assert_eq!(request[4..], 80_877_103_u32.to_be_bytes(), "PostgreSQL's number of the wish");
    assert_eq!(rest, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_read_for_each_connection() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("password");
    let address = server.tcp_address("duchy", &database, &format!("?password_file={}", file.display()));
    assert!(matches!(refused(&address).await, PostgresError::Password(_)));
    std::fs::write(&file, "wrong\n").expect("a file");
    let error = refused(&address).await;
    assert!(matches!(&error, PostgresError::Refused { code, .. } if code == "28P01"), "{error:?}");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
    PostgresStore::migrate(&address).await.expect("migrate");
    let h = opened(&address).await;
    h.create("c1", NON_AGGREGATOR).await;
    // What is connected stays, whatever the file says now.
    std::fs::write(&file, "wrong").expect("a file");
    h.store.get("c1").await.expect("get");
}

/// A service in the place of AWS Secrets Manager: the first call finds a password that is no longer right, as if the secret were
/// rotated just after.
fn rotating_secret() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for password in std::iter::once("old").chain(std::iter::repeat(PASSWORD)) {
            let (stream, _) = listener.accept().expect("a call");
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a header");
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            assert!(String::from_utf8_lossy(&body).contains("halo/worker1-db"));
            let secret = serde_json::json!({ "username": "duchy", "password": password }).to_string();
            let answer = serde_json::json!({ "SecretString": secret }).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            reader.get_mut().write_all(format!("{head}{answer}").as_bytes()).expect("an answer");
        }
    });
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_for_each_connection() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_halo-duchy"));
    migrate
        .args(["store", "migrate", "--postgres-host=localhost", "--postgres-region=us-west-2"])
        .arg("--postgres-credential-secret-name=halo/worker1-db")
        .args([format!("--postgres-port={}", server.port()), format!("--postgres-database={database}")])
        .envs([("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")])
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", rotating_secret());
    let output = migrate.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_given_up() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
                CREATE TRIGGER slow BEFORE INSERT ON Requisitions FOR EACH ROW EXECUTE FUNCTION slow()";
    server.client(&database).await.batch_execute(slow).await.expect("a trigger");
    let address: PostgresAddress = format!("{address}&statement_timeout=50ms").parse().expect("an address");
    let h = opened(&address).await;
    let created = h.store.create(new_computation("c1", NON_AGGREGATOR)).await;
    let Err(StoreError::Unavailable(error)) = created else { panic!("{created:?}") };
    let error = error.downcast_ref::<PostgresError>().expect("PostgreSQL's word");
    assert!(matches!(error, PostgresError::Refused { code, .. } if code == "57014"), "{error:?}");
    let found = h.store.get("c1").await;
    assert!(matches!(found, Err(StoreError::NotFound { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    let address = format!("{address}&connections=3").parse().expect("an address");
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let store = open_at(&address, &clock).await.expect("open");
    let ids: BTreeSet<_> = (0..40).map(|n| format!("c{n}")).collect();
    let creators = ids.iter().map(|id| store.create(new_computation(id, NON_AGGREGATOR)));
    futures::future::try_join_all(creators).await.expect("all wait for their turn");
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let connected = server.client("postgres").await.query_one(connected, &[&database]).await;
    assert_eq!(connected.expect("connections").get::<_, i64>(0), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_could_write_is_told() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    let h = opened(&address).await;
    h.create("c1", RoleInComputation::Aggregator).await;
    for (change, bad) in [
        ("Computations SET ComputationDetails = '\\xffffff'", "computation details"),
        ("ComputationStages SET NextAttempt = 3000000000", "next attempt"),
        ("Computations SET ComputationStage = 99", "stage"),
        ("Computations SET UpdateTime = 'infinity'", "update time"),
    ] {
        let client = server.client(&database).await;
        // Stages belong together by their number.
        let stages = change.contains("= 99").then_some("UPDATE ComputationStages SET ComputationStage = 99;");
        let sql = format!("{} UPDATE {change}", stages.unwrap_or_default());
        client.batch_execute(&sql).await.expect("a change");
        let corrupt = h.store.get("c1").await;
        assert!(
            matches!(corrupt, Err(StoreError::Corrupt { what, .. }) if what == bad),
            "{bad}: {corrupt:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copies_for_debugging_hold_no_details() {
    let Some(server) = &*SERVER else { return };
    let database = server.database().await;
    let address = server.address(&database);
    PostgresStore::migrate(&address).await.expect("migrate");
    let h = opened(&address).await;
    h.computation_in(Stage::WaitExecutionPhaseOneInputs, NON_AGGREGATOR).await;
    let copies = "SELECT ComputationDetailsJSON::text FROM Computations
                  UNION ALL SELECT RequisitionDetailsJSON::text FROM Requisitions
                  UNION ALL SELECT DetailsJSON::text FROM ComputationStages
                  UNION ALL SELECT DetailsJSON::text FROM ComputationStageAttempts";
    let copies = server.client(&database).await.query(copies, &[]).await.expect("the rows");
    assert!(copies.len() > 4);
    assert!(copies.iter().all(|row| row.get::<_, &str>(0) == "{}"));
}
