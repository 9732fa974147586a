use super::*;
use crate::kingdom::KingdomError;
use crate::party_certificates::PartyCertificateError;
use crate::proto::api::protocol_config::{LiquidLegionsV2, protocol};
use crate::proto::api::requisition::refusal::Justification;
use crate::proto::api::requisition::{DuchyEntry, duchy_entry};
use crate::proto::api::requisition_spec::RequisitionType;
use crate::proto::api::{EncryptedMessage, MeasurementSpec, ProtocolConfig, RequisitionSpec, SignedMessage};

/// A requisition as the Kingdom gives it, and who it is for.
async fn requisition(world: &World) -> (DataProvider, Requisition) {
    let (_, computation) = world.create_measurement(&["edp1"]).await;
    for (duchy, key) in DUCHIES.into_iter().zip(keys()) {
        world.set_key(&computation, duchy, &key, duchy).await;
    }
    let provider = world.data_provider("edp1", &[1, 2, 3]);
    let requisition = provider.waiting().await.unwrap().remove(0);
    (provider, requisition)
}

async fn refusal(provider: &DataProvider, requisition: &Requisition) -> DataProviderError {
    match provider.check(requisition).await {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

fn signed_key(entry: &mut DuchyEntry) -> &mut SignedMessage {
    match entry.value.as_mut().unwrap().protocol.as_mut() {
        Some(duchy_entry::value::Protocol::LiquidLegionsV2(key)) => key.el_gamal_public_key.as_mut().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn message(signed: &mut SignedMessage) -> &mut Vec<u8> {
    &mut signed.message.as_mut().unwrap().value
}

fn protocol(requisition: &mut Requisition) -> &mut LiquidLegionsV2 {
    match requisition.protocol_config.as_mut().unwrap().protocols[0].protocol.as_mut() {
        Some(protocol::Protocol::LiquidLegionsV2(config)) => config,
        other => panic!("{other:?}"),
    }
}

/// What a Kingdom that is not to be trusted might change, and what a data provider must answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_requisitions_are_refused() {
    use DataProviderError as E;
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let (provider, original) = requisition(&world).await;
    assert!(provider.check(&original).await.is_ok());

    type Change = fn(&mut Requisition);
    type Expected = fn(&DataProviderError) -> bool;
    let cases: [(Change, Expected); 13] = [
        (
            |found| message(found.measurement_spec.as_mut().unwrap())[30] ^= 1,
            |error| matches!(error, E::Signature { .. }),
        ),
        (|found| found.measurement_spec = None, |error| matches!(error, E::Malformed("measurement spec"))),
        (
            |found| found.measurement_consumer_certificate = "dataProviders/edp1/certificates/1".into(),
            |error| matches!(error, E::Malformed(_)),
        ),
        (
            |found| found.measurement_consumer_certificate = "measurementConsumers/x/certificates/1".into(),
            |error| matches!(error, E::Certificate(PartyCertificateError::Kingdom { .. })),
        ),
        (
            |found| found.encrypted_requisition_spec.as_mut().unwrap().ciphertext[50] ^= 1,
            |error| matches!(error, E::Decrypt(_)),
        ),
        (|found| found.encrypted_requisition_spec = None, |error| matches!(error, E::Malformed(_))),
        (
            |found| found.protocol_config = Some(ProtocolConfig::default()),
            |error| matches!(error, E::Protocol),
        ),
        (|found| found.duchies.clear(), |error| matches!(error, E::Keys(_))),
        (
            |found| *message(signed_key(&mut found.duchies[0])).last_mut().unwrap() ^= 1,
            |error| matches!(error, E::Signature { what, .. } if what.contains("aggregator")),
        ),
        (
            |found| found.duchies[0].key = "duchies/worker0".into(),
            |error| matches!(error, E::Certificate(PartyCertificateError::OtherParty { .. })),
        ),
        (|found| found.duchies[0] = found.duchies[1].clone(), |error| matches!(error, E::Keys(_))),
        (|found| protocol(found).elliptic_curve_id = 1, |error| matches!(error, E::Keys(_))),
        (
            |found| protocol(found).sketch_params.as_mut().unwrap().max_size = 0,
            |error| matches!(error, E::OutOfRange { value: 0, .. }),
        ),
    ];
    for (case, (change, expected)) in cases.into_iter().enumerate() {
        let mut requisition = original.clone();
        change(&mut requisition);
        let error = refusal(&provider, &requisition).await;
        assert!(expected(&error), "case {case}: {error:?}");
    }
}

/// What a measurement consumer might get wrong: signed all the same, so only its content tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specs_must_belong_together() {
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let (provider, original) = requisition(&world).await;
    let spec = consent::signed_bytes(original.measurement_spec.as_ref().unwrap());
    let spec: MeasurementSpec = prost::Message::decode(spec).unwrap();
    let ciphertext = &original.encrypted_requisition_spec.as_ref().unwrap().ciphertext;
    let plaintext = world.keyset("edp1").decrypt(ciphertext).unwrap();
    let signed: SignedMessage = prost::Message::decode(plaintext.as_slice()).unwrap();
    let order: RequisitionSpec = prost::Message::decode(consent::signed_bytes(&signed)).unwrap();

    let with = |spec: &MeasurementSpec, order: &RequisitionSpec| {
        let signed = world.signer("mc").sign_message("RequisitionSpec", order).unwrap();
        let bytes = prost::Message::encode_to_vec(&signed);
        let ciphertext = world.public_keyset("edp1").encrypt(&bytes, &mut UnwrapErr(SysRng)).unwrap();
        Requisition {
            measurement_spec: Some(world.signer("mc").sign_message("MeasurementSpec", spec).unwrap()),
            encrypted_requisition_spec: Some(EncryptedMessage { ciphertext, ..Default::default() }),
            ..original.clone()
        }
    };
    assert!(provider.check(&with(&spec, &order)).await.is_ok());

    for nonce in [0, order.nonce ^ 1] {
        let other = RequisitionSpec { nonce, ..order.clone() };
        assert!(matches!(refusal(&provider, &with(&spec, &other)).await, DataProviderError::Nonce));
    }
    let other = RequisitionSpec { measurement_public_key: None, ..order.clone() };
    assert!(matches!(refusal(&provider, &with(&spec, &other)).await, DataProviderError::OtherResultKey));
    let population = Some(RequisitionType::Population(Default::default()));
    let other = RequisitionSpec { requisition_type: population, ..order.clone() };
    assert!(matches!(refusal(&provider, &with(&spec, &other)).await, DataProviderError::Filtered));

    let other = MeasurementSpec { measurement_type: None, ..spec.clone() };
    assert!(matches!(refusal(&provider, &with(&other, &order)).await, DataProviderError::MeasurementType));
    let interval = Some(VidSamplingInterval { start: 0.5, width: f32::NAN });
    let other = MeasurementSpec { vid_sampling_interval: interval, ..spec };
    assert!(matches!(refusal(&provider, &with(&other, &order)).await, DataProviderError::Interval(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_of_a_duchy_signed_by_another_ends_the_measurement() {
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let (name, computation) = world.create_measurement(&["edp1"]).await;
    let [first, second] = keys();
    world.set_key(&computation, "worker0", &first, "worker0").await;
    world.set_key(&computation, "aggregator", &second, "worker0").await;
    let provider = world.data_provider("edp1", &[1, 2, 3]);
    let outcomes = provider.fulfill_waiting().await.unwrap();
    let [Outcome::Refused { error, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(error.justification(), Some(Justification::ConsentSignalInvalid));
    assert!(error.to_string().contains("aggregator"), "{error}");
    assert!(world.duchy.received.lock().unwrap().is_empty());
    let over = world.kingdom.cancel_measurement(&name).unwrap_err();
    assert!(matches!(over, KingdomError::ComputationState { state: computation::State::Failed, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_certificate_is_not_relied_on() {
    let world = World::start(&["edp1"], 0, Code::Ok).await;
    let (provider, requisition) = requisition(&world).await;
    world.kingdom.revoke_certificate("duchies/worker0/certificates/1").unwrap();
    let error = refusal(&provider, &requisition).await;
    assert!(matches!(error, DataProviderError::Certificate(PartyCertificateError::Revoked(_))), "{error:?}");
    assert_eq!(error.justification(), Some(Justification::ConsentSignalInvalid));
}
