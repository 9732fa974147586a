use std::sync::{Arc, LazyLock};

use halo_duchy_shell::blob::BlobStore;
use halo_duchy_shell::clock::{ManualClock, Timestamp};
use halo_duchy_shell::identity::Caller;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::proto::internal::computation_stats_server::ComputationStats;
use halo_duchy_shell::proto::internal::computations_server::Computations;
use halo_duchy_shell::proto::internal::continuation_tokens_server::ContinuationTokens;
use halo_duchy_shell::proto::internal::get_computation_token_request::Key;
use halo_duchy_shell::proto::internal::{
    AdvanceComputationStageRequest, ClaimWorkRequest, ComputationToken, CreateComputationRequest,
    CreateComputationStatRequest, DeleteComputationRequest, EnqueueComputationRequest, ExtendWorkLockRequest,
    FinishComputationRequest, GetComputationIdsRequest, GetComputationTokenRequest,
    GetContinuationTokenRequest, PurgeComputationsRequest, RecordOutputBlobPathRequest,
    RecordRequisitionFulfillmentRequest, SetContinuationTokenRequest, UpdateComputationDetailsRequest,
};
use halo_duchy_shell::protocol_stages::Protocol;
use halo_duchy_shell::service::{ComputationStatsService, ComputationsService, ContinuationTokensService};
use halo_duchy_shell::store::{SqliteStore, Store};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::{Code, Request, Response, Status};

use crate::config_files::OWN;
use crate::messages::creations;

/// Requests of one input, at most.
const MOST_REQUESTS: usize = 32;

pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// A duchy's internal API over a store of its own.
pub(crate) struct InternalApi {
    computations: ComputationsService,
    stats: ComputationStatsService,
    tokens: ContinuationTokensService,
    /// What the last answer that had a token said of its computation.
    token: Option<ComputationToken>,
}

/// Sequences of requests to the internal API, each a byte that names the method, two with the length, and a message.
/// A token without an id stands for the newest that was answered, so that a search need not guess versions.
///
/// A request is answered or refused for what is wrong with it; none makes the store fail.
pub fn services(data: &[u8]) {
    RUNTIME.block_on(async {
        let mut api = InternalApi::new();
        let mut rest = data;
        for _ in 0..MOST_REQUESTS {
            let [method, low, high, more @ ..] = rest else { return };
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
            let (message, next) = more.split_at(length);
            api.call(*method, message).await;
            rest = next;
        }
    });
}

/// The methods, in the order of their numbers.
macro_rules! methods {
    ($($number:literal => $service:ident.$method:ident($request:ident) $(filling $fill:ident)? $(answering $answer:ident)?;)*) => {
        async fn call(&mut self, method: u8, message: &[u8]) {
            match method % 16 {
                $($number => {
                    let Ok(mut request) = $request::decode(message) else { return };
                    $(self.fill(&mut request.$fill);)?
                    let _ = &mut request;
                    let answer = self.$service.$method(from_duchy(request)).await;
                    if let Some(_answer) = answered(stringify!($method), answer) {
                        $(self.keep(_answer.$answer);)?
                    }
                })*
                _ => unreachable!("there are 16 methods"),
            }
        }
    };
}

impl InternalApi {
    fn new() -> Self {
        Self::over(empty_store())
    }

    pub(crate) fn over(store: Arc<dyn Store>) -> Self {
        Self {
            computations: ComputationsService::new(Arc::clone(&store), BlobStore::in_memory(OWN), OWN, None),
            stats: ComputationStatsService::new(Arc::clone(&store), OWN),
            tokens: ContinuationTokensService::new(store, OWN),
            token: None,
        }
    }

    /// The number of the method, and its request.
    pub(crate) async fn ask(&mut self, method: u8, request: &impl Message) {
        self.call(method, &request.encode_to_vec()).await;
    }

    methods! {
        0 => computations.create_computation(CreateComputationRequest) answering token;
        1 => computations.get_computation_token(GetComputationTokenRequest) answering token;
        2 => computations.claim_work(ClaimWorkRequest) answering token;
        3 => computations.extend_work_lock(ExtendWorkLockRequest) filling token answering token;
        4 => computations.update_computation_details(UpdateComputationDetailsRequest) filling token answering token;
        5 => computations.record_output_blob_path(RecordOutputBlobPathRequest) filling token answering token;
        6 => computations.record_requisition_fulfillment(RecordRequisitionFulfillmentRequest) filling token answering token;
        7 => computations.advance_computation_stage(AdvanceComputationStageRequest) filling token answering token;
        8 => computations.finish_computation(FinishComputationRequest) filling token answering token;
        9 => computations.enqueue_computation(EnqueueComputationRequest) filling token;
        10 => computations.get_computation_ids(GetComputationIdsRequest);
        11 => computations.delete_computation(DeleteComputationRequest);
        12 => computations.purge_computations(PurgeComputationsRequest);
        13 => stats.create_computation_stat(CreateComputationStatRequest);
        14 => tokens.get_continuation_token(GetContinuationTokenRequest);
        15 => tokens.set_continuation_token(SetContinuationTokenRequest);
    }

    fn fill(&self, token: &mut Option<ComputationToken>) {
        if token.as_ref().is_some_and(|token| token.local_computation_id == 0) {
            token.clone_from(&self.token);
        }
    }

    fn keep(&mut self, token: Option<ComputationToken>) {
        if token.is_some() {
            self.token = token;
        }
    }
}

/// The time at which nothing has happened yet.
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)))
}

pub(crate) fn empty_store() -> Arc<dyn Store> {
    Arc::new(SqliteStore::in_memory(clock()).expect("a database"))
}

fn from_duchy<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::Duchy(OWN.to_owned()));
    request
}

/// The answer. Panics if the caller is not to blame that there is none.
fn answered<T>(method: &str, answer: Result<Response<T>, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) => {
            let own = matches!(
                status.code(),
                Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::Unimplemented
            );
            assert!(!own, "{method}: {status}");
            None
        }
    }
}

/// The lives of computations of each protocol, and the other requests.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let framed = |(method, message): (u8, Vec<u8>)| {
        let length = u16::try_from(message.len()).expect("small").to_le_bytes();
        [&[method], &length[..], &message].concat()
    };
    let newest = || Some(ComputationToken::default());
    creations()
        .into_iter()
        .map(|creation| {
            let protocol = Protocol::try_from(creation.computation_type).expect("our own");
            let stages: Vec<_> = protocol.stages().collect();
            let last = stages.last().copied().map(Into::into);
            let claim = ClaimWorkRequest {
                computation_type: creation.computation_type,
                owner: "mill".into(),
                ..ClaimWorkRequest::default()
            };
            let advance = AdvanceComputationStageRequest {
                token: newest(),
                next_computation_stage: stages.get(1).copied().map(Into::into),
                after_transition: 2,
                ..AdvanceComputationStageRequest::default()
            };
            let requests = [
                (0, creation.encode_to_vec()),
                (2, claim.encode_to_vec()),
                (3, ExtendWorkLockRequest { token: newest(), lock_duration: None }.encode_to_vec()),
                (
                    4,
                    UpdateComputationDetailsRequest {
                        token: newest(),
                        details: creation.computation_details.clone(),
                        ..Default::default()
                    }
                    .encode_to_vec(),
                ),
                (
                    5,
                    RecordOutputBlobPathRequest {
                        token: newest(),
                        output_blob_id: 0,
                        blob_path: "worker1/x".into(),
                    }
                    .encode_to_vec(),
                ),
                (7, advance.encode_to_vec()),
                (
                    9,
                    EnqueueComputationRequest {
                        token: newest(),
                        expected_owner: "mill".into(),
                        ..Default::default()
                    }
                    .encode_to_vec(),
                ),
                (
                    1,
                    GetComputationTokenRequest { key: Some(Key::GlobalComputationId("c".into())) }
                        .encode_to_vec(),
                ),
                (
                    8,
                    FinishComputationRequest {
                        token: newest(),
                        ending_computation_stage: last,
                        reason: CompletedReason::Failed as i32,
                        ..Default::default()
                    }
                    .encode_to_vec(),
                ),
                (15, SetContinuationTokenRequest { token: "CgIIAxAB".into() }.encode_to_vec()),
                (14, Vec::new()),
                (11, DeleteComputationRequest { local_computation_id: 1 }.encode_to_vec()),
            ];
            requests.into_iter().flat_map(framed).collect()
        })
        .collect()
}
