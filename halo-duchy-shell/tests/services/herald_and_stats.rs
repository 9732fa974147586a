//! `ContinuationTokens` and `ComputationStats`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_duchy_shell::proto::internal::{
    CreateComputationStatRequest, GetContinuationTokenRequest, SetContinuationTokenRequest,
};
use halo_duchy_shell::proto::system::StreamActiveComputationsContinuationToken;
use halo_protocols::llv2::Stage;
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;
use tonic::Code;

use crate::duchy::{Duchy, reason, refused};
use crate::fixture::stage;

fn token(seconds: i64) -> String {
    let message = StreamActiveComputationsContinuationToken {
        last_seen_update_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        last_seen_external_computation_id: 1,
    };
    URL_SAFE_NO_PAD.encode(message.encode_to_vec())
}

#[tokio::test]
async fn the_continuation_token_is_kept_and_never_goes_back() {
    let mut tokens = Duchy::aggregator().await.tokens;
    let get = async |tokens: &mut halo_duchy_shell::proto::internal::continuation_tokens_client::ContinuationTokensClient<_>| {
        tokens.get_continuation_token(GetContinuationTokenRequest {}).await.expect("get").into_inner().token
    };
    assert_eq!(get(&mut tokens).await, "", "from the beginning");
    for seconds in [5, 5, 6] {
        let request = SetContinuationTokenRequest { token: token(seconds) };
        tokens.set_continuation_token(request).await.expect("set");
    }
    let older = tokens.set_continuation_token(SetContinuationTokenRequest { token: token(5) }).await;
    let status = refused(older, Code::FailedPrecondition);
    assert_eq!(reason(&status).as_deref(), Some("CONTINUATION_TOKEN_INVALID"));
    for malformed in ["*", "_____w"] {
        let request = SetContinuationTokenRequest { token: malformed.into() };
        let status = refused(tokens.set_continuation_token(request).await, Code::InvalidArgument);
        assert_eq!(reason(&status).as_deref(), Some("CONTINUATION_TOKEN_MALFORMED"));
    }
    assert_eq!(get(&mut tokens).await, token(6));
}

#[tokio::test]
async fn a_stat_belongs_to_an_attempt() {
    let mut duchy = Duchy::aggregator().await;
    let computation = duchy.computation_in(Stage::InitializationPhase, RoleInComputation::Aggregator).await;
    let good = CreateComputationStatRequest {
        local_computation_id: computation.local_id,
        computation_stage: Some(stage(Stage::InitializationPhase).into()),
        attempt: 1,
        metric_name: "crypto_cpu_time_ms".into(),
        metric_value: 7,
    };
    refused(duchy.stats.create_computation_stat(good.clone()).await, Code::FailedPrecondition);
    duchy.harness.claim("mill").await.expect("work");
    duchy.stats.create_computation_stat(good.clone()).await.expect("create");
    duchy.stats.create_computation_stat(good.clone()).await.expect("again");
    for bad in [
        CreateComputationStatRequest { local_computation_id: 0, ..good.clone() },
        CreateComputationStatRequest { metric_name: String::new(), ..good.clone() },
        CreateComputationStatRequest { computation_stage: None, ..good.clone() },
    ] {
        refused(duchy.stats.create_computation_stat(bad).await, Code::InvalidArgument);
    }
    let unknown = CreateComputationStatRequest { attempt: 9, ..good };
    refused(duchy.stats.create_computation_stat(unknown).await, Code::FailedPrecondition);
}
