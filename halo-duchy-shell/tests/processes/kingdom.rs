//! The development Kingdom as a process: measurements by all protocols in one, a sudden end, and its commands.

use std::thread::sleep;
use std::time::Instant;

use serde_json::Value;

use crate::fleet::{DUCHIES, Fleet, GLANCE, PATIENCE};
use crate::settings::{Noise, Protocol, Settings};
use crate::{PEOPLE, PUBLISHERS, REACH, REACH_AND_FREQUENCY, events};

/// Every protocol with every noise, and what it measures.
const MIX: [(Settings, &[&str]); 6] = [
    (Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian }, REACH_AND_FREQUENCY),
    (Settings { protocol: Protocol::ReachOnlyLlv2, noise: Noise::Geometric }, REACH),
    (Settings { protocol: Protocol::ShareShuffle, noise: Noise::DiscreteGaussian }, REACH_AND_FREQUENCY),
    (Settings { protocol: Protocol::Llv2, noise: Noise::Geometric }, REACH),
    (Settings { protocol: Protocol::ReachOnlyLlv2, noise: Noise::DiscreteGaussian }, REACH),
    (Settings { protocol: Protocol::ShareShuffle, noise: Noise::Geometric }, REACH),
];

/// The duchy `whole` is one process, all others are seven each.
fn start(whole: Option<&'static str>) -> Fleet {
    Fleet::start(MIX[0].0, &events(), &PUBLISHERS, whole)
}

/// Asks for measurement `index`, by the mix in turn; its name.
fn create(fleet: &Fleet, index: usize) -> String {
    let (settings, metric) = MIX[index % MIX.len()];
    fleet.plan(index, settings);
    fleet.create(index, metric)
}

fn check(fleet: &Fleet, index: usize, name: &str) {
    let (settings, metric) = MIX[index % MIX.len()];
    let result = fleet.watch(name);
    let reach = result["reach"].as_f64().expect("a reach");
    assert!((reach - PEOPLE).abs() <= settings.largest_error(PEOPLE), "{settings:?}: {result}");
    let frequencies = result["frequency"].as_object().expect("frequencies").len();
    assert_eq!(frequencies > 0, metric == REACH_AND_FREQUENCY, "{settings:?}: {result}");
}

#[test]
fn ten_measurements_at_once_by_all_protocols_and_kinds_of_noise() {
    let mut fleet = start(None);
    let names: Vec<String> = (0..10).map(|index| create(&fleet, index)).collect();
    for (index, name) in names.iter().enumerate() {
        check(&fleet, index, name);
    }
    let listed = fleet.kingdom("list", &["--state=SUCCEEDED".into()]);
    let protocols = listed.iter().map(|found| found["protocol"].as_str().expect("a name"));
    assert_eq!(
        protocols.collect::<Vec<_>>().join(" "),
        "llv2 ro-llv2 hmss llv2 ro-llv2 hmss llv2 ro-llv2 hmss llv2"
    );
    assert!(fleet.kingdom("violations", &[]).is_empty());
    commands(&fleet);
    fleet.stop();
}

#[test]
fn measurements_survive_the_sudden_end_of_the_kingdom() {
    let mut fleet = start(Some("worker1"));
    // The first result gets no answer, until the Kingdom is gone.
    let stall = ["--delay=1h", "--method=SetComputationResult", "--calls=1"].map(str::to_owned);
    fleet.kingdom("inject", &stall);
    let names: Vec<String> = (0..3).map(|index| create(&fleet, index)).collect();
    // Once in the middle of the beginning, and once when the first result is on its way.
    fleet.restart_kingdom();
    let begun = Instant::now();
    while !fleet.kingdom("faults", &[]).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", fleet.kingdom("list", &[]));
        sleep(GLANCE);
    }
    assert!(!fleet.kingdom("list", &["--state=PENDING_COMPUTATION".into()]).is_empty());
    fleet.restart_kingdom();
    for (index, name) in names.iter().enumerate() {
        check(&fleet, index, name);
    }
    // Results are kept, too.
    fleet.restart_kingdom();
    for (index, name) in names.iter().enumerate() {
        check(&fleet, index, name);
    }
    assert!(fleet.kingdom("violations", &[]).is_empty());
    fleet.stop();
    fleet.stop_kingdom();
}

/// The commands to the Kingdom, when all that there was is over.
fn commands(fleet: &Fleet) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    assert_eq!(fleet.kingdom("purge", &["--time-to-live=0s".into()]).len(), 10);
    // Nobody can begin.
    let stall = ["--delay=1h", "--method=SetParticipantRequisitionParams", "--calls=1000", "--for=2h"];
    let injected = fleet.kingdom("inject", &stall.map(str::to_owned)).remove(0);
    assert_eq!(
        (&injected["method"], &injected["calls"]),
        (&Value::from("SetParticipantRequisitionParams"), &1000.into())
    );
    assert_eq!(fleet.kingdom("faults", &[]).len(), 1);
    let name = create(fleet, 10);
    let listed = fleet.kingdom("list", &[]);
    assert_eq!((text(&listed[0]["measurement"]), listed.len()), (name.clone(), 1));
    let shown = fleet.kingdom("show", &[text(&listed[0]["computation"])]).remove(0);
    assert_eq!(shown["summary"]["measurement"], listed[0]["measurement"]);
    assert_eq!(shown["participants"].as_array().map(Vec::len), Some(DUCHIES.len()));

    assert_eq!(fleet.kingdom("cancel", std::slice::from_ref(&name))[0]["state"], "CANCELLED");
    assert!(fleet.kingdom("expire", &["--time-to-live=0s".into()]).is_empty());
    assert_eq!(fleet.kingdom("purge", &["--time-to-live=0s".into()])[0]["forgotten"], Value::from(name));
    assert!(fleet.kingdom("list", &[]).is_empty());
    assert_eq!(fleet.kingdom("clear", &[])[0]["cleared"], 1);
    assert!(fleet.kingdom("faults", &[]).is_empty());
}
