//! The duchy's smaller internal services: `ComputationStats`, `ContinuationTokens` and `AsyncComputationControl`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_duchy_shell::client::Channel;
use halo_duchy_shell::proto::internal::async_computation_control_client::AsyncComputationControlClient;
use halo_duchy_shell::proto::internal::computation_stats_client::ComputationStatsClient;
use halo_duchy_shell::proto::internal::continuation_tokens_client::ContinuationTokensClient;
use halo_duchy_shell::proto::internal::{
    AdvanceComputationRequest, CreateComputationStatRequest, GetContinuationTokenRequest,
    GetOutputBlobMetadataRequest, SetContinuationTokenRequest,
};
use halo_duchy_shell::proto::system::StreamActiveComputationsContinuationToken;
use halo_protocols::llv2::Stage;
use prost::Message;
use tonic::Code;

use crate::callers;
use crate::case::Suite;
use crate::fixture::stage;
use crate::rows::AGGREGATOR;
use crate::world::{Part, World};

impl World {
    fn stats(&self) -> ComputationStatsClient<Channel> {
        ComputationStatsClient::new(self.channel(Part::InternalApi, self.duchy))
    }

    fn tokens(&self) -> ContinuationTokensClient<Channel> {
        ContinuationTokensClient::new(self.channel(Part::InternalApi, self.duchy))
    }

    fn bookkeeping(&self) -> AsyncComputationControlClient<Channel> {
        AsyncComputationControlClient::new(self.channel(Part::AsyncControl, self.duchy))
    }
}

pub fn computation_stats() -> Suite {
    let mut suite = Suite::new("wfa.measurement.internal.duchy.ComputationStats");
    let mut case = |input, code, change: fn(&mut CreateComputationStatRequest)| {
        suite.case("CreateComputationStat", input, code, move |world| async move {
            let token = world.working().await;
            let mut request = CreateComputationStatRequest {
                local_computation_id: token.local_computation_id,
                computation_stage: token.computation_stage,
                attempt: token.attempt,
                metric_name: "crypto_cpu_duration_ms".into(),
                metric_value: 7,
            };
            world.stats().create_computation_stat(request.clone()).await.expect("created");
            change(&mut request);
            world.stats().create_computation_stat(request).await
        });
    };
    case("again", Code::Ok, |_| ());
    case("again, with another value", Code::Ok, |request| request.metric_value = 8);
    case("no local id", Code::InvalidArgument, |request| request.local_computation_id = 0);
    case("no stage", Code::InvalidArgument, |request| request.computation_stage = None);
    case("no name", Code::InvalidArgument, |request| request.metric_name.clear());
    case("an attempt that there was not", Code::FailedPrecondition, |request| request.attempt = 9);
    case("a stage that there was not", Code::FailedPrecondition, |request| {
        request.computation_stage = Some(stage(Stage::SetupPhase).into());
    });
    callers::computation_stats(&mut suite);
    suite
}

fn continuation_token(seconds: i64) -> String {
    let message = StreamActiveComputationsContinuationToken {
        last_seen_update_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        last_seen_external_computation_id: 1,
    };
    URL_SAFE_NO_PAD.encode(message.encode_to_vec())
}

pub fn continuation_tokens() -> Suite {
    let mut suite = Suite::new("wfa.measurement.internal.duchy.ContinuationTokens");
    suite.case("getContinuationToken", "nothing", Code::Ok, |world| async move {
        world.tokens().get_continuation_token(GetContinuationTokenRequest {}).await
    });
    let mut set = |input, code, token: String| {
        suite.case("setContinuationToken", input, code, move |world| {
            let request = SetContinuationTokenRequest { token: token.clone() };
            async move { world.tokens().set_continuation_token(request).await }
        });
    };
    set("a token", Code::Ok, continuation_token(5));
    set("the same again", Code::Ok, continuation_token(5));
    set("an older one", Code::FailedPrecondition, continuation_token(4));
    set("what is not base64url", Code::InvalidArgument, "*".into());
    set("bytes that are no token", Code::InvalidArgument, "_____w".into());
    callers::continuation_tokens(&mut suite);
    suite
}

pub fn async_computation_control() -> Suite {
    let mut suite = Suite::new("wfa.measurement.internal.duchy.AsyncComputationControl");
    get_output_blob_metadata(&mut suite);
    advance_computation(&mut suite);
    callers::async_computation_control(&mut suite);
    suite
}

fn get_output_blob_metadata(suite: &mut Suite) {
    let mut case = |input, code, at: Stage, sender: &'static str| {
        suite.case("GetOutputBlobMetadata", input, code, move |world| async move {
            let token = world.computation_in(at, AGGREGATOR).await;
            let request = GetOutputBlobMetadataRequest {
                global_computation_id: token.global_computation_id,
                data_origin: sender.into(),
            };
            world.bookkeeping().get_output_blob_metadata(request).await
        });
    };
    case("a sender that is awaited", Code::Ok, Stage::WaitSetupPhaseInputs, "worker1");
    case("the sender before in the ring", Code::Ok, Stage::WaitExecutionPhaseOneInputs, "worker2");
    let denied = Code::PermissionDenied;
    case("another sender of the ring", denied, Stage::WaitExecutionPhaseOneInputs, "worker1");
    case("a sender that takes no part", denied, Stage::WaitSetupPhaseInputs, "worker3");
    case("the duchy itself", denied, Stage::WaitSetupPhaseInputs, "aggregator");
    case("a stage that waits for nothing", Code::FailedPrecondition, Stage::SetupPhase, "worker1");
    suite.case("GetOutputBlobMetadata", "an unknown computation", Code::NotFound, |world| async move {
        let request =
            GetOutputBlobMetadataRequest { global_computation_id: "x".into(), data_origin: "worker1".into() };
        world.bookkeeping().get_output_blob_metadata(request).await
    });
}

fn advance_computation(suite: &mut Suite) {
    const RPC: &str = "AdvanceComputation";
    let good = |id: String| AdvanceComputationRequest {
        global_computation_id: id,
        computation_stage: Some(stage(Stage::WaitSetupPhaseInputs).into()),
        blob_id: 0,
        blob_path: "p".into(),
    };
    let mut case = |input, code, change: fn(&mut AdvanceComputationRequest)| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            let mut request = good(token.global_computation_id);
            change(&mut request);
            world.bookkeeping().advance_computation(request).await
        });
    };
    case("a blob for a slot", Code::Ok, |_| ());
    case("no stage", Code::InvalidArgument, |request| request.computation_stage = None);
    case("no path", Code::InvalidArgument, |request| request.blob_path.clear());
    case("no such slot", Code::FailedPrecondition, |request| request.blob_id = 9);
    case("an unknown computation", Code::NotFound, |request| request.global_computation_id = "x".into());
    case("a stage that is far", Code::Aborted, |request| {
        request.computation_stage = Some(stage(Stage::WaitExecutionPhaseThreeInputs).into());
    });
    let mut after = |input, code, path: &'static str| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            let mut request = good(token.global_computation_id);
            world.bookkeeping().advance_computation(request.clone()).await.expect("the first");
            request.blob_path = path.into();
            world.bookkeeping().advance_computation(request).await
        });
    };
    after("again, with the same path", Code::Ok, "p");
    after("again, with another path", Code::FailedPrecondition, "q");
    suite.case(RPC, "the stage before the current one", Code::Ok, move |world| async move {
        let token = world.computation_in(Stage::SetupPhase, AGGREGATOR).await;
        world.bookkeeping().advance_computation(good(token.global_computation_id)).await
    });
}
