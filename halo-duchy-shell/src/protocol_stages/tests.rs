use halo_protocols::proto::duchy::config::RoleInComputation;
use llv2_proto::computation_details::ComputationParticipant;

use super::*;

fn details(role: RoleInComputation, ring: &[&str]) -> ComputationDetails {
    let participant = ring
        .iter()
        .map(|&duchy| ComputationParticipant { duchy_id: duchy.into(), ..Default::default() })
        .collect();
    let details = llv2_proto::ComputationDetails { role: role as i32, participant, ..Default::default() };
    ComputationDetails { protocol: Some(ProtocolDetails::LiquidLegionsV2(details)), ..Default::default() }
}

const RING: [&str; 3] = ["b", "a", "aggregator"];

#[test]
fn stages_survive_the_wire() {
    for protocol in Protocol::ALL {
        assert_eq!(Protocol::try_from(protocol.number()), Ok(protocol));
        for stage in protocol.stages() {
            assert_eq!(ProtocolStage::try_from(&ComputationStage::from(stage)), Ok(stage));
            assert_eq!(protocol.stage(stage.number()), Ok(stage));
        }
    }
    assert_eq!(
        ProtocolStage::try_from(&ComputationStage { stage: Some(StageOneof::TrusTee(1)) }),
        Err(ProtocolError::UnsupportedStage)
    );
    assert_eq!(ProtocolStage::try_from(&ComputationStage::default()), Err(ProtocolError::UnsupportedStage));
    assert_eq!(Protocol::try_from(0), Err(ProtocolError::UnknownType(0)));
}

#[test]
fn the_role_in_the_details_chooses_the_branch() {
    let confirmation = ProtocolStage::LiquidLegionsV2(llv2::Stage::ConfirmationPhase);
    let next = |role| confirmation.next(&details(role, &RING));
    assert_eq!(
        next(RoleInComputation::Aggregator),
        Ok(Some(ProtocolStage::LiquidLegionsV2(llv2::Stage::WaitSetupPhaseInputs)))
    );
    assert_eq!(
        next(RoleInComputation::NonAggregator),
        Ok(Some(ProtocolStage::LiquidLegionsV2(llv2::Stage::WaitToStart)))
    );
    assert_eq!(
        next(RoleInComputation::FirstNonAggregator),
        Err(ProtocolError::UnknownRole(UnknownRole(RoleInComputation::FirstNonAggregator as i32)))
    );
    assert_eq!(
        confirmation.next(&ComputationDetails::default()),
        Err(ProtocolError::DetailsMismatch { expected: Protocol::LiquidLegionsV2 })
    );
}

#[test]
fn the_aggregator_has_a_slot_for_every_other_duchy() {
    let details = details(RoleInComputation::Aggregator, &RING);
    let stage = ProtocolStage::LiquidLegionsV2(llv2::Stage::WaitSetupPhaseInputs);
    let token = ComputationToken { computation_details: Some(details), ..Default::default() };
    let request = advance_request(token, stage, Vec::new()).expect("matching details");
    assert_eq!(request.output_blobs, 2);
    assert_eq!(request.after_transition(), AfterTransition::DoNotAddToQueue);
    let Some(Detail::LiquidLegionsV2(stage_details)) = request.stage_details.and_then(|d| d.detail) else {
        panic!("no stage details");
    };
    let Some(llv2_proto::stage_details::Detail::WaitSetupPhaseInputsDetails(slots)) = stage_details.detail
    else {
        panic!("no slots");
    };
    let expected = BTreeMap::from([("b".to_owned(), 0), ("a".to_owned(), 1)]);
    assert_eq!(slots.external_duchy_local_blob_id, expected);
}

#[test]
fn only_the_expected_duchy_is_awaited() {
    let details = details(RoleInComputation::Aggregator, &RING);
    let awaits = |stage, receiver, sender| {
        ProtocolStage::LiquidLegionsV2(stage).awaits(&details, receiver, sender).expect("matching details")
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
