use super::*;
use crate::proto::api::measurement::State as MeasurementState;
use crate::proto::api::{GetMeasurementRequest, ListRequisitionsRequest};
use crate::proto::system::SetComputationResultRequest;
use crate::proto::system::computation::mpc_protocol_config::Protocol as MpcProtocol;
use crate::proto::system::requisition::State as RequisitionState;

pub(super) fn result_request(computation: &str, duchy: &str) -> SetComputationResultRequest {
    SetComputationResultRequest {
        name: computation.to_owned(),
        aggregator_certificate: format!("duchies/{duchy}/certificates/1"),
        result_public_key: b"keyset".to_vec(),
        encrypted_result: b"reach 2048".to_vec(),
        public_api_version: "v2alpha".into(),
    }
}

#[tokio::test]
async fn computation_goes_from_creation_to_result() {
    let trial = Trial::start().await;
    let (created, computation) = trial.create().await;
    assert_eq!(created.state(), MeasurementState::AwaitingRequisitionFulfillment);
    assert_eq!(trial.state(&computation), ComputationState::PendingRequisitionParams);

    let found = trial.kingdom.computation(&computation).unwrap();
    assert_eq!((found.public_api_version.as_str(), found.computation_participants.len()), ("v2alpha", 3));
    assert_eq!(MeasurementSpec::decode(found.measurement_spec.as_slice()).unwrap(), spec());
    let Some(MpcProtocol::LiquidLegionsV2(config)) = found.mpc_protocol_config.unwrap().protocol else {
        panic!("another protocol");
    };
    assert_eq!((config.elliptic_curve_id, config.sketch_params.unwrap().max_size), (415, 1_000_000));
    for requisition in &found.requisitions {
        assert_eq!((requisition.state(), requisition.nonce), (RequisitionState::Unfulfilled, 0));
        assert_eq!(requisition.fulfilling_computation_participant, "");
    }
    let hashes: Vec<_> = found.requisitions.iter().map(|found| found.requisition_spec_hash.clone()).collect();
    for id in DATA_PROVIDERS {
        assert!(hashes.contains(&Sha256::digest(format!("spec for {id}")).to_vec()));
    }

    // Data providers see nothing until all duchies have set their keys.
    let list = || ListRequisitionsRequest { parent: "dataProviders/news".into(), ..Default::default() };
    for duchy in DUCHIES {
        let listed = trial.data_provider("news").list_requisitions(list()).await.unwrap().into_inner();
        assert_eq!(listed.requisitions, []);
        let before = trial.participant(&computation, duchy).await;
        assert_eq!((before.state(), &before.requisition_params), (ParticipantState::Created, &None));
        let after = trial.set_params(&computation, duchy, &before.etag).await.unwrap();
        assert_eq!(after.state(), ParticipantState::RequisitionParamsSet);
        assert_eq!(after, trial.participant(&computation, duchy).await);
        assert_ne!(after.etag, before.etag);
        let der = after.requisition_params.unwrap().duchy_certificate_der;
        assert_eq!(der, format!("certificate of duchies/{duchy}").into_bytes());
    }
    assert_eq!(trial.state(&computation), ComputationState::PendingRequisitionFulfillment);
    let listed = trial.data_provider("news").list_requisitions(list()).await.unwrap().into_inner();
    let [requisition] = listed.requisitions.try_into().unwrap();
    assert_eq!(requisition.duchies.len(), 3);
    assert_eq!(requisition.measurement, created.name);

    trial.fulfill(&computation, "news", "worker1").await.unwrap();
    assert_eq!(trial.state(&computation), ComputationState::PendingRequisitionFulfillment);
    trial.fulfill(&computation, "video", "aggregator").await.unwrap();
    assert_eq!(trial.state(&computation), ComputationState::PendingParticipantConfirmation);
    let found = trial.kingdom.computation(&computation).unwrap();
    for requisition in found.requisitions {
        let (nonce, duchy) =
            if requisition.nonce == nonce("news") { ("news", "worker1") } else { ("video", "aggregator") };
        assert_eq!(requisition.nonce, super::nonce(nonce));
        assert_eq!(requisition.fulfilling_computation_participant, participant_name(&computation, duchy));
        assert_eq!(requisition.state(), RequisitionState::Fulfilled);
    }

    for duchy in DUCHIES {
        assert_eq!(trial.state(&computation), ComputationState::PendingParticipantConfirmation);
        let etag = trial.participant(&computation, duchy).await.etag;
        assert_eq!(trial.confirm(&computation, duchy, &etag).await.unwrap().state(), ParticipantState::Ready);
    }
    assert_eq!(trial.state(&computation), ComputationState::PendingComputation);

    let request = result_request(&computation, "aggregator");
    let done = trial.computations("aggregator").set_computation_result(request).await.unwrap().into_inner();
    assert_eq!(
        (done.state(), done.encrypted_result.as_slice()),
        (ComputationState::Succeeded, &b"reach 2048"[..])
    );
    let request = GetMeasurementRequest { name: created.name };
    let measurement = trial.consumer().get_measurement(request).await.unwrap().into_inner();
    assert_eq!(measurement.state(), MeasurementState::Succeeded);
    let [output] = measurement.results.try_into().unwrap();
    assert_eq!(output.certificate, "duchies/aggregator/certificates/1");
    assert_eq!(output.encrypted_result.unwrap().ciphertext, b"reach 2048");
    assert_eq!(trial.kingdom.violations(), []);
}

#[tokio::test]
async fn cancelled_measurement_is_over() {
    let trial = Trial::start().await;
    let (created, computation) = trial.create().await;
    trial.kingdom.cancel_measurement(&created.name).unwrap();
    assert_eq!(trial.state(&computation), ComputationState::Cancelled);
    let found = trial.kingdom.computation(&computation).unwrap();
    assert!(found.requisitions.iter().all(|found| found.state() == RequisitionState::Withdrawn));
    let again = trial.kingdom.cancel_measurement(&created.name).unwrap_err();
    assert!(matches!(again, KingdomError::ComputationState { state: ComputationState::Cancelled, .. }));
    assert_eq!(code(trial.set_params(&computation, "worker1", "").await), Code::FailedPrecondition);
}
