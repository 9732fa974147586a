//! What the control server refuses, or takes, before a stage sees it.

use std::iter;
use std::sync::Mutex;

use halo_duchy_shell::proto::system::advance_computation_request::{Header, header};
use halo_duchy_shell::proto::system::computation_control_client::ComputationControlClient;
use halo_duchy_shell::proto::system::{
    AdvanceComputationRequest, HonestMajorityShareShuffle, LiquidLegionsV2,
};
use tonic::{Code, Status};

use crate::audit_log::refusals;
use crate::kind;
use crate::relay::{Held, messages};
use crate::table::Seen;
use crate::world::{World, refused};

/// What is sent in one stream.
trait Messages: IntoIterator<Item = AdvanceComputationRequest, IntoIter: Send + 'static> {}

impl<M: IntoIterator<Item = AdvanceComputationRequest, IntoIter: Send + 'static>> Messages for M {}

/// What an attacker needs to know of a message on its way.
struct Target<'w> {
    world: &'w World,
    sender: String,
    receiver: String,
    header: Header,
    body: Vec<u8>,
}

impl Target<'_> {
    async fn send(&self, party: &str, messages: impl Messages) -> Result<(), Status> {
        let address = self.world.trial.duchies[&self.receiver].addresses().control;
        let mut control = ComputationControlClient::new(self.world.channel(party, address));
        control.advance_computation(tokio_stream::iter(messages)).await.map(drop)
    }

    /// Refused, and recorded as the doing of `party` in `computation`.
    async fn told(&self, party: &str, messages: impl Messages, computation: &str, told: (Code, &str)) {
        let (code, event) = told;
        let before = refusals(computation).len();
        let reason = refused(self.send(party, messages).await, code, event);
        let records = refusals(computation);
        let principal = format!("duchies/{party}");
        let found = records[before..]
            .iter()
            .any(|record| record.event == event && record.principal == principal && record.reason == reason);
        assert!(found, "{event} by {party}, {reason}: {records:?}");
    }

    fn id(&self) -> &str {
        self.header.name.trim_start_matches("computations/")
    }

    async fn knock(&self) {
        let whole = messages(self.header.clone(), &self.body);
        let sender = &self.sender;
        let payload_refused = |code| (code, "payload.refused");
        let twice = [&whole[..], &whole[..1]].concat();
        self.told(sender, twice, self.id(), payload_refused(Code::InvalidArgument)).await;
        self.told(sender, vec![whole[0].clone()], self.id(), payload_refused(Code::InvalidArgument)).await;
        self.told(sender, whole[1..].to_vec(), "", payload_refused(Code::InvalidArgument)).await;
        let endless = whole.clone().into_iter().chain(iter::repeat(whole[1].clone()));
        self.told(sender, endless, self.id(), payload_refused(Code::ResourceExhausted)).await;
        let elsewhere = Header { name: "computations/elsewhere".into(), ..self.header.clone() };
        let elsewhere = messages(elsewhere, &self.body);
        self.told(sender, elsewhere, "elsewhere", payload_refused(Code::NotFound)).await;
        let other = match &self.header.protocol {
            Some(header::Protocol::HonestMajorityShareShuffle(_)) => {
                header::Protocol::LiquidLegionsV2(LiquidLegionsV2 { description: 1 })
            }
            _ => header::Protocol::HonestMajorityShareShuffle(HonestMajorityShareShuffle { description: 1 }),
        };
        let other = messages(Header { protocol: Some(other), ..self.header.clone() }, &self.body);
        self.told(sender, other, self.id(), payload_refused(Code::InvalidArgument)).await;
        // The receiver itself is the only duchy that is never awaited.
        let own = self.receiver.as_str();
        self.told(own, whole, self.id(), (Code::PermissionDenied, "caller.refused")).await;
    }
}

/// Tries everything on every message of a measurement, which is none the worse for it; the messages.
pub async fn knock(world: &World) -> Mutex<Seen> {
    let measurement = world.create().await;
    world.fulfill_all().await;
    let seen = Mutex::new(Seen::default());
    let result = world
        .compute(measurement, async |held: Held| {
            seen.lock().expect("no panic").note(&held, kind(&held));
            let Held { sender, receiver, header, body, .. } = &held;
            let (sender, receiver) = (sender.clone(), receiver.clone());
            let target = Target { world, sender, receiver, header: header.clone(), body: body.clone() };
            target.knock().await;
            held.release().await.expect("the right data");
            // Replayed: harmless. Other bytes: noticed as long as the receiver waits, else too late to matter.
            let sender = &target.sender;
            target.send(sender, messages(target.header.clone(), &target.body)).await.expect("the same again");
            let mut changed = target.body.clone();
            if let Some(last) = changed.last_mut() {
                *last ^= 1;
            }
            let sent = target.send(sender, messages(target.header.clone(), &changed)).await;
            if let Err(status) = sent {
                assert_eq!(status.code(), Code::AlreadyExists, "{status}");
                let principal = format!("duchies/{sender}");
                let records = refusals(target.id());
                let told = |record: &crate::audit_log::Record| {
                    record.event == "payload.changed" && record.principal == principal
                };
                assert!(records.iter().any(told), "{records:?}");
                seen.lock().expect("no panic").changes += 1;
            }
        })
        .await;
    assert!((40..=60).contains(&result.expect("a result").reach));
    assert!(seen.lock().expect("no panic").changes > 0, "the aggregator waits for two, and compares");
    seen
}
