//! The table against upstream's, of `duchy/db/computation/HonestMajorityShareShuffleProtocol.kt`.

use super::*;

/// Number, name, kind, output slots, successor of the first worker, of the second, of the aggregator.
type Row = (i32, &'static str, StageKind, usize, [Option<i32>; 3]);

const TABLE: [Row; 9] = [
    (1, "INITIALIZED", StageKind::Compute, 0, [Some(2), Some(3), Some(6)]),
    (2, "WAIT_TO_START", StageKind::Wait, 0, [Some(4), None, None]),
    (3, "WAIT_ON_SHUFFLE_INPUT_PHASE_ONE", StageKind::Wait, 1, [None, Some(4), None]),
    (4, "SETUP_PHASE", StageKind::Compute, 0, [Some(5), Some(7), None]),
    (5, "WAIT_ON_SHUFFLE_INPUT_PHASE_TWO", StageKind::Wait, 1, [Some(7), None, None]),
    (6, "WAIT_ON_AGGREGATION_INPUT", StageKind::Wait, 2, [None, None, Some(8)]),
    // One output slot more than upstream's.
    (7, "SHUFFLE_PHASE", StageKind::Compute, 1, [None, None, None]),
    (8, "AGGREGATION_PHASE", StageKind::Compute, 0, [None, None, None]),
    (9, "COMPLETE", StageKind::Terminal, 0, [None, None, None]),
];

#[test]
fn the_table_is_upstreams() {
    for (number, name, kind, outputs, next) in TABLE {
        let stage = Stage::try_from(number).expect(name);
        assert_eq!(stage.number(), number);
        assert_eq!(stage.name(), name);
        assert_eq!(stage.kind(), kind, "{name}");
        assert_eq!(stage.output_slots(), outputs, "{name}");
        assert_eq!(Role::ALL.map(|role| stage.next(role).map(Stage::number)), next, "{name}");
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
fn each_role_walks_forward_from_the_initial_stage_to_its_last() {
    let paths = [vec![1, 2, 4, 5, 7], vec![1, 3, 4, 7], vec![1, 6, 8]];
    for (role, expected) in Role::ALL.into_iter().zip(paths) {
        let path = std::iter::successors(Some(Stage::INITIAL), |stage| stage.next(role)).take(20);
        let path: Vec<_> = path.map(Stage::number).collect();
        assert_eq!(path, expected);
    }
}

#[test]
fn every_message_is_collected_by_the_role_that_waits_for_it() {
    let collected = |stage: Stage| Role::ALL.map(|role| stage.senders(role).len());
    for stage in Stage::ALL {
        let expected = match stage {
            Stage::WaitOnShuffleInputPhaseOne => [0, 1, 0],
            Stage::WaitOnShuffleInputPhaseTwo => [1, 0, 0],
            Stage::WaitOnAggregationInput => [0, 0, 2],
            _ => [0, 0, 0],
        };
        assert_eq!(collected(stage), expected, "{}", stage.name());
        let slots = Role::ALL.into_iter().map(|role| stage.senders(role).len()).max();
        if stage.kind() == StageKind::Wait {
            assert_eq!(slots, Some(stage.output_slots()), "{}", stage.name());
        }
    }
    assert_eq!(
        Stage::WaitOnShuffleInputPhaseTwo.senders(Role::FirstNonAggregator),
        [Role::SecondNonAggregator]
    );
    for message in Message::ALL {
        let waiting = Role::ALL.into_iter().filter(|role| !message.awaited_in().senders(*role).is_empty());
        assert_eq!(waiting.count(), 1, "{message:?}");
    }
}

#[test]
fn data_is_taken_until_the_computation_begins() {
    for stage in Stage::ALL {
        assert_eq!(
            stage.takes_requisitions(),
            stage <= Stage::WaitOnShuffleInputPhaseOne,
            "{}",
            stage.name()
        );
    }
}

#[test]
fn numbers_outside_the_table_are_refused() {
    for number in [i32::MIN, -1, 0, 10, i32::MAX] {
        assert_eq!(Stage::try_from(number), Err(UnknownStage(number)));
    }
}
