//! Duchies that do not follow the protocol, in each of them and at each stage that reads what a peer sent. What can be told
//! is refused, with a reason that says what and where, and the audit log names who handed it over; what cannot goes
//! through, as `docs/threat-model.md` says. Either way other computations go on.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod audit_log;
mod door;
mod page;
#[path = "../attacks/relay.rs"]
#[allow(dead_code, reason = "attacks do more with messages")]
mod relay;
mod table;
#[path = "../attacks/world.rs"]
#[allow(dead_code, reason = "attacks do more with the world")]
mod world;

use std::sync::Mutex;

use halo_duchy_shell::measurement_consumer::MeasurementError;
use halo_duchy_shell::protocol_stages::PeerMessage;

use crate::relay::Held;
use crate::table::{Comes, Deviation, Seen};
use crate::world::World;

/// What a message is, by its header.
fn kind(held: &Held) -> PeerMessage {
    let protocol = held.header.protocol.as_ref().expect("an honest header");
    PeerMessage::try_from(protocol).expect("an honest header")
}

/// A measurement in which one message is not what it should be.
async fn deviate(world: &World, deviation: &Deviation, seen: &Mutex<Seen>) {
    let Deviation { what, messages, receiver, change, comes } = deviation;
    let measurement = world.create().await;
    world.fulfill_all().await;
    let mut liar = None;
    let result = world
        .compute(measurement, async |held: Held| {
            let meant = liar.is_none()
                && messages.contains(&kind(&held))
                && receiver.is_none_or(|receiver| receiver == held.receiver);
            let changed = if meant { change(&held.body, &seen.lock().expect("no panic")) } else { None };
            if changed.is_some() {
                liar = Some((held.sender.clone(), held.header.name.clone()));
            } else {
                seen.lock().expect("no panic").note(&held, kind(&held));
            }
            let body = changed.unwrap_or_else(|| held.body.clone());
            // Honest messages may come too late for a computation that has failed.
            let _ = held.replace(body).await;
        })
        .await;
    let (sender, computation) = liar.unwrap_or_else(|| panic!("{what}: no {messages:?} can be changed so"));
    let computation = computation.trim_start_matches("computations/");
    match (comes, result) {
        (Comes::Unnoticed, Ok(_)) => {
            assert_eq!(audit_log::refusals(computation), [], "{what} in {messages:?}");
        }
        (Comes::Refused { event, reason, named }, Err(MeasurementError::Failed { message: found, .. })) => {
            assert!(found.contains(reason), "{what} in {messages:?}: {found}");
            let named = named.map_or_else(|| format!("duchies/{sender}"), str::to_owned);
            let records = audit_log::refusals(computation);
            let told = records.iter().any(|record| {
                record.event == *event
                    && record.principal.starts_with(&named)
                    && record.reason.contains(reason)
            });
            assert!(told, "{what} in {messages:?} by {sender}: {records:?}");
        }
        (Comes::Fails { reason }, Err(MeasurementError::Failed { message: found, .. })) => {
            assert!(found.contains(reason), "{what} in {messages:?}: {found}");
            assert_eq!(audit_log::refusals(computation), [], "{what} in {messages:?}");
        }
        (_, result) => panic!("{what} in {messages:?}: {result:?}"),
    }
}

/// What comes of each deviation, and that everything is in order afterwards.
async fn withstand(protocol: halo_duchy_shell::kingdom::config::Protocol, deviations: Vec<Deviation>) {
    audit_log::keep();
    let world = World::start_with(protocol).await;
    let seen = door::knock(&world).await;
    for deviation in &deviations {
        deviate(&world, deviation, &seen).await;
    }
    let measurement = world.create().await;
    world.fulfill_all().await;
    let result = world.compute(measurement, async |held: Held| drop(held)).await.expect("a result");
    assert!((40..=60).contains(&result.reach), "{result:?}");
    assert_eq!(world.trial.kingdom.violations(), []);
    world.trial.stop().await.expect("everyone stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_liquid_legions_v2() {
    withstand(table::liquid_legions_settings(), table::liquid_legions()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_liquid_legions_v2_on_ristretto255() {
    withstand(table::ristretto255_settings(), table::ristretto255()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_reach_only_liquid_legions_v2() {
    withstand(table::reach_only_settings(), table::reach_only()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_share_shuffle() {
    withstand(table::share_shuffle_settings(), table::share_shuffle()).await;
}
