use super::*;
use crate::proto::api::certificates_client::CertificatesClient;
use crate::proto::api::measurement::failure::Reason;
use crate::proto::api::requisition::refusal::Justification;
use crate::proto::api::requisition::{Refusal, State as RequisitionState, duchy_entry};
use crate::proto::api::{
    GetCertificateRequest, GetMeasurementRequest, ListRequisitionsRequest, RefuseRequisitionRequest,
    Requisition, list_requisitions_request,
};

async fn list(trial: &Trial, data_provider: &str) -> Vec<Requisition> {
    let parent = format!("dataProviders/{data_provider}");
    let request = ListRequisitionsRequest { parent, ..Default::default() };
    trial.data_provider(data_provider).list_requisitions(request).await.unwrap().into_inner().requisitions
}

#[tokio::test]
async fn requisition_shows_the_duchies_signed_keys_and_the_protocol() {
    let trial = Trial::start().await;
    let (created, computation) = trial.create().await;
    trial.set_all_params(&computation).await;
    let [requisition] = list(&trial, "video").await.try_into().unwrap();
    assert_eq!(requisition.encrypted_requisition_spec.unwrap().ciphertext, b"spec for video");
    assert_eq!(requisition.measurement_spec, created.measurement_spec);
    for (entry, duchy) in requisition.duchies.iter().zip(DUCHIES) {
        let value = entry.value.as_ref().unwrap();
        assert_eq!(entry.key, format!("duchies/{duchy}"));
        assert_eq!(value.duchy_certificate, format!("duchies/{duchy}/certificates/1"));
        let Some(duchy_entry::value::Protocol::LiquidLegionsV2(key)) = &value.protocol else {
            panic!("another protocol");
        };
        let signed = key.el_gamal_public_key.as_ref().unwrap();
        assert_eq!(signed.message.as_ref().unwrap().value, format!("key of {duchy}").into_bytes());
        assert_eq!(signed.signature, format!("signature of {duchy}").into_bytes());
    }
    let [protocol] = requisition.protocol_config.unwrap().protocols.try_into().unwrap();
    let Some(crate::proto::api::protocol_config::protocol::Protocol::LiquidLegionsV2(config)) =
        protocol.protocol
    else {
        panic!("another protocol");
    };
    let sketch = config.sketch_params.unwrap();
    assert_eq!((sketch.max_size, sketch.sampling_indicator_size), (1_000_000, 10_000_000));
    assert_eq!((config.maximum_frequency, config.elliptic_curve_id), (10, 415));
}

#[tokio::test]
async fn requisitions_come_in_pages_and_by_state() {
    let trial = Trial::start().await;
    let mut computations = Vec::new();
    for _ in 0..3 {
        let (_, computation) = trial.create().await;
        trial.set_all_params(&computation).await;
        computations.push(computation);
    }
    trial.fulfill(&computations[0], "news", "worker1").await.unwrap();
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let parent = "dataProviders/news".to_owned();
        let request = ListRequisitionsRequest { parent, page_size: 2, page_token, filter: None };
        let page = trial.data_provider("news").list_requisitions(request).await.unwrap().into_inner();
        names.extend(page.requisitions.into_iter().map(|found| found.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    names.dedup();
    assert_eq!(names.len(), 3);

    let filter = list_requisitions_request::Filter {
        states: vec![RequisitionState::Unfulfilled.into()],
        ..Default::default()
    };
    let parent = "dataProviders/news".to_owned();
    let request = ListRequisitionsRequest { parent, filter: Some(filter), ..Default::default() };
    let page = trial.data_provider("news").list_requisitions(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.requisitions.len(), 2);
    assert_eq!(
        code(trial.data_provider("video").list_requisitions(request.clone()).await),
        Code::PermissionDenied
    );
    for bad in [
        ListRequisitionsRequest { page_size: -1, ..request.clone() },
        ListRequisitionsRequest { page_token: "?".into(), ..request.clone() },
        ListRequisitionsRequest { parent: "news".into(), ..request },
    ] {
        assert_eq!(code(trial.data_provider("news").list_requisitions(bad).await), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn refusal_fails_the_measurement() {
    let trial = Trial::start().await;
    let (created, computation) = trial.create().await;
    trial.set_all_params(&computation).await;
    let [requisition] = list(&trial, "news").await.try_into().unwrap();
    let refusal = Refusal { justification: Justification::SpecInvalid.into(), message: "no".into() };
    let request = RefuseRequisitionRequest {
        name: requisition.name.clone(),
        refusal: Some(refusal),
        etag: requisition.etag.clone(),
    };
    let refuse = |request| async { trial.data_provider("news").refuse_requisition(request).await };
    let other = trial.data_provider("video").refuse_requisition(request.clone()).await;
    assert_eq!(code(other), Code::PermissionDenied);
    let silent = RefuseRequisitionRequest { refusal: None, ..request.clone() };
    assert_eq!(code(refuse(silent).await), Code::InvalidArgument);
    let outdated = RefuseRequisitionRequest { etag: "old".into(), ..request.clone() };
    assert_eq!(code(refuse(outdated).await), Code::Aborted);
    let name = "dataProviders/news/requisitions/AAAAAAAAAAE".to_owned();
    assert_eq!(code(refuse(RefuseRequisitionRequest { name, ..request.clone() }).await), Code::NotFound);

    let refused = refuse(request.clone()).await.unwrap().into_inner();
    assert_eq!(
        (refused.state(), refused.refusal.unwrap().message.as_str()),
        (RequisitionState::Refused, "no")
    );
    assert_eq!(trial.state(&computation), ComputationState::Failed);
    assert_eq!(list(&trial, "video").await[0].state(), RequisitionState::Withdrawn);
    let name = GetMeasurementRequest { name: created.name };
    let failure = trial.consumer().get_measurement(name).await.unwrap().into_inner().failure.unwrap();
    assert_eq!(failure.reason(), Reason::RequisitionRefused);
    assert_eq!(
        code(refuse(RefuseRequisitionRequest { etag: String::new(), ..request }).await),
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn repeated_request_finds_the_first_measurement() {
    let trial = Trial::start().await;
    let request = CreateMeasurementRequest { request_id: "once".into(), ..create_request() };
    let first = trial.consumer().create_measurement(request.clone()).await.unwrap().into_inner();
    let second = trial.consumer().create_measurement(request).await.unwrap().into_inner();
    assert_eq!((first, trial.kingdom.computations().len()), (second, 1));
}

#[tokio::test]
async fn measurement_belongs_to_its_consumer() {
    let trial = Trial::start().await;
    let (created, _) = trial.create().await;
    let mut other = trial.as_caller("measurementConsumers/other", MeasurementsClient::with_interceptor);
    let request = GetMeasurementRequest { name: created.name };
    assert_eq!(code(other.get_measurement(request).await), Code::PermissionDenied);
    assert_eq!(code(other.create_measurement(create_request()).await), Code::PermissionDenied);
    let request = GetMeasurementRequest { name: format!("{CONSUMER}/measurements/AAAAAAAAAAE") };
    assert_eq!(code(trial.consumer().get_measurement(request).await), Code::NotFound);
}

#[tokio::test]
async fn malformed_measurements_are_refused() {
    let trial = Trial::start().await;
    let with_spec = |change: &dyn Fn(&mut MeasurementSpec)| {
        let mut spec = spec();
        change(&mut spec);
        measurement(&spec)
    };
    let with = |change: &dyn Fn(&mut Measurement)| {
        let mut measurement = measurement(&spec());
        change(&mut measurement);
        measurement
    };
    let privacy = |epsilon, delta| Some(DifferentialPrivacyParams { epsilon, delta });
    let frequency = |reach_privacy_params, maximum_frequency| {
        Some(MeasurementType::ReachAndFrequency(ReachAndFrequency {
            reach_privacy_params,
            frequency_privacy_params: privacy(1.0, 1e-9),
            maximum_frequency,
        }))
    };
    let interval = |start, width| Some(VidSamplingInterval { start, width });
    let invalid = [
        ("no spec", with(&|found| found.measurement_spec = None)),
        ("unsigned", with(&|found| found.measurement_spec.as_mut().unwrap().signature.clear())),
        (
            "no message",
            with(&|found| {
                found.measurement_spec.as_mut().unwrap().message.as_mut().unwrap().value = vec![0xff; 9];
            }),
        ),
        (
            "too long",
            with(&|found| {
                found.measurement_spec.as_mut().unwrap().message.as_mut().unwrap().value =
                    vec![0; (1 << 20) + 1];
            }),
        ),
        (
            "foreign certificate",
            with(&|found| {
                found.measurement_consumer_certificate = "measurementConsumers/x/certificates/1".into()
            }),
        ),
        ("no data providers", with(&|found| found.data_providers.clear())),
        ("data provider twice", with(&|found| found.data_providers[1] = found.data_providers[0].clone())),
        ("no value", with(&|found| found.data_providers[0].value = None)),
        (
            "no requisition spec",
            with(&|found| {
                found.data_providers[0].value.as_mut().unwrap().encrypted_requisition_spec = None;
            }),
        ),
        (
            "short nonce hash",
            with(&|found| found.data_providers[0].value.as_mut().unwrap().nonce_hash = vec![1]),
        ),
        (
            "other nonce hash",
            with(&|found| {
                found.data_providers[0].value.as_mut().unwrap().nonce_hash = vec![1; 32];
            }),
        ),
        ("no key", with_spec(&|spec| spec.measurement_public_key = None)),
        ("no type", with_spec(&|spec| spec.measurement_type = None)),
        (
            "impressions",
            with_spec(&|spec| {
                spec.measurement_type = Some(MeasurementType::Impression(Default::default()));
            }),
        ),
        ("frequency 1", with_spec(&|spec| spec.measurement_type = frequency(privacy(1.0, 0.0), 1))),
        ("no privacy", with_spec(&|spec| spec.measurement_type = frequency(None, 2))),
        ("epsilon 0", with_spec(&|spec| spec.measurement_type = frequency(privacy(0.0, 0.0), 2))),
        ("epsilon NaN", with_spec(&|spec| spec.measurement_type = frequency(privacy(f64::NAN, 0.0), 2))),
        ("delta 1", with_spec(&|spec| spec.measurement_type = frequency(privacy(1.0, 1.0), 2))),
        ("width 0", with_spec(&|spec| spec.vid_sampling_interval = interval(0.0, 0.0))),
        ("start 1", with_spec(&|spec| spec.vid_sampling_interval = interval(1.0, 0.5))),
        ("width NaN", with_spec(&|spec| spec.vid_sampling_interval = interval(0.0, f32::NAN))),
        ("nonce hash more", with_spec(&|spec| spec.nonce_hashes.push(vec![0; 32]))),
    ];
    for (what, measurement) in invalid {
        let request = CreateMeasurementRequest { measurement: Some(measurement), ..create_request() };
        assert_eq!(code(trial.consumer().create_measurement(request).await), Code::InvalidArgument, "{what}");
    }
    let unknown = with(&|found| {
        found.data_providers[0].value.as_mut().unwrap().data_provider_certificate =
            "dataProviders/news/certificates/9".into();
    });
    let request = CreateMeasurementRequest { measurement: Some(unknown), ..create_request() };
    assert_eq!(code(trial.consumer().create_measurement(request).await), Code::FailedPrecondition);
    assert_eq!(trial.kingdom.computations(), Vec::<String>::new());

    let wrapping = with_spec(&|spec| spec.vid_sampling_interval = interval(0.9, 0.5));
    let request = CreateMeasurementRequest { measurement: Some(wrapping), ..create_request() };
    trial.consumer().create_measurement(request).await.unwrap();
}

#[tokio::test]
async fn certificates_are_public() {
    let trial = Trial::start().await;
    let mut client = trial.as_caller("dataProviders/news", CertificatesClient::with_interceptor);
    let request = |name: &str| GetCertificateRequest { name: name.to_owned() };
    let found = client.get_certificate(request("duchies/worker1/certificates/1")).await.unwrap().into_inner();
    assert_eq!(found.x509_der, b"certificate of duchies/worker1");
    assert_eq!(code(client.get_certificate(request("duchies/worker1/certificates/2")).await), Code::NotFound);
    assert_eq!(code(client.get_certificate(request("worker1")).await), Code::InvalidArgument);
    let mut nobody = CertificatesClient::new(trial.channel.clone());
    let unnamed = nobody.get_certificate(request("duchies/worker1/certificates/1")).await;
    assert_eq!(code(unnamed), Code::Unauthenticated);
}
