//! `ComputationControl`: what peers send and ask.

use std::time::Duration;

use bytes::Bytes;
use halo_duchy_shell::client::Channel;
use halo_duchy_shell::proto::system::advance_computation_request::header::Protocol;
use halo_duchy_shell::proto::system::advance_computation_request::{BodyChunk, Header, Payload};
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::liquid_legions_v2::Description;
use halo_duchy_shell::proto::system::{
    AdvanceComputationRequest, AdvanceComputationResponse, GetComputationStageRequest,
    HonestMajorityShareShuffle, LiquidLegionsV2, ReachOnlyLiquidLegionsV2, computation_stage,
};
use halo_duchy_shell::service::AdvanceLimits;
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use halo_protocols::{hmss, reach_only_llv2};
use sha2::{Digest, Sha256};
use tokio_stream::StreamExt;
use tonic::{Code, Response, Status};

use crate::duchy::{Duchy, by_duchy, refused};
use crate::fixture::stage;

const AGGREGATOR: RoleInComputation = RoleInComputation::Aggregator;
const WAITING: Stage = Stage::WaitSetupPhaseInputs;

fn header_of(name: &str, protocol: Option<Protocol>) -> AdvanceComputationRequest {
    AdvanceComputationRequest { payload: Some(Payload::Header(Header { name: name.into(), protocol })) }
}

fn llv2(description: Description) -> Option<Protocol> {
    Some(Protocol::LiquidLegionsV2(LiquidLegionsV2 { description: description as i32 }))
}

fn header(description: Description) -> AdvanceComputationRequest {
    header_of("computations/c1", llv2(description))
}

fn chunk(data: &'static [u8]) -> AdvanceComputationRequest {
    let chunk = BodyChunk { partial_data: Bytes::from_static(data) };
    AdvanceComputationRequest { payload: Some(Payload::BodyChunk(chunk)) }
}

type Sent = Result<Response<AdvanceComputationResponse>, Status>;

async fn send(
    mut control: ComputationControlClient<Channel>,
    sender: &str,
    messages: Vec<AdvanceComputationRequest>,
) -> Sent {
    control.advance_computation(by_duchy(sender, tokio_stream::iter(messages))).await
}

impl Duchy {
    async fn send(&self, sender: &str, messages: Vec<AdvanceComputationRequest>) -> Sent {
        send(self.control.clone(), sender, messages).await
    }

    async fn send_sketch(&self, sender: &str, sketch: &'static [u8]) -> Sent {
        self.send(sender, vec![header(Description::SetupPhaseInput), chunk(sketch)]).await
    }

    /// What has been received into a slot.
    async fn received(&self, slot: usize) -> Option<Vec<u8>> {
        let path = self.computation().await.blobs[slot].path.clone()?;
        Some(self.blobs.read(&path, 100).await.expect("intact"))
    }
}

#[tokio::test]
async fn messages_are_stored_and_the_last_one_moves_the_computation_on() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    let chunks = vec![header(Description::SetupPhaseInput), chunk(b"sk"), chunk(b""), chunk(b"etch2")];
    duchy.send("worker2", chunks).await.expect("in chunks");
    assert_eq!(duchy.computation().await.stage, stage(WAITING));
    assert_eq!(duchy.received(0).await, None);
    assert_eq!(duchy.received(1).await.as_deref(), Some(&b"sketch2"[..]));
    duchy.send_sketch("worker1", b"sketch1").await.expect("the last one");
    let computation = duchy.computation().await;
    assert_eq!(computation.stage, stage(Stage::SetupPhase));
    assert_eq!(duchy.received(0).await.as_deref(), Some(&b"sketch1"[..]));
    assert_eq!(duchy.received(1).await.as_deref(), Some(&b"sketch2"[..]));
    let path = computation.blobs[0].path.as_deref().expect("a path");
    assert!(path.starts_with("aggregator/computations/c1/WAIT_SETUP_PHASE_INPUTS/"), "{path}");
    assert_eq!(duchy.files().len(), 2, "no temporary object stays");
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_is_refused() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    let good = header(Description::SetupPhaseInput);
    // Another protocol's, and none of this one's.
    let hmss = Some(Protocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle { description: 1 }));
    let reach_only = Some(Protocol::ReachOnlyLiquidLegionsV2(ReachOnlyLiquidLegionsV2 { description: 1 }));
    let setup = || llv2(Description::SetupPhaseInput);
    for bad in [
        vec![],
        vec![good.clone()],
        vec![chunk(b"sketch")],
        vec![AdvanceComputationRequest { payload: None }],
        vec![good.clone(), AdvanceComputationRequest { payload: None }],
        vec![good.clone(), chunk(b"ske"), good.clone(), chunk(b"tch")],
        vec![header_of("computations/", setup()), chunk(b"sketch")],
        vec![header_of("c1", setup()), chunk(b"sketch")],
        vec![header_of("computations/c1/participants/aggregator", setup()), chunk(b"sketch")],
        vec![header_of("computations/c1", None), chunk(b"sketch")],
        vec![header_of("computations/c1", hmss), chunk(b"sketch")],
        vec![header_of("computations/c1", reach_only), chunk(b"sketch")],
        vec![header(Description::Unspecified), chunk(b"sketch")],
    ] {
        let shown = format!("{bad:?}");
        let status = duchy.send("worker1", bad).await.expect_err(&shown);
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {}", status.message());
    }
    let unknown = vec![header_of("computations/c2", setup()), chunk(b"sketch")];
    refused(duchy.send("worker1", unknown).await, Code::NotFound);
    assert_eq!(duchy.received(0).await, None);
    assert!(duchy.files().is_empty(), "nothing stays: {:?}", duchy.files());
    duchy.send_sketch("worker1", b"sketch1").await.expect("the computation can go on");
}

#[tokio::test]
async fn a_peer_with_nothing_to_send_sends_an_empty_chunk() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    let nothing = || vec![header(Description::SetupPhaseInput), chunk(b"")];
    for _ in 0..2 {
        duchy.send("worker1", nothing()).await.expect("no registers are registers too");
    }
    assert!(duchy.received(0).await.is_some(), "the slot is filled");
    refused(duchy.send_sketch("worker1", b"sketch").await, Code::AlreadyExists);
}

#[tokio::test]
async fn only_the_awaited_peer_may_send() {
    let aggregator = Duchy::aggregator().await;
    aggregator.computation_in(WAITING, AGGREGATOR).await;
    for stranger in ["worker3", "aggregator"] {
        refused(aggregator.send_sketch(stranger, b"sketch").await, Code::PermissionDenied);
    }
    let worker2 = Duchy::start("worker2", AdvanceLimits::default()).await;
    worker2.computation_in(Stage::WaitExecutionPhaseOneInputs, RoleInComputation::NonAggregator).await;
    let message = || vec![header(Description::ExecutionPhaseOneInput), chunk(b"registers")];
    for other in ["aggregator", "worker2", "worker3"] {
        refused(worker2.send(other, message()).await, Code::PermissionDenied);
    }
    // A worker gathers no sketches, whoever sends them.
    refused(worker2.send_sketch("worker1", b"sketch").await, Code::PermissionDenied);
    worker2.send("worker1", message()).await.expect("the predecessor");
    assert_eq!(worker2.computation().await.stage, stage(Stage::ExecutionPhaseOne));
}

#[tokio::test]
async fn a_message_that_comes_too_early_is_asked_for_again() {
    let duchy = Duchy::aggregator().await;
    let mut computation = duchy.harness.create("c1", AGGREGATOR).await;
    while computation.stage != stage(WAITING) {
        refused(duchy.send_sketch("worker1", b"sketch").await, Code::Unavailable);
        computation = duchy.harness.next_stage(computation).await;
    }
    duchy.send_sketch("worker1", b"sketch").await.expect("in time");
    let later = vec![header(Description::ExecutionPhaseTwoInput), chunk(b"tuples")];
    refused(duchy.send("worker2", later).await, Code::Unavailable);
}

#[tokio::test]
async fn a_message_that_comes_again_later_is_not_kept() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(Stage::WaitExecutionPhaseOneInputs, AGGREGATOR).await;
    let before = duchy.computation().await;
    duchy.send_sketch("worker1", b"sketch").await.expect("past");
    assert_eq!(duchy.computation().await, before);
    assert!(duchy.files().is_empty());
}

#[tokio::test]
async fn a_repetition_is_recognised_by_its_content() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    duchy.send_sketch("worker1", b"sketch").await.expect("the first");
    let first = duchy.computation().await;
    duchy.send_sketch("worker1", b"sketch").await.expect("the same");
    let halves = vec![header(Description::SetupPhaseInput), chunk(b"ske"), chunk(b"tch")];
    duchy.send("worker1", halves).await.expect("the same in other chunks");
    refused(duchy.send_sketch("worker1", b"sketcH").await, Code::AlreadyExists);
    refused(duchy.send_sketch("worker1", b"sketch and more").await, Code::AlreadyExists);
    assert_eq!(duchy.computation().await, first);
    assert_eq!(duchy.files().len(), 1);
}

#[tokio::test]
async fn a_crash_between_recording_and_moving_on_is_healed_by_the_repetition() {
    let duchy = Duchy::start("worker2", AdvanceLimits::default()).await;
    let role = RoleInComputation::NonAggregator;
    let waiting = duchy.computation_in(Stage::WaitExecutionPhaseOneInputs, role).await;
    let place = halo_duchy_shell::blob::Place::Stage { computation: "c1", stage: "W", attempt: 1 };
    let blob = duchy.blobs.write(place, &b"registers"[..]).await.expect("write");
    duchy.harness.store.record_output(&waiting.guard(), 1, &blob.path).await.expect("record");
    let message = vec![header(Description::ExecutionPhaseOneInput), chunk(b"registers")];
    duchy.send("worker1", message).await.expect("the repetition");
    assert_eq!(duchy.computation().await.stage, stage(Stage::ExecutionPhaseOne));
}

#[tokio::test]
async fn racing_repetitions_leave_one_blob() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    let message = |body| vec![header(Description::SetupPhaseInput), chunk(body)];
    let same = (0..4).map(|_| tokio::spawn(send(duchy.control.clone(), "worker1", message(b"sketch"))));
    for sent in same.collect::<Vec<_>>() {
        sent.await.expect("a sender").expect("the same message");
    }
    assert_eq!(duchy.files().len(), 1);
    let bodies: [&'static [u8]; 3] = [b"a", b"b", b"c"];
    let different = bodies.map(|body| tokio::spawn(send(duchy.control.clone(), "worker2", message(body))));
    let mut accepted = 0;
    for sent in different {
        match sent.await.expect("a sender") {
            Ok(_) => accepted += 1,
            // The winner has filled the last slot: the computation may have gone on.
            Err(status) => assert!(
                matches!(status.code(), Code::AlreadyExists | Code::Unavailable),
                "{}",
                status.message()
            ),
        }
    }
    assert!(accepted >= 1);
    assert_eq!(duchy.computation().await.stage, stage(Stage::SetupPhase));
}

#[tokio::test]
async fn a_large_message_is_refused_and_leaves_nothing() {
    let limits = AdvanceLimits { max_bytes: 8, ..AdvanceLimits::default() };
    let duchy = Duchy::start("aggregator", limits).await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    let large = || vec![header(Description::SetupPhaseInput), chunk(b"sketch"), chunk(b"etc")];
    refused(duchy.send("worker1", large()).await, Code::ResourceExhausted);
    assert!(duchy.files().is_empty(), "{:?}", duchy.files());
    duchy.send_sketch("worker1", b"sketches").await.expect("just not too large");
    refused(duchy.send("worker1", large()).await, Code::ResourceExhausted);
}

#[tokio::test]
async fn a_truncated_stream_leaves_nothing() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    let beginning = vec![header(Description::SetupPhaseInput), chunk(b"ske")];
    let unfinished = tokio_stream::iter(beginning).chain(tokio_stream::pending());
    let mut control = duchy.control.clone();
    let cut = tokio::time::timeout(
        Duration::from_millis(300),
        control.advance_computation(by_duchy("worker1", unfinished)),
    );
    cut.await.expect_err("the sender goes away");
    tokio::time::timeout(Duration::from_secs(5), async {
        while !duchy.files().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the beginning is discarded");
    assert_eq!(duchy.received(0).await, None);
    duchy.send_sketch("worker1", b"sketch").await.expect("the whole message");
    assert_eq!(duchy.received(0).await.as_deref(), Some(&b"sketch"[..]));
}

#[tokio::test]
async fn a_stalled_stream_is_ended() {
    let limits = AdvanceLimits { idle: Duration::from_millis(100), ..AdvanceLimits::default() };
    let duchy = Duchy::start("aggregator", limits).await;
    duchy.computation_in(WAITING, AGGREGATOR).await;
    for beginning in [vec![], vec![header(Description::SetupPhaseInput), chunk(b"ske")]] {
        let stalled = tokio_stream::iter(beginning).chain(tokio_stream::pending());
        let mut control = duchy.control.clone();
        refused(control.advance_computation(by_duchy("worker1", stalled)).await, Code::DeadlineExceeded);
    }
    // Chunks that bring nothing make it no less stalled, however many they are.
    let beginning = [header(Description::SetupPhaseInput), chunk(b"ske")];
    let nothing = tokio_stream::iter(std::iter::repeat_with(|| chunk(b"")));
    let stalled = by_duchy("worker1", tokio_stream::iter(beginning).chain(nothing));
    refused(duchy.control.clone().advance_computation(stalled).await, Code::DeadlineExceeded);
    assert_eq!(duchy.received(0).await, None);
}

#[tokio::test]
async fn participants_may_ask_for_the_stage() {
    let mut duchy = Duchy::aggregator().await;
    let computation = duchy.computation_in(Stage::WaitExecutionPhaseTwoInputs, AGGREGATOR).await;
    let name = "computations/c1/participants/aggregator/stage";
    let ask = |name: &str| GetComputationStageRequest { name: name.into() };
    let found = duchy.control.get_computation_stage(by_duchy("worker2", ask(name))).await;
    let found = found.expect("a participant").into_inner();
    assert_eq!(found.name, name);
    let Some(computation_stage::Stage::LiquidLegionsV2Stage(found_stage)) = found.stage else {
        panic!("another protocol: {found:?}")
    };
    assert_eq!(found_stage.stage, Stage::WaitExecutionPhaseTwoInputs.number());
    let digest = hex::encode_upper(Sha256::digest(computation.version.to_be_bytes()));
    assert_eq!(found.etag, format!("W/\"{digest}\""));

    refused(duchy.control.get_computation_stage(by_duchy("worker3", ask(name))).await, Code::NotFound);
    let unknown = ask("computations/c2/participants/aggregator/stage");
    refused(duchy.control.get_computation_stage(by_duchy("worker1", unknown)).await, Code::NotFound);
    for bad in [
        "",
        "computations/c1",
        "computations/c1/participants/aggregator",
        "computations/c1/participants/worker1/stage",
        "computations//participants/aggregator/stage",
        "computations/c1/participants/aggregator/computationStage",
        "computations/c1/participants/aggregator/stage/x",
    ] {
        let refusal = duchy.control.get_computation_stage(by_duchy("worker1", ask(bad))).await;
        refused(refusal, Code::InvalidArgument);
    }
}

fn share_shuffle(message: hmss::Message) -> AdvanceComputationRequest {
    let description = message.number();
    let protocol = Protocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle { description });
    header_of("computations/c1", Some(protocol))
}

#[tokio::test]
async fn the_aggregator_of_a_share_shuffle_waits_for_both_workers() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(hmss::Stage::WaitOnAggregationInput, AGGREGATOR).await;
    let message = |share| vec![share_shuffle(hmss::Message::AggregationPhaseInput), chunk(share)];
    for stranger in ["worker3", "aggregator"] {
        refused(duchy.send(stranger, message(b"share")).await, Code::PermissionDenied);
    }
    duchy.send("worker2", message(b"share2")).await.expect("the second");
    duchy.send("worker2", message(b"share2")).await.expect("again");
    assert_eq!(duchy.computation().await.stage, hmss::Stage::WaitOnAggregationInput.into());
    duchy.send("worker1", message(b"share1")).await.expect("the first");
    assert_eq!(duchy.computation().await.stage, hmss::Stage::AggregationPhase.into());
    assert_eq!(duchy.received(0).await.as_deref(), Some(&b"share1"[..]), "the first worker's comes first");
    assert_eq!(duchy.received(1).await.as_deref(), Some(&b"share2"[..]));
}

#[tokio::test]
async fn workers_take_seeds_from_one_another_only() {
    for (name, role, stage, message, next, sender, others) in [
        (
            "worker2",
            RoleInComputation::SecondNonAggregator,
            hmss::Stage::WaitOnShuffleInputPhaseOne,
            hmss::Message::ShufflePhaseInputOne,
            hmss::Stage::SetupPhase,
            "worker1",
            ["aggregator", "worker2"],
        ),
        (
            "worker1",
            RoleInComputation::FirstNonAggregator,
            hmss::Stage::WaitOnShuffleInputPhaseTwo,
            hmss::Message::ShufflePhaseInputTwo,
            hmss::Stage::ShufflePhase,
            "worker2",
            ["aggregator", "worker1"],
        ),
    ] {
        let duchy = Duchy::start(name, AdvanceLimits::default()).await;
        duchy.computation_in(stage, role).await;
        let seeds = || vec![share_shuffle(message), chunk(b"seeds")];
        for other in others {
            refused(duchy.send(other, seeds()).await, Code::PermissionDenied);
        }
        // Nobody sends a worker what is for the aggregator.
        let share = vec![share_shuffle(hmss::Message::AggregationPhaseInput), chunk(b"share")];
        refused(duchy.send(sender, share).await, Code::PermissionDenied);
        duchy.send(sender, seeds()).await.expect("awaited");
        assert_eq!(duchy.computation().await.stage, next.into());
        assert_eq!(duchy.received(0).await.as_deref(), Some(&b"seeds"[..]));
        duchy.send(sender, seeds()).await.expect("past");
    }
}

#[tokio::test]
async fn a_share_that_comes_too_early_may_come_again() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(hmss::Stage::Initialized, AGGREGATOR).await;
    let share = vec![share_shuffle(hmss::Message::AggregationPhaseInput), chunk(b"share")];
    refused(duchy.send("worker1", share).await, Code::Unavailable);
    assert!(duchy.files().is_empty());
}

#[tokio::test]
async fn every_duchy_may_ask_a_worker_of_a_share_shuffle_for_its_stage() {
    let mut duchy = Duchy::start("worker2", AdvanceLimits::default()).await;
    let role = RoleInComputation::SecondNonAggregator;
    duchy.computation_in(hmss::Stage::WaitOnShuffleInputPhaseOne, role).await;
    let name = "computations/c1/participants/worker2/stage";
    let ask = || GetComputationStageRequest { name: name.into() };
    let found = duchy.control.get_computation_stage(by_duchy("worker1", ask())).await;
    let stage = found.expect("the other worker").into_inner().stage;
    let Some(computation_stage::Stage::HonestMajorityShareShuffleStage(stage)) = stage else {
        panic!("another protocol: {stage:?}")
    };
    assert_eq!(stage.stage, hmss::Stage::WaitOnShuffleInputPhaseOne.number());
    // The worker's row does not tell who the aggregator is.
    let asked = duchy.control.get_computation_stage(by_duchy("aggregator", ask())).await;
    assert!(asked.expect("the aggregator").into_inner().stage.is_some());
}

#[tokio::test]
async fn a_reach_only_ring_is_one_round() {
    let reach_only = |message: reach_only_llv2::Message| {
        let description = message.number();
        let protocol = Protocol::ReachOnlyLiquidLegionsV2(ReachOnlyLiquidLegionsV2 { description });
        vec![header_of("computations/c1", Some(protocol)), chunk(b"registers")]
    };
    let aggregator = Duchy::aggregator().await;
    aggregator.computation_in(reach_only_llv2::Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
    for sender in ["worker1", "worker2"] {
        let sent = aggregator.send(sender, reach_only(reach_only_llv2::Message::SetupPhaseInput)).await;
        sent.expect("awaited");
    }
    assert_eq!(aggregator.computation().await.stage, reach_only_llv2::Stage::SetupPhase.into());

    let worker = Duchy::start("worker2", AdvanceLimits::default()).await;
    let waiting = reach_only_llv2::Stage::WaitExecutionPhaseInputs;
    worker.computation_in(waiting, RoleInComputation::NonAggregator).await;
    let message = || reach_only(reach_only_llv2::Message::ExecutionPhaseInput);
    refused(worker.send("aggregator", message()).await, Code::PermissionDenied);
    worker.send("worker1", message()).await.expect("the predecessor");
    assert_eq!(worker.computation().await.stage, reach_only_llv2::Stage::ExecutionPhase.into());
}
