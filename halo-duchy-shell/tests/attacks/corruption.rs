//! A duchy that sends wrong bytes in the right place. That computation cannot be saved, but it must end soon, with a reason
//! that helps, and hurt no other.

use halo_duchy_shell::measurement_consumer::MeasurementError;
use halo_duchy_shell::proto::api::measurement::failure::Reason;
use halo_duchy_shell::proto::system::liquid_legions_v2::Description;
use tokio::sync::Mutex;

use crate::relay::Held;
use crate::world::World;

const POINT: usize = 33;
const REGISTER: usize = 6 * POINT;

/// What to send in place of the first message of a kind.
struct Corruption {
    description: Description,
    corrupt: fn(&mut Vec<u8>),
    /// What the failure must tell.
    reason: &'static str,
}

/// Replaces a point by one whose x is not below the field's prime.
fn off_curve(body: &mut [u8], point: usize) {
    body[point * POINT + 1..(point + 1) * POINT].fill(0xff);
}

const CORRUPTIONS: [Corruption; 6] = [
    Corruption {
        description: Description::SetupPhaseInput,
        corrupt: |body| off_curve(body, 0),
        // The aggregator only joins and shuffles: the first to compute with the point finds it, wherever it is then.
        reason: "EXECUTION_PHASE_ONE: combined_register_vector, record ",
    },
    Corruption {
        description: Description::ExecutionPhaseOneInput,
        corrupt: |body| off_curve(body, 3 * 6 + 2),
        reason: "EXECUTION_PHASE_ONE: combined_register_vector, record 3, ciphertext 1 of it",
    },
    Corruption {
        description: Description::ExecutionPhaseOneInput,
        corrupt: |body| body[5 * REGISTER] = 4,
        reason: "EXECUTION_PHASE_ONE: combined_register_vector, record 5, ciphertext 0 of it",
    },
    Corruption {
        description: Description::ExecutionPhaseOneInput,
        corrupt: |body| body.truncate(body.len() - 1),
        reason: "EXECUTION_PHASE_ONE: combined_register_vector",
    },
    Corruption {
        description: Description::ExecutionPhaseTwoInput,
        corrupt: |body| off_curve(body, 8 + 7),
        reason: "EXECUTION_PHASE_TWO: flag_count_tuples, record 1, ciphertext 3 of it",
    },
    Corruption {
        description: Description::ExecutionPhaseThreeInput,
        corrupt: |body| off_curve(body, 2 * 4),
        reason: "EXECUTION_PHASE_THREE: same_key_aggregator_matrix, record 4, ciphertext 0 of it",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_data_of_a_peer_fails_its_own_computation_only() {
    let world = World::start().await;
    for Corruption { description, corrupt, reason } in CORRUPTIONS {
        let measurement = world.create().await;
        world.fulfill_all().await;
        let corrupted = Mutex::new(false);
        let result = world
            .compute(measurement, async |held: Held| {
                let mut corrupted = corrupted.lock().await;
                if !*corrupted && held.description() == description {
                    *corrupted = true;
                    let mut body = held.body.clone();
                    corrupt(&mut body);
                    held.replace(body).await.expect("the receiver cannot know yet");
                } else {
                    // Honest messages may come too late for a computation that has failed.
                    let _ = held.release().await;
                }
            })
            .await;
        let Err(MeasurementError::Failed { reason: found, message }) = result else {
            panic!("{reason}: {result:?}")
        };
        assert_eq!(found, Reason::ComputationParticipantFailed);
        assert!(message.contains(reason), "{reason}: {message}");
    }
    let measurement = world.create().await;
    world.fulfill_all().await;
    let result = world.compute(measurement, async |held: Held| drop(held)).await;
    world.finish(result).await;
}
