//! Fulfillment of requisitions.

use std::sync::Arc;

use halo_duchy_shell::proto::internal::requisition_details::RequisitionProtocol;
use halo_duchy_shell::proto::internal::requisition_details::requisition_protocol::{
    HonestMajorityShareShuffle, Protocol,
};
use halo_duchy_shell::proto::internal::{RequisitionDetails, RequisitionEntry};
use halo_duchy_shell::store::{Fulfillment, StoreError};
use halo_protocols::proto::duchy::config::RoleInComputation;

use crate::Harness;
use crate::fixture::{key, requisition};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;

fn fulfillment(path: &str) -> Fulfillment {
    let protocol = HonestMajorityShareShuffle { register_count: 5, ..Default::default() };
    Fulfillment {
        path: path.into(),
        public_api_version: "v2alpha".into(),
        protocol: Some(RequisitionProtocol {
            protocol: Some(Protocol::HonestMajorityShareShuffle(protocol)),
        }),
    }
}

pub async fn a_fulfillment_leaves_the_version(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    let claimed = h.claim("mill").await.expect("work");
    let fulfilled = h.store.record_fulfillment(created.local_id, &key("c1/1"), fulfillment("p")).await;
    let fulfilled = fulfilled.expect("fulfill");
    assert_eq!(fulfilled.version, claimed.version, "the mill's token stays good");
    let [first, second] = &fulfilled.requisitions[..] else { panic!("two requisitions") };
    assert_eq!(first.path, "p");
    assert_eq!(second.path, "");
    let details = first.details.as_ref().expect("details");
    assert_eq!(details.public_api_version, "v2alpha");
    assert_eq!(details.protocol, fulfillment("p").protocol);
    assert_eq!(details.nonce_hash, b"c1/1", "what was known stays");
    h.assert_unchanged(&fulfilled).await;
}

pub async fn a_requisition_is_fulfilled_once(h: Harness) {
    let id = h.create("c1", NON_AGGREGATOR).await.local_id;
    let fulfilled = h.store.record_fulfillment(id, &key("c1/1"), fulfillment("p")).await.expect("fulfill");
    let again = h.store.record_fulfillment(id, &key("c1/1"), fulfillment("p")).await.expect("again");
    assert_eq!(again, fulfilled);
    let other = h.other.record_fulfillment(id, &key("c1/1"), fulfillment("q")).await;
    assert!(matches!(&other, Err(StoreError::AlreadyFulfilled { path, .. }) if path == "p"), "{other:?}");
    h.assert_unchanged(&fulfilled).await;
}

pub async fn a_fulfillment_names_a_requisition_of_the_computation(h: Harness) {
    let first = h.create("c1", NON_AGGREGATOR).await;
    let second = h.create("c2", NON_AGGREGATOR).await;
    let unknown = h.store.record_fulfillment(first.local_id, &key("nobody's"), fulfillment("p")).await;
    assert!(matches!(unknown, Err(StoreError::RequisitionNotFound(_))), "{unknown:?}");
    let mut fingerprint = key("c1/1");
    fingerprint.requisition_fingerprint[0] ^= 1;
    let wrong = h.store.record_fulfillment(first.local_id, &fingerprint, fulfillment("p")).await;
    assert!(matches!(wrong, Err(StoreError::RequisitionNotFound(_))), "{wrong:?}");
    let foreign = h.store.record_fulfillment(first.local_id, &key("c2/1"), fulfillment("p")).await;
    assert!(matches!(foreign, Err(StoreError::ForeignRequisition { .. })), "{foreign:?}");
    let nowhere = h.store.record_fulfillment(42, &key("c1/1"), fulfillment("p")).await;
    assert!(matches!(nowhere, Err(StoreError::NotFound { .. })), "{nowhere:?}");
    h.assert_unchanged(&first).await;
    h.assert_unchanged(&second).await;
}

pub async fn new_details_keep_what_a_fulfillment_recorded(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    h.store.record_fulfillment(created.local_id, &key("c1/1"), fulfillment("p")).await.expect("fulfill");
    let mut details = created.details.clone();
    details.blobs_storage_prefix = "prefix".into();
    let value =
        RequisitionDetails { nonce: 9, external_fulfilling_duchy_id: "w".into(), ..Default::default() };
    let entry = RequisitionEntry { key: Some(key("c1/1")), value: Some(value) };
    let updated =
        h.store.update_details(&created.guard(), details.clone(), vec![entry]).await.expect("update");
    assert_eq!(updated.details, details);
    assert!(updated.version > created.version);
    let [first, second] = &updated.requisitions[..] else { panic!("two requisitions") };
    assert_eq!(first.path, "p");
    let expected = RequisitionDetails {
        nonce: 9,
        external_fulfilling_duchy_id: "w".into(),
        public_api_version: "v2alpha".into(),
        protocol: fulfillment("p").protocol,
        ..Default::default()
    };
    assert_eq!(first.details.as_ref(), Some(&expected));
    assert_eq!(second, &created.requisitions[1], "requisitions not named stay");
}

pub async fn an_unknown_requisition_spoils_the_whole_update(h: Harness) {
    let created = h.create("c1", NON_AGGREGATOR).await;
    h.create("c2", NON_AGGREGATOR).await;
    let mut details = created.details.clone();
    details.blobs_storage_prefix = "prefix".into();
    for (id, foreign) in [("nobody's", false), ("c2/1", true)] {
        let mut known = requisition("c1/1");
        known.value.get_or_insert_default().nonce = 9;
        let update = vec![known, requisition(id)];
        let refused = h.store.update_details(&created.guard(), details.clone(), update).await;
        match refused {
            Err(StoreError::RequisitionNotFound(_)) => assert!(!foreign),
            Err(StoreError::ForeignRequisition { .. }) => assert!(foreign),
            other => panic!("{other:?}"),
        }
        h.assert_unchanged(&created).await;
    }
}

pub async fn racing_fulfillments_are_all_kept(h: Harness) {
    let id = h.create("c1", NON_AGGREGATOR).await.local_id;
    let racers = ["c1/1", "c1/2"].into_iter().flat_map(|requisition| {
        [&h.store, &h.other].map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                store.record_fulfillment(id, &key(requisition), fulfillment(requisition)).await
            })
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.expect("a racer").expect("fulfill");
    }
    let paths = h.store.get("c1").await.expect("get").requisitions.into_iter().map(|r| r.path);
    assert_eq!(paths.collect::<Vec<_>>(), ["c1/1", "c1/2"]);
}
