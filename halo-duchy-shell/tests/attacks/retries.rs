//! Peers that fail while they are sent something: what is sent again is what was sent before, so that nobody is told a
//! second draw of anything.

use std::collections::BTreeMap;

use halo_duchy_shell::proto::system::liquid_legions_v2::Description;
use tonic::Status;

use crate::relay::Held;
use crate::world::{MESSAGES, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_is_tried_again_sends_the_bytes_that_it_kept() {
    let world = World::start().await;
    let measurement = world.create().await;
    world.fulfill_all().await;
    // Each of them draws afresh whatever it encrypts.
    let lost = [
        Description::SetupPhaseInput,
        Description::ExecutionPhaseOneInput,
        Description::ExecutionPhaseTwoInput,
    ];
    let mut first = BTreeMap::new();
    let mut messages = 0;
    let result = world
        .compute(measurement, async |held: Held| {
            messages += 1;
            let key = (held.sender.clone(), held.description() as i32);
            if let Some(before) = first.get(&key) {
                assert!(*before == held.body, "{} sends other bytes: {:?}", held.sender, held.description());
            } else {
                first.insert(key, held.body.clone());
                if lost.contains(&held.description()) {
                    // An attempt ends with this; the next one begins with what was kept.
                    return held.lose(Status::internal("a peer in trouble"));
                }
            }
            held.release().await.expect("an honest message");
        })
        .await;
    assert_eq!(messages, MESSAGES + 2 + 3 + 3, "the setup inputs of two workers, and two rounds of three");
    world.finish(result).await;
}
