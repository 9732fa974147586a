use super::life_cycle::result_request;
use super::*;
use crate::proto::api::GetMeasurementRequest;
use crate::proto::api::measurement::State as MeasurementState;
use crate::proto::api::measurement::failure::Reason;
use crate::proto::system::computation_log_entries_client::ComputationLogEntriesClient;
use crate::proto::system::computation_log_entry::{ErrorDetails, error_details};
use crate::proto::system::computation_participant::Failure;
use crate::proto::system::requisition::State as RequisitionState;
use crate::proto::system::{
    CreateComputationLogEntryRequest, FailComputationParticipantRequest, GetComputationRequest, StageAttempt,
};

const UNKNOWN_COMPUTATION: &str = "computations/AAAAAAAAAAE";

#[tokio::test]
async fn caller_must_be_a_known_duchy() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let request = GetComputationRequest { name: computation.clone() };
    let mut nobody = ComputationsClient::new(trial.channel.clone());
    assert_eq!(code(nobody.get_computation(request.clone()).await), Code::Unauthenticated);
    let mut data_provider = trial.as_caller("dataProviders/news", ComputationsClient::with_interceptor);
    assert_eq!(code(data_provider.get_computation(request.clone()).await), Code::PermissionDenied);
    assert_eq!(
        trial.computations("worker1").get_computation(request).await.unwrap().into_inner().name,
        computation
    );
    let request = GetComputationRequest { name: UNKNOWN_COMPUTATION.into() };
    assert_eq!(code(trial.computations("worker1").get_computation(request).await), Code::Unknown);
    let request = GetComputationRequest { name: "computations/x".into() };
    assert_eq!(code(trial.computations("worker1").get_computation(request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn participant_belongs_to_its_duchy() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let name = participant_name(&computation, "worker1");
    let mut worker2 = trial.participants("worker2");
    let get = GetComputationParticipantRequest { name: name.clone() };
    assert_eq!(code(worker2.get_computation_participant(get).await), Code::PermissionDenied);
    let set = params_request(&computation, "worker1", "");
    assert_eq!(code(worker2.set_participant_requisition_params(set).await), Code::PermissionDenied);
    let confirm = ConfirmComputationParticipantRequest { name: name.clone(), ..Default::default() };
    assert_eq!(code(worker2.confirm_computation_participant(confirm).await), Code::PermissionDenied);
    let fail = FailComputationParticipantRequest { name, ..Default::default() };
    assert_eq!(code(worker2.fail_computation_participant(fail).await), Code::PermissionDenied);

    let get = GetComputationParticipantRequest { name: participant_name(UNKNOWN_COMPUTATION, "worker2") };
    assert_eq!(code(worker2.get_computation_participant(get).await), Code::NotFound);
    let get = GetComputationParticipantRequest { name: computation.clone() };
    assert_eq!(code(worker2.get_computation_participant(get).await), Code::InvalidArgument);
    let stranger = participant_name(&computation, "stranger");
    let get = GetComputationParticipantRequest { name: stranger };
    assert_eq!(code(trial.participants("stranger").get_computation_participant(get).await), Code::NotFound);
}

#[tokio::test]
async fn params_are_set_once_with_a_valid_certificate() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let mut worker1 = trial.participants("worker1");
    let with = |change: &dyn Fn(&mut RequisitionParams)| {
        let mut request = params_request(&computation, "worker1", "");
        change(request.requisition_params.as_mut().unwrap());
        request
    };
    let other = with(&|params| params.duchy_certificate = "duchies/worker2/certificates/1".into());
    assert_eq!(code(worker1.set_participant_requisition_params(other).await), Code::InvalidArgument);
    let unknown = with(&|params| params.duchy_certificate = "duchies/worker1/certificates/2".into());
    assert_eq!(code(worker1.set_participant_requisition_params(unknown).await), Code::FailedPrecondition);
    let none = with(&|params| params.protocol = None);
    assert_eq!(code(worker1.set_participant_requisition_params(none).await), Code::InvalidArgument);
    let trus_tee =
        with(&|params| params.protocol = Some(requisition_params::Protocol::TrusTee(Default::default())));
    assert_eq!(code(worker1.set_participant_requisition_params(trus_tee).await), Code::InvalidArgument);

    assert_eq!(code(trial.set_params(&computation, "worker1", "old").await), Code::Aborted);
    trial.set_params(&computation, "worker1", "").await.unwrap();
    assert_eq!(code(trial.set_params(&computation, "worker1", "").await), Code::FailedPrecondition);
    assert_eq!(trial.kingdom.violations(), []);

    let changed = with(&|params| {
        let key = requisition_params::LiquidLegionsV2 { el_gamal_public_key: vec![1], ..Default::default() };
        params.protocol = Some(requisition_params::Protocol::LiquidLegionsV2(key));
    });
    assert_eq!(code(worker1.set_participant_requisition_params(changed).await), Code::FailedPrecondition);
    assert!(
        matches!(trial.kingdom.violations().as_slice(), [Violation::ParamsChanged { duchy, .. }] if duchy == "worker1")
    );

    trial.kingdom.revoke_certificate("duchies/worker2/certificates/1").unwrap();
    assert_eq!(code(trial.set_params(&computation, "worker2", "").await), Code::FailedPrecondition);
}

#[tokio::test]
async fn confirmation_waits_for_the_requisitions() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    trial.set_all_params(&computation).await;
    assert_eq!(code(trial.confirm(&computation, "worker1", "").await), Code::FailedPrecondition);
    assert!(matches!(trial.kingdom.violations().as_slice(), [Violation::ConfirmedEarly { .. }]));

    for data_provider in DATA_PROVIDERS {
        trial.fulfill(&computation, data_provider, "worker2").await.unwrap();
    }
    assert_eq!(code(trial.confirm(&computation, "worker1", "old").await), Code::Aborted);
    trial.confirm(&computation, "worker1", "").await.unwrap();
    assert_eq!(code(trial.confirm(&computation, "worker1", "").await), Code::FailedPrecondition);
}

#[tokio::test]
async fn fulfilment_is_checked() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let request = trial.fulfill_request(&computation, "news");
    let mut worker1 = trial.requisitions("worker1");
    assert_eq!(code(worker1.fulfill_requisition(request.clone()).await), Code::FailedPrecondition);
    trial.set_all_params(&computation).await;

    let with = |change: &dyn Fn(&mut FulfillRequisitionRequest)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let zero = with(&|request| request.nonce = 0);
    assert_eq!(code(worker1.fulfill_requisition(zero).await), Code::InvalidArgument);
    let unnamed = with(&|request| request.name = "dataProviders/news/requisitions/1".into());
    assert_eq!(code(worker1.fulfill_requisition(unnamed).await), Code::InvalidArgument);
    let unknown = with(&|request| request.name = format!("{computation}/requisitions/AAAAAAAAAAE"));
    assert_eq!(code(worker1.fulfill_requisition(unknown).await), Code::NotFound);
    let outdated = with(&|request| request.etag = "old".into());
    assert_eq!(code(worker1.fulfill_requisition(outdated).await), Code::Aborted);
    let mut data_provider = trial.as_caller("dataProviders/news", RequisitionsClient::with_interceptor);
    assert_eq!(code(data_provider.fulfill_requisition(request.clone()).await), Code::PermissionDenied);

    worker1.fulfill_requisition(request.clone()).await.unwrap();
    assert_eq!(code(worker1.fulfill_requisition(request).await), Code::FailedPrecondition);
    assert_eq!(trial.kingdom.violations(), []);

    let mut wrong = trial.fulfill_request(&computation, "video");
    wrong.nonce += 1;
    worker1.fulfill_requisition(wrong).await.unwrap();
    assert!(matches!(trial.kingdom.violations().as_slice(), [Violation::WrongNonce { .. }]));
}

#[tokio::test]
async fn result_needs_the_aggregators_certificate_and_comes_once() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    trial.start_computation(&computation).await;
    let mut aggregator = trial.computations("aggregator");
    let with = |change: &dyn Fn(&mut crate::proto::system::SetComputationResultRequest)| {
        let mut request = result_request(&computation, "aggregator");
        change(&mut request);
        request
    };
    let other = with(&|request| request.aggregator_certificate = "duchies/worker1/certificates/1".into());
    assert_eq!(code(aggregator.set_computation_result(other).await), Code::PermissionDenied);
    let foreign =
        with(&|request| request.aggregator_certificate = "dataProviders/news/certificates/1".into());
    assert_eq!(code(aggregator.set_computation_result(foreign).await), Code::InvalidArgument);
    let unversioned = with(&|request| request.public_api_version.clear());
    assert_eq!(code(aggregator.set_computation_result(unversioned).await), Code::InvalidArgument);
    let unknown =
        with(&|request| request.aggregator_certificate = "duchies/aggregator/certificates/2".into());
    assert_eq!(code(aggregator.set_computation_result(unknown).await), Code::Unknown);
    let unknown = with(&|request| request.name = UNKNOWN_COMPUTATION.into());
    assert_eq!(code(aggregator.set_computation_result(unknown).await), Code::Unknown);

    aggregator.set_computation_result(with(&|_| ())).await.unwrap();
    assert_eq!(code(aggregator.set_computation_result(with(&|_| ())).await), Code::Unknown);
    assert_eq!(trial.kingdom.violations(), []);
    let another = with(&|request| request.encrypted_result.push(0));
    assert_eq!(code(aggregator.set_computation_result(another).await), Code::Unknown);
    assert!(matches!(trial.kingdom.violations().as_slice(), [Violation::SecondResult { .. }]));
}

#[tokio::test]
async fn early_result_is_taken_and_reported() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let request = result_request(&computation, "aggregator");
    trial.computations("aggregator").set_computation_result(request).await.unwrap();
    assert!(matches!(
        trial.kingdom.violations().as_slice(),
        [Violation::UnexpectedResult { state: ComputationState::PendingRequisitionParams, .. }]
    ));
}

pub(super) fn fail_request(computation: &str, duchy: &str, text: &str) -> FailComputationParticipantRequest {
    FailComputationParticipantRequest {
        name: participant_name(computation, duchy),
        failure: Some(Failure { error_message: text.into(), ..Default::default() }),
        ..Default::default()
    }
}

#[tokio::test]
async fn failed_participant_fails_the_measurement() {
    let trial = Trial::start().await;
    let (created, computation) = trial.create().await;
    trial.set_all_params(&computation).await;
    trial.fulfill(&computation, "news", "worker1").await.unwrap();
    let mut worker1 = trial.participants("worker1");
    let outdated =
        FailComputationParticipantRequest { etag: "old".into(), ..fail_request(&computation, "worker1", "") };
    assert_eq!(code(worker1.fail_computation_participant(outdated).await), Code::Aborted);

    let request = fail_request(&computation, "worker1", "disk full");
    let failed = worker1.fail_computation_participant(request.clone()).await.unwrap().into_inner();
    assert_eq!(failed.state(), ParticipantState::Failed);
    assert_eq!(failed.failure.unwrap().error_message, "disk full");
    let found = trial.kingdom.computation(&computation).unwrap();
    assert_eq!(found.state(), ComputationState::Failed);
    let mut states: Vec<_> = found.requisitions.iter().map(|found| found.state()).collect();
    states.sort_unstable();
    assert_eq!(states, [RequisitionState::Fulfilled, RequisitionState::Withdrawn]);

    let request_name = GetMeasurementRequest { name: created.name };
    let measurement = trial.consumer().get_measurement(request_name).await.unwrap().into_inner();
    assert_eq!(measurement.state(), MeasurementState::Failed);
    let failure = measurement.failure.unwrap();
    assert_eq!(failure.reason(), Reason::ComputationParticipantFailed);
    assert!(failure.message.contains("worker1") && failure.message.contains("disk full"), "{failure:?}");
    assert_eq!(code(worker1.fail_computation_participant(request).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn log_entries_are_the_callers_and_transient() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let mut worker1 = trial.as_caller("duchies/worker1", ComputationLogEntriesClient::with_interceptor);
    let entry = |parent: &str, text: &str, kind: Option<error_details::Type>, attempt: i64| {
        CreateComputationLogEntryRequest {
            parent: parent.to_owned(),
            computation_log_entry: Some(ComputationLogEntry {
                log_message: text.into(),
                stage_attempt: Some(StageAttempt { stage: 6, attempt_number: attempt, ..Default::default() }),
                error_details: kind.map(|kind| ErrorDetails { r#type: kind.into(), ..Default::default() }),
                ..Default::default()
            }),
        }
    };
    let own = participant_name(&computation, "worker1");
    let created = worker1
        .create_computation_log_entry(entry(&own, "claimed", Some(error_details::Type::Transient), 2))
        .await
        .unwrap()
        .into_inner();
    assert!(created.name.starts_with(&format!("{own}/logEntries/")), "{}", created.name);
    assert_eq!(trial.kingdom.log_entries(&computation), [("worker1".to_owned(), created)]);

    let permanent = entry(&own, "", Some(error_details::Type::Permanent), 2);
    assert_eq!(code(worker1.create_computation_log_entry(permanent).await), Code::InvalidArgument);
    let others = entry(&participant_name(&computation, "worker2"), "", None, 2);
    assert_eq!(code(worker1.create_computation_log_entry(others).await), Code::PermissionDenied);
    let unknown = entry(&participant_name(UNKNOWN_COMPUTATION, "worker1"), "", None, 2);
    assert_eq!(code(worker1.create_computation_log_entry(unknown).await), Code::NotFound);
    let empty = CreateComputationLogEntryRequest { parent: own.clone(), computation_log_entry: None };
    assert_eq!(code(worker1.create_computation_log_entry(empty).await), Code::InvalidArgument);

    // A mill that has lost its lease may wake up to tell of its attempt after that of the next holder.
    worker1.create_computation_log_entry(entry(&own, "entered", None, 0)).await.unwrap();
    worker1
        .create_computation_log_entry(entry(&own, "late", Some(error_details::Type::Transient), 1))
        .await
        .unwrap();
    assert_eq!(trial.kingdom.violations(), []);
}

#[tokio::test]
async fn secret_in_a_text_is_noticed() {
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    trial.kingdom.register_secret(&[0xab; SHORTEST_SECRET]);
    trial.kingdom.register_secret(b"short");
    let harmless = fail_request(&computation, "worker1", "a short text of ABABABABABABABA");
    trial.participants("worker1").fail_computation_participant(harmless).await.unwrap();
    assert_eq!(trial.kingdom.violations(), []);
    let text = format!("bad key {}", "AB".repeat(SHORTEST_SECRET));
    let disclosing = fail_request(&computation, "worker2", &text);
    let refused = trial.participants("worker2").fail_computation_participant(disclosing).await;
    assert_eq!(code(refused), Code::FailedPrecondition);
    assert!(matches!(trial.kingdom.violations().as_slice(), [Violation::SecretDisclosed { .. }]));
}

#[tokio::test]
async fn secret_is_noticed_however_it_is_written() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let trial = Trial::start().await;
    let (_, computation) = trial.create().await;
    let secret = b"?>a secret of 25 bytes <?";
    trial.kingdom.register_secret(secret);
    let mut worker1 = trial.as_caller("duchies/worker1", ComputationLogEntriesClient::with_interceptor);
    let texts = [
        format!("the key {} is bad", String::from_utf8_lossy(secret)),
        hex::encode_upper(secret),
        format!("Key({})", STANDARD.encode([secret, &b"and more"[..]].concat())),
        URL_SAFE_NO_PAD.encode(secret),
        format!("{:?}", [&[1], &secret[..], &[2]].concat()),
    ];
    for (noticed, log_message) in texts.into_iter().enumerate() {
        let request = CreateComputationLogEntryRequest {
            parent: participant_name(&computation, "worker1"),
            computation_log_entry: Some(ComputationLogEntry { log_message, ..Default::default() }),
        };
        worker1.create_computation_log_entry(request).await.unwrap();
        assert_eq!(trial.kingdom.violations().len(), noticed + 1);
    }
}
