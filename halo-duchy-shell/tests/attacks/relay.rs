//! Relays between the duchies: each stands before one duchy's control server with that duchy's certificate, and passes on
//! what it is sent with the sender's. Tests can hold messages there, look at them, and change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use halo_duchy_shell::client::Channel;
use halo_duchy_shell::config::{DuchyDirectory, load_principals};
use halo_duchy_shell::identity::{Authenticate, Identities, calling_duchy};
use halo_duchy_shell::proto::system::advance_computation_request::{BodyChunk, Header, Payload, header};
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::computation_control_server::{
    ComputationControl, ComputationControlServer,
};
use halo_duchy_shell::proto::system::liquid_legions_v2::Description;
use halo_duchy_shell::proto::system::{
    AdvanceComputationRequest, AdvanceComputationResponse, ComputationStage, GetComputationStageRequest,
};
use halo_duchy_shell::server::{Server, ServerLimits};
use halo_duchy_shell::trial::Trial;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::world::connect;

const CHUNK: usize = 32 << 10;

/// A message that a relay has received whole and not yet passed on. It is passed on unchanged when dropped.
pub struct Held {
    pub sender: String,
    pub receiver: String,
    pub header: Header,
    pub body: Vec<u8>,
    pass: oneshot::Sender<Result<Vec<u8>, Status>>,
    answer: oneshot::Receiver<Result<(), Status>>,
}

impl Held {
    pub fn description(&self) -> Description {
        match &self.header.protocol {
            Some(header::Protocol::LiquidLegionsV2(protocol)) => protocol.description(),
            other => panic!("another protocol: {other:?}"),
        }
    }

    /// Passes the message on; what the receiver answers.
    pub async fn release(mut self) -> Result<(), Status> {
        let body = std::mem::take(&mut self.body);
        self.replace(body).await
    }

    /// Passes on `body` in its place; what the receiver answers.
    pub async fn replace(self, body: Vec<u8>) -> Result<(), Status> {
        self.pass.send(Ok(body)).expect("the relay waits");
        self.answer.await.expect("the relay answers")
    }

    /// Passes nothing on, and answers `status`.
    pub fn lose(self, status: Status) {
        self.pass.send(Err(status)).expect("the relay waits");
    }
}

/// The messages of a stream: `header`, then `body` in chunks, of which there is one at least.
pub fn messages(header: Header, body: &[u8]) -> Vec<AdvanceComputationRequest> {
    let chunk = |bytes| Payload::BodyChunk(BodyChunk { partial_data: Bytes::copy_from_slice(bytes) });
    let empty = body.is_empty().then_some(body);
    let chunks = body.chunks(CHUNK).chain(empty).map(chunk);
    let payloads = std::iter::once(Payload::Header(header)).chain(chunks);
    payloads.map(|payload| AdvanceComputationRequest { payload: Some(payload) }).collect()
}

/// Whether messages are held, and where to.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<Option<Holding>>>);

#[derive(Clone)]
struct Holding {
    to: mpsc::UnboundedSender<Held>,
    /// Computations whose messages are not held.
    over: BTreeSet<String>,
}

impl Gate {
    /// Holds all messages from now on, for as long as the receiver lives, but those of the computations `over`: a mill
    /// that has not heard of the end would be stuck with them.
    pub fn hold(&self, over: impl IntoIterator<Item = String>) -> mpsc::UnboundedReceiver<Held> {
        let (to, receiver) = mpsc::unbounded_channel();
        let holding = Holding { to, over: over.into_iter().collect() };
        *self.0.lock().expect("no panic elsewhere") = Some(holding);
        receiver
    }

    fn open(&self, computation: &str) -> Option<mpsc::UnboundedSender<Held>> {
        let holding = self.0.lock().expect("no panic elsewhere").clone()?;
        let held = !holding.to.is_closed() && !holding.over.contains(computation);
        held.then_some(holding.to)
    }
}

struct Relay {
    receiver: String,
    /// To the receiver, by the sender whose certificate is used.
    onward: BTreeMap<String, ComputationControlClient<Channel>>,
    gate: Gate,
}

impl Relay {
    fn onward<T>(&self, request: &Request<T>) -> Result<(String, ComputationControlClient<Channel>), Status> {
        let sender = calling_duchy(request)?;
        Ok((sender.to_owned(), self.onward[sender].clone()))
    }
}

#[tonic::async_trait]
impl ComputationControl for Relay {
    async fn advance_computation(
        &self,
        request: Request<Streaming<AdvanceComputationRequest>>,
    ) -> Result<Response<AdvanceComputationResponse>, Status> {
        let (sender, mut onward) = self.onward(&request)?;
        let mut stream = request.into_inner();
        let (mut header, mut body) = (None, Vec::new());
        while let Some(message) = stream.message().await? {
            match message.payload {
                Some(Payload::Header(found)) => header = Some(found),
                Some(Payload::BodyChunk(chunk)) => body.extend_from_slice(&chunk.partial_data),
                None => panic!("an empty message from {sender}"),
            }
        }
        let header = header.expect("a header");
        let (mut answered, mut passed) = (None, body);
        if let Some(held) = self.gate.open(&header.name) {
            let ((pass, passing), (answer, answering)) = (oneshot::channel(), oneshot::channel());
            let body = passed.clone();
            let (receiver, header) = (self.receiver.clone(), header.clone());
            // A test that has ended lets everything pass.
            let _ = held.send(Held { sender, receiver, header, body, pass, answer: answering });
            passed = passing.await.unwrap_or(Ok(passed))?;
            answered = Some(answer);
        }
        let answer = onward.advance_computation(tokio_stream::iter(messages(header, &passed))).await;
        if let Some(answered) = answered {
            let _ = answered.send(answer.as_ref().map(drop).map_err(Status::clone));
        }
        answer
    }

    async fn get_computation_stage(
        &self,
        request: Request<GetComputationStageRequest>,
    ) -> Result<Response<ComputationStage>, Status> {
        let (_, mut onward) = self.onward(&request)?;
        onward.get_computation_stage(request.into_inner()).await
    }
}

/// Starts the relays to the duchies of `trial` on `listeners`.
pub fn start(trial: &Trial, listeners: BTreeMap<String, TcpListener>) -> Gate {
    let gate = Gate::default();
    let directory = DuchyDirectory::load(&trial.pki.duchy_cert_config()).expect("own configuration");
    let principals = load_principals(&directory, None).expect("own configuration");
    let identities = Identities::new(principals);
    for (receiver, listener) in listeners {
        let address = trial.duchies[&receiver].addresses().control;
        let onward = trial
            .duchies
            .keys()
            .map(|sender| {
                let client = ComputationControlClient::new(connect(trial, sender, address));
                (sender.clone(), client)
            })
            .collect();
        let server = Server {
            tls: trial.pki.tls(&receiver).load().expect("own files"),
            authenticate: Authenticate::new(identities.clone()),
            limits: ServerLimits::default(),
        };
        let relay = Relay { receiver, onward, gate: gate.clone() };
        let routes = Routes::new(ComputationControlServer::new(relay));
        tokio::spawn(server.serve(listener, routes, std::future::pending()));
    }
    gate
}
