//! A herald whose Kingdom is away, or cuts its streams.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_duchy_shell::client::{CallPolicy, Channel};
use halo_duchy_shell::computation_secrets::ComputationSecrets;
use halo_duchy_shell::config::ProtocolsSetup;
use halo_duchy_shell::herald::{Herald, HeraldError, HeraldOptions, HeraldParts};
use halo_duchy_shell::internal_api::InternalApi;
use halo_duchy_shell::live::Live;
use halo_duchy_shell::proto::internal::GetContinuationTokenRequest;
use halo_duchy_shell::proto::system::computations_server::{Computations, ComputationsServer};
use halo_duchy_shell::proto::system::{
    Computation, GetComputationRequest, SetComputationResultRequest,
    StreamActiveComputationsContinuationToken, StreamActiveComputationsRequest,
    StreamActiveComputationsResponse,
};
use halo_duchy_shell::seeds::SeedSource;
use halo_duchy_shell::shutdown;
use halo_duchy_shell::system_api::SystemApi;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use crate::duchy::Duchy;

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(5);

/// What a stream does that the herald opens.
#[derive(Clone, Copy)]
enum Turn {
    /// It is refused.
    Refuse(Code),
    /// It tells of one change, then breaks.
    TellAndBreak,
    /// It tells of one change, then nothing, and never ends.
    TellAndHang,
}

/// Takes turns at each opening of the stream; when there are none left, streams tell of one change and stay open.
#[derive(Clone, Default)]
struct Kingdom {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    /// How many streams have been opened, and so the second of the newest change.
    opened: Arc<Mutex<i64>>,
}

fn position(seconds: i64) -> String {
    let token = StreamActiveComputationsContinuationToken {
        last_seen_update_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        last_seen_external_computation_id: 1,
    };
    URL_SAFE_NO_PAD.encode(token.encode_to_vec())
}

type Items = tokio_stream::wrappers::ReceiverStream<Result<StreamActiveComputationsResponse, Status>>;

#[tonic::async_trait]
impl Computations for Kingdom {
    type StreamActiveComputationsStream = Items;

    async fn stream_active_computations(
        &self,
        _: Request<StreamActiveComputationsRequest>,
    ) -> Result<Response<Items>, Status> {
        let opened = {
            let mut opened = self.opened.lock().expect("no panic");
            *opened += 1;
            *opened
        };
        let turn = self.turns.lock().expect("no panic").pop_front();
        if let Some(Turn::Refuse(code)) = turn {
            return Err(Status::new(code, "away"));
        }
        let (sender, items) = tokio::sync::mpsc::channel(2);
        let item =
            StreamActiveComputationsResponse { continuation_token: position(opened), computation: None };
        sender.send(Ok(item)).await.expect("room");
        match turn {
            Some(Turn::TellAndBreak) => sender.send(Err(Status::unavailable("gone"))).await.expect("room"),
            _ => drop(tokio::spawn(async move { sender.closed().await })),
        }
        Ok(Response::new(Items::new(items)))
    }

    async fn get_computation(
        &self,
        _: Request<GetComputationRequest>,
    ) -> Result<Response<Computation>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn set_computation_result(
        &self,
        _: Request<SetComputationResultRequest>,
    ) -> Result<Response<Computation>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A herald's end, or what it has remembered when the Kingdom has had all its turns and told of one more change; and how
/// many streams it has opened.
async fn follow(turns: &[Turn], options: HeraldOptions) -> (Result<String, HeraldError>, i64) {
    let mut duchy = Duchy::aggregator().await;
    let kingdom =
        Kingdom { turns: Arc::new(Mutex::new(turns.iter().copied().collect())), ..Kingdom::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::builder().add_service(ComputationsServer::new(kingdom.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");

    let parts = HeraldParts {
        id: "herald".into(),
        duchy: "aggregator".into(),
        setup: Live::new(ProtocolsSetup::default()),
        kingdom: SystemApi::new("aggregator", Channel::from(endpoint.connect_lazy()), CallPolicy::default()),
        internal: InternalApi::new(duchy.channel.clone(), CallPolicy::default()),
        private_keys: None,
        secrets: ComputationSecrets::default(),
        seeds: SeedSource::OperatingSystem,
    };
    let (trigger, stop) = shutdown::channel();
    let herald = Herald::new(parts, options).expect("sound options");
    let mut running = tokio::spawn(async move { herald.run(stop).await });
    let last = position(i64::try_from(turns.len()).expect("few") + 1);
    let remembered = async {
        loop {
            let known = duchy.tokens.get_continuation_token(GetContinuationTokenRequest {}).await;
            let known = known.expect("get").into_inner().token;
            if known == last {
                return known;
            }
            tokio::time::sleep(GLANCE).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            ended = &mut running => ended.expect("no panic").map(|()| String::new()),
            known = remembered => Ok(known),
        }
    });
    let ended = ended.await.expect("the herald ends, or follows");
    if ended.is_ok() {
        trigger.fire();
        running.await.expect("no panic").expect("an end in order");
    }
    let opened = *kingdom.opened.lock().expect("no panic");
    (ended, opened)
}

/// Pauses that no test has to wait for.
fn quick(stream_attempts: u32, stream_patience: Duration) -> HeraldOptions {
    HeraldOptions {
        stream_attempts,
        stream_patience,
        stream_pause: Duration::from_micros(1),
        stream_floor: Duration::ZERO,
        ..HeraldOptions::default()
    }
}

#[tokio::test]
async fn a_kingdom_that_is_away_is_waited_for() {
    let away = [Turn::Refuse(Code::Unavailable), Turn::Refuse(Code::DeadlineExceeded)].repeat(10);
    let (followed, _) = follow(&away, quick(5, PATIENCE)).await;
    assert_eq!(followed.expect("it goes on"), position(21));
}

#[tokio::test]
async fn one_that_is_away_for_longer_than_told_is_not() {
    let away = [Turn::Refuse(Code::Unavailable); 10];
    let (ended, opened) = follow(&away, quick(5, Duration::ZERO)).await;
    let Err(HeraldError::Stream(status)) = ended else { panic!("{ended:?}") };
    assert_eq!((status.code(), opened), (Code::Unavailable, 5));
}

#[tokio::test]
async fn a_refusal_that_does_not_pass_ends_the_herald() {
    let (ended, opened) = follow(&[Turn::Refuse(Code::PermissionDenied)], quick(5, PATIENCE)).await;
    let Err(HeraldError::Stream(status)) = ended else { panic!("{ended:?}") };
    assert_eq!((status.code(), opened), (Code::PermissionDenied, 1));
}

#[tokio::test]
async fn streams_that_tell_something_may_break_as_often_as_they_like() {
    let (followed, _) = follow(&[Turn::TellAndBreak; 10], quick(2, Duration::ZERO)).await;
    assert_eq!(followed.expect("it goes on"), position(11));
}

#[tokio::test]
async fn a_stream_that_says_nothing_more_is_opened_again() {
    let options = HeraldOptions { stream_deadline: Duration::from_millis(200), ..quick(5, PATIENCE) };
    let (followed, _) = follow(&[Turn::TellAndHang; 2], options).await;
    assert_eq!(followed.expect("it goes on"), position(3));
}
