//! The internal API is the duchy's own: whoever else calls is refused before the request is looked at.

use halo_duchy_shell::proto::internal::async_computation_control_client::AsyncComputationControlClient;
use halo_duchy_shell::proto::internal::computation_stats_client::ComputationStatsClient;
use halo_duchy_shell::proto::internal::computations_client::ComputationsClient;
use halo_duchy_shell::proto::internal::continuation_tokens_client::ContinuationTokensClient;
use tonic::Code;

use crate::case::Suite;
use crate::world::{Part, STRANGER};

/// Adds to a suite, for each RPC, that others than the duchy may not call it.
macro_rules! refuse_others {
    ($suite:expr, $client:ident at $part:expr, $code:expr, { $($name:literal => $rpc:ident),* $(,)? }) => {
        $(for (input, party) in OTHERS {
            $suite.case($name, input, $code, move |world| async move {
                $client::new(world.channel($part, party)).$rpc(tonic::Request::new(Default::default())).await
            });
        })*
    };
}

const OTHERS: [(&str, &str); 3] = [
    ("from another duchy", "worker1"),
    ("from a data provider", "edp1"),
    ("from nobody that is known", STRANGER),
];

pub fn computations(suite: &mut Suite) {
    refuse_others!(suite, ComputationsClient at Part::InternalApi, Code::PermissionDenied, {
        "CreateComputation" => create_computation,
        "GetComputationToken" => get_computation_token,
        "GetComputationIds" => get_computation_ids,
        "AwaitWork" => await_work,
        "ClaimWork" => claim_work,
        "ExtendWorkLock" => extend_work_lock,
        "UpdateComputationDetails" => update_computation_details,
        "RecordOutputBlobPath" => record_output_blob_path,
        "RecordRequisitionFulfillment" => record_requisition_fulfillment,
        "AdvanceComputationStage" => advance_computation_stage,
        "EnqueueComputation" => enqueue_computation,
        "FinishComputation" => finish_computation,
        "PurgeComputations" => purge_computations,
        "SweepBlobs" => sweep_blobs,
        "DeleteComputation" => delete_computation,
    });
}

pub fn computation_stats(suite: &mut Suite) {
    refuse_others!(suite, ComputationStatsClient at Part::InternalApi, Code::PermissionDenied, {
        "CreateComputationStat" => create_computation_stat,
    });
}

pub fn continuation_tokens(suite: &mut Suite) {
    refuse_others!(suite, ContinuationTokensClient at Part::InternalApi, Code::PermissionDenied, {
        "getContinuationToken" => get_continuation_token,
        "setContinuationToken" => set_continuation_token,
    });
}

pub fn async_computation_control(suite: &mut Suite) {
    refuse_others!(suite, AsyncComputationControlClient at Part::AsyncControl, Code::PermissionDenied, {
        "GetOutputBlobMetadata" => get_output_blob_metadata,
        "AdvanceComputation" => advance_computation,
    });
}
