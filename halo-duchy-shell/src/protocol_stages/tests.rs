use std::collections::BTreeMap;

use halo_protocols::proto::duchy::config::RoleInComputation;
use halo_protocols::proto::protocol::honest_majority_share_shuffle as hmss_proto;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2 as llv2_proto;
use halo_protocols::proto::protocol::liquid_legions_sketch_aggregation_v2::computation_details::ComputationParticipant;
use halo_protocols::proto::protocol::reach_only_liquid_legions_sketch_aggregation_v2 as reach_only_proto;

use super::*;

const RING: [&str; 3] = ["b", "a", "aggregator"];
const RING_ROLES: [RoleInComputation; 2] = [RoleInComputation::Aggregator, RoleInComputation::NonAggregator];
const SHARE_SHUFFLE_ROLES: [RoleInComputation; 3] = [
    RoleInComputation::FirstNonAggregator,
    RoleInComputation::SecondNonAggregator,
    RoleInComputation::Aggregator,
];

/// Details of a computation with the duchies `b`, `a` and `aggregator`; `b` is the first worker.
fn details(protocol: Protocol, role: RoleInComputation) -> ComputationDetails {
    let role = role as i32;
    let ring =
        || RING.map(|duchy| ComputationParticipant { duchy_id: duchy.into(), ..Default::default() }).to_vec();
    let protocol = match protocol {
        Protocol::LiquidLegionsV2 => ProtocolDetails::LiquidLegionsV2(llv2_proto::ComputationDetails {
            role,
            participant: ring(),
            ..Default::default()
        }),
        Protocol::ReachOnlyLiquidLegionsV2 => {
            ProtocolDetails::ReachOnlyLiquidLegionsV2(reach_only_proto::ComputationDetails {
                role,
                participant: ring(),
                ..Default::default()
            })
        }
        Protocol::HonestMajorityShareShuffle => {
            let mut details = hmss_proto::ComputationDetails::default();
            details.role = role;
            details.non_aggregators = vec!["b".into(), "a".into()];
            ProtocolDetails::HonestMajorityShareShuffle(details)
        }
    };
    ComputationDetails { protocol: Some(protocol), ..Default::default() }
}

fn roles(protocol: Protocol) -> &'static [RoleInComputation] {
    match protocol {
        Protocol::LiquidLegionsV2 | Protocol::ReachOnlyLiquidLegionsV2 => &RING_ROLES,
        Protocol::HonestMajorityShareShuffle => &SHARE_SHUFFLE_ROLES,
    }
}

#[test]
fn stages_survive_the_wire() {
    for protocol in Protocol::ALL {
        assert_eq!(Protocol::try_from(protocol.number()), Ok(protocol));
        for stage in protocol.stages() {
            assert_eq!(ProtocolStage::try_from(&ComputationStage::from(stage)), Ok(stage));
            assert_eq!(ProtocolStage::try_from(&system::computation_stage::Stage::from(stage)), Ok(stage));
            assert_eq!(protocol.stage(stage.number()), Ok(stage));
        }
        assert!(protocol.stage(0).is_err() && protocol.stage(14).is_err());
    }
    assert_eq!(
        ProtocolStage::try_from(&ComputationStage { stage: Some(StageOneof::TrusTee(1)) }),
        Err(ProtocolError::UnsupportedStage)
    );
    assert_eq!(ProtocolStage::try_from(&ComputationStage::default()), Err(ProtocolError::UnsupportedStage));
    assert_eq!(Protocol::try_from(0), Err(ProtocolError::UnknownType(0)));
}

#[test]
fn details_tell_their_protocol() {
    for protocol in Protocol::ALL {
        let own = details(protocol, RoleInComputation::Aggregator);
        assert_eq!(Protocol::of(&own), Some(protocol));
        for other in Protocol::ALL.into_iter().filter(|other| *other != protocol) {
            let mismatch = ProtocolError::DetailsMismatch { expected: other };
            assert_eq!(other.initial_stage().next(&own), Err(mismatch.clone()));
            assert_eq!(other.initial_stage().output_slots(&own), Err(mismatch));
        }
    }
    assert_eq!(Protocol::of(&ComputationDetails::default()), None);
}

#[test]
fn the_role_in_the_details_chooses_the_branch() {
    let initial = Protocol::HonestMajorityShareShuffle.initial_stage();
    let next = |role| initial.next(&details(Protocol::HonestMajorityShareShuffle, role));
    let second = next(RoleInComputation::SecondNonAggregator);
    assert_eq!(second, Ok(Some(hmss::Stage::WaitOnShuffleInputPhaseOne.into())));
    assert!(matches!(next(RoleInComputation::NonAggregator), Err(ProtocolError::ShareShuffleRole(_))));

    let confirmation = ProtocolStage::from(llv2::Stage::ConfirmationPhase);
    let next = |role| confirmation.next(&details(Protocol::LiquidLegionsV2, role));
    let aggregator = next(RoleInComputation::Aggregator);
    assert_eq!(aggregator, Ok(Some(llv2::Stage::WaitSetupPhaseInputs.into())));
    assert_eq!(next(RoleInComputation::NonAggregator), Ok(Some(llv2::Stage::WaitToStart.into())));
    assert!(matches!(next(RoleInComputation::FirstNonAggregator), Err(ProtocolError::Role(_))));
}

#[test]
fn the_aggregator_has_a_slot_for_every_other_duchy() {
    for stage in [
        ProtocolStage::from(llv2::Stage::WaitSetupPhaseInputs),
        reach_only_llv2::Stage::WaitSetupPhaseInputs.into(),
        hmss::Stage::WaitOnAggregationInput.into(),
    ] {
        let details = details(stage.protocol(), RoleInComputation::Aggregator);
        let token = ComputationToken { computation_details: Some(details), ..Default::default() };
        let request = advance_request(token, stage, Vec::new()).expect("matching details");
        assert_eq!(request.output_blobs, 2);
        assert_eq!(request.after_transition(), AfterTransition::DoNotAddToQueue);
        let entered =
            ComputationToken { stage_specific_details: request.stage_details, ..Default::default() };
        let expected = BTreeMap::from([("b".to_owned(), 0), ("a".to_owned(), 1)]);
        assert_eq!(slots(&entered), Some(&expected), "{stage:?}");
    }
}

#[test]
fn stages_that_wait_for_one_message_have_one_slot_and_no_details() {
    for protocol in Protocol::ALL {
        for role in roles(protocol) {
            let details = details(protocol, *role);
            for stage in protocol.stages() {
                let slots = stage.output_slots(&details).expect("matching details");
                let collects = stage.details(&details).expect("matching details").is_some();
                assert!(slots <= 1 || collects, "{stage:?}");
            }
        }
    }
}

#[test]
fn only_the_expected_duchy_is_awaited_in_a_ring() {
    let details = details(Protocol::LiquidLegionsV2, RoleInComputation::Aggregator);
    let awaits = |stage: llv2::Stage, receiver, sender| {
        ProtocolStage::from(stage).awaits(&details, receiver, sender).expect("matching details")
    };
    let setup = llv2::Stage::WaitSetupPhaseInputs;
    assert!(awaits(setup, "aggregator", "a") && awaits(setup, "aggregator", "b"));
    assert!(!awaits(setup, "aggregator", "aggregator"));
    assert!(!awaits(setup, "aggregator", "stranger"));
    assert!(!awaits(setup, "a", "b"), "only the aggregator gathers sketches");
    for stage in [
        llv2::Stage::WaitExecutionPhaseOneInputs,
        llv2::Stage::WaitExecutionPhaseTwoInputs,
        llv2::Stage::WaitExecutionPhaseThreeInputs,
    ] {
        for (receiver, predecessor) in [("b", "aggregator"), ("a", "b"), ("aggregator", "a")] {
            for sender in RING {
                assert_eq!(awaits(stage, receiver, sender), sender == predecessor, "{sender} to {receiver}");
            }
        }
    }
    assert!(!awaits(llv2::Stage::SetupPhase, "a", "b"), "a computing stage awaits nothing");
}

#[test]
fn only_the_expected_duchy_is_awaited_in_a_share_shuffle() {
    use hmss::Stage::{
        SetupPhase, WaitOnAggregationInput, WaitOnShuffleInputPhaseOne, WaitOnShuffleInputPhaseTwo,
    };
    for (role, receiver, stage, expected) in [
        (RoleInComputation::FirstNonAggregator, "b", WaitOnShuffleInputPhaseTwo, &["a"][..]),
        (RoleInComputation::FirstNonAggregator, "b", WaitOnShuffleInputPhaseOne, &[]),
        (RoleInComputation::FirstNonAggregator, "b", WaitOnAggregationInput, &[]),
        (RoleInComputation::SecondNonAggregator, "a", WaitOnShuffleInputPhaseOne, &["b"]),
        (RoleInComputation::SecondNonAggregator, "a", SetupPhase, &[]),
        (RoleInComputation::Aggregator, "aggregator", WaitOnAggregationInput, &["b", "a"]),
    ] {
        let details = details(Protocol::HonestMajorityShareShuffle, role);
        for sender in ["a", "b", "aggregator", "stranger"] {
            let awaited = ProtocolStage::from(stage).awaits(&details, receiver, sender);
            assert_eq!(awaited, Ok(expected.contains(&sender)), "{sender} to {receiver} in {stage:?}");
        }
    }
}

/// Who has come further than the stage in which he sends has sent.
#[test]
fn a_message_is_sent_in_a_stage_that_its_sender_computes() {
    let sent_in = |awaited: ProtocolStage, sender: &str| {
        let role = roles(awaited.protocol())[0];
        awaited.sent_in(&details(awaited.protocol(), role), sender).expect("matching details")
    };
    for (awaited, sender, expected) in [
        (llv2::Stage::WaitSetupPhaseInputs, "a", llv2::Stage::SetupPhase),
        (llv2::Stage::WaitExecutionPhaseOneInputs, "aggregator", llv2::Stage::SetupPhase),
        (llv2::Stage::WaitExecutionPhaseOneInputs, "b", llv2::Stage::ExecutionPhaseOne),
        (llv2::Stage::WaitExecutionPhaseTwoInputs, "aggregator", llv2::Stage::ExecutionPhaseOne),
        (llv2::Stage::WaitExecutionPhaseThreeInputs, "a", llv2::Stage::ExecutionPhaseThree),
    ] {
        assert_eq!(sent_in(awaited.into(), sender), Some(expected.into()), "{awaited:?} from {sender}");
    }
    let second = sent_in(hmss::Stage::WaitOnShuffleInputPhaseTwo.into(), "a");
    assert_eq!(second, Some(hmss::Stage::SetupPhase.into()));
    for protocol in Protocol::ALL {
        let awaiting = protocol.awaiting();
        for stage in protocol.stages() {
            let sent_in = sent_in(stage, "b");
            assert_eq!(sent_in.is_some(), awaiting.contains(&stage), "{}", stage.name());
            assert!(sent_in.is_none_or(|sent_in| sent_in.kind() == StageKind::Compute), "{}", stage.name());
        }
    }
}
