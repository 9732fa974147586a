//! The internal API is the duchy's own.

use halo_duchy_shell::identity::Caller;
use tonic::Code;

use crate::duchy::{Duchy, by, refused};

/// Calls every internal RPC with an empty message.
macro_rules! call_all {
    ($caller:expr, $code:expr, { $($client:expr => [$($rpc:ident),* $(,)?]),* $(,)? }) => {
        $($( refused($client.$rpc(by($caller, Default::default())).await, $code); )*)*
    };
}

#[tokio::test]
async fn internal_rpcs_refuse_everybody_else() {
    let mut duchy = Duchy::aggregator().await;
    let others = [
        Some(Caller::Duchy("worker1".into())),
        Some(Caller::DataProvider("dataProviders/1".into())),
        Some(Caller::Kingdom),
        Some(Caller::MeasurementConsumer("measurementConsumers/1".into())),
        None,
    ];
    for caller in &others {
        let code = if caller.is_some() { Code::PermissionDenied } else { Code::Unauthenticated };
        call_all!(caller.as_ref(), code, {
            duchy.computations => [
                advance_computation_stage, claim_work, create_computation, delete_computation,
                enqueue_computation, extend_work_lock, finish_computation, get_computation_ids,
                get_computation_token, purge_computations, record_output_blob_path,
                record_requisition_fulfillment, update_computation_details,
            ],
            duchy.stats => [create_computation_stat],
            duchy.tokens => [get_continuation_token, set_continuation_token],
            duchy.bookkeeping => [advance_computation, get_output_blob_metadata],
        });
    }
}

#[tokio::test]
async fn only_duchies_reach_the_control_service() {
    let mut duchy = Duchy::aggregator().await;
    for (caller, code) in [
        (Some(Caller::DataProvider("dataProviders/1".into())), Code::PermissionDenied),
        (Some(Caller::Kingdom), Code::PermissionDenied),
        (None, Code::Unauthenticated),
    ] {
        refused(duchy.control.get_computation_stage(by(caller.as_ref(), Default::default())).await, code);
        let empty = tokio_stream::iter([]);
        refused(duchy.control.advance_computation(by(caller.as_ref(), empty)).await, code);
    }
}
