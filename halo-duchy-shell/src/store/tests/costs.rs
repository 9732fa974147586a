//! How many transactions, statements and rows operations take on each database; that they do not take more the more
//! computations there are; and how fast SQLite and PostgreSQL are. The tables of docs/stores.md:
//!
//! ```text
//! cargo test --release -p halo-duchy-shell --lib with_ten_thousand -- --ignored --nocapture --test-threads=1
//! ```

#[allow(dead_code, reason = "the conformance suite needs all of it")]
#[path = "../../../tests/store_conformance/fixture.rs"]
mod fixture;
#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "the conformance suite needs all of it")]
#[path = "../../../tests/servers/postgres.rs"]
mod postgres;
mod rates;
#[cfg(feature = "spanner")]
mod spanner;
#[cfg(feature = "spanner")]
#[allow(dead_code, reason = "the conformance suite needs all of it")]
#[path = "../../../tests/servers/spanner.rs"]
mod spanner_server;

use std::fs::File;
use std::ops::Sub;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_protocols::llv2::{Stage, StageKind};
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;

use self::fixture::{
    Harness, LOCK, PARTS, claim_by, key, new_computation, requisition, stage, start_of_time, step,
};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::continuation_token::ContinuationToken;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::system::StreamActiveComputationsContinuationToken;
use crate::protocol_stages::Protocol;
use crate::store::sqlite::costs::{self as sqlite, Durability};
use crate::store::transfer::{export, import};
use crate::store::{Claim, Computation, Expired, Fulfillment, GivenBack, Lease, Stat, Store, StoreAddress};

/// Computations of another part of the tests' own, so many that a few are found in each state.
const QUEUED: usize = 12;

/// What a store has asked of its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Cost {
    pub(in crate::store) transactions: u64,
    /// Without those that begin and end a transaction; on Spanner, queries and commits.
    pub(in crate::store) statements: u64,
    /// Rows that came back; on PostgreSQL, those looked at, in tables and indexes.
    pub(in crate::store) rows: u64,
    /// Instructions of SQLite's virtual machine.
    pub(in crate::store) steps: u64,
}

/// Tells what a store has asked so far.
#[async_trait]
pub(in crate::store) trait Meter: Send + Sync {
    async fn read(&self) -> Cost;
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            transactions: self.transactions - before.transactions,
            statements: self.statements - before.statements,
            rows: self.rows - before.rows,
            steps: self.steps - before.steps,
        }
    }
}

/// Computations of all protocols and parts: half of them ended, the others waiting in some stage. Then a few that wait
/// for a mill, behind some that mills hold and some that wait for their time.
async fn populate(h: &Harness, computations: usize) {
    for n in 0..computations {
        let (protocol, role) = PARTS[n % PARTS.len()];
        let mut computation = h.create_of(protocol, &format!("p{n}"), role).await;
        for _ in 0..n % 5 {
            if computation.stage.next(&computation.details).expect("matching details").is_some() {
                computation = h.next_stage(computation).await;
            }
        }
        if n % 2 == 0 || computation.stage.kind() == StageKind::Compute {
            let reason = if n % 4 == 0 { CompletedReason::Succeeded } else { CompletedReason::Failed };
            h.store.finish(&computation.guard(), reason, "").await.expect("finish");
        }
        h.clock.advance(Duration::from_secs(1));
    }
    for n in 0..QUEUED {
        h.create(&format!("q{n}"), RoleInComputation::NonAggregator).await;
        h.clock.advance(Duration::from_secs(1));
    }
    for n in 0..QUEUED / 2 {
        let claimed = h.claim("mill").await.expect("work");
        if n % 2 == 0 {
            h.store.enqueue(&claimed.guard(), "mill", LOCK, GivenBack::Failed("")).await.expect("enqueue");
        }
    }
}

/// The name of each operation and what it costs.
struct Measured<'m> {
    meter: &'m dyn Meter,
    costs: Vec<(&'static str, Cost)>,
}

impl Measured<'_> {
    async fn measure<T>(&mut self, name: &'static str, operation: impl Future<Output = T>) -> T {
        let before = self.meter.read().await;
        let result = operation.await;
        self.costs.push((name, self.meter.read().await - before));
        result
    }
}

/// Measures operations on a store that [`populate`] has filled.
async fn measure(store: &dyn Store, meter: &dyn Meter, clock: &ManualClock) -> Vec<(&'static str, Cost)> {
    let mut m = Measured { meter, costs: Vec::new() };
    let new = new_computation("m", RoleInComputation::NonAggregator);
    m.measure("create", store.create(new)).await.expect("create");
    m.measure("get", store.get("m")).await.expect("get");
    m.measure("get by requisition", store.get_by_requisition(&key("m/1"))).await.expect("get");
    let initial = wish(Stage::InitializationPhase);
    let claimed = m.measure("claim", store.claim(initial.clone())).await.expect("claim").expect("work");
    assert_eq!(claimed.global_id, "q6", "the oldest that nobody holds");
    let lease = Lease {
        local_id: claimed.local_id,
        stage: claimed.stage,
        attempt: claimed.attempt,
        owner: "mill".into(),
    };
    m.measure("renew a lease", store.extend(&lease, LOCK)).await.expect("extend");
    let details = claimed.details.clone();
    let requisitions = vec![requisition("q6/1"), requisition("q6/2")];
    let guard = claimed.guard();
    let updated = store.update_details(&guard, details, requisitions);
    let updated = m.measure("update details, two requisitions", updated).await.expect("update");
    let data = Fulfillment { path: "data".into(), public_api_version: "v2alpha".into(), protocol: None };
    let requisition = key("q6/1");
    let fulfilled = store.record_fulfillment(updated.local_id, &requisition, data);
    m.measure("record a fulfillment", fulfilled).await.expect("fulfill");
    let waiting = advance(store, &updated, Stage::WaitRequisitionsAndKeySet);
    let waiting = m.measure("advance, work to waiting", waiting).await;
    let confirming = advance(store, &waiting, Stage::ConfirmationPhase);
    m.measure("advance, waiting to work", confirming).await;
    // Nothing is there that comes first, so the queue is gone through once more.
    let later = m.measure("claim, none prioritized", store.claim(wish(Stage::SetupPhase))).await;
    let later = later.expect("claim").expect("work");
    assert_eq!(later.global_id, "q6");
    let guard = later.guard();
    let given_back = store.enqueue(&guard, "mill", Duration::ZERO, GivenBack::Failed(""));
    m.measure("give work back", given_back).await.expect("enqueue");
    let confirming = store.claim(wish(Stage::ConfirmationPhase)).await.expect("claim").expect("work");
    let waiting = advance(store, &confirming, Stage::WaitToStart).await;
    advance(store, &waiting, Stage::SetupPhase).await;
    let setup = store.claim(wish(Stage::SetupPhase)).await.expect("claim").expect("work");
    let guard = setup.guard();
    let recorded = store.record_output(&guard, 0, "q6/output");
    let recorded = m.measure("record an output", recorded).await.expect("record");
    let stat = Stat {
        local_id: setup.local_id,
        stage: setup.stage,
        attempt: setup.attempt,
        name: "stage_wall_clock_duration_ms".into(),
        value: 5,
    };
    m.measure("record a statistic", store.record_stat(stat)).await.expect("record");
    let handed_on = advance(store, &recorded, Stage::WaitExecutionPhaseOneInputs);
    let handed_on = m.measure("advance, with a blob", handed_on).await;
    let guard = handed_on.guard();
    let ended = store.finish(&guard, CompletedReason::Failed, "");
    let ended = m.measure("finish", ended).await.expect("finish");
    let none = Claim { protocol: Protocol::HonestMajorityShareShuffle, ..claim_by("mill") };
    assert_eq!(m.measure("claim, no work", store.claim(none)).await.expect("claim"), None);
    let depth = m.measure("measure the queue", store.queue(Protocol::LiquidLegionsV2)).await;
    assert_eq!(depth.expect("queue").depth, QUEUED as u32, "a new one in place of q6");
    assert!(!m.measure("look whether it is empty", store.is_empty()).await.expect("look"));
    let stages = [stage(Stage::InitializationPhase)];
    let ids = m.measure("list ids of a stage", store.ids_in_stages(&stages)).await.expect("ids");
    assert_eq!(ids.len(), QUEUED);
    let expired = Expired {
        stages: vec![Protocol::LiquidLegionsV2.terminal_stage()],
        updated_before: Timestamp::from_millis(start_of_time().millis() - 1),
        after: 0,
        limit: 100,
    };
    let page = m.measure("page of a purge, nothing expired", store.expired(&expired)).await;
    assert_eq!(page.expect("a page"), []);
    let paths = m.measure("list a computation's blobs", store.blob_paths(ended.local_id)).await;
    assert_eq!(paths.expect("paths").len(), 2);
    assert!(m.measure("delete", store.delete(ended.local_id)).await.expect("delete"));
    m.measure("set the continuation token", store.set_continuation_token(&token(clock))).await.expect("set");
    m.measure("get the continuation token", store.continuation_token()).await.expect("get");
    m.costs
}

/// As a mill claims, but for which stages come first.
fn wish(first: Stage) -> Claim {
    Claim { prioritized: vec![stage(first)], ..claim_by("mill") }
}

async fn advance(store: &dyn Store, computation: &Computation, next: Stage) -> Computation {
    store.advance(&computation.guard(), step(computation, stage(next))).await.expect("advance")
}

fn token(clock: &ManualClock) -> ContinuationToken {
    let message = StreamActiveComputationsContinuationToken {
        last_seen_update_time: Some(clock.now().into()),
        last_seen_external_computation_id: 1,
    };
    ContinuationToken::parse(&URL_SAFE_NO_PAD.encode(message.encode_to_vec())).expect("a token")
}

/// A file with computations, for all databases: they are moved there.
struct Filled {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Filled {
    async fn with(computations: usize) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(ManualClock::new(start_of_time()));
        let (store, _) = sqlite::open(&folder.path().join("duchy.db"), clock.clone(), Durability::None);
        let store: Arc<dyn Store> = Arc::new(store);
        let harness = Harness {
            other: Arc::clone(&store),
            store,
            clock: Arc::clone(&clock),
            faulty: false,
            folder: tempfile::tempdir().expect("a directory"),
        };
        populate(&harness, computations).await;
        Self { folder, clock }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("duchy.db")
    }

    /// Fills another database, which has the schema of this program.
    async fn move_to(&self, address: &StoreAddress) {
        let stream = self.folder.path().join("stream");
        let output = File::create(&stream).expect("a file");
        export(&StoreAddress::Sqlite(self.file()), output).await.expect("export");
        import(address, File::open(&stream).expect("the file")).await.expect("import");
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    /// In a copy: each measurement begins with the same.
    async fn on_sqlite(&self) -> Vec<(&'static str, Cost)> {
        let copy = self.folder.path().join("copy.db");
        self.move_to(&StoreAddress::Sqlite(copy.clone())).await;
        let (store, meter) = sqlite::open(&copy, self.clock(), Durability::Full);
        measure(&store, &meter, &self.clock).await
    }

    #[cfg(feature = "postgres")]
    async fn on_postgres(&self, server: &postgres::Server) -> Option<Vec<(&'static str, Cost)>> {
        use crate::store::postgres::costs::PostgresMeter;
        use crate::store::postgres::{PostgresAddress, PostgresStore};

        let database = server.database().await;
        let client = server.client(&database).await;
        let address: PostgresAddress =
            format!("{}&connections=1", server.address(&database)).parse().expect("an address");
        PostgresStore::migrate(&address).await.expect("migrate");
        self.move_to(&StoreAddress::Postgres(Box::new(address.clone()))).await;
        // What a small table is read for would hide that an index is missing.
        let settings = format!("ALTER DATABASE {database} SET enable_seqscan = off; ANALYZE");
        client.batch_execute(&settings).await.expect("settings");
        let store = PostgresStore::open(&address, self.clock()).await.expect("a database");
        let meter = PostgresMeter::new(store.clone(), client).await?;
        Some(measure(&store, &meter, &self.clock).await)
    }

    #[cfg(feature = "spanner")]
    async fn on_spanner(&self, emulator: &spanner_server::Emulator) -> Vec<(&'static str, Cost)> {
        use crate::store::spanner::{SpannerOptions, SpannerStore};

        let options = emulator.database().await;
        SpannerStore::migrate(&options).await.expect("migrate");
        self.move_to(&StoreAddress::Spanner(options.clone())).await;
        let host = options.emulator_host.as_deref().expect("an emulator");
        let meter = spanner::SpannerMeter::in_front_of(host).await;
        let options = SpannerOptions { emulator_host: Some(meter.address.clone()), ..options };
        let store = SpannerStore::open(&options, self.clock()).await.expect("a database");
        measure(&store, &meter, &self.clock).await
    }
}

/// The sizes between which nothing may grow.
const SIZES: [usize; 2] = [35, 280];

/// Index entries that are left of rows as they were may be passed over, and are not the same twice.
fn assert_no_growth(few: Vec<(&'static str, Cost)>, many: Vec<(&'static str, Cost)>) {
    assert_eq!(few.len(), many.len());
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        let about = |few: u64, many: u64| many <= few + few / 4 + 8;
        assert!(
            few.transactions == many.transactions
                && few.statements == many.statements
                && about(few.rows, many.rows)
                && about(few.steps, many.steps),
            "{name}: {few:?} with {} computations, {many:?} with {}",
            SIZES[0],
            SIZES[1],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_do_not_cost_more_the_more_computations_there_are() {
    let [few, many] = SIZES.map(Filled::with);
    let (few, many) = tokio::join!(few, many);
    assert_no_growth(few.on_sqlite().await, many.on_sqlite().await);
    #[cfg(feature = "postgres")]
    if let Some(server) = postgres::Server::start() {
        match (few.on_postgres(&server).await, many.on_postgres(&server).await) {
            (Some(few), Some(many)) => assert_no_growth(few, many),
            _ => postgres::skipped("it does not tell what it was asked, and what it read"),
        }
        server.stop();
    }
    #[cfg(feature = "spanner")]
    if let Some(emulator) = spanner_server::Emulator::start(&[]) {
        assert_no_growth(few.on_spanner(&emulator).await, many.on_spanner(&emulator).await);
        emulator.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a while, and prints a table"]
async fn costs_with_ten_thousand_computations() {
    let filled = Filled::with(10_000).await;
    let sqlite = filled.on_sqlite().await;
    let mut columns = vec![("SQLite", sqlite.clone())];
    #[cfg(feature = "postgres")]
    if let Some(server) = postgres::Server::start() {
        columns.extend(filled.on_postgres(&server).await.map(|costs| ("PostgreSQL", costs)));
        server.stop();
    }
    #[cfg(feature = "spanner")]
    if let Some(emulator) = spanner_server::Emulator::start(&[]) {
        columns.push(("Spanner", filled.on_spanner(&emulator).await));
        emulator.stop();
    }
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    eprintln!("| operation | {} |", names.join(" | "));
    eprintln!("|---|{}", "---|".repeat(columns.len()));
    for (index, (operation, _)) in sqlite.iter().enumerate() {
        let cells = columns.iter().map(|(name, costs)| {
            let Cost { transactions, statements, rows, steps } = costs[index].1;
            let steps = if *name == "SQLite" { format!(" ({steps})") } else { String::new() };
            format!("{transactions} / {statements} / {rows}{steps}")
        });
        eprintln!("| {operation} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

fn opened(path: &Path, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
    Arc::new(sqlite::open(path, clock, Durability::Full).0)
}
