//! The Spanner backend on Google's emulator, and what only concerns Spanner.

#[path = "../servers/spanner.rs"]
mod server;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gcloud_googleapis::spanner::admin::database::v1::GetDatabaseDdlRequest;
use gcloud_googleapis::spanner::v1::Mutation;
use gcloud_spanner::client::{Client, ClientConfig};
use gcloud_spanner::mutation::{insert_map, update_map};
use gcloud_spanner::statement::ToKind;
use halo_duchy_shell::clock::{Clock, ManualClock};
use halo_duchy_shell::proto::internal::{
    ComputationStageAttemptDetails, ComputationStageDetails, RequisitionDetails,
};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::store::spanner::{OpenError, SpannerOptions};
use halo_duchy_shell::store::transfer::{TransferError, export, import};
use halo_duchy_shell::store::{MigrationError, SpannerStore, Store, StoreAddress, StoreError};
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;
use server::Emulator;

use crate::Harness;
use crate::fixture::{LOCK, claim_by, details, key, new_computation, stage, start_of_time, step};

static STEADY: LazyLock<Option<Emulator>> = LazyLock::new(|| Emulator::start(&[]));
/// Aborts commits at random.
static FAULTY: LazyLock<Option<Emulator>> = LazyLock::new(|| Emulator::start(&["--enable_fault_injection"]));

/// An empty store on the emulator, if there is one.
pub async fn open() -> Option<Harness> {
    harness(&STEADY, false).await
}

/// An empty store on an emulator that aborts commits at random.
pub async fn open_with_faults() -> Option<Harness> {
    harness(&FAULTY, true).await
}

/// An empty store on the emulator, by its address.
pub async fn address() -> Option<StoreAddress> {
    let address = StoreAddress::Spanner(STEADY.as_ref()?.database().await);
    address.migrate().await.expect("an empty database is migrated");
    Some(address)
}

async fn harness(emulator: &Option<Emulator>, faulty: bool) -> Option<Harness> {
    let options = emulator.as_ref()?.database().await;
    SpannerStore::migrate(&options).await.expect("an empty database is migrated");
    Some(Harness { faulty, ..opened(&options).await })
}

/// Two handles on a database.
async fn opened(options: &SpannerOptions) -> Harness {
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let (store, other) = (handle(options, &clock).await, handle(options, &clock).await);
    Harness { store, other, clock, faulty: false, folder: tempfile::tempdir().expect("a directory") }
}

async fn handle(options: &SpannerOptions, clock: &Arc<ManualClock>) -> Arc<dyn Store> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Arc::new(SpannerStore::open(options, clock).await.expect("a database"))
}

/// Statements of upstream's schema: without its last change, or with it.
fn upstream_schema(whole: bool) -> Vec<String> {
    let text = include_str!("upstream_spanner.sql");
    let parts = text.split("\n-- then\n").take(if whole { 2 } else { 1 }).collect::<String>();
    let lines = parts.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    lines.split(';').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

async fn schema(emulator: &Emulator, options: &SpannerOptions) -> Vec<String> {
    let request = GetDatabaseDdlRequest { database: options.address.resource_name() };
    let admin = emulator.administration().await;
    let answer = admin.database().get_database_ddl(request, None).await.expect("the schema");
    let mut statements = answer.into_inner().statements;
    statements.sort();
    statements
}

/// Writes past the store, as another program does.
async fn write(emulator: &Emulator, options: &SpannerOptions, changes: Vec<Mutation>) {
    let config = ClientConfig { environment: emulator.environment(), ..ClientConfig::default() };
    let client = Client::new(options.address.resource_name(), config).await.expect("the emulator");
    client.apply(changes).await.expect("the rows");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_version_is_refused() {
    let Some(emulator) = &*STEADY else { return };
    let options = emulator.database().await;
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let open = async || SpannerStore::open(&options, Arc::clone(&clock) as Arc<dyn Clock>).await;
    let older = open().await;
    assert!(matches!(older, Err(OpenError::Migration(MigrationError::Older { found: 0, .. }))), "{older:?}");
    SpannerStore::migrate(&options).await.expect("migrate");
    open().await.expect("the schema of this program");
    SpannerStore::migrate(&options).await.expect("migrating again changes nothing");
    let later = insert_map("SchemaMigrations", &[("Version", &99_i64), ("Name", &"later")]);
    write(emulator, &options, vec![later]).await;
    let newer = open().await;
    assert!(matches!(newer, Err(OpenError::Migration(MigrationError::Newer { found: 99, .. }))), "{newer:?}");
    let migrated = SpannerStore::migrate(&options).await;
    assert!(
        matches!(migrated, Err(OpenError::Migration(MigrationError::Newer { found: 99, .. }))),
        "{migrated:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_not_opened() {
    let Some(emulator) = &*STEADY else { return };
    let mut options = emulator.database().await;
    let address = options.address.to_string();
    options.address = address.replace("/databases/d", "/databases/nobody-").parse().expect("an address");
    let refused = SpannerStore::migrate(&options).await;
    assert!(matches!(refused, Err(OpenError::Connect { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_migrate_at_the_same_time() {
    let Some(emulator) = &*STEADY else { return };
    let options = emulator.database().await;
    let migrations = (0..4).map(|_| {
        let options = options.clone();
        tokio::spawn(async move { SpannerStore::migrate(&options).await })
    });
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.expect("a task").expect("migrate");
    }
    opened(&options).await.create("c1", RoleInComputation::Aggregator).await;
}

/// A computation in SETUP_PHASE, taken by a mill that will not come back, as upstream writes it.
fn upstreams_computation() -> Vec<Mutation> {
    const ID: i64 = 0x0123_4567_89ab_cdef;
    const SETUP: Stage = Stage::SetupPhase;
    let number = |stage| i64::from(crate::fixture::stage(stage).number());
    let time = |text: &str| -> prost_types::Timestamp { text.parse().expect("a time") };
    let (begun, lost) = (time("2025-11-24T03:01:20.123456789Z"), time("2025-11-24T03:01:19.5Z"));
    let json = r#"{"copy": "for debugging"}"#;
    let row = |table: &str, columns: &[(&str, &dyn ToKind)]| {
        insert_map(table, &[&[("ComputationId", &ID as &dyn ToKind)], columns].concat())
    };
    let details = details(RoleInComputation::NonAggregator).encode_to_vec();
    let mut rows = vec![
        row(
            "Computations",
            &[
                ("Protocol", &i64::from(Protocol::LiquidLegionsV2.number())),
                ("ComputationStage", &number(SETUP)),
                ("UpdateTime", &begun),
                ("GlobalComputationId", &"c1"),
                ("LockOwner", &"lost-mill"),
                ("LockExpirationTime", &lost),
                ("ComputationDetails", &details),
                ("ComputationDetailsJSON", &json),
            ],
        ),
        row(
            "ComputationStages",
            &[
                ("ComputationStage", &number(SETUP)),
                ("CreationTime", &begun),
                ("NextAttempt", &2_i64),
                ("PreviousStage", &number(Stage::WaitToStart)),
                ("Details", &ComputationStageDetails::default().encode_to_vec()),
                ("DetailsJSON", &json),
            ],
        ),
        row(
            "ComputationStageAttempts",
            &[
                ("ComputationStage", &number(SETUP)),
                ("Attempt", &1_i64),
                ("BeginTime", &begun),
                ("Details", &ComputationStageAttemptDetails::default().encode_to_vec()),
                ("DetailsJSON", &json),
            ],
        ),
        row(
            "ComputationBlobReferences",
            &[("ComputationStage", &number(SETUP)), ("BlobId", &0_i64), ("DependencyType", &2_i64)],
        ),
    ];
    for (position, id) in [(0_i64, "c1/2"), (1, "c1/1")] {
        rows.push(row(
            "Requisitions",
            &[
                ("RequisitionId", &position),
                ("ExternalRequisitionId", &id),
                ("RequisitionFingerprint", &key(id).requisition_fingerprint),
                ("RequisitionDetails", &RequisitionDetails::default().encode_to_vec()),
                ("RequisitionDetailsJSON", &json),
            ],
        ));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_database_is_taken_over_where_it_lies() {
    let Some(emulator) = &*STEADY else { return };
    let fresh = emulator.database().await;
    SpannerStore::migrate(&fresh).await.expect("migrate");
    let ours = schema(emulator, &fresh).await;
    for whole in [false, true] {
        let options = emulator.database_with(upstream_schema(whole)).await;
        write(emulator, &options, upstreams_computation()).await;
        SpannerStore::migrate(&options).await.expect("migrate");
        assert_eq!(schema(emulator, &options).await, ours);

        let h = opened(&options).await;
        let found = h.store.get("c1").await.expect("get");
        assert_eq!(found.stage, stage(Stage::SetupPhase));
        assert_eq!(found.version, 1_763_953_280_123, "what is below a millisecond does not count");
        assert_eq!(found.attempt, 1);
        let keys = found.requisitions.iter().filter_map(|one| one.external_key.clone());
        assert_eq!(keys.collect::<Vec<_>>(), [key("c1/1"), key("c1/2")]);
        h.clock.advance(LOCK);
        h.create("c2", RoleInComputation::NonAggregator).await;
        let claimed = h.store.claim(claim_by("mill")).await.expect("claim").expect("work");
        assert_eq!(claimed.local_id, found.local_id, "a computation without a creation time is the oldest");
        assert_eq!((claimed.attempt, claimed.lock_owner.as_deref()), (2, Some("mill")));
        assert!(claimed.version > found.version);
        let recorded = h.store.record_output(&claimed.guard(), 0, "c1/blob").await.expect("record");
        let next = stage(Stage::WaitExecutionPhaseOneInputs);
        h.store.advance(&recorded.guard(), step(&recorded, next)).await.expect("advance");
        assert!(h.store.delete(found.local_id).await.expect("delete"), "with all that belongs to it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_no_locks() {
    let Some(h) = open().await else { return };
    for n in 0..30 {
        let store = Arc::clone(&h.store);
        let new = new_computation(&format!("c{n}"), RoleInComputation::Aggregator);
        let caller = tokio::spawn(async move { store.create(new).await });
        tokio::time::sleep(Duration::from_micros(300 * n)).await;
        caller.abort();
    }
    // The emulator has one writer at a time: a transaction that nobody ends would be in the way of all others.
    let created =
        tokio::time::timeout(Duration::from_secs(10), h.create("last", RoleInComputation::Aggregator));
    assert_eq!(created.await.expect("nobody is in the way").global_id, "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_told() {
    let Some(emulator) = Emulator::start(&[]) else { return };
    let options = emulator.database().await;
    SpannerStore::migrate(&options).await.expect("migrate");
    let h = opened(&options).await;
    let created = h.create("c1", RoleInComputation::Aggregator).await;
    emulator.stop();
    let limit = Duration::from_secs(60);
    let read = tokio::time::timeout(limit, h.store.get("c1")).await.expect("an answer");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let written = tokio::time::timeout(limit, h.store.delete(created.local_id)).await.expect("an answer");
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_could_write_is_told() {
    let Some(emulator) = &*STEADY else { return };
    let options = emulator.database().await;
    SpannerStore::migrate(&options).await.expect("migrate");
    let h = opened(&options).await;
    let id = h.create("c1", RoleInComputation::Aggregator).await.local_id;
    let columns: &[(&str, &dyn ToKind)] =
        &[("ComputationId", &id), ("ComputationDetails", &vec![0xff_u8; 3])];
    write(emulator, &options, vec![update_map("Computations", columns)]).await;
    let corrupt = h.store.get("c1").await;
    assert!(matches!(corrupt, Err(StoreError::Corrupt { what: "computation details", .. })), "{corrupt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copies_for_debugging_hold_no_details() {
    let Some(emulator) = &*STEADY else { return };
    let options = emulator.database().await;
    SpannerStore::migrate(&options).await.expect("migrate");
    let h = opened(&options).await;
    h.computation_in(Stage::WaitExecutionPhaseOneInputs, RoleInComputation::NonAggregator).await;
    let config = ClientConfig { environment: emulator.environment(), ..ClientConfig::default() };
    let client = Client::new(options.address.resource_name(), config).await.expect("the emulator");
    let mut copies = 0;
    for (table, column) in [
        ("Computations", "ComputationDetailsJSON"),
        ("Requisitions", "RequisitionDetailsJSON"),
        ("ComputationStages", "DetailsJSON"),
        ("ComputationStageAttempts", "DetailsJSON"),
    ] {
        let mut snapshot = client.single().await.expect("a session");
        let all = gcloud_spanner::key::all_keys();
        let mut rows = snapshot.read(table, &[column], all).await.expect("the rows");
        while let Some(row) = rows.next().await.expect("a row") {
            assert_eq!(row.column::<String>(0).expect("text"), "{}");
            copies += 1;
        }
    }
    assert!(copies > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_rows_are_moved_where_columns_are_not_null() {
    let Some(emulator) = &*STEADY else { return };
    let options = emulator.database_with(upstream_schema(true)).await;
    write(emulator, &options, upstreams_computation()).await;
    SpannerStore::migrate(&options).await.expect("migrate");
    let folder = tempfile::tempdir().expect("a directory");
    let (stream, file) = (folder.path().join("stream"), folder.path().join("duchy.db"));
    let output = std::fs::File::create(&stream).expect("a file");
    export(&StoreAddress::Spanner(options.clone()), output).await.expect("export");
    let moved = StoreAddress::Sqlite(file);
    import(&moved, std::fs::File::open(&stream).expect("the file")).await.expect("import");
    let clock = Arc::new(ManualClock::new(start_of_time()));
    let store = moved.open(clock).await.expect("a database");
    assert_eq!(store.get("c1").await.expect("get"), handle_of(&options).await.get("c1").await.expect("get"));
}

async fn handle_of(options: &SpannerOptions) -> Arc<dyn Store> {
    handle(options, &Arc::new(ManualClock::new(start_of_time()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_import_broke_off_stays_closed() {
    let Some(address) = address().await else { return };
    // A requisition of no computation: the database finds out when the rows are written.
    let row = r#"{"table":"Requisitions","row":{"ComputationId":7,"RequisitionId":0,"ExternalRequisitionId":"r","RequisitionFingerprint":"","CreationTime":0,"UpdateTime":0,"PathToBlob":null,"RequisitionDetails":""}}"#;
    let broken = crate::transfer::stream(&[row]);
    let refused = import(&address, std::io::Cursor::new(broken)).await;
    assert!(matches!(refused, Err(TransferError::Refused { table: "Requisitions", .. })), "{refused:?}");
    let empty = || std::io::Cursor::new(crate::transfer::stream(&[]));
    for closed in [
        address.open(Arc::new(ManualClock::default())).await.map(drop).map_err(TransferError::from),
        address.schema().await.map(drop).map_err(TransferError::from),
        address.migrate().await.map_err(TransferError::from),
        export(&address, std::io::sink()).await.map(drop),
        import(&address, empty()).await.map(drop),
    ] {
        let error = closed.expect_err("closed");
        assert!(error.to_string().starts_with("an import into the database"), "{error}");
    }
}
