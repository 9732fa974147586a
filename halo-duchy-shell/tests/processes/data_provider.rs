//! A data provider that looks once for what waits (`edp fulfill` without `--watch`).

use std::process::Output;
use std::time::{Duration, Instant};

use crate::fleet::{DUCHIES, Fleet, PATIENCE, Part, part_name};
use crate::settings::{Noise, Protocol, Settings};
use crate::{PEOPLE, PUBLISHERS, REACH, events};

fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

/// Has the data provider look until it is asked for something: a measurement is one when all duchies have made their keys.
fn first_found(fleet: &Fleet, publisher: &str) -> Output {
    let begun = Instant::now();
    loop {
        let output = fleet.fulfill_once(publisher);
        if !output.stdout.is_empty() {
            return output;
        }
        assert!(output.status.success(), "{output:?}");
        assert!(begun.elapsed() < PATIENCE, "nobody asks {publisher}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_its_duchy_cannot_take_yet_is_listed_and_taken_the_next_time() {
    let settings = Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian };
    let mut fleet = Fleet::start(settings, &events(), &PUBLISHERS, None);
    let [publisher, ..] = PUBLISHERS;
    fleet.end_process(publisher);
    let server = part_name(DUCHIES[0], Part::Fulfillment);
    fleet.signal(&server, "KILL");
    let measurement = fleet.create(0, REACH);

    let output = first_found(&fleet, publisher);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let [waits] = lines(&output.stdout).try_into().expect("one line");
    let (requisition, reason) = waits.split_once(" WAITS ").expect("what became of it");
    assert!(reason.starts_with("FulfillRequisition: "), "{waits}");
    let advice = "requisitions that wait for another try: 1; run the command again, or with --watch";
    assert!(String::from_utf8_lossy(&output.stderr).contains(advice), "{output:?}");

    fleet.restart(&server, &[]);
    let output = fleet.fulfill_once(publisher);
    assert!(output.status.success(), "{output:?}");
    let [fulfilled] = lines(&output.stdout).try_into().expect("one line");
    assert!(fulfilled.starts_with(&format!("{requisition} FULFILLED ")), "{fulfilled}");
    let reach = fleet.watch(&measurement)["reach"].as_f64().expect("a reach");
    assert!((reach - PEOPLE).abs() <= settings.largest_error(PEOPLE), "{reach}");
    fleet.stop();
}
