//! Listing and deleting many.

use futures::TryStreamExt;

use super::super::*;
use super::{Fixture, PLACE};
use crate::clock::{Clock, SystemClock};

const SENT: Place<'static> = Place::Requisition { computation: "c1", requisition: "r1" };

async fn list(store: &BlobStore) -> Vec<StoredObject> {
    let mut found: Vec<_> = store.list().try_collect().await.expect("a list");
    found.sort_by(|a, b| a.key().cmp(b.key()));
    found
}

pub(super) async fn objects_tell_whose_they_are(f: Fixture) {
    let computed = f.store.write(PLACE, &b"registers"[..]).await.expect("write");
    let sent = f.store.write(SENT, &b"sketch"[..]).await.expect("write");
    f.store.write_private_key("7", b"sealed!".to_vec()).await.expect("write");
    let found = list(&f.store).await;
    let told: Vec<_> = found.iter().map(|object| (object.owner.clone(), object.bytes)).collect();
    let expected = [
        (Owner::Stage("c1".into()), 9),
        (Owner::Requisition("c1".into()), 6),
        (Owner::PrivateKey("7".into()), 7),
    ];
    assert_eq!(told, expected);
    for (object, blob) in found.iter().zip([computed, sent]) {
        assert_eq!(object.key(), f.store.key_of(&blob.path).expect("a key"));
        let age = SystemClock.now().millis() - object.modified.millis();
        assert!((-60_000..60_000).contains(&age), "{age} ms");
    }
}

pub(super) async fn a_duchy_sees_its_own_objects(f: Fixture) {
    let other = f.of("duchy-ab");
    for store in [&f.store, &other] {
        store.write(PLACE, &b"registers"[..]).await.expect("write");
    }
    assert_eq!(list(&f.store).await.len(), 1, "a name that begins another is another");
    assert_eq!(list(&other).await.len(), 1);
    f.store.delete_stages("c1").await.expect("delete");
    assert_eq!(list(&other).await.len(), 1);
    assert_eq!(list(&f.of("nobody")).await, []);
}

pub(super) async fn the_stages_of_a_computation_go_together(f: Fixture) {
    let sent = f.store.write(SENT, &b"sketch"[..]).await.expect("write");
    let other = Place::Stage { computation: "c10", stage: "SETUP_PHASE", attempt: 1 };
    let other = f.store.write(other, &b"another's"[..]).await.expect("write");
    for attempt in 1..=5 {
        let place = Place::Stage { computation: "c1", stage: "EXECUTION_PHASE_ONE", attempt };
        f.store.write(place, &b"registers"[..]).await.expect("write");
    }
    assert_eq!(f.store.delete_stages("c1").await.expect("delete"), 5);
    assert_eq!(f.store.delete_stages("c1").await.expect("delete again"), 0);
    let left: Vec<_> = list(&f.store).await.iter().map(|object| object.key().to_owned()).collect();
    assert_eq!(left, [&other, &sent].map(|blob| f.store.key_of(&blob.path).expect("a key")));
}

pub(super) async fn objects_are_deleted_many_at_a_time(f: Fixture) {
    for _ in 0..10 {
        f.store.write(PLACE, &b"registers"[..]).await.expect("write");
    }
    let found = list(&f.store).await;
    let deleted = f.store.delete_objects(&found[..9]).await;
    assert_eq!(deleted, found[..9]);
    assert_eq!(list(&f.store).await, found[9..]);
}
