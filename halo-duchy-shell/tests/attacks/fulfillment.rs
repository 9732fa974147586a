//! Data providers that fulfil what is not theirs, send what is no sketch, or send it twice.

use std::net::SocketAddr;

use bytes::Bytes;
use halo_crypto::{Group, P256};
use halo_duchy_shell::consent::{requisition_fingerprint, signed_bytes};
use halo_duchy_shell::proto::api::fulfill_requisition_request::{BodyChunk, Header, Payload};
use halo_duchy_shell::proto::api::requisition_fulfillment_client::RequisitionFulfillmentClient;
use halo_duchy_shell::proto::api::{FulfillRequisitionRequest, Requisition};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::relay::Held;
use crate::wire::{Wire, files, settle};
use crate::world::{DATA_PROVIDERS, DUCHIES, Measurement, World, refused};

const POINT: usize = 33;
const REGISTER: usize = 6 * POINT;

fn message(payload: Payload) -> FulfillRequisitionRequest {
    FulfillRequisitionRequest { payload: Some(payload) }
}

/// `header`, then `body` in chunks that do not respect registers.
fn messages(header: Header, body: &[u8]) -> Vec<FulfillRequisitionRequest> {
    let chunk = |bytes| Payload::BodyChunk(BodyChunk { data: Bytes::copy_from_slice(bytes) });
    let chunks = body.chunks(1000).map(chunk);
    std::iter::once(Payload::Header(header)).chain(chunks).map(message).collect()
}

/// An encrypted sketch, as far as anybody without the key can tell.
fn sketch(registers: usize) -> Vec<u8> {
    let mut rng = ChaCha20Rng::seed_from_u64(registers as u64);
    let scalars: Vec<_> = (0..registers * 6).map(|_| P256::random_scalar(&mut rng)).collect();
    let points = P256::fixed_base_multiples(P256::fixed_generator(), &scalars);
    let mut bytes = vec![0; points.len() * POINT];
    P256::encode(&points, &mut bytes).expect("not the identity");
    bytes
}

/// A requisition, its data provider and its duchy.
struct Target<'w> {
    world: &'w World,
    data_provider: &'static str,
    duchy: &'static str,
    /// What an honest data provider would send first.
    header: Header,
}

impl<'w> Target<'w> {
    fn new(world: &'w World, measurement: &Measurement, index: usize, requisition: &Requisition) -> Self {
        let spec = requisition.measurement_spec.as_ref().map(signed_bytes).expect("a spec");
        let encrypted = requisition.encrypted_requisition_spec.as_ref().expect("a spec");
        let header = Header {
            name: requisition.name.clone(),
            requisition_fingerprint: requisition_fingerprint(spec, &Sha256::digest(&encrypted.ciphertext))
                .to_vec(),
            nonce: measurement.nonces[index],
            etag: requisition.etag.clone(),
            ..Header::default()
        };
        Self { world, data_provider: DATA_PROVIDERS[index], duchy: DUCHIES[index], header }
    }

    fn address(&self, duchy: &str) -> SocketAddr {
        self.world.trial.duchies[duchy].addresses().fulfillment
    }

    async fn send_as(&self, party: &str, header: Header, body: &[u8]) -> Result<(), Status> {
        self.send(party, self.duchy, messages(header, body)).await
    }

    async fn send(
        &self,
        party: &str,
        duchy: &str,
        messages: Vec<FulfillRequisitionRequest>,
    ) -> Result<(), Status> {
        let channel = self.world.channel(party, self.address(duchy));
        let mut client = RequisitionFulfillmentClient::new(channel);
        client.fulfill_requisition(tokio_stream::iter(messages)).await.map(drop)
    }

    /// Other parties, who know all but the nonce.
    async fn intruders(&self, body: &[u8]) {
        let id = self.header.name.rsplit('/').next().expect("a name");
        let unknown = |party: &str| Header {
            name: format!("dataProviders/{party}/requisitions/unknown"),
            ..self.header.clone()
        };
        for intruder in DATA_PROVIDERS.into_iter().filter(|party| *party != self.data_provider) {
            let what = format!("{intruder} with the requisition of {}", self.data_provider);
            let others = refused(
                self.send_as(intruder, self.header.clone(), body).await,
                Code::PermissionDenied,
                &what,
            );
            let absent = self.send_as(intruder, unknown(self.data_provider), body).await;
            assert_eq!(refused(absent, Code::PermissionDenied, "an unknown requisition"), others);

            // In its own name it needs the nonce, which only the data provider was told.
            let own_name = format!("dataProviders/{intruder}/requisitions/{id}");
            let own = Header { name: own_name, nonce: self.header.nonce ^ 1, ..self.header.clone() };
            refused(self.send_as(intruder, own, body).await, Code::FailedPrecondition, &what);
            let absent = self.send_as(intruder, unknown(intruder), body).await;
            assert_eq!(refused(absent, Code::NotFound, "an unknown requisition"), others);
        }
        for duchy in DUCHIES {
            let sent = self.send_as(duchy, self.header.clone(), body).await;
            refused(sent, Code::PermissionDenied, &format!("{duchy} as a data provider"));
        }
    }

    /// The data provider itself, with a header that is not the requisition's.
    async fn wrong_headers(&self, body: &[u8]) {
        let header = || self.header.clone();
        let fingerprint = vec![1; 32];
        for (what, header, code) in [
            ("another nonce", Header { nonce: header().nonce ^ 1, ..header() }, Code::FailedPrecondition),
            ("no nonce", Header { nonce: 0, ..header() }, Code::InvalidArgument),
            (
                "another fingerprint",
                Header { requisition_fingerprint: fingerprint, ..header() },
                Code::NotFound,
            ),
            ("no fingerprint", Header { requisition_fingerprint: vec![], ..header() }, Code::NotFound),
            ("no name", Header { name: String::new(), ..header() }, Code::InvalidArgument),
        ] {
            refused(self.send_as(self.data_provider, header, body).await, code, what);
        }
    }

    /// The data provider itself, with a body that is no sketch.
    async fn malformed(&self, body: &[u8]) {
        let mut off_curve = body.to_vec();
        off_curve[REGISTER + 1..REGISTER + POINT].fill(0xff);
        let mut prefix = body.to_vec();
        prefix[2 * POINT] = 4;
        for (what, body) in [
            ("a body that ends in a register", &body[..body.len() - REGISTER / 2]),
            ("one byte less", &body[..body.len() - 1]),
            ("one byte more", &[body, &[2]].concat()),
            ("a ciphertext off the curve", &off_curve),
            ("an unknown prefix", &prefix),
            ("zeros", &[0; REGISTER]),
        ] {
            let sent = self.send_as(self.data_provider, self.header.clone(), body).await;
            refused(sent, Code::InvalidArgument, what);
        }
        let large = Payload::BodyChunk(BodyChunk { data: Bytes::from(vec![2; 5 << 20]) });
        let large = vec![message(Payload::Header(self.header.clone())), message(large)];
        let sent = self.send(self.data_provider, self.duchy, large).await;
        refused(sent, Code::OutOfRange, "a message larger than the server takes");
        let whole = messages(self.header.clone(), body);
        for (what, messages) in [
            ("no message", vec![]),
            ("no header", whole[1..].to_vec()),
            ("a second header", [&whole[..], &whole[..1]].concat()),
        ] {
            let sent = self.send(self.data_provider, self.duchy, messages).await;
            refused(sent, Code::InvalidArgument, what);
        }
    }

    /// The connection breaks after some whole registers, or the data provider gives up.
    async fn truncated(&self, body: &[u8]) {
        for sent in [0, 2 * REGISTER, 2 * REGISTER + 100] {
            let beginning = messages(self.header.clone(), &body[..sent]);
            let unfinished = || tokio_stream::iter(beginning.clone()).chain(tokio_stream::pending());
            let wire = Wire::to(self.address(self.duchy)).await;
            let channel = self.world.channel(self.data_provider, wire.address);
            let (mut client, stream) = (RequisitionFulfillmentClient::new(channel), unfinished());
            wire.cut(async move { client.fulfill_requisition(stream).await }).await;

            let channel = self.world.channel(self.data_provider, self.address(self.duchy));
            let mut client = RequisitionFulfillmentClient::new(channel);
            let call = client.fulfill_requisition(unfinished());
            assert!(tokio::time::timeout(std::time::Duration::from_millis(20), call).await.is_err());
        }
    }

    /// Once there is data: the same call succeeds and changes nothing, whatever its body.
    async fn repeated(&self, body: &[u8]) {
        let whole = messages(self.header.clone(), body);
        for messages in [&whole[..], &whole[..1]] {
            let sent = self.send(self.data_provider, self.duchy, messages.to_vec()).await;
            sent.expect("fulfilled already");
        }
        // But not for others, nor with another nonce.
        self.intruders(body).await;
        self.wrong_headers(body).await;
    }

    /// Once there is data: another duchy hears from the Kingdom that it does not count there.
    async fn elsewhere(&self, duchy: &str, body: &[u8]) {
        let unconditional = Header { etag: String::new(), ..self.header.clone() };
        for (header, code) in
            [(self.header.clone(), Code::Aborted), (unconditional, Code::FailedPrecondition)]
        {
            let sent = self.send(self.data_provider, duchy, messages(header, body)).await;
            refused(sent, code, &format!("a requisition that is fulfilled elsewhere, at {duchy}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_whole_sketch_of_the_right_data_provider_counts() {
    let world = World::start().await;
    let measurement = world.create().await;
    let body = sketch(20);
    let mut targets = Vec::new();
    for index in 0..DATA_PROVIDERS.len() {
        let requisition = world.requisition(index).await;
        let target = Target::new(&world, &measurement, index, &requisition);
        let blobs = world.blobs(target.duchy);
        let before = files(&blobs);
        target.intruders(&body).await;
        target.wrong_headers(&body).await;
        target.malformed(&body).await;
        target.truncated(&body).await;
        settle(&blobs, before).await;

        world.fulfill(index, requisition.clone()).await;
        // After the last requisition the duchies begin, and write more than this.
        let bodies = blobs.join(target.duchy).join("requisitions");
        let honest = files(&bodies);
        // The same data, then other data.
        world.fulfill(index, requisition).await;
        target.repeated(&body).await;
        assert_eq!(files(&bodies), honest, "the first data is kept, and nothing else");
        // After the last requisition the duchies go on, and may have done so.
        if index + 1 < DATA_PROVIDERS.len() {
            target.elsewhere(DUCHIES[index + 1], &body).await;
        }
        targets.push(target);
    }
    let result = world
        .compute(measurement, async |held: Held| {
            for target in &targets {
                target.repeated(&body).await;
            }
            held.release().await.expect("an honest message");
        })
        .await;
    drop(targets);
    world.finish(result).await;
}
