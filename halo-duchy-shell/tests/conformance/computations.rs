//! `wfa.measurement.internal.duchy.Computations`.

use halo_duchy_shell::proto::internal::advance_computation_stage_request::AfterTransition;
use halo_duchy_shell::proto::internal::computation_details::{CompletedReason, KingdomComputationDetails};
use halo_duchy_shell::proto::internal::computation_stage::Stage as StageOneof;
use halo_duchy_shell::proto::internal::get_computation_token_request::Key;
use halo_duchy_shell::proto::internal::{
    AdvanceComputationStageRequest, AwaitWorkRequest, ClaimWorkRequest, ComputationDetails, ComputationStage,
    ComputationToken, CreateComputationRequest, DeleteComputationRequest, EnqueueComputationRequest,
    ExtendWorkLockRequest, FinishComputationRequest, GetComputationIdsRequest, GetComputationTokenRequest,
    PurgeComputationsRequest, RecordRequisitionFulfillmentRequest, SweepBlobsRequest,
    UpdateComputationDetailsRequest,
};
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage, advance_request};
use halo_protocols::llv2::Stage;
use tonic::Code;

use crate::callers;
use crate::case::Suite;
use crate::fixture::{details_of, key, requisition, stage};
use crate::rows::{AGGREGATOR, LLV2, claim, create, record};
use crate::world::World;

pub fn suite() -> Suite {
    let mut suite = Suite::new("wfa.measurement.internal.duchy.Computations");
    create_computation(&mut suite);
    get_computation_token(&mut suite);
    get_computation_ids(&mut suite);
    await_work(&mut suite);
    claim_work(&mut suite);
    extend_work_lock(&mut suite);
    update_computation_details(&mut suite);
    record_output_blob_path(&mut suite);
    record_requisition_fulfillment(&mut suite);
    advance_computation_stage(&mut suite);
    enqueue_computation(&mut suite);
    finish_computation(&mut suite);
    purge_computations(&mut suite);
    sweep_blobs(&mut suite);
    delete_computation(&mut suite);
    callers::computations(&mut suite);
    suite
}

fn create_computation(suite: &mut Suite) {
    const RPC: &str = "CreateComputation";
    suite.case(RPC, "a new computation", Code::Ok, |world| async move {
        world.computations().create_computation(create(LLV2, &world.fresh("c"), AGGREGATOR)).await
    });
    suite.case(RPC, "the id of one that there is", Code::AlreadyExists, |world| async move {
        let id = world.created().await.global_computation_id;
        world.computations().create_computation(create(LLV2, &id, AGGREGATOR)).await
    });
    let mut invalid = |input, code, change: fn(&mut CreateComputationRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request = create(LLV2, &world.fresh("c"), AGGREGATOR);
            change(&mut request);
            world.computations().create_computation(request).await
        });
    };
    let bad = Code::InvalidArgument;
    invalid("no id", bad, |request| request.global_computation_id.clear());
    invalid("no type", bad, |request| request.computation_type = 0);
    invalid("an id with other characters than letters, digits, `-` and `_`", bad, |request| {
        request.global_computation_id = "../x".into();
    });
    invalid("an unknown type", bad, |request| request.computation_type = 99);
    invalid("type TRUS_TEE", bad, |request| request.computation_type = 4);
    invalid("no details", bad, |request| request.computation_details = None);
    invalid("details without a protocol", bad, |request| {
        request.computation_details = Some(ComputationDetails::default());
    });
    invalid("details of another protocol than the type", bad, |request| {
        request.computation_details = Some(details_of(Protocol::HonestMajorityShareShuffle, AGGREGATOR));
    });
    invalid("a measurement spec above 1 MiB", bad, |request| {
        let spec = vec![0; (1 << 20) + 1];
        let kingdom = KingdomComputationDetails { measurement_spec: spec, ..Default::default() };
        request.computation_details.as_mut().expect("details").kingdom_computation = Some(kingdom);
    });
    invalid("a stage that is not the initial one", bad, |request| {
        request.computation_stage = Some(stage(Stage::SetupPhase).into());
    });
    invalid("a requisition without a key", bad, |request| request.requisitions[0].key = None);
    invalid("a requisition twice", Code::AlreadyExists, |request| {
        request.requisitions = vec![requisition("twice"), requisition("twice")];
    });
}

fn get_computation_token(suite: &mut Suite) {
    const RPC: &str = "GetComputationToken";
    let get = |key| GetComputationTokenRequest { key };
    suite.case(RPC, "the id of a computation", Code::Ok, move |world| async move {
        let id = world.created().await.global_computation_id;
        world.computations().get_computation_token(get(Some(Key::GlobalComputationId(id)))).await
    });
    suite.case(RPC, "the key of a requisition", Code::Ok, move |world| async move {
        let requisition = world.created().await.requisitions.remove(0).external_key.expect("a key");
        world.computations().get_computation_token(get(Some(Key::RequisitionKey(requisition)))).await
    });
    suite.case(RPC, "no key", Code::InvalidArgument, move |world| async move {
        world.computations().get_computation_token(get(None)).await
    });
    suite.case(RPC, "an unknown computation", Code::NotFound, move |world| async move {
        world.computations().get_computation_token(get(Some(Key::GlobalComputationId("x".into())))).await
    });
    suite.case(RPC, "an unknown requisition", Code::NotFound, move |world| async move {
        world.computations().get_computation_token(get(Some(Key::RequisitionKey(key("x"))))).await
    });
}

fn get_computation_ids(suite: &mut Suite) {
    const RPC: &str = "GetComputationIds";
    let mut ids = |input, code, stages: fn() -> Vec<ComputationStage>| {
        suite.case(RPC, input, code, move |world| async move {
            world.computations().get_computation_ids(GetComputationIdsRequest { stages: stages() }).await
        });
    };
    ids("stages of one protocol", Code::Ok, || vec![stage(Stage::SetupPhase).into(), complete()]);
    ids("a stage without a protocol", Code::InvalidArgument, || vec![ComputationStage::default()]);
    ids("an unknown stage", Code::InvalidArgument, || {
        vec![ComputationStage { stage: Some(StageOneof::LiquidLegionsSketchAggregationV2(99)) }]
    });
    ids("a stage of TrusTEE", Code::InvalidArgument, || {
        vec![ComputationStage { stage: Some(StageOneof::TrusTee(1)) }]
    });
}

fn await_work(suite: &mut Suite) {
    const RPC: &str = "AwaitWork";
    let wait =
        |seen, seconds| AwaitWorkRequest { seen, timeout: Some(prost_types::Duration { seconds, nanos: 0 }) };
    suite.case(RPC, "nothing seen", Code::Ok, move |world| async move {
        world.computations().await_work(wait(0, 3600)).await
    });
    suite.case(
        RPC,
        "what was last seen, while a computation is created",
        Code::Ok,
        move |world| async move {
            let seen =
                world.computations().await_work(wait(0, 0)).await.expect("an answer").into_inner().seen;
            let mut computations = world.computations();
            let (answer, _) = tokio::join!(computations.await_work(wait(seen, 3600)), world.created());
            assert!(answer.as_ref().is_ok_and(|answer| answer.get_ref().seen != seen), "{answer:?}");
            answer
        },
    );
    suite.case(RPC, "a negative timeout", Code::InvalidArgument, move |world| async move {
        world.computations().await_work(wait(0, -1)).await
    });
}

fn claim_work(suite: &mut Suite) {
    const RPC: &str = "ClaimWork";
    suite.case(RPC, "a type, an owner and a duration", Code::Ok, |world| async move {
        world.computations().claim_work(claim(LLV2)).await
    });
    suite.case(RPC, "no duration (5 min)", Code::Ok, |world| async move {
        world.computations().claim_work(ClaimWorkRequest { lock_duration: None, ..claim(LLV2) }).await
    });
    let mut invalid = |input, change: fn(&mut ClaimWorkRequest)| {
        suite.case(RPC, input, Code::InvalidArgument, move |world| async move {
            let mut request = claim(LLV2);
            change(&mut request);
            world.computations().claim_work(request).await
        });
    };
    invalid("no owner", |request| request.owner.clear());
    invalid("no type", |request| request.computation_type = 0);
    invalid("type TRUS_TEE", |request| request.computation_type = 4);
    invalid("a duration of 0", |request| request.lock_duration = Some(prost_types::Duration::default()));
    invalid("a negative duration", |request| {
        request.lock_duration = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    });
    invalid("a duration above 24 h", |request| {
        request.lock_duration = Some(prost_types::Duration { seconds: 24 * 3600, nanos: 1 });
    });
    invalid("a prioritized stage without a protocol", |request| {
        request.prioritized_stages = vec![ComputationStage::default()];
    });
}

fn extend_work_lock(suite: &mut Suite) {
    const RPC: &str = "ExtendWorkLock";
    suite.case(RPC, "the owner's token", Code::Ok, |world| async move {
        let token = Some(world.working().await);
        world.computations().extend_work_lock(ExtendWorkLockRequest { token, lock_duration: None }).await
    });
    let mut invalid = |input, code, change: fn(&mut ExtendWorkLockRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request =
                ExtendWorkLockRequest { token: Some(world.working().await), lock_duration: None };
            change(&mut request);
            world.computations().extend_work_lock(request).await
        });
    };
    invalid("no token", Code::InvalidArgument, |request| request.token = None);
    invalid("another owner", Code::Aborted, |request| token(&mut request.token).lock_owner = "x".into());
    invalid("a duration above 24 h", Code::InvalidArgument, |request| {
        request.lock_duration = Some(prost_types::Duration { seconds: 25 * 3600, nanos: 0 });
    });
}

fn update_computation_details(suite: &mut Suite) {
    const RPC: &str = "UpdateComputationDetails";
    let good = |token: ComputationToken| UpdateComputationDetailsRequest {
        details: token.computation_details.clone(),
        requisitions: Vec::new(),
        token: Some(token),
    };
    let mut update = |input, code, change: fn(&mut UpdateComputationDetailsRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request = good(world.created().await);
            change(&mut request);
            world.computations().update_computation_details(request).await
        });
    };
    update("new details", Code::Ok, |request| {
        request.details.as_mut().expect("details").blobs_storage_prefix = "prefix".into();
    });
    update("no token", Code::InvalidArgument, |request| request.token = None);
    update("no details", Code::InvalidArgument, |request| request.details = None);
    update("another protocol", Code::InvalidArgument, |request| {
        request.details = Some(details_of(Protocol::HonestMajorityShareShuffle, AGGREGATOR));
    });
    update("an unknown requisition", Code::NotFound, |request| request.requisitions = vec![requisition("x")]);
    update("an unknown local id", Code::NotFound, |request| {
        token(&mut request.token).local_computation_id = 42;
    });
    update("an older version", Code::Aborted, |request| token(&mut request.token).version -= 1);
}

fn record_output_blob_path(suite: &mut Suite) {
    const RPC: &str = "RecordOutputBlobPath";
    let mut case = |input, code, id: i64, path: &'static str| {
        suite.case(RPC, input, code, move |world| async move {
            let waiting = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            world.computations().record_output_blob_path(record(&waiting, id, path)).await
        });
    };
    case("an output and a path", Code::Ok, 0, "p");
    case("a blank path", Code::InvalidArgument, 0, " ");
    case("an unknown slot", Code::NotFound, 5, "p");
    suite.case(RPC, "a slot that is an input", Code::FailedPrecondition, |world| async move {
        let setup = world.computation_in(Stage::SetupPhase, AGGREGATOR).await;
        world.computations().record_output_blob_path(record(&setup, 0, "p")).await
    });
    suite.case(RPC, "an older version", Code::Aborted, |world| async move {
        let mut waiting = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
        waiting.version -= 1;
        world.computations().record_output_blob_path(record(&waiting, 0, "p")).await
    });
}

fn record_requisition_fulfillment(suite: &mut Suite) {
    const RPC: &str = "RecordRequisitionFulfillment";
    let good = |token: ComputationToken| RecordRequisitionFulfillmentRequest {
        key: token.requisitions[0].external_key.clone(),
        token: Some(token),
        blob_path: "p".into(),
        public_api_version: "v2alpha".into(),
        protocol_details: None,
    };
    let mut case = |input, code, change: fn(&mut RecordRequisitionFulfillmentRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request = good(world.created().await);
            change(&mut request);
            world.computations().record_requisition_fulfillment(request).await
        });
    };
    case("a path", Code::Ok, |_| ());
    case("no token", Code::InvalidArgument, |request| request.token = None);
    case("no key", Code::InvalidArgument, |request| request.key = None);
    case("a blank path", Code::InvalidArgument, |request| request.blob_path = " ".into());
    case("no API version", Code::InvalidArgument, |request| request.public_api_version.clear());
    case("an unknown requisition", Code::NotFound, |request| request.key = Some(key("x")));
    suite.case(RPC, "another computation's requisition", Code::InvalidArgument, move |world| async move {
        let mut request = good(world.created().await);
        request.key = good(world.created().await).key;
        world.computations().record_requisition_fulfillment(request).await
    });
    let twice = |second: &'static str| {
        move |world: std::sync::Arc<World>| async move {
            let mut request = good(world.created().await);
            let first = world.computations().record_requisition_fulfillment(request.clone()).await;
            first.expect("recorded");
            request.blob_path = second.into();
            world.computations().record_requisition_fulfillment(request).await
        }
    };
    suite.case(RPC, "again, with the same path", Code::Ok, twice("p"));
    suite.case(RPC, "again, with another path", Code::FailedPrecondition, twice("q"));
}

fn advance_computation_stage(suite: &mut Suite) {
    const RPC: &str = "AdvanceComputationStage";
    let next = stage(Stage::WaitRequisitionsAndKeySet);
    let mut case = |input, code, change: fn(&mut AdvanceComputationStageRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.working().await;
            let mut request = advance_request(token, next, Vec::new()).expect("matching details");
            change(&mut request);
            world.computations().advance_computation_stage(request).await
        });
    };
    let bad = Code::InvalidArgument;
    case("the next stage", Code::Ok, |_| ());
    case("no token", bad, |request| request.token = None);
    case("no stage", bad, |request| request.next_computation_stage = None);
    case("no after_transition", bad, |request| request.after_transition = 0);
    case("an unknown after_transition", bad, |request| request.after_transition = 77);
    case("an after_transition that the stage does not have", bad, |request| {
        request.after_transition = AfterTransition::AddUnclaimedToQueue as i32;
    });
    case("a negative number of outputs", bad, |request| request.output_blobs = -1);
    case("another number of outputs than the stage has", bad, |request| request.output_blobs = 5);
    case("a blank input", bad, |request| request.input_blobs = vec![String::new()]);
    case("an older version", Code::Aborted, |request| token(&mut request.token).version -= 1);
    case("an unknown local id", Code::NotFound, |request| {
        token(&mut request.token).local_computation_id = 42;
    });
    suite.case(RPC, "a stage that does not follow", Code::FailedPrecondition, |world| async move {
        let token = world.working().await;
        let request = advance_request(token, stage(Stage::ExecutionPhaseTwo), Vec::new());
        world.computations().advance_computation_stage(request.expect("matching details")).await
    });
    suite.case(RPC, "outputs that are not written", Code::FailedPrecondition, |world| async move {
        let setup = world.computation_in(Stage::SetupPhase, AGGREGATOR).await;
        let token = world.claimed(&setup).await;
        let request = advance_request(token, stage(Stage::WaitExecutionPhaseOneInputs), vec!["p".into()]);
        world.computations().advance_computation_stage(request.expect("matching details")).await
    });
    suite.case(RPC, "again", Code::Aborted, move |world| async move {
        let token = world.working().await;
        let request = advance_request(token, next, Vec::new()).expect("matching details");
        world.computations().advance_computation_stage(request.clone()).await.expect("the first");
        world.computations().advance_computation_stage(request).await
    });
}

fn enqueue_computation(suite: &mut Suite) {
    const RPC: &str = "EnqueueComputation";
    let mut case = |input, code, change: fn(&mut EnqueueComputationRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request = EnqueueComputationRequest {
                token: Some(world.working().await),
                delay_second: 3600,
                expected_owner: "mill".into(),
                error_message: String::new(),
                interrupted: false,
            };
            change(&mut request);
            world.computations().enqueue_computation(request).await
        });
    };
    case("the owner's token", Code::Ok, |_| ());
    case("no token", Code::InvalidArgument, |request| request.token = None);
    case("a negative delay", Code::InvalidArgument, |request| request.delay_second = -1);
    case("another owner", Code::Aborted, |request| request.expected_owner = "x".into());
    case("an older version", Code::Aborted, |request| token(&mut request.token).version -= 1);
}

fn finish_computation(suite: &mut Suite) {
    const RPC: &str = "FinishComputation";
    let good = |token: ComputationToken| FinishComputationRequest {
        token: Some(token),
        ending_computation_stage: Some(complete()),
        reason: CompletedReason::Failed as i32,
        error_message: String::new(),
    };
    let mut case = |input, code, change: fn(&mut FinishComputationRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request = good(world.created().await);
            change(&mut request);
            world.computations().finish_computation(request).await
        });
    };
    let bad = Code::InvalidArgument;
    case("a reason and the terminal stage", Code::Ok, |_| ());
    case("no token", bad, |request| request.token = None);
    case("no reason", bad, |request| request.reason = 0);
    case("an unknown reason", bad, |request| request.reason = 9);
    case("no stage", bad, |request| request.ending_computation_stage = None);
    case("a stage that is not terminal", bad, |request| {
        request.ending_computation_stage = Some(stage(Stage::SetupPhase).into());
    });
    case("the terminal stage of another protocol", bad, |request| {
        let other: ProtocolStage = halo_protocols::hmss::Stage::Complete.into();
        request.ending_computation_stage = Some(other.into());
    });
    case("an unknown local id", Code::NotFound, |request| {
        token(&mut request.token).local_computation_id = 42;
    });
    suite.case(RPC, "again, with the token of before", Code::Aborted, move |world| async move {
        let request = good(world.created().await);
        world.computations().finish_computation(request.clone()).await.expect("the first");
        world.computations().finish_computation(request).await
    });
}

fn purge_computations(suite: &mut Suite) {
    const RPC: &str = "PurgeComputations";
    let mut case = |input, code, change: fn(&mut PurgeComputationsRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let mut request = PurgeComputationsRequest {
                updated_before: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
                stages: vec![complete()],
                force: true,
                ended: None,
            };
            change(&mut request);
            world.computations().purge_computations(request).await
        });
    };
    case("terminal stages", Code::Ok, |_| ());
    case("a stage that is not terminal", Code::InvalidArgument, |request| {
        request.stages.push(stage(Stage::SetupPhase).into());
    });
    case("stages of two protocols", Code::InvalidArgument, |request| {
        let other: ProtocolStage = halo_protocols::hmss::Stage::Complete.into();
        request.stages.push(other.into());
    });
    case("no time", Code::InvalidArgument, |request| request.updated_before = None);
}

fn sweep_blobs(suite: &mut Suite) {
    const DAY: prost_types::Duration = prost_types::Duration { seconds: 86_400, nanos: 0 };
    let mut case = |input, code, change: fn(&mut SweepBlobsRequest)| {
        suite.case("SweepBlobs", input, code, move |world| async move {
            let mut request =
                SweepBlobsRequest { intermediate_ttl: Some(DAY), orphan_ttl: Some(DAY), force: true };
            change(&mut request);
            world.computations().sweep_blobs(request).await
        });
    };
    case("two durations", Code::Ok, |_| ());
    case("no duration for intermediate blobs", Code::InvalidArgument, |request| {
        request.intermediate_ttl = None;
    });
    case("no duration for orphaned blobs", Code::InvalidArgument, |request| request.orphan_ttl = None);
    case("a negative duration", Code::InvalidArgument, |request| {
        request.orphan_ttl = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    });
}

fn delete_computation(suite: &mut Suite) {
    const RPC: &str = "DeleteComputation";
    suite.case(RPC, "a computation", Code::Ok, |world| async move {
        let local_computation_id = world.created().await.local_computation_id;
        world.computations().delete_computation(DeleteComputationRequest { local_computation_id }).await
    });
    suite.case(RPC, "an unknown local id", Code::Ok, |world| async move {
        world.computations().delete_computation(DeleteComputationRequest { local_computation_id: 42 }).await
    });
}

fn complete() -> ComputationStage {
    stage(Stage::Complete).into()
}

fn token(token: &mut Option<ComputationToken>) -> &mut ComputationToken {
    token.as_mut().expect("a token")
}
