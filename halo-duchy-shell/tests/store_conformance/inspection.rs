//! What an operator sees: lists, histories, and why attempts did not succeed.

use std::time::Duration;

use halo_duchy_shell::clock::Timestamp;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::proto::internal::computation_stage_attempt_details::EndReason;
use halo_duchy_shell::store::{Fulfillment, GivenBack, Listing, Order, Record, Stat, StoreError};
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;

use crate::Harness;
use crate::fixture::{LOCK, key, stage, start_of_time};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;
const SECOND: Duration = Duration::from_secs(1);

async fn record(h: &Harness) -> Record {
    h.other.record("c1").await.expect("a record")
}

pub async fn an_attempt_keeps_why_it_did_not_succeed(h: Harness) {
    h.create("c1", NON_AGGREGATOR).await;
    let first = h.claim("mill-1").await.expect("work");
    let long = format!("two\nlines\u{1b}[31m {}", "é".repeat(2_000));
    h.store
        .enqueue(&first.guard(), "mill-1", Duration::ZERO, GivenBack::Failed(&long))
        .await
        .expect("enqueue");
    h.claim("mill-1").await.expect("work");
    h.clock.advance(LOCK + SECOND);
    let third = h.claim("mill-2").await.expect("work");
    h.clock.advance(SECOND);
    h.store.finish(&third.guard(), CompletedReason::Failed, "the last word").await.expect("finish");

    let record = record(&h).await;
    let attempts = &record.stages[0].attempts;
    let told: Vec<_> = attempts.iter().map(|attempt| (attempt.number, attempt.reason)).collect();
    assert_eq!(told, [(1, EndReason::Error), (2, EndReason::LockOverwritten), (3, EndReason::Error)]);
    let kept = &attempts[0].error;
    assert!(kept.starts_with("two lines [31m é") && kept.ends_with("é…") && kept.len() <= 2_000, "{kept}");
    assert_eq!((attempts[1].error.as_str(), attempts[2].error.as_str()), ("", "the last word"));
    assert_eq!(record.last_error(), Some((stage(Stage::InitializationPhase), 3, "the last word")));
    let (begun, ended) = (attempts[2].begun, attempts[2].ended.expect("an end"));
    assert_eq!(ended.millis() - begun.millis(), 1_000);
}

pub async fn a_record_has_all_that_happened(h: Harness) {
    let computation = h.computation_in(Stage::WaitExecutionPhaseOneInputs, NON_AGGREGATOR).await;
    let data = Fulfillment { path: "data".into(), public_api_version: "v2alpha".into(), protocol: None };
    h.store.record_fulfillment(computation.local_id, &key("c1/2"), data).await.expect("fulfill");
    let setup = stage(Stage::SetupPhase);
    let stat = Stat { local_id: computation.local_id, stage: setup, attempt: 1, name: "ms".into(), value: 7 };
    h.store.record_stat(stat).await.expect("a stat");

    let record = record(&h).await;
    assert_eq!((record.local_id, record.stage), (computation.local_id, computation.stage));
    assert_eq!((record.created, record.updated.millis()), (start_of_time(), computation.version));
    assert_eq!(record.details, computation.details);
    let names: Vec<_> = record.stages.iter().map(|record| record.stage.name()).collect();
    assert_eq!(
        names,
        [
            "INITIALIZATION_PHASE",
            "WAIT_REQUISITIONS_AND_KEY_SET",
            "CONFIRMATION_PHASE",
            "WAIT_TO_START",
            "SETUP_PHASE",
            "WAIT_EXECUTION_PHASE_ONE_INPUTS"
        ]
    );
    let [.., setup, current] = record.stages.as_slice() else { panic!("{record:?}") };
    assert_eq!((current.left, &current.blobs), (None, &computation.blobs));
    assert_eq!(setup.left, Some(current.entered));
    assert_eq!(setup.attempts[0].reason, EndReason::Succeeded);
    assert_eq!(setup.attempts[0].stats.get("ms"), Some(&7));
    let here: Vec<_> = record.requisitions.iter().map(|one| (one.id.as_str(), one.path.as_deref())).collect();
    assert_eq!(here, [("c1/1", None), ("c1/2", Some("data"))]);
    assert!(matches!(h.store.record("c2").await, Err(StoreError::NotFound { .. })));
}

pub async fn lists_are_ordered_and_cut(h: Harness) {
    for n in 0..5 {
        h.create(&format!("c{n}"), NON_AGGREGATOR).await;
        h.clock.advance(SECOND);
    }
    // The second changes last.
    let second = h.store.get("c1").await.expect("get");
    h.store.finish(&second.guard(), CompletedReason::Canceled, "").await.expect("finish");
    let (start, all) = (start_of_time().millis(), Listing::default());
    let at = |seconds: i64| Timestamp::from_millis(start + 1_000 * seconds);
    let unchanged = ["c0", "c2", "c3", "c4", "c1"];
    for (listing, expected) in [
        (all.clone(), &["c0", "c1", "c2", "c3", "c4"][..]),
        (Listing { order: Order::NewestFirst, ..all.clone() }, &["c4", "c3", "c2", "c1", "c0"]),
        (Listing { order: Order::LongestUnchangedFirst, ..all.clone() }, &unchanged),
        (Listing { order: Order::LastChangedFirst, limit: 2, ..all.clone() }, &["c1", "c4"]),
        (Listing { limit: 2, offset: 3, ..all.clone() }, &["c3", "c4"]),
        (Listing { offset: 9, ..all.clone() }, &[]),
        (Listing { created_before: at(1), ..all.clone() }, &["c0", "c1"]),
        (Listing { updated_before: at(2), ..all.clone() }, &["c0", "c2"]),
        (Listing { updated_since: at(4), ..all.clone() }, &["c1", "c4"]),
        (Listing { stages: vec![stage(Stage::Complete)], ..all.clone() }, &["c1"]),
        (Listing { stages: Vec::new(), ..all }, &[]),
    ] {
        let found = h.other.list(&listing).await.expect("a list");
        let ids: Vec<_> = found.iter().map(|record| record.global_id.as_str()).collect();
        assert_eq!(ids, expected, "{listing:?}");
    }
}
