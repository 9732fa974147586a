//! `Computations`: the internal API.

use halo_duchy_shell::blob::Place;
use halo_duchy_shell::clock::Clock;
use halo_duchy_shell::proto::internal::advance_computation_stage_request::AfterTransition;
use halo_duchy_shell::proto::internal::computation_details::{
    CompletedReason, KingdomComputationDetails, Protocol as Details,
};
use halo_duchy_shell::proto::internal::computation_stage::Stage as StageOneof;
use halo_duchy_shell::proto::internal::computation_type_enum::ComputationType;
use halo_duchy_shell::proto::internal::get_computation_token_request::Key;
use halo_duchy_shell::proto::internal::purge_computations_request::Ended;
use halo_duchy_shell::proto::internal::{
    AdvanceComputationStageRequest, ClaimWorkRequest, ComputationDetails, ComputationStage, ComputationToken,
    CreateComputationRequest, DeleteComputationRequest, EnqueueComputationRequest, ExtendWorkLockRequest,
    FinishComputationRequest, GetComputationIdsRequest, GetComputationTokenRequest, PurgeComputationsRequest,
    RecordOutputBlobPathRequest, RecordRequisitionFulfillmentRequest, RequisitionEntry,
    UpdateComputationDetailsRequest,
};
use halo_duchy_shell::protocol_stages::{Protocol, advance_request};
use halo_duchy_shell::service::AdvanceLimits;
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::EncryptionKeyPair;
use halo_protocols::proto::duchy::config::RoleInComputation;
use tonic::Code;
use tonic_types::StatusExt;

use crate::duchy::{Duchy, reason, refused};
use crate::fixture::{details, details_of, key, requisition, stage};

const NON_AGGREGATOR: RoleInComputation = RoleInComputation::NonAggregator;

fn create(id: &str) -> CreateComputationRequest {
    CreateComputationRequest {
        computation_type: ComputationType::LiquidLegionsSketchAggregationV2 as i32,
        global_computation_id: id.into(),
        computation_details: Some(details(NON_AGGREGATOR)),
        requisitions: vec![requisition(&format!("{id}/1"))],
        computation_stage: Some(stage(Stage::InitializationPhase).into()),
        stage_details: None,
    }
}

fn claim() -> ClaimWorkRequest {
    ClaimWorkRequest {
        computation_type: ComputationType::LiquidLegionsSketchAggregationV2 as i32,
        owner: "mill".into(),
        lock_duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        prioritized_stages: vec![stage(Stage::InitializationPhase).into()],
    }
}

fn complete() -> ComputationStage {
    stage(Stage::Complete).into()
}

impl Duchy {
    async fn created(&mut self, id: &str) -> ComputationToken {
        let created = self.computations.create_computation(create(id)).await.expect("create");
        created.into_inner().token.expect("a token")
    }

    async fn claimed(&mut self) -> ComputationToken {
        let claimed = self.computations.claim_work(claim()).await.expect("claim");
        claimed.into_inner().token.expect("work")
    }

    async fn token(&mut self, key: Key) -> ComputationToken {
        let request = GetComputationTokenRequest { key: Some(key) };
        let found = self.computations.get_computation_token(request).await.expect("get");
        found.into_inner().token.expect("a token")
    }
}

#[tokio::test]
async fn a_computation_is_created_and_found_by_both_keys() {
    let mut duchy = Duchy::aggregator().await;
    let created = duchy.created("c1").await;
    assert_eq!(created.computation_stage, Some(stage(Stage::InitializationPhase).into()));
    assert_eq!(duchy.token(Key::GlobalComputationId("c1".into())).await, created);
    assert_eq!(duchy.token(Key::RequisitionKey(key("c1/1"))).await, created);
    let again = duchy.computations.create_computation(create("c1")).await;
    let status = refused(again, Code::AlreadyExists);
    assert_eq!(reason(&status).as_deref(), Some("COMPUTATION_ALREADY_EXISTS"));
    let computations = &mut duchy.computations;
    refused(
        computations.get_computation_token(GetComputationTokenRequest { key: None }).await,
        Code::InvalidArgument,
    );
    for unknown in [Key::GlobalComputationId("c2".into()), Key::RequisitionKey(key("c2/1"))] {
        let request = GetComputationTokenRequest { key: Some(unknown) };
        refused(computations.get_computation_token(request).await, Code::NotFound);
    }
}

#[tokio::test]
async fn a_computation_that_makes_no_sense_is_not_created() {
    let mut duchy = Duchy::aggregator().await;
    let spec = KingdomComputationDetails { measurement_spec: vec![0; (1 << 20) + 1], ..Default::default() };
    let large = ComputationDetails { kingdom_computation: Some(spec), ..details(NON_AGGREGATOR) };
    let keyless = RequisitionEntry { key: None, ..requisition("x") };
    for bad in [
        CreateComputationRequest { global_computation_id: String::new(), ..create("c1") },
        CreateComputationRequest { computation_type: 0, ..create("c1") },
        CreateComputationRequest { computation_type: 99, ..create("c1") },
        CreateComputationRequest { computation_type: ComputationType::TrusTee as i32, ..create("c1") },
        // Details of another protocol.
        CreateComputationRequest {
            computation_type: ComputationType::HonestMajorityShareShuffle as i32,
            ..create("c1")
        },
        CreateComputationRequest { computation_details: None, ..create("c1") },
        CreateComputationRequest { computation_details: Some(Default::default()), ..create("c1") },
        CreateComputationRequest { computation_details: Some(large), ..create("c1") },
        CreateComputationRequest { computation_stage: Some(stage(Stage::SetupPhase).into()), ..create("c1") },
        CreateComputationRequest { requisitions: vec![keyless], ..create("c1") },
    ] {
        refused(duchy.computations.create_computation(bad).await, Code::InvalidArgument);
    }
    let twice =
        CreateComputationRequest { requisitions: vec![requisition("x"), requisition("x")], ..create("c1") };
    refused(duchy.computations.create_computation(twice).await, Code::AlreadyExists);
    duchy.created("c1").await;
}

#[tokio::test]
async fn work_is_claimed_once_and_kept() {
    let mut duchy = Duchy::aggregator().await;
    let none = duchy.computations.claim_work(claim()).await.expect("claim").into_inner();
    assert_eq!(none.token, None);
    duchy.created("c1").await;
    let token = duchy.claimed().await;
    assert_eq!((token.lock_owner.as_str(), token.attempt), ("mill", 1));
    let none = duchy.computations.claim_work(claim()).await.expect("claim").into_inner();
    assert_eq!(none.token, None);
    let extend = ExtendWorkLockRequest { token: Some(token.clone()), lock_duration: None };
    let extended = duchy.computations.extend_work_lock(extend.clone()).await.expect("extend").into_inner();
    let extended = extended.token.expect("a token");
    assert_eq!(extended.version, token.version);
    assert_ne!(extended.lock_expiration_time, token.lock_expiration_time);
    let mut foreign = extend;
    foreign.token.as_mut().expect("a token").lock_owner = "another".into();
    let status = refused(duchy.computations.extend_work_lock(foreign).await, Code::Aborted);
    assert_eq!(reason(&status).as_deref(), Some("COMPUTATION_LOCK_OWNER_MISMATCH"));
}

#[tokio::test]
async fn a_claim_that_makes_no_sense_is_refused() {
    let mut duchy = Duchy::aggregator().await;
    let lasting = |seconds, nanos| ClaimWorkRequest {
        lock_duration: Some(prost_types::Duration { seconds, nanos }),
        ..claim()
    };
    for bad in [
        ClaimWorkRequest { owner: String::new(), ..claim() },
        ClaimWorkRequest { computation_type: 0, ..claim() },
        lasting(0, 0),
        lasting(-1, 0),
        lasting(24 * 3600, 1),
        lasting(i64::MAX, 0),
        ClaimWorkRequest { prioritized_stages: vec![ComputationStage::default()], ..claim() },
    ] {
        refused(duchy.computations.claim_work(bad).await, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_mill_takes_a_stage_from_claim_to_advance() {
    let mut duchy = Duchy::aggregator().await;
    duchy.computation_in(Stage::SetupPhase, NON_AGGREGATOR).await;
    let token = duchy.claimed().await;
    let record = |id, path: &str| RecordOutputBlobPathRequest {
        token: Some(token.clone()),
        output_blob_id: id,
        blob_path: path.into(),
    };
    let computations = &mut duchy.computations;
    refused(computations.record_output_blob_path(record(0, " ")).await, Code::InvalidArgument);
    refused(computations.record_output_blob_path(record(5, "p")).await, Code::NotFound);
    let next = stage(Stage::WaitExecutionPhaseOneInputs);
    let early = advance_request(token.clone(), next, vec!["p".into()]).expect("matching details");
    refused(computations.advance_computation_stage(early).await, Code::FailedPrecondition);

    let recorded = computations.record_output_blob_path(record(0, "p")).await.expect("record").into_inner();
    let recorded = recorded.token.expect("a token");
    let stale = refused(computations.record_output_blob_path(record(0, "q")).await, Code::Aborted);
    let info = stale.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "wfa.measurement.internal.duchy.ErrorCode");
    assert_eq!(info.reason, "COMPUTATION_TOKEN_VERSION_MISMATCH");
    assert_eq!(info.metadata["token_version"], token.version.to_string());
    assert_eq!(info.metadata["version"], recorded.version.to_string());

    let good = advance_request(recorded.clone(), next, vec!["p".into()]).expect("matching details");
    let after = |after| AdvanceComputationStageRequest { after_transition: after, ..good.clone() };
    for bad in [
        after(AfterTransition::Unspecified as i32),
        after(AfterTransition::RetainAndExtendLock as i32),
        after(AfterTransition::AddUnclaimedToQueue as i32),
        after(77),
        AdvanceComputationStageRequest { output_blobs: 2, ..good.clone() },
        AdvanceComputationStageRequest { output_blobs: -1, ..good.clone() },
        AdvanceComputationStageRequest { input_blobs: vec![String::new()], ..good.clone() },
        AdvanceComputationStageRequest { next_computation_stage: None, ..good.clone() },
        AdvanceComputationStageRequest { token: None, ..good.clone() },
    ] {
        refused(computations.advance_computation_stage(bad).await, Code::InvalidArgument);
    }
    let illegal =
        advance_request(recorded, stage(Stage::ExecutionPhaseTwo), vec![]).expect("matching details");
    refused(computations.advance_computation_stage(illegal).await, Code::FailedPrecondition);
    let advanced = computations.advance_computation_stage(good.clone()).await.expect("advance").into_inner();
    let advanced = advanced.token.expect("a token");
    assert_eq!(advanced.computation_stage, Some(next.into()));
    assert_eq!(advanced.blobs.len(), 2);
    let again = refused(computations.advance_computation_stage(good).await, Code::Aborted);
    assert_eq!(reason(&again).as_deref(), Some("COMPUTATION_TOKEN_VERSION_MISMATCH"));
    let input =
        RecordOutputBlobPathRequest { token: Some(advanced), output_blob_id: 0, blob_path: "q".into() };
    refused(computations.record_output_blob_path(input).await, Code::FailedPrecondition);
}

#[tokio::test]
async fn details_are_replaced_but_not_the_protocol() {
    let mut duchy = Duchy::aggregator().await;
    let token = duchy.created("c1").await;
    let mut changed = details(NON_AGGREGATOR);
    changed.blobs_storage_prefix = "prefix".into();
    let good = UpdateComputationDetailsRequest {
        token: Some(token.clone()),
        details: Some(changed.clone()),
        requisitions: vec![requisition("c1/1")],
    };
    for bad in [
        UpdateComputationDetailsRequest { details: None, ..good.clone() },
        UpdateComputationDetailsRequest { details: Some(Default::default()), ..good.clone() },
        UpdateComputationDetailsRequest { token: None, ..good.clone() },
    ] {
        refused(duchy.computations.update_computation_details(bad).await, Code::InvalidArgument);
    }
    let unknown = UpdateComputationDetailsRequest { requisitions: vec![requisition("x")], ..good.clone() };
    refused(duchy.computations.update_computation_details(unknown).await, Code::NotFound);
    let updated = duchy.computations.update_computation_details(good).await.expect("update").into_inner();
    let updated = updated.token.expect("a token");
    assert_eq!(updated.computation_details, Some(changed));
    assert!(updated.version > token.version);
}

#[tokio::test]
async fn a_computation_is_finished_with_a_reason() {
    let mut duchy = Duchy::aggregator().await;
    let token = duchy.created("c1").await;
    let good = FinishComputationRequest {
        token: Some(token.clone()),
        ending_computation_stage: Some(complete()),
        reason: CompletedReason::Failed as i32,
        error_message: String::new(),
    };
    for bad in [
        FinishComputationRequest { reason: 0, ..good.clone() },
        FinishComputationRequest { reason: 9, ..good.clone() },
        FinishComputationRequest { ending_computation_stage: None, ..good.clone() },
        FinishComputationRequest {
            ending_computation_stage: Some(stage(Stage::SetupPhase).into()),
            ..good.clone()
        },
        FinishComputationRequest { token: None, ..good.clone() },
    ] {
        refused(duchy.computations.finish_computation(bad).await, Code::InvalidArgument);
    }
    let mut unknown = good.clone();
    unknown.token.as_mut().expect("a token").local_computation_id = 42;
    let status = refused(duchy.computations.finish_computation(unknown).await, Code::NotFound);
    assert_eq!(reason(&status).as_deref(), Some("COMPUTATION_NOT_FOUND"));
    let finished = duchy.computations.finish_computation(good.clone()).await.expect("finish").into_inner();
    let details = finished.token.and_then(|token| token.computation_details).expect("details");
    assert_eq!(details.ending_state(), CompletedReason::Failed);
    refused(duchy.computations.finish_computation(good).await, Code::Aborted);
}

#[tokio::test]
async fn work_is_given_back_by_its_owner() {
    let mut duchy = Duchy::aggregator().await;
    duchy.created("c1").await;
    let good = EnqueueComputationRequest {
        token: Some(duchy.claimed().await),
        delay_second: 0,
        expected_owner: "mill".into(),
        error_message: "the storage is away".into(),
        interrupted: false,
    };
    let negative = EnqueueComputationRequest { delay_second: -1, ..good.clone() };
    refused(duchy.computations.enqueue_computation(negative).await, Code::InvalidArgument);
    let foreign = EnqueueComputationRequest { expected_owner: "another".into(), ..good.clone() };
    let status = refused(duchy.computations.enqueue_computation(foreign).await, Code::Aborted);
    assert_eq!(reason(&status).as_deref(), Some("COMPUTATION_LOCK_OWNER_MISMATCH"));
    duchy.computations.enqueue_computation(good.clone()).await.expect("enqueue");
    refused(duchy.computations.enqueue_computation(good).await, Code::Aborted);
    let token = duchy.claimed().await;
    assert_eq!(token.attempt, 2);
    let stopped = EnqueueComputationRequest {
        token: Some(token),
        expected_owner: "mill".into(),
        interrupted: true,
        ..Default::default()
    };
    duchy.computations.enqueue_computation(stopped).await.expect("enqueue");
    let token = duchy.claimed().await;
    let interrupted = token.stage_specific_details.map(|details| details.interrupted_attempts);
    assert_eq!((token.attempt, interrupted), (3, Some(1)));
    let record = duchy.harness.store.record("c1").await.expect("a record");
    assert_eq!(
        record.last_error().map(|(_, attempt, error)| (attempt, error)),
        Some((1, "the storage is away"))
    );
}

#[tokio::test]
async fn a_fulfillment_is_recorded_once() {
    let mut duchy = Duchy::aggregator().await;
    let token = duchy.created("c1").await;
    duchy.created("c2").await;
    let good = RecordRequisitionFulfillmentRequest {
        token: Some(token),
        key: Some(key("c1/1")),
        blob_path: "p".into(),
        public_api_version: "v2alpha".into(),
        protocol_details: None,
    };
    let with_key = |key| RecordRequisitionFulfillmentRequest { key, ..good.clone() };
    for (bad, code) in [
        (
            RecordRequisitionFulfillmentRequest { blob_path: " ".into(), ..good.clone() },
            Code::InvalidArgument,
        ),
        (
            RecordRequisitionFulfillmentRequest { public_api_version: String::new(), ..good.clone() },
            Code::InvalidArgument,
        ),
        (with_key(None), Code::InvalidArgument),
        (with_key(Some(key("x"))), Code::NotFound),
        (with_key(Some(key("c2/1"))), Code::InvalidArgument),
    ] {
        refused(duchy.computations.record_requisition_fulfillment(bad).await, code);
    }
    for _ in 0..2 {
        duchy.computations.record_requisition_fulfillment(good.clone()).await.expect("record");
    }
    let other = RecordRequisitionFulfillmentRequest { blob_path: "q".into(), ..good };
    refused(duchy.computations.record_requisition_fulfillment(other).await, Code::FailedPrecondition);
}

#[tokio::test]
async fn computations_are_listed_by_stages_of_one_protocol() {
    let mut duchy = Duchy::aggregator().await;
    duchy.created("c1").await;
    let ids = |stages| GetComputationIdsRequest { stages };
    let listed =
        duchy.computations.get_computation_ids(ids(vec![stage(Stage::InitializationPhase).into()])).await;
    assert_eq!(listed.expect("list").into_inner().global_ids, ["c1"]);
    let strange = ComputationStage { stage: Some(StageOneof::TrusTee(1)) };
    for bad in [vec![ComputationStage::default()], vec![strange]] {
        refused(duchy.computations.get_computation_ids(ids(bad)).await, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn deleting_takes_the_blobs_along() {
    let mut duchy = Duchy::aggregator().await;
    let mut token = duchy.created("c1").await;
    let place = Place::Requisition { computation: "c1", requisition: "c1/1" };
    let blob = duchy.blobs.write(place, &b"sketch"[..]).await.expect("write");
    let record = RecordRequisitionFulfillmentRequest {
        token: Some(token.clone()),
        key: Some(key("c1/1")),
        blob_path: blob.path,
        public_api_version: "v2alpha".into(),
        protocol_details: None,
    };
    duchy.computations.record_requisition_fulfillment(record).await.expect("record");
    assert_eq!(duchy.files().len(), 1);
    for _ in 0..2 {
        let delete = DeleteComputationRequest { local_computation_id: token.local_computation_id };
        duchy.computations.delete_computation(delete).await.expect("delete, also again");
    }
    assert!(duchy.files().is_empty());
    token = duchy.created("c1").await;
    assert_eq!(token.requisitions[0].path, "");
}

#[tokio::test]
async fn purging_spares_what_is_young_or_unfinished() {
    let mut duchy = Duchy::aggregator().await;
    for id in ["old", "young", "unfinished"] {
        let token = duchy.created(id).await;
        if id != "unfinished" {
            let finish = FinishComputationRequest {
                token: Some(token),
                ending_computation_stage: Some(complete()),
                reason: CompletedReason::Succeeded as i32,
                error_message: String::new(),
            };
            duchy.computations.finish_computation(finish).await.expect("finish");
        }
        duchy.harness.clock.advance(std::time::Duration::from_secs(10));
    }
    let updated_before = crate::fixture::start_of_time() + std::time::Duration::from_secs(5);
    let dry = PurgeComputationsRequest {
        updated_before: Some(updated_before.into()),
        stages: vec![complete()],
        force: false,
        ended: None,
    };
    for bad in [
        PurgeComputationsRequest { stages: vec![stage(Stage::SetupPhase).into()], ..dry.clone() },
        PurgeComputationsRequest { updated_before: None, ..dry.clone() },
    ] {
        refused(duchy.computations.purge_computations(bad).await, Code::InvalidArgument);
    }
    for (force, count, sample) in [(false, 1, vec!["old".to_owned()]), (true, 1, vec![]), (true, 0, vec![])] {
        let request = PurgeComputationsRequest { force, ..dry.clone() };
        let purged = duchy.computations.purge_computations(request).await.expect("purge").into_inner();
        assert_eq!((purged.purge_count, purged.purge_sample), (count, sample));
    }
    let stages = [stage(Stage::Complete), stage(Stage::InitializationPhase)];
    let left = duchy.harness.store.ids_in_stages(&stages).await.expect("ids");
    assert_eq!(left, ["young", "unfinished"]);
}

#[tokio::test]
async fn purging_spares_what_ended_otherwise() {
    let mut duchy = Duchy::aggregator().await;
    let ends = [
        ("succeeded", CompletedReason::Succeeded),
        ("failed", CompletedReason::Failed),
        ("canceled", CompletedReason::Canceled),
    ];
    for (id, reason) in ends {
        let finish = FinishComputationRequest {
            token: Some(duchy.created(id).await),
            ending_computation_stage: Some(complete()),
            reason: reason as i32,
            ..FinishComputationRequest::default()
        };
        duchy.computations.finish_computation(finish).await.expect("finish");
    }
    // Of several changes within a millisecond the later ones are dated later.
    duchy.harness.clock.advance(std::time::Duration::from_secs(1));
    let ended = |reasons: &[CompletedReason]| {
        let reasons = reasons.iter().map(|reason| *reason as i32).collect();
        Some(Ended { stage: Some(complete()), reasons })
    };
    let request = PurgeComputationsRequest {
        updated_before: Some(duchy.harness.clock.now().into()),
        force: true,
        ended: ended(&[CompletedReason::Failed, CompletedReason::Canceled]),
        ..Default::default()
    };
    for bad in [
        PurgeComputationsRequest { stages: vec![complete()], ..request.clone() },
        PurgeComputationsRequest { ended: ended(&[]), ..request.clone() },
        PurgeComputationsRequest { ended: ended(&[CompletedReason::Unspecified]), ..request.clone() },
        PurgeComputationsRequest {
            ended: ended(&[CompletedReason::Failed])
                .map(|ended| Ended { stage: Some(stage(Stage::SetupPhase).into()), ..ended }),
            ..request.clone()
        },
    ] {
        refused(duchy.computations.purge_computations(bad).await, Code::InvalidArgument);
    }
    let purged = duchy.computations.purge_computations(request).await.expect("purge").into_inner();
    assert_eq!(purged.purge_count, 2);
    let left = duchy.harness.store.ids_in_stages(&[stage(Stage::Complete)]).await.expect("ids");
    assert_eq!(left, ["succeeded"]);
}

#[tokio::test]
async fn the_kingdom_hears_of_every_step() {
    let mut duchy = Duchy::aggregator().await;
    duchy.created("c1").await;
    let claimed = duchy.claimed().await;
    let next = stage(Stage::WaitRequisitionsAndKeySet);
    let advance = advance_request(claimed, next, vec![]).expect("matching details");
    let advanced = duchy.computations.advance_computation_stage(advance).await.expect("advance").into_inner();
    let finish = FinishComputationRequest {
        token: advanced.token,
        ending_computation_stage: Some(complete()),
        reason: CompletedReason::Canceled as i32,
        error_message: String::new(),
    };
    duchy.computations.finish_computation(finish).await.expect("finish");
    for (stage, reference) in [
        ("INITIALIZATION_PHASE", ""),
        ("INITIALIZATION_PHASE", "mill"),
        ("WAIT_REQUISITIONS_AND_KEY_SET", "mill"),
        ("COMPLETE", ""),
    ] {
        let request = duchy.kingdom_log.next().await;
        assert_eq!(request.parent, "computations/c1/participants/aggregator");
        let entry = request.computation_log_entry.expect("an entry");
        assert_eq!(entry.participant_child_reference_id, reference);
        assert_eq!(entry.stage_attempt.expect("an attempt").stage_name, stage);
    }
}

#[tokio::test]
async fn a_private_key_goes_with_the_end_of_its_computation() {
    for (id, reason) in [("c1", CompletedReason::Succeeded), ("c2", CompletedReason::Failed)] {
        let mut duchy = Duchy::start("worker1", AdvanceLimits::default()).await;
        duchy.blobs.write_private_key("7", b"sealed".to_vec()).await.expect("written");
        duchy.blobs.write_private_key("8", b"another's".to_vec()).await.expect("written");
        let protocol = Protocol::HonestMajorityShareShuffle;
        let mut details = details_of(protocol, RoleInComputation::FirstNonAggregator);
        if let Some(Details::HonestMajorityShareShuffle(details)) = &mut details.protocol {
            details.encryption_key_pair =
                Some(EncryptionKeyPair { private_key_id: "7".into(), public_key: None });
        }
        let created = duchy.computations.create_computation(CreateComputationRequest {
            computation_type: protocol.number(),
            computation_details: Some(details),
            computation_stage: Some(protocol.initial_stage().into()),
            ..create(id)
        });
        let token = created.await.expect("create").into_inner().token;
        let finish = FinishComputationRequest {
            token,
            ending_computation_stage: Some(protocol.terminal_stage().into()),
            reason: reason as i32,
            error_message: String::new(),
        };
        duchy.computations.finish_computation(finish).await.expect("finish");
        assert!(duchy.blobs.read(&duchy.blobs.private_key_path("7"), 100).await.is_err(), "it is deleted");
        assert!(duchy.blobs.read(&duchy.blobs.private_key_path("8"), 100).await.is_ok(), "others stay");
    }
}
