//! Failures that upstream's users reported, by the numbers of their issues (docs/reliability.md). Each of these tests
//! fails on a design that has the flaw.

use std::time::{Duration, Instant};

use halo_duchy_shell::data_provider::Outcome as Provided;

use crate::fleet::{DUCHIES, Outcome, Part, part_name};
use crate::leases::{a_stage_of_ten_leases, await_that, woken_mills_change_nothing};
use crate::rows;
use crate::settings::Settings;
use crate::system::System;
use crate::world::World;

/// How a process tells that a fail point acts.
const ACTS: &str = "a fail point";

/// A stage that takes longer than its lock was taken over again and again, until the attempts ran out.
#[test]
fn incident_2971_a_stage_longer_than_its_lock_finishes_at_its_first_attempt() {
    a_stage_of_ten_leases(Settings::Llv2, "worker1", "SETUP_PHASE");
}

/// Duchies in one bucket, and attempts at one stage, overwrote one another's blobs; a later stage read nothing.
#[test]
fn incident_1700_1745_duchies_and_attempts_in_one_bucket_leave_one_anothers_blobs_alone() {
    let points = [
        ("worker1", "before-blob.write@SETUP_PHASE"),
        ("aggregator", "before-blob.write@EXECUTION_PHASE_ONE"),
    ];
    woken_mills_change_nothing(Settings::Llv2, true, &points);
}

/// A failed computation went back to the queue, and every mill was busy with failing it again.
#[test]
fn incident_1626_a_computation_that_is_over_is_nobodys_work() {
    let mut system = System::start(Settings::Llv2);
    let undisturbed = system.undisturbed();
    let over = |system: &mut System| {
        assert!(system.settle(|_| ()));
        for duchy in DUCHIES {
            assert_eq!(rows::claimable(&system.fleet.database(duchy)), 0, "{duchy}");
        }
        assert_eq!(system.measure(), Outcome::Result(undisturbed.clone()), "others go on");
    };

    // Ended from outside, while a mill is in the middle of it.
    let mill = part_name("worker1", Part::Llv2Mill);
    system.fleet.restart(&mill, &[("HALO_FAIL_POINT", "before-compute@SETUP_PHASE=delay:1s")]);
    let name = system.create();
    await_that("the mill computes", || system.fleet.log(&mill).contains(ACTS));
    system.fleet.kingdom("cancel", &[name]);
    over(&mut system);

    // Failed by a mill, whose error will not pass.
    let refuse =
        ["--refuse=INVALID_ARGUMENT", "--method=SetComputationResult", "--calls=1"].map(str::to_owned);
    system.fleet.kingdom("inject", &refuse);
    let failed = system.measure();
    assert!(matches!(&failed, Outcome::Failed(reason) if reason.contains("result")), "{failed:?}");
    over(&mut system);
    system.end();
}

/// A peer that could not take data at the first try made the computation fail.
#[test]
fn incident_3047_a_peer_that_cannot_take_data_yet_is_waited_for() {
    let mut system = System::start(Settings::Llv2);
    let undisturbed = system.undisturbed();

    // It has told the Kingdom that it is ready, and takes its time to come where it awaits our data.
    let slow = part_name("aggregator", Part::Llv2Mill);
    let variables = [("HALO_FAIL_POINT", "after-kingdom.confirm@CONFIRMATION_PHASE=delay:2s")];
    system.fleet.restart(&slow, &variables);
    assert_eq!(system.measure(), Outcome::Result(undisturbed.clone()));
    assert!(system.fleet.log(&slow).contains(ACTS));
    for duchy in DUCHIES {
        assert_eq!(
            rows::most_attempts(&system.fleet.database(duchy)),
            1,
            "{duchy}: waiting costs no attempt"
        );
    }

    // It dies in the middle of our data, and is away for a while.
    let control = part_name("aggregator", Part::Control);
    system.fleet.restart(&control, &[("HALO_FAIL_POINT", "before-blob.write@WAIT_SETUP_PHASE_INPUTS")]);
    let name = system.create();
    let mut away = None;
    let outcome = system.fleet.see_through(&name, |fleet| {
        if away.is_none() && fleet.has_ended(&control) {
            away = Some(Instant::now());
        }
        if away.is_some_and(|since| since.elapsed() > Duration::from_secs(3)) {
            fleet.revive();
        }
    });
    assert!(away.is_some());
    assert_eq!(outcome, Outcome::Result(undisturbed));
    assert!(system.settle(|_| ()));
    system.end();
}

/// One read of a blob that failed was the end of the computation.
#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_3322_a_read_that_fails_once_is_repeated() {
    let (server, world) = crate::storage::on_fake_gcs().await;
    // So that nothing below the mill tries again by itself: another attempt at the stage has to.
    server.read_badly(Some(crate::gcs::BadRead::Refused));
    crate::network::assert_same(&world, "every first read is refused").await;
    assert!(server.bad_reads() > 10, "{}", server.bad_reads());
    world.stop().await;
}

/// A data provider that did not hear that its requisition was fulfilled could not fulfill it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_85_a_requisition_can_be_fulfilled_again() {
    let world = World::start().await;
    let names = world.create().await;
    for provider in &world.trial.data_providers {
        let requisitions = loop {
            let waiting = provider.waiting().await.expect("the Kingdom answers");
            if waiting.len() == names.len() {
                break waiting;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        for requisition in requisitions {
            for time in ["first", "second", "third"] {
                // With the etag that it had before the first.
                let outcome = provider.fulfill(requisition.clone()).await;
                assert!(matches!(outcome, Provided::Fulfilled(_)), "the {time} time: {outcome:?}");
            }
        }
    }
    let results = world.results(&names).await.into_iter().map(|result| result.expect("a result"));
    assert_eq!(results.collect::<Vec<_>>(), crate::network::undisturbed().await);
    world.stop().await;
}
