//! Which protocol a measurement is computed by.

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::kingdom::config::{ActiveWindow, DuchySelection, ShareShuffleSettings};
use crate::proto::api::measurement_spec::Reach;
use crate::proto::system::computation::mpc_protocol_config::{NoiseMechanism, Protocol as SystemProtocol};

fn sketch(noise_mechanism: NoiseMechanism) -> LiquidLegionsSettings {
    LiquidLegionsSettings { noise_mechanism, ..LiquidLegionsSettings::default() }
}

fn share_shuffle() -> Protocol {
    let workers = ["worker1", "worker2"].map(str::to_owned);
    Protocol::HonestMajorityShareShuffle(ShareShuffleSettings::of(workers, "aggregator".to_owned()))
}

fn reach_spec() -> MeasurementSpec {
    let privacy_params = Some(DifferentialPrivacyParams { epsilon: 0.1, delta: 1e-9 });
    MeasurementSpec { measurement_type: Some(MeasurementType::Reach(Reach { privacy_params })), ..spec() }
}

impl Trial {
    async fn with_protocols(protocols: Vec<Protocol>) -> Self {
        let config = config(protocols, StreamSettings::default());
        Self::around(Kingdom::new(config, Arc::new(SystemClock), ChaCha20Rng::seed_from_u64(1))).await
    }

    async fn request(&self, spec: &MeasurementSpec, request_id: &str) -> Result<Measurement, Status> {
        let request = CreateMeasurementRequest {
            measurement: Some(measurement(spec)),
            request_id: request_id.to_owned(),
            ..create_request()
        };
        Ok(self.consumer().create_measurement(request).await?.into_inner())
    }

    /// What duchies are told of the newest computation.
    fn newest(&self) -> SystemProtocol {
        let state = self.kingdom.state();
        let newest = state.records.measurements.values().max_by_key(|found| found.create_time).unwrap();
        convert::mpc_protocol(&newest.protocol).protocol.unwrap()
    }
}

#[tokio::test]
async fn the_first_protocol_that_can_measure_it_is_taken() {
    let noise = NoiseMechanism::DiscreteGaussian;
    let reach_only = Protocol::ReachOnlyLiquidLegionsV2(sketch(noise));
    let trial =
        Trial::with_protocols(vec![reach_only.clone(), Protocol::LiquidLegionsV2(sketch(noise))]).await;
    trial.request(&reach_spec(), "").await.unwrap();
    assert!(matches!(trial.newest(), SystemProtocol::ReachOnlyLiquidLegionsV2(_)));
    trial.request(&spec(), "").await.unwrap();
    assert!(matches!(trial.newest(), SystemProtocol::LiquidLegionsV2(_)));

    let trial = Trial::with_protocols(vec![reach_only]).await;
    let refused = trial.request(&spec(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("reach only"), "{refused}");
}

#[tokio::test]
async fn a_plan_decides_for_one_request() {
    let trial = Trial::start().await;
    trial.kingdom.plan_measurement(CONSUMER, "first", share_shuffle()).unwrap();
    let geometric = Protocol::LiquidLegionsV2(sketch(NoiseMechanism::Geometric));
    trial.kingdom.plan_measurement(CONSUMER, "second", share_shuffle()).unwrap();
    trial.kingdom.plan_measurement(CONSUMER, "second", geometric).unwrap();

    let first = trial.request(&spec(), "first").await.unwrap();
    assert!(matches!(trial.newest(), SystemProtocol::HonestMajorityShareShuffle(_)));
    let assigned = |requisition: &crate::proto::system::Requisition| {
        !requisition.fulfilling_computation_participant.is_empty()
    };
    let computation = trial.kingdom.computation(&trial.kingdom.computations()[0]).unwrap();
    assert!(computation.requisitions.iter().all(assigned));
    trial.request(&spec(), "second").await.unwrap();
    let SystemProtocol::LiquidLegionsV2(config) = trial.newest() else { panic!("another protocol") };
    assert_eq!(config.noise_mechanism(), NoiseMechanism::Geometric);
    trial.request(&spec(), "third").await.unwrap();
    let SystemProtocol::LiquidLegionsV2(config) = trial.newest() else { panic!("another protocol") };
    assert_eq!(config.noise_mechanism(), NoiseMechanism::DiscreteGaussian);

    // The plan was for a request, not for a repetition of it.
    assert_eq!(trial.request(&spec(), "first").await.unwrap().name, first.name);
    let late = trial.kingdom.plan_measurement(CONSUMER, "first", share_shuffle());
    assert!(matches!(late, Err(KingdomError::MeasurementExists { .. })), "{late:?}");
    assert_eq!(trial.kingdom.state().records.plans.len(), 0);
}

#[tokio::test]
async fn a_plan_that_nobody_could_follow_is_refused() {
    let trial = Trial::start().await;
    let plan = |consumer: &str, request: &str, protocol| {
        trial.kingdom.plan_measurement(consumer, request, protocol).unwrap_err().to_string()
    };
    assert!(plan("dataProviders/news", "a", share_shuffle()).contains("measurement consumer"));
    assert!(plan(CONSUMER, "", share_shuffle()).contains("request_id"));
    let strangers = ["worker1", "stranger"].map(str::to_owned);
    let strangers = ShareShuffleSettings::of(strangers, "aggregator".to_owned());
    let refused = plan(CONSUMER, "a", Protocol::HonestMajorityShareShuffle(strangers));
    assert!(refused.contains("stranger is no duchy"), "{refused}");

    // A planned protocol has to measure what is then asked for.
    let reach_only = Protocol::ReachOnlyLiquidLegionsV2(sketch(NoiseMechanism::DiscreteGaussian));
    trial.kingdom.plan_measurement(CONSUMER, "a", reach_only).unwrap();
    assert_eq!(code(trial.request(&spec(), "a").await), Code::InvalidArgument);
    trial.request(&reach_spec(), "a").await.unwrap();
    assert!(matches!(trial.newest(), SystemProtocol::ReachOnlyLiquidLegionsV2(_)));
}

#[tokio::test]
async fn computations_of_several_protocols_go_side_by_side() {
    let trial = Trial::start().await;
    trial.kingdom.plan_measurement(CONSUMER, "shuffle", share_shuffle()).unwrap();
    trial.request(&spec(), "shuffle").await.unwrap();
    let shuffle = trial.kingdom.computations().remove(0);
    let (_, legions) = trial.create().await;
    // Keys of one protocol are refused in a computation of the other.
    assert_eq!(code(trial.set_params(&shuffle, "worker1", "").await), Code::InvalidArgument);
    trial.start_computation(&legions).await;
    assert_eq!(trial.state(&legions), ComputationState::PendingComputation);
    assert_eq!(trial.state(&shuffle), ComputationState::PendingRequisitionParams);
    assert_eq!(trial.kingdom.violations(), []);
}

#[tokio::test]
async fn duchies_take_part_while_they_are_active() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1000)));
    let noise = NoiseMechanism::DiscreteGaussian;
    let protocols =
        vec![Protocol::ReachOnlyLiquidLegionsV2(sketch(noise)), Protocol::LiquidLegionsV2(sketch(noise))];
    let chosen = |minimum| DuchySelection::Chosen { required: ["worker2".to_owned()].into(), minimum };
    let mut settings = KingdomConfig {
        liquid_legions_v2: chosen(2),
        reach_only_liquid_legions_v2: chosen(3),
        ..config(protocols, StreamSettings::default())
    };
    let until = ActiveWindow { start: None, end: Some(Timestamp::from_millis(2000)) };
    settings.duchies.insert("worker1".to_owned(), until);
    let trial = Trial::around(Kingdom::new(settings, clock.clone(), ChaCha20Rng::seed_from_u64(1))).await;
    let participants = || {
        let state = trial.kingdom.state();
        let newest = state.records.measurements.values().max_by_key(|found| found.create_time).unwrap();
        newest.participants.keys().cloned().collect::<Vec<_>>()
    };

    trial.request(&reach_spec(), "").await.unwrap();
    assert_eq!(participants(), DUCHIES);
    trial.request(&spec(), "").await.unwrap();
    assert_eq!(participants(), ["aggregator", "worker2"]);

    clock.advance(Duration::from_millis(1001));
    let refused = trial.request(&reach_spec(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("2 duchies are active, and a computation takes 3"), "{refused}");
    assert_eq!(trial.kingdom.computations().len(), 2, "nothing is kept of it");
    trial.request(&spec(), "").await.unwrap();
    assert_eq!(participants(), ["aggregator", "worker2"]);

    // A share shuffle names its three, whatever is chosen for others.
    let planned = trial.kingdom.plan_measurement(CONSUMER, "planned", share_shuffle());
    planned.unwrap();
    let refused = trial.request(&reach_spec(), "planned").await.unwrap_err();
    assert!(refused.message().contains("duchy worker1 is not active"), "{refused}");
}
