//! Claims in transactions that each look at one computation, which SQLite does otherwise and Spanner needs an emulator
//! for; and what operations cost (`costs`).

pub(super) mod costs;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::backend::{Backend, Work};
use super::{Claim, NewComputation, SqliteStore, Store, StoreError};
use crate::clock::SystemClock;
use crate::proto::internal::ComputationDetails;
use crate::proto::internal::computation_details::Protocol as Details;
use crate::protocol_stages::Protocol;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2 as llv2;

/// SQLite without its own way to claim.
#[derive(Debug)]
struct ByCandidates(SqliteStore);

#[async_trait]
impl Backend for ByCandidates {
    async fn read<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.0.read(work).await
    }

    async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.0.write(work).await
    }
}

fn open(file: &Path) -> Arc<dyn Store> {
    Arc::new(ByCandidates(SqliteStore::open(file, Arc::new(SystemClock)).expect("a database")))
}

async fn create(store: &dyn Store, global_id: String) {
    let details = ComputationDetails {
        protocol: Some(Details::LiquidLegionsV2(llv2::ComputationDetails::default())),
        ..Default::default()
    };
    let new =
        NewComputation { protocol: Protocol::LiquidLegionsV2, global_id, details, requisitions: Vec::new() };
    store.create(new).await.expect("create");
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_claimers_by_candidates_never_get_the_same_work() {
    const COMPUTATIONS: usize = 60;
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("duchy.db");
    let store = open(&file);
    for n in 0..COMPUTATIONS {
        create(&*store, format!("c{n}")).await;
    }
    let claimers: Vec<_> = (0..4)
        .map(|n| {
            let store = open(&file);
            tokio::spawn(async move {
                let claim = Claim {
                    protocol: Protocol::LiquidLegionsV2,
                    owner: format!("mill-{n}"),
                    duration: Duration::from_secs(300),
                    prioritized: Vec::new(),
                };
                let mut claimed = Vec::new();
                while let Some(work) = store.claim(claim.clone()).await.expect("claim") {
                    assert_eq!((work.attempt, work.lock_owner), (1, Some(claim.owner.clone())));
                    claimed.push(work.global_id);
                }
                claimed
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.expect("a claimer"));
    }
    assert_eq!(claimed.len(), COMPUTATIONS, "all work is found");
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), COMPUTATIONS);
}
