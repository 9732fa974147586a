//! The table against upstream's, of `duchy/db/computation/ReachOnlyLiquidLegionsSketchAggregationV2Protocol.kt`.

use super::*;

/// Number, name, kind, output slots with three duchies, successor of the aggregator, of a non-aggregator.
type Row = (i32, &'static str, StageKind, usize, Option<i32>, Option<i32>);

const TABLE: [Row; 9] = [
    (1, "INITIALIZATION_PHASE", StageKind::Compute, 0, Some(2), Some(2)),
    (2, "WAIT_REQUISITIONS_AND_KEY_SET", StageKind::Wait, 0, Some(3), Some(3)),
    (3, "CONFIRMATION_PHASE", StageKind::Compute, 0, Some(5), Some(4)),
    (4, "WAIT_TO_START", StageKind::Wait, 0, None, Some(6)),
    (5, "WAIT_SETUP_PHASE_INPUTS", StageKind::Wait, 2, Some(6), None),
    (6, "SETUP_PHASE", StageKind::Compute, 1, Some(7), Some(7)),
    (7, "WAIT_EXECUTION_PHASE_INPUTS", StageKind::Wait, 1, Some(8), Some(8)),
    (8, "EXECUTION_PHASE", StageKind::Compute, 1, None, None),
    (9, "COMPLETE", StageKind::Terminal, 0, None, None),
];

#[test]
fn the_table_is_upstreams() {
    for (number, name, kind, outputs, aggregator, non_aggregator) in TABLE {
        let stage = Stage::try_from(number).expect(name);
        assert_eq!(stage.number(), number);
        assert_eq!(stage.name(), name);
        assert_eq!(stage.kind(), kind, "{name}");
        assert_eq!(stage.output_slots(3), outputs, "{name}");
        assert_eq!(stage.next(Role::Aggregator).map(Stage::number), aggregator, "{name}");
        assert_eq!(stage.next(Role::NonAggregator).map(Stage::number), non_aggregator, "{name}");
    }
}

#[test]
fn only_compute_stages_are_queued() {
    for stage in Stage::ALL {
        let queued = stage.after_transition() == AfterTransition::AddUnclaimedToQueue;
        assert_eq!(queued, stage.kind() == StageKind::Compute, "{}", stage.name());
    }
}

#[test]
fn each_role_walks_forward_from_the_initial_stage_to_the_last() {
    for (role, stages) in [(Role::Aggregator, 7), (Role::NonAggregator, 7)] {
        let path: Vec<_> =
            std::iter::successors(Some(Stage::INITIAL), |stage| stage.next(role)).take(20).collect();
        assert_eq!(path.len(), stages);
        assert!(path.is_sorted_by(|a, b| a < b));
        assert_eq!(path.last(), Some(&Stage::ExecutionPhase));
        assert!(path.iter().all(|stage| stage.role().is_none_or(|only| only == role)));
    }
}

#[test]
fn every_duchy_waits_for_its_predecessor_and_the_aggregator_for_all() {
    for stage in Stage::ALL {
        let senders: Vec<Vec<usize>> = (0..4).map(|receiver| stage.senders(receiver, 3).collect()).collect();
        let expected: [&[usize]; 4] = match stage {
            Stage::WaitSetupPhaseInputs => [&[], &[], &[0, 1], &[]],
            _ if Message::ALL.iter().any(|message| message.awaited_in() == stage) => [&[2], &[0], &[1], &[]],
            _ => [&[]; 4],
        };
        assert_eq!(senders, expected, "{}", stage.name());
        assert!((0..2).all(|receiver| stage.senders(receiver, 1).is_empty()), "{}", stage.name());
        assert!(stage.senders(0, 0).is_empty(), "{}", stage.name());
    }
}

#[test]
fn data_is_taken_until_the_computation_begins() {
    for stage in Stage::ALL {
        assert_eq!(stage.takes_requisitions(), stage <= Stage::WaitRequisitionsAndKeySet, "{}", stage.name());
    }
}

#[test]
fn numbers_outside_the_table_are_refused() {
    for number in [i32::MIN, -1, 0, 10, i32::MAX] {
        assert_eq!(Stage::try_from(number), Err(UnknownStage(number)));
    }
}
