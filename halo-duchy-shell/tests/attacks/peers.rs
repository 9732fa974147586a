//! Duchies that send what is not theirs to send, in part, or twice.

use std::net::SocketAddr;

use halo_duchy_shell::proto::system::advance_computation_request::{Header, header};
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::liquid_legions_v2::Description;
use halo_duchy_shell::proto::system::{AdvanceComputationRequest, LiquidLegionsV2};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::relay::{Held, messages};
use crate::wire::{Wire, files, settle};
use crate::world::{DATA_PROVIDERS, DUCHIES, MESSAGES, World, refused};

/// What an attacker needs to know of a message that is on its way.
struct Target<'w> {
    world: &'w World,
    sender: String,
    receiver: String,
    header: Header,
    body: Vec<u8>,
}

impl<'w> Target<'w> {
    fn new(world: &'w World, held: &Held) -> Self {
        let Held { sender, receiver, header, body, .. } = held;
        let (sender, receiver) = (sender.clone(), receiver.clone());
        Self { world, sender, receiver, header: header.clone(), body: body.clone() }
    }

    fn address(&self) -> SocketAddr {
        self.world.trial.duchies[&self.receiver].addresses().control
    }

    /// Sends `messages` past the relay.
    async fn send(&self, party: &str, messages: Vec<AdvanceComputationRequest>) -> Result<(), Status> {
        let mut control = ComputationControlClient::new(self.world.channel(party, self.address()));
        control.advance_computation(tokio_stream::iter(messages)).await.map(drop)
    }

    async fn send_body(&self, body: &[u8]) -> Result<(), Status> {
        self.send(&self.sender, messages(self.header.clone(), body)).await
    }

    fn described(&self, description: Description) -> Header {
        let protocol = LiquidLegionsV2 { description: description.into() };
        Header { protocol: Some(header::Protocol::LiquidLegionsV2(protocol)), ..self.header.clone() }
    }

    /// Others in the slot of the sender.
    async fn intruders(&self, description: Description) {
        let awaited = |party: &str| {
            // The aggregator gathers the sketches of all workers.
            party == self.sender || (description == Description::SetupPhaseInput && party != self.receiver)
        };
        for party in DUCHIES.into_iter().chain(DATA_PROVIDERS).filter(|party| !awaited(party)) {
            let sent = self.send(party, messages(self.header.clone(), &self.body)).await;
            let what = format!("{description:?} of {party} instead of {}", self.sender);
            refused(sent, Code::PermissionDenied, &what);
        }
    }

    /// The right sender, but not what is awaited from it.
    async fn malformed(&self, description: Description) {
        let whole = messages(self.header.clone(), &self.body);
        let sent = self.send(&self.sender, whole[1..].to_vec()).await;
        refused(sent, Code::InvalidArgument, "a stream without a header");
        let sent = self.send(&self.sender, vec![whole[0].clone()]).await;
        refused(sent, Code::InvalidArgument, "a stream without data");
        let sent = self.send(&self.sender, vec![]).await;
        refused(sent, Code::InvalidArgument, "an empty stream");
        let twice = [&whole[..], &whole[..1]].concat();
        refused(self.send(&self.sender, twice).await, Code::InvalidArgument, "a second header");
        let unknown = Header { name: "computations/unknown".to_owned(), ..self.header.clone() };
        let sent = self.send(&self.sender, messages(unknown, &self.body)).await;
        refused(sent, Code::NotFound, "another computation");
        if description == Description::ExecutionPhaseOneInput {
            let early = self.described(Description::ExecutionPhaseThreeInput);
            let sent = self.send(&self.sender, messages(early, &self.body)).await;
            refused(sent, Code::Unavailable, "a message that is not due yet");
        }
    }

    /// The sender's connection breaks, or it gives up, in the middle of the message.
    async fn truncated(&self) {
        let blobs = self.world.blobs(&self.receiver);
        let before = files(&blobs);
        let half = messages(self.header.clone(), &self.body[..self.body.len() / 2]);
        let unfinished = || tokio_stream::iter(half.clone()).chain(tokio_stream::pending());

        let wire = Wire::to(self.address()).await;
        let mut cut = ComputationControlClient::new(self.world.channel(&self.sender, wire.address));
        let stream = unfinished();
        wire.cut(async move { cut.advance_computation(stream).await }).await;

        let mut given_up = ComputationControlClient::new(self.world.channel(&self.sender, self.address()));
        let call = given_up.advance_computation(unfinished());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), call).await.is_err());
        settle(&blobs, before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_whole_messages_of_the_right_duchy_count() {
    let world = World::start().await;
    let measurement = world.create().await;
    world.fulfill_all().await;
    let mut seen = Vec::new();
    let result = world
        .compute(measurement, async |held: Held| {
            let description = held.description();
            let target = Target::new(&world, &held);
            target.intruders(description).await;
            target.malformed(description).await;
            target.truncated().await;
            // Nothing of all that was stored: the slot is free for the right data.
            held.release().await.expect("the right data");

            let blobs = files(&world.blobs(&target.receiver));
            target.send_body(&target.body).await.expect("the same data again");
            let mut other = target.body.clone();
            other[7] ^= 1;
            let sent = target.send_body(&other).await;
            seen.push(description);
            if seen == [Description::SetupPhaseInput] {
                // The aggregator still waits for the other worker, so that it can compare.
                refused(sent, Code::AlreadyExists, "other data");
                assert_eq!(files(&world.blobs(&target.receiver)), blobs);
                let sent = target.send_body(&target.body[..198]).await;
                refused(sent, Code::AlreadyExists, "less data");
            } else {
                sent.expect("too late to matter");
            }
            target.intruders(description).await;
        })
        .await;
    assert_eq!(seen.len(), MESSAGES);
    world.finish(result).await;
}
