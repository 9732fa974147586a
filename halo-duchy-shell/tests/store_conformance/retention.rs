//! Listing, statistics, the continuation token, and forgetting.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_duchy_shell::clock::Timestamp;
use halo_duchy_shell::continuation_token::ContinuationToken;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::proto::system::StreamActiveComputationsContinuationToken;
use halo_duchy_shell::store::{Expired, Fulfillment, Stat, StoreError};
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;

use crate::Harness;
use crate::fixture::{key, stage};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;

pub async fn all_blobs_of_all_stages_are_listed(h: Harness) {
    let computation = h.computation_in(Stage::WaitExecutionPhaseTwoInputs, NON_AGGREGATOR).await;
    let data = Fulfillment { path: "data".into(), public_api_version: "v2alpha".into(), protocol: None };
    h.store.record_fulfillment(computation.local_id, &key("c1/2"), data).await.expect("fulfill");
    let mut paths = h.store.blob_paths(computation.local_id).await.expect("paths");
    paths.sort();
    assert_eq!(
        paths,
        ["c1/EXECUTION_PHASE_ONE/1", "c1/SETUP_PHASE/0", "c1/WAIT_EXECUTION_PHASE_ONE_INPUTS/1", "data"]
    );
}

pub async fn a_deleted_computation_is_gone(h: Harness) {
    let computation = h.computation_in(Stage::WaitExecutionPhaseOneInputs, NON_AGGREGATOR).await;
    assert!(h.store.delete(computation.local_id).await.expect("delete"));
    assert!(!h.other.delete(computation.local_id).await.expect("delete again"));
    assert!(matches!(h.store.get("c1").await, Err(StoreError::NotFound { .. })));
    let requisition = h.store.get_by_requisition(&key("c1/1")).await;
    assert!(matches!(requisition, Err(StoreError::RequisitionNotFound(_))));
    assert_eq!(h.store.blob_paths(computation.local_id).await.expect("paths"), [""; 0]);
    h.create("c1", NON_AGGREGATOR).await;
}

pub async fn ended_computations_expire_page_by_page(h: Harness) {
    let reason = |n: usize| [CompletedReason::Succeeded, CompletedReason::Failed][n % 2];
    for n in 0..7 {
        let created = h.create(&format!("c{n}"), NON_AGGREGATOR).await;
        h.clock.advance(Duration::from_secs(1));
        if n != 3 {
            h.store.finish(&created.guard(), reason(n), "").await.expect("finish");
        }
    }
    // The last one has changed too late.
    let updated_before = h.store.get("c5").await.expect("get").version;
    let mut page = Expired {
        stages: vec![stage(Stage::Complete)],
        updated_before: Timestamp::from_millis(updated_before),
        after: 0,
        limit: 2,
    };
    let mut found = Vec::new();
    loop {
        let ids = h.other.expired(&page).await.expect("a page");
        assert!(ids.len() <= 2 && ids.is_sorted_by_key(|ended| ended.local_id));
        let Some(last) = ids.last() else { break };
        page.after = last.local_id;
        found.extend(ids.into_iter().map(|ended| (ended.global_id, ended.reason)));
    }
    found.sort();
    assert_eq!(found, [0, 1, 2, 4, 5].map(|n| (format!("c{n}"), reason(n))));
    let none = Expired { stages: vec![], after: 0, ..page };
    assert_eq!(h.store.expired(&none).await.expect("a page"), []);
}

pub async fn computations_are_listed_by_stage(h: Harness) {
    for id in ["b", "a", "c"] {
        h.create(id, NON_AGGREGATOR).await;
        h.clock.advance(Duration::from_secs(1));
    }
    let ended = h.store.get("a").await.expect("get");
    h.store.finish(&ended.guard(), CompletedReason::Failed, "").await.expect("finish");
    let list = async |stages: &[Stage]| {
        let stages: Vec<_> = stages.iter().copied().map(stage).collect();
        h.store.ids_in_stages(&stages).await.expect("ids")
    };
    assert_eq!(list(&[Stage::InitializationPhase]).await, ["b", "c"], "the oldest first");
    assert_eq!(list(&[Stage::Complete]).await, ["a"]);
    assert_eq!(list(&[Stage::Complete, Stage::InitializationPhase]).await, ["b", "a", "c"]);
    assert_eq!(list(&[Stage::SetupPhase]).await, [""; 0]);
    assert_eq!(list(&[]).await, [""; 0]);
}

pub async fn a_stat_needs_its_attempt(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    let stat = |attempt, value| Stat {
        local_id: created.local_id,
        stage: created.stage,
        attempt,
        name: "stage_wall_clock_duration_ms".into(),
        value,
    };
    let early = h.store.record_stat(stat(1, 5)).await;
    assert!(matches!(early, Err(StoreError::NoSuchAttempt { attempt: 1, .. })), "{early:?}");
    h.claim("mill").await.expect("work");
    h.store.record_stat(stat(1, 5)).await.expect("record");
    h.store.record_stat(stat(1, 6)).await.expect("the last one counts");
    let unknown = h.store.record_stat(Stat { local_id: 42, ..stat(1, 5) }).await;
    assert!(matches!(unknown, Err(StoreError::NoSuchAttempt { local_id: 42, .. })), "{unknown:?}");
}

fn token(millis: i64, id: u64) -> ContinuationToken {
    let message = StreamActiveComputationsContinuationToken {
        last_seen_update_time: Some(Timestamp::from_millis(millis).into()),
        last_seen_external_computation_id: id,
    };
    ContinuationToken::parse(&URL_SAFE_NO_PAD.encode(message.encode_to_vec())).expect("a token")
}

pub async fn the_continuation_token_never_goes_back(h: Harness) {
    assert_eq!(h.store.continuation_token().await.expect("get"), None);
    h.store.set_continuation_token(&token(5, 1)).await.expect("the first");
    h.other.set_continuation_token(&token(5, 2)).await.expect("an equal time");
    let refused = h.store.set_continuation_token(&token(4, 3)).await;
    assert!(matches!(refused, Err(StoreError::ContinuationTokenOutdated)), "{refused:?}");
    assert_eq!(h.store.continuation_token().await.expect("get"), Some(token(5, 2)));
    h.store.set_continuation_token(&token(6, 1)).await.expect("a later one");
    assert_eq!(h.other.continuation_token().await.expect("get"), Some(token(6, 1)));
}

pub async fn racing_heralds_never_go_back(h: Harness) {
    for round in 0..5 {
        let heralds = (1..=4).map(|n| {
            let store = Arc::clone(if n % 2 == 0 { &h.store } else { &h.other });
            let token = token(round * 4 + n, 1);
            tokio::spawn(async move { store.set_continuation_token(&token).await })
        });
        for herald in heralds.collect::<Vec<_>>() {
            let set = herald.await.expect("a herald");
            assert!(matches!(set, Ok(()) | Err(StoreError::ContinuationTokenOutdated)), "{set:?}");
        }
        let last = h.store.continuation_token().await.expect("get");
        assert_eq!(last, Some(token(round * 4 + 4, 1)), "the latest was set, and not replaced");
    }
}
