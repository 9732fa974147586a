//! `AsyncComputationControl`: bookkeeping of data received.

use halo_duchy_shell::proto::internal::{
    AdvanceComputationRequest, ComputationStageBlobMetadata, GetOutputBlobMetadataRequest,
};
use halo_duchy_shell::service::AdvanceLimits;
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use tonic::{Code, Response, Status};

use crate::duchy::{Duchy, refused};
use crate::fixture::stage;

const AGGREGATOR: RoleInComputation = RoleInComputation::Aggregator;

fn advance(at: Stage, blob_id: i64, path: &str) -> AdvanceComputationRequest {
    AdvanceComputationRequest {
        global_computation_id: "c1".into(),
        computation_stage: Some(stage(at).into()),
        blob_id,
        blob_path: path.into(),
    }
}

impl Duchy {
    async fn slot(&mut self, sender: &str) -> Result<Response<ComputationStageBlobMetadata>, Status> {
        let request =
            GetOutputBlobMetadataRequest { global_computation_id: "c1".into(), data_origin: sender.into() };
        self.bookkeeping.get_output_blob_metadata(request).await
    }
}

#[tokio::test]
async fn every_sender_of_a_sketch_has_its_slot() {
    let mut duchy = Duchy::aggregator().await;
    refused(duchy.slot("worker1").await, Code::NotFound);
    duchy.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
    for (sender, id) in [("worker1", 0), ("worker2", 1)] {
        let slot = duchy.slot(sender).await.expect("a slot").into_inner();
        assert_eq!((slot.blob_id, slot.path.as_str()), (id, ""));
    }
    for stranger in ["aggregator", "worker3", ""] {
        refused(duchy.slot(stranger).await, Code::PermissionDenied);
    }
}

#[tokio::test]
async fn the_predecessor_in_the_ring_has_the_only_slot() {
    let mut duchy = Duchy::start("worker2", AdvanceLimits::default()).await;
    let role = RoleInComputation::NonAggregator;
    duchy.computation_in(Stage::WaitExecutionPhaseOneInputs, role).await;
    assert_eq!(duchy.slot("worker1").await.expect("a slot").into_inner().blob_id, 1);
    for other in ["worker2", "aggregator", "worker3"] {
        refused(duchy.slot(other).await, Code::PermissionDenied);
    }
}

#[tokio::test]
async fn a_computing_stage_has_no_slot() {
    let mut duchy = Duchy::aggregator().await;
    duchy.computation_in(Stage::SetupPhase, AGGREGATOR).await;
    refused(duchy.slot("worker1").await, Code::FailedPrecondition);
}

#[tokio::test]
async fn the_last_message_moves_the_computation_on() {
    let mut duchy = Duchy::aggregator().await;
    duchy.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
    let waiting = Stage::WaitSetupPhaseInputs;
    for path in ["p1", "p1"] {
        duchy.bookkeeping.advance_computation(advance(waiting, 1, path)).await.expect("also again");
    }
    let other = duchy.bookkeeping.advance_computation(advance(waiting, 1, "q")).await;
    refused(other, Code::FailedPrecondition);
    let nowhere = duchy.bookkeeping.advance_computation(advance(waiting, 2, "q")).await;
    refused(nowhere, Code::FailedPrecondition);
    assert_eq!(duchy.computation().await.stage, stage(waiting));
    assert_eq!(duchy.slot("worker2").await.expect("a slot").into_inner().path, "p1");

    duchy.bookkeeping.advance_computation(advance(waiting, 0, "p0")).await.expect("the last");
    let computation = duchy.computation().await;
    assert_eq!(computation.stage, stage(Stage::SetupPhase));
    let paths: Vec<_> = computation.blobs.iter().map(|blob| blob.path.as_deref()).collect();
    assert_eq!(paths, [Some("p0"), Some("p1"), None]);

    duchy.bookkeeping.advance_computation(advance(waiting, 0, "p0")).await.expect("one stage behind");
    for far in [Stage::WaitExecutionPhaseOneInputs, Stage::WaitExecutionPhaseThreeInputs] {
        refused(duchy.bookkeeping.advance_computation(advance(far, 0, "p")).await, Code::Aborted);
    }
    assert_eq!(duchy.computation().await, computation);
}

/// Tried again as "not yet", it would keep its sender waiting until the deadline.
#[tokio::test]
async fn a_message_that_is_late_by_many_stages_changes_nothing() {
    for stage in [Stage::WaitExecutionPhaseOneInputs, Stage::WaitExecutionPhaseThreeInputs] {
        let mut duchy = Duchy::aggregator().await;
        duchy.computation_in(stage, AGGREGATOR).await;
        let computation = duchy.computation().await;
        let late = advance(Stage::WaitSetupPhaseInputs, 0, "p0");
        duchy.bookkeeping.advance_computation(late).await.expect("the peer has nothing more to do");
        assert_eq!(duchy.computation().await, computation);
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let mut duchy = Duchy::aggregator().await;
    duchy.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
    let good = advance(Stage::WaitSetupPhaseInputs, 0, "p");
    let stageless = AdvanceComputationRequest { computation_stage: None, ..good.clone() };
    refused(duchy.bookkeeping.advance_computation(stageless).await, Code::InvalidArgument);
    let pathless = AdvanceComputationRequest { blob_path: String::new(), ..good.clone() };
    refused(duchy.bookkeeping.advance_computation(pathless).await, Code::InvalidArgument);
    let unknown = AdvanceComputationRequest { global_computation_id: "c2".into(), ..good };
    refused(duchy.bookkeeping.advance_computation(unknown).await, Code::NotFound);
}

#[tokio::test]
async fn two_senders_at_once_are_both_recorded() {
    let duchy = Duchy::aggregator().await;
    duchy.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
    let senders = [0, 1].map(|slot| {
        let mut bookkeeping = duchy.bookkeeping.clone();
        let request = advance(Stage::WaitSetupPhaseInputs, slot, &format!("p{slot}"));
        tokio::spawn(async move { bookkeeping.advance_computation(request).await })
    });
    for sender in senders {
        sender.await.expect("a sender").expect("recorded");
    }
    assert_eq!(duchy.computation().await.stage, stage(Stage::SetupPhase));
}
