//! `wfa.measurement.system.v1alpha.ComputationControl`: what peers send and ask.

use std::sync::Arc;

use bytes::Bytes;
use halo_duchy_shell::client::Channel;
use halo_duchy_shell::proto::system::advance_computation_request::header::Protocol;
use halo_duchy_shell::proto::system::advance_computation_request::{BodyChunk, Header, Payload};
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::{
    AdvanceComputationRequest, AdvanceComputationResponse, GetComputationStageRequest,
    HonestMajorityShareShuffle, LiquidLegionsV2,
};
use halo_protocols::llv2::Stage;
use tonic::{Code, Response, Status};

use crate::case::Suite;
use crate::rows::AGGREGATOR;
use crate::world::{MAX_BYTES, Part, STRANGER, World};

type Sent = Result<Response<AdvanceComputationResponse>, Status>;

impl World {
    pub fn control(&self, party: &str) -> ComputationControlClient<Channel> {
        ComputationControlClient::new(self.channel(Part::Control, party))
    }

    pub async fn advance(&self, party: &str, messages: Vec<AdvanceComputationRequest>) -> Sent {
        self.control(party).advance_computation(tokio_stream::iter(messages)).await
    }
}

/// A header for the computation of an id, with a description of Liquid Legions v2.
pub fn header(id: &str, description: i32) -> AdvanceComputationRequest {
    let protocol = Some(Protocol::LiquidLegionsV2(LiquidLegionsV2 { description }));
    header_of(format!("computations/{id}"), protocol)
}

fn header_of(name: String, protocol: Option<Protocol>) -> AdvanceComputationRequest {
    AdvanceComputationRequest { payload: Some(Payload::Header(Header { name, protocol })) }
}

pub fn chunk(data: &[u8]) -> AdvanceComputationRequest {
    let partial_data = Bytes::copy_from_slice(data);
    AdvanceComputationRequest { payload: Some(Payload::BodyChunk(BodyChunk { partial_data })) }
}

/// The header of a sketch, and the sketch.
pub fn sketch(id: &str, body: &[u8]) -> Vec<AdvanceComputationRequest> {
    vec![header(id, SETUP_PHASE_INPUT), chunk(body)]
}

const SETUP_PHASE_INPUT: i32 = 1;

pub fn suite() -> Suite {
    let mut suite = Suite::new("wfa.measurement.system.v1alpha.ComputationControl");
    advance_computation(&mut suite);
    repeated(&mut suite);
    get_computation_stage(&mut suite);
    suite
}

fn advance_computation(suite: &mut Suite) {
    const RPC: &str = "AdvanceComputation";
    let mut case = |input, code, messages: fn(&str) -> Vec<AdvanceComputationRequest>| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            let messages = messages(&token.global_computation_id);
            world.advance("worker1", messages).await
        });
    };
    let bad = Code::InvalidArgument;
    case("a header and chunks", Code::Ok, |id| vec![header(id, 1), chunk(b"sk"), chunk(b"etch")]);
    case("a header and an empty chunk", Code::Ok, |id| sketch(id, b""));
    case("no message", bad, |_| vec![]);
    case("only a header", bad, |id| vec![header(id, 1)]);
    case("no header", bad, |_| vec![chunk(b"sketch")]);
    case("a message without payload", bad, |id| vec![header(id, 1), AdvanceComputationRequest::default()]);
    case("a second header", bad, |id| [sketch(id, b"ske"), sketch(id, b"tch")].concat());
    case("another name than a computation's", bad, |id| {
        let protocol = Some(Protocol::LiquidLegionsV2(LiquidLegionsV2 { description: 1 }));
        vec![header_of(format!("{id}/participants/worker1"), protocol), chunk(b"sketch")]
    });
    case("an id with other characters than letters, digits, `-` and `_`", bad, |_| sketch("..", b"sketch"));
    case("no protocol", bad, |id| vec![header_of(format!("computations/{id}"), None), chunk(b"sketch")]);
    case("another protocol than the computation's", bad, |id| {
        let shuffle = HonestMajorityShareShuffle { description: 1 };
        let protocol = Some(Protocol::HonestMajorityShareShuffle(shuffle));
        vec![header_of(format!("computations/{id}"), protocol), chunk(b"sketch")]
    });
    case("no description", bad, |id| vec![header(id, 0), chunk(b"sketch")]);
    case("an unknown description", bad, |id| vec![header(id, 9), chunk(b"sketch")]);
    case("an unknown computation", Code::NotFound, |_| sketch("x", b"sketch"));
    case("more than `--max-advance-bytes`", Code::ResourceExhausted, |id| sketch(id, &[0; MAX_BYTES + 1]));
    case("a message above 4 MiB", Code::OutOfRange, |id| sketch(id, &[0; 4 << 20]));
    let mut by = |input, code, party: &'static str| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            world.advance(party, sketch(&token.global_computation_id, b"sketch")).await
        });
    };
    by("from the duchy itself", Code::PermissionDenied, "aggregator");
    by("from a data provider", Code::Unauthenticated, "edp1");
    by("from nobody that is known", Code::Unauthenticated, STRANGER);
    suite.case(RPC, "from a peer that is not awaited", Code::PermissionDenied, |world| async move {
        let token = world.computation_in(Stage::WaitExecutionPhaseOneInputs, AGGREGATOR).await;
        let messages = vec![header(&token.global_computation_id, 2), chunk(b"registers")];
        world.advance("worker1", messages).await
    });
    suite.case(RPC, "a later stage of the peer's", Code::Unavailable, |world| async move {
        let token = world.computation_in(Stage::WaitExecutionPhaseOneInputs, AGGREGATOR).await;
        let messages = vec![header(&token.global_computation_id, 4), chunk(b"registers")];
        world.advance("worker2", messages).await
    });
    suite.case(RPC, "before the participants are known", Code::Unavailable, |world| async move {
        let token = world.created().await;
        world.advance("worker1", sketch(&token.global_computation_id, b"sketch")).await
    });
}

fn repeated(suite: &mut Suite) {
    const RPC: &str = "AdvanceComputation";
    let mut again = |input, code, body: &'static [u8]| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            let id = &token.global_computation_id;
            world.advance("worker1", sketch(id, b"sketch")).await.expect("the first");
            world.advance("worker1", sketch(id, body)).await
        });
    };
    again("again, with the same content", Code::Ok, b"sketch");
    again("again, with other content", Code::AlreadyExists, b"sketcH");
    suite.case(RPC, "a stage that is past", Code::Ok, |world| async move {
        let token = world.computation_in(Stage::WaitExecutionPhaseOneInputs, AGGREGATOR).await;
        let before = world.blobs();
        let answer = world.advance("worker1", sketch(&token.global_computation_id, b"sketch")).await;
        assert_eq!(world.blobs(), before, "it is not stored");
        answer
    });
    suite.case(RPC, "the same content four times at once", Code::Ok, |world| async move {
        let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
        let id = token.global_computation_id;
        let before = world.blobs();
        let send = |_| world.advance("worker1", sketch(&id, b"sketch"));
        let mut answers = futures::future::join_all((0..4).map(send)).await;
        assert_eq!(world.blobs(), before + 1, "one is stored");
        answers.pop().expect("four")
    });
    suite.case(RPC, "the whole after one that was cut", Code::Ok, |world| async move {
        let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
        let id = token.global_computation_id;
        let before = world.blobs();
        cut(&world, &id).await;
        for _ in 0..250 {
            if world.blobs() == before {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(world.blobs(), before, "the beginning is discarded");
        assert!(world.token(&id).await.blobs.iter().all(|blob| blob.path.is_empty()));
        world.advance("worker1", sketch(&id, b"sketch")).await
    });
}

/// Sends a header and a chunk, and goes away.
async fn cut(world: &Arc<World>, id: &str) {
    let beginning = tokio_stream::iter(sketch(id, b"ske"));
    let unfinished = futures::StreamExt::chain(beginning, tokio_stream::pending());
    let mut control = world.control("worker1");
    let call = control.advance_computation(unfinished);
    let patience = std::time::Duration::from_millis(300);
    tokio::time::timeout(patience, call).await.expect_err("no answer to half a message");
}

fn get_computation_stage(suite: &mut Suite) {
    const RPC: &str = "GetComputationStage";
    let mut ask = |input, code, party: &'static str, name: fn(&str) -> String| {
        suite.case(RPC, input, code, move |world| async move {
            let token = world.computation_in(Stage::WaitSetupPhaseInputs, AGGREGATOR).await;
            let name = name(&token.global_computation_id);
            world.control(party).get_computation_stage(GetComputationStageRequest { name }).await
        });
    };
    let bad = Code::InvalidArgument;
    ask("the name of the stage here", Code::Ok, "worker1", stage_name);
    ask("no name", bad, "worker1", |_| String::new());
    ask("another name than a stage's", bad, "worker1", |id| format!("computations/{id}"));
    ask("another duchy's name", bad, "worker1", |id| format!("computations/{id}/participants/worker1/stage"));
    ask("an id with other characters than letters, digits, `-` and `_`", bad, "worker1", |_| {
        stage_name("..")
    });
    ask("an unknown computation", Code::NotFound, "worker1", |_| stage_name("x"));
    ask("from a data provider", Code::Unauthenticated, "edp1", stage_name);
    ask("from nobody that is known", Code::Unauthenticated, STRANGER, stage_name);
}

fn stage_name(id: &str) -> String {
    format!("computations/{id}/participants/aggregator/stage")
}
