//! Blobs that are not read as they were written, full disks, and databases that are away.

use std::time::{Duration, Instant};

use halo_duchy_shell::measurement_consumer::MeasurementError;
use halo_duchy_shell::trial::Surroundings;

use crate::fleet::{Extras, Outcome, Part, part_name};
#[cfg(feature = "gcs")]
use crate::gcs::{BUCKET, BadRead, FakeGcs};
use crate::network::{assert_same, undisturbed};
use crate::settings::Settings;
use crate::system::System;
use crate::world::World;

/// Three duchies with their blobs in one bucket of the fake of Google Cloud Storage.
#[cfg(feature = "gcs")]
pub async fn on_fake_gcs() -> (FakeGcs, World) {
    let server = FakeGcs::start().await;
    let address = format!("gs://{BUCKET}/trial?endpoint=http://{}", server.address());
    let blobs = address.parse().expect("an address");
    let world = World::start_in(&Surroundings::default(), |config| config.blobs = Some(blobs)).await;
    (server, world)
}

#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_as_it_was_written_is_noticed() {
    let (server, world) = on_fake_gcs().await;
    server.read_badly(Some(BadRead::Failed));
    assert_same(&world, "every first read fails").await;
    assert!(server.bad_reads() > 10, "{}", server.bad_reads());
    for how in [BadRead::Truncated, BadRead::Altered] {
        server.read_badly(Some(how));
        let mut failed = 0;
        for (result, undisturbed) in world.measure("bad reads").await.into_iter().zip(undisturbed().await) {
            match result {
                Ok(result) => assert_eq!(result, undisturbed, "{how:?}"),
                Err(MeasurementError::Failed { message, .. }) => {
                    assert!(message.contains("blob") || message.contains("key"), "{how:?}: {message}");
                    failed += 1;
                }
                Err(error) => panic!("{how:?}: {error}"),
            }
        }
        assert!(failed > 0, "{how:?}: somebody noticed");
    }
    server.read_badly(None);
    assert_same(&world, "all is well again").await;
    world.stop().await;
}

#[test]
fn duchies_live_with_a_full_disk_for_a_while() {
    let mut system = System::start(Settings::Llv2);
    let undisturbed = system.undisturbed();
    let who = |duchy, part| part_name(duchy, part);
    for names in [
        vec![
            who("aggregator", Part::Control),
            who("worker1", Part::Llv2Mill),
            who("worker2", Part::Fulfillment),
        ],
        vec![who("worker2", Part::InternalApi)],
    ] {
        names.iter().for_each(|name| system.fleet.restart_on_full_disk(name, 2));
        let measurement = system.create();
        let begun = Instant::now();
        let mut space = false;
        let outcome = system.fleet.see_through(&measurement, |fleet| {
            if !space && begun.elapsed() > Duration::from_secs(3) {
                names.iter().for_each(|name| fleet.restart(name, &[]));
                space = true;
            }
        });
        assert!(space, "{names:?} did without space: {outcome:?}");
        assert_eq!(outcome, Outcome::Result(undisturbed.clone()), "{names:?}");
        assert!(system.settle(|_| ()), "{names:?}");
    }
    system.end();
}

/// Longer than one try of a call lasts, with a herald that tries once.
#[test]
fn a_herald_waits_for_its_internal_api_as_long_as_for_a_stage() {
    let flags = vec![(Part::Herald, "--herald-item-attempts=1".to_owned())];
    let mut system = System::start_with(Settings::ShareShuffle, Extras { flags, ..Extras::default() });
    let undisturbed = system.undisturbed();
    let internal = part_name("worker1", Part::InternalApi);
    system.fleet.signal(&internal, "KILL");
    let measurement = system.create();
    let begun = Instant::now();
    let outcome = system.fleet.see_through(&measurement, |fleet| {
        if begun.elapsed() > Duration::from_secs(10) {
            fleet.revive();
        }
    });
    assert_eq!(outcome, Outcome::Result(undisturbed));
    system.end();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duchies_live_without_their_database_for_a_while() {
    use crate::postgres::{PASSWORD, Server};
    use crate::proxy::Proxy;
    use crate::world::DUCHIES;

    let Some(mut server) = Server::start() else { return };
    let client = server.client("postgres").await;
    for duchy in DUCHIES {
        client.batch_execute(&format!("CREATE DATABASE \"trial-{duchy}\"")).await.expect("a database");
    }
    let proxy = Proxy::to(&format!("127.0.0.1:{}", server.port())).await;
    let address = format!("postgres://duchy:{PASSWORD}@{}/trial", proxy.address());
    let store = address.parse().expect("an address");
    // A claim whose answer is lost costs a lease.
    let surroundings = Surroundings { lock_duration: Duration::from_secs(5), ..Surroundings::default() };
    let world = World::start_in(&surroundings, |config| config.store = Some(store)).await;
    assert_same(&world, "a database in reach").await;

    let outages = async {
        for away in [true, false].repeat(3) {
            proxy.be_away(away);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(assert_same(&world, "a database out of reach, again and again"), outages);

    let crashes = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(500));
            server.restart();
        }
        server
    });
    assert_same(&world, "a database that crashes").await;
    let server = crashes.await.expect("restarts");
    world.stop().await;
    server.stop();
}
