//! Requisitions of reach-only Liquid Legions v2.

use super::*;
use crate::proto::api::requisition::refusal::Justification;

async fn world(metric: Metric) -> (World, DataProvider) {
    let protocol = Protocol::ReachOnlyLiquidLegionsV2(settings());
    let world = World::of(protocol, &DUCHIES, &["edp1"], 0, Code::Ok).await;
    let (_, computation) = world.create(&["edp1"], metric).await;
    for (duchy, key) in DUCHIES.into_iter().zip(keys()) {
        world.set_key(&computation, duchy, &key, duchy).await;
    }
    let provider = world.data_provider("edp1", &(0..300).flat_map(|vid| [vid, vid]).collect::<Vec<_>>());
    (world, provider)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_are_single_ciphertexts() {
    let (world, provider) = world(Metric::Reach).await;
    let outcomes = provider.fulfill_waiting().await.unwrap();
    let [Outcome::Fulfilled(fulfilled)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!((285..=300).contains(&fulfilled.registers), "{fulfilled:?}");
    assert_eq!(fulfilled.bytes, fulfilled.registers * 66);
    let received = world.duchy.received.lock().unwrap().clone();
    assert_eq!(body(&received[0]).len(), fulfilled.bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_other_protocol_do_not_count() {
    let (_world, provider) = world(Metric::Reach).await;
    let mut requisition = provider.waiting().await.unwrap().remove(0);
    assert!(provider.check(&requisition).await.is_ok());
    for entry in &mut requisition.duchies {
        use crate::proto::api::requisition::duchy_entry::value::Protocol as Case;
        let value = entry.value.as_mut().unwrap();
        let Some(Case::ReachOnlyLiquidLegionsV2(key)) = value.protocol.take() else { panic!("another") };
        value.protocol = Some(Case::LiquidLegionsV2(key));
    }
    let Err(error) = provider.check(&requisition).await else { panic!("keys of another protocol") };
    assert!(matches!(error, DataProviderError::Protocol), "{error:?}");
    assert_eq!(error.justification(), Some(Justification::Unfulfillable));
}
