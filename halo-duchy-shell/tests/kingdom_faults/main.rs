//! What three duchies make of a Kingdom that misbehaves (docs/development-kingdom.md#faults): for each fault that it
//! can be told to have, measurements by all three protocols at once get their results, or fail at the Kingdom once,
//! with a reason. None hangs, none has a wrong result, and no duchy breaks an invariant.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod world;

use std::time::Duration;

use halo_duchy_shell::kingdom::fault::{Fault, FaultKind};
use halo_duchy_shell::proto::system::computation::State;
use tonic::Code;

use world::{DUCHIES, World};

const STREAM: &str = "StreamActiveComputations";

/// The RPCs that take an etag.
const ETAG_METHODS: [&str; 3] =
    ["SetParticipantRequisitionParams", "ConfirmComputationParticipant", "FulfillRequisition"];

/// What duchies call of the Kingdom.
const METHODS: [&str; 8] = [
    STREAM,
    "GetComputationParticipant",
    "SetParticipantRequisitionParams",
    "ConfirmComputationParticipant",
    "FulfillRequisition",
    "CreateComputationLogEntry",
    "SetComputationResult",
    "GetCertificate",
];

/// The fault for each duchy.
fn at_each_duchy(fault: &Fault) -> Vec<Fault> {
    DUCHIES.iter().map(|duchy| fault.clone().by(&format!("duchies/{duchy}"))).collect()
}

fn each(methods: &[&str], fault: &Fault) -> Vec<Fault> {
    methods.iter().flat_map(|method| at_each_duchy(&fault.clone().of(method))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_live_with_failing_calls() {
    let world = World::start().await;
    let refuse = |code| Fault::new(FaultKind::Refuse(code));
    world.measure_under("ABORTED once", each(&ETAG_METHODS, &refuse(Code::Aborted).times(1))).await;
    world.measure_under("UNAVAILABLE twice", each(&METHODS, &refuse(Code::Unavailable).times(2))).await;
    let delay = Fault::new(FaultKind::Delay(Duration::from_millis(100)));
    world.measure_under("a delay", at_each_duchy(&delay)).await;
    let lost = Fault::new(FaultKind::LoseAnswer(Code::Unavailable)).times(1);
    world.measure_under("a lost answer", each(&METHODS, &lost)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_live_with_odd_streams() {
    let world = World::start().await;
    // Streams are open: they are cut, refused when they are opened again, and cut once more.
    let cut = |items| FaultKind::CutStream { items, code: Code::Unavailable };
    let kinds = [cut(0), FaultKind::Refuse(Code::Unavailable), cut(1)];
    let faults = kinds.into_iter().flat_map(|kind| each(&[STREAM], &Fault::new(kind).times(1)));
    world.measure_under("cut streams", faults.collect()).await;
    world.measure_under("repeated items", vec![Fault::new(FaultKind::RepeatItems)]).await;
    world.measure_under("reversed items", vec![Fault::new(FaultKind::ReverseItems)]).await;
    world.measure_under("stale tokens", vec![Fault::new(FaultKind::StaleTokens)]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_fails_with_the_reason() {
    let world = World::start().await;
    let refused = Fault::new(FaultKind::Refuse(Code::InvalidArgument)).of("SetParticipantRequisitionParams");
    for reason in world.fail_under(vec![refused.by("duchies/worker1")]).await {
        assert!(reason.contains("worker1") && reason.contains("a fault that the Kingdom"), "{reason}");
    }
    // Told that they are over, worker1 takes no part in computations, and nobody goes on without it.
    let over = Fault::new(FaultKind::WrongState(State::Failed)).by("duchies/worker1");
    world.stall_under(vec![over], "worker1").await;
    // The next ones are undisturbed.
    world.measure_under("nothing", Vec::new()).await;
    world.stop().await;
}
