//! The Kingdom's own service.

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::proto::dev_kingdom::{
    self, CancelMeasurementRequest, ClearFaultsRequest, DescribeMeasurementRequest,
    ExpireMeasurementsRequest, InjectFaultRequest, ListFaultsRequest, ListMeasurementsRequest,
    ListViolationsRequest, PlanMeasurementRequest, PurgeMeasurementsRequest, fault,
};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn delay() -> dev_kingdom::Fault {
    let kind = fault::Kind::Delay(fault::Delay { duration: seconds(0) });
    dev_kingdom::Fault { kind: Some(kind), ..Default::default() }
}

/// A Kingdom by a clock that stands still.
async fn start(clock: Arc<ManualClock>, allow_faults: bool) -> Trial {
    let protocols = vec![Protocol::LiquidLegionsV2(LiquidLegionsSettings::default())];
    let config = KingdomConfig { allow_faults, ..config(protocols, StreamSettings::default()) };
    Trial::around(Kingdom::new(config, clock, ChaCha20Rng::seed_from_u64(1))).await
}

#[tokio::test]
async fn only_the_kingdom_itself_may_call() {
    let trial = Trial::start().await;
    let (created, _) = trial.create().await;
    for caller in ["duchies/worker1", "dataProviders/news", CONSUMER] {
        let mut client = trial.as_caller(caller, DevKingdomClient::with_interceptor);
        let name = created.name.clone();
        let age = seconds(0);
        let refused = [
            code(client.plan_measurement(PlanMeasurementRequest::default()).await),
            code(client.list_measurements(ListMeasurementsRequest::default()).await),
            code(client.describe_measurement(DescribeMeasurementRequest { name: name.clone() }).await),
            code(client.cancel_measurement(CancelMeasurementRequest { name }).await),
            code(client.expire_measurements(ExpireMeasurementsRequest { time_to_live: age }).await),
            code(client.purge_measurements(PurgeMeasurementsRequest { time_to_live: age }).await),
            code(client.list_violations(ListViolationsRequest {}).await),
            code(client.inject_fault(InjectFaultRequest { fault: Some(delay()), duration: None }).await),
            code(client.list_faults(ListFaultsRequest {}).await),
            code(client.clear_faults(ClearFaultsRequest::default()).await),
        ];
        assert_eq!(refused, [Code::PermissionDenied; 10], "{caller}");
    }
    let mut nobody = DevKingdomClient::new(trial.channel.clone());
    assert_eq!(code(nobody.list_faults(ListFaultsRequest {}).await), Code::Unauthenticated);
    assert!(trial.kingdom.faults().is_empty());
}

#[tokio::test]
async fn measurements_are_listed_shown_and_cancelled() {
    let trial = Trial::start().await;
    let (first, _) = trial.create().await;
    let (second, computation) = trial.create().await;
    let mut admin = trial.admin();
    let list = async |states: &[ComputationState]| {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let listed = trial.admin().list_measurements(ListMeasurementsRequest { states }).await.unwrap();
        listed.into_inner().measurements.into_iter().map(|found| found.measurement).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]).await, [first.name.as_str(), &second.name]);

    let cancel = CancelMeasurementRequest { name: first.name.clone() };
    let cancelled = admin.cancel_measurement(cancel.clone()).await.unwrap().into_inner();
    assert_eq!(
        (cancelled.measurement.as_str(), cancelled.state()),
        (&*first.name, ComputationState::Cancelled)
    );
    assert_eq!(code(admin.cancel_measurement(cancel).await), Code::FailedPrecondition);
    assert_eq!(list(&[ComputationState::Cancelled]).await, [first.name]);
    assert_eq!(list(&[ComputationState::PendingRequisitionParams]).await, [second.name.as_str()]);

    let secret = refusals::fail_request(&computation, "worker1", &"ab".repeat(SHORTEST_SECRET));
    trial.kingdom.register_secret(&[0xab; SHORTEST_SECRET]);
    trial.participants("worker1").fail_computation_participant(secret).await.unwrap();
    for name in [&second.name, &computation] {
        let request = DescribeMeasurementRequest { name: name.clone() };
        let shown = admin.describe_measurement(request).await.unwrap().into_inner();
        let summary = shown.summary.unwrap();
        assert_eq!((&summary.measurement, &summary.computation), (&second.name, &computation));
        assert_eq!((summary.protocol.as_str(), summary.state()), ("llv2", ComputationState::Failed));
        assert_eq!(shown.computation, trial.kingdom.computation(&computation));
        assert_eq!(shown.measurement.unwrap().name, second.name);
        let protocol = Protocol::try_from(shown.protocol.unwrap()).unwrap();
        assert_eq!(protocol, Protocol::LiquidLegionsV2(LiquidLegionsSettings::default()));
        let [violation] = shown.violations.try_into().unwrap();
        assert!(violation.contains("worker1 wrote a secret"), "{violation}");
    }
    let listed = admin.list_violations(ListViolationsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.violations.len(), 1);

    for (name, expected) in [
        ("measurementConsumers/shop/measurements/AAAAAAAAAAE", Code::NotFound),
        ("computations/AAAAAAAAAAE", Code::NotFound),
        ("x", Code::InvalidArgument),
    ] {
        let request = DescribeMeasurementRequest { name: name.into() };
        assert_eq!(code(admin.describe_measurement(request).await), expected, "{name}");
        let request = CancelMeasurementRequest { name: name.into() };
        assert_eq!(code(admin.cancel_measurement(request).await), expected, "{name}");
    }
}

#[tokio::test]
async fn old_measurements_are_cancelled_and_then_forgotten() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let trial = start(Arc::clone(&clock), true).await;
    let mut admin = trial.admin();
    let request = CreateMeasurementRequest { request_id: "old".into(), ..create_request() };
    let old = trial.consumer().create_measurement(request.clone()).await.unwrap().into_inner();
    clock.advance(Duration::from_secs(60));
    let (young, _) = trial.create().await;
    clock.advance(Duration::from_secs(1));

    let expire = ExpireMeasurementsRequest { time_to_live: seconds(30) };
    let expired = admin.expire_measurements(expire).await.unwrap().into_inner().measurements;
    assert_eq!(expired, [old.name.as_str()]);
    assert_eq!(admin.expire_measurements(expire).await.unwrap().into_inner().measurements, [""; 0]);

    let purge = |time_to_live| PurgeMeasurementsRequest { time_to_live };
    // It ended just now.
    assert_eq!(
        admin.purge_measurements(purge(seconds(30))).await.unwrap().into_inner().measurements,
        [""; 0]
    );
    clock.advance(Duration::from_secs(31));
    let purged = admin.purge_measurements(purge(seconds(30))).await.unwrap().into_inner().measurements;
    assert_eq!(purged, [old.name.as_str()]);
    let left = admin.list_measurements(ListMeasurementsRequest::default()).await.unwrap().into_inner();
    let left: Vec<_> = left.measurements.iter().map(|found| found.measurement.as_str()).collect();
    assert_eq!(left, [young.name.as_str()]);
    // The request is forgotten with it.
    let again = trial.consumer().create_measurement(request).await.unwrap().into_inner();
    assert_ne!(again.name, old.name);

    for time_to_live in [None, seconds(-1)] {
        let expire = ExpireMeasurementsRequest { time_to_live };
        assert_eq!(code(admin.expire_measurements(expire).await), Code::InvalidArgument);
        assert_eq!(code(admin.purge_measurements(purge(time_to_live)).await), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn faults_are_injected_listed_and_cleared() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let trial = start(Arc::clone(&clock), true).await;
    let mut admin = trial.admin();
    let short = InjectFaultRequest { fault: Some(delay()), duration: seconds(5) };
    let short = admin.inject_fault(short).await.unwrap().into_inner();
    assert_eq!(short.end_time, Some(prost_types::Timestamp { seconds: 1005, nanos: 0 }));
    let counted = dev_kingdom::Fault { calls: 3, method: "GetCertificate".into(), ..delay() };
    let counted = InjectFaultRequest { fault: Some(counted), duration: None };
    let counted = admin.inject_fault(counted).await.unwrap().into_inner();
    let list = async || {
        let listed = trial.admin().list_faults(ListFaultsRequest {}).await.unwrap().into_inner();
        listed.faults
    };
    assert_eq!(list().await, [short.clone(), counted.clone()]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(list().await, std::slice::from_ref(&counted));
    let clear = |ids: &[u64]| ClearFaultsRequest { ids: ids.to_owned() };
    assert_eq!(admin.clear_faults(clear(&[99])).await.unwrap().into_inner().cleared, 0);
    assert_eq!(admin.clear_faults(clear(&[counted.id])).await.unwrap().into_inner().cleared, 1);
    admin.inject_fault(InjectFaultRequest { fault: Some(delay()), duration: None }).await.unwrap();
    admin.clear_faults(clear(&[])).await.unwrap();
    assert_eq!(list().await, []);

    let unknown = dev_kingdom::Fault { method: "Nothing".into(), ..delay() };
    for (fault, duration) in [(None, None), (Some(unknown), None), (Some(delay()), seconds(-1))] {
        let request = InjectFaultRequest { fault, duration };
        assert_eq!(code(admin.inject_fault(request).await), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn faults_have_to_be_allowed() {
    let trial = start(Arc::default(), false).await;
    let request = InjectFaultRequest { fault: Some(delay()), duration: None };
    let refused = trial.admin().inject_fault(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--insecure-dev-faults"), "{refused}");
}

#[tokio::test]
async fn plans_come_over_the_wire() {
    let trial = Trial::start().await;
    let protocol = Protocol::ReachOnlyLiquidLegionsV2(LiquidLegionsSettings::default());
    let request = PlanMeasurementRequest {
        parent: CONSUMER.into(),
        request_id: "a".into(),
        protocol: Some((&protocol).into()),
    };
    trial.admin().plan_measurement(request.clone()).await.unwrap();
    let key = ("shop".to_owned(), "a".to_owned());
    assert_eq!(trial.kingdom.state().records.plans.get(&key), Some(&protocol));
    for request in [
        PlanMeasurementRequest { protocol: None, ..request.clone() },
        PlanMeasurementRequest { protocol: Some(Default::default()), ..request.clone() },
        PlanMeasurementRequest { request_id: String::new(), ..request },
    ] {
        assert_eq!(code(trial.admin().plan_measurement(request).await), Code::InvalidArgument);
    }
}
