//! Random operations on a store, each compared with a model in memory. Several tasks work on one database at the same
//! time, each on computations of its own protocol, by clocks of their own, so that each knows what to expect.
//!
//! `STORE_MODEL_STEPS` sets the operations of each task, `STORE_MODEL_SEED` repeats a failure. Local ids are the
//! store's choice and drawn anew.

mod expected;
mod walk;

use std::sync::Arc;

use halo_duchy_shell::clock::{Clock, ManualClock};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::store::{Store, StoreAddress};

use crate::fixture::start_of_time;
pub use walk::Walk;

/// Operations of each task, unless a variable says otherwise.
const STEPS: u32 = 800;
/// The same where one transaction at a time is let through, as Spanner's emulator does for each database: so there are
/// several.
#[cfg(feature = "spanner")]
const FEWER_STEPS: u32 = 350;
#[cfg(feature = "spanner")]
const DATABASES: usize = 3;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What the random choices come from.
pub fn seed() -> u64 {
    variable("STORE_MODEL_SEED").unwrap_or_else(|| getrandom::u64().expect("randomness"))
}

/// A walk for each protocol, on an empty database that exists.
pub async fn walks(address: &StoreAddress, seed: u64) -> Vec<Walk> {
    let mut walks = Vec::new();
    for protocol in Protocol::ALL {
        let clock = Arc::new(ManualClock::new(start_of_time()));
        let stores = stores(address, &clock).await;
        walks.push(Walk::new(protocol, seed, clock, stores));
    }
    walks
}

/// Two handles on a database, as two processes have.
pub async fn stores(address: &StoreAddress, clock: &Arc<ManualClock>) -> [Arc<dyn Store>; 2] {
    let open = || async { address.open(Arc::clone(clock) as Arc<dyn Clock>).await.expect("a database") };
    [open().await, open().await]
}

/// Lets all walks take as many steps, at the same time.
pub async fn take_steps(walks: Vec<Walk>, steps: u32) -> Vec<Walk> {
    let tasks = walks.into_iter().map(|mut walk| {
        tokio::spawn(async move {
            for _ in 0..steps {
                walk.step().await;
            }
            walk.check().await;
            walk
        })
    });
    let mut walked = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        walked.push(task.await.expect("no difference"));
    }
    walked
}

async fn no_difference(address: &StoreAddress, steps: u32) {
    let walks = walks(address, seed()).await;
    let walked = take_steps(walks, variable("STORE_MODEL_STEPS").unwrap_or(steps)).await;
    for walk in walked {
        walk.assert_far();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_does_what_the_model_does() {
    let folder = tempfile::tempdir().expect("a directory");
    no_difference(&StoreAddress::Sqlite(folder.path().join("duchy.db")), STEPS).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_does_what_the_model_does() {
    if let Some(address) = crate::postgres::address().await {
        no_difference(&address, STEPS).await;
    }
}

#[cfg(feature = "spanner")]
#[tokio::test(flavor = "multi_thread")]
async fn spanner_does_what_the_model_does() {
    let walking = (0..DATABASES).map(|_| {
        tokio::spawn(async {
            if let Some(address) = crate::spanner::address().await {
                no_difference(&address, FEWER_STEPS).await;
            }
        })
    });
    for walking in walking.collect::<Vec<_>>() {
        walking.await.expect("no difference");
    }
}
