//! What is different in a share shuffle: who gets which requisition, whose key is shown, and no confirmation.

use super::*;
use crate::kingdom::config::ShareShuffleSettings;
use crate::proto::api::protocol_config::protocol::Protocol as PublicProtocol;
use crate::proto::api::requisition::{DuchyEntry, State as RequisitionState, duchy_entry};
use crate::proto::api::{ListRequisitionsRequest, Requisition, measurement_spec::Reach};
use crate::proto::system::computation::mpc_protocol_config::Protocol as SystemProtocol;

const WORKERS: [&str; 2] = ["worker1", "worker2"];

async fn start() -> Trial {
    let settings = ShareShuffleSettings {
        reach_ring_modulus: 131,
        ..ShareShuffleSettings::of(WORKERS.map(str::to_owned), "aggregator".to_owned())
    };
    Trial::of(Protocol::HonestMajorityShareShuffle(settings), StreamSettings::default()).await
}

fn params(computation: &str, duchy: &str, key: &str) -> SetParticipantRequisitionParamsRequest {
    let mut request = params_request(computation, duchy, "");
    let protocol = requisition_params::HonestMajorityShareShuffle {
        tink_public_key: key.into(),
        tink_public_key_signature: format!("signature of {duchy}").into_bytes(),
        tink_public_key_signature_algorithm_oid: "1.2.840.10045.4.3.2".into(),
    };
    request.requisition_params.as_mut().unwrap().protocol =
        Some(requisition_params::Protocol::HonestMajorityShareShuffle(protocol));
    request
}

impl Trial {
    async fn set(&self, computation: &str, duchy: &str, key: &str) -> Result<ComputationParticipant, Status> {
        let request = params(computation, duchy, key);
        Ok(self.participants(duchy).set_participant_requisition_params(request).await?.into_inner())
    }

    async fn set_all(&self, computation: &str) {
        for duchy in WORKERS {
            self.set(computation, duchy, &format!("key of {duchy}")).await.unwrap();
        }
        self.set(computation, "aggregator", "").await.unwrap();
    }

    /// The requisition that waits for `data_provider`.
    async fn requisition(&self, data_provider: &str) -> Requisition {
        let parent = format!("dataProviders/{data_provider}");
        let request = ListRequisitionsRequest { parent, ..Default::default() };
        let found = self.data_provider(data_provider).list_requisitions(request).await.unwrap();
        let mut found = found.into_inner().requisitions;
        found.retain(|requisition| requisition.state() == RequisitionState::Unfulfilled);
        found.remove(0)
    }

    /// The duchy that a requisition is assigned to, by the nonce of its data provider.
    fn assigned(&self, computation: &str, data_provider: &str) -> String {
        let hash = Sha256::digest(nonce(data_provider).to_be_bytes()).to_vec();
        let requisitions = self.kingdom.computation(computation).unwrap().requisitions;
        let found = requisitions.into_iter().find(|found| found.nonce_hash == hash).unwrap();
        let (_, duchy) = found.fulfilling_computation_participant.rsplit_once('/').unwrap();
        duchy.to_owned()
    }
}

fn key(entry: &DuchyEntry) -> Option<Vec<u8>> {
    match entry.value.as_ref().unwrap().protocol.as_ref().unwrap() {
        duchy_entry::value::Protocol::HonestMajorityShareShuffle(entry) => {
            Some(entry.public_key.as_ref()?.message.as_ref().unwrap().value.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn computation_starts_with_the_last_requisition() {
    let trial = start().await;
    let (_, computation) = trial.create().await;
    for duchy in WORKERS {
        let set = trial.set(&computation, duchy, &format!("key of {duchy}")).await.unwrap();
        assert_eq!(set.state(), ParticipantState::Ready);
    }
    assert_eq!(trial.state(&computation), ComputationState::PendingRequisitionParams);
    trial.set(&computation, "aggregator", "").await.unwrap();
    assert_eq!(trial.state(&computation), ComputationState::PendingRequisitionFulfillment);
    let early = trial.confirm(&computation, "worker1", "").await;
    assert_eq!(code(early), Code::FailedPrecondition);
    for data_provider in DATA_PROVIDERS {
        let duchy = trial.assigned(&computation, data_provider);
        trial.fulfill(&computation, data_provider, &duchy).await.unwrap();
    }
    assert_eq!(trial.state(&computation), ComputationState::PendingComputation);
}

#[tokio::test]
async fn only_the_key_of_the_other_worker_is_shown() {
    let trial = start().await;
    let mut seen = std::collections::BTreeSet::new();
    // Ids are random: after some measurements each worker has had its turn.
    for _ in 0..8 {
        let (_, computation) = trial.create().await;
        trial.set_all(&computation).await;
        let requisition = trial.requisition("news").await;
        let assigned = trial.assigned(&computation, "news");
        assert_eq!(requisition.duchies.len(), 2, "the aggregator is none of the data provider's business");
        for (entry, duchy) in requisition.duchies.iter().zip(WORKERS) {
            assert_eq!(entry.key, format!("duchies/{duchy}"));
            let expected = (duchy != assigned).then(|| format!("key of {duchy}").into_bytes());
            assert_eq!(key(entry), expected);
        }
        trial.fulfill(&computation, "news", &assigned).await.unwrap();
        seen.insert(assigned);
    }
    assert_eq!(seen.len(), 2);
    assert_eq!(trial.kingdom.violations(), []);
}

#[tokio::test]
async fn everyone_is_told_the_ring_modulus_of_the_measurement() {
    let trial = start().await;
    let privacy_params = Some(DifferentialPrivacyParams { epsilon: 0.1, delta: 1e-9 });
    let reach = MeasurementType::Reach(Reach { privacy_params });
    for (spec, expected) in
        [(spec(), 127), (MeasurementSpec { measurement_type: Some(reach), ..spec() }, 131)]
    {
        let request = CreateMeasurementRequest { measurement: Some(measurement(&spec)), ..create_request() };
        let created = trial.consumer().create_measurement(request).await.unwrap().into_inner();
        let [protocol] = created.protocol_config.unwrap().protocols.try_into().unwrap();
        let Some(PublicProtocol::HonestMajorityShareShuffle(config)) = protocol.protocol else {
            panic!("another protocol");
        };
        assert_eq!(config.ring_modulus, expected);
    }
    let computation = trial.kingdom.computation(&trial.kingdom.computations()[0]).unwrap();
    assert_eq!(computation.computation_participants.len(), 3);
    let config = computation.mpc_protocol_config.unwrap().protocol;
    let Some(SystemProtocol::HonestMajorityShareShuffle(config)) = config else { panic!("another protocol") };
    assert_eq!((config.reach_and_frequency_ring_modulus, config.reach_ring_modulus), (127, 131));
}

#[tokio::test]
async fn workers_have_keys_and_the_aggregator_has_none() {
    let trial = start().await;
    let (_, computation) = trial.create().await;
    assert_eq!(code(trial.set(&computation, "worker1", "").await), Code::InvalidArgument);
    assert_eq!(code(trial.set(&computation, "aggregator", "key").await), Code::InvalidArgument);
    let other = trial.set_params(&computation, "worker1", "").await;
    assert_eq!(code(other), Code::InvalidArgument, "keys of another protocol");
}

#[tokio::test]
async fn fulfilment_at_the_wrong_worker_is_noticed() {
    let trial = start().await;
    let (_, computation) = trial.create().await;
    trial.set_all(&computation).await;
    let assigned = trial.assigned(&computation, "news");
    let other = WORKERS.into_iter().find(|duchy| *duchy != assigned).unwrap();
    trial.fulfill(&computation, "news", other).await.unwrap();
    let violations = trial.kingdom.violations();
    assert!(
        matches!(&violations[..], [Violation::FulfilledElsewhere { duchy, .. }] if duchy == other),
        "{violations:?}"
    );
}
