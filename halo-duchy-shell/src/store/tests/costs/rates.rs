//! How many claims and transitions a second SQLite and PostgreSQL do. `POSTGRES_FSYNC=on` lets PostgreSQL wait for the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;

use super::fixture::new_computation;
use super::{Filled, Store, advance, opened, wish};

/// Computations that are claimed and taken on.
const WORK: usize = 1_000;

/// One line, for so many mills at a time: each claims and takes on one computation after the other.
async fn line(name: &str, store: &Arc<dyn Store>, mills: usize) {
    for n in 0..WORK {
        // What has been taken on in SQLite is moved to PostgreSQL, too.
        let new = new_computation(&format!("{name}-{mills}-{n}"), RoleInComputation::NonAggregator);
        store.create(new).await.expect("create");
    }
    let mill = || {
        let store = Arc::clone(store);
        async move {
            let (mut claiming, mut advancing) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..WORK / mills {
                let begun = Instant::now();
                let claimed =
                    store.claim(wish(Stage::InitializationPhase)).await.expect("claim").expect("work");
                claiming += begun.elapsed();
                let begun = Instant::now();
                advance(&*store, &claimed, Stage::WaitRequisitionsAndKeySet).await;
                advancing += begun.elapsed();
            }
            (claiming, advancing)
        }
    };
    let times = join_all((0..mills).map(|_| tokio::spawn(mill()))).await;
    let times: Vec<_> = times.into_iter().map(|times| times.expect("a mill")).collect();
    // As many are under way at a time as there are mills.
    let rate = |time: Duration| (WORK * mills) as f64 / time.as_secs_f64();
    let claims = rate(times.iter().map(|(claiming, _)| *claiming).sum());
    let transitions = rate(times.iter().map(|(_, advancing)| *advancing).sum());
    eprintln!("| {name} | {mills} | {claims:.0} | {transitions:.0} |");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and takes a while"]
async fn rates_with_ten_thousand_computations() {
    let filled = Filled::with(10_000).await;
    eprintln!("| store | mills at a time | claims a second | transitions a second |");
    eprintln!("|---|---|---|---|");
    let store = opened(&filled.file(), filled.clock());
    for mills in [1, 4] {
        line("SQLite", &store, mills).await;
    }
    #[cfg(feature = "postgres")]
    if let Some(server) = super::postgres::Server::start() {
        use crate::store::{PostgresStore, StoreAddress};

        let address = server.address(&server.database().await);
        PostgresStore::migrate(&address).await.expect("migrate");
        let address = StoreAddress::Postgres(Box::new(address));
        filled.move_to(&address).await;
        let store = address.open(filled.clock()).await.expect("a database");
        for mills in [1, 4] {
            line("PostgreSQL", &store, mills).await;
        }
        server.stop();
    }
}
